//! A small store to compact, and what must hold of it.

mod damage;
mod durable;
mod expiring;
mod filter;
mod held;
mod markers;
mod moments;
mod parts;

use std::ops::Bound;
use std::path::{Path, PathBuf};

use nadb_core::{
    Action, Clock, CompactionFilter, CompactionReport, CompactionRequest, Durability, ExpiryUpdate,
    ManualClock, Operation, Ordinal, Put, SeededEntropy,
};
use nadb_vfs::{Fs, SimFs};

use super::*;
use crate::{Engine, Options, Snapshot};

const NOW_MS: u64 = 1_700_000_000_000;
const N: &str = "n";

/// Values above this become blobs here.
const ABOVE: usize = 1000;

/// A store.
struct Store {
    engine: Engine,
    place: Place,
}

/// Where a store is, for the next opening.
#[derive(Clone)]
struct Place {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    clock: Arc<ManualClock>,
    seed: u64,
    durability: Durability,
    checkpoint_rows: u64,
    filter: Option<CompactionFilter>,
    memory_limit: u64,
    room_left: u64,
}

impl Place {
    fn new(fs: impl Fs, dir: &Path) -> Place {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        Place {
            fs: Arc::new(fs),
            dir: dir.to_path_buf(),
            clock,
            seed: 0,
            durability: Durability::Flushed,
            checkpoint_rows: u64::MAX,
            filter: None,
            memory_limit: Options::default().memory_limit,
            room_left: Options::default().compaction_room_left,
        }
    }

    fn open(mut self) -> Store {
        self.seed += 1;
        let options = Options {
            background: false,
            memtable_size: 1 << 20,
            blob_above: Some(ABOVE as u64),
            checkpoint_rows: self.checkpoint_rows,
            durability: self.durability,
            compaction_filter: self.filter.clone(),
            memory_limit: self.memory_limit,
            compaction_room_left: self.room_left,
            clock: Arc::clone(&self.clock) as Arc<dyn Clock>,
            entropy: Arc::new(SeededEntropy::new(self.seed)),
            ..Options::default()
        };
        let engine = Engine::open(Arc::clone(&self.fs), &self.dir, options).unwrap();
        Store { engine, place: self }
    }
}

/// Keys with their values.
type Content = Vec<(String, Vec<u8>)>;

impl Store {
    /// On a simulated disk of its own.
    fn new() -> Store {
        Place::new(SimFs::new(1), Path::new("/store")).open()
    }

    fn reopened(self) -> Store {
        let Store { engine, place } = self;
        engine.close().unwrap();
        drop(engine);
        place.open()
    }

    /// The store that a crash leaves.
    fn crashed(self, left: SimFs) -> Store {
        let Store { engine, place } = self;
        std::mem::forget(engine);
        Place { fs: Arc::new(left), ..place }.open()
    }

    fn shared(&self) -> &Arc<Shared> {
        self.engine.shared()
    }

    fn act(&self, key: &str, action: Action<'_>) {
        self.engine.write(&[Operation::new(N, key.as_bytes(), action)], None).unwrap();
    }

    fn set(&self, key: &str, value: &str) {
        self.act(key, Action::Put(Put::new(value.as_bytes())));
    }

    fn set_all(&self, pairs: &[(&str, &str)]) {
        pairs.iter().for_each(|(key, value)| self.set(key, value));
    }

    fn set_expiring(&self, key: &str, after_ms: u64) {
        let mut put = Put::new(b"expires".as_slice());
        put.expiry = ExpiryUpdate::AtMs(self.place.clock.now_ms() + after_ms);
        self.act(key, Action::Put(put));
    }

    fn delete(&self, key: &str) {
        self.act(key, Action::Delete);
    }

    /// What was written so far is in sealed segments.
    fn seal(&self) {
        self.shared().end_active().unwrap();
        self.shared().seal_all().unwrap();
    }

    fn sealed(&self) -> Vec<Arc<Slot>> {
        self.shared().keyspace.slots().iter().filter(|slot| slot.segment.is_sealed()).cloned().collect()
    }

    /// Compacts the sealed segments with these places in their order; says how many rows are markers in what came of them, too.
    fn compact(&self, which: &[usize]) -> (CompactionReport, u64) {
        let sealed = self.sealed();
        let inputs: Vec<_> = which.iter().map(|at| Arc::clone(&sealed[*at])).collect();
        let report = {
            let _running = self.shared().compactor.wait();
            self.shared().compact_slots(&inputs, 0, &mut Nothing).unwrap().0
        };
        let is_new = |slot: &&Arc<Slot>| !sealed.iter().any(|old| Arc::ptr_eq(old, slot));
        let made = self.sealed();
        (report, made.iter().filter(is_new).map(|slot| slot.live.marker_count()).sum())
    }

    /// Compacts everything.
    fn compact_all(&self) {
        self.engine.compact(&CompactionRequest::new()).unwrap();
    }

    fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.engine.get(N, key.as_bytes()).unwrap().map(|value| value.to_vec())
    }

    fn content(&self) -> Content {
        content_of(&self.engine.snapshot().unwrap())
    }

    /// Gets, scans, counts and the files all say the same.
    #[track_caller]
    fn check(&self, expected: &Content) {
        assert_eq!(&self.content(), expected);
        for key in KEYS {
            let value = self.get(key);
            let there = expected.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
            assert_eq!(value, there, "{key}");
        }
        assert_eq!(self.engine.stats().unwrap().keys, expected.len() as u64);
        let live: u64 = self.engine.segments().unwrap().iter().map(|info| info.live_records).sum();
        assert_eq!(live, expected.len() as u64);
        self.engine.verify().unwrap();
    }
}

const KEYS: [&str; 5] = ["a", "b", "c", "d", "e"];

/// All that a view shows, by scan, which its gets must agree with.
fn content_of(view: &Snapshot) -> Content {
    let scan = view.scan(N, (Bound::Unbounded, Bound::Unbounded)).unwrap().map(Result::unwrap);
    let all: Content =
        scan.map(|entry| (String::from_utf8(entry.key.to_vec()).unwrap(), entry.value.to_vec())).collect();
    for key in KEYS {
        let value = view.get(N, key.as_bytes()).unwrap().map(|value| value.to_vec());
        let there = all.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
        assert_eq!(value, there, "{key} in a view");
    }
    all
}

fn content(pairs: &[(&str, &str)]) -> Content {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect()
}

struct Nothing;

impl Control for Nothing {
    fn spent(&mut self, _: u64) -> Result<()> {
        Ok(())
    }
}
