//! A store on a backend that is not NADB's own, and has only what every backend must have.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb::backend::{Backend, Capabilities, Listing, ScanRequest, WriteBatch, WriteOptions};
use nadb::{Durability, Entry, ErrorKind, NamespaceInfo, Outcome, Result, Store, Value};
use nadb_engine::{Engine, Options};

struct Plain {
    engine: Engine,
    capabilities: Capabilities,
}

impl Backend for Plain {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }
    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        self.capabilities.check_write(batch, options)?;
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
    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        let mut all = self.engine.namespaces()?;
        all.reverse(); // any order will do
        Ok(all)
    }
    fn drop_namespace(&self, name: &str) -> Result<bool> {
        self.engine.drop_namespace(name)
    }
    fn close(&self) -> Result<()> {
        self.engine.close()
    }
}

fn store() -> Store {
    let fs = Arc::new(nadb_vfs::MemFs::default());
    let engine = Engine::open(fs, Path::new("store"), Options::default()).unwrap();
    Store::with_backend(Arc::new(Plain { engine, capabilities: Capabilities::new("plain") }))
}

#[test]
fn the_facade_works_on_it() {
    let store = store();
    let n = store.namespace("n").unwrap();
    n.put("a", "1").tags(["t"]).ttl(Duration::from_secs(60)).commit().unwrap();
    n.set_many([("b", "2"), ("c", "3")]).unwrap();
    assert_eq!(n.incr("b", 5).unwrap(), 7);
    assert!(n.contains("a").unwrap() && n.metadata("a").unwrap().unwrap().tags.contains("t"));
    let values = n.get_many(["c", "none", "a"]).unwrap();
    let values: Vec<_> = values.iter().map(|value| value.as_deref()).collect();
    assert_eq!(values, [Some(&b"3"[..]), None, Some(&b"1"[..])]);
    let mut iter = n.prefix("").unwrap();
    assert_eq!(iter.next_back().unwrap().unwrap().key, b"c");
    assert_eq!(iter.keys().map(Result::unwrap).collect::<Vec<_>>(), [b"a", b"b"]);
    let mut batch = store.batch();
    batch.set("m", "k", "v").delete("n", "a");
    assert!(batch.commit().unwrap()[1].existed);
    let names: Vec<_> = store.namespaces().unwrap().into_iter().map(|n| n.name).collect();
    assert_eq!(names, ["m", "n"]);
    assert!(store.drop_namespace("m").unwrap());
    store.close().unwrap();
    assert_eq!(n.get("b").unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn what_it_does_not_have_is_unsupported() {
    let store = store();
    let unsupported = |result: Result<()>, what: &str| {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.to_string(), format!("the backend \"plain\" does not support {what}"));
    };
    unsupported(store.flush(), "flush");
    unsupported(store.stats().map(drop), "stats");
    unsupported(store.segments().map(drop), "segments");
    unsupported(store.snapshot().map(drop), "snapshots");
    unsupported(store.verify().map(drop), "verify");
    assert_eq!(*store.recovery(), nadb::RecoveryReport::default());
    let n = store.namespace("n").unwrap();
    let synced = n.put("k", "v").durability(Durability::Synced).commit();
    unsupported(synced.map(drop), "the durability class Synced");
    assert!(store.namespaces().unwrap().is_empty());
    assert_eq!(format!("{store:?}"), "Store { backend: Backend(\"plain\") }");
}
