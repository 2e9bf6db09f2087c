//! What the fuzz targets do with their bytes, so that a plain test can replay the corpora.
//!
//! The bytes are hostile on purpose: checksums are made to hold (by a second implementation, written from docs/format.md), so
//! that what stands behind them is reached. A target promises to panic on a broken promise of the code and on nothing else.

mod blob;
mod checkpoint;
mod footer;
mod query;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{
    Codec, Durability, Location, ManualClock, NamespaceId, Result, SeededEntropy, SegmentUid, Seq,
};
use nadb_log::{
    Frame, FrameBody, FrameHeader, FrameKind, Log, LogOptions, Manifest, Placed, Publish, ReadMode,
    RecordFields, RecordKind, RecordRef, SEGMENT_HEADER, SealedSegment, Segment, Visit,
};
use nadb_vfs::{Fs, MemFs};

pub use blob::blob_decode;
pub use checkpoint::checkpoint_decode;
pub use footer::footer_decode;
pub use query::query_parse;

const DIR: &str = "db";
/// Bytes in front of what a record's checksum covers.
const RECORD_CRC_FROM: usize = 11;

/// Decodes frames and records, as they are and with checksums that hold; what verifies goes through a log and comes out
/// the same.
///
/// # Panics
/// When a promise of the code is broken.
pub fn frame_decode(data: &[u8]) {
    let places =
        [(SegmentUid([0; 16]), 64), (SegmentUid([0xA5; 16]), 93), (SegmentUid([7; 16]), u32::MAX - 9)];
    let _ = FrameHeader::decode(data);
    for (uid, offset) in places {
        if let Ok(record) = RecordRef::verify(data, uid, offset) {
            explore(&record);
        }
        if let Ok(frame) = Frame::verify(data, uid, offset) {
            frame.records().for_each(|(_, record)| explore(&record));
        }
        let mut bytes = data.to_vec();
        if resum_frame(&mut bytes, uid, offset).is_some() {
            verified(&bytes, uid, offset);
        }
    }
    if let Ok(record) = RecordRef::decode(data) {
        assert!(record.len() <= data.len());
        explore(&record);
    }
}

/// A frame whose checksums hold: it may be refused for its content, or its records survive being written again.
fn verified(bytes: &[u8], uid: SegmentUid, offset: u32) {
    let Ok(frame) = Frame::verify(bytes, uid, offset) else { return };
    let records: Vec<_> = frame.records().map(|(_, record)| record).collect();
    if !matches!(frame.header.kind, FrameKind::Data | FrameKind::Copies) {
        assert!(records.is_empty());
        return;
    }
    assert_eq!(records.len(), frame.header.count as usize);
    let len: usize = records.iter().map(RecordRef::len).sum();
    assert_eq!(len, frame.header.body_len as usize, "records fill the body");
    records.iter().for_each(explore);
    written_again(&records);
}

fn written_again(records: &[RecordRef<'_>]) {
    let mut body = FrameBody::new();
    let mut marks = Vec::new();
    for record in records {
        let (at, len) = push(&mut body, record);
        assert!(len as usize <= record.len(), "a writer's form is the shortest");
        marks.push((at, len));
    }
    let store = Store::open(&MemFs::default(), 0).expect("an empty directory becomes a store");
    let placed = store.log.append(&body, Durability::Flushed, false, || ()).expect("the log takes it");
    for ((at, len), record) in marks.into_iter().zip(records) {
        let location = Location { segment: placed.segment, offset: placed.body_offset + at, len };
        let read = store.log.read(location).expect("it can be read");
        let again = read.record().expect("it was verified");
        assert_eq!((again.kind, again.namespace), (record.kind, record.namespace));
        assert_eq!((again.key, again.value), (record.key, record.value));
        assert_eq!((again.codec, again.logical_len), (record.codec, record.logical_len));
        assert_eq!((again.created_ms, again.updated_ms), (record.created_ms, record.updated_ms));
        assert_eq!(again.expires_ms, record.expires_ms);
        assert_eq!((again.tags(), again.extra()), (record.tags(), record.extra()));
    }
}

fn push(body: &mut FrameBody, record: &RecordRef<'_>) -> (u32, u32) {
    let tags = record.tags().expect("a verified frame's tags were checked");
    let (content_type, attrs) = record.extra().expect("and its attributes");
    body.push(&RecordFields {
        codec: record.codec,
        logical_len: record.logical_len,
        created_ms: record.created_ms,
        expires_ms: record.expires_ms,
        tags: Some(&tags),
        content_type,
        attrs: Some(&attrs),
        ..RecordFields::new(record.kind, record.namespace, record.key, record.value, record.updated_ms)
    })
}

/// Everything that a reader may ask a decoded record.
fn explore(record: &RecordRef<'_>) {
    let _ = (record.tags(), record.extra(), record.is_expired(5));
    if record.codec == Codec::Snappy
        && let Ok(value) = nadb_core::decompress(record.value, record.logical_len)
    {
        assert_eq!(value.len(), record.logical_len);
    }
}

/// Decodes a manifest, as it is and with a checksum that holds; what decodes encodes to the same bytes.
///
/// # Panics
/// When a promise of the code is broken.
pub fn manifest_decode(data: &[u8]) {
    let mut summed = data.to_vec();
    resum_tail(&mut summed);
    for bytes in [data, &summed] {
        if let Ok(manifest) = Manifest::decode(bytes) {
            assert_eq!(manifest.encode(), bytes);
        }
    }
}

/// Builds a directory as the bytes say and opens it: an error, or a store that a second opening finds the same.
///
/// The first byte chooses the store to begin with: none, one that was closed, one that was killed. Steps follow, each of
/// file (1 byte), what to do (1), offset (2), length (1), and for some the bytes.
///
/// # Panics
/// When a promise of the code is broken.
pub fn open_directory(data: &[u8]) {
    let Some((start, mut steps)) = data.split_first() else { return };
    let fs = MemFs::default();
    begin(&fs, *start).expect("the first store is whole");
    while let Some((step, rest)) = steps.split_first_chunk::<5>() {
        let [file, act, low, high, len] = *step;
        let path = path_of(file);
        let (bytes, rest) = rest.split_at(usize::from(len).min(rest.len()));
        steps = if matches!(act % 8, 0..=2) { rest } else { steps.get(5..).unwrap_or_default() };
        // A step that does not apply, such as one on a missing file, is passed over.
        let _ = take_step(&fs, &path, act % 8, u16::from_le_bytes([low, high]), bytes);
    }
    // Different from one opening to the next, as real randomness is.
    let Ok(store) = Store::open(&fs, 1) else { return };
    let mut rows = store.rows.clone();
    if let Ok(at) = store.put(b"after") {
        rows.push((at, b"after".to_vec()));
    }
    if data.len().is_multiple_of(2) {
        let _ = store.log.close();
    }
    drop(store);
    let again = Store::open(&fs, 2).expect("what opened once opens again");
    assert_eq!(again.rows, rows);
}

fn begin(fs: &MemFs, start: u8) -> Result<()> {
    let io = |e| nadb_core::Error::io("making the directory", DIR, e);
    match start % 3 {
        0 => fs.create_dir_all(Path::new(DIR)).map_err(io),
        kind => {
            let store = Store::open(fs, 3)?;
            for n in 0..8u8 {
                store.put(&[b'k', b'0' + n])?;
                if n == 3 {
                    store.log.sync_all()?;
                }
            }
            if kind == 1 { store.log.close() } else { Ok(()) }
        }
    }
}

fn path_of(file: u8) -> PathBuf {
    let names = [
        "MANIFEST",
        "0000000001.seg",
        "0000000002.seg",
        "0000000003.seg",
        "0000000004.seg",
        "4294967295.seg",
        "MANIFEST.tmp",
        "BALLAST",
        "LOCK",
        "thesis.txt",
    ];
    Path::new(DIR).join(names.get(usize::from(file) % names.len()).unwrap_or(&"MANIFEST"))
}

fn take_step(fs: &MemFs, path: &Path, act: u8, offset: u16, bytes: &[u8]) -> io::Result<()> {
    if act == 0 {
        let _ = fs.remove(path);
        return write(&*fs.create_new(path)?, bytes, 0);
    }
    if act == 6 {
        return fs.remove(path);
    }
    let file = fs.open_write(path)?;
    let mut content = vec![0; usize::try_from(file.len()?).unwrap_or_default()];
    file.read_exact_at(&mut content, 0)?;
    match act {
        1 => write(&*file, bytes, u64::from(offset)),
        2 => write(&*file, bytes, content.len() as u64),
        3 => file.set_len(u64::from(offset)),
        4 => file.set_len(content.len() as u64 + u64::from(offset)),
        5 if path.ends_with("MANIFEST") => {
            resum_tail(&mut content);
            write(&*file, &content, 0)
        }
        5 => {
            if let Some(header) = content.get_mut(..SEGMENT_HEADER as usize) {
                resum_tail(header);
            }
            write(&*file, &content, 0)
        }
        // Makes the frame that stands there hold.
        _ => {
            let uid = content.get(16..32).and_then(|uid| uid.try_into().ok()).map(SegmentUid);
            let frame = content.get_mut(usize::from(offset)..);
            if let (Some(uid), Some(frame)) = (uid, frame) {
                resum_frame(frame, uid, u32::from(offset));
            }
            write(&*file, &content, 0)
        }
    }
}

fn write(file: &dyn nadb_vfs::File, bytes: &[u8], at: u64) -> io::Result<()> {
    file.write_all_at(bytes, at).map_err(|e| e.source)
}

/// A store over the log that remembers what opening showed.
struct Store {
    log: Log<()>,
    rows: Vec<(Seq, Vec<u8>)>,
}

#[derive(Default)]
struct Rows(Vec<(Seq, Vec<u8>)>);

impl Visit for Rows {
    fn begin(&mut self, _hash_seed: u64) {}

    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()> {
        assert!(segments.is_empty(), "nobody seals here");
        Ok(())
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, _segment: &Arc<Segment>) -> Result<()> {
        assert_eq!(at.len as usize, record.len());
        assert!(self.0.last().is_none_or(|last| last.0 < record.seq), "numbers rise");
        self.0.push((record.seq, record.key.to_vec()));
        Ok(())
    }
}

struct Unseen;

impl Publish<()> for Unseen {
    fn publish(&self, (): (), _placed: Placed, _segment: &Arc<Segment>) {}
}

impl Store {
    fn open(fs: &MemFs, seed: u64) -> Result<Store> {
        let options = LogOptions {
            segment_size: 400,
            buffer_size: 1000,
            create: true,
            read_mode: ReadMode::default(),
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            entropy: Arc::new(SeededEntropy::new(seed)),
        };
        let mut rows = Rows::default();
        let log = Log::open(Arc::new(fs.clone()), Path::new(DIR), options, &mut rows, Arc::new(Unseen))?;
        Ok(Store { log, rows: rows.0 })
    }

    fn put(&self, key: &[u8]) -> Result<Seq> {
        let mut body = FrameBody::new();
        body.push(&RecordFields::new(RecordKind::Value, NamespaceId(1), key, &[b'v'; 40], 5));
        self.log.append(&body, Durability::Flushed, false, || ()).map(|placed| placed.first_seq)
    }
}

/// Makes the last four bytes the checksum of those before.
fn resum_tail(bytes: &mut [u8]) {
    if let Some((body, stored)) = bytes.split_last_chunk_mut::<4>() {
        *stored = crc32(&[body]).to_le_bytes();
    }
}

/// Gives the frame that `bytes` begin with, and its records, checksums that hold at this place.
fn resum_frame(bytes: &mut [u8], uid: SegmentUid, offset: u32) -> Option<()> {
    let header = FrameHeader::decode(bytes).ok()?;
    let len = usize::try_from(header.frame_len()).ok()?;
    let body_at = len - header.body_len as usize;
    let body = bytes.get_mut(body_at..len)?;
    let body_sum = match header.kind {
        FrameKind::Data | FrameKind::Copies => {
            let (mut at, mut sums) = (0, Vec::new());
            for index in 0..u64::from(header.count) {
                let record = body.get_mut(at..)?;
                let len = RecordRef::decode(record).ok()?.len();
                let crc = crc32(&[record.get(RECORD_CRC_FROM..len)?]);
                let place = offset.wrapping_add(u32::try_from(body_at + at).ok()?);
                let seq = header.first_seq.plus(index);
                let mixed = crc ^ mix(uid, place, seq);
                record.get_mut(..4)?.copy_from_slice(&mixed.to_le_bytes());
                record.get_mut(4..11)?.copy_from_slice(seq.0.to_le_bytes().get(..7)?);
                sums.extend_from_slice(&crc.to_le_bytes());
                at += len;
            }
            crc32(&[&sums])
        }
        FrameKind::Opening | FrameKind::EndMark => crc32(&[body]),
        FrameKind::Void => 0,
    };
    let head = bytes.get(4..body_at)?;
    let crc = crc32(&[head, &body_sum.to_le_bytes()]) ^ mix(uid, offset, header.first_seq);
    bytes.get_mut(..4)?.copy_from_slice(&crc.to_le_bytes());
    Some(())
}

/// The CRC-32 of every byte, before the inversions.
const CRC_OF_BYTE: [u32; 256] = {
    let mut table = [0; 256];
    let (mut byte, mut number) = (0, 0u32);
    while byte < 256 {
        let mut crc = number;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
        number += 1;
    }
    table
};

/// CRC-32 as docs/format.md names it, byte by byte: independent of the one under test.
fn crc32(parts: &[&[u8]]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let [low, ..] = (crc ^ u32::from(*byte)).to_le_bytes();
        CRC_OF_BYTE.get(usize::from(low)).copied().unwrap_or_default() ^ (crc >> 8)
    };
    !parts.iter().copied().flatten().fold(!0, step)
}

/// The place's part of a checksum, as docs/format.md has it.
fn mix(uid: SegmentUid, offset: u32, seq: Seq) -> u32 {
    let half = |from: usize| {
        let bytes = uid.0.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default();
        u64::from_le_bytes(bytes)
    };
    let place = finalize(half(0) ^ u64::from(offset));
    u32::try_from(finalize(place ^ half(8) ^ seq.0) >> 32).unwrap_or_default()
}

fn finalize(z: u64) -> u64 {
    let z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The inputs that the checked-in corpora begin with: target, name, bytes.
///
/// # Panics
/// Never; the stores that they are taken from are whole.
#[must_use]
pub fn seeds() -> Vec<(&'static str, String, Vec<u8>)> {
    let of = |target, seeds: Vec<(&str, Vec<u8>)>| {
        seeds.into_iter().map(move |(name, bytes)| (target, name.to_owned(), bytes)).collect::<Vec<_>>()
    };
    let mut seeds = of("footer_decode", footer::seeds());
    seeds.extend(of("checkpoint_decode", checkpoint::seeds()));
    seeds.extend(of("blob_decode", blob::seeds()));
    seeds.extend(of("query_parse", query::seeds()));
    for (name, start) in [("closed", 1), ("killed", 2)] {
        let fs = MemFs::default();
        begin(&fs, start).expect("the first store is whole");
        let manifest = content(&fs, "MANIFEST");
        seeds.push(("manifest_decode", name.to_owned(), manifest.clone()));
        seeds.push(("manifest_decode", format!("{name}-cut"), manifest[..manifest.len() - 9].to_vec()));
        let segment = content(&fs, "0000000001.seg");
        let mut at = SEGMENT_HEADER as usize;
        while let Some(Ok(header)) = segment.get(at..).map(FrameHeader::decode).filter(|_| start == 1) {
            let end = at + usize::try_from(header.frame_len()).unwrap_or_default();
            seeds.push(("frame_decode", format!("frame-at-{at}"), segment[at..end].to_vec()));
            at = end;
        }
        for (what, steps) in step_seeds() {
            seeds.push(("open_directory", format!("{name}-{what}"), [&[start][..], &steps].concat()));
        }
    }
    seeds.push(("manifest_decode", "empty".into(), Vec::new()));
    seeds.push(("frame_decode", "records-of-all-kinds".into(), all_kinds()));
    let void = b"\0\0\0\0\x04\x2c\0\0\0\0\0\0\0\x68\xe5\xcf\x8b\x01\x05\x03\x04\xee\xee\xee\xee\xee";
    seeds.push(("frame_decode", "void".into(), void.to_vec()));
    seeds.push((
        "frame_decode",
        "end-mark".into(),
        b"\0\0\0\0\x03\x2c\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04".to_vec(),
    ));
    seeds.push(("open_directory", "nothing".into(), vec![0]));
    seeds.push(("open_directory", "thesis".into(), vec![0, 9, 0, 0, 0, 2, b'h', b'i']));
    seeds
}

/// Per seed of `open_directory`: what it shows, and its steps.
fn step_seeds() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("whole", vec![]),
        ("torn", vec![2, 3, 150, 0, 0]),
        ("bit-in-segment-1", vec![1, 1, 150, 0, 1, 0xFF]),
        ("zeros-behind-the-end", vec![2, 4, 0, 16, 0]),
        ("no-manifest", vec![0, 6, 0, 0, 0]),
        ("no-segment", vec![1, 6, 0, 0, 0]),
        ("generation-changed", vec![0, 1, 12, 0, 1, 9, 0, 5, 0, 0, 0]),
        ("jump-base-changed", vec![0, 1, 66, 0, 1, 0xFF, 0, 5, 0, 0, 0]),
        ("frame-made-to-hold", vec![1, 1, 120, 0, 1, b'x', 1, 7, 93, 0, 0]),
        ("highest-orphan", vec![5, 0, 0, 0, 1, 1]),
        ("future-version", vec![0, 1, 8, 0, 1, 1]),
    ]
}

fn content(fs: &MemFs, name: &str) -> Vec<u8> {
    file(fs, &Path::new(DIR).join(name))
}

/// Puts a file there, with its directory.
fn put_file(fs: &MemFs, path: &Path, bytes: &[u8]) {
    fs.create_dir_all(path.parent().unwrap_or(path)).expect("memory has room");
    let file = fs.create_new(path).expect("there is none yet");
    write(&*file, bytes, 0).expect("memory has room");
}

fn file(fs: &MemFs, path: &Path) -> Vec<u8> {
    let file = fs.open_read(path).expect("the first store has it");
    let mut bytes = vec![0; usize::try_from(file.len().unwrap_or_default()).unwrap_or_default()];
    file.read_exact_at(&mut bytes, 0).expect("memory can be read");
    bytes
}

/// A frame with a record of every kind, some with everything that they can carry.
fn all_kinds() -> Vec<u8> {
    use RecordKind::{BlobReference, Clock, NamespaceCreate, NamespaceDrop, Tombstone, Value};
    let text = b"abcdefgh".repeat(70);
    let stored = nadb_core::compress(nadb_core::Compression::Snappy, &text).expect("it pays");
    let tags = nadb_core::Tags::new(["a", "tag"]).expect("within the limits");
    let attrs = nadb_core::Attrs::new([("lang", "de"), ("owner", "")]).expect("within the limits");
    let mut body = FrameBody::new();
    let shapes: [(RecordKind, &[u8], &[u8]); 6] = [
        (NamespaceCreate, b"app/users", b""),
        (Value, b"key", b"value"),
        (Tombstone, b"key", b""),
        (Clock, b"", &[1; 8]),
        (BlobReference, b"film", &[1; 24]),
        (NamespaceDrop, b"", b""),
    ];
    for (kind, key, value) in shapes {
        body.push(&RecordFields::new(kind, NamespaceId(1), key, value, 5));
    }
    body.push(&RecordFields {
        codec: Codec::Snappy,
        logical_len: text.len(),
        created_ms: 3,
        expires_ms: Some(9),
        tags: Some(&tags),
        content_type: Some("text/plain"),
        attrs: Some(&attrs),
        ..RecordFields::new(Value, NamespaceId(300), b"full", &stored, 5)
    });
    let fs = MemFs::default();
    let store = Store::open(&fs, 0).expect("an empty directory becomes a store");
    store.log.append(&body, Durability::Flushed, false, || ()).expect("the log takes it");
    let opening = 29;
    content(&fs, "0000000001.seg").split_off(SEGMENT_HEADER as usize + opening)
}
