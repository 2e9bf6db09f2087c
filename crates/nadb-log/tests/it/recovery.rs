//! Recovery: torn tails are cut and stay cut, damage is named and left alone.

use std::path::Path;

use nadb_core::{Durability, ErrorKind, SeededEntropy, Seq};
use nadb_vfs::{CrashMode, Fs, SimFs};

use crate::support::{Env, Store, files, len_of, manifest, names, segment};

/// Where the frame that holds record `index` begins: frames of one record follow one another.
fn frame_start(store: &Store, index: usize) -> u64 {
    let before = store.locations()[index - 1].1;
    assert_eq!(before.segment, store.locations()[index].1.segment);
    u64::from(before.offset + before.len)
}

/// A store with `count` flushed and unsynced records, killed.
fn killed(count: usize) -> (SimFs, Env, Store) {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", count);
    let sim = sim.process_kill();
    let env = env.on(&sim);
    (sim, env, store)
}

fn keys_and(first: usize, more: &[&str]) -> Vec<String> {
    let mut keys = names("k", first);
    keys.extend(more.iter().map(|key| (*key).to_owned()));
    keys
}

#[test]
fn a_torn_tail_is_cut_at_every_length() {
    let (sim, _, store) = killed(4);
    let (start, len) = (frame_start(&store, 3), len_of(&sim, &segment(1)));
    for cut in start..len {
        let (sim, env, _) = killed(4);
        sim.truncate_file(segment(1), cut).unwrap();
        // Zeros at the end may be blocks that were reserved: they do not count.
        let torn = sim.read_file(segment(1)).unwrap().split_off(usize::try_from(start).unwrap());
        let torn_bytes = torn.iter().rposition(|byte| *byte != 0).map_or(0, |last| last as u64 + 1);
        let opened = env.open().unwrap();
        assert_eq!(opened.keys(), names("k", 3), "cut at {cut}");
        assert_eq!(opened.log.recovered().cut_bytes, torn_bytes);
        assert_eq!(len_of(&sim, &segment(1)), start);
    }
}

#[test]
fn a_tail_of_zeros_is_cut_and_does_not_count() {
    let (sim, env, store) = killed(4);
    let start = frame_start(&store, 3);
    sim.truncate_file(segment(1), start).unwrap();
    sim.truncate_file(segment(1), start + 70_000).unwrap();
    let opened = env.open().unwrap();
    assert_eq!((opened.keys(), opened.log.recovered().cut_bytes), (names("k", 3), 0));
    assert_eq!(len_of(&sim, &segment(1)), start);
}

/// Trap 8.
#[test]
fn torn_frame_in_n_while_n_plus_1_holds_later_frames() {
    let (sim, env, store) = killed(20);
    assert!(store.active() >= 3);
    sim.flip_byte(segment(1), frame_start(&store, 2) + 30, 1).unwrap();
    let opened = env.open().unwrap();
    assert_eq!(opened.keys(), names("k", 2), "nothing from behind the gap");
    let left: Vec<_> = opened.log.segments().0.iter().map(|segment| segment.id().0).collect();
    assert!(!left.contains(&2) && !files(&sim).contains_key(&segment(2)));
    opened.put("new", Durability::Flushed).unwrap();
    assert_eq!(env.on(&sim.process_kill()).keys(), keys_and(2, &["new"]));
}

#[test]
fn a_lost_tail_of_n_is_a_gap_before_n_plus_1() {
    let (sim, env, store) = killed(20);
    // Segment 1 ends at a frame's end: nothing there is torn, frames are only missing.
    sim.truncate_file(segment(1), frame_start(&store, 4)).unwrap();
    let opened = env.open().unwrap();
    assert_eq!(opened.keys(), names("k", 4));
    opened.put("new", Durability::Flushed).unwrap();
    assert_eq!(env.on(&sim.process_kill()).keys(), keys_and(4, &["new"]));
}

/// Trap 8: what was cut once stands behind a new tail.
#[test]
fn frames_that_were_cut_do_not_come_back_behind_a_tail_of_equal_size() {
    let (sim, env, store) = killed(5);
    let torn_at = frame_start(&store, 2);
    sim.flip_byte(segment(1), torn_at + 30, 1).unwrap();
    let opened = env.open().unwrap();
    assert_eq!(opened.keys(), names("k", 2));
    // Of equal size, in case somebody writes it over the torn one.
    opened.put("new", Durability::Flushed).unwrap();
    // The bit that was torn turns up whole: the medium had only been slow to give it. Then the power goes once more.
    let _ = sim.flip_byte(segment(1), torn_at + 30, 1);
    let sim = sim.process_kill();
    let env = env.on(&sim);
    assert_eq!(env.keys(), keys_and(2, &["new"]));
    assert_eq!(len_of(&sim, &segment(1)), torn_at, "they are not in the file any more");
}

#[test]
fn what_recovery_cut_stays_cut_when_the_power_goes_again_at_once() {
    for mode in CrashMode::ALL {
        let (sim, env, store) = killed(20);
        sim.flip_byte(segment(1), frame_start(&store, 3) + 30, 1).unwrap();
        let opened = env.open().unwrap();
        assert_eq!(opened.keys(), names("k", 3));
        for seed in 0..5 {
            let sim = sim.power_cut(mode, seed);
            let again = env.on(&sim).open().unwrap();
            assert_eq!(
                again.keys(),
                names("k", 3),
                "{mode:?} {seed}: what was read was made durable, no more came"
            );
        }
    }
}

#[test]
fn numbers_that_were_cut_are_not_given_again() {
    let (sim, env, store) = killed(5);
    let highest = store.log.published_seq();
    sim.flip_byte(segment(1), frame_start(&store, 2) + 30, 1).unwrap();
    let placed = env.open().unwrap().put("new", Durability::Flushed).unwrap();
    assert!(placed.first_seq > highest, "{placed:?}");
}

/// Opening must fail with corruption in `path` at `offset`, and change nothing.
fn assert_refused(sim: &SimFs, env: &Env, path: &Path, offset: u64) {
    let before = files(sim);
    let error = env.error();
    assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
    assert_eq!((error.path(), error.offset()), (Some(path), Some(offset)), "{error}");
    assert_eq!(files(sim), before, "nothing was changed");
    assert_eq!(env.error().to_string(), error.to_string(), "and it is refused again");
}

#[test]
fn damage_below_what_was_durable_is_an_error_that_changes_nothing() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 4);
    store.log.sync_all().unwrap();
    // It says that 4 was durable, in the same segment.
    store.put("k04", Durability::Flushed).unwrap();
    let at = frame_start(&store, 2);
    let sim = sim.process_kill();
    sim.flip_byte(segment(1), at + 30, 1).unwrap();
    assert_refused(&sim, &env.on(&sim), &segment(1), at);
}

#[test]
fn damage_below_what_a_later_segment_says_was_durable_is_an_error() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    let placed = store.put_many("k", 6);
    store.log.sync_all().unwrap();
    assert!(placed.iter().all(|placed| placed.segment.0 == 1));
    store.put_many("l", 3);
    assert_eq!(store.active(), 2);
    let at = frame_start(&store, 2);
    let sim = sim.process_kill();
    let env = env.on(&sim);
    let whole = files(&sim);
    sim.flip_byte(segment(1), at + 30, 1).unwrap();
    assert_refused(&sim, &env, &segment(1), at);
    // Frames are missing at the end of segment 1, which is not torn.
    sim.write_file(segment(1), &whole[&segment(1)]).unwrap();
    sim.truncate_file(segment(1), at).unwrap();
    assert_refused(&sim, &env, &segment(1), at);
    // The opening frame is damaged, so that segment 1 looks like a spare.
    sim.write_file(segment(1), &whole[&segment(1)]).unwrap();
    sim.flip_byte(segment(1), 70, 1).unwrap();
    assert_refused(&sim, &env, &segment(1), 64);
    sim.write_file(segment(1), &whole[&segment(1)]).unwrap();
    assert_eq!(env.keys().len(), 9);
}

#[test]
fn after_a_close_every_flipped_byte_is_an_error_or_harmless() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 8);
    store.log.close().unwrap();
    let before = files(&sim);
    for (path, bytes) in &before {
        for offset in 0..bytes.len() as u64 {
            let sim = SimFs::new(1);
            before.iter().for_each(|(path, bytes)| sim.write_file(path, bytes).unwrap());
            sim.flip_byte(path, offset, 0x10).unwrap();
            let damaged = files(&sim);
            match env.on(&sim).open() {
                // Only the end mark's own bytes tell nothing that was promised.
                Ok(opened) => {
                    assert_eq!(opened.keys(), names("k", 8), "{path:?} {offset}");
                    assert!(opened.log.recovered().cut_bytes <= 24);
                }
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Version), "{error}");
                    assert_eq!(error.path(), Some(path.as_path()), "{error}");
                    assert!(error.offset().is_some(), "{error}");
                    assert_eq!(files(&sim), damaged);
                }
            }
        }
    }
}

#[test]
fn after_a_close_every_cut_of_a_file_is_an_error_or_harmless() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 8);
    store.log.close().unwrap();
    let before = files(&sim);
    for (path, bytes) in &before {
        for len in 0..bytes.len() as u64 {
            let sim = SimFs::new(1);
            before.iter().for_each(|(path, bytes)| sim.write_file(path, bytes).unwrap());
            sim.truncate_file(path, len).unwrap();
            match env.on(&sim).open() {
                Ok(opened) => assert_eq!(opened.keys(), names("k", 8), "{path:?} {len}"),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Version), "{error}");
                    // Without any frame it looks like a spare: frames are missing behind the segment before.
                    let looks_like_a_spare = *path == segment(2) && len == 64;
                    let culprit = if looks_like_a_spare { segment(1) } else { path.clone() };
                    assert_eq!(error.path(), Some(culprit.as_path()), "{error}");
                }
            }
        }
    }
}

#[test]
fn an_end_mark_keeps_damage_to_the_last_frame_from_passing_for_a_torn_tail() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 3);
    store.log.mark_end().unwrap();
    let len = len_of(&sim, &segment(1));
    store.log.mark_end().unwrap();
    assert_eq!(len_of(&sim, &segment(1)), len, "one is enough");
    let at = frame_start(&store, 2);
    let sim = sim.power_cut(CrashMode::DropAll, 1);
    sim.flip_byte(segment(1), at + 40, 1).unwrap();
    assert_refused(&sim, &env.on(&sim), &segment(1), at);
}

/// A closed store with four segments or so.
fn closed() -> (SimFs, Env) {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 20);
    store.log.close().unwrap();
    (sim, env)
}

#[test]
fn a_missing_segment_is_an_error() {
    for id in 1..=3 {
        let (sim, env) = closed();
        sim.remove(&segment(id)).unwrap();
        assert_refused(&sim, &env, &segment(id), 0);
    }
}

#[test]
fn a_segment_of_another_store_is_an_error() {
    let (sim, env) = closed();
    let other = SimFs::new(1);
    let other_env = Env { entropy: std::sync::Arc::new(SeededEntropy::new(99)), ..Env::new(&other) };
    other_env.open().unwrap().put_many("k", 20);
    for id in 1..=2 {
        let ours = sim.read_file(segment(id)).unwrap();
        sim.write_file(segment(id), &other.read_file(segment(id)).unwrap()).unwrap();
        assert_refused(&sim, &env, &segment(id), 0);
        sim.write_file(segment(id), &ours).unwrap();
    }
    // Two of the store's own files, each under the other's name.
    let [one, two] = [1, 2].map(|id| sim.read_file(segment(id)).unwrap());
    sim.write_file(segment(1), &two).unwrap();
    sim.write_file(segment(2), &one).unwrap();
    assert_refused(&sim, &env, &segment(1), 0);
}

#[test]
fn a_segment_of_impossible_length_is_an_error() {
    let (sim, env) = closed();
    sim.truncate_file(segment(2), 5 << 30).unwrap();
    let error = env.error();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(segment(2).as_path())));
    sim.truncate_file(segment(2), 10).unwrap();
    assert_refused(&sim, &env, &segment(2), 0);
}

#[test]
fn a_manifest_older_than_the_segments_is_an_error() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put_many("k", 3);
    let old = sim.read_file(manifest()).unwrap();
    store.put_many("l", 20);
    let sim = sim.process_kill();
    sim.write_file(manifest(), &old).unwrap();
    assert_refused(&sim, &env.on(&sim), &manifest(), 0);
}

#[test]
fn an_older_manifest_that_names_all_files_loses_nothing_and_gives_no_number_twice() {
    let (sim, env) = closed();
    let old = sim.read_file(manifest()).unwrap();
    let store = env.open().unwrap();
    let last = store.put("later", Durability::Synced).unwrap();
    let sim = sim.process_kill();
    sim.write_file(manifest(), &old).unwrap();
    let env = env.on(&sim);
    let store = env.open().unwrap();
    assert_eq!(store.keys(), keys_and(20, &["later"]));
    assert!(!store.log.recovered().clean);
    assert!(store.put("new", Durability::Flushed).unwrap().first_seq > last.first_seq);
}

#[test]
fn frames_of_another_file_in_a_tail_do_not_parse() {
    // A file system that hands out blocks with old content: segment 2's frames turn up behind segment 1's.
    let (sim, env, store) = killed(9);
    assert_eq!(store.active(), 2);
    let foreign = sim.read_file(segment(2)).unwrap();
    let mut ours = sim.read_file(segment(1)).unwrap();
    let at = usize::try_from(frame_start(&store, 3)).unwrap();
    ours.truncate(at);
    ours.extend_from_slice(&foreign[64 + 29..]);
    sim.write_file(segment(1), &ours).unwrap();
    assert_eq!(env.keys(), names("k", 3));
}

#[test]
fn a_damaged_record_that_is_read_is_an_error_with_file_and_offset() {
    let sim = SimFs::new(1);
    let store = Env::new(&sim).open().unwrap();
    store.put_many("k", 3);
    let at = store.locations()[1].1;
    sim.flip_byte(segment(1), u64::from(at.offset) + 30, 1).unwrap();
    let error = store.log.read(at).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(u64::from(at.offset))));
    assert_eq!(error.path(), Some(segment(1).as_path()));
    let error = store.log.scan(&mut |_, _, _| Ok(())).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(segment(1).as_path())));
    assert_eq!(store.log.durable_seq(), Seq(0));
}
