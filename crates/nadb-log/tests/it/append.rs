//! Appending, syncing and reading while nothing goes wrong.

use std::sync::Arc;

use nadb_core::{Durability, ErrorKind, NamespaceId, Seq};
use nadb_log::{RecordFields, RecordKind};
use nadb_vfs::{CallKind, CrashMode, MemFs, SimFs};

use crate::support::{Env, HookFs, SEGMENT_BYTES, len_of, names, segment, value_of};

const ALL: [Durability; 3] = [Durability::Buffered, Durability::Flushed, Durability::Synced];

#[test]
fn appended_records_are_published_in_order_and_can_be_read() {
    let env = Env::new(&MemFs::default());
    let store = env.open().unwrap();
    let mut keys = Vec::new();
    for n in 0..60 {
        let key = format!("k{n:02}");
        let placed = store.put_sized(&key, n * 7, ALL[n % 3]).unwrap();
        assert_eq!(placed.first_seq, Seq(n as u64 + 1));
        assert_eq!(store.log.published_seq(), placed.last_seq());
        keys.push(key);
        assert_eq!(store.keys(), keys);
    }
    store.check_readable();
    assert!(store.active() > 8, "it rotated");
    store.log.sync_all().unwrap();
    assert_eq!(store.log.durable_seq(), Seq(60));
    let mut scanned = Vec::new();
    let counts = store
        .log
        .scan(&mut |record, at, _| {
            scanned.push((record.seq, at));
            Ok(())
        })
        .unwrap();
    assert_eq!((scanned, counts.records), (store.published(), 60));
    store.log.close().unwrap();
    drop(store);
    assert_eq!(env.keys(), keys);
}

/// Frames above 4 KiB are written by calls: blocks that were reserved for them would be zeroed for nothing.
#[test]
fn the_spare_is_reserved_where_small_frames_come() {
    for (value_bytes, is_reserved) in [(100, true), (8000, false)] {
        let fs = SimFs::new(3);
        fs.set_appenders(true);
        let mut env = Env::new(&fs);
        env.segment_size = 64 << 10;
        let store = env.open().unwrap();
        let mut count = 0;
        while !store.log.is_spare_due() {
            store.put_sized(&format!("k{count}"), value_bytes, Durability::Flushed).unwrap();
            count += 1;
        }
        let before = fs.calls_of(CallKind::Allocate);
        store.log.prepare_if_due().unwrap();
        let reserves = fs.calls_of(CallKind::Allocate) - before;
        assert_eq!(reserves, u64::from(is_reserved), "values of {value_bytes} bytes");
    }
}

#[test]
fn a_batch_is_one_frame_with_consecutive_numbers() {
    let env = Env::new(&MemFs::default());
    let store = env.open().unwrap();
    store.put("before", Durability::Flushed).unwrap();
    let keys = names("b", 20);
    let values: Vec<_> = keys.iter().map(|key| value_of(key, 90)).collect();
    let records: Vec<_> = keys
        .iter()
        .zip(&values)
        .map(|(key, value)| RecordFields::new(RecordKind::Value, NamespaceId(1), key.as_bytes(), value, 5))
        .collect();
    let placed = store.append(&records, Durability::Flushed, false).unwrap();
    assert_eq!((placed.first_seq, placed.last_seq(), placed.count), (Seq(2), Seq(21), 20));
    // Larger than a segment: it has one of its own, and what comes next another.
    assert_eq!(placed.segment.0, 2);
    assert_eq!(store.put("after", Durability::Flushed).unwrap().segment.0, 3);
    store.check_readable();
    store.log.close().unwrap();
    drop(store);
    assert_eq!(env.keys().len(), 22);
}

#[test]
fn an_empty_batch_is_refused_and_takes_no_number() {
    let store = Env::new(&MemFs::default()).open().unwrap();
    let error = store.append(&[], Durability::Flushed, false).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(store.put("k", Durability::Flushed).unwrap().first_seq, Seq(1));
}

#[test]
fn buffered_frames_can_be_read_before_they_are_in_the_file() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put("k00", Durability::Flushed).unwrap();
    let len = len_of(&sim, &segment(1));
    for key in ["k01", "k02"] {
        store.put(key, Durability::Buffered).unwrap();
    }
    assert_eq!(len_of(&sim, &segment(1)), len);
    assert!(store.log.buffered_bytes() > 200);
    store.check_readable();
    assert_eq!(store.keys(), names("k", 3));
    // A flushed frame takes the lower ones with it.
    store.put("k03", Durability::Flushed).unwrap();
    assert_eq!(store.log.buffered_bytes(), 0);
    drop(store);
    assert_eq!(env.on(&sim.process_kill()).keys(), names("k", 4));
}

#[test]
fn buffered_frames_survive_rotation() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    for key in names("k", 20) {
        store.put(&key, Durability::Buffered).unwrap();
        store.check_readable();
    }
    assert!(store.active() >= 3 && store.log.buffered_bytes() > 0);
    store.log.sync_all().unwrap();
    drop(store);
    assert_eq!(env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys(), names("k", 20));
}

#[test]
fn a_full_buffer_goes_to_the_file() {
    let sim = SimFs::new(1);
    let env = Env { buffer_size: 300, segment_size: 1 << 20, ..Env::new(&sim) };
    let store = env.open().unwrap();
    for key in names("k", 10) {
        store.put(&key, Durability::Buffered).unwrap();
        assert!(store.log.buffered_bytes() < 300 + 2 * 160);
    }
    assert!(len_of(&sim, &segment(1)) > 800);
}

#[test]
fn a_sync_covers_lower_buffered_frames() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    for key in names("k", 3) {
        store.put(&key, Durability::Buffered).unwrap();
    }
    store.log.sync_all().unwrap();
    drop(store);
    assert_eq!(env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys(), names("k", 3));
}

#[test]
fn a_sync_covers_every_file_with_a_lower_frame() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 14);
    assert_eq!(store.active(), 3);
    store.put("k14", Durability::Synced).unwrap();
    assert_eq!(store.log.durable_seq(), Seq(15));
    drop(store);
    for mode in CrashMode::ALL {
        assert_eq!(env.on(&sim.power_cut(mode, 1)).keys(), names("k", 15), "{mode:?}");
    }
}

#[test]
fn what_is_appended_during_a_sync_does_not_count_as_durable() {
    let sim = SimFs::new(1);
    let hooked = HookFs::new(&sim);
    let env = Env::new(&hooked);
    let store = Arc::new(env.open().unwrap());
    store.put("k00", Durability::Flushed).unwrap();
    let late = Arc::clone(&store);
    *hooked.hooks.after_sync.lock().unwrap() = Some(Box::new(move || {
        late.put("late", Durability::Flushed).unwrap();
    }));
    store.log.sync_all().unwrap();
    assert_eq!(store.log.published_seq(), Seq(2));
    assert_eq!(store.log.durable_seq(), Seq(1));
    store.log.sync_all().unwrap();
    assert_eq!(store.log.durable_seq(), Seq(2));
}

#[test]
fn a_segment_that_is_filled_during_a_sync_is_synced_by_the_next_one() {
    let sim = SimFs::new(1);
    let hooked = HookFs::new(&sim);
    let env = Env::new(&hooked);
    let store = Arc::new(env.open().unwrap());
    store.put("k00", Durability::Flushed).unwrap();
    let late = Arc::clone(&store);
    *hooked.hooks.after_sync.lock().unwrap() = Some(Box::new(move || {
        late.put_many("late", 12);
    }));
    store.log.sync_all().unwrap();
    assert!(store.active() > 1);
    store.put("last", Durability::Synced).unwrap();
    drop(store);
    assert_eq!(env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys().len(), 14);
}

#[test]
fn writers_share_one_sync() {
    let sim = SimFs::new(1);
    let store = Env::new(&sim).open().unwrap();
    store.put_many("k", 3);
    store.log.sync_upto(Seq(3)).unwrap();
    let syncs = sim.syncs();
    store.log.sync_upto(Seq(2)).unwrap();
    store.log.sync_upto(Seq(3)).unwrap();
    assert_eq!(sim.syncs(), syncs, "done already");
}

#[test]
fn many_writers_of_all_classes_keep_one_order() {
    let sim = SimFs::new(1);
    let env = Env { segment_size: 4 * SEGMENT_BYTES, buffer_size: 1000, ..Env::new(&sim) };
    let store = env.open().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..60 {
                    let key = format!("w{writer}-{n:02}");
                    let class = ALL[(writer + n) % 3];
                    let placed = store.put_sized(&key, n * 5, class).unwrap();
                    assert!(store.log.published_seq() >= placed.last_seq());
                    assert!(class != Durability::Synced || store.log.durable_seq() >= placed.last_seq());
                    if n % 20 == 19 {
                        store.log.prepare_if_due().unwrap();
                        store.log.mark_end().unwrap();
                    }
                }
            });
        }
    });
    store.check_readable();
    let mut keys = store.keys();
    let seqs: Vec<_> = store.published().into_iter().map(|(seq, _)| seq.0).collect();
    assert_eq!(seqs, (1..=240).collect::<Vec<_>>());
    store.log.close().unwrap();
    drop(store);
    let mut found = env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys();
    assert_eq!(found, keys);
    (found, keys) = (sorted(found), sorted(keys));
    found.dedup();
    assert_eq!(found, keys);
}

fn sorted(mut keys: Vec<String>) -> Vec<String> {
    keys.sort();
    keys
}
