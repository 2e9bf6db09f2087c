//! Which frames follow one another over the segments that are not sealed, where they end, and whether that is how a close left
//! them, a torn tail, or corruption. Reads only.

use std::path::Path;
use std::sync::Arc;

use nadb_core::{Error, ErrorKind, OnOpen, OpenPhase, Result, SegmentId, Seq, guard};

use super::Visit;
use crate::checkpoint::Coverage;
use crate::frame::FrameError;
use crate::manifest::{CleanClose, Manifest};
use crate::names::MANIFEST;
use crate::replay::{OnRecord, Opening, ScanCounts, SegmentEnd, read_opening, replay_frames, search_durable};
use crate::segment::{SEGMENT_HEADER, Segment};

/// Records that are replayed between two reports of progress.
const RECORDS_PER_REPORT: u32 = 1 << 16;

/// What the segments said, before anything is changed.
pub(crate) struct Replayed {
    /// Segments that are not replayed: their footers have what is needed.
    pub(crate) sealed: Vec<Arc<Segment>>,
    /// Segments whose frames follow one another, with the length of their files and their ends.
    pub(crate) chain: Vec<(Arc<Segment>, u64, SegmentEnd)>,
    /// Segments outside of it, with the length of their files.
    pub(crate) others: Vec<(Arc<Segment>, u64)>,
    /// The first of those that has bytes behind its header, but no opening frame that verifies.
    unopened: Option<Arc<Segment>>,
    pub(crate) last_seq: Seq,
    /// The highest number that was durable, for all that can be known.
    pub(crate) durable_upto: Seq,
    pub(crate) counts: ScanCounts,
}

impl Replayed {
    /// The last segment that holds frames; compacted ones have numbers of their own, which say nothing of an order.
    pub(crate) fn last_id(&self) -> Option<SegmentId> {
        let chain = self.chain.last().map(|(segment, ..)| segment.id);
        let is_original =
            |segment: &&Arc<Segment>| segment.extent().is_none_or(|extent| !extent.is_compacted);
        chain.max(self.sealed.iter().rfind(is_original).map(|segment| segment.id))
    }
}

/// Follows the frames of `segments` from where the sealed ones end. Where a checkpoint was taken, all frames that it covers
/// must be there.
///
/// # Errors
/// `Io`, what the visitor answers, and `Corruption` where the checkpoint does not hold.
pub(crate) fn replay(
    manifest: &Manifest,
    sealed: Vec<Arc<Segment>>,
    segments: Vec<(Arc<Segment>, u64)>,
    covered: Option<&Coverage>,
    visit: &mut dyn Visit,
) -> Result<Replayed> {
    let sealed_upto = Some(manifest.sealed_upto).filter(|_| guard::on("recovery.sealed_extent"));
    let mut replayed = Replayed {
        sealed,
        chain: Vec::new(),
        others: Vec::new(),
        unopened: None,
        last_seq: sealed_upto.unwrap_or_default(),
        durable_upto: manifest.durable_upto,
        counts: ScanCounts::default(),
    };
    let mut progress = Progress::new(visit, &segments);
    let mut has_gap = false;
    for (segment, len) in segments {
        let opening = read_opening(&segment, len)?;
        let follows = opening.as_ref().map(|opening| opening.follows);
        let opening = opening.filter(|opening| {
            !has_gap && (opening.follows == replayed.last_seq || !guard::on("recovery.gap_ends_replay"))
        });
        let Some(opening) = opening else {
            has_gap |= follows.is_some();
            if !has_gap && replayed.unopened.is_none() && !is_pristine(len) {
                replayed.unopened = Some(Arc::clone(&segment));
            }
            replayed.durable_upto = search_durable(&segment, SEGMENT_HEADER, len, replayed.durable_upto)?;
            replayed.others.push((segment, len));
            progress.end_segment(len);
            continue;
        };
        let counts = &mut replayed.counts;
        let end = replay_one(&segment, len, &opening, covered, counts, &mut progress, visit)?;
        replayed.last_seq = end.last_seq;
        replayed.durable_upto = replayed.durable_upto.max(end.durable_upto);
        if end.why.is_some() {
            replayed.durable_upto = search_durable(&segment, end.offset, len, replayed.durable_upto)?;
        }
        replayed.chain.push((segment, len, end));
    }
    // A covered segment that is outside of the chain, or none at all, leaves the chain's end below.
    match covered.filter(|covered| covered.last_seq > replayed.last_seq && must_meet()) {
        Some(_) => Err(Error::new(ErrorKind::Corruption, "the log ends below its checkpoint")),
        None => Ok(replayed),
    }
}

/// Replays the frames of a segment behind its opening frame; those that a checkpoint covers first, which must end where it says.
fn replay_one(
    segment: &Arc<Segment>,
    len: u64,
    opening: &Opening,
    covered: Option<&Coverage>,
    counts: &mut ScanCounts,
    progress: &mut Progress,
    visit: &mut dyn Visit,
) -> Result<SegmentEnd> {
    counts.frames += 1;
    let mut end = SegmentEnd::behind(opening);
    let differs = || segment.corruption(u64::from(opening.end), "the segment is not as the checkpoint says");
    if let Some(covered) = covered {
        match covered.segment(segment.id) {
            Some(upto) if u64::from(upto.end) <= len => {
                let upto_end = u64::from(upto.end);
                end = replay_frames(segment, upto_end, end, counts, &mut *progress.counting(visit))?;
                let is_there = end.why.is_none() && (end.offset, end.last_seq) == (upto.end, upto.last_seq);
                if (!is_there || !visit.reached(segment)) && must_meet() {
                    return Err(differs());
                }
            }
            None if opening.base > covered.last_seq => {}
            _ if must_meet() => return Err(differs()),
            _ => {}
        }
    }
    let end = replay_frames(segment, len, end, counts, &mut *progress.counting(visit))?;
    counts.bytes += u64::from(end.offset);
    progress.end_segment(len);
    Ok(end)
}

/// Whether what a checkpoint covers must be in the files.
fn must_meet() -> bool {
    guard::on("checkpoint.replay_must_meet")
}

/// How far the replay has come.
struct Progress {
    on_open: Option<OnOpen>,
    /// Bytes of the segments before this one, and of all.
    done: u64,
    total: u64,
    records: u32,
}

impl Progress {
    fn new(visit: &dyn Visit, segments: &[(Arc<Segment>, u64)]) -> Progress {
        let total = segments.iter().map(|(_, len)| len).sum();
        Progress { on_open: visit.on_open(), done: 0, total, records: 0 }
    }

    /// Shows records to the visitor and, now and then, to whoever follows.
    fn counting<'a>(&'a mut self, visit: &'a mut dyn Visit) -> Box<OnRecord<'a>> {
        Box::new(|record, at, segment| {
            self.records = self.records.wrapping_add(1);
            if self.records.is_multiple_of(RECORDS_PER_REPORT) {
                self.report(self.done + u64::from(at.offset));
            }
            visit.record(record, at, segment)
        })
    }

    fn end_segment(&mut self, len: u64) {
        self.done += len;
        self.report(self.done);
    }

    fn report(&self, done: u64) {
        if let Some(on_open) = &self.on_open {
            on_open.report(OpenPhase::Replaying, done, self.total);
        }
    }
}

/// A replay that ends below what was durable has met rot, not a torn tail.
pub(crate) fn check_nothing_durable_is_missing(dir: &Path, replayed: &Replayed) -> Result<()> {
    let Replayed { last_seq, durable_upto, .. } = replayed;
    if last_seq >= durable_upto {
        return Ok(());
    }
    let what = |why: &dyn std::fmt::Display| {
        format!(
            "the log ends at number {last_seq}, but everything up to {durable_upto} was synced: {why}; \
             nothing was changed; `nadb repair` saves what can be read"
        )
    };
    let missing = "frames are missing";
    let torn = replayed.chain.last().filter(|(_, _, end)| end.why.is_some());
    let unopened = replayed.unopened.as_ref().filter(|_| torn.is_none());
    Err(match (unopened, replayed.chain.last()) {
        (Some(segment), _) => {
            segment.corruption(u64::from(SEGMENT_HEADER), what(&"no opening frame verifies"))
        }
        (None, Some((segment, len, end))) => {
            let why: &dyn std::fmt::Display = end.why.as_ref().map_or(&missing, |why: &FrameError| why);
            segment.corruption(u64::from(end.offset).min(*len), what(why))
        }
        (None, None) => match replayed.others.first() {
            Some((segment, _)) => segment.corruption(u64::from(SEGMENT_HEADER), what(&missing)),
            None => Error::corruption(dir.join(MANIFEST), 0, what(&"the manifest names no segment")),
        },
    })
}

/// Whether the files are exactly as a close in order left them.
pub(super) fn ends_as_closed(manifest: &Manifest, replayed: &Replayed) -> bool {
    let Some(clean) = manifest.clean else {
        return !guard::on("recovery.unclean_jumps") && is_whole(replayed);
    };
    let (segment, len) = match (replayed.chain.last(), replayed.sealed.last()) {
        (Some((segment, len, end)), _) if end.why.is_none() => (segment.id, *len),
        (Some(_), _) => return false,
        (None, Some(sealed)) => (sealed.id, sealed.bytes()),
        (None, None) => (SegmentId(0), 0),
    };
    let spares_only = replayed.others.iter().all(|(_, len)| is_pristine(*len));
    clean == CleanClose { last_seq: replayed.last_seq, segment, len: u32::try_from(len).unwrap_or(u32::MAX) }
        && spares_only
}

fn is_whole(replayed: &Replayed) -> bool {
    replayed.chain.last().is_some_and(|(_, _, end)| end.why.is_none())
        && replayed.others.iter().all(|(_, len)| is_pristine(*len))
}

/// Whether a file of this length has never held a frame.
pub(crate) fn is_pristine(len: u64) -> bool {
    len == u64::from(SEGMENT_HEADER)
}
