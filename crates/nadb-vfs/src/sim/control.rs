//! What tests do to a simulated disk besides using it. Nothing here counts as a call, and all of it works on a dead disk.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::SimFs;
use super::dir::NodeId;
use super::disk::{Disk, bytes_of};
use super::fault::{CallKind, CrashMode, Fault, TraceEntry};
use super::inode::{BLOCK_BYTES, Content};

impl SimFs {
    /// An empty disk without limits. The seed decides where faults cut writes, and nothing else.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        SimFs::from(Disk::new(seed))
    }

    /// Limits the room to `bytes`, rounded down to blocks of 512; `None` lifts the limit. What is there stays, even when
    /// it is more. A write takes what fits; where nothing fits it fails with [`io::ErrorKind::StorageFull`]. Only content
    /// and reservations take room, names do not; a removed file gives its room back with its last handle.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.disk.lock().capacity = bytes.map(|bytes| bytes / BLOCK_BYTES as u64);
    }

    /// Whether files can be appended to through memory ([`File::appender`](crate::File::appender)); at first they cannot.
    /// A disk that a crash leaves keeps it.
    pub fn set_appenders(&self, on: bool) {
        self.disk.lock().has_appenders = on;
    }

    /// Bytes of room that files take, in whole blocks.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        bytes_of(self.disk.lock().used)
    }

    // Accounts

    /// How many calls there were, those that failed included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.disk.lock().accounts.calls
    }

    /// How many calls of one kind there were, those that failed included.
    #[must_use]
    pub fn calls_of(&self, kind: CallKind) -> u64 {
        self.disk.lock().accounts.count(kind)
    }

    /// How many calls there were that change the disk or sync it ([`CallKind::is_mutation`]).
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.disk.lock().accounts.mutations
    }

    /// How many bytes writes took.
    #[must_use]
    pub fn bytes_written(&self) -> u64 {
        self.disk.lock().accounts.bytes_written
    }

    /// How many syncs of files and directories succeeded.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.disk.lock().accounts.syncs
    }

    /// Starts a new trace, or ends tracing and forgets it.
    pub fn set_tracing(&self, on: bool) {
        self.disk.lock().accounts.trace = on.then(Vec::new);
    }

    /// The calls since tracing was turned on; empty when it is off.
    #[must_use]
    pub fn trace(&self) -> Vec<TraceEntry> {
        self.disk.lock().accounts.trace.clone().unwrap_or_default()
    }

    // Crashes and faults

    /// Lets the `n`-th mutating call from now, counted from 1, and every call after it fail with "simulated power cut".
    /// The `n`-th has no effect any more. Replaces an earlier request.
    pub fn crash_at_mutation(&self, n: u64) {
        let accounts = &mut self.disk.lock().accounts;
        accounts.cut_at = Some(accounts.mutations.saturating_add(n.max(1)));
    }

    /// Whether the power is gone or the process was killed: every further call fails.
    #[must_use]
    pub fn crashed(&self) -> bool {
        self.disk.lock().accounts.dead
    }

    /// Lets one call fail. Faults are independent of each other; where two meet at one call, the older one shows and the
    /// other is spent.
    pub fn inject(&self, fault: Fault) {
        self.disk.lock().accounts.faults.push(fault);
    }

    /// Takes back the faults that have not shown yet, and a requested crash, and says how many faults there were.
    pub fn clear_faults(&self) -> usize {
        let accounts = &mut self.disk.lock().accounts;
        accounts.cut_at = None;
        std::mem::take(&mut accounts.faults).len()
    }

    /// Cuts the power, if it is not gone yet, and returns the disk as it comes back: what survived, all of it synced, no
    /// locks, no faults, fresh counters, the same capacity. This one is dead from now on, but may be asked again, with
    /// another mode or seed, for another outcome of the same crash.
    #[must_use]
    pub fn power_cut(&self, mode: CrashMode, seed: u64) -> SimFs {
        let mut disk = self.disk.lock();
        disk.accounts.dead = true;
        SimFs::from(disk.after_power_cut(mode, seed))
    }

    /// Kills the process and returns the disk as the next one finds it: all that was written is there, and what was not
    /// synced still is not. No locks, no faults, fresh counters, the same capacity. This one is dead from now on, but may
    /// be asked again.
    #[must_use]
    pub fn process_kill(&self) -> SimFs {
        let mut disk = self.disk.lock();
        disk.accounts.dead = true;
        let seed = disk.accounts.rng.clone().next();
        SimFs::from(disk.after_process_kill(seed))
    }

    // The files, past all accounts

    /// Every file with its length, in the order of their paths, which begin with a slash.
    #[must_use]
    pub fn files(&self) -> Vec<(PathBuf, u64)> {
        let disk = self.disk.lock();
        let len = |node| disk.file(node).map_or(0, |file| file.content.len);
        disk.files().into_iter().map(|(path, node)| (path, len(node))).collect()
    }

    /// A file's bytes as a program would read them.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotFound`], or [`io::ErrorKind::IsADirectory`].
    pub fn read_file(&self, path: impl AsRef<Path>) -> io::Result<Vec<u8>> {
        let disk = self.disk.lock();
        disk.contents(disk.find_file(path.as_ref())?)
    }

    /// Puts a file there, wholly durable together with its name and directories, or replaces the content of the one that
    /// is there, for open handles too.
    ///
    /// # Errors
    /// Where a file stands in the way of a directory or the other way round.
    pub fn write_file(&self, path: impl AsRef<Path>, bytes: &[u8]) -> io::Result<()> {
        let path = path.as_ref();
        let mut disk = self.disk.lock();
        if let Some(dir) = path.parent() {
            disk.create_dir_all(dir)?;
        }
        let node = match disk.find_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => disk.create(path)?,
            found => found?,
        };
        disk.file_mut(node)?.content = Content::synced(bytes);
        for dir in path.ancestors().skip(1) {
            disk.sync_name_of(dir, path)?;
        }
        disk.recount();
        Ok(())
    }

    /// Turns the bits of `mask` in one byte, durably: damage of the medium.
    ///
    /// # Errors
    /// When there is no such file; [`io::ErrorKind::UnexpectedEof`] when it is not that long.
    pub fn flip_byte(&self, path: impl AsRef<Path>, offset: u64, mask: u8) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let node = disk.find_file(path.as_ref())?;
        let content = &mut disk.file_mut(node)?.content;
        if offset >= content.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        content.flip(offset, mask);
        Ok(())
    }

    /// Cuts or extends a file to `len`, durably, with everything else in it.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn truncate_file(&self, path: impl AsRef<Path>, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let node = disk.find_file(path.as_ref())?;
        disk.set_len(node, len)?;
        disk.file_mut(node)?.content.sync_all();
        Ok(())
    }
}

impl From<Disk> for SimFs {
    fn from(disk: Disk) -> Self {
        SimFs { disk: Arc::new(Mutex::new(disk)) }
    }
}

impl Disk {
    pub(super) fn contents(&self, node: NodeId) -> io::Result<Vec<u8>> {
        let content = &self.file(node)?.content;
        let len = usize::try_from(content.len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let mut bytes = vec![0; len];
        content.read(&mut bytes, 0);
        Ok(bytes)
    }

    /// Makes the one name durable by which `dir` leads to `path`, and leaves the others as they are.
    fn sync_name_of(&mut self, dir: &Path, path: &Path) -> io::Result<()> {
        let Some(name) = path.strip_prefix(dir).ok().and_then(|rest| rest.components().next()) else {
            return Ok(());
        };
        let name = name.as_os_str().to_string_lossy().into_owned();
        let id = self.find(dir)?;
        let dir = self.dir_mut(id)?;
        let Some(&node) = dir.visible.get(&name) else { return Ok(()) };
        let pending = std::mem::take(&mut dir.pending);
        dir.pending = pending.into_iter().filter_map(|op| op.without(&name)).collect();
        dir.durable.insert(name, node);
        Ok(())
    }
}
