//! Where everything stands in a blob's file, and its checksums.
//!
//! A header, the value's bytes without a gap, the checksums of its blocks, and a trailer. The value is contiguous so that a
//! mapped blob can be handed out as one slice. It does no I/O.

use nadb_core::limits::BLOB_BYTES_MAX;
use nadb_core::{BlobId, Error, ErrorKind, Result, SegmentUid, Seq, StoreId};

use crate::bytes::Reader;
use crate::checksum::{crc32, mix};
use crate::{FORMAT_VERSION, version_error};

/// Bytes of a blob's header; the value begins here.
pub const BLOB_HEADER: u32 = 64;
/// Bytes of a block, the unit that is summed, in blobs that this build writes.
pub const BLOB_BLOCK_BYTES: u32 = 64 << 10;
/// The range of block sizes that a reader accepts: it holds one block at a time, and 4 bytes for each.
const BLOCK_BYTES_MIN: u32 = 4 << 10;
pub(super) const BLOCK_BYTES_MAX: u32 = 1 << 20;
/// Behind the table of checksums: the value's length, and the checksum of table and length.
const TRAILER: usize = 12;
const MAGIC: [u8; 8] = *b"NADB-BLB";
/// The value's bytes as they are. Other codes are reserved, for compression and encryption.
const CODEC_PLAIN: u8 = 0;

/// What a blob's header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlobHeader {
    pub(crate) id: BlobId,
    pub(crate) store: StoreId,
    pub(crate) block_bytes: u32,
}

impl BlobHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(BLOB_HEADER as usize);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.block_bytes.to_le_bytes());
        out.extend_from_slice(&self.id.0);
        out.extend_from_slice(&self.store.0);
        out.push(CODEC_PLAIN);
        out.resize(BLOB_HEADER as usize - 4, 0);
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a header; `Err` is an error without its path.
    pub(crate) fn decode(bytes: &[u8]) -> Result<BlobHeader> {
        let short =
            || corrupt(0, format!("the blob header is cut short: {} of {BLOB_HEADER} bytes", bytes.len()));
        let mut reader = Reader::new(bytes);
        let magic: [u8; 8] = reader.array().ok_or_else(short)?;
        if magic != MAGIC {
            return Err(corrupt(0, format!("this is no blob: it begins with \"{}\"", magic.escape_ascii())));
        }
        // The version first: another one may keep its checksum elsewhere.
        match reader.u32().ok_or_else(short)? {
            FORMAT_VERSION => {}
            version => return Err(version_error("blob", version)),
        }
        let block_bytes = reader.u32().ok_or_else(short)?;
        let id = BlobId(reader.array().ok_or_else(short)?);
        let store = StoreId(reader.array().ok_or_else(short)?);
        let [codec, zeros @ ..]: [u8; 12] = reader.array().ok_or_else(short)?;
        let summed = bytes.get(..reader.position()).ok_or_else(short)?;
        let (stored, computed) = (reader.u32().ok_or_else(short)?, crc32(summed));
        if stored != computed {
            return Err(corrupt(
                summed.len() as u64,
                format!("the blob header's checksum is {stored:#010x}, its bytes give {computed:#010x}"),
            ));
        }
        if !is_block_size(block_bytes) {
            return Err(corrupt(12, format!("the blob claims blocks of {block_bytes} bytes; none has them")));
        }
        if codec != CODEC_PLAIN || zeros != [0; 11] {
            return Err(corrupt(48, format!("the blob has codec {codec} or reserved bytes; none has them")));
        }
        Ok(BlobHeader { id, store, block_bytes })
    }
}

/// Whether a blob may have blocks of this size.
pub(super) fn is_block_size(bytes: u32) -> bool {
    bytes.is_power_of_two() && (BLOCK_BYTES_MIN..=BLOCK_BYTES_MAX).contains(&bytes)
}

/// The number of a block and where its bytes stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) number: u32,
    /// From the beginning of the value.
    pub(super) start: u64,
    /// Never 0, and at most [`BLOCK_BYTES_MAX`].
    pub(super) len: usize,
}

impl Block {
    /// Its offset in the file.
    pub(super) fn offset(&self) -> u64 {
        u64::from(BLOB_HEADER) + self.start
    }
}

/// How a value of a certain length is cut into blocks, and where they stand in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    len: u64,
    block_bytes: u32,
    blocks: u32,
}

impl Shape {
    /// `None` for a length or a block size that no blob has.
    pub(super) fn new(len: u64, block_bytes: u32) -> Option<Shape> {
        if len > BLOB_BYTES_MAX || !is_block_size(block_bytes) {
            return None;
        }
        let blocks = u32::try_from(len.div_ceil(u64::from(block_bytes))).ok()?;
        Some(Shape { len, block_bytes, blocks })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn block_bytes(&self) -> u32 {
        self.block_bytes
    }

    /// The block that holds the value's byte at `at`; `None` at the end and behind it.
    pub(super) fn block_at(&self, at: u64) -> Option<Block> {
        let number = (at < self.len).then_some(at / u64::from(self.block_bytes))?;
        self.block(u32::try_from(number).ok()?)
    }

    fn block(&self, number: u32) -> Option<Block> {
        let start = u64::from(number) * u64::from(self.block_bytes);
        let rest = self.len.checked_sub(start).filter(|&rest| rest > 0)?;
        let len = usize::try_from(rest.min(u64::from(self.block_bytes))).ok()?;
        Some(Block { number, start, len })
    }

    /// All blocks in order.
    pub(super) fn blocks(self) -> impl Iterator<Item = Block> {
        (0..self.blocks).filter_map(move |number| self.block(number))
    }

    /// The offset of the table in the file.
    pub(super) fn table_offset(&self) -> u64 {
        u64::from(BLOB_HEADER) + self.len
    }

    /// Bytes of table and trailer.
    pub(super) fn tail_len(&self) -> usize {
        self.blocks as usize * 4 + TRAILER
    }

    /// Bytes of the file.
    pub(super) fn file_len(&self) -> u64 {
        self.table_offset() + self.tail_len() as u64
    }
}

/// The stored checksum of a block: bound to the blob and to the place in it.
pub(super) fn block_sum(id: BlobId, number: u32, bytes: &[u8]) -> u32 {
    crc32(bytes) ^ mix(SegmentUid(id.0), number, Seq(0))
}

/// The checksums of a value's blocks, as they stand in the file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// 4 bytes per block.
    pub(super) bytes: Vec<u8>,
}

impl Table {
    /// Adds the checksum of the next block.
    pub(super) fn push(&mut self, id: BlobId, block: &[u8]) {
        let sum = block_sum(id, self.count(), block);
        self.bytes.extend_from_slice(&sum.to_le_bytes());
    }

    pub(super) fn get(&self, number: u32) -> Option<u32> {
        let at = number as usize * 4;
        self.bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.bytes.len() / 4).unwrap_or(u32::MAX)
    }

    /// Table and trailer of a value of `len` bytes.
    pub(super) fn into_tail(self, id: BlobId, len: u64) -> Vec<u8> {
        let count = self.count();
        let mut out = self.bytes;
        out.extend_from_slice(&len.to_le_bytes());
        let sum = tail_sum(id, count, &out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }

    /// Reads table and trailer; `Err` is an error without its path.
    pub(super) fn from_tail(mut tail: Vec<u8>, id: BlobId, shape: &Shape) -> Result<Table> {
        let short = || corrupt(shape.table_offset(), "the blob's table is cut short".into());
        let table_len = tail.len().checked_sub(TRAILER).ok_or_else(short)?;
        let (summed, sum) = tail.split_last_chunk().ok_or_else(short)?;
        let (stored, computed) = (u32::from_le_bytes(*sum), tail_sum(id, shape.blocks, summed));
        if stored != computed {
            return Err(corrupt(
                shape.table_offset() + summed.len() as u64,
                format!("the blob's table has the checksum {stored:#010x}, its bytes give {computed:#010x}"),
            ));
        }
        let (_, len) = summed.split_last_chunk().ok_or_else(short)?;
        let len = u64::from_le_bytes(*len);
        if len != shape.len {
            return Err(corrupt(
                shape.table_offset() + table_len as u64,
                format!("the blob has {len} bytes, the record that refers to it says {}", shape.len),
            ));
        }
        tail.truncate(table_len);
        Ok(Table { bytes: tail })
    }
}

/// The checksum of table and length, which no block's can be taken for.
fn tail_sum(id: BlobId, blocks: u32, bytes: &[u8]) -> u32 {
    crc32(bytes) ^ mix(SegmentUid(id.0), blocks, Seq(1))
}

fn corrupt(offset: u64, what: String) -> Error {
    Error::new(ErrorKind::Corruption, what).with_offset(offset)
}
