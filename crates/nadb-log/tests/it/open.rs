//! Opening: what is taken for a store, what goes on where, and what is refused untouched.

use std::path::Path;

use nadb_core::limits::SEQ_MAX;
use nadb_core::{Durability, ErrorKind, Seq};
use nadb_log::{BALLAST, FORMAT_VERSION, Manifest};
use nadb_vfs::{CrashMode, Fs, SimFs};

use crate::support::{DIR, Env, files, len_of, manifest, names, segment};

#[test]
fn a_new_store_is_made_and_found_again() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    assert!(store.log.recovered().created);
    store.log.close().unwrap();
    let seed = store.log.hash_seed();
    drop(store);
    let store = env.open().unwrap();
    assert!(!store.log.recovered().created && store.log.recovered().clean);
    assert_eq!(store.log.hash_seed(), seed);
    assert_eq!(store.put("k", Durability::Flushed).unwrap().first_seq, Seq(1));
}

#[test]
fn a_clean_reopening_goes_on_in_the_same_segment() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    for n in 0..4u64 {
        let store = env.open().unwrap();
        assert!(store.log.recovered().clean);
        let placed = store.put(&format!("k{n:02}"), Durability::Flushed).unwrap();
        assert_eq!((placed.segment.0, placed.first_seq), (1, Seq(n + 1)));
        store.log.close().unwrap();
    }
    assert_eq!(env.keys(), names("k", 4));
    assert!(!files(&sim).contains_key(&segment(2)));
}

#[test]
fn an_unclean_reopening_jumps_and_begins_a_segment() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put("k00", Durability::Flushed).unwrap();
    let sim = sim.process_kill();
    let env = env.on(&sim);
    let store = env.open().unwrap();
    assert!(!store.log.recovered().clean);
    assert_eq!((store.log.recovered().last_seq, store.log.recovered().cut_bytes), (Seq(1), 0));
    assert_eq!(store.keys(), ["k00"]);
    let placed = store.put("k01", Durability::Flushed).unwrap();
    assert_eq!(placed.segment.0, 2);
    assert_eq!(placed.first_seq, Seq((1 << 32) + 1), "no number that may have been given is given again");
    store.log.close().unwrap();
    drop(store);
    let store = env.open().unwrap();
    assert_eq!(store.put("k02", Durability::Flushed).unwrap().first_seq, Seq((1 << 32) + 2));
    drop(store);
    assert_eq!(env.keys(), names("k", 3));
}

#[test]
fn a_close_without_a_write_keeps_the_jump() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put("k00", Durability::Synced).unwrap();
    // Given and lost.
    let lost = store.put("lost", Durability::Flushed).unwrap().first_seq;
    let sim = sim.power_cut(CrashMode::DropAll, 1);
    let env = env.on(&sim);
    env.open().unwrap().log.close().unwrap();
    let store = env.open().unwrap();
    assert!(store.log.recovered().clean);
    let first = store.put("k01", Durability::Synced).unwrap();
    assert!(first.first_seq > lost && first.segment.0 == 2, "{first:?}");
    // Once more, with a close without a write between two unclean openings.
    let sim = sim.power_cut(CrashMode::DropAll, 1);
    let env = env.on(&sim);
    env.open().unwrap().log.close().unwrap();
    env.open().unwrap().log.close().unwrap();
    let env = env.on(&sim.process_kill());
    let store = env.open().unwrap();
    let second = store.put("k02", Durability::Synced).unwrap();
    assert!(second.first_seq.0 > first.first_seq.0 + (1 << 31));
    store.log.close().unwrap();
    drop(store);
    assert_eq!(env.keys(), names("k", 3));
}

#[test]
fn replay_goes_over_several_segments() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    env.open().unwrap().put_many("k", 40);
    let env = env.on(&sim.process_kill());
    let store = env.open().unwrap();
    assert_eq!(store.keys(), names("k", 40));
    let recovered = store.log.recovered();
    assert_eq!((recovered.counts.records, recovered.last_seq), (40, Seq(40)));
    assert!(recovered.segments >= 7);
    let records: u64 = store.log.segments().0.iter().map(|segment| segment.records()).sum();
    assert_eq!(records, 40);
}

#[test]
fn a_missing_store_is_made_only_when_asked() {
    let sim = SimFs::new(1);
    let env = Env { create: false, ..Env::new(&sim) };
    assert_eq!(env.error().kind(), ErrorKind::InvalidInput);
    sim.create_dir_all(Path::new(DIR)).unwrap();
    assert_eq!(env.error().kind(), ErrorKind::InvalidInput);
    assert_eq!(files(&sim).len(), 0);
}

#[test]
fn a_directory_that_is_no_store_is_not_touched() {
    let sim = SimFs::new(1);
    sim.write_file(Path::new(DIR).join("thesis.txt"), b"precious").unwrap();
    let error = Env::new(&sim).error();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("thesis.txt"), "{error}");
    assert_eq!(sim.files().len(), 1, "not even a lock file");
    let sim = SimFs::new(1);
    sim.write_file(Path::new(DIR), b"a file").unwrap();
    assert_eq!(Env::new(&sim).error().kind(), ErrorKind::InvalidInput);
}

/// A store with two segments that was closed.
fn closed_store(sim: &SimFs) -> Env {
    let env = Env::new(sim);
    let store = env.open().unwrap();
    store.put_many("k", 8);
    store.log.close().unwrap();
    env
}

#[test]
fn segments_without_a_manifest_are_not_touched() {
    let sim = SimFs::new(1);
    let env = closed_store(&sim);
    sim.remove(&manifest()).unwrap();
    let before = files(&sim);
    let error = env.error();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(manifest().as_path())));
    assert!(error.to_string().contains("`nadb repair`"), "{error}");
    assert_eq!(files(&sim), before);
}

#[test]
fn a_future_version_is_refused_untouched() {
    for path in [manifest(), segment(1), segment(2)] {
        let sim = SimFs::new(1);
        let env = closed_store(&sim);
        sim.flip_byte(&path, 8, 0x40).unwrap();
        let before = files(&sim);
        let error = env.error();
        assert_eq!(error.kind(), ErrorKind::Version);
        assert_eq!(error.path(), Some(path.as_path()));
        assert!(error.to_string().contains(&format!("version {FORMAT_VERSION}")), "{error}");
        assert_eq!(files(&sim), before);
    }
}

#[test]
fn a_second_opening_names_the_first() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    let error = env.error();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    store.log.close().unwrap();
    env.open().unwrap();
}

#[test]
fn an_abandoned_segment_file_is_removed_whatever_its_number() {
    for number in [3, 700, u32::MAX] {
        let sim = SimFs::new(1);
        let env = closed_store(&sim);
        sim.write_file(segment(number), b"never named").unwrap();
        let store = env.open().unwrap();
        assert_eq!(store.keys(), names("k", 8));
        assert!(!files(&sim).contains_key(&segment(number)));
        assert!(number == u32::MAX || store.put_many("l", 30).last().unwrap().segment.0 > number);
    }
}

#[test]
fn a_spare_that_stands_before_the_last_segment_is_not_used() {
    // Segment 2 has its opening frame and no record that was kept; segment 3 follows. Then damage cuts 2 to its header.
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    let count = store.put_many("k", 7).iter().filter(|placed| placed.segment.0 == 1).count();
    assert!(count < 7);
    let opening_end = 64 + 29;
    let sim = sim.process_kill();
    sim.truncate_file(segment(2), opening_end + 10).unwrap();
    let env = env.on(&sim);
    let store = env.open().unwrap();
    assert_eq!(len_of(&sim, &segment(2)), opening_end);
    store.put("later", Durability::Synced).unwrap();
    let mut keys = names("k", count);
    keys.push("later".into());
    let sim = sim.process_kill();
    sim.truncate_file(segment(2), 64).unwrap();
    let env = env.on(&sim);
    let store = env.open().unwrap();
    assert_eq!(store.keys(), keys);
    store.put("last", Durability::Synced).unwrap();
    keys.push("last".into());
    assert_eq!(env.on(&sim.process_kill()).keys(), keys);
}

#[test]
fn a_directory_left_by_an_attempt_that_died_becomes_durable_too() {
    let sim = SimFs::new(1);
    sim.create_dir_all(Path::new(DIR)).unwrap();
    let sim = sim.process_kill();
    let env = Env::new(&sim);
    env.open().unwrap().put("k00", Durability::Synced).unwrap();
    assert_eq!(env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys(), names("k", 1));
}

#[test]
fn an_unfinished_manifest_and_a_ballast_do_not_matter() {
    let sim = SimFs::new(1);
    let env = closed_store(&sim);
    sim.write_file(Path::new(DIR).join("MANIFEST.tmp"), b"half a mani").unwrap();
    sim.write_file(Path::new(DIR).join(BALLAST), b"").unwrap();
    let store = env.open().unwrap();
    assert!(store.log.recovered().clean);
    store.put("k08", Durability::Flushed).unwrap();
    store.log.close().unwrap();
    drop(store);
    assert_eq!(env.keys(), names("k", 9));
}

#[test]
fn numbers_that_are_used_up_are_a_limit_and_nothing_is_written() {
    let sim = SimFs::new(1);
    let env = closed_store(&sim);
    let mut used_up = Manifest::decode(&sim.read_file(manifest()).unwrap()).unwrap();
    used_up.jump_base = Seq(SEQ_MAX - 1);
    sim.write_file(manifest(), &used_up.encode()).unwrap();
    let store = env.open().unwrap();
    assert_eq!(store.put("k08", Durability::Flushed).unwrap().first_seq, Seq(SEQ_MAX - 1));
    assert_eq!(store.put("no", Durability::Flushed).unwrap_err().kind(), ErrorKind::Limit);
    store.log.close().unwrap();
    drop(store);
    assert_eq!(env.keys(), names("k", 9));
}
