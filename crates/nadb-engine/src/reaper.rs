//! Reaping: what has expired is let go of for good. No read shows it before either; afterwards it is not in the index any more, and
//! no clock that is set back brings it up again.
//!
//! A slice of rows that are due goes in two steps. First a clock record is logged, which says that nothing that expired at or before
//! its time is visible any more: the mark. Then the rows are killed, a few at a time, each after another look: its key is in no
//! writer's hands, and the row is still the newest of its key. Nobody waits for longer than those few take. What a crash leaves of a
//! slice is due again, and absent meanwhile because of the mark.
//!
//! It leaves to [`crate::trust`] whether the clock is believed, and to the background thread when to begin.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nadb_core::{Durability, KeyHash, NamespaceId, Ordinal, PurgeReport, Result, Stopwatch, guard};
use parking_lot::Mutex;
use smallvec::SmallVec;

use crate::engine::Shared;
use crate::inflight::Hashes;
use crate::keyspace::Displaced;
use crate::namespaces::Namespace;
use crate::slot::Slot;
use crate::tag_counts::OldTags;

/// Rows behind one clock record.
const SLICE_ROWS: usize = 1024;
/// Rows that are killed at a time, while no view is taken and no other writer has their keys.
const ROWS_AT_ONCE: usize = 64;
/// Rows that are noted as due at a time: 32 bytes each.
const DUE_MAX: usize = 64 << 10;
/// The longest time until the clock is looked at again while something has an expiry.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// A row whose time has come.
#[derive(Debug, Clone)]
pub(crate) struct Due {
    slot: Arc<Slot>,
    ordinal: Ordinal,
    expires_ms: u64,
}

/// What the reaper has to do, and when it last did.
#[derive(Debug, Default)]
pub(crate) struct Reaper {
    state: Mutex<State>,
    /// Whether rows were found due that are not all killed yet: said before their slots forget them.
    has_found: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    due: VecDeque<Due>,
    /// More was due when it last looked than is noted at a time.
    is_more_due: bool,
    /// When it last looked, by the monotonic clock.
    looked: Duration,
    is_refused: bool,
}

/// A due row, with what it takes to kill it.
struct Candidate {
    hash: KeyHash,
    namespace: Arc<Namespace>,
    row: Displaced,
    tags: OldTags,
}

impl Shared {
    /// Reaps one slice, if any row is due and the clock is trusted, and says whether there may be more at once. Does nothing while
    /// somebody else reaps.
    ///
    /// # Errors
    /// As a write; what was not reaped is due again.
    pub(crate) fn reap_some(&self) -> Result<bool> {
        let Some(mut state) = self.reaper.state.try_lock() else { return Ok(false) };
        state.looked = self.options.clock.monotonic();
        let is_trusted = self.look_at_clock();
        state.is_refused = !is_trusted;
        if !is_trusted {
            return Ok(false);
        }
        let durability = self.options.durability.min(Durability::Flushed);
        self.reap_slice(&mut state, durability)?;
        // What has come due since waits for the next look: else there would be a clock record for every few rows.
        Ok(!state.due.is_empty() || state.is_more_due)
    }

    /// Reaps everything that is due by the clock as it is.
    ///
    /// # Errors
    /// As a write; what was reaped before stays so.
    pub(crate) fn purge_expired(&self) -> Result<PurgeReport> {
        drop(self.check_open()?);
        let mut state = self.reaper.state.lock();
        let clock = &self.options.clock;
        self.trust.confirm(clock.now_ms(), clock.monotonic());
        state.is_refused = false;
        self.log.trust(clock.now_ms());
        let before = self.counters.reaped.load(Ordering::Relaxed);
        while self.reap_slice(&mut state, self.options.durability)? {}
        // Also where nothing was due: what was found is promised to stay so.
        let last_seq = self.settle(self.options.durability)?;
        if self.options.durability == Durability::Synced {
            self.log.sync_upto(last_seq)?;
        }
        let mut report = PurgeReport::default();
        report.records = self.counters.reaped.load(Ordering::Relaxed) - before;
        report.upto_ms = self.keyspace.time_mark_ms();
        Ok(report)
    }

    /// Whether the wall clock is trusted now; then later manifests say so.
    pub(crate) fn look_at_clock(&self) -> bool {
        let (wall_ms, monotonic) = (self.options.clock.now_ms(), self.options.clock.monotonic());
        // What a clock record says was trusted when it was logged, or the user's word.
        let known_ms = self.log.trusted_ms().max(self.keyspace.time_mark_ms());
        let is_trusted = self.trust.look(wall_ms, monotonic, known_ms);
        if is_trusted {
            self.log.trust(wall_ms);
        }
        is_trusted
    }

    /// Why nothing is reaped, where that is so.
    pub(crate) fn reaping_refused(&self) -> Option<String> {
        self.reaper.state.try_lock()?.is_refused.then(|| {
            format!(
                "the clock is more than 30 days ahead of the latest time that it was trusted to show ({} ms since 1970): what \
                 has expired is hidden, but nothing is let go of for good until the clock has run steadily for an hour, or \
                 purge_expired is called",
                self.log.trusted_ms().max(self.keyspace.time_mark_ms())
            )
        })
    }

    /// How long until there may be something to reap; `None` while nothing has an expiry.
    pub(crate) fn until_reaping(&self) -> Option<Duration> {
        let first = self.keyspace.slots().iter().map(|slot| slot.next_expiry()).min();
        // Who has it may leave something behind, and wakes nobody.
        let Some(state) = self.reaper.state.try_lock() else { return Some(LOOK_AGAIN) };
        let first = first.filter(|first| *first < u64::MAX || !state.due.is_empty())?;
        let looked = self.options.clock.monotonic().saturating_sub(state.looked);
        if state.is_refused {
            return Some(LOOK_AGAIN.saturating_sub(looked));
        }
        let rest = self.options.reap_interval.saturating_sub(looked);
        let until_due = Duration::from_millis(first.saturating_sub(self.now_ms()));
        let until_due = if state.due.is_empty() { until_due } else { Duration::ZERO };
        Some(rest.max(until_due).min(LOOK_AGAIN))
    }

    /// Reaps the next rows that are due, and says whether there were any.
    fn reap_slice(&self, state: &mut State, durability: Durability) -> Result<bool> {
        let _open = self.check_open()?;
        self.reaper.has_found.store(true, Ordering::SeqCst);
        let reaped = self.reap_found(state, durability);
        self.reaper.has_found.store(!state.due.is_empty(), Ordering::SeqCst);
        reaped
    }

    fn reap_found(&self, state: &mut State, durability: Durability) -> Result<bool> {
        if state.due.is_empty() {
            let all_found = self.find_due(&mut state.due);
            state.is_more_due = state.due.len() >= DUE_MAX;
            all_found?;
        }
        let len = state.due.len().min(SLICE_ROWS);
        let slice: Vec<Due> = state.due.drain(..len).collect();
        let reaped = self.reap_rows(&slice, durability);
        if reaped.is_err() {
            slice.iter().for_each(|due| due.slot.note_expiry(due.expires_ms));
        }
        reaped?;
        Ok(len > 0)
    }

    /// Whether there may be rows that had expired at `now_ms` and are counted as live.
    pub(crate) fn may_be_due(&self, now_ms: u64) -> bool {
        // In this order: what a slot has forgotten before it was looked at was found before.
        self.keyspace.slots().iter().any(|slot| slot.next_expiry() <= now_ms)
            || self.reaper.has_found.load(Ordering::SeqCst)
    }

    /// Notes live rows whose time has come.
    fn find_due(&self, due: &mut VecDeque<Due>) -> Result<()> {
        let (now_ms, mut all_found) = (self.now_ms(), Ok(()));
        for slot in self.keyspace.slots().iter() {
            let Some(from) = slot.take_next_expiry(now_ms) else { continue };
            let found = find_in(slot, from, now_ms, DUE_MAX.saturating_sub(due.len()), due);
            if found.is_err() {
                slot.note_expiry(from);
            }
            // One segment whose rows cannot be had does not keep those of the others.
            all_found = all_found.and(found);
        }
        all_found
    }

    /// Lets go of rows: those of them that are still due and still the newest of their keys.
    fn reap_rows(&self, rows: &[Due], durability: Durability) -> Result<()> {
        let now_ms = self.now_ms();
        let (rows, early): (Vec<&Due>, Vec<&Due>) =
            rows.iter().partition(|due| due.expires_ms <= now_ms || !guard::on("reap.never_above_now"));
        // The clock was set back since they were found.
        early.iter().for_each(|due| due.slot.note_expiry(due.expires_ms));
        let Some(upto_ms) = rows.iter().map(|due| due.expires_ms).max() else { return Ok(()) };
        // DURABILITY: what is gone from the index must not come back when the log is read again under an earlier clock.
        if upto_ms > self.keyspace.time_mark_ms() && guard::on("reap.clock_record_first") {
            let mut plan = self.empty_plan();
            plan.set_clock(upto_ms);
            self.append(plan, durability, &mut Stopwatch::off())?;
            self.note_activity();
        }
        let namespaces: BTreeMap<_, _> =
            self.keyspace.namespaces.all().into_iter().map(|namespace| (namespace.id, namespace)).collect();
        rows.chunks(ROWS_AT_ONCE).try_for_each(|rows| self.kill_rows(rows, &namespaces))
    }

    fn kill_rows(&self, rows: &[&Due], namespaces: &BTreeMap<NamespaceId, Arc<Namespace>>) -> Result<()> {
        let candidates: Vec<Candidate> =
            rows.iter().filter_map(|due| self.candidate(due, namespaces)).collect();
        let mut touched: SmallVec<[Arc<Namespace>; 4]> =
            candidates.iter().map(|c| Arc::clone(&c.namespace)).collect();
        touched.sort_unstable_by_key(|namespace| namespace.id);
        touched.dedup_by_key(|namespace| namespace.id);
        let gates: SmallVec<[_; 4]> = touched.iter().map(|namespace| namespace.gate.read()).collect();
        let hashes: Hashes = candidates.iter().map(|candidate| candidate.hash.0).collect();
        let in_flight = self.in_flight.acquire(hashes);
        let mut still = Vec::with_capacity(candidates.len());
        for candidate in candidates {
            // Whoever wrote the key meanwhile has put it elsewhere.
            let is_newest = self.keyspace.candidates(candidate.hash)?.contains(&candidate.row.at);
            let is_it = is_newest && !candidate.namespace.is_dropped();
            if is_it || !guard::on("reap.looks_again") {
                still.push(candidate);
            }
        }
        let still_due = still.iter().map(|c| (c.hash, &*c.namespace, &c.row, &c.tags));
        self.keyspace.reap(&still_due.collect::<Vec<_>>());
        self.counters.reaped.fetch_add(still.len() as u64, Ordering::Relaxed);
        drop((in_flight, gates));
        Ok(())
    }

    /// What it takes to kill a row; `None` where its namespace is gone, or it cannot be read: then it stays as it is, hidden.
    fn candidate(&self, due: &Due, namespaces: &BTreeMap<NamespaceId, Arc<Namespace>>) -> Option<Candidate> {
        let at = due.slot.location(&due.slot.rows(), due.ordinal).ok()?;
        let buf = self.read_file(&due.slot.segment, at).ok()?;
        let record = buf.record().ok()?;
        let namespace = Arc::clone(namespaces.get(&record.namespace)?);
        let hash = self.keyspace.hash(record.namespace, record.key);
        Some(Candidate {
            hash,
            namespace,
            row: Displaced { at, slot: Arc::clone(&due.slot), ordinal: due.ordinal },
            tags: OldTags::of(&record),
        })
    }
}

/// Notes at most `room` live rows of a slot that expire from `from` to `upto`; and in the slot, from when on there may be more.
fn find_in(slot: &Arc<Slot>, from: u64, upto: u64, room: usize, due: &mut VecDeque<Due>) -> Result<()> {
    let mut rest = None;
    let mut found = 0;
    let next = expiring(slot, from, upto, &mut |ordinal, expires_ms| {
        if !slot.live.is_live(ordinal) {
            return true;
        }
        if found == room {
            rest = Some(from);
            return false;
        }
        found += 1;
        due.push_back(Due { slot: Arc::clone(slot), ordinal, expires_ms });
        true
    })?;
    rest.or(next).into_iter().for_each(|expires_ms| slot.note_expiry(expires_ms));
    Ok(())
}

/// Shows the rows of a slot that expire from `from` to `upto`, live or dead, of each part in the order of their time, until `show`
/// says false; and gives the first expiry behind `upto`, if it has come to all of them.
pub(crate) fn expiring(
    slot: &Slot,
    from: u64,
    upto: u64,
    show: &mut dyn FnMut(Ordinal, u64) -> bool,
) -> Result<Option<u64>> {
    let mut next: Option<u64> = None;
    for part in slot.rows().parts()? {
        let mut goes_on = true;
        // A time of 0 has passed long before any row was written.
        part.expiring(from.saturating_sub(1), upto, &mut |ordinal, expires_ms| {
            goes_on = show(ordinal, expires_ms);
            goes_on
        })?;
        if !goes_on {
            return Ok(None);
        }
        next = next.into_iter().chain(part.next_expiry(upto)?).min();
    }
    Ok(next)
}

/// What expired at or before the mark is absent: of a slot whose rows are about to become an index, such rows are none.
///
/// # Errors
/// `Corruption` where a footer is damaged; `Io`.
pub(crate) fn expired_rows(slot: &Slot, mark_ms: u64) -> Result<Vec<Ordinal>> {
    let mut rows = Vec::new();
    if mark_ms > 0 {
        expiring(slot, 0, mark_ms, &mut |ordinal, _| {
            rows.push(ordinal);
            true
        })?;
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nadb_core::{Action, Clock, ExpiryUpdate, ManualClock, Operation, Put};
    use nadb_vfs::MemFs;

    use super::*;
    use crate::{Engine, Options};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn engine() -> (Engine, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let options =
            Options { background: false, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Options::default() };
        (Engine::open(Arc::new(MemFs::default()), Path::new("store"), options).unwrap(), clock)
    }

    fn set(engine: &Engine, key: &str, expires_ms: Option<u64>) {
        let mut put = Put::new(b"v".as_slice());
        put.expiry = expires_ms.map_or(ExpiryUpdate::Never, ExpiryUpdate::AtMs);
        engine.write(&[Operation::new("n", key.as_bytes(), Action::Put(put))], None).unwrap();
    }

    fn due(shared: &Shared) -> Vec<Due> {
        let mut due = VecDeque::new();
        shared.find_due(&mut due).unwrap();
        due.into()
    }

    fn keys(engine: &Engine) -> u64 {
        engine.stats().unwrap().keys
    }

    #[test]
    fn a_key_that_was_written_again_since_it_was_found_stays() {
        let (engine, clock) = engine();
        ["a", "b", "c"].iter().for_each(|key| set(&engine, key, Some(NOW_MS + 10)));
        clock.advance_ms(10);
        let found = due(engine.shared());
        assert_eq!(found.len(), 3);
        set(&engine, "a", None);
        engine.write(&[Operation::new("n", b"b".as_slice(), Action::Delete)], None).unwrap();
        engine.shared().reap_rows(&found, Durability::Flushed).unwrap();
        assert!(engine.contains("n", b"a").unwrap() && !engine.contains("n", b"c").unwrap());
        assert_eq!(keys(&engine), 1);
        assert_eq!(engine.verify().unwrap().keys, 1);
    }

    #[test]
    fn a_clock_that_was_set_back_since_the_rows_were_found_lets_nothing_go() {
        let (engine, clock) = engine();
        set(&engine, "k", Some(NOW_MS + 1000));
        clock.advance_ms(5000);
        let found = due(engine.shared());
        clock.set_ms(NOW_MS + 999);
        engine.shared().reap_rows(&found, Durability::Flushed).unwrap();
        assert!(engine.contains("n", b"k").unwrap());
        assert_eq!(engine.stats().unwrap().time_mark_ms, 0);
        clock.set_ms(NOW_MS + 1000);
        engine.maintain().unwrap();
        assert_eq!((keys(&engine), engine.stats().unwrap().time_mark_ms), (0, NOW_MS + 1000));
    }

    #[test]
    fn more_rows_of_one_millisecond_than_are_noted_at_a_time_all_go() {
        let (engine, clock) = engine();
        let count = DUE_MAX + 10;
        let mut put = Put::new(b"".as_slice());
        put.expiry = ExpiryUpdate::AtMs(NOW_MS + 10);
        let batch: Vec<_> = (0..count)
            .map(|n| Operation::new("n", n.to_be_bytes().to_vec(), Action::Put(put.clone())))
            .collect();
        engine.write(&batch, None).unwrap();
        set(&engine, "later", Some(NOW_MS + 11));
        clock.advance_ms(10);
        assert_eq!(engine.purge_expired().unwrap().records, count as u64);
        assert_eq!(keys(&engine), 1);
        clock.advance_ms(1);
        assert_eq!(engine.purge_expired().unwrap().records, 1);
        assert_eq!(engine.verify().unwrap().keys, 0);
    }

    #[test]
    fn who_has_no_expiry_is_not_waited_for() {
        let (engine, clock) = engine();
        set(&engine, "k", None);
        engine.maintain().unwrap();
        assert_eq!(engine.shared().until_reaping(), None);
        set(&engine, "k", Some(NOW_MS + 30_000));
        assert_eq!(engine.shared().until_reaping(), Some(Duration::from_secs(30)));
        clock.advance_ms(30_000);
        assert_eq!(engine.shared().until_reaping(), Some(Duration::ZERO));
        engine.maintain().unwrap();
        assert_eq!(engine.shared().until_reaping(), None);
    }
}
