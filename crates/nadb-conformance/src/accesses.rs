//! When keys were last read: what counts as a read, what keeps the time and what ends it, and queries by it.
//!
//! How coarse the times are is the backend's own, so the checks ask whether a read is known, and between which moments.

use nadb_core::query::Span;
use nadb_core::{
    Action, Append, ErrorKind, ExpiryUpdate, Feature, Filter, Operation, Put, QueryRequest, ScanRequest,
};

use crate::Subject;
use crate::subject::{N, YEAR_2100_MS, delete, expiring, merge, put, set};

/// Whether there is anything to check; where not, no read is known, and queries by them are refused.
fn has_last_access(s: &Subject) -> bool {
    if s.backend().capabilities().has(Feature::LastAccess) {
        return true;
    }
    s.set("k", "v");
    assert!(
        s.get("k").is_some() && s.backend().touch(N, b"k").unwrap() && !s.backend().touch(N, b"no").unwrap()
    );
    assert_eq!(s.metadata("k").accessed_ms, None);
    for filter in [known(), !known(), Filter::tag("a").and(Filter::all().or(known()))] {
        let request = QueryRequest::new(filter.clone());
        let errors = [s.backend().query(N, &request).err(), s.backend().count(N, &filter).err()];
        for error in errors {
            s.assert_unsupported(
                &error.expect("a query by last access is refused"),
                Feature::LastAccess.name(),
            );
        }
    }
    false
}

/// Keys of which a read is known.
fn known() -> Filter {
    Filter::Accessed(Span::ALL)
}

fn is_known(s: &Subject, key: &str) -> bool {
    s.metadata(key).accessed_ms.is_some()
}

fn keys_of(s: &Subject, filter: Filter) -> Vec<Vec<u8>> {
    let count = s.backend().count(N, &filter).unwrap();
    let mut matches = s.backend().query(N, &QueryRequest::new(filter)).unwrap();
    let keys: Vec<Vec<u8>> = std::iter::from_fn(|| matches.next_key()).map(Result::unwrap).collect();
    assert_eq!(count, keys.len() as u64);
    keys
}

pub(crate) fn reads_of_a_key_are_known_and_looks_are_not(s: &mut Subject) {
    if !has_last_access(s) {
        return;
    }
    let keys = ["entry", "get", "many", "reader", "touch", "unread", "with"];
    keys.iter().for_each(|key| _ = s.set(key, "v"));
    let b = s.backend();
    // Looking at everything in every way that is no read.
    b.scan(N, ScanRequest::all()).unwrap().for_each(|entry| assert_eq!(entry.unwrap().value, b"v"));
    let matches = b.query(N, &QueryRequest::new(Filter::all())).unwrap();
    matches.for_each(|entry| assert_eq!(entry.unwrap().metadata.accessed_ms, None));
    for key in keys {
        assert!(s.has(key) && !is_known(s, key) && !is_known(s, key), "{key}");
    }
    if b.capabilities().has(Feature::Snapshots) {
        let snapshot = b.snapshot().unwrap();
        assert!(snapshot.get(N, b"unread").unwrap().is_some());
        assert!(snapshot.get_entry(N, b"unread").unwrap().is_some());
    }
    assert!(s.get("get").is_some());
    assert!(b.get_with(N, b"with", &mut |_| {}).unwrap());
    assert_eq!(b.get_many(N, &[b"many", b"none"]).unwrap().len(), 2);
    assert!(b.touch(N, b"touch").unwrap() && !b.touch(N, b"none").unwrap());
    if !b.capabilities().has(Feature::Streams) {
        assert!(s.get("reader").is_some());
    } else {
        assert!(b.reader(N, b"reader").unwrap().is_some());
    }
    let entry = b.get_entry(N, b"entry").unwrap().unwrap();
    assert_eq!(entry.metadata.accessed_ms, None, "what was known before");
    for key in keys {
        let metadata = s.metadata(key);
        assert_eq!(metadata.accessed_ms.is_some(), key != "unread", "{key}");
        let at = metadata.accessed_ms.unwrap_or(metadata.created_ms);
        assert!(metadata.created_ms <= at && at <= b.now_ms().unwrap(), "{metadata:?}");
    }
    let listed = b.scan(N, ScanRequest::all()).unwrap().map(Result::unwrap);
    let listed: Vec<bool> = listed.map(|entry| entry.metadata.accessed_ms.is_some()).collect();
    assert_eq!(listed, keys.map(|key| key != "unread"));
    assert!(b.get_entry(N, b"entry").unwrap().unwrap().metadata.accessed_ms.is_some());
}

pub(crate) fn a_last_access_outlives_overwrites_and_ends_with_its_key(s: &mut Subject) {
    if !has_last_access(s) {
        return;
    }
    s.set("k", "v");
    assert!(s.get("k").is_some());
    let first = s.metadata("k").accessed_ms;
    assert!(first.is_some());
    let expire = |update| Operation::new(N, b"k".as_slice(), Action::Expire(update));
    s.set("k", "w");
    assert_eq!(s.metadata("k").accessed_ms, first, "a put keeps it");
    s.merge("k", Append, b"!").unwrap();
    assert_eq!(s.metadata("k").accessed_ms, first, "a merge keeps it");
    if s.backend().capabilities().has(Feature::Expire) {
        s.one(expire(ExpiryUpdate::AtMs(YEAR_2100_MS)));
        assert_eq!(s.metadata("k").accessed_ms, first, "another expiry keeps it");
    }
    let atomic: Vec<_> = vec![set("k", "1"), merge("k", Append, b"2")];
    s.write(&atomic);
    assert_eq!(s.metadata("k").accessed_ms, first, "a batch keeps it");
    s.delete("k");
    s.set("k", "v");
    assert!(!is_known(s, "k"), "a delete ends it");
    assert!(s.get("k").is_some() && is_known(s, "k"));
    s.write(&[delete("k"), set("k", "v")]);
    assert!(!is_known(s, "k"), "a delete in a batch ends it");
    assert!(s.get("k").is_some());
    s.one(expiring("k", ExpiryUpdate::After(crate::subject::TTL)));
    s.pass_ttl();
    s.set("k", "v");
    assert!(!is_known(s, "k"), "an expiry ends it");
    assert!(s.get("k").is_some() && is_known(s, "k"));
    if s.reopen() {
        assert!(is_known(s, "k") && s.get("k").is_some());
    }
}

pub(crate) fn queries_find_by_last_access(s: &mut Subject) {
    if !has_last_access(s) {
        return;
    }
    let mut tagged = Put::new(b"v".as_slice());
    tagged.tags = crate::subject::tags(&["t"]);
    for key in ["a", "b", "c", "d"] {
        s.one(put(key, tagged.clone()));
    }
    assert!(keys_of(s, known()).is_empty());
    assert!(s.get("b").is_some() && s.get("d").is_some());
    assert_eq!(keys_of(s, known()), [b"b", b"d"]);
    assert_eq!(keys_of(s, !known()), [b"a", b"c"]);
    assert_eq!(keys_of(s, Filter::tag("t").and(!known())), [b"a", b"c"]);
    assert_eq!(keys_of(s, known().or(Filter::Prefix(b"a".to_vec()))), [b"a", b"b", b"d"]);
    let at = s.metadata("b").accessed_ms.unwrap();
    assert!(keys_of(s, Filter::Accessed(Span::of(at..=at))).contains(&b"b".to_vec()));
    assert!(keys_of(s, Filter::Accessed(Span::of(at + 120_000..))).is_empty(), "two minutes on");
    assert!(!keys_of(s, Filter::Accessed(Span::of(..at))).contains(&b"b".to_vec()));
    s.set("b", "w");
    s.delete("d");
    assert_eq!(keys_of(s, known()), [b"b"]);
    let wrong = QueryRequest::new(known().and(Filter::tag("")));
    assert_eq!(s.backend().query(N, &wrong).err().unwrap().kind(), ErrorKind::Limit);
    if s.reopen() {
        assert_eq!(keys_of(s, known()), [b"b"]);
        assert_eq!(keys_of(s, !known()), [b"a", b"c"]);
    }
}
