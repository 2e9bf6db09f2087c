//! The rows of a segment for who takes all of them once, several threads at a time: opening, which builds the index.
//!
//! A row is named by its *position*: its rank in a footer, its ordinal in a memtable. Positions have no gaps, and each names the same
//! row for as long as the table is held.

use std::ops::Range;
use std::sync::Arc;

use nadb_core::{NamespaceId, Ordinal, Rank, Result, Seq};

use crate::footer::Footer;
use crate::memtable::Run;
use crate::row::RowSpot;
use crate::rows::{Rows, missing};

/// The rows that a segment had when the table was made.
#[derive(Debug)]
pub struct RowTable {
    rows: TableRows,
    len: u32,
}

#[derive(Debug)]
enum TableRows {
    Footer(Arc<Footer>),
    /// By ordinal, without gaps.
    Runs(Vec<Arc<Run>>),
}

impl RowTable {
    /// The rows of a segment.
    ///
    /// # Errors
    /// `Corruption` or `Io` where they are looked at for the first time.
    pub fn new(rows: &Rows) -> Result<RowTable> {
        Ok(match rows.now()? {
            Rows::Footer(footer) => {
                RowTable { len: footer.len(), rows: TableRows::Footer(Arc::clone(footer)) }
            }
            Rows::Memtable(memtable) => {
                let runs = memtable.runs_by_ordinal();
                let len = runs.iter().map(|run| run.len()).sum();
                RowTable { len, rows: TableRows::Runs(runs) }
            }
            Rows::Sealed(_) => RowTable { len: 0, rows: TableRows::Runs(Vec::new()) },
        })
    }

    /// How many rows; positions are below.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Shows position, namespace and key of the rows at `positions`, as far as they are there.
    ///
    /// # Errors
    /// `Corruption` where the footer is damaged.
    pub fn for_each_key(
        &self,
        positions: Range<u32>,
        mut show: impl FnMut(u32, NamespaceId, &[u8]),
    ) -> Result<()> {
        match &self.rows {
            TableRows::Footer(footer) => footer.for_each_key(positions, show),
            TableRows::Runs(runs) => {
                let first = runs.partition_point(|run| run.end().0 <= positions.start);
                for run in runs.iter().skip(first).take_while(|run| run.first().0 < positions.end) {
                    for at in run.first().0.max(positions.start)..run.end().0.min(positions.end) {
                        let (namespace, key) = run.key(Ordinal(at)).ok_or_else(|| missing(Ordinal(at)))?;
                        show(at, namespace, key);
                    }
                }
                Ok(())
            }
        }
    }

    /// Shows the ordinals of the rows at `positions`, all of which there are.
    ///
    /// # Errors
    /// `Corruption` where the footer is damaged.
    pub fn for_each_ordinal(&self, positions: Range<u32>, show: impl FnMut(Ordinal)) -> Result<()> {
        match &self.rows {
            TableRows::Footer(footer) => footer.for_each_ordinal(positions, show),
            TableRows::Runs(_) => {
                positions.map(Ordinal).for_each(show);
                Ok(())
            }
        }
    }

    /// What the index needs of the rows from `first` on, as many as there is room for.
    ///
    /// # Errors
    /// `Corruption`, also for rows that there are not.
    pub fn spots(&self, first: Ordinal, spots: &mut [RowSpot]) -> Result<()> {
        match &self.rows {
            TableRows::Footer(footer) => footer.spots(first, spots),
            TableRows::Runs(runs) => {
                let mut at = runs.partition_point(|run| run.end() <= first);
                for (ordinal, spot) in (first.0..).map(Ordinal).zip(spots) {
                    if runs.get(at).is_some_and(|run| run.end() <= ordinal) {
                        at += 1;
                    }
                    let found = runs.get(at).and_then(|run| run.spot(ordinal));
                    *spot = found.ok_or_else(|| missing(ordinal))?;
                }
                Ok(())
            }
        }
    }

    /// The ordinal of the row at a position.
    ///
    /// # Errors
    /// `Corruption` where the footer is damaged.
    pub fn ordinal(&self, position: u32) -> Result<Ordinal> {
        match &self.rows {
            TableRows::Footer(footer) => footer.ordinal_at(Rank(position)),
            TableRows::Runs(_) => Ok(Ordinal(position)),
        }
    }

    /// The sequence number of the row at a position.
    ///
    /// # Errors
    /// As [`RowTable::spots`].
    pub fn seq(&self, position: u32) -> Result<Seq> {
        match &self.rows {
            TableRows::Footer(footer) => footer.seq(footer.ordinal_at(Rank(position))?),
            TableRows::Runs(_) => {
                let ordinal = Ordinal(position);
                self.in_run(ordinal, |run| run.seq(ordinal))
            }
        }
    }

    /// Appends the key of the row at a position to `key`, and gives its namespace.
    ///
    /// # Errors
    /// As [`RowTable::spots`].
    pub fn key(&self, position: u32, key: &mut Vec<u8>) -> Result<NamespaceId> {
        match &self.rows {
            TableRows::Footer(footer) => {
                let (namespace, found) = footer.key_at(Rank(position))?;
                key.extend_from_slice(&found);
                Ok(namespace)
            }
            TableRows::Runs(_) => {
                let ordinal = Ordinal(position);
                self.in_run(ordinal, |run| {
                    let (namespace, found) = run.key(ordinal)?;
                    key.extend_from_slice(found);
                    Some(namespace)
                })
            }
        }
    }

    fn in_run<T>(&self, ordinal: Ordinal, read: impl FnOnce(&Run) -> Option<T>) -> Result<T> {
        let TableRows::Runs(runs) = &self.rows else { return Err(missing(ordinal)) };
        let run = runs.get(runs.partition_point(|run| run.end() <= ordinal));
        run.and_then(|run| read(run)).ok_or_else(|| missing(ordinal))
    }
}
