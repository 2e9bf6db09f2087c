//! The protocols between threads, by loom: every model is run in every order that the memory model allows. `cargo xtask models`.
//!
//! The structures are the real ones. What the engine adds to them (an index, the list of open views) is a few lines here. Models
//! that must fail show that a wrong order would be noticed.

use loom::sync::Arc;
use loom::thread;
use nadb_core::{KeyHash, Location, Ordinal, SegmentId, Seq};

use crate::sync::Mutex;
use crate::{LiveSet, VersionTable};

const HASH: KeyHash = KeyHash(7);
const RECORD: Ordinal = Ordinal(0);

fn live_set(records: u32) -> Arc<LiveSet> {
    let set = LiveSet::new();
    (0..records).for_each(|n| set.set_live(Ordinal(n), 1));
    Arc::new(set)
}

/// The place of the record with this number.
fn place_of(number: u64) -> Location {
    Location { segment: SegmentId(1), offset: u32::try_from(number).unwrap(), len: 1 }
}

/// The number of the record at a place, which a reader finds on the record.
fn number_at(at: Location) -> Seq {
    Seq(u64::from(at.offset))
}

fn an_older_view_reads_a_record_while_it_is_killed(kill: fn(&LiveSet)) {
    loom::model(move || {
        let set = live_set(1);
        let killer = thread::spawn({
            let set = Arc::clone(&set);
            move || kill(&set)
        });
        assert!(set.is_live_at(RECORD, Seq(4)), "a view of the time before has it");
        let is_live = set.is_live_at(RECORD, Seq(5));
        assert!(is_live || !set.is_live_at(RECORD, Seq(5)), "the dead do not come back");
        killer.join().unwrap();
        assert!(set.is_live_at(RECORD, Seq(4)) && !set.is_live_at(RECORD, Seq(5)));
        assert_eq!((set.live_count(), set.live_bytes(), set.deaths()), (0, 0, 1));
    });
}

#[test]
fn an_older_view_has_a_record_while_it_is_killed() {
    an_older_view_reads_a_record_while_it_is_killed(|set| assert!(set.kill(RECORD, 1, Seq(5), true)));
}

#[test]
#[should_panic(expected = "a view of the time before has it")]
fn clearing_the_bit_before_the_death_would_be_noticed() {
    an_older_view_reads_a_record_while_it_is_killed(|set| {
        assert!(set.is_live(RECORD) && set.clear_live(RECORD, 1));
        set.remember(RECORD, Seq(5));
    });
}

#[test]
fn changes_of_other_bits_of_the_word_hide_no_death() {
    loom::model(|| {
        let set = live_set(1);
        let changes: [fn(&LiveSet); 2] =
            [|set| assert!(set.kill(RECORD, 1, Seq(5), true)), |set| set.set_live(Ordinal(1), 1)];
        let changes = changes.map(|change| {
            let set = Arc::clone(&set);
            thread::spawn(move || change(&set))
        });
        assert!(set.is_live_at(RECORD, Seq(4)));
        changes.into_iter().for_each(|change| change.join().unwrap());
        assert_eq!(set.live_ordinals().collect::<Vec<_>>(), [Ordinal(1)]);
    });
}

/// A key of the index, and the order in which its place and the version table change.
struct Key {
    index: Mutex<Location>,
    table: VersionTable<()>,
    is_table_first: bool,
}

impl Key {
    fn new(is_table_first: bool) -> Key {
        Key { index: Mutex::new(place_of(1)), table: VersionTable::new(), is_table_first }
    }

    fn overwrite(&self, old: u64, new: u64) {
        if self.is_table_first {
            self.table.remember(HASH, place_of(old), Seq(new), ());
        }
        *self.index.lock() = place_of(new);
        if !self.is_table_first {
            self.table.remember(HASH, place_of(old), Seq(new), ());
        }
    }

    fn probe(&self, watermark: Seq) -> Option<Seq> {
        Some(number_at(*self.index.lock())).filter(|number| *number <= watermark)
    }

    fn look_up(&self, watermark: Seq) -> Option<Seq> {
        let first = self.table.candidates(HASH, watermark).next();
        first.map(|(at, ())| number_at(at)).filter(|number| *number <= watermark)
    }

    fn get(&self, watermark: Seq) -> Option<Seq> {
        self.probe(watermark).or_else(|| self.look_up(watermark))
    }
}

/// A view of watermark 1 and one of watermark 2 read a key that gets the versions 2 and 3 meanwhile.
fn views_read_while_a_key_is_overwritten(is_table_first: bool, get: fn(&Key, Seq) -> Option<Seq>) {
    loom::model(move || {
        let key = Arc::new(Key::new(is_table_first));
        let writer = thread::spawn({
            let key = Arc::clone(&key);
            move || {
                key.overwrite(1, 2);
                key.overwrite(2, 3);
            }
        });
        assert_eq!(get(&key, Seq(1)), Some(Seq(1)));
        writer.join().unwrap();
        assert_eq!(get(&key, Seq(2)), Some(Seq(2)));
    });
}

#[test]
fn a_view_misses_no_version() {
    views_read_while_a_key_is_overwritten(true, Key::get);
}

#[test]
#[should_panic(expected = "left: None")]
fn index_before_table_would_be_noticed() {
    views_read_while_a_key_is_overwritten(false, Key::get);
}

#[test]
#[should_panic(expected = "left: None")]
fn reading_the_table_before_the_index_would_be_noticed() {
    views_read_while_a_key_is_overwritten(true, |key, watermark| {
        key.look_up(watermark).or_else(|| key.probe(watermark))
    });
}

/// A store of one key with one record, and its views.
struct Store {
    set: LiveSet,
    key: Key,
    views: Mutex<Views>,
}

/// Under the lock under which the watermark advances.
struct Views {
    watermark: Seq,
    open: Vec<Seq>,
}

impl Store {
    fn new() -> Store {
        let set = LiveSet::new();
        set.set_live(RECORD, 1);
        let views = Mutex::new(Views { watermark: Seq(1), open: vec![] });
        Store { set, key: Key::new(true), views }
    }

    /// Overwrites the record by number 2, and forgets what no view may need, as `oldest` says.
    fn overwrite(&self, oldest: fn(&Views) -> Seq) {
        self.key.overwrite(1, 2);
        assert!(self.set.kill(RECORD, 1, Seq(2), true));
        let mut views = self.views.lock();
        views.watermark = Seq(2);
        let upto = oldest(&views);
        drop(views);
        self.set.forget(upto);
        self.key.table.forget(upto);
    }

    fn open_view(&self) -> Seq {
        let mut views = self.views.lock();
        let watermark = views.watermark;
        views.open.push(watermark);
        watermark
    }
}

fn a_view_is_open_while_deaths_are_forgotten(oldest: fn(&Views) -> Seq) {
    loom::model(move || {
        let store = Arc::new(Store::new());
        let writer = thread::spawn({
            let store = Arc::clone(&store);
            move || store.overwrite(oldest)
        });
        let watermark = store.open_view();
        assert_eq!(store.key.get(watermark), Some(watermark), "the version of the view's moment");
        assert_eq!(store.set.is_live_at(RECORD, watermark), watermark == Seq(1));
        writer.join().unwrap();
        assert_eq!(store.set.is_live_at(RECORD, watermark), watermark == Seq(1));
    });
}

#[test]
fn nothing_is_forgotten_that_an_open_view_has() {
    a_view_is_open_while_deaths_are_forgotten(|views| {
        views.open.iter().copied().fold(views.watermark, Seq::min)
    });
}

#[test]
#[should_panic(expected = "assertion")]
fn forgetting_past_an_open_view_would_be_noticed() {
    a_view_is_open_while_deaths_are_forgotten(|views| views.watermark);
}
