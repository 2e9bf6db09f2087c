//! All rows of a memtable in key order, for sealing: a merge of its runs.

use std::cmp::Ordering;
use std::sync::Arc;

use nadb_core::{NamespaceId, Ordinal, Rank};

use super::run::{Run, RunCursor};
use crate::row::RowCursor;

/// Goes over rows by namespace, key and ordinal. It holds its runs: rows that are pushed later are not in it.
#[derive(Debug)]
pub struct InKeyOrder {
    /// Cursors that stand on a row, the one with the lowest last.
    heads: Vec<RunCursor>,
    is_started: bool,
}

impl InKeyOrder {
    pub(super) fn new(runs: &[Arc<Run>]) -> InKeyOrder {
        let mut heads: Vec<RunCursor> = runs.iter().map(|run| run.cursor(Rank(0))).collect();
        heads.sort_by(|a, b| b.cmp_row(a));
        InKeyOrder { heads, is_started: false }
    }

    /// The next row: namespace, key, ordinal; `None` behind the last. It is lent until the next call.
    #[expect(clippy::should_implement_trait, reason = "an iterator cannot lend what it stands on")]
    pub fn next(&mut self) -> Option<(NamespaceId, &[u8], Ordinal)> {
        if self.is_started {
            self.advance();
        }
        self.is_started = true;
        let head = self.heads.last()?;
        let (namespace, key) = head.key()?;
        Some((namespace, key, head.ordinal()))
    }

    fn advance(&mut self) {
        let Some((head, others)) = self.heads.split_last_mut() else { return };
        head.forward();
        let is_still_lowest = others.last().is_none_or(|other| other.cmp_row(head) == Ordering::Greater);
        if head.key().is_some() && is_still_lowest {
            return;
        }
        let Some(head) = self.heads.pop() else { return };
        if head.key().is_some() {
            let at = self.heads.partition_point(|other| other.cmp_row(&head) == Ordering::Greater);
            self.heads.insert(at, head);
        }
    }
}
