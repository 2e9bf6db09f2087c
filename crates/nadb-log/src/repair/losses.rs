//! What was lost: damaged places, numbers, and records as far as they can be named.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{Result, Seq};

use super::blobs::Blobs;
use super::compacted::numbers;
use super::copies::{told, whole_footer};
use super::examine::{Broken, Lost, examine};
use super::names::Settled;
use super::report::{AfterLoss, BrokenBatch, DamagedRange, LostKind, LostRecord, NumberRange, RepairReport};
use super::salvage::{Newest, for_each_record};
use super::scan::{Region, Scan, Scanned};
use crate::cut::JUMP;
use crate::footer::Footer;
use crate::manifest::NamedSegment;
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
    let has_frames = |segment: &Scanned| segment.copies.is_none() && !segment.pieces.is_empty();
    let last_with_frames = scan.segments.iter().rposition(has_frames);
    let durable_upto = scan.durable_upto;
    for (index, scanned) in scan.segments.iter_mut().enumerate() {
        let (segment, len) = (&*scanned.source.segment, scanned.source.len);
        let mut broken: Vec<Broken> = std::mem::take(&mut scanned.broken);
        let is_copies = scanned.copies.is_some();
        let footer = if is_copies { footer_of(scanned, report)? } else { None };
        for region in &scanned.regions {
            let bytes = u64::from(region.end - region.start);
            let is_last = !is_copies
                && u64::from(region.end) == len
                && last_with_frames.is_none_or(|last| last <= index);
            if is_last && region.low >= durable_upto {
                // Never promised, and not whole: what opening would cut off, too.
                report.torn_bytes += bytes;
                continue;
            }
            let path = segment.path();
            let Region { start, what, .. } = region;
            report.damage.push(DamagedRange {
                path: path.into(),
                offset: u64::from(*start),
                len: bytes,
                what: what.clone(),
            });
            // At the end of the log, batches beyond what was durable may never have been whole.
            let keep_upto = if is_last { durable_upto } else { Seq(u64::MAX) };
            let region = (region, is_copies);
            let found = examine(segment, len, region, keep_upto, &mut scan.names, blobs)?;
            scanned.pieces.extend(found.records);
            match is_copies {
                // A batch was broken when its records were copied out of it.
                true => scanned.lost.extend(found.lost.into_iter().filter(|_| footer.is_none())),
                false => {
                    all.extend(found.lost.into_iter().map(|lost| (index, lost)));
                    broken.extend(found.broken);
                }
            }
        }
        if let Some(footer) = footer {
            let pieces = scanned.pieces.iter().filter(|piece| piece.is_record);
            scanned.lost.extend(told(
                &footer,
                &scanned.regions,
                &pieces.map(|piece| piece.offset).collect(),
            )?);
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

/// The footer of a damaged compacted segment, which says what is lost; without it, that is not known.
fn footer_of(scanned: &Scanned, report: &mut RepairReport) -> Result<Option<Arc<Footer>>> {
    let has_unknown = scanned.copies.as_ref().is_some_and(|copies| copies.has_unknown);
    if scanned.regions.is_empty() && !has_unknown {
        return Ok(None);
    }
    let footer = whole_footer(&scanned.source.segment)?;
    if footer.is_none() {
        report.unknown_losses.push(scanned.source.segment.path().into());
    }
    Ok(footer)
}

/// Notes which numbers are lost, and gives the highest that is known. Up to `sealed_upto`, numbers between one segment and the next
/// were those of segments that compactions have replaced. `is_named` says that a whole manifest names the segments.
pub(super) fn count_numbers(
    scan: &Scan,
    (missing, sealed_upto, is_named): (&[NamedSegment], Seq, bool),
    report: &mut RepairReport,
) -> Result<Seq> {
    let mut last = Seq(0);
    let mut missing = missing.iter().peekable();
    let mut unknown = Vec::new();
    let mut lose = |first: Seq, last: Seq| {
        if last >= first {
            report.lost_numbers.push(NumberRange { first: first.0, last: last.0 });
        }
    };
    for scanned in scan.segments.iter().filter(|scanned| scanned.copies.is_none()) {
        while let Some(gone) = missing.next_if(|gone| gone.id < scanned.source.segment.id) {
            last = lose_missing(gone, last, &mut lose);
        }
        if let Some(opening) = &scanned.opening {
            lose(last.max(sealed_upto.min(opening.follows)).next(), opening.follows);
            last = last.max(opening.base.previous());
        } else if let Some(footer) = whole_footer(&scanned.source.segment)? {
            let first = numbers(&footer)?.map(|(first, _)| first.previous());
            last = first.map_or(last, |first| last.max(first));
        } else if scanned.source.segment.extent().is_none() {
            last = last.max(sealed_upto);
            if sealed_upto.0 > 0 && !is_named && !scanned.regions.is_empty() {
                // Nobody knows whether it was sealed, and which numbers it had.
                unknown.push(scanned.source.segment.path().into());
            }
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
        let end = scanned.source.segment.extent().map_or(last, |extent| extent.last_seq);
        lose(last.next(), end);
        last = last.max(end);
    }
    for gone in missing {
        last = lose_missing(gone, last, &mut lose);
    }
    let copied = scan.segments.iter().filter_map(|scanned| scanned.copies.as_ref());
    let highest = copied.map(|copies| copies.highest).max().unwrap_or_default();
    last = last.max(sealed_upto).max(highest);
    lose(last.next(), scan.durable_upto);
    let lost = scan.segments.iter().flat_map(|scanned| &scanned.lost);
    lost.filter_map(|lost| lost.seq).for_each(|seq| lose(seq, seq));
    join_ranges(&mut report.lost_numbers);
    report.unknown_losses.append(&mut unknown);
    leave_out_copied(scan, &mut report.lost_numbers)?;
    Ok(last.max(scan.durable_upto))
}

/// The numbers of a segment whose file is missing, where they are known; gives the last one.
fn lose_missing(gone: &NamedSegment, last: Seq, lose: &mut impl FnMut(Seq, Seq)) -> Seq {
    let end = gone.sealed.filter(|extent| !extent.is_compacted).map_or(last, |extent| extent.last_seq);
    lose(last.next(), end);
    last.max(end)
}

/// Where numbers of compacted segments lie in a range that is lost, they are not.
fn leave_out_copied(scan: &Scan, lost: &mut Vec<NumberRange>) -> Result<()> {
    if lost.is_empty() {
        return Ok(());
    }
    let mut found = BTreeSet::new();
    for scanned in scan.segments.iter().filter(|scanned| scanned.copies.is_some()) {
        for_each_record(scanned, &mut |record, _, _, _| {
            let seq = record.seq.0;
            let at = lost.partition_point(|range| range.last < seq);
            if lost.get(at).is_some_and(|range| range.first <= seq) {
                found.insert(seq);
            }
            Ok(())
        })?;
    }
    let mut left = Vec::with_capacity(lost.len());
    for NumberRange { mut first, last } in lost.drain(..) {
        for &seq in found.range(first..=last) {
            if first < seq {
                left.push(NumberRange { first, last: seq - 1 });
            }
            first = seq + 1;
        }
        if first <= last {
            left.push(NumberRange { first, last });
        }
    }
    *lost = left;
    Ok(())
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

/// The numbers of salvaged records, as rising ranges. Those of copies, which take memory, only where a number must be found that
/// none has.
pub(super) fn used(scan: &Scan) -> Result<Vec<(Seq, Seq)>> {
    let mut used: Vec<(Seq, Seq)> = Vec::new();
    let push = |used: &mut Vec<(Seq, Seq)>, first: Seq, last: Seq| match used.last_mut() {
        _ if last < first => {}
        Some((_, end)) if end.next() == first => *end = last,
        _ => used.push((first, last)),
    };
    let originals = scan.segments.iter().filter(|scanned| scanned.copies.is_none());
    for piece in originals.flat_map(|scanned| &scanned.pieces) {
        push(&mut used, piece.first, piece.last);
    }
    if !scan.names.has_nameless() {
        return Ok(used);
    }
    for scanned in scan.segments.iter().filter(|scanned| scanned.copies.is_some()) {
        for_each_record(scanned, &mut |record, _, _, _| {
            push(&mut used, record.seq, record.seq);
            Ok(())
        })?;
    }
    used.sort_unstable();
    let mut joined: Vec<(Seq, Seq)> = Vec::with_capacity(used.len());
    for (first, last) in used {
        match joined.last_mut() {
            Some((_, end)) if first <= end.next() => *end = last.max(*end),
            _ => joined.push((first, last)),
        }
    }
    Ok(joined)
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
