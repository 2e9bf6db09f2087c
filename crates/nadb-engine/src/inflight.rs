//! Keys that are being written: who wants to write one of them waits until the other's write is visible.
//!
//! Between looking at a key and publishing its change nobody else changes it: that is what makes conditions, counters and
//! merges exact.

use nadb_core::guard;
use parking_lot::{Condvar, Mutex};
use smallvec::SmallVec;

const STRIPES: usize = 256;

/// Hashes of the keys of one batch.
pub(crate) type Hashes = SmallVec<[u64; 4]>;

#[derive(Debug, Default)]
struct Stripe {
    held: Mutex<SmallVec<[u64; 4]>>,
    freed: Condvar,
}

/// The table of keys that are being written.
#[derive(Debug)]
pub(crate) struct InFlight {
    stripes: Box<[Stripe]>,
}

/// Keys that this writer alone may change, until dropped.
#[derive(Debug)]
pub(crate) struct InFlightGuard<'a> {
    table: &'a InFlight,
    hashes: Hashes,
}

impl InFlight {
    pub(crate) fn new() -> InFlight {
        InFlight { stripes: (0..STRIPES).map(|_| Stripe::default()).collect() }
    }

    fn stripe(&self, hash: u64) -> &Stripe {
        #[expect(clippy::indexing_slicing, reason = "masked to their number")]
        &self.stripes[stripe_of(hash)]
    }

    /// Waits for all of them. Every writer takes them in the same order, so no two wait for each other.
    pub(crate) fn acquire(&self, mut hashes: Hashes) -> InFlightGuard<'_> {
        hashes.sort_unstable_by_key(|&hash| (stripe_of(hash), hash));
        hashes.dedup();
        let mut guard = InFlightGuard { table: self, hashes: Hashes::with_capacity(hashes.len()) };
        for hash in hashes {
            let stripe = self.stripe(hash);
            let mut held = stripe.held.lock();
            while held.contains(&hash) && guard::on("inflight.waits") {
                stripe.freed.wait(&mut held);
            }
            held.push(hash);
            guard.hashes.push(hash);
        }
        guard
    }
}

fn stripe_of(hash: u64) -> usize {
    usize::try_from(hash >> 24).unwrap_or_default() & (STRIPES - 1)
}

impl Drop for InFlightGuard<'_> {
    fn drop(&mut self) {
        for &hash in &self.hashes {
            let stripe = self.table.stripe(hash);
            let mut held = stripe.held.lock();
            if let Some(at) = held.iter().position(|&have| have == hash) {
                held.swap_remove(at);
            }
            drop(held);
            stripe.freed.notify_all();
        }
    }
}
