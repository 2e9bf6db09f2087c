//! The engine: one open store, shared by its handles and its background thread.

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nadb_compact::{Demand, Policy, Reason};
use nadb_core::{
    CompactionReport, CompactionRequest, Durability, Entry, Error, ErrorKind, Filter, Matches, Metadata,
    Operation, Outcome, PurgeReport, QueryRequest, Result, Value, ValueReader, ValueWriter, WriteBatch,
    WriteOptions,
};
use nadb_log::{Log, LogOptions};
use nadb_vfs::Fs;
use parking_lot::{Condvar, Mutex, RwLock, RwLockReadGuard};

use crate::access::{AccessClock, Reading};
use crate::background;
use crate::blobs::Blobs;
use crate::compaction::{self, Compactor};
use crate::inflight::InFlight;
use crate::keyspace::{Keyspace, Write};
use crate::namespaces::Namespace;
use crate::options::Options;
use crate::reaper::Reaper;
use crate::replay::Replay;
use crate::report::{NamespaceInfo, RecoveryReport, SegmentInfo, SegmentState, Stats, VerifyReport};
use crate::scan::Scan;
use crate::sealing::Sealing;
use crate::snapshot::Snapshot;
use crate::stream::{Reader, Writer};
use crate::tallies::{Op, Tally};
use crate::times::Times;
use crate::trace;
use crate::trust::Trust;

/// A handle on an open store; clones share it. The last one to go closes the store.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use nadb_core::{Action, Operation, Put};
/// use nadb_engine::{Engine, Options};
/// let engine = Engine::open(Arc::new(nadb_vfs::MemFs::default()), Path::new("store"), Options::default())?;
/// let put = Action::Put(Put::new(b"Alice".as_slice()));
/// let done = engine.write(&[Operation::new("users", b"user:1".as_slice(), put)], None)?;
/// assert_eq!(engine.get("users", b"user:1")?.unwrap(), b"Alice");
/// assert_eq!(engine.metadata("users", b"user:1")?.unwrap().version, done[0].version.unwrap());
/// engine.close()?;
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Engine {
    handle: Arc<Handle>,
}

/// What the handles share, and the background thread does not: its end is the store's end.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<std::thread::JoinHandle<()>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Who wants to hear of a failure calls `close`.
        let _ = self.close();
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) seals: AtomicU64,
    pub(crate) seal_waits: AtomicU64,
    pub(crate) early_rotations: AtomicU64,
    pub(crate) reaped: AtomicU64,
}

/// What a store takes that has no data, and what a segment takes beside its rows and bits; measured.
const FIXED_BYTES: u64 = 64 << 10;
const SLOT_BYTES: u64 = 1 << 10;

/// One open store.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) log: Log<Arc<Write>>,
    pub(crate) keyspace: Arc<Keyspace>,
    pub(crate) blobs: Blobs,
    pub(crate) options: Options,
    pub(crate) dir: PathBuf,
    pub(crate) in_flight: InFlight,
    pub(crate) counters: Counters,
    pub(crate) times: Times,
    pub(crate) sealing: Sealing,
    pub(crate) reaper: Reaper,
    pub(crate) trust: Trust,
    pub(crate) compactor: Compactor,
    pub(crate) policy: Policy,
    pub(crate) access_clock: AccessClock,
    /// Held shared by each write from beginning to end; alone by whoever needs the log to stand still.
    pub(crate) writers: RwLock<()>,
    closed: AtomicBool,
    recovery: RecoveryReport,
    /// Whether something was written since the background thread last looked, and how it is woken.
    pub(crate) activity: AtomicBool,
    /// Whether a write has called it to a segment since it last looked.
    pub(crate) called: AtomicBool,
    pub(crate) wake: Mutex<background::Wake>,
    pub(crate) woken: Condvar,
}

impl Engine {
    pub(crate) fn tracks_access(&self) -> bool {
        self.handle.shared.options.track_access
    }

    #[cfg(test)]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.handle.shared
    }

    /// Opens the store in `dir`, or creates it where the options say so. What a crash left behind is recovered first: all
    /// that was promised is there, a torn tail is cut off.
    ///
    /// # Errors
    /// `Corruption` (nothing was changed), `Version`, `Locked`, `InvalidInput` for a directory that is no store, `Limit`
    /// for an option out of range, `ReadOnly`, `NoSpace`, `Io`.
    pub fn open(fs: Arc<dyn Fs>, dir: &Path, options: Options) -> Result<Engine> {
        let _span = trace::open_span(dir);
        let clock = Arc::clone(&options.clock);
        let begun = clock.monotonic();
        let opened = Engine::open_store(fs, dir, options);
        match &opened {
            Ok(engine) => trace::opened(engine.recovery(), clock.monotonic().saturating_sub(begun)),
            Err(error) => trace::open_failed(error),
        }
        opened
    }

    fn open_store(fs: Arc<dyn Fs>, dir: &Path, options: Options) -> Result<Engine> {
        options.check()?;
        let policy = compaction::policy(&options)?;
        let keyspace = Arc::new(Keyspace::new());
        keyspace.memory.set_limit(options.memory_limit);
        let log_options = LogOptions {
            segment_size: options.memtable_size,
            buffer_size: options.buffer_bytes(),
            create: options.create,
            read_mode: options.read_mode,
            clock: Arc::clone(&options.clock),
            entropy: Arc::clone(&options.entropy),
        };
        let mut replay = Replay::new(&keyspace).with_progress(options.on_open.clone());
        let publisher = Arc::clone(&keyspace);
        let log = Log::open(Arc::clone(&fs), dir, log_options, &mut replay, publisher)?;
        replay.finish(log.published_seq())?;
        let (entropy, above) = (Arc::clone(&options.entropy), options.blobs_above());
        let blobs = Blobs::new(fs, dir, log.store_id(), entropy, above);
        blobs.remove_orphans(&keyspace)?;
        let recovered = log.recovered();
        let mut recovery = RecoveryReport::default();
        recovery.created = recovered.created;
        recovery.clean = recovered.clean;
        recovery.segments = recovered.segments;
        recovery.frames = recovered.counts.frames;
        recovery.records = recovered.counts.records;
        recovery.cut_bytes = recovered.cut_bytes;
        recovery.last_seq = recovered.last_seq.0;
        recovery.from_checkpoint = recovered.from_checkpoint;
        recovery.warnings.clone_from(&recovered.warnings);
        let access_clock = AccessClock::new(&options);
        let (background, slow_above) = (options.background, options.slow_above);
        let shared = Arc::new(Shared {
            log,
            keyspace,
            blobs,
            options,
            dir: dir.to_path_buf(),
            in_flight: InFlight::new(),
            counters: Counters::default(),
            times: Times::new(slow_above),
            sealing: Sealing::default(),
            reaper: Reaper::default(),
            trust: Trust::default(),
            compactor: Compactor::new(),
            policy,
            access_clock,
            writers: RwLock::new(()),
            closed: AtomicBool::new(false),
            recovery,
            activity: AtomicBool::new(false),
            called: AtomicBool::new(false),
            wake: Mutex::default(),
            woken: Condvar::new(),
        });
        shared.note_opened();
        shared.look_at_clock();
        // First what ends the threads should one of them not start.
        let handle = Arc::new(Handle { shared, threads: Mutex::default() });
        if background {
            let shared = &handle.shared;
            handle.threads.lock().push(background::spawn(shared)?);
            if shared.options.auto_compact {
                handle.threads.lock().push(compaction::spawn(shared)?);
            }
        }
        Ok(Engine { handle })
    }

    /// Does all operations of the batch or none, in one frame; later ones see what earlier ones did. One outcome each.
    ///
    /// # Errors
    /// `PreconditionFailed` when a condition does not hold, `Limit`, `InvalidInput`, `NoSpace`, `Io`: nothing was written.
    /// `Poisoned`: a sync failed, now or earlier. `Closed`.
    pub fn write(&self, batch: &WriteBatch<'_>, durability: Option<Durability>) -> Result<Vec<Outcome>> {
        self.handle.shared.write(batch, durability)
    }

    /// The value of a key; `None` when it is absent or expired.
    ///
    /// # Errors
    /// `Corruption` with file and offset, `Io`, `Limit`, `Closed`.
    pub fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        let shared = &self.handle.shared;
        shared.get(Reading::Counts, |slots| shared.find_visible(slots, namespace, key))
    }

    /// Shows `read` the value of a key where it stands, and says whether there was one; while `read` runs, no segment and no
    /// mapping is let go.
    ///
    /// # Errors
    /// As [`Engine::get`]; `read` is not called then.
    pub fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let shared = &self.handle.shared;
        shared.show(Reading::Counts, |slots| shared.find_visible(slots, namespace, key), read)
    }

    /// Value and metadata of a key; `None` when it is absent or expired.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        let shared = &self.handle.shared;
        shared.get_entry(Reading::Counts, |slots| shared.find_visible(slots, namespace, key))
    }

    /// The metadata of a key; `None` when it is absent or expired.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        let shared = &self.handle.shared;
        let slots = shared.keyspace.slot_table();
        shared.find_visible(&slots, namespace, key)?.map(|found| shared.metadata(&found)).transpose()
    }

    /// Whether a key is there.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        let shared = &self.handle.shared;
        let slots = shared.keyspace.slot_table();
        Ok(shared.find_visible(&slots, namespace, key)?.is_some())
    }

    /// Says that a key was read now, where the store keeps that, and whether it is there.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn touch(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        let shared = &self.handle.shared;
        let slots = shared.keyspace.slot_table();
        let found = shared.find_visible(&slots, namespace, key)?;
        Ok(found.inspect(|found| shared.note_read(Reading::Counts, &slots, found)).is_some())
    }

    /// The values of several keys, all as of one moment, in the order of `keys`.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        self.snapshot()?.get_many_as(Reading::Counts, namespace, keys)
    }

    /// The store as of now, for as long as it is held: what is written afterwards does not show.
    ///
    /// # Errors
    /// `Closed`.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.handle.shared.check_open_to_read()?;
        Ok(Snapshot::new(&self.handle.shared))
    }

    /// The live records of a key range as of now, in key order.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn scan(&self, namespace: &str, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Result<Scan> {
        self.snapshot()?.scan(namespace, range)
    }

    /// The records that a request means, as of now, in its order.
    ///
    /// # Errors
    /// As [`Engine::get`]; `Limit` or `InvalidInput` for a filter that [`Filter::check`] refuses, `Unsupported` for one by last
    /// access without [`Options::track_access`].
    pub fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        let begin = || Ok(Box::new(self.snapshot()?.query(namespace, request)?) as Box<dyn Matches>);
        self.handle.shared.timed_query(begin)
    }

    /// How many records a filter means now. That of a single tag is known, once it was asked for; others are counted.
    ///
    /// # Errors
    /// As [`Engine::query`].
    pub fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        let shared = &self.handle.shared;
        shared.timed_count(|| shared.count_now(namespace, filter))
    }

    /// The tags that begin with `prefix`, in order, with how many records have each.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        self.handle.shared.tags_now(namespace, prefix)
    }

    /// A value that is written piece by piece, and becomes visible at its commit; `operation` is a put.
    ///
    /// # Errors
    /// `Limit`, `InvalidInput`, `Unsupported` for an operation that is no put, `Closed`.
    pub fn writer(
        &self,
        operation: Operation<'static>,
        options: &WriteOptions,
    ) -> Result<impl ValueWriter + use<>> {
        Writer::new(&self.handle.shared, operation, options)
    }

    /// The value of a key, to be read piece by piece; `None` when it is absent or expired.
    ///
    /// # Errors
    /// As [`Engine::get`].
    pub fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<impl ValueReader + use<>>> {
        let shared = &self.handle.shared;
        let slots = shared.keyspace.slot_table();
        let Some(found) = shared.find_visible(&slots, namespace, key)? else { return Ok(None) };
        let reader = Reader::open(shared, &found)?;
        shared.note_read(Reading::Counts, &slots, &found);
        Ok(Some(reader))
    }

    /// All namespaces in order of their names.
    ///
    /// # Errors
    /// `Closed`.
    pub fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.handle.shared.check_open_to_read()?;
        let info = |n: &Arc<Namespace>| NamespaceInfo::new(n.name.clone(), n.keys.load(Ordering::Relaxed));
        Ok(self.handle.shared.keyspace.namespaces.all().iter().map(info).collect())
    }

    /// The time by which it is decided what has expired, in Unix milliseconds: the clock's, but never before the time up to which
    /// the expired were let go.
    ///
    /// # Errors
    /// `Closed`.
    pub fn now_ms(&self) -> Result<u64> {
        self.handle.shared.check_open_to_read()?;
        Ok(self.handle.shared.now_ms())
    }

    /// Drops a namespace with all its keys, in one step; says whether it was there. Takes time with the number of its keys.
    ///
    /// # Errors
    /// As [`Engine::write`].
    pub fn drop_namespace(&self, name: &str) -> Result<bool> {
        self.handle.shared.drop_namespace(name)
    }

    /// Lets go of everything that has expired by the clock as it is, whether that is trusted or not, and says of how many records.
    ///
    /// # Errors
    /// As [`Engine::write`]; what was let go of before stays so.
    pub fn purge_expired(&self) -> Result<PurgeReport> {
        self.handle.shared.purge_expired()
    }

    /// Makes everything that is visible durable.
    ///
    /// # Errors
    /// `Poisoned` when a sync fails or has failed, `NoSpace`, `Io`, `Closed`.
    pub fn flush(&self) -> Result<()> {
        let shared = &self.handle.shared;
        let _open = shared.check_open()?;
        let begun = shared.options.clock.monotonic();
        shared.log.sync_all()?;
        shared.times.tallies.add([(Tally::Done(Op::Flush), 1)]);
        shared.times.add(Op::Flush, shared.options.clock.monotonic().saturating_sub(begun));
        Ok(())
    }

    /// Makes everything durable and ends the store for all handles. Further calls do nothing.
    ///
    /// # Errors
    /// As [`Engine::flush`]; the store is closed all the same, and the next opening recovers it.
    pub fn close(&self) -> Result<()> {
        self.handle.close()
    }

    /// Rewrites the segments that hold any of the keys that are meant, without what is dead in them, in key order. Reads and writes go
    /// on meanwhile; where these are many, the compaction takes its time.
    ///
    /// # Errors
    /// As a write; `Corruption` where a live record does not verify. The store is as before.
    pub fn compact(&self, request: &CompactionRequest) -> Result<CompactionReport> {
        self.handle.shared.compact(request)
    }

    /// Rewrites those of some segments that are sealed: for tests, and for who knows better than the policy.
    ///
    /// # Errors
    /// As [`Engine::compact`].
    pub fn compact_segments(&self, ids: &[u32]) -> Result<CompactionReport> {
        self.handle.shared.compact_chosen(ids)
    }

    /// Compacts what the policy would have compacted while the store is at rest, until nothing is left to do; what the thread does
    /// that compacts, where there is none.
    ///
    /// # Errors
    /// As [`Engine::compact`]; `NoSpace` also where the disk has no room for a compaction that is due.
    pub fn compact_due(&self) -> Result<CompactionReport> {
        let mut report = CompactionReport::default();
        while let Some(done) = self.handle.shared.compact_next(Demand::AtRest)? {
            report.add(&done);
        }
        Ok(report)
    }

    /// Counts and sizes.
    ///
    /// # Errors
    /// `Closed`.
    pub fn stats(&self) -> Result<Stats> {
        self.handle.shared.stats()
    }

    /// The segments, oldest first.
    ///
    /// # Errors
    /// `Closed`.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        self.handle.shared.segment_infos()
    }

    /// Reads every byte of the store, checks every checksum, and compares the index with one rebuilt from the files. Writes
    /// wait while it runs.
    ///
    /// # Errors
    /// `Corruption` with file and offset for the first thing that is wrong; `Io`, `Closed`.
    pub fn verify(&self) -> Result<VerifyReport> {
        self.handle.shared.verify()
    }

    /// What opening found.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.handle.shared.recovery
    }

    /// Does once what the background thread does: hands buffered frames to the operating system, lets go of what has expired, syncs,
    /// prepares a segment, seals those that are full, writes when records were last read, and an end mark when nothing was written since the last time.
    ///
    /// # Errors
    /// As [`Engine::flush`].
    pub fn maintain(&self) -> Result<()> {
        let shared = &self.handle.shared;
        let _open = shared.check_open()?;
        shared.maintain_files()?;
        while shared.reap_some()? {}
        shared.log.sync_all()?;
        shared.seal_all()?;
        shared.keyspace.purge_dropped()?;
        shared.tick_access();
        shared.save_access();
        if shared.activity.swap(false, Ordering::AcqRel) { Ok(()) } else { shared.log.mark_end() }
    }
}

impl Handle {
    fn close(&self) -> Result<()> {
        let shared = &self.shared;
        // Held to the end: who closes while another does returns when the store is closed, too.
        let mut threads = self.threads.lock();
        {
            // Writes that have begun end first; none begins afterwards.
            let _alone = shared.writers.write();
            if shared.closed.swap(true, Ordering::AcqRel) {
                return Ok(());
            }
        }
        shared.wake.lock().must_stop = true;
        shared.woken.notify_all();
        shared.compactor.stop();
        for thread in threads.drain(..) {
            // A compaction filter may close the store, too: its thread ends behind this.
            if thread.thread().id() != std::thread::current().id() {
                let _ = thread.join();
            }
        }
        // Somebody else's compaction: it sees that the store is being closed.
        drop(shared.compactor.wait());
        let _span = trace::close_span(&shared.dir);
        let begun = shared.options.clock.monotonic();
        shared.seal_before_close();
        shared.look_at_clock();
        shared.save_access();
        let closed = shared.log.close_and(|closed| shared.save_checkpoint(closed));
        let took = shared.options.clock.monotonic().saturating_sub(begun);
        trace::closed(closed.as_ref().map(|_| ()), took);
        closed
    }
}

impl Shared {
    pub(crate) fn now_ms(&self) -> u64 {
        self.keyspace.now_ms(self.options.clock.now_ms())
    }

    /// For writes: the store stays open while the guard lives.
    pub(crate) fn check_open(&self) -> Result<RwLockReadGuard<'_, ()>> {
        let open = self.writers.read();
        self.check_open_to_read()?;
        Ok(open)
    }

    pub(crate) fn check_open_to_read(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(
                Error::new(ErrorKind::Closed, "the store was closed; open it again").with_path(&self.dir)
            );
        }
        Ok(())
    }

    fn stats(&self) -> Result<Stats> {
        self.check_open_to_read()?;
        let (segments, ..) = self.log.segments();
        let log = self.log.counters();
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let mut stats = Stats::default();
        stats.keys = self.keyspace.namespaces.all().iter().map(|n| load(&n.keys)).sum();
        stats.namespaces = self.keyspace.namespaces.all().len() as u64;
        stats.segments = segments.len() as u64;
        stats.log_bytes = segments.iter().map(|segment| segment.bytes()).sum();
        stats.footer_bytes = segments.iter().map(|segment| footer_bytes(segment)).sum();
        stats.records = segments.iter().map(|segment| segment.records()).sum();
        for slot in self.keyspace.slots().iter() {
            stats.live_bytes += slot.live.live_bytes();
            stats.remembered_deaths += slot.live.deaths() as u64;
            stats.rebuilt_footers += u64::from(slot.rows().is_rebuilt());
        }
        self.memory_stats(&mut stats);
        self.times.show(&mut stats);
        stats.ops.sync = log.sync_times.snapshot(load(&log.syncs), 0);
        let (views, oldest) = self.keyspace.views.open();
        stats.views = views as u64;
        stats.oldest_view = oldest.map(|taken| self.options.clock.monotonic().saturating_sub(taken));
        stats.pinned_bytes = self.keyspace.versions.record_bytes();
        stats.unsealed_segments = self.log.unsealed_count() as u64;
        stats.seals = load(&self.counters.seals);
        stats.seal_waits = load(&self.counters.seal_waits);
        stats.reaped_records = load(&self.counters.reaped);
        stats.time_mark_ms = self.keyspace.time_mark_ms();
        stats.reaping_refused = self.reaping_refused();
        stats.early_rotations = load(&self.counters.early_rotations);
        stats.buffered_bytes = self.log.buffered_bytes() as u64;
        stats.published_seq = self.log.published_seq().0;
        stats.durable_seq = self.log.durable_seq().0;
        let compacted = *self.compactor.totals.lock();
        stats.compactions = compacted.compactions;
        stats.compacted_bytes = compacted.bytes_before;
        stats.compaction_written_bytes = compacted.bytes_written;
        (stats.filtered_records, stats.filter_failures) = (compacted.filtered, compacted.filter_failures);
        let failure = |failure: &Mutex<Option<Error>>| failure.lock().as_ref().map(Error::to_string);
        stats.compaction_failure =
            failure(&self.compactor.failure).or_else(|| failure(&self.compactor.filter_failure));
        let (retired_bytes, retired_segments) = self.log.retired();
        (stats.retired_bytes, stats.retired_segments) = (retired_bytes, retired_segments as u64);
        stats.written_bytes = load(&log.written_bytes) + compacted.bytes_written;
        stats.appends = load(&log.appends);
        stats.syncs = load(&log.syncs);
        stats.segment_waits = load(&log.segment_waits);
        Ok(stats)
    }

    /// RAM by part, and what is mapped.
    fn memory_stats(&self, stats: &mut Stats) {
        let slots = self.keyspace.slots();
        for slot in slots.iter() {
            let rows = slot.rows();
            stats.live_set_bytes += slot.live.memory_bytes();
            stats.access_bytes += slot.access.memory_bytes();
            let bytes = rows.memory_bytes() as u64;
            match slot.segment.extent().filter(|_| slot.segment.is_sealed()) {
                None => stats.memtable_bytes += bytes,
                Some(extent) => {
                    let is_mapped = slot.segment.mapped_bytes() > 0 || rows.memtable().is_some();
                    let footer = u64::from(extent.file_len - extent.frames_end);
                    stats.footer_memory_bytes += bytes + if is_mapped { 0 } else { footer };
                }
            }
        }
        stats.mapped_bytes = self.log.segments().0.iter().map(|segment| segment.mapped_bytes()).sum();
        stats.versions_bytes = self.keyspace.versions.memory_bytes();
        let namespaces = self.keyspace.namespaces.all();
        stats.tag_counts_bytes =
            namespaces.iter().map(|namespace| namespace.tag_counts.memory_bytes() as u64).sum();
        stats.index_bytes = self.keyspace.index.memory_bytes();
        stats.buffer_bytes = self.log.buffer_memory_bytes() as u64;
        stats.frame_bytes = self.keyspace.memory.frame_bytes();
        stats.sealing_bytes = self.keyspace.memory.sealing_bytes();
        stats.fixed_bytes = FIXED_BYTES + self.times.memory_bytes() + slots.len() as u64 * SLOT_BYTES;
        stats.memory_limit = self.options.memory_limit;
    }

    fn segment_infos(&self) -> Result<Vec<SegmentInfo>> {
        self.check_open_to_read()?;
        let (segments, active, spare) = self.log.segments();
        let outlook = self.outlook();
        let info = |segment: &Arc<nadb_log::Segment>| {
            let live = self.keyspace.slot(segment.id());
            let live = live.as_ref().map_or((0, 0), |slot| (slot.live.live_count(), slot.live.live_bytes()));
            let range = segment.seq_range();
            let state = match Some(segment.id()) {
                id if id == active => SegmentState::Active,
                id if id == spare => SegmentState::Spare,
                _ if segment.is_sealed() => SegmentState::Sealed,
                _ => SegmentState::Full,
            };
            let mut info = SegmentInfo::new(segment.id().0, segment.path(), state);
            info.bytes = segment.bytes();
            info.records = segment.records();
            (info.live_records, info.live_bytes) = live;
            info.footer_bytes = footer_bytes(segment);
            info.first_seq = range.map(|(first, _)| first.0);
            info.last_seq = range.map(|(_, last)| last.0);
            info.is_compacted = segment.is_compacted();
            if let Some(verdict) = outlook.iter().find(|verdict| verdict.id == segment.id()) {
                info.gain_bytes = verdict.gain_bytes;
                info.verdict = verdict.reason.to_string();
                info.is_chosen = matches!(verdict.reason, Reason::Chosen(_));
            }
            info
        };
        Ok(segments.iter().map(info).collect())
    }
}

/// Bytes of a sealed segment's footer; none of another one.
fn footer_bytes(segment: &nadb_log::Segment) -> u64 {
    segment.extent().map_or(0, |extent| u64::from(extent.file_len - extent.frames_end))
}
