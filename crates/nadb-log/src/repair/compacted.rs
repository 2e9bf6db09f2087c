//! Compacted segments where no manifest tells of them: which files they are, which of them count, and where their frames end; and the
//! manifest that names them.

use std::sync::Arc;

use nadb_core::{ErrorKind, Ordinal, Result, Seq, guard};

use super::copies::Reader;
use super::origins::{Member, Verdict, judge};
use super::sources::{Source, Sources};
use crate::footer::{Footer, Origin};
use crate::manifest::{NamedSegment, SealedExtent};
use crate::replay::{ScanCounts, read_opening, replay_again};
use crate::seal::read_footer;
use crate::segment::{SEGMENT_HEADER, Segment};

impl Sources {
    /// Finds out which segments compactions have made, leaves out what they have replaced, and names the others as they are.
    pub(super) fn settle_compacted(&mut self) -> Result<()> {
        let mut members = Vec::with_capacity(self.segments.len());
        for source in &mut self.segments {
            let origin = identify(source)?;
            members.push(Member { id: source.segment.id, uid: source.segment.uid, origin });
        }
        if !self.has_compacted() {
            return Ok(());
        }
        let verdicts = judge(&members);
        let sources = std::mem::take(&mut self.segments);
        for ((mut source, verdict), member) in sources.into_iter().zip(verdicts).zip(members) {
            let path = source.segment.path().to_path_buf();
            let why = match verdict {
                Verdict::Replaced if guard::on("repair.origins_decide") => "a compaction has replaced it",
                Verdict::Unfinished => "it is of a compaction that did not end",
                Verdict::Replaced | Verdict::Used | Verdict::Partial => {
                    // Of one without an origin nobody knows what it has replaced.
                    source.is_partial =
                        source.is_compacted && (verdict == Verdict::Partial || member.origin.is_none());
                    self.segments.push(source);
                    continue;
                }
            };
            self.notes.push(format!("{}: {why}; it was left out", path.display()));
            self.originals.retain(|original| *original != path);
            self.others.push(path);
        }
        if self.segments.iter().any(|source| source.is_partial) {
            self.notes.push(
                "what some compacted segments have replaced is not known for certain: all that can be read was used, and \
                 records that were deleted or overwritten may have come back"
                    .into(),
            );
        }
        self.notes.push(
            "segments that compactions have replaced leave gaps in the numbers: without a manifest, a file that is lost there is \
             not noticed"
                .into(),
        );
        self.name_all()
    }

    pub(super) fn has_compacted(&self) -> bool {
        self.segments.iter().any(|source| source.is_compacted)
    }

    /// Compacted segments are sealed, and so is all that comes before the first original without a footer: what is not sealed has
    /// higher numbers than all that is.
    fn name_all(&mut self) -> Result<()> {
        let mut highest = Seq(0);
        let mut first_open = None;
        self.manifest.segments.clear();
        for source in &self.segments {
            let segment = &*source.segment;
            let sealed = match segment.extent() {
                Some(extent) if source.is_compacted => Some(extent),
                _ if source.is_compacted || first_open.is_some() => None,
                Some(extent) => Some(extent),
                None => sealed_extent(source)?,
            };
            highest = sealed.map_or(highest, |extent| highest.max(extent.last_seq));
            let has_frames = source.len > u64::from(SEGMENT_HEADER);
            if sealed.is_none() && has_frames && !source.is_compacted && first_open.is_none() {
                first_open = Some(read_opening(segment, source.len)?.map(|opening| opening.follows));
            }
            if let Some(extent) = sealed.filter(|_| segment.extent().is_none()) {
                segment.set_extent(extent);
            }
            self.manifest.segments.push(NamedSegment { id: segment.id, uid: segment.uid, sealed });
        }
        self.manifest.segments.sort_by_key(|named| named.id);
        self.manifest.sealed_upto = first_open.flatten().unwrap_or(highest);
        // With numbers in sealed segments above those that go on, it would not be a store in order.
        self.is_in_order = self.manifest.sealed_upto >= highest;
        Ok(())
    }
}

/// The origin of a segment that has one; notes whether a compaction has made it, and where its frames end.
fn identify(source: &mut Source) -> Result<Option<Origin>> {
    let segment = &*source.segment;
    let origin = match source.footer_at.and_then(|at| Some((at, u32::try_from(source.file_len).ok()?))) {
        Some((frames_end, file_len)) => origin_at(segment, frames_end, file_len)?,
        None => None,
    };
    let is_known = origin.is_some() || segment.is_compacted();
    if !is_known && (source.len <= u64::from(SEGMENT_HEADER) || read_opening(segment, source.len)?.is_some())
    {
        return Ok(None);
    }
    let mut reader = Reader::new(segment, source.len);
    if !is_known && !reader.has_frames()? {
        return Ok(None);
    }
    source.is_compacted = true;
    if segment.extent().is_none() {
        let (last_end, highest) = reader.extent()?.unwrap_or((SEGMENT_HEADER + 1, Seq(0)));
        let frames_end = source.footer_at.unwrap_or(last_end);
        let file_len = u32::try_from(source.file_len).unwrap_or(u32::MAX).max(frames_end.saturating_add(1));
        let extent = SealedExtent { frames_end, file_len, last_seq: highest, is_compacted: true };
        let told = told_highest(segment, extent)?;
        drop(reader);
        segment.set_extent(SealedExtent { last_seq: told.unwrap_or(highest), ..extent });
        source.high = told.unwrap_or(source.high);
    }
    Ok(origin)
}

/// The highest number of which a footer tells.
fn told_highest(segment: &Segment, extent: SealedExtent) -> Result<Option<Seq>> {
    let read = |footer: &Footer| -> Result<Option<Seq>> {
        let mut highest = footer.system()?.iter().map(|row| row.seq).max();
        for ordinal in 0..footer.len() {
            highest = highest.max(Some(footer.seq(Ordinal(ordinal))?));
        }
        Ok(highest)
    };
    match read_footer(segment, extent).and_then(|footer| read(&footer)) {
        Ok(highest) => Ok(highest),
        Err(error) if error.kind() == ErrorKind::Corruption => Ok(None),
        Err(error) => Err(error),
    }
}

/// What a segment whose footer stands there says of its making.
pub(super) fn origin_at(segment: &Segment, frames_end: u32, file_len: u32) -> Result<Option<Origin>> {
    let extent = SealedExtent { frames_end, file_len, last_seq: Seq(0), is_compacted: true };
    match read_footer(segment, extent).and_then(|footer| footer.origin()) {
        Ok(origin) => Ok(origin),
        Err(error) if error.kind() == ErrorKind::Corruption => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where frames and footer of an original segment end, if it has one; of damaged frames the footer says the last number.
fn sealed_extent(source: &Source) -> Result<Option<SealedExtent>> {
    let found = source.footer_at.and_then(|at| Some((at, u32::try_from(source.file_len).ok()?)));
    let Some((frames_end, file_len)) = found else { return Ok(None) };
    let segment = &source.segment;
    let copy = Segment::new(segment.id, segment.uid, segment.path.clone(), Arc::clone(&segment.file));
    let extent = SealedExtent { frames_end, file_len, last_seq: Seq(0), is_compacted: false };
    copy.set_extent(extent);
    match replay_again(&Arc::new(copy), &mut ScanCounts::default(), &mut |_, _, _| Ok(())) {
        Ok(last_seq) => Ok(Some(SealedExtent { last_seq, ..extent })),
        Err(error) if error.kind() == ErrorKind::Corruption => {
            let footer = read_footer(segment, extent).and_then(|footer| numbers(&footer));
            Ok(footer.ok().flatten().map(|(_, last_seq)| SealedExtent { last_seq, ..extent }))
        }
        Err(error) => Err(error),
    }
}

/// The first and the last number of which the footer of an original segment tells.
pub(super) fn numbers(footer: &Footer) -> Result<Option<(Seq, Seq)>> {
    let mut numbers: Vec<Seq> = footer.system()?.iter().map(|row| row.seq).collect();
    if let Some(last) = footer.len().checked_sub(1) {
        numbers.extend([footer.seq(Ordinal(0))?, footer.seq(Ordinal(last))?]);
    }
    Ok(numbers.iter().min().copied().zip(numbers.iter().max().copied()))
}
