//! The one public error: a kind to act on, a sentence to read, and where it happened.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The result of everything that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of failure it is, and with that what a caller can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The input has no meaning: correct it. Nothing was written.
    InvalidInput,
    /// The input is beyond a limit, which the message names. Nothing was written.
    Limit,
    /// Bytes on disk are not what was written there. Path and offset ride along; nothing was changed.
    Corruption,
    /// The files have a format version that this build does not know. Nothing was touched.
    Version,
    /// Another process, or another handle of this one, has the store open for writing.
    Locked,
    /// A condition of a write did not hold. Nothing was written; retrying the same write makes no sense.
    PreconditionFailed {
        /// The version that the key has now, `None` when it is absent.
        current: Option<u64>,
    },
    /// A transaction met a concurrent write: run it again.
    Conflict,
    /// The store, its directory or its file system admits no writing.
    ReadOnly,
    /// A sync failed earlier: what was written and not yet durable may be lost, so the store takes no more writes. Reads
    /// go on. Reopen the store to learn what survived.
    Poisoned,
    /// The store was closed.
    Closed,
    /// The device is full. Nothing was written; the write can be tried again when there is room.
    NoSpace,
    /// A view outlived its files: take a new one.
    Stale,
    /// This backend or version cannot do that.
    Unsupported,
    /// The backend could not be reached, and nothing was done.
    Unavailable,
    /// The write may or may not have been done.
    OutcomeUnknown,
    /// The operating system reported a failure.
    Io,
    /// A backend reported a failure of its own.
    Backend,
}

impl ErrorKind {
    /// Whether running the same operation again can succeed without any change by the caller.
    #[must_use]
    pub fn is_retryable(self) -> bool {
        matches!(self, ErrorKind::Conflict | ErrorKind::NoSpace | ErrorKind::Unavailable)
    }
}

/// An error: kind, sentence, and where it happened.
///
/// ```
/// use nadb_core::{Error, ErrorKind};
/// let error = Error::invalid("ttl is 0 s, it must be above zero").with_path("data/00000001.seg").with_offset(64);
/// assert_eq!(error.kind(), ErrorKind::InvalidInput);
/// assert_eq!(error.to_string(), "ttl is 0 s, it must be above zero (data/00000001.seg, offset 64)");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    path: Option<PathBuf>,
    offset: Option<u64>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a sentence that says what, which value, and what to do.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Inner { kind, message: message.into(), path: None, offset: None, source: None }))
    }

    /// An `InvalidInput` error.
    #[must_use]
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::InvalidInput, message)
    }

    /// A `Limit` error.
    #[must_use]
    pub fn limit(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Limit, message)
    }

    /// An `Unsupported` error: what a backend does not do.
    #[must_use]
    pub fn unsupported(backend: &str, what: &str) -> Error {
        Error::new(ErrorKind::Unsupported, format!("the backend \"{backend}\" does not support {what}"))
    }

    /// A `Corruption` error at a place in a file.
    #[must_use]
    pub fn corruption(path: impl Into<PathBuf>, offset: u64, message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Corruption, message).with_path(path).with_offset(offset)
    }

    /// What the operating system said while `doing` something to `path`; a full device becomes `NoSpace`, a read-only
    /// one `ReadOnly`.
    #[must_use]
    pub fn io(doing: &str, path: impl Into<PathBuf>, source: io::Error) -> Error {
        let kind = match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => ErrorKind::ReadOnly,
            _ => ErrorKind::Io,
        };
        Error::new(kind, format!("{doing} failed: {source}")).with_path(path).with_source(source)
    }

    /// Adds the file concerned.
    #[must_use]
    pub fn with_path(mut self, path: impl Into<PathBuf>) -> Error {
        self.0.path = Some(path.into());
        self
    }

    /// Adds the byte offset in the file.
    #[must_use]
    pub fn with_offset(mut self, offset: u64) -> Error {
        self.0.offset = Some(offset);
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn with_source(mut self, source: impl StdError + Send + Sync + 'static) -> Error {
        self.0.source = Some(Box::new(source));
        self
    }

    /// Puts words before the sentence, such as the operation that failed.
    #[must_use]
    pub fn with_context(mut self, context: &str) -> Error {
        self.0.message = format!("{context}: {}", self.0.message);
        self
    }

    /// Says which operation of a batch it was, counted from 1; nothing for a batch of one.
    #[must_use]
    pub fn in_batch(self, number: usize, count: usize) -> Error {
        if count == 1 { self } else { self.with_context(&format!("operation {number} of {count}")) }
    }

    /// An error of the same kind, sentence and place, without the cause: one failure that several callers must hear of.
    #[must_use]
    pub fn duplicate(&self) -> Error {
        let Inner { kind, message, path, offset, source: _ } = &*self.0;
        Error(Box::new(Inner {
            kind: *kind,
            message: message.clone(),
            path: path.clone(),
            offset: *offset,
            source: None,
        }))
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The file concerned, if any.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The byte offset in the file, if known.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.0.offset
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match (&self.0.path, self.0.offset) {
            (Some(path), Some(offset)) => write!(f, " ({}, offset {offset})", path.display()),
            (Some(path), None) => write!(f, " ({})", path.display()),
            (None, Some(offset)) => write!(f, " (offset {offset})"),
            (None, None) => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}
