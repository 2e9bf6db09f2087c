//! Optional methods, durability classes, closing and opening again.

use nadb_core::{
    CompactionRequest, Durability, Error, ErrorKind, Feature, Result, ScanRequest, WriteOptions,
};

use crate::Subject;
use crate::subject::{N, delete, full, set};

pub(crate) fn durability_classes_work_or_are_refused(s: &mut Subject) {
    for class in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
        let options = WriteOptions::default().with_durability(Some(class));
        if s.backend().capabilities().durability.contains(&class) {
            s.backend().write(&[set("k", &format!("{class:?}"))], &options).unwrap();
            assert_eq!(s.get("k").unwrap(), format!("{class:?}").into_bytes());
            s.backend().write(&[delete("k")], &options).unwrap();
            assert!(!s.has("k"));
        } else {
            let error = s.refused_with(&[set("k", "v")], &options, ErrorKind::Unsupported);
            s.assert_unsupported(&error, &format!("{class:?}"));
            s.refused_with(&[delete("k")], &options, ErrorKind::Unsupported);
        }
    }
}

pub(crate) fn optional_methods_work_or_are_refused(s: &mut Subject) {
    s.set("a", "v");
    s.set("b", "v");
    let check = |feature: Feature, error: Option<Error>| match error {
        None => assert!(s.backend().capabilities().has(feature), "{feature} is not among the capabilities"),
        Some(error) => {
            assert!(!s.backend().capabilities().has(feature), "{feature}: {error}");
            s.assert_unsupported(&error, feature.name());
        }
    };
    check(Feature::Flush, s.backend().flush().err());
    check(Feature::Segments, s.backend().segments().err());
    check(Feature::Verify, s.backend().verify().err());
    check(Feature::Recovery, s.backend().recovery().err());
    check(Feature::Compact, s.backend().compact(&CompactionRequest::new()).err());
    assert_eq!(s.get("a").as_deref(), Some(&b"v"[..]), "compaction changes nothing");
    check(Feature::Snapshots, s.backend().snapshot().err());
    check(Feature::Streams, s.backend().reader(N, b"a").err());
    check(Feature::Streams, s.backend().writer(set("a", "w"), &WriteOptions::default()).err());
    let stats = s.backend().stats();
    if let Ok(stats) = &stats {
        assert_eq!((stats.keys, stats.namespaces), (2, 1));
    }
    check(Feature::Stats, stats.err());
}

pub(crate) fn a_closed_store_says_so(s: &mut Subject) {
    s.set("a", "1");
    s.set("b", "2");
    let before = s.backend().capabilities().clone();
    s.close();
    let backend = s.backend();
    let closed = |what: &str, result: Result<()>| match result {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{what}: {error}"),
        Ok(()) => panic!("{what} works on a closed store"),
    };
    closed("set", backend.write(&[set("a", "3")], &WriteOptions::default()).map(drop));
    closed("delete", backend.write(&[delete("none")], &WriteOptions::default()).map(drop));
    closed("get", backend.get(N, b"a").map(drop));
    closed("get_with", backend.get_with(N, b"a", &mut |_| panic!("a value is shown")).map(drop));
    closed("get of nothing", backend.get("none", b"a").map(drop));
    closed("get_entry", backend.get_entry(N, b"a").map(drop));
    closed("metadata", backend.metadata(N, b"a").map(drop));
    closed("contains", backend.contains(N, b"a").map(drop));
    closed("get_many", backend.get_many(N, &[b"a"]).map(drop));
    closed(
        "scan",
        backend.scan(N, ScanRequest::all()).and_then(|mut scan| scan.next().transpose()).map(drop),
    );
    closed("namespaces", backend.namespaces().map(drop));
    closed("drop_namespace", backend.drop_namespace(N).map(drop));
    let optional = [
        (Feature::Flush, backend.flush()),
        (Feature::Stats, backend.stats().map(drop)),
        (Feature::Segments, backend.segments().map(drop)),
        (Feature::Snapshots, backend.snapshot().map(drop)),
        (Feature::Streams, backend.reader(N, b"a").map(drop)),
        (Feature::Streams, backend.writer(set("a", "w"), &WriteOptions::default()).map(drop)),
        (Feature::Verify, backend.verify().map(drop)),
        (Feature::Compact, backend.compact(&CompactionRequest::new()).map(drop)),
    ];
    for (feature, result) in optional {
        if backend.capabilities().has(feature) {
            closed(feature.name(), result);
        }
    }
    backend.close().expect("closing again does nothing");
    assert_eq!(*backend.capabilities(), before);
    assert_eq!(backend.recovery().is_ok(), before.has(Feature::Recovery));
}

pub(crate) fn a_store_opened_again_is_as_it_was(s: &mut Subject) {
    if !s.can_reopen() {
        return;
    }
    for i in 0..50 {
        s.one(full(&format!("k{i}"), &format!("v{i}")));
    }
    for i in 0..10 {
        s.delete(format!("k{i}"));
        s.set(format!("k{}", i + 10), "");
        s.set_in("other", &format!("{i}"), "v");
    }
    s.set_in("dropped", "k", "v");
    s.set("gone", "v");
    s.delete("gone");
    assert!(s.backend().drop_namespace("dropped").unwrap());
    let before = s.everything();
    let capabilities = s.backend().capabilities().clone();
    for _ in 0..2 {
        assert!(s.reopen());
        assert!(s.everything() == before, "a store opened again is not as it was");
        assert_eq!(*s.backend().capabilities(), capabilities);
    }
    assert!(!s.has("gone") && !s.backend().contains("dropped", b"k").unwrap());
    assert!(s.delete("k20").existed);
}

pub(crate) fn versions_go_on_after_opening_again(s: &mut Subject) {
    if !s.can_reopen() {
        return;
    }
    let mut last = [0; 3];
    for _ in 0..3 {
        for (key, last) in ["set", "deleted", "dropped"].into_iter().zip(&mut last) {
            let version = match key {
                "dropped" => s.set_in("dropped", "k", "v").version.unwrap(),
                _ => s.set_version(key, "v"),
            };
            assert!(version > *last, "{key}: {version} does not follow {last}");
            *last = version;
        }
        s.delete("deleted");
        assert!(s.backend().drop_namespace("dropped").unwrap());
        assert!(s.reopen());
        assert_eq!(s.metadata("set").version, last[0]);
    }
}
