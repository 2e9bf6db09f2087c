//! A backend in a page: ordered maps behind a mutex. It keeps nothing when the process ends, but means by every verb what
//! all backends mean. Start from here to write one of your own.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nadb_core::limits::{check_key, check_namespace, check_ttl, check_value_len_max};
use nadb_core::{
    Action, Backend, BackendSnapshot, Capabilities, Clock, Condition, Entry, Error, ErrorKind, ExpiryUpdate,
    Feature, Listing, Metadata, NamespaceInfo, Operation, Outcome, Put, Result, ScanConsistency, ScanRequest,
    Stats, TagsUpdate, Value, ValueReader, ValueWriter, WriteBatch, WriteOptions,
};

/// Records in ordered maps. Clones share them.
#[derive(Clone)]
pub(crate) struct MapBackend {
    capabilities: Capabilities,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

type Keys = BTreeMap<Vec<u8>, Entry>;

#[derive(Default)]
struct State {
    /// Shared with the snapshots: whoever changes a map that one of them has copies it first.
    namespaces: BTreeMap<String, Arc<Keys>>,
    last_version: u64,
    is_closed: bool,
}

/// What a batch has done so far: the keys that it touched, and what they are now. Nothing of it is in the maps before the
/// whole batch has succeeded.
struct Draft<'s, 'b> {
    state: &'s State,
    touched: BTreeMap<(&'b str, &'b [u8]), Option<Entry>>,
    version: u64,
    now_ms: u64,
    value_bytes_max: u64,
}

impl MapBackend {
    /// An empty store that tells the time by `clock`.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> MapBackend {
        // Stats, snapshots, streams, expire, import and merges by the user's operators, but no flush, no segments, no durability classes.
        let mut capabilities = Capabilities::new("map")
            .with(Feature::Stats)
            .with(Feature::Snapshots)
            .with(Feature::Streams)
            .with(Feature::CustomMerges)
            .with(Feature::Expire)
            .with(Feature::Import);
        capabilities.scans = ScanConsistency::Settled;
        capabilities.value_bytes_max = 1 << 20;
        capabilities.batch_bytes_max = 8 << 20;
        MapBackend { capabilities, clock, state: Arc::default() }
    }

    fn open_state(&self) -> Result<MutexGuard<'_, State>> {
        open(&self.state)
    }
}

fn open(state: &Mutex<State>) -> Result<MutexGuard<'_, State>> {
    let state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.is_closed { Err(Error::new(ErrorKind::Closed, "the store was closed")) } else { Ok(state) }
}

fn is_expired(metadata: &Metadata, now_ms: u64) -> bool {
    metadata.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
}

impl<'b> Draft<'_, 'b> {
    /// A key as the batch has left it so far; `None` when it is absent or expired.
    fn current(&self, place: (&'b str, &'b [u8])) -> Option<&Entry> {
        let entry = match self.touched.get(&place) {
            Some(entry) => entry.as_ref(),
            None => self.state.namespaces.get(place.0).and_then(|keys| keys.get(place.1)),
        };
        entry.filter(|entry| !is_expired(&entry.metadata, self.now_ms))
    }

    fn apply(&mut self, operation: &'b Operation<'_>) -> Result<Outcome> {
        let place = (&*operation.namespace, &*operation.key);
        let current = self.current(place);
        let is_own = self.touched.contains_key(&place);
        check_condition(operation.condition, current.map(|entry| entry.metadata.version), is_own)?;
        let existed = current.is_some();
        let (entry, merged) = match &operation.action {
            Action::Delete => (None, None),
            Action::Put(put) => (Some(self.written(place.1, put, current)?), None),
            Action::Merge(merge) => {
                let before = current.map(|entry| &*entry.value);
                let value = merge.operator.merge(place.1, before, &merge.operand)?;
                check_value_len_max(value.len() as u64, self.value_bytes_max)?;
                (Some(self.merged(place.1, value.clone(), current)), Some(value))
            }
            Action::Expire(update) => {
                let expires_ms = self.expiry(*update, current)?;
                let Some(current) = current.filter(|_| *update != ExpiryUpdate::Keep) else {
                    let version = current.map(|entry| entry.metadata.version);
                    return Ok(Outcome::new(version, existed, existed, None));
                };
                let mut entry = current.clone();
                (entry.metadata.expires_ms, entry.metadata.version) = (expires_ms, self.version + 1);
                (Some(entry), None)
            }
            _ => return Err(Error::unsupported("map", "this operation")),
        };
        // An expiry already past makes a put act as a delete.
        let entry = entry.filter(|entry| !is_expired(&entry.metadata, self.now_ms));
        let exists = entry.is_some();
        if existed || exists {
            self.version += 1;
        }
        self.touched.insert(place, entry);
        Ok(Outcome::new((existed || exists).then_some(self.version), existed, exists, merged))
    }

    fn expiry(&self, update: ExpiryUpdate, current: Option<&Entry>) -> Result<Option<u64>> {
        Ok(match update {
            ExpiryUpdate::Never => None,
            ExpiryUpdate::Keep => current.and_then(|entry| entry.metadata.expires_ms),
            ExpiryUpdate::After(ttl) => Some(check_ttl(ttl, self.now_ms)?),
            ExpiryUpdate::AtMs(at) => Some(at),
            other => return Err(Error::unsupported("map", &format!("{other:?}"))),
        })
    }

    fn written(&self, key: &[u8], put: &Put<'_>, current: Option<&Entry>) -> Result<Entry> {
        let mut metadata = Metadata::new(self.version + 1, put.value.len() as u64, self.now_ms);
        metadata.expires_ms = self.expiry(put.expiry, current)?;
        metadata.tags = match &put.tags {
            TagsUpdate::Replace(tags) => tags.clone(),
            TagsUpdate::Keep => current.map(|entry| entry.metadata.tags.clone()).unwrap_or_default(),
            other => return Err(Error::unsupported("map", &format!("{other:?}"))),
        };
        metadata.content_type = put.content_type.as_deref().map(str::to_owned);
        metadata.attrs = put.attrs.clone();
        metadata.created_ms = current.map_or(self.now_ms, |entry| entry.metadata.created_ms);
        if let Some(times) = put.times {
            (metadata.created_ms, metadata.updated_ms) = (times.created_ms, times.updated_ms);
        }
        Ok(Entry::new(key.to_vec(), put.value.to_vec().into(), metadata))
    }

    fn merged(&self, key: &[u8], value: Vec<u8>, current: Option<&Entry>) -> Entry {
        let new = || Metadata::new(0, 0, self.now_ms);
        let mut metadata = current.map_or_else(new, |entry| entry.metadata.clone());
        (metadata.version, metadata.updated_ms) = (self.version + 1, self.now_ms);
        (metadata.size, metadata.stored_size) = (value.len() as u64, value.len() as u64);
        Entry::new(key.to_vec(), value.into(), metadata)
    }
}

/// `version` is that of the key, if it is there; one that the batch itself made (`is_own`) is not known to anyone yet.
fn check_condition(condition: Condition, version: Option<u64>, is_own: bool) -> Result<()> {
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => version.is_none(),
        Condition::IfPresent => version.is_some(),
        Condition::IfVersion(wanted) => version == Some(wanted) && !is_own,
        other => return Err(Error::unsupported("map", &format!("{other:?}"))),
    };
    if holds {
        return Ok(());
    }
    let message = format!("the write wanted {condition:?}, but the key has version {version:?}");
    Err(Error::new(ErrorKind::PreconditionFailed { current: version }, message))
}

impl Backend for MapBackend {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        self.capabilities.check_write(batch, options)?;
        let mut state = self.open_state()?;
        let mut draft = Draft {
            state: &state,
            touched: BTreeMap::new(),
            version: state.last_version,
            now_ms: self.clock.now_ms(),
            value_bytes_max: self.capabilities.value_bytes_max,
        };
        let outcomes = batch.iter().map(|operation| draft.apply(operation)).collect::<Result<Vec<_>>>()?;
        // From here on nothing fails.
        let Draft { touched, version, .. } = draft;
        state.last_version = version;
        for ((namespace, key), entry) in touched {
            match entry {
                Some(entry) => {
                    let keys = state.namespaces.entry(namespace.to_owned()).or_default();
                    Arc::make_mut(keys).insert(key.to_vec(), entry);
                }
                None => {
                    let keys = state.namespaces.get_mut(namespace);
                    keys.and_then(|keys| Arc::make_mut(keys).remove(key));
                }
            }
        }
        Ok(outcomes)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        Ok(self.get_entry(namespace, key)?.map(|entry| entry.value))
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        check_namespace(namespace)?;
        check_key(key)?;
        let state = self.open_state()?;
        Ok(visible(&state.namespaces, namespace, key, self.clock.now_ms()).cloned())
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        check_namespace(namespace)?;
        let state = self.open_state()?;
        Ok(Box::new(MapListing::new(&state.namespaces, namespace, &request, self.clock.now_ms())))
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        let state = self.open_state()?;
        let info = |(name, keys): (&String, &Arc<Keys>)| NamespaceInfo::new(name, keys.len() as u64);
        Ok(state.namespaces.iter().map(info).collect())
    }

    fn now_ms(&self) -> Result<u64> {
        drop(self.open_state()?);
        Ok(self.clock.now_ms())
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        check_namespace(name)?;
        Ok(self.open_state()?.namespaces.remove(name).is_some())
    }

    fn close(&self) -> Result<()> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true;
        Ok(())
    }

    fn stats(&self) -> Result<Stats> {
        let state = self.open_state()?;
        let mut stats = Stats::default();
        stats.namespaces = state.namespaces.len() as u64;
        stats.keys = state.namespaces.values().map(|keys| keys.len() as u64).sum();
        Ok(stats)
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        self.snapshot()?.get_many(namespace, keys)
    }

    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        let state = self.open_state()?;
        Ok(Arc::new(MapSnapshot {
            state: Arc::clone(&self.state),
            namespaces: state.namespaces.clone(),
            version: state.last_version,
            now_ms: self.clock.now_ms(),
        }))
    }

    fn writer(
        &self,
        mut operation: Operation<'static>,
        options: &WriteOptions,
    ) -> Result<Box<dyn ValueWriter>> {
        self.capabilities.check_write(std::slice::from_ref(&operation), options)?;
        drop(self.open_state()?);
        let Action::Put(put) = &mut operation.action else {
            return Err(self.capabilities.unsupported("streams of anything but a put"));
        };
        let value = std::mem::take(&mut put.value).into_owned();
        let (store, options) = (self.clone(), options.clone());
        Ok(Box::new(MapWriter { store, operation, value, options, failed: None }))
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        let reader = |entry: Entry| MapReader { value: Cursor::new(entry.value), metadata: entry.metadata };
        Ok(self.get_entry(namespace, key)?.map(|entry| Box::new(reader(entry)) as Box<dyn ValueReader>))
    }
}

/// A value on its way: the maps know nothing of it before it is whole, and then it is a write like any other.
struct MapWriter {
    store: MapBackend,
    operation: Operation<'static>,
    value: Vec<u8>,
    options: WriteOptions,
    /// What every later call answers, once something was wrong.
    failed: Option<Error>,
}

impl MapWriter {
    fn check_room(&self, bytes: &[u8]) -> Result<()> {
        drop(self.store.open_state()?);
        check_value_len_max(self.len() + bytes.len() as u64, self.store.capabilities.value_bytes_max)
    }
}

impl ValueWriter for MapWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.failed = self.failed.take().or_else(|| self.check_room(bytes).err());
        if let Some(error) = &self.failed {
            return Err(error.duplicate());
        }
        self.value.extend_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.value.len() as u64
    }

    fn commit(mut self: Box<Self>) -> Result<Outcome> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        if let Action::Put(put) = &mut self.operation.action {
            put.value = self.value.into();
        }
        Ok(self.store.write(&[self.operation], &self.options)?.remove(0))
    }
}

/// A value that was found: it is shared with the maps, and stays when they change.
struct MapReader {
    value: Cursor<Value>,
    metadata: Metadata,
}

impl Read for MapReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.value.read(buf)
    }
}

impl Seek for MapReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.value.seek(to)
    }
}

impl ValueReader for MapReader {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}

/// The maps as they were: only the references to them were copied.
struct MapSnapshot {
    /// Asked for nothing but whether the store is still open.
    state: Arc<Mutex<State>>,
    namespaces: BTreeMap<String, Arc<Keys>>,
    version: u64,
    now_ms: u64,
}

impl BackendSnapshot for MapSnapshot {
    fn version(&self) -> u64 {
        self.version
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        Ok(self.get_entry(namespace, key)?.map(|entry| entry.value))
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        check_namespace(namespace)?;
        check_key(key)?;
        drop(open(&self.state)?);
        Ok(visible(&self.namespaces, namespace, key, self.now_ms).cloned())
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        check_namespace(namespace)?;
        drop(open(&self.state)?);
        Ok(Box::new(MapListing::new(&self.namespaces, namespace, &request, self.now_ms)))
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        drop(open(&self.state)?);
        Ok(self.namespaces.keys().cloned().collect())
    }
}

fn visible<'m>(
    namespaces: &'m BTreeMap<String, Arc<Keys>>,
    namespace: &str,
    key: &[u8],
    now_ms: u64,
) -> Option<&'m Entry> {
    let entry = namespaces.get(namespace).and_then(|keys| keys.get(key));
    entry.filter(|entry| !is_expired(&entry.metadata, now_ms))
}

struct MapListing(std::vec::IntoIter<Entry>);

impl MapListing {
    fn new(
        namespaces: &BTreeMap<String, Arc<Keys>>,
        namespace: &str,
        request: &ScanRequest,
        now_ms: u64,
    ) -> MapListing {
        let keys = namespaces.get(namespace).into_iter();
        let entries = keys.flat_map(|keys| keys.range::<[u8], _>(request.bounds())).map(|(_, entry)| entry);
        let visible: Vec<Entry> =
            entries.filter(|entry| !is_expired(&entry.metadata, now_ms)).cloned().collect();
        MapListing(visible.into_iter())
    }
}

impl Iterator for MapListing {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.0.next().map(Ok)
    }
}

impl DoubleEndedIterator for MapListing {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.0.next_back().map(Ok)
    }
}

impl Listing for MapListing {}
