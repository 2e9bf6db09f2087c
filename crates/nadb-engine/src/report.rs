//! What the engine says of itself: the reports of the backend trait, which live in nadb-core.

pub use nadb_core::{NamespaceInfo, RecoveryReport, SegmentInfo, SegmentState, Stats, VerifyReport};
