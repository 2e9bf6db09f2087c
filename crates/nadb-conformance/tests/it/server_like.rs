//! A backend with the limitations of a cluster of servers, so that the suite's other branches run: its clock cannot be set,
//! batches stay within a bucket, listings come page by page and see later writes, there are no classes of durability and no
//! user's merges.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use nadb_conformance::Subject;
use nadb_core::{
    Backend, BatchAtomicity, Capabilities, ClockSource, Entry, Feature, Listing, NamespaceInfo, Outcome,
    Result, ScanConsistency, ScanRequest, SystemClock, Value, WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

struct ServerLike {
    map: Arc<MapBackend>,
    capabilities: Capabilities,
}

impl ServerLike {
    fn new() -> ServerLike {
        let mut capabilities = Capabilities::new("server").with(Feature::Import);
        capabilities.batches = BatchAtomicity::PerBucket;
        capabilities.scans = ScanConsistency::Weak;
        capabilities.clock = ClockSource::Server;
        let map = Arc::new(MapBackend::new(Arc::new(SystemClock::default())));
        capabilities.value_bytes_max = map.capabilities().value_bytes_max;
        capabilities.batch_bytes_max = 2 << 20;
        ServerLike { map, capabilities }
    }
}

/// The part of a key that decides on its bucket.
fn bucket(key: &[u8]) -> &[u8] {
    let position = |bytes: &[u8], wanted| bytes.iter().position(|&byte| byte == wanted);
    let Some(open) = position(key, b'{') else { return key };
    let inner = &key[open + 1..];
    match position(inner, b'}') {
        Some(len) if len > 0 => &inner[..len],
        _ => key,
    }
}

impl Backend for ServerLike {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        self.capabilities.check_write(batch, options)?;
        let buckets: BTreeSet<_> =
            batch.iter().map(|operation| (&operation.namespace, bucket(&operation.key))).collect();
        if buckets.len() > 1 {
            return Err(self.capabilities.unsupported("batches across buckets"));
        }
        self.map.write(batch, options)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.map.get(namespace, key)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.map.get_entry(namespace, key)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        self.map.scan(namespace, request.clone())?;
        let bounds = request.into_bounds();
        Ok(Box::new(Pages { map: Arc::clone(&self.map), namespace: namespace.to_owned(), bounds }))
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.map.namespaces()
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        self.map.drop_namespace(name)
    }

    fn close(&self) -> Result<()> {
        self.map.close()
    }
}

/// Asks for the next record only when it is wanted.
struct Pages {
    map: Arc<MapBackend>,
    namespace: String,
    bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
}

impl Pages {
    fn rest(&self) -> Result<Box<dyn Listing>> {
        self.map.scan(&self.namespace, ScanRequest::range(self.bounds.clone()))
    }
}

impl Iterator for Pages {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let entry = self.rest().and_then(|mut rest| rest.next().transpose());
        if let Ok(Some(entry)) = &entry {
            self.bounds.0 = Bound::Excluded(entry.key.clone());
        }
        entry.transpose()
    }
}

impl DoubleEndedIterator for Pages {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        let entry = self.rest().and_then(|mut rest| rest.next_back().transpose());
        if let Ok(Some(entry)) = &entry {
            self.bounds.1 = Bound::Excluded(entry.key.clone());
        }
        entry.transpose()
    }
}

impl Listing for Pages {}

fn server_like() -> Subject {
    Subject::new(Arc::new(ServerLike::new()))
}

nadb_conformance::tests!(server_like, excluded: "
flush
stats
segments
verify
recovery
snapshots
streams
custom merges
expire
purge
compact
last access
durability class Buffered
durability class Flushed
durability class Synced
batches across buckets
listings that later writes do not change
opening again
");
