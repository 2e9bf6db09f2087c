//! Sealing full segments: in the background, one at a time, oldest first. Writers wait only when too many memtables are
//! pending, or when memory has reached its limit.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Error, ErrorKind, Result, WriteBatch};
use nadb_log::Rows;
use parking_lot::{Condvar, Mutex, MutexGuard};

use crate::engine::Shared;
use crate::memory::{Line, UNCOUNTED_MAX, batch_bytes, is_small};
use crate::trace;

/// Full segments whose rows are in memory, at most, before writers wait.
const PENDING_MAX: usize = 4;

/// Sealing, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Sealing {
    /// Held by whoever seals.
    sealer: Mutex<()>,
    /// The last failure, until sealing succeeds again. Also held while room is looked for and taken.
    state: Mutex<Option<Error>>,
    /// A segment was sealed or could not be, or a batch has given its room back.
    changed: Condvar,
}

/// The memory of a batch that is being written; given back when it goes.
#[derive(Debug)]
pub(crate) struct Room<'s> {
    shared: &'s Shared,
    bytes: u64,
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.shared.keyspace.memory.give_back(self.bytes);
            self.shared.tell_waiters();
        }
    }
}

impl Shared {
    /// Seals the oldest full segment; says whether there was one.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Poisoned`: the segment stays as it is, and the next call tries again.
    pub(crate) fn seal_next(&self) -> Result<bool> {
        let _sealer = self.sealing.sealer.lock();
        let sealed = self.seal_oldest();
        *self.sealing.state.lock() = sealed.as_ref().err().map(Error::duplicate);
        self.sealing.changed.notify_all();
        sealed
    }

    fn seal_oldest(&self) -> Result<bool> {
        let Some(segment) = self.log.oldest_unsealed() else { return Ok(false) };
        let slot = self.keyspace.slot_for(&segment);
        if let Rows::Memtable(memtable) = slot.rows() {
            let memory = &self.keyspace.memory;
            let (_span, begun) = (trace::seal_span(segment.id().0), self.options.clock.monotonic());
            memory.note_sealing(memtable.held_bytes());
            let sealed = self.log.seal(&segment, &memtable).map(|footer| {
                slot.seal(footer);
                memory.forget(&slot);
                self.counters.seals.fetch_add(1, Ordering::Relaxed);
            });
            match &sealed {
                Ok(()) => {
                    let took = self.options.clock.monotonic().saturating_sub(begun);
                    trace::sealed(memtable.len(), took);
                }
                Err(error) => trace::seal_failed(error),
            }
            // Last: until then, who waits for memory waits for this.
            memory.note_sealing(0);
            sealed?;
        }
        Ok(true)
    }

    /// Before the store is closed: seals what the next opening would replay, where that is much. Where sealing fails, opening
    /// replays it.
    pub(crate) fn seal_before_close(&self) {
        let slots = self.keyspace.slots();
        let unsealed = slots.iter().filter(|slot| !slot.segment.is_sealed());
        let rows: u64 = unsealed.map(|slot| u64::from(slot.rows().len())).sum();
        if rows > 0 && rows >= self.options.seal_rows {
            let (_, active, _) = self.log.segments();
            let _ =
                active.map_or(Ok(false), |active| self.log.end_segment(active)).and_then(|_| self.seal_all());
        }
    }

    pub(crate) fn seal_all(&self) -> Result<()> {
        while self.seal_next()? {}
        Ok(())
    }

    /// Those who wait look again.
    fn tell_waiters(&self) {
        // The lock is what they hold while they look, so that nobody misses it.
        drop(self.sealing.state.lock());
        self.sealing.changed.notify_all();
    }

    /// Waits until there is memory for a batch, and until not too many full segments wait to be sealed. Without a background
    /// thread, seals them.
    ///
    /// # Errors
    /// `Limit` for a batch that never has room; what sealing fails with: memory must not grow without end; `Unavailable` when
    /// nothing has changed for `Options::stall_max`. Nothing was written.
    #[inline]
    pub(crate) fn make_room(&self, batch: &WriteBatch<'_>) -> Result<Room<'_>> {
        if self.compactor.is_braking() {
            self.slow_down(batch_bytes(batch, self.blobs.above));
        }
        let bytes = if is_small(batch) { 0 } else { batch_bytes(batch, self.blobs.above) };
        let bytes = if bytes <= UNCOUNTED_MAX { 0 } else { bytes };
        if bytes == 0 && !self.keyspace.memory.is_pressed() && self.log.unsealed_count() <= PENDING_MAX {
            return Ok(Room { shared: self, bytes: 0 });
        }
        self.wait_for_room(bytes)
    }

    #[cold]
    fn wait_for_room(&self, bytes: u64) -> Result<Room<'_>> {
        let memory = &self.keyspace.memory;
        let mut line: Option<Line<'_>> = None;
        if bytes > 0 {
            line = Some(memory.line_up(bytes, self.options.memory_limit)?);
        }
        let mut has_waited = false;
        loop {
            if let Some(segment) = memory.to_end() {
                self.end_early(segment)?;
            }
            let mut state = self.sealing.state.lock();
            if self.log.unsealed_count() <= PENDING_MAX && memory.has_room(bytes, line.is_some()) {
                memory.take(bytes);
                drop((state, line));
                self.tell_waiters();
                return Ok(Room { shared: self, bytes });
            }
            if !has_waited {
                has_waited = true;
                self.counters.seal_waits.fetch_add(1, Ordering::Relaxed);
            }
            let is_being_sealed = memory.sealing_bytes() > 0;
            if is_being_sealed || (self.log.unsealed_count() > 0 && self.options.background) {
                if let Some(error) = &*state {
                    return Err(error.duplicate());
                }
                self.wake_background();
                self.wait(&mut state)?;
            } else if self.log.unsealed_count() > 0 {
                drop(state);
                self.seal_next()?;
            } else if !MutexGuard::unlocked(&mut state, || self.end_active())? {
                // All that is left is on its way in other batches.
                self.wait(&mut state)?;
            }
        }
    }

    fn wait(&self, state: &mut MutexGuard<'_, Option<Error>>) -> Result<()> {
        let stall_max = self.options.stall_max;
        if self.sealing.changed.wait_for(state, stall_max).timed_out() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!(
                    "memory has reached memory_limit ({} bytes), and for {stall_max:?} no segment was sealed that would give \
                     some back; nothing was written; see whether the disk still answers, then try again",
                    self.options.memory_limit
                ),
            )
            .with_path(&self.dir));
        }
        Ok(())
    }

    /// Ends the active segment if it has rows; says whether.
    pub(crate) fn end_active(&self) -> Result<bool> {
        let (_, active, _) = self.log.segments();
        let has_rows =
            |id: &nadb_core::SegmentId| self.keyspace.slot(*id).is_some_and(|s| !s.rows().is_empty());
        let Some(active) = active.filter(has_rows) else { return Ok(false) };
        self.end_early(active)?;
        Ok(true)
    }

    fn end_early(&self, segment: nadb_core::SegmentId) -> Result<()> {
        let has_ended = self.log.end_segment(segment)?;
        self.keyspace.memory.ended(segment);
        self.counters.early_rotations.fetch_add(u64::from(has_ended), Ordering::Relaxed);
        Ok(())
    }

    /// After a write: the segment that comes next is prepared in time where the active one will end early.
    #[inline]
    pub(crate) fn note_memory(&self) {
        if self.keyspace.memory.take_half() {
            self.log.want_spare();
        }
    }

    /// The rows of the segments that were not sealed when the store was opened.
    pub(crate) fn note_opened(self: &Arc<Self>) {
        for slot in self.keyspace.slots().iter().filter(|slot| !slot.segment.is_sealed()) {
            if let Some(memtable) = slot.rows().memtable() {
                self.keyspace.memory.note_now(slot, memtable.held_bytes());
            }
        }
        if let (Some(segment), (_, active, _)) = (self.keyspace.memory.to_end(), self.log.segments())
            && active != Some(segment)
        {
            self.keyspace.memory.ended(segment);
        }
    }
}
