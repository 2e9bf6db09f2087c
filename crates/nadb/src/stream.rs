//! Values that are written and read piece by piece.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;

use nadb_core::{Backend, Metadata, Result, Written};

use crate::settings::written;

/// A value that is being written piece by piece, so that it need not fit in memory; made by
/// [`Namespace::writer`](crate::Namespace::writer) and [`PutBuilder::writer`](crate::PutBuilder::writer).
///
/// Nothing of it is visible before [`commit`](ValueWriter::commit), which makes the whole record at once; dropped without
/// it, nothing was written. It is an [`io::Write`], so that [`io::copy`] works; pieces of any size do, without a
/// [`BufWriter`](io::BufWriter) around it.
///
/// The write happens at the commit: conditions are tested then, `keep_tags` and `keep_ttl` keep what the key has then, and a
/// lifetime begins then. Any number of writers may be open at once, also for one key; none waits for another, and the last
/// commit counts. A writer may go to another thread. It keeps the store open, as a [`Namespace`](crate::Namespace) does; after
/// the store was closed, `commit` answers `Closed`.
///
/// ```
/// use std::io::Write;
/// let files = nadb::Store::memory()?.namespace("files")?;
/// let mut writer = files.put("film", "").content_type("video/mp4").writer()?;
/// for _ in 0..1000 {
///     writer.write_all(&[7; 1000])?;
/// }
/// assert!(!files.contains("film")?);
/// writer.commit()?;
/// assert_eq!(files.metadata("film")?.unwrap().size, 1_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "nothing is written until `commit` is called"]
pub struct ValueWriter {
    // Dropped first: what it has begun goes before the store is closed.
    writer: Box<dyn nadb_core::ValueWriter>,
    /// Keeps the store open.
    backend: Arc<dyn Backend>,
}

impl ValueWriter {
    pub(crate) fn new(writer: Box<dyn nadb_core::ValueWriter>, backend: &Arc<dyn Backend>) -> ValueWriter {
        ValueWriter { writer, backend: Arc::clone(backend) }
    }

    /// Bytes so far; the value that the builder had included.
    ///
    /// ```
    /// use std::io::Write;
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// let mut writer = files.writer("k")?;
    /// assert!(writer.is_empty());
    /// writer.write_all(b"12345")?;
    /// assert_eq!(writer.len(), 5);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> u64 {
        self.writer.len()
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// Makes the record, in one atomic step. When it returns, the record is visible, and as durable as its class says.
    ///
    /// # Errors
    /// What an earlier piece met; otherwise as [`PutBuilder::commit`](crate::PutBuilder::commit). The pieces are gone then.
    ///
    /// ```
    /// use nadb::{ErrorKind, Store};
    /// use std::io::Write;
    /// let files = Store::memory()?.namespace("files")?;
    /// let mut writer = files.put("k", "").if_absent().writer()?;
    /// writer.write_all(b"streamed")?;
    /// let first = files.set("k", "faster")?; // does not wait for the writer
    /// let error = writer.commit().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PreconditionFailed { current: Some(first.version) });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn commit(self) -> Result<Written> {
        let ValueWriter { writer, backend } = self;
        let outcome = writer.commit();
        drop(backend);
        outcome.map(|outcome| written(&outcome))
    }
}

impl Write for ValueWriter {
    /// Takes all of `bytes`, or fails: an [`io::Error`] with a [`nadb::Error`](crate::Error) inside. After that every further
    /// piece and the commit fail in the same way.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    /// Does nothing: only [`commit`](ValueWriter::commit) makes anything visible or durable.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for ValueWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.writer.fmt(f)
    }
}

/// A value that is read piece by piece, from any place; made by [`Namespace::reader`](crate::Namespace::reader).
///
/// Value and metadata stay as they were when it was made: that the key is overwritten, deleted or expires, or that its
/// namespace is dropped, does not show, and no writer waits for a reader. It may go to another thread, and does not keep the
/// store open; after the store was closed it goes on, or its reads fail as `Closed`.
///
/// Every byte is verified before it is given. Damage is an [`io::Error`] with a [`nadb::Error`](crate::Error) inside:
/// `error.get_ref().and_then(|inside| inside.downcast_ref::<nadb::Error>())`. A position behind the end is allowed, and reads
/// there give nothing; a seek to before the beginning is an error, and the position stays.
///
/// ```
/// use std::io::{Read, Seek, SeekFrom};
/// let files = nadb::Store::memory()?.namespace("files")?;
/// files.set("greeting", "Hello, world")?;
/// let mut reader = files.reader("greeting")?.unwrap();
/// reader.seek(SeekFrom::Start(7))?;
/// let mut rest = String::new();
/// reader.read_to_string(&mut rest)?;
/// assert_eq!((rest.as_str(), reader.metadata().size), ("world", 12));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct ValueReader {
    reader: Box<dyn nadb_core::ValueReader>,
}

impl ValueReader {
    pub(crate) fn new(reader: Box<dyn nadb_core::ValueReader>) -> ValueReader {
        ValueReader { reader }
    }

    /// The record's metadata; its `size` is the value's length.
    ///
    /// ```
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// let written = files.put("k", "value").content_type("text/plain").commit()?;
    /// let reader = files.reader("k")?.unwrap();
    /// files.set("k", "another")?;
    /// let metadata = reader.metadata();
    /// assert_eq!((metadata.size, metadata.version), (5, written.version));
    /// assert_eq!(metadata.content_type.as_deref(), Some("text/plain"));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        self.reader.metadata()
    }
}

impl Read for ValueReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

impl Seek for ValueReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.reader.seek(to)
    }
}

impl fmt::Debug for ValueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.reader.fmt(f)
    }
}
