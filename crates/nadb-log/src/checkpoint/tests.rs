//! The container by itself: what it covers, and bytes that lie.

use std::path::Path;

use nadb_core::{SegmentId, SegmentUid};
use nadb_vfs::MemFs;
use proptest::prelude::*;

use super::*;
use crate::manifest::{NamedSegment, SealedExtent};

const STORE: StoreId = StoreId([0xA0; 16]);

fn sealed(id: u32, last_seq: u64) -> NamedSegment {
    let extent =
        SealedExtent { frames_end: 1000, file_len: 1480, last_seq: Seq(last_seq), is_compacted: false };
    NamedSegment { sealed: Some(extent), ..open(id) }
}

fn open(id: u32) -> NamedSegment {
    NamedSegment::open(SegmentId(id), SegmentUid([id.to_le_bytes()[0]; 16]))
}

/// Segment 1 is sealed up to number 10, segment 2 holds 11 to 20.
fn coverage() -> Coverage {
    Coverage {
        store: STORE,
        hash_seed: 7,
        last_seq: Seq(20),
        records: 20,
        segments: vec![
            CoveredSegment {
                named: sealed(1, 10),
                end: 1000,
                last_seq: Seq(10),
                first_seq: Seq(1),
                records: 10,
                rows: 9,
            },
            CoveredSegment {
                named: open(2),
                end: 500,
                last_seq: Seq(20),
                first_seq: Seq(11),
                records: 10,
                rows: 10,
            },
        ],
    }
}

fn manifest(segments: &[NamedSegment]) -> Manifest {
    Manifest {
        generation: 5,
        store: STORE,
        hash_seed: 7,
        created_ms: 0,
        trusted_ms: 0,
        durable_upto: Seq(20),
        jump_base: Seq(0),
        sealed_upto: Seq(0),
        next_segment: SegmentId(9),
        next_namespace: 1,
        clean: None,
        segments: segments.to_vec(),
    }
}

#[test]
fn it_fits_as_long_as_all_that_it_covers_is_there() {
    let fits = |segments: &[NamedSegment]| coverage().fits(&manifest(segments));
    assert!(fits(&[sealed(1, 10), open(2)]));
    assert!(fits(&[sealed(1, 10), open(2), open(3), open(4)]));
    assert!(fits(&[sealed(1, 10), sealed(2, 20), open(3)]), "sealed since, with nothing more in it");
    assert!(!fits(&[sealed(1, 10), sealed(2, 21), open(3)]), "sealed since, with one more in it");
    assert!(!fits(&[sealed(1, 10), sealed(3, 20)]) && !fits(&[open(2)]), "one that is not there");
    assert!(!fits(&[open(1), open(2)]), "not sealed any more");
    assert!(!fits(&[sealed(1, 11), open(2)]), "sealed elsewhere");
    let other = NamedSegment { uid: SegmentUid([9; 16]), ..open(2) };
    assert!(!fits(&[sealed(1, 10), other]), "another file");
    let of_store = Manifest { store: StoreId([1; 16]), ..manifest(&[sealed(1, 10), open(2)]) };
    let of_seed = Manifest { hash_seed: 8, ..manifest(&[sealed(1, 10), open(2)]) };
    assert!(!coverage().fits(&of_store) && !coverage().fits(&of_seed));
}

fn file_of(bytes: &[u8]) -> Arc<dyn File> {
    let file = MemFs::default().create_new(Path::new("f")).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

fn bytes_of(fs: &MemFs) -> Vec<u8> {
    let file = fs.open_read(Path::new("f")).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

pub(crate) fn written(coverage: &Coverage, sections: &[(u32, u32, &[u8])]) -> Vec<u8> {
    let fs = MemFs::default();
    let mut writer = CheckpointWriter::create(&fs, Path::new("f")).unwrap();
    writer.section(SEGMENTS, 0, &coverage.encode()).unwrap();
    for (kind, number, bytes) in sections {
        writer.section(*kind, *number, bytes).unwrap();
    }
    writer.finish(coverage).unwrap();
    bytes_of(&fs)
}

pub(crate) fn read(bytes: &[u8]) -> Option<Checkpoint> {
    Checkpoint::read(file_of(bytes))
}

#[test]
fn what_was_written_is_read_and_sections_are_found_by_kind_and_number() {
    let large = vec![7; 3 << 20];
    let bytes = written(&coverage(), &[(2, 0, b"two"), (4, 3, &large), (4, 200, b"")]);
    let checkpoint = Checkpoint::read(file_of(&bytes)).unwrap();
    assert_eq!(*checkpoint.coverage(), coverage());
    assert_eq!(checkpoint.sections(4).collect::<Vec<_>>(), [(3, 3 << 20), (200, 0)]);
    assert_eq!(checkpoint.sections(3).count(), 0);
    assert_eq!(checkpoint.section(2, 0).unwrap(), b"two");
    assert!(checkpoint.section(4, 3).unwrap() == large && checkpoint.section(4, 200).unwrap().is_empty());
    assert_eq!(checkpoint.section(4, 4), None);
}

#[test]
fn every_cut_and_every_flipped_bit_is_noticed() {
    let bytes = written(&coverage(), &[(2, 0, b"two"), (4, 3, b"four")]);
    let is_whole = |bytes: &[u8]| {
        Checkpoint::read(file_of(bytes))
            .is_some_and(|found| found.section(2, 0).is_some() && found.section(4, 3).is_some())
    };
    assert!(is_whole(&bytes));
    for len in 0..bytes.len() {
        assert!(!is_whole(&bytes[..len]), "cut to {len}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_whole(&bytes), "bit {bit}");
    }
    assert!(!is_whole(&[&bytes[..], &[0]].concat()));
}

#[test]
fn sections_out_of_order_or_beyond_the_file_are_refused() {
    assert!(Checkpoint::read(file_of(&written(&coverage(), &[(4, 3, b""), (2, 0, b"")]))).is_none());
    assert!(Checkpoint::read(file_of(&written(&coverage(), &[(4, 3, b""), (4, 3, b"")]))).is_none());
    let header = |sections, file_len| Header {
        sections,
        store: STORE,
        hash_seed: 7,
        last_seq: Seq(20),
        file_len,
        directory_crc: crc32(&[]),
    };
    assert!(Checkpoint::read(file_of(&header(0, 64).encode())).is_none(), "no section, so no coverage");
    assert!(Checkpoint::read(file_of(&header(u32::MAX, 64).encode())).is_none(), "a directory of 64 GiB");
    let line = [SEGMENTS, 0, u32::MAX, 0].map(u32::to_le_bytes).concat();
    assert_eq!(decode_directory(&line, 64), None, "a section of 4 GiB");
}

proptest! {
    #[test]
    fn coverage_decodes_to_what_encodes_to_the_same_bytes(
        at in any::<prop::sample::Index>(),
        with in prop::collection::vec(any::<u8>(), 1..9),
        cut in 0..3usize,
    ) {
        let mut bytes = coverage().encode();
        let at = at.index(bytes.len());
        for (byte, with) in bytes.iter_mut().skip(at).zip(with) {
            *byte = with;
        }
        bytes.truncate(bytes.len() - cut);
        if let Some(decoded) = Coverage::decode(&bytes, STORE, 7, Seq(20)) {
            prop_assert_eq!(decoded.encode(), bytes);
        }
    }
}
