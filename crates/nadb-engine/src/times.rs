//! Where the time of writes and reads goes, by samples: each thread times about one of its operations in a thousand.
//!
//! What it promises: an operation that is not timed costs a countdown of its thread and nothing that threads share. It leaves
//! to the paths themselves where a phase ends.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::LocalKey;
use std::time::Duration;

use nadb_core::{
    Clock, KeyHash, Location, NamespaceId, Phase, ReadTime, Result, Stopwatch, TimeSpent, WriteTime,
};

use crate::engine::Shared;
use crate::read::Visible;
use crate::slot::SlotTable;

/// A prime, so that work which repeats itself is not always met at the same place.
const SAMPLE_EVERY: u32 = 1021;

thread_local! {
    static WRITES_LEFT: Cell<u32> = const { Cell::new(SAMPLE_EVERY) };
    static GETS_LEFT: Cell<u32> = const { Cell::new(SAMPLE_EVERY) };
}

#[inline]
fn is_due(left: &'static LocalKey<Cell<u32>>) -> bool {
    let now = left.get() - 1;
    left.set(if now == 0 { SAMPLE_EVERY } else { now });
    now == 0
}

/// Sums of one kind of operation. They are added to so rarely that threads may share them.
#[derive(Debug, Default)]
struct Sums {
    sampled: AtomicU64,
    nanos: [AtomicU64; Phase::COUNT],
}

impl Sums {
    fn add(&self, watch: &Stopwatch<'_>) {
        for (sum, phase) in self.nanos.iter().zip(Phase::ALL) {
            let nanos = u64::try_from(watch.spent(phase).as_nanos()).unwrap_or(u64::MAX);
            sum.fetch_add(nanos, Ordering::Relaxed);
        }
        self.sampled.fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self, phase: Phase) -> Duration {
        let nanos = self.nanos.get(phase as usize).map_or(0, |nanos| nanos.load(Ordering::Relaxed));
        Duration::from_nanos(nanos)
    }

    fn write_time(&self) -> WriteTime {
        let mut time = WriteTime::default();
        time.sampled = self.sampled.load(Ordering::Relaxed);
        time.encode = self.get(Phase::Encode);
        time.wait = self.get(Phase::Wait);
        time.append = self.get(Phase::Append);
        time.index = self.get(Phase::Index);
        time.sync = self.get(Phase::Sync);
        time
    }
}

/// The sums of a store.
#[derive(Debug, Default)]
pub(crate) struct Times {
    writes: Sums,
    batches: Sums,
    gets: Sums,
}

impl Times {
    pub(crate) fn spent(&self) -> TimeSpent {
        let mut spent = TimeSpent::default();
        spent.writes = self.writes.write_time();
        spent.batches = self.batches.write_time();
        let mut gets = ReadTime::default();
        gets.sampled = self.gets.sampled.load(Ordering::Relaxed);
        gets.index = self.gets.get(Phase::Index);
        gets.record = self.gets.get(Phase::Record);
        gets.verify = self.gets.get(Phase::Verify);
        spent.gets = gets;
        spent
    }

    /// A watch for a write, which runs if it is to be timed.
    #[inline]
    pub(crate) fn watch_write<'c>(&self, clock: &'c dyn Clock) -> Stopwatch<'c> {
        if is_due(&WRITES_LEFT) { Stopwatch::start(clock) } else { Stopwatch::off() }
    }

    /// The write of so many operations is done.
    #[inline]
    pub(crate) fn add_write(&self, watch: &Stopwatch<'_>, operations: usize) {
        if watch.is_on() {
            let sums = if operations == 1 { &self.writes } else { &self.batches };
            sums.add(watch);
        }
    }

    /// Whether a read is to be timed.
    #[inline]
    pub(crate) fn is_get_due(&self) -> bool {
        is_due(&GETS_LEFT)
    }
}

impl Shared {
    /// As [`crate::keyspace::Keyspace::find`] of the newest record, and timed. The bytes of a mapped record are fetched before they
    /// are verified, so that the two can be told apart.
    #[cold]
    pub(crate) fn find_timed<'t>(
        &self,
        slots: &'t SlotTable,
        namespace: NamespaceId,
        hash: KeyHash,
        key: &[u8],
    ) -> Result<Option<Visible<'t>>> {
        let watch = Cell::new(Some(Stopwatch::start(&*self.options.clock)));
        let lap = |phase| {
            let mut running = watch.take();
            if let Some(running) = &mut running {
                running.lap(phase);
            }
            watch.set(running);
        };
        let read = |at: Location| {
            lap(Phase::Index);
            let is_mapped = slots.get(at.segment).is_some_and(|slot| slot.segment.touch(at));
            if is_mapped {
                lap(Phase::Record);
            }
            let stored = self.read_in(slots, at);
            // Read by a call, it comes verified.
            lap(if is_mapped { Phase::Verify } else { Phase::Record });
            stored
        };
        let found = self.keyspace.find(namespace, hash, key, read);
        lap(if matches!(found, Ok(None)) { Phase::Index } else { Phase::Verify });
        if let Some(watch) = watch.take() {
            self.times.gets.add(&watch);
        }
        found
    }
}
