//! Snapshots as users hold them, on files: segments are sealed while they are open.

use std::thread;

use nadb::{ErrorKind, Store, StoreBuilder};

fn builder(dir: &tempfile::TempDir) -> StoreBuilder {
    Store::builder().path(dir.path().join("data")).memtable_size(8 << 10)
}

fn name(i: usize) -> String {
    format!("k{i:03}")
}

/// What was there stays there over sealing, whichever way files are read; afterwards, memory is given back.
fn a_snapshot_outlives_the_segment_it_was_taken_in(builder: StoreBuilder) {
    let store = builder.open().unwrap();
    let n = store.namespace("n").unwrap();
    n.set_many((0..200).map(|i| (name(i), vec![b'1'; i]))).unwrap();
    let snapshot = store.snapshot().unwrap();
    for round in 0..5 {
        for i in (0..200).step_by(2) {
            n.set(name(i), vec![b'2' + round; 100]).unwrap();
        }
    }
    for i in (1..200).step_by(2) {
        n.delete(name(i)).unwrap();
    }
    let stats = store.stats().unwrap();
    assert_eq!(stats.views, 1);
    assert!(stats.remembered_deaths >= 200 && stats.oldest_view.is_some(), "{stats:?}");
    // What the snapshot has is compacted away under it, or not.
    assert!(store.compact().unwrap().dropped_dead > 0 || store.stats().unwrap().compactions > 0);

    let then = snapshot.namespace("n").unwrap();
    for i in 0..200 {
        assert_eq!(then.get(name(i)).unwrap().unwrap(), vec![b'1'; i], "{i}");
    }
    let forward: Vec<_> = then.iter().unwrap().map(|entry| entry.unwrap().value.len()).collect();
    assert_eq!(forward, (0..200).collect::<Vec<_>>());
    let backward: Vec<_> = then.iter().unwrap().rev().map(|entry| entry.unwrap().value.len()).collect();
    assert_eq!(backward, (0..200).rev().collect::<Vec<_>>());
    assert_eq!(n.iter().unwrap().count(), 100);

    drop((snapshot, then));
    let stats = store.stats().unwrap();
    assert_eq!((stats.views, stats.remembered_deaths, stats.oldest_view), (0, 0, None));
    store.verify().unwrap();
    store.close().unwrap();
}

#[test]
fn mapped() {
    let dir = tempfile::tempdir().unwrap();
    a_snapshot_outlives_the_segment_it_was_taken_in(builder(&dir));
}

#[test]
fn with_positioned_reads() {
    let dir = tempfile::tempdir().unwrap();
    a_snapshot_outlives_the_segment_it_was_taken_in(builder(&dir).positioned_reads(true));
    // The way of reading is not in the files.
    let store = builder(&dir).open().unwrap();
    assert_eq!(store.namespace("n").unwrap().iter().unwrap().count(), 100);
}

#[test]
fn a_snapshot_keeps_the_store_open_and_its_iterators_outlive_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = builder(&dir).open().unwrap();
    store.namespace("n").unwrap().set_many([("a", "1"), ("b", "2")]).unwrap();
    let snapshot = store.snapshot().unwrap();
    drop(store);
    assert_eq!(builder(&dir).open().unwrap_err().kind(), ErrorKind::Locked);
    let then = snapshot.namespace("n").unwrap();
    let clone = then.clone();
    drop((snapshot, then));
    let read = thread::spawn(move || clone.get("a").unwrap().unwrap()).join().unwrap();
    assert_eq!(read, b"1");

    let store = builder(&dir).open().unwrap();
    let mut iter = store.snapshot().unwrap().namespace("n").unwrap().iter().unwrap();
    store.namespace("n").unwrap().delete("b").unwrap();
    assert_eq!(iter.next_back().unwrap().unwrap().value, b"2");
    store.close().unwrap();
    assert_eq!(iter.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn several_namespaces_are_of_one_moment() {
    let store = Store::memory().unwrap();
    let read = |snapshot: &nadb::Snapshot, space: &str| {
        let value = snapshot.namespace(space).unwrap().get("k").unwrap();
        value.map(|value| String::from_utf8(value.to_vec()).unwrap())
    };
    let both = |number: usize| {
        let mut batch = store.batch();
        batch.set("a", "k", number.to_string()).set("b", "k", number.to_string());
        batch.commit().unwrap();
    };
    let empty = store.snapshot().unwrap();
    assert_eq!((empty.version(), empty.namespaces().unwrap().len()), (0, 0));
    thread::scope(|scope| {
        scope.spawn(|| (0..300).for_each(both));
        let mut last = 0;
        for _ in 0..300 {
            let snapshot = store.snapshot().unwrap();
            assert_eq!(read(&snapshot, "a"), read(&snapshot, "b"));
            assert!(snapshot.version() >= last);
            last = snapshot.version();
        }
    });
    assert_eq!(read(&empty, "a"), None);
    assert_eq!(read(&store.snapshot().unwrap(), "b").as_deref(), Some("299"));
}

#[test]
fn input_is_checked_and_what_it_is_can_be_printed() {
    let store = Store::memory().unwrap();
    let snapshot = store.snapshot().unwrap();
    assert_eq!(snapshot.namespace("").unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(snapshot.namespace("a\0b").unwrap_err().kind(), ErrorKind::InvalidInput);
    let n = snapshot.namespace("n").unwrap();
    assert_eq!(n.get("").unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(n.get_many(["k", ""]).unwrap_err().kind(), ErrorKind::Limit);
    assert_eq!(format!("{snapshot:?}"), "Snapshot { version: 0, backend: Backend(\"engine\"), .. }");
    assert_eq!(format!("{n:?}"), "SnapshotNamespace { name: \"n\", version: 0, .. }");
}
