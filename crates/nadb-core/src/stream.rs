//! Values that are written and read piece by piece, so that they need not fit in memory.

use std::fmt;
use std::io::{Read, Seek};

use crate::{Metadata, Outcome, Result};

/// A value that is being written piece by piece. Nothing of it is visible before [`commit`](ValueWriter::commit); dropped
/// without it, nothing was written.
pub trait ValueWriter: Send {
    /// Adds bytes at the end.
    ///
    /// # Errors
    /// `Limit` when the value gets too long, `NoSpace`, `Io`, `Unavailable`, `Closed`. No later call succeeds then.
    fn write(&mut self, bytes: &[u8]) -> Result<()>;

    /// Bytes so far.
    fn len(&self) -> u64;

    /// Whether there are none yet.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the record, in one step, as [`Backend::write`](crate::Backend::write) does: conditions are tested now.
    ///
    /// # Errors
    /// As [`Backend::write`](crate::Backend::write).
    fn commit(self: Box<Self>) -> Result<Outcome>;
}

impl fmt::Debug for dyn ValueWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueWriter({} bytes so far)", self.len())
    }
}

/// A value that is read piece by piece, from any place. It stays as it was when the reader was made, whatever happens to the
/// key. What is wrong with the bytes is an [`std::io::Error`] with an [`Error`](crate::Error) inside.
pub trait ValueReader: Read + Seek + Send {
    /// The record's metadata; its size is the value's length.
    fn metadata(&self) -> &Metadata;
}

impl fmt::Debug for dyn ValueReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ValueReader({} bytes)", self.metadata().size)
    }
}
