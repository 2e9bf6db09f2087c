//! Calls that fail: what a writer hears, what readers still see, and what the next opening finds.

use nadb_core::{Durability, ErrorKind, Seq};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, SimFs};

use crate::support::{Env, HookFs, Store, len_of, names, segment};

/// A store with three flushed records.
fn store() -> (SimFs, Env, Store) {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 3);
    (sim, env, store)
}

/// After a failed append: nothing of it is to be seen, and writing goes on with the same number.
fn assert_given_back(sim: &SimFs, env: &Env, store: &Store, len: u64) {
    assert_eq!(len_of(sim, &segment(1)), len, "the file is cut back");
    assert_eq!(store.log.published_seq(), Seq(3));
    assert_eq!(store.keys(), names("k", 3));
    assert_eq!(store.put("k03", Durability::Flushed).unwrap().first_seq, Seq(4));
    store.check_readable();
    store.log.close().unwrap();
    assert_eq!(env.on(&sim.process_kill()).keys(), names("k", 4));
}

#[test]
fn a_full_disk_fails_the_append_and_writing_resumes() {
    let (sim, env, store) = store();
    let len = len_of(&sim, &segment(1));
    sim.set_capacity(Some(sim.used_bytes()));
    for _ in 0..3 {
        let error = store.put_sized("large", 600, Durability::Flushed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSpace);
        assert!(error.kind().is_retryable());
    }
    store.check_readable();
    sim.set_capacity(None);
    assert_given_back(&sim, &env, &store, len);
}

#[test]
fn a_full_disk_when_a_segment_is_due_fails_the_append_and_writing_resumes() {
    let (sim, env, store) = store();
    sim.set_capacity(Some(sim.used_bytes()));
    let error = store.put_sized("large", 5000, Durability::Synced).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    sim.set_capacity(None);
    assert_eq!(store.put_sized("large", 5000, Durability::Synced).unwrap().first_seq, Seq(4));
    drop(store);
    assert_eq!(env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys().len(), 4);
}

#[test]
fn a_write_that_stops_half_way_on_a_full_disk_is_given_back() {
    let (sim, env, store) = store();
    let len = len_of(&sim, &segment(1));
    sim.inject(Fault::at(CallKind::Write, 1, FaultKind::ShortThenNoSpace).on(".seg"));
    assert_eq!(store.put("no", Durability::Flushed).unwrap_err().kind(), ErrorKind::NoSpace);
    assert_given_back(&sim, &env, &store, len);
}

#[test]
fn short_writes_are_continued() {
    let (sim, env, store) = store();
    for n in 1..4 {
        sim.inject(Fault::at(CallKind::Write, n, FaultKind::ShortWrite).on(".seg"));
    }
    store.put("k03", Durability::Flushed).unwrap();
    assert_eq!(sim.clear_faults(), 0);
    store.check_readable();
    assert_eq!(env.on(&sim.process_kill()).keys(), names("k", 4));
}

#[test]
fn a_device_error_on_append_gives_the_place_back() {
    let (sim, env, store) = store();
    let len = len_of(&sim, &segment(1));
    sim.inject(Fault::at(CallKind::Write, 1, FaultKind::Eio).on(".seg"));
    assert_eq!(store.put("no", Durability::Synced).unwrap_err().kind(), ErrorKind::Io);
    assert_given_back(&sim, &env, &store, len);
}

#[test]
fn a_frame_whose_write_failed_is_never_published() {
    let (sim, _env, store) = store();
    sim.inject(Fault::at(CallKind::Write, 1, FaultKind::Eio).on(".seg"));
    let result = store.put("no", Durability::Flushed);
    assert_eq!(store.published().len(), 3, "nobody saw it");
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Io);
}

#[test]
fn a_frame_whose_write_failed_does_not_come_back() {
    let sim = SimFs::new(1);
    let hooked = HookFs::new(&sim);
    let env = Env::new(&hooked);
    let store = env.open().unwrap();
    store.put_many("k", 3);
    // The device says that it failed, yet every byte is there.
    *hooked.hooks.writes_that_lie.lock().unwrap() = 1;
    assert_eq!(store.put("no", Durability::Flushed).unwrap_err().kind(), ErrorKind::Io);
    drop(store);
    for sim in [sim.process_kill(), sim.power_cut(CrashMode::KeepAll, 1)] {
        assert_eq!(env.on(&sim).keys(), names("k", 3));
    }
}

#[test]
fn the_first_frame_of_a_segment_can_fail_too() {
    let (sim, env, store) = store();
    store.put_many("l", 2);
    store.log.prepare_spare().unwrap();
    sim.inject(Fault::at(CallKind::Write, 1, FaultKind::Eio).on("0000000002.seg"));
    assert_eq!(store.put_sized("no", 900, Durability::Flushed).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(len_of(&sim, &segment(2)), 64);
    let placed = store.put_sized("yes", 901, Durability::Flushed).unwrap();
    assert_eq!((placed.segment.0, placed.first_seq), (2, Seq(6)));
    drop(store);
    let keys = env.on(&sim.process_kill()).keys();
    assert_eq!((keys.len(), keys.last().unwrap().as_str()), (6, "yes"));
}

#[test]
fn buffered_frames_stay_readable_when_they_cannot_be_written() {
    let (sim, env, store) = store();
    for key in ["k03", "k04"] {
        store.put(key, Durability::Buffered).unwrap();
    }
    sim.inject(Fault::at(CallKind::Write, 1, FaultKind::NoSpace).on(".seg"));
    assert_eq!(store.log.sync_all().unwrap_err().kind(), ErrorKind::NoSpace);
    sim.inject(Fault::at(CallKind::Write, 1, FaultKind::Eio).on(".seg"));
    assert_eq!(store.put("no", Durability::Flushed).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(store.keys(), names("k", 5));
    store.put("k05", Durability::Synced).unwrap();
    drop(store);
    assert_eq!(env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys(), names("k", 6));
}

#[test]
fn a_failed_sync_poisons_the_store() {
    for fault in [FaultKind::Eio, FaultKind::SyncLost] {
        let (sim, env, store) = store();
        store.log.sync_all().unwrap();
        sim.inject(Fault::at(CallKind::SyncData, 1, fault).on(".seg"));
        let error = store.put("unknown", Durability::Synced).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned);
        assert!(error.to_string().contains("after number 3"), "{error}");
        // It was visible before it should have become durable, and stays so.
        store.check_readable();
        assert_eq!(store.keys().len(), 4);
        for durability in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
            assert_eq!(store.put("no", durability).unwrap_err().kind(), ErrorKind::Poisoned);
        }
        assert_eq!(store.delete("k00").unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(store.log.sync_all().unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(store.log.durable_seq(), Seq(3));
        assert_eq!(store.keys().len(), 4);
        assert_eq!(store.log.close().unwrap_err().kind(), ErrorKind::Poisoned);
        drop(store);
        let reopened = env.on(&sim.power_cut(CrashMode::DropAll, 1)).open().unwrap();
        assert_eq!(reopened.keys(), names("k", 3));
        assert!(!reopened.log.recovered().clean, "a poisoned store does not note a close");
        reopened.put("k03", Durability::Synced).unwrap();
    }
}

#[test]
fn a_give_back_that_cannot_be_synced_poisons_the_store() {
    for fault in [
        Fault::at(CallKind::SyncAll, 1, FaultKind::SyncLost).on(".seg"),
        Fault::at(CallKind::SetLen, 1, FaultKind::Eio).on(".seg"),
    ] {
        let (sim, env, store) = store();
        sim.inject(Fault::at(CallKind::Write, 1, FaultKind::Eio).on(".seg"));
        sim.inject(fault);
        let error = store.put("unknown", Durability::Flushed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned, "whether it survives is not known: {error}");
        assert_eq!(store.put("no", Durability::Flushed).unwrap_err().kind(), ErrorKind::Poisoned);
        assert_eq!(store.keys(), names("k", 3));
        drop(store);
        let keys = env.on(&sim.process_kill()).keys();
        assert_eq!(keys[..3], names("k", 3));
    }
}

#[test]
fn a_manifest_that_cannot_be_stored_fails_the_append_only() {
    let faults = [
        Fault::at(CallKind::Write, 1, FaultKind::NoSpace).on("MANIFEST"),
        Fault::at(CallKind::SyncAll, 1, FaultKind::SyncLost).on("MANIFEST"),
        Fault::at(CallKind::Rename, 1, FaultKind::Eio),
        Fault::at(CallKind::SyncDir, 2, FaultKind::SyncLost),
        Fault::at(CallKind::SyncDir, 1, FaultKind::SyncLost),
        Fault::at(CallKind::Create, 1, FaultKind::Eio).on(".seg"),
        Fault::at(CallKind::SyncAll, 1, FaultKind::SyncLost).on(".seg"),
    ];
    for fault in faults {
        let (sim, env, store) = store();
        sim.inject(fault.clone());
        assert!(store.put_sized("large", 2000, Durability::Synced).is_err(), "{fault:?}");
        assert_eq!(sim.clear_faults(), 0, "{fault:?}");
        store.put_sized("large", 2000, Durability::Synced).unwrap();
        drop(store);
        for mode in CrashMode::ALL {
            assert_eq!(env.on(&sim.power_cut(mode, 1)).keys().len(), 4, "{fault:?} {mode:?}");
        }
    }
}

#[test]
fn a_medium_that_cannot_be_read_is_an_error_and_no_tail() {
    let (sim, env, store) = store();
    drop(store);
    let sim = sim.process_kill();
    let len = len_of(&sim, &segment(1));
    for nth in 1..=3 {
        sim.inject(Fault::at(CallKind::Read, nth, FaultKind::Eio).on(".seg"));
        let error = env.on(&sim).error();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(segment(1).as_path())));
        assert_eq!(len_of(&sim, &segment(1)), len);
    }
    assert_eq!(env.on(&sim).keys(), names("k", 3));
}

#[test]
fn every_call_of_an_opening_may_fail_once() {
    let (sim, env, store) = store();
    store.put_many("l", 12);
    drop(store);
    let keys = env.on(&sim.process_kill()).keys();
    for kind in [FaultKind::Eio, FaultKind::NoSpace, FaultKind::SyncLost] {
        for nth in 1.. {
            let disk = sim.process_kill();
            disk.inject(Fault::any(nth, kind));
            let failed = env.on(&disk).open().is_err();
            if disk.clear_faults() > 0 {
                break;
            }
            assert!(failed || kind == FaultKind::NoSpace, "{kind:?} at call {nth} went unnoticed");
            assert_eq!(env.on(&disk).keys(), keys, "{kind:?} at call {nth}");
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again_by_the_next_opening() {
    let (sim, env, store) = store();
    store.log.sync_all().unwrap();
    store.put_many("l", 9);
    for nth in 1..=2 {
        sim.inject(Fault::at(CallKind::SyncData, nth, FaultKind::SyncLost).on(".seg"));
    }
    assert_eq!(store.log.sync_all().unwrap_err().kind(), ErrorKind::Poisoned);
    drop(store);
    sim.clear_faults();
    // The next process finds all of it in the system's cache, which takes it for clean.
    let sim = sim.process_kill();
    let env = env.on(&sim);
    let store = env.open().unwrap();
    let keys = store.keys();
    assert_eq!((keys.len(), store.log.durable_seq()), (12, Seq(12)), "it counts as durable now");
    for mode in CrashMode::ALL {
        assert_eq!(env.on(&sim.power_cut(mode, 1)).keys(), keys, "{mode:?}");
    }
}
