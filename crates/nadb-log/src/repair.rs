//! Repair: saves everything whose checksum holds out of a store that is damaged, and leaves one that opens and verifies.
//!
//! What it promises: nothing of the originals is changed before a copy of them is durable in a folder of its own; a crash at
//! any moment leaves the original store or the repaired one; salvaged records keep their numbers; nothing that an
//! opening had cut off comes back. What it leaves to others: media that cannot be read (an error), and what only the engine
//! knows. docs/repair.md says what users may expect.
//!
//! The log is read once to find what verifies ([`scan`], [`examine`], [`blobs`]) and once more ([`salvage`]) to write it into
//! new segments ([`output`]), which then take the place of the old ones ([`rewrite`]).

mod aside;
mod blobs;
mod check;
mod compacted;
mod copies;
mod examine;
mod footers;
mod losses;
mod names;
mod origins;
mod output;
mod report;
mod rewrite;
mod salvage;
mod scan;
mod sources;

use std::path::{Path, PathBuf};

use nadb_core::limits::SEQ_MAX;
use nadb_core::{Error, Result, Seq};
use nadb_vfs::{DirEntry, Fs};

use self::aside::Aside;
use self::blobs::{Blobs, unused};
use self::check::{BadFooter, Checked, check};
use self::sources::{Source, Sources};
use crate::checkpoint::remove_useless;
use crate::cut::JUMP;
use crate::directory;
use crate::manifest::Manifest;
use crate::names::{MANIFEST, parse_segment};
use crate::recovery::{Replayed, is_pristine};
use crate::segment::{SEGMENT_HEADER, Segment};

pub use self::report::{
    AfterLoss, BrokenBatch, DamagedRange, FoundNamespace, LostKind, LostRecord, ManifestFound, NumberRange,
    RepairOptions, RepairOutcome, RepairReport,
};

/// How far numbers jump where the manifest that says how far they had jumped is lost: beyond what thousands of openings
/// without a write that was kept can have given.
const JUMP_UNKNOWN: u64 = 1 << 44;

/// Repairs the store in `dir`, or says what there is to repair. A store that opens, and of which every record, blob and footer
/// is whole, is left as it is.
///
/// # Errors
/// `Locked`; `InvalidInput` for a directory that is no store; `Version`; `NoSpace`, `ReadOnly` and `Io`, also for a medium
/// that cannot be read: then the store is as it was, or, if only the last step failed, repaired.
pub fn repair(fs: &dyn Fs, dir: &Path, options: &RepairOptions) -> Result<RepairReport> {
    check_is_store(dir, &list(fs, dir)?)?;
    let _lock = directory::lock(fs, dir)?;
    let entries = list(fs, dir)?;
    check_is_store(dir, &entries)?;
    let mut sources = Sources::find(fs, dir, &entries, options)?;
    let mut report = RepairReport {
        dry_run: options.dry_run,
        manifest: sources.found,
        segments_read: sources.segments.len() as u64,
        ..RepairReport::default()
    };
    let mut blobs = Blobs::new(fs, dir, sources.manifest.store);
    if sources.found == ManifestFound::Whole
        && let Some(checked) = check(fs, dir, &sources.manifest, &entries, &mut blobs)?
    {
        report.records_kept = checked.records;
        report.torn_bytes = torn_bytes(&checked.replayed);
        if !checked.footers.is_empty() {
            let repair = Repair { fs, dir, options, entries: &entries };
            repair.rebuild_footers(sources, &checked.footers, &mut report)?;
        }
        return Ok(report);
    }
    report.damage = std::mem::take(&mut sources.damage);
    report.notes = std::mem::take(&mut sources.notes);
    let repair = Repair { fs, dir, options, entries: &entries };
    match repair.rebuilt_manifest(&sources, &mut blobs)? {
        Some((manifest, checked)) => {
            report.records_kept = checked.records;
            report.outcome = RepairOutcome::ManifestRebuilt;
            report.unused_blobs = unused(dir, &entries, &checked.blobs);
            repair.replace_manifest(&sources, &manifest, &mut report)?;
        }
        None => repair.rewrite(sources, &mut blobs, &mut report)?,
    }
    Ok(report)
}

fn list(fs: &dyn Fs, dir: &Path) -> Result<Vec<DirEntry>> {
    directory::list(fs, dir)?.ok_or_else(|| directory::no_store(dir, "there is no such directory"))
}

fn check_is_store(dir: &Path, entries: &[DirEntry]) -> Result<()> {
    let is_ours = |entry: &DirEntry| entry.name == MANIFEST || parse_segment(&entry.name).is_some();
    if entries.iter().any(is_ours) {
        return Ok(());
    }
    Err(directory::no_store(dir, "it has neither a manifest nor segments"))
}

fn torn_bytes(replayed: &Replayed) -> u64 {
    let tail = replayed.chain.last().map_or(0, |(_, len, end)| len.saturating_sub(u64::from(end.offset)));
    let others = replayed.others.iter().map(|(_, len)| len.saturating_sub(u64::from(SEGMENT_HEADER)));
    tail + others.sum::<u64>()
}

/// Whether nothing stands behind the last frame, unless it is a footer of `sources`.
fn is_whole(replayed: &Replayed, sources: &[Source]) -> bool {
    let is_footer = |segment: &Segment, at: u32| {
        sources.iter().any(|source| source.segment.id == segment.id && source.footer_at == Some(at))
    };
    replayed.chain.last().is_none_or(|(segment, _, end)| end.why.is_none() || is_footer(segment, end.offset))
        && replayed.others.iter().all(|(_, len)| is_pristine(*len))
}

struct Repair<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    options: &'a RepairOptions,
    entries: &'a [DirEntry],
}

impl Repair<'_> {
    /// A manifest that makes the store open as it is, where only the manifest was missing, damaged or old; and what it then has.
    fn rebuilt_manifest(
        &self,
        sources: &Sources,
        blobs: &mut Blobs<'_>,
    ) -> Result<Option<(Manifest, Checked)>> {
        if sources.found == ManifestFound::Whole || !sources.is_in_order {
            return Ok(None);
        }
        let mut manifest = sources.manifest.clone();
        manifest.generation += 1;
        manifest.next_segment = sources.next_segment;
        let checked = check(self.fs, self.dir, &manifest, self.entries, blobs)?;
        let Some(checked) = checked else { return Ok(None) };
        if !is_whole(&checked.replayed, &sources.segments) || !checked.footers.is_empty() {
            return Ok(None);
        }
        manifest.next_namespace = manifest.next_namespace.max(checked.next_namespace);
        if manifest.clean.is_none() {
            manifest.jump_base = self.jump_base(sources, checked.replayed.last_seq)?;
        }
        Ok(Some((manifest, checked)))
    }

    /// Makes footers anew whose segments are whole, with those segments copied aside.
    fn rebuild_footers(
        &self,
        sources: Sources,
        footers: &[BadFooter],
        report: &mut RepairReport,
    ) -> Result<()> {
        report.outcome = RepairOutcome::FootersRebuilt;
        report.damage = footers.iter().map(BadFooter::damage).collect();
        if self.options.dry_run {
            return Ok(());
        }
        let mut aside = Aside::create(self.fs, self.dir, self.entries)?;
        report.aside = Some(aside.path.clone());
        let copied = self.copy_manifest(&sources, &mut aside).and_then(|()| {
            footers.iter().try_for_each(|footer| aside.copy(footer.segment.path()))?;
            aside.finish(report)
        });
        if let Err(error) = copied {
            aside.discard();
            return Err(error);
        }
        footers::rebuild_footers(self.fs, self.dir, sources.manifest, footers)
    }

    fn replace_manifest(
        &self,
        sources: &Sources,
        manifest: &Manifest,
        report: &mut RepairReport,
    ) -> Result<()> {
        if self.options.dry_run {
            return Ok(());
        }
        // A blob that nothing refers to may be that of a record whose segment is gone, too; opening would remove it.
        let unused = report.unused_blobs.clone();
        let is_empty = sources.others.is_empty() && unused.is_empty();
        if sources.found != ManifestFound::Missing || !is_empty {
            let mut aside = Aside::create(self.fs, self.dir, self.entries)?;
            report.aside = Some(aside.path.clone());
            let copied = self.copy_manifest(sources, &mut aside).and_then(|()| {
                sources.others.iter().chain(&unused).try_for_each(|path| aside.copy(path))?;
                aside.finish(report)
            });
            if let Err(error) = copied {
                aside.discard();
                return Err(error);
            }
        }
        // It would not fit what follows, and takes room.
        remove_useless(self.fs, self.dir, self.entries, false);
        manifest.store(self.fs, self.dir)?;
        if unused.is_empty() { Ok(()) } else { self.remove_copied(unused.iter()) }
    }

    fn copy_manifest(&self, sources: &Sources, aside: &mut Aside<'_>) -> Result<()> {
        if sources.found == ManifestFound::Missing { Ok(()) } else { aside.copy(&self.dir.join(MANIFEST)) }
    }

    /// A number above all that were ever given.
    fn jump_base(&self, sources: &Sources, highest: Seq) -> Result<Seq> {
        let jump = match sources.found {
            ManifestFound::Whole => JUMP,
            _ => JUMP_UNKNOWN,
        };
        let base = highest.max(sources.manifest.jump_base).0.saturating_add(jump);
        if base > SEQ_MAX - JUMP {
            return Err(Error::limit(format!(
                "the store has used up its sequence numbers ({base} of {SEQ_MAX}); copy its records into a new store"
            ))
            .with_path(self.dir));
        }
        Ok(Seq(base))
    }

    fn sync_dir(&self) -> Result<()> {
        self.fs.sync_dir(self.dir).map_err(|e| Error::io("syncing the directory", self.dir, e))
    }

    /// Removes files of which a copy is aside.
    ///
    /// DURABILITY: only after the manifest that does without them is durable.
    fn remove_copied<'p>(&self, paths: impl Iterator<Item = &'p PathBuf>) -> Result<()> {
        for path in paths {
            match self.fs.remove(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("removing a file that was copied aside", path, e));
                }
                _ => {}
            }
        }
        self.sync_dir()
    }
}
