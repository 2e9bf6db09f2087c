//! Batches are all or nothing, in order, across namespaces.

use std::time::Duration;

use nadb::merge::{Append, Max, Min};
use nadb::{ErrorKind, Store};

#[test]
fn later_operations_see_earlier_ones() {
    let store = Store::memory().unwrap();
    let mut batch = store.batch();
    batch
        .set("a", "k", "1")
        .incr("a", "k", 4)
        .set("b", "k", "x")
        .merge("b", "k", Append, "y")
        .delete("a", "gone");
    batch.put("a", "only-once", "v").if_absent();
    batch.put("a", "only-once", "w").if_present().tags(["t"]);
    assert_eq!(batch.len(), 7);
    let outcomes = batch.commit().unwrap();
    let existed: Vec<bool> = outcomes.iter().map(|outcome| outcome.existed).collect();
    assert_eq!(existed, [false, true, false, true, false, false, true]);
    assert_eq!(outcomes[4].version, None);
    let (a, b) = (store.namespace("a").unwrap(), store.namespace("b").unwrap());
    assert_eq!(a.get("k").unwrap().unwrap(), b"5");
    assert_eq!(b.get("k").unwrap().unwrap(), b"xy");
    assert!(a.get_entry("only-once").unwrap().unwrap().metadata.tags.contains("t"));
}

#[test]
fn one_bad_operation_undoes_all() {
    let store = Store::memory().unwrap();
    store.namespace("n").unwrap().set("word", "w").unwrap();
    type Spoil = fn(&mut nadb::Batch);
    let spoils: [(Spoil, ErrorKind); 8] = [
        (|b| _ = b.put("n", "word", "").if_absent(), ErrorKind::PreconditionFailed { current: Some(1) }),
        (|b| _ = b.remove("n", "none").if_present(), ErrorKind::PreconditionFailed { current: None }),
        (|b| _ = b.put("n", "t", "").tags([""]), ErrorKind::Limit),
        (|b| _ = b.put("n", "t", "").ttl(Duration::ZERO), ErrorKind::InvalidInput),
        (|b| _ = b.put("n", "t", "").content_type("x".repeat(256)), ErrorKind::Limit),
        (|b| _ = b.put("n", "t", "").attr("", "v"), ErrorKind::Limit),
        (|b| _ = b.incr("n", "word", 1), ErrorKind::InvalidInput),
        (|b| _ = b.set("bad\0name", "k", "v"), ErrorKind::InvalidInput),
    ];
    for (at, (spoil, expected)) in spoils.into_iter().enumerate() {
        let mut batch = store.batch();
        batch.set("n", "before", "v").set("other", "before", "v");
        spoil(&mut batch);
        batch.set("n", "after", "v");
        let kind = batch.commit().unwrap_err().kind();
        match (kind, expected) {
            (
                ErrorKind::PreconditionFailed { current },
                ErrorKind::PreconditionFailed { current: expected },
            ) => {
                assert_eq!(current.is_some(), expected.is_some(), "{at}");
            }
            _ => assert_eq!(kind, expected, "{at}"),
        }
        let keys: Vec<_> = store.namespace("n").unwrap().iter().unwrap().keys().map(Result::unwrap).collect();
        assert_eq!(keys, [b"word"], "{at}");
        assert_eq!(store.namespaces().unwrap().len(), 1, "{at}");
    }
}

#[test]
fn an_empty_batch_does_not_touch_the_store() {
    let store = Store::memory().unwrap();
    let (before, n) = (store.stats().unwrap().batches, store.namespace("n").unwrap());
    assert!(store.batch().commit().unwrap().is_empty());
    assert!(n.set_many::<&str, &str>([]).unwrap().is_empty());
    assert!(n.delete_many::<&str>([]).unwrap().is_empty());
    assert_eq!(store.stats().unwrap().batches, before);
    let batch = store.batch();
    store.close().unwrap();
    assert!(batch.commit().unwrap().is_empty());
}

#[test]
fn a_batch_owns_its_data_and_may_go_to_another_thread() {
    let store = Store::memory().unwrap();
    let mut batch = store.batch();
    {
        let (key, value) = (String::from("k"), vec![1, 2, 3]);
        batch.set("n", &key, &value);
    }
    std::thread::spawn(move || batch.commit()).join().unwrap().unwrap();
    assert_eq!(store.namespace("n").unwrap().get("k").unwrap().unwrap(), [1, 2, 3]);
}

#[test]
fn several_keys_of_one_namespace() {
    let n = Store::memory().unwrap().namespace("n").unwrap();
    let written = n.set_many([("a", "1"), ("b", "2"), ("a", "3")]).unwrap();
    assert_eq!(written.iter().map(|w| w.created).collect::<Vec<_>>(), [true, true, false]);
    let values = n.get_many(["b", "x", "a"]).unwrap();
    assert_eq!(values.iter().map(|v| v.as_deref()).collect::<Vec<_>>(), [Some(&b"2"[..]), None, Some(b"3")]);
    assert_eq!(n.exists_many(["a", "x"]).unwrap(), [true, false]);
    assert_eq!(n.delete_many(["a", "x", "a"]).unwrap(), [true, false, false]);
    assert!(n.set_many([("fine", "1"), ("", "2")]).is_err());
    assert!(n.delete_many(["b", ""]).is_err());
    assert_eq!(n.exists_many(["fine", "b"]).unwrap(), [false, true]);
}

#[test]
fn merges() {
    let n = Store::memory().unwrap().namespace("n").unwrap();
    n.put("k", "5")
        .tags(["t"])
        .ttl(Duration::from_secs(60))
        .content_type("text/plain")
        .attr("a", "b")
        .commit()
        .unwrap();
    let before = n.metadata("k").unwrap().unwrap();
    assert_eq!(n.merge("k", Min, "3").unwrap(), b"3");
    assert_eq!(n.merge("k", Max, "9").unwrap(), b"9");
    assert_eq!(n.decr("k", 2).unwrap(), 7);
    let after = n.metadata("k").unwrap().unwrap();
    assert!(after.version > before.version);
    let kept = |m: &nadb::Metadata| {
        (m.tags.clone(), m.expires_ms, m.content_type.clone(), m.attrs.clone(), m.created_ms)
    };
    assert_eq!(kept(&after), kept(&before));
    assert_eq!(n.decr("k", i64::MIN).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(n.incr("k", i64::MAX).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(n.get("k").unwrap().unwrap(), b"7");
}

#[test]
fn a_condition_that_fails_says_which_operation_it_was() {
    let store = Store::memory().unwrap();
    let written = store.namespace("a").unwrap().set("there", "v").unwrap();
    let mut batch = store.batch();
    batch.set("a", "k", "v");
    batch.put("a", "there", "w").if_absent();
    let error = batch.commit().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PreconditionFailed { current: Some(written.version) });
    assert!(error.to_string().starts_with("operation 2 of 2: "), "{error}");
    assert!(!store.namespace("a").unwrap().contains("k").unwrap());
}
