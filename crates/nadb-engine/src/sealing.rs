//! Sealing full segments: in the background, one at a time, oldest first. Writers wait only when too many memtables are
//! pending.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Error, Result};
use nadb_log::Rows;
use parking_lot::{Condvar, Mutex};

use crate::engine::Shared;

/// Full segments whose rows are in memory, at most, before writers wait.
const PENDING_MAX: usize = 4;

/// Sealing, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    /// Held by whoever seals; the last failure, until sealing succeeds again.
    state: Mutex<Option<Error>>,
    done: Condvar,
}

impl Shared {
    /// Seals the oldest full segment; says whether there was one.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Poisoned`: the segment stays as it is, and the next call tries again.
    pub(crate) fn seal_next(&self) -> Result<bool> {
        let mut state = self.sealing.state.lock();
        let sealed = self.seal_oldest();
        *state = sealed.as_ref().err().map(Error::duplicate);
        self.sealing.done.notify_all();
        sealed
    }

    fn seal_oldest(&self) -> Result<bool> {
        let Some(segment) = self.log.oldest_unsealed() else { return Ok(false) };
        let slot = self.keyspace.slot_for(&segment);
        if let Rows::Memtable(memtable) = slot.rows() {
            let footer = self.log.seal(&segment, &memtable)?;
            slot.seal(footer);
            self.counters.seals.fetch_add(1, Ordering::Relaxed);
        }
        Ok(true)
    }

    pub(crate) fn seal_all(&self) -> Result<()> {
        while self.seal_next()? {}
        Ok(())
    }

    /// Waits while too many full segments wait to be sealed; without a background thread, seals one.
    ///
    /// # Errors
    /// What sealing fails with: memory must not grow without end.
    pub(crate) fn wait_for_sealing(self: &Arc<Self>) -> Result<()> {
        if self.log.unsealed_count() <= PENDING_MAX {
            return Ok(());
        }
        self.counters.seal_waits.fetch_add(1, Ordering::Relaxed);
        if !self.options.background {
            return self.seal_next().map(drop);
        }
        let mut state = self.sealing.state.lock();
        while self.log.unsealed_count() > PENDING_MAX {
            if let Some(error) = &*state {
                return Err(error.duplicate());
            }
            self.wake_background();
            self.sealing.done.wait(&mut state);
        }
        Ok(())
    }
}
