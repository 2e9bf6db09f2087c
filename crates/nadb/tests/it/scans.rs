//! Ordered iteration, both ways.

use std::ops::Bound;

use nadb::{Iter, KeyRange, Namespace, Store};

fn letters() -> Namespace {
    let store = Store::memory().unwrap();
    // Neighbours that must not be seen.
    store.namespace("a").unwrap().set("zz", "").unwrap();
    store.namespace("z").unwrap().set("aa", "").unwrap();
    let n = store.namespace("n").unwrap();
    n.set_many(["d", "b", "a", "c", "ab", "\u{7f}"].map(|key| (key, key))).unwrap();
    n.set([0xFF, 0xFF], "last").unwrap();
    n.delete("d").unwrap();
    n
}

fn keys(iter: Iter) -> Vec<String> {
    iter.keys().map(|key| key.unwrap().escape_ascii().to_string()).collect()
}

#[test]
fn ranges_and_prefixes() {
    let n = letters();
    fn check(n: &Namespace, range: impl KeyRange, expected: &[&str]) {
        assert_eq!(keys(n.range(range).unwrap()), expected);
    }
    check(&n, .., &["a", "ab", "b", "c", "\\x7f", "\\xff\\xff"]);
    check(&n, "ab".."c", &["ab", "b"]);
    check(&n, "ab"..="c", &["ab", "b", "c"]);
    check(&n, .."b", &["a", "ab"]);
    check(&n, ..=b"b", &["a", "ab", "b"]);
    check(&n, vec![0xFF].., &["\\xff\\xff"]);
    check(&n, (Bound::Excluded("a"), Bound::Excluded("b")), &["ab"]);
    check(&n, "c".."a", &[]);
    check(&n, "a".."a", &[]);
    check(&n, "a"..="a", &["a"]);
    check(&n, (Bound::Excluded("a"), Bound::Excluded("a")), &[]);
    assert_eq!(keys(n.prefix("a").unwrap()), ["a", "ab"]);
    assert_eq!(keys(n.prefix("").unwrap()).len(), 6);
    assert_eq!(keys(n.prefix([0xFF]).unwrap()), ["\\xff\\xff"]);
    assert_eq!(keys(n.prefix("x").unwrap()).len(), 0);
}

#[test]
fn both_ends_meet() {
    let n = letters();
    let mut iter = n.range("a"..="c").unwrap();
    let mut next = |back: bool| {
        let entry = if back { iter.next_back() } else { iter.next() };
        entry.map(|entry| String::from_utf8(entry.unwrap().key).unwrap())
    };
    assert_eq!(next(false).as_deref(), Some("a"));
    assert_eq!(next(true).as_deref(), Some("c"));
    assert_eq!(next(true).as_deref(), Some("b"));
    assert_eq!(next(false).as_deref(), Some("ab"));
    assert_eq!((next(false), next(true)), (None, None));
    let reversed: Vec<_> = n.iter().unwrap().keys().rev().map(Result::unwrap).collect();
    assert_eq!(reversed[..2], [vec![0xFF, 0xFF], vec![0x7F]]);
}

#[test]
fn entries_are_whole_and_a_missing_namespace_is_empty() {
    let store = Store::memory().unwrap();
    let n = store.namespace("n").unwrap();
    assert_eq!(n.iter().unwrap().count(), 0);
    let written = n.put("k", "v").tags(["t"]).commit().unwrap();
    let entry = n.iter().unwrap().next().unwrap().unwrap();
    assert_eq!((entry.metadata.version, &entry.value[..]), (written.version, &b"v"[..]));
    assert_eq!(Some(entry), n.get_entry("k").unwrap());
}
