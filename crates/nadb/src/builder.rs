//! Options of a store that is about to be opened.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{
    CompactionFilter, Compression, Durability, Error, Fate, FilterRecord, OnOpen, OpenProgress, Result,
};
use nadb_engine::{Engine, Options, ReadMode};
use nadb_vfs::RealFs;

use crate::Store;

/// How a store is opened; made by [`Store::builder`]. Only [`path`](StoreBuilder::path) is needed, every other default is
/// good.
///
/// ```
/// use nadb::{Compression, Durability, Store};
/// use std::time::Duration;
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// let store = Store::builder()
///     .path(&path)
///     .memtable_size(16 << 20)
///     .compression(Compression::Snappy)
///     .durability(Durability::Synced)
///     .sync_interval(Duration::from_millis(500))
///     .open()?;
/// # store.close()?;
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug, Clone, Default)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct StoreBuilder {
    path: Option<PathBuf>,
    options: Options,
}

impl StoreBuilder {
    /// The directory of the store. Its parents are created with it where [`create`](StoreBuilder::create) allows.
    pub fn path(mut self, path: impl Into<PathBuf>) -> StoreBuilder {
        self.path = Some(path.into());
        self
    }

    /// Bytes after which the log goes on in a new segment: 4 KiB to 1 GiB, default 64 MiB.
    pub fn memtable_size(mut self, bytes: usize) -> StoreBuilder {
        self.options.memtable_size = bytes as u64;
        self
    }

    /// Whether values are compressed; default [`Compression::Snappy`]. It may differ at every opening.
    pub fn compression(mut self, compression: Compression) -> StoreBuilder {
        self.options.compression = compression;
        self
    }

    /// The durability class of writes that do not name one; default [`Durability::Flushed`].
    pub fn durability(mut self, durability: Durability) -> StoreBuilder {
        self.options.durability = durability;
        self
    }

    /// The shortest time between two looks for what has expired, to let go of it in the background; above zero, default 1 s. No
    /// read shows what has expired, whenever that is.
    pub fn reap_interval(mut self, interval: Duration) -> StoreBuilder {
        self.options.reap_interval = interval;
        self
    }

    /// Whether segments are compacted in the background as more and more of them is dead; default yes. Without it space comes back by
    /// [`Store::compact`] alone.
    pub fn auto_compact(mut self, is_on: bool) -> StoreBuilder {
        self.options.auto_compact = is_on;
        self
    }

    /// The share of all bytes that may be dead while nobody writes: 0.02 to 0.9, default 0.2. The less, the more is rewritten; see
    /// docs/compaction.md for what it costs.
    pub fn dead_share(mut self, share: f64) -> StoreBuilder {
        self.options.dead_share = share;
        self
    }

    /// The most that compactions write, in bytes a second; default no bound. Beside busy users they take a small share of the time
    /// anyway.
    pub fn compaction_rate(mut self, bytes_per_s: u64) -> StoreBuilder {
        self.options.compaction_bytes_per_s = Some(bytes_per_s);
        self
    }

    /// Bytes of the disk that compactions leave free; default 64 MiB. One that would need some of these takes fewer segments at a time, or
    /// waits until there is room ([`Stats::compaction_failure`](crate::Stats::compaction_failure) says so). Writes may use them.
    ///
    /// ```
    /// use nadb::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = Store::builder().path(&path).compaction_room_left(1 << 30).open()?;
    /// # store.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn compaction_room_left(mut self, bytes: u64) -> StoreBuilder {
        self.options.compaction_room_left = bytes;
        self
    }

    /// A function that is asked about each live record that a compaction has copied, and says whether it stays, goes, or gets another
    /// value; default none. It is for data that loses its worth by rules that only the application knows, and for changing old
    /// records to a new form bit by bit, as they are copied anyway.
    ///
    /// What to know of it:
    ///
    /// - Its answers are written as batches under the condition that each record is still the one that it saw: a record that somebody has
    ///   changed meanwhile stays as they left it. They are ordinary writes of the store's durability class; open snapshots still show
    ///   what was there before, and what is dropped gives its space back to a later compaction.
    /// - It sees a record when a compaction copies it: perhaps never, perhaps often, and in no order that can be relied on. So it has to
    ///   give the same answer to the same record, and [`Fate::Keep`] to one that it has rewritten already: each other answer is a write.
    ///   [`Store::compact`] asks it about every live record.
    /// - It is never asked about what is deleted, overwritten or expired.
    /// - It is called in the compactor's thread, or in that of whoever calls `compact`, one record at a time, and nothing is locked. It
    ///   may read and write this store; only compacting it is refused. A handle that it owns keeps the store open, until somebody
    ///   calls [`Store::close`].
    /// - An error that it returns, and a panic, keeps the record as it is. Both are counted
    ///   ([`Stats::filter_failures`](crate::Stats::filter_failures)) and told
    ///   ([`Stats::compaction_failure`](crate::Stats::compaction_failure)). After eight of them it is not asked any more about the copies of
    ///   that compaction. In a program that is built to abort at a panic, it does.
    ///
    /// ```
    /// use nadb::{Fate, Rewrite, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = Store::builder()
    ///     .path(&path)
    ///     .compaction_filter(|record| {
    ///         if record.namespace() != "carts" {
    ///             return Ok(Fate::Keep);
    ///         }
    ///         let value = record.value()?;
    ///         Ok(match value.strip_prefix(b"v1:") {
    ///             // Empty carts are nothing to keep, and those of version 1 get the form of version 2.
    ///             Some(b"") => Fate::Drop,
    ///             Some(items) => Fate::Rewrite(Rewrite::new([b"v2:", items].concat())),
    ///             None => Fate::Keep,
    ///         })
    ///     })
    ///     .open()?;
    /// let carts = store.namespace("carts")?;
    /// carts.set_many([("alice", "v1:tea"), ("bob", "v1:"), ("carol", "v2:")])?;
    /// assert_eq!(store.compact()?.filtered, 2);
    /// assert_eq!(carts.get("alice")?.unwrap(), b"v2:tea");
    /// assert!(carts.get("bob")?.is_none());
    /// assert_eq!(carts.get("carol")?.unwrap(), b"v2:");
    /// # store.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn compaction_filter(
        mut self,
        decide: impl Fn(&FilterRecord<'_>) -> Result<Fate> + Send + Sync + 'static,
    ) -> StoreBuilder {
        self.options.compaction_filter = Some(CompactionFilter::new(decide));
        self
    }

    /// The longest time that a flushed write waits for the background sync, and with that what a power cut can take;
    /// above zero, default 1 s.
    pub fn sync_interval(mut self, interval: Duration) -> StoreBuilder {
        self.options.sync_interval = interval;
        self
    }

    /// The longest time that a buffered write waits to be handed to the operating system, and with that what a process
    /// kill can take; above zero, default 100 ms.
    pub fn flush_interval(mut self, interval: Duration) -> StoreBuilder {
        self.options.flush_interval = interval;
        self
    }

    /// Bytes of memory that the store may take for writing: what is known of records before their segments are sealed, sealing itself,
    /// buffers, and batches on their way; at least 8 MiB, default 256 MiB.
    ///
    /// What follows the number of keys is beside it (the key index with at most 24 bytes a key, live bits with less than one), and
    /// so is what open snapshots ask for; [`Stats`](crate::Stats) has each part. Where the limit would be exceeded, segments end
    /// before they are full, and then writers wait until segments are sealed. A batch may have about a fifth of it;
    /// values with more than a 16th of it get files of their own.
    ///
    /// ```
    /// use nadb::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = Store::builder().path(&path).memory_limit(32 << 20).open()?;
    /// store.namespace("users")?.set("k", "v")?;
    /// let stats = store.stats()?;
    /// assert!(stats.limited_bytes() <= stats.memory_limit);
    /// assert_eq!(stats.memory_limit, 32 << 20);
    /// # store.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn memory_limit(mut self, bytes: usize) -> StoreBuilder {
        self.options.memory_limit = bytes as u64;
        self
    }

    /// Whether sealed segments are read by calls to the operating system in place of mapped memory; default false.
    ///
    /// Mapped, a read is as fast as memory where the operating system has the page, and copies nothing. But a page that
    /// cannot be had then is no error that can be returned: on Unix the process gets the signal SIGBUS, which ends it unless
    /// it is caught. That happens when the medium fails, when a file system over a network goes away, and when somebody
    /// shortens a segment while the store is open. With positioned reads each of these is an error of kind `Io` or
    /// `Corruption` from the read that met it. Each read of a record is a system call and a copy then, and the footers of all
    /// sealed segments are held in memory. Choose it where a process must outlive its disk. File systems of which Linux says
    /// that another machine or program serves them (NFS, SMB, FUSE and the like) are always read so.
    ///
    /// What is in the files does not depend on it: it may differ at every opening.
    ///
    /// ```
    /// use nadb::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = Store::builder().path(&path).positioned_reads(true).open()?;
    /// store.namespace("users")?.set("k", "v")?;
    /// assert_eq!(store.namespace("users")?.get("k")?.unwrap(), b"v");
    /// # store.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn positioned_reads(mut self, positioned: bool) -> StoreBuilder {
        self.options.read_mode = if positioned { ReadMode::Positioned } else { ReadMode::Mapped };
        self
    }

    /// Counts each operation that takes longer than this in [`Stats::slow_operations`](crate::Stats::slow_operations); with the
    /// feature `tracing`, each is an event, too. Default: nobody looks. Where somebody does, every operation is timed and not
    /// one in a thousand, which costs each of them two looks at the clock and more.
    ///
    /// ```
    /// use nadb::Store;
    /// use std::time::Duration;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = Store::builder().path(&path).slow_above(Duration::from_secs(3600)).open()?;
    /// store.namespace("users")?.set("k", "v")?;
    /// assert_eq!(store.stats()?.slow_operations, 0);
    /// assert_eq!(store.stats()?.ops.set.sampled, 1);
    /// # store.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn slow_above(mut self, time: Duration) -> StoreBuilder {
        self.options.slow_above = Some(time);
        self
    }

    /// Whether the store keeps when keys were last read, to find what nobody needs any more; default false.
    ///
    /// [`Metadata::accessed_ms`](crate::Metadata::accessed_ms) says what counts as a read and how exact it is: to the minute. What is
    /// kept is in memory, 11 to 22 bytes for each key that was read ([`Stats::access_bytes`](crate::Stats::access_bytes)); no read
    /// writes anything. Every [`access_flush_interval`](StoreBuilder::access_flush_interval) and at the end it is written to a small
    /// file beside each segment where something has changed. A session without this option knows nothing of it, and leaves
    /// it as it is, but for what it overwrites and deletes.
    ///
    /// ```
    /// use nadb::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = Store::builder().path(&path).track_access(true).open()?;
    /// let pages = store.namespace("pages")?;
    /// pages.set("home", "…")?;
    /// assert_eq!(pages.metadata("home")?.unwrap().accessed(), None);
    /// pages.get("home")?;
    /// assert!(pages.metadata("home")?.unwrap().accessed().is_some());
    /// assert_eq!(pages.query().matching("accessed<now-30d")?.count()?, 0);
    /// # store.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn track_access(mut self, track: bool) -> StoreBuilder {
        self.options.track_access = track;
        self
    }

    /// The shortest time between two writings of when keys were last read, and with that about what a crash takes of it; above zero,
    /// default 10 minutes. It means nothing without [`track_access`](StoreBuilder::track_access).
    pub fn access_flush_interval(mut self, interval: Duration) -> StoreBuilder {
        self.options.access_flush_interval = interval;
        self
    }

    /// Whether a missing store is created; default true. With false, opening a directory that holds no store is an error.
    ///
    /// ```
    /// use nadb::{ErrorKind, Store};
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let error = Store::builder().path(&path).create(false).open().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// assert!(!path.exists());
    /// ```
    pub fn create(mut self, create: bool) -> StoreBuilder {
        self.options.create = create;
        self
    }

    /// Tells `observer` now and then how far opening has come: from several threads, and opening waits for it.
    ///
    /// ```
    /// use nadb::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let show = |progress: nadb::OpenProgress| println!("{:?}: {} of {}", progress.phase, progress.done, progress.total);
    /// Store::builder().path(&path).on_open_progress(show).open()?.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn on_open_progress(
        mut self,
        observer: impl Fn(OpenProgress) + Send + Sync + 'static,
    ) -> StoreBuilder {
        self.options.on_open = Some(OnOpen::new(observer));
        self
    }

    /// Opens the store: takes its lock, reads the log, and cuts off a torn tail, if a crash left one.
    ///
    /// # Errors
    /// `InvalidInput` without a path, for a path that is no store directory, and for a missing store that may not be
    /// created; `Limit` for an option out of bounds; `Locked` while another process or handle has it open, naming the
    /// owner; `Corruption`, naming file and offset, when data that was durable is damaged (nothing is changed then);
    /// `Version` for files of an unknown format; `ReadOnly`, `NoSpace` and `Io` as the system answers.
    pub fn open(self) -> Result<Store> {
        let path = self.path.ok_or_else(|| {
            Error::invalid(
                "path is missing; give the store's directory with .path(\"./data\"), or use Store::memory()",
            )
        })?;
        Ok(Store::with_backend(Arc::new(Engine::open(Arc::new(RealFs), &path, self.options)?)))
    }
}
