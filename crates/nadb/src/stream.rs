//! Values that are written and read piece by piece.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom, Write};

use nadb_core::{Metadata, Result, Written};

use crate::settings::written;

/// A value that is being written piece by piece, so that it need not fit in memory; made by
/// [`Namespace::writer`](crate::Namespace::writer) and [`PutBuilder::writer`](crate::PutBuilder::writer).
///
/// Nothing of it is visible before [`commit`](ValueWriter::commit), which makes the whole record at once; dropped without
/// it, nothing was written. It is an [`io::Write`], so that [`io::copy`] works.
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
    writer: Box<dyn nadb_core::ValueWriter>,
}

impl ValueWriter {
    pub(crate) fn new(writer: Box<dyn nadb_core::ValueWriter>) -> ValueWriter {
        ValueWriter { writer }
    }

    /// Bytes so far.
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
    /// What an earlier piece met; otherwise as [`PutBuilder::commit`](crate::PutBuilder::commit).
    pub fn commit(self) -> Result<Written> {
        self.writer.commit().map(|outcome| written(&outcome))
    }
}

impl Write for ValueWriter {
    /// Takes all of `bytes`, or fails: an [`io::Error`] with a [`nadb::Error`](crate::Error) inside.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.writer.write(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for ValueWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.writer.fmt(f)
    }
}

/// A value that is read piece by piece, from any place; made by [`Namespace::reader`](crate::Namespace::reader). It stays as
/// it was, whatever happens to the key. Every byte is verified before it is given; damage is an [`io::Error`] with a
/// [`nadb::Error`](crate::Error) inside.
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
