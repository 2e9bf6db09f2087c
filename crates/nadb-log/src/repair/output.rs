//! The second pass: salvaged records, in the order of their numbers, and the new segments that they go to.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use nadb_core::{Entropy, Error, NamespaceId, Result, SegmentId, SegmentUid, Seq, StoreId};
use nadb_vfs::{File, Fs};

use super::names::Settled;
use super::scan::{Piece, Scan, frame_len};
use crate::frame::{FRAME_HEADER_MAX, Frame, FrameBody, FrameHeader, FramePlace, put_opening, put_void};
use crate::names::unfinished_path;
use crate::record::{RecordFields, RecordKind, RecordRef};
use crate::replay::read_error;
use crate::segment::{SEGMENT_HEADER, Segment, SegmentHeader};
use crate::window::Window;

/// Bytes that wait for one write.
const BUFFER_BYTES: usize = 1 << 20;
/// Numbers that one void frame can cover.
const VOID_NUMBERS_MAX: u64 = u32::MAX as u64;

/// For each key of a lost record: the newest salvaged record, and whether it is a value.
pub(super) type Newest = HashMap<(NamespaceId, Vec<u8>), Option<(Seq, bool)>>;

/// Shows every salvaged record that stays to `newest` and, if there is one, to `output`. Gives how many there are.
pub(super) fn salvage(
    scan: &Scan,
    settled: &Settled,
    newest: &mut Newest,
    mut output: Option<&mut Output<'_>>,
) -> Result<u64> {
    let mut records = 0;
    for scanned in &scan.segments {
        let segment = &*scanned.source.segment;
        let mut window = Window::new(&*segment.file, scanned.source.len);
        for piece in &scanned.pieces {
            let mut at = piece.offset;
            while at < piece.end {
                let found = read(&mut window, segment, piece, at)?;
                for (record, offset, bytes) in &found.records {
                    let is_drop = record.kind == RecordKind::NamespaceDrop;
                    if settled.skipped.contains(&record.namespace) && !is_drop {
                        continue;
                    }
                    records += 1;
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
    Ok(records)
}

fn note(newest: &mut Newest, record: &RecordRef<'_>) {
    if newest.is_empty() || !matches!(record.kind, RecordKind::Value | RecordKind::Tombstone) {
        return;
    }
    if let Some(slot) = newest.get_mut(&(record.namespace, record.key.to_vec())) {
        *slot = Some((record.seq, record.kind == RecordKind::Value));
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
    pub(super) written: Vec<Written>,
    pub(super) last_seq: Seq,
    made: Vec<PathBuf>,
    body: FrameBody,
    /// Of the records in `body`.
    first: Seq,
    time_ms: u64,
    active: Option<Active>,
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
            written: Vec::new(),
            last_seq: Seq(0),
            made: Vec::new(),
            body: FrameBody::new(),
            first: Seq(0),
            time_ms: 0,
            active: None,
        }
    }

    /// Adds a record to the frame that is being made.
    fn add(&mut self, record: &RecordRef<'_>, bytes: &[u8], crc: u32, time_ms: u64) -> Result<()> {
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

    fn end_frame(&mut self) -> Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        while let Some(create) = self.made_up.first_entry().filter(|create| *create.key() < self.first) {
            let (seq, (id, name)) = create.remove_entry();
            let mut body = FrameBody::new();
            let kind = RecordKind::NamespaceCreate;
            body.push(&RecordFields::new(kind, id, name.as_bytes(), b"", self.now_ms));
            self.place(&body, seq, self.now_ms)?;
        }
        let body = std::mem::take(&mut self.body);
        self.place(&body, self.first, self.time_ms)
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

    /// Makes the active segment durable, but for its name.
    pub(super) fn end_segment(&mut self) -> Result<()> {
        let Some(mut active) = self.active.take() else { return Ok(()) };
        active.write()?;
        // DURABILITY: the content before the manifest that will name it.
        active.file.sync_all().map_err(|e| Error::io("syncing a salvaged segment", &active.path, e))?;
        let len = active.buffer_at;
        let segment = Arc::new(Segment::new(active.id, active.uid, active.path, active.file));
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
