//! How long operations take: a histogram that many threads add to, and what is said of it.
//!
//! Its buckets are those of an HDR histogram (Gil Tene): each power of two is cut into 32 equal parts, so that a bucket is at most
//! a 32nd as wide as its lowest time is long. What it promises: adding takes no lock and no memory, a percentile is at most 2 % away
//! from a time that was added, the longest time is exact. What it leaves to others: which operations are timed, and how many
//! there were in all.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

/// Parts of a power of two, as a power of two.
const PART_BITS: u32 = 5;
const PARTS: usize = 1 << PART_BITS;
/// The highest bit of the longest time that is told apart from longer ones: 2^41 ns are 36 minutes.
const TOP_BIT: u32 = 40;
const BUCKETS: usize = PARTS + (TOP_BIT - PART_BITS + 1) as usize * PARTS;

/// Times of one kind of operation, in 1,184 buckets of 4 bytes.
///
/// ```
/// use nadb_core::Histogram;
/// use std::time::Duration;
/// let times = Histogram::new();
/// for micros in 1..=100 {
///     times.add(Duration::from_micros(micros));
/// }
/// let shown = times.snapshot(100_000, 0);
/// assert_eq!((shown.count, shown.sampled), (100_000, 100));
/// assert_eq!(shown.max, Duration::from_micros(100));
/// assert!(shown.p50.abs_diff(Duration::from_micros(50)) < Duration::from_micros(1));
/// ```
#[derive(Debug)]
pub struct Histogram {
    /// A count that is full stays so.
    buckets: Box<[AtomicU32]>,
    total_nanos: AtomicU64,
    max_nanos: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl Histogram {
    /// One without any time.
    #[must_use]
    pub fn new() -> Histogram {
        Histogram {
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            total_nanos: AtomicU64::new(0),
            max_nanos: AtomicU64::new(0),
        }
    }

    /// Bytes of RAM that each takes.
    #[must_use]
    pub const fn memory_bytes() -> u64 {
        (BUCKETS * size_of::<AtomicU32>() + size_of::<Histogram>()) as u64
    }

    /// One more operation took so long.
    pub fn add(&self, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(bucket) = self.buckets.get(bucket_of(nanos)) {
            let more = |count: u32| count.checked_add(1);
            let _ = bucket.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        }
        // Wraps after five hundred years.
        self.total_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.max_nanos.fetch_max(nanos, Ordering::Relaxed);
    }

    /// What it says of operations of which there were `count` in all, with so many bytes. What is added meanwhile may or may not be
    /// in it.
    #[must_use]
    pub fn snapshot(&self, count: u64, bytes: u64) -> OpTimes {
        let counts: Vec<u32> = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        let sampled: u64 = counts.iter().map(|&count| u64::from(count)).sum();
        let max = self.max_nanos.load(Ordering::Relaxed);
        let percentile = |percent: u64| {
            let rank = (u128::from(sampled) * u128::from(percent)).div_ceil(100);
            Duration::from_nanos(nanos_at(&counts, rank).min(max))
        };
        let total = self.total_nanos.load(Ordering::Relaxed);
        OpTimes {
            count,
            bytes,
            sampled,
            mean: Duration::from_nanos(total.checked_div(sampled).unwrap_or_default()),
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
            max: Duration::from_nanos(max),
        }
    }
}

/// The bucket of a time. The first 64 have one nanosecond each.
fn bucket_of(nanos: u64) -> usize {
    let nanos = nanos.min((1 << (TOP_BIT + 1)) - 1);
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(PART_BITS + 1);
    // At most 63 behind the shift, so that nothing is cut off.
    shift as usize * PARTS + usize::try_from(nanos >> shift).unwrap_or_default()
}

/// The middle of a bucket.
fn middle_of(bucket: usize) -> u64 {
    if bucket < 2 * PARTS {
        return bucket as u64;
    }
    let shift = bucket / PARTS - 1;
    let lowest = ((PARTS + bucket % PARTS) as u64) << shift;
    lowest + (1 << shift) / 2
}

/// The time of this rank, the shortest being the first; zero without any.
fn nanos_at(counts: &[u32], rank: u128) -> u64 {
    let mut seen = 0;
    let found = counts.iter().position(|&count| {
        seen += u128::from(count);
        seen >= rank && count > 0
    });
    found.map_or(0, middle_of)
}

/// Operations of one kind since the store was opened: how many there were, and how long they took.
///
/// The count and the bytes are exact and of operations that succeeded. Times are of those that were timed, of which there are
/// `sampled`: all zero where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpTimes {
    /// How many there were.
    pub count: u64,
    /// Of reads, the bytes of the values that were found; of writes, those of the keys and values that were given. As the user sees
    /// them: not compressed.
    pub bytes: u64,
    /// How many of them were timed.
    pub sampled: u64,
    /// The time of one, on average.
    pub mean: Duration,
    /// Half of them took at most that long.
    pub p50: Duration,
    /// 95 of a hundred took at most that long.
    pub p95: Duration,
    /// 99 of a hundred took at most that long.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// Counts and times by operation. See [`OpTimes`] for what a figure is.
///
/// About one read, write and step of a scan in a thousand of each thread is timed, every 17th query, and every flush and sync.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpStats {
    /// Reads of single keys, found or not: finding and verifying the record. Decompression and handing over are not in the times.
    pub get: OpTimes,
    /// Puts of one key, each in a write of its own. Of a value that was streamed, the time is that of its commit.
    pub set: OpTimes,
    /// Deletes of one key, each in a write of its own.
    pub delete: OpTimes,
    /// Merges of one key, each in a write of its own.
    pub merge: OpTimes,
    /// New expiries of one key, each in a write of its own.
    pub expire: OpTimes,
    /// Writes of several operations: each batch counts once.
    pub batch: OpTimes,
    /// Records and keys that scans gave. Where a scan is not over yet, up to a thousand of them may be missing.
    pub scan_step: OpTimes,
    /// Queries and counts by filter: all that was done for one, without what its caller did in between.
    pub query: OpTimes,
    /// Calls that make everything durable.
    pub flush: OpTimes,
    /// Syncs of the log's files, whoever caused them. No bytes.
    pub sync: OpTimes,
}

impl OpStats {
    /// Each operation with its name, in a fixed order: as metrics and the command line call them.
    ///
    /// ```
    /// let names = nadb_core::OpStats::default().by_name().map(|(name, _)| name);
    /// assert_eq!(names[..3], ["get", "set", "delete"]);
    /// ```
    #[must_use]
    pub fn by_name(&self) -> [(&'static str, OpTimes); 10] {
        [
            ("get", self.get),
            ("set", self.set),
            ("delete", self.delete),
            ("merge", self.merge),
            ("expire", self.expire),
            ("batch", self.batch),
            ("scan_step", self.scan_step),
            ("query", self.query),
            ("flush", self.flush),
            ("sync", self.sync),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_time_is_near_the_middle_of_its_bucket() {
        let mut last = 0;
        for bit in 0..=TOP_BIT {
            for part in 0..200 {
                let nanos = (1_u64 << bit) + ((1_u64 << bit) * part) / 200;
                let bucket = bucket_of(nanos);
                assert!(bucket >= last && bucket < BUCKETS, "{nanos}: {last} then {bucket}");
                last = bucket;
                let away = middle_of(bucket).abs_diff(nanos);
                assert!(away * 64 <= nanos, "{nanos} ns are shown as {} ns", middle_of(bucket));
            }
        }
        assert_eq!(bucket_of(0), 0);
        assert_eq!((bucket_of(u64::MAX), last), (BUCKETS - 1, BUCKETS - 1));
        assert!(Histogram::memory_bytes() <= 8 << 10);
    }

    #[test]
    fn percentiles_are_of_the_times_that_were_added() {
        let times = Histogram::new();
        assert_eq!(times.snapshot(3, 0), OpTimes { count: 3, ..OpTimes::default() });
        (1..=1000).for_each(|micros| times.add(Duration::from_micros(micros)));
        let shown = times.snapshot(5000, 70);
        assert_eq!((shown.count, shown.bytes, shown.sampled), (5000, 70, 1000));
        assert_eq!((shown.mean, shown.max), (Duration::from_nanos(500_500), Duration::from_millis(1)));
        for (shown, micros) in [(shown.p50, 500), (shown.p95, 950), (shown.p99, 990)] {
            let exact = Duration::from_micros(micros);
            assert!(shown.abs_diff(exact) * 50 <= exact, "{shown:?} for {exact:?}");
        }
    }

    #[test]
    fn no_percentile_is_above_the_longest_time() {
        let times = Histogram::new();
        times.add(Duration::from_nanos(1_000_003));
        let shown = times.snapshot(1, 0);
        assert_eq!(shown.max, Duration::from_nanos(1_000_003));
        assert!(shown.p50 <= shown.max && shown.p99 == shown.p50);
    }

    #[test]
    fn a_full_bucket_stays_full_and_long_times_are_counted() {
        let times = Histogram::new();
        times.buckets[bucket_of(7)].store(u32::MAX, Ordering::Relaxed);
        times.add(Duration::from_nanos(7));
        times.add(Duration::MAX);
        let shown = times.snapshot(0, 0);
        assert_eq!((shown.sampled, shown.p50), (u64::from(u32::MAX) + 1, Duration::from_nanos(7)));
        assert_eq!(shown.max, Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn threads_lose_nothing() {
        let times = Histogram::new();
        std::thread::scope(|scope| {
            for thread in 1..=8 {
                let times = &times;
                scope.spawn(move || (0..1000).for_each(|_| times.add(Duration::from_nanos(thread))));
            }
        });
        let shown = times.snapshot(8000, 0);
        assert_eq!((shown.sampled, shown.max), (8000, Duration::from_nanos(8)));
        assert_eq!((shown.mean, shown.p50), (Duration::from_nanos(4), Duration::from_nanos(4)));
    }
}
