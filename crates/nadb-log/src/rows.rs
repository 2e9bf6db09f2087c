//! The rows of one segment, wherever they are: in a memtable while it is not sealed or its footer is damaged, else in the footer.

use std::sync::Arc;

use nadb_core::{BlobId, Error, ErrorKind, NamespaceId, Ordinal, Rank, Result, Seq};

use crate::footer::{Footer, FooterCursor};
use crate::log::ReadMode;
use crate::memtable::{Memtable, Run, RunCursor};
use crate::merge::Direction;
use crate::replay::{ScanCounts, replay_again};
use crate::row::{Row, RowCursor, RowMeta, RowPlace, SystemRow};
use crate::sealed_rows::SealedRows;
use crate::segment::Segment;

/// The rows of one segment.
#[derive(Debug, Clone)]
pub enum Rows {
    /// In RAM.
    Memtable(Arc<Memtable>),
    /// In the file.
    Footer(Arc<Footer>),
    /// In the file, and not looked at yet.
    Sealed(Arc<SealedRows>),
}

/// A cursor over one sorted part of a segment's rows.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "a merge holds a few of them and touches each for every row: no detour"
)]
pub enum RowsCursor {
    /// Over a run of a memtable.
    Run(RunCursor),
    /// Over a footer.
    Footer(FooterCursor),
}

impl RowsCursor {
    /// Moves to the row of a rank of its part; behind the last where there is none.
    ///
    /// # Errors
    /// As [`RowCursor::next`]: the cursor has not moved.
    #[inline]
    pub fn move_to(&mut self, rank: Rank) -> Result<()> {
        match self {
            RowsCursor::Run(cursor) => cursor.move_to(rank),
            RowsCursor::Footer(cursor) => cursor.move_to(rank),
        }
    }

    /// The rank, within its part, of the row under the cursor; `None` before the first and behind the last.
    #[must_use]
    #[inline]
    pub fn rank(&self) -> Option<Rank> {
        match self {
            RowsCursor::Run(cursor) => cursor.rank(),
            RowsCursor::Footer(cursor) => cursor.rank(),
        }
    }
}

impl RowCursor for RowsCursor {
    #[inline]
    fn key(&self) -> Option<(NamespaceId, &[u8])> {
        match self {
            RowsCursor::Run(cursor) => cursor.key(),
            RowsCursor::Footer(cursor) => cursor.key(),
        }
    }

    #[inline]
    fn ordinal(&self) -> Ordinal {
        match self {
            RowsCursor::Run(cursor) => cursor.ordinal(),
            RowsCursor::Footer(cursor) => cursor.ordinal(),
        }
    }

    #[inline]
    fn known_place(&self) -> Option<RowPlace> {
        match self {
            RowsCursor::Run(cursor) => cursor.known_place(),
            RowsCursor::Footer(cursor) => cursor.known_place(),
        }
    }

    #[inline]
    fn place(&self, ordinal: Ordinal) -> Result<RowPlace> {
        match self {
            RowsCursor::Run(cursor) => cursor.place(ordinal),
            RowsCursor::Footer(cursor) => cursor.place(ordinal),
        }
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        match self {
            RowsCursor::Run(cursor) => cursor.next(),
            RowsCursor::Footer(cursor) => cursor.next(),
        }
    }

    fn previous(&mut self) -> Result<()> {
        match self {
            RowsCursor::Run(cursor) => cursor.previous(),
            RowsCursor::Footer(cursor) => cursor.previous(),
        }
    }
}

impl Rows {
    /// Rows of a segment that has none yet.
    #[must_use]
    pub fn none() -> Rows {
        Rows::Memtable(Arc::new(Memtable::new()))
    }

    /// Reads the frames of a segment again, by positioned reads, and makes its rows of them.
    ///
    /// # Errors
    /// `Corruption` where a frame does not verify, or a sealed segment does not end with the number that the manifest says;
    /// `Io`.
    pub fn rebuild(segment: &Arc<Segment>) -> Result<Rows> {
        let memtable = Memtable::new();
        let last_seq = replay_again(segment, &mut ScanCounts::default(), &mut |record, at, _| {
            if let Some(row) = Row::of(record, at.offset) {
                memtable.push(&row);
            } else if let Some(row) = SystemRow::of(record, at.offset) {
                memtable.push_system(row);
            }
            Ok(())
        })?;
        segment.check_last_seq(last_seq)?;
        Ok(Rows::Memtable(Arc::new(memtable)))
    }

    /// The memtable, where they are in one.
    #[must_use]
    pub fn memtable(&self) -> Option<&Memtable> {
        match self {
            Rows::Memtable(memtable) => Some(memtable),
            Rows::Footer(_) | Rows::Sealed(_) => None,
        }
    }

    /// The rows of a sealed segment, to be looked at when one of them is first asked for.
    pub(crate) fn sealed(segment: &Arc<Segment>, mode: ReadMode, len: u32) -> Rows {
        Rows::Sealed(Arc::new(SealedRows::new(segment, mode, len)))
    }

    /// Where they are once they have been looked at: never [`Rows::Sealed`].
    ///
    /// # Errors
    /// `Corruption` where they cannot be had; `Io`.
    pub fn now(&self) -> Result<&Rows> {
        match self {
            Rows::Sealed(sealed) => sealed.rows(),
            _ => Ok(self),
        }
    }

    /// Whether asking for a row waits for the file to be looked at first.
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        matches!(self, Rows::Sealed(sealed) if sealed.found().is_none())
    }

    /// Whether a damaged footer was found when they were looked at, and built again in memory.
    #[must_use]
    pub fn is_rebuilt(&self) -> bool {
        matches!(self, Rows::Sealed(sealed) if sealed.is_rebuilt())
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            Rows::Memtable(memtable) => memtable.len(),
            Rows::Footer(footer) => footer.len(),
            Rows::Sealed(sealed) => sealed.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of a row.
    ///
    /// # Errors
    /// `Corruption` where the footer is damaged; also for an ordinal that there is not.
    pub fn meta(&self, ordinal: Ordinal) -> Result<RowMeta> {
        match self {
            Rows::Memtable(memtable) => memtable.meta(ordinal).ok_or_else(|| missing(ordinal)),
            Rows::Footer(footer) => footer.meta(ordinal),
            Rows::Sealed(sealed) => sealed.rows()?.meta(ordinal),
        }
    }

    /// The sequence number of a row.
    ///
    /// # Errors
    /// As [`Rows::meta`].
    pub fn seq(&self, ordinal: Ordinal) -> Result<Seq> {
        match self {
            Rows::Memtable(memtable) => memtable.seq(ordinal).ok_or_else(|| missing(ordinal)),
            Rows::Footer(footer) => footer.seq(ordinal),
            Rows::Sealed(sealed) => sealed.rows()?.seq(ordinal),
        }
    }

    /// The row whose record begins at this offset of the file.
    ///
    /// # Errors
    /// As [`Rows::meta`].
    pub fn ordinal_of(&self, offset: u32) -> Result<Option<Ordinal>> {
        match self {
            Rows::Memtable(memtable) => Ok(memtable.ordinal_of(offset)),
            Rows::Footer(footer) => footer.ordinal_of(offset),
            Rows::Sealed(sealed) => sealed.rows()?.ordinal_of(offset),
        }
    }

    /// Whether the record at this offset is one of this key; without reading it.
    ///
    /// # Errors
    /// As [`Rows::meta`].
    pub fn is_key_at(&self, offset: u32, namespace: NamespaceId, key: &[u8]) -> Result<bool> {
        if let Rows::Memtable(memtable) = self.now()? {
            let is_key = |id: NamespaceId, found: &[u8]| id == namespace && found == key;
            let ordinal = memtable.ordinal_of(offset);
            return Ok(ordinal.is_some_and(|at| memtable.with_key(at, is_key).unwrap_or_default()));
        }
        for mut cursor in self.cursors(namespace, key, Direction::Forward)? {
            while cursor.key() == Some((namespace, key)) {
                if self.meta(cursor.ordinal())?.offset == offset {
                    return Ok(true);
                }
                cursor.next()?;
            }
        }
        Ok(false)
    }

    /// The records that say nothing of a key, in file order.
    ///
    /// # Errors
    /// As [`Rows::meta`].
    pub fn system(&self) -> Result<Vec<SystemRow>> {
        match self {
            Rows::Memtable(memtable) => Ok(memtable.system()),
            Rows::Footer(footer) => footer.system(),
            Rows::Sealed(sealed) => sealed.rows()?.system(),
        }
    }

    /// The blobs that the rows name, live or dead.
    ///
    /// # Errors
    /// As [`Rows::meta`].
    pub fn blobs(&self) -> Result<Vec<BlobId>> {
        match self {
            Rows::Memtable(memtable) => Ok(memtable.metas().iter().filter_map(|meta| meta.blob).collect()),
            Rows::Footer(footer) => footer.blob_ids(),
            Rows::Sealed(sealed) => sealed.rows()?.blobs(),
        }
    }

    /// Cursors over all rows. Forward they stand on the first row at or behind (namespace, key); backward on the last one
    /// before it.
    ///
    /// # Errors
    /// As [`Rows::meta`].
    pub fn cursors(
        &self,
        namespace: NamespaceId,
        key: &[u8],
        direction: Direction,
    ) -> Result<Vec<RowsCursor>> {
        let mut cursors = match self.now()? {
            Rows::Memtable(memtable) => {
                let at_key = |run: &Arc<Run>| run.cursor(run.seek(namespace, key));
                memtable.runs().iter().map(at_key).map(RowsCursor::Run).collect()
            }
            Rows::Footer(footer) => vec![RowsCursor::Footer(footer.cursor(footer.seek(namespace, key)?)?)],
            Rows::Sealed(_) => Vec::new(),
        };
        if direction == Direction::Backward {
            for cursor in &mut cursors {
                cursor.previous()?;
            }
        }
        Ok(cursors)
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        match self {
            Rows::Memtable(memtable) => memtable.memory_bytes(),
            Rows::Footer(footer) => footer.memory_bytes(),
            Rows::Sealed(sealed) => sealed.found().map_or(0, Rows::memory_bytes),
        }
    }
}

pub(crate) fn missing(ordinal: Ordinal) -> Error {
    Error::new(ErrorKind::Corruption, format!("the segment has no row {}", ordinal.0))
}
