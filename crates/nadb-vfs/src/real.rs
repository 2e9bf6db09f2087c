//! The real file system: a thin layer over `std::fs`.
//!
//! It promises what the traits say and adds nothing: no caching, no retries, no copy where a map was asked for. Locks are
//! those of the operating system, so they exclude other processes as well as other handles of this one. It leaves file
//! names and formats to others.

// This module is the home of `std::fs` for store files; everything else goes through the traits.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one place that may name std::fs"
)]

use std::fs::{self, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use memmap2::MmapOptions;

use crate::appender::{Appender, Room};
use crate::fs::{DirEntry, File, FileLock, Fs, LockError};
use crate::mapping::{GrowingEnd, Mapping, WritableMemory};

/// Longest owner text that is read back from a lock file: a foreign file under that name may be of any size.
const OWNER_BYTES_MAX: usize = 4096;

/// Memory of an appender is settled in steps of so many bytes.
const SETTLED_STEP: u64 = 64 << 10;

/// The operating system's file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealFs;

#[derive(Debug)]
struct RealFile {
    file: Arc<fs::File>,
}

/// Appends by copies into a shared mapping of reserved blocks.
#[derive(Debug)]
struct RealAppender {
    end: GrowingEnd,
    room: Arc<RealRoom>,
}

#[derive(Debug)]
struct RealRoom {
    file: Arc<fs::File>,
    mapping: Mapping,
    len: u64,
    /// How far blocks are reserved.
    allocated: Mutex<u64>,
    /// The memory that is to be made ready; none once nothing is appended any more.
    writable: Mutex<Option<Arc<WritableMemory>>>,
    /// How far it is ready. Only who holds `allocated` changes it.
    ready: AtomicU64,
    /// How far it has been settled.
    settled: AtomicU64,
}

impl RealRoom {
    fn writable(&self) -> Option<Arc<WritableMemory>> {
        self.writable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn allocate_from(&self, allocated: &mut u64, upto: u64) -> io::Result<()> {
        if upto > *allocated {
            allocate(&self.file, *allocated, upto - *allocated)?;
            *allocated = upto;
        }
        Ok(())
    }
}

impl Appender for RealAppender {
    fn end(&self) -> u64 {
        self.end.end() as u64
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        self.end() + bytes.len() as u64 <= self.room.reserved() && self.end.append(bytes)
    }

    fn skip_to(&mut self, end: u64) {
        self.end.skip_to(usize::try_from(end).unwrap_or(usize::MAX));
    }

    fn stop(&mut self) {
        // The system would give it up in one go, and everybody who needs memory would wait.
        self.room.settle(self.room.len);
        self.end.stop();
        *self.room.writable.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn mapping(&self) -> Option<Mapping> {
        Some(self.room.mapping.clone())
    }

    fn room(&self) -> Arc<dyn Room> {
        Arc::clone(&self.room) as Arc<dyn Room>
    }
}

impl Room for RealRoom {
    fn reserved(&self) -> u64 {
        self.ready.load(Ordering::Acquire)
    }

    fn limit(&self) -> u64 {
        self.len
    }

    fn allocate(&self, upto: u64) -> io::Result<()> {
        let mut allocated = self.allocated.lock().unwrap_or_else(PoisonError::into_inner);
        self.allocate_from(&mut allocated, upto.min(self.len))
    }

    fn reserve(&self, upto: u64) -> io::Result<u64> {
        let mut allocated = self.allocated.lock().unwrap_or_else(PoisonError::into_inner);
        let (ready, upto) = (self.reserved(), upto.min(self.len));
        let Some(writable) = self.writable().filter(|_| upto > ready) else { return Ok(ready) };
        self.allocate_from(&mut allocated, upto)?;
        if let (Ok(from), Ok(to)) = (usize::try_from(ready), usize::try_from(upto)) {
            writable.fault_in(from..to);
        }
        self.ready.store(upto, Ordering::Release);
        Ok(upto)
    }

    fn settle(&self, upto: u64) {
        // Whole pages, of any size that a system has; and so many at a time that it is worth a call.
        let upto = upto.min(self.len) / SETTLED_STEP * SETTLED_STEP;
        let from = self.settled.fetch_max(upto, Ordering::Relaxed);
        let (Ok(from), Ok(upto), Ok(ready)) =
            (usize::try_from(from), usize::try_from(upto), usize::try_from(self.reserved()))
        else {
            return;
        };
        // Not under a lock: who reserves would wait.
        if let Some(writable) = self.writable() {
            writable.settle(from..upto);
            writable.settle(upto..ready);
        }
    }
}

/// Keeps the locked handle open; closing it ends the lock.
#[derive(Debug)]
struct RealLock {
    _file: fs::File,
}

impl FileLock for RealLock {}

impl Fs for RealFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        open(OpenOptions::new().read(true).write(true).create_new(true), path)
    }

    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        open(OpenOptions::new().read(true), path)
    }

    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        open(OpenOptions::new().read(true).write(true), path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        sync_dir(or_current(dir))
    }

    fn available(&self, dir: &Path) -> Option<u64> {
        available(or_current(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(or_current(dir))?
            .map(|entry| {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                Ok(DirEntry { name, is_file: entry.file_type()?.is_file() })
            })
            .collect()
    }

    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FileLock>, LockError> {
        // Not truncated on open: until the lock is ours, the text in it belongs to somebody else.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(LockError::Held { owner: read_owner(&file) }),
            Err(TryLockError::Error(e)) => return Err(LockError::Io(e)),
        }
        match write_owner(&file, owner) {
            Ok(()) => {}
            // The text only informs people, and a store on a full disk must open so that something can be deleted.
            Err(e) if matches!(e.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {}
            Err(e) => return Err(LockError::Io(e)),
        }
        Ok(Box::new(RealLock { _file: file }))
    }
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        read_at(&self.file, buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        write_at(&self.file, buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn next_data(&self, offset: u64) -> io::Result<u64> {
        next_data(&self.file, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        // The system call refuses an empty range; reserving nothing always succeeds.
        if len == 0 { Ok(()) } else { allocate(&self.file, offset, len) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn map(&self, len: u64) -> io::Result<Mapping> {
        // The system maps pages that the file does not have, and raises a signal when they are touched.
        if self.len()? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match usize::try_from(len) {
            Ok(0) => Ok(Mapping::from(Vec::new())),
            Ok(len) => map(&self.file, len),
            Err(_) => Err(io::ErrorKind::OutOfMemory.into()),
        }
    }

    fn can_map(&self) -> bool {
        maps_are_coherent(&self.file)
    }

    fn appender(&self, from: u64, len: u64) -> io::Result<Option<Box<dyn Appender>>> {
        let (Ok(start), Ok(bytes)) = (usize::try_from(from), usize::try_from(len)) else { return Ok(None) };
        if bytes == 0 || from > len || from > self.len()? || !keeps_reservations(&self.file) {
            return Ok(None);
        }
        // A shared map may be longer than its file: the room is asked for before a page is touched.
        let map = || MmapOptions::new().len(bytes).to_owned();
        let (memory, writable) = (map().map_raw_read_only(&*self.file)?, map().map_raw(&*self.file)?);
        let (mapping, end) = Mapping::growing(memory, writable, start);
        let (allocated, writable) = (Mutex::new(from), Mutex::new(end.writable()));
        let file = Arc::clone(&self.file);
        let (ready, settled) = (AtomicU64::new(from), AtomicU64::new(0));
        let room = RealRoom { file, mapping, len, allocated, writable, ready, settled };
        Ok(Some(Box::new(RealAppender { end, room: Arc::new(room) })))
    }
}

/// Maps the first `len` bytes, shared and only for reading. INVARIANT: the file has them.
#[expect(unsafe_code, reason = "the system cannot promise that a mapped file stays as it is; the store does")]
fn map(file: &fs::File, len: usize) -> io::Result<Mapping> {
    // SAFETY: memmap2 asks that the file is not modified under the map, neither in this process nor by another.
    // - Written: `File::map` allows only bytes that nobody will write again, and the engine maps only sealed segments and
    //   blobs. A file that ever held a frame is only unlinked, or shortened behind its last verified frame before it is
    //   sealed; it is never rewritten or recycled. A blob is written once, before anything refers to it.
    // - Shortened: for the same reason never to less than `len`, which the caller compared with the file's length. If
    //   somebody does it all the same, touching the lost pages ends the process; no other memory is read.
    // - Appended to: the slice ends at `len`, and what comes behind, even in the same page, is never looked at.
    // - Unlinked, renamed, closed: the map holds the file's content by itself; the handle is needed for this call alone.
    // - By another process: the store's lock admits one that writes, bound by the same rules, and the others only read.
    //   A program that writes into a store's files without the lock is beyond what any map can withstand.
    // The rest is memmap2's own: it refuses a `len` above `isize::MAX`, and whatever the system refuses.
    let mmap = unsafe { MmapOptions::new().len(len).map(file) }?;
    Ok(Mapping::mapped(mmap))
}

fn open(options: &OpenOptions, path: &Path) -> io::Result<Arc<dyn File>> {
    Ok(Arc::new(RealFile { file: Arc::new(options.open(path)?) }))
}

/// The parent of a bare file name is the empty path, which no system call accepts.
fn or_current(dir: &Path) -> &Path {
    if dir.as_os_str().is_empty() { Path::new(".") } else { dir }
}

/// What the owner wrote; empty when it cannot be read, since who holds the lock matters less than that it is held.
fn read_owner(file: &fs::File) -> String {
    let mut buf = vec![0; OWNER_BYTES_MAX];
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match read_at(file, rest, filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    buf.truncate(filled);
    String::from_utf8_lossy(&buf).into_owned()
}

fn write_owner(file: &fs::File, owner: &str) -> io::Result<()> {
    file.set_len(0)?;
    let mut rest = owner.as_bytes();
    let mut offset = 0;
    while !rest.is_empty() {
        match write_at(file, rest, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => {
                rest = rest.get(n..).unwrap_or_default();
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

#[cfg(unix)]
fn read_at(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buf, offset)
}

#[cfg(unix)]
fn write_at(file: &fs::File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, buf, offset)
}

#[cfg(windows)]
fn read_at(file: &fs::File, buf: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buf, offset)
}

#[cfg(windows)]
fn write_at(file: &fs::File, buf: &[u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, buf, offset)
}

#[cfg(unix)]
fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = fs::File::open(dir)?;
    // Opening a file here would sync the file and leave the names unsynced, silently.
    if !dir.metadata()?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    dir.sync_all()
}

#[cfg(unix)]
fn available(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

#[cfg(not(unix))]
fn available(_: &Path) -> Option<u64> {
    None
}

/// Windows has no handle for syncing a directory; NTFS journals names by itself.
#[cfg(not(unix))]
fn sync_dir(dir: &Path) -> io::Result<()> {
    if fs::metadata(dir)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
}

#[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
fn allocate(file: &fs::File, offset: u64, len: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    loop {
        match fallocate(file, FallocateFlags::empty(), offset, len) {
            Ok(()) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(e @ (Errno::OPNOTSUPP | Errno::NOSYS)) => {
                return Err(io::Error::new(io::ErrorKind::Unsupported, io::Error::from(e)));
            }
            Err(e) => return Err(e.into()),
        }
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn next_data(file: &fs::File, offset: u64) -> io::Result<u64> {
    use rustix::fs::{SeekFrom, seek};
    use rustix::io::Errno;
    match seek(file, SeekFrom::Data(offset)) {
        Ok(at) => Ok(at),
        Err(Errno::NXIO) => Ok(file.metadata()?.len().max(offset)),
        Err(Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => Ok(offset),
        Err(e) => Err(e.into()),
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn next_data(_: &fs::File, offset: u64) -> io::Result<u64> {
    Ok(offset)
}

/// File systems whose content another machine or a program may change behind a mapping's back, or whose server may go
/// away while pages are touched: by the magic numbers of statfs(2).
#[cfg(any(target_os = "linux", target_os = "android"))]
const REMOTE: [u32; 10] = [
    0x0000_6969, // NFS
    0x0000_517B, // SMB
    0xFE53_4D42, // SMB 2
    0xFF53_4D42, // CIFS
    0x6573_5546, // FUSE
    0x0102_1997, // 9P
    0x00C3_6400, // Ceph
    0x5346_414F, // AFS
    0x6B41_4653, // kAFS
    0x0BD0_0BD0, // Lustre
];

#[cfg(any(target_os = "linux", target_os = "android"))]
fn maps_are_coherent(file: &fs::File) -> bool {
    // Where the system does not say, positioned reads are the way that is always right.
    rustix::fs::fstatfs(file).is_ok_and(|stat| is_coherent(i128::from(stat.f_type)))
}

/// The number has another width and sign on each architecture; the low 32 bits are the same on all.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn is_coherent(kind: i128) -> bool {
    !REMOTE.contains(&u32::try_from(kind & 0xFFFF_FFFF).unwrap_or_default())
}

/// File systems on which a write into reserved blocks cannot run out of space: not those that copy on write, which may need new blocks
/// for it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const KEEPS_RESERVATIONS: [u32; 3] = [
    0x0000_EF53, // ext2, ext3, ext4
    0x5846_5342, // XFS
    0x0102_1994, // tmpfs
];

#[cfg(any(target_os = "linux", target_os = "android"))]
fn keeps_reservations(file: &fs::File) -> bool {
    let known =
        |kind: i128| u32::try_from(kind & 0xFFFF_FFFF).is_ok_and(|kind| KEEPS_RESERVATIONS.contains(&kind));
    rustix::fs::fstatfs(file).is_ok_and(|stat| known(i128::from(stat.f_type)))
}

/// Elsewhere it is not known (and Windows cuts no file that is mapped).
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn keeps_reservations(_file: &fs::File) -> bool {
    false
}

/// Elsewhere the system does not say by such a number.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn maps_are_coherent(_file: &fs::File) -> bool {
    true
}

#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
fn allocate(_file: &fs::File, _offset: u64, _len: u64) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system cannot reserve blocks for a file"))
}

#[cfg(all(test, any(target_os = "linux", target_os = "android")))]
mod tests {
    use super::*;

    #[test]
    fn remote_file_systems_are_known_whatever_the_width_of_their_number() {
        for local in [0xEF53, 0x5846_5342, 0x9123_683E, 0x0102_1994] {
            assert!(is_coherent(local), "{local:#x}");
        }
        for remote in REMOTE.map(i128::from) {
            assert!(!is_coherent(remote), "{remote:#x}");
        }
        let negative = i128::from(0xFF53_4D42_u32.cast_signed());
        assert!(negative < 0 && !is_coherent(negative));
    }
}
