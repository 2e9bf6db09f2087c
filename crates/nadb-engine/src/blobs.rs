//! Blobs: values too large for the log, each in a file of its own. The file is whole and durable, under a durable name, before
//! the record that refers to it takes its place in the log; it is unlinked at once where no record comes to refer to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::limits::VALUE_BYTES_MAX;
use nadb_core::{Action, BlobId, Entropy, Error, ErrorKind, Location, Result, StoreId, WriteBatch, guard};
use nadb_log::{BlobReader, BlobWriter, FinishedBlob, RecordKind, RecordRef, Row, list_blobs, remove_blob};
use nadb_vfs::Fs;
use smallvec::SmallVec;

use crate::keyspace::Keyspace;

/// The blobs of one store.
#[derive(Debug)]
pub(crate) struct Blobs {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    store: StoreId,
    entropy: Arc<dyn Entropy>,
    /// Values with more bytes than this become blobs.
    pub(crate) above: u64,
}

impl Blobs {
    pub(crate) fn new(
        fs: Arc<dyn Fs>,
        dir: &Path,
        store: StoreId,
        entropy: Arc<dyn Entropy>,
        above: u64,
    ) -> Blobs {
        Blobs { fs, dir: dir.to_path_buf(), store, entropy, above }
    }

    pub(crate) fn create(&self) -> Result<BlobWriter> {
        let mut id = BlobId::default();
        self.entropy.fill(&mut id.0)?;
        BlobWriter::create(&self.fs, &self.dir, id, self.store)
    }

    /// Writes the values of a batch that are large enough.
    pub(crate) fn write_large(&self, batch: &WriteBatch<'_>) -> Result<NewBlobs<'_>> {
        let mut new = NewBlobs { blobs: self, made: SmallVec::new() };
        for (operation, index) in batch.iter().zip(0..) {
            if let Action::Put(put) = &operation.action
                && put.value.len() as u64 > self.above
            {
                let mut writer = self.create()?;
                writer.write(&put.value)?;
                new.made.push((index, writer.finish()?));
            }
        }
        Ok(new)
    }

    /// One blob that a stream has written, for the only operation of a batch.
    pub(crate) fn adopt(&self, blob: FinishedBlob) -> NewBlobs<'_> {
        NewBlobs { blobs: self, made: SmallVec::from_iter([(0, blob)]) }
    }

    /// The blob that a record refers to, which stands at `at`.
    pub(crate) fn open(&self, record: &RecordRef<'_>, at: Location) -> Result<BlobReader> {
        let meta = Row::of(record, at.offset).map(|row| row.meta);
        let Some((id, size)) = meta.and_then(|meta| Some((meta.blob?, meta.size))) else {
            return Err(Error::new(ErrorKind::Corruption, "the record refers to no blob"));
        };
        self.open_id(id, size)
    }

    pub(crate) fn open_id(&self, id: BlobId, len: u64) -> Result<BlobReader> {
        BlobReader::open(&*self.fs, &self.dir, id, self.store, len)
    }

    /// The whole value of a record that a merge is made from.
    pub(crate) fn read_to_merge(&self, record: &RecordRef<'_>, at: Location) -> Result<Vec<u8>> {
        let reader = self.open(record, at)?;
        if reader.len() > VALUE_BYTES_MAX as u64 {
            return Err(Error::limit(format!(
                "the value has {} bytes, the limit of what can be merged is {VALUE_BYTES_MAX} bytes",
                reader.len()
            )));
        }
        reader.read_all()
    }

    /// Unlinks the blobs that no record names: what a crash left of writes that were not done.
    ///
    /// # Errors
    /// `Io`, and `Corruption` of a footer.
    pub(crate) fn remove_orphans(&self, keyspace: &Keyspace) -> Result<()> {
        let entries = match self.fs.list(&self.dir) {
            Ok(entries) => entries,
            Err(e) => return Err(Error::io("listing the store directory", &self.dir, e)),
        };
        let mut orphans = list_blobs(&entries);
        if orphans.is_empty() {
            return Ok(());
        }
        let mut named = Vec::new();
        for slot in keyspace.slots().iter() {
            named.extend(slot.rows().blobs()?);
        }
        named.sort_unstable();
        orphans.retain(|id| named.binary_search(id).is_err() || !guard::on("blob.referred_stays"));
        orphans.into_iter().try_for_each(|id| remove_blob(&*self.fs, &self.dir, id))
    }
}

/// Whether the value of a record stands in a blob.
pub(crate) fn is_blob(record: &RecordRef<'_>) -> bool {
    record.kind == RecordKind::BlobReference
}

/// Blobs that a write has made. They are unlinked at the end, but for those that it keeps.
#[derive(Debug)]
pub(crate) struct NewBlobs<'a> {
    blobs: &'a Blobs,
    /// With the places of their operations in the batch.
    made: SmallVec<[(usize, FinishedBlob); 1]>,
}

impl NewBlobs<'_> {
    pub(crate) fn is_empty(&self) -> bool {
        self.made.is_empty()
    }

    pub(crate) fn get(&self, operation: usize) -> Option<FinishedBlob> {
        self.made.iter().find(|(index, _)| *index == operation).map(|(_, blob)| *blob)
    }

    /// Of a write that succeeded: those that records refer to are kept.
    pub(crate) fn keep(&mut self, used: &[BlobId]) {
        self.made.retain(|(_, blob)| !used.contains(&blob.id));
    }

    /// Of a write that failed so that its records may be there all the same.
    pub(crate) fn keep_all(&mut self) {
        self.made.clear();
    }
}

impl Drop for NewBlobs<'_> {
    fn drop(&mut self) {
        for (_, blob) in &self.made {
            // What cannot be unlinked now goes at the next opening.
            let _ = remove_blob(&*self.blobs.fs, &self.blobs.dir, blob.id);
        }
    }
}
