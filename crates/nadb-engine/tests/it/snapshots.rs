//! Snapshots against a model: random writes, drops, expiries, seals and snapshots that come and go in any order; each that is
//! held shows its moment, and nothing is remembered when none is.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{Action, Add, ExpiryUpdate, ManualClock, Merge, Operation, Put};
use nadb_engine::{Engine, Options, Snapshot};
use nadb_vfs::MemFs;

const SPACES: [&str; 3] = ["a", "b", "c"];

/// Values and when they expire, by namespace and key.
type Model = BTreeMap<&'static str, BTreeMap<Vec<u8>, (Vec<u8>, u64)>>;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators").
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }
}

struct Run {
    random: Random,
    clock: Arc<ManualClock>,
    now_ms: u64,
    engine: Engine,
    model: Model,
    held: Vec<(Snapshot, Model, u64)>,
}

impl Run {
    fn new(seed: u64) -> Run {
        let now_ms = 1_700_000_000_000;
        let clock = Arc::new(ManualClock::new(now_ms));
        let mut options = Options::default();
        options.memtable_size = 4 << 10;
        options.background = false;
        options.clock = clock.clone();
        let engine = Engine::open(Arc::new(MemFs::default()), Path::new("store"), options).unwrap();
        Run { random: Random(seed), clock, now_ms, engine, model: Model::new(), held: Vec::new() }
    }

    fn alive(&self, space: &str, key: &[u8]) -> Option<&(Vec<u8>, u64)> {
        self.model.get(space)?.get(key).filter(|(_, expires_ms)| *expires_ms > self.now_ms)
    }

    /// An operation for a batch, done to the model already.
    fn operation(&mut self) -> Operation<'static> {
        let space = SPACES[usize::try_from(self.random.below(3)).unwrap()];
        let key = format!("k{:02}", self.random.below(30)).into_bytes();
        let action = match self.random.below(10) {
            0..=1 => {
                self.model.get_mut(space).and_then(|keys| keys.remove(&key));
                Action::Delete
            }
            2 => {
                let counter = [b"counter-", &key[..]].concat();
                let (before, expires_ms) =
                    self.alive(space, &counter).cloned().unwrap_or((b"0".to_vec(), u64::MAX));
                let sum = String::from_utf8(before).unwrap().parse::<i64>().unwrap() + 1;
                let keys = self.model.entry(space).or_default();
                keys.insert(counter.clone(), (sum.to_string().into_bytes(), expires_ms));
                return Operation::new(
                    space,
                    counter,
                    Action::Merge(Merge::new(Arc::new(Add), b"1".as_slice())),
                );
            }
            kind => {
                let value = vec![b'v'; usize::try_from(self.random.below(300)).unwrap()];
                let mut put = Put::new(value.clone());
                let mut expires_ms = u64::MAX;
                if kind == 3 {
                    let ttl_ms = 1 + self.random.below(50);
                    put.expiry = ExpiryUpdate::After(Duration::from_millis(ttl_ms));
                    expires_ms = self.now_ms + ttl_ms;
                }
                self.model.entry(space).or_default().insert(key.clone(), (value, expires_ms));
                Action::Put(put)
            }
        };
        Operation::new(space, key, action)
    }

    fn step(&mut self) {
        match self.random.below(40) {
            0 => {
                let space = SPACES[usize::try_from(self.random.below(3)).unwrap()];
                let was_there = self.model.remove(space).is_some();
                assert_eq!(self.engine.drop_namespace(space).unwrap(), was_there);
            }
            1 => {
                let ms = self.random.below(40);
                self.clock.advance_ms(ms);
                self.now_ms += ms;
            }
            2 => self.engine.maintain().unwrap(),
            3..=5 => self.held.push((self.engine.snapshot().unwrap(), self.model.clone(), self.now_ms)),
            6..=8 if !self.held.is_empty() => {
                let at = usize::try_from(self.random.below(self.held.len() as u64)).unwrap();
                drop(self.held.swap_remove(at));
            }
            9 => drop(self.engine.verify().unwrap()),
            kind => {
                let count = if kind < 14 { self.random.below(20) } else { 1 };
                let batch: Vec<_> = (0..count).map(|_| self.operation()).collect();
                self.engine.write(&batch, None).unwrap();
            }
        }
    }

    fn check(&self, at: &str) {
        for (snapshot, model, now_ms) in &self.held {
            check(snapshot, model, *now_ms, at);
        }
        check(&self.engine.snapshot().unwrap(), &self.model, self.now_ms, at);
    }
}

fn check(snapshot: &Snapshot, model: &Model, now_ms: u64, at: &str) {
    assert!(snapshot.namespaces().unwrap().iter().eq(model.keys()), "{at}");
    for space in SPACES {
        let keys = model.get(space).into_iter().flatten();
        let alive: Vec<_> = keys.filter(|(_, (_, expires_ms))| *expires_ms > now_ms).collect();
        let all = || snapshot.scan(space, (Bound::Unbounded, Bound::Unbounded)).unwrap().map(Result::unwrap);
        let forward: Vec<_> = all().map(|entry| (entry.key, entry.value.to_vec())).collect();
        let expected = alive.iter().map(|(key, (value, _))| (*key, value));
        assert!(
            forward.iter().map(|(key, value)| (key, value)).eq(expected),
            "{at}: a scan of {space} is of another moment"
        );
        let backward: Vec<_> = all().rev().map(|entry| entry.key).collect();
        assert!(backward.iter().rev().eq(alive.iter().map(|(key, _)| *key)), "{at}: {space} backward");
        for number in 0..30 {
            for key in [format!("k{number:02}"), format!("counter-k{number:02}")] {
                let expected = alive.iter().find(|(k, _)| k[..] == *key.as_bytes());
                let got = snapshot.get(space, key.as_bytes()).unwrap();
                assert_eq!(got.as_deref(), expected.map(|(_, (value, _))| &value[..]), "{at}: {space}/{key}");
            }
        }
    }
}

#[test]
fn every_snapshot_shows_its_moment() {
    for seed in 0..20 {
        let mut run = Run::new(seed);
        for step in 0..300 {
            run.step();
            if step % 10 == 0 {
                run.check(&format!("seed {seed}, step {step}"));
            }
        }
        run.check(&format!("seed {seed}, at the end"));
        run.held.clear();
        let stats = run.engine.stats().unwrap();
        assert_eq!((stats.views, stats.remembered_deaths), (0, 0), "seed {seed}");
        run.engine.verify().unwrap();
    }
}
