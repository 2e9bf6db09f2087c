//! Who holds what a compaction has replaced goes on reading it, and its files stay until then.

use nadb_core::ValueReader;
use nadb_vfs::RealFs;

use super::*;

fn files(store: &Store, suffix: &str) -> Vec<String> {
    let entries = store.place.fs.list(&store.place.dir).unwrap();
    entries.into_iter().map(|entry| entry.name).filter(|name| name.ends_with(suffix)).collect()
}

/// Whether what was replaced goes, and so many blobs are left. Memory that some other thread reads goes a little later.
fn comes_to(store: &Store, blobs: usize) -> bool {
    (0..1000).any(|_| {
        store.engine.maintain().unwrap();
        std::thread::yield_now();
        files(store, ".seg").len() == store.engine.segments().unwrap().len()
            && files(store, ".blob").len() == blobs
    })
}

/// On a simulated disk and on a real one.
fn places() -> (tempfile::TempDir, [Place; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let real = Place::new(RealFs, &folder.path().join("store"));
    (folder, [Place::new(SimFs::new(1), Path::new("/store")), real])
}

fn large(byte: u8) -> Vec<u8> {
    (0..ABOVE + 500).map(|n| byte ^ n.to_le_bytes()[0]).collect()
}

fn set_large(store: &Store, key: &str, byte: u8) {
    store.act(key, Action::Put(Put::new(large(byte))));
}

fn touch(store: &Store, key: &str) {
    store.act(key, Action::Expire(ExpiryUpdate::AtMs(NOW_MS + 1_000_000)));
}

#[test]
fn a_replaced_file_stays_while_a_snapshot_has_it() {
    let (_folder, places) = places();
    for place in places {
        let store = place.open();
        KEYS.iter().for_each(|key| store.set(key, "then"));
        store.seal();
        let then = store.engine.snapshot().unwrap();
        let mut scan = then.scan(N, (Bound::Unbounded, Bound::Unbounded)).unwrap();
        assert_eq!(scan.next().unwrap().unwrap().value, b"then");
        KEYS.iter().for_each(|key| store.set(key, "now"));
        store.seal();
        let held = files(&store, ".seg").remove(0);
        store.compact(&[0, 1]);
        store.engine.maintain().unwrap();
        assert!(files(&store, ".seg").contains(&held));
        assert!(store.shared().log.retired().1 >= 1);
        assert_eq!(content_of(&then), content(&KEYS.map(|key| (key, "then"))));
        drop(then);
        // The scan has it, too.
        store.engine.maintain().unwrap();
        assert!(files(&store, ".seg").contains(&held));
        assert!(scan.by_ref().all(|entry| entry.unwrap().value == b"then"));
        drop(scan);
        assert!(comes_to(&store, 0), "{:?}", files(&store, ".seg"));
        assert_eq!(store.shared().log.retired(), (0, 0));
        let store = store.reopened();
        store.check(&content(&KEYS.map(|key| (key, "now"))));
    }
}

#[test]
fn values_and_readers_outlive_the_segment_that_they_came_from() {
    let (_folder, places) = places();
    for place in places {
        let store = place.open();
        store.set("a", "small");
        set_large(&store, "b", 7);
        store.seal();
        let value = store.engine.get(N, b"a").unwrap().unwrap();
        let mut small = store.engine.reader(N, b"a").unwrap().unwrap();
        let mut blob = store.engine.reader(N, b"b").unwrap().unwrap();
        store.set("a", "new");
        store.delete("b");
        store.compact(&[0]);
        drop(store);
        assert_eq!(value, b"small");
        let read = |reader: &mut dyn ValueReader| {
            let mut bytes = Vec::new();
            reader.read_to_end(&mut bytes).unwrap();
            bytes
        };
        assert_eq!(read(&mut small), b"small");
        assert_eq!(read(&mut blob), large(7));
    }
}

#[test]
fn a_blob_goes_with_the_last_record_that_names_it() {
    let (_folder, places) = places();
    for place in places {
        let store = place.open();
        set_large(&store, "a", 1);
        store.seal();
        // The same blob in another record.
        touch(&store, "a");
        store.seal();
        store.compact(&[0]);
        assert!(comes_to(&store, 1));
        assert_eq!(store.get("a").unwrap(), large(1));
        store.delete("a");
        store.compact_all();
        assert!(comes_to(&store, 0));
        let store = store.reopened();
        store.check(&Vec::new());
    }
}

/// It has an older record with the same blob than the one that was compacted away last.
#[test]
fn a_blob_stays_while_a_snapshot_has_any_record_that_names_it() {
    let (_folder, places) = places();
    for place in places {
        let store = place.open();
        set_large(&store, "a", 1);
        store.seal();
        let then = store.engine.snapshot().unwrap();
        touch(&store, "a");
        store.seal();
        // The snapshot holds this one, and not the next.
        store.compact(&[0]);
        store.delete("a");
        store.seal();
        store.compact_all();
        store.engine.maintain().unwrap();
        assert_eq!(then.get(N, b"a").unwrap().unwrap(), large(1)[..]);
        drop(then);
        assert!(comes_to(&store, 0));
        assert_eq!(store.get("a"), None);
        store.engine.verify().unwrap();
    }
}
