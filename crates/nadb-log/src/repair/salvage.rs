//! The second pass: salvaged records, in the order of their numbers, and then those of compacted segments as they stand.

use std::collections::{BTreeSet, HashMap};

use nadb_core::{BlobId, NamespaceId, Result, Seq};

use super::blobs::{Blobs, reference};
use super::copies::Copies;
use super::names::Settled;
use super::output::Output;
use super::scan::{Piece, Scan, Scanned, frame_len};
use crate::frame::{FRAME_HEADER_MAX, Frame, FrameHeader};
use crate::record::{RecordKind, RecordRef};
use crate::replay::read_error;
use crate::segment::Segment;
use crate::window::Window;

/// For each key of a lost record: the newest salvaged record, and whether it is a value.
pub(super) type Newest = HashMap<(NamespaceId, Vec<u8>), Option<(Seq, bool)>>;

/// What was salvaged.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    pub(super) records: u64,
    /// The blobs that these records refer to.
    pub(super) blobs: BTreeSet<BlobId>,
}

/// Shows every salvaged record that stays to `newest` and, if there is one, to `output`.
pub(super) fn salvage(
    scan: &Scan,
    blobs: &Blobs<'_>,
    settled: &Settled,
    newest: &mut Newest,
    mut output: Option<&mut Output<'_>>,
) -> Result<Salvaged> {
    let mut salvaged = Salvaged::default();
    let mut save = |record: &RecordRef<'_>| {
        let is_drop = record.kind == RecordKind::NamespaceDrop;
        let is_skipped = settled.skipped.contains(&record.namespace) && !is_drop;
        if is_skipped || blobs.has_lost_value(record) {
            return false;
        }
        salvaged.records += 1;
        salvaged.blobs.extend(reference(record).map(|(id, _)| id));
        note(newest, record);
        true
    };
    // Copies last: where a number comes twice, the higher segment has what counts.
    for scanned in scan.segments.iter().filter(|scanned| scanned.copies.is_none()) {
        for_each_together(scanned, &mut |found| {
            for (record, offset, bytes) in found.records.iter().filter(|(record, ..)| save(record)) {
                if let Some(output) = output.as_deref_mut() {
                    let crc = record.raw_crc(scanned.source.segment.uid, *offset);
                    output.add(record, bytes, crc, found.time_ms)?;
                }
            }
            output.as_deref_mut().map_or(Ok(()), Output::end_frame)
        })?;
    }
    output.as_deref_mut().map_or(Ok(()), Output::end_originals)?;
    for scanned in scan.segments.iter().filter(|scanned| scanned.copies.is_some()) {
        let mut output = output.as_deref_mut().filter(|_| !scanned.stays(settled));
        for_each_record(scanned, &mut |record, offset, bytes, _| {
            if let (true, Some(output)) = (save(record), output.as_deref_mut()) {
                output.add_copy(record, bytes, record.raw_crc(scanned.source.segment.uid, offset))?;
            }
            Ok(())
        })?;
        output.map_or(Ok(()), Output::end_copies)?;
    }
    Ok(salvaged)
}

impl Scanned {
    /// Whether it is a compacted segment that stays as it is.
    pub(super) fn stays(&self, settled: &Settled) -> bool {
        let is_untouched =
            |copies: &Copies| copies.is_whole && copies.namespaces.is_disjoint(&settled.skipped);
        self.copies.as_ref().is_some_and(is_untouched)
    }
}

/// Receives a record, its offset, its bytes and when its frame was written.
pub(super) type OnRecord<'a> = dyn FnMut(&RecordRef<'_>, u32, &[u8], u64) -> Result<()> + 'a;

/// Shows every record of a segment that verifies.
pub(super) fn for_each_record(scanned: &Scanned, show: &mut OnRecord<'_>) -> Result<()> {
    for_each_together(scanned, &mut |found| {
        let mut records = found.records.iter();
        records.try_for_each(|(record, offset, bytes)| show(record, *offset, bytes, found.time_ms))
    })
}

fn for_each_together(scanned: &Scanned, show: &mut dyn FnMut(&Together<'_>) -> Result<()>) -> Result<()> {
    let segment = &*scanned.source.segment;
    let mut window = Window::new(&*segment.file, scanned.source.len);
    for piece in &scanned.pieces {
        let mut at = piece.offset;
        while at < piece.end {
            let found = read(&mut window, segment, piece, at)?;
            show(&found)?;
            at = found.end;
        }
    }
    Ok(())
}

fn note(newest: &mut Newest, record: &RecordRef<'_>) {
    use RecordKind::{BlobReference, Tombstone, Value};
    if newest.is_empty() || !matches!(record.kind, Value | Tombstone | BlobReference) {
        return;
    }
    let slot = newest.get_mut(&(record.namespace, record.key.to_vec()));
    if let Some(slot) = slot.filter(|slot| slot.is_none_or(|(seq, _)| seq <= record.seq)) {
        *slot = Some((record.seq, record.kind != Tombstone));
    }
}

/// Records that stand together, each with its offset and bytes.
struct Together<'a> {
    records: Vec<(RecordRef<'a>, u32, &'a [u8])>,
    time_ms: u64,
    end: u32,
}

/// The frame, or the single record, at `at`. It verified a moment ago.
fn read<'a>(window: &'a mut Window<'_>, segment: &Segment, piece: &Piece, at: u32) -> Result<Together<'a>> {
    let failed = |e| read_error(segment, at, e);
    let changed = || segment.corruption(u64::from(at), "these bytes changed while they were read");
    if piece.is_record {
        let len = (piece.end - piece.offset) as usize;
        let bytes = window.bytes(u64::from(at), len).map_err(failed)?;
        let record = RecordRef::verify(bytes, segment.uid, at).map_err(|_| changed())?;
        let time_ms = record.updated_ms;
        return Ok(Together { records: vec![(record, at, bytes)], time_ms, end: piece.end });
    }
    let bytes = window.bytes(u64::from(at), FRAME_HEADER_MAX).map_err(failed)?;
    let header = FrameHeader::decode(bytes).map_err(|_| changed())?;
    let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
    let bytes = window.bytes(u64::from(at), len).map_err(failed)?;
    let frame = Frame::verify(bytes, segment.uid, at).map_err(|_| changed())?;
    let with_bytes = |(offset, record): (u32, RecordRef<'a>)| {
        let from = (offset - at) as usize;
        Some((record, offset, bytes.get(from..from + record.len())?))
    };
    let records = frame.records().filter_map(with_bytes).collect();
    Ok(Together { records, time_ms: header.time_ms, end: at.saturating_add(frame_len(&header)) })
}
