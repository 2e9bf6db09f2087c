//! stats, inspect, verify, help.

use serde_json::json;

use crate::sandbox::Sandbox;

const COMMANDS: [&str; 14] = [
    "set",
    "incr",
    "batch",
    "get",
    "delete",
    "list",
    "namespaces",
    "drop-namespace",
    "import",
    "extract",
    "stats",
    "inspect",
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
    let table = sandbox.ok("stats");
    assert!(table.lines().any(|line| line == "keys             2"), "{table}");
}

#[test]
fn inspect_shows_the_segments() {
    let sandbox = Sandbox::new();
    for line in ["set a 1", "set b 1", "set a 2", "delete b"] {
        sandbox.ok(line);
    }
    let printed = sandbox.ok("--json inspect");
    let segments: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let sum = |field: &str| segments.iter().map(|s| s[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("live_records") + sum("dead_records"), sum("records"));
    assert!(sum("dead_records") >= 2, "{printed}");
    assert!(segments.iter().any(|segment| segment["state"] == "active"));
    let table = sandbox.ok("inspect");
    assert!(table.starts_with("SEGMENT  STATE"), "{table}");
    assert_eq!(table.lines().count(), segments.len() + 1);
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
