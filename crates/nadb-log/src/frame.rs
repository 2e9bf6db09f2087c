//! One frame: the unit that is there whole or not at all. docs/format.md has the byte table.
//!
//! A frame's body is encoded and summed before the write lock is taken ([`FrameBody`]); under the lock it gets its place:
//! a header, sequence numbers, and the mix of the place in every checksum ([`FrameBody::place`]).

use nadb_core::limits::{FRAME_BODY_MAX, SEQ_MAX};
use nadb_core::{SegmentUid, Seq, guard};
use smallvec::SmallVec;

use crate::bytes::{Reader, put_u48, put_u56, put_varint};
use crate::checksum::{crc32, mix};
use crate::record::{RECORD_BYTES_MIN, RecordError, RecordFields, RecordRef, address};

/// The longest header: fixed part and three varints.
pub(crate) const FRAME_HEADER_MAX: usize = 18 + 5 + 5 + 9;
/// The shortest header.
const FRAME_HEADER_MIN: usize = 21;
/// Bytes of the body of an opening frame.
const OPENING_BODY: u32 = 8;

/// What a frame is for; the number is on disk and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Records, numbered from the frame's first sequence number on.
    Data = 1,
    /// The first frame of a segment: which number it follows, and with which it begins. Takes no number.
    Opening = 2,
    /// Everything before it is whole: written at a clean close and when the store is idle. Takes no number.
    EndMark = 3,
    /// Numbers and bytes that a failed write had reserved; the body means nothing.
    Void = 4,
    /// Of a compacted segment: records that were copied, with the numbers that they had. Takes no number.
    Copies = 5,
}

impl FrameKind {
    fn from_u8(number: u8) -> Option<FrameKind> {
        use FrameKind::*;
        [Data, Opening, EndMark, Void, Copies].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The file ends before the frame does.
    Short,
    /// The kind is not known.
    Kind(u8),
    /// A field is out of its range.
    Malformed(&'static str),
    /// It is numbered otherwise than the next frame here must be.
    Sequence {
        /// The number that was expected.
        expected: Seq,
        /// The number that stands there.
        found: Seq,
    },
    /// The checksum does not hold here.
    Checksum {
        /// What the bytes sum to.
        computed: u32,
        /// What stands in the header.
        stored: u32,
    },
    /// A record in it is bad.
    Record {
        /// Its place in the file.
        offset: u32,
        /// What is wrong with it.
        error: RecordError,
    },
}

impl std::fmt::Display for FrameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            FrameError::Short => f.write_str("the frame is cut short"),
            FrameError::Kind(kind) => write!(f, "frame kind {kind} is unknown"),
            FrameError::Malformed(what) => write!(f, "the frame's {what} is malformed"),
            FrameError::Sequence { expected, found } => {
                write!(f, "the frame has number {found}, expected {expected}")
            }
            FrameError::Checksum { computed, stored } => {
                write!(f, "the frame's checksum is {stored:#010x}, its bytes give {computed:#010x}")
            }
            FrameError::Record { offset, error } => write!(f, "{error} at offset {offset}"),
        }
    }
}

/// A frame's header, decoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// What the frame is for.
    pub kind: FrameKind,
    /// Its first sequence number; of an opening frame or end mark the next number; of copies the first record's.
    pub first_seq: Seq,
    /// When it was written, Unix milliseconds.
    pub time_ms: u64,
    /// Bytes of the body.
    pub body_len: u32,
    /// Numbers that it takes; of copies how many there are.
    pub count: u32,
    /// Everything up to here was durable when the frame was reserved.
    pub durable_upto: Seq,
    stored_crc: u32,
    len: u32,
}

impl FrameHeader {
    /// Reads a header without summing it; `bytes` may go on behind it.
    ///
    /// # Errors
    /// [`FrameError`]; the checksum is not looked at.
    pub fn decode(bytes: &[u8]) -> Result<FrameHeader, FrameError> {
        use FrameError::{Malformed, Short};
        let mut reader = Reader::new(bytes);
        let stored_crc = reader.u32().ok_or(Short)?;
        let kind = reader.u8().ok_or(Short)?;
        let kind = FrameKind::from_u8(kind).ok_or(FrameError::Kind(kind))?;
        let first_seq = Seq(reader.u56().ok_or(Short)?);
        let time_ms = reader.u48().ok_or(Short)?;
        let body_len = reader.varint_u32().ok_or(Malformed("length"))?;
        let count = reader.varint_u32().ok_or(Malformed("count"))?;
        let distance = reader.varint().ok_or(Malformed("durable distance"))?;
        if guard::on("frame.lengths_checked") && body_len as usize > FRAME_BODY_MAX {
            return Err(Malformed("length"));
        }
        let shape_holds = match kind {
            FrameKind::Data | FrameKind::Copies => {
                count > 0 && count as usize <= body_len as usize / RECORD_BYTES_MIN
            }
            FrameKind::Opening => count == 0 && body_len == OPENING_BODY,
            FrameKind::EndMark => count == 0 && body_len == 0,
            FrameKind::Void => count > 0,
        };
        if guard::on("frame.lengths_checked") && !shape_holds {
            return Err(Malformed("count"));
        }
        if first_seq.0.checked_add(u64::from(count)).is_none_or(|end| end > SEQ_MAX + 1) {
            return Err(Malformed("sequence number"));
        }
        let durable_upto = Seq(first_seq.0.checked_sub(distance).ok_or(Malformed("durable distance"))?);
        let len = u32::try_from(reader.position()).map_err(|_| Malformed("length"))?;
        Ok(FrameHeader { kind, first_seq, time_ms, body_len, count, durable_upto, stored_crc, len })
    }

    /// Bytes of header and body.
    #[must_use]
    pub fn frame_len(&self) -> u64 {
        u64::from(self.len) + u64::from(self.body_len)
    }

    /// Bytes of the header; the body follows.
    pub(crate) fn header_len(&self) -> u32 {
        self.len
    }

    /// The last number that the frame takes, or the one before its first if it takes none.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.first_seq.plus(u64::from(self.count)).previous()
    }
}

/// A frame whose checksums, and those of all its records, hold at its place.
#[derive(Debug, Clone, Copy)]
pub struct Frame<'a> {
    /// The header.
    pub header: FrameHeader,
    offset: u32,
    body: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Verifies the frame that `bytes` begin with, standing at `offset` of the segment `uid`.
    ///
    /// # Errors
    /// [`FrameError`] for anything that a writer would not have written right here.
    pub fn verify(bytes: &'a [u8], uid: SegmentUid, offset: u32) -> Result<Frame<'a>, FrameError> {
        Frame::verify_behind(FrameHeader::decode(bytes)?, bytes, uid, offset)
    }

    /// As [`Frame::verify`], for a header that was read from these bytes.
    pub(crate) fn verify_behind(
        header: FrameHeader,
        bytes: &'a [u8],
        uid: SegmentUid,
        offset: u32,
    ) -> Result<Frame<'a>, FrameError> {
        let len = usize::try_from(header.frame_len()).map_err(|_| FrameError::Short)?;
        let head = bytes.get(4..header.len as usize).ok_or(FrameError::Short)?;
        let body = bytes.get(header.len as usize..len).ok_or(FrameError::Short)?;
        let frame = Frame { header, offset, body };
        let sum = match header.kind {
            FrameKind::Data | FrameKind::Copies => frame.sum_records(uid)?,
            FrameKind::Opening | FrameKind::EndMark => crc32(body),
            FrameKind::Void => 0,
        };
        let computed = header_crc(head, sum) ^ mix(uid, offset, header.first_seq);
        if computed != header.stored_crc {
            return Err(FrameError::Checksum { computed, stored: header.stored_crc });
        }
        Ok(frame)
    }

    /// Sums the records' own sums; each record verifies and together they fill the body. Each has the number of its place, but for
    /// copies, of which the first has the frame's.
    fn sum_records(&self, uid: SegmentUid) -> Result<u32, FrameError> {
        let mut sum = crc32fast::Hasher::new();
        let mut at = 0usize;
        for index in 0..self.header.count {
            let offset = self.body_offset().saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
            let bad = |error| FrameError::Record { offset, error };
            let rest = self.body.get(at..).unwrap_or_default();
            let record = RecordRef::verify(rest, uid, offset).map_err(bad)?;
            record.check_content().map_err(bad)?;
            let expected = self.header.first_seq.plus(u64::from(index));
            let is_numbered = index == 0 || self.header.kind == FrameKind::Data;
            if is_numbered && record.seq != expected {
                return Err(FrameError::Sequence { expected, found: record.seq });
            }
            sum.update(&record.raw_crc(uid, offset).to_le_bytes());
            at += record.len();
        }
        if at != self.body.len() {
            return Err(FrameError::Malformed("length"));
        }
        Ok(sum.finalize())
    }

    fn body_offset(&self) -> u32 {
        self.offset.saturating_add(self.header.len)
    }

    /// The records of a frame of data or copies with their offsets in the file; none of any other frame.
    pub fn records(&self) -> impl Iterator<Item = (u32, RecordRef<'a>)> {
        let has_records = matches!(self.header.kind, FrameKind::Data | FrameKind::Copies);
        let count = if has_records { self.header.count } else { 0 };
        let (mut at, body, start) = (0, self.body, self.body_offset());
        (0..count).map_while(move |_| {
            let record = RecordRef::decode(body.get(at..)?).ok()?;
            let offset = start.checked_add(u32::try_from(at).ok()?)?;
            at += record.len();
            Some((offset, record))
        })
    }

    /// Of an opening frame: the last number before this segment.
    #[must_use]
    pub fn follows(&self) -> Option<Seq> {
        match self.header.kind {
            FrameKind::Opening => self.body.try_into().ok().map(|body| Seq(u64::from_le_bytes(body))),
            _ => None,
        }
    }
}

/// The header's sum covers the header behind the checksum and the sum of the body.
fn header_crc(head: &[u8], body_sum: u32) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(head);
    sum.update(&body_sum.to_le_bytes());
    sum.finalize()
}

/// What a record mostly has beside key and value.
const RECORD_HEADER_ROOM: usize = 64;

#[derive(Debug, Clone, Copy)]
struct RecordMark {
    at: u32,
    len: u32,
    crc: u32,
}

/// A data frame's body, encoded and summed, waiting for its place.
#[derive(Debug, Default)]
pub struct FrameBody {
    bytes: Vec<u8>,
    records: SmallVec<[RecordMark; 1]>,
    sum: crc32fast::Hasher,
}

/// A frame's place, and what its header says beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FramePlace<'a> {
    /// The segment's uid.
    pub uid: &'a SegmentUid,
    /// The frame's offset in the file.
    pub offset: u32,
    /// Its first number, or the next one if it takes none.
    pub first_seq: Seq,
    /// Everything up to here is durable.
    pub durable_upto: Seq,
    /// The time, Unix milliseconds.
    pub time_ms: u64,
}

impl FrameBody {
    /// A body without records yet.
    #[must_use]
    pub fn new() -> FrameBody {
        FrameBody::default()
    }

    /// Makes room for so many bytes of records at once, so that a large body is not copied, and held twice, while it grows.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve_exact(bytes);
    }

    /// Adds a record; gives its offset in the body and its length.
    pub fn push(&mut self, record: &RecordFields<'_>) -> (u32, u32) {
        let at = self.len();
        // Once, for all that the encoder appends piece by piece.
        self.bytes.reserve(RECORD_HEADER_ROOM + record.key.len() + record.value.len());
        let crc = record.encode(&mut self.bytes);
        let mark = RecordMark { at, len: self.len() - at, crc };
        self.sum.update(&crc.to_le_bytes());
        self.records.push(mark);
        (mark.at, mark.len)
    }

    /// Adds a record that is encoded already, wherever it stood; `crc` is its sum without the mix of a place.
    pub(crate) fn push_encoded(&mut self, record: &[u8], crc: u32) {
        let at = self.len();
        self.bytes.extend_from_slice(record);
        self.sum.update(&crc.to_le_bytes());
        self.records.push(RecordMark { at, len: self.len() - at, crc });
    }

    /// Bytes so far.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the engine refuses batches above 256 MiB before they get here"
    )]
    pub fn len(&self) -> u32 {
        self.bytes.len() as u32
    }

    /// The record that [`FrameBody::push`] put at `at`, not numbered yet.
    ///
    /// # Errors
    /// Where there is none.
    pub fn record(&self, at: u32) -> Result<RecordRef<'_>, RecordError> {
        RecordRef::decode(self.bytes.get(at as usize..).unwrap_or_default())
    }

    /// All records with their offsets in the body, not numbered yet.
    pub fn records(&self) -> impl Iterator<Item = (u32, RecordRef<'_>)> {
        self.records.iter().filter_map(|mark| self.record(mark.at).ok().map(|record| (mark.at, record)))
    }

    /// Whether it has no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Records so far.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a record has at least 23 bytes of at most 256 MiB")]
    pub fn count(&self) -> u32 {
        self.records.len() as u32
    }

    /// Appends the frame to `out`, which will stand in the file so that the frame is at `place.offset`. Gives the offset
    /// of the body in the file.
    pub fn place(&self, out: &mut Vec<u8>, place: FramePlace<'_>) -> u32 {
        let start = out.len();
        let sum = self.sum.clone().finalize();
        put_header(out, FrameKind::Data, &place, self.len(), self.count(), sum);
        #[expect(clippy::cast_possible_truncation, reason = "a header has at most 37 bytes")]
        let body_offset = place.offset + (out.len() - start) as u32;
        let body_start = out.len();
        out.extend_from_slice(&self.bytes);
        for (mark, index) in self.records.iter().zip(0u64..) {
            let at = body_start + mark.at as usize;
            if let Some(record) = out.get_mut(at..at + mark.len as usize) {
                address(record, mark.crc, *place.uid, body_offset + mark.at, place.first_seq.plus(index));
            }
        }
        body_offset
    }
}

/// Records on their way into a frame of a compacted segment: verified where they stood, and given a new place here.
#[derive(Debug, Default)]
pub(crate) struct CopiedBody {
    bytes: Vec<u8>,
    records: Vec<(RecordMark, Seq)>,
    sum: crc32fast::Hasher,
}

impl CopiedBody {
    /// Adds a record; `crc` is its sum without the mix of a place.
    #[expect(clippy::cast_possible_truncation, reason = "who fills a body ends it long before 4 GiB")]
    pub(crate) fn push(&mut self, record: &[u8], crc: u32, seq: Seq) {
        let mark = RecordMark { at: self.bytes.len() as u32, len: record.len() as u32, crc };
        self.bytes.extend_from_slice(record);
        self.sum.update(&crc.to_le_bytes());
        self.records.push((mark, seq));
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// The most that the frame of these records takes.
    pub(crate) fn frame_len_max(&self) -> usize {
        FRAME_HEADER_MAX + self.bytes.len()
    }

    /// Appends the frame to `out`, which will stand in the file so that the frame is at `offset`, tells `placed` the offset in the
    /// file of each record, and begins anew.
    #[expect(clippy::cast_possible_truncation, reason = "who fills a body ends it long before 4 GiB")]
    pub(crate) fn place(
        &mut self,
        out: &mut Vec<u8>,
        (uid, offset, time_ms): (&SegmentUid, u32, u64),
        mut placed: impl FnMut(u32),
    ) {
        let first_seq = self.records.first().map_or(Seq(0), |(_, seq)| *seq);
        let place = FramePlace { uid, offset, first_seq, durable_upto: first_seq, time_ms };
        let start = out.len();
        let (len, count) = (self.bytes.len() as u32, self.records.len() as u32);
        put_header(out, FrameKind::Copies, &place, len, count, std::mem::take(&mut self.sum).finalize());
        let body_start = out.len();
        let body_offset = offset + (body_start - start) as u32;
        out.append(&mut self.bytes);
        for (mark, seq) in self.records.drain(..) {
            let at = body_start + mark.at as usize;
            if let Some(record) = out.get_mut(at..at + mark.len as usize) {
                address(record, mark.crc, *uid, body_offset + mark.at, seq);
            }
            placed(body_offset + mark.at);
        }
    }
}

/// Appends an opening frame.
pub(crate) fn put_opening(out: &mut Vec<u8>, place: FramePlace<'_>, follows: Seq) {
    let body = follows.0.to_le_bytes();
    put_header(out, FrameKind::Opening, &place, OPENING_BODY, 0, crc32(&body));
    out.extend_from_slice(&body);
}

/// Appends an end mark.
pub(crate) fn put_end_mark(out: &mut Vec<u8>, place: FramePlace<'_>) {
    put_header(out, FrameKind::EndMark, &place, 0, 0, crc32(&[]));
}

/// Appends the header of a void frame that takes `count` numbers and covers `body_len` bytes. Readers pass over them. The
/// writer takes failed frames back instead; a repair covers with them the numbers whose records were lost.
pub(crate) fn put_void(out: &mut Vec<u8>, place: FramePlace<'_>, body_len: u32, count: u32) {
    put_header(out, FrameKind::Void, &place, body_len, count, 0);
}

fn put_header(
    out: &mut Vec<u8>,
    kind: FrameKind,
    place: &FramePlace<'_>,
    body_len: u32,
    count: u32,
    body_sum: u32,
) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind as u8);
    put_u56(out, place.first_seq.0);
    put_u48(out, place.time_ms);
    put_varint(out, u64::from(body_len));
    put_varint(out, u64::from(count));
    put_varint(out, place.first_seq.0.saturating_sub(place.durable_upto.0));
    let crc = out.get(start + 4..).map_or(0, |head| header_crc(head, body_sum));
    let crc = crc ^ mix(*place.uid, place.offset, place.first_seq);
    if let Some((stored, _)) = out.get_mut(start..).and_then(<[u8]>::split_first_chunk_mut) {
        *stored = crc.to_le_bytes();
    }
}

/// Whether a frame could begin with these bytes: cheap, for a search at every offset.
pub(crate) fn could_begin(bytes: &[u8]) -> bool {
    bytes.len() >= FRAME_HEADER_MIN && bytes.get(4).is_some_and(|&kind| FrameKind::from_u8(kind).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordKind;
    use crate::record::tests::owned;
    use nadb_core::NamespaceId;
    use nadb_core::limits::BATCH_BYTES_MAX;
    use proptest::collection::vec;
    use proptest::prelude::*;

    const UID: SegmentUid = SegmentUid([7; 16]);
    const AT: u32 = 93;

    fn place(offset: u32, first_seq: u64, durable_upto: u64) -> FramePlace<'static> {
        let (first_seq, durable_upto) = (Seq(first_seq), Seq(durable_upto));
        FramePlace { uid: &UID, offset, first_seq, durable_upto, time_ms: 1_700_000_000_000 }
    }

    fn small_frame() -> Vec<u8> {
        let mut body = FrameBody::new();
        for (key, value) in [(b"one", b"first "), (b"two", b"second")] {
            body.push(&RecordFields::new(RecordKind::Value, NamespaceId(1), key, value, 5));
        }
        let mut bytes = Vec::new();
        body.place(&mut bytes, place(AT, 10, 4));
        bytes
    }

    proptest! {
        #[test]
        fn frames_round_trip(
            records in vec(owned(), 1..6),
            offset in 64..u32::MAX / 2,
            first in 1..SEQ_MAX - 10,
            distance in 1..1u64 << 40,
            before in 0..40usize,
        ) {
            let mut body = FrameBody::new();
            let marks: Vec<_> = records.iter().map(|record| body.push(&record.fields())).collect();
            let mut bytes = vec![0xAA; before];
            let place = place(offset, first, first.saturating_sub(distance));
            let body_offset = body.place(&mut bytes, place);
            let bytes = &bytes[before..];
            let frame = Frame::verify(bytes, UID, offset).unwrap();
            prop_assert_eq!(frame.header.frame_len(), bytes.len() as u64);
            prop_assert_eq!(frame.header.first_seq, place.first_seq);
            prop_assert_eq!(frame.header.durable_upto, place.durable_upto);
            prop_assert_eq!(frame.header.last_seq(), Seq(first + records.len() as u64 - 1));
            let found: Vec<_> = frame.records().collect();
            prop_assert_eq!(found.len(), records.len());
            for ((((offset, found), owned), (at, len)), seq) in found.iter().zip(&records).zip(marks).zip(first..) {
                crate::format_examples::assert_same(found, &owned.fields());
                prop_assert_eq!((*offset, found.len()), (body_offset + at, len as usize));
                prop_assert_eq!(found.seq, Seq(seq));
            }
        }

        #[test]
        fn any_bytes_verify_or_are_refused(mut bytes in vec(any::<u8>(), 0..120), kind in 0..6u8) {
            if let Some(byte) = bytes.get_mut(4) {
                *byte = kind;
            }
            let _ = FrameHeader::decode(&bytes);
            prop_assert!(Frame::verify(&bytes, UID, AT).is_err());
        }
    }

    #[test]
    fn a_small_frames_header_has_at_most_24_bytes() {
        let mut body = FrameBody::new();
        let (key, value) = ([b'k'; 21], [b'v'; 128]);
        let (_, len) =
            body.push(&RecordFields::new(RecordKind::Value, NamespaceId(127), &key, &value, 1 << 47));
        let mut bytes = Vec::new();
        body.place(&mut bytes, place(u32::MAX - 1000, SEQ_MAX, SEQ_MAX - 2_000_000));
        assert!(bytes.len() - len as usize <= 24, "{} bytes", bytes.len() - len as usize);
        assert!(bytes.len() <= 24 + 24 + key.len() + value.len());
        let mut longest = Vec::new();
        put_header(&mut longest, FrameKind::Data, &place(0, SEQ_MAX, 0), u32::MAX, u32::MAX, 0);
        assert!(longest.len() <= FRAME_HEADER_MAX);
        let mut shortest = Vec::new();
        put_end_mark(&mut shortest, place(0, 1, 0));
        assert_eq!(shortest.len(), FRAME_HEADER_MIN);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let mut opening = Vec::new();
        put_opening(&mut opening, place(AT, 10, 4), Seq(9));
        let mut mark = Vec::new();
        put_end_mark(&mut mark, place(AT, 10, 4));
        for bytes in [small_frame(), opening, mark] {
            assert!(Frame::verify(&bytes, UID, AT).is_ok());
            for len in 0..bytes.len() {
                assert!(Frame::verify(&bytes[..len], UID, AT).is_err(), "cut to {len}");
            }
            for bit in 0..bytes.len() * 8 {
                let mut bytes = bytes.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(Frame::verify(&bytes, UID, AT).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn a_frame_moved_to_another_place_or_file_is_refused() {
        let mut mark = Vec::new();
        put_end_mark(&mut mark, place(AT, 10, 4));
        for bytes in [small_frame(), mark] {
            assert!(Frame::verify(&bytes, UID, AT).is_ok());
            for offset in [0, AT - 1, AT + 1, AT + 512, u32::MAX - 200] {
                assert!(Frame::verify(&bytes, UID, offset).is_err(), "offset {offset}");
            }
            for byte in 0..16 {
                let mut uid = UID;
                uid.0[byte] ^= 1;
                assert!(Frame::verify(&bytes, uid, AT).is_err(), "uid byte {byte}");
            }
        }
    }

    #[test]
    fn header_claims_are_refused_before_the_body_is_looked_at() {
        let header = |kind, body_len, count| {
            let mut bytes = Vec::new();
            put_header(&mut bytes, kind, &place(AT, 10, 4), body_len, count, 0);
            FrameHeader::decode(&bytes).map(|header| (header.body_len, header.count))
        };
        let (length, count) = (Err(FrameError::Malformed("length")), Err(FrameError::Malformed("count")));
        let max = u32::try_from(FRAME_BODY_MAX).unwrap();
        assert_eq!(header(FrameKind::Data, max, 1), Ok((max, 1)));
        assert_eq!(header(FrameKind::Data, max + 1, 1), length);
        assert_eq!(header(FrameKind::Void, u32::MAX, 1), length);
        assert_eq!(header(FrameKind::Data, 23, 2), count, "more records than the body can hold");
        assert_eq!(header(FrameKind::Data, 100, u32::MAX), count);
        assert_eq!(header(FrameKind::Data, 100, 0), count);
        assert_eq!(header(FrameKind::Opening, 8, 1), count);
        assert_eq!(header(FrameKind::Opening, 9, 0), count);
        assert_eq!(header(FrameKind::EndMark, 0, 1), count);
        assert_eq!(header(FrameKind::EndMark, 1, 0), count);
        assert_eq!(header(FrameKind::Void, 5, 0), count);
    }

    #[test]
    fn numbers_stay_in_their_range() {
        let mut bytes = Vec::new();
        put_header(&mut bytes, FrameKind::Data, &place(AT, SEQ_MAX, SEQ_MAX), 100, 2, 0);
        assert_eq!(FrameHeader::decode(&bytes), Err(FrameError::Malformed("sequence number")));
        let mut bytes = Vec::new();
        put_end_mark(&mut bytes, place(AT, 5, 0));
        bytes[20] = 6;
        assert_eq!(FrameHeader::decode(&bytes), Err(FrameError::Malformed("durable distance")));
    }

    #[test]
    fn a_void_covers_anything() {
        let mut bytes = Vec::new();
        put_void(&mut bytes, place(AT, 10, 4), 7, 3);
        bytes.extend_from_slice(b"garbage and more");
        let frame = Frame::verify(&bytes, UID, AT).unwrap();
        assert_eq!((frame.header.count, frame.header.last_seq()), (3, Seq(12)));
        assert_eq!((frame.records().count(), frame.follows()), (0, None));
        assert!(Frame::verify(&bytes[..27], UID, AT).is_err(), "cut inside the body");
    }

    #[test]
    fn a_body_of_the_largest_batch_fits() {
        const { assert!(BATCH_BYTES_MAX <= FRAME_BODY_MAX) }
    }
}
