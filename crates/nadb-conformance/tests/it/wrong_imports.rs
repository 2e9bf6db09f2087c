//! Backends that take records of other stores, wrongly in one way each; `noticed.rs` says which checks must notice.

use std::sync::Arc;

use nadb_core::{
    Action, Attrs, Backend, Capabilities, Clock, Condition, Entry, ExpiryUpdate, Feature, Listing,
    NamespaceInfo, Operation, Outcome, RecordTimes, Result, ScanRequest, Value, WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

/// How they are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    ClaimedOnly,
    DoNotReplace,
    Hidden,
    HiddenAndDone,
    KeepCreated,
    LiveForEver,
    LoseAttributes,
    NoLimits,
    OfTheFirst,
}

/// A map that takes records of other stores.
pub(crate) struct Wrong {
    map: MapBackend,
    fault: Fault,
    capabilities: Capabilities,
}

impl Wrong {
    pub(crate) fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
        let map = MapBackend::new(clock);
        let mut capabilities = map.capabilities().clone();
        if matches!(fault, Fault::Hidden | Fault::HiddenAndDone) {
            capabilities.features.remove(&Feature::Import);
        }
        Wrong { map, fault, capabilities }
    }

    /// What it makes of a put with times.
    fn change(&self, operation: &mut Operation<'_>) {
        let current = self.map.metadata(&operation.namespace, &operation.key).ok().flatten();
        let Action::Put(put) = &mut operation.action else { return };
        let Some(times) = &mut put.times else { return };
        match self.fault {
            Fault::ClaimedOnly | Fault::HiddenAndDone => put.times = None,
            Fault::DoNotReplace => {
                operation.condition = current.map_or(Condition::Always, |_| Condition::IfAbsent)
            }
            Fault::KeepCreated => times.created_ms = current.map_or(times.created_ms, |now| now.created_ms),
            Fault::LiveForEver => put.expiry = ExpiryUpdate::Never,
            Fault::LoseAttributes => put.attrs = Attrs::default(),
            Fault::NoLimits => *times = RecordTimes::new(times.created_ms % 1_000, times.updated_ms % 1_000),
            Fault::Hidden | Fault::OfTheFirst => {}
        }
    }
}

impl Backend for Wrong {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        let mut batch = batch.to_vec();
        batch.iter_mut().for_each(|operation| self.change(operation));
        self.map.write(&batch, options)
    }

    fn import(&self, namespace: &str, entries: &[Entry]) -> Result<()> {
        let some =
            if self.fault == Fault::OfTheFirst { entries.get(..1).unwrap_or_default() } else { entries };
        let batch: Vec<_> = some.iter().map(|entry| Operation::import(namespace, entry)).collect();
        self.write(&batch, &WriteOptions::default()).map(drop)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.map.get(namespace, key)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.map.get_entry(namespace, key)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        self.map.scan(namespace, request)
    }

    fn now_ms(&self) -> Result<u64> {
        self.map.now_ms()
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
