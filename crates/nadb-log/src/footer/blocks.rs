//! The footer's bytes, verified block by block at first touch.
//!
//! Promises that no byte of a section is given out before the checksum of its block held, and that no range reaches beyond
//! its section. Leaves what the bytes mean to others.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use nadb_core::{Error, Result, SegmentUid, Seq, guard};

use crate::checksum::{crc32, mix};

/// Bytes that one checksum covers: a page, so that a first touch faults and sums no more than it must, and the table of
/// checksums, which is read at opening, has a thousandth of the footer's bytes.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Bytes of a checksum in the table.
pub(super) const CHECKSUM_BYTES: usize = 4;
const WORD_BITS: usize = 64;

/// A range of the footer's bytes that holds one section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// The bytes of a footer, and which blocks of them were found intact.
pub(super) struct Blocks {
    bytes: Bytes,
    uid: SegmentUid,
    at: u32,
    path: PathBuf,
    /// Bytes that hold sections; they are what the blocks cover.
    body: usize,
    /// Where the table of checksums begins.
    table: usize,
    /// A bit per block. The bytes never change, so the bit needs no order with anything else.
    intact: Box<[AtomicU64]>,
}

/// The checksum of a block that stands at `offset` of its segment's file.
pub(super) fn block_checksum(block: &[u8], uid: SegmentUid, offset: u32) -> u32 {
    crc32(block) ^ mix(uid, offset, Seq(0))
}

impl Blocks {
    /// `body` and `table` are positions in `bytes` that the trailer's checksum vouches for.
    pub(super) fn new(
        bytes: Bytes,
        uid: SegmentUid,
        at: u32,
        path: &Path,
        (body, table): (usize, usize),
    ) -> Blocks {
        let words = body.div_ceil(BLOCK_BYTES).div_ceil(WORD_BITS);
        let intact = (0..words).map(|_| AtomicU64::new(0)).collect();
        Blocks { bytes, uid, at, path: path.to_path_buf(), body, table, intact }
    }

    /// Bytes of this process's own making: nothing of them needs to be summed.
    pub(super) fn own(bytes: Vec<u8>) -> Blocks {
        let body = bytes.len();
        let words = body.div_ceil(BLOCK_BYTES).div_ceil(WORD_BITS);
        let intact = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
        let (uid, path) = (SegmentUid([0; 16]), PathBuf::new());
        Blocks { bytes: bytes.into(), uid, at: 0, path, body, table: body, intact }
    }

    /// Where in the segment's file the footer begins.
    pub(super) fn at(&self) -> u32 {
        self.at
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// How many bytes there are.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes on the heap beside the footer's own.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.intact) + self.path.as_os_str().len()
    }

    /// Corruption at `position` of the footer.
    #[cold]
    pub(super) fn corrupt(&self, position: usize, what: impl Into<String>) -> Error {
        Error::corruption(&self.path, u64::from(self.at) + position as u64, what)
    }

    /// `len` bytes from `from` of a section on.
    #[inline]
    pub(super) fn get(&self, section: Section, from: usize, len: usize) -> Result<&[u8]> {
        let start = self.touch(section, from, len)?;
        self.bytes.get(start..start + len).ok_or_else(|| self.beyond(section, from, len))
    }

    /// `len` bytes from `from` of a section on, and behind them all that the footer has: what follows was not verified.
    #[inline]
    pub(super) fn get_and_more(&self, section: Section, from: usize, len: usize) -> Result<&[u8]> {
        let start = self.touch(section, from, len)?;
        self.bytes.get(start..).ok_or_else(|| self.beyond(section, from, len))
    }

    #[inline]
    pub(super) fn array<const N: usize>(&self, section: Section, from: usize) -> Result<[u8; N]> {
        let bytes = self.get(section, from, N)?;
        bytes.try_into().map_err(|_| self.beyond(section, from, N))
    }

    /// `width` bits, 1 to 64, that begin at `shift` (0 to 7) of the byte `from` of a section.
    #[inline]
    pub(super) fn bits(&self, section: Section, from: usize, shift: u32, width: u32) -> Result<u64> {
        let len = (shift + width).div_ceil(8) as usize;
        let start = self.touch(section, from, len)?;
        // Eight bytes are there whatever the width is: the trailer follows all sections. What the mask drops need not
        // have been verified.
        let word = self.bytes.get(start..start + 8).and_then(|word| word.try_into().ok());
        let word = u64::from_le_bytes(word.ok_or_else(|| self.beyond(section, from, len))?);
        let mut value = word >> shift;
        if let (9, Some(last)) = (len, self.bytes.get(start + 8)) {
            value |= u64::from(*last) << (64 - shift);
        }
        Ok(value & (u64::MAX >> (64 - width)))
    }

    /// Sees to it that a range of a section is there and intact; gives its position in the footer.
    #[inline]
    fn touch(&self, section: Section, from: usize, len: usize) -> Result<usize> {
        if from > section.len || len > section.len - from {
            return Err(self.beyond(section, from, len));
        }
        let start = section.start + from;
        let (first, last) = (start / BLOCK_BYTES, (start + len.max(1) - 1) / BLOCK_BYTES);
        if first == last && self.is_intact(first) { Ok(start) } else { self.touch_blocks(start, len) }
    }

    /// Checks what is not known to be intact of a range that lies in the sections.
    #[cold]
    fn touch_blocks(&self, start: usize, len: usize) -> Result<usize> {
        for block in start / BLOCK_BYTES..(start + len).div_ceil(BLOCK_BYTES) {
            if !self.is_intact(block) {
                self.check(block)?;
            }
        }
        Ok(start)
    }

    #[inline]
    fn is_intact(&self, block: usize) -> bool {
        let word = self.intact.get(block / WORD_BITS);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (block % WORD_BITS) & 1 == 1)
    }

    /// Sums a block and remembers that it is intact.
    #[cold]
    fn check(&self, block: usize) -> Result<()> {
        let start = block * BLOCK_BYTES;
        let bytes = self.bytes.get(start..self.body.min(start + BLOCK_BYTES));
        let stored = self.bytes.get(self.table + block * CHECKSUM_BYTES..);
        let stored = stored.and_then(|table| table.first_chunk()).map(|sum| u32::from_le_bytes(*sum));
        let offset = u32::try_from(start).ok().and_then(|start| self.at.checked_add(start));
        let (Some(bytes), Some(stored), Some(offset)) = (bytes, stored, offset) else {
            return Err(self.corrupt(start, "the footer ends before its sections do"));
        };
        let computed = block_checksum(bytes, self.uid, offset);
        if computed != stored && guard::on("footer.block_checksum") {
            return Err(self.corrupt(
                start,
                format!(
                    "the checksum of a block of the footer is {stored:#010x}, its bytes give {computed:#010x}"
                ),
            ));
        }
        if let Some(word) = self.intact.get(block / WORD_BITS) {
            word.fetch_or(1 << (block % WORD_BITS), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Sums every block, also those that were found intact before.
    pub(super) fn check_all(&self) -> Result<()> {
        (0..self.body.div_ceil(BLOCK_BYTES)).try_for_each(|block| self.check(block))
    }

    #[cold]
    fn beyond(&self, section: Section, from: usize, len: usize) -> Error {
        self.corrupt(
            section.start,
            format!("{len} bytes from {from} on are beyond a footer section of {} bytes", section.len),
        )
    }
}
