//! Where the time of operations goes: by a clock that goes on by a microsecond whenever it is asked, so that each phase that ends
//! takes one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use nadb_core::{Action, Clock, Durability, Operation, Put, TimeSpent};
use nadb_engine::{Engine, Options};
use nadb_vfs::{Fs, MemFs, RealFs};

/// Each thread times one operation of so many.
const EVERY: usize = 1021;

#[derive(Debug, Default)]
pub(crate) struct Ticking(AtomicU64);

impl Clock for Ticking {
    fn now_ms(&self) -> u64 {
        1_000
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.0.fetch_add(1, Ordering::Relaxed))
    }
}

fn put(key: &str) -> Operation<'_> {
    Operation::new("users", key.as_bytes(), Action::Put(Put::new(b"value".as_slice())))
}

/// What `run` takes on a store of its own, in a thread that has done nothing before.
fn spent(fs: Arc<dyn Fs>, dir: &Path, run: impl FnOnce(&Engine) + Send) -> TimeSpent {
    let mut options = Options::default();
    (options.background, options.clock) = (false, Arc::new(Ticking::default()));
    let engine = Engine::open(fs, dir, options).unwrap();
    thread::scope(|scope| scope.spawn(|| run(&engine)).join()).unwrap();
    let spent = engine.stats().unwrap().time;
    engine.close().unwrap();
    spent
}

fn in_memory(run: impl FnOnce(&Engine) + Send) -> TimeSpent {
    spent(Arc::new(MemFs::default()), Path::new("/store"), run)
}

#[test]
fn one_write_in_a_thousand_is_timed_phase_by_phase() {
    let write = |engine: &Engine, class| {
        for _ in 0..EVERY {
            engine.write(&[put("key")], Some(class)).unwrap();
        }
    };
    let micros = |ticks| Duration::from_micros(ticks);
    let time = in_memory(|engine| write(engine, Durability::Buffered));
    assert_eq!((time.writes.sampled, time.batches.sampled, time.gets.sampled), (1, 0, 0));
    // Names and hashes, then the plan; room, keys, the tail, the queue; the frame; the index.
    assert_eq!((time.writes.encode, time.writes.wait), (micros(2), micros(4)));
    assert_eq!((time.writes.append, time.writes.index, time.writes.sync), (micros(1), micros(1), micros(0)));
    let time = in_memory(|engine| write(engine, Durability::Flushed));
    // Besides, the lock of the file, and the call.
    assert_eq!((time.writes.wait, time.writes.append, time.writes.sync), (micros(5), micros(2), micros(0)));
    let time = in_memory(|engine| write(engine, Durability::Synced));
    // The sync itself looks at the clock twice.
    assert_eq!(time.writes.sync, micros(3));
    assert_eq!(time.writes.total(), time.writes.mean());
}

#[test]
fn batches_and_reads_are_timed_apart_from_single_writes() {
    let run = |engine: &Engine| {
        engine.write(&[put("a"), put("b")], None).unwrap();
        for nth in 0..2 * EVERY {
            engine.write(&[put("a"), put("b")], None).unwrap();
            assert!(engine.get("users", b"a").unwrap().is_some());
            assert!(engine.contains("users", b"a").unwrap());
            assert_eq!(engine.get("users", b"none").unwrap(), None, "{nth}");
        }
    };
    let time = in_memory(run);
    assert_eq!((time.writes.sampled, time.batches.sampled, time.gets.sampled), (0, 2, 6));
    // Four of the six found something, by a call that verifies: index, record, and the key. Others end with the index.
    let gets = &time.gets;
    assert_eq!((gets.record, gets.verify), (Duration::from_micros(4), Duration::from_micros(4)));
    assert_eq!(gets.index, Duration::from_micros(6));
}

#[test]
fn of_a_mapped_record_fetching_and_verifying_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let time = spent(Arc::new(RealFs), dir.path(), |engine| {
        engine.write(&[put("key")], None).unwrap();
        for _ in 0..EVERY {
            assert_eq!(engine.get("users", b"key").unwrap().unwrap(), b"value");
        }
    });
    assert_eq!(time.gets.sampled, 1);
    assert_eq!(time.gets.index, Duration::from_micros(1));
    let (record, verify) = (time.gets.record.as_micros(), time.gets.verify.as_micros());
    // Where the file system has no memory to append through, the record is read by a call.
    assert!([(1, 2), (1, 1)].contains(&(record, verify)), "{:?}", time.gets);
}
