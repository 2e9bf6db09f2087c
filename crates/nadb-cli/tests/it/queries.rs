//! query and tags.

use serde_json::{Value, json};

use crate::sandbox::Sandbox;

/// Keys a1 to a4 and b; sizes 1 to 5.
fn filled() -> Sandbox {
    let sandbox = Sandbox::new();
    sandbox.ok("set a1 1 --tag user");
    sandbox.ok("set a2 12 --tag user --tag premium");
    sandbox.ok("set a3 123 --tag user --tag premium --tag banned --ttl 2h");
    sandbox.ok("set a4 1234");
    sandbox.ok("set b 12345 --tag premium");
    sandbox
}

fn query(sandbox: &Sandbox, args: &[&str]) -> String {
    let ran = sandbox.run(["query"].iter().chain(args));
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{args:?}");
    ran.text()
}

#[test]
fn expressions_find_keys_in_order() {
    let sandbox = filled();
    assert_eq!(query(&sandbox, &["all"]), "a1\na2\na3\na4\nb\n");
    assert_eq!(query(&sandbox, &["tag:user AND NOT tag:banned"]), "a1\na2\n");
    assert_eq!(query(&sandbox, &["size>=4 OR expires:any"]), "a3\na4\nb\n");
    assert_eq!(query(&sandbox, &["updated>now-1h AND prefix:\"a\" AND NOT (tag:user)"]), "a4\n");
    assert_eq!(query(&sandbox, &["updated<now-1h"]), "");
    assert_eq!(query(&sandbox, &["updated<=now AND tag:user", "--now", "0"]), "");
    assert_eq!(query(&sandbox, &["all", "--descending", "--limit", "2"]), "b\na4\n");
    assert_eq!(query(&sandbox, &["tag:user", "--after", "a1", "--limit", "1"]), "a2\n");
    assert_eq!(query(&sandbox, &["tag:user", "--after", "a2", "--descending"]), "a1\n");
    assert_eq!(query(&sandbox, &["all", "--limit", "0"]), "");
    assert_eq!(query(&sandbox, &["-n", "other", "all"]), "");
}

#[test]
fn tags_and_prefixes_need_no_expression() {
    let sandbox = filled();
    assert_eq!(query(&sandbox, &["--all", "user", "premium"]), "a2\na3\n");
    assert_eq!(query(&sandbox, &["--all", "user", "--all", "premium", "--none", "banned"]), "a2\n");
    assert_eq!(query(&sandbox, &["--any", "banned", "premium", "--prefix", "b"]), "b\n");
    assert_eq!(query(&sandbox, &["--none", "user", "premium"]), "a4\n");
    assert_eq!(query(&sandbox, &["size<3", "--any", "user"]), "a1\na2\n");
    assert_eq!(query(&sandbox, &["--escaped", "--prefix", "\\x61"]), "a1\na2\na3\na4\n");
}

#[test]
fn counts_metadata_and_json() {
    let sandbox = filled();
    assert_eq!(query(&sandbox, &["tag:user", "--count"]), "3\n");
    assert_eq!(sandbox.ok("--json query tag:user --count"), "{\"count\":3}\n");
    let line = query(&sandbox, &["tag:banned", "--meta"]);
    let columns: Vec<&str> = line.trim_end().split('\t').collect();
    let [key, version, size, created, updated, expires, tags] = columns.as_slice() else { panic!("{line}") };
    assert_eq!((*key, *size, *tags), ("a3", "3", "banned,premium,user"));
    assert!(version.parse::<u64>().is_ok() && created == updated && expires > updated, "{line}");
    let line = query(&sandbox, &["prefix:a4", "--meta"]);
    assert!(line.ends_with("\tnever\t-\n"), "{line}");
    assert_eq!(sandbox.ok("--json query prefix:a1"), "{\"key\":\"a1\"}\n");
    let meta = sandbox.ok("--json query tag:banned --meta");
    let meta: Value = serde_json::from_str(&meta).unwrap();
    assert_eq!(
        (&meta["key"], &meta["tags"], &meta["size"]),
        (&json!("a3"), &json!(["banned", "premium", "user"]), &json!(3))
    );
}

/// What follows `more: ` on standard error.
fn more(said: &str) -> Vec<&str> {
    let rest = said.strip_prefix("nadb: more: ").unwrap_or_else(|| panic!("{said}"));
    rest.split_whitespace().collect()
}

#[test]
fn sorted_pages_go_on_by_cursor() {
    let sandbox = filled();
    assert_eq!(query(&sandbox, &["all", "--sort", "size", "--descending"]), "b\na4\na3\na2\na1\n");
    for expression in ["all", "updated>now-1h"] {
        let page = ["query", expression, "--sort", "size", "--limit", "2"];
        let first = sandbox.run(page);
        assert_eq!(first.text(), "a1\na2\n");
        sandbox.ok("set a2 1234567"); // moves to the end
        let second = sandbox.run(page.into_iter().chain(more(&first.err)));
        assert_eq!(second.text(), "a3\na4\n", "{}", second.err);
        let third = sandbox.run(page.into_iter().chain(more(&second.err)));
        assert_eq!((third.text().as_str(), third.err.as_str()), ("b\na2\n", ""));
        sandbox.ok("set a2 12 --tag user --tag premium");
    }
    let by_key = sandbox.sh("query all --sort key --limit 4 --meta");
    assert_eq!(by_key.text().lines().count(), 4);
    let args = more(&by_key.err);
    assert_eq!(query(&sandbox, &["all", "--sort", "key", args[0], args[1]]), "b\n");
    assert_eq!(query(&sandbox, &["all", "--sort", "key", "--limit", "5"]).lines().count(), 5);
}

#[test]
fn wrong_queries_are_explained_before_the_store_is_opened() {
    let sandbox = Sandbox::new();
    let ran = sandbox.run(["query", "tag:a tag:b"]);
    let expected = "nadb: column 7: found \"tag:b\", expected AND, OR or the end\n  tag:a tag:b\n        ^\n";
    assert_eq!((ran.code, ran.err.as_str()), (2, expected));
    let said = |args: &[&str]| {
        let ran = sandbox.run(["query"].iter().chain(args));
        assert_eq!((ran.code, ran.text().as_str()), (2, ""), "{args:?}: {}", ran.err);
        ran.err
    };
    assert!(said(&["tag:a AND (tag:b"]).contains("column 17: found the end"));
    assert!(said(&[]).contains("give an EXPR, --all"));
    assert!(said(&["--all", ""]).contains("tag has 0 bytes"));
    assert!(said(&["--none", &"t".repeat(256)]).contains("tag has 256 bytes"));
    assert!(said(&["all", "--sort", "size", "--after", "a1"]).contains("--after: this is not a cursor"));
    assert!(said(&["all", "--sort", "colour"]).contains("--help shows"));
    assert!(said(&["all", "--count", "--limit", "1"]).contains("--help shows"));
    assert!(said(&["all"]).contains("nadb-data"));
    assert!(!sandbox.store().exists());
    let sandbox = filled();
    let first = sandbox.sh("query all --sort size --limit 1");
    let args = more(&first.err);
    let said = sandbox.fails(2, &format!("query tag:user --sort size {}", args.join(" ")));
    assert!(said.contains("a cursor from elsewhere"), "{said}");
}

#[test]
fn tags_are_listed_with_counts() {
    let sandbox = filled();
    assert_eq!(sandbox.ok("tags"), "banned\t1\npremium\t3\nuser\t3\n");
    assert_eq!(sandbox.ok("tags --prefix p"), "premium\t3\n");
    assert_eq!(sandbox.ok("--json tags --prefix b"), "{\"tag\":\"banned\",\"count\":1}\n");
    sandbox.run(["set", "odd", "v", "--tag", "a\tb"]);
    sandbox.ok("delete a3");
    assert_eq!(sandbox.ok("tags"), "a\\tb\t1\npremium\t2\nuser\t2\n");
    assert_eq!(sandbox.ok("-n other tags"), "");
    let said = Sandbox::new().fails(2, "tags");
    assert!(said.contains("nadb-data"), "{said}");
}

#[test]
fn last_accesses_that_an_application_keeps_are_shown_and_not_changed() {
    let sandbox = filled();
    assert_eq!(query(&sandbox, &["accessed:any"]), "");
    {
        let store = nadb::Store::builder().path(sandbox.store()).track_access(true).open().unwrap();
        store.namespace("default").unwrap().get("a2").unwrap().unwrap();
        store.close().unwrap();
    }
    for _ in 0..2 {
        assert_eq!(query(&sandbox, &["accessed:any"]), "a2\n");
        assert_eq!(query(&sandbox, &["accessed:never AND tag:user", "--meta"]).lines().count(), 2);
        assert_eq!(query(&sandbox, &["accessed<now-1h", "--count"]), "0\n");
        let shown: Value = serde_json::from_str(&sandbox.ok("--json get a2 --meta")).unwrap();
        assert!(shown["accessed_ms"].as_u64() >= shown["created_ms"].as_u64());
        let shown: Value = serde_json::from_str(&sandbox.ok("--json get a1 --meta")).unwrap();
        assert_eq!(shown["accessed_ms"], json!(null));
        assert!(
            sandbox
                .ok("get a2 --meta")
                .lines()
                .any(|line| line.starts_with("accessed") && line.ends_with('Z'))
        );
        assert_eq!(sandbox.ok("get a1"), "1");
    }
}
