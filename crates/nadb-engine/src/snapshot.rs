//! Snapshots: a view that a user holds.

use std::ops::Bound;
use std::sync::Arc;

use nadb_core::{Entry, Filter, Metadata, QueryRequest, Result, Value, ValueReader};

use crate::access::Reading;
use crate::engine::Shared;
use crate::query::Query;
use crate::scan::Scan;
use crate::stream::Reader;
use crate::view::View;

/// Keys whose records are fetched into the processor's caches together: some kilobytes.
const FETCHED_AHEAD: usize = 32;

/// The store at one moment. Clones share it; it ends with the last of them, and with the last scan of it.
///
/// What is written while it is held costs memory: each overwritten or deleted key about 60 bytes until it goes.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use nadb_core::{Action, Operation, Put};
/// use nadb_engine::{Engine, Options};
/// let engine = Engine::open(Arc::new(nadb_vfs::MemFs::default()), Path::new("store"), Options::default())?;
/// let set = |value: &'static [u8]| {
///     engine.write(&[Operation::new("users", b"user:1".as_slice(), Action::Put(Put::new(value)))], None)
/// };
/// set(b"Alice")?;
/// let before = engine.snapshot()?;
/// set(b"Bob")?;
/// assert_eq!(before.get("users", b"user:1")?.unwrap(), b"Alice");
/// assert_eq!(engine.get("users", b"user:1")?.unwrap(), b"Bob");
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Snapshot {
    shared: Arc<Shared>,
    view: Arc<View>,
}

impl Snapshot {
    pub(crate) fn new(shared: &Arc<Shared>) -> Snapshot {
        Snapshot { shared: Arc::clone(shared), view: shared.take_view() }
    }

    /// The number of the last write that it shows.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.view.watermark.0
    }

    /// The value that a key had; `None` when it was absent or expired.
    ///
    /// # Errors
    /// `Corruption` with file and offset, `Io`, `Limit`, `Closed`.
    pub fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.get_as(Reading::Looks, namespace, key)
    }

    fn get_as(&self, reading: Reading, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.shared.get(reading, |slots| self.shared.find_in_view(&self.view, slots, namespace, key))
    }

    /// Shows `read` the value that a key had, and says whether there was one; as [`Engine::get_with`](crate::Engine::get_with).
    ///
    /// # Errors
    /// As [`Snapshot::get`]; `read` is not called then.
    pub fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let shared = &self.shared;
        shared.show(Reading::Looks, |slots| shared.find_in_view(&self.view, slots, namespace, key), read)
    }

    /// Value and metadata that a key had.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.shared
            .get_entry(Reading::Looks, |slots| self.shared.find_in_view(&self.view, slots, namespace, key))
    }

    /// The metadata that a key had.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        let slots = self.shared.keyspace.slot_table();
        let found = self.shared.find_in_view(&self.view, &slots, namespace, key)?;
        found.map(|found| self.shared.metadata(&found)).transpose()
    }

    /// Whether a key was there.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        let slots = self.shared.keyspace.slot_table();
        Ok(self.shared.find_in_view(&self.view, &slots, namespace, key)?.is_some())
    }

    /// The values of several keys, in the order of `keys`.
    ///
    /// # Errors
    /// As [`Snapshot::get`], the first that happens.
    pub fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        self.get_many_as(Reading::Looks, namespace, keys)
    }

    pub(crate) fn get_many_as(
        &self,
        reading: Reading,
        namespace: &str,
        keys: &[&[u8]],
    ) -> Result<Vec<Option<Value>>> {
        let mut values = Vec::with_capacity(keys.len());
        for some in keys.chunks(FETCHED_AHEAD) {
            self.shared.prefetch(&self.view, namespace, some);
            for key in some {
                values.push(self.get_as(reading, namespace, key)?);
            }
        }
        Ok(values)
    }

    /// The value that a key had, to be read piece by piece; also after the snapshot's end.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<impl ValueReader + use<>>> {
        let slots = self.shared.keyspace.slot_table();
        let found = self.shared.find_in_view(&self.view, &slots, namespace, key)?;
        found.map(|found| Reader::open(&self.shared, &found)).transpose()
    }

    /// The live records of a key range, in key order, from either end.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn scan(&self, namespace: &str, range: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> Result<Scan> {
        self.shared.scan(&self.view, namespace, range)
    }

    /// The records that a request means, in its order.
    ///
    /// # Errors
    /// As [`Engine::query`](crate::Engine::query).
    pub fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Query> {
        self.shared.query(&self.view, namespace, request)
    }

    /// How many records a filter means.
    ///
    /// # Errors
    /// As [`Engine::query`](crate::Engine::query).
    pub fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        self.shared.count(&self.view, namespace, filter)
    }

    /// The tags that begin with `prefix`, in order, with how many records have each.
    ///
    /// # Errors
    /// As [`Snapshot::get`].
    pub fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        self.shared.tags_at(&self.view, namespace, prefix)
    }

    /// The names of the namespaces that there were, in order.
    ///
    /// # Errors
    /// `Closed`.
    pub fn namespaces(&self) -> Result<Vec<String>> {
        self.shared.check_open_to_read()?;
        let all = self.shared.keyspace.namespaces.all_at(self.view.watermark);
        Ok(all.iter().map(|namespace| namespace.name.clone()).collect())
    }
}
