//! A request that is too much for one compaction.

use std::ops::ControlFlow;
use std::sync::Mutex;

use nadb_core::CompactionProgress;
use nadb_vfs::RealFs;

use super::*;

/// Records that are written at a time: two thirds of what a part may take.
const RECORDS: u32 = 40_000;

/// As often as said, records with that number as value, half of which overwrite those of the time before; in the least memory that
/// there can be.
fn store_of(segments: u32) -> Store {
    let mut place = Place::new(SimFs::new(1), Path::new("/store"));
    place.memory_limit = crate::memory::MEMORY_LIMIT_MIN;
    let store = place.open();
    for segment in 0..segments {
        let first = segment * RECORDS / 2;
        let value = segment.to_string();
        let keys: Vec<String> = (first..first + RECORDS).map(|key| format!("{key:08}")).collect();
        for keys in keys.chunks(1000) {
            let put = |key: &String| {
                Operation::new(N, key.as_bytes().to_vec(), Action::Put(Put::new(value.as_bytes())))
            };
            store.engine.write(&keys.iter().map(put).collect::<Vec<_>>(), None).unwrap();
        }
        store.seal();
    }
    store
}

/// All keys have the value that was written last.
#[track_caller]
fn check(store: &Store, segments: u32) {
    let content = store.content();
    assert_eq!(content.len(), ((segments + 1) * RECORDS / 2) as usize);
    for (at, (key, value)) in (0..).zip(content) {
        let segment = (at / (RECORDS / 2)).min(segments - 1);
        assert_eq!((key, value), (format!("{at:08}"), segment.to_string().into_bytes()));
    }
    store.engine.verify().unwrap();
}

#[test]
fn what_is_too_much_for_one_compaction_is_done_in_parts_and_then_it_is_done() {
    let store = store_of(3);
    let seen: Arc<Mutex<Vec<CompactionProgress>>> = Arc::default();
    let told = Arc::clone(&seen);
    let request = CompactionRequest::new().on_progress(move |progress| {
        told.lock().unwrap().push(progress);
        ControlFlow::Continue(())
    });
    let estimate = store.engine.compact(&CompactionRequest::new().dry_run(true)).unwrap();
    let segments_in = store.sealed().len() as u64;
    let report = store.engine.compact(&request).unwrap();
    check(&store, 3);
    assert!(report.compactions >= 2 && estimate.compactions == report.compactions, "{report:?}");
    assert_eq!((report.segments_in, estimate.segments_in), (segments_in, segments_in));
    assert_eq!((report.kept, report.dropped_dead), (u64::from(2 * RECORDS), u64::from(RECORDS)));
    assert_eq!(store.engine.stats().unwrap().retired_segments, 0);

    let seen = seen.lock().unwrap();
    assert!(seen.windows(2).all(|two| two[0].done_bytes <= two[1].done_bytes));
    let last = seen.last().unwrap();
    assert_eq!((last.total_bytes, last.total_segments), (report.bytes_before, segments_in));
    assert!(last.done_segments > 0 && last.share() > 0.8, "{last:?}");

    // Several runs stay several: nothing would be gained.
    assert_eq!(store.engine.compact(&CompactionRequest::new()).unwrap(), CompactionReport::default());
    check(&store.reopened(), 3);
}

#[test]
fn a_request_that_is_cancelled_keeps_the_parts_that_are_done() {
    let store = store_of(3);
    let request = CompactionRequest::new().on_progress(|progress| match progress.done_segments {
        0 => ControlFlow::Continue(()),
        _ => ControlFlow::Break(()),
    });
    let report = store.engine.compact(&request).unwrap();
    assert!(report.cancelled && report.compactions == 1, "{report:?}");
    check(&store, 3);
    let rest = store.engine.compact(&CompactionRequest::new()).unwrap();
    assert!(!rest.cancelled && rest.compactions >= 1, "{rest:?}");
    assert_eq!(report.dropped_dead + rest.dropped_dead, u64::from(RECORDS));
    check(&store.reopened(), 3);
}

#[test]
fn tombstones_go_although_what_they_hold_down_is_in_another_part() {
    let store = store_of(3);
    for key in 0..100 {
        store.delete(&format!("{key:08}"));
    }
    let report = store.engine.compact(&CompactionRequest::new()).unwrap();
    assert!(report.compactions >= 2, "{report:?}");
    assert_eq!(report.dropped_tombstones, 100);
    assert_eq!(store.sealed().iter().map(|slot| slot.live.marker_count()).sum::<u64>(), 0);
    let store = store.reopened();
    assert_eq!(store.get("00000099"), None);
    assert_eq!(store.content().len(), (2 * RECORDS - 100) as usize);
}

#[test]
fn what_needs_the_room_that_is_left_to_others_waits() {
    // Only a real disk says how much room it has.
    let dir = tempfile::tempdir().unwrap();
    for (room_left, is_done) in [(u64::MAX, false), (0, true)] {
        let mut place = Place::new(RealFs, dir.path());
        place.room_left = room_left;
        let store = place.open();
        let value = "x".repeat(ABOVE / 2);
        for first in [0, 100] {
            (first..500).for_each(|key| store.set(&format!("{key:03}"), &format!("{first}{value}")));
            store.seal();
        }
        let done = store.engine.compact_due();
        match is_done {
            true => assert!(done.unwrap().compactions > 0),
            false => assert_eq!(done.unwrap_err().kind(), nadb_core::ErrorKind::NoSpace),
        }
        assert_eq!(store.content().len(), 500);
        store.engine.close().unwrap();
    }
}
