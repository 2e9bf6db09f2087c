//! Pages that are made ready ahead of the writers, in the background.
//!
//! Whoever makes a page of a file ready makes it dirty, and is held back by the system where many are. So writers should not do it. But a
//! page that is ready long before it is written to is synced as zeros first, with all that a sync costs. So it is done for
//! as much as the writers are going to fill in a quarter of a second, by what they wrote last. Where that was too little, they make
//! ready what they need themselves, in small steps.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::log::{Log, Tail};

/// What writers fill within this time is made ready.
const AHEAD: Duration = Duration::from_millis(250);
const AHEAD_MIN: u64 = 256 << 10;
const AHEAD_MAX: u64 = 16 << 20;
/// So much at a time: who needs room of his own meanwhile waits for one step.
const STEP: u64 = 1 << 20;

/// How fast writers have been.
#[derive(Debug, Default)]
pub(crate) struct Ahead {
    /// Writers have filled half of what was ready.
    is_due: AtomicBool,
    /// When that was last looked at, what had been written by then, and what is to be ready since.
    seen: Mutex<(Duration, u64, u64)>,
}

impl Ahead {
    /// How many bytes should be ready, `written` bytes having been written so far.
    fn bytes(&self, now: Duration, written: u64) -> u64 {
        let (at, before, bytes) = &mut *self.seen.lock();
        let passed = now.saturating_sub(*at);
        // Too short a time says nothing of how fast they are.
        if passed >= Duration::from_millis(1) || *bytes == 0 {
            let new = u128::from(written.saturating_sub(*before));
            let filled = new * AHEAD.as_micros() / passed.as_micros().max(1);
            *bytes = u64::try_from(filled).unwrap_or(AHEAD_MAX).clamp(AHEAD_MIN, AHEAD_MAX);
            (*at, *before) = (now, written);
        }
        *bytes
    }
}

impl<P> Tail<P> {
    /// Whether it is time to call for more room: after this, not until more was made.
    pub(crate) fn calls_for_room(&mut self) -> bool {
        let is_time = self.offset >= self.calls_at;
        if is_time {
            self.calls_at = u32::MAX;
        }
        is_time
    }
}

impl<P: Send> Log<P> {
    /// Notes that writers have filled half of what was ready.
    pub(crate) fn call_for_room(&self) {
        self.ahead.is_due.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_room_due(&self) -> bool {
        self.ahead.is_due.load(Ordering::Relaxed)
    }

    fn ahead_bytes(&self) -> u64 {
        let written = self.counters.written_bytes.load(Ordering::Relaxed);
        self.ahead.bytes(self.options.clock.monotonic(), written)
    }

    /// Makes ready what writers are about to fill. Where that fails, they reserve as they go.
    pub(crate) fn make_room_ahead(&self) {
        if !self.ahead.is_due.swap(false, Ordering::Relaxed) {
            return;
        }
        let ahead = self.ahead_bytes();
        let (active, offset, room) = {
            let tail = self.lock_tail();
            let room =
                tail.appender.as_ref().filter(|_| tail.is_through_memory()).map(|appender| appender.room());
            (tail.active.as_ref().map(|active| active.id), tail.offset, room)
        };
        if let Some(room) = room {
            let upto = (u64::from(offset) + ahead).min(self.options.segment_size).min(room.limit());
            let mut ready = room.reserved();
            while ready < upto {
                let step = (ready + STEP).min(upto);
                match room.reserve(step) {
                    Ok(reserved) if reserved >= step => ready = reserved,
                    _ => break,
                }
            }
        }
        let mut tail = self.lock_tail();
        if tail.active.as_ref().map(|active| active.id) == active {
            tail.calls_at = u32::try_from(u64::from(offset) + ahead / 2).unwrap_or(u32::MAX);
        }
    }

    /// Reserves all blocks of the spare while others write to the active segment, so that no writer waits for them later, and makes
    /// ready what they fill first. Where that fails, writers reserve as they go. Not where large frames come, which are written by calls.
    pub(crate) fn reserve_spare(&self) {
        let room = {
            let tail = self.lock_tail();
            tail.spare_appender.as_ref().filter(|_| tail.is_through_memory()).map(|appender| appender.room())
        };
        if let Some(room) = room {
            let all = self.options.segment_size.min(room.limit());
            let _ = room.allocate(all).and_then(|()| room.reserve(self.ahead_bytes().min(all)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_much_is_ready_as_writers_fill_in_a_quarter_of_a_second() {
        let (ahead, ms) = (Ahead::default(), Duration::from_millis);
        assert_eq!(ahead.bytes(ms(1_000), 0), AHEAD_MIN);
        assert_eq!(ahead.bytes(ms(2_000), 20 << 20), 5 << 20);
        assert_eq!(ahead.bytes(ms(2_000), 21 << 20), 5 << 20, "no time has passed");
        assert_eq!(ahead.bytes(ms(3_000), 21 << 20), AHEAD_MIN);
        assert_eq!(ahead.bytes(ms(3_010), 31 << 20), AHEAD_MAX);
    }
}
