//! What was lost: damaged places, numbers, and records as far as they can be named.

use std::path::Path;

use nadb_core::{Result, Seq};

use super::blobs::Blobs;
use super::examine::{Broken, Lost, examine};
use super::names::Settled;
use super::report::{AfterLoss, BrokenBatch, DamagedRange, LostKind, LostRecord, NumberRange, RepairReport};
use super::salvage::Newest;
use super::scan::{Region, Scan};
use crate::cut::JUMP;
use crate::names::blob_path;

/// The lost records of a segment, by its place in the scan.
pub(super) type AllLost = Vec<(usize, Lost)>;

/// Examines the damaged places and adds the records that they still hold to the pieces of the scan.
pub(super) fn examine_all(
    scan: &mut Scan,
    blobs: &mut Blobs<'_>,
    report: &mut RepairReport,
) -> Result<AllLost> {
    let mut all = AllLost::new();
    let last_with_frames = scan.segments.iter().rposition(|segment| !segment.pieces.is_empty());
    let durable_upto = scan.durable_upto;
    for (index, scanned) in scan.segments.iter_mut().enumerate() {
        let (segment, len) = (&*scanned.source.segment, scanned.source.len);
        let mut broken: Vec<Broken> = std::mem::take(&mut scanned.broken);
        for region in std::mem::take(&mut scanned.regions) {
            let bytes = u64::from(region.end - region.start);
            let is_last = u64::from(region.end) == len && last_with_frames.is_none_or(|last| last <= index);
            if is_last && region.low >= durable_upto {
                // Never promised, and not whole: what opening would cut off, too.
                report.torn_bytes += bytes;
                continue;
            }
            let path = segment.path();
            let Region { start, ref what, .. } = region;
            let what = what.clone();
            report.damage.push(DamagedRange {
                path: path.into(),
                offset: u64::from(start),
                len: bytes,
                what,
            });
            // At the end of the log, batches beyond what was durable may never have been whole.
            let keep_upto = if is_last { durable_upto } else { Seq(u64::MAX) };
            let found = examine(segment, len, &region, keep_upto, &mut scan.names, blobs)?;
            scanned.pieces.extend(found.records);
            all.extend(found.lost.into_iter().map(|lost| (index, lost)));
            broken.extend(found.broken);
        }
        scanned.pieces.sort_by_key(|piece| piece.offset);
        all.extend(scanned.lost.iter().map(|lost| (index, lost.clone())));
        broken.sort_by_key(|broken| broken.offset);
        report.broken_batches.extend(broken.into_iter().map(|broken| BrokenBatch {
            path: segment.path().into(),
            offset: u64::from(broken.offset),
            records: broken.records.map(u64::from),
            kept: broken.kept,
        }));
    }
    all.sort_by_key(|(index, lost)| (*index, lost.offset));
    report.damage.extend(blobs.damage());
    report.damage.sort_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
    Ok(all)
}

/// Notes which numbers are lost, and gives the highest that is known.
pub(super) fn count_numbers(scan: &Scan, report: &mut RepairReport) -> Seq {
    let mut last = Seq(0);
    let mut lose = |first: Seq, last: Seq| {
        if last >= first {
            report.lost_numbers.push(NumberRange { first: first.0, last: last.0 });
        }
    };
    for scanned in &scan.segments {
        if let Some(opening) = &scanned.opening {
            lose(last.next(), opening.follows);
            last = last.max(opening.base.previous());
        }
        for (index, piece) in scanned.pieces.iter().enumerate() {
            let before = piece.first.previous();
            // Where the opening frame is lost, numbers may have jumped, and nobody knows how many there were before.
            let may_jump = index == 0 && scanned.opening.is_none() && before.0 >= last.0 + JUMP;
            if !may_jump {
                lose(last.next(), before);
            }
            last = last.max(piece.last);
        }
    }
    lose(last.next(), scan.durable_upto);
    let lost = scan.segments.iter().flat_map(|scanned| &scanned.lost);
    lost.filter_map(|lost| lost.seq).for_each(|seq| lose(seq, seq));
    join_ranges(&mut report.lost_numbers);
    last.max(scan.durable_upto)
}

/// Puts ranges in order, and those together that have no number between them.
fn join_ranges(ranges: &mut Vec<NumberRange>) {
    ranges.sort_by_key(|range| range.first);
    ranges.dedup_by(|next, range| {
        let follows = next.first <= range.last.saturating_add(1);
        if follows {
            range.last = range.last.max(next.last);
        }
        follows
    });
}

/// The numbers of salvaged records, as rising ranges.
pub(super) fn used(scan: &Scan) -> Vec<(Seq, Seq)> {
    let mut used: Vec<(Seq, Seq)> = Vec::new();
    for piece in scan.segments.iter().flat_map(|scanned| &scanned.pieces) {
        match used.last_mut() {
            _ if piece.last < piece.first => {}
            Some((_, last)) if last.next() == piece.first => *last = piece.last,
            _ => used.push((piece.first, piece.last)),
        }
    }
    used
}

/// The keys of which the newest salvaged record must be known.
pub(super) fn wanted(lost: &AllLost) -> Newest {
    let keyed = lost.iter().filter(|(_, lost)| matches!(lost.kind, LostKind::Value | LostKind::Tombstone));
    keyed.map(|(_, lost)| ((lost.namespace, lost.key.clone()), None)).collect()
}

/// Puts the lost records of the store in `dir` into the report, each with what the repaired store has in its place.
pub(super) fn name_losses(
    dir: &Path,
    scan: &Scan,
    lost: &AllLost,
    newest: &Newest,
    settled: &Settled,
    report: &mut RepairReport,
) {
    for (index, lost) in lost {
        let path = scan.segments.get(*index).map_or(Path::new(""), |scanned| scanned.source.segment.path());
        let namespace = settled.names.get(&lost.namespace);
        let before = newest.get(&(lost.namespace, lost.key.clone())).copied().flatten();
        let after = match (namespace, lost.kind, before) {
            (None, ..) => AfterLoss::Absent,
            (Some((created, _)), LostKind::NamespaceDrop, _) => AfterLoss::Older { version: created.0 },
            (_, LostKind::Value | LostKind::Tombstone, Some((seq, is_value))) => match is_value {
                _ if seq > lost.older_upto => AfterLoss::Newer,
                true => AfterLoss::Older { version: seq.0 },
                false => AfterLoss::Absent,
            },
            _ => AfterLoss::Absent,
        };
        report.lost_records.push(LostRecord {
            path: path.into(),
            offset: u64::from(lost.offset),
            seq: lost.seq.map(|seq| seq.0),
            kind: lost.kind,
            namespace_id: lost.namespace.0,
            namespace: namespace.map(|(_, name)| name.clone()),
            key: lost.key.clone(),
            blob: lost.blob.map(|id| blob_path(dir, id)),
            after,
        });
    }
    let numbers: u64 = report.lost_numbers.iter().map(|range| range.last - range.first + 1).sum();
    report.unidentified = numbers.saturating_sub(lost.len() as u64);
}
