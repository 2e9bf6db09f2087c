//! Listings: in the order of bytes, from both ends, with the bounds that were asked for.

use std::ops::Bound;

use nadb_core::{Entry, Listing, Result, ScanConsistency, ScanRequest};

use crate::Subject;
use crate::subject::{N, full};

/// Keys in order, whose order is easily got wrong.
const KEYS: [&[u8]; 12] =
    [b"\0", b"\0\0", b"\0\xFF", b"A", b"a", b"a\0", b"aa", b"a\xFF", b"b", b"\x7F", b"\x80", b"\xFF\xFF"];

fn fill(s: &Subject) {
    for at in [7, 2, 11, 0, 5, 9, 1, 10, 3, 8, 4, 6] {
        s.set(KEYS[at], KEYS[at]);
    }
    s.set_in("m", "neighbour", "");
    s.set_in("o", "neighbour", "");
}

fn keys(s: &Subject, request: ScanRequest) -> Vec<Vec<u8>> {
    let mut listing = s.backend().scan(N, request).unwrap();
    std::iter::from_fn(|| listing.next_key()).map(Result::unwrap).collect()
}

fn key(entry: Option<Result<Entry>>) -> Option<Vec<u8>> {
    entry.map(|entry| {
        let entry = entry.unwrap();
        assert!(entry.value == entry.key, "an entry has the value of its key");
        entry.key
    })
}

/// Asserts that a request has exactly `expected`, in both directions, as entries and as keys.
fn has(s: &Subject, request: &ScanRequest, expected: &[&[u8]]) {
    let scan = || s.backend().scan(N, request.clone()).unwrap();
    let reversed: Vec<&[u8]> = expected.iter().rev().copied().collect();
    let mut listing = scan();
    assert_eq!(std::iter::from_fn(|| key(listing.next())).collect::<Vec<_>>(), expected, "{request:?}");
    let mut listing = scan();
    assert_eq!(std::iter::from_fn(|| key(listing.next_back())).collect::<Vec<_>>(), reversed, "{request:?}");
    assert_eq!(keys(s, request.clone()), expected, "{request:?}");
    let mut listing = scan();
    let backward: Vec<_> = std::iter::from_fn(|| listing.next_key_back()).map(Result::unwrap).collect();
    assert_eq!(backward, reversed, "{request:?}");
}

pub(crate) fn keys_come_in_the_order_of_their_bytes(s: &mut Subject) {
    fill(s);
    has(s, &ScanRequest::all(), &KEYS);
}

pub(crate) fn ranges_have_the_bounds_that_they_say(s: &mut Subject) {
    fill(s);
    // Keys that are there, and some between, before and behind them.
    let ends: [&[u8]; 8] = [b"\0", b"\0\x01", b"a", b"a\0", b"ab", b"b", b"\xFF", b"\xFF\xFF\xFF"];
    let mut bounds = vec![Bound::Unbounded];
    for end in ends {
        bounds.extend([Bound::Included(end.to_vec()), Bound::Excluded(end.to_vec())]);
    }
    for from in &bounds {
        for to in &bounds {
            let request = ScanRequest::range((from.clone(), to.clone()));
            let expected: Vec<&[u8]> = KEYS.into_iter().filter(|key| request.contains(key)).collect();
            assert_eq!(keys(s, request.clone()), expected, "{request:?}");
            let listing = s.backend().scan(N, request.clone()).unwrap();
            let backward: Vec<_> = listing.rev().map(|entry| entry.unwrap().key).collect();
            assert!(backward.iter().rev().eq(&expected), "{request:?} from behind");
        }
    }
}

pub(crate) fn prefixes_have_what_begins_with_them(s: &mut Subject) {
    fill(s);
    for prefix in [&b""[..], b"\0", b"a", b"a\xFF", b"\xFF", b"\xFF\xFF", b"\xFF\xFF\xFF", b"c"] {
        let expected: Vec<&[u8]> = KEYS.into_iter().filter(|key| key.starts_with(prefix)).collect();
        has(s, &ScanRequest::prefix(prefix), &expected);
    }
}

pub(crate) fn both_ends_meet_in_the_middle(s: &mut Subject) {
    fill(s);
    for turn in 1..6 {
        let mut listing = s.backend().scan(N, ScanRequest::all()).unwrap();
        let (mut front, mut back) = (Vec::new(), Vec::new());
        for step in 0..KEYS.len() {
            // Entries and keys by turns: what was given as the one is not given again as the other.
            match (step % turn == 0, step % 2 == 0) {
                (true, true) => front.push(key(listing.next()).unwrap()),
                (true, false) => front.push(listing.next_key().unwrap().unwrap()),
                (false, true) => back.push(key(listing.next_back()).unwrap()),
                (false, false) => back.push(listing.next_key_back().unwrap().unwrap()),
            }
        }
        front.extend(back.into_iter().rev());
        assert_eq!(front, KEYS, "turn {turn}");
        assert!(listing.next().is_none() && listing.next_back().is_none());
        assert!(listing.next_key().is_none() && listing.next_key_back().is_none());
    }
}

pub(crate) fn entries_are_what_get_entry_gives(s: &mut Subject) {
    s.one(full("a", "1"));
    s.set("b", "");
    s.set("c", vec![b'c'; 5000]);
    s.set("b", "again");
    let listing = s.backend().scan(N, ScanRequest::all()).unwrap();
    let entries: Vec<Entry> = listing.map(Result::unwrap).collect();
    assert_eq!(entries.len(), 3);
    for entry in entries {
        assert_eq!(Some(&entry), s.backend().get_entry(N, &entry.key).unwrap().as_ref());
    }
}

pub(crate) fn what_is_seen_is_what_is_given(s: &mut Subject) {
    fill(s);
    s.one(full("full", "of everything"));
    s.set("long", vec![b'l'; 70_000]);
    s.set("empty", "");
    let scan = |s: &Subject| s.backend().scan(N, ScanRequest::all()).unwrap();
    let given: Vec<(Vec<u8>, Vec<u8>)> =
        scan(s).map(Result::unwrap).map(|entry| (entry.key, entry.value.to_vec())).collect();
    let mut seen = Vec::new();
    let mut listing = scan(s);
    while let Some(step) = listing.next_with(&mut |key, value| seen.push((key.to_vec(), value.to_vec()))) {
        step.unwrap();
    }
    assert!(seen == given, "from the front");
    assert!(listing.next_back_with(&mut |_, _| panic!("there is nothing left")).is_none());
    // From both ends, and what was given as an entry or a key is not seen again.
    let (mut listing, mut front, mut back) = (scan(s), Vec::new(), Vec::new());
    for step in 0..given.len() {
        let (list, from_front) = if step % 2 == 0 { (&mut front, true) } else { (&mut back, false) };
        let mut see = |key: &[u8], _: &[u8]| list.push(key.to_vec());
        match (step % 3, from_front) {
            (0, true) => see(&listing.next_key().unwrap().unwrap(), &[]),
            (0, false) => see(&listing.next_back().unwrap().unwrap().key, &[]),
            (_, true) => listing.next_with(&mut see).unwrap().unwrap(),
            (_, false) => listing.next_back_with(&mut see).unwrap().unwrap(),
        }
    }
    assert!(listing.next_with(&mut |_, _| panic!("there is nothing left")).is_none());
    front.extend(back.into_iter().rev());
    assert!(front.iter().eq(given.iter().map(|(key, _)| key)), "from both ends: {front:?}");
}

pub(crate) fn pages_go_on_after_the_last_key(s: &mut Subject) {
    fill(s);
    for size in [1, 5, 12, 100] {
        let (mut forward, mut backward) = (Vec::new(), Vec::new());
        let mut request = ScanRequest::all().expecting(size);
        loop {
            let page: Vec<_> = s.backend().scan(N, request.clone()).unwrap().take(size).collect();
            let Some(last) = page.last() else { break };
            request = request.after(&last.as_ref().unwrap().key);
            forward.extend(page.into_iter().map(|entry| entry.unwrap().key));
        }
        let mut request = ScanRequest::all().expecting(size);
        loop {
            let page: Vec<_> = s.backend().scan(N, request.clone()).unwrap().rev().take(size).collect();
            let Some(last) = page.last() else { break };
            request = request.before(&last.as_ref().unwrap().key);
            backward.extend(page.into_iter().map(|entry| entry.unwrap().key));
        }
        backward.reverse();
        assert!(forward == KEYS && backward == KEYS, "pages of {size}");
        // What is expected is advice, no limit.
        assert_eq!(s.backend().scan(N, ScanRequest::all().expecting(size)).unwrap().count(), KEYS.len());
    }
}

pub(crate) fn a_listing_has_each_live_key_once(s: &mut Subject) {
    for round in 0..3 {
        for key in ["a", "b", "c", "d"] {
            s.set(key, format!("{round}"));
        }
        s.delete("b");
    }
    s.delete("d");
    s.set("d", "3");
    s.delete("c");
    assert_eq!(s.keys(N), [b"a", b"d"]);
    s.delete("a");
    s.delete("d");
    assert!(s.keys(N).is_empty());
}

pub(crate) fn a_listing_is_of_its_own_namespace(s: &mut Subject) {
    assert!(s.keys(N).is_empty(), "a missing namespace is empty");
    fill(s);
    assert_eq!(s.keys("m"), [b"neighbour"]);
    assert!(s.keys("none").is_empty());
    assert!(s.backend().scan("none", ScanRequest::all()).unwrap().next_back().is_none());
}

pub(crate) fn many_records_come_both_ways(s: &mut Subject) {
    const COUNT: usize = 2_000;
    let name = |i: usize| format!("{i:05}");
    for i in 0..COUNT {
        let i = i * 1_009 % COUNT; // in no order
        s.set(name(i), name(i));
    }
    let expected: Vec<String> = (0..COUNT).map(name).collect();
    let listing = s.backend().scan(N, ScanRequest::all()).unwrap();
    // A listing may be read by another thread than the one that asked for it.
    let entries = std::thread::spawn(move || listing.collect::<Result<Vec<_>>>()).join().unwrap().unwrap();
    assert!(entries.iter().map(|entry| &entry.key[..]).eq(expected.iter().map(|key| key.as_bytes())));
    assert!(entries.iter().all(|entry| entry.value == entry.key));
    let mut listing = s.backend().scan(N, ScanRequest::range((Bound::Unbounded, Bound::Unbounded))).unwrap();
    let backward = std::iter::from_fn(|| listing.next_key_back()).map(Result::unwrap);
    assert!(backward.eq(expected.iter().rev().map(|key| key.as_bytes())));
}

pub(crate) fn later_writes_do_not_change_a_listing_or_hardly(s: &mut Subject) {
    let name = |i: usize| format!("{i:03}");
    for i in (0..300).step_by(3) {
        s.set(name(i), name(i));
        s.set(name(i + 1), name(i + 1));
    }
    let mut listing = s.backend().scan(N, ScanRequest::all()).unwrap();
    let entries = s.backend().scan(N, ScanRequest::all()).unwrap();
    let mut found = vec![listing.next_key().unwrap().unwrap()];
    for i in (0..300).step_by(3) {
        s.delete(name(i + 1));
        s.set(name(i + 2), "new");
    }
    found.extend(std::iter::from_fn(|| listing.next_key()).map(Result::unwrap));
    assert!(found.is_sorted_by(|a, b| a < b), "each key at most once, in order");
    let found: Vec<String> = found.into_iter().map(|key| String::from_utf8(key).unwrap()).collect();
    let as_it_was = |i: &usize| i % 3 != 2;
    if s.backend().capabilities().scans == ScanConsistency::Settled {
        assert_eq!(found, (0..300).filter(as_it_was).map(name).collect::<Vec<_>>());
        s.set(name(297), "overwritten");
        let entries: Vec<_> = entries.map(Result::unwrap).collect();
        assert!(entries.len() == 200 && entries.iter().all(|entry| entry.value == entry.key), "as they were");
    } else {
        let untouched: Vec<_> = (0..300).step_by(3).map(name).collect();
        assert!(untouched.iter().all(|key| found.contains(key)), "what nobody touches is there");
    }
    assert_eq!(s.keys(N).len(), 200);
}

/// Listings may go to another thread, as the trait demands.
const _: fn() = || {
    fn may_be_sent<T: Send + 'static>() {}
    may_be_sent::<Box<dyn Listing>>();
};
