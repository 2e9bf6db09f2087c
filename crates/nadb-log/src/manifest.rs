//! The manifest: which segments exist, replaced atomically. docs/format.md has the byte table.

use std::path::Path;

use nadb_core::limits::SEQ_MAX;
use nadb_core::{Error, ErrorKind, Result, SegmentId, SegmentUid, Seq, StoreId, guard};
use nadb_vfs::Fs;

use crate::bytes::Reader;
use crate::checksum::crc32;
use crate::names::{MANIFEST, MANIFEST_TMP};
use crate::segment::SEGMENT_HEADER;
use crate::{FORMAT_VERSION, version_error};

const MAGIC: [u8; 8] = *b"NADB-MAN";
/// A manifest above this is not read: 64 MiB name some three million segments.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;
const SEGMENT_STATE_OPEN: u8 = 0;
const SEGMENT_STATE_SEALED: u8 = 1;
const SEGMENT_STATE_COMPACTED: u8 = 2;

/// A segment as the manifest names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamedSegment {
    /// Its number.
    pub id: SegmentId,
    /// Its uid.
    pub uid: SegmentUid,
    /// Where its records and its footer end, once it is sealed.
    pub sealed: Option<SealedExtent>,
}

/// What a sealed segment's file holds, all of it durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedExtent {
    /// Where the last frame ends and the footer begins.
    pub frames_end: u32,
    /// Where the footer ends, and with it the file.
    pub file_len: u32,
    /// The last sequence number up to its end; of a compacted segment the highest of its records.
    pub last_seq: Seq,
    /// Whether a compaction has made it: its records are copies, in key order.
    pub is_compacted: bool,
}

impl NamedSegment {
    /// A segment that is not sealed.
    #[must_use]
    pub fn open(id: SegmentId, uid: SegmentUid) -> NamedSegment {
        NamedSegment { id, uid, sealed: None }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.0.to_le_bytes());
        out.extend_from_slice(&self.uid.0);
        let Some(sealed) = self.sealed else {
            return out.push(SEGMENT_STATE_OPEN);
        };
        out.push(if sealed.is_compacted { SEGMENT_STATE_COMPACTED } else { SEGMENT_STATE_SEALED });
        out.extend_from_slice(&sealed.frames_end.to_le_bytes());
        out.extend_from_slice(&sealed.file_len.to_le_bytes());
        out.extend_from_slice(&sealed.last_seq.0.to_le_bytes());
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Option<NamedSegment> {
        let (id, uid) = (SegmentId(reader.u32()?), SegmentUid(reader.array()?));
        let sealed = match reader.u8()? {
            SEGMENT_STATE_OPEN => None,
            state @ (SEGMENT_STATE_SEALED | SEGMENT_STATE_COMPACTED) => {
                let sealed = SealedExtent {
                    frames_end: reader.u32()?,
                    file_len: reader.u32()?,
                    last_seq: decode_seq(reader)?,
                    is_compacted: state == SEGMENT_STATE_COMPACTED,
                };
                let is_ordered = SEGMENT_HEADER < sealed.frames_end && sealed.frames_end < sealed.file_len;
                Some(sealed).filter(|_| is_ordered)?.into()
            }
            _ => return None,
        };
        Some(NamedSegment { id, uid, sealed })
    }
}

fn decode_seq(reader: &mut Reader<'_>) -> Option<Seq> {
    reader.u64().filter(|&seq| seq <= SEQ_MAX).map(Seq)
}

/// Where the log ended when the store was closed in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanClose {
    /// The last sequence number.
    pub last_seq: Seq,
    /// The segment that was active; 0 where nothing was ever written.
    pub segment: SegmentId,
    /// Bytes of its file.
    pub len: u32,
}

/// The manifest's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Rises with each manifest of the store.
    pub generation: u64,
    /// The store.
    pub store: StoreId,
    /// The seed of the key hash.
    pub hash_seed: u64,
    /// When the store was created, Unix milliseconds.
    pub created_ms: u64,
    /// The latest time, Unix milliseconds, that the clock was trusted to show.
    pub trusted_ms: u64,
    /// Everything up to here was durable: a lower bound.
    pub durable_upto: Seq,
    /// The first number after the latest unclean opening; numbers below that were not kept are never given again.
    pub jump_base: Seq,
    /// The last number up to the end of the sealed segments, those that a compaction has left nothing of included: behind it the
    /// others go on.
    pub sealed_upto: Seq,
    /// The number that the next new segment gets, at least.
    pub next_segment: SegmentId,
    /// The id that the next new namespace gets, at least: those below may be of namespaces that no record names any more.
    pub next_namespace: u32,
    /// Present after a close in order, until the next write.
    pub clean: Option<CleanClose>,
    /// The segments, in order of their numbers.
    pub segments: Vec<NamedSegment>,
}

impl Manifest {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128 + self.segments.len() * 37);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.hash_seed.to_le_bytes());
        out.extend_from_slice(&self.created_ms.to_le_bytes());
        out.extend_from_slice(&self.trusted_ms.to_le_bytes());
        out.extend_from_slice(&self.durable_upto.0.to_le_bytes());
        out.extend_from_slice(&self.jump_base.0.to_le_bytes());
        out.extend_from_slice(&self.sealed_upto.0.to_le_bytes());
        out.extend_from_slice(&self.next_segment.0.to_le_bytes());
        out.extend_from_slice(&self.next_namespace.to_le_bytes());
        let clean = self.clean.unwrap_or(CleanClose { last_seq: Seq(0), segment: SegmentId(0), len: 0 });
        out.push(u8::from(self.clean.is_some()));
        out.extend_from_slice(&clean.last_seq.0.to_le_bytes());
        out.extend_from_slice(&clean.segment.0.to_le_bytes());
        out.extend_from_slice(&clean.len.to_le_bytes());
        out.extend_from_slice(&u32::try_from(self.segments.len()).unwrap_or(u32::MAX).to_le_bytes());
        for segment in &self.segments {
            segment.encode(&mut out);
        }
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// `Corruption` or `Version`, with the offset and without the path.
    pub fn decode(bytes: &[u8]) -> Result<Manifest> {
        let corrupt =
            |at: usize, what: String| Error::new(ErrorKind::Corruption, what).with_offset(at as u64);
        let body_len = bytes.len().saturating_sub(4);
        let (body, crc) = bytes.split_at_checked(body_len).unwrap_or_default();
        let mut reader = Reader::new(body);
        let magic: Option<[u8; 8]> = reader.array();
        if magic != Some(MAGIC) {
            return Err(corrupt(0, "this is no manifest of a store".into()));
        }
        // The version first: another one may keep its checksum elsewhere.
        match reader.u32() {
            Some(FORMAT_VERSION) => {}
            Some(version) => return Err(version_error("manifest", version)),
            None => return Err(corrupt(8, "the manifest is cut short".into())),
        }
        let stored = crc.try_into().map(u32::from_le_bytes).unwrap_or_default();
        let computed = crc32(body);
        if stored != computed {
            return Err(corrupt(
                body_len,
                format!("the manifest's checksum is {stored:#010x}, its bytes give {computed:#010x}"),
            ));
        }
        let manifest = Self::decode_body(&mut reader);
        let at = reader.position();
        let manifest = manifest.ok_or_else(|| corrupt(at, "a field of the manifest is malformed".into()))?;
        if !reader.is_at_end() {
            return Err(corrupt(at, "the manifest has bytes behind its end".into()));
        }
        Ok(manifest)
    }

    fn decode_body(reader: &mut Reader<'_>) -> Option<Manifest> {
        let mut manifest = Manifest {
            generation: reader.u64()?,
            store: StoreId(reader.array()?),
            hash_seed: reader.u64()?,
            created_ms: reader.u64()?,
            trusted_ms: reader.u64()?,
            durable_upto: decode_seq(reader)?,
            jump_base: decode_seq(reader)?,
            sealed_upto: decode_seq(reader)?,
            next_segment: SegmentId(reader.u32()?),
            next_namespace: reader.u32()?,
            clean: None,
            segments: Vec::new(),
        };
        let is_clean = match reader.u8()? {
            0 => false,
            1 => true,
            _ => return None,
        };
        let clean = CleanClose {
            last_seq: decode_seq(reader)?,
            segment: SegmentId(reader.u32()?),
            len: reader.u32()?,
        };
        let none = CleanClose { last_seq: Seq(0), segment: SegmentId(0), len: 0 };
        if !is_clean && clean != none {
            return None;
        }
        manifest.clean = is_clean.then_some(clean);
        let count = reader.u32()?;
        for _ in 0..count {
            let segment = NamedSegment::decode(reader)?;
            let in_order = manifest.segments.last().is_none_or(|last| last.id < segment.id);
            let is_counted = segment.sealed.is_none_or(|sealed| sealed.last_seq <= manifest.sealed_upto);
            if !in_order || !is_counted || segment.id >= manifest.next_segment {
                return None;
            }
            manifest.segments.push(segment);
        }
        Some(manifest)
    }

    /// Reads the manifest of `dir`; `None` when there is none.
    ///
    /// # Errors
    /// As [`Manifest::decode`], with the path, and `Io`.
    pub fn load(fs: &dyn Fs, dir: &Path) -> Result<Option<Manifest>> {
        let path = dir.join(MANIFEST);
        let io = |e| Error::io("reading the manifest", &path, e);
        let file = match fs.open_read(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(io(e)),
        };
        let len = file.len().map_err(io)?;
        if len > MANIFEST_BYTES_MAX {
            return Err(Error::corruption(
                &path,
                0,
                format!("the manifest has {len} bytes; none is that large"),
            ));
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        Manifest::decode(&bytes).map(Some).map_err(|e| e.with_path(&path))
    }

    /// Puts this manifest in the place of the one before, durably.
    ///
    /// # Errors
    /// `Io`, `NoSpace` or `ReadOnly`; then the one before, or this one, is in force.
    pub fn store(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        let (tmp, path) = (dir.join(MANIFEST_TMP), dir.join(MANIFEST));
        match fs.remove(&tmp) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("removing an unfinished manifest", &tmp, e));
            }
            _ => {}
        }
        let io = |e| Error::io("writing the manifest", &tmp, e);
        let file = fs.create_new(&tmp).map_err(io)?;
        file.write_all_at(&self.encode(), 0).map_err(|e| io(e.source))?;
        // DURABILITY: the content before the name, or a power cut could leave the name over missing content.
        if guard::on("manifest.sync_before_rename") {
            file.sync_all().map_err(io)?;
        }
        fs.rename(&tmp, &path).map_err(|e| Error::io("naming the manifest", &path, e))?;
        // DURABILITY: the name before anything relies on what it says.
        if guard::on("manifest.sync_dir_after_rename") {
            fs.sync_dir(dir).map_err(|e| Error::io("syncing the directory", dir, e))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn manifest() -> impl Strategy<Value = Manifest> {
        let clean = proptest::option::of(
            (0..=SEQ_MAX, any::<u32>(), any::<u32>()).prop_map(|(seq, id, len)| CleanClose {
                last_seq: Seq(seq),
                segment: SegmentId(id),
                len,
            }),
        );
        let numbers = (
            any::<u64>(),
            any::<u64>(),
            any::<[u64; 2]>(),
            0..=SEQ_MAX,
            0..=SEQ_MAX,
            (0..=SEQ_MAX, any::<u32>()),
        );
        let sealed = proptest::option::of((65..1000u32, 1..1000u32, 0..=SEQ_MAX, any::<bool>()).prop_map(
            |(end, len, seq, is_compacted)| SealedExtent {
                frames_end: end,
                file_len: end + len,
                last_seq: Seq(seq),
                is_compacted,
            },
        ));
        let segments = btree_map(0..u32::MAX, (any::<[u8; 16]>(), sealed), 0..20);
        (numbers, any::<[u8; 16]>(), clean, segments).prop_map(|(numbers, store, clean, segments)| {
            let segments: Vec<_> = segments
                .into_iter()
                .map(|(id, (uid, sealed))| NamedSegment { id: SegmentId(id), uid: SegmentUid(uid), sealed })
                .collect();
            let extents = segments.iter().filter_map(|named| named.sealed);
            let sealed_upto = extents.map(|sealed| sealed.last_seq).max().unwrap_or_default();
            Manifest {
                generation: numbers.0,
                store: StoreId(store),
                hash_seed: numbers.1,
                created_ms: numbers.2[0],
                trusted_ms: numbers.2[1],
                durable_upto: Seq(numbers.3),
                jump_base: Seq(numbers.4),
                next_segment: SegmentId(segments.last().map_or(1, |last| last.id.0 + 1)),
                sealed_upto: sealed_upto.max(Seq(numbers.5.0)),
                next_namespace: numbers.5.1,
                clean,
                segments,
            }
        })
    }

    fn example() -> Manifest {
        Manifest {
            generation: 3,
            store: StoreId([1; 16]),
            hash_seed: 2,
            created_ms: 4,
            trusted_ms: 4,
            durable_upto: Seq(5),
            jump_base: Seq(6),
            sealed_upto: Seq(2),
            next_segment: SegmentId(9),
            next_namespace: 3,
            clean: None,
            segments: [7, 8].map(|id| NamedSegment::open(SegmentId(id), SegmentUid([9; 16]))).into(),
        }
    }

    /// Puts a checksum that holds behind `body`.
    fn summed(mut body: Vec<u8>) -> Vec<u8> {
        let crc = crc32(&body);
        body.extend_from_slice(&crc.to_le_bytes());
        body
    }

    fn body() -> Vec<u8> {
        let mut bytes = example().encode();
        bytes.truncate(bytes.len() - 4);
        bytes
    }

    proptest! {
        #[test]
        fn manifests_round_trip(manifest in manifest()) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()).unwrap(), manifest);
        }

        #[test]
        fn what_decodes_encodes_to_the_same_bytes(at in 8..130usize, with in vec(any::<u8>(), 1..9)) {
            let mut bytes = body();
            for (byte, with) in bytes.iter_mut().skip(at).zip(with) {
                *byte = with;
            }
            let bytes = summed(bytes);
            if let Ok(manifest) = Manifest::decode(&bytes) {
                prop_assert_eq!(manifest.encode(), bytes);
            }
        }
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_an_error() {
        let bytes = example().encode();
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "cut to {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = Manifest::decode(&bytes).unwrap_err();
            let kind = if (64..96).contains(&bit) { ErrorKind::Version } else { ErrorKind::Corruption };
            assert_eq!(error.kind(), kind, "bit {bit}");
            assert!(error.offset().is_some());
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Manifest::decode(&longer).is_err());
    }

    #[test]
    fn claims_are_refused_though_the_checksum_holds() {
        assert!(Manifest::decode(&summed(body())).is_ok());
        let check = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let mut bytes = body();
            change(&mut bytes);
            let error = Manifest::decode(&summed(bytes)).expect_err(what);
            assert_eq!(error.kind(), ErrorKind::Corruption, "{what}");
        };
        // The count stands at 113, behind 92 bytes, the clean byte and 16 bytes of the close.
        let count = 12 + 8 + 16 + 8 + 8 + 8 + 8 + 8 + 8 + 4 + 4 + 1 + 16;
        check("four billion segments", &|b| b[count..count + 4].fill(0xFF));
        check("one segment more", &|b| b[count] += 1);
        check("one segment less", &|b| b[count] -= 1);
        check("segments out of order", &|b| b[count + 4] = 8);
        check("a segment that was not given yet", &|b| b[count + 4 + 21] = 9);
        check("an unknown state", &|b| b[count + 4 + 20] = 3);
        check("sealed, and without its extent", &|b| b[count + 4 + 41] = 1);
        check("neither clean nor not", &|b| b[count - 17] = 2);
        check("a close that did not happen", &|b| b[count - 1] = 1);
        check("a number beyond 56 bits", &|b| b[60 + 7] = 1);
        check("bytes behind the end", &|b| b.push(0));
    }
}
