//! Snapshots: one moment of the whole store, by every read, whatever is written while they are held. Backends without them
//! must say so, and are asked no more.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nadb_core::{
    BackendSnapshot, Entry, Error, ErrorKind, ExpiryUpdate, Feature, Listing, Metadata, Result, ScanRequest,
    Value, WriteOptions,
};

use crate::Subject;
use crate::subject::{N, TTL, delete, expiring, full, put, set};

type Everything = Vec<(String, Vec<Entry>)>;

/// How often a reader looks, at least, and how many batches another thread writes meanwhile, at least.
const ROUNDS: usize = 100;
const BATCHES: usize = 30;

/// How many batches that thread writes at a time.
const BURST: usize = 10;

/// The store as of now; `None` where the backend has no snapshots and says so.
fn take(s: &Subject) -> Option<Arc<dyn BackendSnapshot>> {
    if s.backend().capabilities().has(Feature::Snapshots) {
        return Some(s.backend().snapshot().unwrap());
    }
    let Err(error) = s.backend().snapshot() else { panic!("snapshots are not among the capabilities") };
    s.assert_unsupported(&error, Feature::Snapshots.name());
    None
}

/// Snapshot and store side by side, both of now.
fn take_with_all(s: &Subject) -> Option<(Arc<dyn BackendSnapshot>, Everything)> {
    Some((take(s)?, s.everything()))
}

fn names(at: &dyn BackendSnapshot) -> Vec<String> {
    let mut names = at.namespaces().unwrap();
    names.sort_unstable();
    names
}

fn entries(at: &dyn BackendSnapshot, namespace: &str, request: ScanRequest) -> Vec<Entry> {
    at.scan(namespace, request).unwrap().map(Result::unwrap).collect()
}

fn value(value: &str) -> Option<Value> {
    Some(Value::from(value.as_bytes().to_vec()))
}

/// What a snapshot shows of a key.
fn shown(at: &dyn BackendSnapshot, namespace: &str, key: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let is_there = at.get_with(namespace, key, &mut |value| all.push(value.to_vec())).unwrap();
    assert_eq!(all.len(), usize::from(is_there), "a value is shown once, and one that is not there never");
    all.pop()
}

/// What a reader of a snapshot says and gives.
fn read_by_stream(at: &dyn BackendSnapshot, namespace: &str, key: &[u8]) -> Option<(Metadata, Vec<u8>)> {
    let mut reader = at.reader(namespace, key).unwrap()?;
    let mut value = Vec::new();
    reader.read_to_end(&mut value).unwrap();
    Some((reader.metadata().clone(), value))
}

/// Asserts that every read of the snapshot shows `expected` and nothing else; `absent` are keys of [`N`] that it must not
/// show.
fn assert_shows(at: &dyn BackendSnapshot, expected: &Everything, absent: &[&str]) {
    assert!(names(at).iter().eq(expected.iter().map(|(name, _)| name)), "{:?}", names(at));
    for (name, expected) in expected {
        assert!(entries(at, name, ScanRequest::all()) == *expected, "a scan of {name} is of another moment");
        let mut listing = at.scan(name, ScanRequest::all()).unwrap();
        let backward: Vec<_> = std::iter::from_fn(|| listing.next_back()).map(Result::unwrap).collect();
        assert!(backward.iter().eq(expected.iter().rev()), "a scan of {name} backward is of another moment");
        for entry in expected {
            let key = &entry.key;
            assert!(at.get(name, key).unwrap().as_ref() == Some(&entry.value), "get is of another moment");
            assert_eq!(at.get_entry(name, key).unwrap().as_ref(), Some(entry));
            assert!(
                shown(at, name, key).is_some_and(|shown| entry.value == shown),
                "get_with is of another moment"
            );
            let (metadata, read) = read_by_stream(at, name, key).unwrap();
            assert!(metadata == entry.metadata && entry.value == read, "a reader is of another moment");
            assert_eq!(at.metadata(name, key).unwrap().as_ref(), Some(&entry.metadata));
            assert!(at.contains(name, key).unwrap());
        }
        let keys: Vec<_> = expected.iter().map(|entry| &entry.key[..]).collect();
        let values = at.get_many(name, &keys).unwrap();
        assert!(values.iter().map(Option::as_ref).eq(expected.iter().map(|entry| Some(&entry.value))));
    }
    for key in absent.iter().map(|key| key.as_bytes()) {
        assert!(at.get(N, key).unwrap().is_none() && !at.contains(N, key).unwrap(), "{key:?}");
        assert!(at.get_entry(N, key).unwrap().is_none() && at.metadata(N, key).unwrap().is_none());
        assert_eq!(at.get_many(N, &[key]).unwrap(), [None]);
        assert!(shown(at, N, key).is_none() && at.reader(N, key).unwrap().is_none());
    }
}

pub(crate) fn a_snapshot_shows_its_moment_by_every_read(s: &mut Subject) {
    for key in ["a", "b", "c", "d"] {
        s.one(full(key, &format!("{key} as it was")));
    }
    s.set("empty", "");
    s.set("gone before", "v");
    s.delete("gone before");
    s.set_in("m", "k", "v");
    let Some((at, before)) = take_with_all(s) else { return };
    assert_shows(&*at, &before, &["gone before", "new", "none"]);
    s.set("a", "new");
    s.one(full("a", "newer"));
    s.delete("b");
    s.set("b", "made again");
    s.delete("c");
    s.set("empty", "no more");
    s.set("new", "v");
    s.set("gone before", "back");
    s.set_in("m", "k", "w");
    s.set_in("made since", "k", "v");
    assert_shows(&*at, &before, &["gone before", "new", "none"]);
    let values = at.get_many(N, &[b"c", b"none", b"empty", b"c"]).unwrap();
    assert_eq!(values, [value("c as it was"), None, value(""), value("c as it was")]);
    assert!(at.get_many(N, &[]).unwrap().is_empty());
    assert!(at.get("made since", b"k").unwrap().is_none());
    assert_eq!(s.get("a").unwrap(), b"newer");
    assert_eq!(s.keys(N).len(), 6);
}

pub(crate) fn a_snapshot_has_a_clock_that_stands_still(s: &mut Subject) {
    s.one(expiring("expired", ExpiryUpdate::After(TTL)));
    s.pass_ttl();
    let start = s.now();
    s.one(expiring("brief", ExpiryUpdate::After(TTL)));
    let Some(at) = take(s) else { return };
    s.assert_alive(start, at.contains(N, b"brief").unwrap());
    // A slow machine may be too late for that; from here on it must stay as it is.
    let was_seen = at.contains(N, b"brief").unwrap();
    s.pass_ttl();
    let late = take(s).unwrap();
    assert!(entries(&*late, N, ScanRequest::all()).is_empty(), "one of now shows what has expired");
    assert!(!late.contains(N, b"brief").unwrap() && late.get(N, b"brief").unwrap().is_none());
    s.set("expired", "made again");
    let check = |expected: bool| {
        let expected: &[&[u8]] = if expected { &[b"brief"] } else { &[] };
        let keys: Vec<_> = entries(&*at, N, ScanRequest::all()).into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, expected);
        for key in [b"brief".as_slice(), b"expired"] {
            assert_eq!(at.contains(N, key).unwrap(), expected.contains(&key), "{key:?}");
            assert_eq!(at.get(N, key).unwrap().is_some(), expected.contains(&key));
            assert_eq!(at.metadata(N, key).unwrap().is_some(), expected.contains(&key));
        }
    };
    check(was_seen);
    s.set("brief", "made again");
    check(was_seen);
    s.delete("brief");
    check(was_seen);
    assert_eq!(s.keys(N), [b"expired"]);
}

pub(crate) fn a_snapshot_has_the_namespaces_of_its_moment(s: &mut Subject) {
    s.set("k", "first");
    s.set("only here", "v");
    s.set_in("m", "k", "v");
    let Some((first, with_first)) = take_with_all(s) else { return };
    assert_eq!(names(&*first), ["m", N]);
    assert!(s.backend().drop_namespace(N).unwrap());
    assert_shows(&*first, &with_first, &["new"]);
    let (none, with_none) = take_with_all(s).unwrap();
    assert_eq!(names(&*none), ["m"]);
    s.set("k", "second");
    s.set("new", "v");
    let (second, with_second) = take_with_all(s).unwrap();
    s.set_in("z", "k", "v");
    s.set("k", "third");
    assert_shows(&*first, &with_first, &["new"]);
    assert_shows(&*none, &with_none, &["k", "only here", "new"]);
    assert_shows(&*second, &with_second, &["only here"]);
    assert!(second.get("z", b"k").unwrap().is_none());
    drop(first);
    assert_shows(&*second, &with_second, &["only here"]);
    assert_eq!(s.get("k").unwrap(), b"third");
}

pub(crate) fn a_namespace_between_two_snapshots_is_in_the_later_one(s: &mut Subject) {
    s.set_in("m", "k", "v");
    let Some((early, before)) = take_with_all(s) else { return };
    for round in 0..3 {
        s.set("k", "v");
        s.set(format!("new in {round}"), "v");
        let (late, after) = take_with_all(s).unwrap();
        assert!(s.backend().drop_namespace(N).unwrap());
        assert_shows(&*early, &before, &["k"]);
        assert_shows(&*late, &after, &["none"]);
    }
    s.set("k", "v");
    let (late, after) = take_with_all(s).unwrap();
    assert!(s.backend().drop_namespace(N).unwrap());
    drop(early);
    assert_shows(&*late, &after, &["none"]);
}

pub(crate) fn each_snapshot_has_a_moment_of_its_own(s: &mut Subject) {
    let mut held = Vec::new();
    for i in 0..8 {
        s.set("k", format!("{i}"));
        s.set(format!("new {i}"), "v");
        if i > 0 {
            s.delete(format!("new {}", i - 1));
        }
        let Some(pair) = take_with_all(s) else { return };
        held.push(pair);
    }
    assert!(held.is_sorted_by(|(a, _), (b, _)| a.version() < b.version()), "later ones have later versions");
    // They go in no order, and those that stay do not change.
    for at in [3, 0, 5, 1] {
        held.remove(at.min(held.len() - 1));
        for (snapshot, expected) in &held {
            assert_shows(&**snapshot, expected, &["none"]);
        }
        s.set("k", format!("without {at}"));
    }
    let (same, again) = (take(s).unwrap(), take(s).unwrap());
    assert_eq!(same.version(), again.version(), "nothing was written between them");
    drop(same);
    s.set("k", "last");
    assert_eq!(again.get(N, b"k").unwrap(), value("without 1"));
}

pub(crate) fn the_version_of_a_snapshot_is_between_its_writes_and_later_ones(s: &mut Subject) {
    for round in 0..3 {
        let before = s.set_version("k", "before");
        let Some(at) = take(s) else { return };
        assert!(at.version() >= before, "{} is below {before}", at.version());
        let after = s.set_version("k", "after");
        assert!(at.version() < after, "round {round}: {} is not below {after}", at.version());
        assert_eq!(at.metadata(N, b"k").unwrap().map(|metadata| metadata.version), Some(before));
        s.delete("k");
        assert!(take(s).unwrap().version() >= after);
    }
}

pub(crate) fn scans_of_a_snapshot_go_both_ways(s: &mut Subject) {
    for key in ["a", "ab", "abc", "b", "c", "d"] {
        s.one(full(key, key));
    }
    s.set_in("m", "neighbour", "v");
    let Some(at) = take(s) else { return };
    for key in ["a", "abc", "d"] {
        s.delete(key);
    }
    s.set("aa", "new");
    s.set("c", "new");
    let scan = |request: ScanRequest| -> Vec<String> {
        let listing: Box<dyn Listing> = at.scan(N, request).unwrap();
        listing.map(|entry| String::from_utf8(entry.unwrap().key).unwrap()).collect()
    };
    let from_to = |from: &[u8], to: &[u8]| {
        ScanRequest::range((Bound::Excluded(from.to_vec()), Bound::Included(to.to_vec())))
    };
    assert_eq!(scan(ScanRequest::all()), ["a", "ab", "abc", "b", "c", "d"]);
    assert_eq!(scan(ScanRequest::prefix(b"ab")), ["ab", "abc"]);
    assert_eq!(scan(from_to(b"a", b"c")), ["ab", "abc", "b", "c"]);
    assert_eq!(scan(ScanRequest::all().after(b"b").expecting(1)), ["c", "d"]);
    assert_eq!(scan(ScanRequest::all().before(b"ab")), ["a"]);
    assert_eq!(scan(from_to(b"d", b"a")), [""; 0]);
    assert!(at.scan("none", ScanRequest::all()).unwrap().next().is_none());
    // From both ends, keys and entries in turn; the listing outlives its snapshot.
    let mut listing = at.scan(N, ScanRequest::all()).unwrap();
    assert_eq!(listing.next_key_back().unwrap().unwrap(), b"d");
    drop(at);
    s.set("b", "newer");
    let c = listing.next_back().unwrap().unwrap();
    assert_eq!((&c.key[..], &c.value[..], c.metadata.tags.len()), (&b"c"[..], &b"c"[..], 2));
    assert_eq!(listing.next_key().unwrap().unwrap(), b"a");
    let rest = thread::spawn(move || listing.collect::<Result<Vec<_>>>()).join().unwrap().unwrap();
    let rest: Vec<_> = rest.iter().map(|entry| (&entry.key[..], &entry.value[..])).collect();
    assert_eq!(rest, [(&b"ab"[..], &b"ab"[..]), (b"abc", b"abc"), (b"b", b"b")]);
}

pub(crate) fn a_snapshot_stays_through_much_writing(s: &mut Subject) {
    const COUNT: usize = 200;
    let name = |i: usize| format!("{i:03}");
    for i in 0..COUNT {
        s.one(full(&name(i), &"first ".repeat(i % 50)));
    }
    let Some((at, before)) = take_with_all(s) else { return };
    let mut middle = None;
    for round in 0..4 {
        for i in (0..COUNT).filter(|i| i % 4 >= round) {
            s.set(name(i), format!("{round}").repeat(200));
        }
        for i in (round..COUNT).step_by(7) {
            s.delete(name(i));
        }
        if round == 1 {
            middle = take_with_all(s);
        }
    }
    let (middle, in_the_middle) = middle.unwrap();
    assert_shows(&*at, &before, &["none"]);
    assert_shows(&*middle, &in_the_middle, &["none"]);
    if s.backend().capabilities().has(Feature::Verify) {
        s.backend().verify().unwrap();
    }
    drop(at);
    assert_shows(&*middle, &in_the_middle, &["none"]);
}

pub(crate) fn writers_go_on_while_a_snapshot_is_held(s: &mut Subject) {
    s.set("k", "0");
    s.set_in("m", "k", "v");
    let Some((at, before)) = take_with_all(s) else { return };
    let backend = Arc::clone(s.backend());
    // By another thread, while this one has a listing that it has begun.
    let mut listing = at.scan(N, ScanRequest::all()).unwrap();
    let written = thread::spawn(move || -> Result<()> {
        for i in 1..=50 {
            backend.write(&[set("k", &format!("{i}"))], &WriteOptions::default())?;
            backend.write(&[set("other", "v")], &WriteOptions::default())?;
            backend.write(&[delete("other")], &WriteOptions::default())?;
        }
        backend.drop_namespace("m").map(drop)
    });
    written.join().unwrap().expect("a snapshot hinders no writer");
    assert_eq!(s.get("k").unwrap(), b"50");
    assert_eq!(listing.next().unwrap().unwrap().value, b"0");
    assert!(listing.next().is_none());
    assert_shows(&*at, &before, &["other"]);
}

pub(crate) fn a_snapshot_has_a_batch_whole_or_not_at_all(s: &mut Subject) {
    let write = |number: usize| {
        let number = number.to_string();
        let batch = [set("{b}x", &number), set("{b}y", &number), set("{b}z", &number)];
        s.backend().write(&batch, &WriteOptions::default()).map(drop)
    };
    write(0).unwrap();
    if take(s).is_none() {
        return;
    }
    let keys: [&[u8]; 3] = [b"{b}x", b"{b}y", b"{b}z"];
    let is_one =
        |values: &[Option<Value>]| values.len() == 3 && values.iter().all(|value| *value == values[0]);
    let backend = s.backend();
    let is_enough = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut last = 0;
            let mut rounds = 0;
            while rounds < ROUNDS || !is_enough.load(Ordering::SeqCst) {
                rounds += 1;
                let at = backend.snapshot().unwrap();
                assert!(at.version() >= last, "snapshots go forward");
                last = at.version();
                let one_by_one = keys.map(|key| at.get(N, key).unwrap());
                assert!(is_one(&one_by_one), "half a batch, by get");
                assert!(at.get_many(N, &keys).unwrap() == one_by_one, "get_many differs from get");
                let scanned = entries(&*at, N, ScanRequest::all()).into_iter().map(|entry| Some(entry.value));
                assert!(scanned.eq(one_by_one), "a scan differs from get");
                assert!(
                    is_one(&backend.get_many(N, &keys).unwrap()),
                    "half a batch, by get_many of the store"
                );
            }
        });
        let goes_on = |number: &usize| {
            is_enough.store(*number > BATCHES, Ordering::SeqCst);
            !reader.is_finished()
        };
        // In bursts, for a scan that has to pass over all that was overwritten falls behind a writer that never rests; and to
        // the reader's end, for else a fast one is done before the reader begins.
        let paced = |number: usize| {
            if number.is_multiple_of(BURST) {
                thread::sleep(Duration::from_millis(1));
            }
            write(number)
        };
        let written = (1..).take_while(goes_on).try_for_each(paced);
        is_enough.store(true, Ordering::SeqCst);
        reader.join().unwrap();
        written.unwrap();
    });
}

pub(crate) fn a_reader_of_a_snapshot_keeps_its_moment(s: &mut Subject) {
    let long = s.backend().capabilities().value_bytes_max.min(300_000);
    let values = [vec![b's'; 10], vec![b'l'; usize::try_from(long).unwrap()], Vec::new()];
    for value in &values {
        s.set("k", value);
        let Some(at) = take(s) else { return };
        s.set("k", "overwritten");
        let mut reader = at.reader(N, b"k").unwrap().unwrap();
        assert_eq!(reader.metadata().size, value.len() as u64);
        // It outlives the snapshot, and goes to any place.
        drop(at);
        s.delete("k");
        let (mut read, half) = (Vec::new(), value.len() / 2);
        assert_eq!(reader.seek(SeekFrom::Start(half as u64)).unwrap(), half as u64);
        reader.read_to_end(&mut read).unwrap();
        assert!(read == value[half..], "a reader ends with its snapshot, or is of another moment");
        read.clear();
        reader.rewind().unwrap();
        let again =
            thread::spawn(move || reader.read_to_end(&mut read).map(|_| read)).join().unwrap().unwrap();
        assert!(again == *value, "a reader that goes back reads it all again");
    }
}

pub(crate) fn reads_of_a_snapshot_beyond_a_limit_are_refused(s: &mut Subject) {
    s.one(put("k", nadb_core::Put::new(b"v".as_slice())));
    let Some(at) = take(s) else { return };
    let long_key = vec![b'k'; nadb_core::limits::KEY_BYTES_MAX + 1];
    let refused = |what: &str, error: Option<Error>, kind| match error {
        Some(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
        None => panic!("{what} takes what is beyond the limit"),
    };
    for (name, key, kind) in [
        ("", b"k".as_slice(), ErrorKind::Limit),
        ("a\0b", b"k", ErrorKind::InvalidInput),
        (N, b"", ErrorKind::Limit),
        (N, &long_key, ErrorKind::Limit),
    ] {
        refused("get", at.get(name, key).err(), kind);
        refused("get_with", at.get_with(name, key, &mut |_| panic!("a value is shown")).err(), kind);
        refused("reader", at.reader(name, key).err(), kind);
        refused("get_entry", at.get_entry(name, key).err(), kind);
        refused("metadata", at.metadata(name, key).err(), kind);
        refused("contains", at.contains(name, key).err(), kind);
        refused("get_many", at.get_many(name, &[key]).err(), kind);
    }
    refused("scan", at.scan("", ScanRequest::all()).err(), ErrorKind::Limit);
}

pub(crate) fn a_snapshot_ends_with_its_store(s: &mut Subject) {
    s.set("a", "1");
    s.set("b", "2");
    let Some(at) = take(s) else { return };
    let read = at.get(N, b"a").unwrap().unwrap();
    let mut listing = at.scan(N, ScanRequest::all()).unwrap();
    s.close();
    let closed = |what: &str, error: Option<Error>| match error {
        Some(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{what}: {error}"),
        None => panic!("{what} works on a snapshot of a closed store"),
    };
    closed("get", at.get(N, b"a").err());
    closed("get_with", at.get_with(N, b"a", &mut |_| panic!("a value is shown")).err());
    closed("reader", at.reader(N, b"a").err());
    closed("get of nothing", at.get("none", b"a").err());
    closed("get_entry", at.get_entry(N, b"a").err());
    closed("metadata", at.metadata(N, b"a").err());
    closed("contains", at.contains(N, b"a").err());
    closed("get_many", at.get_many(N, &[b"a"]).err());
    closed("namespaces", at.namespaces().err());
    closed("scan", at.scan(N, ScanRequest::all()).and_then(|mut scan| scan.next().transpose()).err());
    // What a listing has fetched it may still give; then it says so, or ends.
    for entry in listing.by_ref().take(3) {
        assert!(
            entry
                .as_ref()
                .map_or_else(|error| error.kind() == ErrorKind::Closed, |entry| entry.value.len() == 1)
        );
    }
    assert_eq!(read, b"1");
}
