//! A namespace: reading and writing its records.

use std::fmt;
use std::sync::Arc;

use nadb_core::{
    Action, Add, Backend, BatchAtomicity, Durability, Entry, Error, ErrorKind, Merge, MergeOperator,
    Metadata, Operation, Outcome, Put, Result, ScanRequest, Value, WriteOptions, Written, parse_counter,
};

use crate::settings::written;
use crate::{Iter, KeyRange, PutBuilder, RemoveBuilder, ValueReader, ValueWriter};

/// The keys of one namespace. A handle, made by [`Store::namespace`](crate::Store::namespace): cheap to clone, free to
/// send and share between threads; it keeps the store open.
///
/// Keys are 1 to 65,535 bytes of any kind, values at most 4 GiB - 1 MiB (those that do not fit in memory by
/// [`writer`](Namespace::writer) and [`reader`](Namespace::reader)). A record that has expired is absent for every method
/// here. Single writes are acknowledged in the durability class of the store, unless a builder names another.
///
/// ```
/// let users = nadb::Store::memory()?.namespace("app/users")?;
/// users.set("user:123", "Alice")?;
/// assert_eq!(users.get("user:123")?.unwrap(), b"Alice");
/// assert!(users.get("user:124")?.is_none());
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Clone)]
pub struct Namespace {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) name: Arc<str>,
}

impl Namespace {
    pub(crate) fn new(backend: Arc<dyn Backend>, name: &str) -> Namespace {
        Namespace { backend, name: name.into() }
    }

    pub(crate) fn backend(&self) -> &dyn Backend {
        &*self.backend
    }

    /// The name.
    ///
    /// ```
    /// assert_eq!(nadb::Store::memory()?.namespace("app/users")?.name(), "app/users");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes a value. The record has no tags, attributes, media type or expiry afterwards, whatever it had before;
    /// `created` survives. Says the record's version and whether the key is new.
    ///
    /// # Errors
    /// `Limit` for key or value; `NoSpace`, `Poisoned`, `Closed`. Nothing was written then, except that after `Poisoned`
    /// the outcome of this write is unknown.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// let first = users.set("k", "1")?;
    /// let second = users.set("k", "2")?;
    /// assert!(first.created && !second.created && second.version > first.version);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Result<Written> {
        let operation = Operation::new(&*self.name, key.as_ref(), Action::Put(Put::new(value.as_ref())));
        Ok(written(&self.write_one(operation, None)?))
    }

    /// A write with tags, expiry, media type, attributes or conditions: see [`PutBuilder`].
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.put("user:123", "Alice").tags(["user", "premium"]).if_absent().commit()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn put<K: AsRef<[u8]>, V: AsRef<[u8]>>(&self, key: K, value: V) -> PutBuilder<'_, K, V> {
        PutBuilder::new(self, key, value)
    }

    /// The value of a key, `None` when it is absent.
    ///
    /// # Errors
    /// `Limit` for the key; `Corruption`, naming file and offset, when the record on disk is damaged; `Io`, `Closed`.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("k", "v")?;
    /// assert_eq!(users.get("k")?.unwrap(), b"v");
    /// assert!(users.get("other")?.is_none());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get(&self, key: impl AsRef<[u8]>) -> Result<Option<Value>> {
        self.backend.get(&self.name, key.as_ref())
    }

    /// What `read` makes of the value of a key, `None` when the key is absent: the fastest way to read. On the engine `read`
    /// sees the bytes where they stand in the store's memory: nothing is allocated, counted or copied, but for values that were
    /// compressed or stand in a file of their own.
    ///
    /// `read` may read from the store and write to it, also this key, whose bytes stay as they are until it returns. It should
    /// not take long: meanwhile the store holds files and memory that it would give back. When it panics, the store is as if it
    /// had returned.
    ///
    /// # Errors
    /// As [`get`](Namespace::get); `read` is not called then.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("k", "value")?;
    /// assert_eq!(users.get_with("k", |value| value.len())?, Some(5));
    /// assert_eq!(users.get_with("other", |value| value.len())?, None);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_with<R>(&self, key: impl AsRef<[u8]>, read: impl FnOnce(&[u8]) -> R) -> Result<Option<R>> {
        taken(read, |read| self.backend.get_with(&self.name, key.as_ref(), read))
    }

    /// Key, value and metadata, all of the same version; `None` when the key is absent.
    ///
    /// # Errors
    /// As [`get`](Namespace::get).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// let written = users.put("k", "v").tags(["t"]).commit()?;
    /// let entry = users.get_entry("k")?.unwrap();
    /// assert_eq!((entry.value, entry.metadata.version), (b"v".to_vec().into(), written.version));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_entry(&self, key: impl AsRef<[u8]>) -> Result<Option<Entry>> {
        self.backend.get_entry(&self.name, key.as_ref())
    }

    /// The metadata of a key without its value, `None` when the key is absent.
    ///
    /// # Errors
    /// As [`get`](Namespace::get).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.put("k", "value").content_type("text/plain").commit()?;
    /// let metadata = users.metadata("k")?.unwrap();
    /// assert_eq!((metadata.size, metadata.content_type.as_deref()), (5, Some("text/plain")));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn metadata(&self, key: impl AsRef<[u8]>) -> Result<Option<Metadata>> {
        self.backend.metadata(&self.name, key.as_ref())
    }

    /// Whether the key is there.
    ///
    /// # Errors
    /// As [`get`](Namespace::get).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("k", "")?;
    /// assert!(users.contains("k")? && !users.contains("other")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn contains(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.backend.contains(&self.name, key.as_ref())
    }

    /// A value that is written piece by piece, so that it need not fit in memory: see [`ValueWriter`]. With tags, lifetime or
    /// conditions it is [`PutBuilder::writer`].
    ///
    /// # Errors
    /// `Limit` for the key, `Closed`, `Unsupported` on a backend without streams.
    ///
    /// ```
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// let mut writer = files.writer("copy")?;
    /// std::io::copy(&mut &b"from any reader"[..], &mut writer)?;
    /// writer.commit()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer(&self, key: impl AsRef<[u8]>) -> Result<ValueWriter> {
        self.put(key, "").writer()
    }

    /// The value of a key, to be read piece by piece: see [`ValueReader`]. `None` when it is absent.
    ///
    /// # Errors
    /// As [`get`](Namespace::get); `Unsupported` on a backend without streams.
    ///
    /// ```
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// files.set("k", "value")?;
    /// let mut copy = Vec::new();
    /// std::io::copy(&mut files.reader("k")?.unwrap(), &mut copy)?;
    /// assert_eq!(copy, b"value");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reader(&self, key: impl AsRef<[u8]>) -> Result<Option<ValueReader>> {
        Ok(self.backend.reader(&self.name, key.as_ref())?.map(ValueReader::new))
    }

    /// Deletes a key and says whether it was there.
    ///
    /// # Errors
    /// As [`set`](Namespace::set).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("k", "v")?;
    /// assert!(users.delete("k")?);
    /// assert!(!users.delete("k")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn delete(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.remove(key).commit()
    }

    /// A delete under conditions or in another durability class: see [`RemoveBuilder`].
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// let written = users.set("k", "v")?;
    /// assert!(users.remove("k").if_version(written.version).commit()?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn remove<K: AsRef<[u8]>>(&self, key: K) -> RemoveBuilder<'_, K> {
        RemoveBuilder::new(self, key)
    }

    /// Adds `by` to a counter and gives the new value, atomically: no two callers get the same. A counter is a canonical
    /// decimal 64-bit integer; a missing one counts as 0. Tags, expiry, attributes and `created` stay.
    ///
    /// # Errors
    /// `InvalidInput` when the value is no such number, `Limit` when the sum leaves the range; otherwise as
    /// [`set`](Namespace::set).
    ///
    /// ```
    /// let counters = nadb::Store::memory()?.namespace("counters")?;
    /// assert_eq!(counters.incr("visits", 1)?, 1);
    /// assert_eq!(counters.incr("visits", 10)?, 11);
    /// assert_eq!(counters.get("visits")?.unwrap(), b"11");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn incr(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64> {
        let key = key.as_ref();
        let sum = self.merge_with(key, Arc::new(Add), by.to_string().as_bytes())?;
        parse_counter(key, &sum)
    }

    /// Subtracts `by` from a counter and gives the new value; otherwise as [`incr`](Namespace::incr).
    ///
    /// # Errors
    /// As [`incr`](Namespace::incr); `Limit` also for the one `by` that has no negative, `i64::MIN`.
    ///
    /// ```
    /// let counters = nadb::Store::memory()?.namespace("counters")?;
    /// assert_eq!(counters.decr("stock", 3)?, -3);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn decr(&self, key: impl AsRef<[u8]>, by: i64) -> Result<i64> {
        let by = by.checked_neg().ok_or_else(|| {
            Error::limit(format!("decrement is {by}, the limit is {} to {}", i64::MIN + 1, i64::MAX))
        })?;
        self.incr(key, by)
    }

    /// Makes the new value from the current one and `operand`, atomically, and gives it. Tags, expiry, attributes, media
    /// type and `created` stay. Operators are in [`merge`](crate::merge); your own may be any [`MergeOperator`].
    ///
    /// # Errors
    /// What the operator returns; `Limit` when the new value is too long; otherwise as [`set`](Namespace::set).
    ///
    /// ```
    /// use nadb::{Store, merge::Append};
    /// let logs = Store::memory()?.namespace("logs")?;
    /// logs.merge("today", Append, "one\n")?;
    /// assert_eq!(logs.merge("today", Append, "two\n")?, b"one\ntwo\n");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn merge(
        &self,
        key: impl AsRef<[u8]>,
        operator: impl MergeOperator,
        operand: impl AsRef<[u8]>,
    ) -> Result<Value> {
        Ok(self.merge_with(key.as_ref(), Arc::new(operator), operand.as_ref())?.into())
    }

    /// Writes several values in one atomic step; of equal keys the last counts. One [`Written`] for each pair, in order.
    ///
    /// Where a backend's batches are of one bucket ([`BatchAtomicity::PerBucket`](crate::backend::BatchAtomicity::PerBucket), a cluster of
    /// servers), keys of several buckets are written one after another.
    ///
    /// # Errors
    /// As [`set`](Namespace::set); nothing at all was written then, or, one after another, as many as the error says. `Limit` also when all together exceed 256 MiB.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// let written = users.set_many([("a", "1"), ("b", "2")])?;
    /// assert!(written[0].created && written[1].created);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn set_many<K: AsRef<[u8]>, V: AsRef<[u8]>>(
        &self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Vec<Written>> {
        let pairs: Vec<(K, V)> = pairs.into_iter().collect();
        let operations = pairs
            .iter()
            .map(|(key, value)| {
                Operation::new(&*self.name, key.as_ref(), Action::Put(Put::new(value.as_ref())))
            })
            .collect();
        Ok(self.write_all(operations)?.iter().map(written).collect())
    }

    /// The values of several keys, in the order of the keys. All are of one moment where the backend has snapshots, as the
    /// engine does: of a batch that is written meanwhile it shows all or nothing. On other backends each is read for itself.
    ///
    /// # Errors
    /// As [`get`](Namespace::get).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("a", "1")?;
    /// let values = users.get_many(["a", "b"])?;
    /// assert_eq!(values[0].as_deref(), Some(&b"1"[..]));
    /// assert!(values[1].is_none());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<Option<Value>>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let keys: Vec<&[u8]> = keys.iter().map(K::as_ref).collect();
        self.backend.get_many(&self.name, &keys)
    }

    /// Deletes several keys in one atomic step, and says for each whether it was there. On backends with buckets as
    /// [`set_many`](Namespace::set_many) does it.
    ///
    /// # Errors
    /// As [`delete`](Namespace::delete); nothing at all was deleted then, or, one after another, as many as the error says.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("a", "1")?;
    /// assert_eq!(users.delete_many(["a", "b"])?, [true, false]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn delete_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<bool>> {
        let keys: Vec<K> = keys.into_iter().collect();
        let operations =
            keys.iter().map(|key| Operation::new(&*self.name, key.as_ref(), Action::Delete)).collect();
        Ok(self.write_all(operations)?.iter().map(|outcome| outcome.existed).collect())
    }

    /// Whether each of several keys is there, in the order of the keys. Each is looked up for itself; a
    /// [`Snapshot`](crate::Snapshot) looks all of them up at one moment.
    ///
    /// # Errors
    /// As [`contains`](Namespace::contains).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("a", "1")?;
    /// assert_eq!(users.exists_many(["a", "b"])?, [true, false]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn exists_many<K: AsRef<[u8]>>(&self, keys: impl IntoIterator<Item = K>) -> Result<Vec<bool>> {
        keys.into_iter().map(|key| self.contains(key)).collect()
    }

    /// All records, in the order of their keys.
    ///
    /// # Errors
    /// `Closed`, `Io`, `Corruption`, here or in an item.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set_many([("b", "2"), ("a", "1")])?;
    /// let keys: nadb::Result<Vec<_>> = users.iter()?.map(|entry| Ok(entry?.key)).collect();
    /// assert_eq!(keys?, [b"a", b"b"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn iter(&self) -> Result<Iter> {
        self.range(..)
    }

    /// The records whose keys begin with `prefix`, in the order of the keys; with an empty prefix all.
    ///
    /// # Errors
    /// As [`iter`](Namespace::iter).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set_many([("user:1", ""), ("user:2", ""), ("team:1", "")])?;
    /// assert_eq!(users.prefix("user:")?.count(), 2);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn prefix(&self, prefix: impl AsRef<[u8]>) -> Result<Iter> {
        self.scan(ScanRequest::prefix(prefix.as_ref()))
    }

    /// The records of a range of keys, in order: see [`KeyRange`].
    ///
    /// # Errors
    /// As [`iter`](Namespace::iter).
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set_many([("alice", ""), ("bob", ""), ("mallory", "")])?;
    /// let last = users.range("a".."m")?.next_back().unwrap()?;
    /// assert_eq!(last.key, b"bob");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn range(&self, range: impl KeyRange) -> Result<Iter> {
        self.scan(ScanRequest::range(range.into_bounds()))
    }

    fn scan(&self, request: ScanRequest) -> Result<Iter> {
        Ok(Iter::new(self.backend.scan(&self.name, request)?))
    }

    fn merge_with(&self, key: &[u8], operator: Arc<dyn MergeOperator>, operand: &[u8]) -> Result<Vec<u8>> {
        let action = Action::Merge(Merge::new(operator, operand));
        let outcome = self.write_one(Operation::new(&*self.name, key, action), None)?;
        outcome.merged.ok_or_else(|| odd_reply("a merge without its new value"))
    }

    pub(crate) fn write_one(
        &self,
        operation: Operation<'_>,
        durability: Option<Durability>,
    ) -> Result<Outcome> {
        let mut outcomes =
            self.backend.write(&[operation], &WriteOptions::default().with_durability(durability))?;
        outcomes.pop().ok_or_else(|| odd_reply("no outcome of a write"))
    }

    pub(crate) fn write_stream(
        &self,
        operation: Operation<'static>,
        durability: Option<Durability>,
    ) -> Result<ValueWriter> {
        let options = WriteOptions::default().with_durability(durability);
        let writer = self.backend.writer(operation, &options)?;
        Ok(ValueWriter::new(writer, &self.backend))
    }

    fn write_all(&self, operations: Vec<Operation<'_>>) -> Result<Vec<Outcome>> {
        if operations.is_empty() {
            return Ok(Vec::new());
        }
        let options = WriteOptions::default();
        match self.backend.write(&operations, &options) {
            Err(error) if error.kind() == ErrorKind::Unsupported && self.has_buckets() => {}
            all => return all,
        }
        let mut outcomes = Vec::with_capacity(operations.len());
        for operation in &operations {
            match self.backend.write(std::slice::from_ref(operation), &options) {
                Ok(mut outcome) => outcomes.append(&mut outcome),
                Err(error) => {
                    let done = format!("{} of {} keys were done before", outcomes.len(), operations.len());
                    return Err(error.with_context(&done));
                }
            }
        }
        Ok(outcomes)
    }

    /// Whether the backend takes a batch only if all of its keys are in one bucket.
    fn has_buckets(&self) -> bool {
        self.backend.capabilities().batches == BatchAtomicity::PerBucket
    }
}

/// What `read` gave when `show` called it, if it did.
pub(crate) fn taken<R>(
    read: impl FnOnce(&[u8]) -> R,
    show: impl FnOnce(&mut dyn FnMut(&[u8])) -> Result<bool>,
) -> Result<Option<R>> {
    let (mut read, mut result) = (Some(read), None);
    show(&mut |value| {
        if let Some(read) = read.take() {
            result = Some(read(value));
        }
    })?;
    Ok(result)
}

fn odd_reply(what: &str) -> Error {
    Error::new(
        ErrorKind::Backend,
        format!("the backend answered with {what}; this is a bug, please report it"),
    )
}

impl fmt::Debug for Namespace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Namespace").field(&self.name).finish()
    }
}
