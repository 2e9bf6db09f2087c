//! Writing a compacted segment: records that were verified where they stood, copied into frames of their own, and the footer of
//! their rows.
//!
//! It promises that what is finished is durable and opens as it was written, and that a file which comes to nothing is removed. It
//! leaves to the caller which records come, and that they come in key order; to [`super`] that a manifest names the file.

use std::sync::Arc;

use bytes::Bytes;
use nadb_core::{Error, Location, Ordinal, Result, SegmentUid, guard};
use nadb_vfs::Fs;

use crate::footer::{FooterBuilder, Origin};
use crate::frame::CopiedBody;
use crate::log::ReadMode;
use crate::manifest::SealedExtent;
use crate::record::{RecordFields, RecordKind, RecordRef};
use crate::row::{Row, RowMeta, SystemRow};
use crate::rows::Rows;
use crate::seal::{mapped_footer, open_bytes};
use crate::segment::{SEGMENT_HEADER, Segment};

/// Bytes of records behind which a frame ends. The larger, the less there is beside the records; the smaller, the less goes with
/// damage that also takes the footer.
const FRAME_BYTES: usize = 64 << 10;
/// Bytes that are written at a time.
const WRITE_BYTES: usize = 1 << 20;
/// Bytes behind which the file is synced, so that not all of it waits for the disk in the end.
const SYNC_BYTES: u64 = 16 << 20;

/// A verified record, in the bytes in which it stands.
#[derive(Debug, Clone, Copy)]
pub struct SourceRecord<'s> {
    /// The record.
    pub record: RecordRef<'s>,
    pub(crate) bytes: &'s [u8],
    /// The sum of the bytes, without the mix of a place.
    pub(crate) crc: u32,
}

impl Segment {
    /// Shows the record at `at`, verified, to be copied. Through the mapping where there is one: who copies much has read the
    /// file by position before ([`Segment::read_ahead`]), so that a medium that fails has answered with an error.
    ///
    /// # Errors
    /// `Corruption` with file and offset, `Io`, and what `show` answers.
    pub fn with_source<T>(
        &self,
        at: Location,
        show: impl FnOnce(&SourceRecord<'_>) -> Result<T>,
    ) -> Result<T> {
        if let Some((record, bytes)) = self.mapped_bytes_at(at) {
            return show(&SourceRecord { record, bytes, crc: record.raw_crc(self.uid, at.offset) });
        }
        let buf = self.read_again(at)?;
        let record = buf.record()?;
        show(&SourceRecord { record, bytes: buf.bytes(), crc: record.raw_crc(self.uid, at.offset) })
    }

    /// Reads bytes of the file by position and forgets them: so that they are in the system's memory, and an error of the medium
    /// is an error and not a signal.
    ///
    /// # Errors
    /// `Io`.
    pub fn read_ahead(&self, from: u64, len: usize, scratch: &mut Vec<u8>) -> Result<()> {
        scratch.resize(len, 0);
        let read = self.file.read_exact_at(scratch, from);
        read.map_err(|e| self.io("reading a segment to compact it", e).with_offset(from))
    }
}

/// What a record in the frame that is being filled is.
#[derive(Debug)]
enum Unplaced {
    Row,
    System,
}

/// A compacted segment that is being written.
#[derive(Debug)]
pub struct Output {
    /// Who removes the file of an output that comes to nothing; `None` where the caller does.
    fs: Option<Arc<dyn Fs>>,
    segment: Option<Segment>,
    uid: SegmentUid,
    time_ms: u64,
    mode: ReadMode,
    /// The frame that is being filled.
    body: CopiedBody,
    unplaced: Vec<Unplaced>,
    /// Frames that the file does not have yet, and where they go.
    buffer: Vec<u8>,
    buffer_at: u32,
    unsynced: u64,
    /// By ordinal; of those that are not placed yet the offset is 0.
    metas: Vec<RowMeta>,
    placed_rows: usize,
    system: Vec<SystemRow>,
    placed_system: usize,
    keys: FooterBuilder,
    encoded: Vec<u8>,
    written: u64,
}

/// A compacted segment that is whole and durable, and that no manifest names yet.
#[derive(Debug)]
pub struct Compacted {
    fs: Option<Arc<dyn Fs>>,
    segment: Arc<Segment>,
    rows: Rows,
    /// Whether the file stays when this goes: a manifest names it, or may.
    pub(super) is_kept: bool,
}

impl Output {
    /// Fills a file that has its header and nothing else.
    pub(crate) fn new(fs: Option<Arc<dyn Fs>>, segment: Segment, mode: ReadMode, time_ms: u64) -> Output {
        Output {
            fs,
            uid: segment.uid,
            segment: Some(segment),
            time_ms,
            mode,
            body: CopiedBody::default(),
            unplaced: Vec::new(),
            buffer: Vec::new(),
            buffer_at: SEGMENT_HEADER,
            unsynced: 0,
            metas: Vec::new(),
            placed_rows: 0,
            system: Vec::new(),
            placed_system: 0,
            keys: FooterBuilder::new(),
            encoded: Vec::new(),
            written: 0,
        }
    }

    /// Bytes of frames so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        u64::from(self.buffer_at) + (self.buffer.len() + self.body.frame_len_max()) as u64
    }

    /// Rows so far.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "a row has more than one byte of less than 4 GiB")]
    pub fn rows(&self) -> u32 {
        self.metas.len() as u32
    }

    /// Bytes handed to the file so far.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Copies a record that says something of a key, with the number that it has. Records come in order of (namespace, key,
    /// number).
    ///
    /// # Errors
    /// `InvalidInput` for another record, or one out of order; `NoSpace`, `Io`.
    pub fn push(&mut self, source: &SourceRecord<'_>) -> Result<Ordinal> {
        self.body.push(source.bytes, source.crc, source.record.seq);
        self.push_row(&source.record)
    }

    /// Writes a tombstone in the place of a record that is gone for good, with its number: what the record has displaced stays
    /// so.
    ///
    /// # Errors
    /// As [`Output::push`].
    pub fn push_tombstone(&mut self, source: &SourceRecord<'_>) -> Result<Ordinal> {
        let SourceRecord { record, .. } = source;
        if record.kind == RecordKind::Tombstone {
            return self.push(source);
        }
        let (kind, now_ms) = (RecordKind::Tombstone, record.updated_ms);
        let mut encoded = std::mem::take(&mut self.encoded);
        encoded.clear();
        let crc = RecordFields::new(kind, record.namespace, record.key, &[], now_ms).encode(&mut encoded);
        self.body.push(&encoded, crc, record.seq);
        let pushed = match RecordRef::decode(&encoded) {
            Ok(mut tombstone) => {
                tombstone.seq = record.seq;
                self.push_row(&tombstone)
            }
            Err(error) => Err(Error::invalid(error.to_string())),
        };
        self.encoded = encoded;
        pushed
    }

    /// Copies a record about the store itself.
    ///
    /// # Errors
    /// As [`Output::push`].
    pub fn push_system(&mut self, source: &SourceRecord<'_>) -> Result<()> {
        let Some(row) = SystemRow::of(&source.record, 0) else {
            return Err(Error::invalid("this is no record about the store itself"));
        };
        self.body.push(source.bytes, source.crc, source.record.seq);
        self.system.push(row);
        self.unplaced.push(Unplaced::System);
        self.end_frame_if_full()
    }

    fn push_row(&mut self, record: &RecordRef<'_>) -> Result<Ordinal> {
        let ordinal = Ordinal(self.rows());
        let Some(row) = Row::of(record, 0) else {
            return Err(Error::invalid("this is no record of a key"));
        };
        let tags = row.tags.iter().map_while(std::result::Result::ok);
        self.keys.push_key(row.namespace, row.key, ordinal, tags)?;
        self.metas.push(row.meta);
        self.unplaced.push(Unplaced::Row);
        self.end_frame_if_full()?;
        Ok(ordinal)
    }

    fn end_frame_if_full(&mut self) -> Result<()> {
        if self.body.len() < FRAME_BYTES {
            return Ok(());
        }
        self.end_frame()?;
        if self.buffer.len() < WRITE_BYTES { Ok(()) } else { self.write_out() }
    }

    /// Gives the records that wait their places.
    fn end_frame(&mut self) -> Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        let end = self.bytes();
        let at = u32::try_from(end).ok().and_then(|_| {
            let at = u64::from(self.buffer_at) + self.buffer.len() as u64;
            u32::try_from(at).ok()
        });
        let at = at.ok_or_else(|| Error::limit("a compacted segment has no room beyond 4 GiB"))?;
        let (mut rows, mut system) =
            (self.metas.iter_mut().skip(self.placed_rows), self.system.iter_mut().skip(self.placed_system));
        let mut unplaced = self.unplaced.drain(..);
        self.body.place(&mut self.buffer, (&self.uid, at, self.time_ms), |offset| match unplaced.next() {
            Some(Unplaced::Row) => rows.next().into_iter().for_each(|row| row.offset = offset),
            Some(Unplaced::System) => system.next().into_iter().for_each(|row| row.offset = offset),
            None => {}
        });
        drop(unplaced);
        (self.placed_rows, self.placed_system) = (self.metas.len(), self.system.len());
        Ok(())
    }

    fn segment(&self) -> Result<&Segment> {
        self.segment.as_ref().ok_or_else(|| Error::invalid("the output is finished"))
    }

    fn write_out(&mut self) -> Result<()> {
        let segment = self.segment()?;
        write_at(segment, &self.buffer, self.buffer_at)?;
        let len = self.buffer.len();
        let is_sync_due = self.unsynced + len as u64 >= SYNC_BYTES;
        if is_sync_due {
            segment.file.sync_data().map_err(|e| segment.io("syncing a compacted segment", e))?;
        }
        self.unsynced = if is_sync_due { 0 } else { self.unsynced + len as u64 };
        self.buffer_at = self.buffer_at.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        self.written += len as u64;
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and the footer, and makes all of it durable.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Limit`: the file is removed.
    pub(super) fn finish(mut self, origin: Origin) -> Result<Compacted> {
        let (extent, footer) = self.complete(Some(origin))?;
        let in_memory = open_bytes(footer, self.segment()?, extent.frames_end)?;
        let Some(segment) = self.segment.take() else {
            return Err(Error::invalid("the output is finished"));
        };
        // From here on the file is the new owner's to remove.
        let mut compacted =
            Compacted { fs: self.fs.clone(), segment: Arc::new(segment), rows: Rows::none(), is_kept: false };
        let segment = &compacted.segment;
        segment.set_extent(extent);
        let mapped = segment.map_sealed(extent, self.mode);
        let mapped = mapped.and_then(|mapping| mapped_footer(&mapping, segment, extent).ok());
        let rows = Rows::Footer(Arc::new(mapped.unwrap_or(in_memory)));
        segment.add_rows(&rows)?;
        compacted.rows = rows;
        Ok(compacted)
    }

    /// As a segment that is written again, without an origin, from what a repair has saved of it.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Limit`.
    pub(crate) fn finish_saved(mut self) -> Result<Segment> {
        let (extent, _) = self.complete(None)?;
        let segment = self.segment.take().ok_or_else(|| Error::invalid("the output is finished"))?;
        segment.set_extent(extent);
        Ok(segment)
    }

    /// Writes what is left and the footer, durably; gives where they end, and the footer's bytes.
    fn complete(&mut self, origin: Option<Origin>) -> Result<(SealedExtent, Bytes)> {
        self.end_frame()?;
        self.write_out()?;
        let frames_end = self.buffer_at;
        let mut keys = std::mem::take(&mut self.keys);
        if let Some(origin) = origin {
            keys.set_origin(origin);
        }
        let footer = Bytes::from(keys.finish(self.uid, frames_end, &self.metas, &self.system)?);
        let segment = self.segment()?;
        write_at(segment, &footer, frames_end)?;
        // DURABILITY: all of it before the manifest that names it in the place of others.
        if guard::on("compact.sync_output") {
            segment.file.sync_all().map_err(|e| segment.io("syncing a compacted segment", e))?;
        }
        let file_len = u32::try_from(footer.len()).ok().and_then(|len| frames_end.checked_add(len));
        let file_len = file_len.ok_or_else(|| Error::limit("a compacted segment has more than 4 GiB"))?;
        let numbers = self.metas.iter().map(|row| row.seq).chain(self.system.iter().map(|row| row.seq));
        let last_seq = numbers.max().unwrap_or_default();
        Ok((SealedExtent { frames_end, file_len, last_seq, is_compacted: true }, footer))
    }
}

fn write_at(segment: &Segment, bytes: &[u8], at: u32) -> Result<()> {
    let written = segment.file.write_all_at(bytes, u64::from(at));
    written.map_err(|e| segment.io("writing a compacted segment", e.source))
}

impl Drop for Output {
    fn drop(&mut self) {
        if let (Some(segment), Some(fs)) = (&self.segment, &self.fs) {
            // What cannot be removed now goes at the next opening: no manifest names it.
            let _ = fs.remove(&segment.path);
        }
    }
}

impl Compacted {
    /// The segment.
    #[must_use]
    pub fn segment(&self) -> &Arc<Segment> {
        &self.segment
    }

    /// Its rows, in key order.
    #[must_use]
    pub fn rows(&self) -> &Rows {
        &self.rows
    }
}

impl Drop for Compacted {
    fn drop(&mut self) {
        if let Some(fs) = self.fs.as_ref().filter(|_| !self.is_kept) {
            let _ = fs.remove(&self.segment.path);
        }
    }
}
