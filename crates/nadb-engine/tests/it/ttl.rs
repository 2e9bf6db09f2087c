//! What has expired and is let go of: it stays gone through reopenings, clocks that jump and views, and nothing else goes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{Action, Clock, ExpiryUpdate, ManualClock, Operation, Put, SeededEntropy};
use nadb_engine::{Engine, Options};
use nadb_vfs::{Fs, MemFs};

const NOW_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 86_400_000;
/// Values above this become blobs here.
const ABOVE: usize = 3000;

/// A store in memory that can be opened again.
struct Place {
    fs: Arc<dyn Fs>,
    clock: Arc<ManualClock>,
    checkpoint_rows: u64,
    seed: std::cell::Cell<u64>,
}

impl Place {
    fn new() -> Place {
        Place {
            fs: Arc::new(MemFs::default()),
            clock: Arc::new(ManualClock::new(NOW_MS)),
            checkpoint_rows: u64::MAX,
            seed: std::cell::Cell::new(0),
        }
    }

    fn open(&self) -> Engine {
        self.seed.set(self.seed.get() + 1);
        let mut options = Options::default();
        options.memtable_size = 16 << 10;
        options.blob_above = Some(ABOVE as u64);
        options.background = false;
        options.checkpoint_rows = self.checkpoint_rows;
        options.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        options.entropy = Arc::new(SeededEntropy::new(self.seed.get()));
        Engine::open(Arc::clone(&self.fs), Path::new("store"), options).unwrap()
    }

    fn reopen(&self, engine: Engine) -> Engine {
        engine.close().unwrap();
        drop(engine);
        self.open()
    }
}

fn set_in(engine: &Engine, namespace: &str, key: &str, value: &[u8], expires_ms: Option<u64>) {
    let mut put = Put::new(value.to_vec());
    put.expiry = expires_ms.map_or(ExpiryUpdate::Never, ExpiryUpdate::AtMs);
    engine.write(&[Operation::new(namespace, key.as_bytes(), Action::Put(put))], None).unwrap();
}

fn set(engine: &Engine, key: &str, expires_ms: Option<u64>) {
    set_in(engine, "n", key, b"value", expires_ms);
}

fn has(engine: &Engine, key: &str) -> bool {
    engine.contains("n", key.as_bytes()).unwrap()
}

fn keys(engine: &Engine) -> u64 {
    engine.stats().unwrap().keys
}

fn reaped(engine: &Engine) -> u64 {
    engine.stats().unwrap().reaped_records
}

#[test]
fn what_was_let_go_of_stays_gone_under_an_earlier_clock() {
    for checkpoint_rows in [0, u64::MAX] {
        let place = Place { checkpoint_rows, ..Place::new() };
        let engine = place.open();
        set(&engine, "k", None);
        set(&engine, "k", Some(NOW_MS + 1000));
        set(&engine, "later", Some(NOW_MS + 2000));
        place.clock.advance_ms(1000);
        engine.maintain().unwrap();
        assert_eq!((keys(&engine), reaped(&engine)), (1, 1));
        place.clock.set_ms(NOW_MS);
        assert!(!has(&engine, "k") && has(&engine, "later"));
        engine.verify().unwrap();
        let engine = place.reopen(engine);
        assert!(!has(&engine, "k") && has(&engine, "later"), "checkpoint at {checkpoint_rows} rows");
        assert_eq!(engine.now_ms().unwrap(), NOW_MS + 1000);
        assert_eq!((keys(&engine), engine.verify().unwrap().keys), (1, 1));
        set(&engine, "k", None);
        assert!(has(&engine, "k"));
    }
}

#[test]
fn a_clock_a_hundred_years_ahead_hides_and_lets_nothing_go() {
    let place = Place::new();
    let engine = place.open();
    set(&engine, "k", Some(NOW_MS + 1000));
    set(&engine, "in a year", Some(NOW_MS + 365 * DAY_MS));
    place.clock.set_ms(NOW_MS + 36_525 * DAY_MS);
    engine.maintain().unwrap();
    assert!(!has(&engine, "k") && !has(&engine, "in a year"));
    let stats = engine.stats().unwrap();
    assert_eq!((stats.reaped_records, stats.time_mark_ms), (0, 0));
    assert!(stats.reaping_refused.is_some_and(|why| why.contains("30 days")));
    let engine = place.reopen(engine);
    engine.maintain().unwrap();
    place.clock.set_ms(NOW_MS + 1000);
    assert!(!has(&engine, "k") && has(&engine, "in a year"), "the glitch has left nothing behind");
    engine.maintain().unwrap();
    assert_eq!((keys(&engine), engine.stats().unwrap().reaping_refused), (1, None));
}

#[test]
fn a_clock_far_ahead_is_believed_after_an_hour_or_at_the_users_word() {
    let place = Place::new();
    let engine = place.open();
    set(&engine, "k", Some(NOW_MS + 1000));
    let ahead = NOW_MS + 100 * DAY_MS;
    place.clock.set_ms(ahead);
    engine.maintain().unwrap();
    assert_eq!(reaped(&engine), 0);
    for _ in 0..60 {
        place.clock.advance_ms(60_000);
        engine.maintain().unwrap();
    }
    assert_eq!(reaped(&engine), 1, "an hour has passed");
    place.clock.set_ms(ahead + 100 * DAY_MS);
    set(&engine, "k", Some(ahead + 100 * DAY_MS + 1));
    place.clock.advance_ms(1);
    engine.maintain().unwrap();
    assert_eq!(reaped(&engine), 1);
    let report = engine.purge_expired().unwrap();
    assert_eq!((report.records, report.upto_ms), (1, ahead + 100 * DAY_MS + 1));
    assert_eq!(engine.stats().unwrap().reaping_refused, None);
}

#[test]
fn trust_outlives_the_process() {
    let place = Place::new();
    let engine = place.open();
    set(&engine, "k", Some(NOW_MS + 44 * DAY_MS));
    place.clock.set_ms(NOW_MS + 20 * DAY_MS);
    let engine = place.reopen(engine);
    set(&engine, "other", None);
    let engine = place.reopen(engine);
    // 45 days after the store was made, 25 after it was last closed.
    place.clock.set_ms(NOW_MS + 45 * DAY_MS);
    engine.maintain().unwrap();
    assert_eq!(reaped(&engine), 1);
}

#[test]
fn a_snapshot_shows_what_is_let_go_of_for_as_long_as_it_is_held() {
    let place = Place::new();
    let engine = place.open();
    for n in 0..200 {
        set(&engine, &format!("k{n:03}"), Some(NOW_MS + 1000 + n));
    }
    let snapshot = engine.snapshot().unwrap();
    place.clock.advance_ms(5000);
    let later = engine.snapshot().unwrap();
    engine.maintain().unwrap();
    assert_eq!((keys(&engine), reaped(&engine)), (0, 200));
    let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    assert_eq!(snapshot.scan("n", all.clone()).unwrap().count(), 200);
    assert_eq!(snapshot.get("n", b"k007").unwrap().unwrap(), b"value");
    assert_eq!(later.scan("n", all.clone()).unwrap().count(), 0);
    assert!(later.get("n", b"k007").unwrap().is_none());
    set(&engine, "k007", None);
    assert_eq!(snapshot.metadata("n", b"k007").unwrap().unwrap().expires_ms, Some(NOW_MS + 1007));
    assert_eq!(snapshot.scan("n", all).unwrap().count(), 200);
    drop((snapshot, later));
    let stats = engine.stats().unwrap();
    assert_eq!((stats.remembered_deaths, stats.pinned_bytes), (0, 0));
    assert_eq!(engine.verify().unwrap().keys, 1);
}

#[test]
fn what_is_let_go_of_is_counted_alike_before_and_after_reopening() {
    for checkpoint_rows in [0, u64::MAX] {
        let place = Place { checkpoint_rows, ..Place::new() };
        let engine = place.open();
        for n in 0..2000u64 {
            set_in(
                &engine,
                if n % 2 == 0 { "a" } else { "b" },
                &format!("k{n}"),
                b"v",
                (n % 3 > 0).then_some(NOW_MS + n),
            );
        }
        engine.drop_namespace("b").unwrap();
        place.clock.advance_ms(1000);
        engine.maintain().unwrap();
        let counts = |engine: &Engine| {
            let scanned = engine.scan("a", (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded)).unwrap();
            (keys(engine), engine.verify().unwrap().keys, scanned.count())
        };
        let before = counts(&engine);
        let expected = (0..2000).step_by(2).filter(|n| n % 3 == 0 || *n > 1000).count();
        assert_eq!(before, (expected as u64, expected as u64, expected));
        let engine = place.reopen(engine);
        assert_eq!(counts(&engine), before, "checkpoint at {checkpoint_rows} rows");
        place.clock.advance_ms(1000);
        engine.maintain().unwrap();
        assert_eq!(keys(&engine), (0..2000).step_by(2).filter(|n| n % 3 == 0).count() as u64);
        engine.verify().unwrap();
    }
}

#[test]
fn another_expiry_keeps_a_blob_where_it_is_and_its_end_leaves_no_orphan() {
    let place = Place::new();
    let engine = place.open();
    let value = vec![7; 2 * ABOVE];
    set_in(&engine, "n", "k", &value, None);
    let expire = |at| Operation::new("n", b"k".as_slice(), Action::Expire(ExpiryUpdate::AtMs(at)));
    engine.write(&[expire(NOW_MS + 1000)], None).unwrap();
    engine.write(&[expire(NOW_MS + 2000)], None).unwrap();
    let blobs = |place: &Place| {
        let names = place.fs.list(Path::new("store")).unwrap();
        nadb_log::list_blobs(&names).len()
    };
    assert_eq!(blobs(&place), 1, "the value was not copied");
    let engine = place.reopen(engine);
    assert_eq!(engine.get("n", b"k").unwrap().unwrap(), value);
    assert_eq!(engine.metadata("n", b"k").unwrap().unwrap().expires_ms, Some(NOW_MS + 2000));
    place.clock.advance_ms(2000);
    assert_eq!(engine.purge_expired().unwrap().records, 1);
    let engine = place.reopen(engine);
    assert!(!has(&engine, "k"));
    engine.verify().unwrap();
}

#[test]
fn the_background_lets_go_by_itself() {
    let mut options = Options::default();
    options.reap_interval = Duration::from_millis(10);
    let engine = Engine::open(Arc::new(MemFs::default()), Path::new("store"), options).unwrap();
    let mut put = Put::new(b"v".as_slice());
    put.expiry = ExpiryUpdate::After(Duration::from_millis(1));
    engine.write(&[Operation::new("n", b"k".as_slice(), Action::Put(put))], None).unwrap();
    while reaped(&engine) == 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(keys(&engine), 0);
}
