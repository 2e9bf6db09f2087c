//! Values that are written and read piece by piece, so that they need not fit in memory.
//!
//! A stream is one write, or one read, that takes its time: it promises the same as [`Backend::write`](crate::Backend::write)
//! and [`Backend::get`](crate::Backend::get). What it leaves to the backend is where the pieces stand meanwhile.

use std::fmt;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use crate::{Entry, Metadata, Outcome, Result, Value};

/// A value that is being written piece by piece; made by [`Backend::writer`](crate::Backend::writer).
///
/// - **Before the [`commit`](ValueWriter::commit)** nothing of it is visible, and the namespace is not created. Dropped
///   without it, nothing was written.
/// - **The write happens at the commit**: its condition is tested then, what it is to `Keep` is what the key has then, a
///   relative lifetime counts from then, and so does the version.
/// - **There may be any number at once**, also for one key. None waits for another, nor does any other write wait; the last
///   commit counts.
/// - **It does not keep the store open.** When the store was closed meanwhile, the commit answers `Closed`.
///
/// ```
/// use nadb_core::{Outcome, Result, ValueWriter};
/// use std::io::Read;
///
/// /// Writes all that `from` has, a block at a time.
/// fn write_all(from: &mut impl Read, mut to: Box<dyn ValueWriter>) -> std::io::Result<Outcome> {
///     let mut block = vec![0; 1 << 16];
///     loop {
///         match from.read(&mut block)? {
///             0 => return to.commit().map_err(std::io::Error::other),
///             len => to.write(&block[..len]).map_err(std::io::Error::other)?,
///         }
///     } // leaving by an error drops the writer, and nothing was written
/// }
/// # struct InMemory(Vec<u8>);
/// # impl ValueWriter for InMemory {
/// #     fn write(&mut self, bytes: &[u8]) -> Result<()> { self.0.extend_from_slice(bytes); Ok(()) }
/// #     fn len(&self) -> u64 { self.0.len() as u64 }
/// #     fn commit(self: Box<Self>) -> Result<Outcome> { Ok(Outcome::new(Some(self.len()), false, true, None)) }
/// # }
/// let outcome = write_all(&mut &[7; 100_000][..], Box::new(InMemory(Vec::new())))?;
/// assert!(outcome.exists);
/// # assert_eq!(outcome.version, Some(100_000));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ValueWriter: Send {
    /// Adds bytes at the end: all of them, or it fails. Without bytes it does nothing.
    ///
    /// # Errors
    /// `Limit` when the value gets too long, `NoSpace`, `Io`, `Unavailable`, `Closed`. The value is lost then: every later
    /// piece and the commit fail in the same way.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Bytes so far, those that the put had at the beginning included.
    fn len(&self) -> u64;

    /// Whether there are none yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the record, whole and in one step, as [`Backend::write`](crate::Backend::write) does. When it returns, the record
    /// is visible, and as durable as its class says.
    ///
    /// # Errors
    /// What an earlier piece met; otherwise as [`Backend::write`](crate::Backend::write).
    fn commit(self: Box<Self>) -> Result<Outcome>;
}

impl fmt::Debug for dyn ValueWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueWriter({} bytes so far)", self.len())
    }
}

/// A value that is read piece by piece, from any place; made by [`Backend::reader`](crate::Backend::reader). It begins at the
/// value's beginning.
///
/// - **It keeps its moment**: value and metadata stay as they were when it was made, whatever happens to the key. That it is
///   overwritten, deleted or expires, or that its namespace is dropped, does not show, and no writer waits for a reader.
/// - **Any place**: a position behind the end is allowed, and nothing is there, so that a read gives 0 bytes. A seek to before
///   the beginning fails as [`InvalidInput`](std::io::ErrorKind::InvalidInput), and the position stays.
/// - **Errors** are [`std::io::Error`]s; where the store is to blame, an [`Error`](crate::Error) is inside
///   ([`get_ref`](std::io::Error::get_ref)). Bytes that do not verify are never given.
/// - **After the store's end** it goes on, or its reads fail with `Closed` inside.
///
/// ```
/// use nadb_core::{Metadata, ValueReader};
/// use std::io::{Cursor, Read, Result, Seek, SeekFrom};
///
/// /// As a backend that has the whole value in memory makes one.
/// struct InMemory(Cursor<Vec<u8>>, Metadata);
/// impl Read for InMemory {
///     fn read(&mut self, buf: &mut [u8]) -> Result<usize> {
///         self.0.read(buf)
///     }
/// }
/// impl Seek for InMemory {
///     fn seek(&mut self, to: SeekFrom) -> Result<u64> {
///         self.0.seek(to)
///     }
/// }
/// impl ValueReader for InMemory {
///     fn metadata(&self) -> &Metadata {
///         &self.1
///     }
/// }
///
/// let mut reader: Box<dyn ValueReader> =
///     Box::new(InMemory(Cursor::new(b"Hello, world".to_vec()), Metadata::new(1, 12, 1_700_000_000_000)));
/// reader.seek(SeekFrom::End(-5))?;
/// let mut end = String::new();
/// reader.read_to_string(&mut end)?;
/// assert_eq!((&*end, reader.metadata().size), ("world", 12));
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait ValueReader: Read + Seek + Send {
    /// The record's metadata; its size is the value's length.
    fn metadata(&self) -> &Metadata;
}

impl fmt::Debug for dyn ValueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueReader({} bytes)", self.metadata().size)
    }
}

/// A value that is in memory as a whole.
struct InMemory {
    value: Cursor<Value>,
    metadata: Metadata,
}

/// A reader of an entry's value.
pub(crate) fn in_memory(entry: Entry) -> Box<dyn ValueReader> {
    Box::new(InMemory { value: Cursor::new(entry.value), metadata: entry.metadata })
}

impl Read for InMemory {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.value.read(buf)
    }
}

impl Seek for InMemory {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.value.seek(to)
    }
}

impl ValueReader for InMemory {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}
