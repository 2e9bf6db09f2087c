//! How fast the compactor works: a budget of time and bytes that follows what users do meanwhile.
//!
//! While users are busy, the compactor works for a share of the time and sleeps for the rest, in slices of a few milliseconds:
//! that bounds what it takes of the processor and of the disk alike, on any machine. Bytes that the page cache took faster than the
//! disk will write them count as if they had taken that long. While nobody does anything, or the files approach their
//! limit, it does not sleep. A fixed rate can be set on top of that.

use std::time::Duration;

use crate::share;

/// Rates of users' work follow what they do within about this time.
const MEMORY: Duration = Duration::from_millis(50);
/// Users' counts are looked at this often at most.
const LOOK: Duration = Duration::from_millis(5);
/// Users with this many operations a second count as half busy.
const OPS_HALF: f64 = 200.0;
/// Users with this many bytes written a second count as half busy.
const BYTES_HALF: f64 = (1_u64 << 20) as f64;
/// No sleep is shorter; what is owed adds up until then.
const NAP_MIN: Duration = Duration::from_millis(1);

/// What a piece counts as at most, however long it took: who was held up by a sync, or had nothing to do, has not worked.
const TOOK_MAX: Duration = Duration::from_millis(100);

/// Settings of a [`Pace`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PaceOptions {
    /// The share of the time in which the compactor works while users are busy, 0.01 to 1.0; what is outside counts as the nearer
    /// end. Default: 0.15.
    pub busy_share: f64,
    /// What the disk takes for good, in bytes a second: bytes count as if they were written no faster. Default: 256 MiB.
    pub disk_bytes_per_s: u64,
    /// The most that is ever written, in bytes a second, however idle the store is. Default: no bound.
    pub bytes_per_s_max: Option<u64>,
    /// The longest sleep; after each one the load is looked at again. Default: 4 ms.
    pub slice: Duration,
    /// From how many times the bytes that live records need on the compactor works faster; as the policy's `lag`. Default: 2.
    pub lag: f64,
    /// At how many times it does not sleep any more, but for `bytes_per_s_max`; a little below the policy's `lag_max`, so that it is
    /// at its fastest before writers are slowed. Default: 2.7.
    pub lag_max: f64,
}

impl Default for PaceOptions {
    fn default() -> PaceOptions {
        PaceOptions {
            busy_share: 0.15,
            disk_bytes_per_s: 256 << 20,
            bytes_per_s_max: None,
            slice: Duration::from_millis(4),
            lag: 2.0,
            lag_max: 2.7,
        }
    }
}

/// What is going on in the store. Counts only rise, from wherever they began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Load {
    /// Operations of users so far, reads and writes.
    pub ops: u64,
    /// Bytes that users have written so far.
    pub bytes: u64,
    /// Bytes of all files now.
    pub file_bytes: u64,
    /// Bytes of them that live records, markers and their footers need.
    pub kept_bytes: u64,
}

/// How fast to go on. It belongs to one worker; each of several should have a part of the share.
///
/// ```
/// use std::time::Duration;
/// use nadb_compact::{Load, Pace, PaceOptions};
/// let ms = Duration::from_millis;
/// let mut pace = Pace::new(PaceOptions::default(), ms(0));
/// // Nobody does anything: it goes on at once.
/// pace.spend(0, ms(10), &Load::default());
/// assert_eq!(pace.spend(1 << 20, ms(20), &Load::default()), None);
/// // A thousand operations within 10 ms: it sleeps, and looks again.
/// let busy = Load { ops: 1_000, ..Load::default() };
/// let nap = pace.spend(1 << 20, ms(30), &busy).unwrap();
/// assert!(nap <= ms(4));
/// assert!(pace.rest(ms(30) + nap, &busy).is_some());
/// // They have gone: it goes on soon.
/// assert_eq!(pace.rest(ms(1_000), &busy), None);
/// ```
#[derive(Debug, Clone)]
pub struct Pace {
    options: PaceOptions,
    /// The moment up to which work and sleep are accounted for.
    at: Duration,
    /// Seconds of work that no sleep has made up for.
    worked: f64,
    /// Seconds that the bytes written took too little by `bytes_per_s_max`.
    ahead: f64,
    busy: Busy,
}

impl Pace {
    /// A pace that begins now, by a monotonic clock. It takes users for busy until it has seen them.
    #[must_use]
    pub fn new(options: PaceOptions, now: Duration) -> Pace {
        Pace { options, at: now, worked: 0.0, ahead: 0.0, busy: Busy::new(now) }
    }

    /// Says that the work since the last call wrote `bytes`. How long to sleep before [`Pace::rest`] is asked; `None`: go on
    /// with the next piece. Pieces should take a few milliseconds at most, since nothing can be taken back.
    #[must_use]
    pub fn spend(&mut self, bytes: u64, now: Duration, load: &Load) -> Option<Duration> {
        let took = now.saturating_sub(self.at).min(TOOK_MAX).as_secs_f64();
        let on_disk = share(bytes, self.options.disk_bytes_per_s.max(1));
        self.worked += took.max(on_disk);
        if let Some(most) = self.options.bytes_per_s_max {
            self.ahead = (self.ahead + share(bytes, most.max(1)) - took).max(0.0);
        }
        self.at = self.at.max(now);
        self.nap(now, load)
    }

    /// Says that the worker has slept. How long to sleep on; `None`: go on with the next piece.
    #[must_use]
    pub fn rest(&mut self, now: Duration, load: &Load) -> Option<Duration> {
        let slept = now.saturating_sub(self.at).as_secs_f64();
        let sleep = self.sleep_by_work(now, load);
        self.worked = if slept < sleep { self.worked * (1.0 - slept / sleep) } else { 0.0 };
        self.ahead = (self.ahead - slept).max(0.0);
        self.at = self.at.max(now);
        self.nap(now, load)
    }

    /// The share of the time in which the compactor works now, 0.0 to 1.0.
    #[must_use]
    pub fn share(&self, load: &Load) -> f64 {
        let least = if self.options.busy_share.is_finite() { self.options.busy_share } else { 1.0 };
        let least = least.clamp(0.01, 1.0);
        let held_back = self.busy.now() * (1.0 - self.pressure(load));
        1.0 - (1.0 - least) * held_back
    }

    /// How near the files are to their limit, 0.0 to 1.0.
    fn pressure(&self, load: &Load) -> f64 {
        let (from, to) = (self.options.lag, self.options.lag_max);
        let lag = share(load.file_bytes, load.kept_bytes.max(1));
        if to > from { ((lag - from) / (to - from)).clamp(0.0, 1.0) } else { 0.0 }
    }

    /// Seconds of sleep that make up for the work that was done.
    fn sleep_by_work(&mut self, now: Duration, load: &Load) -> f64 {
        self.busy.look(now, load);
        self.worked * (1.0 / self.share(load) - 1.0)
    }

    fn nap(&mut self, now: Duration, load: &Load) -> Option<Duration> {
        let by_work = self.sleep_by_work(now, load);
        if self.busy.now() < 0.01 {
            self.worked = 0.0; // idle time is not held against the compactor when somebody comes
        }
        let owed = Duration::try_from_secs_f64(by_work.max(self.ahead)).unwrap_or(self.options.slice);
        (owed >= NAP_MIN).then(|| owed.min(self.options.slice.max(NAP_MIN)))
    }
}

/// How busy users are.
#[derive(Debug, Clone, Copy)]
struct Busy {
    seen: Option<Load>,
    at: Duration,
    ops_per_s: f64,
    bytes_per_s: f64,
}

impl Busy {
    fn new(now: Duration) -> Busy {
        Busy { seen: None, at: now, ops_per_s: f64::INFINITY, bytes_per_s: 0.0 }
    }

    fn look(&mut self, now: Duration, load: &Load) {
        let Some(seen) = self.seen else {
            (self.seen, self.at) = (Some(*load), now);
            return;
        };
        let passed = now.saturating_sub(self.at);
        if passed < LOOK {
            return;
        }
        let per_s = |from: u64, to: u64| share(to.saturating_sub(from), 1) / passed.as_secs_f64();
        let (ops, bytes) = (per_s(seen.ops, load.ops), per_s(seen.bytes, load.bytes));
        if self.ops_per_s.is_finite() {
            let weight = passed.as_secs_f64() / (passed + MEMORY).as_secs_f64();
            self.ops_per_s += weight * (ops - self.ops_per_s);
            self.bytes_per_s += weight * (bytes - self.bytes_per_s);
        } else {
            (self.ops_per_s, self.bytes_per_s) = (ops, bytes);
        }
        (self.seen, self.at) = (Some(*load), now);
    }

    /// From 0.0, idle, to nearly 1.0; 1.0 before anything was seen.
    fn now(&self) -> f64 {
        let halves = self.ops_per_s / OPS_HALF + self.bytes_per_s / BYTES_HALF;
        if halves.is_finite() { halves / (1.0 + halves) } else { 1.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker that copies pieces of 256 KiB, each in half a millisecond, beside users.
    struct Sim {
        pace: Pace,
        now: Duration,
        load: Load,
        ops_per_ms: u64,
        bytes: u64,
        worked: Duration,
        stretch: Duration,
        stretch_max: Duration,
    }

    const PIECE: u64 = 256 << 10;
    const TOOK: Duration = Duration::from_micros(500);

    impl Sim {
        fn new(options: PaceOptions, ops_per_ms: u64) -> Sim {
            let zero = Duration::ZERO;
            let load = Load { file_bytes: 3 << 30, kept_bytes: 2 << 30, ..Load::default() };
            let pace = Pace::new(options, zero);
            Sim {
                pace,
                now: zero,
                load,
                ops_per_ms,
                bytes: 0,
                worked: zero,
                stretch: zero,
                stretch_max: zero,
            }
        }

        fn pass(&mut self, time: Duration) {
            self.now += time;
            let ops = self.now.as_micros() * u128::from(self.ops_per_ms) / 1_000;
            self.load.ops = self.load.ops.max(u64::try_from(ops).unwrap());
        }

        fn run_until(&mut self, end: Duration) {
            while self.now < end {
                self.pass(TOOK);
                self.bytes += PIECE;
                self.worked += TOOK;
                self.stretch += TOOK;
                self.stretch_max = self.stretch_max.max(self.stretch);
                let mut nap = self.pace.spend(PIECE, self.now, &self.load);
                while let Some(time) = nap {
                    assert!(time >= NAP_MIN && time <= Duration::from_millis(4), "{time:?}");
                    self.stretch = Duration::ZERO;
                    self.pass(time);
                    nap = self.pace.rest(self.now, &self.load);
                }
            }
        }

        fn share(&self) -> f64 {
            self.worked.as_secs_f64() / self.now.as_secs_f64()
        }
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn nothing_holds_it_back_while_nobody_is_there() {
        let mut sim = Sim::new(PaceOptions::default(), 0);
        sim.run_until(seconds(2));
        assert!(sim.share() > 0.98, "{}", sim.share());
    }

    #[test]
    fn beside_busy_users_it_takes_its_share_in_small_pieces() {
        let mut sim = Sim::new(PaceOptions::default(), 100);
        sim.run_until(seconds(5));
        // A piece counts as 1 ms, since the disk takes 256 MiB a second.
        assert!((0.05..0.1).contains(&sim.share()), "{}", sim.share());
        let rate = sim.bytes / 5 / (1 << 20);
        assert!((25..50).contains(&rate), "{rate} MiB/s");
        assert!(sim.stretch_max <= Duration::from_millis(1), "{:?}", sim.stretch_max);
        let options = PaceOptions { disk_bytes_per_s: u64::MAX, ..PaceOptions::default() };
        let mut sim = Sim::new(options, 100);
        sim.run_until(seconds(5));
        assert!((0.13..0.19).contains(&sim.share()), "{}", sim.share());
    }

    #[test]
    fn the_more_users_do_the_less_it_works() {
        let mut last = 1.1;
        for ops_per_ms in [0, 1, 10, 100] {
            let mut sim = Sim::new(PaceOptions::default(), ops_per_ms);
            sim.run_until(seconds(3));
            assert!(sim.share() < last, "{} at {ops_per_ms} ops a ms", sim.share());
            last = sim.share();
        }
    }

    #[test]
    fn it_notices_within_a_moment_that_users_come_and_go() {
        let mut sim = Sim::new(PaceOptions::default(), 0);
        sim.run_until(seconds(1));
        let (busy_from, before) = (sim.now, sim.worked);
        sim.ops_per_ms = 1_000;
        sim.run_until(busy_from + Duration::from_millis(200));
        assert!(sim.worked - before < Duration::from_millis(50), "{:?} of 200 ms", sim.worked - before);
        let (idle_from, before) = (sim.now, sim.worked);
        sim.ops_per_ms = 0;
        sim.run_until(idle_from + seconds(2));
        // Operations so far fade within tens of their memory.
        assert!(sim.worked - before > Duration::from_millis(1_000), "{:?} of 2 s", sim.worked - before);
    }

    #[test]
    fn waiting_for_something_else_is_not_made_up_for_by_sleep() {
        let mut sim = Sim::new(PaceOptions::default(), 100);
        sim.run_until(seconds(1));
        sim.pass(seconds(60)); // nothing to compact
        let (from, before) = (sim.now, sim.worked);
        sim.run_until(from + seconds(2));
        assert!(sim.worked - before > Duration::from_millis(60), "{:?} of 2 s", sim.worked - before);
    }

    #[test]
    fn near_the_limit_it_does_not_sleep_and_on_the_way_there_it_sleeps_less_and_less() {
        let mut last = 0.0;
        for percent in [190, 210, 230, 250, 269, 290] {
            let mut sim = Sim::new(PaceOptions::default(), 100);
            sim.load.file_bytes = sim.load.kept_bytes / 100 * percent;
            sim.run_until(seconds(2));
            assert!(sim.share() >= last, "{} at {percent} %", sim.share());
            last = sim.share();
        }
        assert!(last > 0.98, "{last}");
    }

    #[test]
    fn a_fixed_rate_is_kept_even_when_idle_and_idle_time_is_not_saved_up() {
        let options = PaceOptions { bytes_per_s_max: Some(50 << 20), ..PaceOptions::default() };
        let mut sim = Sim::new(options, 0);
        sim.run_until(seconds(5));
        let rate = sim.bytes / 5;
        assert!(((48 << 20)..=(51 << 20)).contains(&rate), "{rate}");
        let (from, before) = (sim.now + seconds(60), sim.bytes);
        sim.pass(seconds(60));
        sim.run_until(from + seconds(1));
        assert!(sim.bytes - before <= 51 << 20, "{}", sim.bytes - before);
    }

    #[test]
    fn no_setting_and_no_count_leads_astray() {
        let broken = PaceOptions {
            busy_share: f64::NAN,
            disk_bytes_per_s: 0,
            bytes_per_s_max: Some(0),
            slice: Duration::ZERO,
            lag: 3.0,
            lag_max: 1.0,
        };
        let mut pace = Pace::new(broken, seconds(10));
        let full = Load { ops: u64::MAX, bytes: u64::MAX, file_bytes: u64::MAX, kept_bytes: 0 };
        for (bytes, now, load) in [(u64::MAX, 5, full), (0, 20, Load::default()), (u64::MAX, 21, full)] {
            let nap = pace.spend(bytes, seconds(now), &load);
            assert!(nap.is_none_or(|nap| nap <= Duration::from_millis(4)));
            assert!((0.0..=1.0).contains(&pace.share(&load)));
            let _ = pace.rest(seconds(now), &load);
        }
    }
}
