//! The traits: what a file system must be able to do for a store.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::appender::Appender;
use crate::mapping::Mapping;

/// A file system as seen by one store.
///
/// All paths are those the caller made from its store directory; an implementation may treat them as opaque. Every method
/// may be called from any thread.
pub trait Fs: Debug + Send + Sync + 'static {
    /// Creates `dir` and its missing parents. The new entries are durable after [`Fs::sync_dir`] of each parent.
    ///
    /// # Errors
    /// Whatever the system answers; an existing directory is no error.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Creates a file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::AlreadyExists`] when the name is taken; nothing is truncated, ever.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading only.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>>;

    /// Removes a file's name. Durable after [`Fs::sync_dir`]; open handles stay usable.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is none.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Renames a file within one directory, replacing `to` atomically. Durable after [`Fs::sync_dir`].
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when `from` does not exist.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes creations, renames and removals in `dir` durable.
    ///
    /// # Errors
    /// After a failure, none of the changes since the last successful call may be relied upon.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Names in `dir`, in no particular order.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`] when there is no such directory, [`io::ErrorKind::NotADirectory`] for a file.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Bytes that files in `dir` can still take, as far as that is known.
    fn available(&self, dir: &Path) -> Option<u64> {
        let _ = dir;
        None
    }

    /// Takes the exclusive lock on `path`, creating the file if needed, and writes `owner` into it for others to read.
    /// The lock ends when the guard is dropped or the process dies; the file stays.
    ///
    /// # Errors
    /// [`LockError::Held`] with what its owner wrote, or [`LockError::Io`].
    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FileLock>, LockError>;
}

/// An open file. Reads and writes are positioned; there is no cursor.
pub trait File: Debug + Send + Sync + 'static {
    /// Reads up to `buf.len()` bytes at `offset`; 0 means at or behind the end.
    ///
    /// # Errors
    /// Media errors as the system reports them.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes up to `buf.len()` bytes at `offset` and says how many were taken; extends the file where needed.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`] when the device is full; after any error, bytes of the range may or may not have
    /// been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends (with zeros) to `len`. Durable after [`File::sync_all`].
    ///
    /// # Errors
    /// Whatever the system answers.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Where, at or behind `offset`, bytes may stand that are not zeros; the file's length or more where there
    /// are none. What lies between reads as zeros and takes no reading. Where the file system does not tell, `offset`.
    ///
    /// # Errors
    /// Whatever the system answers.
    fn next_data(&self, offset: u64) -> io::Result<u64> {
        Ok(offset)
    }

    /// Reserves blocks for `len` bytes from `offset` and extends the file over them with zeros, so that later writes
    /// there cannot run out of space where the file system honours reservations.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`], or [`io::ErrorKind::Unsupported`] where the file system cannot reserve.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Makes data, and the length as far as it is needed to read it, durable.
    ///
    /// # Errors
    /// After a failure the unsynced bytes may be lost for good even when a later call succeeds; never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes data and all metadata durable.
    ///
    /// # Errors
    /// As [`File::sync_data`].
    fn sync_all(&self) -> io::Result<()>;

    /// Fills `buf` from `offset`.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file ends before; otherwise as [`File::read_at`].
    fn read_exact_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buf.is_empty() {
            match self.read_at(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = buf.get_mut(n..).ok_or(io::ErrorKind::InvalidData)?;
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// The first `len` bytes of the file as memory; 0 maps nothing.
    ///
    /// Only bytes that nobody will write again and that will not be cut off may be mapped: those of a sealed segment or
    /// of a blob. Appending behind them, renaming and removing the file are fine (but Windows cuts no file while any of it
    /// is mapped). What breaks this rule may show as bytes that change while they are looked at, which is undefined
    /// behaviour.
    ///
    /// Where [`File::can_map`] says so, nothing is read now: the system reads the bytes when they are touched, and has no
    /// way to report an error then. A bad disk, or somebody who shortens the file, ends the process with a signal
    /// (SIGBUS). Who cannot accept that uses positioned reads. Elsewhere, and by default, all the bytes are read now and
    /// kept as a copy.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] when the file is shorter, [`io::ErrorKind::OutOfMemory`] when there is no room,
    /// [`io::ErrorKind::Unsupported`] and others where the system cannot map this file; there is no silent copy then. A
    /// copy also fails as [`File::read_at`].
    fn map(&self, len: u64) -> io::Result<Mapping> {
        // Nothing is allocated for bytes that are not there.
        if self.len()? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(len)?;
        bytes.resize(len, 0);
        self.read_exact_at(&mut bytes, 0)?;
        Ok(Mapping::from(bytes))
    }

    /// Whether [`File::map`] maps, and what it maps stays as the file is: not so on file systems of other machines or
    /// programs (NFS, SMB, FUSE and the like). Where it says no, positioned reads of what is needed are the better way.
    fn can_map(&self) -> bool {
        false
    }

    /// A writer of the file's end, from `from` on, that appends through memory; the file never grows beyond `len` by it.
    /// `None` where there is no such memory, or where the file system may run out of space although blocks were reserved.
    /// There may be only one at a time for a file, and nobody else may write behind its end but who then tells it
    /// ([`Appender::skip_to`]).
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`] and others where the system cannot map this file.
    fn appender(&self, _from: u64, _len: u64) -> io::Result<Option<Box<dyn Appender>>> {
        Ok(None)
    }

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// [`WriteError`] with the number of bytes that were taken before the failure.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> Result<(), WriteError> {
        let mut written = 0;
        while let Some(rest) = buf.get(written..).filter(|rest| !rest.is_empty()) {
            match self.write_at(rest, offset + written as u64) {
                Ok(0) => return Err(WriteError { written, source: io::ErrorKind::WriteZero.into() }),
                Ok(n) => written += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(WriteError { written, source }),
            }
        }
        Ok(())
    }
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirEntry {
    /// The name, without its directory. Names that are not UTF-8 come lossily: no file of a store has such a name.
    pub name: String,
    /// Whether it is a regular file.
    pub is_file: bool,
}

/// An exclusive lock, held until dropped.
pub trait FileLock: Debug + Send + Sync {}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum LockError {
    /// Somebody holds it; `owner` is what they wrote into the file, perhaps empty.
    Held {
        /// What the owner wrote.
        owner: String,
    },
    /// The system refused for another reason.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(e: io::Error) -> Self {
        LockError::Io(e)
    }
}

/// A write that did not take all its bytes.
#[derive(Debug)]
pub struct WriteError {
    /// Bytes taken before the failure.
    pub written: usize,
    /// What the system said.
    pub source: io::Error,
}
