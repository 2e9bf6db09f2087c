//! A store: opening, closing, and everything that concerns all of its namespaces.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use nadb_core::limits::check_namespace;
use nadb_core::{
    Backend, Capabilities, CompactionReport, CompactionRequest, NamespaceInfo, PurgeReport, RecoveryReport,
    Result, SegmentInfo, Stats, VerifyReport,
};
use nadb_engine::{Engine, Options};
use nadb_vfs::MemFs;

use crate::{Batch, Namespace, Snapshot, StoreBuilder};

/// An open store. A handle: cheap to clone, free to send and share between threads; all clones are the same store.
///
/// One process may have a store open at a time. Call [`close`](Store::close) at the end to learn whether the last sync
/// succeeded; when the last handle is dropped without it, the same is done and an error has nowhere to go.
///
/// ```
/// use nadb::Store;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// let store = Store::open(&path)?;
/// store.namespace("app/users")?.set("user:123", "Alice")?;
/// store.close()?;
///
/// let store = Store::open(&path)?;
/// assert_eq!(store.namespace("app/users")?.get("user:123")?.unwrap(), b"Alice");
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Store {
    backend: Arc<dyn Backend>,
}

impl Store {
    /// Opens the store in the directory `path` with the default options, and creates it where there is none.
    ///
    /// # Errors
    /// See [`StoreBuilder::open`].
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = nadb::Store::open(&path)?;
    /// assert!(store.recovery().created);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        StoreBuilder::default().path(PathBuf::from(path.as_ref())).open()
    }

    /// Options first, then [`open`](StoreBuilder::open).
    ///
    /// ```
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = nadb::Store::builder().path(&path).durability(nadb::Durability::Synced).open()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn builder() -> StoreBuilder {
        StoreBuilder::default()
    }

    /// A store in memory: the same engine on a file system that ends with the last handle.
    ///
    /// # Errors
    /// None but those of a lack of threads or randomness.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("cache")?.set("k", "v")?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn memory() -> Result<Store> {
        let engine = Engine::open(Arc::new(MemFs::default()), Path::new("memory"), Options::default())?;
        Ok(Store::with_backend(Arc::new(engine)))
    }

    /// A store on Redis: one server, a group that sentinels watch, or a cluster. With the feature `redis`; the repository's
    /// docs/redis.md has the URLs, what the servers must be set to, and what is guaranteed.
    ///
    /// # Errors
    /// `InvalidInput` for a URL that cannot be used, `Unavailable` where nobody answers, `Version` and `Unsupported` for servers that
    /// will not do, `Backend` for a wrong password.
    ///
    /// ```no_run
    /// let store = nadb::Store::redis("redis://:secret@localhost:6380/5")?;
    /// store.namespace("cache")?.set("k", "v")?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis(url: impl AsRef<str>) -> Result<Store> {
        Store::redis_with(crate::RedisOptions::from_url(url.as_ref())?)
    }

    /// The same with all options.
    ///
    /// # Errors
    /// As [`redis`](Store::redis).
    ///
    /// ```no_run
    /// use nadb::{RedisOptions, Store};
    /// use std::time::Duration;
    /// let options = RedisOptions::from_url("redis://localhost")?.prefix("shop").retry_for(Duration::from_secs(5));
    /// let store = Store::redis_with(options)?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[cfg(feature = "redis")]
    pub fn redis_with(options: crate::RedisOptions) -> Result<Store> {
        Ok(Store::with_backend(Arc::new(nadb_redis::RedisBackend::open(options)?)))
    }

    /// A store on anyone's backend: what [`open`](Store::open) and [`memory`](Store::memory) do with NADB's own engine.
    /// How to write one is in [`backend`](crate::backend).
    ///
    /// ```
    /// use nadb::Store;
    /// use nadb::backend::Backend;
    /// use std::sync::Arc;
    /// fn store_on(backend: impl Backend) -> Store {
    ///     Store::with_backend(Arc::new(backend))
    /// }
    /// ```
    #[must_use]
    pub fn with_backend(backend: Arc<dyn Backend>) -> Store {
        Store { backend }
    }

    /// What this store's backend can do. The engine can do everything; on others a method may answer `Unsupported`.
    ///
    /// ```
    /// use nadb::backend::Feature;
    /// let store = nadb::Store::memory()?;
    /// assert!(store.capabilities().has(Feature::Verify));
    /// assert_eq!(store.capabilities().value_bytes_max, nadb::limits::BLOB_BYTES_MAX);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn capabilities(&self) -> &Capabilities {
        self.backend.capabilities()
    }

    /// A handle to the namespace `name`: keys in it have nothing to do with equal keys in others. `/` in a name makes a
    /// hierarchy by convention. Nothing is written: the namespace comes into being with its first record.
    ///
    /// # Errors
    /// `Limit` or `InvalidInput` for a name that is empty, above 255 bytes, or has a NUL.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("app/users")?;
    /// assert_eq!(users.name(), "app/users");
    /// assert!(store.namespaces()?.is_empty());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn namespace(&self, name: impl AsRef<str>) -> Result<Namespace> {
        let name = name.as_ref();
        check_namespace(name)?;
        Ok(Namespace::new(Arc::clone(&self.backend), name))
    }

    /// Every namespace with the number of its keys, in the order of the names.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("b")?.set("k", "v")?;
    /// store.namespace("a")?.set_many([("k", "v"), ("l", "v")])?;
    /// let all: Vec<_> = store.namespaces()?.into_iter().map(|n| (n.name, n.keys)).collect();
    /// assert_eq!(all, [("a".to_owned(), 2), ("b".to_owned(), 1)]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        let mut all = self.backend.namespaces()?;
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// Deletes a namespace with all its records in one step, and says whether it was there. Handles to it stay valid; a
    /// write through one makes it anew, empty. Namespaces "below" it (`name/…`) are others and stay.
    ///
    /// # Errors
    /// `Limit` or `InvalidInput` for a name that can be none; those of any write.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let cache = store.namespace("cache")?;
    /// cache.set("k", "v")?;
    /// assert!(store.drop_namespace("cache")?);
    /// assert!(!store.drop_namespace("cache")?);
    /// assert!(cache.get("k")?.is_none());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn drop_namespace(&self, name: impl AsRef<str>) -> Result<bool> {
        let name = name.as_ref();
        check_namespace(name)?;
        self.backend.drop_namespace(name)
    }

    /// An empty batch: writes to any keys of any namespaces that happen all or not at all.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.set("accounts", "alice", "90").set("accounts", "bob", "110");
    /// batch.commit()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn batch(&self) -> Batch {
        Batch::new(Arc::clone(&self.backend))
    }

    /// The whole store as it is now, to be read as often as needed while writes go on: see [`Snapshot`].
    ///
    /// # Errors
    /// `Closed`; `Unsupported` on a backend without [`Feature::Snapshots`](crate::backend::Feature::Snapshots).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let accounts = store.namespace("accounts")?;
    /// accounts.set_many([("alice", "90"), ("bob", "110")])?;
    /// let books = store.snapshot()?.namespace("accounts")?;
    /// accounts.set_many([("alice", "0"), ("bob", "200")])?;
    /// assert_eq!(books.get("alice")?.unwrap(), b"90");
    /// assert_eq!(books.get("bob")?.unwrap(), b"110");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn snapshot(&self) -> Result<Snapshot> {
        Snapshot::take(&self.backend)
    }

    /// Makes everything that is visible durable: when it returns, nothing that was written or read before can be lost.
    ///
    /// # Errors
    /// `Poisoned` when this or an earlier sync failed; `Closed`.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("n")?.set("k", "v")?;
    /// store.flush()?;
    /// assert_eq!(store.stats()?.durable_seq, store.stats()?.published_seq);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn flush(&self) -> Result<()> {
        self.backend.flush()
    }

    /// Lets go of everything that has expired, at once and not some time later in the background, and says of how many records.
    /// No read shows what has expired, purged or not; what was purged stays gone, also when the clock is set back later. It goes by the
    /// clock as it is, also where the background has its doubts about it: see docs/ttl.md.
    ///
    /// # Errors
    /// `Unsupported` on a backend without [`Feature::Purge`](crate::backend::Feature::Purge); those of any write. What was let go of
    /// before an error stays so.
    ///
    /// ```
    /// use std::time::Duration;
    /// let store = nadb::Store::memory()?;
    /// let n = store.namespace("n")?;
    /// n.put("brief", "v").ttl(Duration::from_millis(1)).commit()?;
    /// n.put("long", "v").ttl(Duration::from_secs(60)).commit()?;
    /// std::thread::sleep(Duration::from_millis(5));
    /// store.purge_expired()?;
    /// assert_eq!(store.stats()?.keys, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn purge_expired(&self) -> Result<PurgeReport> {
        self.backend.purge_expired()
    }

    /// Gives back the space of everything that is dead: overwritten, deleted or expired. Segments are rewritten in key order, so scans are
    /// quicker afterwards, too. Nobody waits for it: reads and writes go on. The store does this by itself as more of it is dead
    /// (see docs/compaction.md); this is for who wants all of it now.
    ///
    /// Space that somebody still uses, a snapshot or a value that is held, comes back when they let go of it.
    ///
    /// What is too much for one compaction is done in parts, each of which takes a quarter of
    /// [`memory_limit`](StoreBuilder::memory_limit) beside it at most, and copies at most four times that; each gives its space back before the next one begins.
    ///
    /// # Errors
    /// `Unsupported` on a backend without [`Feature::Compact`](crate::backend::Feature::Compact); those of any write; `Corruption` where
    /// a live record does not verify; `InvalidInput` in a compaction filter. No record is lost; parts that were done before stay so.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let n = store.namespace("n")?;
    /// for round in 0..10 {
    ///     n.set("k", format!("value {round}"))?;
    /// }
    /// let report = store.compact()?;
    /// assert_eq!((report.kept, report.dropped_dead), (1, 9));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn compact(&self) -> Result<CompactionReport> {
        self.compact_with(&CompactionRequest::new())
    }

    /// As [`Store::compact`], of some keys, only as an estimate, or with somebody who is told how far it has come and may end it.
    ///
    /// # Errors
    /// As [`Store::compact`].
    ///
    /// ```
    /// use nadb::{CompactionRange, CompactionRequest};
    /// let store = nadb::Store::memory()?;
    /// store.namespace("n")?.set("k", "v")?;
    /// let range = CompactionRange::Namespace("n".into());
    /// let report = store.compact_with(&CompactionRequest::new().range(range).dry_run(true))?;
    /// assert_eq!(report.dropped_dead, 0);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn compact_with(&self, request: &CompactionRequest) -> Result<CompactionReport> {
        self.backend.compact(request)
    }

    /// Counts and sizes.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("n")?.set("k", "v")?;
    /// assert_eq!(store.stats()?.keys, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn stats(&self) -> Result<Stats> {
        self.backend.stats()
    }

    /// The segments that the log consists of, oldest first.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("n")?.set("k", "v")?;
    /// let live: u64 = store.segments()?.iter().map(|segment| segment.live_records).sum();
    /// assert!(live >= 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn segments(&self) -> Result<Vec<SegmentInfo>> {
        self.backend.segments()
    }

    /// Reads every byte of the store, checks every checksum, and compares the key index with what the files say. Reads
    /// and writes may go on meanwhile.
    ///
    /// # Errors
    /// `Corruption`, naming file and offset, for the first damage found; `Io` for a medium that does not give its bytes;
    /// `Closed`.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("n")?.set("k", "v")?;
    /// assert_eq!(store.verify()?.keys, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn verify(&self) -> Result<VerifyReport> {
        self.backend.verify()
    }

    /// What opening found: whether the store is new, was closed in order, what was cut off after a crash, and in `warnings`
    /// what is damaged and was made up for. All zero on a backend that recovers nothing.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// assert!(store.recovery().created);
    /// assert_eq!(store.recovery().cut_bytes, 0);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        static NOTHING: LazyLock<RecoveryReport> = LazyLock::new(RecoveryReport::default);
        self.backend.recovery().unwrap_or(&NOTHING)
    }

    /// Makes everything durable, ends the background threads and gives the lock back. Every other handle answers
    /// `Closed` from then on; closing again does nothing.
    ///
    /// # Errors
    /// `Poisoned` when this or an earlier sync failed: what was not yet durable may be lost. The store is closed all the
    /// same.
    ///
    /// ```
    /// use nadb::{ErrorKind, Store};
    /// let store = Store::memory()?;
    /// let users = store.namespace("users")?;
    /// store.close()?;
    /// assert_eq!(users.get("k").unwrap_err().kind(), ErrorKind::Closed);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn close(&self) -> Result<()> {
        self.backend.close()
    }
}
