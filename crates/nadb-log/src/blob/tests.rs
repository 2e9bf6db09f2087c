//! What only the inside of a blob can show: checksums that hold but belong elsewhere, mishaps that pass, memory.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::limits::BLOB_BYTES_MAX;
use nadb_core::{BlobId, ErrorKind, Result, StoreId};
use nadb_vfs::{File, Fs, MemFs};

use super::layout::{BLOB_HEADER, BlobHeader, Shape, Table};
use super::{BLOB_BLOCK_BYTES, BlobReader, BlobStream, BlobWriter};

const ID: BlobId = BlobId([7; 16]);
const STORE: StoreId = StoreId([3; 16]);
const BLOCK: u32 = 4 << 10;

/// A file that nobody writes. It can turn bytes that are read, and counts the reads.
#[derive(Debug, Default)]
struct Bytes {
    bytes: Vec<u8>,
    reads: AtomicU64,
    longest: AtomicU64,
    /// The read (from 1) that gives wrong bytes.
    turned: u64,
    /// What [`File::len`] claims instead.
    len: Option<u64>,
}

impl File for Bytes {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.longest.fetch_max(buf.len() as u64, Ordering::Relaxed);
        let mut from = self.bytes.get(usize::try_from(offset).unwrap()..).unwrap_or_default();
        let taken = from.read(buf)?;
        if self.reads.fetch_add(1, Ordering::Relaxed) + 1 == self.turned {
            buf.iter_mut().for_each(|byte| *byte ^= 0x10);
        }
        Ok(taken)
    }
    fn len(&self) -> io::Result<u64> {
        Ok(self.len.unwrap_or(self.bytes.len() as u64))
    }
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<usize> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn allocate(&self, _: u64, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

fn value(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

fn table(id: BlobId, value: &[u8]) -> Table {
    let mut table = Table::default();
    value.chunks(BLOCK as usize).for_each(|block| table.push(id, block));
    table
}

/// A file of these parts, all checksums but those of the blocks made to hold.
fn file(id: BlobId, value: &[u8], table: Table) -> Vec<u8> {
    let mut bytes = BlobHeader { id, store: STORE, block_bytes: BLOCK }.encode();
    bytes.extend_from_slice(value);
    bytes.extend(table.into_tail(id, value.len() as u64));
    bytes
}

fn open(file: Bytes, len: u64) -> Result<BlobReader> {
    BlobReader::of_file(Arc::new(file), PathBuf::from("a.blob"), ID, STORE, len)
}

fn read(bytes: Vec<u8>, len: usize) -> Result<Vec<u8>> {
    open(Bytes { bytes, ..Bytes::default() }, len as u64)?.read_all()
}

#[test]
fn the_file_is_what_its_shape_says() {
    for len in [0, 1, 4095, 4096, 4097, 3 * 4096 + 7] {
        let value = value(len);
        let bytes = file(ID, &value, table(ID, &value));
        let shape = Shape::new(len as u64, BLOCK).unwrap();
        assert_eq!(bytes.len() as u64, shape.file_len(), "{len}");
        assert_eq!(shape.blocks().map(|block| block.len).sum::<usize>(), len);
        assert_eq!(shape.block_at(len as u64), None);
        assert_eq!(read(bytes, len).unwrap(), value, "{len}");
    }
    assert!(Shape::new(BLOB_BYTES_MAX, BLOB_BLOCK_BYTES).unwrap().tail_len() <= (256 << 10) + 12);
    assert_eq!(Shape::new(BLOB_BYTES_MAX + 1, BLOB_BLOCK_BYTES), None);
    assert_eq!(Shape::new(u64::MAX, BLOB_BLOCK_BYTES), None);
}

#[test]
fn a_block_of_another_place_or_blob_does_not_verify() {
    let value = value(2 * BLOCK as usize);
    let table = table(ID, &value);
    assert!(read(file(ID, &value, table.clone()), value.len()).is_ok());

    // Blocks that changed places together with their checksums, under a table whose own checksum holds.
    let (mut swapped, mut sums) = (value.clone(), table);
    swapped.rotate_left(BLOCK as usize);
    sums.bytes.rotate_left(4);
    let error = read(file(ID, &swapped, sums), swapped.len()).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(64)));

    // The table of another blob with the same content.
    let others = self::table(BlobId([8; 16]), &value);
    assert_eq!(read(file(ID, &value, others), value.len()).unwrap_err().kind(), ErrorKind::Corruption);
}

#[test]
fn another_blobs_or_stores_file_is_refused() {
    let value = value(10);
    let other = BlobId([8; 16]);
    let error = read(file(other, &value, table(other, &value)), 10).unwrap_err();
    assert!(error.to_string().contains("another blob, 0808"), "{error}");
    let bytes = file(ID, &value, table(ID, &value));
    let source = Arc::new(Bytes { bytes, ..Bytes::default() });
    let error = BlobReader::of_file(source, PathBuf::from("a.blob"), ID, StoreId([4; 16]), 10).unwrap_err();
    assert!(error.to_string().contains("another store"), "{error}");
}

#[test]
fn a_read_that_went_wrong_once_is_read_again() {
    let value = value(3 * BLOCK as usize + 7);
    let bytes = file(ID, &value, table(ID, &value));
    // Header, table and four blocks take one read each.
    for turned in 1..=6 {
        let file = Bytes { bytes: bytes.clone(), turned, ..Bytes::default() };
        let reader = open(file, value.len() as u64).unwrap();
        assert_eq!(reader.read_all().unwrap(), value, "read {turned}");
    }
}

#[test]
fn nothing_is_allocated_for_a_length_that_the_file_does_not_bear_out() {
    let bytes = file(ID, b"abc", table(ID, b"abc"));
    for claimed in [4, 2, 0, BLOB_BYTES_MAX, BLOB_BYTES_MAX + 1, u64::MAX] {
        let source = Arc::new(Bytes { bytes: bytes.clone(), ..Bytes::default() });
        let file = Arc::clone(&source) as Arc<dyn File>;
        let error = BlobReader::of_file(file, PathBuf::from("a.blob"), ID, STORE, claimed).unwrap_err();
        assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(Path::new("a.blob"))));
        assert_eq!(source.longest.load(Ordering::Relaxed), u64::from(BLOB_HEADER), "{claimed}");
    }
    // A file whose length is a lie, too, ends in an error.
    let len = Shape::new(BLOB_BYTES_MAX, BLOCK).unwrap().file_len();
    let error = open(Bytes { bytes, len: Some(len), ..Bytes::default() }, BLOB_BYTES_MAX).unwrap_err();
    assert!(error.to_string().contains("ends inside the table"), "{error}");
}

#[test]
fn headers_that_are_wrong_though_their_checksum_holds_are_refused() {
    let good = BlobHeader { id: ID, store: STORE, block_bytes: BLOCK };
    let check = |what: &str, kind: ErrorKind, at: usize, with: &[u8]| {
        let mut bytes = file(ID, b"abc", table(ID, b"abc"));
        bytes[at..at + with.len()].copy_from_slice(with);
        let sum = crate::checksum::crc32(&bytes[..60]);
        bytes[60..64].copy_from_slice(&sum.to_le_bytes());
        let error = read(bytes, 3).expect_err(what);
        assert_eq!(error.kind(), kind, "{what}: {error}");
    };
    let corrupt = ErrorKind::Corruption;
    for size in [0, 1, 2048, 4095, 5000, 2 << 20, u32::MAX, 1 << 31] {
        check(&format!("blocks of {size}"), corrupt, 12, &size.to_le_bytes());
    }
    check("another magic", corrupt, 0, b"NADB-SEG");
    check("another version", ErrorKind::Version, 8, &1u32.to_le_bytes());
    check("an unknown codec", corrupt, 48, &[1]);
    check("a reserved byte", corrupt, 59, &[1]);
    check("another id", corrupt, 31, &[0]);
    check("another store", corrupt, 47, &[0]);
    assert_eq!(BlobHeader::decode(&good.encode()).unwrap(), good);
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_header_is_an_error() {
    let bytes = BlobHeader { id: ID, store: STORE, block_bytes: BLOB_BLOCK_BYTES }.encode();
    assert_eq!(bytes.len(), BLOB_HEADER as usize);
    for len in 0..bytes.len() {
        let error = BlobHeader::decode(&bytes[..len]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "cut to {len}");
    }
    for bit in 0..bytes.len() * 8 {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        let kind = if (64..96).contains(&bit) { ErrorKind::Version } else { ErrorKind::Corruption };
        assert_eq!(BlobHeader::decode(&bytes).unwrap_err().kind(), kind, "bit {bit}");
    }
}

#[test]
fn a_value_beyond_the_limit_is_refused_and_leaves_nothing() {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::default());
    fs.create_dir_all(Path::new("d")).unwrap();
    let mut writer = BlobWriter::create(&fs, Path::new("d"), ID, STORE).unwrap();
    // As though all but three bytes had been written.
    writer.len = BLOB_BYTES_MAX - 3;
    writer.write(b"abc").unwrap();
    let error = writer.write(b"d").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    let text = error.to_string();
    assert!(text.contains("value has 4293918721 bytes, the limit is 4293918720 bytes"), "{text}");
    assert_eq!(fs.list(Path::new("d")).unwrap(), []);
    assert_eq!(writer.write(b"").unwrap_err().kind(), ErrorKind::Limit, "it stays lost");
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::Limit);
}

#[test]
fn memory_does_not_grow_with_the_value() {
    const LEN: usize = 64 << 20;
    let fs: Arc<dyn Fs> = Arc::new(MemFs::default());
    fs.create_dir_all(Path::new("d")).unwrap();
    let mut writer = BlobWriter::create(&fs, Path::new("d"), ID, STORE).unwrap();
    let piece = value(3 << 20);
    let mut sizes = [1, 100, 4096, 70_000, 1 << 20, (1 << 20) + 1, 3 << 20].into_iter().cycle();
    while writer.len() < LEN as u64 {
        let rest = LEN - usize::try_from(writer.len()).unwrap();
        writer.write(&piece[..sizes.next().unwrap().min(rest)]).unwrap();
        assert_eq!(writer.piece.capacity(), 1 << 20);
        assert!(writer.table.bytes.capacity() <= 2 * 4 * (LEN >> 16));
    }
    let finished = writer.finish().unwrap();
    let reader = BlobReader::open(&*fs, Path::new("d"), ID, STORE, finished.len).unwrap();
    reader.verify().unwrap();
    let mut stream = BlobStream::new(reader);
    let (mut read, mut buf) = (0, vec![0; 10_000]);
    loop {
        match stream.read(&mut buf).unwrap() {
            0 => break,
            taken => read += taken,
        }
        assert!(stream.block.capacity() <= BLOB_BLOCK_BYTES as usize);
    }
    assert_eq!(read, LEN);
}
