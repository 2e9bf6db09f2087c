//! The first pass: in each segment, which bytes are frames that verify, and which are not. What is found is noted in pieces,
//! one from one damaged place to the next, so that memory follows the damage and not the log.

use nadb_core::{Result, SegmentUid, Seq};

use super::blobs::Blobs;
use super::copies::{Copies, scan_copies};
use super::examine::{Broken, Lost};
use super::names::Names;
use super::sources::Source;
use crate::frame::{FRAME_HEADER_MAX, Frame, FrameError, FrameHeader, FrameKind, could_begin};
use crate::replay::{Opening, read_error, read_opening};
use crate::segment::{SEGMENT_HEADER, Segment};
use crate::window::Window;

/// Frames that follow one another without a hole in their numbers, or one record of a damaged frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) offset: u32,
    pub(super) end: u32,
    /// Where there is no number, `first` is the next one.
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) is_record: bool,
}

impl Piece {
    /// Of a compacted segment, where numbers do not follow one another.
    pub(super) fn copies() -> Piece {
        Piece { offset: 0, end: 0, first: Seq(0), last: Seq(0), is_record: false }
    }
}

/// Bytes that are no frames.
#[derive(Debug, Clone)]
pub(super) struct Region {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Records in it have numbers above `low`, up to `high`.
    pub(super) low: Seq,
    pub(super) high: Seq,
    pub(super) what: String,
}

/// A segment and what is in it.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) source: Source,
    pub(super) opening: Option<Opening>,
    pub(super) pieces: Vec<Piece>,
    pub(super) regions: Vec<Region>,
    /// Whole records in the pieces whose blobs are not whole, and the batches that lose them.
    pub(super) lost: Vec<Lost>,
    pub(super) broken: Vec<Broken>,
    /// Of a compacted segment.
    pub(super) copies: Option<Copies>,
}

/// All segments and what is in them.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) segments: Vec<Scanned>,
    /// The highest number that was durable, for all that can be known.
    pub(super) durable_upto: Seq,
    pub(super) names: Names,
    /// Segments, and frames of others, that an earlier opening had cut off.
    pub(super) stale_segments: u64,
    pub(super) stale_frames: u64,
}

/// Reads all segments, and the blobs that their frames refer to. `durable_upto` is what is known of it beforehand.
pub(super) fn scan(sources: Vec<Source>, durable_upto: Seq, blobs: &mut Blobs<'_>) -> Result<Scan> {
    let mut openings = Vec::new();
    for source in &sources {
        let has_frames = source.len > u64::from(SEGMENT_HEADER) && !source.is_compacted;
        openings.push(if has_frames { read_opening(&source.segment, source.len)? } else { None });
    }
    // A segment that follows number k says that whatever lower segments hold above k had been cut off.
    let mut limits = vec![Seq(u64::MAX); sources.len()];
    let mut limit = Seq(u64::MAX);
    for (opening, slot) in openings.iter().zip(limits.iter_mut()).rev() {
        *slot = limit;
        limit = opening.as_ref().map_or(limit, |opening| limit.min(opening.follows));
    }
    let mut scan = Scan { durable_upto, ..Scan::default() };
    let mut last = Seq(0);
    for ((source, opening), limit) in sources.into_iter().zip(openings).zip(limits) {
        if source.is_compacted {
            let scanned = scan_copies(source, &mut scan, blobs)?;
            scan.segments.push(scanned);
            continue;
        }
        if opening.as_ref().is_some_and(|opening| opening.follows > limit) {
            // An opening had dropped it, and a crash brought its name back.
            scan.stale_segments += 1;
            continue;
        }
        let mut scanner = Scanner {
            window: Window::new(&*source.segment.file, source.len),
            segment: &source.segment,
            len: source.len,
            last: opening.as_ref().map_or(last, |opening| last.max(opening.base.previous())),
            limit,
            pieces: Vec::new(),
            regions: Vec::new(),
            lost: Vec::new(),
            broken: Vec::new(),
            scan: &mut scan,
            blobs: &mut *blobs,
        };
        let start = opening.as_ref().map_or(SEGMENT_HEADER, |opening| opening.end);
        scanner.run(start)?;
        let Scanner { pieces, regions, lost, broken, .. } = scanner;
        last = pieces.last().map_or(last, |piece| last.max(piece.last));
        if let Some(opening) = &opening {
            scan.durable_upto = scan.durable_upto.max(opening.durable_upto);
        }
        scan.segments.push(Scanned { source, opening, pieces, regions, lost, broken, copies: None });
    }
    Ok(scan)
}

struct Scanner<'a, 'b> {
    window: Window<'a>,
    segment: &'a Segment,
    len: u64,
    /// The highest number so far.
    last: Seq,
    limit: Seq,
    pieces: Vec<Piece>,
    regions: Vec<Region>,
    lost: Vec<Lost>,
    broken: Vec<Broken>,
    scan: &'a mut Scan,
    blobs: &'a mut Blobs<'b>,
}

impl Scanner<'_, '_> {
    fn run(&mut self, start: u32) -> Result<()> {
        let mut at = start;
        while u64::from(at) < self.len {
            at = match self.frame_at(at)? {
                Ok(header) if !is_appended(header.kind) => {
                    self.region(at, &"a frame stands in the middle that is none of a log's")?
                }
                Ok(header) => {
                    let end = at.saturating_add(frame_len(&header));
                    self.take(at, end, &header);
                    end
                }
                Err(why) if at == SEGMENT_HEADER => {
                    self.region(at, &format!("no opening frame verifies: {why}"))?
                }
                Err(why) => self.region(at, &why)?,
            };
        }
        Ok(())
    }

    /// The frame at `at`, if it verifies; its records are noted if it is to be kept.
    fn frame_at(&mut self, at: u32) -> Result<Result<FrameHeader, FrameError>> {
        let read = |e| read_error(self.segment, at, e);
        let header =
            match FrameHeader::decode(self.window.bytes(u64::from(at), FRAME_HEADER_MAX).map_err(read)?) {
                Ok(header) => header,
                Err(why) => return Ok(Err(why)),
            };
        if u64::from(at) + header.frame_len() > self.len {
            return Ok(Err(FrameError::Short));
        }
        let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        let bytes = self.window.bytes(u64::from(at), len).map_err(read)?;
        match Frame::verify(bytes, self.segment.uid, at) {
            Ok(frame) => {
                if is_appended(header.kind) && fits(&header, self.last, self.limit) {
                    let before = self.lost.len();
                    for (offset, record) in frame.records() {
                        match self.blobs.lost_value(&record, offset)? {
                            Some(lost) => self.lost.push(lost),
                            None => self.scan.names.see(&record),
                        }
                    }
                    let lost = (self.lost.len() - before) as u64;
                    let kept = u64::from(header.count) - lost;
                    if lost > 0 && kept > 0 {
                        self.broken.push(Broken { offset: at, records: Some(header.count), kept });
                    }
                }
                Ok(Ok(header))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    /// Notes a frame that verifies.
    fn take(&mut self, at: u32, end: u32, header: &FrameHeader) {
        self.scan.durable_upto = self.scan.durable_upto.max(header.durable_upto);
        if !fits(header, self.last, self.limit) {
            self.scan.stale_frames += 1;
            return;
        }
        let (first, last) = (header.first_seq, header.last_seq());
        match self.pieces.last_mut() {
            Some(piece) if piece.end == at && piece.last.next() == first => {
                piece.end = end;
                piece.last = last;
            }
            _ => self.pieces.push(Piece { offset: at, end, first, last, is_record: false }),
        }
        self.last = self.last.max(last);
    }

    /// Notes the bytes from `start` to the next frame that verifies, and gives where that stands.
    fn region(&mut self, start: u32, what: &dyn std::fmt::Display) -> Result<u32> {
        let next = self.next_frame(start.saturating_add(1))?;
        #[expect(clippy::cast_possible_truncation, reason = "the length is at most that of a segment")]
        let end = next.map_or(self.len as u32, |(at, _)| at);
        let high = next.map_or(self.limit, |(_, header)| header.first_seq.previous());
        self.regions.push(Region { start, end, low: self.last, high, what: what.to_string() });
        Ok(end)
    }

    /// The next frame from `at` on that verifies and can be kept. Every offset is tried; zeros are passed over at once.
    fn next_frame(&mut self, mut at: u32) -> Result<Option<(u32, FrameHeader)>> {
        while u64::from(at) < self.len {
            let read = |e| read_error(self.segment, at, e);
            let bytes = self.window.bytes(u64::from(at), FRAME_HEADER_MAX).map_err(read)?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            if zeros > 4 {
                at = at.saturating_add(u32::try_from(zeros - 4).unwrap_or(1));
                continue;
            }
            if could_begin(bytes)
                && let Ok(header) = FrameHeader::decode(bytes)
                && is_appended(header.kind)
                && fits(&header, self.last, self.limit)
                && u64::from(at) + header.frame_len() <= self.len
            {
                let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
                let bytes = self.window.bytes(u64::from(at), len).map_err(read)?;
                if verifies(bytes, self.segment.uid, at) {
                    return Ok(Some((at, header)));
                }
            }
            at = at.saturating_add(1);
        }
        Ok(None)
    }
}

fn verifies(bytes: &[u8], uid: SegmentUid, at: u32) -> bool {
    Frame::verify(bytes, uid, at).is_ok()
}

/// Whether such a frame can stand behind the opening one.
fn is_appended(kind: FrameKind) -> bool {
    !matches!(kind, FrameKind::Opening | FrameKind::Copies)
}

/// Whether a frame's numbers come behind `last`, and before whatever was cut off.
fn fits(header: &FrameHeader, last: Seq, limit: Seq) -> bool {
    header.first_seq > last && header.last_seq() <= limit
}

pub(super) fn frame_len(header: &FrameHeader) -> u32 {
    u32::try_from(header.frame_len()).unwrap_or(u32::MAX)
}
