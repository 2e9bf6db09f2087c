//! Whether the wall clock is believed, as far as something would be let go of for good because of it.
//!
//! It promises that a clock which jumps far ahead lets nothing go until it has run steadily for an hour, and that one which runs on,
//! however long, is believed without a pause. It leaves to the reaper what follows, and to the manifest that the latest time outlives
//! the process.

use std::time::Duration;

use nadb_core::guard;
use parking_lot::Mutex;

/// The wall clock may be ahead of the latest trusted time by this, and by what has passed since.
const AHEAD_MS: u64 = 30 * 86_400_000;
/// A clock that is further ahead is trusted after so much time without a jump.
const STEADY: Duration = Duration::from_secs(3600);
/// Wall clock and monotonic clock may differ by this between two looks: clocks are adjusted.
const DRIFT_MS: u64 = 60_000;

/// What is known of the clock.
#[derive(Debug, Default)]
pub(crate) struct Trust {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The latest trusted time, and when that was, by the monotonic clock; `None` until the first look.
    trusted: Option<Moment>,
    /// While the clock is not trusted: where it was first seen running steadily, and where last.
    steady: Option<(Moment, Moment)>,
}

#[derive(Debug, Clone, Copy)]
struct Moment {
    wall_ms: u64,
    monotonic: Duration,
}

impl Moment {
    fn ms_since(self, earlier: Moment) -> u64 {
        u64::try_from(self.monotonic.saturating_sub(earlier.monotonic).as_millis()).unwrap_or(u64::MAX)
    }

    /// Whether the wall clock has gone on as the monotonic clock has.
    fn follows(self, earlier: Moment) -> bool {
        self.wall_ms.abs_diff(earlier.wall_ms.saturating_add(self.ms_since(earlier))) <= DRIFT_MS
    }
}

impl Trust {
    /// Looks at the clocks, and says whether the wall clock is trusted: then it is the latest trusted time from now on, unless a later
    /// one is known. `known_ms` is what is trusted from before.
    pub(crate) fn look(&self, wall_ms: u64, monotonic: Duration, known_ms: u64) -> bool {
        let now = Moment { wall_ms, monotonic };
        let mut state = self.state.lock();
        let known = Moment { wall_ms: known_ms, monotonic };
        let trusted = state.trusted.filter(|trusted| trusted.wall_ms >= known_ms).unwrap_or(known);
        let allowed = trusted.wall_ms.saturating_add(AHEAD_MS).saturating_add(now.ms_since(trusted));
        let is_near = wall_ms <= allowed || !guard::on("reap.clock_must_be_trusted");
        if is_near || state.is_steady(now) {
            state.steady = None;
            let is_later = wall_ms >= trusted.wall_ms;
            state.trusted = Some(if is_later { now } else { trusted });
            return true;
        }
        state.trusted = Some(trusted);
        false
    }

    /// The user says that the clock is right.
    pub(crate) fn confirm(&self, wall_ms: u64, monotonic: Duration) {
        let mut state = self.state.lock();
        state.steady = None;
        if state.trusted.is_none_or(|trusted| trusted.wall_ms <= wall_ms) {
            state.trusted = Some(Moment { wall_ms, monotonic });
        }
    }
}

impl State {
    /// Whether the clock has run for long enough without a jump.
    fn is_steady(&mut self, now: Moment) -> bool {
        let first = match self.steady {
            Some((first, last)) if now.follows(last) => first,
            _ => now,
        };
        self.steady = Some((first, now));
        now.ms_since(first) >= u64::try_from(STEADY.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86_400_000;
    const MINUTE: u64 = 60_000;

    /// Looks at a clock that has shown `wall_ms` after so many minutes.
    fn look(trust: &Trust, wall_ms: u64, minutes: u64) -> bool {
        trust.look(wall_ms, Duration::from_millis(minutes * MINUTE), 100 * DAY)
    }

    #[test]
    fn thirty_days_ahead_are_trusted_and_no_more() {
        assert!(look(&Trust::default(), 130 * DAY, 0));
        assert!(!look(&Trust::default(), 130 * DAY + 1, 0));
        assert!(look(&Trust::default(), 5, 0), "a clock that is behind lets nothing go");
    }

    #[test]
    fn a_clock_that_runs_on_is_trusted_however_long_nobody_looks() {
        let trust = Trust::default();
        assert!(look(&trust, 100 * DAY, 0));
        assert!(look(&trust, 190 * DAY, 90 * 24 * 60));
        assert!(!look(&trust, 221 * DAY, 90 * 24 * 60 + 1));
        assert!(look(&trust, 190 * DAY + 2 * MINUTE, 90 * 24 * 60 + 2), "and when it is back");
    }

    #[test]
    fn a_clock_far_ahead_is_trusted_after_a_steady_hour() {
        let trust = Trust::default();
        let ahead = |minutes: u64| 4000 * DAY + minutes * MINUTE;
        assert!((0..60).all(|minutes| !look(&trust, ahead(minutes), minutes)));
        assert!(look(&trust, ahead(60), 60));
        assert!(look(&trust, ahead(61), 61));
    }

    #[test]
    fn a_jump_begins_the_hour_anew() {
        let trust = Trust::default();
        assert!(!look(&trust, 4000 * DAY, 0));
        assert!(!look(&trust, 4000 * DAY + 59 * MINUTE, 59));
        assert!(!look(&trust, 5000 * DAY, 60));
        assert!(!look(&trust, 5000 * DAY + 59 * MINUTE, 119));
        assert!(look(&trust, 5000 * DAY + 60 * MINUTE, 120));
    }

    #[test]
    fn the_users_word_is_enough() {
        let trust = Trust::default();
        assert!(!look(&trust, 4000 * DAY, 0));
        trust.confirm(4000 * DAY, Duration::ZERO);
        assert!(look(&trust, 4000 * DAY + 1, 0));
    }
}
