//! The engine as a [`Backend`]: what it can do, and each verb handed on.

use std::sync::{Arc, LazyLock};

use nadb_core::limits::{BLOB_BYTES_MAX, VALUE_BYTES_MAX};
use nadb_core::{
    Backend, BackendSnapshot, Capabilities, CompactionReport, CompactionRequest, Durability, Entry, Feature,
    Filter, Listing, Matches, Metadata, NamespaceInfo, Operation, Outcome, PurgeReport, QueryRequest,
    RecoveryReport, Result, ScanConsistency, ScanRequest, SegmentInfo, Stats, Value, ValueReader,
    ValueWriter, VerifyReport, WriteBatch, WriteOptions,
};

use crate::{Engine, Snapshot};

static CAPABILITIES: LazyLock<Capabilities> = LazyLock::new(|| {
    let mut capabilities = Capabilities::new("engine");
    capabilities.features.extend(Feature::ALL.iter().filter(|feature| **feature != Feature::LastAccess));
    capabilities.durability = vec![Durability::Buffered, Durability::Flushed, Durability::Synced];
    capabilities.scans = ScanConsistency::Settled;
    capabilities.value_bytes_max = BLOB_BYTES_MAX;
    capabilities.apart_bytes_min = VALUE_BYTES_MAX as u64;
    capabilities
});

static WITH_LAST_ACCESS: LazyLock<Capabilities> =
    LazyLock::new(|| CAPABILITIES.clone().with(Feature::LastAccess));

/// What every engine can do.
pub(crate) fn capabilities() -> &'static Capabilities {
    &CAPABILITIES
}

impl Backend for Engine {
    fn capabilities(&self) -> &Capabilities {
        if self.tracks_access() { &WITH_LAST_ACCESS } else { capabilities() }
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        Engine::write(self, batch, options.durability)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        Engine::get(self, namespace, key)
    }

    fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Engine::get_with(self, namespace, key, read)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        Engine::get_entry(self, namespace, key)
    }

    fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        Engine::metadata(self, namespace, key)
    }

    fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        Engine::contains(self, namespace, key)
    }

    fn touch(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        Engine::touch(self, namespace, key)
    }

    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        Engine::tags(self, namespace, prefix)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        Ok(Box::new(Engine::scan(self, namespace, request.into_bounds())?))
    }

    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        Engine::query(self, namespace, request)
    }

    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        Engine::count(self, namespace, filter)
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        Engine::namespaces(self)
    }

    fn purge_expired(&self) -> Result<PurgeReport> {
        Engine::purge_expired(self)
    }

    fn compact(&self, request: &CompactionRequest) -> Result<CompactionReport> {
        Engine::compact(self, request)
    }

    fn now_ms(&self) -> Result<u64> {
        Engine::now_ms(self)
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        Engine::drop_namespace(self, name)
    }

    fn close(&self) -> Result<()> {
        Engine::close(self)
    }

    fn flush(&self) -> Result<()> {
        Engine::flush(self)
    }

    fn stats(&self) -> Result<Stats> {
        Engine::stats(self)
    }

    fn segments(&self) -> Result<Vec<SegmentInfo>> {
        Engine::segments(self)
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        Engine::get_many(self, namespace, keys)
    }

    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        Ok(Arc::new(Engine::snapshot(self)?))
    }

    fn writer(&self, operation: Operation<'static>, options: &WriteOptions) -> Result<Box<dyn ValueWriter>> {
        Ok(Box::new(Engine::writer(self, operation, options)?))
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        let reader = Engine::reader(self, namespace, key)?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn ValueReader>))
    }

    fn verify(&self) -> Result<VerifyReport> {
        Engine::verify(self)
    }

    fn recovery(&self) -> Result<&RecoveryReport> {
        Ok(Engine::recovery(self))
    }
}

impl BackendSnapshot for Snapshot {
    fn version(&self) -> u64 {
        Snapshot::version(self)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        Snapshot::get(self, namespace, key)
    }

    fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Snapshot::get_with(self, namespace, key, read)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        Snapshot::get_entry(self, namespace, key)
    }

    fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        Snapshot::metadata(self, namespace, key)
    }

    fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        Snapshot::contains(self, namespace, key)
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        Snapshot::get_many(self, namespace, keys)
    }

    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        Ok(Box::new(Snapshot::query(self, namespace, request)?))
    }

    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        Snapshot::count(self, namespace, filter)
    }

    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        Snapshot::tags(self, namespace, prefix)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        Ok(Box::new(Snapshot::scan(self, namespace, request.into_bounds())?))
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        let reader = Snapshot::reader(self, namespace, key)?;
        Ok(reader.map(|reader| Box::new(reader) as Box<dyn ValueReader>))
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        Snapshot::namespaces(self)
    }
}
