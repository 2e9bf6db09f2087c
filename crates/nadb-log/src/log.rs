//! The log of one open store: its state, opening, reading and closing. Appending, syncing and the preparation of segments
//! stand in modules of their own.
//!
//! Locks are taken in this order: `sync`, `flush`, `manifest`, `publish`, `tail`. None but `tail` is ever waited for while
//! `tail` is held, and under `tail` nothing touches a file.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use nadb_core::{
    Clock, Entropy, Error, ErrorKind, Histogram, Location, Result, SegmentId, SegmentUid, Seq, StoreId,
};
use nadb_vfs::{Appender, FileLock, Fs};
use parking_lot::{Mutex, MutexGuard, RwLock};

use crate::ahead::Ahead;
use crate::checkpoint::{Closed, Coverage};
use crate::compaction::Retired;
use crate::manifest::{CleanClose, Manifest};
use crate::names::MANIFEST;
use crate::recovery::{self, Recovered, Visit};
use crate::replay::{OnRecord, ScanCounts, replay_again};
use crate::seal::read_footer;
use crate::segment::{RecordBuf, SEGMENT_HEADER, Segment};

/// How records and footers of sealed segments are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadMode {
    /// Through a mapping of the file where the file system has mappings: without a system call and without a copy. A medium that fails, or
    /// somebody who shortens a file, raises SIGBUS.
    #[default]
    Mapped,
    /// By positioned reads: errors of the medium are errors, and footers are held in memory.
    Positioned,
}

/// What a log needs to know when it is opened.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Bytes after which the log goes on in a new segment.
    pub segment_size: u64,
    /// Bytes of frames in memory after which a buffered write hands them to the operating system.
    pub buffer_size: usize,
    /// Whether a missing store is created.
    pub create: bool,
    /// How sealed segments are read.
    pub read_mode: ReadMode,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
}

/// Where a frame's records stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// The segment.
    pub segment: SegmentId,
    /// The offset of the first record; the others follow as they do in the frame's body.
    pub body_offset: u32,
    /// The first record's number; the others follow.
    pub first_seq: Seq,
    /// How many there are.
    pub count: u32,
}

impl Placed {
    /// The last record's number.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        self.first_seq.plus(u64::from(self.count)).previous()
    }
}

/// Makes a frame visible: called once for each frame that did not fail, in the order of their numbers, by one thread at a
/// time.
pub trait Publish<P>: Send + Sync {
    /// The frame with this payload stands at `placed`, in `segment`.
    fn publish(&self, payload: P, placed: Placed, segment: &Arc<Segment>);
}

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Bytes handed to segment files.
    pub written_bytes: AtomicU64,
    /// Calls that handed them over.
    pub appends: AtomicU64,
    /// Syncs of the log.
    pub syncs: AtomicU64,
    /// How long they took, those that failed included.
    pub sync_times: Histogram,
    /// Times that a write waited for a segment to be prepared.
    pub segment_waits: AtomicU64,
}

/// A frame that has its place and is not published yet.
#[derive(Debug)]
pub(crate) struct Queued<P> {
    pub(crate) ticket: u64,
    /// Whether it may be published before the file has it.
    pub(crate) is_buffered: bool,
    /// Where its bytes begin; what the log's end becomes again if it fails.
    pub(crate) start: u32,
    pub(crate) last_seq_before: Seq,
    pub(crate) placed: Placed,
    pub(crate) segment: Arc<Segment>,
    pub(crate) payload: P,
}

/// Frames that failed together, until each of their writers has heard.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) unheard: u64,
    pub(crate) error: Error,
}

/// The end of the log: what a writer needs to take its place. Guarded by one short lock.
#[derive(Debug)]
pub(crate) struct Tail<P> {
    pub(crate) active: Option<Arc<Segment>>,
    pub(crate) spare: Option<Arc<Segment>>,
    /// Appends to the active segment's file through memory, where that is possible.
    pub(crate) appender: Option<Box<dyn Appender>>,
    /// The same for the spare.
    pub(crate) spare_appender: Option<Box<dyn Appender>>,
    /// A writer is putting the active segment's last frames into its file, to go on in the next one.
    pub(crate) rotating: bool,
    /// Whether the manifest says durably that the store is open.
    pub(crate) dirty: bool,
    /// Where the next frame goes.
    pub(crate) offset: u32,
    /// Bytes of the active segment that were appended through memory; what opening found in it counts as such.
    pub(crate) through_memory: u32,
    /// From where on writers call for more room ahead of them.
    pub(crate) calls_at: u32,
    pub(crate) last_seq: Seq,
    pub(crate) next_seq: Seq,
    /// Frames that no one is writing yet, and where they begin.
    pub(crate) pending: Vec<u8>,
    pub(crate) pending_at: u32,
    /// Frames that are being written, right before `pending`.
    pub(crate) writing: Option<Arc<Vec<u8>>>,
    pub(crate) queue: VecDeque<Queued<P>>,
    /// Tickets count reservations and are never reused, unlike the numbers of frames that failed.
    pub(crate) next_ticket: u64,
    pub(crate) ticket_in_file: u64,
    pub(crate) failures: Vec<Failure>,
    /// The contiguous end in the files.
    pub(crate) seq_in_file: Seq,
    /// Segments before the active one with frames that are not synced, oldest first.
    pub(crate) unsynced: Vec<Arc<Segment>>,
    /// Whether the last frame is an end mark.
    pub(crate) is_marked: bool,
}

impl<P> Tail<P> {
    /// Whether what is written is small frames above all, which go through memory.
    pub(crate) fn is_through_memory(&self) -> bool {
        self.through_memory >= self.offset / 2
    }

    /// The end of a log as opening found it.
    fn new(
        active: Option<Arc<Segment>>,
        spare: Option<Arc<Segment>>,
        dirty: bool,
        last_seq: Seq,
        next_seq: Seq,
    ) -> Tail<P> {
        let offset = active.as_ref().map_or(0, |active| active.in_file.load(Ordering::Acquire));
        Tail {
            active,
            spare,
            appender: None,
            spare_appender: None,
            rotating: false,
            dirty,
            offset,
            through_memory: offset,
            calls_at: 0,
            last_seq,
            next_seq,
            pending: Vec::new(),
            pending_at: offset,
            writing: None,
            queue: VecDeque::new(),
            next_ticket: 1,
            ticket_in_file: 0,
            failures: Vec::new(),
            seq_in_file: last_seq,
            unsynced: Vec::new(),
            is_marked: true,
        }
    }
}

/// The log of one open store. `P` is what a frame carries until it is published.
pub struct Log<P> {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) dir: PathBuf,
    pub(crate) options: LogOptions,
    pub(crate) publisher: Arc<dyn Publish<P>>,
    pub(crate) tail: Mutex<Tail<P>>,
    /// Held while frames go to the file: their order there is their order in the log.
    pub(crate) flush: Mutex<()>,
    /// Held while frames are published.
    pub(crate) publish: Mutex<()>,
    /// Held while the files are synced.
    pub(crate) sync: Mutex<()>,
    pub(crate) manifest: Mutex<ManifestState>,
    pub(crate) segments: RwLock<BTreeMap<SegmentId, Arc<Segment>>>,
    pub(crate) published: AtomicU64,
    pub(crate) durable: AtomicU64,
    /// What the next manifest says that the clock was trusted to show, Unix milliseconds.
    pub(crate) trusted_ms: AtomicU64,
    /// What the next manifest says that the next namespace gets, at least.
    pub(crate) next_namespace: AtomicU32,
    pub(crate) retired: Retired,
    pub(crate) poison: Mutex<Option<Error>>,
    pub(crate) is_poisoned: AtomicBool,
    /// Segments that are full and not sealed.
    pub(crate) unsealed: AtomicUsize,
    /// The active segment is more than half full and there is no spare.
    pub(crate) is_spare_due: AtomicBool,
    pub(crate) ahead: Ahead,
    /// The ballast was given up: only deletes and the manifest may use the room it left.
    pub(crate) is_full: AtomicBool,
    pub(crate) counters: LogCounters,
    hash_seed: u64,
    recovered: Recovered,
    /// What the checkpoint covers that opening took.
    pub(crate) checkpoint: Option<Coverage>,
    /// Dropped last: another process may go on from here.
    lock: Mutex<Option<Box<dyn FileLock>>>,
}

impl<P> std::fmt::Debug for Log<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// The manifest in force and what belongs to the next one.
#[derive(Debug)]
pub(crate) struct ManifestState {
    pub(crate) manifest: Manifest,
    /// A segment whose file is durable, but which no durable manifest names yet.
    pub(crate) unnamed: Option<Arc<Segment>>,
    pub(crate) has_ballast: bool,
    /// Segments that a compaction has replaced and whose files may still be there, after a crash too.
    pub(crate) forgotten: Vec<(SegmentId, SegmentUid)>,
    /// Segments of which it is not known whether the manifest on disk names them: storing it has failed.
    pub(crate) undecided: Vec<SegmentId>,
}

impl<P: Send> Log<P> {
    /// Locks the store in `dir`, reads all of it, shows every record to `visit` in the order of their numbers, and cuts a
    /// torn tail. A missing store is created where `options` say so. `visit` becomes the publisher once all is read.
    ///
    /// # Errors
    /// `Corruption` (nothing was changed), `Version`, `Locked`, `InvalidInput` for a directory that is no store,
    /// `ReadOnly`, `NoSpace`, `Io`, and whatever the visitor answers.
    pub fn open<V: Visit>(
        fs: Arc<dyn Fs>,
        dir: &Path,
        options: LogOptions,
        visit: &mut V,
        publisher: Arc<dyn Publish<P>>,
    ) -> Result<Log<P>> {
        let opened = recovery::open(&*fs, dir, &options, visit)?;
        let recovery::Opened {
            lock,
            manifest,
            segments,
            active,
            spare,
            last_seq,
            next_seq,
            gave_up_ballast,
            checkpoint,
            report,
        } = opened;
        let log = Log {
            dir: dir.to_path_buf(),
            options,
            publisher,
            tail: Mutex::new(Tail::new(active, spare, manifest.clean.is_none(), last_seq, next_seq)),
            flush: Mutex::new(()),
            publish: Mutex::new(()),
            sync: Mutex::new(()),
            hash_seed: manifest.hash_seed,
            trusted_ms: AtomicU64::new(manifest.trusted_ms),
            next_namespace: AtomicU32::new(manifest.next_namespace),
            retired: Retired::default(),
            manifest: Mutex::new(ManifestState {
                manifest,
                unnamed: None,
                has_ballast: false,
                forgotten: Vec::new(),
                undecided: Vec::new(),
            }),
            segments: RwLock::new(segments.into_iter().map(|segment| (segment.id, segment)).collect()),
            published: AtomicU64::new(last_seq.0),
            durable: AtomicU64::new(last_seq.0),
            poison: Mutex::new(None),
            is_poisoned: AtomicBool::new(false),
            unsealed: AtomicUsize::new(0),
            is_spare_due: AtomicBool::new(false),
            ahead: Ahead::default(),
            is_full: AtomicBool::new(gave_up_ballast),
            counters: LogCounters::default(),
            recovered: report,
            checkpoint,
            lock: Mutex::new(Some(lock)),
            fs,
        };
        log.make_appenders();
        let unsealed = log.full_segments().count();
        log.unsealed.store(unsealed, Ordering::Release);
        log.find_ballast()?;
        Ok(log)
    }
}

impl<P: Send> Log<P> {
    /// The newest number that is known to survive a power cut.
    #[must_use]
    pub fn durable_seq(&self) -> Seq {
        Seq(self.durable.load(Ordering::Acquire))
    }

    /// The newest number that is visible.
    #[must_use]
    pub fn published_seq(&self) -> Seq {
        Seq(self.published.load(Ordering::Acquire))
    }

    /// What opening found.
    #[must_use]
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// The seed of the key hash.
    #[must_use]
    pub fn hash_seed(&self) -> u64 {
        self.hash_seed
    }

    /// The store's id.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.manifest.lock().manifest.store
    }

    /// The latest time that the clock was trusted to show, Unix milliseconds: as the manifest said, or as was said since.
    #[must_use]
    pub fn trusted_ms(&self) -> u64 {
        self.trusted_ms.load(Ordering::Acquire)
    }

    /// The clock is trusted to show this; every manifest from now on says so.
    pub fn trust(&self, now_ms: u64) {
        self.trusted_ms.fetch_max(now_ms, Ordering::AcqRel);
    }

    /// Counts since the store was opened.
    #[must_use]
    pub fn counters(&self) -> &LogCounters {
        &self.counters
    }

    /// Bytes of frames that only memory has.
    #[must_use]
    pub fn buffered_bytes(&self) -> usize {
        let tail = self.tail.lock();
        tail.pending.len() + tail.writing.as_ref().map_or(0, |writing| writing.len())
    }

    /// Bytes of memory that are kept for frames on their way to the file.
    #[must_use]
    pub fn buffer_memory_bytes(&self) -> usize {
        let tail = self.tail.lock();
        let frames = tail.pending.capacity() + tail.writing.as_ref().map_or(0, |writing| writing.capacity());
        frames + tail.queue.capacity() * size_of::<Queued<P>>()
    }

    /// The segments in order, and which of them is active and which a spare.
    #[must_use]
    pub fn segments(&self) -> (Vec<Arc<Segment>>, Option<SegmentId>, Option<SegmentId>) {
        let tail = self.tail.lock();
        let active = tail.active.as_ref().map(|segment| segment.id);
        let spare = tail.spare.as_ref().map(|segment| segment.id);
        (self.segments.read().values().cloned().collect(), active, spare)
    }

    /// The segment with this number.
    #[must_use]
    pub fn segment(&self, id: SegmentId) -> Option<Arc<Segment>> {
        self.segments.read().get(&id).cloned()
    }

    /// Reads and verifies the record at `at`.
    ///
    /// # Errors
    /// `Corruption` with file and offset, or `Io`.
    pub fn read(&self, at: Location) -> Result<RecordBuf> {
        let segment = self.segment(at.segment).ok_or_else(|| {
            Error::corruption(
                &self.dir,
                0,
                format!("the index names segment {}, which does not exist", at.segment),
            )
        })?;
        self.read_of(&segment, at)
    }

    /// As [`Log::read`], in a segment that is held: also one that a compaction has replaced.
    ///
    /// # Errors
    /// As [`Log::read`].
    pub fn read_of(&self, segment: &Segment, at: Location) -> Result<RecordBuf> {
        let end = u64::from(at.offset) + u64::from(at.len);
        if end > segment.bytes()
            && let Some(bytes) = self.read_from_memory(segment, at)
        {
            return segment.verify(bytes.into(), at);
        }
        segment.read(at)
    }

    /// The bytes of a record that is not in its file yet; `None` when it has got there meanwhile.
    fn read_from_memory(&self, segment: &Segment, at: Location) -> Option<Vec<u8>> {
        let tail = self.tail.lock();
        if tail.active.as_ref().map(|active| active.id) != Some(segment.id) {
            return None;
        }
        let part = |bytes: &[u8], start: u32| {
            let from = at.offset.checked_sub(start)? as usize;
            bytes.get(from..from + at.len as usize).map(<[u8]>::to_vec)
        };
        if let Some(found) = part(&tail.pending, tail.pending_at) {
            return Some(found);
        }
        let writing = tail.writing.as_ref()?;
        let start = tail.pending_at - u32::try_from(writing.len()).ok()?;
        part(writing, start)
    }

    /// Reads the manifest and every byte of every segment up to the newest number in the files, as of now, and shows the
    /// records to `on_record` in order. Every checksum must hold.
    ///
    /// # Errors
    /// `Corruption` with file and offset, `Version`, `Io`, and whatever `on_record` answers.
    pub fn scan(&self, on_record: &mut OnRecord<'_>) -> Result<ScanCounts> {
        let store = self.manifest.lock().manifest.store;
        if Manifest::load(&*self.fs, &self.dir)?.is_none_or(|manifest| manifest.store != store) {
            let what = "the manifest is missing, or it is another store's";
            return Err(Error::corruption(self.dir.join(MANIFEST), 0, what));
        }
        let segments: Vec<_> = self.segments.read().values().cloned().collect();
        let mut counts = ScanCounts::default();
        for segment in segments {
            recovery::check_header(&segment, segment.bytes(), store)?;
            let last_seq = replay_again(&segment, &mut counts, on_record)?;
            segment.check_last_seq(last_seq)?;
            if let Some(extent) = segment.extent() {
                Arc::new(read_footer(&segment, extent)?).check_all()?;
            }
        }
        Ok(counts)
    }

    /// The error that every write gets after a sync has failed.
    pub(crate) fn check_poison(&self) -> Result<()> {
        if !self.is_poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        match &*self.poison.lock() {
            Some(error) => Err(error.duplicate()),
            None => Ok(()),
        }
    }

    /// No more writes: what is not durable may be lost, and a second sync could not tell.
    pub(crate) fn set_poison(&self, cause: Error) -> Error {
        let error = Error::new(
            ErrorKind::Poisoned,
            format!(
                "a sync failed, so the store takes no more writes and it is unknown whether writes after number {} \
                 survive a power cut; reads go on; reopen the store to go on writing: {cause}",
                self.durable_seq()
            ),
        );
        let is_first = {
            let mut poison = self.poison.lock();
            let is_first = poison.is_none();
            if is_first {
                *poison = Some(error.duplicate());
                self.is_poisoned.store(true, Ordering::Release);
            }
            is_first
        };
        if is_first {
            crate::trace::poisoned(&error);
        }
        error
    }

    /// Makes everything durable, marks the end, and notes the close in the manifest. The lock is released whatever
    /// happens; nothing may be appended afterwards.
    ///
    /// # Errors
    /// As a sync; then the close is not noted, and the next opening recovers as after a crash.
    pub fn close(&self) -> Result<()> {
        self.close_and(|_| ())
    }

    /// As [`Log::close`], and does `last` after a close in order, before the lock is released: nobody can have opened the
    /// store meanwhile.
    ///
    /// # Errors
    /// As [`Log::close`].
    pub fn close_and(&self, last: impl FnOnce(&Closed<'_, P>)) -> Result<()> {
        let result = self.check_poison().and_then(|()| self.close_in_order());
        if result.is_ok() {
            last(&Closed::new(self));
        }
        let _ = self.remove_retired(true);
        *self.lock.lock() = None;
        result
    }

    fn close_in_order(&self) -> Result<()> {
        self.mark_end()?;
        self.trim()?;
        let mut state = self.manifest.lock();
        let (dirty, last_seq) = {
            let tail = self.tail.lock();
            (tail.dirty, tail.last_seq)
        };
        if !dirty {
            return Ok(());
        }
        let last = self.last_with_frames();
        let (segment, len) = last.map_or((SegmentId(0), 0), |s| (s.id, s.in_file.load(Ordering::Acquire)));
        let clean = CleanClose { last_seq, segment, len };
        self.store_manifest(&mut state, |manifest| manifest.clean = Some(clean))?;
        self.tail.lock().dirty = false;
        Ok(())
    }

    /// Where the log ends: in the last segment that is not sealed and has frames, or, where there is none, in the last sealed one.
    fn last_with_frames(&self) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let has_frames = |s: &&Arc<Segment>| !s.is_sealed() && s.bytes() > u64::from(SEGMENT_HEADER);
        let open = segments.values().rfind(has_frames);
        open.or_else(|| segments.values().rfind(|s| s.is_sealed())).cloned()
    }

    /// Cuts off what was reserved and not used: a store that is closed ends with its last frame, and its spare has none.
    fn trim(&self) -> Result<()> {
        let reserved: Vec<Arc<Segment>> = {
            let mut tail = self.lock_tail();
            let active = tail.appender.take().and(tail.active.clone());
            let spare = tail.spare_appender.take().and(tail.spare.clone());
            active.into_iter().chain(spare).collect()
        };
        for segment in reserved {
            let io = |e| segment.io("giving back reserved blocks", e);
            if segment.file.len().map_err(io)? > segment.bytes() {
                segment.file.set_len(segment.bytes()).map_err(io)?;
                // DURABILITY: the length before the manifest that says how the log was closed.
                segment.file.sync_all().map_err(|e| self.set_poison(io(e)))?;
            }
        }
        Ok(())
    }

    /// For the segments that a session begins with.
    fn make_appenders(&self) {
        let (active, spare) = {
            let tail = self.lock_tail();
            (tail.active.clone(), tail.spare.clone())
        };
        let appender = active.and_then(|active| self.appender_for(&active));
        let spare_appender = spare.and_then(|spare| self.appender_for(&spare));
        let mut tail = self.lock_tail();
        (tail.appender, tail.spare_appender) = (appender, spare_appender);
    }

    pub(crate) fn lock_tail(&self) -> MutexGuard<'_, Tail<P>> {
        self.tail.lock()
    }
}
