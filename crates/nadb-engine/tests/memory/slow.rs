//! The real file system, but the sync of a footer waits as long as a test wants.

use std::io;
use std::path::Path;
use std::sync::Arc;

use nadb_vfs::{Appender, DirEntry, File, FileLock, Fs, LockError, Mapping, RealFs};
use parking_lot::{Condvar, Mutex};

/// A file as long as this has more than a segment's header: the sync of its length is that of its footer.
const FILE_BYTES: u64 = 4096;

#[derive(Debug, Default)]
struct Gate {
    state: Mutex<Held>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Held {
    is_closed: bool,
    waiting: usize,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlowFs {
    gate: Arc<Gate>,
}

#[derive(Debug)]
struct SlowFile {
    file: Arc<dyn File>,
    gate: Arc<Gate>,
}

impl SlowFs {
    pub(crate) fn hold_footers(&self) {
        self.gate.state.lock().is_closed = true;
    }

    pub(crate) fn let_footers_go(&self) {
        self.gate.state.lock().is_closed = false;
        self.gate.changed.notify_all();
    }

    /// Whether one waits.
    pub(crate) fn holds_one(&self) -> bool {
        self.gate.state.lock().waiting > 0
    }

    fn wrap(&self, file: io::Result<Arc<dyn File>>) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(SlowFile { file: file?, gate: Arc::clone(&self.gate) }))
    }
}

impl Fs for SlowFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        RealFs.create_dir_all(dir)
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wrap(RealFs.create_new(path))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wrap(RealFs.open_read(path))
    }
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.wrap(RealFs.open_write(path))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        RealFs.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealFs.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        RealFs.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        RealFs.list(dir)
    }
    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FileLock>, LockError> {
        RealFs.lock(path, owner)
    }
}

impl File for SlowFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        if self.file.len()? > FILE_BYTES {
            let mut held = self.gate.state.lock();
            held.waiting += 1;
            while held.is_closed {
                self.gate.changed.wait(&mut held);
            }
            held.waiting -= 1;
        }
        self.file.sync_all()
    }
    fn map(&self, len: u64) -> io::Result<Mapping> {
        self.file.map(len)
    }
    fn can_map(&self) -> bool {
        self.file.can_map()
    }
    fn appender(&self, from: u64, len: u64) -> io::Result<Option<Box<dyn Appender>>> {
        self.file.appender(from, len)
    }
}
