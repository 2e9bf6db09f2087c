//! The log of NADB: an append-only sequence of frames in segment files, and the way back from the files after a crash.
//!
//! What it promises: a frame is there whole or not at all; what survives is a prefix of the sequence; numbers are never
//! given twice; what is reported durable is durable. What it leaves to others: what records mean (the engine), where keys
//! are found (the index). docs/format.md describes every byte, docs/durability.md the argument for each crash point.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod ahead;
mod append;
mod ballast;
mod blob;
mod bytes;
mod checkpoint;
mod checksum;
mod compaction;
mod cut;
mod directory;
mod footer;
#[cfg(test)]
mod format_examples;
mod frame;
mod log;
mod manifest;
mod memtable;
mod merge;
mod names;
mod part;
mod record;
mod recovery;
mod repair;
mod replay;
mod row;
mod row_sum;
mod rows;
mod seal;
mod sealed_rows;
mod segment;
mod spare;
mod sync;
mod table;
mod tag_list;
mod tag_names;
mod trace;
mod window;

use nadb_core::{Error, ErrorKind};

pub use access::LastAccess;
pub use blob::{
    BLOB_BLOCK_BYTES, BLOB_HEADER, BlobReader, BlobStream, BlobWriter, FinishedBlob, list_blobs, remove_blob,
};
pub use checkpoint::{Checkpoint, CheckpointWriter, Closed, Coverage, CoveredSegment};
pub use compaction::{Compacted, Compaction, Output, SourceRecord};
pub use footer::{
    FOOTER_TRAILER, Footer, FooterBuilder, FooterCursor, FooterSource, NamespaceRows, Origin, encode_footer,
    footer_bytes,
};
pub use frame::{Frame, FrameBody, FrameError, FrameHeader, FrameKind, FramePlace};
pub use log::{Log, LogCounters, LogOptions, Placed, Publish, ReadMode};
pub use manifest::{CleanClose, Manifest, NamedSegment, SealedExtent};
pub use memtable::{InKeyOrder, Memtable, Run, RunCursor};
pub use merge::{Direction, Merge, Merged};
pub use names::{
    BALLAST, CHECKPOINT, CHECKPOINT_TMP, LOCK, MANIFEST, MANIFEST_TMP, REPAIR_REPORT, blob_path, parse_blob,
    parse_segment, segment_path,
};
pub use part::{Part, Postings};
pub use record::{RecordError, RecordFields, RecordKind, RecordRef};
pub use recovery::{Recovered, SealedSegment, Visit};
pub use repair::{
    AfterLoss, BrokenBatch, DamagedRange, FoundNamespace, LostKind, LostRecord, ManifestFound, NumberRange,
    RepairOptions, RepairOutcome, RepairReport, repair,
};
pub use replay::ScanCounts;
pub use row::{Row, RowCursor, RowMeta, RowPlace, RowSpot, SystemRow};
pub use row_sum::RowSum;
pub use rows::{Rows, RowsCursor};
pub use sealed_rows::SealedRows;
pub use segment::{MappedRecord, RecordBuf, SEGMENT_HEADER, Segment};
pub use table::RowTable;
pub use tag_list::{TagIter, TagList};

/// The format that this build reads and writes. 0 is a draft: it may change until it is frozen as 1.
pub const FORMAT_VERSION: u32 = 0;

fn version_error(what: &str, version: u32) -> Error {
    Error::new(
        ErrorKind::Version,
        format!(
            "the {what} has format version {version}, this build reads version {FORMAT_VERSION}; \
             open it with the release that wrote it or a later one"
        ),
    )
    .with_offset(8)
}
