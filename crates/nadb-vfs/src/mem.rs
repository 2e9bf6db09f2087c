//! A file system in memory: fast, no tracking of what is durable, gone with its last handle.
//!
//! It promises the semantics of the traits, the same error kinds as a real one included; syncs succeed and do nothing.
//! Crashes, faults and full disks are left to [`SimFs`](crate::SimFs).

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::fs::{DirEntry, File, FileLock, Fs, LockError};

/// Content is kept in pieces of this size, so that growing a large file never copies it.
const CHUNK_BYTES: usize = 64 * 1024;

/// A file system in memory. Clones share the same files.
#[derive(Debug, Clone, Default)]
pub struct MemFs {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Debug, Default)]
struct Tree {
    /// Directories but for the root, which always exists.
    dirs: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Arc<Node>>,
}

/// A file's content; it lives as long as a name or a handle.
#[derive(Debug, Default)]
struct Node {
    data: RwLock<Data>,
    locked: AtomicBool,
}

/// Chunks may be shorter than their place in the file: what is missing reads as zeros. INVARIANT: no byte at or behind
/// `len` is stored.
#[derive(Debug, Default)]
struct Data {
    len: u64,
    chunks: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct MemFile {
    node: Arc<Node>,
    writable: bool,
}

#[derive(Debug)]
struct MemLock {
    node: Arc<Node>,
}

impl FileLock for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.node.locked.store(false, Ordering::Release);
    }
}

impl MemFs {
    fn open(&self, path: &Path, writable: bool) -> io::Result<Arc<dyn File>> {
        let node = Arc::clone(self.tree.lock().file(&normalized(path))?);
        Ok(Arc::new(MemFile { node, writable }))
    }
}

impl Fs for MemFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let dir = normalized(dir);
        let mut tree = self.tree.lock();
        let missing: Vec<&Path> =
            dir.ancestors().filter(|a| !is_root(a) && !tree.dirs.contains(*a)).collect();
        if missing.iter().any(|a| tree.files.contains_key(*a)) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        tree.dirs.extend(missing.into_iter().map(Path::to_path_buf));
        Ok(())
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let path = normalized(path);
        let mut tree = self.tree.lock();
        tree.check_parent(&path)?;
        if tree.is_dir(&path) || tree.files.contains_key(&path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let node = Arc::<Node>::default();
        tree.files.insert(path, Arc::clone(&node));
        Ok(Arc::new(MemFile { node, writable: true }))
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path, false)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.open(path, true)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let path = normalized(path);
        let mut tree = self.tree.lock();
        tree.file(&path)?;
        tree.files.remove(&path);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (normalized(from), normalized(to));
        let mut tree = self.tree.lock();
        let node = Arc::clone(tree.file(&from)?);
        tree.check_parent(&to)?;
        if tree.is_dir(&to) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        tree.files.remove(&from);
        tree.files.insert(to, node);
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.tree.lock().check_dir(&normalized(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let dir = normalized(dir);
        let tree = self.tree.lock();
        tree.check_dir(&dir)?;
        let entry = |path: &Path, is_file| {
            (path.parent() == Some(&dir)).then(|| {
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                DirEntry { name, is_file }
            })
        };
        let dirs = tree.dirs.iter().filter_map(|path| entry(path, false));
        let files = tree.files.keys().filter_map(|path| entry(path, true));
        Ok(dirs.chain(files).collect())
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FileLock>, LockError> {
        let path = normalized(path);
        let mut tree = self.tree.lock();
        tree.check_parent(&path)?;
        if tree.is_dir(&path) {
            return Err(LockError::Io(io::ErrorKind::IsADirectory.into()));
        }
        let node = Arc::clone(tree.files.entry(path).or_default());
        // The tree is still locked, so nobody sees the lock held without its owner's text.
        if node.locked.swap(true, Ordering::Acquire) {
            let data = node.data.read();
            let mut text = vec![0; usize::try_from(data.len).unwrap_or(0)];
            data.read_at(&mut text, 0);
            return Err(LockError::Held { owner: String::from_utf8_lossy(&text).into_owned() });
        }
        let mut data = node.data.write();
        data.set_len(0);
        data.write_at(owner.as_bytes(), 0);
        drop(data);
        Ok(Box::new(MemLock { node }))
    }
}

impl Tree {
    fn is_dir(&self, path: &Path) -> bool {
        is_root(path) || self.dirs.contains(path)
    }

    fn check_dir(&self, path: &Path) -> io::Result<()> {
        if self.is_dir(path) {
            Ok(())
        } else if path.ancestors().any(|a| self.files.contains_key(a)) {
            Err(io::ErrorKind::NotADirectory.into())
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        path.parent().map_or(Ok(()), |parent| self.check_dir(parent))
    }

    fn file(&self, path: &Path) -> io::Result<&Arc<Node>> {
        self.check_parent(path)?;
        match self.files.get(path) {
            Some(node) => Ok(node),
            None if self.is_dir(path) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl MemFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.writable { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
    }
}

impl File for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        Ok(self.node.data.read().read_at(buf, offset))
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.check_writable()?;
        offset.checked_add(buf.len() as u64).ok_or(io::ErrorKind::FileTooLarge)?;
        self.node.data.write().write_at(buf, offset);
        Ok(buf.len())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.node.data.read().len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        self.node.data.write().set_len(len);
        Ok(())
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let end = offset.checked_add(len).ok_or(io::ErrorKind::FileTooLarge)?;
        let mut data = self.node.data.write();
        if len > 0 && end > data.len {
            data.set_len(end);
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Data {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> usize {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = buf.len().min(left);
        let mut rest = &mut buf[..count];
        let (mut chunk, mut at) = position(offset);
        while !rest.is_empty() {
            let (part, tail) = rest.split_at_mut(rest.len().min(CHUNK_BYTES - at));
            let stored = self.chunks.get(chunk).and_then(|bytes| bytes.get(at..)).unwrap_or_default();
            let (copied, zeros) = part.split_at_mut(part.len().min(stored.len()));
            copied.copy_from_slice(&stored[..copied.len()]);
            zeros.fill(0);
            (rest, chunk, at) = (tail, chunk + 1, 0);
        }
        count
    }

    fn write_at(&mut self, mut bytes: &[u8], offset: u64) {
        if bytes.is_empty() {
            return;
        }
        self.len = self.len.max(offset + bytes.len() as u64);
        let (mut chunk, mut at) = position(offset);
        while !bytes.is_empty() {
            let (part, rest) = bytes.split_at(bytes.len().min(CHUNK_BYTES - at));
            if self.chunks.len() <= chunk {
                self.chunks.resize_with(chunk + 1, Vec::new);
            }
            let stored = &mut self.chunks[chunk];
            if stored.len() < at {
                stored.resize(at, 0);
            }
            let overlap = part.len().min(stored.len() - at);
            stored[at..at + overlap].copy_from_slice(&part[..overlap]);
            stored.extend_from_slice(&part[overlap..]);
            (bytes, chunk, at) = (rest, chunk + 1, 0);
        }
    }

    fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (chunk, at) = position(len);
            self.chunks.truncate(chunk + 1);
            if let Some(last) = self.chunks.get_mut(chunk) {
                last.truncate(at);
            }
        }
        self.len = len;
    }
}

/// Chunk and place in it. Chunks beyond the address space cannot be stored and read as zeros.
fn position(offset: u64) -> (usize, usize) {
    let size = CHUNK_BYTES as u64;
    (usize::try_from(offset / size).unwrap_or(usize::MAX), usize::try_from(offset % size).unwrap_or(0))
}

fn is_root(path: &Path) -> bool {
    path.components().all(|c| !matches!(c, Component::Normal(_)))
}

/// The path without `.` and with `..` taken back, so that one file has one spelling.
fn normalized(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}
