//! A simulated disk that loses power at any chosen call, fills up, fails, and forgets what was not synced.
//!
//! It promises to be deterministic (same seed, same calls, same disk) and never kinder than a real one: what survives a
//! power cut is what was synced, and of the rest what [`CrashMode`] allows. It knows the file's blocks and lengths and the
//! directory's names, each with the order in which they changed since the last sync. A new file, and a new directory,
//! survives only after [`Fs::sync_dir`] of the directory that names it.
//!
//! Renames work within one directory, and only on files. What crash tests do with it is left to them.

mod appender;
mod control;
mod crash;
mod dir;
mod disk;
mod fault;
mod inode;
mod ranges;
mod rng;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::appender::Appender;
use crate::fs::{DirEntry, File, FileLock, Fs, LockError};
use appender::SimAppender;
use dir::NodeId;
use disk::Disk;
pub use fault::{CallKind, CrashMode, Fault, FaultKind, TraceEntry};
use fault::{TraceCall, no_space};

/// A simulated disk. Clones are handles to the same one.
#[derive(Debug, Clone)]
pub struct SimFs {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Debug)]
struct SimFile {
    disk: Arc<Mutex<Disk>>,
    node: NodeId,
    /// The name under which it was opened, for the trace and for faults.
    path: PathBuf,
    writable: bool,
}

#[derive(Debug)]
struct SimLock {
    disk: Arc<Mutex<Disk>>,
    node: NodeId,
}

impl FileLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut disk = self.disk.lock();
        if let Ok(file) = disk.file_mut(self.node) {
            file.locked = false;
        }
        disk.closed(self.node);
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.lock().closed(self.node);
    }
}

impl Disk {
    /// For calls in which every fault is a failure without effect.
    fn begin(&mut self, call: &TraceCall<'_>) -> io::Result<()> {
        self.accounts.begin(call)?.map_or(Ok(()), |fault| Err(fault.error()))
    }

    /// For syncs: whether this one only pretends.
    fn begin_sync(&mut self, call: &TraceCall<'_>) -> io::Result<bool> {
        match self.accounts.begin(call)? {
            None => Ok(false),
            Some(FaultKind::SyncLost) => Ok(true),
            Some(fault) => Err(fault.error()),
        }
    }

    /// Takes the part of the bytes that a fault leaves.
    fn write_with(&mut self, node: NodeId, buf: &[u8], offset: u64, fault: FaultKind) -> io::Result<usize> {
        match fault {
            FaultKind::ShortWrite | FaultKind::ShortThenNoSpace => {
                if fault == FaultKind::ShortThenNoSpace {
                    self.accounts.faults.push(Fault::at(CallKind::Write, 1, FaultKind::NoSpace));
                }
                let longest = buf.len().saturating_sub(1).max(1);
                let taken = (1 + self.accounts.rng.below(longest)).min(buf.len());
                self.write(node, &buf[..taken], offset)
            }
            FaultKind::Eio => {
                let taken = self.accounts.rng.below(buf.len() + 1);
                // A disk that is full as well changes nothing about the error.
                drop(self.write(node, &buf[..taken], offset));
                Err(fault.error())
            }
            FaultKind::NoSpace | FaultKind::ReadOnly | FaultKind::SyncLost => Err(fault.error()),
        }
    }
}

impl SimFs {
    fn open(&self, kind: CallKind, path: &Path) -> io::Result<Arc<dyn File>> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::new(kind, path))?;
        let node = match kind {
            CallKind::Create => disk.create(path)?,
            _ => disk.find_file(path)?,
        };
        disk.opened(node);
        let (disk, path) = (Arc::clone(&self.disk), path.to_path_buf());
        Ok(Arc::new(SimFile { disk, node, path, writable: kind != CallKind::OpenRead }))
    }

    fn take_lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FileLock>, LockError> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::new(CallKind::Lock, path))?;
        let node = match disk.find_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => disk.create(path)?,
            found => found?,
        };
        if disk.file(node)?.locked {
            let owner = String::from_utf8_lossy(&disk.contents(node)?).into_owned();
            return Err(LockError::Held { owner });
        }
        disk.set_len(node, 0)?;
        match disk.write(node, owner.as_bytes(), 0) {
            // As on the real one: the text only informs people.
            Err(e) if e.kind() == no_space().kind() => {}
            written => {
                written?;
            }
        }
        disk.opened(node);
        disk.file_mut(node)?.locked = true;
        Ok(Box::new(SimLock { disk: Arc::clone(&self.disk), node }))
    }
}

impl Fs for SimFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::new(CallKind::CreateDir, dir))?;
        disk.create_dir_all(dir)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(CallKind::Create, path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(CallKind::OpenRead, path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(CallKind::OpenWrite, path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::new(CallKind::Remove, path))?;
        disk.remove(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall { to: Some(to), ..TraceCall::new(CallKind::Rename, from) })?;
        disk.rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        if disk.begin_sync(&TraceCall::new(CallKind::SyncDir, dir))? {
            disk.sync_dir_lost(dir)?;
            return Err(FaultKind::SyncLost.error());
        }
        disk.sync_dir(dir)?;
        disk.accounts.syncs += 1;
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::new(CallKind::List, dir))?;
        let names = &disk.dir(disk.find(dir)?)?.visible;
        let entry =
            |(name, &node): (&String, _)| DirEntry { name: name.clone(), is_file: disk.file(node).is_ok() };
        Ok(names.iter().map(entry).collect())
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FileLock>, LockError> {
        self.take_lock(path, owner)
    }
}

impl SimFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }

    fn sync(&self, kind: CallKind) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let lost = disk.begin_sync(&TraceCall::new(kind, &self.path))?;
        let content = &mut disk.file_mut(self.node)?.content;
        if lost {
            content.sync_lost();
            return Err(FaultKind::SyncLost.error());
        }
        if kind == CallKind::SyncData {
            content.sync_data()
        } else {
            content.sync_all()
        }
        disk.accounts.syncs += 1;
        Ok(())
    }
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::range(CallKind::Read, &self.path, offset, buf.len() as u64))?;
        Ok(disk.file(self.node)?.content.read(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        let call = TraceCall::range(CallKind::Write, &self.path, offset, buf.len() as u64);
        match disk.accounts.begin(&call)? {
            None => disk.write(self.node, buf, offset),
            Some(fault) => disk.write_with(self.node, buf, offset, fault),
        }
    }

    fn len(&self) -> io::Result<u64> {
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::new(CallKind::Len, &self.path))?;
        Ok(disk.file(self.node)?.content.len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::range(CallKind::SetLen, &self.path, 0, len))?;
        disk.set_len(self.node, len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut disk = self.disk.lock();
        disk.begin(&TraceCall::range(CallKind::Allocate, &self.path, offset, len))?;
        disk.allocate(self.node, offset, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync(CallKind::SyncData)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync(CallKind::SyncAll)
    }
    fn appender(&self, from: u64, len: u64) -> io::Result<Option<Box<dyn Appender>>> {
        let has_appenders = self.disk.lock().has_appenders;
        if !has_appenders || !self.writable || from > len {
            return Ok(None);
        }
        Ok(Some(Box::new(SimAppender::new(&self.disk, self.node, self.path.clone(), from, len))))
    }
}
