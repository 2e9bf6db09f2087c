//! What is asked of a compaction, how far one has come, and what it did.

mod filter;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

pub use self::filter::{CompactionFilter, Fate, FilterRecord, FilterSource, Rewrite};

/// Which keys a compaction is about.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CompactionRange {
    /// All.
    #[default]
    All,
    /// Those of a namespace, by its name.
    Namespace(String),
    /// Those of a namespace from a key on, up to but without another.
    Keys {
        /// The namespace's name.
        namespace: String,
        /// The first key.
        from: Vec<u8>,
        /// The first key that is not meant any more; without it, all to the end are.
        to: Option<Vec<u8>>,
    },
}

/// What a compaction is to do.
///
/// ```
/// use std::ops::ControlFlow;
/// use nadb_core::{CompactionRange, CompactionRequest};
/// let request = CompactionRequest::new()
///     .range(CompactionRange::Namespace("app/users".into()))
///     .on_progress(|progress| if progress.written_bytes > 1 << 40 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) });
/// assert!(!request.dry_run);
/// ```
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CompactionRequest {
    /// Segments with any of these keys are compacted, as a whole.
    pub range: CompactionRange,
    /// Only says what it would do; its report has estimates.
    pub dry_run: bool,
    /// Who is told how far it has come, and may end it.
    pub on_progress: Option<OnCompaction>,
}

impl CompactionRequest {
    /// All keys, for real, with nobody told.
    #[must_use]
    pub fn new() -> CompactionRequest {
        CompactionRequest::default()
    }

    /// Only segments with keys of `range`.
    #[must_use]
    pub fn range(mut self, range: CompactionRange) -> CompactionRequest {
        self.range = range;
        self
    }

    /// Whether it only says what it would do.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> CompactionRequest {
        self.dry_run = dry_run;
        self
    }

    /// Tells `observer` how far it has come; [`ControlFlow::Break`] ends it, with what was installed before in place.
    #[must_use]
    pub fn on_progress(
        mut self,
        observer: impl Fn(CompactionProgress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> CompactionRequest {
        self.on_progress = Some(OnCompaction::new(observer));
        self
    }

    /// Tells whoever is told; whether to go on.
    pub fn report(&self, progress: CompactionProgress) -> ControlFlow<()> {
        self.on_progress.as_ref().map_or(ControlFlow::Continue(()), |observer| observer.report(progress))
    }
}

/// How far a compaction has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionProgress {
    /// Bytes of segments that are done.
    pub done_bytes: u64,
    /// Bytes of all segments that are compacted; it may grow where others come in meanwhile.
    pub total_bytes: u64,
    /// Bytes written into new segments.
    pub written_bytes: u64,
    /// Segments that are done.
    pub done_segments: u64,
    /// All segments that are compacted.
    pub total_segments: u64,
}

impl CompactionProgress {
    /// The share that is done, 0.0 to 1.0.
    ///
    /// ```
    /// use nadb_core::CompactionProgress;
    /// let mut progress = CompactionProgress::default();
    /// assert_eq!(progress.share(), 1.0); // nothing to do is done
    /// (progress.done_bytes, progress.total_bytes) = (1 << 20, 4 << 20);
    /// assert_eq!(progress.share(), 0.25);
    /// ```
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share for people to read")]
    pub fn share(&self) -> f64 {
        if self.total_bytes == 0 { 1.0 } else { (self.done_bytes as f64 / self.total_bytes as f64).min(1.0) }
    }
}

/// Who is told how far a compaction has come. It is called from the compactor's thread, now and then, and the compactor waits for it.
///
/// ```
/// use std::ops::ControlFlow;
/// use nadb_core::{CompactionProgress, OnCompaction};
/// let observer = OnCompaction::new(|progress| if progress.share() < 0.5 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) });
/// assert_eq!(observer.report(CompactionProgress::default()), ControlFlow::Break(()));
/// ```
#[derive(Clone)]
pub struct OnCompaction(Arc<dyn Fn(CompactionProgress) -> ControlFlow<()> + Send + Sync>);

impl OnCompaction {
    /// Tells `observer`, who says whether to go on.
    #[must_use]
    pub fn new(
        observer: impl Fn(CompactionProgress) -> ControlFlow<()> + Send + Sync + 'static,
    ) -> OnCompaction {
        OnCompaction(Arc::new(observer))
    }

    /// So much is done; whether to go on.
    pub fn report(&self, progress: CompactionProgress) -> ControlFlow<()> {
        (self.0)(progress)
    }
}

impl fmt::Debug for OnCompaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnCompaction")
    }
}

/// What a compaction did, or several together: what was asked for in one go may take several.
///
/// ```
/// use std::time::Duration;
/// use nadb_core::CompactionReport;
/// let mut report = CompactionReport::default();
/// (report.segments_in, report.segments_out, report.kept) = (4, 1, 1_000);
/// (report.dropped_dead, report.dropped_expired, report.dropped_tombstones) = (2_500, 300, 200);
/// (report.bytes_before, report.bytes_after, report.bytes_written) = (256 << 20, 64 << 20, 64 << 20);
/// report.elapsed = Duration::from_millis(250);
/// assert_eq!(report.dropped(), 3_000);
/// assert_eq!(report.freed_bytes(), 192 << 20);
/// assert_eq!(
///     report.to_string(),
///     "4 segments into 1, 256.0 MiB into 64.0 MiB; 1000 records kept, 2500 dead, 300 expired and 200 tombstones dropped; \
///      64.0 MiB written in 0.25 s",
/// );
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompactionReport {
    /// Compactions that this is about.
    pub compactions: u64,
    /// Segments that were replaced or dropped.
    pub segments_in: u64,
    /// Segments in their place.
    pub segments_out: u64,
    /// Records that were kept.
    pub kept: u64,
    /// Records that were dropped because newer ones had displaced them.
    pub dropped_dead: u64,
    /// Records that were dropped because they had expired.
    pub dropped_expired: u64,
    /// Tombstones that were dropped, for nothing was left that they marked.
    pub dropped_tombstones: u64,
    /// Records that the compaction filter wanted dropped or rewritten, and that are: by writes of their own, so they are among `kept`.
    pub filtered: u64,
    /// Records of which the filter failed, by an error or a panic; they stay as they were.
    pub filter_failures: u64,
    /// Bytes of the files that were replaced.
    pub bytes_before: u64,
    /// Bytes of the files in their place.
    pub bytes_after: u64,
    /// Bytes that were written, those of outputs that were discarded too.
    pub bytes_written: u64,
    /// How long it took, sleep included.
    pub elapsed: Duration,
    /// Whether it was ended before it was through; all that the report says is done.
    pub cancelled: bool,
}

impl CompactionReport {
    /// Records that were dropped, whatever for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped_dead.saturating_add(self.dropped_expired).saturating_add(self.dropped_tombstones)
    }

    /// Bytes that the disk has back; files that somebody still reads go later.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.bytes_before.saturating_sub(self.bytes_after)
    }

    /// Adds what another one did, one after the other.
    ///
    /// ```
    /// use nadb_core::CompactionReport;
    /// let mut one = CompactionReport::default();
    /// (one.compactions, one.kept) = (1, 10);
    /// let mut both = one;
    /// both.add(&one);
    /// assert_eq!((both.compactions, both.kept), (2, 20));
    /// ```
    pub fn add(&mut self, other: &CompactionReport) {
        let add = |to: &mut u64, more: u64| *to = to.saturating_add(more);
        add(&mut self.compactions, other.compactions);
        add(&mut self.segments_in, other.segments_in);
        add(&mut self.segments_out, other.segments_out);
        add(&mut self.kept, other.kept);
        add(&mut self.dropped_dead, other.dropped_dead);
        add(&mut self.dropped_expired, other.dropped_expired);
        add(&mut self.dropped_tombstones, other.dropped_tombstones);
        add(&mut self.filtered, other.filtered);
        add(&mut self.filter_failures, other.filter_failures);
        add(&mut self.bytes_before, other.bytes_before);
        add(&mut self.bytes_after, other.bytes_after);
        add(&mut self.bytes_written, other.bytes_written);
        self.elapsed = self.elapsed.saturating_add(other.elapsed);
        self.cancelled |= other.cancelled;
    }
}

impl fmt::Display for CompactionReport {
    /// One line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} segments into {}, {} into {}; {} records kept, {} dead, {} expired and {} tombstones dropped; {} written \
             in {:.2} s",
            self.segments_in,
            self.segments_out,
            Size(self.bytes_before),
            Size(self.bytes_after),
            self.kept,
            self.dropped_dead,
            self.dropped_expired,
            self.dropped_tombstones,
            Size(self.bytes_written),
            self.elapsed.as_secs_f64(),
        )?;
        if self.filtered + self.filter_failures > 0 {
            write!(f, "; {} filtered, the filter failed {} times", self.filtered, self.filter_failures)?;
        }
        f.write_str(if self.cancelled { "; cancelled" } else { "" })
    }
}

/// Bytes as people read them.
struct Size(u64);

impl fmt::Display for Size {
    #[expect(clippy::cast_precision_loss, reason = "a size for people to read")]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        match units.iter().find(|(_, bytes)| self.0 >= *bytes) {
            Some((unit, bytes)) => write!(f, "{:.1} {unit}", self.0 as f64 / *bytes as f64),
            None => write!(f, "{} B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_stop_at_the_end_and_a_cancelled_part_cancels_the_whole() {
        let mut sum =
            CompactionReport { kept: u64::MAX, elapsed: Duration::MAX, ..CompactionReport::default() };
        let part = CompactionReport {
            kept: 1,
            bytes_before: 10,
            bytes_after: 20,
            elapsed: Duration::from_secs(1),
            cancelled: true,
            ..CompactionReport::default()
        };
        sum.add(&part);
        assert_eq!((sum.kept, sum.elapsed, sum.cancelled), (u64::MAX, Duration::MAX, true));
        assert_eq!(sum.freed_bytes(), 0);
        assert!(sum.to_string().ends_with("s; cancelled"));
    }

    #[test]
    fn sizes_have_the_unit_that_fits() {
        let sizes = [0, 1_023, 1_024, 3 << 19, 5 << 30, u64::MAX].map(|bytes| Size(bytes).to_string());
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB", "16777216.0 TiB"]);
    }

    #[test]
    fn without_an_observer_it_goes_on() {
        let request = CompactionRequest::new().dry_run(true);
        assert!(request.dry_run);
        assert_eq!(request.report(CompactionProgress::default()), ControlFlow::Continue(()));
        let request = request.on_progress(|_| ControlFlow::Break(()));
        assert_eq!(request.report(CompactionProgress::default()), ControlFlow::Break(()));
    }
}
