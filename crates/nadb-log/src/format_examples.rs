//! The worked examples of docs/format.md, encoded here and compared with the hex that stands there, in both directions.

use std::path::Path;
use std::sync::Arc;

use nadb_core::{
    Attrs, BlobId, Codec, Compression, NamespaceId, Ordinal, Rank, SegmentId, SegmentUid, Seq, StoreId, Tags,
};
use nadb_vfs::{Fs, MemFs};

use crate::access::{LastAccess, Whose, encode_access, read_access};
use crate::blob::{BlobReader, BlobWriter};
use crate::checkpoint::{Coverage, CoveredSegment};
use crate::footer::{Footer, FooterSource, Origin, encode_footer};
use crate::frame::{
    CopiedBody, Frame, FrameBody, FrameKind, FramePlace, put_end_mark, put_opening, put_void,
};
use crate::manifest::{CleanClose, Manifest, NamedSegment, SealedExtent};
use crate::names::blob_path;
use crate::part::Part;
use crate::record::{RecordFields, RecordKind, RecordRef, address};
use crate::row::{RowMeta, SystemRow};
use crate::segment::SegmentHeader;

const DOCUMENT: &str = include_str!("../../../docs/format.md");
/// Where the examples of records stand.
const OFFSET: u32 = 1000;
const SEQ: Seq = Seq(42);
const NOW: u64 = 1_700_000_000_000;
const DAY: u64 = 86_400_000;

fn uid() -> SegmentUid {
    SegmentUid(*b"\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f")
}

fn store() -> StoreId {
    StoreId([0xA0; 16])
}

/// The bytes of the block that opens with "```hex NAME": per line hex pairs, then a comment behind a semicolon.
fn example(name: &str) -> Vec<u8> {
    let opening = format!("```hex {name}\n");
    let (_, rest) = DOCUMENT.split_once(&opening).unwrap_or_else(|| panic!("no example {name}"));
    let (block, _) = rest.split_once("```").unwrap();
    let pairs = block.lines().flat_map(|line| line.split(';').next().unwrap().split_whitespace());
    pairs.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

fn check(name: &str, encoded: &[u8]) -> Vec<u8> {
    let text: Vec<String> = encoded.iter().map(|byte| format!("{byte:02x}")).collect();
    let example = example(name);
    assert_eq!(example, encoded, "docs/format.md, {name}: the encoder gives\n{}", text.join(" "));
    example
}

fn check_record(name: &str, fields: &RecordFields<'_>) {
    let mut bytes = Vec::new();
    let crc = fields.encode(&mut bytes);
    address(&mut bytes, crc, uid(), OFFSET, SEQ);
    let example = check(name, &bytes);
    let record = RecordRef::verify(&example, uid(), OFFSET).unwrap();
    record.check_content().unwrap();
    assert_eq!((record.seq, record.len()), (SEQ, example.len()));
    assert_same(&record, fields);
}

pub(crate) fn assert_same(record: &RecordRef<'_>, fields: &RecordFields<'_>) {
    assert_eq!(record.kind, fields.kind);
    assert_eq!(record.namespace, fields.namespace);
    assert_eq!((record.key, record.value), (fields.key, fields.value));
    assert_eq!((record.codec, record.logical_len), (fields.codec, fields.logical_len));
    assert_eq!((record.created_ms, record.updated_ms), (fields.created_ms, fields.updated_ms));
    assert_eq!(record.expires_ms, fields.expires_ms);
    assert_eq!(record.tags().unwrap(), fields.tags.cloned().unwrap_or_default());
    let extra = (fields.content_type, fields.attrs.cloned().unwrap_or_default());
    assert_eq!(record.extra().unwrap(), extra);
}

fn plain<'a>(kind: RecordKind, key: &'a [u8], value: &'a [u8]) -> RecordFields<'a> {
    RecordFields::new(kind, NamespaceId(1), key, value, NOW)
}

#[test]
fn values_are_as_documented() {
    check_record("record-value", &plain(RecordKind::Value, b"user:1", b"Alice"));
    let (tags, attrs) = (Tags::new(["user", "premium"]).unwrap(), Attrs::new([("lang", "de")]).unwrap());
    let full = RecordFields {
        created_ms: NOW - DAY,
        expires_ms: Some(NOW + DAY),
        tags: Some(&tags),
        content_type: Some("text/plain"),
        attrs: Some(&attrs),
        ..plain(RecordKind::Value, b"user:1", b"Alice")
    };
    check_record("record-value-full", &full);
    let text = b"abcdefgh".repeat(70);
    let stored = nadb_core::compress(Compression::Snappy, &text).unwrap();
    let coded = RecordFields {
        codec: Codec::Snappy,
        logical_len: text.len(),
        ..plain(RecordKind::Value, b"page", &stored)
    };
    check_record("record-value-snappy", &coded);
    assert_eq!(nadb_core::decompress(&stored, text.len()).unwrap(), text);
}

#[test]
fn records_of_other_kinds_are_as_documented() {
    check_record("record-tombstone", &plain(RecordKind::Tombstone, b"user:1", b""));
    check_record("record-namespace-create", &plain(RecordKind::NamespaceCreate, b"app/users", b""));
    check_record("record-namespace-drop", &plain(RecordKind::NamespaceDrop, b"", b""));
    let time = (NOW - DAY).to_le_bytes();
    let clock = RecordFields { namespace: NamespaceId(0), ..plain(RecordKind::Clock, b"", &time) };
    check_record("record-clock", &clock);
    let mut blob = vec![0xB0; 16];
    blob.extend_from_slice(&(100u64 << 20).to_le_bytes());
    check_record("record-blob-reference", &plain(RecordKind::BlobReference, b"film", &blob));
}

fn place(uid: &SegmentUid, offset: u32, first_seq: u64, durable_upto: u64) -> FramePlace<'_> {
    let (first_seq, durable_upto) = (Seq(first_seq), Seq(durable_upto));
    FramePlace { uid, offset, first_seq, durable_upto, time_ms: NOW }
}

fn check_frame(name: &str, encoded: &[u8], place: FramePlace<'_>, kind: FrameKind, count: u32) {
    let example = check(name, encoded);
    let frame = Frame::verify(&example, uid(), place.offset).unwrap();
    let header = frame.header;
    assert_eq!((header.kind, header.count, header.time_ms), (kind, count, NOW));
    assert_eq!((header.first_seq, header.durable_upto), (place.first_seq, place.durable_upto));
    assert_eq!(header.frame_len(), example.len() as u64);
}

#[test]
fn frames_are_as_documented() {
    let uid = uid();
    let at = place(&uid, 64, 42, 40);
    let mut opening = Vec::new();
    put_opening(&mut opening, at, Seq(41));
    check_frame("frame-opening", &opening, at, FrameKind::Opening, 0);
    assert_eq!(Frame::verify(&opening, uid, 64).unwrap().follows(), Some(Seq(41)));

    let records =
        [plain(RecordKind::Value, b"user:1", b"Alice"), plain(RecordKind::Tombstone, b"user:2", b"")];
    let mut body = FrameBody::new();
    records.iter().for_each(|record| {
        body.push(record);
    });
    let (mut data, at) = (Vec::new(), place(&uid, 93, 42, 40));
    body.place(&mut data, at);
    check_frame("frame-data", &data, at, FrameKind::Data, 2);
    let frame = Frame::verify(&data, uid, 93).unwrap();
    for ((found, expected), seq) in frame.records().zip(&records).zip(42..) {
        assert_eq!(found.1.seq, Seq(seq));
        assert_same(&found.1, expected);
    }

    let (mut mark, at) = (Vec::new(), place(&uid, 177, 44, 43));
    put_end_mark(&mut mark, at);
    check_frame("frame-end-mark", &mark, at, FrameKind::EndMark, 0);

    let (mut void, at) = (Vec::new(), place(&uid, 198, 44, 43));
    put_void(&mut void, at, 5, 3);
    void.extend_from_slice(&[0xEE; 5]);
    check_frame("frame-void", &void, at, FrameKind::Void, 3);
}

#[test]
fn copies_are_as_documented() {
    let mut copies = CopiedBody::default();
    for (kind, key, value, seq) in
        [(RecordKind::Value, &b"user:1"[..], &b"Alice"[..], 42), (RecordKind::Tombstone, b"user:2", b"", 17)]
    {
        let mut record = Vec::new();
        let crc = plain(kind, key, value).encode(&mut record);
        copies.push(&record, crc, Seq(seq));
    }
    let (mut bytes, mut offsets) = (Vec::new(), Vec::new());
    copies.place(&mut bytes, (&uid(), 64, NOW), |offset| offsets.push(offset));
    let example = check("frame-copies", &bytes);
    let frame = Frame::verify(&example, uid(), 64).unwrap();
    assert_eq!((frame.header.kind, frame.header.count), (FrameKind::Copies, 2));
    let found: Vec<_> = frame.records().map(|(offset, record)| (offset, record.seq)).collect();
    assert_eq!(found, [(offsets[0], Seq(42)), (offsets[1], Seq(17))]);
}

#[test]
fn an_origin_is_as_documented() {
    let (id, inputs) = ([0xF0; 16], vec![(SegmentId(3), uid()), (SegmentId(4), SegmentUid([0xC0; 16]))]);
    let origin = Origin { compaction: id, index: 1, outputs: 2, inputs };
    let example = check("origin", &origin.encode());
    assert_eq!(Origin::decode(&example), Some(origin));
}

#[test]
fn the_segment_header_is_as_documented() {
    let header = SegmentHeader { id: SegmentId(7), uid: uid(), store: store() };
    let example = check("segment-header", &header.encode());
    assert_eq!(SegmentHeader::decode(&example).unwrap(), header);
}

#[test]
fn a_blob_is_as_documented() {
    let (id, value) = (BlobId([0xB0; 16]), b"a value of 25 bytes, say.");
    let fs = MemFs::default();
    fs.create_dir_all(Path::new("d")).unwrap();
    let fs: Arc<dyn Fs> = Arc::new(fs);
    let mut writer = BlobWriter::create(&fs, Path::new("d"), id, store()).unwrap();
    writer.write(value).unwrap();
    writer.finish().unwrap();
    let path = blob_path(Path::new("d"), id);
    let file = fs.open_read(&path).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    let example = check("blob", &bytes);
    fs.remove(&path).unwrap();
    fs.create_new(&path).unwrap().write_all_at(&example, 0).unwrap();
    let reader = BlobReader::open(&*fs, Path::new("d"), id, store(), value.len() as u64).unwrap();
    assert_eq!(reader.read_all().unwrap(), value);
}

#[test]
fn the_manifest_is_as_documented() {
    let manifest = Manifest {
        generation: 5,
        store: store(),
        hash_seed: 0x0123_4567_89AB_CDEF,
        created_ms: NOW,
        trusted_ms: NOW + 86_400_000,
        durable_upto: Seq(43),
        jump_base: Seq(0),
        sealed_upto: Seq(41),
        next_segment: SegmentId(9),
        next_namespace: 2,
        clean: Some(CleanClose { last_seq: Seq(43), segment: SegmentId(7), len: 198 }),
        segments: vec![
            NamedSegment {
                id: SegmentId(5),
                uid: SegmentUid([0xD0; 16]),
                sealed: Some(SealedExtent {
                    frames_end: 1000,
                    file_len: 1500,
                    last_seq: Seq(40),
                    is_compacted: true,
                }),
            },
            NamedSegment::open(SegmentId(7), uid()),
            NamedSegment::open(SegmentId(8), SegmentUid([0xC0; 16])),
        ],
    };
    let example = check("manifest", &manifest.encode());
    assert_eq!(Manifest::decode(&example).unwrap(), manifest);
}

fn row(kind: RecordKind, seq: u64, offset: u32, len: u32, size: u64) -> RowMeta {
    let (expires_ms, created_ms, updated_ms, blob) = (None, NOW, NOW, None);
    RowMeta { kind, seq: Seq(seq), offset, len, expires_ms, size, created_ms, updated_ms, blob }
}

#[test]
fn the_footer_is_as_documented() {
    let metas = [
        RowMeta { expires_ms: Some(NOW + 5), ..row(RecordKind::Value, 43, 150, 34, 5) },
        RowMeta { created_ms: NOW - 3, ..row(RecordKind::Value, 44, 184, 40, 5) },
        RowMeta { updated_ms: NOW + 1, created_ms: NOW + 1, ..row(RecordKind::Tombstone, 45, 250, 29, 0) },
        RowMeta {
            blob: Some(BlobId([0xB0; 16])),
            updated_ms: NOW + 1,
            created_ms: NOW + 1,
            ..row(RecordKind::BlobReference, 46, 301, 51, 100 << 20)
        },
    ];
    let keys = [(1, &b"user:1"[..], 1), (1, b"user:1", 2), (1, b"user:2", 0), (2, b"film", 3)];
    let tags = [&["premium", "user"][..], &[], &["user"], &["long"]];
    let mut tags_by_rank = tags.into_iter();
    let keys = keys.map(|(namespace, key, ordinal)| (NamespaceId(namespace), key, Ordinal(ordinal)));
    let in_key_order = keys.map(|(namespace, key, ordinal)| {
        (namespace, key, ordinal, tags_by_rank.next().unwrap().iter().copied())
    });
    let system = [SystemRow {
        kind: RecordKind::NamespaceCreate,
        namespace: NamespaceId(2),
        seq: Seq(42),
        offset: 118,
        len: 32,
        updated_ms: NOW,
        content: b"app/films".to_vec(),
    }];
    let source = FooterSource { metas: &metas, in_key_order, system: &system };
    let example = check("footer", &encode_footer(uid(), OFFSET, source).unwrap());
    let footer = Arc::new(Footer::open(example.into(), uid(), OFFSET, Path::new("0000000007.seg")).unwrap());
    footer.check_all().unwrap();
    for (row, ordinal) in metas.iter().zip(0..) {
        assert_eq!(footer.meta(Ordinal(ordinal)).unwrap(), *row);
    }
    for ((namespace, key, ordinal), rank) in keys.into_iter().zip(0..) {
        assert_eq!(footer.key_at(Rank(rank)).unwrap(), (namespace, key.to_vec()));
        assert_eq!(footer.ordinal_at(Rank(rank)).unwrap(), ordinal);
    }
    assert_eq!(footer.system().unwrap(), system);
    let part = Part::Footer(footer);
    let ranks =
        |namespace, tag| part.postings(NamespaceId(namespace), tag).unwrap().unwrap().to_bitmap().unwrap();
    assert!(ranks(1, "premium").iter().eq([0]) && ranks(1, "user").iter().eq([0, 2]));
    assert!(ranks(2, "long").iter().eq([3]));
    assert_eq!(part.next_expiry(0).unwrap(), Some(NOW + 5));
}

#[test]
fn the_checkpoint_is_as_documented() {
    let coverage = Coverage {
        store: store(),
        hash_seed: 0x0123_4567_89AB_CDEF,
        last_seq: Seq(43),
        records: 2,
        segments: vec![CoveredSegment {
            named: NamedSegment::open(SegmentId(7), uid()),
            end: 198,
            last_seq: Seq(43),
            first_seq: Seq(42),
            records: 2,
            rows: 2,
        }],
    };
    let example = example("checkpoint");
    let namespaces: &[u8] =
        b"\0\0\0\0\0\0\0\0\x02\0\0\0\x01\0\0\0\x29\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x09app/users";
    let live: &[u8] = b"\x02\0\0\0\x22\0\0\0\0\0\0\0\x01\0\0\0\x01\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\0";
    let shard: &[u8] = b"\0\0\x01\0\0\0\xAB\0\0\0\0\0\0\0\x78\x56\x34\x12\x07\0\0\0\x71\0\0\0\x22\0\0\0";
    let sections = [(2, 0, namespaces), (3, 7, live), (4, 5, shard), (5, 0, b"\x01\0\0\0")];
    check("checkpoint", &crate::checkpoint::written(&coverage, &sections));
    let checkpoint = crate::checkpoint::read(&example).unwrap();
    assert_eq!(*checkpoint.coverage(), coverage);
    for (kind, number, content) in sections {
        assert_eq!(checkpoint.section(kind, number).unwrap(), content);
    }
}

#[test]
fn the_access_file_is_as_documented() {
    let minute = u32::try_from(NOW / 60_000).unwrap();
    let whose = Whose { uid: uid(), first_seq: SEQ };
    let times = [LastAccess { offset: 113, minute }, LastAccess { offset: 198, minute: minute + 1 }];
    let example = check("access-file", &encode_access(whose, &times));
    let (fs, path) = (MemFs::default(), Path::new("/a"));
    fs.create_new(path).unwrap().write_all_at(&example, 0).map_err(|e| e.source).unwrap();
    assert_eq!(read_access(&fs, path, whose).unwrap(), times);
}
