//! When to compact: on demand, or in a thread of its own that looks whenever something may have changed.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nadb_compact::{
    Choice, Decision, Demand, Load, Older, Pace, PaceOptions, Policy, PolicyOptions, Verdict, WriterBrake,
};
use nadb_core::{
    CompactionProgress, CompactionReport, CompactionRequest, Error, ErrorKind, NamespaceId, Result, SegmentId,
};
use nadb_log::{Direction, RowCursor};
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::Control;
use super::filter::is_filtering;
use crate::engine::Shared;
use crate::options::Options;
use crate::slot::Slot;
use crate::tallies::{Op, Tally};

/// How long nobody may have written before the store counts as at rest.
const REST_AFTER: Duration = Duration::from_secs(2);
/// How often the thread looks while the store is written to.
const LOOK: Duration = Duration::from_millis(250);
/// Writers that are slowed sleep at least, and at most, so long at a time.
const SLEEP_MIN_NS: u64 = 100_000;
const SLEEP_MAX: Duration = Duration::from_millis(50);
/// How often, at most, the space is looked at while something is compacted.
const LOOK_AT_SPACE: Duration = Duration::from_millis(50);
/// How long it waits after a failure, which would most likely come again.
const RETRY: Duration = Duration::from_secs(10);

/// What there is one of for each store: who compacts, and what the thread that does it shares with others.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    /// Held by who compacts.
    pub(super) running: Mutex<()>,
    /// Whether something may have changed since the thread last looked; and whether it is to end.
    state: Mutex<State>,
    woken: Condvar,
    /// For writers that sleep.
    braked: Mutex<()>,
    released: Condvar,
    /// Segments with live records that do not verify: rewriting them would lose what a repair may save.
    unreadable: Mutex<BTreeSet<SegmentId>>,
    pub(crate) totals: Mutex<CompactionReport>,
    /// The last failure, until a compaction succeeds.
    pub(crate) failure: Mutex<Option<Error>>,
    /// What the filter failed of at the last compaction.
    pub(crate) filter_failure: Mutex<Option<Error>>,
    /// Bytes of all files, and those of them that live records need, when that was last looked at.
    file_bytes: AtomicU64,
    kept_bytes: AtomicU64,
    /// Up to how many writers are not slowed.
    free_bytes: AtomicU64,
    /// Writers are slowed: the files have grown beyond that.
    is_braking: AtomicBool,
    /// Nanoseconds that writers owe and have not waited for yet.
    owed_ns: AtomicU64,
    /// Segments that have gone since the store was opened: markers are looked at again when others have.
    gone: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    has_changed: bool,
    must_stop: bool,
}

impl Compactor {
    pub(crate) fn new() -> Compactor {
        Compactor { free_bytes: AtomicU64::new(u64::MAX), ..Compactor::default() }
    }

    /// Something was written or let go of.
    pub(crate) fn note(&self) {
        let mut state = self.state.lock();
        if !state.has_changed {
            state.has_changed = true;
            self.woken.notify_one();
        }
    }

    pub(crate) fn stop(&self) {
        self.state.lock().must_stop = true;
        self.woken.notify_all();
    }

    /// Waits until nobody compacts.
    pub(crate) fn wait(&self) -> MutexGuard<'_, ()> {
        self.running.lock()
    }

    fn must_stop(&self) -> bool {
        self.state.lock().must_stop
    }

    pub(crate) fn is_unreadable(&self, id: SegmentId) -> bool {
        self.unreadable.lock().contains(&id)
    }

    /// Whether writers are slowed.
    #[inline]
    pub(crate) fn is_braking(&self) -> bool {
        self.is_braking.load(Ordering::Relaxed)
    }

    /// Sleeps; an error where the store is being closed.
    fn sleep(&self, time: Duration) -> Result<()> {
        let mut state = self.state.lock();
        if !state.must_stop {
            self.woken.wait_for(&mut state, time);
        }
        if state.must_stop { Err(closing()) } else { Ok(()) }
    }
}

fn closing() -> Error {
    Error::new(
        ErrorKind::Closed,
        "the store is being closed; the compaction was given up, and nothing was lost",
    )
}

/// What a compaction did, and the segments that it made.
pub(super) type Compacted = (CompactionReport, Vec<Arc<Slot>>);

/// Refuses what would ask the filter while it is being asked.
pub(super) fn check_no_filter() -> Result<()> {
    let what = "a compaction filter cannot compact its store; it may read and write it";
    if is_filtering() { Err(Error::invalid(what)) } else { Ok(()) }
}

/// Compacts at the pace that users leave to it.
pub(super) struct Paced<'a> {
    shared: &'a Shared,
    pace: Option<Pace>,
    request: Option<&'a CompactionRequest>,
    pub(super) progress: CompactionProgress,
    /// Bytes of the inputs that this compaction has, and how many of them are done by now.
    input_bytes: u64,
    done_before: u64,
    pub(super) is_cancelled: bool,
    /// When the space was last looked at.
    looked: Duration,
}

impl Control for Paced<'_> {
    fn spent(&mut self, bytes: u64) -> Result<()> {
        if self.shared.compactor.must_stop() {
            return Err(closing());
        }
        self.progress.done_bytes =
            (self.progress.done_bytes + bytes).min(self.done_before + self.input_bytes);
        let progress = self.progress;
        if self.request.is_some_and(|request| request.report(progress) == ControlFlow::Break(())) {
            self.is_cancelled = true;
            return Err(Error::new(ErrorKind::Closed, "the compaction was ended by its observer"));
        }
        let clock = &self.shared.options.clock;
        let Some(pace) = &mut self.pace else { return Ok(()) };
        let now = clock.monotonic();
        if now.saturating_sub(self.looked) >= LOOK_AT_SPACE {
            self.looked = now;
            self.shared.look_at_space();
        }
        let mut nap = pace.spend(bytes, clock.monotonic(), &self.shared.load());
        while let Some(time) = nap {
            self.shared.compactor.sleep(time)?;
            nap = pace.rest(clock.monotonic(), &self.shared.load());
        }
        Ok(())
    }
}

impl<'a> Paced<'a> {
    pub(super) fn new(shared: &'a Shared, request: Option<&'a CompactionRequest>) -> Paced<'a> {
        let now = shared.options.clock.monotonic();
        // Without threads of its own the store has no time to lose: the caller waits.
        let pace = shared.options.background.then(|| Pace::new(pace_options(&shared.options), now));
        let progress = CompactionProgress::default();
        Paced {
            shared,
            pace,
            request,
            progress,
            input_bytes: 0,
            done_before: 0,
            is_cancelled: false,
            looked: now,
        }
    }

    fn begin(&mut self, inputs: &[Arc<Slot>]) {
        self.done_before = self.progress.done_bytes;
        self.input_bytes = inputs.iter().map(|slot| slot.segment.file_bytes()).sum();
    }

    fn end(&mut self, inputs: usize, written: u64) {
        self.progress.done_bytes = self.done_before + self.input_bytes;
        self.progress.done_segments += inputs as u64;
        self.progress.written_bytes += written;
    }
}

fn pace_options(options: &Options) -> PaceOptions {
    let default = PaceOptions::default();
    // Who compacts by himself has taken the files as they are: they hurry nobody.
    let lag_max = if options.auto_compact { default.lag_max } else { f64::INFINITY };
    PaceOptions { bytes_per_s_max: options.compaction_bytes_per_s, lag_max, ..default }
}

/// The policy of a store with these options.
///
/// # Errors
/// `InvalidInput` for an option that is out of its bounds.
pub(crate) fn policy(options: &Options) -> Result<Policy> {
    Policy::new(PolicyOptions {
        dead_share: options.dead_share,
        output_bytes_min: options.memtable_size,
        ..PolicyOptions::default()
    })
}

/// Starts the thread that compacts.
pub(crate) fn spawn(shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let run = move || shared.run_compactor();
    std::thread::Builder::new().name("nadb-compactor".to_owned()).spawn(run).map_err(|e| {
        Error::new(ErrorKind::Io, format!("starting the compactor's thread failed: {e}")).with_source(e)
    })
}

impl Shared {
    fn load(&self) -> Load {
        let ops = [Op::Get, Op::Set, Op::Delete, Op::Merge, Op::Expire, Op::Batch, Op::ScanStep, Op::Query];
        let done = ops.iter().map(|op| self.times.tallies.get(Tally::Done(*op))).sum();
        let bytes = self.log.counters().written_bytes.load(Ordering::Relaxed);
        let (file_bytes, kept_bytes) = (&self.compactor.file_bytes, &self.compactor.kept_bytes);
        let load = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        Load { ops: done, bytes, file_bytes: load(file_bytes), kept_bytes: load(kept_bytes) }
    }

    /// Looks how far the files have grown.
    fn look_at_space(&self) {
        let (mut files, mut kept) = (0_u64, 0_u64);
        for facts in self.facts() {
            files = files.saturating_add(facts.file_bytes);
            kept = kept.saturating_add(facts.kept_bytes());
        }
        self.compactor.file_bytes.store(files, Ordering::Relaxed);
        self.compactor.kept_bytes.store(kept, Ordering::Relaxed);
        // Who compacts by himself has taken the files as they are.
        if self.options.auto_compact {
            let free =
                self.brake().free_bytes(self.compactor.free_bytes.load(Ordering::Relaxed), files, kept);
            self.compactor.free_bytes.store(free, Ordering::Relaxed);
            self.compactor.is_braking.store(self.brake().force(files, free) > 0.0, Ordering::Relaxed);
        }
    }

    fn brake(&self) -> WriterBrake {
        // Full segments that wait to be sealed slow nobody.
        WriterBrake::new(self.policy.options().lag_max, 4 * self.options.memtable_size)
    }

    /// Slows a writer of so many bytes, which holds nothing, where files grow faster than space comes back.
    #[cold]
    pub(crate) fn slow_down(&self, bytes: u64) {
        // The compactor must not wait for itself.
        if is_filtering() {
            return;
        }
        let load = |bytes: &AtomicU64| bytes.load(Ordering::Relaxed);
        let (files, free) = (load(&self.compactor.file_bytes), load(&self.compactor.free_bytes));
        let delay = self.brake().delay(bytes, files, free);
        let delay = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let owed = self.compactor.owed_ns.fetch_add(delay, Ordering::Relaxed).saturating_add(delay);
        // No thread can sleep for less.
        if owed >= SLEEP_MIN_NS && self.compactor.owed_ns.fetch_sub(owed, Ordering::Relaxed) >= owed {
            let mut state = self.compactor.braked.lock();
            let _ = self.compactor.released.wait_for(&mut state, Duration::from_nanos(owed).min(SLEEP_MAX));
        }
    }

    fn run_compactor(self: &Arc<Self>) {
        let clock = &self.options.clock;
        let (mut last_bytes, mut quiet_since) = (self.load().bytes, clock.monotonic());
        let mut wait = Some(LOOK);
        loop {
            {
                let mut state = self.compactor.state.lock();
                if !state.must_stop && !state.has_changed {
                    match wait {
                        Some(time) => _ = self.compactor.woken.wait_for(&mut state, time),
                        None => self.compactor.woken.wait(&mut state),
                    }
                }
                state.has_changed = false;
                if state.must_stop {
                    return;
                }
            }
            let bytes = self.load().bytes;
            if bytes != last_bytes {
                (last_bytes, quiet_since) = (bytes, clock.monotonic());
            }
            self.look_at_space();
            let is_at_rest = clock.monotonic().saturating_sub(quiet_since) >= REST_AFTER;
            let demand = if is_at_rest { Demand::AtRest } else { Demand::UnderLoad };
            let compacted = self.compact_next(demand);
            wait = match &compacted {
                Ok(Some(_)) => Some(Duration::ZERO),
                // Nothing changes any more until somebody says so.
                Ok(None) if is_at_rest => None,
                Ok(None) => Some(LOOK),
                Err(_) => Some(RETRY),
            };
            let failed = compacted.is_err();
            *self.compactor.failure.lock() =
                compacted.err().filter(|error| error.kind() != ErrorKind::Closed);
            if failed && self.compactor.sleep(RETRY).is_err() {
                return;
            }
            let _ = self.remove_retired();
        }
    }

    /// Does what the policy says is to be done next; `None` where that is nothing.
    ///
    /// # Errors
    /// As a compaction; `NoSpace` where the disk has no room for one that is due.
    pub(crate) fn compact_next(self: &Arc<Self>, demand: Demand) -> Result<Option<CompactionReport>> {
        check_no_filter()?;
        let Some((mut report, copies)) = self.compact_chosen_next(demand)? else { return Ok(None) };
        *self.compactor.filter_failure.lock() = None;
        self.filter_copies(&copies, &mut Paced::new(self, None), &mut report)?;
        Ok(Some(report))
    }

    /// The same without the filter; gives the segments that it may be asked about.
    fn compact_chosen_next(&self, demand: Demand) -> Result<Option<Compacted>> {
        let _running = self.compactor.running.lock();
        self.check_open_to_read()?;
        self.clear_markers()?;
        let (facts, moment) = (self.facts(), self.moment(demand));
        match self.policy.decide(&facts, &moment) {
            Decision::Compact(choice) => self.compact_choice(&choice).map(Some),
            Decision::NoRoom { needed_bytes } => Err(Error::new(
                ErrorKind::NoSpace,
                format!(
                    "a compaction needs {needed_bytes} bytes, {} are free beside what is left to others; it goes on when there \
                     is room",
                    moment.room_bytes
                ),
            )
            .with_path(&self.dir)),
            Decision::Rest => {
                let (_, active, _) = self.log.segments();
                let active = active.and_then(|id| self.keyspace.slot(id)).map(|slot| self.facts_of(&slot));
                if active.is_some_and(|active| self.policy.should_seal(&active, &facts, &moment)) {
                    let _open = self.check_open()?;
                    self.end_active()?;
                    self.seal_all()?;
                    return Ok(Some(Compacted::default()));
                }
                Ok(None)
            }
        }
    }

    /// What the policy thinks of each segment while the store is at rest.
    pub(crate) fn outlook(&self) -> Vec<Verdict> {
        self.policy.verdicts(&self.facts(), &self.moment(Demand::AtRest))
    }

    fn compact_choice(&self, choice: &Choice) -> Result<Compacted> {
        let slots = self.keyspace.slots();
        let is_meant = |slot: &&Arc<Slot>| choice.inputs.contains(&slot.segment.id());
        let inputs: Vec<Arc<Slot>> = slots.iter().filter(is_meant).cloned().collect();
        let mut paced = Paced::new(self, None);
        self.compact_counted(&inputs, choice.output_bytes, &mut paced)
    }

    /// Compacts, and counts it.
    pub(super) fn compact_counted(
        &self,
        inputs: &[Arc<Slot>],
        output_bytes: u64,
        paced: &mut Paced<'_>,
    ) -> Result<Compacted> {
        paced.begin(inputs);
        let begun = self.options.clock.monotonic();
        let done = self.compact_slots(inputs, output_bytes, paced);
        let (mut report, outputs) = match done {
            Ok(done) => done,
            Err(error) => {
                self.note_unreadable(&error, inputs);
                return Err(error);
            }
        };
        report.elapsed = self.options.clock.monotonic().saturating_sub(begun);
        paced.end(inputs.len(), report.bytes_written);
        self.compactor.gone.fetch_add(inputs.len() as u64, Ordering::Relaxed);
        self.compactor.totals.lock().add(&report);
        Ok((report, outputs))
    }

    /// A segment with a live record that does not verify is not tried again: it stays as it is for a repair.
    fn note_unreadable(&self, error: &Error, inputs: &[Arc<Slot>]) {
        if error.kind() == ErrorKind::Corruption {
            let is_it = |slot: &&Arc<Slot>| error.path() == Some(slot.segment.path());
            let ids = inputs.iter().filter(is_it).map(|slot| slot.segment.id());
            self.compactor.unreadable.lock().extend(ids);
        }
    }

    /// Markers that nothing older needs any more are none from now on, in segments that are mostly such: then these go without
    /// being read. Of others that is seen when they are rewritten.
    pub(crate) fn clear_markers(&self) -> Result<()> {
        let gone = self.compactor.gone.load(Ordering::Relaxed);
        let slots = self.keyspace.slots();
        for slot in slots.iter().filter(|slot| slot.segment.is_sealed() && slot.live.live_count() == 0) {
            let markers = slot.live.marker_count();
            if markers > 0 && slot.markers_seen.swap(gone + 1, Ordering::Relaxed) != gone + 1 {
                self.clear_markers_of(slot, &slots)?;
            }
        }
        Ok(())
    }

    fn clear_markers_of(&self, slot: &Arc<Slot>, slots: &[Arc<Slot>]) -> Result<()> {
        let others = || slots.iter().filter(|other| other.segment.is_sealed() && !Arc::ptr_eq(other, slot));
        let rows = slot.rows();
        for mut cursor in rows.cursors(NamespaceId(0), b"", Direction::Forward)? {
            // Keys are asked for in rising order.
            let mut older = Older::new(others().map(|other| (&*other.segment, other.rows())));
            while let Some((namespace, key)) = cursor.key() {
                let ordinal = cursor.ordinal();
                if slot.live.is_marker(ordinal) && !older.may_have(namespace, key, rows.seq(ordinal)?) {
                    slot.live.clear_marker(ordinal);
                }
                cursor.next()?;
            }
        }
        Ok(())
    }
}
