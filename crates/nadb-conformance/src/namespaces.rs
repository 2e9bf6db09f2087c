//! Namespaces: made by their first record, dropped with everything in them, made again empty.

use std::collections::BTreeMap;
use std::time::Duration;

use nadb_core::ErrorKind;
use nadb_core::limits::NAMESPACE_BYTES_MAX;

use crate::Subject;
use crate::subject::{N, full};

fn counts(s: &Subject) -> BTreeMap<String, u64> {
    s.backend().namespaces().unwrap().into_iter().map(|n| (n.name, n.keys)).collect()
}

pub(crate) fn a_namespace_comes_with_its_first_record(s: &mut Subject) {
    assert!(counts(s).is_empty());
    s.set_in("b", "k", "v");
    s.set_in("a/b", "k", "v");
    s.set_in("a/b", "l", "v");
    s.set_in("a/b", "l", "w");
    assert_eq!(counts(s), BTreeMap::from([("a/b".into(), 2), ("b".into(), 1)]));
    s.set("k", "v");
    s.delete("k");
    assert_eq!(counts(s).get(N), Some(&0), "a namespace stays without its records");
}

pub(crate) fn a_namespace_may_have_any_name(s: &mut Subject) {
    let longest = "n".repeat(NAMESPACE_BYTES_MAX);
    let names =
        ["a", "A", " ", "..", "/", "a/", "/a", "a//b", "{a}", "*", "\u{1F980}", "a\nb", "CON", &longest];
    for name in names {
        s.set_in(name, "k", name);
    }
    assert_eq!(counts(s).len(), names.len());
    for name in names {
        assert_eq!(counts(s).get(name), Some(&1), "{name:?}");
        assert_eq!(s.backend().get(name, b"k").unwrap().unwrap(), name.as_bytes());
    }
    for name in names {
        assert!(s.backend().drop_namespace(name).unwrap(), "{name:?}");
    }
    assert!(counts(s).is_empty());
}

pub(crate) fn a_dropped_namespace_is_gone_and_others_stay(s: &mut Subject) {
    assert!(!s.backend().drop_namespace(N).unwrap());
    for i in 0..100 {
        s.set(format!("{i}"), "v");
    }
    s.set_in("n/below", "k", "v");
    s.set_in("nn", "k", "v");
    assert!(s.backend().drop_namespace(N).unwrap());
    assert_eq!(counts(s), BTreeMap::from([("n/below".into(), 1), ("nn".into(), 1)]));
    assert!(s.get("1").is_none() && !s.has("1") && s.keys(N).is_empty());
    assert!(!s.delete("1").existed);
    assert!(s.backend().contains("n/below", b"k").unwrap() && s.backend().contains("nn", b"k").unwrap());
    assert!(!s.backend().drop_namespace(N).unwrap());
    for (name, kind) in [("", ErrorKind::Limit), ("a\0b", ErrorKind::InvalidInput)] {
        assert_eq!(s.backend().drop_namespace(name).unwrap_err().kind(), kind);
    }
}

pub(crate) fn a_namespace_made_again_is_empty(s: &mut Subject) {
    for round in 0..3 {
        let outcome = s.one(full("k", "v"));
        assert!(!outcome.existed, "round {round}");
        s.set("only here", "v");
        let before = s.metadata("k");
        s.pass(Duration::from_millis(10));
        assert!(s.backend().drop_namespace(N).unwrap());
        assert!(!s.set("k", "w").existed);
        let after = s.metadata("k");
        assert!(after.tags.is_empty() && after.created_ms > before.created_ms, "{after:?}");
        assert_eq!(s.keys(N), [b"k"]);
        assert_eq!(counts(s), BTreeMap::from([(N.into(), 1)]));
        assert!(s.backend().drop_namespace(N).unwrap());
    }
}
