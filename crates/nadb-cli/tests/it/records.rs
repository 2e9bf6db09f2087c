//! Single records: set, get, delete, incr, list, namespaces.

use std::fs;

use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn set_get_delete() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok("set user:123 Alice"), "");
    assert_eq!(sandbox.ok("get user:123"), "Alice");
    assert_eq!(sandbox.ok("delete user:123"), "");
    let said = sandbox.fails(1, "get user:123");
    assert_eq!(said, "nadb: no key \"user:123\" in namespace \"default\"\n");
    sandbox.fails(1, "delete user:123");
}

#[test]
fn deleting_several_says_which_were_missing() {
    let sandbox = Sandbox::new();
    sandbox.ok("set a 1");
    sandbox.ok("set b 1");
    assert_eq!(sandbox.fails(1, "delete a x b y"), "nadb: no keys \"x\", \"y\" in namespace \"default\"\n");
    assert!(sandbox.keys().is_empty());
    let ran = sandbox.sh("--json delete a");
    assert_eq!((ran.code, ran.text().as_str()), (1, "{\"key\":\"a\",\"deleted\":false}\n"));
}

#[test]
fn values_come_from_arguments_files_and_standard_input_byte_for_byte() {
    let sandbox = Sandbox::new();
    let bytes: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    sandbox.write("in.bin", &bytes);
    sandbox.ok("set file --file in.bin");
    assert_eq!(sandbox.sh("get file").out, bytes);
    sandbox.ok("get file -o out.bin");
    assert_eq!(fs::read(sandbox.path("out.bin")).unwrap(), bytes);
    assert_eq!(sandbox.with_input("set stdin -", &bytes).code, 0);
    assert_eq!(sandbox.sh("get stdin").out, bytes);
    assert_eq!(sandbox.run(["set", "empty", ""]).code, 0);
    assert_eq!(sandbox.ok("get empty"), "");
    sandbox.ok("set negative -5");
    assert_eq!(sandbox.ok("get negative"), "-5");
}

#[test]
fn conditions_hold_or_exit_with_6() {
    let sandbox = Sandbox::new();
    let first = sandbox.sh("--json set k 1 --if-absent").json();
    assert_eq!(first["created"], json!(true));
    let version = first["version"].as_u64().unwrap();
    let said = sandbox.fails(6, "set k 2 --if-absent");
    assert!(said.contains(&version.to_string()), "{said}");
    sandbox.fails(6, &format!("set k 2 --if-version {}", version + 1));
    assert_eq!(sandbox.ok("get k"), "1");
    sandbox.ok(&format!("set k 2 --if-version {version}"));
    assert_eq!(sandbox.ok("get k"), "2");
    sandbox.fails(6, "set other 1 --if-version 1");
}

#[test]
fn counters() {
    let sandbox = Sandbox::new();
    assert_eq!(sandbox.ok("incr n"), "1\n");
    assert_eq!(sandbox.ok("incr n 10"), "11\n");
    assert_eq!(sandbox.ok("incr n -20"), "-9\n");
    assert_eq!(sandbox.sh("--json incr n").json(), json!({"value": -8}));
    sandbox.ok("set n many");
    sandbox.fails(2, "incr n");
    sandbox.ok("set n 9223372036854775807");
    sandbox.fails(2, "incr n");
    assert_eq!(sandbox.ok("get n"), "9223372036854775807");
}

#[test]
fn metadata_is_shown() {
    let sandbox = Sandbox::new();
    sandbox.ok("set k hello --tag b --tag a --ttl 2h");
    let meta = sandbox.sh("--json get k --meta").json();
    assert_eq!((&meta["key"], &meta["size"], &meta["tags"]), (&json!("k"), &json!(5), &json!(["a", "b"])));
    let lives = meta["expires_ms"].as_u64().unwrap() - meta["updated_ms"].as_u64().unwrap();
    assert_eq!(lives, 7_200_000);
    assert_eq!(sandbox.sh("--json get k").json()["value"], json!("hello"));
    let table = sandbox.ok("get k --meta");
    assert!(table.contains("tags          a, b\n") && table.contains("key           k\n"), "{table}");
    sandbox.with_input("set raw -", b"\xff\x00");
    assert_eq!(sandbox.sh("--json get raw").json()["value_base64"], json!("/wA="));
}

#[test]
fn a_set_replaces_tags_and_lifetime_and_an_expired_key_is_gone() {
    let sandbox = Sandbox::new();
    sandbox.ok("set k v --tag t --ttl 1h");
    sandbox.ok("set k v");
    let meta = sandbox.sh("--json get k --meta").json();
    assert_eq!((&meta["tags"], &meta["expires_ms"]), (&json!([]), &json!(null)));
    sandbox.ok("set k v --ttl 1ms");
    std::thread::sleep(std::time::Duration::from_millis(5));
    sandbox.fails(1, "get k");
    assert!(sandbox.keys().is_empty());
}

#[test]
fn lists_are_in_order_and_paged() {
    let sandbox = Sandbox::new();
    for key in ["b1", "b2", "a", "b3", "c"] {
        sandbox.ok(&format!("set {key} v"));
    }
    assert_eq!(sandbox.ok("list"), "a\nb1\nb2\nb3\nc\n");
    assert_eq!(sandbox.ok("list --prefix b"), "b1\nb2\nb3\n");
    assert_eq!(sandbox.ok("list --prefix b --limit 2"), "b1\nb2\n");
    assert_eq!(sandbox.ok("list --prefix b --after b2"), "b3\n");
    assert_eq!(sandbox.ok("list --reverse --limit 2"), "c\nb3\n");
    assert_eq!(sandbox.ok("list --prefix b --reverse --after b3"), "b2\nb1\n");
    assert_eq!(sandbox.ok("list --prefix b --after x"), "");
    assert_eq!(sandbox.ok("list --limit 0"), "");
    assert_eq!(sandbox.ok("-n other list"), "");
    assert_eq!(sandbox.ok("--json list --limit 2"), "{\"key\":\"a\"}\n{\"key\":\"b1\"}\n");
}

#[test]
#[cfg(unix)]
fn keys_are_raw_bytes_escaped_on_output() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let sandbox = Sandbox::new();
    let odd = OsStr::from_bytes(b"a\\b\n\xff");
    assert_eq!(sandbox.run([OsStr::new("set"), odd, OsStr::new("v")]).code, 0);
    sandbox.ok("set größe v");
    assert_eq!(sandbox.ok("list"), "a\\\\b\\n\\xff\ngröße\n");
    assert_eq!(sandbox.run([OsStr::new("get"), odd]).text(), "v");
    assert_eq!(sandbox.run(["--escaped", "get", "a\\\\b\\n\\xff"]).text(), "v");
    assert_eq!(sandbox.ok("--json list --limit 1"), "{\"key_base64\":\"YVxiCv8=\"}\n");
    sandbox.fails(2, "--escaped get a\\q");
}

#[test]
fn namespaces_are_apart_listed_and_dropped() {
    let sandbox = Sandbox::new();
    sandbox.ok("-n app/users set k 1");
    sandbox.ok("-n app/users set l 1");
    sandbox.ok("set k 2 --namespace other");
    assert_eq!(sandbox.ok("-n app/users get k"), "1");
    assert_eq!(sandbox.ok("namespaces"), "NAMESPACE  KEYS\napp/users     2\nother         1\n");
    let lines = "{\"namespace\":\"app/users\",\"keys\":2}\n{\"namespace\":\"other\",\"keys\":1}\n";
    assert_eq!(sandbox.ok("--json namespaces"), lines);
    sandbox.fails(2, "drop-namespace app/users");
    assert_eq!(sandbox.ok("-n app/users get k"), "1");
    assert_eq!(sandbox.ok("drop-namespace app/users --yes"), "");
    sandbox.fails(1, "-n app/users get k");
    sandbox.fails(1, "drop-namespace app/users --yes");
    sandbox.ok("-n app/users set new 1");
    assert_eq!(sandbox.ok("-n app/users list"), "new\n");
}

#[test]
fn every_durability_class_survives_the_end_of_the_command() {
    let sandbox = Sandbox::new();
    for class in ["buffered", "flushed", "synced"] {
        sandbox.ok(&format!("--durability {class} set {class} v"));
    }
    assert_eq!(sandbox.ok("list"), "buffered\nflushed\nsynced\n");
}
