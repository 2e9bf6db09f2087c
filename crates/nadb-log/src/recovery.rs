//! Opening a store: reads everything first, decides, and writes afterwards.
//!
//! What it promises: a store that is refused was not changed. [`segments`] opens the files, [`chain`] follows their frames; cutting
//! a torn tail off is `cut`'s.
//!
//! The argument for each crash point is in docs/durability.md.

mod chain;
mod segments;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Error, ErrorKind, Location, OnOpen, Result, SegmentId, Seq, StoreId, guard};
use nadb_vfs::{DirEntry, FileLock, Fs};

use self::chain::ends_as_closed;
use crate::access::remove_stray_access;
use crate::checkpoint::{Checkpoint, Coverage, remove_useless};
use crate::cut::{cut, remove_segment};
use crate::directory::{check_directory, list, lock, no_store, sync_names};
use crate::log::LogOptions;
use crate::manifest::{CleanClose, Manifest};
use crate::record::RecordRef;
use crate::replay::{ScanCounts, SegmentEnd};
use crate::rows::Rows;
use crate::seal::open_footers;
use crate::segment::Segment;

pub(crate) use self::chain::{Replayed, check_nothing_durable_is_missing, is_pristine, replay};
pub(crate) use self::segments::{check_header, hex, open_segments, orphans};

/// Receives every record that is replayed, in sequence order, and the segment that it stands in.
pub trait Visit {
    /// Called once before the first record, with the seed of the store's key hash.
    fn begin(&mut self, hash_seed: u64);

    /// Called before the first record, where there is a checkpoint that fits the store, with the sealed segments in the order
    /// of their numbers, whose footers nobody has looked at: whether it is taken. Then [`Visit::sealed`] is not called, and of the records that are shown those up
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

    /// Called after the last record, before anything is written.
    ///
    /// # Errors
    /// Ends the opening with that error.
    fn replayed(&mut self) -> Result<()> {
        Ok(())
    }
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
    match Manifest::load(fs, dir).map_err(damaged_manifest)? {
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

/// What to do where the manifest cannot be read as one.
fn damaged_manifest(error: Error) -> Error {
    if error.kind() != ErrorKind::Corruption {
        return error;
    }
    error.with_context(
        "the manifest is damaged, and nothing was changed; restore it from a backup, or let `nadb repair` make it anew from \
         the segments",
    )
}

fn create_store(fs: &dyn Fs, dir: &Path, lock: Box<dyn FileLock>, options: &LogOptions) -> Result<Opened> {
    let mut random = [0; 24];
    options.entropy.fill(&mut random)?;
    let (id, seed) = random.split_at(16);
    let created_ms = options.clock.now_ms();
    let manifest = Manifest {
        generation: 1,
        store: StoreId(id.try_into().unwrap_or_default()),
        hash_seed: u64::from_le_bytes(seed.try_into().unwrap_or_default()),
        created_ms,
        trusted_ms: created_ms,
        durable_upto: Seq(0),
        jump_base: Seq(0),
        sealed_upto: Seq(0),
        next_segment: SegmentId(1),
        next_namespace: 1,
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
    let had_orphans = !orphans.is_empty();
    for orphan in orphans {
        remove_segment(fs, dir, orphan)?;
    }
    if had_orphans {
        // For a repair that has no manifest to go by: what a compaction has replaced does not come back beside later outputs.
        fs.sync_dir(dir).map_err(|e| Error::io("syncing the directory", dir, e))?;
    }
    remove_useless(fs, dir, entries, taken.is_some());
    remove_stray_access(fs, dir, entries, &opened.manifest);
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
    let mut warnings = Vec::new();
    let covered = checkpoint.and_then(|found| covered_rows(found.coverage(), &sealed, options));
    let found = checkpoint.zip(covered);
    *taken = found
        .filter(|(found, rows)| visit.checkpoint(found, rows))
        .map(|(found, _)| found.coverage().clone());
    if taken.is_none() {
        let (rows, found) = open_footers(&sealed, options.read_mode, visit.on_open().as_ref())?;
        warnings = found;
        visit.sealed(&rows)?;
    }
    let sealed = sealed.into_iter().map(|(segment, _)| segment).collect();
    let replayed = replay(manifest, sealed, open, taken.as_ref(), visit)?;
    visit.replayed()?;
    Ok((replayed, warnings))
}

/// The sealed segments as a checkpoint covers them, their footers not looked at; `None` where it does not cover one, and where a
/// file has another length than it was sealed with.
fn covered_rows(
    coverage: &Coverage,
    sealed: &[(Arc<Segment>, u64)],
    options: &LogOptions,
) -> Option<Vec<SealedSegment>> {
    let mut all = Vec::with_capacity(sealed.len());
    for (segment, len) in sealed {
        let Some(covered) = coverage.segment(segment.id) else {
            if guard::on("checkpoint.covers_all_sealed") {
                return None;
            }
            continue;
        };
        segment.extent().filter(|extent| u64::from(extent.file_len) == *len)?;
        segment.add_covered(covered);
        let rows = Rows::sealed(segment, options.read_mode, covered.rows);
        all.push(SealedSegment { segment: Arc::clone(segment), rows });
    }
    Some(all)
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
