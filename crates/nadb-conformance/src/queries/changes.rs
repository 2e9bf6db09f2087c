//! Queries while the store changes: pages, overwrites, deletes and expiry, snapshots, closing and opening again.

use std::collections::BTreeSet;
use std::time::Duration;

use nadb_core::{
    Append, BackendSnapshot, Entry, ErrorKind, ExpiryUpdate, Feature, Filter, Order, Position, Put,
    QueryRequest, Result, ScanConsistency, SortField, Span, TagsUpdate,
};

use super::{ORDERS, ask, check, expected, fill, keys, means, names, prefix, tag, tagged};
use crate::Subject;
use crate::subject::{N, TTL, YEAR_2100_MS, put, tags};

pub(crate) fn pages_go_on_by_position_across_writes(s: &mut Subject) {
    fill(s);
    for order in ORDERS {
        for filter in [Filter::all(), tag("premium")] {
            let whole = QueryRequest::new(filter).ordered(order);
            let all = names(&check(s, &whole));
            let mut position = None;
            let mut paged = Vec::new();
            loop {
                let request = whole.clone().behind(position.clone()).section(0, Some(3));
                let page = check(s, &request);
                let Some(last) = page.last() else { break };
                position = Some(Position::of(last, order.by));
                paged.extend(names(&page));
                // Where it goes on the offset counts from there.
                check(s, &request.section(1, Some(1)));
            }
            assert_eq!(paged, all, "{order:?}");
        }
    }
    // The record at the place goes, others come before and behind it, or move across it.
    let by_size = QueryRequest::new(Filter::all()).ordered(Order::ascending(SortField::Size));
    let mut matches = ask(s, &by_size);
    for _ in 0..4 {
        matches.next().unwrap().unwrap();
    }
    let place = matches.last_position();
    assert_eq!(place, Some(Position { value: 10, key: b"User:1".to_vec() }));
    s.delete("User:1");
    s.one(tagged("before", 9, &[]));
    s.one(tagged("Tuesday", 10, &[]));
    s.one(tagged("behind", 10, &[]));
    s.one(tagged("late", 11, &[]));
    s.one(tagged("user:2", 1, &[]));
    let rest = names(&check(s, &by_size.clone().behind(place.clone())));
    assert_eq!(rest, ["behind", "user", "user:1", "late", "z:user:"]);
    let back = by_size.ordered(Order::descending(SortField::Size)).behind(place);
    assert_eq!(names(&check(s, &back)), ["Tuesday", "before", "later", "user:2", "team:1"]);
    let behind = |key: &str| Some(Position { value: 0, key: key.into() });
    let by_key = QueryRequest::new(prefix("user"));
    assert_eq!(names(&check(s, &by_key.clone().behind(behind("user0")))), ["user:1", "user:2"]);
    assert_eq!(names(&check(s, &by_key.clone().behind(behind("a")))), ["user", "user:1", "user:2"]);
    assert!(check(s, &by_key.clone().behind(behind("z"))).is_empty());
    let back = by_key.ordered(Order::descending(SortField::Key));
    assert_eq!(names(&check(s, &back.clone().behind(behind("user0")))), ["user"]);
    assert_eq!(names(&check(s, &back.behind(behind("z")))), ["user:2", "user:1", "user"]);
}

pub(crate) fn what_was_deleted_or_has_expired_never_matches(s: &mut Subject) {
    for key in ["a", "b", "c"] {
        s.one(tagged(key, 3, &["t"]));
    }
    let start = s.now();
    let mut brief = Put::new(b"v".as_slice());
    (brief.tags, brief.expiry) = (tags(&["t", "brief"]), ExpiryUpdate::After(TTL));
    s.one(put("d", brief));
    let is_seen = keys(s, &QueryRequest::new(tag("brief"))).len() == 1
        && s.backend().tags(N, "brief").unwrap() == [("brief".to_owned(), 1)];
    s.assert_alive(start, is_seen);
    s.delete("b");
    s.pass_ttl();
    means(s, tag("t"), &["a", "c"]);
    means(s, tag("brief"), &[]);
    means(s, Filter::all(), &["a", "c"]);
    means(s, !tag("none"), &["a", "c"]);
    means(s, Filter::Expires(Span::ALL), &[]);
    assert_eq!(s.backend().tags(N, "").unwrap(), [("t".to_owned(), 2)]);
    // Written again it is another record, without what the old one had.
    s.set("d", "anew");
    s.set("b", "anew");
    means(s, tag("t"), &["a", "c"]);
    means(s, Filter::all(), &["a", "b", "c", "d"]);
    for key in ["a", "b", "c", "d"] {
        s.delete(key);
    }
    means(s, Filter::all(), &[]);
    assert!(s.backend().tags(N, "").unwrap().is_empty());
}

pub(crate) fn an_overwrite_replaces_what_queries_find(s: &mut Subject) {
    for key in ["a", "b", "c", "d"] {
        let mut value = Put::new(b"12345".as_slice());
        (value.tags, value.expiry) = (tags(&["old", "x"]), ExpiryUpdate::AtMs(YEAR_2100_MS));
        s.one(put(key, value));
    }
    s.one(tagged("a", 9, &["new", "x"]));
    s.set("b", "no tags");
    let mut kept = Put::new(b"1".as_slice());
    kept.tags = TagsUpdate::Keep;
    s.one(put("c", kept));
    s.merge("d", Append, "67890").unwrap();
    means(s, tag("old"), &["c", "d"]);
    means(s, tag("new"), &["a"]);
    means(s, tag("x"), &["a", "c", "d"]);
    means(s, Filter::Expires(Span::ALL), &["d"]);
    means(s, Filter::Size(Span::of(5..=5)), &[]);
    means(s, Filter::Size(Span::of(10..=10)), &["d"]);
    let pair = |tag: &str, count| (tag.to_owned(), count);
    assert_eq!(s.backend().tags(N, "").unwrap(), [pair("new", 1), pair("old", 2), pair("x", 3)]);
    // The same tags again, and back to those of before.
    for _ in 0..3 {
        s.one(tagged("a", 9, &["new", "x"]));
    }
    s.one(tagged("a", 9, &["old"]));
    means(s, tag("old"), &["a", "c", "d"]);
    assert_eq!(s.backend().tags(N, "").unwrap(), [pair("old", 3), pair("x", 2)]);
}

pub(crate) fn queries_of_a_snapshot_keep_its_moment(s: &mut Subject) {
    fill(s);
    if !s.backend().capabilities().has(Feature::Snapshots) {
        return;
    }
    let request = |order| QueryRequest::new(!tag("banned")).ordered(order);
    let ask = |at: &dyn BackendSnapshot, order| -> Vec<Entry> {
        at.query(N, &request(order)).unwrap().map(Result::unwrap).collect()
    };
    let before = ORDERS.map(|order| expected(s, &request(order)));
    let tags_before = s.backend().tags(N, "").unwrap();
    let snapshot = s.backend().snapshot().unwrap();
    let mut held = snapshot.query(N, &request(Order::default())).unwrap();
    s.delete("user:1");
    s.set("user:2", "without tags");
    s.one(tagged("user:1b", 7, &["user", "banned"]));
    s.one(tagged("late", 1, &["banned"]));
    s.pass(Duration::from_millis(3));
    for (order, before) in ORDERS.into_iter().zip(&before) {
        assert!(ask(&*snapshot, order) == *before, "{order:?} of a snapshot");
    }
    assert_eq!(snapshot.count(N, &tag("user")).unwrap(), 3);
    assert_eq!(snapshot.count(N, &!tag("banned")).unwrap(), 7);
    assert_eq!(snapshot.tags(N, "").unwrap(), tags_before);
    assert_eq!(snapshot.tags(N, "us").unwrap(), [("user".to_owned(), 3)]);
    means(s, tag("user"), &["user", "user:1b"]);
    assert!(s.backend().drop_namespace(N).unwrap());
    assert_eq!(snapshot.count(N, &tag("user")).unwrap(), 3);
    assert!(snapshot.tags("none", "").unwrap().is_empty());
    drop(snapshot);
    let rest: Vec<_> = std::iter::from_fn(|| held.next_key()).map(Result::unwrap).collect();
    assert!(
        rest.iter().eq(before[0].iter().map(|entry| &entry.key)),
        "a query of a snapshot goes on without it"
    );
}

pub(crate) fn later_writes_do_not_change_a_query_or_hardly(s: &mut Subject) {
    let name = |i: usize| format!("{i:03}");
    for i in 0..200 {
        s.one(tagged(&name(i), i % 7, if i % 2 == 0 { &["even"] } else { &["odd"] }));
    }
    let orders = [Order::default(), Order::descending(SortField::Size)];
    let requests = orders.map(|order| QueryRequest::new(tag("even")).ordered(order));
    let before = requests.clone().map(|request| names(&expected(s, &request)));
    let held = requests.map(|request| ask(s, &request));
    for i in (0..200).step_by(4) {
        s.one(tagged(&name(i), 100, &["odd"]));
        s.one(tagged(&name(i + 1), 100, &["even"]));
        s.delete(name(i + 2));
    }
    for (mut matches, before) in held.into_iter().zip(before) {
        let found: Vec<String> = std::iter::from_fn(|| matches.next_key())
            .map(|key| String::from_utf8(key.unwrap()).unwrap())
            .collect();
        if s.backend().capabilities().scans == ScanConsistency::Settled {
            assert_eq!(found, before);
        } else {
            let once: BTreeSet<&String> = found.iter().collect();
            assert_eq!(once.len(), found.len(), "each key at most once");
        }
    }
    let left: Vec<String> = (0..50).map(|i| name(i * 4 + 1)).collect();
    means(s, tag("even"), &left.iter().map(String::as_str).collect::<Vec<_>>());
}

pub(crate) fn queries_end_with_their_store(s: &mut Subject) {
    fill(s);
    s.close();
    let closed = |result: Result<()>| match result {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{error}"),
        Ok(()) => panic!("queries work on a closed store"),
    };
    for order in ORDERS {
        let request = QueryRequest::new(tag("user")).ordered(order);
        closed(s.backend().query(N, &request).and_then(|mut all| all.next().transpose()).map(drop));
    }
    closed(s.backend().count(N, &tag("user")).map(drop));
    closed(s.backend().tags(N, "").map(drop));
}

pub(crate) fn queries_answer_the_same_after_opening_again(s: &mut Subject) {
    fill(s);
    s.delete("user:1");
    if !s.can_reopen() {
        return;
    }
    let whole = |order| QueryRequest::new(Filter::all()).ordered(order);
    let before = ORDERS.map(|order| check(s, &whole(order)));
    let tags_before = s.backend().tags(N, "").unwrap();
    for _ in 0..2 {
        assert!(s.reopen());
        for (order, before) in ORDERS.into_iter().zip(&before) {
            assert!(check(s, &whole(order)) == *before, "{order:?} after opening again");
        }
        assert_eq!(s.backend().tags(N, "").unwrap(), tags_before);
        means(s, tag("user").and(!tag("banned")), &["user:2"]);
    }
    s.one(tagged("user:1", 1, &["user"]));
    means(s, tag("user").and(!tag("banned")), &["user:1", "user:2"]);
}
