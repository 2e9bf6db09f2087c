//! Reading the frames of one segment in order, and searching for frames where order has ended.

use std::sync::Arc;

use nadb_core::{Location, Result, SegmentUid, Seq};

use crate::frame::{FRAME_HEADER_MAX, Frame, FrameError, FrameHeader, FrameKind, could_begin};
use crate::record::RecordRef;
use crate::segment::{SEGMENT_HEADER, Segment};
use crate::window::Window;

/// What a scan has read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ScanCounts {
    /// Frames, opening frames and end marks included.
    pub frames: u64,
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

/// Receives the records of verified frames.
pub(crate) type OnRecord<'a> = dyn FnMut(&RecordRef<'_>, Location, &Arc<Segment>) -> Result<()> + 'a;

/// How far the frames of a segment follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    /// Behind the last frame that verified.
    pub(crate) offset: u32,
    /// Why the bytes there are no next frame; `None` where the file ends.
    pub(crate) why: Option<FrameError>,
    /// The last number so far.
    pub(crate) last_seq: Seq,
    /// The number that the next frame must have.
    pub(crate) next_seq: Seq,
    /// The highest `durable_upto` of the frames.
    pub(crate) durable_upto: Seq,
}

/// The opening frame of a segment: `None` for a spare.
#[derive(Debug)]
pub(crate) struct Opening {
    pub(crate) follows: Seq,
    pub(crate) base: Seq,
    pub(crate) end: u32,
    pub(crate) durable_upto: Seq,
}

/// Reads a segment's opening frame.
///
/// # Errors
/// `Io`: a medium that cannot be read is never taken for an end.
pub(crate) fn read_opening(segment: &Segment, file_len: u64) -> Result<Option<Opening>> {
    let mut window = Window::new(&*segment.file, file_len);
    let at = SEGMENT_HEADER;
    let bytes = window.bytes(u64::from(at), FRAME_HEADER_MAX + 8).map_err(|e| read_error(segment, at, e))?;
    let Ok(frame) = Frame::verify(bytes, segment.uid, at) else { return Ok(None) };
    Ok(frame.follows().map(|follows| Opening {
        follows,
        base: frame.header.first_seq,
        #[expect(clippy::cast_possible_truncation, reason = "an opening frame is shorter than 64 bytes")]
        end: at + frame.header.frame_len() as u32,
        durable_upto: frame.header.durable_upto,
    }))
}

impl SegmentEnd {
    /// The end as long as no frame behind the opening one has been read.
    pub(crate) fn behind(opening: &Opening) -> SegmentEnd {
        SegmentEnd {
            offset: opening.end,
            why: None,
            last_seq: opening.follows,
            next_seq: opening.base,
            durable_upto: opening.durable_upto,
        }
    }
}

/// Reads the frames behind `end`, in order, and hands their records to `on_record` once a frame is whole.
///
/// # Errors
/// `Io`, and whatever `on_record` answers.
pub(crate) fn replay_frames(
    segment: &Arc<Segment>,
    file_len: u64,
    mut end: SegmentEnd,
    counts: &mut ScanCounts,
    on_record: &mut OnRecord<'_>,
) -> Result<SegmentEnd> {
    let mut window = Window::new(&*segment.file, file_len);
    while u64::from(end.offset) < file_len {
        let read = |e| read_error(segment, end.offset, e);
        let header = window.bytes(u64::from(end.offset), FRAME_HEADER_MAX).map_err(read)?;
        let frame = match FrameHeader::decode(header) {
            Ok(header) if u64::from(end.offset) + header.frame_len() > file_len => Err(FrameError::Short),
            Ok(header) if header.first_seq != end.next_seq => {
                Err(FrameError::Sequence { expected: end.next_seq, found: header.first_seq })
            }
            Ok(header) => {
                let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
                let bytes = window.bytes(u64::from(end.offset), len).map_err(read)?;
                Frame::verify_behind(header, bytes, segment.uid, end.offset)
            }
            Err(e) => Err(e),
        };
        match frame {
            Ok(frame) if !matches!(frame.header.kind, FrameKind::Opening | FrameKind::Copies) => {
                let header = frame.header;
                if header.kind == FrameKind::Data {
                    for (offset, record) in frame.records() {
                        #[expect(
                            clippy::cast_possible_truncation,
                            reason = "bounded by the frame's u32 length"
                        )]
                        let at = Location { segment: segment.id, offset, len: record.len() as u32 };
                        on_record(&record, at, segment)?;
                    }
                    segment.add_records(header.first_seq, header.count);
                    counts.records += u64::from(header.count);
                }
                counts.frames += 1;
                end.durable_upto = end.durable_upto.max(header.durable_upto);
                if header.count > 0 {
                    end.last_seq = header.last_seq();
                    end.next_seq = end.last_seq.next();
                }
                end.offset = end.offset.saturating_add(u32::try_from(header.frame_len()).unwrap_or(u32::MAX));
            }
            Ok(_) => {
                end.why = Some(FrameError::Malformed("kind (one that does not stand here)"));
                break;
            }
            Err(why) => {
                end.why = Some(why);
                break;
            }
        }
    }
    Ok(end)
}

/// Reads all frames of a segment again, by positioned reads, up to where they end now; every checksum must hold. Gives the
/// last number up to there, 0 for a spare. The segment's own counts stay as they are.
///
/// # Errors
/// `Corruption` with file and offset, `Io`, and whatever `on_record` answers.
pub(crate) fn replay_again(
    segment: &Arc<Segment>,
    counts: &mut ScanCounts,
    on_record: &mut OnRecord<'_>,
) -> Result<Seq> {
    let len = segment.bytes();
    if len == u64::from(SEGMENT_HEADER) {
        return Ok(Seq(0));
    }
    let file_len = segment.file.len().map_err(|e| segment.io("reading a segment", e))?;
    if file_len < len {
        return Err(
            segment.corruption(file_len, format!("the file has {file_len} bytes, its frames take {len}"))
        );
    }
    if segment.is_compacted() {
        return read_copies(segment, len, counts, on_record);
    }
    let opening = read_opening(segment, len)?
        .ok_or_else(|| segment.corruption(u64::from(SEGMENT_HEADER), "the opening frame does not verify"))?;
    let copy = Segment::new(segment.id, segment.uid, segment.path.clone(), Arc::clone(&segment.file));
    counts.frames += 1;
    let end = replay_frames(&Arc::new(copy), len, SegmentEnd::behind(&opening), counts, on_record)?;
    counts.bytes += u64::from(end.offset);
    match end.why {
        Some(why) => Err(segment.corruption(u64::from(end.offset), why)),
        None => Ok(end.last_seq),
    }
}

/// Reads all frames of a compacted segment; gives the highest number.
fn read_copies(
    segment: &Arc<Segment>,
    len: u64,
    counts: &mut ScanCounts,
    on_record: &mut OnRecord<'_>,
) -> Result<Seq> {
    let mut window = Window::new(&*segment.file, len);
    let (mut at, mut highest) = (SEGMENT_HEADER, Seq(0));
    while u64::from(at) < len {
        let read = |e| read_error(segment, at, e);
        let corrupt = |e: FrameError| segment.corruption(u64::from(at), e);
        let header = window.bytes(u64::from(at), FRAME_HEADER_MAX).map_err(read)?;
        let header = FrameHeader::decode(header).map_err(corrupt)?;
        if u64::from(at) + header.frame_len() > len {
            return Err(corrupt(FrameError::Short));
        }
        if header.kind != FrameKind::Copies {
            return Err(corrupt(FrameError::Malformed("kind (one that does not stand here)")));
        }
        let frame_len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
        let bytes = window.bytes(u64::from(at), frame_len).map_err(read)?;
        let frame = Frame::verify_behind(header, bytes, segment.uid, at).map_err(corrupt)?;
        for (offset, record) in frame.records() {
            highest = highest.max(record.seq);
            let len = u32::try_from(record.len()).unwrap_or(u32::MAX);
            on_record(&record, Location { segment: segment.id, offset, len }, segment)?;
        }
        counts.frames += 1;
        counts.records += u64::from(header.count);
        at = at.saturating_add(u32::try_from(header.frame_len()).unwrap_or(u32::MAX));
    }
    counts.bytes += len;
    Ok(highest)
}

/// The highest `durable_upto` of any frame that verifies anywhere in `from..file_len`, if above `known`.
///
/// Behind a bad frame there is no order to follow, so every offset is tried. Runs of zeros are passed over at once, and a
/// frame that could not raise the answer is not summed.
pub(crate) fn search_durable(segment: &Segment, from: u32, file_len: u64, known: Seq) -> Result<Seq> {
    let mut window = Window::new(&*segment.file, file_len);
    let mut highest = known;
    let mut offset = from;
    while u64::from(offset) < file_len {
        let bytes =
            window.bytes(u64::from(offset), FRAME_HEADER_MAX).map_err(|e| read_error(segment, offset, e))?;
        let mut zeros = leading_zeros(bytes);
        if zeros == bytes.len() {
            // Most likely blocks that were reserved, and there may be many.
            let more =
                window.bytes(u64::from(offset), 64 << 10).map_err(|e| read_error(segment, offset, e))?;
            zeros = leading_zeros(more);
            if zeros == more.len() {
                zeros = zeros.max(unwritten(segment, offset)?);
            }
        }
        // A frame whose checksum begins with zeros still has its kind in the fifth byte.
        if zeros > 4 {
            offset = offset.saturating_add(u32::try_from(zeros - 4).unwrap_or(u32::MAX));
            continue;
        }
        let bytes =
            window.bytes(u64::from(offset), FRAME_HEADER_MAX).map_err(|e| read_error(segment, offset, e))?;
        if could_begin(bytes)
            && let Ok(header) = FrameHeader::decode(bytes)
            && header.durable_upto > highest
            && u64::from(offset) + header.frame_len() <= file_len
        {
            let len = usize::try_from(header.frame_len()).unwrap_or(usize::MAX);
            let bytes = window.bytes(u64::from(offset), len).map_err(|e| read_error(segment, offset, e))?;
            if verifies(bytes, segment.uid, offset) {
                highest = header.durable_upto;
            }
        }
        offset = offset.saturating_add(1);
    }
    Ok(highest)
}

fn leading_zeros(bytes: &[u8]) -> usize {
    let (chunks, _) = bytes.as_chunks::<64>();
    let is_zero = |chunk: &&[u8; 64]| chunk.iter().fold(0, |all, byte| all | byte) == 0;
    let whole = chunks.iter().take_while(is_zero).count() * 64;
    whole + bytes.iter().skip(whole).take_while(|byte| **byte == 0).count()
}

/// How many bytes from `offset` on were never written, for all that the file system tells without being asked for them.
fn unwritten(segment: &Segment, offset: u32) -> Result<usize> {
    let next = segment.file.next_data(u64::from(offset)).map_err(|e| read_error(segment, offset, e))?;
    Ok(usize::try_from(next.saturating_sub(u64::from(offset))).unwrap_or(usize::MAX))
}

/// How many bytes behind `from` were written, for all that can be seen: up to the last one that is not zero. What follows was
/// reserved and not used.
pub(crate) fn written_behind(segment: &Segment, from: u32, file_len: u64) -> Result<u64> {
    let mut window = Window::new(&*segment.file, file_len);
    let (mut at, mut written) = (from, 0);
    while u64::from(at) < file_len {
        let bytes = window.bytes(u64::from(at), 64 << 10).map_err(|e| read_error(segment, at, e))?;
        let mut len = bytes.len();
        if leading_zeros(bytes) == len {
            len = len.max(unwritten(segment, at)?);
        } else if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
            written = u64::from(at - from) + last as u64 + 1;
        }
        at = at.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
    }
    Ok(written)
}

fn verifies(bytes: &[u8], uid: SegmentUid, offset: u32) -> bool {
    Frame::verify(bytes, uid, offset).is_ok()
}

pub(crate) fn read_error(segment: &Segment, offset: u32, e: std::io::Error) -> nadb_core::Error {
    segment.io("reading the log", e).with_offset(u64::from(offset))
}
