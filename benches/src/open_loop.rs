//! An open loop: operations are due at equal distances, and a latency counts from when it was due, so that a pause is felt by every
//! operation that should have been done meanwhile.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// When each operation was due, counted from the first, and how long it was then until it was done.
pub type Done = (Duration, Duration);

/// Latencies of one stretch of an open loop.
#[derive(Debug, Clone, Copy, Default)]
pub struct Latencies {
    /// How many.
    pub count: usize,
    /// The median.
    pub at_50: Duration,
    /// At 99.9 %.
    pub at_999: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Latencies {
    /// Of the operations that were due in the time `upto`.
    #[must_use]
    pub fn of(done: Vec<Done>, upto: Duration) -> Latencies {
        let in_time = done.into_iter().filter(|(due, _)| *due <= upto);
        let mut all: Vec<Duration> = in_time.map(|(_, latency)| latency).collect();
        all.sort_unstable();
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a place in a list"
            )]
            let place = (all.len() as f64 * share) as usize;
            all.get(place).or(all.last()).copied().unwrap_or_default()
        };
        Latencies { count: all.len(), at_50: at(0.5), at_999: at(0.999), longest: at(1.0) }
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latencies { count, at_50, at_999, longest } = self;
        write!(f, "p50 {at_50:.1?}, p99.9 {at_999:.1?}, longest {longest:.1?} of {count}")
    }
}

/// So many operations a second, each as soon as it is due, from `start` on and for as long as `goes_on` of the time since.
///
/// # Errors
/// What an operation answers.
pub fn due<E>(
    rate: f64,
    start: Instant,
    goes_on: impl Fn(Duration) -> bool,
    mut one: impl FnMut() -> Result<(), E>,
) -> Result<Vec<Done>, E> {
    let mut done = Vec::new();
    let distance = Duration::from_secs_f64(1.0 / rate);
    let mut due = Duration::ZERO;
    while goes_on(due) {
        while start.elapsed() < due {
            std::hint::spin_loop();
        }
        one()?;
        done.push((due, start.elapsed().saturating_sub(due)));
        due += distance;
    }
    Ok(done)
}

/// Operations a second of a thread that does nothing else for so long.
///
/// # Errors
/// What an operation answers.
pub fn at_peak<E>(time: Duration, mut one: impl FnMut() -> Result<(), E>) -> Result<f64, E> {
    let (start, mut count) = (Instant::now(), 0_u32);
    while start.elapsed() < time {
        one()?;
        count += 1;
    }
    Ok(f64::from(count) / start.elapsed().as_secs_f64())
}

/// Does something while another thread keeps a core busy and touches nothing: what is felt beside work in the background has to be
/// compared with that, where a machine has few cores, or shares them with others.
///
/// # Panics
/// Where `work` does.
pub fn beside_a_busy_core<T>(work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                std::hint::spin_loop();
            }
        });
        let _ends = Ends(&is_over);
        work()
    })
}

/// Ends a thread also where a panic ends the work beside it.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The one in the middle.
#[must_use]
pub fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of.get(of.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_felt_by_all_that_were_due_meanwhile() {
        let mut number = 0;
        let done = due(
            1000.0,
            Instant::now(),
            |due| due < Duration::from_millis(20),
            || {
                number += 1;
                if number == 5 {
                    std::thread::sleep(Duration::from_millis(8));
                }
                Ok::<(), ()>(())
            },
        );
        let done = done.unwrap();
        assert_eq!(done.len(), 20);
        assert!(done.iter().filter(|(_, latency)| *latency >= Duration::from_millis(2)).count() >= 5);
        assert_eq!(Latencies::of(done, Duration::from_millis(9)).count, 10);
    }

    #[test]
    fn the_median_is_the_one_in_the_middle() {
        assert_eq!(median([3, 1, 2].map(Duration::from_secs).to_vec()), Duration::from_secs(2));
        assert_eq!(median(Vec::new()), Duration::ZERO);
    }
}
