//! Values written and read piece by piece.

use std::borrow::Cow;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use nadb_core::{
    Action, Durability, Error, Metadata, Operation, Outcome, Phase, Result, Value, ValueReader, ValueWriter,
    WriteOptions,
};
use nadb_log::{BlobStream, BlobWriter};

use crate::backend::capabilities;
use crate::blobs::is_blob;
use crate::engine::Shared;
use crate::keyspace::HasRecord;
use crate::read::Visible;

/// A value that is being written. Few bytes are kept in memory, and become an ordinary record; more become a blob.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    operation: Operation<'static>,
    durability: Option<Durability>,
    small: Vec<u8>,
    blob: Option<BlobWriter>,
    /// After a failure: what every later call answers.
    failed: Option<Error>,
}

impl Writer {
    pub(crate) fn new(
        shared: &Arc<Shared>,
        mut operation: Operation<'static>,
        options: &WriteOptions,
    ) -> Result<Writer> {
        capabilities().check_write(std::slice::from_ref(&operation), options)?;
        shared.check_open_to_read()?;
        let Action::Put(put) = &mut operation.action else {
            return Err(Error::unsupported("engine", "streams for operations other than puts"));
        };
        let first = std::mem::take(&mut put.value).into_owned();
        let mut writer = Writer {
            shared: Arc::clone(shared),
            operation,
            durability: options.durability,
            small: Vec::new(),
            blob: None,
            failed: None,
        };
        writer.write(&first)?;
        Ok(writer)
    }

    fn try_write(&mut self, bytes: &[u8]) -> Result<()> {
        self.shared.check_open_to_read()?;
        if let Some(blob) = &mut self.blob {
            return blob.write(bytes);
        }
        if (self.small.len() + bytes.len()) as u64 <= self.shared.blobs.above {
            self.small.extend_from_slice(bytes);
            return Ok(());
        }
        let mut blob = self.shared.blobs.create()?;
        blob.write(&std::mem::take(&mut self.small))?;
        blob.write(bytes)?;
        self.blob = Some(blob);
        Ok(())
    }
}

impl ValueWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if let Some(error) = &self.failed {
            return Err(error.duplicate());
        }
        let written = self.try_write(bytes);
        if let Err(error) = &written {
            self.failed = Some(error.duplicate());
            self.blob = None;
        }
        written
    }

    fn len(&self) -> u64 {
        self.blob.as_ref().map_or(self.small.len() as u64, BlobWriter::len)
    }

    fn commit(mut self: Box<Self>) -> Result<Outcome> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcomes = match self.blob.take() {
            Some(blob) => {
                let mut watch = self.shared.times.watch_write(&*self.shared.options.clock);
                let blobs = self.shared.blobs.adopt(blob.finish()?);
                watch.lap(Phase::Append);
                self.shared.write_with(&[self.operation], blobs, self.durability, &mut watch)?
            }
            None => {
                if let Action::Put(put) = &mut self.operation.action {
                    put.value = Cow::Owned(self.small);
                }
                self.shared.write(&[self.operation], self.durability)?
            }
        };
        outcomes.into_iter().next().ok_or_else(|| Error::invalid("a write without an outcome"))
    }
}

/// Where the bytes of a value come from.
#[derive(Debug)]
enum Source {
    Memory(Cursor<Value>),
    Blob(BlobStream),
}

/// A value that is read piece by piece.
#[derive(Debug)]
pub(crate) struct Reader {
    source: Source,
    metadata: Metadata,
}

impl Reader {
    pub(crate) fn open(shared: &Shared, found: &Visible<'_>) -> Result<Reader> {
        let metadata = shared.metadata(found)?;
        let record = found.1.record()?;
        let source = if is_blob(&record) {
            Source::Blob(BlobStream::new(shared.blobs.open(&record, found.0)?))
        } else {
            Source::Memory(Cursor::new(shared.value(found)?))
        };
        Ok(Reader { source, metadata })
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::Memory(cursor) => cursor.read(buf),
            Source::Blob(stream) => stream.read(buf),
        }
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        match &mut self.source {
            Source::Memory(cursor) => cursor.seek(to),
            Source::Blob(stream) => stream.seek(to),
        }
    }
}

impl ValueReader for Reader {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}
