//! Orphans: blobs that no record names, and segments that no manifest names. After an opening there must be none, and no blob may be
//! missing that a record names.
//!
//! It promises to see every record of the log, live or dead, because it reads the log itself and asks no engine. What is in a
//! blob is for verification to read.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{BlobId, Location, ManualClock, Result, SeededEntropy};
use nadb_engine::Engine;
use nadb_log::{
    Checkpoint, Log, LogOptions, Placed, Publish, ReadMode, RecordRef, Row, SealedSegment, Segment, Visit,
    list_blobs, parse_blob,
};
use nadb_vfs::{Fs, SimFs};

/// Collects the blobs that records name.
#[derive(Debug, Default)]
struct Named(Vec<BlobId>);

impl Visit for Named {
    fn begin(&mut self, _: u64) {}

    /// Taken, so that it is left where it is.
    fn checkpoint(&mut self, _: &Checkpoint, sealed: &[SealedSegment]) -> bool {
        self.sealed(sealed).is_ok()
    }

    fn restart(&mut self) {
        self.0.clear();
    }

    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()> {
        for sealed in segments {
            self.0.extend(sealed.rows.blobs()?);
        }
        Ok(())
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, _: &Arc<Segment>) -> Result<()> {
        self.0.extend(Row::of(record, at.offset).and_then(|row| row.meta.blob));
        Ok(())
    }
}

#[derive(Debug)]
struct Nobody;

impl Publish<()> for Nobody {
    fn publish(&self, (): (), _: Placed, _: &Arc<Segment>) {}
}

/// The blobs that the records of a store name, in the order of their ids. The store is closed; where it was closed in order,
/// nothing is changed.
fn named(fs: Arc<dyn Fs>, dir: &Path) -> Result<Vec<BlobId>> {
    let options = LogOptions {
        segment_size: 1 << 20,
        buffer_size: 0,
        create: false,
        read_mode: ReadMode::Positioned,
        clock: Arc::new(ManualClock::new(1)),
        entropy: Arc::new(SeededEntropy::new(0xB10B)),
    };
    let mut named = Named::default();
    Log::open(fs, dir, options, &mut named, Arc::new(Nobody))?;
    let Named(mut named) = named;
    named.sort_unstable();
    // Records that differ in their expiry alone name the same one.
    named.dedup();
    Ok(named)
}

fn compare(there: &[BlobId], named: &[BlobId]) -> std::result::Result<usize, String> {
    if there == named {
        return Ok(there.len());
    }
    let orphans: Vec<_> = there.iter().filter(|id| !named.contains(id)).collect();
    let missing: Vec<_> = named.iter().filter(|id| !there.contains(id)).collect();
    Err(format!("blobs that no record names: {orphans:?}; that records name and are not there: {missing:?}"))
}

/// The blobs of a closed store are exactly those that its records name; says how many.
///
/// # Errors
/// What is wrong.
pub fn check_closed(fs: &Arc<dyn Fs>, dir: &Path) -> std::result::Result<usize, String> {
    let entries = fs.list(dir).map_err(|e| e.to_string())?;
    let named = named(Arc::clone(fs), dir).map_err(|e| format!("reading the log for its blobs: {e}"))?;
    compare(&list_blobs(&entries), &named)
}

/// How many blobs a disk has.
#[must_use]
pub fn count(disk: &SimFs) -> usize {
    disk.files().iter().filter(|(path, _)| blob_of(path).is_some()).count()
}

/// The blobs of a store that was just opened, before anything is written, are exactly those that its records name; says how
/// many. The disk notices nothing.
///
/// # Errors
/// What is wrong.
pub fn check_opened(disk: &SimFs, dir: &Path) -> std::result::Result<usize, String> {
    let (blobs, others): (Vec<_>, Vec<_>) =
        disk.files().into_iter().map(|(path, _)| path).partition(|path| blob_of(path).is_some());
    let mut there: Vec<BlobId> = blobs.iter().filter_map(|path| blob_of(path)).collect();
    there.sort_unstable();
    if there.is_empty() {
        // What is missing, verification finds.
        return Ok(0);
    }
    // A copy, for the store is locked. What stands in the blobs is not looked at.
    let copy = SimFs::new(1);
    for path in others {
        let copied = disk.read_file(&path).and_then(|bytes| copy.write_file(&path, &bytes));
        copied.map_err(|e| format!("copying {}: {e}", path.display()))?;
    }
    let named = named(Arc::new(copy), dir).map_err(|e| format!("reading the log for its blobs: {e}"))?;
    compare(&there, &named)
}

/// The segment files on a disk are exactly those of the open store on it.
///
/// # Errors
/// What is wrong.
pub fn check_segments(disk: &SimFs, engine: &Engine) -> std::result::Result<(), String> {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|suffix| suffix == "seg");
    let mut there: Vec<PathBuf> = disk.files().into_iter().map(|(path, _)| path).filter(is_segment).collect();
    there.sort_unstable();
    let segments = engine.segments().map_err(|e| e.to_string())?;
    let mut known: Vec<PathBuf> = segments.into_iter().map(|info| info.path).collect();
    known.sort_unstable();
    if there == known {
        return Ok(());
    }
    Err(format!("segments on the disk: {there:?}; segments of the store: {known:?}"))
}

fn blob_of(path: &Path) -> Option<BlobId> {
    parse_blob(path.file_name()?.to_str()?)
}
