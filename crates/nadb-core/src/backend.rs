//! The one trait between what users call and what keeps their records.
//!
//! It promises the meaning of every verb, the same on every backend, and the crate `nadb-conformance` tests it. It leaves
//! generic convenience to the facade, and how records are kept to the backend.

use std::fmt;
use std::sync::Arc;

use crate::{
    BackendSnapshot, BatchAtomicity, Capabilities, Clock, CompactionReport, CompactionRequest, Durability,
    Entry, ErrorKind, Feature, Filter, Listing, Matches, Metadata, NamespaceInfo, Operation, Outcome,
    PurgeReport, QueryRequest, RecoveryReport, Result, ScanRequest, SegmentInfo, Stats, SystemClock, Value,
    ValueReader, ValueWriter, VerifyReport, WriteBatch, query,
};

/// How a batch is written, beside what it says.
///
/// ```
/// use nadb_core::{Durability, WriteOptions};
/// assert_eq!(WriteOptions::default().durability, None);
/// let synced = WriteOptions::default().with_durability(Some(Durability::Synced));
/// assert_eq!(synced.durability, Some(Durability::Synced));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The class in which it is acknowledged; `None` is the store's own.
    pub durability: Option<Durability>,
}

impl WriteOptions {
    /// The same with this durability class; `None` is the store's own.
    #[must_use]
    pub fn with_durability(mut self, durability: Option<Durability>) -> WriteOptions {
        self.durability = durability;
        self
    }
}

/// An open store, as something that keeps records sees it. One object serves any number of threads.
///
/// # What every backend promises
///
/// - **Input** beyond a limit is refused before anything is written, with `Limit` or `InvalidInput`, naming field, value
///   and limit: [`Capabilities::check_write`] does that for writes, [`limits`](crate::limits) has the checks for reads. Keys
///   are 1 to 65,535 bytes of any kind and are told apart by nothing but their bytes and their namespace.
/// - **Absence** is `None` or `false`, never an error: of keys that were never there, were deleted or have expired, and of
///   all keys of a namespace that does not exist. A record expires when its `expires_ms ≤ now` by the backend's clock, and
///   from then on it is absent everywhere, whether it was purged or not.
/// - **Versions** are numbers above zero that rise with every write to a key and are never given to it again, also not
///   after a delete, an expiry, a drop of its namespace or a crash.
/// - **After [`close`](Backend::close)** every method but `capabilities` and `recovery` answers `Closed`.
/// - **What it does not know** it refuses: an [`Action`](crate::Action), [`Condition`](crate::Condition) or other variant
///   that came with a later version of NADB is `Unsupported`, never ignored.
///
/// # How it grows
///
/// Later versions add methods with a default that answers `Unsupported` (or does the same by the methods that there are),
/// variants of enums that may be refused, and fields of requests that are advice and may be ignored. So a backend that is
/// correct today stays correct. A wrapper around another backend should forward every method of the version that it is
/// built against, those with a default too.
///
/// docs/backends.md says how to write one and where to find a whole one to start from.
///
/// ```
/// use nadb_core::{Action, Backend, Operation, Put, Result, ScanRequest, WriteOptions};
///
/// /// Copies a namespace's values, whatever the two stores are on.
/// fn copy(from: &dyn Backend, to: &dyn Backend, namespace: &str) -> Result<()> {
///     for entry in from.scan(namespace, ScanRequest::all())? {
///         let entry = entry?;
///         let put = Action::Put(Put::new(&*entry.value));
///         to.write(&[Operation::new(namespace, &*entry.key, put)], &WriteOptions::default())?;
///     }
///     Ok(())
/// }
/// ```
pub trait Backend: Send + Sync + 'static {
    /// What it can do: the same from opening to closing, and after it.
    fn capabilities(&self) -> &Capabilities;

    /// Does all operations of the batch or none, in order, and gives one outcome for each. When it returns, the batch is
    /// visible to every read, and as durable as its class says. An empty batch does nothing.
    ///
    /// - Later operations see what earlier ones did; of several writes to a key the last counts. The version that an earlier
    ///   operation of the same batch made is not known yet, so no `IfVersion` matches it.
    /// - A put replaces value, tags, expiry, media type and attributes, except where `Keep` says otherwise. `created_ms`
    ///   stays as long as the key is there. An expiry already past makes the put act as a delete.
    /// - A merge changes the value alone; tags, expiry, media type, attributes and `created_ms` stay. The operators of NADB
    ///   are known by [`MergeOperator::kind`](crate::MergeOperator::kind), so that a server can do them itself.
    /// - An expire changes the expiry alone; where the key is absent it does nothing. Optional: [`Feature::Expire`].
    /// - A put or merge creates its namespace. A delete or expire does not.
    /// - Between testing a condition, or reading what a merge is made from, and writing nobody else changes the key.
    ///
    /// The outcome's `version` is there whenever the key is there afterwards.
    ///
    /// # Errors
    /// `PreconditionFailed` with the current version when a condition does not hold, `Limit`, `InvalidInput`, `Unsupported`,
    /// what a merge operator returns, `NoSpace`, `Unavailable`, `Closed`: nothing was written, and no namespace created.
    /// `OutcomeUnknown` and `Poisoned`: perhaps all of it was.
    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>>;

    /// The value of a key. It stays as it is, whatever happens to the key or the store.
    ///
    /// # Errors
    /// `Limit` or `InvalidInput` for name or key, `Corruption`, `Io`, `Unavailable`, `Closed`.
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>>;

    /// Shows `read` the value of a key where it stands, and says whether there was one: `read` is called exactly once where
    /// [`get`](Backend::get) gives a value, and not at all where it gives `None` or an error. The default does it by `get`; a
    /// backend that has its values in memory need not copy or count anything.
    ///
    /// `read` may call the store, and it may panic, which leaves the store as it was: the backend holds no lock while it runs.
    /// It may hold up what gives memory and files back, but no other call. The bytes stay as they are until `read` returns.
    ///
    /// # Errors
    /// As [`get`](Backend::get).
    fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.get(namespace, key)?;
        Ok(value.map(|value| read(&value)).is_some())
    }

    /// Key, value and metadata, all of the same version.
    ///
    /// # Errors
    /// As [`get`](Backend::get).
    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>>;

    /// The metadata of a key. The default reads the value, too.
    ///
    /// # Errors
    /// As [`get`](Backend::get).
    fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        Ok(self.get_entry(namespace, key)?.map(|entry| entry.metadata))
    }

    /// Whether a key is there. The default reads the metadata.
    ///
    /// # Errors
    /// As [`get`](Backend::get).
    fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        Ok(self.metadata(namespace, key)?.is_some())
    }

    /// The values of several keys of a namespace, in the order of `keys`, which may repeat. Each is as good as a
    /// [`get`](Backend::get) of its own, and the default does just that; a backend over a network does it in one go, and one
    /// that has snapshots gives all of them as of one moment.
    ///
    /// # Errors
    /// As [`get`](Backend::get), the first that happens.
    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        keys.iter().map(|key| self.get(namespace, key)).collect()
    }

    /// The records of a key range, in order, from either end, keys alone or whole entries: see [`Listing`]. What it shows of
    /// concurrent writes is [`Capabilities::scans`].
    ///
    /// # Errors
    /// As [`get`](Backend::get), here or in an item.
    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>>;

    /// The records of a namespace that a filter means, in the order that is asked for: see [`Matches`]. The default looks at every
    /// record; what it shows of concurrent writes is [`Capabilities::scans`].
    ///
    /// # Errors
    /// As [`scan`](Backend::scan); `Limit` or `InvalidInput` for a filter that [`Filter::check`] refuses; `Unsupported` for one by
    /// last access without [`Feature::LastAccess`].
    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        self.capabilities().check_filter(&request.filter)?;
        query::by_scan(request, |keys| self.scan(namespace, keys))
    }

    /// How many records of a namespace a filter means. The default looks at every record.
    ///
    /// # Errors
    /// As [`query`](Backend::query).
    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        self.capabilities().check_filter(filter)?;
        query::count_by_scan(filter, |keys| self.scan(namespace, keys))
    }

    /// The tags of a namespace's records that begin with `prefix`, in the order of their bytes, each with the number of records
    /// that have it, which is never 0. The default looks at every record.
    ///
    /// # Errors
    /// As [`scan`](Backend::scan).
    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        query::tags_by_scan(prefix, self.scan(namespace, ScanRequest::all())?)
    }

    /// Says that a key was read now, where the backend keeps that ([`Feature::LastAccess`]), and whether the key is there. The
    /// default only looks.
    ///
    /// # Errors
    /// As [`get`](Backend::get).
    fn touch(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        self.contains(namespace, key)
    }

    /// Writes records as they are in another store: key, value, tags, attributes, media type, expiry, and when they came into being
    /// and were written. Versions are new, and when they were last read is not known. What is there under their keys is replaced; a
    /// record whose expiry is past is deleted. Doing it again does the same again.
    ///
    /// It is one atomic batch where the backend's batches span all keys, else as few as there can be, one after another. Optional:
    /// [`Feature::Import`].
    ///
    /// # Errors
    /// As [`write`](Backend::write). Where it is several batches, those before the one that failed are written.
    fn import(&self, namespace: &str, entries: &[Entry]) -> Result<()> {
        let batch: Vec<Operation<'_>> =
            entries.iter().map(|entry| Operation::import(namespace, entry)).collect();
        let options = WriteOptions::default();
        match self.write(&batch, &options) {
            Err(error)
                if error.kind() == ErrorKind::Unsupported
                    && self.capabilities().batches == BatchAtomicity::PerBucket
                    && self.capabilities().has(Feature::Import) =>
            {
                batch.iter().try_for_each(|one| self.write(std::slice::from_ref(one), &options).map(drop))
            }
            written => written.map(drop),
        }
    }

    /// The time by which it decides what has expired, in Unix milliseconds. The default is this process's clock.
    ///
    /// # Errors
    /// `Unavailable`, `Closed`.
    fn now_ms(&self) -> Result<u64> {
        Ok(SystemClock::default().now_ms())
    }

    /// Lets go of everything that has expired, now and not some time later in the background. It says nothing new of any key: what
    /// has expired is absent already. Optional: [`Feature::Purge`].
    ///
    /// # Errors
    /// `Unsupported`; those of a write.
    fn purge_expired(&self) -> Result<PurgeReport> {
        Err(self.capabilities().unsupported(Feature::Purge.name()))
    }

    /// Gives back the space of what is dead, now and not some time later in the background. It changes nothing that anybody can read.
    /// Optional: [`Feature::Compact`].
    ///
    /// # Errors
    /// `Unsupported`; those of a write; `Corruption` where what is live cannot be read. The store is as before, but for what the
    /// report of an earlier part says.
    fn compact(&self, request: &CompactionRequest) -> Result<CompactionReport> {
        let _ = request;
        Err(self.capabilities().unsupported(Feature::Compact.name()))
    }

    /// All namespaces with the numbers of their keys, in any order.
    ///
    /// # Errors
    /// `Io`, `Unavailable`, `Closed`.
    fn namespaces(&self) -> Result<Vec<NamespaceInfo>>;

    /// Drops a namespace with all its keys, and says whether it was there. Afterwards the name is free: the first write to
    /// it makes a new, empty namespace. Those "below" it (`name/…`) are others and stay.
    ///
    /// # Errors
    /// As [`write`](Backend::write).
    fn drop_namespace(&self, name: &str) -> Result<bool>;

    /// Ends the store for everyone who shares this object; what can be made durable is durable then. Closing again does
    /// nothing. Dropping the last reference without it does the same and reports nothing.
    ///
    /// # Errors
    /// What the last sync or the connection reports. The store is closed all the same.
    fn close(&self) -> Result<()>;

    /// Makes everything that is visible durable. Optional: [`Feature::Flush`].
    ///
    /// # Errors
    /// `Unsupported`; `Poisoned`, `NoSpace`, `Io`, `Closed`.
    fn flush(&self) -> Result<()> {
        Err(self.capabilities().unsupported(Feature::Flush.name()))
    }

    /// Counts and sizes. Optional: [`Feature::Stats`].
    ///
    /// # Errors
    /// `Unsupported`; `Unavailable`, `Closed`.
    fn stats(&self) -> Result<Stats> {
        Err(self.capabilities().unsupported(Feature::Stats.name()))
    }

    /// The segments that the log consists of, oldest first. Optional: [`Feature::Segments`].
    ///
    /// # Errors
    /// `Unsupported`; `Closed`.
    fn segments(&self) -> Result<Vec<SegmentInfo>> {
        Err(self.capabilities().unsupported(Feature::Segments.name()))
    }

    /// The store as it is now, for as long as it is held: see [`BackendSnapshot`]. Taking one costs no more than a read, and
    /// no writer waits for it. Optional: [`Feature::Snapshots`].
    ///
    /// # Errors
    /// `Unsupported`; `Unavailable`, `Closed`.
    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        Err(self.capabilities().unsupported(Feature::Snapshots.name()))
    }

    /// Begins a value that is written piece by piece and becomes visible at its commit: see [`ValueWriter`]. `operation` is a
    /// put, whose own value (mostly none) is what the pieces are added to. Optional: [`Feature::Streams`].
    ///
    /// # Errors
    /// `Unsupported`, also for an operation that is no put; what [`Capabilities::check_write`] refuses is refused here
    /// already; `NoSpace`, `Io`, `Unavailable`, `Closed`. Whether a condition holds is only asked at the commit.
    fn writer(&self, operation: Operation<'static>, options: &WriteOptions) -> Result<Box<dyn ValueWriter>> {
        let _ = (operation, options);
        Err(self.capabilities().unsupported(Feature::Streams.name()))
    }

    /// The value of a key, to be read piece by piece: see [`ValueReader`]. `None` where [`get`](Backend::get) gives `None`.
    /// Optional: [`Feature::Streams`].
    ///
    /// # Errors
    /// `Unsupported`; otherwise as [`get`](Backend::get).
    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        let _ = (namespace, key);
        Err(self.capabilities().unsupported(Feature::Streams.name()))
    }

    /// Reads and checks everything that is stored. Optional: [`Feature::Verify`].
    ///
    /// # Errors
    /// `Unsupported`; `Corruption` for the first damage found, `Io`, `Closed`.
    fn verify(&self) -> Result<VerifyReport> {
        Err(self.capabilities().unsupported(Feature::Verify.name()))
    }

    /// What opening found; also after closing. Optional: [`Feature::Recovery`].
    ///
    /// # Errors
    /// `Unsupported`.
    fn recovery(&self) -> Result<&RecoveryReport> {
        Err(self.capabilities().unsupported(Feature::Recovery.name()))
    }
}

impl fmt::Debug for dyn Backend {
    /// The name and nothing else: addresses and passwords have no place in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.capabilities().backend).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// As little as a backend can be.
    struct Least(Capabilities);

    impl Backend for Least {
        fn capabilities(&self) -> &Capabilities {
            &self.0
        }
        fn write(&self, _: &WriteBatch<'_>, _: &WriteOptions) -> Result<Vec<Outcome>> {
            Err(self.0.unsupported("writing"))
        }
        fn get(&self, _: &str, key: &[u8]) -> Result<Option<Value>> {
            Ok((key != b"none").then(|| key.to_vec().into()))
        }
        fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
            let entry = |value| Entry::new(key.to_vec(), value, Metadata::new(1, 1, 1));
            Ok(self.get(namespace, key)?.map(entry))
        }
        fn scan(&self, _: &str, _: ScanRequest) -> Result<Box<dyn Listing>> {
            Ok(Box::new(Two(vec![b"a".to_vec(), b"b".to_vec()].into_iter())))
        }
        fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
            Ok(Vec::new())
        }
        fn drop_namespace(&self, _: &str) -> Result<bool> {
            Ok(false)
        }
        fn close(&self) -> Result<()> {
            Ok(())
        }
    }

    struct Two(std::vec::IntoIter<Vec<u8>>);
    impl Iterator for Two {
        type Item = Result<Entry>;
        fn next(&mut self) -> Option<Result<Entry>> {
            Some(Ok(Entry::new(self.0.next()?, Value::default(), Metadata::new(1, 0, 1))))
        }
    }
    impl DoubleEndedIterator for Two {
        fn next_back(&mut self) -> Option<Result<Entry>> {
            Some(Ok(Entry::new(self.0.next_back()?, Value::default(), Metadata::new(1, 0, 1))))
        }
    }
    impl Listing for Two {}

    #[test]
    fn what_is_not_there_is_unsupported_and_says_what_and_where() {
        let backend: Arc<dyn Backend> = Arc::new(Least(Capabilities::new("least")));
        let check = |error: Option<Error>, what: &str| {
            let error = error.unwrap();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert_eq!(error.to_string(), format!("the backend \"least\" does not support {what}"));
        };
        check(backend.flush().err(), "flush");
        check(backend.stats().err(), "stats");
        check(backend.segments().err(), "segments");
        check(backend.snapshot().err(), "snapshots");
        let put = crate::Action::Put(crate::Put::new(Vec::new()));
        let operation = Operation::new("n", b"k".as_slice(), put);
        check(backend.writer(operation, &WriteOptions::default()).err(), "streams");
        check(backend.reader("n", b"k").err(), "streams");
        check(backend.verify().err(), "verify");
        check(backend.recovery().err(), "recovery");
        assert_eq!(format!("{backend:?}"), "Backend(\"least\")");
    }

    #[test]
    fn the_defaults_read_by_what_there_is() {
        let backend = Least(Capabilities::new("least"));
        assert_eq!(backend.metadata("n", b"k").unwrap().unwrap().version, 1);
        assert!(backend.contains("n", b"k").unwrap() && !backend.contains("n", b"none").unwrap());
        let values = backend.get_many("n", &[b"a", b"none", b"a"]).unwrap();
        assert_eq!(values, [Some(b"a".to_vec().into()), None, Some(b"a".to_vec().into())]);
        let mut seen = Vec::new();
        assert!(backend.get_with("n", b"k", &mut |value| seen.push(value.to_vec())).unwrap());
        assert!(!backend.get_with("n", b"none", &mut |value| seen.push(value.to_vec())).unwrap());
        assert_eq!(seen, [b"k"]);
        let mut listing = backend.scan("n", ScanRequest::all()).unwrap();
        assert_eq!(listing.next_key_back().unwrap().unwrap(), b"b");
        assert_eq!(listing.next_key().unwrap().unwrap(), b"a");
        assert!(listing.next().is_none());
    }
}
