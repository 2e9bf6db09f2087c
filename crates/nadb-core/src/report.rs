//! What a backend says of itself: namespaces, segments, counts, what opening and verification found.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::{OpStats, TimeSpent};

/// A namespace and how many keys it has.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct NamespaceInfo {
    /// The name.
    pub name: String,
    /// Keys in it. Expired ones count until they are overwritten, deleted or let go of.
    pub keys: u64,
}

impl NamespaceInfo {
    /// A namespace of these parts.
    #[must_use]
    pub fn new(name: impl Into<String>, keys: u64) -> NamespaceInfo {
        NamespaceInfo { name: name.into(), keys }
    }
}

/// What a segment is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SegmentState {
    /// Prepared for the time when the active one is full.
    Spare,
    /// Takes the writes.
    Active,
    /// Full, and not sealed yet.
    Full,
    /// Has its footer and never changes.
    Sealed,
}

/// One segment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SegmentInfo {
    /// Its number.
    pub id: u32,
    /// Its file.
    pub path: PathBuf,
    /// What it is used for.
    pub state: SegmentState,
    /// Bytes of the file that hold frames, with the header.
    pub bytes: u64,
    /// Bytes of its footer, once it is sealed.
    pub footer_bytes: u64,
    /// Records in it, of every kind.
    pub records: u64,
    /// Records that are the newest of their keys.
    pub live_records: u64,
    /// Bytes of those.
    pub live_bytes: u64,
    /// The first sequence number, if it has any record.
    pub first_seq: Option<u64>,
    /// The last sequence number, if it has any record.
    pub last_seq: Option<u64>,
    /// Whether a compaction has made it: its records stand in key order.
    pub is_compacted: bool,
    /// Bytes of records and footer that a compaction would free.
    pub gain_bytes: u64,
    /// Whether the next compaction takes it, and why, or why not; empty where nobody compacts.
    pub verdict: String,
    /// Whether the next compaction takes it.
    pub is_chosen: bool,
}

impl SegmentInfo {
    /// A segment without records; who reports it fills in the rest.
    #[must_use]
    pub fn new(id: u32, path: impl Into<PathBuf>, state: SegmentState) -> SegmentInfo {
        SegmentInfo {
            id,
            path: path.into(),
            state,
            bytes: 0,
            footer_bytes: 0,
            records: 0,
            live_records: 0,
            live_bytes: 0,
            first_seq: None,
            last_seq: None,
            is_compacted: false,
            gain_bytes: 0,
            verdict: String::new(),
            is_chosen: false,
        }
    }

    /// Records that are not the newest of their keys: overwritten, deleted, or marking a deletion.
    #[must_use]
    pub fn dead_records(&self) -> u64 {
        self.records.saturating_sub(self.live_records)
    }

    /// The share of the bytes that live records do not need, 0.0 to 1.0.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    pub fn dead_share(&self) -> f64 {
        if self.bytes == 0 { 0.0 } else { 1.0 - (self.live_bytes as f64 / self.bytes as f64).min(1.0) }
    }
}

/// Counts and sizes of the whole store. Counters of operations start at zero when the store is opened. What a backend does
/// not have stays zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Keys with a record; expired ones count until they are overwritten, deleted or let go of.
    pub keys: u64,
    /// Namespaces.
    pub namespaces: u64,
    /// Segments, spares included.
    pub segments: u64,
    /// Bytes of all segments' frames and headers.
    pub log_bytes: u64,
    /// Bytes of live records.
    pub live_bytes: u64,
    /// Bytes of the footers of sealed segments.
    pub footer_bytes: u64,
    /// Records of every kind, live and dead.
    pub records: u64,
    /// Bytes acknowledged in memory that the operating system does not have yet.
    pub buffered_bytes: u64,
    /// The newest visible sequence number.
    pub published_seq: u64,
    /// The newest sequence number that is known to survive a power cut.
    pub durable_seq: u64,
    /// RAM of the key index, in bytes; parts that no key was asked for since opening may still be in the checkpoint.
    pub index_bytes: u64,
    /// RAM of what is known of the records of segments that are not sealed, in bytes.
    pub memtable_bytes: u64,
    /// RAM of the bitmaps that say which records are live, and of the deaths that open views may ask for, in bytes.
    pub live_set_bytes: u64,
    /// RAM of footers, in bytes: their bytes where they are not mapped, and those that were damaged and are kept as memtables.
    pub footer_memory_bytes: u64,
    /// RAM that is kept for frames which the operating system does not have yet, in bytes.
    pub buffer_bytes: u64,
    /// RAM of large batches that are being written, in bytes: what was set aside for them.
    pub frame_bytes: u64,
    /// RAM of the sealing that is going on, in bytes: what was set aside for it.
    pub sealing_bytes: u64,
    /// RAM of what does not grow with the data: tables, locks, names of files, in bytes; an estimate.
    pub fixed_bytes: u64,
    /// What [`Stats::limited_bytes`] stays within, `memory_limit`; zero where the backend has none.
    pub memory_limit: u64,
    /// Bytes of files that are mapped. They are no RAM of the store's own: the operating system has them in memory as long as it
    /// has room.
    pub mapped_bytes: u64,
    /// Damaged footers that were found since the store was opened, and built again in memory from records, which are whole.
    pub rebuilt_footers: u64,
    /// Full segments that wait to be sealed.
    pub unsealed_segments: u64,
    /// Segments sealed since the store was opened.
    pub seals: u64,
    /// Times that a write waited: too many segments were waiting to be sealed, or memory had reached its limit.
    pub seal_waits: u64,
    /// Segments that were ended before they were full, because of the memory of their rows.
    pub early_rotations: u64,
    /// Records that had expired and were let go of since the store was opened.
    pub reaped_records: u64,
    /// What expired at or before this, in Unix milliseconds, stays gone, whatever the clock shows; 0 where nothing was let go of yet.
    pub time_mark_ms: u64,
    /// Why nothing is let go of in the background though it has expired; `None` where all is well. See docs/ttl.md.
    pub reaping_refused: Option<String>,
    /// Compactions that were done since the store was opened.
    pub compactions: u64,
    /// Bytes of the segments that they have replaced.
    pub compacted_bytes: u64,
    /// Bytes that they have written; part of `written_bytes`.
    pub compaction_written_bytes: u64,
    /// Records that the compaction filter has dropped or rewritten.
    pub filtered_records: u64,
    /// Records of which it failed, by an error or a panic.
    pub filter_failures: u64,
    /// Why the last compaction in the background was not done, or what the compaction filter failed of; `None` where all is well.
    pub compaction_failure: Option<String>,
    /// Segments that compactions have replaced and whose files are still there, because somebody holds what is in them.
    pub retired_segments: u64,
    /// Bytes of those files.
    pub retired_bytes: u64,
    /// Views that are open: snapshots, scans, reads of several keys.
    pub views: u64,
    /// How long the oldest of them has been open.
    pub oldest_view: Option<Duration>,
    /// Records that are not live any more and that an open view may still show.
    pub remembered_deaths: u64,
    /// Bytes of those of them that were overwritten or deleted: what open views keep from being given up.
    pub pinned_bytes: u64,
    /// RAM of where those records stand, in bytes.
    pub versions_bytes: u64,
    /// RAM of the counts of tags, of the namespaces that were asked for them, in bytes; an estimate.
    pub tag_counts_bytes: u64,
    /// RAM of when records were last read, in bytes; zero where nobody keeps that.
    pub access_bytes: u64,
    /// Counts and times by operation, since the store was opened.
    pub ops: OpStats,
    /// Write batches (single writes included) that were done since the store was opened.
    pub batches: u64,
    /// Operations in them.
    pub operations: u64,
    /// Reads of single keys.
    pub gets: u64,
    /// Scans that were begun.
    pub scans: u64,
    /// Operations that took longer than the option `slow_above`; zero without it.
    pub slow_operations: u64,
    /// Bytes of the values that were written into the log since the store was opened, as they were given.
    pub value_bytes: u64,
    /// Bytes of the same values as they are stored: compressed where that saves enough.
    pub value_stored_bytes: u64,
    /// Bytes handed to the log's files, footers included.
    pub written_bytes: u64,
    /// Calls that handed them over; below `batches` where writers shared one.
    pub appends: u64,
    /// Syncs of the log; below the number of synced writes where writers shared one.
    pub syncs: u64,
    /// Times a write had to wait for a new segment to be prepared.
    pub segment_waits: u64,
    /// Where the time of writes and reads went.
    pub time: TimeSpent,
}

impl Stats {
    /// Bytes of the keys and values that users have written since the store was opened.
    #[must_use]
    pub fn user_bytes(&self) -> u64 {
        let OpStats { set, delete, merge, expire, batch, .. } = &self.ops;
        [set, delete, merge, expire, batch].map(|times| times.bytes).iter().sum()
    }

    /// How many times smaller values became by compression: of those written into the log since the store was opened, bytes as
    /// they were given by bytes as they are stored. `None` where there were none.
    ///
    /// ```
    /// use nadb_core::Stats;
    /// let mut stats = Stats::default();
    /// assert_eq!(stats.compression_ratio(), None);
    /// (stats.value_bytes, stats.value_stored_bytes) = (3_000, 1_000);
    /// assert_eq!(stats.compression_ratio(), Some(3.0));
    /// ```
    #[must_use]
    pub fn compression_ratio(&self) -> Option<f64> {
        ratio(self.value_bytes, self.value_stored_bytes)
    }

    /// Bytes handed to the log's files by bytes that users have written, both since the store was opened: what headers, metadata
    /// and footers add, and compression saves. `None` before the first write. Values in files of their own are written
    /// there once, and count among what users have written alone.
    ///
    /// ```
    /// use nadb_core::Stats;
    /// let mut stats = Stats::default();
    /// assert_eq!(stats.write_amplification(), None);
    /// (stats.ops.set.bytes, stats.ops.batch.bytes, stats.written_bytes) = (600, 400, 1_200);
    /// assert_eq!(stats.write_amplification(), Some(1.2));
    /// ```
    #[must_use]
    pub fn write_amplification(&self) -> Option<f64> {
        ratio(self.written_bytes, self.user_bytes())
    }

    /// Bytes of the log's files by bytes of live records: what dead records, footers and headers take beside them. `None` without
    /// a live record. Values in files of their own count on neither side.
    ///
    /// ```
    /// use nadb_core::Stats;
    /// let mut stats = Stats::default();
    /// assert_eq!(stats.space_amplification(), None);
    /// (stats.log_bytes, stats.footer_bytes, stats.live_bytes) = (1_800, 200, 1_000);
    /// assert_eq!(stats.space_amplification(), Some(2.0));
    /// ```
    #[must_use]
    pub fn space_amplification(&self) -> Option<f64> {
        ratio(self.log_bytes + self.footer_bytes, self.live_bytes)
    }

    /// The RAM that `memory_limit` bounds: memtables, sealing, buffers, and frames on their way.
    #[must_use]
    pub fn limited_bytes(&self) -> u64 {
        self.memtable_bytes + self.sealing_bytes + self.buffer_bytes + self.frame_bytes
    }

    /// All RAM of the store's own: what is bounded, and what follows the number of keys and what views ask for. What is mapped is
    /// not in it.
    ///
    /// ```
    /// use nadb_core::Stats;
    /// let mut stats = Stats::default();
    /// (stats.index_bytes, stats.memtable_bytes, stats.mapped_bytes) = (2_000, 1_000, 64_000);
    /// assert_eq!((stats.memory_bytes(), stats.limited_bytes()), (3_000, 1_000));
    /// ```
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let follows_keys = self.index_bytes
            + self.live_set_bytes
            + self.footer_memory_bytes
            + self.tag_counts_bytes
            + self.access_bytes;
        self.limited_bytes() + follows_keys + self.versions_bytes + self.fixed_bytes
    }
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecoveryReport {
    /// Whether the store did not exist before.
    pub created: bool,
    /// Whether it had been closed in order.
    pub clean: bool,
    /// Segments read.
    pub segments: u64,
    /// Frames replayed.
    pub frames: u64,
    /// Records replayed.
    pub records: u64,
    /// Bytes of a torn tail that were cut off, in all files; they had not been promised to survive. Zeros at its end, which may
    /// have been reserved and not used, do not count.
    pub cut_bytes: u64,
    /// The last sequence number that was kept.
    pub last_seq: u64,
    /// Whether the index came from a checkpoint, so that only what was written after it had to be applied.
    pub from_checkpoint: bool,
    /// What is damaged and was made up for, one sentence each; nothing was lost by it.
    pub warnings: Vec<String>,
}

/// What opening is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum OpenPhase {
    /// Checks the footers of sealed segments; counted in segments.
    Footers,
    /// Takes a checkpoint; counted in segments.
    Checkpoint,
    /// Builds the index of all rows; counted in rows.
    Merging,
    /// Replays the segments that are not sealed; counted in bytes.
    Replaying,
}

/// How far opening has come. Phases may come in any order, and one may begin again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct OpenProgress {
    /// What is being done.
    pub phase: OpenPhase,
    /// How much of it is done, in the unit of the phase.
    pub done: u64,
    /// How much there is to do.
    pub total: u64,
}

/// Who is told how far opening has come. It is called from several threads, now and then, and opening waits for it.
///
/// ```
/// use nadb_core::{OnOpen, OpenPhase};
/// let on_open = OnOpen::new(|progress| assert!(progress.done <= progress.total));
/// on_open.report(OpenPhase::Merging, 1, 2);
/// ```
#[derive(Clone)]
pub struct OnOpen(Arc<dyn Fn(OpenProgress) + Send + Sync>);

impl OnOpen {
    /// Tells `observer`.
    #[must_use]
    pub fn new(observer: impl Fn(OpenProgress) + Send + Sync + 'static) -> OnOpen {
        OnOpen(Arc::new(observer))
    }

    /// So much is done.
    pub fn report(&self, phase: OpenPhase, done: u64, total: u64) {
        (self.0)(OpenProgress { phase, done, total });
    }
}

impl fmt::Debug for OnOpen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnOpen")
    }
}

/// What purging expired records did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PurgeReport {
    /// Records that had expired and are gone now.
    pub records: u64,
    /// Up to when: what expired at or before this, in Unix milliseconds, stays gone, whatever the clock shows later.
    pub upto_ms: u64,
}

/// What a verification read; it found nothing wrong, for anything wrong is an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Segments read.
    pub segments: u64,
    /// Frames whose checksums hold.
    pub frames: u64,
    /// Records whose checksums hold.
    pub records: u64,
    /// Bytes read.
    pub bytes: u64,
    /// Keys of the index, all of them found in the files at the same place.
    pub keys: u64,
}
