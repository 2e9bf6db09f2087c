//! When keys were last read, where the store keeps that.
//!
//! A read notes the minute in which it happens with its record, in memory ([`nadb_index::AccessTimes`]): no write, no lock, no look
//! at the clock, and no more than a look where that minute was noted before. A write takes what is known of a key over to the
//! key's new record. The background writes what has changed into a file beside each segment, now and then and at the end;
//! that file is read when a time is first asked for, or written over.
//!
//! It promises little: a crash takes what was noted since the files were written, and a read at the moment of a write of the same
//! key may be forgotten. It leaves to the log what is in the files, and that a file that is not right means nothing.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nadb_core::{Location, Result};
use nadb_log::LastAccess;
use parking_lot::Mutex;

use crate::engine::Shared;
use crate::options::Options;
use crate::read::{Stored, Visible};
use crate::slot::{Slot, SlotTable};

const MINUTE_MS: u64 = 60_000;
/// One below the highest, which says that a record was forgotten; some 8,000 years off.
const MINUTE_MAX: u32 = u32::MAX - 1;

/// The clock of reads, and when the files were last written.
#[derive(Debug)]
pub(crate) struct AccessClock {
    /// The minute that reads note, as the background thread keeps it.
    minute: AtomicU32,
    /// By the monotonic clock. Held while the files are written.
    saved: Mutex<Duration>,
}

/// What a read means for the last access of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is one.
    Counts,
    /// It only looks, or looks at the past.
    Looks,
}

fn minute_of(now_ms: u64) -> u32 {
    u32::try_from(now_ms / MINUTE_MS).unwrap_or(MINUTE_MAX).min(MINUTE_MAX)
}

impl AccessClock {
    pub(crate) fn new(options: &Options) -> AccessClock {
        let minute = AtomicU32::new(minute_of(options.clock.now_ms()));
        AccessClock { minute, saved: Mutex::new(options.clock.monotonic()) }
    }
}

impl Slot {
    /// When the key of the record at `offset` was last read, in Unix milliseconds: the begin of that minute, but not before the key
    /// came into being. What the file says is known once it was loaded.
    pub(crate) fn accessed_ms(&self, offset: u32, created_ms: u64) -> Option<u64> {
        self.access.get(offset).map(|minute| (u64::from(minute) * MINUTE_MS).max(created_ms))
    }

    /// Takes over what is known of the record at `old` of a slot: the key's newest record is at `new` of this one, and readers find it
    /// there. The file of the other slot was loaded before. The old record keeps what is known where `remember` says that a
    /// view may ask for it.
    #[inline]
    pub(crate) fn take_access(&self, (from, old): (&Slot, u32), new: Option<u32>, remember: bool) {
        if let (Some(minute), Some(new)) = (from.access.get(old), new) {
            self.access.note_older(new, minute);
            self.access.set_changed();
        }
        if !remember {
            from.access.forget(old);
        }
    }
}

impl Shared {
    /// The record at a place that the index names, as [`Shared::read_in`] gives it. What is going to be noted of it is fetched
    /// from memory meanwhile: otherwise that is one more thing to wait for.
    #[inline]
    pub(crate) fn read_to_note<'t>(&self, slots: &'t SlotTable, at: Location) -> Result<Stored<'t>> {
        let slot = slots.get(at.segment).map(|slot| &**slot);
        if self.options.track_access
            && let Some(slot) = slot
        {
            slot.access.touch(at.offset);
        }
        self.read_of(slot, at)
    }

    /// A record was read, in a table of slots that is held.
    #[inline]
    pub(crate) fn note_read(&self, reading: Reading, slots: &SlotTable, (at, _): &Visible<'_>) {
        if self.options.track_access && reading == Reading::Counts {
            self.note_access(slots, *at);
        }
    }

    fn note_access(&self, slots: &SlotTable, at: Location) {
        if let Some(slot) = slots.get(at.segment) {
            slot.access.note(at.offset, self.minute());
        }
    }

    /// The minute that it is: as the background thread knows it, where there is one.
    fn minute(&self) -> u32 {
        match self.options.background {
            true => self.access_clock.minute.load(Ordering::Relaxed),
            false => minute_of(self.now_ms()),
        }
    }

    /// When a key was last read whose newest record, or that of a view, is at this place.
    pub(crate) fn accessed_ms(&self, at: Location, created_ms: u64) -> Option<u64> {
        if !self.options.track_access {
            return None;
        }
        let slot = self.keyspace.slot(at.segment)?;
        self.load_access(&slot);
        slot.accessed_ms(at.offset, created_ms)
    }

    /// Reads what the file of a slot's segment says, unless that was done or nobody asks for it. What was noted meanwhile is later.
    pub(crate) fn load_access(&self, slot: &Slot) {
        if self.options.track_access {
            slot.access_loaded.get_or_init(|| self.read_access(slot));
        }
    }

    #[cold]
    fn read_access(&self, slot: &Slot) {
        for LastAccess { offset, minute } in self.log.read_access_times(&slot.segment) {
            slot.access.note_older(offset, minute.min(MINUTE_MAX));
        }
    }

    /// Sets the minute that reads note from now on; gives how long it lasts. `None` where nobody keeps that.
    pub(crate) fn tick_access(&self) -> Option<Duration> {
        if !self.options.track_access {
            return None;
        }
        let now_ms = self.now_ms();
        self.access_clock.minute.store(minute_of(now_ms), Ordering::Relaxed);
        Some(Duration::from_millis(MINUTE_MS - now_ms % MINUTE_MS))
    }

    /// Writes the files of the segments whose times have changed, unless that was done within the interval.
    pub(crate) fn save_access_if_due(&self) {
        let since = self.options.clock.monotonic().saturating_sub(*self.access_clock.saved.lock());
        if self.options.track_access && since >= self.options.access_flush_interval {
            self.save_access();
        }
    }

    /// Writes the files of the segments whose times have changed. Where that fails, it is tried again the next time.
    pub(crate) fn save_access(&self) {
        if !self.options.track_access {
            return;
        }
        let mut saved = self.access_clock.saved.lock();
        for slot in self.keyspace.slots().iter().filter(|slot| slot.access.take_changed()) {
            self.load_access(slot);
            let all = slot.access.all();
            let times: Vec<LastAccess> =
                all.into_iter().map(|(offset, minute)| LastAccess { offset, minute }).collect();
            if self.log.write_access_times(&slot.segment, &times).is_err() {
                slot.access.set_changed();
            }
        }
        *saved = self.options.clock.monotonic();
    }
}
