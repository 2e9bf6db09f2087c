//! Deleted and expired keys do not come back, and what holds them down goes when there is nothing left to hold.

use super::*;

/// Segments that each have what one of `writes` does, and the key "e" beside.
fn segments(writes: &[fn(&Store)]) -> Store {
    let store = Store::new();
    for write in writes {
        write(&store);
        store.set("e", "beside");
        store.seal();
    }
    assert_eq!(store.sealed().len(), writes.len());
    store
}

fn set(store: &Store) {
    store.set("a", "old");
}

fn delete(store: &Store) {
    store.delete("a");
}

fn expire(store: &Store) {
    store.set_expiring("a", 10);
    store.place.clock.advance_ms(10);
    store.engine.maintain().unwrap();
}

/// Markers that stayed, and tombstones and expired records that went.
fn held_and_gone((report, markers): &(CompactionReport, u64)) -> (u64, u64, u64) {
    (*markers, report.dropped_tombstones, report.dropped_expired)
}

/// Reopens under an earlier clock, too.
fn check_gone(store: Store) -> Store {
    store.engine.verify().unwrap();
    assert_eq!(store.get("a"), None);
    let store = store.reopened();
    let now_ms = store.place.clock.now_ms();
    store.place.clock.set_ms(NOW_MS - 1000);
    assert_eq!(store.get("a"), None);
    store.place.clock.set_ms(now_ms);
    // What had been let go of is due again after an opening, though nobody sees it.
    store.engine.maintain().unwrap();
    store.check(&content(&[("e", "beside")]));
    store
}

#[test]
fn a_tombstone_that_is_compacted_alone_holds_an_older_record_down() {
    let store = segments(&[set, delete]);
    assert_eq!(held_and_gone(&store.compact(&[1])), (1, 0, 0));
    let store = store.reopened();
    assert_eq!(store.get("a"), None);
}

/// The segment of the older record goes first, or the marker is rewritten once more before.
#[test]
fn a_marker_goes_when_nothing_older_is_left() {
    for (end, alone_before) in
        [(delete as fn(&Store), false), (delete, true), (expire, false), (expire, true)]
    {
        let mut store = segments(&[set, end]);
        if alone_before {
            assert_eq!(held_and_gone(&store.compact(&[1])), (1, 0, 0));
            store = check_gone(store);
        }
        store.compact(&[0]);
        store = check_gone(store);
        // The one with the marker is older than what came of the other.
        assert_eq!(store.compact(&[0]).1, 0);
        store = check_gone(store);
        // Nothing but the namespace and the other key is left.
        store.compact(&[0, 1]);
        let records: u64 = store.sealed().iter().map(|slot| u64::from(slot.rows().len())).sum();
        assert_eq!(records, 1);
        check_gone(store);
    }
}

/// In one session, where the marker is known as one to the end.
#[test]
fn what_went_is_counted() {
    for (end, gone) in [(delete as fn(&Store), (0, 1, 0)), (expire, (0, 0, 1))] {
        let store = segments(&[set, end]);
        store.compact(&[0]);
        assert_eq!(held_and_gone(&store.compact(&[0])), gone);
        check_gone(store);
    }
}

#[test]
fn a_marker_waits_for_the_last_of_several_older_records() {
    for end in [delete, expire] {
        let store = segments(&[set, set, end]);
        assert_eq!(held_and_gone(&store.compact(&[2])), (1, 0, 0));
        let store = check_gone(store);
        // Oldest first: what is made is sealed last, so the marker's is the second now.
        store.compact(&[0]);
        assert_eq!(held_and_gone(&store.compact(&[1])), (1, 0, 0));
        let mut store = check_gone(store);
        while store.sealed().len() > 1 {
            let all: Vec<usize> = (0..store.sealed().len()).collect();
            assert_eq!(store.compact(&all).1, 0);
            store = check_gone(store);
        }
    }
}

/// What a live record has displaced stays displaced, and what deletes that holds down both.
#[test]
fn a_record_that_displaced_another_can_go_only_for_a_marker() {
    let store = segments(&[set, |store| store.set("a", "newer")]);
    store.compact(&[1]);
    let store = store.reopened();
    assert_eq!(store.get("a").unwrap(), b"newer");
    store.delete("a");
    store.set("e", "beside");
    store.seal();
    // The live record goes, the one from before it stays where it is.
    store.compact(&[1]);
    let store = check_gone(store);
    let marker = store.sealed().len() - 1;
    store.compact(&[marker]);
    check_gone(store);
}

/// All of the store but the oldest segment, in which the key is.
#[test]
fn of_one_key_the_newest_row_alone_is_copied() {
    let store = segments(&[set, delete, |store| store.set("a", "new")]);
    let done = store.compact(&[1, 2]);
    assert_eq!(held_and_gone(&done), (0, 0, 0));
    assert_eq!(done.0.kept, 2);
    let store = store.reopened();
    store.check(&content(&[("a", "new"), ("e", "beside")]));

    let store = segments(&[set, delete, |store| store.set("a", "new"), delete]);
    let done = store.compact(&[1, 2, 3]);
    assert_eq!((done.1, done.0.kept), (1, 2));
    check_gone(store);
}

#[test]
fn a_segment_of_which_nothing_is_left_goes_without_being_read() {
    let store = Store::new();
    store.set("b", "2");
    store.seal();
    store.set("a", "1");
    store.seal();
    store.set("a", "2");
    let (done, _) = store.compact(&[1]);
    assert_eq!((done.segments_out, done.bytes_after, done.dropped_dead), (0, 0, 1));
    let store = store.reopened();
    store.check(&content(&[("a", "2"), ("b", "2")]));
}

/// Keys of a namespace in one segment, the record that drops it in the next.
fn dropped_namespace() -> Store {
    let store = Store::new();
    store.set("a", "old");
    store.set("b", "old");
    store.seal();
    let other = Operation::new("other", b"k".as_slice(), Action::Put(Put::new(b"v".as_slice())));
    store.engine.write(&[other], None).unwrap();
    store.engine.drop_namespace(N).unwrap();
    store.seal();
    store.engine.maintain().unwrap();
    store
}

fn names(store: &Store) -> Vec<String> {
    store.engine.namespaces().unwrap().into_iter().map(|info| info.name).collect()
}

#[test]
fn a_record_that_drops_a_namespace_holds_its_keys_down() {
    let store = dropped_namespace();
    store.compact(&[1]);
    let store = store.reopened();
    assert_eq!(names(&store), ["other"]);
    store.engine.verify().unwrap();
}

/// Over all orders in which two segments can be compacted, with and without another namespace of the same name.
#[test]
fn a_namespace_that_was_dropped_stays_so_and_its_name_can_be_given_again() {
    for order in [&[&[0][..], &[0], &[0]][..], &[&[1], &[0], &[0]], &[&[0, 1]], &[&[1], &[1], &[0, 1]]] {
        for made_again in [false, true] {
            let mut store = dropped_namespace();
            let expected = if made_again { content(&[("b", "new")]) } else { Vec::new() };
            if made_again {
                store.set("b", "new");
            }
            for inputs in order {
                let inputs: Vec<usize> = inputs.iter().map(|at| at % store.sealed().len()).collect();
                store.compact(&inputs);
                assert_eq!(store.content(), expected, "{order:?}");
                store.engine.verify().unwrap();
                store = store.reopened();
                assert_eq!(store.content(), expected, "{order:?}, reopened");
                assert_eq!(names(&store), if made_again { &["n", "other"][..] } else { &["other"] });
                store.engine.verify().unwrap();
            }
            // Its id is not given to another one, though nothing names it any more.
            store.compact_all();
            let store = store.reopened();
            let fresh = Operation::new("fresh", b"k".as_slice(), Action::Put(Put::new(b"v".as_slice())));
            store.engine.write(&[fresh], None).unwrap();
            let id = store.shared().keyspace.namespaces.id_of("fresh").unwrap();
            assert!(id.0 > if made_again { 3 } else { 2 }, "{id:?}");
            assert_eq!(store.content(), expected);
            store.engine.verify().unwrap();
        }
    }
}

/// A view that has the namespace goes on having it, and keeps the record that drops it from going.
#[test]
fn a_namespace_that_a_view_has_is_compacted_around_it() {
    let store = Store::new();
    store.set("a", "1");
    store.seal();
    let before = store.engine.snapshot().unwrap();
    store.engine.drop_namespace(N).unwrap();
    store.set("a", "again");
    store.seal();
    store.compact_all();
    assert_eq!(content_of(&before), content(&[("a", "1")]));
    assert_eq!(store.content(), content(&[("a", "again")]));
    let store = {
        drop(before);
        store.engine.verify().unwrap();
        store.reopened()
    };
    assert_eq!(store.content(), content(&[("a", "again")]));
    store.compact_all();
    let store = store.reopened();
    assert_eq!(store.content(), content(&[("a", "again")]));
    assert_eq!(store.engine.stats().unwrap().keys, 1);
}

#[test]
fn of_the_records_that_make_and_drop_a_namespace_both_stay_or_none() {
    let store = Store::new();
    store.set("a", "there");
    store.seal();
    // A view keeps the keys in the index for a while.
    let view = store.engine.snapshot().unwrap();
    store.engine.drop_namespace(N).unwrap();
    let put = Action::Put(Put::new(b"v".as_slice()));
    store.engine.write(&[Operation::new("other", b"k".as_slice(), put)], None).unwrap();
    store.seal();
    let shared = store.shared();
    let then = shared.namespaces_now();
    drop(view);
    shared.keyspace.purge_dropped().unwrap();
    let rows: Vec<SystemRow> = store.sealed().iter().flat_map(|slot| slot.rows().system().unwrap()).collect();
    let stay = |then| rows.iter().map(|row| shared.stays(row, &[], then)).collect::<Vec<bool>>();
    // Whatever happens between looking at the one and at the other.
    let now = shared.namespaces_now();
    assert_eq!((stay(&then), stay(&now)), (vec![true, true, true], vec![false, false, true]));
}
