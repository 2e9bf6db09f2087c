//! A segment's file: its header, and reading records from it.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use nadb_core::{Error, ErrorKind, Location, Result, SegmentId, SegmentUid, Seq, StoreId};
use nadb_vfs::File;

use crate::bytes::Reader;
use crate::checksum::crc32;
use crate::record::RecordRef;
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
    live_records: AtomicU64,
    live_bytes: AtomicU64,
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
            live_records: AtomicU64::new(0),
            live_bytes: AtomicU64::new(0),
        }
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

    /// Its first and last sequence number, `None` while it has no record.
    #[must_use]
    pub fn seq_range(&self) -> Option<(Seq, Seq)> {
        let first = self.first_seq.load(Ordering::Acquire);
        (first != 0).then(|| (Seq(first), Seq(self.last_seq.load(Ordering::Acquire))))
    }

    /// Records, live records, bytes of live records.
    #[must_use]
    pub fn counts(&self) -> [u64; 3] {
        [&self.records, &self.live_records, &self.live_bytes].map(|count| count.load(Ordering::Relaxed))
    }

    /// Counts records of a published frame, none of them live yet.
    pub(crate) fn add_records(&self, first: Seq, count: u32) {
        if count > 0 {
            let _ = self.first_seq.compare_exchange(0, first.0, Ordering::AcqRel, Ordering::Relaxed);
            self.last_seq.store(first.plus(u64::from(count)).previous().0, Ordering::Release);
            self.records.fetch_add(u64::from(count), Ordering::Relaxed);
        }
    }

    /// Counts a record of `len` bytes as live.
    pub fn add_live(&self, len: u32) {
        self.live_records.fetch_add(1, Ordering::Relaxed);
        self.live_bytes.fetch_add(u64::from(len), Ordering::Relaxed);
    }

    /// Counts a record of `len` bytes as dead that was live.
    pub fn remove_live(&self, len: u32) {
        self.live_records.fetch_sub(1, Ordering::Relaxed);
        self.live_bytes.fetch_sub(u64::from(len), Ordering::Relaxed);
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
        self.verify(bytes, at)
    }

    /// Verifies bytes that stand, or will stand, at `at`.
    pub(crate) fn verify(&self, bytes: Vec<u8>, at: Location) -> Result<RecordBuf> {
        let checked = RecordRef::verify(&bytes, self.uid, at.offset).map(|record| record.len());
        match checked {
            Ok(len) if len == at.len as usize => Ok(RecordBuf(bytes.into())),
            Ok(len) => Err(self.corruption(
                u64::from(at.offset),
                format!("the record has {len} bytes, the index says {}", at.len),
            )),
            Err(e) => Err(self.corruption(u64::from(at.offset), e)),
        }
    }
}

/// The bytes of one record, verified.
#[derive(Debug, Clone)]
pub struct RecordBuf(Bytes);

impl RecordBuf {
    /// The record.
    ///
    /// # Errors
    /// Never for bytes that were verified; the error keeps callers from having to trust that.
    pub fn record(&self) -> Result<RecordRef<'_>> {
        RecordRef::decode(&self.0).map_err(|e| Error::new(ErrorKind::Corruption, e.to_string()))
    }

    /// A part of the record that [`RecordBuf::record`] gave, sharing its memory.
    #[must_use]
    pub fn slice(&self, part: &[u8]) -> Bytes {
        if part.is_empty() { Bytes::new() } else { self.0.slice_ref(part) }
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
