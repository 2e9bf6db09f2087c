//! Lifetimes: expire, persist, ttl, purge.

use serde_json::json;

use crate::sandbox::Sandbox;

#[test]
fn a_lifetime_is_given_shown_and_ended() {
    let sandbox = Sandbox::new();
    sandbox.ok("set k Alice --tag user");
    assert_eq!(sandbox.ok("ttl k"), "never\n");
    assert_eq!(sandbox.sh("--json ttl k").json()["ttl_ms"], json!(null));
    assert_eq!(sandbox.ok("expire k 2h"), "");
    let left = sandbox.sh("--json ttl k").json()["ttl_ms"].as_u64().unwrap();
    assert!((3_600_000..=7_200_000).contains(&left), "{left}");
    let text = sandbox.ok("ttl k");
    assert!(text.ends_with("ms\n"), "{text}");
    assert_eq!(sandbox.ok("get k"), "Alice");
    assert_eq!(sandbox.ok("persist k"), "");
    assert_eq!(sandbox.ok("ttl k"), "never\n");
}

#[test]
fn what_is_not_there_exits_with_1_and_bad_lifetimes_with_2() {
    let sandbox = Sandbox::new();
    sandbox.ok("set other 1");
    for command in ["expire k 1h", "persist k", "ttl k"] {
        assert_eq!(sandbox.fails(1, command), "nadb: no key \"k\" in namespace \"default\"\n", "{command}");
    }
    assert!(sandbox.fails(2, "expire other 0s").contains("ttl is 0 s"));
    assert!(sandbox.fails(2, "expire other 9999999d").contains("year 9999"));
    sandbox.fails(2, "expire other soon");
    assert_eq!(sandbox.ok("ttl other"), "never\n");
}

#[test]
fn what_has_expired_is_purged() {
    let sandbox = Sandbox::new();
    sandbox.ok("set a 1 --ttl 1ms");
    sandbox.ok("set b 1");
    std::thread::sleep(std::time::Duration::from_millis(5));
    sandbox.fails(1, "get a");
    let purged = sandbox.sh("--json purge").json();
    assert!(purged["records"].as_u64().unwrap() <= 1);
    assert_eq!(sandbox.ok("purge"), "purged 0 expired records\n");
    assert_eq!(sandbox.keys(), ["b"]);
}
