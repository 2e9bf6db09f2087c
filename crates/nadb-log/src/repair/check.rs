//! What opening and verifying would find, before anything is repaired. Reads only, and every byte of every segment and of every
//! blob that a record refers to.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::vec;

use nadb_core::{BlobId, Error, ErrorKind, Location, NamespaceId, Ordinal, Rank, Result, guard};
use nadb_vfs::{DirEntry, Fs};

use super::blobs::{Blobs, Reference, reference};
use crate::checksum::crc32;
use crate::footer::Footer;
use crate::manifest::{Manifest, SealedExtent};
use crate::record::{RecordKind, RecordRef};
use crate::recovery::{
    Replayed, SealedSegment, Visit, check_nothing_durable_is_missing, open_segments, orphans, replay,
};
use crate::replay::{ScanCounts, replay_again};
use crate::row::{Row, RowCursor, SystemRow};
use crate::row_sum::RowSum;
use crate::rows::Rows;
use crate::seal::read_footer;
use crate::segment::Segment;

/// A store that opens.
pub(super) struct Checked {
    pub(super) replayed: Replayed,
    /// Records of all segments.
    pub(super) records: u64,
    /// Sealed segments whose records are whole and whose footers are not.
    pub(super) footers: Vec<BadFooter>,
    /// The blobs that the records refer to, all of them whole.
    pub(super) blobs: BTreeSet<BlobId>,
    /// Above the ids of all namespaces.
    pub(super) next_namespace: u32,
}

/// A footer that does not verify, or does not say what the records say.
pub(super) struct BadFooter {
    pub(super) segment: Arc<Segment>,
    pub(super) extent: SealedExtent,
    pub(super) error: Error,
}

/// What opening would find under this manifest; `None` where it would refuse the store as damaged, or where a record
/// or its blob is.
///
/// # Errors
/// `Version` for a footer or a blob that needs another build, and what a medium fails with.
pub(super) fn check(
    fs: &dyn Fs,
    dir: &Path,
    manifest: &Manifest,
    entries: &[DirEntry],
    blobs: &mut Blobs<'_>,
) -> Result<Option<Checked>> {
    let opened = orphans(fs, dir, manifest, entries).and_then(|_| open_segments(fs, dir, manifest));
    let Some(segments) = unless_damaged(opened)? else { return Ok(None) };
    let (mut sealed, mut open) = (Vec::new(), Vec::new());
    let (mut counts, mut footers) = (ScanCounts::default(), Vec::new());
    let mut contents = Contents::default();
    for (segment, len) in segments {
        let Some(extent) = segment.extent() else {
            open.push((segment, len));
            continue;
        };
        let Some(problem) = check_sealed(&segment, extent, &mut counts, &mut contents)? else {
            return Ok(None);
        };
        if let Err(error) = problem {
            footers.push(BadFooter { segment: Arc::clone(&segment), extent, error });
        }
        sealed.push(segment);
    }
    let replayed = replay(manifest, sealed, open, None, &mut contents)
        .and_then(|replayed| check_nothing_durable_is_missing(dir, &replayed).map(|()| replayed));
    let Some(replayed) = unless_damaged(replayed)? else { return Ok(None) };
    for reference in &contents.references {
        if !blobs.is_whole(*reference)? {
            return Ok(None);
        }
    }
    let records = counts.records + replayed.counts.records;
    let blobs = contents.references.iter().map(|(id, _)| *id).collect();
    let next_namespace = contents.next_namespace;
    Ok(Some(Checked { records, replayed, footers, blobs, next_namespace }))
}

/// `None` for damage.
fn unless_damaged<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        // Files that truly are of another version were refused before.
        Err(error) if matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Version) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads a sealed segment: `None` where its frames are damaged, else whether its footer says what they do.
pub(super) fn check_sealed(
    segment: &Arc<Segment>,
    extent: SealedExtent,
    counts: &mut ScanCounts,
    contents: &mut Contents,
) -> Result<Option<Result<()>>> {
    let mut confirmed = match Confirm::open(segment, extent) {
        Err(error) if error.kind() != ErrorKind::Corruption => return Err(error),
        opened => opened,
    };
    let read = replay_again(segment, counts, &mut |record, at, segment| {
        contents.see(record);
        if let Ok(confirm) = &mut confirmed
            && let Err(error) = confirm.record(record, at, segment)
        {
            confirmed = Err(error);
        }
        Ok(())
    });
    let read = unless_damaged(read.and_then(|last_seq| segment.check_last_seq(last_seq)))?;
    let finished = confirmed.and_then(|confirm| confirm.finish(segment, extent));
    Ok(read.map(|()| finished))
}

/// A footer, and how far the records have confirmed it.
struct Confirm {
    footer: Arc<Footer>,
    next: u32,
    system: vec::IntoIter<SystemRow>,
    /// Sums over which key each row has: what the footer says, and so far what the records say.
    keys: [u64; 2],
    /// The same over which tags each row has.
    tags: [RowSum; 2],
}

impl Confirm {
    fn open(segment: &Segment, extent: SealedExtent) -> Result<Confirm> {
        let footer = Arc::new(read_footer(segment, extent)?);
        footer.check_all()?;
        let system = footer.system()?.into_iter();
        let (mut sum, mut cursor) = (0u64, footer.cursor(Rank(0))?);
        while let Some((namespace, key)) = cursor.key() {
            sum = sum.wrapping_add(key_sum(cursor.ordinal(), namespace, key));
            cursor.next()?;
        }
        let tags = [RowSum::of(&Rows::Footer(Arc::clone(&footer)))?, RowSum::default()];
        Ok(Confirm { footer, next: 0, system, keys: [sum, 0], tags })
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, segment: &Segment) -> Result<()> {
        let is_told = match (Row::of(record, at.offset), SystemRow::of(record, at.offset)) {
            (Some(row), _) => self.has(&row)?,
            (None, Some(system)) => self.system.next() == Some(system),
            (None, None) => true,
        };
        if is_told {
            return Ok(());
        }
        let what = format!("record {} is not what the segment's footer says of it", record.seq);
        Err(segment.corruption(u64::from(at.offset), what))
    }

    fn has(&mut self, row: &Row<'_>) -> Result<bool> {
        let ordinal = Ordinal(self.next);
        if self.next >= self.footer.len() || self.footer.meta(ordinal)? != row.meta {
            return Ok(false);
        }
        self.next += 1;
        let [_, found] = &mut self.keys;
        *found = found.wrapping_add(key_sum(ordinal, row.namespace, row.key));
        let [_, found] = &mut self.tags;
        found.add(ordinal, row);
        Ok(true)
    }

    fn finish(mut self, segment: &Segment, extent: SealedExtent) -> Result<()> {
        let [told, found] = self.keys;
        if self.next == self.footer.len() && self.system.next().is_none() && told == found {
            let [told, found] = self.tags;
            let what = "the footer gives rows other tags than their records have";
            let is_same = told == found || !guard::on("repair.footer_tags_compared");
            return if is_same {
                Ok(())
            } else {
                Err(segment.corruption(u64::from(extent.frames_end), what))
            };
        }
        let (rows, found) = (self.footer.len(), self.next);
        let what = format!(
            "the footer has other keys or more rows than the records: {rows} rows, {found} records of keys"
        );
        Err(segment.corruption(u64::from(extent.frames_end), what))
    }
}

/// Of rows whose order is not the one in which they are counted.
fn key_sum(ordinal: Ordinal, namespace: NamespaceId, key: &[u8]) -> u64 {
    let key = u64::from(crc32(key)) << 32 | u64::from(namespace.0);
    key.wrapping_mul(u64::from(ordinal.0) * 2 + 1)
}

/// Sees which namespaces there are when a record is written, and which blobs records refer to.
#[derive(Default)]
pub(super) struct Contents {
    must_exist: bool,
    ids: BTreeSet<NamespaceId>,
    dropped: BTreeSet<NamespaceId>,
    /// Those that records of keys belong to, in whatever order they come.
    used: BTreeSet<NamespaceId>,
    pub(super) next_namespace: u32,
    pub(super) references: BTreeSet<Reference>,
}

impl Contents {
    /// A record that is replayed without its namespace is an error.
    pub(super) fn must_exist() -> Contents {
        Contents { must_exist: true, ..Contents::default() }
    }

    /// Takes note of a record.
    fn see(&mut self, record: &RecordRef<'_>) {
        let id = record.namespace;
        self.references.extend(reference(record));
        self.next_namespace = self.next_namespace.max(id.0.saturating_add(1));
        match record.kind {
            RecordKind::NamespaceCreate => _ = self.ids.insert(id),
            RecordKind::NamespaceDrop => {
                self.ids.remove(&id);
                self.dropped.insert(id);
            }
            RecordKind::Value | RecordKind::Tombstone | RecordKind::BlobReference => _ = self.used.insert(id),
            _ => {}
        }
    }

    /// A namespace that has records, and was neither created nor dropped by any.
    pub(super) fn nameless(&self) -> Option<NamespaceId> {
        self.used.iter().find(|id| !self.ids.contains(id) && !self.dropped.contains(id)).copied()
    }
}

impl Visit for Contents {
    fn begin(&mut self, _hash_seed: u64) {}

    fn sealed(&mut self, _segments: &[SealedSegment]) -> Result<()> {
        // Their records are read one by one.
        Ok(())
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, segment: &Arc<Segment>) -> Result<()> {
        use RecordKind::{BlobReference, Tombstone, Value};
        self.see(record);
        let is_keyed = matches!(record.kind, Value | Tombstone | BlobReference);
        if is_keyed && self.must_exist && !self.ids.contains(&record.namespace) {
            return Err(segment.corruption(
                u64::from(at.offset),
                format!("namespace {} does not exist there", record.namespace),
            ));
        }
        Ok(())
    }
}
