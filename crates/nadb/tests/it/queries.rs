//! Queries through the facade: the builder, pages, cursors, tags, and wrong input.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb::backend::{Backend, BackendSnapshot, Capabilities, Feature, Listing, Matches, QueryRequest};
use nadb::backend::{ScanRequest, WriteBatch, WriteOptions};
use nadb::{
    Cursor, Entry, ErrorKind, Filter, Namespace, NamespaceInfo, Outcome, Query, QueryKeys, Result, SortField,
    Span, Store, Value,
};
use nadb_engine::{Engine, Options};

/// Keys a to f with 6 to 1 bytes; vowels and consonants are tagged, all are "letter".
fn fill(letters: &Namespace) {
    for (index, key) in ["a", "b", "c", "d", "e", "f"].into_iter().enumerate() {
        let kind = if matches!(key, "a" | "e") { "vowel" } else { "consonant" };
        letters.put(key, "x".repeat(6 - index)).tags(["letter", kind]).commit().unwrap();
    }
}

fn letters() -> Namespace {
    let letters = Store::memory().unwrap().namespace("letters").unwrap();
    fill(&letters);
    letters
}

fn text(keys: QueryKeys) -> String {
    keys.map(|key| String::from_utf8(key.unwrap()).unwrap()).collect()
}

fn keys(query: &Query) -> String {
    text(query.keys().unwrap())
}

#[test]
fn what_is_said_holds_all_together() {
    let n = letters();
    assert_eq!(keys(&n.query()), "abcdef");
    assert_eq!(keys(&n.query().all_of(["letter", "vowel"])), "ae");
    assert_eq!(keys(&n.query().any_of(["vowel", "consonant"]).none_of(["vowel", "digit"])), "bcdf");
    assert_eq!(keys(&n.query().any_of(Vec::<String>::new())), "");
    assert_eq!(keys(&n.query().all_of(Vec::<String>::new()).none_of(Vec::<String>::new())), "abcdef");
    assert_eq!(keys(&n.query().tag("consonant").size(2..=4).prefix("").contains("c")), "c");
    assert_eq!(keys(&n.query().tag("letter").matching("size>4 OR size<2").unwrap().tag("vowel")), "a");
    let filter = Filter::tag("vowel").or(Filter::Prefix(b"f".to_vec()));
    assert_eq!(keys(&n.query().filter(filter.clone()).filter(!Filter::Size(Span::of(6..)))), "ef");
    assert_eq!(keys(&n.query().size(0..100).filter(filter)), "aef");
    let made = n.metadata("a").unwrap().unwrap().created();
    let hour = Duration::from_secs(3600);
    assert_eq!(keys(&n.query().created(made..).updated(made..made + hour)), "abcdef");
    assert_eq!(keys(&n.query().created((Bound::Excluded(made + hour), Bound::Unbounded))), "");
    assert_eq!(
        keys(&n.query().matching("updated>now-1h AND updated<=now AND expires:never").unwrap()),
        "abcdef"
    );
    n.put("b", "").tags(["letter"]).ttl(hour).commit().unwrap();
    assert_eq!(keys(&n.query().expires(..)), "b");
    assert_eq!(keys(&n.query().expires(made + hour / 2..)), "b");
    assert_eq!(keys(&n.query().expires(..made)), "");
    let error = n.query().accessed(..).count().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "nobody has asked to keep it");
    assert!(error.to_string().contains("track_access"), "{error}");
}

#[test]
fn orders_limits_and_places_to_go_on() {
    let n = letters();
    assert_eq!(keys(&n.query().descending()), "fedcba");
    assert_eq!(keys(&n.query().order_by(SortField::Size)), "fedcba");
    assert_eq!(keys(&n.query().order_by(SortField::Size).descending().offset(1).limit(3)), "bcd");
    assert_eq!(keys(&n.query().after_key("bb").limit(2)), "cd");
    assert_eq!(keys(&n.query().descending().after_key("bb")), "ba");
    assert_eq!(keys(&n.query().limit(0)), "");
    assert_eq!(keys(&n.query().offset(6)), "");
    assert_eq!(n.query().tag("vowel").limit(1).offset(1).after_key("x").count().unwrap(), 2);
}

#[test]
fn cursors_go_on_behind_the_last_across_writes_and_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fill(&store.namespace("letters").unwrap());
    let query =
        |store: &Store| store.namespace("letters").unwrap().query().tag("letter").order_by(SortField::Size);
    let mut first = query(&store).keys().unwrap();
    assert!(first.cursor().is_none());
    let two: Vec<_> = first.by_ref().take(2).map(Result::unwrap).collect();
    assert_eq!(two, [b"f", b"e"]);
    let kept = first.cursor().unwrap().to_string();
    assert_eq!(text(first), "dcba");

    let n = store.namespace("letters").unwrap();
    n.delete("e").unwrap(); // the record at the place itself
    n.put("a", "").tags(["letter"]).commit().unwrap(); // moves before the place
    n.put("g", "12345678").tags(["letter"]).commit().unwrap();
    drop(n);
    store.close().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let cursor: Cursor = kept.parse().unwrap();
    assert_eq!(keys(&query(&store).after(cursor.clone())), "dcbg");
    // How many are asked for is no part of a cursor.
    assert_eq!(keys(&query(&store).limit(1).offset(1).after(cursor)), "c");
}

#[test]
fn pages_have_numbers_and_a_total() {
    let n = letters();
    let page = |number, size| {
        let page = n.query().order_by(SortField::Size).page(number, size).unwrap();
        let keys: String = page.entries.iter().map(|entry| char::from(entry.key[0])).collect();
        assert_eq!((page.number, page.size, page.total), (number, size, 6));
        let rest = page.next.map(|next| keys_after(&n, next));
        (keys, page.pages, rest)
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(page(1, 4), ("fedc".to_owned(), 2, some("ba")));
    assert_eq!(page(2, 4), ("ba".to_owned(), 2, None));
    assert_eq!(page(3, 4), (String::new(), 2, None));
    assert_eq!(page(2, 2), ("dc".to_owned(), 3, some("ba")));
    assert_eq!(page(3, 2), ("ba".to_owned(), 3, None));
    assert_eq!(page(1, u64::MAX), ("fedcba".to_owned(), 1, None));
    assert_eq!(page(u64::MAX, u64::MAX), (String::new(), 1, None));
    let none = n.query().tag("digit").page(1, 10).unwrap();
    assert_eq!((none.entries.len(), none.total, none.pages, none.next), (0, 0, 0, None));
}

fn keys_after(n: &Namespace, cursor: Cursor) -> String {
    keys(&n.query().order_by(SortField::Size).after(cursor))
}

#[test]
fn a_snapshot_answers_as_it_was() {
    let store = Store::memory().unwrap();
    let n = store.namespace("letters").unwrap();
    fill(&n);
    let then = store.snapshot().unwrap().namespace("letters").unwrap();
    n.delete("a").unwrap();
    n.set("e", "without tags").unwrap();
    assert_eq!(keys(&then.query().tag("vowel")), "ae");
    assert_eq!(keys(&n.query().tag("vowel")), "");
    assert_eq!(then.query().tag("vowel").count().unwrap(), 2);
    assert_eq!(then.query().tag("vowel").page(1, 1).unwrap().total, 2);
    let tags = |tags: Vec<nadb::TagCount>| -> Vec<(String, u64)> {
        tags.into_iter().map(|found| (found.tag, found.count)).collect()
    };
    let pair = |tag: &str, count| (tag.to_owned(), count);
    assert_eq!(tags(then.tags().unwrap()), [pair("consonant", 4), pair("letter", 6), pair("vowel", 2)]);
    assert_eq!(tags(n.tags().unwrap()), [pair("consonant", 4), pair("letter", 4)]);
    assert_eq!(tags(then.tags_with_prefix("vow").unwrap()), [pair("vowel", 2)]);
    assert!(n.tags_with_prefix("vow").unwrap().is_empty());
    // A cursor of the namespace fits its snapshot, and the other way round.
    let mut given = then.query().keys().unwrap();
    given.next().unwrap().unwrap();
    assert_eq!(keys(&n.query().after(given.cursor().unwrap())), "bcdef");
    // The iterator goes on by itself.
    drop(then);
    assert_eq!(text(given), "bcdef");
}

#[test]
fn wrong_input_is_refused_before_anything_is_looked_at() {
    let n = letters();
    let check = |result: Result<()>, kind: ErrorKind, said: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(said), "{error}");
    };
    let every_way = |query: &Query, kind: ErrorKind, said: &str| {
        check(query.keys().map(drop), kind, said);
        check(query.entries().map(drop), kind, said);
        check(query.count().map(drop), kind, said);
        check(query.page(1, 10).map(drop), kind, said);
    };
    use ErrorKind::{InvalidInput, Limit};
    every_way(&n.query().tag(""), Limit, "tag has 0 bytes, the limit is 1 to 255 bytes");
    every_way(&n.query().none_of(["t".repeat(256)]), Limit, "tag has 256 bytes");
    every_way(&n.query().any_of(["a\0b"]), InvalidInput, "NUL");
    every_way(
        &n.query().any_of((0..2_000).map(|i| format!("t{i}"))),
        Limit,
        "more terms than the limit, 1024",
    );
    let deep = (0..40).fold(Filter::all(), |inner, _| !(inner.or(Filter::tag("a")).and(Filter::tag("b"))));
    every_way(&n.query().filter(deep), Limit, "nested deeper than the limit, 64");
    // More tags than a record can have are fine: it has some of them.
    let many = (0..65).map(|i| format!("t{i}")).chain(["vowel".to_owned()]);
    assert_eq!(keys(&n.query().any_of(many)), "ae");

    check(n.query().page(0, 10).map(drop), InvalidInput, "page is 0, the first page is 1");
    check(n.query().page(1, 0).map(drop), InvalidInput, "page size is 0");
    for query in [n.query().limit(5), n.query().offset(1), n.query().after_key("a")] {
        check(query.page(1, 10).map(drop), InvalidInput, "leave out limit, offset, after");
    }
    check(n.query().matching("tag:a AND (tag:b").map(drop), InvalidInput, "column 17: found the end");
    check(n.query().matching("").map(drop), InvalidInput, "column 1: found the end");
    let by_size = n.query().order_by(SortField::Size);
    check(by_size.clone().after_key("a").keys().map(drop), InvalidInput, "the order of keys alone");

    let cursor = |query: &Query| {
        let mut keys = query.keys().unwrap();
        keys.next().unwrap().unwrap();
        keys.cursor().unwrap()
    };
    let own = cursor(&by_size);
    assert_eq!(keys(&by_size.clone().after(own.clone())), "edcba");
    let foreign = "a cursor from elsewhere";
    check(n.query().after(own.clone()).keys().map(drop), InvalidInput, foreign);
    check(by_size.clone().descending().after(own.clone()).keys().map(drop), InvalidInput, foreign);
    check(by_size.clone().tag("vowel").after(own.clone()).entries().map(drop), InvalidInput, foreign);
    let others = Store::memory().unwrap().namespace("others").unwrap();
    check(others.query().order_by(SortField::Size).after(own).keys().map(drop), InvalidInput, foreign);
    check("user:17".parse::<Cursor>().map(drop), InvalidInput, "this is not a cursor");
}

#[test]
fn a_closed_store_says_so() {
    let store = Store::memory().unwrap();
    let n = store.namespace("letters").unwrap();
    fill(&n);
    let query = n.query();
    store.close().unwrap();
    let closed = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::Closed);
    closed(query.keys().map(drop));
    closed(query.count().map(drop));
    closed(query.page(1, 1).map(drop));
    closed(n.tags().map(drop));
}

/// An engine that counts and lists wrongly unless a snapshot is asked.
struct Shifting {
    engine: Engine,
    capabilities: Capabilities,
}

impl Backend for Shifting {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn write(&self, batch: &WriteBatch<'_>, _: &WriteOptions) -> Result<Vec<Outcome>> {
        self.engine.write(batch, None)
    }
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.engine.get(namespace, key)
    }
    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.engine.get_entry(namespace, key)
    }
    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        Backend::scan(&self.engine, namespace, request)
    }
    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        Backend::query(&self.engine, namespace, &request.clone().section(0, Some(1)))
    }
    fn count(&self, _: &str, _: &Filter) -> Result<u64> {
        Ok(999)
    }
    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        Backend::snapshot(&self.engine)
    }
    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.engine.namespaces()
    }
    fn drop_namespace(&self, name: &str) -> Result<bool> {
        self.engine.drop_namespace(name)
    }
    fn close(&self) -> Result<()> {
        self.engine.close()
    }
}

#[test]
fn a_page_is_of_one_moment_where_there_are_snapshots() {
    let page = |capabilities: Capabilities| {
        let fs = Arc::new(nadb_vfs::MemFs::default());
        let engine = Engine::open(fs, Path::new("store"), Options::default()).unwrap();
        let n = Store::with_backend(Arc::new(Shifting { engine, capabilities })).namespace("n").unwrap();
        n.set_many([("a", ""), ("b", "")]).unwrap();
        let page = n.query().page(1, 10).unwrap();
        (page.total, page.entries.len())
    };
    assert_eq!(page(Capabilities::new("shifting").with(Feature::Snapshots)), (2, 2));
    assert_eq!(page(Capabilities::new("shifting")), (999, 1));
}
