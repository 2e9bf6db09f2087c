//! Copies from one store to another.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nadb::backend::{
    Backend, BatchAtomicity, Capabilities, Feature, Listing, ScanRequest, WriteBatch, WriteOptions,
};
use nadb::{
    Attrs, CopyPhase, CopyPosition, CopyRequest, Durability, Entry, ErrorKind, Filter, Metadata,
    NamespaceInfo, Outcome, Result, Store, Tags, Value,
};
use nadb_engine::{Engine, Options};

/// Milliseconds of a moment long ago.
const THEN: u64 = 1_200_000_000_000;

fn record(key: &[u8], value: &[u8], number: u64) -> Entry {
    let mut metadata = Metadata::new(1, value.len() as u64, THEN + 2 * number);
    metadata.created_ms = THEN + number;
    metadata.tags = Tags::new([format!("t{}", number % 3), "all".to_owned()]).unwrap();
    metadata.expires_ms = (number % 2 == 1).then_some(4_000_000_000_000 + number);
    metadata.content_type = number.is_multiple_of(5).then(|| "text/plain".to_owned());
    metadata.attrs = Attrs::new([("number", number.to_string())]).unwrap();
    Entry::new(key.to_vec(), value.to_vec().into(), metadata)
}

fn fill(store: &Store, namespace: &str, records: u64) {
    let entries: Vec<Entry> = (0..records)
        .map(|i| record(format!("key {i:06}").as_bytes(), format!("value {i}").as_bytes(), i))
        .collect();
    store.namespace(namespace).unwrap().import(&entries).unwrap();
}

fn entries(store: &Store, namespace: &str) -> Vec<Entry> {
    let all = store.namespace(namespace).unwrap().iter().unwrap().collect::<Result<Vec<_>>>().unwrap();
    all.into_iter()
        .map(|mut entry| {
            (entry.metadata.version, entry.metadata.stored_size) = (0, 0);
            entry
        })
        .collect()
}

/// What an observer was told.
type Told = Arc<Mutex<Vec<nadb::CopyProgress>>>;

fn observed(request: CopyRequest, stops_in: Option<&'static str>) -> (CopyRequest, Told) {
    let told = Told::default();
    let noted = Arc::clone(&told);
    let request = request.on_progress(move |progress| {
        noted.lock().unwrap().push(progress.clone());
        let namespace = progress.position.as_ref().map(|position| &*position.namespace);
        match namespace.is_some_and(|namespace| Some(namespace) == stops_in) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    (request, told)
}

#[test]
fn a_copy_has_everything_but_versions() {
    let (from, to) = (Store::memory().unwrap(), Store::memory().unwrap());
    fill(&from, "a", 300);
    fill(&from, "b/c", 7);
    let odd = from.namespace("odd").unwrap();
    let keys: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte, 0, b'{', byte]).collect();
    odd.import(&keys.iter().map(|key| record(key, key, 1)).collect::<Vec<_>>()).unwrap();
    odd.import(&[record(b"empty", b"", 2), record(b"large", &vec![7; 9 << 20], 3)]).unwrap();
    let report = from.copy_to(&to, &CopyRequest::new()).unwrap();
    assert!(report.is_same(), "{report:?}");
    assert_eq!((report.namespaces, report.written, report.unchanged), (3, 300 + 7 + 258, 0));
    assert_eq!((report.from.records, report.from.bytes), (565, report.written_bytes));
    for namespace in ["a", "b/c", "odd"] {
        assert_eq!(entries(&from, namespace), entries(&to, namespace));
    }
    assert_eq!(to.namespace("a").unwrap().query().tag("t1").count().unwrap(), 100);
    to.verify().unwrap();
}

#[test]
fn a_copy_of_some_namespaces_leaves_the_others() {
    let (from, to) = (Store::memory().unwrap(), Store::memory().unwrap());
    ["a", "b", "c"].into_iter().for_each(|name| fill(&from, name, 3));
    let report = from.copy_to(&to, &CopyRequest::new().namespace("a").namespace("c")).unwrap();
    assert!(report.is_same() && report.written == 6);
    let names: Vec<_> = to.namespaces().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["a", "c"]);
}

#[test]
fn a_second_copy_writes_what_is_different_and_names_what_is_too_much() {
    let (from, to) = (Store::memory().unwrap(), Store::memory().unwrap());
    fill(&from, "n", 100);
    let first = from.copy_to(&to, &CopyRequest::new()).unwrap();
    let n = to.namespace("n").unwrap();
    n.set("key 000010", "changed").unwrap();
    n.put("key 000011", "value 11").commit().unwrap();
    n.delete("key 000012").unwrap();
    let again = from.copy_to(&to, &CopyRequest::new()).unwrap();
    assert!(again.is_same() && again.from.checksum == first.to.checksum);
    assert_eq!((again.written, again.unchanged), (3, 97));
    n.set("zzz", "mine").unwrap();
    let report = from.copy_to(&to, &CopyRequest::new()).unwrap();
    assert!(!report.is_same() && report.differing == 1 && report.written == 0);
    assert_eq!((report.from.records, report.to.records), (100, 101));
    assert_ne!(report.from.checksum, report.to.checksum);
    let difference = report.first_difference.unwrap();
    assert_eq!((&*difference.key, difference.what), (&b"zzz"[..], "is there, and not in the source"));
}

#[test]
fn a_copy_that_was_broken_off_goes_on_where_it_stood() {
    let (from, to) = (Store::memory().unwrap(), Store::memory().unwrap());
    fill(&from, "a", 10);
    fill(&from, "b", 20_000);
    fill(&from, "c", 10);
    // All of `a`, then a part of `b`.
    let (request, told) = observed(CopyRequest::new(), Some("b"));
    let report = from.copy_to(&to, &request).unwrap();
    assert!(report.ended_early && !report.is_same());
    let told: Vec<_> = told.lock().unwrap().drain(..).collect();
    assert!(told.len() > 5, "the bar of whoever looks on moves");
    assert!(told.iter().all(|progress| progress.phase == CopyPhase::Copying && progress.total == 20_020));
    let position = told.last().unwrap().position.clone().unwrap();
    assert_eq!(position.namespace, "b");
    // Everything up to there is there, and nothing of it is looked at again: what is changed meanwhile shows in the comparison alone.
    let done = entries(&to, "b");
    assert_eq!(done.last().unwrap().key, position.key);
    assert_eq!(report.written, 10 + done.len() as u64);
    to.namespace("b").unwrap().delete("key 000000").unwrap();
    let (request, told) = observed(CopyRequest::new().after(position.clone()), None);
    let report = from.copy_to(&to, &request).unwrap();
    assert_eq!((report.written, report.unchanged), (20_000 - done.len() as u64 + 10, 0));
    let difference = report.first_difference.unwrap();
    assert_eq!((&*difference.key, difference.what, report.differing), (&b"key 000000"[..], "is missing", 1));
    let last = told.lock().unwrap().last().unwrap().clone();
    assert_eq!(last.phase, CopyPhase::Comparing);
    assert_eq!(last.position, Some(CopyPosition { namespace: "c".into(), key: b"key 000009".to_vec() }));
    // From the beginning it is mended.
    let report = from.copy_to(&to, &CopyRequest::new()).unwrap();
    assert!(report.is_same() && report.written == 1);
    assert_eq!(entries(&from, "b"), entries(&to, "b"));
}

#[test]
fn a_position_is_told_when_what_is_before_it_is_durable() {
    let from = Store::memory().unwrap();
    fill(&from, "n", 3);
    let mut options = Options::default();
    (options.durability, options.flush_interval) = (Durability::Buffered, Duration::from_secs(3600));
    let engine = Engine::open(Arc::new(nadb_vfs::MemFs::default()), Path::new("store"), options).unwrap();
    let to = Store::with_backend(Arc::new(engine));
    let (seen, at) = (Arc::new(Mutex::new(Vec::new())), to.clone());
    let noted = Arc::clone(&seen);
    let request = CopyRequest::new().on_progress(move |_| {
        let stats = at.stats().unwrap();
        noted.lock().unwrap().push((stats.durable_seq, stats.published_seq));
        ControlFlow::Continue(())
    });
    assert!(from.copy_to(&to, &request).unwrap().is_same());
    let seen = seen.lock().unwrap();
    assert!(!seen.is_empty() && seen.iter().all(|(durable, published)| durable == published), "{seen:?}");
}

/// A backend with limits of its own on an engine.
struct Other {
    engine: Engine,
    capabilities: Capabilities,
}

impl Backend for Other {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        self.capabilities.check_write(batch, options)?;
        if batch.len() > 1 && self.capabilities.batches == BatchAtomicity::PerBucket {
            return Err(self.capabilities.unsupported("batches across buckets"));
        }
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
    fn now_ms(&self) -> Result<u64> {
        Backend::now_ms(&self.engine)
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

fn other(options: Options, change: impl FnOnce(&mut Capabilities)) -> Store {
    let engine = Engine::open(Arc::new(nadb_vfs::MemFs::default()), Path::new("store"), options).unwrap();
    let mut capabilities = Capabilities::new("other").with(Feature::Expire);
    change(&mut capabilities);
    Store::with_backend(Arc::new(Other { engine, capabilities }))
}

#[test]
fn a_backend_that_keeps_no_times_is_no_target() {
    let from = Store::memory().unwrap();
    fill(&from, "n", 3);
    let to = other(Options::default(), |_| {});
    let error = from.copy_to(&to, &CopyRequest::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(to.namespaces().unwrap().is_empty());
}

#[test]
fn a_value_that_the_target_does_not_take_is_named_and_the_others_can_follow() {
    let from = Store::memory().unwrap();
    fill(&from, "n", 30);
    from.namespace("n").unwrap().set("key 000015", "longer than the others").unwrap();
    let to = other(Options::default(), |capabilities| {
        capabilities.features.insert(Feature::Import);
        capabilities.value_bytes_max = 10;
        capabilities.batches = BatchAtomicity::PerBucket;
    });
    let error = from.copy_to(&to, &CopyRequest::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("key 000015"), "{error}");
    from.namespace("n").unwrap().delete("key 000015").unwrap();
    let report = from.copy_to(&to, &CopyRequest::new()).unwrap();
    assert!(report.is_same() && report.from.records == 29);
    assert_eq!(entries(&from, "n"), entries(&to, "n"));
}

#[test]
fn what_expires_meanwhile_is_no_difference() {
    let from = Store::memory().unwrap();
    let n = from.namespace("n").unwrap();
    n.set("stays", "v").unwrap();
    n.put("goes", "v").ttl(Duration::from_secs(1800)).commit().unwrap();
    // An hour ahead, it lets go of what is alive here.
    let now_ms = from.namespace("n").unwrap().metadata("stays").unwrap().unwrap().updated_ms;
    let clock = Arc::new(nadb_core::ManualClock::new(now_ms + 3_600_000));
    let mut options = Options::default();
    options.clock = clock;
    let to = other(options, |capabilities| {
        capabilities.features.insert(Feature::Import);
    });
    let report = from.copy_to(&to, &CopyRequest::new()).unwrap();
    assert!(report.is_same(), "{report:?}");
    assert_eq!((report.from.records, report.to.records), (1, 1));
    assert_eq!(to.namespace("n").unwrap().query().filter(Filter::all()).count().unwrap(), 1);
}
