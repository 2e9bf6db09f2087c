//! Blobs: whether those that whole records refer to are whole, and which bytes of the others are bad. Reads only, each blob once.
//!
//! A record whose blob is not whole has lost its value: it is salvaged no more than one that does not verify itself. Bytes of a
//! blob are never corrected, and its file stays what it is.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nadb_core::{BlobId, Error, ErrorKind, Result, StoreId};
use nadb_vfs::{DirEntry, Fs};

use super::examine::Lost;
use super::report::{DamagedRange, LostKind};
use crate::blob::{BLOB_HEADER, BlobReader, list_blobs};
use crate::checksum::crc32;
use crate::names::blob_path;
use crate::record::RecordRef;
use crate::row::Row;

/// A blob as a record refers to it: its id, and how many bytes its value must have.
pub(super) type Reference = (BlobId, u64);

/// The blob that a record refers to, if it does.
pub(super) fn reference(record: &RecordRef<'_>) -> Option<Reference> {
    let meta = Row::of(record, 0)?.meta;
    Some((meta.blob?, meta.size))
}

/// The files of blobs that no record of the repaired store refers to.
pub(super) fn unused(dir: &Path, entries: &[DirEntry], used: &BTreeSet<BlobId>) -> Vec<PathBuf> {
    let all = list_blobs(entries).into_iter();
    all.filter(|id| !used.contains(id)).map(|id| blob_path(dir, id)).collect()
}

/// The blobs of a store, and what is known of them.
#[derive(Debug)]
pub(super) struct Blobs<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    store: StoreId,
    /// What is wrong with each that was read; nothing with one that is whole.
    read: BTreeMap<Reference, Vec<DamagedRange>>,
}

impl<'a> Blobs<'a> {
    pub(super) fn new(fs: &'a dyn Fs, dir: &'a Path, store: StoreId) -> Blobs<'a> {
        Blobs { fs, dir, store, read: BTreeMap::new() }
    }

    /// Whether every byte of a blob verifies.
    ///
    /// # Errors
    /// `Version` for a blob that needs another build, and `Io`: a medium that cannot be read is no damage.
    pub(super) fn is_whole(&mut self, reference: Reference) -> Result<bool> {
        if let Some(damage) = self.read.get(&reference) {
            return Ok(damage.is_empty());
        }
        let damage = self.examine(reference)?;
        let is_whole = damage.is_empty();
        self.read.insert(reference, damage);
        Ok(is_whole)
    }

    /// A whole record that stands at `offset`, as lost, where it refers to a blob that is not whole.
    ///
    /// # Errors
    /// As [`Blobs::is_whole`].
    pub(super) fn lost_value(&mut self, record: &RecordRef<'_>, offset: u32) -> Result<Option<Lost>> {
        let Some(reference) = reference(record) else { return Ok(None) };
        if self.is_whole(reference)? {
            return Ok(None);
        }
        Ok(Some(Lost {
            offset,
            seq: Some(record.seq),
            older_upto: record.seq.previous(),
            kind: LostKind::Value,
            namespace: record.namespace,
            key: record.key.to_vec(),
            blob: Some(reference.0),
        }))
    }

    /// Whether a record is to be left out, given that its blob was read before.
    pub(super) fn has_lost_value(&self, record: &RecordRef<'_>) -> bool {
        let damage = reference(record).and_then(|reference| self.read.get(&reference));
        damage.is_some_and(|damage| !damage.is_empty())
    }

    /// The bad bytes of all blobs that were read.
    pub(super) fn damage(&self) -> impl Iterator<Item = DamagedRange> {
        self.read.values().flatten().cloned()
    }

    fn examine(&self, (id, len): Reference) -> Result<Vec<DamagedRange>> {
        let path = blob_path(self.dir, id);
        match BlobReader::open(self.fs, self.dir, id, self.store, len) {
            Ok(reader) => bad_blocks(&reader),
            Err(error) if self.is_damage(&error, &path)? => {
                self.bad_frame(&path, len, &error).map(|range| vec![range])
            }
            Err(error) => Err(error),
        }
    }

    /// Whether an error is one of the blob's bytes. One of another version is damaged unless its header is whole.
    fn is_damage(&self, error: &Error, path: &Path) -> Result<bool> {
        match error.kind() {
            ErrorKind::Corruption => Ok(true),
            ErrorKind::Version => {
                let io = |e| Error::io("reading a blob", path, e);
                let mut header = [0; BLOB_HEADER as usize];
                self.fs.open_read(path).and_then(|file| file.read_exact_at(&mut header, 0)).map_err(io)?;
                let sums_up = |(body, sum): (&[u8], &[u8; 4])| crc32(body) == u32::from_le_bytes(*sum);
                Ok(!header.split_last_chunk().is_some_and(sums_up))
            }
            _ => Ok(false),
        }
    }

    /// The range of what stands around the value, where that is what is bad: then no block can be checked.
    fn bad_frame(&self, path: &Path, len: u64, error: &Error) -> Result<DamagedRange> {
        let there = match self.fs.open_read(path).and_then(|file| file.len()) {
            Ok(there) => there,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => 0,
            Err(e) => return Err(Error::io("reading a blob's length", path, e)),
        };
        let (header, at) = (u64::from(BLOB_HEADER), error.offset().unwrap_or_default());
        let range = if at < header && there > 0 {
            // A header that is cut short is missing from there on.
            if there < header { there..there } else { 0..header }
        } else {
            at.min(header.saturating_add(len)).min(there)..there
        };
        Ok(DamagedRange {
            path: path.into(),
            offset: range.start,
            len: range.end - range.start,
            what: error.to_string(),
        })
    }
}

/// Reads all blocks; those that are bad and stand side by side are one range.
fn bad_blocks(reader: &BlobReader) -> Result<Vec<DamagedRange>> {
    let mut bad: Vec<DamagedRange> = Vec::new();
    let mut block = vec![0; reader.block_bytes() as usize];
    let mut at = 0;
    while at < reader.len() {
        let block_len = reader.len().min(at + u64::from(reader.block_bytes())) - at;
        match reader.read_at(at, &mut block) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::Corruption => {
                let offset = u64::from(BLOB_HEADER) + at;
                match bad.last_mut() {
                    Some(last) if last.offset + last.len == offset => last.len += block_len,
                    _ => bad.push(DamagedRange {
                        path: reader.path().into(),
                        offset,
                        len: block_len,
                        what: error.to_string(),
                    }),
                }
            }
            Err(error) => return Err(error),
        }
        at += block_len;
    }
    Ok(bad)
}
