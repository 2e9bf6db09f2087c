//! `nadb batch`: all or nothing.

use crate::sandbox::Sandbox;

#[test]
fn a_batch_does_everything_in_order() {
    let sandbox = Sandbox::new();
    sandbox.ok("set old v");
    let lines = concat!(
        r#"{"op":"set","key":"k","value":"v","tags":["t"],"ttl":"1h","namespace":"n","content_type":"text/plain","attrs":{"lang":"en"}}"#,
        "\n\n",
        r#"{"op":"delete","key":"old"}"#,
        "\r\n",
        r#"{"op":"set","key_base64":"/wA=","value_base64":"AAEC","if_absent":true}"#,
        "\n",
        r#"{"op":"incr","key":"count","by":5}"#,
        "\n",
        r#"{"op":"incr","key":"count"}"#,
    );
    sandbox.write("batch.jsonl", lines);
    let printed = sandbox.ok("--json batch batch.jsonl");
    let values: Vec<serde_json::Value> =
        printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(values.iter().map(|v| v["line"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 3, 4, 5, 6]);
    assert_eq!((&values[1]["existed"], &values[4]["value"]), (&true.into(), &"6".into()));
    assert_eq!(sandbox.ok("list"), "count\n\\xff\\x00\n");
    assert_eq!(sandbox.ok("--escaped get \\xff\\x00"), "\0\u{1}\u{2}");
    let meta = sandbox.sh("--json -n n get k --meta").json();
    assert_eq!((&meta["content_type"], &meta["attrs"]["lang"]), (&"text/plain".into(), &"en".into()));
    assert!(meta["expires_ms"].is_u64());
}

#[test]
fn lifetimes_change_in_a_batch_too() {
    let sandbox = Sandbox::new();
    sandbox.ok("set short v --ttl 1m");
    sandbox.ok("set long v");
    let lines = concat!(
        r#"{"op":"persist","key":"short"}"#,
        "\n",
        r#"{"op":"expire","key":"long","ttl":"2h"}"#,
        "\n",
        r#"{"op":"expire","key":"absent","ttl":"2h"}"#,
    );
    let ran = sandbox.with_input("--json batch -", lines.as_bytes());
    let existed: Vec<bool> = ran.text().lines().map(|line| line.contains("\"existed\":true")).collect();
    assert_eq!(existed, [true, true, false]);
    let expires = |key: &str| sandbox.sh(&format!("--json get {key} --meta")).json()["expires_ms"].is_u64();
    assert_eq!((expires("short"), expires("long")), (false, true));
    sandbox.fails(1, "get absent");
}

#[test]
fn standard_input_is_a_batch_too_and_prints_nothing() {
    let sandbox = Sandbox::new();
    let ran = sandbox.with_input("batch -", br#"{"op":"set","key":"k","value":"v"}"#);
    assert_eq!((ran.code, ran.text().as_str()), (0, ""));
    assert_eq!(sandbox.ok("get k"), "v");
    assert_eq!(sandbox.with_input("batch -", b"").code, 0);
}

#[test]
fn an_invalid_line_is_named_and_nothing_is_written() {
    let sandbox = Sandbox::new();
    let long_tag = format!(r#"{{"op":"set","key":"k","value":"v","tags":["{}"]}}"#, "t".repeat(256));
    let long_type = format!(r#"{{"op":"set","key":"k","value":"v","content_type":"{}"}}"#, "t".repeat(5000));
    let bad = [
        "not json",
        "[]",
        r#"{"op":"set","key":"k"}"#,
        r#"{"op":"set","value":"v"}"#,
        r#"{"op":"set","key":"","value":"v"}"#,
        r#"{"op":"set","key":"k","value":"v","value_base64":"AA=="}"#,
        r#"{"op":"set","key":"k","value_base64":"!"}"#,
        r#"{"op":"set","key":"k","value":"v","tag":"t"}"#,
        r#"{"op":"set","key":"k","value":"v","ttl":"0s"}"#,
        r#"{"op":"set","key":"k","value":"v","ttl":"1w"}"#,
        r#"{"op":"set","key":"k","value":"v","namespace":"a\u0000b"}"#,
        r#"{"op":"set","key":"k","value":"v","namespace":""}"#,
        r#"{"op":"set","key":"k","value":"v","tags":["a\u0000b"]}"#,
        r#"{"op":"set","key":"k","value":"v","if_absent":true,"if_version":1}"#,
        r#"{"op":"set","key":"k","value":"v","attrs":{"a":1}}"#,
        r#"{"op":"set","key":"k","value":"v"} {}"#,
        r#"{"op":"delete","key":"k","value":"v"}"#,
        r#"{"op":"incr","key":"k","by":1.5}"#,
        r#"{"op":"explode","key":"k"}"#,
        r#"{"op":"expire","key":"k"}"#,
        r#"{"op":"expire","key":"k","ttl":"0s"}"#,
        r#"{"op":"expire","key":"k","ttl":"1h","if_version":1}"#,
        r#"{"op":"persist","key":"k","ttl":"1h"}"#,
        long_tag.as_str(),
        long_type.as_str(),
    ];
    for line in bad {
        let lines = format!("{}\n{line}\n", r#"{"op":"set","key":"first","value":"v"}"#);
        let ran = sandbox.with_input("batch -", lines.as_bytes());
        ran.check_failure(2, line);
        assert!(ran.err.contains("line 2 of standard input: "), "{line}: {}", ran.err);
        assert!(!sandbox.store().exists(), "{line}");
    }
    let ran = sandbox.with_input("batch -", b"{\"op\":\"set\",\"key\":\"k\",\"value\":\"\xff\"}");
    ran.check_failure(2, "no UTF-8");
}

#[test]
fn a_condition_that_does_not_hold_undoes_all() {
    let sandbox = Sandbox::new();
    sandbox.ok("set b 1");
    let lines = "{\"op\":\"set\",\"key\":\"a\",\"value\":\"1\"}\n{\"op\":\"set\",\"key\":\"b\",\"value\":\"2\",\"if_absent\":true}\n";
    sandbox.with_input("batch -", lines.as_bytes()).check_failure(6, "if_absent");
    let lines = "{\"op\":\"set\",\"key\":\"a\",\"value\":\"1\"}\n{\"op\":\"delete\",\"key\":\"b\",\"if_version\":999}\n";
    sandbox.with_input("batch -", lines.as_bytes()).check_failure(6, "if_version");
    sandbox.ok("set n word");
    let lines = "{\"op\":\"set\",\"key\":\"a\",\"value\":\"1\"}\n{\"op\":\"incr\",\"key\":\"n\"}\n";
    sandbox.with_input("batch -", lines.as_bytes()).check_failure(2, "incr of a word");
    assert_eq!(sandbox.keys(), ["b", "n"]);
    assert_eq!(sandbox.ok("get b"), "1");
    sandbox.fails(2, "batch missing.jsonl");
}
