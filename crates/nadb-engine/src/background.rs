//! The background thread: hands buffered frames over, syncs, prepares segments, marks the end when the store is idle, lets go of what has expired.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use nadb_core::{Error, Result};

use crate::engine::Shared;

/// How long it waits before it looks again whether replaced segments are still in use.
const REMOVE_AGAIN: Duration = Duration::from_secs(1);

/// Why the thread wakes.
#[derive(Debug, Default)]
pub(crate) struct Wake {
    pub(crate) must_stop: bool,
}

pub(crate) fn spawn(shared: &Arc<Shared>) -> Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let run = move || shared.run();
    std::thread::Builder::new().name("nadb-background".to_owned()).spawn(run).map_err(|e| {
        Error::new(nadb_core::ErrorKind::Io, format!("starting the background thread failed: {e}"))
            .with_source(e)
    })
}

impl Shared {
    /// Wakes the thread, whatever it waits for.
    pub(crate) fn wake_background(&self) {
        drop(self.wake.lock());
        self.woken.notify_one();
    }

    /// After a write: the first one since the thread looked wakes it, and the first one since then that finds a segment half
    /// full or full. Writes are many, so those that change nothing for the thread only look.
    pub(crate) fn note_activity(&self) {
        let is_first = !self.activity.load(Ordering::Acquire) && !self.activity.swap(true, Ordering::AcqRel);
        let is_due = self.log.is_preparation_due() || self.log.unsealed_count() > 0;
        let is_call =
            is_due && !self.called.load(Ordering::Acquire) && !self.called.swap(true, Ordering::AcqRel);
        if is_first || is_call {
            // The lock is what the thread holds while it looks, so that the call is not lost.
            self.wake_background();
        }
    }

    fn run(&self) {
        let clock = &self.options.clock;
        let mut synced_at = clock.monotonic();
        let mut has_failed = false;
        // Whether more has expired than was let go of at one go.
        let mut goes_on = false;
        loop {
            let until_minute = self.tick_access();
            {
                let mut wake = self.wake.lock();
                // What has just failed is not tried again at once: it would most likely fail again, and again.
                let is_due = self.log.is_preparation_due() || self.log.unsealed_count() > 0;
                if !wake.must_stop && (has_failed || !is_due) {
                    let until_flush = (!self.is_quiet()).then_some(self.options.flush_interval);
                    let until_reaping = if goes_on { Some(Duration::ZERO) } else { self.until_reaping() };
                    let until_removal = (self.log.retired().1 > 0).then_some(REMOVE_AGAIN);
                    let times = [until_flush, until_reaping, until_minute, until_removal];
                    match times.into_iter().flatten().min() {
                        None => self.woken.wait(&mut wake),
                        Some(time) if time.is_zero() => {}
                        Some(time) => _ = self.woken.wait_for(&mut wake, time),
                    }
                }
                if wake.must_stop {
                    return;
                }
            }
            // Before it looks at what is due: who finds more of it afterwards calls again.
            self.called.store(false, Ordering::Release);
            // What fails here is not lost: frames stay in memory for the next attempt, a failed sync poisons the store, and
            // the next write hears of either.
            has_failed = self.maintain_files().and_then(|()| self.seal_next()).is_err();
            let _ = self.keyspace.purge_dropped_if_free();
            let is_reaping_due = || self.until_reaping().is_some_and(|time| time.is_zero());
            // What cannot be let go of now is due again at the next look.
            goes_on = (goes_on || is_reaping_due()) && self.reap_some().unwrap_or(false);
            self.compactor.note();
            self.save_access_if_due();
            let elapsed = clock.monotonic().saturating_sub(synced_at);
            if elapsed >= self.options.sync_interval {
                self.look_at_clock();
                let was_active = self.activity.swap(false, Ordering::AcqRel);
                let _ = self.log.sync_all();
                if !was_active {
                    let _ = self.log.mark_end();
                }
                synced_at = clock.monotonic();
            }
        }
    }

    /// Whether the thread has nothing to do until the next write.
    fn is_quiet(&self) -> bool {
        !self.activity.load(Ordering::Acquire)
            && self.log.is_marked()
            && self.log.unsealed_count() == 0
            && self.keyspace.namespaces.dropped().is_empty()
    }

    pub(crate) fn maintain_files(&self) -> Result<()> {
        self.log.write_out_all()?;
        self.log.prepare_if_due()?;
        // What is not to be removed now is tried again the next time.
        let _ = self.remove_retired();
        self.log.keep_ballast()
    }
}
