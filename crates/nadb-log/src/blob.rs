//! Blobs: files that hold one very large value each, written and read as streams.
//!
//! What it promises: a blob that [`BlobWriter::finish`] reported is durable, content and name; one that was not finished is
//! unlinked at once, or is an orphan that nothing refers to; no byte is read that does not verify; memory is bounded by a
//! few blocks and 4 bytes per block, whatever the value's length. What it leaves to others: ids, the records that refer to
//! blobs, and when a blob that nothing refers to goes. docs/format.md describes every byte.

mod layout;
mod reader;
mod stream;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::Path;

use nadb_core::{BlobId, Error, Result};
use nadb_vfs::{DirEntry, Fs};

use crate::names::{blob_path, parse_blob};

pub use layout::{BLOB_BLOCK_BYTES, BLOB_HEADER};
pub use reader::BlobReader;
pub use stream::BlobStream;
pub use writer::{BlobWriter, FinishedBlob};

/// The blobs whose files stand in a directory, in the order of their ids. Those that no record refers to were left by a
/// crash or by a removal that failed.
#[must_use]
pub fn list_blobs(entries: &[DirEntry]) -> Vec<BlobId> {
    let mut ids: Vec<_> =
        entries.iter().filter(|entry| entry.is_file).filter_map(|entry| parse_blob(&entry.name)).collect();
    ids.sort_unstable();
    ids
}

/// Unlinks a blob's file; one that is not there is no error. Open readers go on. Durable after the directory is synced; to
/// be called only when no record refers to the blob any more, durably.
///
/// # Errors
/// `Io` or `ReadOnly`, with the path.
pub fn remove_blob(fs: &dyn Fs, dir: &Path, id: BlobId) -> Result<()> {
    unlink(fs, &blob_path(dir, id))
}

fn unlink(fs: &dyn Fs, path: &Path) -> Result<()> {
    match fs.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("removing a blob", path, e)),
        _ => Ok(()),
    }
}
