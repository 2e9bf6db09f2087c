//! repair: damage is found, told and repaired, and nothing happens to a store that is whole.

use std::fs;
use std::path::PathBuf;

use serde_json::json;

use crate::sandbox::Sandbox;

/// A store with one key a segment's frame, closed.
fn sandbox() -> Sandbox {
    let sandbox = Sandbox::new();
    for n in 0..6 {
        sandbox.ok(&format!("set key{n} value{n} --tag t"));
    }
    sandbox.ok("delete key2");
    sandbox
}

/// Changes the first byte of what the store's segment holds after `text`.
fn damage(sandbox: &Sandbox, text: &str, last: bool) -> PathBuf {
    let path = sandbox.store().join("0000000001.seg");
    let mut bytes = fs::read(&path).unwrap();
    let mut found = bytes.windows(text.len()).enumerate().filter(|(_, window)| *window == text.as_bytes());
    let at = if last { found.next_back() } else { found.next() }.unwrap().0;
    // The record's checksum, or the value itself.
    let at = if last { at - 22 } else { at + text.len() };
    bytes[at] ^= 0x20;
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_whole_store_is_left_alone() {
    let sandbox = sandbox();
    assert_eq!(sandbox.ok("repair"), "nothing to repair: 8 records\n");
    assert_eq!(sandbox.sh("repair --json").json()["outcome"], "intact");
    assert_eq!(sandbox.sh("repair --dry-run").code, 0);
    assert!(!sandbox.store().join("repair-0001").exists());
    let missing = Sandbox::new();
    assert!(missing.fails(2, "repair").contains("no NADB store"));
    assert!(!missing.store().exists());
}

#[test]
fn one_damaged_record_is_told_and_the_others_are_saved() {
    let sandbox = sandbox();
    let before = fs::read(damage(&sandbox, "key4", false)).unwrap();
    let said = sandbox.fails(3, "get key1");
    assert!(said.contains("`nadb repair`"), "{said}");
    let planned = sandbox.sh("repair --dry-run");
    assert_eq!(planned.code, 3, "{}", planned.err);
    assert!(planned.text().starts_with("7 records would be saved\n"), "{}", planned.text());
    assert!(planned.err.contains("0000000001.seg, offset "), "{}", planned.err);
    assert_eq!(fs::read(sandbox.store().join("0000000001.seg")).unwrap(), before);

    let text = sandbox.ok("repair");
    assert!(text.starts_with("7 records saved; the files as they were are in "), "{text}");
    assert!(text.contains("lost: value of key \"key4\" in namespace \"default\", at offset "), "{text}");
    let aside = sandbox.store().join("repair-0001");
    assert_eq!(fs::read(aside.join("0000000001.seg")).unwrap(), before);
    assert!(aside.join("MANIFEST").exists() && aside.join("REPORT").exists());
    sandbox.ok("verify");
    assert_eq!(sandbox.keys(), ["key0", "key1", "key3", "key5"]);
    assert_eq!(sandbox.ok("get key5"), "value5");
    sandbox.ok("set key4 again");
    assert_eq!(sandbox.ok("repair"), "nothing to repair: 8 records\n");
}

#[test]
fn a_lost_deletion_is_told() {
    let sandbox = sandbox();
    damage(&sandbox, "key2", true);
    let report = sandbox.sh("--json repair").json();
    assert_eq!(report["outcome"], "rewritten");
    let lost = &report["lost_records"][0];
    assert_eq!((&lost["kind"], &lost["key"]), (&json!("tombstone"), &json!("key2")));
    assert!(lost["older_version"].is_u64(), "{report}");
    assert_eq!(sandbox.ok("get key2"), "value2");
}

#[test]
fn a_lost_manifest_is_made_anew() {
    let sandbox = sandbox();
    fs::remove_file(sandbox.store().join("MANIFEST")).unwrap();
    assert_eq!(sandbox.fails(3, "list").lines().count(), 1);
    let text = sandbox.ok("repair");
    assert_eq!(text, "the manifest was made anew, nothing else was changed: 8 records\n");
    assert_eq!(sandbox.keys().len(), 5);
    sandbox.ok("verify");
}
