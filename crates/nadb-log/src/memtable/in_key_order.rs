//! All rows of a memtable in key order, for sealing: a merge of its runs.

use std::cmp::Ordering;
use std::sync::Arc;

use nadb_core::{NamespaceId, Ordinal, Rank, Result};

use super::run::{Run, RunCursor};
use crate::footer::FooterBuilder;
use crate::row::RowCursor;
use crate::tag_names::TagId;

/// Goes over rows by namespace, key and ordinal. It holds its runs: rows that are pushed later are not in it.
#[derive(Debug)]
pub struct InKeyOrder {
    /// Cursors that stand on a row, the one with the lowest last.
    heads: Vec<Head>,
    is_started: bool,
}

/// A cursor over one run.
#[derive(Debug)]
struct Head {
    /// Which of the runs it is.
    run: usize,
    cursor: RunCursor,
}

impl InKeyOrder {
    pub(super) fn new(runs: &[Arc<Run>]) -> InKeyOrder {
        let head = |(run, rows): (usize, &Arc<Run>)| Head { run, cursor: rows.cursor(Rank(0)) };
        let mut heads: Vec<Head> = runs.iter().enumerate().map(head).collect();
        heads.sort_by(|a, b| b.cursor.cmp_row(&a.cursor));
        InKeyOrder { heads, is_started: false }
    }

    /// The next row: namespace, key, ordinal; `None` behind the last. It is lent until the next call.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend what it stands on")]
    pub fn next(&mut self) -> Option<(NamespaceId, &[u8], Ordinal)> {
        let cursor = &self.step()?.cursor;
        let (namespace, key) = cursor.key()?;
        Some((namespace, key, cursor.ordinal()))
    }

    /// The run that has the next row, standing on it.
    fn step(&mut self) -> Option<&Head> {
        if self.is_started {
            self.advance();
        }
        self.is_started = true;
        self.heads.last()
    }

    fn advance(&mut self) {
        let Some((head, others)) = self.heads.split_last_mut() else { return };
        head.cursor.forward();
        let is_still_lowest =
            others.last().is_none_or(|other| other.cursor.cmp_row(&head.cursor) == Ordering::Greater);
        if head.cursor.key().is_some() && is_still_lowest {
            return;
        }
        let Some(head) = self.heads.pop() else { return };
        if head.cursor.key().is_some() {
            let at =
                self.heads.partition_point(|other| other.cursor.cmp_row(&head.cursor) == Ordering::Greater);
            self.heads.insert(at, head);
        }
    }
}

/// A footer's builder that has the keys and tags of all rows of these runs, which are all of a memtable.
///
/// # Errors
/// As [`FooterBuilder::push_key`].
pub(super) fn footer_builder(runs: &[Arc<Run>]) -> Result<FooterBuilder> {
    let mut builder = FooterBuilder::new();
    // A run numbers its tags by itself: each of them is looked up once, and not for every row.
    let mut numbers: Vec<Vec<TagId>> = Vec::with_capacity(runs.len());
    for run in runs {
        let names = run.rows().tags().names().iter();
        numbers.push(names.map(|(namespace, tag)| builder.tag(namespace, tag)).collect::<Result<_>>()?);
    }
    let mut rows = InKeyOrder::new(runs);
    while let Some(head) = rows.step() {
        let Some((namespace, key)) = head.cursor.key() else { break };
        let numbers = numbers.get(head.run).map_or(&[][..], Vec::as_slice);
        let tags = head.cursor.tag_ids().iter().filter_map(|id| numbers.get(id.index()).copied());
        builder.push_row(namespace, key, head.cursor.ordinal(), tags)?;
    }
    Ok(builder)
}
