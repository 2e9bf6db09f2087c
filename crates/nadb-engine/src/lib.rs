//! The embedded engine of NADB: joins the log and the key index into a store.
//!
//! What it promises: writes are atomic and visible in one order, conditions are exact, expired records are invisible on
//! every read, and each durability class keeps what it says. What it leaves to others: bytes on disk (`nadb-log`), the
//! index's structure (`nadb-index`), comfortable names (`nadb`).
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod backend;
mod background;
mod blobs;
mod checkpoint;
mod compaction;
mod engine;
mod halfway;
mod inflight;
mod keyspace;
mod memory;
mod namespaces;
mod options;
mod pending;
mod plan;
mod query;
mod read;
mod reaper;
mod rebuild;
mod repair;
mod replay;
mod report;
mod scan;
mod sealing;
mod slot;
mod snapshot;
mod stream;
mod tag_counts;
mod tallies;
mod times;
mod trace;
mod trust;
mod verify;
mod view;
mod write;

pub use engine::Engine;
pub use memory::MEMORY_LIMIT_MIN;
pub use nadb_compact::{Strip, StripSegment, StripStyle};
pub use nadb_log::{
    AfterLoss, BrokenBatch, DamagedRange, FoundNamespace, LostKind, LostRecord, ManifestFound, NumberRange,
    ReadMode, RepairOutcome, RepairReport,
};
pub use options::{MEMTABLE_BYTES_MAX, MEMTABLE_BYTES_MIN, Options};
pub use query::Query;
pub use repair::repair;
pub use report::{NamespaceInfo, RecoveryReport, SegmentInfo, SegmentState, Stats, VerifyReport};
pub use scan::{Keys, Scan};
pub use snapshot::Snapshot;
