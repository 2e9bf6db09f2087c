//! Reading a blob: positioned, block by block, each verified whole before any byte of it is given.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::limits::BLOB_BYTES_MAX;
use nadb_core::{BlobId, Error, ErrorKind, Result, StoreId, guard};
use nadb_vfs::{File, Fs};

use super::layout::{BLOB_HEADER, BlobHeader, Block, Shape, Table, block_sum};
use crate::names::blob_path;

/// Bytes by which [`BlobReader::read_all`] goes on.
const STEP_BYTES: usize = 1 << 20;

/// Reads one blob, from any thread. It holds 4 bytes for each block: 256 KiB for the longest value in blocks of 64 KiB.
///
/// It goes on reading when the blob's name is removed.
#[derive(Debug)]
pub struct BlobReader {
    source: Source,
    shape: Shape,
    table: Table,
}

/// The file, and whose it must be.
#[derive(Debug)]
struct Source {
    path: PathBuf,
    file: Arc<dyn File>,
    id: BlobId,
    store: StoreId,
}

impl BlobReader {
    /// Opens a blob and checks everything but the value: whose it is, its length, and the table of checksums. `len` is what
    /// the record that refers to it says.
    ///
    /// # Errors
    /// `Corruption` with the path, also where the file is missing; `Version`; `Io`.
    pub fn open(fs: &dyn Fs, dir: &Path, id: BlobId, store: StoreId, len: u64) -> Result<BlobReader> {
        let path = blob_path(dir, id);
        let file = fs.open_read(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::corruption(&path, 0, "a record refers to this blob, but its file is missing")
                    .with_source(e)
            }
            _ => Error::io("opening a blob", &path, e),
        })?;
        Self::of_file(file, path, id, store, len)
    }

    pub(super) fn of_file(
        file: Arc<dyn File>,
        path: PathBuf,
        id: BlobId,
        store: StoreId,
        len: u64,
    ) -> Result<BlobReader> {
        let source = Source { path, file, id, store };
        let (shape, table) = source.load(len)?;
        Ok(BlobReader { source, shape, table })
    }

    /// The blob's id.
    #[must_use]
    pub fn id(&self) -> BlobId {
        self.source.id
    }

    /// Its file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.source.path
    }

    /// Bytes of the value.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.shape.len()
    }

    /// Whether the value has no bytes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of a block: what a read that lies between two multiples of it takes from the file.
    #[must_use]
    pub fn block_bytes(&self) -> u32 {
        self.shape.block_bytes()
    }

    /// Fills `buf` with the value's bytes from `offset` on and says how many there were: fewer than asked for only at the
    /// value's end. Every block that it touches is verified whole; one that does not verify is read a second time before
    /// that is called corruption.
    ///
    /// # Errors
    /// `Corruption` with path and offset, or `Io`. Then `buf` may hold a part of the value, but no byte that did not verify.
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let mut partial = Vec::new();
        let mut filled = 0;
        while let Some(out) = buf.get_mut(filled..).filter(|out| !out.is_empty()) {
            let Some(at) = offset.checked_add(filled as u64) else { break };
            let Some(block) = self.shape.block_at(at) else { break };
            filled += match out.get_mut(..block.len).filter(|_| at == block.start) {
                Some(whole) => self.read_block(block, whole).map(|()| block.len)?,
                None => {
                    partial.resize(block.len, 0);
                    self.read_block(block, &mut partial)?;
                    copy_from(&partial, at - block.start, out)
                }
            };
        }
        Ok(filled)
    }

    /// The whole value.
    ///
    /// # Errors
    /// As [`BlobReader::read_at`], and `Limit` where there is no memory for it.
    pub fn read_all(&self) -> Result<Vec<u8>> {
        let mut value = Vec::new();
        let len = usize::try_from(self.len()).ok().filter(|&len| value.try_reserve_exact(len).is_ok());
        let len = len.ok_or_else(|| {
            Error::limit(format!(
                "value has {} bytes, for which there is no memory; read it in parts",
                self.len()
            ))
            .with_path(&self.source.path)
        })?;
        while value.len() < len {
            let at = value.len();
            value.resize(len.min(at + STEP_BYTES), 0);
            self.read_at(at as u64, value.get_mut(at..).unwrap_or_default())?;
        }
        Ok(value)
    }

    /// Reads and checks every byte of the file, holding one block at a time.
    ///
    /// # Errors
    /// As [`BlobReader::open`] and [`BlobReader::read_at`].
    pub fn verify(&self) -> Result<()> {
        let (shape, table) = self.source.load(self.len())?;
        if shape != self.shape || table != self.table {
            let offset = self.shape.table_offset();
            return Err(self.source.corruption(offset, "the blob changed since it was opened"));
        }
        let mut bytes = Vec::new();
        for block in self.shape.blocks() {
            bytes.resize(block.len, 0);
            self.read_block(block, &mut bytes)?;
        }
        Ok(())
    }

    /// Where the block of the value's byte at `at` begins, and its bytes into `bytes`; `None` behind the end.
    pub(super) fn read_block_at(&self, at: u64, bytes: &mut Vec<u8>) -> Result<Option<u64>> {
        let Some(block) = self.shape.block_at(at) else { return Ok(None) };
        bytes.resize(block.len, 0);
        self.read_block(block, bytes).map(|()| Some(block.start))
    }

    /// Reads a block into `bytes`, which has its length. What does not verify is not left there.
    fn read_block(&self, block: Block, bytes: &mut [u8]) -> Result<()> {
        twice(|| self.read_block_once(block, bytes)).inspect_err(|_| bytes.fill(0))
    }

    fn read_block_once(&self, block: Block, bytes: &mut [u8]) -> Result<()> {
        self.source.read_exact(bytes, block.offset(), "a block of the blob")?;
        let computed = block_sum(self.source.id, block.number, bytes);
        match self.table.get(block.number) {
            Some(stored) if stored == computed || !guard::on("blob.block_verified") => Ok(()),
            stored => Err(self.source.corruption(
                block.offset(),
                format!(
                    "block {} of the blob has the checksum {:#010x}, its bytes give {computed:#010x}",
                    block.number,
                    stored.unwrap_or_default()
                ),
            )),
        }
    }
}

impl Source {
    /// Header, table and trailer, for a value of `len` bytes. Nothing is allocated that the file's length does not bear out.
    fn load(&self, len: u64) -> Result<(Shape, Table)> {
        twice(|| self.load_once(len))
    }

    fn load_once(&self, len: u64) -> Result<(Shape, Table)> {
        let file_len = self.file.len().map_err(|e| Error::io("reading a blob's length", &self.path, e))?;
        let block_bytes = self.load_header(file_len)?.block_bytes;
        let shape = Shape::new(len, block_bytes).ok_or_else(|| {
            let says = "the record that refers to the blob says that it has";
            self.corruption(0, format!("{says} {len} bytes, the limit is {BLOB_BYTES_MAX} bytes"))
        })?;
        if shape.file_len() != file_len {
            let whole = shape.file_len();
            return Err(self.corruption(
                file_len.min(whole),
                format!(
                    "the file has {file_len} bytes; a blob of {len} bytes, as its record says, has {whole}"
                ),
            ));
        }
        let mut tail = vec![0; shape.tail_len()];
        self.read_exact(&mut tail, shape.table_offset(), "the table of the blob")?;
        let table = Table::from_tail(tail, self.id, &shape).map_err(|error| error.with_path(&self.path))?;
        Ok((shape, table))
    }

    fn load_header(&self, file_len: u64) -> Result<BlobHeader> {
        let mut bytes = [0; BLOB_HEADER as usize];
        let there = usize::try_from(file_len).map_or(bytes.len(), |len| len.min(bytes.len()));
        let bytes = bytes.get_mut(..there).unwrap_or_default();
        self.read_exact(bytes, 0, "the header of the blob")?;
        let header = BlobHeader::decode(bytes).map_err(|error| error.with_path(&self.path))?;
        if header.id != self.id {
            return Err(self.corruption(16, format!("the file is that of another blob, {}", header.id)));
        }
        if header.store != self.store {
            return Err(self.corruption(32, "the blob is one of another store"));
        }
        Ok(header)
    }

    fn read_exact(&self, bytes: &mut [u8], offset: u64, what: &str) -> Result<()> {
        self.file.read_exact_at(bytes, offset).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => self
                .corruption(offset, format!("the file ends inside {what}, which has {} bytes", bytes.len())),
            _ => Error::io(&format!("reading {what}"), &self.path, e).with_offset(offset),
        })
    }

    fn corruption(&self, offset: u64, what: impl Into<String>) -> Error {
        Error::corruption(&self.path, offset, what)
    }
}

/// Copies bytes of a block, from `skip` on, to the beginning of `out`; says how many.
fn copy_from(block: &[u8], skip: u64, out: &mut [u8]) -> usize {
    let part = usize::try_from(skip).ok().and_then(|skip| block.get(skip..)).unwrap_or_default();
    let len = part.len().min(out.len());
    if let (Some(from), Some(to)) = (part.get(..len), out.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    len
}

/// Bytes that do not verify are read a second time: the first may have been a mishap on the way.
fn twice<T>(mut read: impl FnMut() -> Result<T>) -> Result<T> {
    match read() {
        Err(error) if matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Version) => read(),
        result => result,
    }
}
