//! Backends that keep when keys were last read, wrongly in one way each; `noticed.rs` says which checks must notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use nadb_core::query::{by_scan, count_by_scan};
use nadb_core::{
    Action, Backend, BackendSnapshot, Capabilities, Clock, Entry, Feature, Filter, Listing, Matches,
    Metadata, NamespaceInfo, Operation, Outcome, QueryRequest, Result, ScanRequest, Stats, Value,
    ValueReader, ValueWriter, WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

/// How they are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They are not.
    None,
    ClaimedOnly,
    CountsIgnoreIt,
    DeletesKeepIt,
    EntriesShowTheirOwnRead,
    ExpiriesKeepIt,
    Hidden,
    HiddenAndAnswered,
    LooksAreReads,
    ManyAreNoReads,
    OverwritesEndIt,
    ReadersAreNoReads,
    ScansAreReads,
    ShownAreNoReads,
    TimesAreOfTheFuture,
    TouchIsNoRead,
    TouchOfAbsentKeysSucceeds,
}

type Reads = BTreeMap<(String, Vec<u8>), u64>;

/// A map that keeps when its keys were read.
pub(crate) struct Wrong {
    map: Arc<MapBackend>,
    clock: Arc<dyn Clock>,
    fault: Fault,
    capabilities: Capabilities,
    reads: Arc<Mutex<Reads>>,
}

impl Wrong {
    pub(crate) fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
        let map = Arc::new(MapBackend::new(clock.clone()));
        let mut capabilities = map.capabilities().clone();
        if !matches!(fault, Fault::Hidden | Fault::HiddenAndAnswered) {
            capabilities = capabilities.with(Feature::LastAccess);
        }
        Wrong { map, clock, fault, capabilities, reads: Arc::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    fn note(&self, namespace: &str, key: &[u8]) {
        let ahead = if self.is(Fault::TimesAreOfTheFuture) { 60_000 } else { 0 };
        if !matches!(self.fault, Fault::ClaimedOnly | Fault::HiddenAndAnswered) {
            let place = (namespace.to_owned(), key.to_vec());
            self.reads.lock().unwrap().insert(place, self.clock.now_ms() + ahead);
        }
    }

    fn with_access(&self, namespace: &str, mut entry: Entry) -> Entry {
        let place = (namespace.to_owned(), entry.key.clone());
        entry.metadata.accessed_ms = self.reads.lock().unwrap().get(&place).copied();
        entry
    }

    /// Notes a read of a key that is there.
    fn read<T>(&self, namespace: &str, key: &[u8], found: Result<Option<T>>) -> Result<Option<T>> {
        Ok(found?.inspect(|_| self.note(namespace, key)))
    }
}

impl Backend for Wrong {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        let outcomes = self.map.write(batch, options)?;
        for (operation, outcome) in batch.iter().zip(&outcomes) {
            let is_delete = matches!(operation.action, Action::Delete);
            let ends = match self.fault {
                Fault::OverwritesEndIt => true,
                Fault::DeletesKeepIt => !outcome.existed && !is_delete && outcomes.len() > 1,
                Fault::ExpiriesKeepIt => !outcome.exists,
                _ => !outcome.exists || !outcome.existed,
            };
            if ends {
                let place = (operation.namespace.to_string(), operation.key.to_vec());
                self.reads.lock().unwrap().remove(&place);
            }
        }
        Ok(outcomes)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.read(namespace, key, self.map.get(namespace, key))
    }

    fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = match self.fault {
            Fault::ShownAreNoReads => self.map.get(namespace, key)?,
            _ => self.get(namespace, key)?,
        };
        Ok(value.map(|value| read(&value)).is_some())
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        if self.is(Fault::EntriesShowTheirOwnRead) && self.map.contains(namespace, key)? {
            self.note(namespace, key);
        }
        let entry = self.map.get_entry(namespace, key)?.map(|entry| self.with_access(namespace, entry));
        self.read(namespace, key, Ok(entry))
    }

    fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        let entry = self.map.get_entry(namespace, key)?.map(|entry| self.with_access(namespace, entry));
        if self.is(Fault::LooksAreReads) && entry.is_some() {
            self.note(namespace, key);
        }
        Ok(entry.map(|entry| entry.metadata))
    }

    fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        self.map.contains(namespace, key)
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        match self.fault {
            Fault::ManyAreNoReads => self.map.get_many(namespace, keys),
            _ => keys.iter().map(|key| self.get(namespace, key)).collect(),
        }
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        let mut entries = Vec::new();
        for entry in self.map.scan(namespace, request)? {
            let entry = self.with_access(namespace, entry?);
            if self.is(Fault::ScansAreReads) {
                self.note(namespace, &entry.key);
            }
            entries.push(entry);
        }
        Ok(Box::new(Entries(entries.into_iter())))
    }

    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        if !self.is(Fault::HiddenAndAnswered) {
            self.capabilities.check_filter(&request.filter)?;
        }
        by_scan(request, |keys| self.scan(namespace, keys))
    }

    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        if self.is(Fault::CountsIgnoreIt) && filter.asks_for_access() {
            return Ok(0);
        }
        if !self.is(Fault::HiddenAndAnswered) {
            self.capabilities.check_filter(filter)?;
        }
        count_by_scan(filter, |keys| self.scan(namespace, keys))
    }

    fn touch(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        let is_there = self.map.contains(namespace, key)?;
        if is_there && !self.is(Fault::TouchIsNoRead) {
            self.note(namespace, key);
        }
        Ok(is_there || self.is(Fault::TouchOfAbsentKeysSucceeds))
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

    fn stats(&self) -> Result<Stats> {
        self.map.stats()
    }

    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        self.map.snapshot()
    }

    fn writer(&self, operation: Operation<'static>, options: &WriteOptions) -> Result<Box<dyn ValueWriter>> {
        self.map.writer(operation, options)
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        match self.fault {
            Fault::ReadersAreNoReads => self.map.reader(namespace, key),
            _ => self.read(namespace, key, self.map.reader(namespace, key)),
        }
    }
}

struct Entries(std::vec::IntoIter<Entry>);

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.0.next().map(Ok)
    }
}

impl DoubleEndedIterator for Entries {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.0.next_back().map(Ok)
    }
}

impl Listing for Entries {}

#[test]
fn who_keeps_it_rightly_passes() {
    for check in [
        "reads_of_a_key_are_known_and_looks_are_not",
        "a_last_access_outlives_overwrites_and_ends_with_its_key",
        "queries_find_by_last_access",
    ] {
        nadb_conformance::check(check, || crate::subject_of(|clock| Wrong::new(Fault::None, clock)));
        nadb_conformance::check(check, || {
            crate::subject_of(|clock| Wrong::new(Fault::Hidden, clock).silent())
        });
    }
}

impl Wrong {
    /// As a backend that knows nothing of reads.
    fn silent(mut self) -> Wrong {
        self.fault = Fault::ClaimedOnly;
        self
    }
}
