//! Values from files and from standard input, never longer than a value may be.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use nadb::limits::{VALUE_BYTES_MAX, check_value_len};

/// Why a value could not be read.
#[derive(Debug)]
pub(crate) enum SourceError {
    /// It is too long.
    TooLong(nadb::Error),
    /// The system said so.
    Io(io::Error),
}

/// All bytes of a file. Its length is checked before anything is read or allocated.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, SourceError> {
    let file = File::open(path).map_err(SourceError::Io)?;
    let metadata = file.metadata().map_err(SourceError::Io)?;
    if metadata.is_dir() {
        return Err(SourceError::Io(io::ErrorKind::IsADirectory.into()));
    }
    check_value_len(metadata.len()).map_err(SourceError::TooLong)?;
    // Within the limit, so it fits.
    let expected = usize::try_from(metadata.len()).unwrap_or(0);
    read_bounded(file, expected)
}

/// All bytes of a stream of unknown length.
pub(crate) fn read_stream(stream: impl Read) -> Result<Vec<u8>, SourceError> {
    read_bounded(stream, 0)
}

fn read_bounded(stream: impl Read, expected: usize) -> Result<Vec<u8>, SourceError> {
    let mut value = Vec::with_capacity(expected);
    stream.take(VALUE_BYTES_MAX as u64 + 1).read_to_end(&mut value).map_err(SourceError::Io)?;
    if value.len() > VALUE_BYTES_MAX {
        return Err(SourceError::TooLong(nadb::Error::limit(format!(
            "value has more than {VALUE_BYTES_MAX} bytes, the limit is {VALUE_BYTES_MAX} bytes (64 MiB); store larger data in parts"
        ))));
    }
    Ok(value)
}
