//! A segment's file: its header, and reading records from it.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use nadb_core::{Error, ErrorKind, Location, Ordinal, Result, SegmentId, SegmentUid, Seq, StoreId, guard};
use nadb_vfs::{Appender, File, Mapping, Room};
use parking_lot::Mutex;

use crate::bytes::Reader;
use crate::checkpoint::CoveredSegment;
use crate::checksum::crc32;
use crate::log::ReadMode;
use crate::manifest::{NamedSegment, SealedExtent};
use crate::record::{Head, RecordRef};
use crate::rows::Rows;
use crate::{FORMAT_VERSION, version_error};

/// Bytes of a segment's header; the first frame stands here.
pub const SEGMENT_HEADER: u32 = 64;
const MAGIC: [u8; 8] = *b"NADB-SEG";

/// What a segment's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) id: SegmentId,
    pub(crate) uid: SegmentUid,
    pub(crate) store: StoreId,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SEGMENT_HEADER as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.uid.0);
        out.extend_from_slice(&self.store.0);
        out.resize(SEGMENT_HEADER as usize - 4, 0);
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `Err` is an error without its path.
    pub(crate) fn decode(bytes: &[u8]) -> Result<SegmentHeader> {
        let corrupt = |what: String| Error::new(ErrorKind::Corruption, what).with_offset(0);
        let short =
            || corrupt(format!("the segment header is cut short: {} of {SEGMENT_HEADER} bytes", bytes.len()));
        let mut reader = Reader::new(bytes);
        let magic: [u8; 8] = reader.array().ok_or_else(short)?;
        if magic != MAGIC {
            return Err(corrupt(format!("this is no segment: it begins with \"{}\"", magic.escape_ascii())));
        }
        // The version first: another one may keep its checksum elsewhere.
        match reader.u32().ok_or_else(short)? {
            FORMAT_VERSION => {}
            version => return Err(version_error("segment", version)),
        }
        let id = SegmentId(reader.u32().ok_or_else(short)?);
        let uid = SegmentUid(reader.array().ok_or_else(short)?);
        let store = StoreId(reader.array().ok_or_else(short)?);
        let body = bytes.get(..SEGMENT_HEADER as usize - 4).ok_or_else(short)?;
        let stored =
            bytes.get(body.len()..body.len() + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes);
        let (stored, computed) = (stored.ok_or_else(short)?, crc32(body));
        if stored != computed {
            return Err(corrupt(format!(
                "the segment header's checksum is {stored:#010x}, its bytes give {computed:#010x}"
            )));
        }
        Ok(SegmentHeader { id, uid, store })
    }
}

/// An open segment.
#[derive(Debug)]
pub struct Segment {
    pub(crate) id: SegmentId,
    pub(crate) uid: SegmentUid,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn File>,
    /// Bytes of the file that hold header and frames; only rises while the store is open.
    pub(crate) in_file: AtomicU32,
    /// Whether it has an opening frame; without one it is a spare.
    pub(crate) first_seq: AtomicU64,
    pub(crate) last_seq: AtomicU64,
    records: AtomicU64,
    /// The last number up to the end of its frames, once nothing is appended to it any more.
    pub(crate) end_seq: AtomicU64,
    sealed: OnceLock<SealedExtent>,
    /// Through which it is read once it is sealed, where that is wanted.
    mapping: OnceLock<Mapping>,
    /// Through which it is read before, where it is appended to through memory; the same one afterwards, if it reaches so far.
    growing: OnceLock<Mapping>,
    /// Who appended to it, from when it is full until it is sealed.
    appender: Mutex<Option<Box<dyn Appender>>>,
}

impl Segment {
    pub(crate) fn new(id: SegmentId, uid: SegmentUid, path: PathBuf, file: Arc<dyn File>) -> Segment {
        Segment {
            id,
            uid,
            path,
            file,
            in_file: AtomicU32::new(SEGMENT_HEADER),
            first_seq: AtomicU64::new(0),
            last_seq: AtomicU64::new(0),
            records: AtomicU64::new(0),
            end_seq: AtomicU64::new(0),
            sealed: OnceLock::new(),
            mapping: OnceLock::new(),
            growing: OnceLock::new(),
            appender: Mutex::new(None),
        }
    }

    /// A segment that the manifest calls sealed.
    pub(crate) fn sealed(
        named: &NamedSegment,
        extent: SealedExtent,
        path: PathBuf,
        file: Arc<dyn File>,
    ) -> Segment {
        let segment = Segment::new(named.id, named.uid, path, file);
        segment.set_extent(extent);
        segment
    }

    /// Makes a segment that nobody uses yet a sealed one.
    pub(crate) fn set_extent(&self, extent: SealedExtent) {
        self.in_file.store(extent.frames_end, Ordering::Release);
        self.end_seq.store(extent.last_seq.0, Ordering::Release);
        self.set_sealed(extent);
    }

    /// From here on it never changes. Done once, when a durable manifest says so.
    pub(crate) fn set_sealed(&self, extent: SealedExtent) {
        let _ = self.sealed.set(extent);
    }

    pub(crate) fn set_growing(&self, mapping: Option<Mapping>) {
        if let Some(mapping) = mapping {
            let _ = self.growing.set(mapping);
        }
    }

    /// Nothing is appended any more; the footer that comes is read through the same mapping.
    pub(crate) fn keep_appender(&self, appender: Option<Box<dyn Appender>>) {
        *self.appender.lock() = appender;
    }

    /// Its room, while it still has the memory through which it was appended to.
    pub(crate) fn kept_room(&self) -> Option<Arc<dyn Room>> {
        self.appender.lock().as_ref().map(|appender| appender.room())
    }

    /// Gives up the memory through which it was appended to.
    pub(crate) fn stop_appender(&self) {
        if let Some(appender) = &mut *self.appender.lock() {
            appender.stop();
        }
    }

    /// The mapping of a sealed segment, from now on the one that it is read through; `None` where it has none.
    pub(crate) fn map_sealed(&self, extent: SealedExtent, mode: ReadMode) -> Option<Mapping> {
        let appender = self.appender.lock().take();
        if mode == ReadMode::Positioned || !self.file.can_map() {
            return None;
        }
        let len = u64::from(extent.file_len);
        let mapping = match (self.growing.get(), appender) {
            (Some(growing), Some(mut appender)) if len <= appender.room().limit() => {
                appender.skip_to(len);
                growing.clone()
            }
            _ => self.file.map(len).ok()?,
        };
        let _ = self.mapping.set(mapping.clone());
        Some(mapping)
    }

    /// Bytes of its file that are mapped, up to its end.
    #[must_use]
    pub fn mapped_bytes(&self) -> u64 {
        match (self.mapping.get(), self.extent()) {
            (Some(_), Some(extent)) => u64::from(extent.file_len),
            _ => self.growing.get().map_or(0, |_| self.bytes()),
        }
    }

    /// Counts records that were not read one by one.
    pub(crate) fn add_rows(&self, rows: &Rows) -> Result<()> {
        let system = rows.system()?;
        let mut numbers: Vec<Seq> = system.iter().map(|row| row.seq).collect();
        if self.is_compacted() {
            // In key order, not in that of their numbers.
            for ordinal in (0..rows.len()).map(Ordinal) {
                let seq = rows.seq(ordinal)?;
                numbers.push(seq);
                if numbers.len() > 1 << 10 {
                    keep_ends(&mut numbers);
                }
            }
        } else if let Some(last) = rows.len().checked_sub(1) {
            numbers.extend([rows.seq(Ordinal(0))?, rows.seq(Ordinal(last))?]);
        }
        if let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) {
            self.first_seq.store(first.0, Ordering::Release);
            self.last_seq.store(last.0, Ordering::Release);
        }
        self.records.store(u64::from(rows.len()) + system.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// Counts records that nobody has read: those that a checkpoint covers.
    pub(crate) fn add_covered(&self, covered: &CoveredSegment) {
        if covered.records > 0 {
            self.first_seq.store(covered.first_seq.0, Ordering::Release);
            self.last_seq.store(covered.last_seq.0, Ordering::Release);
        }
        self.records.store(u64::from(covered.records), Ordering::Relaxed);
    }

    /// Where records and footer end, once it is sealed.
    #[must_use]
    pub fn extent(&self) -> Option<SealedExtent> {
        self.sealed.get().copied()
    }

    /// Whether its frames, read again up to number `last`, are those that were sealed.
    pub(crate) fn check_last_seq(&self, last: Seq) -> Result<()> {
        match self.extent() {
            Some(extent) if extent.last_seq != last => Err(self.corruption(
                u64::from(extent.frames_end),
                format!("the segment ends with number {last}, the manifest says {}", extent.last_seq),
            )),
            _ => Ok(()),
        }
    }

    /// Whether it is sealed: it has a footer that the manifest vouches for, and never changes.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.sealed.get().is_some()
    }

    /// Whether a compaction has made it: its records are copies, in key order.
    #[must_use]
    pub fn is_compacted(&self) -> bool {
        self.sealed.get().is_some_and(|extent| extent.is_compacted)
    }

    /// As the manifest names it.
    pub(crate) fn named(&self) -> NamedSegment {
        NamedSegment { id: self.id, uid: self.uid, sealed: self.extent() }
    }

    /// Its number.
    #[must_use]
    pub fn id(&self) -> SegmentId {
        self.id
    }

    /// Its file's path.
    #[must_use]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }

    /// Bytes of the file that hold header and frames.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.in_file.load(Ordering::Acquire))
    }

    /// Bytes of the file that have a meaning: header, frames, and, once it is sealed, footer.
    #[must_use]
    pub fn file_bytes(&self) -> u64 {
        self.extent().map_or_else(|| self.bytes(), |extent| u64::from(extent.file_len))
    }

    /// Its first and last sequence number, `None` while it has no record. No row that can be seen has a higher one.
    #[must_use]
    pub fn seq_range(&self) -> Option<(Seq, Seq)> {
        let first = self.first_seq.load(Ordering::Acquire);
        (first != 0).then(|| (Seq(first), Seq(self.last_seq.load(Ordering::Acquire))))
    }

    /// Records in it, of every kind.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Counts records of a published frame.
    pub(crate) fn add_records(&self, first: Seq, count: u32) {
        if count > 0 {
            let _ = self.first_seq.compare_exchange(0, first.0, Ordering::AcqRel, Ordering::Relaxed);
            self.last_seq.store(first.plus(u64::from(count)).previous().0, Ordering::Release);
            self.records.fetch_add(u64::from(count), Ordering::Relaxed);
        }
    }

    pub(crate) fn corruption(&self, offset: u64, what: impl std::fmt::Display) -> Error {
        Error::corruption(&self.path, offset, what.to_string())
    }

    pub(crate) fn io(&self, doing: &str, source: io::Error) -> Error {
        Error::io(doing, &self.path, source)
    }

    /// Reads and verifies the record at `at`, which the file has. Bytes that do not verify are read a second time before
    /// that is called corruption.
    ///
    /// # Errors
    /// `Corruption` with file and offset, or `Io`.
    pub fn read(&self, at: Location) -> Result<RecordBuf> {
        if let Some(buf) = self.read_mapped(at) {
            return Ok(buf);
        }
        self.read_again(at)
    }

    /// The record at `at` where the segment is mapped and the record verifies; without a system call and without a copy. It
    /// keeps the mapping.
    #[must_use]
    pub fn read_mapped(&self, at: Location) -> Option<RecordBuf> {
        let mapping = self.readable()?;
        self.verify(mapping.slice(range_of(at))?, at).ok()
    }

    /// As [`Segment::read_mapped`], but what it gives lasts no longer than the segment: nothing is counted or allocated.
    #[must_use]
    #[inline]
    pub fn mapped(&self, at: Location) -> Option<MappedRecord<'_>> {
        // All its lines at once: that the next one is needed the processor learns only from what the first one says.
        self.prefetch(at);
        self.mapped_near(at)
    }

    /// As [`Segment::mapped`], for a record that was fetched before.
    #[must_use]
    #[inline]
    pub fn mapped_near(&self, at: Location) -> Option<MappedRecord<'_>> {
        let mapping = self.readable()?;
        let bytes = mapping.bytes().get(range_of(at))?;
        let record = if guard::on("read.mapped_is_verified") {
            RecordRef::verify(bytes, self.uid, at.offset).ok()?
        } else {
            RecordRef::decode(bytes).ok()?
        };
        (record.len() == bytes.len()).then_some(MappedRecord { record, mapping })
    }

    /// The mapping through which it is read, if any.
    fn readable(&self) -> Option<&Mapping> {
        self.mapping.get().or_else(|| self.growing.get())
    }

    /// Begins to fetch a record that is going to be read, where the segment is mapped.
    #[inline]
    pub fn prefetch(&self, at: Location) {
        if let Some(mapping) = self.readable() {
            mapping.prefetch(range_of(at));
        }
    }

    /// Waits until the record at `at` is in memory, where the segment is mapped, and says whether it is.
    #[must_use]
    pub fn touch(&self, at: Location) -> bool {
        const LINE_BYTES: usize = 64;
        let range = at.offset as usize..at.offset as usize + at.len as usize;
        let mapping = self.mapping.get().or_else(|| self.growing.get());
        let Some(bytes) = mapping.and_then(|mapping| mapping.slice(range)) else { return false };
        bytes.iter().step_by(LINE_BYTES).chain(bytes.last()).for_each(|byte| {
            std::hint::black_box(*byte);
        });
        true
    }

    /// The record at `at` and its bytes, where the segment is mapped and the record verifies.
    pub(crate) fn mapped_bytes_at(&self, at: Location) -> Option<(RecordRef<'_>, &[u8])> {
        let mapped = self.mapped(at)?;
        Some((mapped.record, mapped.mapping.bytes().get(range_of(at))?))
    }

    /// As [`Segment::read`], by position.
    pub(crate) fn read_again(&self, at: Location) -> Result<RecordBuf> {
        match self.read_once(at) {
            Err(error) if error.kind() == ErrorKind::Corruption => self.read_once(at),
            result => result,
        }
    }

    fn read_once(&self, at: Location) -> Result<RecordBuf> {
        let mut bytes = vec![0; at.len as usize];
        self.file.read_exact_at(&mut bytes, u64::from(at.offset)).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self.corruption(
                u64::from(at.offset),
                format!("the file ends inside a record of {} bytes", at.len),
            ),
            _ => self.io("reading a record", e).with_offset(u64::from(at.offset)),
        })?;
        self.verify(bytes.into(), at)
    }

    /// Verifies bytes that stand, or will stand, at `at`.
    pub(crate) fn verify(&self, bytes: Bytes, at: Location) -> Result<RecordBuf> {
        let corrupt = |e| self.corruption(u64::from(at.offset), e);
        let head = Head::decode(&bytes).map_err(corrupt)?;
        let len = RecordRef::verify_behind(&head, &bytes, self.uid, at.offset).map_err(corrupt)?.len();
        if len != at.len as usize {
            let what = format!("the record has {len} bytes, the index says {}", at.len);
            return Err(self.corruption(u64::from(at.offset), what));
        }
        Ok(RecordBuf { bytes, head })
    }
}

/// Leaves the lowest and the highest.
fn keep_ends(numbers: &mut Vec<Seq>) {
    let ends = [numbers.iter().min().copied(), numbers.iter().max().copied()];
    numbers.clear();
    numbers.extend(ends.into_iter().flatten());
}

/// Where a record stands in its segment's file.
fn range_of(at: Location) -> Range<usize> {
    at.offset as usize..at.offset as usize + at.len as usize
}

/// A verified record in the memory through which its segment is mapped.
#[derive(Debug, Clone, Copy)]
pub struct MappedRecord<'s> {
    record: RecordRef<'s>,
    mapping: &'s Mapping,
}

impl<'s> MappedRecord<'s> {
    /// The record.
    #[must_use]
    pub fn record(&self) -> &RecordRef<'s> {
        &self.record
    }

    /// A part of the record, to keep: without a copy, but it keeps the mapping.
    #[must_use]
    pub fn slice(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.mapping.slice_of(part).unwrap_or_default() }
    }
}

/// The bytes of one record, verified.
#[derive(Debug, Clone)]
pub struct RecordBuf {
    bytes: Bytes,
    head: Head,
}

impl RecordBuf {
    /// The record.
    ///
    /// # Errors
    /// Never for bytes that were verified; the error keeps callers from having to trust that.
    pub fn record(&self) -> Result<RecordRef<'_>> {
        RecordRef::behind(&self.head, &self.bytes)
            .map_err(|e| Error::new(ErrorKind::Corruption, e.to_string()))
    }

    /// All of the record's bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// A part of the record that [`RecordBuf::record`] gave, sharing its memory.
    #[must_use]
    pub fn slice(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.bytes.slice_ref(part) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_and_every_flipped_bit_of_a_header_is_an_error() {
        let header = SegmentHeader { id: SegmentId(7), uid: SegmentUid([1; 16]), store: StoreId([2; 16]) };
        let bytes = header.encode();
        assert_eq!(bytes.len(), SEGMENT_HEADER as usize);
        assert_eq!(SegmentHeader::decode(&bytes).unwrap(), header);
        for len in 0..bytes.len() {
            let error = SegmentHeader::decode(&bytes[..len]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corruption, "cut to {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let kind = if (64..96).contains(&bit) { ErrorKind::Version } else { ErrorKind::Corruption };
            assert_eq!(SegmentHeader::decode(&bytes).unwrap_err().kind(), kind, "bit {bit}");
        }
    }
}
