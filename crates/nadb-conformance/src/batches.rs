//! Batches: in order, and all or nothing. Their keys share a `{…}`, so that every backend takes them in one batch.

use nadb_core::{Action, Add, Append, BatchAtomicity, Condition, ErrorKind, ExpiryUpdate, Operation, Put};

use crate::Subject;
use crate::subject::{N, delete, expiring, full, merge, put, set, tags};

pub(crate) fn later_operations_see_earlier_ones(s: &mut Subject) {
    s.set("{b}old", "1");
    let mut keep = Put::new(b"w".as_slice());
    keep.tags = nadb_core::TagsUpdate::Keep;
    keep.expiry = ExpiryUpdate::Keep;
    let outcomes = s.write(&[
        set("{b}new", "5").when(Condition::IfAbsent),
        merge("{b}new", Add, b"2").when(Condition::IfPresent),
        merge("{b}new", Add, b"3"),
        delete("{b}old").when(Condition::IfPresent),
        delete("{b}old"),
        merge("{b}old", Append, b"x").when(Condition::IfAbsent),
        full("{b}full", "v"),
        put("{b}full", keep),
        set("{b}gone", "v"),
        delete("{b}gone"),
    ]);
    let merged: Vec<_> = outcomes.iter().map(|outcome| outcome.merged.as_deref()).collect();
    assert_eq!((merged[1], merged[2], merged[5]), (Some(&b"7"[..]), Some(&b"10"[..]), Some(&b"x"[..])));
    let existed: Vec<_> = outcomes.iter().map(|outcome| outcome.existed).collect();
    assert_eq!(existed, [false, true, true, true, false, false, false, true, false, true]);
    let exists: Vec<_> = outcomes.iter().map(|outcome| outcome.exists).collect();
    assert_eq!(exists, [true, true, true, false, false, true, true, true, true, false]);
    assert_eq!(s.get("{b}new").unwrap(), b"10");
    assert_eq!(s.get("{b}old").unwrap(), b"x");
    assert!(!s.has("{b}gone"));
    let metadata = s.metadata("{b}full");
    assert_eq!(metadata.tags.iter().collect::<Vec<_>>(), ["green", "red"]);
    assert_eq!(metadata.expires_ms, Some(crate::subject::YEAR_2100_MS));
    assert!(metadata.content_type.is_none());
}

pub(crate) fn the_last_write_to_a_key_counts(s: &mut Subject) {
    let mut tagged = Put::new(b"2".as_slice());
    tagged.tags = tags(&["t"]);
    let outcomes = s.write(&[set("{b}k", "1"), put("{b}k", tagged), set("{b}k", "3")]);
    assert_eq!(s.get("{b}k").unwrap(), b"3");
    let metadata = s.metadata("{b}k");
    assert!(metadata.tags.is_empty());
    assert_eq!(Some(metadata.version), outcomes[2].version);
    assert_eq!(s.keys(N), [b"{b}k"]);
    s.write(&[delete("{b}k"), set("{b}k", "4"), delete("{b}k")]);
    assert!(!s.has("{b}k"));
    s.write(&[set("{b}k", "5"), delete("{b}k"), set("{b}k", "6")]);
    assert_eq!(s.get("{b}k").unwrap(), b"6");
}

pub(crate) fn a_failed_condition_leaves_nothing_of_a_batch(s: &mut Subject) {
    let failing = || delete("{b}missing").when(Condition::IfPresent);
    let none = ErrorKind::PreconditionFailed { current: None };
    s.refused(&[set("{b}a", "1"), failing()], none);
    assert!(s.backend().namespaces().unwrap().is_empty(), "a batch that failed creates no namespace");
    let version = s.one(full("{b}a", "1")).version;
    s.set("{b}n", "5");
    let taken = ErrorKind::PreconditionFailed { current: version };
    let mine = || set("{b}a", "2").when(Condition::IfAbsent);
    s.refused(&[delete("{b}n"), mine()], taken);
    s.refused(&[merge("{b}n", Add, b"1"), set("{b}c", "1"), mine(), set("{b}d", "1")], taken);
    s.refused(&[mine(), delete("{b}n")], taken);
    assert_eq!(s.get("{b}n").unwrap(), b"5");
    assert!(s.set_version("{b}a", "3") > version.unwrap());
}

pub(crate) fn a_failed_merge_leaves_nothing_of_a_batch(s: &mut Subject) {
    s.set("{b}text", "x");
    s.set("{b}n", i64::MAX.to_string());
    s.refused(&[set("{b}a", "1"), merge("{b}text", Add, b"1")], ErrorKind::InvalidInput);
    s.refused(&[delete("{b}text"), merge("{b}n", Add, b"1"), set("{b}b", "1")], ErrorKind::Limit);
    // The same, where the batch itself makes it fail.
    s.refused(&[set("{b}new", "y"), merge("{b}new", Add, b"1")], ErrorKind::InvalidInput);
}

pub(crate) fn a_wrong_operation_leaves_nothing_of_a_batch(s: &mut Subject) {
    let error = s.refused(&[set("{b}a", "1"), set("", "no key")], ErrorKind::Limit);
    assert!(error.to_string().contains("key has 0 bytes"), "{error}");
    let zero = expiring("{b}b", ExpiryUpdate::After(std::time::Duration::ZERO));
    s.refused(&[zero, set("{b}a", "1")], ErrorKind::InvalidInput);
    let no_name = Operation::new("", b"{b}k".as_slice(), Action::Delete);
    s.refused(&[set("{b}a", "1"), no_name], ErrorKind::Limit);
    assert!(s.backend().namespaces().unwrap().is_empty());
}

pub(crate) fn no_version_matches_what_the_batch_itself_wrote(s: &mut Subject) {
    let first = s.set_version("{b}k", "1");
    for guess in [first, first + 1, first + 2] {
        let batch = [set("{b}k", "2"), set("{b}k", "3").when(Condition::IfVersion(guess))];
        let error = s.try_write(&batch).expect_err("no version matches what the batch itself wrote");
        assert!(matches!(error.kind(), ErrorKind::PreconditionFailed { .. }), "{error}");
        assert_eq!(s.get("{b}k").unwrap(), b"1");
    }
    s.write(&[set("{b}k", "2").when(Condition::IfVersion(first)), set("{b}k", "3")]);
    assert_eq!(s.get("{b}k").unwrap(), b"3");
}

fn all_or_unsupported(s: &Subject, batch: &[Operation<'_>]) -> bool {
    match s.try_write(batch) {
        Ok(_) => true,
        Err(error) => {
            let refuses = s.backend().capabilities().batches != BatchAtomicity::All;
            assert!(refuses && error.kind() == ErrorKind::Unsupported, "{error}");
            s.refused(batch, ErrorKind::Unsupported);
            false
        }
    }
}

pub(crate) fn batches_span_namespaces_or_are_refused(s: &mut Subject) {
    let in_namespace =
        |namespace: &'static str, action| Operation::new(namespace, b"{b}k".as_slice(), action);
    let value = |value: &'static str| Action::Put(Put::new(value.as_bytes()));
    if !all_or_unsupported(s, &[in_namespace("a", value("1")), in_namespace("b", value("2"))]) {
        return;
    }
    assert_eq!(s.backend().get("a", b"{b}k").unwrap().unwrap(), b"1");
    assert_eq!(s.backend().get("b", b"{b}k").unwrap().unwrap(), b"2");
    let failing = in_namespace("c", value("3")).when(Condition::IfPresent);
    let batch = [in_namespace("a", Action::Delete), in_namespace("d", value("4")), failing];
    s.refused(&batch, ErrorKind::PreconditionFailed { current: None });
    let outcomes = s.write(&[in_namespace("b", Action::Delete), in_namespace("a", value("5"))]);
    assert!(outcomes[0].existed && outcomes[1].existed);
    assert!(!s.backend().contains("b", b"{b}k").unwrap());
    assert_eq!(s.backend().get("a", b"{b}k").unwrap().unwrap(), b"5");
}

pub(crate) fn batches_span_any_keys_or_are_refused(s: &mut Subject) {
    let keys: Vec<String> = (0..100).map(|i| format!("key {i}")).collect();
    let batch: Vec<_> = keys.iter().map(|key| set(key, key)).collect();
    if all_or_unsupported(s, &batch) {
        assert_eq!(s.keys(N).len(), 100);
        assert_eq!(s.get("key 77").unwrap(), b"key 77");
    }
    // Within one bucket every backend takes them.
    let keys: Vec<String> = (0..100).map(|i| format!("{{b}}{i}")).collect();
    let batch: Vec<_> = keys.iter().map(|key| set(key, key)).collect();
    s.write(&batch);
    assert!(keys.iter().all(|key| s.get(key).is_some_and(|value| value == *key.as_bytes())));
}

pub(crate) fn an_empty_batch_does_nothing(s: &mut Subject) {
    assert!(s.write(&[]).is_empty());
    assert!(s.backend().namespaces().unwrap().is_empty());
}
