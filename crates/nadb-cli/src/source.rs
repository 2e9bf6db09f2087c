//! Values from files and from standard input: short ones whole, long ones piece by piece, none longer than a value may be.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

use nadb::limits::{BLOB_BYTES_MAX, check_value_len_max};

/// Values up to this are held in memory.
pub(crate) const HELD_BYTES_MAX: usize = 4 << 20;
/// Bytes that are copied at once.
const PIECE: usize = 64 << 10;

/// Why a value could not be read.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// It is too long.
    TooLong(nadb::Error),
    /// The system said so.
    Io(io::Error),
}

/// A value, whole or as far as it has been read.
pub(crate) struct Source {
    /// All bytes of a short value, the first ones of a long one.
    pub(crate) head: Vec<u8>,
    /// The others.
    pub(crate) rest: Option<Box<dyn Read>>,
}

/// The value in a file. Its length is checked before anything is read or allocated.
pub(crate) fn open_file(path: &Path) -> Result<Source, SourceError> {
    let file = File::open(path).map_err(SourceError::Io)?;
    let metadata = file.metadata().map_err(SourceError::Io)?;
    if metadata.is_dir() {
        return Err(SourceError::Io(io::ErrorKind::IsADirectory.into()));
    }
    check_value_len_max(metadata.len(), BLOB_BYTES_MAX).map_err(SourceError::TooLong)?;
    let expected = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(HELD_BYTES_MAX);
    open(Box::new(file), expected)
}

/// The value in a stream of unknown length.
pub(crate) fn open_stream(stream: impl Read + 'static) -> Result<Source, SourceError> {
    open(Box::new(stream), 0)
}

fn open(mut stream: Box<dyn Read>, expected: usize) -> Result<Source, SourceError> {
    let mut head = Vec::with_capacity(expected);
    let limit = HELD_BYTES_MAX as u64 + 1;
    (&mut stream).take(limit).read_to_end(&mut head).map_err(SourceError::Io)?;
    let rest = (head.len() > HELD_BYTES_MAX).then_some(stream);
    Ok(Source { head, rest })
}

/// Why a copy ended before its end.
#[derive(Debug)]
pub(crate) enum CopyError {
    /// Reading failed.
    Read(io::Error),
    /// Writing failed.
    Write(io::Error),
}

/// Copies all that is left of `from`; gives the number of bytes.
pub(crate) fn copy(from: &mut dyn Read, to: &mut dyn Write) -> Result<u64, CopyError> {
    let mut piece = vec![0; PIECE];
    let mut copied = 0;
    loop {
        let len = match from.read(&mut piece) {
            Ok(0) => return Ok(copied),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(CopyError::Read(error)),
        };
        to.write_all(piece.get(..len).unwrap_or_default()).map_err(CopyError::Write)?;
        copied += len as u64;
    }
}

/// What a value's reader or writer failed with: NADB's own error where there is one inside.
pub(crate) fn store_error(error: io::Error) -> Result<nadb::Error, io::Error> {
    error.downcast::<nadb::Error>()
}
