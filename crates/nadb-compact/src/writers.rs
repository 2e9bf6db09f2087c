//! How writers are slowed when the compactor cannot keep up.
//!
//! A writer's delay follows from how far the files have grown beyond what is free. Up to there it is zero, and rises from there without a
//! jump to that of a slow disk; in between there is a point at which writers write just as fast as the compactor frees, whatever that
//! rate is, and the files come to stand there. What is free follows from what live records need. Where the files are larger than that
//! and no writer has made them so (records were deleted, a namespace was dropped, the store was never compacted), they are free as
//! they are: writers are slowed for growth, not for what there was to do before.

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
/// let free = brake.free_bytes(u64::MAX, gib, gib);
/// assert_eq!(brake.delay(200, 2 * gib, free), Duration::ZERO); // twice the live bytes: fine
/// assert!(brake.delay(200, 3 * gib, free) > brake.delay(200, 14 * gib / 5, free));
/// // Nine in ten records were deleted: the files may stay as they are until the compactor has come to them, but not grow.
/// let free = brake.free_bytes(free, 2 * gib, gib / 10);
/// assert_eq!(brake.delay(200, 2 * gib, free), Duration::ZERO);
/// assert!(brake.delay(200, 9 * gib / 4, free) > Duration::ZERO);
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

    /// The bytes up to which the files may grow without slowing anybody, while they have `file_bytes` and live records, markers and
    /// their footers need `kept_bytes` of them. `before` is what this said last, `u64::MAX` where it was not asked yet.
    #[must_use]
    pub fn free_bytes(&self, before: u64, file_bytes: u64, kept_bytes: u64) -> u64 {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a size, and `as` saturates"
        )]
        let needed = (share(kept_bytes, 1) * self.from) as u64;
        before.min(file_bytes).max(needed).max(self.slack_bytes)
    }

    /// How long a writer of `frame_bytes` should wait before it takes its place, while all files have `file_bytes` and
    /// [`WriterBrake::free_bytes`] of them are free. It must hold nothing while it waits. Delays that are shorter than a thread can
    /// sleep should be added up until they are not.
    #[must_use]
    pub fn delay(&self, frame_bytes: u64, file_bytes: u64, free_bytes: u64) -> Duration {
        let force = self.force(file_bytes, free_bytes);
        if force <= 0.0 {
            return Duration::ZERO;
        }
        let rate = RATE_MAX * (RATE_MIN / RATE_MAX).powf(force);
        let seconds = share(frame_bytes, 1) * (1.0 / rate - 1.0 / RATE_MAX);
        let begun = u32::try_from(frame_bytes.div_ceil(1 << 20)).unwrap_or(u32::MAX);
        Duration::try_from_secs_f64(seconds).unwrap_or(DELAY_MAX).min(DELAY_MAX.saturating_mul(begun.max(1)))
    }

    /// How hard writers are slowed, from 0.0, not at all, to 1.0: where what is free would be `lag_max` of its live records.
    #[must_use]
    pub fn force(&self, file_bytes: u64, free_bytes: u64) -> f64 {
        let lag = share(file_bytes, free_bytes.max(1)) * self.from;
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

    /// The delay of a store that grew to `file_bytes` under its writers.
    fn delay(frame_bytes: u64, file_bytes: u64, kept_bytes: u64) -> Duration {
        brake().delay(frame_bytes, file_bytes, brake().free_bytes(0, file_bytes, kept_bytes))
    }

    #[test]
    fn the_delay_begins_at_zero_and_never_jumps() {
        let mut last = Duration::ZERO;
        for percent in 200..400 {
            let delay = delay(200, GIB / 100 * percent, GIB);
            assert!(delay >= last);
            assert!(
                delay <= last * 2 + Duration::from_micros(1),
                "{last:?} and then {delay:?} at {percent} %"
            );
            last = delay;
        }
        assert!(last < Duration::from_millis(1) && last > Duration::from_micros(100), "{last:?}");
        assert_eq!(delay(200, GIB * 5 / 2, GIB), Duration::ZERO);
    }

    #[test]
    fn a_write_waits_for_50_ms_for_each_mib_at_most() {
        assert!(delay(1 << 20, 9 * GIB, GIB) <= Duration::from_millis(50));
        let large = delay(100 << 20, 9 * GIB, GIB);
        assert!(large > Duration::from_secs(1) && large <= Duration::from_secs(5), "{large:?}");
    }

    #[test]
    fn a_store_whose_records_were_all_deleted_slows_nobody() {
        assert_eq!(delay(200, 256 << 20, 0), Duration::ZERO);
        assert!(delay(200, GIB, 0) > Duration::ZERO);
    }

    #[test]
    fn writers_are_slowed_for_growth_alone() {
        let brake = brake();
        // Opened with nine times what is needed; then half of it comes back, and what came back is not free again.
        let mut free = brake.free_bytes(u64::MAX, 9 * GIB, GIB);
        assert_eq!(brake.force(9 * GIB, free), 0.0);
        assert_eq!(brake.force(10 * GIB, free), 1.0);
        free = brake.free_bytes(free, 5 * GIB, GIB);
        assert_eq!(brake.force(5 * GIB, free), 0.0);
        free = brake.free_bytes(free, 6 * GIB, GIB);
        assert_eq!(brake.force(6 * GIB, free), 1.0);
        // Once it is as it should be, the limit is that of what is live, and moves with it.
        for (files, kept) in [(2 * GIB, GIB), (5 * GIB, 2 * GIB), (27 * GIB / 10, GIB)] {
            free = brake.free_bytes(free, files, kept);
            assert_eq!(brake.force(files, free), 0.0, "{files}");
        }
        free = brake.free_bytes(free, 3 * GIB, GIB);
        assert!(brake.force(3 * GIB, free) > 0.9);
    }

    /// Writers that do nothing but write, and a compactor that frees `freed` bytes a second, in steps of `step` bytes.
    fn rates(freed: f64, step: f64) -> (f64, f64) {
        let (frame_bytes, live) = (225, GIB);
        let mut file_bytes = 2.0 * share(live, 1);
        let (mut seconds, mut owed, mut written, mut most) = (0.0, 0.0, 0.0, 0.0_f64);
        let batch = 1_000.0; // frames at once, to be quick
        while seconds < 120.0 {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a positive count")]
            let delay = delay(frame_bytes, file_bytes as u64, live).as_secs_f64();
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
            let delay = |file: u64, kept| brake.delay(u64::from(frame), file, brake.free_bytes(0, file, kept));
            prop_assert!(delay(file.saturating_add(u64::from(more)), kept) >= delay(file, kept));
            prop_assert!(delay(file, kept.saturating_add(u64::from(more))) <= delay(file, kept));
        }
    }
}
