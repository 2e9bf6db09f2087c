//! A count that many threads raise at once without contending for it.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// More threads than this share counts, which is slower and as right.
const STRIPES: usize = 16;

/// Alone in its cache line, and in the pair of lines that the processor fetches together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

/// A count in parts, one for each of some threads.
#[derive(Debug, Default)]
pub(crate) struct StripedCount {
    stripes: [Stripe; STRIPES],
}

impl StripedCount {
    /// One more.
    pub(crate) fn add_one(&self) {
        if let Some(stripe) = self.stripes.get(own_stripe()) {
            stripe.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The sum; what is counted meanwhile may or may not be in it.
    pub(crate) fn get(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.0.load(Ordering::Relaxed)).sum()
    }
}

/// The stripe of the calling thread; they are given out in turn.
fn own_stripe() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static OWN: Cell<Option<usize>> = const { Cell::new(None) };
    }
    OWN.get().unwrap_or_else(|| {
        let own = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
        OWN.set(Some(own));
        own
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_counted_twice_or_lost() {
        let count = StripedCount::default();
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| (0..1000).for_each(|_| count.add_one()));
            }
        });
        assert_eq!(count.get(), 20_000);
    }
}
