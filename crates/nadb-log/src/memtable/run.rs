//! A run: rows of a memtable that do not change any more, with their key order.
//!
//! Promises: whoever holds a run can read it for ever, whatever the memtable does. The key order is computed once, by who
//! needs it first; others who need it then wait for it. So is what queries ask for: which ranks have which tags, and which rows
//! expire when.

use std::cmp::Ordering;
use std::fmt;
use std::hint::black_box;
use std::mem::size_of;
use std::sync::{Arc, OnceLock};

use nadb_core::{Error, ErrorKind, NamespaceId, Ordinal, Rank, Result, Seq};

use super::order;
use super::rows::{OrderedRow, Rows, to_u32};
use crate::footer::{NamespaceRows, OwnTags, TagUse, TagView};
use crate::row::{RowCursor, RowMeta, RowPlace, RowSpot};
use crate::tag_names::TagId;

/// How many rows ahead a cursor that moves forward touches keys.
const AHEAD: usize = 6;

/// Rows of a memtable with contiguous ordinals, unchangeable and in key order.
pub struct Run {
    rows: Rows,
    order: OnceLock<Box<[OrderedRow]>>,
    /// By rank; `None` where no row has a tag, an error where they are too many to be numbered.
    tags: OnceLock<Result<Option<Box<OwnTags>>, ErrorKind>>,
    /// Indexes of the rows that have an expiry, by expiry.
    expiring: OnceLock<Box<[u32]>>,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("ordinals", &(self.rows.first()..self.rows.end()))
            .field("is_ordered", &self.order.get().is_some())
            .finish_non_exhaustive()
    }
}

impl Run {
    /// A run of these rows, whose order nobody knows yet.
    pub(super) fn new(mut rows: Rows) -> Run {
        rows.shrink();
        Run::with_order(rows, OnceLock::new())
    }

    fn with_order(rows: Rows, order: OnceLock<Box<[OrderedRow]>>) -> Run {
        Run { rows, order, tags: OnceLock::new(), expiring: OnceLock::new() }
    }

    /// One run of the rows of several that follow one another.
    ///
    /// Where one of them has its order, the new run has, too: only rows without order are sorted. Otherwise it is left to
    /// who needs it.
    pub(super) fn merged(parts: &[Arc<Run>]) -> Run {
        let mut rows = Rows::concat(parts.iter().map(|run| &run.rows));
        if parts.iter().all(|run| run.order.get().is_none()) {
            return Run::new(rows);
        }
        let mut concatenated = Vec::with_capacity(rows.len() as usize);
        let mut base = 0;
        for same in parts.chunk_by(|a, b| a.order.get().is_none() && b.order.get().is_none()) {
            let end = base + same.iter().map(|run| run.len()).sum::<u32>();
            match same {
                [run] if run.order.get().is_some() => {
                    concatenated.extend(run.order().iter().map(|row| base + row.index));
                }
                _ => concatenated.extend(order::sorted(&rows, base..end)),
            }
            base = end;
        }
        let order = rows.ordered(&order::merged(&rows, concatenated));
        rows.shrink();
        Run::with_order(rows, OnceLock::from(order))
    }

    /// How many rows; never 0.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a run is never empty")]
    pub fn len(&self) -> u32 {
        self.rows.len()
    }

    /// The ordinal of the row that was written first; the others follow.
    #[must_use]
    pub fn first(&self) -> Ordinal {
        Ordinal(self.rows.first())
    }

    /// The ordinal behind the last row.
    pub(crate) fn end(&self) -> Ordinal {
        Ordinal(self.rows.end())
    }

    /// The rank, within this run, of the first row whose namespace and key are not below these; the number of rows where all
    /// are below.
    #[must_use]
    pub fn seek(&self, namespace: NamespaceId, key: &[u8]) -> Rank {
        let wanted = Some((namespace, key));
        Rank(to_u32(self.order().partition_point(|row| self.rows.key_of(row.key) < wanted)))
    }

    /// A cursor on the row of this rank within the run; behind the last where there is none.
    #[must_use]
    pub fn cursor(self: &Arc<Self>, at: Rank) -> RunCursor {
        RunCursor::new(Arc::clone(self), at.0.min(self.len()) as usize + 1)
    }

    /// Sequence number of a row; `None` where the ordinal, counted within the memtable, is not of this run.
    #[must_use]
    pub fn seq(&self, ordinal: Ordinal) -> Option<Seq> {
        self.rows.seq(ordinal)
    }

    /// What is known of a row beside its key; `None` where the ordinal, counted within the memtable, is not of this run.
    #[must_use]
    pub fn meta(&self, ordinal: Ordinal) -> Option<RowMeta> {
        self.rows.meta(ordinal)
    }

    /// Namespace and key of a row; `None` where the ordinal, counted within the memtable, is not of this run.
    #[must_use]
    pub fn key(&self, ordinal: Ordinal) -> Option<(NamespaceId, &[u8])> {
        self.rows.key(ordinal)
    }

    /// What the index needs of a row; `None` where the ordinal is not of this run.
    pub(crate) fn spot(&self, ordinal: Ordinal) -> Option<RowSpot> {
        self.rows.spot(ordinal)
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }

    /// Bytes that the run keeps allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        let order = self.order.get().map_or(0, |order| size_of_val::<[OrderedRow]>(order));
        let tags = self.tags.get().and_then(|tags| tags.as_ref().ok()?.as_ref());
        let tags = tags.map_or(0, |tags| size_of::<OwnTags>() + tags.memory_bytes());
        let expiring = self.expiring.get().map_or(0, |expiring| size_of_val::<[u32]>(expiring));
        size_of::<Run>() + self.rows.memory_bytes() + order + tags + expiring
    }

    /// The row of a rank; `None` where there is none.
    pub(crate) fn ordinal_at(&self, rank: Rank) -> Option<Ordinal> {
        self.order().get(rank.0 as usize).map(|row| Ordinal(self.rows.first() + row.index))
    }

    /// Where the record of a row stands; `None` where the ordinal is not of this run.
    pub(crate) fn place(&self, ordinal: Ordinal) -> Option<RowPlace> {
        self.rows.place(ordinal)
    }

    /// Reads a little of the key of a rank.
    #[inline]
    pub(crate) fn touch_key(&self, rank: Rank) {
        let row = self.order().get(rank.0 as usize);
        if let Some((_, key)) = row.and_then(|row| self.rows.key_of(row.key)) {
            black_box(key.first().copied());
        }
    }

    /// Whether any row has a tag.
    pub(crate) fn has_tags(&self) -> bool {
        !self.rows.tags().is_empty()
    }

    /// The tags, where any row has one.
    ///
    /// # Errors
    /// `Limit`: there are too many.
    pub(crate) fn tags(&self) -> Result<Option<TagView<'_>>> {
        let tags = self.tags.get_or_init(|| self.rank_tags().map_err(|error| error.kind()));
        match tags {
            Ok(tags) => Ok(tags.as_ref().map(|tags| tags.view())),
            Err(kind) => Err(Error::new(*kind, "the rows of a memtable have too many tags")),
        }
    }

    /// Which ranks have which tags: one pass over the key order.
    fn rank_tags(&self) -> Result<Option<Box<OwnTags>>> {
        let tags = self.rows.tags();
        if tags.is_empty() {
            return Ok(None);
        }
        let mut of: Vec<&[TagId]> = vec![&[]; self.len() as usize];
        for (index, ids) in tags.iter() {
            of.get_mut(index as usize).into_iter().for_each(|slot| *slot = ids);
        }
        let mut namespaces: Vec<NamespaceRows> = Vec::new();
        let mut uses = Vec::with_capacity(tags.len());
        for (rank, row) in (0u32..).zip(self.order()) {
            let namespace = row.key.namespace();
            match namespaces.last_mut().filter(|last| last.namespace == namespace) {
                Some(last) => last.rows += 1,
                None => namespaces.push(NamespaceRows { namespace, first: Rank(rank), rows: 1 }),
            }
            let ids = of.get(row.index as usize).copied().unwrap_or_default();
            uses.extend(ids.iter().map(|tag| TagUse { tag: *tag, rank }));
        }
        OwnTags::new(tags.names(), &uses, namespaces).map(|tags| Some(Box::new(tags)))
    }

    /// Shows the rows that expire behind the first time and not behind the second, in order, until `show` says false.
    pub(crate) fn expiring(
        &self,
        (after_ms, upto_ms): (u64, u64),
        show: &mut dyn FnMut(Ordinal, u64) -> bool,
    ) {
        for (index, time) in self.expiring_after(after_ms) {
            if time > upto_ms || !show(Ordinal(self.rows.first() + index), time) {
                return;
            }
        }
    }

    /// The first expiry behind a time.
    pub(crate) fn next_expiry(&self, after_ms: u64) -> Option<u64> {
        self.expiring_after(after_ms).next().map(|(_, time)| time)
    }

    /// Index and expiry of the rows that expire behind a time, in order.
    fn expiring_after(&self, after_ms: u64) -> impl Iterator<Item = (u32, u64)> {
        let rows = self.expiring.get_or_init(|| {
            let mut rows: Vec<(u64, u32)> = self.rows.expiries().map(|(index, time)| (time, index)).collect();
            rows.sort_unstable();
            rows.into_iter().map(|(_, index)| index).collect()
        });
        let time = |index: &u32| self.rows.expiry_at(*index).unwrap_or(u64::MAX);
        let from = rows.partition_point(|index| time(index) <= after_ms);
        rows.iter().skip(from).map(move |index| (*index, time(index)))
    }

    #[cfg(test)]
    pub(super) fn is_ordered(&self) -> bool {
        self.order.get().is_some()
    }

    fn order(&self) -> &[OrderedRow] {
        self.order.get_or_init(|| self.rows.ordered(&order::sorted(&self.rows, 0..self.len())))
    }
}

/// A place in a run's key order.
#[derive(Debug, Clone)]
pub struct RunCursor {
    run: Arc<Run>,
    /// 0 before the first row, then rank + 1; one more than there are rows behind the last.
    at: usize,
    row: Option<OrderedRow>,
}

impl RunCursor {
    fn new(run: Arc<Run>, at: usize) -> RunCursor {
        let mut cursor = RunCursor { run, at: 0, row: None };
        cursor.move_to_place(at);
        cursor
    }

    /// Moves to the row of a rank within the run; behind the last where there is none.
    ///
    /// # Errors
    /// None.
    #[inline]
    pub fn move_to(&mut self, rank: Rank) -> Result<()> {
        self.move_to_place(rank.0.min(self.run.len()) as usize + 1);
        Ok(())
    }

    /// The numbers that the tags of the row under the cursor have in its run.
    pub(super) fn tag_ids(&self) -> &[TagId] {
        self.row.map_or(&[], |row| self.run.rows.tags().of(row.index))
    }

    /// The rank, within the run, of the row under the cursor; `None` before the first and behind the last.
    #[must_use]
    pub fn rank(&self) -> Option<Rank> {
        self.row.and_then(|_| self.at.checked_sub(1)).map(|rank| Rank(to_u32(rank)))
    }

    /// Moves to the next row; stays behind the last.
    pub(super) fn forward(&mut self) {
        self.move_to_place(self.run.order().len().min(self.at) + 1);
        self.touch_ahead();
    }

    /// Compares the rows under two cursors by namespace, key and ordinal; a cursor without a row is below all others.
    pub(super) fn cmp_row(&self, other: &RunCursor) -> Ordering {
        self.key().cmp(&other.key()).then_with(|| self.ordinal().cmp(&other.ordinal()))
    }

    /// Reads a little of a key that comes soon. Keys stand anywhere in memory; read here, where nothing waits for it, it is in the
    /// cache when a comparison needs it.
    #[inline]
    fn touch_ahead(&self) {
        let row = self.run.order().get(self.at + AHEAD);
        if let Some((_, key)) = row.and_then(|row| self.run.rows.key_of(row.key)) {
            black_box(key.first().copied());
        }
    }

    #[inline]
    fn move_to_place(&mut self, at: usize) {
        self.at = at;
        self.row = at.checked_sub(1).and_then(|rank| self.run.order().get(rank).copied());
    }
}

impl RowCursor for RunCursor {
    #[inline]
    fn key(&self) -> Option<(NamespaceId, &[u8])> {
        self.row.and_then(|row| self.run.rows.key_of(row.key))
    }

    #[inline]
    fn ordinal(&self) -> Ordinal {
        Ordinal(self.run.rows.first() + self.row.map_or(0, |row| row.index))
    }

    #[inline]
    fn known_place(&self) -> Option<RowPlace> {
        self.row.and_then(|row| self.run.rows.place_of(&row))
    }

    fn place(&self, ordinal: Ordinal) -> Result<RowPlace> {
        let place = self.run.rows.place(ordinal);
        place.ok_or_else(|| Error::new(ErrorKind::Corruption, format!("the run has no row {ordinal:?}")))
    }

    fn next(&mut self) -> Result<()> {
        self.forward();
        Ok(())
    }

    fn previous(&mut self) -> Result<()> {
        self.move_to_place(self.at.saturating_sub(1));
        Ok(())
    }
}
