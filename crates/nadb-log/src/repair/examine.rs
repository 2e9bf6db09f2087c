//! What can still be read in bytes that are no frames: records that verify by themselves, and the names of others that do
//! not.
//!
//! Numbers decide what is believed: between two frames that verify only few are possible, so bytes that merely look like
//! a record are passed over without being summed.

use nadb_core::limits::SEQ_MAX;
use nadb_core::{BlobId, NamespaceId, Result, Seq};

use super::blobs::Blobs;
use super::names::Names;
use super::report::LostKind;
use super::scan::{Piece, Region, frame_len};
use crate::frame::{FRAME_HEADER_MAX, FrameHeader, FrameKind};
use crate::record::{RECORD_HEADER_MAX, RecordRef, peek};
use crate::replay::read_error;
use crate::row::Row;
use crate::segment::Segment;
use crate::window::Window;

/// Numbers may jump inside a segment only where an earlier repair covered lost ones, each time by less than this.
const JUMP_WITHIN_MAX: u64 = 1 << 33;

/// A record that does not verify, or whose value does not.
#[derive(Debug, Clone)]
pub(super) struct Lost {
    pub(super) offset: u32,
    pub(super) seq: Option<Seq>,
    /// Salvaged records of its key up to this number are older than it.
    pub(super) older_upto: Seq,
    pub(super) kind: LostKind,
    pub(super) namespace: NamespaceId,
    pub(super) key: Vec<u8>,
    /// The blob that it refers to.
    pub(super) blob: Option<BlobId>,
}

/// A batch of which only some records verify.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken {
    pub(super) offset: u32,
    pub(super) records: Option<u32>,
    pub(super) kept: u64,
}

/// What a region still tells.
#[derive(Debug, Default)]
pub(super) struct Examined {
    pub(super) records: Vec<Piece>,
    pub(super) lost: Vec<Lost>,
    pub(super) broken: Vec<Broken>,
}

/// Examines a region of a segment of `len` bytes; of a compacted one its records have numbers in no order. Records above `keep_upto`
/// are left out.
pub(super) fn examine(
    segment: &Segment,
    len: u64,
    (region, is_copies): (&Region, bool),
    keep_upto: Seq,
    names: &mut Names,
    blobs: &mut Blobs<'_>,
) -> Result<Examined> {
    let mut high = region.high.0.min(SEQ_MAX);
    if !is_copies {
        high = high.min(region.low.0.saturating_add(JUMP_WITHIN_MAX));
    }
    let mut examiner = Examiner {
        segment,
        window: Window::new(&*segment.file, len),
        end: region.end,
        low: region.low,
        high: Seq(high),
        keep_upto,
        is_copies,
        names,
        blobs,
        found: Examined::default(),
    };
    examiner.run(region.start)?;
    Ok(examiner.found)
}

struct Examiner<'a, 'b> {
    segment: &'a Segment,
    window: Window<'a>,
    end: u32,
    /// The highest number that was kept, and the highest that is possible.
    low: Seq,
    high: Seq,
    keep_upto: Seq,
    is_copies: bool,
    names: &'a mut Names,
    blobs: &'a mut Blobs<'b>,
    found: Examined,
}

/// What stands at an offset where a record is expected.
enum Seen {
    /// A record of this length that verifies.
    Whole(u32),
    /// One that does not, but whose length leads to something that makes sense.
    Lost(u32),
    Nothing,
}

impl Examiner<'_, '_> {
    fn run(&mut self, start: u32) -> Result<()> {
        let mut at = start;
        while at < self.end {
            at = match self.header_at(at)? {
                Some(header) if matches!(header.kind, FrameKind::Data | FrameKind::Copies) => {
                    self.batch(at, &header)?
                }
                Some(header) => at.saturating_add(header.header_len()),
                None => self.nameless(at)?,
            };
        }
        Ok(())
    }

    /// A frame's header whose numbers are possible here and whose body ends before the region does.
    fn header_at(&mut self, at: u32) -> Result<Option<FrameHeader>> {
        let (low, high, end) = (self.low, self.high, self.end);
        let Ok(header) = FrameHeader::decode(self.bytes(at, FRAME_HEADER_MAX)?) else { return Ok(None) };
        let fits = match self.is_copies {
            true => header.kind == FrameKind::Copies && header.first_seq <= high,
            false => header.kind != FrameKind::Copies && header.first_seq > low && header.last_seq() <= high,
        };
        Ok((fits && u64::from(at) + header.frame_len() <= u64::from(end)).then_some(header))
    }

    /// The records of a frame whose header seems right.
    fn batch(&mut self, at: u32, header: &FrameHeader) -> Result<u32> {
        let before = self.found.records.len();
        let body_end = at.saturating_add(frame_len(header));
        let end = self.records(at.saturating_add(header.header_len()), body_end)?;
        let kept = self.found.records.len() - before;
        if kept > 0 && kept < header.count as usize {
            self.found.broken.push(Broken { offset: at, records: Some(header.count), kept: kept as u64 });
        }
        Ok(end)
    }

    /// Records up to the end of the region or a frame header, where no frame header can be read.
    fn nameless(&mut self, at: u32) -> Result<u32> {
        let (before, lost_before) = (self.found.records.len(), self.found.lost.len());
        let Some(first) = self.next_record(at, self.end)? else { return Ok(self.end) };
        let mut next = first;
        while next < self.end && self.header_at(next)?.is_none() {
            match self.record_at(next, self.end)? {
                Seen::Whole(len) | Seen::Lost(len) => next = next.saturating_add(len),
                Seen::Nothing => break,
            }
        }
        let kept = self.found.records.len() - before;
        if kept > 0 && self.found.lost.len() > lost_before {
            self.found.broken.push(Broken { offset: at, records: None, kept: kept as u64 });
        }
        Ok(next.max(at.saturating_add(1)))
    }

    /// All records from `at` to `end`, wherever they begin.
    fn records(&mut self, mut at: u32, end: u32) -> Result<u32> {
        while at < end {
            at = match self.record_at(at, end)? {
                Seen::Whole(len) | Seen::Lost(len) => at.saturating_add(len),
                Seen::Nothing => match self.next_record(at.saturating_add(1), end)? {
                    Some(next) => next,
                    None => return Ok(end),
                },
            };
        }
        Ok(end)
    }

    fn record_at(&mut self, at: u32, end: u32) -> Result<Seen> {
        let Some(len) = self.peek(at, end)?.map(|(_, len)| len) else { return Ok(Seen::Nothing) };
        if let Some(piece) = self.verified(at, len)? {
            if !self.is_copies {
                self.low = piece.last;
            }
            if piece.last <= self.keep_upto {
                self.keep(at, len, piece)?;
            }
            return Ok(Seen::Whole(len));
        }
        let follows = at.saturating_add(len);
        let is_sensible = follows == end
            || follows == self.end
            || self.header_at(follows)?.is_some()
            || self.peek(follows, end)?.is_some_and(|(seq, _)| seq > self.low && seq <= self.high);
        let (low, high) = (self.low, self.high);
        let below = if self.is_copies { high } else { low };
        let Ok(record) = RecordRef::decode(self.bytes(at, len as usize)?) else { return Ok(Seen::Nothing) };
        let seq = Some(record.seq).filter(|seq| *seq > low && *seq <= high);
        if !is_sensible && seq.is_none() {
            return Ok(Seen::Nothing);
        }
        let lost = Lost {
            offset: at,
            seq,
            older_upto: seq.map_or(below, Seq::previous),
            kind: LostKind::of(record.kind),
            namespace: record.namespace,
            key: record.key.to_vec(),
            blob: Row::of(&record, at).and_then(|row| row.meta.blob),
        };
        self.found.lost.push(lost);
        Ok(if is_sensible { Seen::Lost(len) } else { Seen::Nothing })
    }

    /// The next record that verifies.
    fn next_record(&mut self, mut at: u32, end: u32) -> Result<Option<u32>> {
        while at < end {
            let bytes = self.bytes(at, RECORD_HEADER_MAX)?;
            let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
            // Checksum and number may begin with zeros; the kind in the twelfth byte is none.
            if zeros > 11 {
                at = at.saturating_add(u32::try_from(zeros - 11).unwrap_or(1));
                continue;
            }
            if let Some((seq, len)) = self.peek(at, end)?
                && seq > self.low
                && seq <= self.high
                && self.verified(at, len)?.is_some()
            {
                return Ok(Some(at));
            }
            at = at.saturating_add(1);
        }
        Ok(None)
    }

    /// The record of `len` bytes at `at`, if it verifies and its number is possible.
    fn verified(&mut self, at: u32, len: u32) -> Result<Option<Piece>> {
        let (uid, low, high) = (self.segment.uid, self.low, self.high);
        let read = |e| read_error(self.segment, at, e);
        let bytes = self.window.bytes(u64::from(at), len as usize).map_err(read)?;
        let record = RecordRef::verify(bytes, uid, at).ok();
        let record =
            record.filter(|record| record.check_content().is_ok() && record.seq > low && record.seq <= high);
        let Some(record) = record else { return Ok(None) };
        let end = at.saturating_add(len);
        Ok(Some(Piece { offset: at, end, first: record.seq, last: record.seq, is_record: true }))
    }

    /// Keeps a record that verifies, unless its value is in a blob that is not whole.
    fn keep(&mut self, at: u32, len: u32, piece: Piece) -> Result<()> {
        let read = |e| read_error(self.segment, at, e);
        let bytes = self.window.bytes(u64::from(at), len as usize).map_err(read)?;
        let Ok(record) = RecordRef::decode(bytes) else { return Ok(()) };
        match self.blobs.lost_value(&record, at)? {
            Some(lost) => self.found.lost.push(lost),
            None => {
                self.names.see(&record);
                self.found.records.push(piece);
            }
        }
        Ok(())
    }

    /// Number and length of what would be a record at `at` that ends before `end`.
    fn peek(&mut self, at: u32, end: u32) -> Result<Option<(Seq, u32)>> {
        let left = end.saturating_sub(at) as usize;
        let found = peek(self.bytes(at, RECORD_HEADER_MAX)?).filter(|(_, len)| *len <= left);
        Ok(found.and_then(|(seq, len)| Some((seq, u32::try_from(len).ok()?))))
    }

    fn bytes(&mut self, at: u32, want: usize) -> Result<&[u8]> {
        let want = want.min(self.end.saturating_sub(at) as usize);
        let read = |e| read_error(self.segment, at, e);
        self.window.bytes(u64::from(at), want).map_err(read)
    }
}
