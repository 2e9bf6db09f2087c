//! A blob as a stream of the standard library.

use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::sync::Arc;

use nadb_core::{Error, ErrorKind};

use super::reader::BlobReader;

/// Reads a blob from a position that moves. It owns what it needs and holds one block; streams of the same blob can share
/// their reader.
///
/// An [`io::Error`] that it gives has the [`nadb_core::Error`] inside ([`io::Error::get_ref`]); where bytes do not verify,
/// its kind is [`io::ErrorKind::InvalidData`], and the position stays.
#[derive(Debug)]
pub struct BlobStream {
    reader: Arc<BlobReader>,
    position: u64,
    /// A verified block, and where it begins in the value; empty where there is none yet.
    pub(super) block: Vec<u8>,
    block_start: u64,
}

impl BlobStream {
    /// A stream from the value's beginning.
    #[must_use]
    pub fn new(reader: impl Into<Arc<BlobReader>>) -> BlobStream {
        BlobStream { reader: reader.into(), position: 0, block: Vec::new(), block_start: 0 }
    }

    /// What it reads from.
    #[must_use]
    pub fn reader(&self) -> &Arc<BlobReader> {
        &self.reader
    }

    /// What the block in memory holds from the position on.
    fn rest(&self) -> &[u8] {
        let skip = self.position.checked_sub(self.block_start).and_then(|skip| usize::try_from(skip).ok());
        skip.and_then(|skip| self.block.get(skip..)).unwrap_or_default()
    }
}

impl BufRead for BlobStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.rest().is_empty() {
            let mut block = std::mem::take(&mut self.block);
            match self.reader.read_block_at(self.position, &mut block).map_err(io_error)? {
                Some(start) => self.block_start = start,
                None => block.clear(),
            }
            self.block = block;
        }
        Ok(self.rest())
    }

    fn consume(&mut self, amount: usize) {
        self.position = self.position.saturating_add(amount.min(self.rest().len()) as u64);
    }
}

impl Read for BlobStream {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        // Whole blocks go straight to where they are wanted; no block is read twice by a caller who goes on.
        let block_bytes = self.reader.block_bytes() as usize;
        let whole = buf.len() - buf.len() % block_bytes;
        let at_block = self.position.is_multiple_of(block_bytes as u64) && self.rest().is_empty();
        if let Some(whole) = buf.get_mut(..whole).filter(|whole| !whole.is_empty() && at_block) {
            let read = self.reader.read_at(self.position, whole).map_err(io_error)?;
            self.position = self.position.saturating_add(read as u64);
            return Ok(read);
        }
        let read = self.fill_buf()?.read(buf)?;
        self.consume(read);
        Ok(read)
    }
}

impl Seek for BlobStream {
    /// Positions behind the end are allowed; nothing is read there.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.reader.len().checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidInput, "a seek to before the beginning of a blob")
        })?;
        Ok(self.position)
    }
}

fn io_error(error: Error) -> io::Error {
    let kind = match error.kind() {
        ErrorKind::Corruption => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}
