//! The whole log written anew: what can be salvaged goes into new segments, which are proved and then put in the place of the
//! old ones. docs/repair.md has the steps, and what a crash after each leaves.
//!
//! Blobs are not written anew: those that salvaged records refer to stay where they are, for the old store and the new one.

use std::path::PathBuf;
use std::sync::Arc;

use nadb_core::{Error, ErrorKind, Result, SegmentId, Seq, guard};

use super::aside::Aside;
use super::blobs::{Blobs, unused};
use super::check::{Contents, check_sealed};
use super::losses::{AllLost, count_numbers, examine_all, name_losses, used, wanted};
use super::names::Settled;
use super::output::{Output, Written};
use super::report::{ManifestFound, RepairOutcome, RepairReport};
use super::salvage::salvage;
use super::scan::{Scan, scan};
use super::sources::Sources;
use super::{Repair, footers, is_whole};
use crate::checkpoint::remove_useless;
use crate::manifest::{CleanClose, Manifest, NamedSegment};
use crate::names::segment_path;
use crate::recovery;
use crate::replay::ScanCounts;
use crate::segment::Segment;

/// Decides what becomes of namespaces, and notes it.
fn settle(scan: &mut Scan, report: &mut RepairReport) -> Result<Settled> {
    let used = used(scan)?;
    let mut settled = std::mem::take(&mut scan.names).settle(&used);
    report.found_namespaces = settled.found();
    report.notes.append(&mut settled.notes);
    let stale = (scan.stale_segments, scan.stale_frames);
    if stale != (0, 0) {
        let (segments, frames) = stale;
        report.notes.push(format!(
            "{segments} segments and {frames} frames were left out that an earlier opening had cut off"
        ));
    }
    Ok(settled)
}

impl Repair<'_> {
    /// Writes what can be salvaged into new segments and puts them in the place of the old ones.
    pub(super) fn rewrite(
        &self,
        mut sources: Sources,
        blobs: &mut Blobs<'_>,
        report: &mut RepairReport,
    ) -> Result<()> {
        report.outcome = RepairOutcome::Rewritten;
        for source in &sources.segments {
            report.damage.extend(footers::damage(source)?);
        }
        let mut scan = scan(std::mem::take(&mut sources.segments), sources.manifest.durable_upto, blobs)?;
        let lost = examine_all(&mut scan, blobs, report)?;
        let is_empty = scan.segments.iter().all(|scanned| scanned.pieces.is_empty());
        if let Some(error) = sources.version_error.take().filter(|_| is_empty) {
            return Err(error);
        }
        let highest = count_numbers(
            &scan,
            (&sources.missing, sources.manifest.sealed_upto, sources.found == ManifestFound::Whole),
            report,
        )?;
        let is_copies = |named: &&NamedSegment| named.sealed.is_some_and(|extent| extent.is_compacted);
        let unknown = sources.missing.iter().filter(is_copies);
        report.unknown_losses.extend(unknown.map(|named| segment_path(self.dir, named.id)));
        let jump_base = self.jump_base(&sources, highest)?;
        let settled = settle(&mut scan, report)?;
        if self.options.dry_run {
            return self.write_segments((&scan, blobs, &lost), &settled, None, report);
        }
        let mut aside = Aside::create(self.fs, self.dir, self.entries)?;
        report.aside = Some(aside.path.clone());
        let mut output = self.new_output(&sources, &scan, &settled);
        let kept: Vec<_> = scan.segments.iter().filter(|scanned| scanned.stays(&settled)).collect();
        let kept: Vec<_> = kept.into_iter().map(|scanned| Arc::clone(&scanned.source.segment)).collect();
        let stays = |path: &PathBuf| kept.iter().any(|segment| segment.path() == path);
        sources.originals.retain(|path| !stays(path));
        let prepared = self
            .copy_originals(&sources, &mut aside)
            .and_then(|()| self.write_segments((&scan, blobs, &lost), &settled, Some(&mut output), report))
            .and_then(|()| output.end_segment())
            .and_then(|()| {
                let old = (&sources.manifest, jump_base);
                match output.seals {
                    false => self.prove(old, &output, &settled, blobs, report),
                    true => self.prove_sealed(old, (&output, &kept), highest, &settled, blobs, report),
                }
            })
            .and_then(|manifest| {
                report.segments_written = output.written.len() as u64;
                report.unused_blobs.iter().try_for_each(|path| aside.copy(path))?;
                aside.finish(report).map(|()| manifest)
            });
        match prepared {
            Ok(manifest) => self.install(&sources, &output, manifest, scan.durable_upto, report),
            Err(error) => {
                aside.discard();
                output.discard();
                Err(error)
            }
        }
    }

    fn new_output(&self, sources: &Sources, scan: &Scan, settled: &Settled) -> Output<'_> {
        let (store, entropy) = (sources.manifest.store, &*self.options.entropy);
        let mut output = Output::new(self.fs, self.dir.to_path_buf(), store, entropy);
        output.now_ms = self.options.clock.now_ms();
        output.segment_size = self.options.segment_size;
        output.next_id = sources.next_segment;
        output.made_up = settled.made_up.clone();
        let has_copies = scan.segments.iter().any(|scanned| scanned.copies.is_some());
        output.seals = has_copies && guard::on("repair.seals_beside_copies");
        output
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

    /// Writes what is salvaged, where there is an output, and tells what is not.
    fn write_segments(
        &self,
        (scan, blobs, lost): (&Scan, &Blobs<'_>, &AllLost),
        settled: &Settled,
        output: Option<&mut Output<'_>>,
        report: &mut RepairReport,
    ) -> Result<()> {
        let mut newest = wanted(lost);
        let salvaged = salvage(scan, blobs, settled, &mut newest, output)?;
        report.records_kept = salvaged.records;
        report.unused_blobs = unused(self.dir, self.entries, &salvaged.blobs);
        name_losses(self.dir, scan, lost, &newest, settled, report);
        Ok(())
    }

    /// Reads what was written as opening will, and gives the manifest under which it opens. The blobs were read before.
    fn prove(
        &self,
        (old, jump_base): (&Manifest, Seq),
        output: &Output<'_>,
        settled: &Settled,
        blobs: &mut Blobs<'_>,
        report: &RepairReport,
    ) -> Result<Manifest> {
        let (segment, len) = output.written.last().map_or((SegmentId(0), 0), |w| (w.segment.id, w.len));
        let named = |w: &Written| w.segment.named();
        let manifest = Manifest {
            generation: old.generation + 2,
            durable_upto: output.last_seq,
            jump_base,
            sealed_upto: Seq(0),
            next_segment: output.next_id,
            clean: Some(CleanClose { last_seq: output.last_seq, segment, len }),
            segments: output.written.iter().map(named).collect(),
            ..*old
        };
        let segments = output.written.iter().map(|w| (Arc::clone(&w.segment), u64::from(w.len))).collect();
        let mut contents = Contents::must_exist();
        let replayed = recovery::replay(&manifest, Vec::new(), segments, None, &mut contents)?;
        let records = report.records_kept + settled.made_up.len() as u64;
        let found = (replayed.last_seq, replayed.counts.records, replayed.chain.len());
        let has_blobs = contents
            .references
            .iter()
            .try_fold(true, |all, one| Ok::<_, Error>(all & blobs.is_whole(*one)?))?;
        if !has_blobs
            || found != (output.last_seq, records, output.written.len())
            || !is_whole(&replayed, &[])
        {
            return Err(self.not_read_back((records, output.last_seq), (found.1, found.0)));
        }
        Ok(Manifest { next_namespace: old.next_namespace.max(contents.next_namespace), ..manifest })
    }

    fn not_read_back(&self, (records, last_seq): (u64, Seq), (found, found_last): (u64, Seq)) -> Error {
        let what = format!(
            "what was salvaged does not read back: {records} records up to number {last_seq} were written, {found} up to \
             {found_last} read; the store is as it was"
        );
        Error::new(ErrorKind::Corruption, what).with_path(self.dir)
    }

    /// As [`Repair::prove`], where all segments are sealed: those that were written, and compacted ones that stay.
    fn prove_sealed(
        &self,
        (old, jump_base): (&Manifest, Seq),
        (output, kept): (&Output<'_>, &[Arc<Segment>]),
        highest: Seq,
        settled: &Settled,
        blobs: &mut Blobs<'_>,
        report: &RepairReport,
    ) -> Result<Manifest> {
        let written = output.written.iter().map(|written| &written.segment);
        let mut segments: Vec<_> = written.chain(kept).collect();
        segments.sort_by_key(|segment| segment.id);
        let (mut counts, mut contents) = (ScanCounts::default(), Contents::default());
        let (mut is_whole, mut last_seq) = (true, output.last_seq);
        for segment in &segments {
            let Some(extent) = segment.extent() else { continue };
            let checked = check_sealed(segment, extent, &mut counts, &mut contents)?;
            is_whole &= matches!(checked, Some(Ok(())));
            last_seq = last_seq.max(extent.last_seq);
        }
        for reference in &contents.references {
            is_whole &= blobs.is_whole(*reference)?;
        }
        let records = report.records_kept + settled.made_up.len() as u64;
        if !is_whole || counts.records != records || contents.nameless().is_some() || last_seq > highest {
            return Err(self.not_read_back((records, highest), (counts.records, last_seq)));
        }
        let end = segments.last();
        let len = end.map_or(0, |segment| u32::try_from(segment.bytes()).unwrap_or(u32::MAX));
        Ok(Manifest {
            generation: old.generation + 2,
            durable_upto: last_seq,
            jump_base,
            sealed_upto: last_seq,
            next_segment: output.next_id,
            next_namespace: old.next_namespace.max(contents.next_namespace),
            clean: Some(CleanClose { last_seq, segment: end.map_or(SegmentId(0), |end| end.id), len }),
            segments: segments.iter().map(|segment| segment.named()).collect(),
            ..*old
        })
    }

    /// Puts the new segments in the place of the old ones.
    fn install(
        &self,
        sources: &Sources,
        output: &Output<'_>,
        manifest: Manifest,
        durable_upto: Seq,
        report: &RepairReport,
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
        self.remove_copied(sources.originals.iter().chain(&sources.others).chain(&report.unused_blobs))
    }
}
