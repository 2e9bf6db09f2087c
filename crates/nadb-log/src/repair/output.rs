//! The new segments that salvaged records go to, in the order of their numbers; those of a compacted segment go to one of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Entropy, Error, NamespaceId, Result, SegmentId, SegmentUid, Seq, StoreId};
use nadb_vfs::{File, Fs};

use super::check::BadFooter;
use crate::compaction::{self, SourceRecord};
use crate::frame::{FRAME_HEADER_MAX, FrameBody, FramePlace, put_opening, put_void};
use crate::log::ReadMode;
use crate::names::unfinished_path;
use crate::record::{RecordFields, RecordKind, RecordRef};
use crate::row::Row;
use crate::segment::{SEGMENT_HEADER, Segment, SegmentHeader};

/// Bytes that wait for one write.
const BUFFER_BYTES: usize = 1 << 20;
/// Numbers that one void frame can cover.
const VOID_NUMBERS_MAX: u64 = u32::MAX as u64;

/// A segment that was written.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) segment: Arc<Segment>,
    pub(super) len: u32,
}

/// Writes new segments. Their files have names that opening passes over.
pub(super) struct Output<'a> {
    pub(super) fs: &'a dyn Fs,
    pub(super) dir: PathBuf,
    pub(super) store: StoreId,
    pub(super) entropy: &'a dyn Entropy,
    pub(super) now_ms: u64,
    pub(super) segment_size: u64,
    /// The number of the next new segment.
    pub(super) next_id: SegmentId,
    /// Create records to be made up.
    pub(super) made_up: BTreeMap<Seq, (NamespaceId, String)>,
    /// Whether the segments get footers: there are compacted ones beside them, and what is not sealed has higher numbers than all
    /// that is.
    pub(super) seals: bool,
    pub(super) written: Vec<Written>,
    pub(super) last_seq: Seq,
    made: Vec<PathBuf>,
    body: FrameBody,
    /// Of the records in `body`.
    first: Seq,
    time_ms: u64,
    active: Option<Active>,
    copies: Option<compaction::Output>,
}

struct Active {
    id: SegmentId,
    uid: SegmentUid,
    path: PathBuf,
    file: Arc<dyn File>,
    /// Bytes that are not in the file yet, and where they begin.
    buffer: Vec<u8>,
    buffer_at: u32,
}

impl Active {
    fn offset(&self) -> u32 {
        self.buffer_at.saturating_add(u32::try_from(self.buffer.len()).unwrap_or(u32::MAX))
    }

    fn write(&mut self) -> Result<()> {
        let failed = |e: nadb_vfs::WriteError| Error::io("writing a salvaged segment", &self.path, e.source);
        self.file.write_all_at(&self.buffer, u64::from(self.buffer_at)).map_err(failed)?;
        self.buffer_at = self.offset();
        self.buffer.clear();
        Ok(())
    }
}

impl<'a> Output<'a> {
    pub(super) fn new(fs: &'a dyn Fs, dir: PathBuf, store: StoreId, entropy: &'a dyn Entropy) -> Output<'a> {
        Output {
            fs,
            dir,
            store,
            entropy,
            now_ms: 0,
            segment_size: 0,
            next_id: SegmentId(1),
            made_up: BTreeMap::new(),
            seals: false,
            written: Vec::new(),
            last_seq: Seq(0),
            made: Vec::new(),
            body: FrameBody::new(),
            first: Seq(0),
            time_ms: 0,
            active: None,
            copies: None,
        }
    }

    /// Adds a record to the frame that is being made.
    pub(super) fn add(&mut self, record: &RecordRef<'_>, bytes: &[u8], crc: u32, time_ms: u64) -> Result<()> {
        if !self.body.is_empty() && self.first.plus(u64::from(self.body.count())) != record.seq {
            self.end_frame()?;
        }
        if self.body.is_empty() {
            self.first = record.seq;
            self.time_ms = time_ms;
        }
        self.body.push_encoded(bytes, crc);
        Ok(())
    }

    pub(super) fn end_frame(&mut self) -> Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        self.place_made_up(self.first)?;
        let body = std::mem::take(&mut self.body);
        self.place(&body, self.first, self.time_ms)
    }

    /// The create records that were made up, with numbers below `end`.
    fn place_made_up(&mut self, end: Seq) -> Result<()> {
        while let Some(create) = self.made_up.first_entry().filter(|create| *create.key() < end) {
            let (seq, (id, name)) = create.remove_entry();
            let mut body = FrameBody::new();
            let kind = RecordKind::NamespaceCreate;
            body.push(&RecordFields::new(kind, id, name.as_bytes(), b"", self.now_ms));
            self.place(&body, seq, self.now_ms)?;
        }
        Ok(())
    }

    /// After the last record that is no copy.
    pub(super) fn end_originals(&mut self) -> Result<()> {
        self.end_frame()?;
        self.place_made_up(Seq(u64::MAX))?;
        self.end_segment()
    }

    /// Adds a record to the compacted segment that is being made.
    pub(super) fn add_copy(&mut self, record: &RecordRef<'_>, bytes: &[u8], crc: u32) -> Result<()> {
        let copies = match &mut self.copies {
            Some(copies) => copies,
            None => {
                let (id, uid, path, file) = self.begin_file()?;
                let header = SegmentHeader { id, uid, store: self.store }.encode();
                let failed =
                    |e: nadb_vfs::WriteError| Error::io("writing a salvaged segment", &path, e.source);
                file.write_all_at(&header, 0).map_err(failed)?;
                let segment = Segment::new(id, uid, path, file);
                self.copies.insert(compaction::Output::new(None, segment, ReadMode::Positioned, self.now_ms))
            }
        };
        let source = SourceRecord { record: *record, bytes, crc };
        if Row::of(record, 0).is_some() {
            copies.push(&source).map(|_| ())
        } else {
            copies.push_system(&source)
        }
    }

    /// Makes the compacted segment durable, but for its name.
    pub(super) fn end_copies(&mut self) -> Result<()> {
        let Some(copies) = self.copies.take() else { return Ok(()) };
        let segment = Arc::new(copies.finish_saved()?);
        let len = u32::try_from(segment.bytes()).unwrap_or(u32::MAX);
        self.written.push(Written { segment, len });
        Ok(())
    }

    fn place(&mut self, body: &FrameBody, first: Seq, time_ms: u64) -> Result<()> {
        let gap = first.0.saturating_sub(self.last_seq.next().0);
        let fits = self.active.as_ref().is_some_and(|active| self.fits(active, body.len()));
        if !fits || gap > VOID_NUMBERS_MAX {
            self.end_segment()?;
            self.begin_segment(first)?;
        } else if gap > 0 {
            let count = u32::try_from(gap).unwrap_or(u32::MAX);
            let next = self.last_seq.next();
            self.put(next, time_ms, |out, place| put_void(out, place, 0, count));
        }
        self.put(first, time_ms, |out, place| {
            body.place(out, place);
        });
        self.last_seq = first.plus(u64::from(body.count())).previous();
        match &mut self.active {
            Some(active) if active.buffer.len() >= BUFFER_BYTES => active.write(),
            _ => Ok(()),
        }
    }

    fn put(&mut self, first_seq: Seq, time_ms: u64, put: impl FnOnce(&mut Vec<u8>, FramePlace<'_>)) {
        if let Some(active) = &mut self.active {
            let offset = active.offset();
            // Nothing of the repaired log counts before all of it is durable.
            let durable_upto = first_seq.previous();
            put(
                &mut active.buffer,
                FramePlace { uid: &active.uid, offset, first_seq, durable_upto, time_ms },
            );
        }
    }

    fn fits(&self, active: &Active, body_len: u32) -> bool {
        let end = u64::from(active.offset()) + 2 * FRAME_HEADER_MAX as u64 + u64::from(body_len);
        end <= self.segment_size.min(u64::from(u32::MAX))
    }

    /// Begins a segment whose first number is `base`.
    fn begin_segment(&mut self, base: Seq) -> Result<()> {
        let (id, uid, path, file) = self.begin_file()?;
        let mut buffer = SegmentHeader { id, uid, store: self.store }.encode();
        let place = FramePlace {
            uid: &uid,
            offset: SEGMENT_HEADER,
            first_seq: base,
            durable_upto: self.last_seq,
            time_ms: self.now_ms,
        };
        put_opening(&mut buffer, place, self.last_seq);
        self.active = Some(Active { id, uid, path, file, buffer, buffer_at: 0 });
        Ok(())
    }

    fn begin_file(&mut self) -> Result<(SegmentId, SegmentUid, PathBuf, Arc<dyn File>)> {
        let id = self.next_id;
        if id.0 == u32::MAX {
            return Err(Error::limit("the store has used up its segment numbers"));
        }
        self.next_id.0 += 1;
        let mut uid = [0; 16];
        self.entropy.fill(&mut uid)?;
        let uid = SegmentUid(uid);
        let path = unfinished_path(&self.dir, id);
        let file =
            self.fs.create_new(&path).map_err(|e| Error::io("creating a salvaged segment", &path, e))?;
        self.made.push(path.clone());
        Ok((id, uid, path, file))
    }

    /// Makes the active segment durable, but for its name.
    pub(super) fn end_segment(&mut self) -> Result<()> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        active.write()?;
        // DURABILITY: the content before the manifest that will name it.
        active.file.sync_all().map_err(|e| Error::io("syncing a salvaged segment", &active.path, e))?;
        let len = active.buffer_at;
        let segment = Arc::new(Segment::new(active.id, active.uid, active.path, active.file));
        if self.seals {
            segment.in_file.store(len, Ordering::Release);
            let footer = BadFooter::absent(&segment, len, self.last_seq);
            segment.set_extent(footer.rebuild()?);
        }
        self.written.push(Written { segment, len });
        Ok(())
    }

    /// Gives the room of what was written back, after a failure.
    pub(super) fn discard(&self) {
        for path in &self.made {
            let _ = self.fs.remove(path);
        }
    }
}
