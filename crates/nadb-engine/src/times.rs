//! How many operations there are, how long they take, and where their time goes. All are counted; times are samples: each thread
//! times about one of its operations in a thousand.
//!
//! What it promises: an operation that is not timed costs a countdown of its thread, some additions, and nothing that threads share. It leaves
//! to the paths themselves where a phase ends.

mod matches;

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::LocalKey;
use std::time::Duration;

use nadb_core::{
    Clock, Histogram, KeyHash, Location, NamespaceId, OpTimes, Phase, ReadTime, Result, Stats, Stopwatch,
    TimeSpent, WriteTime,
};

use crate::engine::Shared;
use crate::read::Visible;
use crate::slot::SlotTable;
use crate::tallies::{Op, Tallies, Tally};
use crate::trace;

/// A prime, so that work which repeats itself is not always met at the same place.
const SAMPLE_EVERY: u32 = 1021;
/// Queries are few, and each is more work than a look at the clock.
const SAMPLE_QUERIES_EVERY: u32 = 17;

thread_local! {
    static WRITES_LEFT: Cell<u32> = const { Cell::new(SAMPLE_EVERY) };
    static GETS_LEFT: Cell<u32> = const { Cell::new(SAMPLE_EVERY) };
    static STEPS_LEFT: Cell<u32> = const { Cell::new(SAMPLE_EVERY) };
    static QUERIES_LEFT: Cell<u32> = const { Cell::new(1) };
}

#[inline]
fn is_due(left: &'static LocalKey<Cell<u32>>, every: u32) -> bool {
    let now = left.get() - 1;
    left.set(if now == 0 { every } else { now });
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

/// What the operations of a store are counted and timed in.
#[derive(Debug)]
pub(crate) struct Times {
    pub(crate) tallies: Tallies,
    writes: Sums,
    batches: Sums,
    gets: Sums,
    /// Of each operation, by its number.
    histograms: [Histogram; Op::COUNT],
    /// What takes longer is told; then everything is timed.
    slow_above: Option<Duration>,
}

impl Times {
    pub(crate) fn new(slow_above: Option<Duration>) -> Times {
        Times {
            tallies: Tallies::default(),
            writes: Sums::default(),
            batches: Sums::default(),
            gets: Sums::default(),
            histograms: std::array::from_fn(|_| Histogram::new()),
            slow_above,
        }
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        self.tallies.memory_bytes() + Op::COUNT as u64 * Histogram::memory_bytes()
    }

    fn spent(&self) -> TimeSpent {
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

    fn of(&self, op: Op) -> OpTimes {
        let count = |tally| self.tallies.get(tally);
        let shown =
            |histogram: &Histogram| histogram.snapshot(count(Tally::Done(op)), count(Tally::Bytes(op)));
        self.histograms.get(op as usize).map(shown).unwrap_or_default()
    }

    /// Everything that statistics show of operations, but for syncs.
    pub(crate) fn show(&self, stats: &mut Stats) {
        let ops = &mut stats.ops;
        let shown = [
            (&mut ops.get, Op::Get),
            (&mut ops.set, Op::Set),
            (&mut ops.delete, Op::Delete),
            (&mut ops.merge, Op::Merge),
            (&mut ops.expire, Op::Expire),
            (&mut ops.batch, Op::Batch),
            (&mut ops.scan_step, Op::ScanStep),
            (&mut ops.query, Op::Query),
            (&mut ops.flush, Op::Flush),
        ];
        for (times, op) in shown {
            *times = self.of(op);
        }
        let count = |tally| self.tallies.get(tally);
        stats.gets = ops.get.count;
        let singles = ops.set.count + ops.delete.count + ops.merge.count + ops.expire.count;
        stats.batches = singles + ops.batch.count;
        stats.operations = singles + count(Tally::InBatches);
        stats.scans = count(Tally::Scans);
        stats.slow_operations = count(Tally::Slow);
        stats.value_bytes = count(Tally::LogicalBytes);
        stats.value_stored_bytes = count(Tally::StoredBytes);
        stats.time = self.spent();
    }

    /// An operation took so long.
    pub(crate) fn add(&self, op: Op, took: Duration) {
        if let Some(histogram) = self.histograms.get(op as usize) {
            histogram.add(took);
        }
        if self.slow_above.is_some_and(|slow| took > slow) {
            self.tallies.add([(Tally::Slow, 1)]);
            trace::slow(op, took);
        }
    }

    /// Whether an operation is to be timed.
    #[inline]
    fn is_due(&self, left: &'static LocalKey<Cell<u32>>, every: u32) -> bool {
        is_due(left, every) || self.slow_above.is_some()
    }

    /// A watch for a write, which runs if it is to be timed.
    #[inline]
    pub(crate) fn watch_write<'c>(&self, clock: &'c dyn Clock) -> Stopwatch<'c> {
        if self.is_due(&WRITES_LEFT, SAMPLE_EVERY) { Stopwatch::start(clock) } else { Stopwatch::off() }
    }

    /// A write is done.
    #[inline]
    pub(crate) fn add_write(&self, watch: &Stopwatch<'_>, op: Op) {
        if watch.is_on() {
            self.add_timed_write(watch, op);
        }
    }

    #[cold]
    fn add_timed_write(&self, watch: &Stopwatch<'_>, op: Op) {
        let sums = if op == Op::Batch { &self.batches } else { &self.writes };
        sums.add(watch);
        self.add(op, watch.total());
    }

    /// Whether a read is to be timed.
    #[inline]
    pub(crate) fn is_get_due(&self) -> bool {
        self.is_due(&GETS_LEFT, SAMPLE_EVERY)
    }

    /// When a step of a scan began, if it is to be timed.
    #[inline]
    pub(crate) fn begin_step(&self, clock: &dyn Clock) -> Option<Duration> {
        self.is_due(&STEPS_LEFT, SAMPLE_EVERY).then(|| clock.monotonic())
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
            self.times.add(Op::Get, watch.total());
        }
        found
    }
}
