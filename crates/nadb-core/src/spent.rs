//! Where the time of single operations goes: a stopwatch with phases, and the sums that statistics show.
//!
//! What it promises: a stopwatch that is off asks nobody for the time, and each of its laps costs one comparison. What it leaves
//! to others: which operations are timed, and adding up (the backend).

use std::time::Duration;

use crate::Clock;

/// A part of an operation's time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Of a write: checks, looking up what it changes, compression, encoding.
    Encode,
    /// Of a write: waiting for others, for their locks, for memory, and for a segment.
    Wait,
    /// Of a write: copying the frame to its place, or calling the operating system; writing values to files of their own.
    Append,
    /// Of a write: making it visible. Of a read: finding the record's place.
    Index,
    /// Of a write: the sync that it waits for.
    Sync,
    /// Of a read: fetching the record's bytes.
    Record,
    /// Of a read: its checksum, and comparing the key.
    Verify,
}

impl Phase {
    /// How many phases there are.
    pub const COUNT: usize = 7;
    /// All of them, in the order of their numbers.
    pub const ALL: [Phase; Phase::COUNT] =
        [Phase::Encode, Phase::Wait, Phase::Append, Phase::Index, Phase::Sync, Phase::Record, Phase::Verify];
}

/// Times one operation, phase after phase, or nothing at all.
///
/// ```
/// use nadb_core::{ManualClock, Phase, Stopwatch};
/// let clock = ManualClock::new(0);
/// let mut watch = Stopwatch::start(&clock);
/// clock.advance_ms(3);
/// watch.lap(Phase::Encode);
/// clock.advance_ms(2);
/// watch.lap(Phase::Append);
/// assert_eq!(watch.spent(Phase::Encode).as_millis(), 3);
/// assert_eq!(watch.spent(Phase::Append).as_millis(), 2);
/// assert_eq!(watch.total().as_millis(), 5);
/// assert!(!Stopwatch::off().is_on());
/// ```
#[derive(Debug)]
pub struct Stopwatch<'c> {
    clock: Option<&'c dyn Clock>,
    /// Nanoseconds, as are those of the phases.
    last: u64,
    spent: [u64; Phase::COUNT],
}

impl<'c> Stopwatch<'c> {
    /// One that times nothing.
    #[inline]
    #[must_use]
    pub fn off() -> Stopwatch<'c> {
        Stopwatch { clock: None, last: 0, spent: [0; Phase::COUNT] }
    }

    /// One that runs from now on.
    #[must_use]
    pub fn start(clock: &'c dyn Clock) -> Stopwatch<'c> {
        Stopwatch { clock: Some(clock), last: nanos(clock.monotonic()), spent: [0; Phase::COUNT] }
    }

    /// Whether it times anything.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.clock.is_some()
    }

    /// What has passed since the last lap was spent in this phase.
    #[inline]
    pub fn lap(&mut self, phase: Phase) {
        if let Some(clock) = self.clock {
            self.add(clock, phase);
        }
    }

    #[cold]
    fn add(&mut self, clock: &dyn Clock, phase: Phase) {
        let now = nanos(clock.monotonic());
        if let Some(spent) = self.spent.get_mut(phase as usize) {
            *spent += now.saturating_sub(self.last);
        }
        self.last = now;
    }

    /// What was spent in a phase so far.
    #[must_use]
    pub fn spent(&self, phase: Phase) -> Duration {
        Duration::from_nanos(self.spent.get(phase as usize).copied().unwrap_or_default())
    }

    /// What was spent in all phases so far.
    #[must_use]
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.spent.iter().fold(0, |sum, spent| sum.saturating_add(*spent)))
    }
}

/// Where the time of operations went since the store was opened. About one operation in a thousand of each thread is timed,
/// so these are samples: shares and means are meaningful, sums of all operations are about a thousand times as much.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeSpent {
    /// Writes of one operation.
    pub writes: WriteTime,
    /// Batches of several operations; each batch counts once.
    pub batches: WriteTime,
    /// Reads of single keys.
    pub gets: ReadTime,
}

/// Where the time of the writes went that were timed.
///
/// ```
/// use nadb_core::WriteTime;
/// use std::time::Duration;
/// let mut time = WriteTime::default();
/// (time.sampled, time.append, time.sync) = (2, Duration::from_micros(6), Duration::from_micros(200));
/// assert_eq!(time.total(), Duration::from_micros(206));
/// assert_eq!(time.mean(), Duration::from_micros(103));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WriteTime {
    /// How many were timed.
    pub sampled: u64,
    /// Checks, looking up what is changed, compression, encoding.
    pub encode: Duration,
    /// Waiting for others: for the same keys, for locks, for sealing and memory, for a new segment.
    pub wait: Duration,
    /// Copying frames to their place in memory, or handing them to the operating system by a call; writing large values to files of
    /// their own, and syncing those.
    pub append: Duration,
    /// Making frames visible: index, live bits, memtable.
    pub index: Duration,
    /// Waiting for the sync, with class `Synced`.
    pub sync: Duration,
}

impl WriteTime {
    /// The time of all that were timed.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.encode + self.wait + self.append + self.index + self.sync
    }

    /// The time of one of them, on average; zero without any.
    #[must_use]
    pub fn mean(&self) -> Duration {
        mean(self.total(), self.sampled)
    }
}

/// Where the time of the reads went that were timed. The value's decompression and its hand-over are not in it, nor what the
/// caller does with it.
///
/// ```
/// use nadb_core::ReadTime;
/// use std::time::Duration;
/// let mut time = ReadTime::default();
/// (time.sampled, time.index, time.record) = (4, Duration::from_nanos(400), Duration::from_nanos(800));
/// assert_eq!(time.mean(), Duration::from_nanos(300));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadTime {
    /// How many were timed.
    pub sampled: u64,
    /// Finding the record's place.
    pub index: Duration,
    /// Fetching its bytes: from memory, or from the device where the operating system has to.
    pub record: Duration,
    /// Checksum, key, expiry.
    pub verify: Duration,
}

impl ReadTime {
    /// The time of all that were timed.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.index + self.record + self.verify
    }

    /// The time of one of them, on average; zero without any.
    #[must_use]
    pub fn mean(&self) -> Duration {
        mean(self.total(), self.sampled)
    }
}

/// Enough for five hundred years.
fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn mean(total: Duration, count: u64) -> Duration {
    let nanos = total.as_nanos().checked_div(u128::from(count)).unwrap_or_default();
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}
