//! Which records of one segment are live, now and as of a view's watermark; and which are markers.
//!
//! Bits by ordinal say what is live now. Beside them stand deaths: which record killed which, for as long as a view may be
//! open that still has the dead one. It promises that a reader who finds a bit cleared finds the death that goes with it,
//! and that no reader waits for a lock unless the bit is clear and deaths are remembered.
//!
//! It leaves to the engine: that the deaths of a record come one after another (publication is in order), that a record's own
//! number is compared with the watermark, and up to where deaths may be forgotten.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::{Ordinal, Seq, guard};

use crate::bits::Bits;
use crate::load::Reader;
use crate::sync::{AtomicUsize, Mutex};

/// Deaths that are forgotten before the lock is let go.
const FORGET_AT_ONCE: usize = 256;

/// The live and marker bitmaps of a segment, and its remembered deaths.
///
/// ```
/// use nadb_core::{Ordinal, Seq};
/// use nadb_index::LiveSet;
/// let live = LiveSet::new();
/// live.set_live(Ordinal(0), 30);
/// assert!(live.kill(Ordinal(0), 30, Seq(9), true));
/// assert!(!live.is_live(Ordinal(0)));
/// // A view of the time before number 9 still has it, one of the time after has not.
/// assert!(live.is_live_at(Ordinal(0), Seq(8)));
/// assert!(!live.is_live_at(Ordinal(0), Seq(9)));
/// ```
#[derive(Default)]
pub struct LiveSet {
    live: Bits,
    markers: Bits,
    // Counts that nothing is decided by, so no part of what the models check.
    live_count: AtomicU64,
    live_bytes: AtomicU64,
    marker_count: AtomicU64,
    deaths: Mutex<Deaths>,
    /// How many `deaths` has; changed under its lock, read without.
    death_count: AtomicUsize,
}

/// Deaths by the record that died, and in the order in which they may be forgotten. Trees, because they never stop to move
/// everything, as a hash table does when it grows.
#[derive(Debug, Default)]
struct Deaths {
    killers: BTreeMap<Ordinal, Seq>,
    order: BTreeSet<(Seq, Ordinal)>,
}

impl Deaths {
    /// A record dies once: a death that is known stays.
    fn remember(&mut self, ordinal: Ordinal, killer: Seq) {
        if let Entry::Vacant(entry) = self.killers.entry(ordinal) {
            entry.insert(killer);
            self.order.insert((killer, ordinal));
        }
    }

    /// Drops some of the deaths up to a number, and says whether there may be more of them.
    fn forget(&mut self, upto: Seq) -> bool {
        for _ in 0..FORGET_AT_ONCE {
            let Some((_, ordinal)) = self.order.first().copied().filter(|(killer, _)| *killer <= upto) else {
                return false;
            };
            self.order.pop_first();
            self.killers.remove(&ordinal);
        }
        true
    }
}

impl LiveSet {
    /// A set without live records and markers.
    #[must_use]
    pub fn new() -> LiveSet {
        LiveSet::default()
    }

    /// Appends which records are live, and which are markers, in the form that [`LiveSet::load`] reads; not the deaths.
    pub fn save(&self, out: &mut Vec<u8>) {
        self.live.save(out);
        self.markers.save(out);
    }

    /// Reads what [`LiveSet::save`] has written for a segment of so many rows, whose live records take `live_bytes`; `None`
    /// where it is anything else.
    #[must_use]
    pub fn load(bytes: &[u8], rows: u32, live_bytes: u64) -> Option<LiveSet> {
        let mut reader = Reader::new(bytes);
        let (live, live_count) = Bits::load(&mut reader, rows)?;
        let (markers, marker_count) = Bits::load(&mut reader, rows)?;
        let set = LiveSet {
            live,
            markers,
            live_count: AtomicU64::new(live_count),
            live_bytes: AtomicU64::new(live_bytes),
            marker_count: AtomicU64::new(marker_count),
            ..LiveSet::default()
        };
        reader.is_at_end().then_some(set)
    }

    /// Makes a record live; it takes `bytes` of its file. Nothing changes if it is live already. Memory follows the highest
    /// ordinal: an eighth of a byte to a quarter for each record up to it.
    pub fn set_live(&self, ordinal: Ordinal, bytes: u32) {
        if self.live.set(ordinal) {
            self.live_count.fetch_add(1, Ordering::Relaxed);
            self.live_bytes.fetch_add(u64::from(bytes), Ordering::Relaxed);
        }
    }

    /// Makes many records live: those whose bits are set in `words`, the lowest bit of the first for ordinal 0. Together they take
    /// `bytes`, and none is live yet.
    pub fn set_live_words(&self, words: &[u64], bytes: u64) {
        let count = self.live.set_words(words);
        self.live_count.fetch_add(count, Ordering::Relaxed);
        self.live_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Makes a record a marker.
    pub fn set_marker(&self, ordinal: Ordinal) {
        if self.markers.set(ordinal) {
            self.marker_count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says that a record is no marker any more.
    pub fn clear_marker(&self, ordinal: Ordinal) {
        if self.markers.clear(ordinal) {
            self.marker_count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether a record is live now.
    #[must_use]
    pub fn is_live(&self, ordinal: Ordinal) -> bool {
        self.live.get(ordinal)
    }

    /// Whether a record is a marker now.
    #[must_use]
    pub fn is_marker(&self, ordinal: Ordinal) -> bool {
        self.markers.get(ordinal)
    }

    /// Makes a record dead and says whether it was live. `bytes` are those with which it was made live, `killer` is the
    /// number of the record that displaced it. The death of one record is nobody else's business at the same time.
    ///
    /// With `remember`, views older than `killer` go on having it, until [`LiveSet::forget`]. Without, it is dead in all views:
    /// for replay, when there are none.
    pub fn kill(&self, ordinal: Ordinal, bytes: u32, killer: Seq, remember: bool) -> bool {
        if !remember {
            return self.clear_live(ordinal, bytes);
        }
        self.is_live(ordinal) && self.kill_in_steps(ordinal, bytes, killer, || ())
    }

    /// The two steps of a remembered death, and what is done between them.
    ///
    /// INVARIANT: the death is there before the bit is cleared. Clearing releases, reading a bit acquires: who sees the bit
    /// cleared sees the death, or that it was forgotten, which no view older than its killer allows.
    fn kill_in_steps(&self, ordinal: Ordinal, bytes: u32, killer: Seq, between: impl FnOnce()) -> bool {
        if guard::on("view.death_before_bit") {
            self.remember(ordinal, killer);
            between();
            self.clear_live(ordinal, bytes)
        } else {
            let was_live = self.clear_live(ordinal, bytes);
            between();
            self.remember(ordinal, killer);
            was_live
        }
    }

    pub(crate) fn remember(&self, ordinal: Ordinal, killer: Seq) {
        let mut deaths = self.deaths.lock();
        deaths.remember(ordinal, killer);
        self.death_count.store(deaths.killers.len(), Ordering::Relaxed);
    }

    pub(crate) fn clear_live(&self, ordinal: Ordinal, bytes: u32) -> bool {
        let was_live = self.live.clear(ordinal);
        if was_live {
            self.live_count.fetch_sub(1, Ordering::Relaxed);
            self.live_bytes.fetch_sub(u64::from(bytes), Ordering::Relaxed);
        }
        was_live
    }

    /// Whether a view with this watermark has the record, if the record's own number is not above the watermark (which the
    /// caller compares): it is live, or its killer came later.
    #[must_use]
    pub fn is_live_at(&self, ordinal: Ordinal, watermark: Seq) -> bool {
        if self.is_live(ordinal) {
            return true;
        }
        // Relaxed is enough: the cleared bit was acquired, so this reads the count with that death in it or a later one.
        if self.death_count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        self.deaths.lock().killers.get(&ordinal).is_some_and(|killer| *killer > watermark)
    }

    /// Drops the deaths whose killers have this number or a lower one. `upto` is at most the published watermark and the
    /// watermark of every open view, taken under the lock under which views are opened: a view that opens later has a
    /// higher one. It takes time for what it drops, and the lock for a few hundred deaths at a time.
    pub fn forget(&self, upto: Seq) {
        while self.deaths() != 0 && self.forget_some(upto) {}
    }

    fn forget_some(&self, upto: Seq) -> bool {
        let mut deaths = self.deaths.lock();
        let goes_on = deaths.forget(upto);
        self.death_count.store(deaths.killers.len(), Ordering::Relaxed);
        goes_on
    }

    /// Remembered deaths.
    #[must_use]
    pub fn deaths(&self) -> usize {
        self.death_count.load(Ordering::Relaxed)
    }

    /// Live records.
    #[must_use]
    pub fn live_count(&self) -> u64 {
        self.live_count.load(Ordering::Relaxed)
    }

    /// Bytes of the live records.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes.load(Ordering::Relaxed)
    }

    /// Markers.
    #[must_use]
    pub fn marker_count(&self) -> u64 {
        self.marker_count.load(Ordering::Relaxed)
    }

    /// The live records, in the order in which they were written. What changes meanwhile is seen before or after.
    pub fn live_ordinals(&self) -> impl Iterator<Item = Ordinal> {
        self.live.ones()
    }

    /// Bytes of RAM; of the deaths an estimate.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let deaths =
            self.deaths() * crate::tree_bytes(size_of::<(Ordinal, Seq)>() + size_of::<(Seq, Ordinal)>());
        (size_of::<LiveSet>() + self.live.memory_bytes() + self.markers.memory_bytes() + deaths) as u64
    }
}

impl fmt::Debug for LiveSet {
    /// The counts: bits are too many to read.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (live, bytes) = (self.live_count(), self.live_bytes());
        write!(
            f,
            "LiveSet({live} live in {bytes} bytes, {} markers, {} deaths)",
            self.marker_count(),
            self.deaths()
        )
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn between_the_steps_of_a_death_an_older_view_has_the_record() {
        let set = LiveSet::new();
        set.set_live(Ordinal(3), 10);
        assert!(set.kill_in_steps(Ordinal(3), 10, Seq(5), || assert!(set.is_live_at(Ordinal(3), Seq(4)))));
        assert!(set.is_live_at(Ordinal(3), Seq(4)) && !set.is_live_at(Ordinal(3), Seq(5)));
    }

    #[test]
    fn a_record_dies_once() {
        let set = LiveSet::new();
        set.set_live(Ordinal(1), 10);
        assert!(set.kill(Ordinal(1), 10, Seq(5), true));
        assert!(!set.kill(Ordinal(1), 10, Seq(9), true));
        assert!(!set.is_live_at(Ordinal(1), Seq(5)), "the later killer does not lengthen its life");
        assert!(!set.kill(Ordinal(2), 10, Seq(9), true) && !set.is_live_at(Ordinal(2), Seq(1)));
        assert_eq!((set.live_count(), set.live_bytes(), set.deaths()), (0, 0, 1));
    }

    #[test]
    fn a_death_that_is_not_remembered_counts_in_every_view() {
        let set = LiveSet::new();
        set.set_live(Ordinal(1), 10);
        assert!(set.kill(Ordinal(1), 10, Seq(5), false));
        assert!(!set.is_live_at(Ordinal(1), Seq(0)));
        assert_eq!(set.deaths(), 0);
    }

    #[test]
    fn forgetting_drops_the_deaths_up_to_a_number_and_their_memory() {
        let set = LiveSet::new();
        let empty = set.memory_bytes();
        for n in 0..1000u32 {
            set.set_live(Ordinal(n), 1);
            // Not in the order of ordinals, nor of killers.
            assert!(set.kill(Ordinal(n), 1, Seq(u64::from(n * 7 % 1000)), true));
        }
        set.forget(Seq(599));
        assert_eq!(set.deaths(), 400);
        let at_599 = |n: u32| set.is_live_at(Ordinal(n), Seq(599));
        assert!((0..1000).all(|n| at_599(n) == (n * 7 % 1000 > 599)));
        set.forget(Seq(u64::MAX));
        assert_eq!(set.deaths(), 0);
        assert_eq!(set.memory_bytes(), empty + 512);
    }

    #[test]
    fn markers_are_counted_apart_from_live_records() {
        let set = LiveSet::new();
        set.set_marker(Ordinal(4));
        set.set_marker(Ordinal(4));
        set.set_live(Ordinal(9), 7);
        assert!(set.is_marker(Ordinal(4)) && !set.is_live(Ordinal(4)));
        assert_eq!(format!("{set:?}"), "LiveSet(1 live in 7 bytes, 1 markers, 0 deaths)");
        set.clear_marker(Ordinal(4));
        set.clear_marker(Ordinal(4));
        assert_eq!(set.marker_count(), 0);
    }

    #[test]
    fn many_records_become_live_at_once_beside_others() {
        let (set, one_by_one) = (LiveSet::new(), LiveSet::new());
        let mut words = vec![0_u64; 300];
        for n in [0, 63, 4096, 19_199] {
            words[n as usize / 64] |= 1 << (n % 64);
            one_by_one.set_live(Ordinal(n), 10);
        }
        set.set_live_words(&words, 40);
        set.set_live_words(&[1 << 5], 7);
        one_by_one.set_live(Ordinal(5), 7);
        assert!(set.live_ordinals().eq(one_by_one.live_ordinals()));
        assert_eq!(format!("{set:?}"), format!("{one_by_one:?}"));
    }

    #[test]
    fn a_saved_set_loads_with_its_counts_and_without_deaths() {
        let set = LiveSet::new();
        [3, 70, 9000].map(Ordinal).iter().for_each(|n| set.set_live(*n, 10));
        set.set_marker(Ordinal(71));
        assert!(set.kill(Ordinal(70), 10, Seq(5), true));
        let mut bytes = Vec::new();
        set.save(&mut bytes);
        let loaded = LiveSet::load(&bytes, 9001, 20).unwrap();
        assert_eq!(format!("{loaded:?}"), "LiveSet(2 live in 20 bytes, 1 markers, 0 deaths)");
        assert_eq!(loaded.live_ordinals().collect::<Vec<_>>(), [Ordinal(3), Ordinal(9000)]);
        assert!(loaded.is_marker(Ordinal(71)));
        assert!(LiveSet::load(&bytes, 9000, 20).is_none());
        for cut in 0..bytes.len() {
            assert!(LiveSet::load(&bytes[..cut], 9001, 20).is_none());
        }
        bytes.push(0);
        assert!(LiveSet::load(&bytes, 9001, 20).is_none());
    }

    #[derive(Debug, Clone)]
    enum Step {
        Live(u32),
        Kill(u32, bool),
        Forget(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => (0..9000u32).prop_map(Step::Live),
            3 => (0..9000u32, any::<bool>()).prop_map(|(n, remember)| Step::Kill(n, remember)),
            1 => (0..200u64).prop_map(Step::Forget),
        ];
        prop::collection::vec(step.prop_map(few), 0..200)
    }

    /// The same step on one of few ordinals, some of them in higher levels.
    fn few(step: Step) -> Step {
        match step {
            Step::Live(n) => Step::Live(n / 300 * 300),
            Step::Kill(n, remember) => Step::Kill(n / 300 * 300, remember),
            forget @ Step::Forget(_) => forget,
        }
    }

    proptest! {
        /// For each ordinal the model has whether it is live and who killed it.
        #[test]
        fn agrees_with_a_map(steps in steps()) {
            let set = LiveSet::new();
            let mut model: BTreeMap<u32, (bool, Option<u64>)> = BTreeMap::new();
            let mut forgotten = 0;
            for (number, step) in (1u64..).zip(steps) {
                match step {
                    // A record becomes live once.
                    Step::Live(n) => if let Entry::Vacant(entry) = model.entry(n) {
                        entry.insert((true, None));
                        set.set_live(Ordinal(n), n);
                    },
                    Step::Kill(n, remember) => {
                        let known = model.get_mut(&n);
                        let was_live = known.as_ref().is_some_and(|known| known.0);
                        prop_assert_eq!(set.kill(Ordinal(n), n, Seq(number), remember), was_live);
                        if let Some(known) = known.filter(|_| was_live) {
                            *known = (false, remember.then_some(number));
                        }
                    }
                    Step::Forget(upto) => {
                        forgotten = forgotten.max(upto.min(number));
                        set.forget(Seq(upto.min(number)));
                    }
                }
            }
            let live: Vec<u32> = model.iter().filter(|(_, known)| known.0).map(|(n, _)| *n).collect();
            prop_assert_eq!(set.live_ordinals().map(|ordinal| ordinal.0).collect::<Vec<_>>(), live.clone());
            prop_assert_eq!(set.live_bytes(), live.iter().map(|n| u64::from(*n)).sum::<u64>());
            for watermark in forgotten..=200 {
                for (n, (is_live, killer)) in &model {
                    let expected = *is_live || killer.is_some_and(|killer| killer > watermark);
                    prop_assert_eq!(set.is_live_at(Ordinal(*n), Seq(watermark)), expected);
                }
            }
        }
    }
}
