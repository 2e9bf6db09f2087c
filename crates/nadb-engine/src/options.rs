//! What can be chosen when a store is opened.

use std::sync::Arc;
use std::time::Duration;

use nadb_core::limits::VALUE_BYTES_MAX;
use nadb_core::{
    Clock, CompactionFilter, Compression, Durability, Entropy, Error, OnOpen, OsEntropy, Result, SystemClock,
};
use nadb_log::ReadMode;

use crate::memory::{MEMORY_LIMIT, MEMORY_LIMIT_MIN};

/// Bytes of a segment, at least.
pub const MEMTABLE_BYTES_MIN: u64 = 4 << 10;
/// Bytes of a segment, at most.
pub const MEMTABLE_BYTES_MAX: u64 = 1 << 30;

/// Bytes of a value that is worth a file of its own, at least, where nothing else is said.
const BLOB_ABOVE_MIN: u64 = 64 << 10;

/// Larger parts of `memory_limit` than one of so many are never frames, but blobs.
const BLOBS_OF_LIMIT: u64 = 16;
/// Each of two buffers, which may be half empty, has at most one of so many parts of `memory_limit`: an eighth in all.
const BUFFERS_OF_LIMIT: u64 = 32;

/// Replaying so many takes some 8 ms, and sealing them little more.
const SEAL_ROWS: u64 = 32 << 10;

/// Where a checkpoint begins to be worth its writing: an opening that applies fewer records is short without one. Measured on two
/// cores with keys of 21 bytes and values of 128: with 1,000,000 keys the close takes 45 ms longer, and opening 120 ms with the
/// checkpoint, 1.0 to 1.2 s without; with 5,000,000 keys opening takes 0.55 to 0.66 s with it. The number itself is a choice.
const CHECKPOINT_ROWS: u64 = 300_000;

/// Options of an engine; the defaults are good.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Bytes after which the log goes on in a new segment (a frame is never split, so one large batch may exceed it).
    pub memtable_size: u64,
    /// Bytes of a value above which it is stored in a file of its own, a blob; `None` is a quarter of the memtable, and at
    /// least 64 KiB. Values above 64 MiB always are.
    pub blob_above: Option<u64>,
    /// Whether values are compressed.
    pub compression: Compression,
    /// The durability class of writes that do not name one.
    pub durability: Durability,
    /// The longest time that a flushed write waits for the background sync.
    pub sync_interval: Duration,
    /// The longest time that a buffered write waits to be handed to the operating system.
    pub flush_interval: Duration,
    /// Bytes of buffered writes after which the next one hands them all to the operating system.
    pub buffer_size: usize,
    /// Bytes of memory that memtables, sealing, buffers and batches on their way may take together. What follows the number of keys
    /// (index, live bits, footers that are not mapped), and what snapshots ask for, is beside it. Segments end early, and
    /// writers wait, where it would be exceeded; larger values than a 16th of it are blobs.
    pub memory_limit: u64,
    /// The longest time that a write waits for memory while nothing changes.
    pub stall_max: Duration,
    /// An operation that takes longer than this is counted, and with the feature `tracing` told as an event. `None` for nobody
    /// to look: otherwise every operation is timed, which costs two looks at the clock, and not one in a thousand.
    pub slow_above: Option<Duration>,
    /// Whether a missing store is created.
    pub create: bool,
    /// Whether background threads flush, sync and prepare segments. Without them the caller does, by
    /// [`crate::Engine::maintain`]; the simulator needs that, so that a run can be repeated exactly.
    pub background: bool,
    /// Closing writes a checkpoint of the index where the next opening would have to apply at least so many records without one;
    /// 0 is always. A checkpoint takes some 20 bytes for each key.
    pub checkpoint_rows: u64,
    /// Closing seals all segments where the next opening would have to replay at least so many records; 0 is always. Fewer stay
    /// where they are, and the next session goes on behind them, so that many short sessions do not make many segments.
    pub seal_rows: u64,
    /// Whether a thread of its own compacts segments as more and more of them is dead. Without it, and without
    /// [`Options::background`], space comes back by [`crate::Engine::compact`] alone.
    pub auto_compact: bool,
    /// The share of all bytes that may be dead while nobody writes, 0.02 to 0.9; the compactor rewrites segments until it is less.
    pub dead_share: f64,
    /// The most that compactions write, in bytes a second, whatever else is going on; `None` for no bound. Beside busy users they
    /// take a small share of the time anyway.
    pub compaction_bytes_per_s: Option<u64>,
    /// Bytes of the disk that compactions leave free: one that would need some of these waits, or takes fewer segments.
    pub compaction_room_left: u64,
    /// What is asked about records that a compaction has copied, and that it may have dropped or rewritten. See
    /// `StoreBuilder::compaction_filter` of the crate `nadb`.
    pub compaction_filter: Option<CompactionFilter>,
    /// Whether the store keeps when keys were last read. It costs memory, some 11 to 22 bytes for each key that was read, and
    /// each read a little time.
    pub track_access: bool,
    /// The shortest time between two writings of when keys were last read, and with that about what a crash takes of it.
    pub access_flush_interval: Duration,
    /// Who is told how far opening has come.
    pub on_open: Option<OnOpen>,
    /// The shortest time between two looks for what has expired, to let go of it; while nothing has an expiry nobody looks.
    pub reap_interval: Duration,
    /// How sealed segments are read.
    pub read_mode: ReadMode,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            memtable_size: 64 << 20,
            blob_above: None,
            compression: Compression::default(),
            durability: Durability::default(),
            sync_interval: Duration::from_secs(1),
            flush_interval: Duration::from_millis(100),
            buffer_size: 1 << 20,
            memory_limit: MEMORY_LIMIT,
            stall_max: Duration::from_secs(60),
            slow_above: None,
            create: true,
            background: true,
            checkpoint_rows: CHECKPOINT_ROWS,
            seal_rows: SEAL_ROWS,
            auto_compact: true,
            dead_share: 0.2,
            compaction_bytes_per_s: None,
            compaction_room_left: 64 << 20,
            compaction_filter: None,
            track_access: false,
            access_flush_interval: Duration::from_secs(600),
            on_open: None,
            reap_interval: Duration::from_secs(1),
            read_mode: ReadMode::default(),
            clock: Arc::new(SystemClock::default()),
            entropy: Arc::new(OsEntropy),
        }
    }
}

impl Options {
    /// Bytes of a value above which it becomes a blob.
    pub(crate) fn blobs_above(&self) -> u64 {
        let above = self.blob_above.unwrap_or((self.memtable_size / 4).max(BLOB_ABOVE_MIN));
        above.min(VALUE_BYTES_MAX as u64).min(self.memory_limit / BLOBS_OF_LIMIT)
    }

    /// Bytes of buffered writes after which the next one hands them over, within the limit of memory.
    pub(crate) fn buffer_bytes(&self) -> usize {
        self.buffer_size.min(usize::try_from(self.memory_limit / BUFFERS_OF_LIMIT).unwrap_or(usize::MAX))
    }

    /// Checks what was chosen.
    ///
    /// # Errors
    /// `Limit`, naming option, value and limit.
    pub fn check(&self) -> Result<()> {
        if !(MEMTABLE_BYTES_MIN..=MEMTABLE_BYTES_MAX).contains(&self.memtable_size) {
            return Err(Error::limit(format!(
                "memtable_size is {} bytes, the limit is {MEMTABLE_BYTES_MIN} to {MEMTABLE_BYTES_MAX} bytes",
                self.memtable_size
            )));
        }
        if self.memory_limit < MEMORY_LIMIT_MIN {
            return Err(Error::limit(format!(
                "memory_limit is {} bytes, the least is {MEMORY_LIMIT_MIN} bytes (8 MiB)",
                self.memory_limit
            )));
        }
        if self.reap_interval.is_zero() {
            return Err(Error::limit(
                "reap_interval must be above zero; to let go of what has expired at once call purge_expired",
            ));
        }
        if self.access_flush_interval.is_zero() {
            return Err(Error::limit(
                "access_flush_interval must be above zero; what is known of reads is written at the end in any case",
            ));
        }
        if self.sync_interval.is_zero() || self.flush_interval.is_zero() {
            return Err(Error::limit(
                "sync_interval and flush_interval must be above zero; for a sync at every write choose Durability::Synced",
            ));
        }
        Ok(())
    }
}
