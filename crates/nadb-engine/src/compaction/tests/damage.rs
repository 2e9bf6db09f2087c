//! Compactions of segments that are damaged, and beside such.

use nadb_core::ErrorKind;
use nadb_vfs::RealFs;

use super::*;

/// Turns a bit of a file where it stands.
fn flip(store: &Store, name: &str, offset: u64) {
    let file = store.place.fs.open_write(&store.place.dir.join(name)).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

fn name(slot: &Slot) -> String {
    slot.segment.path().file_name().unwrap().to_str().unwrap().to_owned()
}

fn files(store: &Store) -> Vec<String> {
    store.place.fs.list(&store.place.dir).unwrap().into_iter().map(|entry| entry.name).collect()
}

/// The last byte of a record.
fn end_of(slot: &Slot, ordinal: u32) -> u64 {
    let at = slot.location(&slot.rows(), Ordinal(ordinal)).unwrap();
    u64::from(at.offset + at.len) - 1
}

/// Two rows, of which the first is dead.
fn store(place: Place) -> Store {
    let store = place.open();
    store.set("a", "old");
    store.set("b", "2");
    store.seal();
    store.set("a", "1");
    store.seal();
    store
}

#[test]
fn a_live_record_that_does_not_verify_is_an_error_and_nothing_goes() {
    let folder = tempfile::tempdir().unwrap();
    let real = Place::new(RealFs, &folder.path().join("store"));
    for place in [Place::new(SimFs::new(1), Path::new("/store")), real] {
        let store = store(place);
        let sealed = store.sealed();
        let (file, offset) = (name(&sealed[0]), end_of(&sealed[0], 1));
        flip(&store, &file, offset);
        let before = files(&store);
        for inputs in [&sealed[..1], &sealed] {
            let error = store.shared().compact_slots(inputs, 0, &mut Nothing).unwrap_err();
            assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(sealed[0].segment.path())));
            assert_eq!(files(&store), before);
        }
        // What a repair saves is still there.
        flip(&store, &file, offset);
        store.check(&content(&[("a", "1"), ("b", "2")]));
        store.compact(&[0, 1]);
        drop(sealed);
        store.reopened().check(&content(&[("a", "1"), ("b", "2")]));
    }
}

/// It is not read.
#[test]
fn a_dead_record_that_does_not_verify_goes_with_its_segment() {
    let store = store(Place::new(SimFs::new(1), Path::new("/store")));
    let sealed = store.sealed();
    flip(&store, &name(&sealed[0]), end_of(&sealed[0], 0));
    drop(sealed);
    store.compact(&[0]);
    store.reopened().check(&content(&[("a", "1"), ("b", "2")]));
}

/// Of the segment whose marker is compacted, and of the one that has what it holds down.
#[test]
fn with_damaged_footers_rows_are_made_from_the_records() {
    for damaged in [&[0][..], &[1], &[0, 1]] {
        let store = Store::new();
        store.set("a", "old");
        store.set("b", "2");
        store.seal();
        store.delete("a");
        store.set("c", "3");
        store.seal();
        for at in damaged {
            let slot = &store.sealed()[*at];
            flip(&store, &name(slot), slot.segment.file_bytes() - 1);
        }
        let store = store.reopened();
        assert_eq!(store.engine.recovery().warnings.len(), damaged.len());
        assert_eq!(store.compact(&[1]).1, 1, "{damaged:?}");
        let store = store.reopened();
        assert_eq!(store.content(), content(&[("b", "2"), ("c", "3")]), "{damaged:?}");
        // What is written anew is whole again.
        store.compact(&[0, 1]);
        let store = store.reopened();
        assert!(store.engine.recovery().warnings.is_empty());
        store.check(&content(&[("b", "2"), ("c", "3")]));
    }
}

/// Neither its footer nor its records can be had, though it was whole when the store was opened.
#[test]
fn a_segment_whose_rows_cannot_be_had_counts_as_one_with_every_key() {
    let place = Place::new(SimFs::new(1), Path::new("/store"));
    let store = Place { checkpoint_rows: 0, ..place }.open();
    store.set("b", "2");
    store.seal();
    store.set("c", "3");
    store.set("a", "1");
    store.seal();
    store.delete("a");
    store.seal();
    // By a checkpoint: nobody has looked at a footer.
    let store = store.reopened();
    assert!(store.engine.recovery().from_checkpoint);
    let sealed = store.sealed();
    assert!(sealed[0].rows().is_waiting());
    let offsets = [end_of_frames(&sealed[0]) - 1, sealed[0].segment.file_bytes() - 1];
    offsets.iter().for_each(|offset| flip(&store, &name(&sealed[0]), *offset));
    let mut older = older(&store.shared().others(&sealed[2..]));
    let id = store.shared().keyspace.namespaces.id_of(N).unwrap();
    // Not in the first segment, nor in the second: but who knows of the first.
    assert!(older.may_have(id, b"aa", nadb_core::Seq(1000)));
    offsets.iter().for_each(|offset| flip(&store, &name(&sealed[0]), *offset));
    drop(older);
}

fn end_of_frames(slot: &Slot) -> u64 {
    u64::from(slot.segment.extent().unwrap().frames_end)
}
