//! The words in which a test talks about calls, faults and crashes, and the accounts of one disk's life.

use std::io;
use std::path::{Path, PathBuf};

use super::rng::Rng;

/// What a call on the file system or on a file was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallKind {
    /// [`Fs::create_dir_all`](crate::Fs::create_dir_all).
    CreateDir,
    /// [`Fs::create_new`](crate::Fs::create_new).
    Create,
    /// [`Fs::open_read`](crate::Fs::open_read).
    OpenRead,
    /// [`Fs::open_write`](crate::Fs::open_write).
    OpenWrite,
    /// [`Fs::remove`](crate::Fs::remove).
    Remove,
    /// [`Fs::rename`](crate::Fs::rename).
    Rename,
    /// [`Fs::sync_dir`](crate::Fs::sync_dir).
    SyncDir,
    /// [`Fs::list`](crate::Fs::list).
    List,
    /// [`Fs::lock`](crate::Fs::lock).
    Lock,
    /// [`File::read_at`](crate::File::read_at).
    Read,
    /// [`File::write_at`](crate::File::write_at).
    Write,
    /// [`File::len`](crate::File::len).
    Len,
    /// [`File::set_len`](crate::File::set_len).
    SetLen,
    /// [`File::allocate`](crate::File::allocate).
    Allocate,
    /// [`File::sync_data`](crate::File::sync_data).
    SyncData,
    /// [`File::sync_all`](crate::File::sync_all).
    SyncAll,
    /// [`Appender::append`](crate::Appender::append), which cannot fail.
    Append,
}

impl CallKind {
    /// Whether the call changes the disk, or what is durable on it. Locking does not count.
    #[must_use]
    pub fn is_mutation(self) -> bool {
        !matches!(
            self,
            CallKind::OpenRead
                | CallKind::OpenWrite
                | CallKind::List
                | CallKind::Lock
                | CallKind::Read
                | CallKind::Len
        )
    }

    /// Whether the call makes something durable.
    #[must_use]
    pub fn is_sync(self) -> bool {
        matches!(self, CallKind::SyncDir | CallKind::SyncData | CallKind::SyncAll)
    }
}

/// How an injected fault shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The device reports an I/O error. A write leaves a random prefix of its bytes, anything else has no effect.
    Eio,
    /// [`io::ErrorKind::StorageFull`], without effect.
    NoSpace,
    /// [`io::ErrorKind::ReadOnlyFilesystem`], without effect.
    ReadOnly,
    /// Writes only: takes some bytes but not all (one, if it is only one) and says so; no error.
    ShortWrite,
    /// Writes only: as [`FaultKind::ShortWrite`], and the next write to any file fails with [`FaultKind::NoSpace`].
    ShortThenNoSpace,
    /// Syncs only: fails with an I/O error and forgets that anything was unsynced, as Linux does. What was written stays
    /// readable until the crash, but no later sync makes it durable; only writing it again and then syncing does. For a
    /// directory, the pending changes of names likewise.
    SyncLost,
}

impl FaultKind {
    /// Whether a fault for any call may show at this one. Running out of space or a disk gone read-only does not show in
    /// calls that only read.
    fn fits(self, call: CallKind, named: bool) -> bool {
        match self {
            _ if call == CallKind::Append => false,
            FaultKind::Eio => true,
            FaultKind::NoSpace | FaultKind::ReadOnly => named || call.is_mutation(),
            FaultKind::ShortWrite | FaultKind::ShortThenNoSpace => call == CallKind::Write,
            FaultKind::SyncLost => call.is_sync(),
        }
    }

    pub(super) fn error(self) -> io::Error {
        match self {
            FaultKind::NoSpace | FaultKind::ShortThenNoSpace => no_space(),
            FaultKind::ReadOnly => {
                io::Error::new(io::ErrorKind::ReadOnlyFilesystem, "simulated read-only file system")
            }
            FaultKind::Eio | FaultKind::ShortWrite => io::Error::other("simulated I/O error"),
            FaultKind::SyncLost => io::Error::other("simulated I/O error: unsynced data was lost"),
        }
    }
}

pub(super) fn no_space() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "simulated full disk")
}

pub(super) fn power_cut() -> io::Error {
    io::Error::other("simulated power cut")
}

/// A fault that shows once, at the `nth` matching call from its injection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The calls that count; `None` for any at which this kind of fault can show.
    pub call: Option<CallKind>,
    /// Which matching call fails, from 1.
    pub nth: u64,
    /// How it fails.
    pub kind: FaultKind,
    /// Only calls whose path contains this text count.
    pub path: Option<String>,
}

impl Fault {
    /// The `nth` call of kind `call` fails.
    #[must_use]
    pub fn at(call: CallKind, nth: u64, kind: FaultKind) -> Self {
        Fault { call: Some(call), nth, kind, path: None }
    }

    /// The `nth` call at which this kind of fault can show fails.
    #[must_use]
    pub fn any(nth: u64, kind: FaultKind) -> Self {
        Fault { call: None, nth, kind, path: None }
    }

    /// Counts only calls on paths that contain `text`.
    #[must_use]
    pub fn on(mut self, text: &str) -> Self {
        self.path = Some(text.to_owned());
        self
    }

    fn matches(&self, call: &TraceCall<'_>) -> bool {
        self.call.is_none_or(|kind| kind == call.kind)
            && self.kind.fits(call.kind, self.call.is_some())
            && self.path.as_deref().is_none_or(|text| call.names(text))
    }
}

/// What a power cut leaves of the things that were not synced. All modes keep everything that was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashMode {
    /// All of it.
    KeepAll,
    /// None of it.
    DropAll,
    /// Of each block any image since the last sync, or a mix of two cut at any byte; of each file's lengths and each
    /// directory's changes a prefix.
    Torn,
    /// As much out of order as a disk may be: late blocks without earlier ones, whole files kept while others are
    /// dropped, each name in a directory independently old or new, lengths without the blocks under them (which then
    /// read as zeros). A rename never leaves neither name, but may leave both.
    Reordered,
}

impl CrashMode {
    /// Every mode, from the kindest to the most adversarial.
    pub const ALL: [CrashMode; 4] =
        [CrashMode::KeepAll, CrashMode::DropAll, CrashMode::Torn, CrashMode::Reordered];
}

/// One call, as recorded while tracing is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceEntry {
    /// What it was.
    pub call: CallKind,
    /// The file or directory; for a rename the old name.
    pub path: PathBuf,
    /// For a rename the new name.
    pub to: Option<PathBuf>,
    /// Where in the file, in bytes; 0 where that means nothing.
    pub offset: u64,
    /// How many bytes were asked for, or the new length; 0 where that means nothing.
    pub len: u64,
}

/// A call about to happen.
#[derive(Debug)]
pub(super) struct TraceCall<'a> {
    pub(super) kind: CallKind,
    pub(super) path: &'a Path,
    pub(super) to: Option<&'a Path>,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl<'a> TraceCall<'a> {
    pub(super) fn new(kind: CallKind, path: &'a Path) -> Self {
        TraceCall { kind, path, to: None, offset: 0, len: 0 }
    }

    pub(super) fn range(kind: CallKind, path: &'a Path, offset: u64, len: u64) -> Self {
        TraceCall { kind, path, to: None, offset, len }
    }

    fn names(&self, text: &str) -> bool {
        [Some(self.path), self.to].into_iter().flatten().any(|path| path.to_string_lossy().contains(text))
    }

    fn record(&self) -> TraceEntry {
        TraceEntry {
            call: self.kind,
            path: self.path.to_path_buf(),
            to: self.to.map(Path::to_path_buf),
            offset: self.offset,
            len: self.len,
        }
    }
}

/// Counts calls and decides which of them fail.
#[derive(Debug)]
pub(super) struct Accounts {
    pub(super) calls: u64,
    pub(super) mutations: u64,
    by_kind: [u64; 17],
    pub(super) bytes_written: u64,
    pub(super) syncs: u64,
    pub(super) trace: Option<Vec<TraceEntry>>,
    pub(super) faults: Vec<Fault>,
    /// The mutation, counted from the start, at which the power goes.
    pub(super) cut_at: Option<u64>,
    pub(super) dead: bool,
    pub(super) rng: Rng,
}

impl Accounts {
    pub(super) fn new(seed: u64) -> Self {
        Accounts {
            calls: 0,
            mutations: 0,
            by_kind: [0; 17],
            bytes_written: 0,
            syncs: 0,
            trace: None,
            faults: Vec::new(),
            cut_at: None,
            dead: false,
            rng: Rng::new(seed),
        }
    }

    pub(super) fn count(&self, kind: CallKind) -> u64 {
        self.by_kind[kind as usize]
    }

    /// Notes a call and says whether it goes on, or with which fault.
    pub(super) fn begin(&mut self, call: &TraceCall<'_>) -> io::Result<Option<FaultKind>> {
        if self.dead {
            return Err(power_cut());
        }
        self.calls += 1;
        self.by_kind[call.kind as usize] += 1;
        self.mutations += u64::from(call.kind.is_mutation());
        if let Some(trace) = &mut self.trace {
            trace.push(call.record());
        }
        if self.cut_at.is_some_and(|at| self.mutations >= at) {
            self.dead = true;
            return Err(power_cut());
        }
        Ok(self.take_fault(call))
    }

    fn take_fault(&mut self, call: &TraceCall<'_>) -> Option<FaultKind> {
        let mut shown = None;
        self.faults.retain_mut(|fault| {
            if fault.matches(call) {
                fault.nth = fault.nth.saturating_sub(1);
                if fault.nth == 0 {
                    shown.get_or_insert(fault.kind);
                    return false;
                }
            }
            true
        });
        shown
    }
}
