//! Snapshots: the store at one moment, read by the verbs of a namespace.

use std::fmt;
use std::sync::Arc;

use nadb_core::limits::check_namespace;
use nadb_core::{Backend, BackendSnapshot, Entry, Metadata, Result, ScanRequest, Value};

use crate::namespace::taken;
use crate::{Iter, KeyRange, ValueReader};

/// The whole store as it was at one moment. A handle, made by [`Store::snapshot`](crate::Store::snapshot): cheap to clone,
/// free to send and share between threads; it keeps the store open, as a [`Namespace`](crate::Namespace) does.
///
/// Every read of it answers as it would have then: what was overwritten, deleted or dropped since is there, what was written
/// since is not, and a batch is there whole or not at all. That holds for expiry, too: a record that was alive then stays in
/// it, one that had expired then does not come back. Reads, scans and reads of several namespaces fit together.
///
/// Writers do not wait for it, and nothing is copied when it is made. While it is held the store remembers what is
/// overwritten and deleted, about 60 bytes of memory for each such key, and does not give its place in the files back;
/// [`Stats::views`](crate::Stats::views) counts what is held, [`Stats::oldest_view`](crate::Stats::oldest_view) says for how
/// long. It ends when its last clone, namespace and iterator are dropped.
///
/// ```
/// let store = nadb::Store::memory()?;
/// let users = store.namespace("users")?;
/// users.set("alice", "1")?;
/// let before = store.snapshot()?;
/// users.set("alice", "2")?;
/// users.set("bob", "1")?;
///
/// let then = before.namespace("users")?;
/// assert_eq!(then.get("alice")?.unwrap(), b"1");
/// assert_eq!(then.iter()?.count(), 1);
/// assert_eq!(users.iter()?.count(), 2);
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Clone)]
pub struct Snapshot {
    // Dropped first: a store that closes with its last handle has no open views then.
    pub(crate) at: Arc<dyn BackendSnapshot>,
    /// Keeps the store open.
    backend: Arc<dyn Backend>,
}

impl Snapshot {
    pub(crate) fn take(backend: &Arc<dyn Backend>) -> Result<Snapshot> {
        Ok(Snapshot { at: backend.snapshot()?, backend: Arc::clone(backend) })
    }

    /// The namespace `name` as it was. One that did not exist then is empty, also if it was made since; one that was dropped
    /// since has its records.
    ///
    /// # Errors
    /// `Limit` or `InvalidInput` for a name that is empty, above 255 bytes, or has a NUL.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("users")?.set("k", "v")?;
    /// let snapshot = store.snapshot()?;
    /// store.drop_namespace("users")?;
    /// assert_eq!(snapshot.namespace("users")?.get("k")?.unwrap(), b"v");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn namespace(&self, name: impl AsRef<str>) -> Result<SnapshotNamespace> {
        let name = name.as_ref();
        check_namespace(name)?;
        Ok(SnapshotNamespace { snapshot: self.clone(), name: name.into() })
    }

    /// The names of the namespaces that there were, in order.
    ///
    /// # Errors
    /// `Closed`; what the backend says.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("b")?.set("k", "v")?;
    /// store.namespace("a")?.set("k", "v")?;
    /// let snapshot = store.snapshot()?;
    /// store.drop_namespace("a")?;
    /// store.namespace("c")?.set("k", "v")?;
    /// assert_eq!(snapshot.namespaces()?, ["a", "b"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn namespaces(&self) -> Result<Vec<String>> {
        let mut names = self.at.namespaces()?;
        names.sort_unstable();
        Ok(names)
    }

    /// The version of the newest write that it shows: no record of it has a higher one, and every later write gets a higher
    /// one. 0 where nothing was written yet.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// let first = users.set("k", "1")?;
    /// let snapshot = store.snapshot()?;
    /// let second = users.set("k", "2")?;
    /// assert!(first.version <= snapshot.version() && snapshot.version() < second.version);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn version(&self) -> u64 {
        self.at.version()
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("version", &self.version())
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

/// The keys of one namespace as they were at the moment of a [`Snapshot`], which made it and which it holds: reads mean what
/// those of a [`Namespace`](crate::Namespace) mean, and there are no writes. Cheap to clone, free to send and share between
/// threads.
///
/// ```
/// let store = nadb::Store::memory()?;
/// let users = store.namespace("users")?;
/// users.set("k", "v")?;
/// let then = store.snapshot()?.namespace("users")?;
/// users.delete("k")?;
/// assert!(then.contains("k")? && !users.contains("k")?);
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Clone)]
pub struct SnapshotNamespace {
    pub(crate) snapshot: Snapshot,
    pub(crate) name: Arc<str>,
}

impl SnapshotNamespace {
    /// The name.
    ///
    /// ```
    /// assert_eq!(nadb::Store::memory()?.snapshot()?.namespace("app/users")?.name(), "app/users");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value that a key had, `None` when it was absent.
    ///
    /// # Errors
    /// `Limit` for the key; `Corruption`, naming file and offset, when the record on disk is damaged; `Stale` from a backend
    /// that has given up what the snapshot shows (the engine never does); `Io`, `Closed`.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set("k", "old")?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.set("k", "new")?;
    /// assert_eq!(then.get("k")?.unwrap(), b"old");
    /// assert!(then.get("other")?.is_none());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.snapshot.at.get(&self.name, key.as_ref())
    }

    /// What `read` makes of the value that a key had, `None` when the key was absent: see
    /// [`Namespace::get_with`](crate::Namespace::get_with).
    ///
    /// # Errors
    /// As [`get`](SnapshotNamespace::get); `read` is not called then.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set("k", "old value")?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.set("k", "new")?;
    /// assert_eq!(then.get_with("k", |value| value.len())?, Some(9));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        taken(read, |read| self.snapshot.at.get_with(&self.name, key.as_ref(), read))
    }

    /// The value that a key had, to be read piece by piece: see [`ValueReader`]. `None` when it was absent. The reader goes on
    /// when the snapshot is dropped.
    ///
    /// # Errors
    /// As [`get`](SnapshotNamespace::get).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let files = store.namespace("files")?;
    /// files.set("k", "old")?;
    /// let then = store.snapshot()?.namespace("files")?;
    /// files.set("k", "new")?;
    /// let mut copy = Vec::new();
    /// std::io::copy(&mut then.reader("k")?.unwrap(), &mut copy)?;
    /// assert_eq!(copy, b"old");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        Ok(self.snapshot.at.reader(&self.name, key.as_ref())?.map(ValueReader::new))
    }

    /// Key, value and metadata as they were, all of the same version; `None` when the key was absent.
    ///
    /// # Errors
    /// As [`get`](SnapshotNamespace::get).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// let written = users.put("k", "v").tags(["t"]).commit()?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.set("k", "w")?;
    /// let entry = then.get_entry("k")?.unwrap();
    /// assert!(entry.value == b"v" && entry.metadata.tags.contains("t"));
    /// assert_eq!(entry.metadata.version, written.version);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_entry(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        self.snapshot.at.get_entry(&self.name, key.as_ref())
    }

    /// The metadata that a key had, without its value; `None` when the key was absent.
    ///
    /// # Errors
    /// As [`get`](SnapshotNamespace::get).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set("k", "value")?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.set("k", "longer value")?;
    /// assert_eq!(then.metadata("k")?.unwrap().size, 5);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn metadata(&self, key: impl AsRef<[u8]>) -> Result<Option<Metadata>> {
        self.snapshot.at.metadata(&self.name, key.as_ref())
    }

    /// Whether the key was there.
    ///
    /// # Errors
    /// As [`get`](SnapshotNamespace::get).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// store.namespace("users")?.set("k", "v")?;
    /// assert!(!then.contains("k")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.snapshot.at.contains(&self.name, key.as_ref())
    }

    /// The values that several keys had, in the order of the keys.
    ///
    /// # Errors
    /// As [`get`](SnapshotNamespace::get), the first that happens.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set("a", "1")?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.set_many([("a", "2"), ("b", "2")])?;
    /// let values = then.get_many(["a", "b"])?;
    /// assert_eq!(values[0].as_deref(), Some(&b"1"[..]));
    /// assert!(values[1].is_none());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Value>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let keys: Vec<&[u8]> = keys.iter().map(K::as_ref).collect();
        self.snapshot.at.get_many(&self.name, &keys)
    }

    /// Whether each of several keys was there, in the order of the keys.
    ///
    /// # Errors
    /// As [`get`](SnapshotNamespace::get), the first that happens.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set("a", "1")?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.delete("a")?;
    /// assert_eq!(then.exists_many(["a", "b"])?, [true, false]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn exists_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<bool>> {
        keys.into_iter().map(|key| self.contains(key)).collect()
    }

    /// All records that there were, in the order of their keys. The iterator holds what it shows for itself and goes on when
    /// the snapshot is dropped.
    ///
    /// # Errors
    /// `Closed`, `Io`, `Corruption`, `Stale`, here or in an item.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set_many([("b", "2"), ("a", "1")])?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.delete_many(["a", "b"])?;
    /// let keys = then.iter()?.keys().collect::<nadb::Result<Vec<_>>>()?;
    /// assert_eq!(keys, [b"a", b"b"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn iter(&self) -> Result<Iter> {
        self.range(..)
    }

    /// The records whose keys begin with `prefix`, in the order of the keys; with an empty prefix all.
    ///
    /// # Errors
    /// As [`iter`](SnapshotNamespace::iter).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set_many([("user:1", ""), ("team:1", "")])?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.set("user:2", "")?;
    /// assert_eq!(then.prefix("user:")?.count(), 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter> {
        self.scan(ScanRequest::prefix(prefix.as_ref()))
    }

    /// The records of a range of keys, in order: see [`KeyRange`].
    ///
    /// # Errors
    /// As [`iter`](SnapshotNamespace::iter).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.set_many([("alice", ""), ("bob", ""), ("mallory", "")])?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.delete("bob")?;
    /// assert_eq!(then.range("a".."m")?.next_back().unwrap()?.key, b"bob");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn range(&self, range: impl KeyRange) -> Result<Iter> {
        self.scan(ScanRequest::range(range.into_bounds()))
    }

    fn scan(&self, request: ScanRequest) -> Result<Iter> {
        Ok(Iter::new(self.snapshot.at.scan(&self.name, request)?))
    }
}

impl fmt::Debug for SnapshotNamespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotNamespace")
            .field("name", &self.name)
            .field("version", &self.snapshot.version())
            .finish_non_exhaustive()
    }
}
