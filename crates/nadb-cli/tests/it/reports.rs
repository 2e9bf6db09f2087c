//! stats, inspect, verify, help.

use std::fs;

use nadb::Store;
use serde_json::{Value, json};

use crate::sandbox::Sandbox;

const COMMANDS: [&str; 17] = [
    "set",
    "incr",
    "batch",
    "get",
    "delete",
    "list",
    "query",
    "tags",
    "namespaces",
    "drop-namespace",
    "import",
    "extract",
    "stats",
    "inspect",
    "compact",
    "verify",
    "repair",
];

#[test]
fn stats_count() {
    let sandbox = Sandbox::new();
    for line in ["set a 1", "set b 1", "set a 2", "delete b", "-n other set c 1"] {
        sandbox.ok(line);
    }
    let stats = sandbox.sh("--json stats").json();
    assert_eq!((&stats["keys"], &stats["namespaces"]), (&json!(2), &json!(2)));
    assert_eq!(stats["clean_open"], json!(true));
    assert_eq!((&stats["unsealed_segments"], &stats["footer_bytes"]), (&json!(0), &json!(0)));
    assert_eq!((&stats["views"], &stats["oldest_view_ms"]), (&json!(0), &Value::Null));
    assert!(stats["index_bytes"].as_u64().unwrap() > 0 && stats["memtable_bytes"].as_u64().unwrap() > 0);
    let bytes = |name: &str| stats[name].as_u64().unwrap();
    let limited =
        ["memtable_bytes", "sealing_bytes", "buffer_bytes", "frame_bytes"].map(bytes).iter().sum::<u64>();
    let beside = ["index_bytes", "live_set_bytes", "versions_bytes", "footer_memory_bytes", "fixed_bytes"];
    assert_eq!(bytes("memory_bytes"), limited + beside.map(bytes).iter().sum::<u64>());
    assert!(limited <= bytes("memory_limit"));
    assert_eq!((&stats["write_samples"], &stats["write_encode_ns"]), (&json!(0), &Value::Null));
    let table = sandbox.ok("stats");
    assert!(table.lines().any(|line| line.starts_with("keys ") && line.ends_with(" 2")), "{table}");
    assert!(table.contains("\n\nOPERATION  COUNT  BYTES  SAMPLED  MEAN  P50  P95  P99  MAX\n"), "{table}");
    assert_eq!(
        stats["operations"]["get"],
        json!({
            "count": 0, "bytes": 0, "sampled": 0,
            "mean_ns": null, "p50_ns": null, "p95_ns": null, "p99_ns": null, "max_ns": null,
        })
    );
    assert_eq!((&stats["compression_ratio"], &stats["user_bytes"]), (&Value::Null, &json!(0)));
    assert!(stats["space_amplification"].as_f64().unwrap() > 1.0);
}

#[test]
fn stats_are_watched_a_line_at_a_time() {
    let sandbox = Sandbox::new();
    sandbox.ok("set a 1");
    let printed = sandbox.ok("stats --watch 0.01 --times 3");
    let lines: Vec<Vec<&str>> = printed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 4, "{printed}");
    assert_eq!(lines[0], ["KEYS", "RECORDS", "SEGMENTS", "LOG", "LIVE", "FOOTERS", "MEMORY"]);
    assert!(lines[1..].iter().all(|line| line[0] == "1"), "{printed}");
    let widths: Vec<usize> = printed.lines().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|&width| width == widths[0]), "{printed}");
    let printed = sandbox.ok("--json stats --watch 0.01 --times 2");
    let looks: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks.iter().map(|look| look["keys"].as_u64()).collect::<Vec<_>>(), [Some(1); 2]);
}

#[test]
fn a_watched_store_that_another_process_has_open_is_looked_at_again() {
    let sandbox = Sandbox::new();
    let store = Store::builder().path(sandbox.store()).open().unwrap();
    store.namespace("default").unwrap().set("a", "1").unwrap();
    let printed = sandbox.ok("stats --watch 0.01 --times 2");
    assert_eq!(printed.matches("another process has the store open\n").count(), 2, "{printed}");
    assert_eq!(sandbox.sh("--json stats --watch 0.01 --times 1").json(), json!({ "locked": true }));
    sandbox.fails(4, "stats");
    store.close().unwrap();
}

#[test]
fn what_cannot_be_watched_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.fails(2, "stats --watch --times 1");
    sandbox.ok("set a 1");
    for bad in ["stats --watch 0", "stats --watch soon", "stats --times 2", "stats --watch 1 --times 0"] {
        sandbox.fails(2, bad);
    }
}

#[test]
fn inspect_shows_the_segments() {
    let sandbox = Sandbox::new();
    for line in ["set a 1", "set b 1", "set a 2", "delete b"] {
        sandbox.ok(line);
    }
    let printed = sandbox.ok("--json inspect");
    let segments: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = |field: &str| segments.iter().map(|s| s[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("live_records") + sum("dead_records"), sum("records"));
    assert!(sum("dead_records") >= 2, "{printed}");
    assert!(segments.iter().any(|segment| segment["state"] == "active"));
    let table = sandbox.ok("inspect");
    assert!(table.starts_with("SEGMENT  STATE"), "{table}");
    let rows = table.lines().take_while(|line| !line.is_empty()).count();
    assert_eq!(rows, segments.len() + 1, "{table}");
    assert!(table.contains('█') && table.contains("not sealed, or in use by the compactor"), "{table}");
}

#[test]
fn compact_gives_space_back_and_says_so() {
    let sandbox = Sandbox::new();
    for line in ["set a 1", "set b 1", "set a 2", "delete b", "-n other set c 1"] {
        sandbox.ok(line);
    }
    let bytes = |sandbox: &Sandbox| sandbox.sh("--json stats").json()["records"].as_u64().unwrap();
    let before = bytes(&sandbox);
    let estimate = sandbox.sh("--json compact --dry-run").json();
    assert_eq!((&estimate["dry_run"], &estimate["segments_in"]), (&json!(true), &json!(0)), "{estimate}");
    assert_eq!(bytes(&sandbox), before, "an estimate changes nothing");
    assert!(sandbox.ok("compact").contains("2 records kept, 2 dead, 0 expired and 1 tombstones dropped"));
    assert!(bytes(&sandbox) < before);
    assert_eq!(sandbox.ok("get a"), "2");
    assert_eq!(sandbox.ok("compact"), "nothing to compact\n");
    assert!(sandbox.ok("compact --dry-run --only other").contains("nothing to compact"));
    assert!(sandbox.ok("--json inspect").contains(r#""compacted":true"#));
    sandbox.ok("verify");
}

/// A store with several sealed segments, which no command makes by itself.
pub(crate) fn sealed(sandbox: &Sandbox) -> Vec<Value> {
    let store = Store::builder().path(sandbox.store()).memtable_size(8 << 10).open().unwrap();
    let n = store.namespace("default").unwrap();
    for i in 0..200 {
        n.set(format!("k{i:03}"), vec![b'v'; 200]).unwrap();
    }
    // All that is full, or each command that opens the store would seal some more of it.
    while store.stats().unwrap().unsealed_segments > 0 {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    store.close().unwrap();
    let printed = sandbox.ok("--json inspect");
    let segments: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    segments.into_iter().filter(|segment| segment["state"] == "sealed").collect()
}

#[test]
fn sealed_segments_show_their_footers() {
    let sandbox = Sandbox::new();
    let sealed = sealed(&sandbox);
    assert!(sealed.len() >= 2, "{sealed:?}");
    let footers: Vec<u64> = sealed.iter().map(|segment| segment["footer_bytes"].as_u64().unwrap()).collect();
    assert!(footers.iter().all(|&bytes| bytes > 0), "{sealed:?}");
    let table = sandbox.ok("inspect");
    let heading = table.lines().next().unwrap();
    assert!(heading.contains("  FOOTER  SEQUENCE  "), "{table}");
    assert!(table.lines().filter(|line| line.contains("  sealed  ")).count() == sealed.len(), "{table}");
    let stats = sandbox.sh("--json stats").json();
    assert!(stats["footer_bytes"].as_u64().unwrap() >= footers.iter().sum(), "{stats}");
}

#[test]
fn what_opening_made_up_for_is_a_warning() {
    let sandbox = Sandbox::new();
    let sealed = sealed(&sandbox);
    let keys = sandbox.keys();
    let number = |field: &str| usize::try_from(sealed[0][field].as_u64().unwrap()).unwrap();
    let file = sandbox.path(sealed[0]["file"].as_str().unwrap());
    let mut bytes = fs::read(&file).unwrap();
    bytes[number("bytes") + number("footer_bytes") / 2] ^= 0xFF;
    fs::write(&file, bytes).unwrap();
    let ran = sandbox.sh("list");
    assert_eq!((ran.code, ran.text().lines().count()), (0, keys.len()), "{}", ran.err);
    assert_eq!(ran.err.lines().count(), 1, "{}", ran.err);
    assert!(ran.err.starts_with("nadb: warning: ") && ran.err.contains("footer"), "{}", ran.err);
    assert!(ran.err.contains(file.file_name().unwrap().to_str().unwrap()), "{}", ran.err);
}

#[test]
fn verify_reads_everything() {
    let sandbox = Sandbox::new();
    sandbox.ok("set a 1");
    sandbox.ok("set b 1");
    assert_eq!(sandbox.sh("--json verify").json()["keys"], json!(2));
    let text = sandbox.ok("verify");
    assert!(text.starts_with("nothing wrong: ") && text.ends_with(" and 2 keys\n"), "{text}");
}

#[test]
fn every_command_has_help_with_examples() {
    let sandbox = Sandbox::new();
    assert!(sandbox.ok("--help").contains("Exit codes: 0 done"));
    for command in COMMANDS {
        let help = sandbox.ok(&format!("{command} --help"));
        assert!(help.contains("Examples:\n  nadb "), "{command}");
        assert!(!help.contains("--ack-log"), "{command}");
    }
    assert!(sandbox.ok("--version").starts_with("nadb 0."));
}

#[test]
fn a_wrong_command_line_is_one_sentence() {
    let sandbox = Sandbox::new();
    for bad in [
        "explode",
        "get",
        "get --nonsense k",
        "set k v --if-absent --if-version 1",
        "set k v --file f",
        "set k v --ttl 5",
        "set k v --durability maybe",
        "incr k many",
        "list --limit -1",
    ] {
        let said = sandbox.fails(2, bad);
        assert!(said.ends_with("; --help shows how it is used\n"), "{bad}: {said}");
    }
    assert_eq!(sandbox.fails(2, "set k"), "nadb: give a VALUE, --file F, or - for standard input\n");
    assert_eq!(sandbox.run::<&str>([]).code, 2);
    assert!(!sandbox.store().exists());
}
