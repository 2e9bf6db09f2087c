//! What a repair found, saved and lost.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use nadb_core::{Clock, Entropy};

use crate::record::RecordKind;

/// How a store is to be repaired.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Bytes after which the repaired log goes on in a new segment.
    pub segment_size: u64,
    /// Whether to look only: nothing is changed, and the report says what a repair would do.
    pub dry_run: bool,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// Where randomness comes from.
    pub entropy: Arc<dyn Entropy>,
}

/// What was done, or in a dry run would be done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// Nothing: the store opens as it is, and all of it is whole.
    #[default]
    Intact,
    /// The manifest was made anew; the segments are whole and stayed as they are.
    ManifestRebuilt,
    /// Footers of sealed segments were made anew from the records, which are whole and stayed as they are.
    FootersRebuilt,
    /// What could be salvaged was written into new segments.
    Rewritten,
}

/// In what state the manifest was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ManifestFound {
    /// It could be read.
    #[default]
    Whole,
    /// There was none.
    Missing,
    /// It could not be read.
    Damaged,
    /// It was older than the segment files.
    Outdated,
}

/// Bytes of a file that are not what was written there.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedRange {
    /// The file.
    pub path: PathBuf,
    /// Where the damage begins.
    pub offset: u64,
    /// Bytes up to what verifies again. 0 for a file that is missing.
    pub len: u64,
    /// What is wrong there.
    pub what: String,
}

/// Sequence numbers whose records are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct NumberRange {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

/// What a lost record was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostKind {
    /// The value of a key.
    Value,
    /// The deletion of a key.
    Tombstone,
    /// The creation of a namespace, whose name stands in place of the key.
    NamespaceCreate,
    /// The end of a namespace.
    NamespaceDrop,
    /// Something else.
    Other,
}

impl LostKind {
    pub(super) fn of(kind: RecordKind) -> LostKind {
        match kind {
            RecordKind::Value | RecordKind::BlobReference => LostKind::Value,
            RecordKind::Tombstone => LostKind::Tombstone,
            RecordKind::NamespaceCreate => LostKind::NamespaceCreate,
            RecordKind::NamespaceDrop => LostKind::NamespaceDrop,
            _ => LostKind::Other,
        }
    }
}

/// What the repaired store has for a key whose record was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum AfterLoss {
    /// Nothing.
    Absent,
    /// What the lost record had replaced or deleted has come back.
    Older {
        /// Its version.
        version: u64,
    },
    /// Something newer: the loss shows nowhere.
    Newer,
}

/// A record that was lost, as far as its bytes tell. They do not verify, so any of it may be wrong, unless it is only the blob
/// with its value that does not.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostRecord {
    /// The file.
    pub path: PathBuf,
    /// Where the record stands.
    pub offset: u64,
    /// Its sequence number; `None` where that cannot be right.
    pub seq: Option<u64>,
    /// What it was.
    pub kind: LostKind,
    /// The namespace's id.
    pub namespace_id: u32,
    /// The name of that namespace in the repaired store; `None` when it is not there.
    pub namespace: Option<String>,
    /// The key.
    pub key: Vec<u8>,
    /// The file of the blob that held its value, if one did: it is damaged or missing, or whole where only the record is lost.
    pub blob: Option<PathBuf>,
    /// What the repaired store has in its place.
    pub after: AfterLoss,
}

/// A batch of which only some records could be saved: it is no longer all or nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BrokenBatch {
    /// The file.
    pub path: PathBuf,
    /// Where its frame begins.
    pub offset: u64,
    /// How many records it had; `None` when its header cannot be read either.
    pub records: Option<u64>,
    /// How many of them were saved.
    pub kept: u64,
}

/// A namespace whose name was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FoundNamespace {
    /// Its id.
    pub id: u32,
    /// The name that it has now.
    pub name: String,
}

/// What a repair found, saved and lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What was done.
    pub outcome: RepairOutcome,
    /// Whether it was only looked for.
    pub dry_run: bool,
    /// In what state the manifest was.
    pub manifest: ManifestFound,
    /// The folder that holds the files as they were.
    pub aside: Option<PathBuf>,
    /// Segment files that were read.
    pub segments_read: u64,
    /// Segment files that were written.
    pub segments_written: u64,
    /// Records that were saved, overwritten and deleted ones included.
    pub records_kept: u64,
    /// Numbers whose records are lost and could not be identified.
    pub unidentified: u64,
    /// Bytes of unfinished writes at the end of the log. They were never promised; opening cuts such a tail, too.
    pub torn_bytes: u64,
    /// Damaged places, in the order of files and offsets.
    pub damage: Vec<DamagedRange>,
    /// Numbers whose records are lost, rising.
    pub lost_numbers: Vec<NumberRange>,
    /// Segments that are missing, or damaged together with their footers, where numbers do not tell which records are lost, if any:
    /// compacted ones, and others where no manifest tells which numbers they had.
    pub unknown_losses: Vec<PathBuf>,
    /// Lost records that could be identified.
    pub lost_records: Vec<LostRecord>,
    /// Batches of which only some records could be saved.
    pub broken_batches: Vec<BrokenBatch>,
    /// Namespaces whose names were lost.
    pub found_namespaces: Vec<FoundNamespace>,
    /// Files of blobs, damaged ones too, to which no record of the repaired store refers: they are in the folder `aside` now.
    pub unused_blobs: Vec<PathBuf>,
    /// What else is worth knowing, a sentence each.
    pub notes: Vec<String>,
}

impl RepairReport {
    /// Whether there was nothing to repair.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.outcome == RepairOutcome::Intact
    }

    /// Whether records were lost.
    #[must_use]
    pub fn has_losses(&self) -> bool {
        !self.lost_numbers.is_empty() || !self.lost_records.is_empty() || !self.unknown_losses.is_empty()
    }

    /// Deletions that were lost while what they had deleted was not: it has come back.
    pub fn resurrected(&self) -> impl Iterator<Item = &LostRecord> {
        self.lost_records.iter().filter(|lost| {
            matches!(lost.kind, LostKind::Tombstone | LostKind::NamespaceDrop)
                && matches!(lost.after, AfterLoss::Older { .. })
        })
    }
}

impl fmt::Display for LostRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            LostKind::Value => "value of key",
            LostKind::Tombstone => "deletion of key",
            LostKind::NamespaceCreate => "creation of namespace",
            LostKind::NamespaceDrop => "drop of namespace",
            LostKind::Other => "record of key",
        };
        write!(f, "{what} \"{}\"", self.key.escape_ascii())?;
        match &self.namespace {
            Some(name) => write!(f, " in namespace {} (\"{}\")", self.namespace_id, name.escape_default())?,
            None => write!(f, " in namespace {}", self.namespace_id)?,
        }
        match self.seq {
            Some(seq) => write!(f, ", number {seq}")?,
            None => f.write_str(", number unknown")?,
        }
        write!(f, ", at offset {} of {}", self.offset, self.path.display())?;
        if let Some(blob) = &self.blob {
            write!(f, ", with its value in {}", blob.display())?;
        }
        match self.after {
            AfterLoss::Absent => Ok(()),
            AfterLoss::Older { version } => write!(f, "; version {version} has come back"),
            AfterLoss::Newer => f.write_str("; something newer was saved"),
        }
    }
}

/// The text of the file that a repair leaves beside the originals.
impl fmt::Display for RepairReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "manifest: {:?}", self.manifest)?;
        writeln!(f, "segments: {} read, {} written", self.segments_read, self.segments_written)?;
        writeln!(f, "records saved: {}", self.records_kept)?;
        writeln!(f, "records lost and not identified: {}", self.unidentified)?;
        writeln!(f, "bytes of unfinished writes left out: {}", self.torn_bytes)?;
        for range in &self.damage {
            let DamagedRange { path, offset, len, what } = range;
            writeln!(f, "damage: {} bytes at offset {offset} of {}: {what}", len, path.display())?;
        }
        for NumberRange { first, last } in &self.lost_numbers {
            writeln!(f, "lost numbers: {first} to {last}")?;
        }
        for path in &self.unknown_losses {
            writeln!(f, "records may be lost of which nothing is known: in {}", path.display())?;
        }
        for lost in &self.lost_records {
            writeln!(f, "lost: {lost}")?;
        }
        for BrokenBatch { path, offset, records, kept } in &self.broken_batches {
            let of = records.map_or("an unknown number of".to_owned(), |records| records.to_string());
            let path = path.display();
            writeln!(f, "broken batch: {kept} of {of} records saved, at offset {offset} of {path}")?;
        }
        for FoundNamespace { id, name } in &self.found_namespaces {
            writeln!(f, "namespace {id} has lost its name and is called {name} now")?;
        }
        for blob in &self.unused_blobs {
            writeln!(f, "blob to which nothing refers any more: {}", blob.display())?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
