//! The vocabulary of NADB: limits, identifiers, clock, errors, records, writes, and the trait of all backends.
//!
//! What stands here has no state and does no I/O; every other crate speaks in these terms. What it promises: limits are
//! written once, checks name field, value and limit, and bytes in and out of the value codec are bounded.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod backend;
mod capabilities;
mod clock;
mod codec;
mod compaction;
mod entropy;
mod error;
pub mod guard;
mod histogram;
mod ids;
pub mod limits;
mod listing;
mod merge;
mod meta;
pub mod query;
mod report;
mod snapshot;
mod spent;
mod stream;
mod value;
mod write;

pub use backend::{Backend, WriteOptions};
pub use capabilities::{BatchAtomicity, Capabilities, ClockSource, Feature, ScanConsistency};
pub use clock::{Clock, ManualClock, SystemClock};
pub use codec::{Codec, CodecError, Compression, compress, decompress};
pub use compaction::{
    CompactionFilter, CompactionProgress, CompactionRange, CompactionReport, CompactionRequest, Fate,
    FilterRecord, FilterSource, OnCompaction, Rewrite,
};
pub use entropy::{Entropy, OsEntropy, SeededEntropy};
pub use error::{Error, ErrorKind, Result};
pub use histogram::{Histogram, OpStats, OpTimes};
pub use ids::{BlobId, KeyHash, Location, NamespaceId, Ordinal, Rank, SegmentId, SegmentUid, Seq, StoreId};
pub use listing::{Listing, ScanRequest};
pub use merge::{Add, Append, Max, MergeKind, MergeOperator, Min, parse_counter};
pub use meta::{Attrs, Entry, Metadata, Tags};
pub use query::{Cursor, Filter, Matches, Order, Position, QueryRequest, SortField, Span};
pub use report::{
    NamespaceInfo, OnOpen, OpenPhase, OpenProgress, PurgeReport, RecoveryReport, SegmentInfo, SegmentState,
    Stats, VerifyReport,
};
pub use snapshot::BackendSnapshot;
pub use spent::{Phase, ReadTime, Stopwatch, TimeSpent, WriteTime};
pub use stream::{ValueReader, ValueWriter};
pub use value::Value;
pub use write::{
    Action, Condition, Durability, ExpiryUpdate, Merge, Operation, Outcome, Put, RecordTimes, TagsUpdate,
    WriteBatch, Written,
};
