//! `nadb copy`: between directories, and with a store on Redis between them.

use std::fmt::Write;
use std::fs;

use crate::sandbox::Sandbox;

/// A store with some of everything.
fn fill(sandbox: &Sandbox) {
    sandbox.write("tree/a.txt", "alpha");
    sandbox.write("tree/b/c.html", "<p>gamma");
    sandbox.write("tree/large.bin", vec![7; 6 << 20]);
    sandbox.ok("-n files import tree");
    sandbox.ok("set user:1 Alice --tag user --tag premium --ttl 2h");
    sandbox.ok("set user:2 Bob --tag user");
    sandbox.ok("incr visits 9007199254740993");
    sandbox.ok("--escaped set a\\x00b zero");
}

/// All that is known of the records of a store but their values, which the checksums compare.
fn shown(sandbox: &Sandbox, store: &str) -> Vec<String> {
    let lines = |namespace: &str| -> Vec<String> {
        let text = sandbox.ok(&format!("{store} -n {namespace} --json query all --meta"));
        text.lines().map(str::to_owned).collect()
    };
    ["default", "files"].into_iter().flat_map(lines).map(|line| without_store(&line)).collect()
}

/// The line without the version and the bytes that the value takes where it is.
fn without_store(line: &str) -> String {
    let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
    for field in ["version", "stored_size"] {
        record.as_object_mut().unwrap().remove(field);
    }
    record.to_string()
}

#[test]
fn a_directory_is_copied_and_again_without_writing() {
    let sandbox = Sandbox::new();
    fill(&sandbox);
    let report = sandbox.sh("--json copy --from nadb-data --to other").json();
    assert_eq!((&report["written"], &report["unchanged"]), (&7.into(), &0.into()));
    assert_eq!((&report["from_records"], &report["from_checksum"]), (&7.into(), &report["to_checksum"]));
    assert_eq!(shown(&sandbox, "--path nadb-data"), shown(&sandbox, "--path other"));
    let text = sandbox.ok("copy --from nadb-data --to other");
    assert!(text.starts_with("copied 0 records (0 B) of 2 namespaces"), "{text}");
    assert!(text.contains(", 7 there already\nsource: 7 records, checksum "), "{text}");
    sandbox.ok("--path other verify");
}

#[test]
fn stores_that_differ_are_an_error_that_names_a_key() {
    let sandbox = Sandbox::new();
    fill(&sandbox);
    sandbox.ok("--path other set mine v");
    let ran = sandbox.sh("copy --from nadb-data --to other --only default --state s");
    assert_eq!(ran.code, 5);
    let words = "the stores differ in 1 key; the first: \"mine\" in namespace \"default\" is there, and not in the source";
    assert!(ran.err.contains(words), "{}", ran.err);
    assert!(!sandbox.ok("--path other namespaces").contains("files"), "only what was asked for");
    assert!(sandbox.path("s").exists(), "it is not done");
    sandbox.ok("--path other delete mine");
    sandbox.ok("copy --from nadb-data --to other --only default --state s");
    assert!(!sandbox.path("s").exists());
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_made() {
    let sandbox = Sandbox::new();
    sandbox.fails(2, "copy --from a --to a");
    sandbox.fails(2, "copy --from a");
    assert_eq!(sandbox.fails(2, "copy --from nowhere --to other").lines().count(), 1);
    assert!(!sandbox.path("other").exists() && !sandbox.path("nowhere").exists());
    sandbox.ok("set k v");
    for (text, words) in [
        ("{", "is no state of a copy"),
        ("{}", "is of another copy"),
        (
            r#"{"from":"other","to":"nadb-data","only":[],"namespace":"n","key_base64":"aw=="}"#,
            "another copy",
        ),
        (r#"{"from":"nadb-data","to":"other","only":[],"namespace":"n","key_base64":"?"}"#, "names no key"),
        (r#"{"from":"nadb-data","to":"other","only":[],"namespace":"","key_base64":"aw=="}"#, "names no key"),
    ] {
        sandbox.write("s", text);
        let said = sandbox.fails(2, "copy --from nadb-data --to other --state s");
        assert!(said.contains(words), "{text}: {said}");
    }
    assert!(!sandbox.path("other").exists());
}

#[cfg(feature = "redis")]
mod redis {
    use super::*;
    use crate::redis::Server;

    #[test]
    fn records_go_to_redis_and_back_as_they_were() {
        let sandbox = Sandbox::new();
        let server = Server::start(&sandbox);
        fill(&sandbox);
        let there = sandbox.sh(&format!("--json copy --from nadb-data --to {}", server.url)).json();
        let back = sandbox.sh(&format!("--json copy --from {} --to back", server.url)).json();
        assert_eq!((&there["written"], &back["written"]), (&7.into(), &7.into()));
        assert_eq!(there["from_checksum"], back["to_checksum"]);
        let original = shown(&sandbox, "--path nadb-data");
        assert_eq!(shown(&sandbox, &format!("--url {}", server.url)), original);
        assert_eq!(shown(&sandbox, "--path back"), original);
        sandbox.ok(&format!("--url {} verify", server.url));
        sandbox.fails(2, &format!("--url {} copy --from a --to b", server.url));
    }

    #[test]
    fn a_copy_that_a_full_server_broke_off_goes_on() {
        const RECORDS: usize = 20_000;
        let sandbox = Sandbox::new();
        let server = Server::start(&sandbox);
        let mut batch = String::new();
        for i in 0..RECORDS {
            writeln!(batch, r#"{{"op":"set","key":"key {i:05}","value":"value {i}","tags":["t{}"]}}"#, i % 3)
                .unwrap();
        }
        let ran = sandbox.with_input("batch -", batch.as_bytes());
        assert_eq!(ran.code, 0, "{}", ran.err);
        // Wait for the server: the first command does.
        sandbox.sh(&format!("--url {} get none", server.url));
        server.command("CONFIG SET maxmemory 9mb");
        let line = format!("--json copy --from nadb-data --to {} --state s", server.url);
        let said = sandbox.fails(5, &line);
        assert!(said.contains("copying from key \"key "), "{said}");
        let state: serde_json::Value = serde_json::from_slice(&fs::read(sandbox.path("s")).unwrap()).unwrap();
        assert_eq!(state["namespace"], "default");
        server.command("CONFIG SET maxmemory 0");
        let report = sandbox.sh(&line).json();
        let number = |field: &str| usize::try_from(report[field].as_u64().unwrap()).unwrap();
        // Of what was copied before, a stage was not looked at again, and the rest was, and not written again.
        assert!(number("written") < RECORDS && number("unchanged") > 0);
        assert!(number("written") + number("unchanged") < RECORDS, "{report}");
        assert_eq!(
            (number("from_records"), number("to_records"), number("differing")),
            (RECORDS, RECORDS, 0)
        );
        assert_eq!(report["from_checksum"], report["to_checksum"]);
        assert!(!sandbox.path("s").exists());
    }
}
