//! Repair: saves everything whose checksum holds out of a store that is damaged, and leaves one that opens and verifies.
//!
//! What it promises: nothing of the originals is changed before a copy of them is durable in a folder of its own; a crash at
//! any moment leaves the original store or the repaired one; salvaged records keep their numbers; nothing that an
//! opening had cut off comes back. What it leaves to others: media that cannot be read (an error), and what only the engine
//! knows. docs/repair.md says what users may expect.
//!
//! The log is read once to find what verifies ([`scan`], [`examine`]) and once more to write it into new segments
//! ([`output`]).

mod aside;
mod check;
mod examine;
mod footers;
mod losses;
mod names;
mod output;
mod report;
mod scan;
mod sources;

use std::path::Path;
use std::sync::Arc;

use nadb_core::limits::SEQ_MAX;
use nadb_core::{Error, ErrorKind, Result, SegmentId, Seq};
use nadb_vfs::{DirEntry, Fs};

use self::aside::Aside;
use self::check::{BadFooter, Namespaces, check};
use self::losses::{AllLost, count_numbers, examine_all, name_losses, used, wanted};
use self::names::Settled;
use self::output::{Output, Written, salvage};
use self::scan::{Scan, scan};
use self::sources::{Source, Sources};
use crate::checkpoint::remove_useless;
use crate::cut::JUMP;
use crate::directory;
use crate::manifest::{CleanClose, Manifest};
use crate::names::{MANIFEST, parse_segment, segment_path};
use crate::recovery::{self, Replayed, is_pristine};
use crate::segment::{SEGMENT_HEADER, Segment};

pub use self::report::{
    AfterLoss, BrokenBatch, DamagedRange, FoundNamespace, LostKind, LostRecord, ManifestFound, NumberRange,
    RepairOptions, RepairOutcome, RepairReport,
};

/// How far numbers jump where the manifest that says how far they had jumped is lost: beyond what thousands of openings
/// without a write that was kept can have given.
const JUMP_UNKNOWN: u64 = 1 << 44;

/// Repairs the store in `dir`, or says what there is to repair. A store that opens, and of which every record and footer is
/// whole, is left as it is.
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
    if sources.found == ManifestFound::Whole
        && let Some(checked) = check(fs, dir, &sources.manifest, &entries)?
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
    match repair.rebuilt_manifest(&sources)? {
        Some((manifest, records)) => {
            report.records_kept = records;
            report.outcome = RepairOutcome::ManifestRebuilt;
            repair.replace_manifest(&sources, &manifest, &mut report)?;
        }
        None => repair.rewrite(sources, &mut report)?,
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
    /// A manifest that makes the store open as it is, where only the manifest was missing, damaged or old; and how many
    /// records it then has.
    fn rebuilt_manifest(&self, sources: &Sources) -> Result<Option<(Manifest, u64)>> {
        if sources.found == ManifestFound::Whole {
            return Ok(None);
        }
        let mut manifest = sources.manifest.clone();
        manifest.generation += 1;
        manifest.next_segment = sources.next_segment;
        let Some(checked) = check(self.fs, self.dir, &manifest, self.entries)? else { return Ok(None) };
        if !is_whole(&checked.replayed, &sources.segments) {
            return Ok(None);
        }
        if manifest.clean.is_none() {
            manifest.jump_base = self.jump_base(sources, checked.replayed.last_seq)?;
        }
        Ok(Some((manifest, checked.records)))
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
        if sources.found != ManifestFound::Missing || !sources.others.is_empty() {
            let mut aside = Aside::create(self.fs, self.dir, self.entries)?;
            report.aside = Some(aside.path.clone());
            let copied = self.copy_manifest(sources, &mut aside).and_then(|()| {
                sources.others.iter().try_for_each(|path| aside.copy(path))?;
                aside.finish(report)
            });
            if let Err(error) = copied {
                aside.discard();
                return Err(error);
            }
        }
        // It would not fit what follows, and takes room.
        remove_useless(self.fs, self.dir, self.entries, false);
        manifest.store(self.fs, self.dir)
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

    /// Writes what can be salvaged into new segments and puts them in the place of the old ones.
    fn rewrite(&self, mut sources: Sources, report: &mut RepairReport) -> Result<()> {
        report.outcome = RepairOutcome::Rewritten;
        for source in &sources.segments {
            report.damage.extend(footers::damage(source)?);
        }
        let mut scan = scan(std::mem::take(&mut sources.segments), sources.manifest.durable_upto)?;
        let lost = examine_all(&mut scan, report)?;
        let is_empty = scan.segments.iter().all(|scanned| scanned.pieces.is_empty());
        if let Some(error) = sources.version_error.take().filter(|_| is_empty) {
            return Err(error);
        }
        let highest = count_numbers(&scan, report);
        let jump_base = self.jump_base(&sources, highest)?;
        let mut settled = std::mem::take(&mut scan.names).settle(&used(&scan));
        report.found_namespaces = settled.found();
        report.notes.append(&mut settled.notes);
        let stale = (scan.stale_segments, scan.stale_frames);
        if stale != (0, 0) {
            let (segments, frames) = stale;
            report.notes.push(format!(
                "{segments} segments and {frames} frames were left out that an earlier opening had cut off"
            ));
        }
        if self.options.dry_run {
            let mut newest = wanted(&lost);
            report.records_kept = salvage(&scan, &settled, &mut newest, None)?;
            name_losses(&scan, &lost, &newest, &settled, report);
            return Ok(());
        }
        let mut aside = Aside::create(self.fs, self.dir, self.entries)?;
        report.aside = Some(aside.path.clone());
        let (store, entropy) = (sources.manifest.store, &*self.options.entropy);
        let mut output = Output::new(self.fs, self.dir.to_path_buf(), store, entropy);
        output.now_ms = self.options.clock.now_ms();
        output.segment_size = self.options.segment_size;
        output.next_id = sources.next_segment;
        output.made_up = settled.made_up.clone();
        let prepared = self
            .copy_originals(&sources, &mut aside)
            .and_then(|()| self.write_segments(&scan, &settled, &lost, &mut output, report))
            .and_then(|()| self.prove(&sources.manifest, &output, &settled, jump_base, report))
            .and_then(|manifest| aside.finish(report).map(|()| manifest));
        match prepared {
            Ok(manifest) => self.install(&sources, &output, manifest, scan.durable_upto),
            Err(error) => {
                aside.discard();
                output.discard();
                Err(error)
            }
        }
    }

    fn copy_originals(&self, sources: &Sources, aside: &mut Aside<'_>) -> Result<()> {
        self.copy_manifest(sources, aside)?;
        for path in sources.originals.iter().chain(&sources.others) {
            aside.copy(path)?;
        }
        for path in &sources.unfinished {
            self.fs.remove(path).map_err(|e| Error::io("removing an unfinished segment", path, e))?;
        }
        Ok(())
    }

    fn write_segments(
        &self,
        scan: &Scan,
        settled: &Settled,
        lost: &AllLost,
        output: &mut Output<'_>,
        report: &mut RepairReport,
    ) -> Result<()> {
        let mut newest = wanted(lost);
        report.records_kept = salvage(scan, settled, &mut newest, Some(output))?;
        output.end_segment()?;
        report.segments_written = output.written.len() as u64;
        name_losses(scan, lost, &newest, settled, report);
        Ok(())
    }

    /// Reads what was written as opening will, and gives the manifest under which it opens.
    fn prove(
        &self,
        old: &Manifest,
        output: &Output<'_>,
        settled: &Settled,
        jump_base: Seq,
        report: &RepairReport,
    ) -> Result<Manifest> {
        let (segment, len) = output.written.last().map_or((SegmentId(0), 0), |w| (w.segment.id, w.len));
        let named = |w: &Written| w.segment.named();
        let manifest = Manifest {
            generation: old.generation + 2,
            durable_upto: output.last_seq,
            jump_base,
            next_segment: output.next_id,
            clean: Some(CleanClose { last_seq: output.last_seq, segment, len }),
            segments: output.written.iter().map(named).collect(),
            ..*old
        };
        let segments = output.written.iter().map(|w| (Arc::clone(&w.segment), u64::from(w.len))).collect();
        let mut namespaces = Namespaces::must_exist();
        let replayed = recovery::replay(&manifest, Vec::new(), segments, None, &mut namespaces)?;
        let records = report.records_kept + settled.made_up.len() as u64;
        let found = (replayed.last_seq, replayed.counts.records, replayed.chain.len());
        if found != (output.last_seq, records, output.written.len()) || !is_whole(&replayed, &[]) {
            return Err(Error::new(
                ErrorKind::Corruption,
                format!(
                    "what was salvaged does not read back: {records} records up to number {} were written, {} up to {} \
                     read; the store is as it was",
                    output.last_seq, found.1, found.0
                ),
            )
            .with_path(self.dir));
        }
        Ok(manifest)
    }

    /// Puts the new segments in the place of the old ones.
    fn install(
        &self,
        sources: &Sources,
        output: &Output<'_>,
        manifest: Manifest,
        durable_upto: Seq,
    ) -> Result<()> {
        // DURABILITY: first a manifest of the old segments under which the new ones, once they have their names, count as
        // left behind by a crash. Were the old one still in force, they would make it look older than the files.
        let mut before = Manifest {
            next_segment: output.next_id,
            generation: manifest.generation - 1,
            ..sources.manifest.clone()
        };
        if sources.found != ManifestFound::Whole {
            before.jump_base = manifest.jump_base;
            before.durable_upto = durable_upto;
        }
        before.store(self.fs, self.dir)?;
        for Written { segment, .. } in &output.written {
            let to = segment_path(self.dir, segment.id);
            self.fs
                .rename(&segment.path, &to)
                .map_err(|e| Error::io("naming a salvaged segment", &segment.path, e))?;
        }
        // No segment that it covers will be there.
        remove_useless(self.fs, self.dir, self.entries, false);
        // DURABILITY: the names before the manifest that relies on them; storing it makes it the repaired store.
        self.sync_dir()?;
        manifest.store(self.fs, self.dir)?;
        for path in sources.originals.iter().chain(&sources.others) {
            match self.fs.remove(path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::io("removing a segment that was copied aside", path, e));
                }
                _ => {}
            }
        }
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<()> {
        self.fs.sync_dir(self.dir).map_err(|e| Error::io("syncing the directory", self.dir, e))
    }
}
