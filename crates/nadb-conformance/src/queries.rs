//! Queries: what every filter means, in every order, from any place on; and how many records have which tags.

mod changes;

use std::time::Duration;

use nadb_core::limits::{FILTER_DEPTH_MAX, FILTER_TERMS_MAX};
use nadb_core::{
    Entry, ErrorKind, ExpiryUpdate, Feature, Filter, Matches, Order, Position, Put, QueryRequest, Result,
    ScanRequest, SortField, Span,
};

use crate::Subject;
use crate::subject::{N, YEAR_2100_MS, put, tags};

pub(crate) use changes::{
    an_overwrite_replaces_what_queries_find, later_writes_do_not_change_a_query_or_hardly,
    pages_go_on_by_position_across_writes, queries_answer_the_same_after_opening_again,
    queries_end_with_their_store, queries_of_a_snapshot_keep_its_moment,
    what_was_deleted_or_has_expired_never_matches,
};

const ORDERS: [Order; 8] = {
    use SortField::{Created, Key, Size, Updated};
    [
        Order { by: Key, descending: false },
        Order { by: Key, descending: true },
        Order { by: Created, descending: false },
        Order { by: Created, descending: true },
        Order { by: Updated, descending: false },
        Order { by: Updated, descending: true },
        Order { by: Size, descending: false },
        Order { by: Size, descending: true },
    ]
};

/// A put of so many bytes with these tags.
fn tagged<'a>(key: &'a str, size: usize, with: &[&str]) -> nadb_core::Operation<'a> {
    let mut value = Put::new(vec![b'v'; size]);
    value.tags = tags(with);
    put(key, value)
}

/// Eight records with times of their own.
fn fill(s: &Subject) {
    for (key, size, with) in [
        ("user:2", 30, &["user", "premium"][..]),
        ("user:1", 10, &["user"]),
        ("User:1", 10, &["User"]),
        ("team:1", 0, &[]),
        ("user", 10, &["user", "premium", "banned"]),
        ("z:user:", 2_000, &["premium"]),
    ] {
        s.one(tagged(key, size, with));
        s.pass(Duration::from_millis(3));
    }
    for (key, at) in [("late", YEAR_2100_MS + 1_000), ("later", YEAR_2100_MS + 2_000)] {
        let mut value = Put::new(b"12345".as_slice());
        (value.tags, value.expiry) = (tags(&["lives"]), ExpiryUpdate::AtMs(at));
        s.one(put(key, value));
        s.pass(Duration::from_millis(3));
    }
    // Created before and updated after all others.
    s.one(tagged("user:2", 31, &["user", "premium"]));
    s.set_in("neighbour", "user:9", "of another namespace");
}

fn ask(s: &Subject, request: &QueryRequest) -> Box<dyn Matches> {
    s.backend().query(N, request).unwrap()
}

fn keys(s: &Subject, request: &QueryRequest) -> Vec<Vec<u8>> {
    let mut matches = ask(s, request);
    std::iter::from_fn(|| matches.next_key()).map(Result::unwrap).collect()
}

/// What a request should give, by looking at every record.
fn expected(s: &Subject, request: &QueryRequest) -> Vec<Entry> {
    let order = request.order;
    let mut entries: Vec<Entry> = s
        .backend()
        .scan(N, ScanRequest::all())
        .unwrap()
        .map(Result::unwrap)
        .filter(|entry| request.filter.matches(&entry.key, &entry.metadata))
        .filter(|entry| {
            request.after.as_ref().is_none_or(|after| order.is_behind(&Position::of(entry, order.by), after))
        })
        .collect();
    entries.sort_by_key(|entry| Position::of(entry, order.by));
    if order.descending {
        entries.reverse();
    }
    let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
    entries.into_iter().skip(usize::try_from(request.offset).unwrap()).take(limit).collect()
}

/// Asks in every way, and compares.
fn check(s: &Subject, request: &QueryRequest) -> Vec<Entry> {
    let expected = expected(s, request);
    let entries: Vec<Entry> = ask(s, request).map(Result::unwrap).collect();
    assert!(entries == expected, "{request:?} gives {:?}", names(&entries));
    assert!(keys(s, request).iter().eq(expected.iter().map(|entry| &entry.key)), "keys of {request:?}");
    // Keys and entries by turns, and where they stand.
    let mut matches = ask(s, request);
    assert!(matches.last_position().is_none(), "nothing was given yet");
    for (number, entry) in expected.iter().enumerate() {
        let key = match number % 2 {
            0 => matches.next_key().unwrap().unwrap(),
            _ => matches.next().unwrap().unwrap().key,
        };
        assert_eq!(key, entry.key, "number {number} of {request:?}");
        assert_eq!(matches.last_position(), Some(Position::of(entry, request.order.by)), "{request:?}");
    }
    assert!(matches.next().is_none() && matches.next_key().is_none(), "{request:?} has an end");
    let all = expected_count(s, &request.filter);
    assert_eq!(s.backend().count(N, &request.filter).unwrap(), all, "count of {:?}", request.filter);
    expected
}

fn expected_count(s: &Subject, filter: &Filter) -> u64 {
    expected(s, &QueryRequest::new(filter.clone())).len() as u64
}

fn names(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.key).into_owned()).collect()
}

/// Asserts that a filter means these records, in whatever order it is asked.
fn means(s: &Subject, filter: Filter, expected: &[&str]) {
    for order in ORDERS {
        let mut found = names(&check(s, &QueryRequest::new(filter.clone()).ordered(order)));
        if order != Order::default() {
            found.sort_unstable();
        }
        assert_eq!(found, expected, "{filter:?} in {order:?}");
    }
}

fn tag(tag: &str) -> Filter {
    Filter::tag(tag)
}

fn prefix(prefix: &str) -> Filter {
    Filter::Prefix(prefix.into())
}

fn contains(part: &str) -> Filter {
    Filter::KeyContains(part.into())
}

const EVERY: [&str; 8] = ["User:1", "late", "later", "team:1", "user", "user:1", "user:2", "z:user:"];

pub(crate) fn every_filter_term_means_what_it_says(s: &mut Subject) {
    fill(s);
    means(s, tag("user"), &["user", "user:1", "user:2"]);
    means(s, tag("use"), &[]);
    means(s, tag("none"), &[]);
    means(s, prefix("user"), &["user", "user:1", "user:2"]);
    means(s, prefix("user:"), &["user:1", "user:2"]);
    means(s, prefix(""), &EVERY);
    means(s, contains("ser:"), &["User:1", "user:1", "user:2", "z:user:"]);
    means(s, contains("user:"), &["user:1", "user:2", "z:user:"]);
    means(s, contains(""), &EVERY);
    means(s, contains("user:12"), &[]);
    let size = |span| Filter::Size(span);
    means(s, size(Span::of(10..=31)), &["User:1", "user", "user:1", "user:2"]);
    means(s, size(Span::of(11..31)), &[]);
    means(s, size(Span::of(..=0)), &["team:1"]);
    means(s, size(Span::of(2_000..)), &["z:user:"]);
    means(s, size(Span::of(5..5)), &[]);
    let (first, of_team) = (s.metadata("user:2"), s.metadata("team:1"));
    assert!(first.created_ms < of_team.created_ms && of_team.created_ms < first.updated_ms);
    let before = Span::of(..of_team.created_ms);
    means(s, Filter::Created(before), &["User:1", "user:1", "user:2"]);
    means(s, Filter::Updated(before), &["User:1", "user:1"]);
    means(s, Filter::Created(Span::of(of_team.created_ms..=of_team.created_ms)), &["team:1"]);
    means(s, Filter::Updated(Span::of(first.updated_ms..)), &["user:2"]);
    means(s, Filter::Updated(Span::ALL), &EVERY);
    means(s, Filter::Expires(Span::ALL), &["late", "later"]);
    means(s, Filter::Expires(Span::of(YEAR_2100_MS + 1_001..)), &["later"]);
    means(s, Filter::Expires(Span::of(..=YEAR_2100_MS + 1_000)), &["late"]);
    means(s, Filter::Expires(Span::of(..YEAR_2100_MS + 1_000)), &[]);
    means(s, !Filter::Expires(Span::ALL), &["User:1", "team:1", "user", "user:1", "user:2", "z:user:"]);
}

pub(crate) fn filter_terms_nest_as_they_say(s: &mut Subject) {
    fill(s);
    let or = |terms: &[Filter]| Filter::Or(terms.to_vec());
    let and = |terms: &[Filter]| Filter::And(terms.to_vec());
    let not = |term: Filter| Filter::Not(Box::new(term));
    means(s, Filter::all(), &EVERY);
    means(s, or(&[]), &[]);
    means(s, not(Filter::all()), &[]);
    means(s, not(or(&[])), &EVERY);
    means(s, and(&[tag("user"), tag("premium")]), &["user", "user:2"]);
    means(s, and(&[tag("user"), tag("premium"), not(tag("banned"))]), &["user:2"]);
    means(s, or(&[tag("banned"), tag("User")]), &["User:1", "user"]);
    means(s, not(tag("user")), &["User:1", "late", "later", "team:1", "z:user:"]);
    means(s, not(not(tag("banned"))), &["user"]);
    means(s, and(&[tag("none"), tag("user")]), &[]);
    means(s, or(&[tag("none"), tag("banned")]), &["user"]);
    means(s, not(tag("none")), &EVERY);
    means(s, not(or(&[tag("user"), tag("lives"), prefix("z")])), &["User:1", "team:1"]);
    means(
        s,
        not(and(&[tag("user"), tag("premium")])),
        &["User:1", "late", "later", "team:1", "user:1", "z:user:"],
    );
    means(s, and(&[or(&[tag("premium"), contains("am")]), not(tag("user"))]), &["team:1", "z:user:"]);
    means(
        s,
        or(&[and(&[tag("user"), Filter::Size(Span::of(31..))]), Filter::Expires(Span::ALL)]),
        &["late", "later", "user:2"],
    );
    means(s, and(&[prefix("user"), prefix("user:"), not(prefix("user:1"))]), &["user:2"]);
    means(s, and(&[prefix("user:"), prefix("team:")]), &[]);
    means(s, and(&[and(&[]), or(&[or(&[tag("banned")])])]), &["user"]);
    let deep =
        (0..20).fold(tag("banned"), |inner, _| not(or(&[not(inner), and(&[tag("none"), tag("user")])])));
    means(s, deep, &["user"]);
}

pub(crate) fn orders_are_exact_also_among_equals(s: &mut Subject) {
    fill(s);
    let in_order = |order| names(&check(s, &QueryRequest::new(Filter::all()).ordered(order)));
    assert_eq!(in_order(Order::ascending(SortField::Key)), EVERY);
    let by_size = ["team:1", "late", "later", "User:1", "user", "user:1", "user:2", "z:user:"];
    assert_eq!(in_order(Order::ascending(SortField::Size)), by_size);
    let created = ["user:2", "user:1", "User:1", "team:1", "user", "z:user:", "late", "later"];
    assert_eq!(in_order(Order::ascending(SortField::Created)), created);
    let updated = ["user:1", "User:1", "team:1", "user", "z:user:", "late", "later", "user:2"];
    assert_eq!(in_order(Order::ascending(SortField::Updated)), updated);
    for order in ORDERS.into_iter().filter(|order| order.descending) {
        let mut turned = in_order(order);
        turned.reverse();
        assert_eq!(turned, in_order(Order::ascending(order.by)), "{order:?}");
    }
}

pub(crate) fn offsets_and_limits_cut_what_was_ordered(s: &mut Subject) {
    fill(s);
    for order in ORDERS {
        for (offset, limit) in [
            (0, Some(0)),
            (0, Some(3)),
            (2, Some(3)),
            (7, Some(3)),
            (8, None),
            (3, None),
            (9, Some(1)),
            (5, Some(0)),
        ] {
            let request = QueryRequest::new(Filter::all()).ordered(order).section(offset, limit);
            let count = check(s, &request).len();
            let left = 8_usize.saturating_sub(usize::try_from(offset).unwrap());
            assert_eq!(count, left.min(limit.map_or(8, |limit| usize::try_from(limit).unwrap())));
            check(s, &QueryRequest::new(!tag("user")).ordered(order).section(offset, limit));
        }
    }
    let most = QueryRequest::new(Filter::all()).section(u64::MAX, Some(u64::MAX));
    assert!(keys(s, &most).is_empty() && keys(s, &most.section(0, Some(u64::MAX))).len() == 8);
}

pub(crate) fn tags_are_counted_in_order(s: &mut Subject) {
    assert!(s.backend().tags(N, "").unwrap().is_empty(), "a missing namespace has no tags");
    s.one(tagged("1", 1, &["b", "ba", "a:\u{e9}", "\u{65e5}"]));
    s.one(tagged("2", 1, &["b", "B"]));
    s.one(tagged("3", 1, &["b", "ba"]));
    s.set("4", "none");
    let mut other = Put::new(b"v".as_slice());
    other.tags = tags(&["b", "other"]);
    s.one(nadb_core::Operation::new("m", b"5".as_slice(), nadb_core::Action::Put(other)));
    let found = |namespace: &str, prefix: &str| -> Vec<String> {
        let tags = s.backend().tags(namespace, prefix).unwrap();
        tags.into_iter().map(|(tag, count)| format!("{tag} {count}")).collect()
    };
    assert_eq!(found(N, ""), ["B 1", "a:\u{e9} 1", "b 3", "ba 2", "\u{65e5} 1"]);
    assert_eq!(found(N, "b"), ["b 3", "ba 2"]);
    assert_eq!(found(N, "ba"), ["ba 2"]);
    assert_eq!(found(N, "a:"), ["a:\u{e9} 1"]);
    assert!(found(N, "bab").is_empty() && found(N, "other").is_empty());
    assert_eq!(found("m", ""), ["b 1", "other 1"]);
    s.delete("1");
    assert_eq!(found(N, ""), ["B 1", "b 2", "ba 1"]);
    assert!(s.backend().drop_namespace(N).unwrap());
    assert!(found(N, "").is_empty());
    assert_eq!(found("m", "b"), ["b 1"]);
}

pub(crate) fn a_query_is_of_its_own_namespace(s: &mut Subject) {
    assert!(keys(s, &QueryRequest::new(Filter::all())).is_empty(), "a missing namespace is empty");
    assert_eq!(s.backend().count(N, &!tag("t")).unwrap(), 0);
    assert!(s.backend().namespaces().unwrap().is_empty(), "asking makes no namespace");
    fill(s);
    let count = |namespace: &str, filter: Filter| s.backend().count(namespace, &filter).unwrap();
    assert_eq!((count("neighbour", Filter::all()), count("neighbour", tag("user"))), (1, 0));
    assert_eq!((count("none", Filter::all()), count(N, contains("9"))), (0, 0));
    let mut found = s.backend().query("neighbour", &QueryRequest::new(!tag("user"))).unwrap();
    assert_eq!(found.next_key().unwrap().unwrap(), b"user:9");
    assert!(found.next().is_none());
    assert!(s.backend().drop_namespace(N).unwrap());
    means(s, Filter::all(), &[]);
    means(s, !tag("user"), &[]);
    s.one(tagged("anew", 1, &["new"]));
    means(s, tag("user"), &[]);
    means(s, !tag("user"), &["anew"]);
}

/// Filters that no backend may take.
fn refused_filters() -> Vec<(Filter, ErrorKind)> {
    let deep = (0..=FILTER_DEPTH_MAX).fold(tag("t"), |inner, _| Filter::Not(Box::new(inner)));
    vec![
        (tag(""), ErrorKind::Limit),
        (tag(&"t".repeat(256)), ErrorKind::Limit),
        (tag("a\0b"), ErrorKind::InvalidInput),
        (Filter::all().and(!tag("t").or(tag(""))), ErrorKind::Limit),
        (deep, ErrorKind::Limit),
        (Filter::Or(vec![tag("t"); FILTER_TERMS_MAX]), ErrorKind::Limit),
    ]
}

pub(crate) fn filters_beyond_a_limit_are_refused(s: &mut Subject) {
    fill(s);
    let snapshot =
        s.backend().capabilities().has(Feature::Snapshots).then(|| s.backend().snapshot().unwrap());
    let kind = |result: Result<()>| result.expect_err("it should be refused").kind();
    for (filter, expected) in refused_filters() {
        let request = QueryRequest::new(filter.clone());
        assert_eq!(kind(s.backend().query(N, &request).map(drop)), expected, "query by {filter:?}");
        assert_eq!(kind(s.backend().count(N, &filter).map(drop)), expected, "count of {filter:?}");
        if let Some(snapshot) = &snapshot {
            assert_eq!(kind(snapshot.query(N, &request).map(drop)), expected, "query of a snapshot");
            assert_eq!(kind(snapshot.count(N, &filter).map(drop)), expected, "count of a snapshot");
        }
    }
    for name in ["", "a\0b"] {
        let all = QueryRequest::new(Filter::all());
        let error = kind(s.backend().query(name, &all).and_then(|mut all| all.next().transpose()).map(drop));
        assert!(matches!(error, ErrorKind::Limit | ErrorKind::InvalidInput), "{error:?}");
        let error = kind(s.backend().count(name, &Filter::all()).map(drop));
        assert!(matches!(error, ErrorKind::Limit | ErrorKind::InvalidInput), "{error:?}");
        let error = kind(s.backend().tags(name, "").map(drop));
        assert!(matches!(error, ErrorKind::Limit | ErrorKind::InvalidInput), "{error:?}");
    }
    // More tags than a record can have, as long as each is one that a record can have.
    let many = Filter::Or((0..65).map(|i| tag(&format!("t{i}"))).chain([tag("banned")]).collect());
    means(s, many, &["user"]);
    means(s, tag(&"t".repeat(255)), &[]);
    means(s, Filter::Or(vec![tag("banned"); FILTER_TERMS_MAX - 1]), &["user"]);
    // A prefix, and a place to go on from, that no key can have.
    means(s, prefix(&"u".repeat(70_000)), &[]);
    let place = Position { value: u64::MAX, key: vec![0xFF; 70_000] };
    for order in ORDERS {
        check(s, &QueryRequest::new(Filter::all()).ordered(order).behind(Some(place.clone())));
    }
}

pub(crate) fn many_matches_come_in_every_order(s: &mut Subject) {
    // More than a page of any backend has, and no more: where each query looks at every record this is slow.
    const COUNT: usize = 260;
    const PAGE: u64 = 60;
    for i in 0..COUNT {
        let i = i * 111 % COUNT; // in no order
        let (third, seventh) = (format!("third{}", i % 3), format!("seventh{}", i % 7));
        s.one(tagged(&format!("{i:04}"), i % 50, &["all", &third, &seventh]));
    }
    for i in (0..COUNT).step_by(11) {
        s.delete(format!("{i:04}"));
    }
    let filters = [
        (tag("all"), SortField::Size),
        (tag("third0").or(tag("seventh0")).and(!tag("seventh3")), SortField::Updated),
        (!tag("third2"), SortField::Key),
        (contains("7").and(Filter::Size(Span::of(10..40))), SortField::Created),
    ];
    for (filter, by) in filters {
        for order in [Order::ascending(by), Order::descending(by)] {
            let whole = QueryRequest::new(filter.clone()).ordered(order);
            let all = check(s, &whole);
            assert!(all.len() > 20, "{filter:?}");
            let (mut paged, mut position) = (Vec::new(), None);
            loop {
                let mut page = ask(s, &whole.clone().behind(position.take()).section(0, Some(PAGE)));
                let before = paged.len();
                paged.extend(std::iter::from_fn(|| page.next_key()).map(Result::unwrap));
                position = page.last_position();
                if paged.len() == before {
                    break;
                }
            }
            assert!(paged.iter().eq(all.iter().map(|entry| &entry.key)), "pages of {filter:?} in {order:?}");
        }
    }
    let matches = ask(s, &QueryRequest::new(tag("all")).ordered(Order::ascending(SortField::Size)));
    // The matches may be read by another thread than the one that asked for them.
    let there = std::thread::spawn(move || matches.collect::<Result<Vec<_>>>()).join().unwrap().unwrap();
    assert_eq!(there.len(), COUNT - COUNT.div_ceil(11));
    let counts = s.backend().tags(N, "").unwrap();
    assert_eq!((counts.len(), counts[0].clone()), (11, ("all".to_owned(), there.len() as u64)));
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), there.len() as u64 * 3);
}

/// Matches may go to another thread, as the trait demands.
const _: fn() = || {
    fn may_be_sent<T: Send + 'static>() {}
    may_be_sent::<Box<dyn Matches>>();
};
