//! How writers are slowed when the compactor cannot keep up.
//!
//! A writer's delay follows from how far the files have grown, and from nothing else: no state, so nothing to get out of step.
//! Below the first limit it is zero. From there it rises without a jump to that of a slow disk at the second; between them
//! there is a point at which writers write just as fast as the compactor frees, whatever that rate is, and the files come to
//! stand there.

use std::time::Duration;

use crate::share;

/// Writers that are hardly slowed write about this much, in bytes a second.
const RATE_MAX: f64 = (1_u64 << 30) as f64;
/// Writers that are slowed most write this much, in bytes a second.
const RATE_MIN: f64 = (1_u64 << 20) as f64;
/// No write of up to 1 MiB is held longer than this, and a larger one for as much for each MiB.
const DELAY_MAX: Duration = Duration::from_millis(50);

/// Slows writers beyond a limit.
///
/// ```
/// use std::time::Duration;
/// use nadb_compact::WriterBrake;
/// let brake = WriterBrake::new(3.0, 256 << 20);
/// let gib = 1 << 30;
/// assert_eq!(brake.delay(200, 2 * gib, gib), Duration::ZERO); // twice the live bytes: fine
/// assert!(brake.delay(200, 3 * gib, gib) > brake.delay(200, 14 * gib / 5, gib));
/// assert_eq!(brake.delay(200, 3 << 20, 1 << 20), Duration::ZERO); // so small a store is never too large
/// ```
#[derive(Debug, Clone, Copy)]
pub struct WriterBrake {
    from: f64,
    to: f64,
    slack_bytes: u64,
}

impl WriterBrake {
    /// Slows writers while the files have nearly `lag_max` times the bytes that live records need: from 85 % of the growth that
    /// this allows. Files of up to `slack_bytes` slow nobody; four full segments are right.
    #[must_use]
    pub fn new(lag_max: f64, slack_bytes: u64) -> WriterBrake {
        let lag_max = if lag_max.is_finite() { lag_max.max(1.2) } else { 1.2 };
        WriterBrake { from: 1.0 + (lag_max - 1.0) * 0.85, to: lag_max, slack_bytes }
    }

    /// How long a writer of `frame_bytes` should wait before it takes its place, while all files have `file_bytes` and live
    /// records, markers and their footers need `kept_bytes` of them. It must hold nothing while it waits. Delays that are shorter
    /// than a thread can sleep should be added up until they are not.
    #[must_use]
    pub fn delay(&self, frame_bytes: u64, file_bytes: u64, kept_bytes: u64) -> Duration {
        let force = self.force(file_bytes, kept_bytes);
        if force <= 0.0 {
            return Duration::ZERO;
        }
        let rate = RATE_MAX * (RATE_MIN / RATE_MAX).powf(force);
        let seconds = share(frame_bytes, 1) * (1.0 / rate - 1.0 / RATE_MAX);
        let begun = u32::try_from(frame_bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        Duration::try_from_secs_f64(seconds).unwrap_or(DELAY_MAX).min(DELAY_MAX.saturating_mul(begun.max(1)))
    }

    /// How hard writers are slowed, from 0.0, not at all, to 1.0.
    #[must_use]
    pub fn force(&self, file_bytes: u64, kept_bytes: u64) -> f64 {
        // As if so much were kept at least that files of `slack_bytes` stand just at the beginning: so nothing jumps there.
        let least = share(self.slack_bytes, 1) / self.from;
        let lag = share(file_bytes, 1) / share(kept_bytes, 1).max(least).max(1.0);
        ((lag - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn brake() -> WriterBrake {
        WriterBrake::new(3.0, 256 << 20)
    }

    #[test]
    fn the_delay_begins_at_zero_and_never_jumps() {
        let mut last = Duration::ZERO;
        for percent in 200..400 {
            let delay = brake().delay(200, GIB / 100 * percent, GIB);
            assert!(delay >= last);
            assert!(
                delay <= last * 2 + Duration::from_micros(1),
                "{last:?} and then {delay:?} at {percent} %"
            );
            last = delay;
        }
        assert!(last < Duration::from_millis(1) && last > Duration::from_micros(100), "{last:?}");
        assert_eq!(brake().delay(200, GIB * 5 / 2, GIB), Duration::ZERO);
    }

    #[test]
    fn a_write_waits_for_50_ms_for_each_mib_at_most() {
        assert!(brake().delay(1 << 20, 9 * GIB, GIB) <= Duration::from_millis(50));
        let large = brake().delay(100 << 20, 9 * GIB, GIB);
        assert!(large > Duration::from_secs(1) && large <= Duration::from_secs(5), "{large:?}");
    }

    #[test]
    fn a_store_whose_records_were_all_deleted_slows_nobody() {
        assert_eq!(brake().delay(200, 256 << 20, 0), Duration::ZERO);
        assert!(brake().delay(200, GIB, 0) > Duration::ZERO);
    }

    /// Writers that do nothing but write, and a compactor that frees `freed` bytes a second, in steps of `step` bytes.
    fn rates(freed: f64, step: f64) -> (f64, f64) {
        let (frame_bytes, live) = (225, GIB);
        let mut file_bytes = 2.0 * share(live, 1);
        let (mut seconds, mut owed, mut written, mut most) = (0.0, 0.0, 0.0, 0.0_f64);
        let batch = 1_000.0; // frames at once, to be quick
        while seconds < 120.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count")]
            let delay = brake().delay(frame_bytes, file_bytes as u64, live).as_secs_f64();
            let took = batch * (delay + 1e-6);
            seconds += took;
            let bytes = batch * 225.0;
            file_bytes += bytes;
            if seconds > 60.0 {
                written += bytes;
            }
            owed += freed * took;
            if owed >= step {
                file_bytes = (file_bytes - owed).max(share(live, 1));
                owed = 0.0;
            }
            most = most.max(file_bytes / share(live, 1));
        }
        (written / 60.0, most)
    }

    #[test]
    fn writers_come_to_write_as_fast_as_space_is_freed() {
        for mib in [4.0, 30.0, 100.0] {
            let freed = mib * 1_048_576.0;
            for step in [1e6, 64e6] {
                let (written, most) = rates(freed, step);
                assert!((written / freed - 1.0).abs() < 0.1, "{written} written, {freed} freed, by {step}");
                assert!(most <= 3.0, "{most} at most");
            }
        }
    }

    proptest! {
        #[test]
        fn more_bytes_never_mean_a_shorter_wait(frame: u32, file: u64, more: u32, kept: u64, lag in 1.0_f64..200.0) {
            let brake = WriterBrake::new(lag, 1 << 20);
            let delay = brake.delay(u64::from(frame), file, kept);
            prop_assert!(brake.delay(u64::from(frame), file.saturating_add(u64::from(more)), kept) >= delay);
            prop_assert!(brake.delay(u64::from(frame), file, kept.saturating_add(u64::from(more))) <= delay);
        }
    }
}
