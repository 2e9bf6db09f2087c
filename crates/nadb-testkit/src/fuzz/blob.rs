//! Blobs from hostile bytes, as they are and with checksums that hold.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use nadb_core::{BlobId, SegmentUid, Seq, StoreId};
use nadb_log::{BLOB_HEADER, BlobReader, BlobStream, BlobWriter, blob_path};
use nadb_vfs::{Fs, MemFs};

use super::{crc32, mix, put_file};

const DIR: &str = "db";
const ID: BlobId = BlobId([0xB0; 16]);
const STORE: StoreId = StoreId([0xA0; 16]);
const HEADER: usize = BLOB_HEADER as usize;
/// Behind the blocks' checksums: the value's length (8), and the checksum of both (4).
const TRAILER: usize = 12;

/// Opens a blob and reads it in every way. It may refuse anything; what it gives are the bytes that stand there.
///
/// # Panics
/// When a promise of the code is broken.
pub fn blob_decode(data: &[u8]) {
    explore(data);
    let mut bytes = data.to_vec();
    if resum(&mut bytes).is_some() {
        explore(&bytes);
    }
}

/// The length that the trailer states; a record that refers to the blob would say the same.
fn stated_len(bytes: &[u8]) -> Option<u64> {
    let at = bytes.len().checked_sub(TRAILER)?;
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn explore(bytes: &[u8]) {
    let fs = MemFs::default();
    put_file(&fs, &blob_path(Path::new(DIR), ID), bytes);
    let open = |len| BlobReader::open(&fs, Path::new(DIR), ID, STORE, len);
    let stated = stated_len(bytes).unwrap_or_default();
    // Other records cannot refer to it.
    assert!(open(stated ^ 1).is_err() && open(u64::MAX).is_err());
    let Ok(reader) = open(stated) else { return };
    assert_eq!(reader.len(), stated, "only what the trailer states is taken");
    let Some(value) = usize::try_from(stated).ok().and_then(|len| bytes.get(HEADER..HEADER + len)) else {
        panic!("a blob of {stated} bytes in a file of {}", bytes.len());
    };
    let whole = reader.read_all();
    assert_eq!(reader.verify().is_ok(), whole.is_ok());
    if let Ok(read) = &whole {
        assert_eq!(read, value);
    }
    let is_whole = whole.is_ok();
    let mut part = [0; 100];
    for at in [0, stated / 2, stated.saturating_sub(7), stated, u64::MAX] {
        match reader.read_at(at, &mut part) {
            Ok(taken) => {
                let from = usize::try_from(at).map_or(value.len(), |at| at.min(value.len()));
                assert_eq!(part.get(..taken), value.get(from..(from + 100).min(value.len())));
            }
            Err(_) => assert!(!is_whole),
        }
    }
    let mut stream = BlobStream::new(Arc::new(reader));
    let middle = value.len() / 2;
    let mut read = Vec::new();
    stream.seek(SeekFrom::Start(middle as u64)).expect("a place inside");
    let streamed = stream.read_to_end(&mut read);
    assert!(streamed.is_ok() || !is_whole);
    assert!(value.get(middle..).is_some_and(|rest| rest.starts_with(&read)));
}

/// Gives a blob checksums that hold, as docs/format.md has them, and the length that its size allows.
fn resum(bytes: &mut [u8]) -> Option<()> {
    let block = usize::try_from(u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?)).ok()?;
    let header_sum = crc32(&[bytes.get(..HEADER - 4)?]);
    bytes.get_mut(HEADER - 4..HEADER)?.copy_from_slice(&header_sum.to_le_bytes());
    if block == 0 {
        return None;
    }
    // Each block but the last takes its bytes and four more.
    let body = bytes.len().checked_sub(HEADER + TRAILER)?;
    let blocks = body.div_ceil(block + 4);
    let len = body.checked_sub(blocks * 4)?;
    let uid = SegmentUid(ID.0);
    let sums: Vec<u8> = (0u32..)
        .zip(bytes.get(HEADER..HEADER + len)?.chunks(block))
        .flat_map(|(number, block)| (crc32(&[block]) ^ mix(uid, number, Seq(0))).to_le_bytes())
        .collect();
    let table = HEADER + len;
    bytes.get_mut(table..table + sums.len())?.copy_from_slice(&sums);
    let end = bytes.len() - TRAILER;
    bytes.get_mut(end..end + 8)?.copy_from_slice(&(len as u64).to_le_bytes());
    let tail = crc32(&[bytes.get(table..end + 8)?]) ^ mix(uid, u32::try_from(blocks).ok()?, Seq(1));
    bytes.get_mut(end + 8..)?.copy_from_slice(&tail.to_le_bytes());
    Some(())
}

/// Blobs to begin with.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let block = 4096;
    vec![
        ("empty", encode(0)),
        ("one-byte", encode(1)),
        ("short", encode(100)),
        ("a-block", encode(block)),
        ("a-block-and-some", encode(block + 9)),
        ("another-version", {
            let mut bytes = encode(20);
            bytes[8] = 1;
            bytes
        }),
    ]
}

fn encode(len: usize) -> Vec<u8> {
    let mem = MemFs::default();
    mem.create_dir_all(Path::new(DIR)).expect("memory has room");
    let fs: Arc<dyn Fs> = Arc::new(mem.clone());
    let mut writer = BlobWriter::create_with(&fs, Path::new(DIR), ID, STORE, 4096).expect("memory has room");
    let value: Vec<u8> = (0..=250).cycle().take(len).collect();
    writer.write(&value).and_then(|()| writer.finish()).expect("memory has room");
    super::file(&mem, &blob_path(Path::new(DIR), ID))
}
