//! Every workload, tiny: what is benchmarked does what it says.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use nadb::{Durability, Namespace, Store};
use nadb_benches::{Found, Frames, Gets, Index, Section, Sets, Timer, VALUE_BYTES, decode, hot_paths};

const SEED: u64 = 1;
const KEYS: u64 = 50;

fn loaded(store: &Store, threads: usize) -> Namespace {
    let namespace = store.namespace("bench").unwrap();
    Sets::new(KEYS, SEED).run(&namespace, threads).unwrap();
    namespace
}

#[test]
fn sets_are_all_there_and_gets_find_them() {
    for threads in [1, 4] {
        let store = Store::memory().unwrap();
        let namespace = loaded(&store, threads);
        assert_eq!(store.stats().unwrap().keys, KEYS);
        let all = Found { hits: 99, bytes: 99 * VALUE_BYTES as u64 };
        assert_eq!(Gets::hits(99, KEYS, SEED).run(&namespace, threads).unwrap(), all);
        assert_eq!(Gets::misses(99, KEYS, SEED).run(&namespace, threads).unwrap(), Found::default());
    }
}

#[test]
fn drawn_sets_overwrite() {
    let store = Store::memory().unwrap();
    let namespace = loaded(&store, 1);
    Sets::drawn(99, KEYS, SEED).run(&namespace, 2).unwrap();
    assert_eq!(store.stats().unwrap().keys, KEYS);
}

#[test]
fn every_durability_class_takes_the_workload() {
    let dir = tempfile::tempdir().unwrap();
    for durability in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
        let path = dir.path().join(format!("{durability:?}"));
        let store = Store::builder().path(path).durability(durability).open().unwrap();
        loaded(&store, 2);
        assert_eq!(store.stats().unwrap().keys, KEYS);
        store.close().unwrap();
    }
}

#[test]
fn frames_verify_and_the_index_finds_every_key() {
    for per_frame in [1, 7] {
        let mut frames = Frames::new(7, per_frame, SEED);
        assert_eq!(decode(frames.encode()).unwrap(), per_frame);
    }
    let index = Index::new(KEYS, SEED);
    assert_eq!(index.find_all(), 0);
    index.insert_all();
    assert_eq!(index.find_all(), usize::try_from(KEYS).unwrap());
    assert!(index.bytes_per_key() > 16.0);
}

/// Notes the sections, and runs the work of each once.
#[derive(Default)]
struct Noted(Vec<Section>);

impl Timer for Noted {
    fn run(&mut self, section: Section, work: &mut dyn FnMut() -> nadb::Result<()>) -> nadb::Result<()> {
        self.0.push(section);
        work()
    }
}

#[test]
fn every_hot_path_is_taken_and_gives_right_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut noted = Noted::default();
    hot_paths(dir.path(), 200, &mut noted).unwrap();
    assert_eq!(noted.0[0], Section { name: "reference", operations: 200 });
    assert!(noted.0.iter().all(|section| section.operations > 0), "{:?}", noted.0);
    let mut names: Vec<&str> = noted.0.iter().map(|section| section.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), noted.0.len());
}

/// Leaves all work out.
struct Idle;

impl Timer for Idle {
    fn run(&mut self, _: Section, _: &mut dyn FnMut() -> nadb::Result<()>) -> nadb::Result<()> {
        Ok(())
    }
}

#[test]
fn work_that_is_not_done_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    assert!(hot_paths(dir.path(), 200, &mut Idle).is_err());
}
