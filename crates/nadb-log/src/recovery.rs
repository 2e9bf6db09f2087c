//! Opening a store: reads everything first, decides, and writes afterwards.
//!
//! The argument for each crash point is in docs/durability.md.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Error, ErrorKind, Location, OnOpen, OpenPhase, Result, SegmentId, Seq, StoreId, guard};
use nadb_vfs::{DirEntry, FileLock, Fs};

use crate::checkpoint::{Checkpoint, Coverage, remove_useless};
use crate::cut::{cut, remove_segment};
use crate::directory::{check_directory, list, lock, no_store, sync_names};
use crate::frame::FrameError;
use crate::log::LogOptions;
use crate::manifest::{CleanClose, Manifest};
use crate::names::{MANIFEST, parse_segment, segment_path};
use crate::record::RecordRef;
use crate::replay::{OnRecord, Opening, ScanCounts, SegmentEnd, read_opening, replay_frames, search_durable};
use crate::rows::Rows;
use crate::seal::open_footers;
use crate::segment::{SEGMENT_HEADER, Segment, SegmentHeader};

/// Records that are replayed between two reports of progress.
const RECORDS_PER_REPORT: u32 = 1 << 16;

/// Receives every record that is replayed, in sequence order, and the segment that it stands in.
pub trait Visit {
    /// Called once before the first record, with the seed of the store's key hash.
    fn begin(&mut self, hash_seed: u64);

    /// Called before the first record, where there is a checkpoint that fits the store, with the sealed segments in the order
    /// of their numbers: whether it is taken. Then [`Visit::sealed`] is not called, and of the records that are shown those up
    /// to the checkpoint's last number have only to get their ordinals.
    fn checkpoint(&mut self, _checkpoint: &Checkpoint, _sealed: &[SealedSegment]) -> bool {
        false
    }

    /// A segment that is not sealed was replayed up to where the checkpoint covers it: whether it has what the checkpoint
    /// says.
    fn reached(&mut self, _segment: &Arc<Segment>) -> bool {
        true
    }

    /// The checkpoint turned out not to hold: all is forgotten, and shown again without it.
    fn restart(&mut self) {}

    /// Who is to be told how far opening has come.
    fn on_open(&self) -> Option<OnOpen> {
        None
    }

    /// Called before the first record where no checkpoint was taken, with the sealed segments in the order of their numbers.
    ///
    /// # Errors
    /// Ends the opening with that error.
    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()>;

    /// One record of a frame that is whole, of a segment that is not sealed.
    ///
    /// # Errors
    /// Ends the opening with that error.
    fn record(&mut self, record: &RecordRef<'_>, at: Location, segment: &Arc<Segment>) -> Result<()>;
}

/// A sealed segment with its rows.
#[derive(Debug)]
pub struct SealedSegment {
    /// The segment.
    pub segment: Arc<Segment>,
    /// Its rows: those of its footer, or, where that is damaged, made from its records.
    pub rows: Rows,
}

/// What opening found.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Whether the store did not exist before.
    pub created: bool,
    /// Whether it had been closed in order.
    pub clean: bool,
    /// Segments that were read.
    pub segments: u64,
    /// What was read.
    pub counts: ScanCounts,
    /// Bytes of torn tails that were cut off.
    pub cut_bytes: u64,
    /// The last number that was kept.
    pub last_seq: Seq,
    /// Whether a checkpoint was taken.
    pub from_checkpoint: bool,
    /// What is damaged and was made up for: footers that were built again in memory.
    pub warnings: Vec<String>,
}

/// A store directory, locked and read, ready to be written.
pub(crate) struct Opened {
    pub(crate) lock: Box<dyn FileLock>,
    pub(crate) manifest: Manifest,
    /// All segments that the manifest names, in order.
    pub(crate) segments: Vec<Arc<Segment>>,
    /// The segment that goes on, after a clean close.
    pub(crate) active: Option<Arc<Segment>>,
    /// A segment that is named and has never held a frame.
    pub(crate) spare: Option<Arc<Segment>>,
    pub(crate) last_seq: Seq,
    pub(crate) next_seq: Seq,
    /// The device is full, and the ballast made room for the manifest.
    pub(crate) gave_up_ballast: bool,
    /// What the checkpoint covers that was taken.
    pub(crate) checkpoint: Option<Coverage>,
    pub(crate) report: Recovered,
}

/// Locks and reads the store in `dir`, or creates it.
pub(crate) fn open(fs: &dyn Fs, dir: &Path, options: &LogOptions, visit: &mut dyn Visit) -> Result<Opened> {
    // Nothing is written, not even the lock file, into a directory that is not ours.
    match list(fs, dir)? {
        Some(entries) => check_directory(dir, &entries, options.create)?,
        None if options.create => {
            fs.create_dir_all(dir).map_err(|e| Error::io("creating the store directory", dir, e))?;
        }
        None => return Err(no_store(dir, "there is no such directory")),
    }
    let lock = lock(fs, dir)?;
    let entries = list(fs, dir)?.unwrap_or_default();
    check_directory(dir, &entries, options.create)?;
    match Manifest::load(fs, dir)? {
        Some(manifest) => {
            visit.begin(manifest.hash_seed);
            recover(fs, dir, lock, manifest, &entries, options, visit)
        }
        None => {
            let opened = create_store(fs, dir, lock, options)?;
            visit.begin(opened.manifest.hash_seed);
            Ok(opened)
        }
    }
}

fn create_store(fs: &dyn Fs, dir: &Path, lock: Box<dyn FileLock>, options: &LogOptions) -> Result<Opened> {
    let mut random = [0; 24];
    options.entropy.fill(&mut random)?;
    let (id, seed) = random.split_at(16);
    let manifest = Manifest {
        generation: 1,
        store: StoreId(id.try_into().unwrap_or_default()),
        hash_seed: u64::from_le_bytes(seed.try_into().unwrap_or_default()),
        created_ms: options.clock.now_ms(),
        durable_upto: Seq(0),
        jump_base: Seq(0),
        next_segment: SegmentId(1),
        clean: Some(CleanClose { last_seq: Seq(0), segment: SegmentId(0), len: 0 }),
        segments: Vec::new(),
    };
    sync_names(fs, dir)?;
    manifest.store(fs, dir)?;
    let report = Recovered { created: true, clean: true, ..Recovered::default() };
    Ok(Opened {
        lock,
        manifest,
        segments: Vec::new(),
        active: None,
        spare: None,
        last_seq: Seq(0),
        next_seq: Seq(1),
        gave_up_ballast: false,
        checkpoint: None,
        report,
    })
}

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
    /// The last segment that holds frames.
    pub(crate) fn last_id(&self) -> Option<SegmentId> {
        let chain = self.chain.last().map(|(segment, ..)| segment.id);
        chain.max(self.sealed.last().map(|segment| segment.id))
    }
}

fn recover(
    fs: &dyn Fs,
    dir: &Path,
    lock: Box<dyn FileLock>,
    manifest: Manifest,
    entries: &[DirEntry],
    options: &LogOptions,
    visit: &mut dyn Visit,
) -> Result<Opened> {
    let orphans = orphans(fs, dir, &manifest, entries)?;
    let checkpoint = Checkpoint::open(fs, dir, entries, &manifest);
    let mut taken = None;
    let mut read = read_segments(fs, dir, &manifest, options, visit, checkpoint.as_ref(), &mut taken);
    if read.is_err() && taken.take().is_some() {
        // A checkpoint can be wrong, the log cannot: what it says without one counts, errors too.
        visit.restart();
        read = read_segments(fs, dir, &manifest, options, visit, None, &mut taken);
    }
    let (replayed, warnings) = read?;
    if guard::on("recovery.below_durable_is_corruption") {
        check_nothing_durable_is_missing(dir, &replayed)?;
    }
    let report = Recovered {
        created: false,
        clean: false,
        segments: (replayed.sealed.len() + replayed.chain.len()) as u64,
        counts: replayed.counts,
        cut_bytes: 0,
        last_seq: replayed.last_seq,
        from_checkpoint: taken.is_some(),
        warnings,
    };
    let highest_orphan = orphans.iter().max().map_or(0, |id| id.0.saturating_add(1));
    let mut opened = match ends_as_closed(&manifest, &replayed) {
        true => go_on(lock, manifest, replayed, report),
        false => cut(fs, dir, lock, manifest, replayed, report)?,
    };
    // Their numbers are not used again while an old directory entry could come back.
    opened.manifest.next_segment.0 = opened.manifest.next_segment.0.max(highest_orphan);
    for orphan in orphans {
        remove_segment(fs, dir, orphan)?;
    }
    remove_useless(fs, dir, entries, taken.is_some());
    opened.checkpoint = taken;
    Ok(opened)
}

/// Reads the footers of sealed segments and the frames of all others; changes nothing. Notes the checkpoint once it is taken.
fn read_segments(
    fs: &dyn Fs,
    dir: &Path,
    manifest: &Manifest,
    options: &LogOptions,
    visit: &mut dyn Visit,
    checkpoint: Option<&Checkpoint>,
    taken: &mut Option<Coverage>,
) -> Result<(Replayed, Vec<String>)> {
    let (sealed, open): (Vec<_>, Vec<_>) =
        open_segments(fs, dir, manifest)?.into_iter().partition(|(segment, _)| segment.is_sealed());
    let (sealed, warnings) = open_footers(sealed, options.read_mode, visit.on_open().as_ref())?;
    *taken =
        checkpoint.filter(|found| visit.checkpoint(found, &sealed)).map(|found| found.coverage().clone());
    if taken.is_none() {
        visit.sealed(&sealed)?;
    }
    let sealed = sealed.into_iter().map(|sealed| sealed.segment).collect();
    Ok((replay(manifest, sealed, open, taken.as_ref(), visit)?, warnings))
}

/// Segment files that the manifest does not name: left by a crash before they were named, or after they were forgotten.
pub(crate) fn orphans(
    fs: &dyn Fs,
    dir: &Path,
    manifest: &Manifest,
    entries: &[DirEntry],
) -> Result<Vec<SegmentId>> {
    let mut orphans: Vec<SegmentId> = entries.iter().filter_map(|entry| parse_segment(&entry.name)).collect();
    orphans.retain(|id| !manifest.segments.iter().any(|named| named.id == *id));
    orphans.sort_unstable();
    // A file is named durably before its first frame: one that has frames and a number that this manifest has not given
    // belongs to a later manifest.
    for id in &orphans {
        let path = segment_path(dir, *id);
        let len =
            fs.open_read(&path).and_then(|file| file.len()).map_err(|e| Error::io("reading", &path, e))?;
        if *id >= manifest.next_segment && len > u64::from(SEGMENT_HEADER) {
            return Err(Error::corruption(
                dir.join(MANIFEST),
                0,
                format!(
                    "the manifest is older than segment {id}, which holds frames; nothing was touched: \
                     put the newest manifest in its place"
                ),
            ));
        }
    }
    Ok(orphans)
}

pub(crate) fn open_segments(
    fs: &dyn Fs,
    dir: &Path,
    manifest: &Manifest,
) -> Result<Vec<(Arc<Segment>, u64)>> {
    let open = |named: &crate::NamedSegment| {
        let path = segment_path(dir, named.id);
        let file = fs.open_write(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::corruption(&path, 0, "the manifest names this segment, but its file is missing")
            }
            _ => Error::io("opening a segment", &path, e),
        })?;
        let io = |e| Error::io("reading a segment", &path, e);
        let len = file.len().map_err(io)?;
        if len > u64::from(u32::MAX) {
            return Err(Error::corruption(
                &path,
                0,
                format!("the segment has {len} bytes; none is above 4 GiB"),
            ));
        }
        let segment = match named.sealed {
            Some(extent) => Segment::sealed(named, extent, path, file),
            None => Segment::new(named.id, named.uid, path, file),
        };
        check_header(&segment, len, manifest.store)?;
        Ok((Arc::new(segment), len))
    };
    manifest.segments.iter().map(open).collect()
}

/// Reads the header of a segment of `len` bytes: it must be that of the segment which the manifest names.
pub(crate) fn check_header(segment: &Segment, len: u64, store: StoreId) -> Result<()> {
    let mut header = vec![0; usize::try_from(len.min(u64::from(SEGMENT_HEADER))).unwrap_or_default()];
    segment.file.read_exact_at(&mut header, 0).map_err(|e| segment.io("reading a segment", e))?;
    let header = SegmentHeader::decode(&header).map_err(|e| e.with_path(&segment.path))?;
    if header != (SegmentHeader { id: segment.id, uid: segment.uid, store }) {
        return Err(segment.corruption(
            0,
            format!(
                "this segment is not the one that the manifest names: it is number {} of store {}",
                header.id,
                hex(header.store)
            ),
        ));
    }
    Ok(())
}

pub(crate) fn hex(id: StoreId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
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
    let extents = sealed.iter().filter_map(|segment| segment.extent());
    let sealed_upto = extents.map(|extent| extent.last_seq).max();
    let sealed_upto = sealed_upto.filter(|_| guard::on("recovery.sealed_extent"));
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
fn ends_as_closed(manifest: &Manifest, replayed: &Replayed) -> bool {
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

fn go_on(lock: Box<dyn FileLock>, manifest: Manifest, replayed: Replayed, report: Recovered) -> Opened {
    let last_id = replayed.last_id();
    let mut spares = replayed.others.into_iter().map(|(segment, _)| segment);
    let spare = spares.rfind(|segment| can_follow(segment, last_id));
    let next_seq = replayed.chain.last().map_or(replayed.last_seq.next(), |(_, _, end)| end.next_seq);
    let mut segments = replayed.sealed;
    segments.extend(replayed.chain.into_iter().map(|(segment, _, end)| at_end(segment, end)));
    // Closed in order after an unclean opening without a write between: the jump is still to be made, in a new segment.
    let must_jump = manifest.jump_base > next_seq;
    let active = segments.last().filter(|last| !must_jump && !last.is_sealed()).cloned();
    let next_seq = next_seq.max(manifest.jump_base);
    segments.extend(spare.clone());
    Opened {
        lock,
        active,
        spare,
        segments,
        last_seq: replayed.last_seq,
        next_seq,
        manifest,
        gave_up_ballast: false,
        checkpoint: None,
        report: Recovered { clean: true, ..report },
    }
}

/// Frames go on in a higher segment only: they are replayed in the order of the segments' numbers.
pub(crate) fn can_follow(segment: &Segment, last: Option<SegmentId>) -> bool {
    last.is_none_or(|last| segment.id > last)
}

pub(crate) fn at_end(segment: Arc<Segment>, end: SegmentEnd) -> Arc<Segment> {
    segment.in_file.store(end.offset, Ordering::Release);
    segment.end_seq.store(end.last_seq.0, Ordering::Release);
    segment
}
