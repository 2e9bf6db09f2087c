//! What a backend is made of, for those who write one and for those who ask what theirs can do.
//!
//! A [`Backend`] keeps the records of a [`Store`](crate::Store). NADB's engine is one; another goes in by
//! [`Store::with_backend`](crate::Store::with_backend). The crate `nadb-conformance` tests whether it means what all of them
//! mean, and the repository's docs/backends.md shows a whole one. A crate that only has a backend can depend on `nadb-core`,
//! where all of this lives, instead of `nadb`.
//!
//! ```
//! use nadb::backend::{BatchAtomicity, Feature};
//! let store = nadb::Store::memory()?;
//! let capabilities = store.capabilities();
//! assert_eq!((&*capabilities.backend, capabilities.batches), ("engine", BatchAtomicity::All));
//! let missing: Vec<_> = Feature::ALL.iter().filter(|&&feature| !capabilities.has(feature)).collect();
//! assert_eq!(missing, [&Feature::LastAccess], "only where `track_access` asks for it");
//! # Ok::<(), nadb::Error>(())
//! ```

pub use nadb_core::{
    Action, Backend, BackendSnapshot, BatchAtomicity, Capabilities, ClockSource, Condition, ExpiryUpdate,
    Feature, Listing, Matches, Merge, MergeKind, Operation, Order, Position, Put, QueryRequest, RecordTimes,
    ScanConsistency, ScanRequest, TagsUpdate, ValueReader, ValueWriter, WriteBatch, WriteOptions,
};
