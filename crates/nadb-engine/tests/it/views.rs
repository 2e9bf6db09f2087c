//! Views: what a snapshot and a scan show of their moment, whatever comes after it, and what is remembered for them.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{Action, ErrorKind, ExpiryUpdate, ManualClock, Operation, Put};
use nadb_engine::{Engine, Options, ReadMode, Scan, SegmentState};
use nadb_vfs::{CallKind, Fault, FaultKind, Fs, MemFs, RealFs, SimFs};

const DIR: &str = "/store";
const ALL: (Bound<Vec<u8>>, Bound<Vec<u8>>) = (Bound::Unbounded, Bound::Unbounded);

fn options() -> Options {
    let mut options = Options::default();
    options.memtable_size = 4096;
    options.background = false;
    options
}

fn engine() -> Engine {
    open(Arc::new(MemFs::default()), Path::new(DIR))
}

fn open(fs: Arc<dyn Fs>, dir: &Path) -> Engine {
    Engine::open(fs, dir, options()).unwrap()
}

fn put<'a>(name: &'a str, key: &'a str, value: &'a [u8]) -> Operation<'a> {
    Operation::new(name, key.as_bytes(), Action::Put(Put::new(value)))
}

fn set(engine: &Engine, name: &str, key: &str, value: &[u8]) {
    engine.write(&[put(name, key, value)], None).unwrap();
}

fn delete(engine: &Engine, name: &str, key: &str) {
    engine.write(&[Operation::new(name, key.as_bytes(), Action::Delete)], None).unwrap();
}

fn keys(scan: Scan) -> Vec<String> {
    scan.keys().map(|key| String::from_utf8(key.unwrap()).unwrap()).collect()
}

/// Writes until so many segments are full; the values do not compress, and are no blobs.
fn fill(engine: &Engine, full: usize) {
    for n in 0u32.. {
        let is_full = |s: &nadb_engine::SegmentInfo| s.state == SegmentState::Full;
        if engine.segments().unwrap().into_iter().filter(is_full).count() >= full {
            return;
        }
        let value: Vec<u8> = (0..225u32).flat_map(|at| (n * 7919 + at * at).to_be_bytes()).collect();
        set(engine, "fill", &format!("{:03}", n % 50), &value);
    }
}

#[track_caller]
fn check_nothing_remembered(engine: &Engine, empty: u64) {
    let stats = engine.stats().unwrap();
    assert_eq!((stats.views, stats.remembered_deaths, stats.versions_bytes), (0, 0, empty));
}

#[test]
fn a_snapshot_finds_what_was_overwritten_and_deleted_since() {
    let engine = engine();
    let empty = engine.stats().unwrap().versions_bytes;
    set(&engine, "n", "a", b"1");
    set(&engine, "n", "b", b"2");
    let then = engine.snapshot().unwrap();
    set(&engine, "n", "a", b"new");
    delete(&engine, "n", "b");
    let between = engine.snapshot().unwrap();
    set(&engine, "n", "a", b"newest");
    assert_eq!(then.get("n", b"a").unwrap().unwrap(), b"1");
    assert_eq!(then.get("n", b"b").unwrap().unwrap(), b"2");
    assert_eq!(between.get("n", b"a").unwrap().unwrap(), b"new");
    assert!(between.get("n", b"b").unwrap().is_none());
    assert_eq!(engine.get("n", b"a").unwrap().unwrap(), b"newest");
    drop(then);
    assert_eq!(between.get("n", b"a").unwrap().unwrap(), b"new");
    drop(between);
    check_nothing_remembered(&engine, empty);
}

#[test]
fn a_key_that_is_overwritten_shows_as_it_was_and_not_as_it_is() {
    let engine = engine();
    set(&engine, "n", "a", b"1");
    let then = engine.snapshot().unwrap();
    set(&engine, "n", "a", b"2");
    set(&engine, "n", "b", b"2");
    assert_eq!(then.get("n", b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(then.get("n", b"b").unwrap().as_deref(), None);
}

#[test]
fn a_scan_shows_nothing_that_was_written_since() {
    let engine = engine();
    set(&engine, "n", "b", b"1");
    let then = engine.snapshot().unwrap();
    let mut begun = then.scan("n", ALL).unwrap();
    set(&engine, "n", "a", b"2");
    set(&engine, "n", "b", b"2");
    set(&engine, "n", "c", b"2");
    assert_eq!(keys(then.scan("n", ALL).unwrap()), ["b"]);
    assert_eq!(begun.next().unwrap().unwrap().value, b"1");
    assert!(begun.next().is_none() && begun.next_back().is_none());
    assert_eq!(keys(engine.scan("n", ALL).unwrap()), ["a", "b", "c"]);
}

#[test]
fn a_view_has_its_own_time() {
    let clock = Arc::new(ManualClock::new(1000));
    let mut options = options();
    options.clock = clock.clone();
    let engine = Engine::open(Arc::new(MemFs::default()), Path::new(DIR), options).unwrap();
    let mut passing = Put::new(b"1".as_slice());
    passing.expiry = ExpiryUpdate::After(Duration::from_millis(10));
    engine.write(&[Operation::new("n", b"a".as_slice(), Action::Put(passing))], None).unwrap();
    let then = engine.snapshot().unwrap();
    clock.set_ms(1010);
    assert!(engine.get("n", b"a").unwrap().is_none());
    assert_eq!(then.get("n", b"a").unwrap().unwrap(), b"1");
    assert_eq!(keys(then.scan("n", ALL).unwrap()), ["a"]);
    let later = engine.snapshot().unwrap();
    clock.set_ms(1000);
    assert!(later.get("n", b"a").unwrap().is_none());
    assert!(keys(later.scan("n", ALL).unwrap()).is_empty());
}

#[test]
fn a_dropped_namespace_stays_for_the_views_that_have_it() {
    let engine = engine();
    let empty = engine.stats().unwrap().versions_bytes;
    set(&engine, "n", "a", b"1");
    let then = engine.snapshot().unwrap();
    engine.drop_namespace("n").unwrap();
    set(&engine, "n", "b", b"2");
    engine.maintain().unwrap();
    assert_eq!(then.get("n", b"a").unwrap().unwrap(), b"1");
    assert!(then.get("n", b"b").unwrap().is_none());
    assert_eq!(keys(then.scan("n", ALL).unwrap()), ["a"]);
    assert_eq!(keys(engine.scan("n", ALL).unwrap()), ["b"]);
    engine.verify().unwrap();
    drop(then);
    engine.maintain().unwrap();
    check_nothing_remembered(&engine, empty);
    engine.verify().unwrap();
}

/// The oldest view says nothing of a namespace that came after it.
#[test]
fn a_namespace_that_came_and_went_after_an_older_view_stays_for_those_between() {
    let engine = engine();
    let before = engine.snapshot().unwrap();
    set(&engine, "n", "a", b"1");
    let between = engine.snapshot().unwrap();
    engine.drop_namespace("n").unwrap();
    engine.maintain().unwrap();
    assert_eq!(between.namespaces().unwrap(), ["n"]);
    assert_eq!(between.get("n", b"a").unwrap().unwrap(), b"1");
    assert_eq!(keys(between.scan("n", ALL).unwrap()), ["a"]);
    assert!(before.namespaces().unwrap().is_empty());
    drop(between);
    // The older one does not keep it.
    engine.maintain().unwrap();
    assert_eq!(engine.verify().unwrap().keys, 0);
    drop(before);
}

/// Trap 4: neither sealing nor closing takes away what a reader holds.
#[test]
fn what_was_read_before_a_seal_stays_after_it_and_after_closing() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(Arc::new(RealFs), dir.path());
    let text = b"a value that is long enough to be looked at twice".as_slice();
    set(&engine, "n", "a", text);
    set(&engine, "n", "b", text);
    let unsealed = engine.get("n", b"a").unwrap().unwrap();
    let then = engine.snapshot().unwrap();
    let mut scan = then.scan("n", ALL).unwrap();
    assert_eq!(scan.next().unwrap().unwrap().key, b"a");
    fill(&engine, 2);
    engine.maintain().unwrap();
    let is_sealed = |s: &nadb_engine::SegmentInfo| s.state == SegmentState::Sealed;
    assert!(engine.segments().unwrap().iter().filter(|s| is_sealed(s)).count() >= 2);
    let sealed = then.get("n", b"a").unwrap().unwrap();
    set(&engine, "n", "a", b"other");
    set(&engine, "n", "b", b"other");
    let last = scan.next().unwrap().unwrap();
    assert_eq!((last.key.as_slice(), &last.value[..]), (b"b".as_slice(), text));
    let mut half = engine.scan("fill", ALL).unwrap();
    engine.close().unwrap();
    assert_eq!(half.next().unwrap().unwrap_err().kind(), ErrorKind::Closed);
    assert!(half.next().is_none());
    assert_eq!(then.get("n", b"a").unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(then.scan("n", ALL).unwrap_err().kind(), ErrorKind::Closed);
    // Also while the snapshot is still held.
    let again = open(Arc::new(RealFs), dir.path());
    assert_eq!(again.get("n", b"a").unwrap().unwrap(), b"other");
    again.verify().unwrap();
    drop((again, then, half, scan, engine));
    dir.close().unwrap();
    assert_eq!((&unsealed[..], &sealed[..], &last.value[..]), (text, text, text));
}

/// Of one key the records stand in several sealed segments.
#[test]
fn of_several_records_the_newest_is_found_after_opening() {
    let fs: Arc<dyn Fs> = Arc::new(MemFs::default());
    let engine = open(Arc::clone(&fs), Path::new(DIR));
    for round in ["1", "2", "3"] {
        set(&engine, "n", "a", round.as_bytes());
        set(&engine, "n", "b", round.as_bytes());
        if round == "2" {
            delete(&engine, "n", "c");
            delete(&engine, "n", "b");
        } else {
            set(&engine, "n", "c", round.as_bytes());
        }
        if round == "3" {
            delete(&engine, "n", "c");
        }
        fill(&engine, 1);
        engine.maintain().unwrap();
    }
    engine.close().unwrap();
    let engine = open(fs, Path::new(DIR));
    assert!(engine.stats().unwrap().segments >= 4);
    assert_eq!(engine.get("n", b"a").unwrap().unwrap(), b"3");
    assert_eq!(engine.get("n", b"b").unwrap().unwrap(), b"3");
    assert!(engine.get("n", b"c").unwrap().is_none());
    assert_eq!(keys(engine.scan("n", ALL).unwrap()), ["a", "b"]);
    engine.verify().unwrap();
}

/// Trap 14: what cannot be read is not absent.
#[test]
fn a_medium_that_fails_is_an_error_and_no_absent_key() {
    let disk = SimFs::new(1);
    let mut options = options();
    options.read_mode = ReadMode::Positioned;
    let engine = Engine::open(Arc::new(disk.clone()), Path::new(DIR), options).unwrap();
    set(&engine, "n", "a", b"1");
    set(&engine, "n", "b", b"2");
    let then = engine.snapshot().unwrap();
    fill(&engine, 1);
    engine.maintain().unwrap();
    set(&engine, "n", "a", b"new");
    type Read<'a> = Box<dyn Fn() -> nadb_core::Result<()> + 'a>;
    let reads: Vec<Read<'_>> = vec![
        Box::new(|| engine.get("n", b"b").map(|value| assert_eq!(value.unwrap(), b"2"))),
        Box::new(|| engine.get_entry("n", b"b").map(|entry| assert!(entry.is_some()))),
        Box::new(|| engine.metadata("n", b"b").map(|metadata| assert!(metadata.is_some()))),
        Box::new(|| engine.contains("n", b"b").map(|is_there| assert!(is_there))),
        Box::new(|| engine.get_many("n", &[b"a", b"b"]).map(|all| assert!(all.iter().all(Option::is_some)))),
        Box::new(|| {
            engine.scan("n", ALL)?.collect::<Result<Vec<_>, _>>().map(|all| assert_eq!(all.len(), 2))
        }),
        Box::new(|| then.get("n", b"a").map(|value| assert_eq!(value.unwrap(), b"1"))),
        Box::new(|| {
            then.scan("n", ALL)?.rev().collect::<Result<Vec<_>, _>>().map(|all| assert_eq!(all.len(), 2))
        }),
    ];
    for (at, read) in reads.iter().enumerate() {
        disk.inject(Fault::at(CallKind::Read, 1, FaultKind::Eio));
        assert_eq!(read().unwrap_err().kind(), ErrorKind::Io, "read {at}");
        assert_eq!(disk.clear_faults(), 0);
        read().unwrap();
    }
}
