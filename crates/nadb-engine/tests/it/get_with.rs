//! Values that are read where they stand: from every place where a value can stand, while the reader does what it likes, and
//! never unverified.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use nadb_core::{
    Action, Durability, ErrorKind, ExpiryUpdate, ManualClock, Operation, Put, Result, SeededEntropy,
};
use nadb_engine::{Engine, Options, ReadMode, SegmentState};
use nadb_vfs::RealFs;
use tempfile::TempDir;

const NOW_MS: u64 = 1_700_000_000_000;
/// Values above this become blobs here.
const ABOVE: u64 = 3000;

fn options(read_mode: ReadMode) -> Options {
    let mut options = Options::default();
    options.memtable_size = 8 << 10;
    options.blob_above = Some(ABOVE);
    options.background = false;
    options.read_mode = read_mode;
    options.clock = Arc::new(ManualClock::new(NOW_MS));
    options.entropy = Arc::new(SeededEntropy::new(1));
    options
}

fn open(dir: &TempDir, options: Options) -> Engine {
    Engine::open(Arc::new(RealFs), &dir.path().join("store"), options).unwrap()
}

fn put(key: &str, value: &[u8]) -> Operation<'static> {
    Operation::new("n", key.as_bytes().to_vec(), Action::Put(Put::new(value.to_vec())))
}

fn set(engine: &Engine, key: &str, value: &[u8]) {
    engine.write(&[put(key, value)], None).unwrap();
}

/// What is shown of a key, `None` when nothing is.
fn shown(engine: &Engine, key: &str) -> Option<Vec<u8>> {
    let mut seen = Vec::new();
    let is_there = engine.get_with("n", key.as_bytes(), &mut |value| seen.push(value.to_vec())).unwrap();
    assert_eq!(seen.len(), usize::from(is_there), "shown once, or not at all");
    seen.pop()
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut noise = vec![0; len];
    nadb_core::Entropy::fill(&SeededEntropy::new(len as u64), &mut noise).unwrap();
    noise
}

fn has_sealed(engine: &Engine) -> bool {
    engine.segments().unwrap().iter().any(|segment| segment.state == SegmentState::Sealed)
}

fn check_every_kind(read_mode: ReadMode) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let options = || {
        let mut options = options(read_mode);
        options.clock = clock.clone();
        options
    };
    let engine = open(&dir, options());
    let values = [
        ("small", b"v".to_vec()),
        ("empty", Vec::new()),
        ("noise", noise(1500)),
        ("compressed", b"abcdefgh".repeat(200)),
        ("blob", noise(20_000)),
    ];
    values.iter().for_each(|(key, value)| set(&engine, key, value));
    set(&engine, "overwritten", b"before");
    set(&engine, "deleted", b"v");
    let snapshot = engine.snapshot().unwrap();
    set(&engine, "overwritten", b"after");
    engine.write(&[Operation::new("n", b"deleted".as_slice(), Action::Delete)], None).unwrap();
    let mut brief = Put::new(b"v".as_slice());
    brief.expiry = ExpiryUpdate::AtMs(NOW_MS + 10);
    engine.write(&[Operation::new("n", b"brief".as_slice(), Action::Put(brief))], None).unwrap();
    assert_eq!(shown(&engine, "brief").unwrap(), b"v");
    clock.advance_ms(10);
    let check = |engine: &Engine| {
        for (key, value) in &values {
            assert!(shown(engine, key).as_ref() == Some(value), "{key}");
        }
        assert_eq!(shown(engine, "overwritten").unwrap(), b"after");
        for absent in ["deleted", "brief", "none"] {
            assert_eq!(shown(engine, absent), None, "{absent}");
        }
        assert!(!engine.get_with("no namespace", b"k", &mut |_| panic!("nothing is there")).unwrap());
    };
    check(&engine);
    for (key, value) in [("overwritten", b"before".as_slice()), ("deleted", b"v")] {
        let mut seen = Vec::new();
        assert!(snapshot.get_with("n", key.as_bytes(), &mut |value| seen.push(value.to_vec())).unwrap());
        assert_eq!(seen, [value]);
    }
    assert!(!snapshot.get_with("n", b"brief", &mut |_| panic!("it came later")).unwrap());
    drop(snapshot);
    // One that is in memory alone, then all of them in sealed segments, then opened again.
    engine.write(&[put("buffered", b"b")], Some(Durability::Buffered)).unwrap();
    assert_eq!(shown(&engine, "buffered").unwrap(), b"b");
    (0..200).for_each(|n| set(&engine, "filler", &noise(n)));
    engine.maintain().unwrap();
    assert!(has_sealed(&engine));
    check(&engine);
    engine.close().unwrap();
    let closed = engine.get_with("n", b"small", &mut |_| panic!("the store is closed")).unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
    let engine = open(&dir, options());
    check(&engine);
    assert_eq!(shown(&engine, "buffered").unwrap(), b"b");
}

#[test]
fn values_of_every_kind_are_shown_where_they_are_mapped() {
    check_every_kind(ReadMode::Mapped);
}

#[test]
fn values_of_every_kind_are_shown_where_nothing_is_mapped() {
    check_every_kind(ReadMode::Positioned);
}

#[test]
fn what_is_shown_is_no_copy() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir, options(ReadMode::Mapped));
    let address = |engine: &Engine| {
        let mut address = 0;
        assert!(engine.get_with("n", b"k", &mut |value| address = value.as_ptr().addr()).unwrap());
        address
    };
    set(&engine, "k", &noise(100));
    assert_eq!(address(&engine), address(&engine));
    assert_eq!(address(&engine), engine.get("n", b"k").unwrap().unwrap().as_ptr().addr());
    (0..100).for_each(|n| set(&engine, "filler", &noise(n + 100)));
    engine.maintain().unwrap();
    engine.close().unwrap();
    let engine = open(&dir, options(ReadMode::Mapped));
    assert!(has_sealed(&engine));
    assert_eq!(address(&engine), engine.get("n", b"k").unwrap().unwrap().as_ptr().addr());
}

/// Everything that a store can do, done by who is being shown a value of it.
fn call_back(engine: &Engine, value: &[u8]) {
    let before = value.to_vec();
    assert_eq!(shown(engine, "k").unwrap(), before);
    set(engine, "k", b"overwritten meanwhile");
    set(engine, "new", &before);
    engine.write(&[Operation::new("n", b"other".as_slice(), Action::Delete)], None).unwrap();
    (0..300).for_each(|n| set(engine, "filler", &noise(n)));
    engine.maintain().unwrap();
    engine.flush().unwrap();
    let snapshot = engine.snapshot().unwrap();
    assert_eq!(snapshot.get("n", b"k").unwrap().unwrap(), b"overwritten meanwhile");
    assert!(engine.drop_namespace("m").unwrap());
    engine.verify().unwrap();
    assert_eq!(value, before);
}

#[test]
fn who_is_shown_a_value_may_call_the_store() {
    for read_mode in [ReadMode::Mapped, ReadMode::Positioned] {
        for value in [noise(100), b"abcdefgh".repeat(200), noise(20_000)] {
            let dir = tempfile::tempdir().unwrap();
            let engine = open(&dir, options(read_mode));
            set(&engine, "k", &value);
            set(&engine, "other", b"v");
            engine.write(&[Operation::new("m", b"k".as_slice(), Action::Put(Put::default()))], None).unwrap();
            assert!(engine.get_with("n", b"k", &mut |value| call_back(&engine, value)).unwrap());
            assert_eq!(shown(&engine, "k").unwrap(), b"overwritten meanwhile");
            assert_eq!(shown(&engine, "new").unwrap(), value);
            // Even its end; the bytes stay.
            let close = &mut |shown: &[u8]| {
                engine.close().unwrap();
                assert_eq!(shown, value);
            };
            assert!(engine.get_with("n", b"new", close).unwrap());
        }
    }
}

#[test]
fn a_panic_of_who_is_shown_a_value_leaves_the_store_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir, options(ReadMode::Mapped));
    for (key, value) in [("k", noise(10)), ("compressed", b"abcdefgh".repeat(200)), ("blob", noise(5000))] {
        set(&engine, key, &value);
        let panics = || engine.get_with("n", key.as_bytes(), &mut |_| panic!("on purpose"));
        assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
        assert_eq!(shown(&engine, key).unwrap(), value);
    }
    (0..100).for_each(|n| set(&engine, "filler", &noise(n + 100)));
    engine.maintain().unwrap();
    engine.verify().unwrap();
    engine.close().unwrap();
}

/// A store whose values are in sealed segments, which opening does not read.
fn closed_with_sealed_values(dir: &TempDir, value: &[u8]) {
    let engine = open(dir, options(ReadMode::Mapped));
    set(&engine, "k", value);
    (0..100).for_each(|n| set(&engine, "filler", &noise(n + 100)));
    engine.maintain().unwrap();
    assert!(has_sealed(&engine));
    engine.close().unwrap();
}

/// Flips a bit of the only place in a file of the store where `needle` stands.
fn damage(dir: &Path, needle: &[u8]) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
            bytes[at + needle.len() / 2] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            return;
        }
    }
    panic!("the value is in no file");
}

#[test]
fn a_flipped_bit_is_an_error_and_is_not_shown() {
    for read_mode in [ReadMode::Mapped, ReadMode::Positioned] {
        let dir = tempfile::tempdir().unwrap();
        let value = noise(77);
        closed_with_sealed_values(&dir, &value);
        damage(&dir.path().join("store"), &value);
        let engine = open(&dir, options(read_mode));
        let refused = |result: Result<bool>| {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corruption);
            assert!(error.path().is_some() && error.offset().is_some(), "{error}");
        };
        refused(engine.get_with("n", b"k", &mut |_| panic!("damaged bytes were shown")));
        let snapshot = engine.snapshot().unwrap();
        refused(snapshot.get_with("n", b"k", &mut |_| panic!("damaged bytes were shown")));
        refused(engine.get("n", b"k").map(|value| value.is_some()));
        refused(engine.contains("n", b"k"));
        assert!(shown(&engine, "filler").is_some());
    }
}
