//! What happens between two steps of a compaction: writes, deaths and views that come just then.

use std::ops::Bound;
use std::path::Path;

use nadb_core::{Action, Clock, ExpiryUpdate, ManualClock, Operation, Put, SeededEntropy};
use nadb_vfs::{Fs, MemFs};

use super::settle::Installed;
use super::*;
use crate::{Engine, Options, ReadMode, Snapshot};

const NOW_MS: u64 = 1_700_000_000_000;
const N: &str = "n";

/// A store, and what it must hold.
struct Store {
    engine: Engine,
    clock: Arc<ManualClock>,
    fs: Arc<dyn Fs>,
    seed: u64,
    mode: ReadMode,
}

/// Keys with their values.
type Content = Vec<(String, Vec<u8>)>;

impl Store {
    fn new(mode: ReadMode) -> Store {
        let (fs, clock): (Arc<dyn Fs>, _) = (Arc::new(MemFs::default()), Arc::new(ManualClock::new(NOW_MS)));
        let engine = open(&fs, &clock, 1, mode);
        Store { engine, clock, fs, seed: 1, mode }
    }

    fn reopened(self) -> Store {
        let Store { engine, clock, fs, seed, mode } = self;
        engine.close().unwrap();
        drop(engine);
        let engine = open(&fs, &clock, seed + 1, mode);
        Store { engine, clock, fs, seed: seed + 1, mode }
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

    fn set_expiring(&self, key: &str, after_ms: u64) {
        let mut put = Put::new(b"expires".as_slice());
        put.expiry = ExpiryUpdate::AtMs(self.clock.now_ms() + after_ms);
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

    /// Compacts the sealed segments with these places in their order.
    fn compact(&self, which: &[usize]) -> Compacted {
        let sealed = self.sealed();
        let inputs: Vec<_> = which.iter().map(|at| Arc::clone(&sealed[*at])).collect();
        self.shared().compact_slots(&inputs, &mut Nothing).unwrap()
    }

    fn content(&self) -> Content {
        content_of(&self.engine.snapshot().unwrap())
    }

    /// Gets, scans, counts and the files all say the same.
    #[track_caller]
    fn check(&self, expected: &Content) {
        assert_eq!(&self.content(), expected);
        for key in KEYS {
            let value = self.engine.get(N, key.as_bytes()).unwrap().map(|value| value.to_vec());
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

fn open(fs: &Arc<dyn Fs>, clock: &Arc<ManualClock>, seed: u64, mode: ReadMode) -> Engine {
    let options = Options {
        background: false,
        read_mode: mode,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        entropy: Arc::new(SeededEntropy::new(seed)),
        ..Options::default()
    };
    Engine::open(Arc::clone(fs), Path::new("store"), options).unwrap()
}

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

/// Does something once, at the call with this number.
struct AtCall<F> {
    left: u32,
    act: Option<F>,
}

impl<F: FnOnce() -> Result<()>> Control for AtCall<F> {
    fn spent(&mut self, _: u64) -> Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return self.act.take().map_or(Ok(()), |act| act()),
        }
        Ok(())
    }
}

/// A moment of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While rows are copied.
    Copying,
    /// When all are copied, and nothing is installed.
    Copied,
    Installing(Installed),
}

const MOMENTS: [Moment; 6] = [
    Moment::Copying,
    Moment::Copied,
    Moment::Installing(Installed::Stored),
    Moment::Installing(Installed::Forwarded),
    Moment::Installing(Installed::Buried),
    Moment::Installing(Installed::Replaced),
];

/// Compacts these segments, and does something at a moment of it.
fn compact_and(store: &Store, inputs: &[Arc<Slot>], moment: Moment, act: impl FnOnce()) {
    let shared = store.shared();
    let mut act = Some(act);
    let mut act_at = |now| {
        if moment == now {
            act.take().into_iter().for_each(|act| act());
        }
    };
    let _running = shared.compactor.running.lock();
    shared.keyspace.load_all().unwrap();
    let others = shared.others(inputs);
    let copying = || {
        act_at(Moment::Copying);
        Ok(())
    };
    // Copies are made before the last call, whatever there is to copy.
    let calls = inputs.iter().filter(|input| input.segment.mapped_bytes() > 0).count();
    let mut control = AtCall { left: u32::try_from(calls).unwrap(), act: Some(copying) };
    let copies = shared.copy(inputs, &others, &mut control).unwrap();
    assert!(control.act.is_none(), "there was nothing to copy");
    act_at(Moment::Copied);
    let blobs = dropped_blobs(inputs).unwrap();
    let compaction = shared.keyspace.while_nothing_moves(|| {
        shared.install_in_steps(inputs, copies, |installed| act_at(Moment::Installing(installed))).unwrap()
    });
    shared.log.retire(compaction, shared.unnamed(blobs).unwrap());
    drop(act);
}

type Act = fn(&Store);

/// What may happen to the keys of [`sample`], and what is there afterwards.
const ACTS: [(&str, Act, &[(&str, &str)]); 7] = [
    ("nothing", |_| (), &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "expires")]),
    ("overwritten", |store| store.set("a", "new"), &[("a", "new"), ("b", "2"), ("c", "3"), ("d", "expires")]),
    ("deleted", |store| store.delete("b"), &[("a", "1"), ("c", "3"), ("d", "expires")]),
    (
        "deleted and written again",
        |store| {
            store.delete("b");
            store.set("b", "again");
        },
        &[("a", "1"), ("b", "again"), ("c", "3"), ("d", "expires")],
    ),
    (
        "overwritten twice",
        |store| {
            store.set("c", "new");
            store.set("c", "newer");
        },
        &[("a", "1"), ("b", "2"), ("c", "newer"), ("d", "expires")],
    ),
    (
        "expired",
        |store| {
            store.clock.advance_ms(1000);
            store.engine.purge_expired().unwrap();
        },
        &[("a", "1"), ("b", "2"), ("c", "3")],
    ),
    (
        "all of it",
        |store| {
            store.set("e", "fresh");
            KEYS.iter().take(4).for_each(|key| store.delete(key));
            store.set("c", "again");
        },
        &[("c", "again"), ("e", "fresh")],
    ),
];

/// Two segments: dead rows, live ones, one that expires, and a marker.
fn sample(mode: ReadMode) -> Store {
    let store = Store::new(mode);
    store.set("a", "0");
    store.set("b", "2");
    store.set("e", "gone");
    store.seal();
    store.set("a", "1");
    store.set("c", "3");
    store.delete("e");
    store.set_expiring("d", 1000);
    store.seal();
    store
}

/// Views that were open before, that are taken just then, and that come later; over another compaction and a reopening.
fn what_happens_at(moment: Moment, mode: ReadMode, inputs: &[usize]) {
    for (what, act, expected) in ACTS {
        let store = sample(mode);
        let expected = content(expected);
        let before = store.engine.snapshot().unwrap();
        let then = content_of(&before);
        let mut between = None;
        let sealed = store.sealed();
        let chosen: Vec<_> = inputs.iter().map(|at| Arc::clone(&sealed[*at])).collect();
        compact_and(&store, &chosen, moment, || {
            let earlier = store.engine.snapshot().unwrap();
            act(&store);
            between = Some((earlier, store.engine.snapshot().unwrap()));
        });
        let case = format!("{what} at {moment:?}");
        let (earlier, later) = between.unwrap();
        for _ in 0..2 {
            store.engine.maintain().unwrap();
            assert_eq!(content_of(&before), then, "{case}");
            assert_eq!(content_of(&earlier), then, "{case}");
            assert_eq!(content_of(&later), expected, "{case}");
            store.check(&expected);
            store.seal();
            store.engine.compact().unwrap();
        }
        drop((before, earlier, later));
        assert_eq!(store.engine.stats().unwrap().remembered_deaths, 0, "{case}");
        let store = store.reopened();
        store.check(&expected);
    }
}

#[test]
fn what_dies_at_any_moment_of_a_compaction_is_dead_for_those_who_come_later() {
    for moment in MOMENTS {
        for inputs in [&[0, 1][..], &[0], &[1]] {
            what_happens_at(moment, ReadMode::Mapped, inputs);
        }
    }
}

/// As above where nothing is mapped: every read goes to a file by its number.
#[test]
fn readers_and_writers_go_on_at_any_moment_without_mappings() {
    for moment in MOMENTS {
        what_happens_at(moment, ReadMode::Positioned, &[0, 1]);
    }
}
