//! The version table: where records stand that the key index does not name any more, for the views that still have them.
//!
//! # Why a view misses no version
//!
//! Who displaces a record remembers it here first and changes the key index afterwards; who reads in a view probes the key
//! index first and looks here afterwards. Take a view of watermark W and the version of a key that is its own: the one with a
//! number ≤ W that nothing up to W displaced. Either the probe finds it in the index. Or the probe finds another location, or
//! none: then the change of the index came before the probe, and so did the remembering before the change. The index's lock
//! orders the two threads, so the reader finds here what was remembered, unless it was forgotten, which is not done for a
//! killer above the watermark of an open view. In the other order of writing, or of reading, a version could be in neither place
//! when it is looked for.
//!
//! What was remembered holds a pin, so that its segment stays. It leaves to others: the key index, reading records, comparing keys
//! and numbers, and up to where versions may be forgotten.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;

use nadb_core::{KeyHash, Location, SegmentId, Seq};
use smallvec::SmallVec;

use crate::sync::{AtomicUsize, IS_MODEL, Mutex, Ordering};

/// A power of two.
const SHARDS: usize = if IS_MODEL { 1 } else { 16 };
/// Versions that are given, or forgotten, before a shard's lock is let go.
const GIVE_AT_ONCE: usize = 4;
const FORGET_AT_ONCE: usize = 256;

const FIRST: Location = Location { segment: SegmentId(0), offset: 0, len: 0 };
const LAST: Location = Location { segment: SegmentId(u32::MAX), offset: u32::MAX, len: u32::MAX };

/// A displaced version: hash of its key, killer, where it stands. Several keys may have one hash and, when a namespace is
/// dropped, one killer.
type Version = (KeyHash, Seq, Location);

/// Displaced versions by hash; `P` keeps the segment of one from going away.
///
/// ```
/// use nadb_core::{KeyHash, Location, SegmentId, Seq};
/// use nadb_index::VersionTable;
/// let table = VersionTable::new();
/// let at = Location { segment: SegmentId(1), offset: 64, len: 30 };
/// table.remember(KeyHash(7), at, Seq(9), "segment 1");
/// assert_eq!(table.candidates(KeyHash(7), Seq(8)).collect::<Vec<_>>(), [(at, "segment 1")]);
/// assert_eq!(table.candidates(KeyHash(7), Seq(9)).count(), 0);
/// table.forget(Seq(9));
/// assert!(table.is_empty());
/// ```
pub struct VersionTable<P> {
    shards: Box<[Mutex<Shard<P>>]>,
    /// Versions of all shards. One is counted and taken off under its shard's lock, so while it is there this is above zero.
    len: AtomicUsize,
    /// Bytes of their records: for the statistics alone, so no part of what the models check.
    record_bytes: std::sync::atomic::AtomicU64,
}

/// Trees, because they never stop to move everything, as a hash table does when it grows.
struct Shard<P> {
    versions: BTreeMap<Version, P>,
    /// What may be forgotten first stands first.
    order: BTreeSet<(Seq, KeyHash)>,
}

impl<P> Default for Shard<P> {
    fn default() -> Self {
        Shard { versions: BTreeMap::new(), order: BTreeSet::new() }
    }
}

impl<P> Shard<P> {
    /// Takes out some of the versions displaced up to a number, with the lengths of their records; fewer than [`FORGET_AT_ONCE`] only if there are no more.
    fn forget(&mut self, upto: Seq) -> Vec<(u32, P)> {
        let mut pins = vec![];
        while pins.len() < FORGET_AT_ONCE {
            let first = self.order.first().copied().filter(|(killer, _)| *killer <= upto);
            let Some((killer, hash)) = first else { break };
            let next = self.versions.range((hash, killer, FIRST)..=(hash, killer, LAST)).next();
            match next.map(|(version, _)| *version) {
                Some(version) => pins.extend(self.versions.remove(&version).map(|pin| (version.2.len, pin))),
                None => _ = self.order.pop_first(),
            }
        }
        pins
    }
}

impl<P> Default for VersionTable<P> {
    fn default() -> Self {
        VersionTable {
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::default())).collect(),
            len: AtomicUsize::new(0),
            record_bytes: std::sync::atomic::AtomicU64::new(0),
        }
    }
}

impl<P> VersionTable<P> {
    /// A table without versions.
    #[must_use]
    pub fn new() -> VersionTable<P> {
        VersionTable::default()
    }

    fn shard(&self, hash: KeyHash) -> &Mutex<Shard<P>> {
        let shard = (hash.0 >> 56) as usize & (SHARDS - 1);
        #[expect(clippy::indexing_slicing, reason = "the shard is masked to their number")]
        &self.shards[shard]
    }

    /// Remembers that the record at `at` is displaced by the one with the number `killer`; `pin` keeps its segment. To be called
    /// before the key index changes.
    pub fn remember(&self, hash: KeyHash, at: Location, killer: Seq, pin: P) {
        let mut shard = self.shard(hash).lock();
        if shard.versions.insert((hash, killer, at), pin).is_none() {
            shard.order.insert((killer, hash));
            // Relaxed is enough: who has seen the key index change, which comes later, reads this count or a later one.
            self.len.fetch_add(1, Ordering::Relaxed);
            self.record_bytes.fetch_add(u64::from(at.len), Ordering::Relaxed);
        }
    }

    /// Drops the versions displaced by this number or a lower one, and with them their pins, outside the locks. `upto` is at most
    /// the published watermark and the watermark of every open view, taken under the lock under which views are opened.
    /// It takes time for what it drops, and each lock for a few hundred versions at a time.
    pub fn forget(&self, upto: Seq) {
        for shard in self.shards.iter().take_while(|_| !self.is_empty()) {
            while self.forget_some(shard, upto) {}
        }
    }

    fn forget_some(&self, shard: &Mutex<Shard<P>>, upto: Seq) -> bool {
        let mut shard = shard.lock();
        let pins = shard.forget(upto);
        self.len.fetch_sub(pins.len(), Ordering::Relaxed);
        let bytes = pins.iter().map(|(len, _)| u64::from(*len)).sum();
        self.record_bytes.fetch_sub(bytes, Ordering::Relaxed);
        drop(shard);
        // Dropping the last pin may unmap a segment: not under the lock.
        pins.len() == FORGET_AT_ONCE
    }

    /// Displaced versions that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether there are none; without a lock.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of the records that are displaced and remembered: what views keep from being given up.
    #[must_use]
    pub fn record_bytes(&self) -> u64 {
        self.record_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of RAM, estimated; without what pins hold.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let version = crate::tree_bytes(size_of::<(Version, P)>() + size_of::<(Seq, KeyHash)>());
        (SHARDS * size_of::<Mutex<Shard<P>>>() + self.len() * version) as u64
    }
}

impl<P: Clone> VersionTable<P> {
    /// The displaced versions that a view of this watermark may have: those with this hash whose killers are above the watermark,
    /// by rising killers. The caller, who has probed the key index before, reads the records. The first one whose key is equal
    /// decides: with a number up to the watermark it is the view's version, with a higher one the view has none.
    ///
    /// No lock is held between two of them, and few are looked up at once, so a key with very many versions costs no more
    /// than one with few.
    #[must_use]
    pub fn candidates(&self, hash: KeyHash, watermark: Seq) -> Displaced<'_, P> {
        let found = SmallVec::new().into_iter();
        Displaced { table: self, hash, after: (watermark, LAST), found, is_last: false }
    }
}

impl<P> fmt::Debug for VersionTable<P> {
    /// The count: versions are too many to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VersionTable({} versions)", self.len())
    }
}

/// The candidates of [`VersionTable::candidates`], with their pins.
///
/// They are looked up a few at a time. That gives the same as all at once: what is added meanwhile has a higher killer, and what is
/// forgotten has none above the watermark.
pub struct Displaced<'a, P: Clone> {
    table: &'a VersionTable<P>,
    hash: KeyHash,
    /// The last one that was looked up.
    after: (Seq, Location),
    found: smallvec::IntoIter<[(Location, P); GIVE_AT_ONCE]>,
    is_last: bool,
}

impl<P: Clone> Displaced<'_, P> {
    fn look_up(&mut self) {
        let mut found = SmallVec::new();
        if !self.table.is_empty() {
            let shard = self.table.shard(self.hash).lock();
            let from = Bound::Excluded((self.hash, self.after.0, self.after.1));
            let upto = Bound::Included((self.hash, Seq(u64::MAX), LAST));
            for ((_, killer, at), pin) in shard.versions.range((from, upto)).take(GIVE_AT_ONCE) {
                self.after = (*killer, *at);
                found.push((*at, pin.clone()));
            }
        }
        self.is_last = found.len() < GIVE_AT_ONCE;
        self.found = found.into_iter();
    }
}

impl<P: Clone> Iterator for Displaced<'_, P> {
    type Item = (Location, P);

    fn next(&mut self) -> Option<(Location, P)> {
        if self.found.len() == 0 && !self.is_last {
            self.look_up();
        }
        self.found.next()
    }
}

impl<P: Clone> fmt::Debug for Displaced<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Displaced(after {})", self.after.0)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn at(n: u32) -> Location {
        Location { segment: SegmentId(n % 3), offset: n, len: 10 }
    }

    fn found(table: &VersionTable<()>, hash: u64, watermark: u64) -> Vec<Location> {
        table.candidates(KeyHash(hash), Seq(watermark)).map(|(at, ())| at).collect()
    }

    #[test]
    fn versions_come_by_rising_killers_from_the_first_above_the_watermark() {
        let table = VersionTable::new();
        for n in [7, 3, 9, 1, 5, 8, 2, 6, 4, 10] {
            table.remember(KeyHash(1), at(n), Seq(u64::from(n)), ());
            table.remember(KeyHash(2), at(n + 100), Seq(u64::from(n)), ());
        }
        assert_eq!(found(&table, 1, 0), (1..=10).map(at).collect::<Vec<_>>());
        assert_eq!(found(&table, 1, 6), (7..=10).map(at).collect::<Vec<_>>());
        assert_eq!(found(&table, 2, 9), [at(110)]);
        assert!(found(&table, 1, 10).is_empty() && found(&table, 1, u64::MAX).is_empty());
        assert!(found(&table, 3, 0).is_empty());
    }

    #[test]
    fn one_killer_may_displace_many_versions_of_one_hash() {
        let table = VersionTable::new();
        (0..1000).for_each(|n| table.remember(KeyHash(1), at(n), Seq(5), ()));
        table.remember(KeyHash(1), at(0), Seq(5), ());
        assert_eq!(table.len(), 1000);
        let mut all = found(&table, 1, 4);
        all.sort_by_key(|at| at.offset);
        assert_eq!(all, (0..1000).map(at).collect::<Vec<_>>());
        table.forget(Seq(4));
        assert_eq!(table.len(), 1000);
        table.forget(Seq(5));
        assert!(table.is_empty() && found(&table, 1, 0).is_empty());
    }

    #[test]
    fn what_is_forgotten_lets_go_of_its_pin_and_what_was_given_keeps_it() {
        let table = VersionTable::new();
        let segment = Arc::new(());
        for n in 0..600 {
            table.remember(KeyHash(u64::from(n) << 50), at(n), Seq(u64::from(n) + 1), Arc::clone(&segment));
        }
        let given = table.candidates(KeyHash(0), Seq(0)).next();
        table.forget(Seq(500));
        assert_eq!((table.len(), Arc::strong_count(&segment)), (100, 102));
        drop(given);
        table.forget(Seq(u64::MAX));
        assert_eq!(Arc::strong_count(&segment), 1);
    }

    #[test]
    fn a_lookup_goes_on_while_versions_come_and_go() {
        let table = VersionTable::new();
        (1..=6).for_each(|n| table.remember(KeyHash(1), at(n), Seq(u64::from(n)), ()));
        let mut candidates = table.candidates(KeyHash(1), Seq(2));
        assert_eq!(candidates.next(), Some((at(3), ())));
        table.forget(Seq(2));
        table.remember(KeyHash(1), at(7), Seq(7), ());
        assert_eq!(candidates.map(|(at, ())| at).collect::<Vec<_>>(), [at(4), at(5), at(6), at(7)]);
    }

    proptest! {
        #[test]
        fn agrees_with_a_list(
            steps in prop::collection::vec((0..4u64, 0..300u64, prop::bool::weighted(0.1)), 0..400),
        ) {
            let table = VersionTable::new();
            let mut model: Vec<(Seq, u64, Location)> = vec![];
            for (step, (key, number, forgets)) in (0u32..).zip(steps) {
                if forgets {
                    table.forget(Seq(number));
                    model.retain(|(killer, ..)| *killer > Seq(number));
                } else {
                    let hash = key << 56 | key;
                    table.remember(KeyHash(hash), at(step), Seq(number), ());
                    model.push((Seq(number), hash, at(step)));
                }
                prop_assert_eq!(table.len(), model.len());
            }
            model.sort_unstable();
            for (watermark, key) in [0, 50, 299].into_iter().flat_map(|w| (0..4).map(move |key| (w, key))) {
                let hash = key << 56 | key;
                let is_asked = |(killer, of, _): &&(Seq, u64, Location)| *killer > Seq(watermark) && *of == hash;
                let expected: Vec<_> = model.iter().filter(is_asked).map(|(.., at)| *at).collect();
                prop_assert_eq!(found(&table, hash, watermark), expected);
            }
        }
    }
}
