//! Writing a blob: pieces of any size in, blocks summed, large writes out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::limits::{BLOB_BYTES_MAX, check_value_len_max};
use nadb_core::{BlobId, Error, Result, StoreId, guard};
use nadb_vfs::{File, Fs};

use super::layout::{BLOB_BLOCK_BYTES, BLOB_HEADER, BLOCK_BYTES_MAX, BlobHeader, Table, is_block_size};
use super::unlink;
use crate::names::blob_path;

/// Bytes that are written with one call: whole blocks of any size that a blob may have.
const PIECE_BYTES: usize = BLOCK_BYTES_MAX as usize;

/// A blob that is whole and durable, content and name: a record may refer to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedBlob {
    /// Its id.
    pub id: BlobId,
    /// Bytes of its value.
    pub len: u64,
}

/// Writes one blob. It holds at most 1 MiB of the value, and 4 bytes for each block that was written.
///
/// The file is unlinked as soon as something fails, and when the writer is dropped before [`BlobWriter::finish`]. Where that
/// fails too, or the process ends, the file stays as an orphan, which [`list_blobs`](super::list_blobs) finds.
#[derive(Debug)]
pub struct BlobWriter {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    path: PathBuf,
    id: BlobId,
    block_bytes: usize,
    state: State,
    /// Whether the file's name is there and has to go unless the blob is finished.
    is_unfinished: bool,
    /// Bytes that were given.
    pub(super) len: u64,
    /// Where the next piece goes in the file.
    offset: u64,
    /// What was given and is not in the file yet: less than a piece.
    pub(super) piece: Vec<u8>,
    pub(super) table: Table,
}

#[derive(Debug)]
enum State {
    Open(Arc<dyn File>),
    /// Nothing goes on behind this error, and the file is closed, so that its room is free at once.
    Failed(Error),
}

impl BlobWriter {
    /// Begins a blob in `dir`. The id must be new: 128 random bits.
    ///
    /// # Errors
    /// `NoSpace`, `ReadOnly` or `Io`, the latter also where the file is there already, which is then left alone.
    pub fn create(fs: &Arc<dyn Fs>, dir: &Path, id: BlobId, store: StoreId) -> Result<BlobWriter> {
        Self::create_with(fs, dir, id, store, BLOB_BLOCK_BYTES)
    }

    /// As [`BlobWriter::create`], with blocks of another size: a power of two from 4 KiB to 1 MiB. Every read touches whole
    /// blocks.
    ///
    /// # Errors
    /// As [`BlobWriter::create`], and `InvalidInput` for another size.
    pub fn create_with(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        id: BlobId,
        store: StoreId,
        block_bytes: u32,
    ) -> Result<BlobWriter> {
        if !is_block_size(block_bytes) {
            return Err(Error::invalid(format!(
                "block size is {block_bytes} bytes, it must be a power of two from 4 KiB to 1 MiB"
            )));
        }
        let path = blob_path(dir, id);
        let file = fs.create_new(&path).map_err(|e| Error::io("creating a blob", &path, e))?;
        let mut writer = BlobWriter {
            fs: Arc::clone(fs),
            dir: dir.to_path_buf(),
            path,
            id,
            block_bytes: block_bytes as usize,
            state: State::Open(file),
            is_unfinished: true,
            len: 0,
            offset: u64::from(BLOB_HEADER),
            piece: Vec::with_capacity(PIECE_BYTES),
            table: Table::default(),
        };
        let header = BlobHeader { id, store, block_bytes }.encode();
        writer.or_discard(|writer| writer.write_at(&header, 0))?;
        Ok(writer)
    }

    /// Adds bytes to the value.
    ///
    /// # Errors
    /// `Limit` when the value becomes longer than [`BLOB_BYTES_MAX`]; `NoSpace`, `ReadOnly` or `Io`. Behind any error the
    /// blob is lost: its file is unlinked, and every further call gives the same error.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.or_discard(|writer| writer.take(bytes))
    }

    /// Bytes of the value so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the value has no byte yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Ends the blob and makes it durable, content and name.
    ///
    /// # Errors
    /// As [`BlobWriter::write`]. A failed sync is not tried again.
    pub fn finish(mut self) -> Result<FinishedBlob> {
        self.or_discard(Self::seal)?;
        self.is_unfinished = false;
        Ok(FinishedBlob { id: self.id, len: self.len })
    }

    /// Gives the blob up and unlinks its file, as dropping does, and says whether that worked.
    ///
    /// # Errors
    /// `Io` or `ReadOnly`: the file is still there, though nothing refers to it.
    pub fn abort(mut self) -> Result<()> {
        let result = self.discard();
        // Dropping would only try it again, behind the back of who was told that it failed.
        self.is_unfinished = false;
        result
    }

    /// Runs a step; when it fails, the file goes at once.
    fn or_discard(&mut self, step: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        if let State::Failed(error) = &self.state {
            return Err(error.duplicate());
        }
        step(self).map_err(|mut error| {
            self.state = State::Failed(error.duplicate());
            if let Err(stays) = self.discard() {
                error = error.with_context(&format!("the unfinished blob stays: {stays}"));
            }
            error
        })
    }

    fn discard(&mut self) -> Result<()> {
        if self.is_unfinished && guard::on("blob.unlink_on_failure") {
            unlink(&*self.fs, &self.path)?;
            self.is_unfinished = false;
        }
        Ok(())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<()> {
        let len = self.len.saturating_add(bytes.len() as u64);
        check_value_len_max(len, BLOB_BYTES_MAX)?;
        while !bytes.is_empty() {
            // What comes in large pieces is not copied.
            let whole = bytes.split_at_checked(PIECE_BYTES).filter(|_| self.piece.is_empty());
            if let Some((piece, rest)) = whole {
                self.put(piece)?;
                bytes = rest;
                continue;
            }
            let room = PIECE_BYTES.saturating_sub(self.piece.len());
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.piece.extend_from_slice(now);
            bytes = later;
            if self.piece.len() >= PIECE_BYTES {
                self.put_piece()?;
            }
        }
        self.len = len;
        Ok(())
    }

    fn put_piece(&mut self) -> Result<()> {
        let mut piece = std::mem::take(&mut self.piece);
        let result = self.put(&piece);
        piece.clear();
        self.piece = piece;
        result
    }

    /// Sums and writes the next piece; all but the last are whole blocks.
    fn put(&mut self, piece: &[u8]) -> Result<()> {
        for block in piece.chunks(self.block_bytes) {
            self.table.push(self.id, block);
        }
        self.write_at(piece, self.offset)?;
        self.offset += piece.len() as u64;
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        self.put_piece()?;
        let tail = std::mem::take(&mut self.table).into_tail(self.id, self.len);
        self.write_at(&tail, self.offset)?;
        // DURABILITY: the content before the name, and both before anybody may refer to the blob.
        if guard::on("blob.sync_before_name") {
            self.file()?.sync_all().map_err(|e| Error::io("syncing a blob", &self.path, e))?;
        }
        if guard::on("blob.sync_dir") {
            self.fs.sync_dir(&self.dir).map_err(|e| Error::io("syncing the directory", &self.dir, e))?;
        }
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> Result<()> {
        self.file()?
            .write_all_at(bytes, offset)
            .map_err(|e| Error::io("writing a blob", &self.path, e.source).with_offset(offset))
    }

    fn file(&self) -> Result<&dyn File> {
        match &self.state {
            State::Open(file) => Ok(&**file),
            State::Failed(error) => Err(error.duplicate()),
        }
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        // An orphan goes at the next opening; who wants to know calls `abort`.
        let _ = self.discard();
    }
}
