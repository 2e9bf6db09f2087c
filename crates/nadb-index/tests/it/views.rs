//! Many threads at what views stand on. Whatever they run into each other in, the outcome is one.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nadb_core::{KeyHash, Location, Ordinal, SegmentId, Seq};
use nadb_index::{KeyIndex, LiveSet, Published, VersionTable};

const THREADS: u32 = 8;

fn on_all_threads(work: impl Fn(u32) + Sync) {
    let work = &work;
    thread::scope(|scope| (0..THREADS).for_each(|number| _ = scope.spawn(move || work(number))));
}

#[test]
fn threads_that_share_words_do_not_disturb_each_other_while_the_set_grows() {
    const EACH: u32 = 20_000;
    let set = LiveSet::new();
    on_all_threads(|thread| {
        for n in 0..EACH {
            let ordinal = Ordinal(n * THREADS + thread);
            set.set_live(ordinal, n);
            set.set_marker(ordinal);
            if n % 2 == 0 {
                assert!(set.kill(ordinal, n, Seq(u64::from(n) + 1), thread % 2 == 0));
                set.clear_marker(ordinal);
            }
        }
    });
    let is_left = |ordinal: &Ordinal| ordinal.0 / THREADS % 2 == 1;
    let left: Vec<Ordinal> = (0..EACH * THREADS).map(Ordinal).filter(is_left).collect();
    assert_eq!(set.live_ordinals().collect::<Vec<_>>(), left);
    assert!(left.iter().all(|ordinal| set.is_marker(*ordinal)));
    assert_eq!((set.live_count(), set.marker_count()), (left.len() as u64, left.len() as u64));
    let bytes: u64 = (0..u64::from(EACH)).filter(|n| n % 2 == 1).sum();
    assert_eq!(set.live_bytes(), bytes * u64::from(THREADS));
    assert_eq!(set.deaths(), (EACH / 2 * THREADS / 2) as usize);
}

/// A store's keys, each with versions whose numbers are their places, and its open views.
struct Keys {
    index: KeyIndex,
    table: VersionTable<Arc<()>>,
    set: LiveSet,
    /// The watermark, and how many views are open at each.
    views: Mutex<(Seq, BTreeMap<Seq, usize>)>,
    segment: Arc<()>,
}

/// Few, so that readers meet the writer.
const KEYS: u64 = 5;
const WRITES: u64 = 20_000;

fn hash(key: u64) -> KeyHash {
    KeyHash(key << 60 | key)
}

fn place(number: u64) -> Location {
    Location { segment: SegmentId(1), offset: u32::try_from(number).unwrap(), len: 1 }
}

/// The newest number up to the watermark that this key has: number n is a version of key n % KEYS.
fn expected(key: u64, watermark: Seq) -> u64 {
    watermark.0 - (watermark.0 - key) % KEYS
}

impl Keys {
    fn new() -> Keys {
        let index = KeyIndex::new();
        let set = LiveSet::new();
        for key in 0..KEYS {
            index.insert(hash(key), place(key));
            set.set_live(Ordinal(place(key).offset), 1);
        }
        let views = Mutex::new((Seq(KEYS - 1), BTreeMap::new()));
        Keys { index, table: VersionTable::new(), set, views, segment: Arc::new(()) }
    }

    /// Publishes a number, and forgets what no view needs.
    fn write(&self, number: u64) {
        let (key, killer) = (number % KEYS, Seq(number));
        let (old, new) = (place(number - KEYS), place(number));
        self.table.remember(hash(key), old, killer, Arc::clone(&self.segment));
        self.set.set_live(Ordinal(new.offset), 1);
        assert!(self.index.replace(hash(key), old, new));
        assert!(self.set.kill(Ordinal(old.offset), 1, killer, true));
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        views.0 = killer;
        let upto = views.1.keys().next().copied().unwrap_or(killer);
        drop(views);
        self.set.forget(upto);
        self.table.forget(upto);
    }

    fn open(&self) -> Seq {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        let watermark = views.0;
        *views.1.entry(watermark).or_insert(0) += 1;
        watermark
    }

    fn close(&self, watermark: Seq) {
        let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = views.1.get_mut(&watermark) {
            *open -= 1;
            if *open == 0 {
                views.1.remove(&watermark);
            }
        }
    }

    fn get(&self, key: u64, watermark: Seq) -> Option<u64> {
        let is_in = |at: &Location| u64::from(at.offset) <= watermark.0;
        let probed = self.index.candidates(hash(key)).into_iter().find(is_in);
        let found = probed.or_else(|| {
            let first = self.table.candidates(hash(key), watermark).next();
            first.map(|(at, _)| at).filter(is_in)
        });
        found.map(|at| u64::from(at.offset))
    }

    fn check_view(&self) {
        let watermark = self.open();
        for key in 0..KEYS {
            let number = expected(key, watermark);
            assert_eq!(self.get(key, watermark), Some(number), "key {key} at {watermark}");
            let ordinal = Ordinal(place(number).offset);
            assert!(self.set.is_live_at(ordinal, watermark), "number {number} is live at {watermark}");
            if let Some(before) = number.checked_sub(KEYS) {
                let ordinal = Ordinal(place(before).offset);
                assert!(!self.set.is_live_at(ordinal, watermark), "number {before} is dead at {watermark}");
            }
        }
        self.close(watermark);
    }
}

#[test]
fn every_view_finds_the_versions_of_its_moment_while_they_are_overwritten() {
    let keys = Keys::new();
    let written = AtomicU64::new(0);
    on_all_threads(|thread| {
        if thread == 0 {
            (KEYS..WRITES).for_each(|number| keys.write(number));
            written.store(1, Ordering::Release);
        } else {
            while written.load(Ordering::Acquire) == 0 {
                keys.check_view();
            }
        }
    });
    keys.check_view();
    keys.set.forget(Seq(WRITES));
    keys.table.forget(Seq(WRITES));
    assert_eq!((keys.table.len(), keys.set.deaths()), (0, 0));
    assert_eq!(Arc::strong_count(&keys.segment), 1);
    assert_eq!(keys.set.live_count(), KEYS);
}

/// Two numbers that belong together, and the count of those alive.
struct Pair {
    number: u64,
    doubled: u64,
    alive: Arc<AtomicUsize>,
}

impl Pair {
    fn new(number: u64, alive: &Arc<AtomicUsize>) -> Pair {
        alive.fetch_add(1, Ordering::Relaxed);
        Pair { number, doubled: number * 2, alive: Arc::clone(alive) }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        // Who still reads it sees that.
        self.doubled = u64::MAX;
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

#[test]
fn readers_of_a_published_value_see_one_value_and_all_of_them_are_dropped() {
    const UPDATES: u64 = 2000;
    let alive = Arc::new(AtomicUsize::new(0));
    let published = Published::new(Pair::new(0, &alive));
    on_all_threads(|thread| {
        let mut last = 0;
        for _ in 0..UPDATES {
            if thread % 4 == 0 {
                published.update(|pair| Pair::new(pair.number + 1, &alive));
            }
            let pair = published.load();
            assert_eq!(pair.doubled, pair.number * 2);
            assert!(pair.number >= last, "values do not go back");
            last = pair.number;
        }
    });
    assert_eq!(published.with(|pair| pair.number), UPDATES * u64::from(THREADS / 4), "no update is lost");
    let others = AtomicUsize::new(0);
    while alive.load(Ordering::Relaxed) > 1 {
        // Replacing something else drops what is left over, too.
        Published::new(0).store(others.fetch_add(1, Ordering::Relaxed));
        thread::yield_now();
    }
    drop(published);
    assert_eq!(alive.load(Ordering::Relaxed), 0);
}
