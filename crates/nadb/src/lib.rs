//! NADB: an embedded, crash-safe, log-structured key-value store with tags and lifetimes.
//!
//! This crate is the public face: thin, generic where that is convenient, without state of its own. It turns calls into
//! operations and hands them to a [`Backend`](backend::Backend), by default the engine, which does the work. What it
//! promises: every limit is enforced with an error that names field, value and limit, and nothing is written then; no type
//! of a dependency stands in a signature, except [`bytes`].
//!
//! ```
//! use nadb::Store;
//! use std::time::Duration;
//!
//! let store = Store::memory()?; // Store::open("./data")? keeps it on disk
//! let users = store.namespace("app/users")?;
//! users.set("user:123", "Alice")?;
//! users.put("user:124", "Bob").tags(["user", "premium"]).ttl(Duration::from_secs(3600)).commit()?;
//!
//! assert_eq!(users.get("user:123")?.unwrap(), b"Alice");
//! let keys = users.prefix("user:")?.keys().collect::<nadb::Result<Vec<_>>>()?;
//! assert_eq!(keys, [b"user:123", b"user:124"]);
//! store.close()?;
//! # Ok::<(), nadb::Error>(())
//! ```
//!
//! Where to look: [`Store`] opens, closes and reports; [`Namespace`] reads and writes; [`Batch`] writes several keys, also
//! of several namespaces, atomically; [`Snapshot`] reads all of them as of one moment; [`Durability`] says what an acknowledgement is worth; [`ErrorKind`] says what can go
//! wrong; [`limits`] has the bounds. Values that are text or JSON have verbs of their own ([`Namespace::set_text`]; with the
//! feature `json` also `set_json` and `get_json`). The API blocks; all of it may be called from any number of threads.
#![forbid(unsafe_code)]

pub mod backend;
mod batch;
mod builder;
mod copy;
mod iter;
#[cfg(feature = "json")]
mod json;
mod lifetime;
pub mod limits;
pub mod merge;
#[cfg(feature = "metrics")]
mod metrics;
mod namespace;
mod put;
mod query;
mod range;
mod remove;
mod repair;
mod settings;
mod snapshot;
mod store;
mod stream;
mod typed;

pub use bytes::Bytes;
pub use nadb_core::{
    Attrs, CompactionProgress, CompactionRange, CompactionReport, CompactionRequest, Compression, Cursor,
    Durability, Entry, Error, ErrorKind, Fate, Filter, FilterRecord, FilterSource, MergeOperator, Metadata,
    NamespaceInfo, OpStats, OpTimes, OpenPhase, OpenProgress, Outcome, PurgeReport, ReadTime, RecoveryReport,
    Result, Rewrite, SegmentInfo, SegmentState, SortField, Span, Stats, Tags, TimeSpent, Value, VerifyReport,
    WriteTime, Written,
};
pub use nadb_engine::{
    AfterLoss, BrokenBatch, DamagedRange, FoundNamespace, LostKind, LostRecord, ManifestFound, NumberRange,
    RepairOutcome, RepairReport,
};
pub use nadb_engine::{Strip, StripSegment, StripStyle};

#[cfg(feature = "redis")]
pub use nadb_redis::RedisOptions;

pub use batch::{Batch, BatchPut, BatchRemove};
pub use builder::StoreBuilder;
pub use copy::{CopyDifference, CopyPhase, CopyPosition, CopyProgress, CopyReport, CopyRequest, CopySum};
pub use iter::{Iter, Keys};
pub use lifetime::Ttl;
pub use namespace::Namespace;
pub use put::PutBuilder;
pub use query::{Moment, Page, Query, QueryEntries, QueryKeys, TagCount, TimeRange};
pub use range::KeyRange;
pub use remove::RemoveBuilder;
pub use repair::{plan_repair, repair};
pub use snapshot::{Snapshot, SnapshotNamespace};
pub use store::Store;
pub use stream::{ValueReader, ValueWriter};

/// The README's example, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// The examples of docs/metrics.md, run as tests.
#[cfg(all(doctest, feature = "metrics"))]
#[doc = include_str!("../../../docs/metrics.md")]
struct MetricsDocument;

/// The example of docs/moving.md, run as a test.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/moving.md")]
struct MovingDocument;
