//! Counts that every operation raises, without threads contending for them.
//!
//! Each of the first threads has counts of its own, which nobody else writes, so that raising one is a plain addition. Further
//! threads share one more set of counts, which is slower and as right. What it promises: nothing is lost or counted twice; what
//! is counted while the sums are taken may or may not be in them.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use nadb_core::Action;

/// Threads with counts of their own; those of a thread that has ended are given to the next one that begins.
const OWNERS: usize = 32;
/// The counts of all other threads stand behind those.
const SHARED: usize = OWNERS;

/// What is done, as statistics tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Op {
    Get,
    Set,
    Delete,
    Merge,
    Expire,
    Batch,
    ScanStep,
    Query,
    Flush,
}

impl Op {
    pub(crate) const COUNT: usize = 9;

    /// As [`nadb_core::OpStats::by_name`] calls it.
    #[cfg_attr(not(feature = "tracing"), expect(dead_code, reason = "only events name operations"))]
    pub(crate) fn name(self) -> &'static str {
        match self {
            Op::Get => "get",
            Op::Set => "set",
            Op::Delete => "delete",
            Op::Merge => "merge",
            Op::Expire => "expire",
            Op::Batch => "batch",
            Op::ScanStep => "scan_step",
            Op::Query => "query",
            Op::Flush => "flush",
        }
    }

    /// What a write of one operation is.
    #[inline]
    pub(crate) fn of(action: &Action<'_>) -> Op {
        match action {
            Action::Delete => Op::Delete,
            Action::Merge(_) => Op::Merge,
            Action::Expire(_) => Op::Expire,
            _ => Op::Set,
        }
    }
}

/// What is counted: of each operation how often it was done and its bytes, and some more.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tally {
    Done(Op),
    Bytes(Op),
    /// Operations in batches of several.
    InBatches,
    /// Bytes of values as they were given, of those that are in the log.
    LogicalBytes,
    /// The same as they are stored.
    StoredBytes,
    /// Scans that were begun.
    Scans,
    /// Operations that took longer than the option says.
    Slow,
}

const TALLIES: usize = 2 * Op::COUNT + 5;

impl Tally {
    #[inline]
    fn place(self) -> usize {
        match self {
            Tally::Done(op) => 2 * op as usize,
            Tally::Bytes(op) => 2 * op as usize + 1,
            Tally::InBatches => 2 * Op::COUNT,
            Tally::LogicalBytes => 2 * Op::COUNT + 1,
            Tally::StoredBytes => 2 * Op::COUNT + 2,
            Tally::Scans => 2 * Op::COUNT + 3,
            Tally::Slow => 2 * Op::COUNT + 4,
        }
    }
}

/// Alone in its cache lines, and in the pairs of lines that the processor fetches together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([AtomicU64; TALLIES]);

/// All counts of a store.
#[derive(Debug)]
pub(crate) struct Tallies {
    stripes: Box<[Stripe]>,
}

impl Default for Tallies {
    fn default() -> Tallies {
        Tallies { stripes: (0..=SHARED).map(|_| Stripe::default()).collect() }
    }
}

impl Tallies {
    /// Raises some of them.
    #[inline]
    pub(crate) fn add<const N: usize>(&self, more: [(Tally, u64); N]) {
        let own = OWN.try_with(|own| own.0).unwrap_or(SHARED);
        let Some(Stripe(counts)) = self.stripes.get(own) else { return };
        for (tally, more) in more {
            let Some(count) = counts.get(tally.place()) else { continue };
            if own == SHARED {
                count.fetch_add(more, Ordering::Relaxed);
            } else {
                // Nobody else writes it.
                count.store(count.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
            }
        }
    }

    /// The sum of one of them.
    pub(crate) fn get(&self, tally: Tally) -> u64 {
        let of =
            |Stripe(counts): &Stripe| counts.get(tally.place()).map(|count| count.load(Ordering::Relaxed));
        self.stripes.iter().filter_map(of).fold(0, u64::wrapping_add)
    }

    pub(crate) fn memory_bytes(&self) -> u64 {
        size_of_val(&*self.stripes) as u64
    }
}

/// Which counts are a thread's own, by bits.
static TAKEN: AtomicU32 = AtomicU32::new(0);

thread_local! {
    static OWN: Own = Own::take();
}

/// The place of the calling thread's counts, in every store.
#[derive(Debug)]
struct Own(usize);

impl Own {
    fn take() -> Own {
        let lowest_free = |taken: u32| (taken != u32::MAX).then(|| taken | (1 << taken.trailing_ones()));
        // Acquire, as the release below: what the last owner has counted is there before the next one adds to it.
        let before = TAKEN.fetch_update(Ordering::Acquire, Ordering::Relaxed, lowest_free);
        Own(before.map_or(SHARED, |taken| taken.trailing_ones() as usize))
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        if self.0 != SHARED {
            TAKEN.fetch_and(!(1 << self.0), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn nothing_is_counted_twice_or_lost() {
        let (tallies, begin) = (Tallies::default(), Barrier::new(2 * OWNERS));
        for round in 1..=3 {
            // More threads at once than have counts of their own, and others in their places in the next round.
            std::thread::scope(|scope| {
                for _ in 0..2 * OWNERS {
                    scope.spawn(|| {
                        tallies.add([(Tally::Scans, 0)]);
                        begin.wait();
                        let more = [(Tally::Done(Op::Get), 1), (Tally::Bytes(Op::Get), 3), (Tally::Slow, 2)];
                        (0..1000).for_each(|_| tallies.add(more));
                    });
                }
            });
            let count = round * 2 * OWNERS as u64 * 1000;
            assert_eq!(tallies.get(Tally::Done(Op::Get)), count);
            assert_eq!(
                (tallies.get(Tally::Bytes(Op::Get)), tallies.get(Tally::Slow)),
                (3 * count, 2 * count)
            );
        }
        assert_eq!((tallies.get(Tally::Done(Op::Set)), tallies.get(Tally::InBatches)), (0, 0));
    }

    #[test]
    fn every_count_has_a_place_of_its_own() {
        use Op::{Batch, Delete, Expire, Flush, Get, Merge, Query, ScanStep, Set};
        let ops = [Get, Set, Delete, Merge, Expire, Batch, ScanStep, Query, Flush];
        assert_eq!(ops.len(), Op::COUNT);
        let of_ops = ops.into_iter().flat_map(|op| [Tally::Done(op), Tally::Bytes(op)]);
        let more = [Tally::InBatches, Tally::LogicalBytes, Tally::StoredBytes, Tally::Scans, Tally::Slow];
        let places: Vec<usize> = of_ops.chain(more).map(Tally::place).collect();
        assert_eq!(places, (0..TALLIES).collect::<Vec<_>>());
    }
}
