//! Compacted segments: which of their bytes are frames that verify, and which records are lost. Numbers say nothing of the order
//! here, so a record is believed by its checksum alone; a whole footer says what had been there.

use std::collections::BTreeSet;
use std::sync::Arc;

use nadb_core::{ErrorKind, NamespaceId, Rank, Result, Seq};

use super::blobs::Blobs;
use super::check::{Contents, check_sealed};
use super::examine::Lost;
use super::report::LostKind;
use super::scan::{Piece, Region, Scan, Scanned, frame_len};
use super::sources::Source;
use crate::footer::Footer;
use crate::frame::{FRAME_HEADER_MAX, Frame, FrameError, FrameHeader, FrameKind, could_begin};
use crate::record::RecordKind;
use crate::replay::{ScanCounts, read_error};
use crate::row::RowCursor;
use crate::seal::read_footer;
use crate::segment::{SEGMENT_HEADER, Segment};
use crate::window::Window;

/// What is known of a compacted segment beside its pieces.
#[derive(Debug, Default)]
pub(super) struct Copies {
    pub(super) namespaces: BTreeSet<NamespaceId>,
    pub(super) highest: Seq,
    /// Records and footer are whole: it need not be written anew.
    pub(super) is_whole: bool,
    /// Without a footer, nothing says what had been there.
    pub(super) has_unknown: bool,
}

/// Frames of copies in a file.
pub(super) struct Reader<'a> {
    segment: &'a Segment,
    window: Window<'a>,
    len: u64,
}

impl<'a> Reader<'a> {
    /// Reads the first `len` bytes of a segment.
    pub(super) fn new(segment: &'a Segment, len: u64) -> Reader<'a> {
        Reader { segment, window: Window::new(&*segment.file, len), len }
    }

    /// The frame at an offset, if it verifies.
    fn frame_at(&mut self, at: u32) -> Result<Result<Frame<'_>, FrameError>> {
        let read = |e| read_error(self.segment, at, e);
        let header = self.window.bytes(u64::from(at), FRAME_HEADER_MAX).map_err(read)?;
        let header = match FrameHeader::decode(header) {
            Ok(header) if header.kind != FrameKind::Copies => {
                return Ok(Err(FrameError::Malformed("kind (one that does not stand here)")));
            }
            Ok(header) if u64::from(at) + header.frame_len() > self.len => return Ok(Err(FrameError::Short)),
            Ok(header) => header,
            Err(why) => return Ok(Err(why)),
        };
        let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        let bytes = self.window.bytes(u64::from(at), len).map_err(read)?;
        Ok(Frame::verify_behind(header, bytes, self.segment.uid, at))
    }

    /// The next frame from `at` on that verifies. Every offset is tried; zeros are passed over at once.
    fn next_frame(&mut self, mut at: u32) -> Result<Option<u32>> {
        while u64::from(at) < self.len {
            let read = |e| read_error(self.segment, at, e);
            let bytes = self.window.bytes(u64::from(at), FRAME_HEADER_MAX).map_err(read)?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            if zeros > 4 {
                at = at.saturating_add(u32::try_from(zeros - 4).unwrap_or(1));
                continue;
            }
            if could_begin(bytes) && self.frame_at(at)?.is_ok() {
                return Ok(Some(at));
            }
            at = at.saturating_add(1);
        }
        Ok(None)
    }

    /// Where the last frame ends that verifies, and the highest number of all of them; `None` where there is none.
    pub(super) fn extent(&mut self) -> Result<Option<(u32, Seq)>> {
        let (mut at, mut found) = (SEGMENT_HEADER, None);
        while u64::from(at) < self.len {
            at = match self.frame_at(at)? {
                Ok(frame) => {
                    let highest = frame.records().map(|(_, record)| record.seq).max().unwrap_or_default();
                    let end = at.saturating_add(frame_len(&frame.header));
                    let before = found.map_or(Seq(0), |(_, before)| before);
                    found = Some((end, highest.max(before)));
                    end
                }
                Err(_) => match self.next_frame(at.saturating_add(1))? {
                    Some(next) => next,
                    None => break,
                },
            };
        }
        Ok(found)
    }

    /// Whether any frame of copies verifies.
    pub(super) fn has_frames(&mut self) -> Result<bool> {
        Ok(self.next_frame(SEGMENT_HEADER)?.is_some())
    }
}

/// Reads a compacted segment, and the blobs that its records refer to.
pub(super) fn scan_copies(source: Source, scan: &mut Scan, blobs: &mut Blobs<'_>) -> Result<Scanned> {
    let segment = Arc::clone(&source.segment);
    let mut reader = Reader::new(&segment, source.len);
    let high = source.high;
    let (mut copies, mut pieces, mut regions, mut lost) =
        (Copies::default(), Vec::<Piece>::new(), Vec::new(), Vec::new());
    let mut at = SEGMENT_HEADER;
    while u64::from(at) < source.len {
        let what = match reader.frame_at(at)? {
            Ok(frame) => {
                for (offset, record) in frame.records() {
                    copies.highest = copies.highest.max(record.seq);
                    copies.namespaces.insert(record.namespace);
                    match blobs.lost_value(&record, offset)? {
                        Some(one) => lost.push(one),
                        None => scan.names.see(&record),
                    }
                }
                let end = at.saturating_add(frame_len(&frame.header));
                match pieces.last_mut() {
                    Some(piece) if piece.end == at => piece.end = end,
                    _ => pieces.push(Piece { offset: at, end, ..Piece::copies() }),
                }
                at = end;
                continue;
            }
            Err(why) => why.to_string(),
        };
        let next = reader.next_frame(at.saturating_add(1))?;
        let end = next.unwrap_or_else(|| u32::try_from(source.len).unwrap_or(u32::MAX));
        regions.push(Region { start: at, end, low: Seq(0), high, what });
        at = end;
    }
    let is_cut = source.footer_at.is_some_and(|at| source.len < u64::from(at));
    if regions.is_empty() && lost.is_empty() && !is_cut {
        copies.is_whole = source.is_in_place && !source.is_partial && is_confirmed(&segment)?;
    }
    copies.has_unknown = is_cut || source.footer_at.is_none();
    drop(reader);
    let (copies, opening, broken) = (Some(copies), None, Vec::new());
    Ok(Scanned { source, opening, pieces, regions, lost, broken, copies })
}

/// Whether footer and records say the same.
fn is_confirmed(segment: &Arc<Segment>) -> Result<bool> {
    let Some(extent) = segment.extent() else { return Ok(false) };
    let checked = check_sealed(segment, extent, &mut ScanCounts::default(), &mut Contents::default())?;
    Ok(matches!(checked, Some(Ok(()))))
}

/// The footer of a segment, where it is whole.
///
/// # Errors
/// `Version` for one that needs another build, and `Io`.
pub(super) fn whole_footer(segment: &Segment) -> Result<Option<Arc<Footer>>> {
    let Some(extent) = segment.extent() else { return Ok(None) };
    match read_footer(segment, extent).map(Arc::new).and_then(|footer| footer.check_all().map(|()| footer)) {
        Ok(footer) => Ok(Some(footer)),
        Err(error) if error.kind() == ErrorKind::Corruption => Ok(None),
        Err(error) => Err(error),
    }
}

/// The records that a whole footer tells of, in damaged places where none of `saved` is theirs.
pub(super) fn told(footer: &Arc<Footer>, regions: &[Region], saved: &BTreeSet<u32>) -> Result<Vec<Lost>> {
    let is_gone = |offset: u32| {
        let is_in = |region: &Region| (region.start..region.end).contains(&offset);
        regions.iter().any(is_in) && !saved.contains(&offset)
    };
    let mut all = Vec::new();
    let lost = |seq: Seq, offset, kind: RecordKind, namespace, key: &[u8]| Lost {
        offset,
        seq: Some(seq),
        older_upto: seq.previous(),
        kind: LostKind::of(kind),
        namespace,
        key: key.to_vec(),
        blob: None,
    };
    let mut cursor = footer.cursor(Rank(0))?;
    while let Some((namespace, key)) = cursor.key() {
        let row = footer.meta(cursor.ordinal())?;
        if is_gone(row.offset) {
            all.push(Lost { blob: row.blob, ..lost(row.seq, row.offset, row.kind, namespace, key) });
        }
        cursor.next()?;
    }
    for row in footer.system()?.iter().filter(|row| is_gone(row.offset)) {
        all.push(lost(row.seq, row.offset, row.kind, row.namespace, &row.content));
    }
    Ok(all)
}
