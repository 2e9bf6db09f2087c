//! What a compaction filter sees, and what comes of what it says.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::{
    Attrs, CompactionFilter, Condition, ErrorKind, Fate, FilterRecord, Merge, Metadata, Rewrite, Tags,
};

use super::*;

type Decide = Box<dyn Fn(&Engine, &FilterRecord<'_>) -> Result<Fate> + Send + Sync>;

/// A store whose filter can be exchanged, and is told the engine.
struct Filtered {
    store: Store,
    filter: Arc<Mutex<Option<(Engine, Decide)>>>,
}

impl Filtered {
    fn new(decide: impl Fn(&Engine, &FilterRecord<'_>) -> Result<Fate> + Send + Sync + 'static) -> Filtered {
        let filter: Arc<Mutex<Option<(Engine, Decide)>>> = Arc::default();
        let asked = Arc::clone(&filter);
        let mut place = Place::new(SimFs::new(1), Path::new("/store"));
        place.filter = Some(CompactionFilter::new(move |record| {
            // Taken out, so that a filter that panics leaves no lock behind, and no filter.
            let (engine, decide) = asked.lock().unwrap().take().unwrap();
            let fate = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decide(&engine, record)));
            *asked.lock().unwrap() = Some((engine, decide));
            fate.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        }));
        let store = place.open();
        *filter.lock().unwrap() = Some((store.engine.clone(), Box::new(decide)));
        Filtered { store, filter }
    }

    fn compact(&self) -> CompactionReport {
        self.store.engine.compact(&CompactionRequest::new()).unwrap()
    }

    fn metadata(&self, key: &str) -> Metadata {
        self.store.engine.metadata(N, key.as_bytes()).unwrap().unwrap()
    }

    fn failure(&self) -> Option<String> {
        self.store.engine.stats().unwrap().compaction_failure
    }
}

impl Drop for Filtered {
    fn drop(&mut self) {
        // It holds the store, which holds it.
        self.filter.lock().unwrap().take();
    }
}

/// By the value: what begins with `-` goes, what begins with `+` gets another one.
fn by_value(record: &FilterRecord<'_>) -> Result<Fate> {
    let value = record.value()?;
    Ok(match value.first() {
        Some(b'-') => Fate::Drop,
        Some(b'+') => Fate::Rewrite(Rewrite::new([b"=", &value[1..]].concat())),
        _ => Fate::Keep,
    })
}

#[test]
fn records_are_kept_dropped_and_rewritten_and_that_is_counted() {
    let filtered = Filtered::new(|_, record| by_value(record));
    let Filtered { store, .. } = &filtered;
    store.set_all(&[("a", "keep"), ("b", "-drop"), ("c", "+new"), ("d", "-drop")]);
    let kept = filtered.metadata("a");
    let report = filtered.compact();
    assert_eq!((report.kept, report.filtered, report.filter_failures), (4, 3, 0));
    store.check(&content(&[("a", "keep"), ("c", "=new")]));
    assert_eq!(filtered.metadata("a").version, kept.version);
    let stats = store.engine.stats().unwrap();
    assert_eq!((stats.filtered_records, stats.filter_failures, stats.compaction_failure), (3, 0, None));
    // What it has done it finds done.
    assert_eq!(filtered.compact().filtered, 0);
    store.check(&content(&[("a", "keep"), ("c", "=new")]));
}

#[test]
fn what_it_has_done_survives_reopening_and_a_snapshot_shows_what_was_before() {
    let filtered = Filtered::new(|_, record| by_value(record));
    filtered.store.set_all(&[("a", "keep"), ("b", "-drop"), ("c", "+new")]);
    let before = filtered.store.engine.snapshot().unwrap();
    filtered.compact();
    assert_eq!(content_of(&before), content(&[("a", "keep"), ("b", "-drop"), ("c", "+new")]));
    drop(before);
    filtered.store.engine.close().unwrap();
    let again = Place { filter: None, ..filtered.store.place.clone() }.open();
    again.check(&content(&[("a", "keep"), ("c", "=new")]));
}

#[test]
fn a_rewrite_keeps_tags_expiry_and_what_else_it_does_not_name() {
    let filtered = Filtered::new(|_, record| {
        assert_eq!((record.namespace(), record.value()?.len()), (N, 3));
        assert!(record.metadata()?.tags.contains("t"));
        let rewrite = Rewrite::new("other");
        Ok(Fate::Rewrite(match record.key() {
            b"a" => rewrite,
            _ => rewrite.tags(Tags::new(["u"])?).expires_ms(None).content_type("x/y").attrs(Attrs::default()),
        }))
    });
    let store = &filtered.store;
    let mut put = Put::new(b"one".as_slice());
    put.tags = nadb_core::TagsUpdate::Replace(Tags::new(["t"]).unwrap());
    put.expiry = ExpiryUpdate::AtMs(NOW_MS + 1000);
    put.content_type = Some("text/plain".into());
    put.attrs = Attrs::new([("owner", "alice")]).unwrap();
    store.act("a", Action::Put(put.clone()));
    store.act("b", Action::Put(put));
    let before = filtered.metadata("a");
    store.place.clock.advance_ms(10);
    assert_eq!(filtered.compact().filtered, 2);

    let (a, b) = (filtered.metadata("a"), filtered.metadata("b"));
    assert!(a.version > before.version);
    let mut expected = before.clone();
    (expected.version, expected.updated_ms) = (a.version, NOW_MS + 10);
    (expected.size, expected.stored_size) = (5, 5);
    assert_eq!(a, expected);
    assert_eq!((b.created_ms, b.expires_ms, b.attrs), (before.created_ms, None, Attrs::default()));
    assert_eq!((b.tags, b.content_type.as_deref()), (Tags::new(["u"]).unwrap(), Some("x/y")));
    assert_eq!(store.engine.tags(N, "").unwrap(), [("t".to_owned(), 1), ("u".to_owned(), 1)]);
}

#[test]
fn a_record_that_changed_meanwhile_is_left_as_it_is() {
    let filtered = Filtered::new(|engine, record| {
        let fate = by_value(record)?;
        // Somebody else is quicker with some of those that are to change.
        let write = |action| engine.write(&[Operation::new(N, record.key(), action)], None);
        match record.key() {
            b"b" | b"c" => _ = write(Action::Put(Put::new(b"theirs".as_slice())))?,
            b"d" => {
                write(Action::Delete)?;
                write(Action::Put(Put::new(b"-drop".as_slice())))?;
            }
            _ => {}
        }
        Ok(fate)
    });
    let Filtered { store, .. } = &filtered;
    let pairs = [("a", "-drop"), ("b", "-drop"), ("c", "+new"), ("d", "-drop"), ("e", "+new")];
    store.set_all(&pairs);
    let report = filtered.compact();
    assert_eq!((report.filtered, report.filter_failures), (2, 0));
    store.check(&content(&[("b", "theirs"), ("c", "theirs"), ("d", "-drop"), ("e", "=new")]));
}

#[test]
fn it_does_not_bring_back_a_namespace_that_is_dropped_meanwhile() {
    let filtered = Filtered::new(|engine, record| {
        engine.drop_namespace(N)?;
        by_value(record)
    });
    let Filtered { store, .. } = &filtered;
    store.set_all(&[("a", "+new"), ("b", "+new")]);
    assert_eq!(filtered.compact().filtered, 0);
    assert!(store.engine.namespaces().unwrap().is_empty());
    store.engine.verify().unwrap();
}

#[test]
fn it_is_not_asked_about_what_is_deleted_expired_or_the_stores_own() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let filtered = Filtered::new(|_, record| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        assert_eq!((record.namespace(), record.key()), (N, &b"e"[..]));
        Ok(Fate::Keep)
    });
    let Filtered { store, .. } = &filtered;
    store.set("a", "deleted");
    store.seal();
    store.delete("a");
    store.set_expiring("b", 100);
    store.set_expiring("c", 200);
    store.set("e", "there");
    store
        .engine
        .write(&[Operation::new("other", &b"k"[..], Action::Put(Put::new(&b"v"[..])))], None)
        .unwrap();
    store.engine.drop_namespace("other").unwrap();
    store.place.clock.advance_ms(150);
    store.engine.purge_expired().unwrap();
    // The other one is live by the files, and expired by the clock.
    store.place.clock.advance_ms(100);
    assert_eq!(filtered.compact().filtered, 0);
    assert_eq!(ASKED.load(Ordering::Relaxed), 1);
}

#[test]
fn a_request_shows_it_also_what_needs_no_compaction_and_an_estimate_shows_nothing() {
    let filtered = Filtered::new(|_, _| Ok(Fate::Keep));
    let Filtered { store, filter } = &filtered;
    store.set_all(&[("a", "-drop"), ("b", "+new")]);
    filtered.compact();
    // The application's rules change.
    filter.lock().unwrap().as_mut().unwrap().1 = Box::new(|_, record| by_value(record));
    assert_eq!(store.engine.compact(&CompactionRequest::new().dry_run(true)).unwrap().filtered, 0);
    let report = filtered.compact();
    assert_eq!((report.compactions, report.filtered), (0, 2));
    store.check(&content(&[("b", "=new")]));
}

#[test]
fn values_in_blobs_are_shown_rewritten_and_dropped() {
    let filtered = Filtered::new(|_, record| by_value(record));
    let Filtered { store, .. } = &filtered;
    let large = |first: char| format!("{first}{}", "x".repeat(2 * ABOVE));
    store.set_all(&[("a", &large('-')), ("b", &large('+')), ("c", &large('k'))]);
    store.set("d", "-drop");
    assert_eq!(filtered.compact().filtered, 3);
    let expected = content(&[("b", &large('=')), ("c", &large('k'))]);
    store.check(&expected);
    // Nobody names the old blobs any more once their references are compacted away.
    filtered.compact();
    store.check(&expected);
    let files = store.place.fs.list(Path::new("/store")).unwrap();
    assert_eq!(nadb_log::list_blobs(&files).len(), 2);
}

#[test]
fn a_panic_and_an_error_keep_the_record_and_are_told() {
    let filtered = Filtered::new(|_, record| match record.key() {
        b"b" => panic!("I know no b"),
        b"c" => Err(Error::new(ErrorKind::Unavailable, "nobody answers")),
        _ => by_value(record),
    });
    let Filtered { store, filter } = &filtered;
    store.set_all(&[("a", "-drop"), ("b", "+new"), ("c", "-drop"), ("d", "+new")]);
    let report = filtered.compact();
    assert_eq!((report.filtered, report.filter_failures), (2, 2));
    assert!(report.to_string().contains("2 filtered, the filter failed 2 times"), "{report}");
    let failure = filtered.failure().unwrap();
    assert!(failure.contains("key \"b\" in namespace \"n\"") && failure.contains("I know no b"), "{failure}");
    store.check(&content(&[("b", "+new"), ("c", "-drop"), ("d", "=new")]));
    assert_eq!(store.engine.stats().unwrap().filter_failures, 2);

    // The store goes on, and forgets what has been put right.
    filter.lock().unwrap().as_mut().unwrap().1 = Box::new(|_, record| by_value(record));
    assert_eq!(filtered.compact().filtered, 2);
    store.check(&content(&[("b", "=new"), ("d", "=new")]));
    assert_eq!(filtered.failure(), None);
}

#[test]
fn a_filter_that_always_fails_is_left_alone_soon() {
    static ASKED: AtomicU64 = AtomicU64::new(0);
    let filtered = Filtered::new(|_, _| {
        ASKED.fetch_add(1, Ordering::Relaxed);
        Err(Error::invalid("no"))
    });
    (0..50).for_each(|key| filtered.store.set(&format!("{key}"), "value"));
    assert_eq!(filtered.compact().filter_failures, 8);
    assert_eq!(ASKED.load(Ordering::Relaxed), 8);
    assert_eq!(filtered.store.content().len(), 50);
}

#[test]
fn a_wish_that_cannot_be_written_hinders_no_other() {
    let filtered = Filtered::new(|_, record| match record.key() {
        b"b" => Ok(Fate::Rewrite(Rewrite::new("new").ttl(std::time::Duration::ZERO))),
        _ => by_value(record),
    });
    let Filtered { store, .. } = &filtered;
    store.set_all(&[("a", "-drop"), ("b", "stays"), ("c", "+new")]);
    let report = filtered.compact();
    assert_eq!((report.filtered, report.filter_failures), (2, 1));
    assert!(filtered.failure().unwrap().contains("ttl"), "{:?}", filtered.failure());
    store.check(&content(&[("b", "stays"), ("c", "=new")]));
}

#[test]
fn it_reads_and_writes_the_store_but_does_not_compact_it() {
    let filtered = Filtered::new(|engine, record| {
        let error = engine.compact(&CompactionRequest::new()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(engine.compact_due().unwrap_err().kind(), ErrorKind::InvalidInput);
        // A child without its parent goes; who was there is counted.
        let is_orphan = record.key() != b"a" && engine.get(N, b"a")?.is_none();
        let count = Action::Merge(Merge::new(Arc::new(nadb_core::Add), b"1".as_slice()));
        engine.write(&[Operation::new("seen", record.key(), count).when(Condition::Always)], None)?;
        Ok(if is_orphan { Fate::Drop } else { Fate::Keep })
    });
    let Filtered { store, .. } = &filtered;
    store.set_all(&[("b", "child"), ("c", "child")]);
    let report = filtered.compact();
    assert_eq!((report.filtered, report.filter_failures), (2, 0));
    assert!(store.content().is_empty());
    assert_eq!(store.engine.get("seen", b"b").unwrap().unwrap(), b"1");
}

#[test]
fn many_records_are_many_batches() {
    let filtered = Filtered::new(|_, record| by_value(record));
    let Filtered { store, .. } = &filtered;
    let value = format!("+{}", "x".repeat(700));
    (0..1000).for_each(|key| store.set(&format!("{key:04}"), &value));
    let appends = store.engine.stats().unwrap().appends;
    assert_eq!(filtered.compact().filtered, 1000);
    assert!(store.engine.stats().unwrap().appends - appends < 20);
    assert!(store.content().iter().all(|(_, value)| value.first() == Some(&b'=')));
    store.engine.verify().unwrap();
}

#[test]
fn it_may_close_the_store() {
    let filtered = Filtered::new(|engine, _| {
        engine.close()?;
        Ok(Fate::Drop)
    });
    filtered.store.set("a", "there");
    let error = filtered.store.engine.compact(&CompactionRequest::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    let again = Place { filter: None, ..filtered.store.place.clone() }.open();
    again.check(&content(&[("a", "there")]));
}

#[test]
fn it_is_asked_about_what_the_policy_has_compacted() {
    let filtered = Filtered::new(|_, record| by_value(record));
    let Filtered { store, .. } = &filtered;
    let value = |first: char| format!("{first}{}", "x".repeat(ABOVE / 2));
    (0..500).for_each(|key| store.set(&format!("{key:03}"), &value('-')));
    store.seal();
    (0..400).for_each(|key| store.set(&format!("{key:03}"), &value('k')));
    store.seal();
    // The first segment is mostly dead; the other is not copied, and not asked about.
    let report = store.engine.compact_due().unwrap();
    assert_eq!((report.kept, report.filtered), (100, 100));
    assert_eq!(store.content().len(), 400);
    store.engine.verify().unwrap();
}
