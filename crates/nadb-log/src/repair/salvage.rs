//! The second pass: salvaged records, in the order of their numbers.

use std::collections::{BTreeSet, HashMap};

use nadb_core::{BlobId, NamespaceId, Result, Seq};

use super::blobs::{Blobs, reference};
use super::names::Settled;
use super::output::Output;
use super::scan::{Piece, Scan, frame_len};
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
    for scanned in &scan.segments {
        let segment = &*scanned.source.segment;
        let mut window = Window::new(&*segment.file, scanned.source.len);
        for piece in &scanned.pieces {
            let mut at = piece.offset;
            while at < piece.end {
                let found = read(&mut window, segment, piece, at)?;
                for (record, offset, bytes) in &found.records {
                    let is_drop = record.kind == RecordKind::NamespaceDrop;
                    let is_skipped = settled.skipped.contains(&record.namespace) && !is_drop;
                    if is_skipped || blobs.has_lost_value(record) {
                        continue;
                    }
                    salvaged.records += 1;
                    salvaged.blobs.extend(reference(record).map(|(id, _)| id));
                    note(newest, record);
                    if let Some(output) = output.as_deref_mut() {
                        output.add(record, bytes, record.raw_crc(segment.uid, *offset), found.time_ms)?;
                    }
                }
                if let Some(output) = output.as_deref_mut() {
                    output.end_frame()?;
                }
                at = found.end;
            }
        }
    }
    Ok(salvaged)
}

fn note(newest: &mut Newest, record: &RecordRef<'_>) {
    use RecordKind::{BlobReference, Tombstone, Value};
    if newest.is_empty() || !matches!(record.kind, Value | Tombstone | BlobReference) {
        return;
    }
    if let Some(slot) = newest.get_mut(&(record.namespace, record.key.to_vec())) {
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
