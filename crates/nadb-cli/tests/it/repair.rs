//! repair: damage is found, told and repaired, and nothing happens to a store that is whole.

use std::fs;
use std::path::PathBuf;

use nadb::Store;
use serde_json::json;

use crate::reports::sealed;
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

#[test]
fn a_damaged_footer_is_made_anew_in_its_place() {
    let sandbox = Sandbox::new();
    let sealed = sealed(&sandbox);
    let keys = sandbox.keys();
    let number = |field: &str| usize::try_from(sealed[0][field].as_u64().unwrap()).unwrap();
    let (file, at) = (sandbox.path(sealed[0]["file"].as_str().unwrap()), number("bytes"));
    let whole = fs::read(&file).unwrap();
    let mut damaged = whole.clone();
    damaged[at + number("footer_bytes") / 2] ^= 0xFF;
    fs::write(&file, &damaged).unwrap();
    // It opens, and does not verify.
    assert_eq!(sandbox.sh("list").code, 0);
    assert_eq!(sandbox.sh("verify").code, 3);

    let planned = sandbox.sh("--json repair --dry-run");
    assert_eq!(planned.code, 3, "{}", planned.err);
    assert_eq!(fs::read(&file).unwrap(), damaged);
    let report = sandbox.sh("--json repair").json();
    assert_eq!((&report["outcome"], &report["manifest"]), (&json!("footers-rebuilt"), &json!("whole")));
    assert_eq!((&report["lost_records"], &report["segments_written"]), (&json!([]), &json!(0)));
    let [range] = &report["damage"].as_array().unwrap()[..] else { panic!("{report}") };
    assert_eq!((&range["offset"], &range["bytes"]), (&sealed[0]["bytes"], &sealed[0]["footer_bytes"]));
    let name = file.file_name().unwrap();
    assert_eq!(fs::read(sandbox.store().join("repair-0001").join(name)).unwrap(), damaged);
    assert_eq!(fs::read(&file).unwrap(), whole);
    let verified = sandbox.sh("verify");
    assert_eq!((verified.code, &*verified.err), (0, ""));
    assert_eq!(sandbox.keys(), keys);

    fs::write(&file, &damaged).unwrap();
    let text = sandbox.ok("repair");
    assert!(text.starts_with("footers were made anew, nothing else was changed: 201 records; "), "{text}");
}

#[test]
fn a_damaged_large_value_is_told_with_its_bad_bytes_and_put_aside() {
    const LARGE: usize = 200_000;
    let sandbox = Sandbox::new();
    let store = Store::builder().path(sandbox.store()).memtable_size(8 << 10).open().unwrap();
    let values = store.namespace("default").unwrap();
    values.set("film", b"trailer").unwrap();
    values.set("film", vec![b'f'; LARGE]).unwrap();
    values.set("song", vec![b's'; LARGE]).unwrap();
    store.close().unwrap();
    drop((values, store));
    let names = fs::read_dir(sandbox.store()).unwrap().map(|entry| entry.unwrap().path());
    let blobs: Vec<PathBuf> = names.filter(|path| path.extension().is_some_and(|e| e == "blob")).collect();
    let film = blobs.iter().find(|path| fs::read(path).unwrap()[64] == b'f').unwrap();
    let mut bytes = fs::read(film).unwrap();
    bytes[70_000] ^= 1;
    fs::write(film, &bytes).unwrap();
    assert_eq!(sandbox.sh("verify").code, 3);

    let planned = sandbox.sh("repair --dry-run");
    assert_eq!(planned.code, 3, "{}", planned.err);
    assert!(planned.text().contains("would be put aside: 1 file of large values"), "{}", planned.text());
    let name = film.file_name().unwrap().to_str().unwrap();
    let text = sandbox.ok("repair");
    // The second of the blocks of 64 KiB behind the header.
    assert!(text.contains("damage: 65536 bytes at offset 65600 of ") && text.contains(name), "{text}");
    let lost = text.lines().find(|line| line.starts_with("lost: ")).unwrap();
    assert!(lost.starts_with("lost: value of key \"film\" in namespace \"default\", at offset "), "{lost}");
    assert!(lost.contains(name) && lost.ends_with(" is back"), "{lost}");
    assert!(text.contains("\nput aside: 1 file of large values"), "{text}");
    assert_eq!(fs::read(sandbox.store().join("repair-0001").join(name)).unwrap(), bytes);
    assert!(!film.exists());
    sandbox.ok("verify");
    assert_eq!(sandbox.ok("get film"), "trailer");
    assert!(sandbox.run(["get", "song"]).out == vec![b's'; LARGE]);
    assert_eq!(sandbox.sh("--json repair").json()["unused_blobs"], json!([]));
}
