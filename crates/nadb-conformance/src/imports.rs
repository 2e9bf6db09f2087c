//! Records that are brought along from another store: with the times that they had there, and everything else.

use std::time::Duration;

use nadb_core::limits::EXPIRY_MS_MAX;
use nadb_core::query::Span;
use nadb_core::{
    Action, Attrs, Entry, Feature, Filter, Metadata, Operation, Put, RecordTimes, ScanRequest, Tags,
};

use crate::Subject;
use crate::subject::{N, TTL, YEAR_2100_MS};

/// Times of a record that is older than this program.
const CREATED_MS: u64 = 1_000_000_000_123;
const UPDATED_MS: u64 = 1_100_000_000_456;

/// A record as another store would give it.
fn record(key: &str, value: &str) -> Entry {
    let mut metadata = Metadata::new(7, value.len() as u64, UPDATED_MS);
    metadata.created_ms = CREATED_MS;
    metadata.expires_ms = Some(YEAR_2100_MS);
    metadata.tags = Tags::new(["old", "moved"]).unwrap();
    metadata.content_type = Some("text/plain".to_owned());
    metadata.attrs = Attrs::new([("owner", "alice")]).unwrap();
    metadata.accessed_ms = Some(UPDATED_MS);
    Entry::new(key.as_bytes().to_vec(), value.as_bytes().to_vec().into(), metadata)
}

/// Whether there is anything to check; where not, records with times are refused.
fn has_import(s: &Subject) -> bool {
    if s.backend().capabilities().has(Feature::Import) {
        return true;
    }
    let error = s.backend().import(N, &[record("a", "v")]).expect_err("an import is refused");
    s.assert_unsupported(&error, Feature::Import.name());
    assert!(!s.has("a"));
    false
}

fn import(s: &Subject, entries: &[Entry]) {
    s.backend().import(N, entries).unwrap();
}

/// Value and metadata are those of `wanted`, but for what is new in each store.
fn assert_same(s: &Subject, wanted: &Entry) {
    let found = s.backend().get_entry(N, &wanted.key).unwrap().expect("what was imported is there");
    assert!(found.metadata.version > 0);
    let mut expected = wanted.clone();
    (expected.metadata.version, expected.metadata.accessed_ms) =
        (found.metadata.version, found.metadata.accessed_ms);
    expected.metadata.stored_size = found.metadata.stored_size;
    assert_eq!(found, expected);
}

pub(crate) fn a_record_keeps_its_times_from_elsewhere(s: &mut Subject) {
    if !has_import(s) {
        return;
    }
    let entry = record("a", "value");
    import(s, std::slice::from_ref(&entry));
    assert_eq!(s.metadata("a").accessed_ms, None, "nobody has read it here");
    assert_same(s, &entry);
    let count = |filter: Filter| s.backend().count(N, &filter).unwrap();
    assert_eq!(count(Filter::Created(Span::of(CREATED_MS..=CREATED_MS))), 1);
    assert_eq!(count(Filter::Updated(Span::of(UPDATED_MS..=UPDATED_MS))), 1);
    assert_eq!(count(Filter::tag("moved")), 1);
    if s.reopen() {
        assert_same(s, &entry);
    }
    // From then on it is a record like any other.
    let before = s.metadata("a");
    s.set("a", "later");
    let after = s.metadata("a");
    assert_eq!(after.created_ms, CREATED_MS);
    assert!(after.updated_ms > UPDATED_MS && after.version > before.version);
    assert!(after.tags.is_empty() && after.expires_ms.is_none());
}

pub(crate) fn what_is_there_is_replaced_by_what_is_imported(s: &mut Subject) {
    if !has_import(s) {
        return;
    }
    let version = s.set_version("a", "mine");
    let entry = record("a", "theirs");
    import(s, std::slice::from_ref(&entry));
    assert_same(s, &entry);
    assert!(s.metadata("a").version > version, "versions are those of the store");
    // A put of one's own, with times that are the wrong way round.
    let mut put = Put::new(b"again".as_slice());
    put.times = Some(RecordTimes::new(UPDATED_MS, CREATED_MS));
    s.one(Operation::new(N, b"a".as_slice(), Action::Put(put)));
    let metadata = s.metadata("a");
    assert_eq!((metadata.created_ms, metadata.updated_ms), (UPDATED_MS, CREATED_MS));
    assert!(metadata.tags.is_empty());
}

pub(crate) fn an_import_is_of_any_keys_and_can_be_repeated(s: &mut Subject) {
    if !has_import(s) {
        return;
    }
    let entries: Vec<Entry> =
        (0..40).map(|i| record(&format!("key {i:02}"), &format!("value {i}").repeat(i))).collect();
    import(s, &[]);
    assert!(s.backend().namespaces().unwrap().is_empty());
    for _ in 0..2 {
        import(s, &entries);
        entries.iter().for_each(|entry| assert_same(s, entry));
        assert_eq!(s.backend().count(N, &Filter::tag("old")).unwrap(), 40);
    }
    // What one store lists the other takes.
    let listed: Vec<Entry> =
        s.backend().scan(N, ScanRequest::all()).unwrap().collect::<Result<_, _>>().unwrap();
    s.backend().import("copy", &listed).unwrap();
    let copied = s.backend().scan("copy", ScanRequest::all()).unwrap().map(Result::unwrap);
    assert!(copied.zip(&listed).all(|(a, b)| a.key == b.key && a.metadata.created_ms == CREATED_MS));
    assert_eq!(s.backend().count("copy", &Filter::all()).unwrap(), 40);
}

pub(crate) fn what_has_expired_elsewhere_is_not_imported(s: &mut Subject) {
    if !has_import(s) {
        return;
    }
    let start = s.now();
    s.set("gone", "mine");
    let now_ms = s.metadata("gone").updated_ms;
    let (mut gone, mut brief) = (record("gone", "theirs"), record("brief", "theirs"));
    gone.metadata.expires_ms = Some(UPDATED_MS + 1);
    brief.metadata.expires_ms = Some(now_ms + u64::try_from(TTL.as_millis()).unwrap());
    import(s, &[gone, brief]);
    assert!(!s.has("gone"), "an expiry that is past is a delete");
    s.assert_alive(start, s.has("brief"));
    s.pass(TTL + Duration::from_millis(5));
    assert!(!s.has("brief"));
}

pub(crate) fn imports_beyond_a_limit_are_refused(s: &mut Subject) {
    if !has_import(s) {
        return;
    }
    let check = |change: &dyn Fn(&mut Entry), words: &str| {
        let mut entry = record("a", "v");
        change(&mut entry);
        let error = s.backend().import(N, &[record("b", "v"), entry]).unwrap_err();
        assert_eq!(error.kind(), nadb_core::ErrorKind::Limit, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        assert!(!s.has("a") && !s.has("b"), "nothing of it is written");
    };
    check(&|entry| entry.metadata.created_ms = EXPIRY_MS_MAX + 1, "created is 253402300800000 ms");
    check(&|entry| entry.metadata.updated_ms = u64::MAX, "updated is 18446744073709551615 ms");
    check(&|entry| entry.metadata.expires_ms = Some(EXPIRY_MS_MAX + 1), "expiry is 253402300800000 ms");
    check(&|entry| entry.key = vec![0; 65_536], "65536");
    let mut last = record("last", "v");
    (last.metadata.created_ms, last.metadata.updated_ms) = (EXPIRY_MS_MAX, EXPIRY_MS_MAX);
    import(s, std::slice::from_ref(&last));
    assert_same(s, &last);
}
