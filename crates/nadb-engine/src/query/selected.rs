//! The rows of one part that a filter selects and a view shows, one after the other: what a query merges instead of all rows.

use std::ops::Range;
use std::sync::Arc;

use nadb_core::{Filter, NamespaceId, Ordinal, Rank, Result, Seq};
use nadb_log::{Direction, Part, RowCursor, RowPlace, Rows, RowsCursor};

use super::select::{Check, Checked, Selection, ranks_of};
use crate::scan::KeyRange;
use crate::slot::Slot;

/// Ranks in the order in which they are looked at.
type Ranks = Box<dyn Iterator<Item = u32> + Send>;

/// Rows that are looked at together, at most. Few at first, for many a query ends after a few rows.
const TOGETHER_MAX: usize = 64;
const TOGETHER_MIN: usize = 4;

/// A cursor that goes one way, from selected row to selected row.
///
/// Rows are looked at several at a time, step by step: first which rows the ranks stand for, then which of them the view shows, then
/// their keys. Each step waits for memory once for all of them.
pub(super) struct Selected {
    rows: Rows,
    slot: Arc<Slot>,
    watermark: Seq,
    part: Part,
    ranks: Ranks,
    check: Option<Check>,
    cursor: RowsCursor,
    is_at_end: bool,
    /// Whether keys are going to be looked at.
    wants_keys: bool,
    together: usize,
    chunk: Vec<Rank>,
    /// Rows that the view shows, and the next one of them.
    shown: Vec<(Rank, Ordinal)>,
    next: usize,
}

/// What a query asks of every part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    pub(super) namespace: NamespaceId,
    pub(super) filter: &'a Filter,
    pub(super) range: &'a KeyRange,
    pub(super) watermark: Seq,
}

impl Asked<'_> {
    /// The selected rows of each part of a segment, from the end of the range that `direction` comes from, before the first.
    /// Parts of whose ranks none is selected are left out.
    ///
    /// # Errors
    /// `Corruption` where a footer is damaged.
    pub(super) fn of_slot(
        &self,
        rows: &Rows,
        slot: &Arc<Slot>,
        direction: Direction,
    ) -> Result<Vec<Selected>> {
        let mut all = Vec::new();
        for part in rows.parts()? {
            all.extend(self.of_part(rows, slot, part, direction)?);
        }
        Ok(all)
    }

    /// The same as cursors, each on its first row.
    ///
    /// # Errors
    /// As [`Asked::of_slot`].
    pub(super) fn cursors(
        &self,
        rows: &Rows,
        slot: &Arc<Slot>,
        direction: Direction,
    ) -> Result<Vec<Selected>> {
        let mut all = self.of_slot(rows, slot, direction)?;
        for selected in &mut all {
            selected.wants_keys = true;
            selected.advance()?;
        }
        all.retain(|selected| !selected.is_at_end);
        Ok(all)
    }

    fn of_part(
        &self,
        rows: &Rows,
        slot: &Arc<Slot>,
        part: Part,
        direction: Direction,
    ) -> Result<Option<Selected>> {
        let Selection { set, check } = Selection::of(self.filter, &part, self.namespace)?;
        let range = ranks_of(self.range, &part, self.namespace)?;
        let Some(ranks) = in_direction(set.within(&range), range, direction) else { return Ok(None) };
        // Where it stands first does not matter; the end is nowhere.
        let cursor = part.cursor(Rank(part.len()))?;
        let (rows, slot, watermark) = (rows.clone(), Arc::clone(slot), self.watermark);
        Ok(Some(Selected {
            rows,
            slot,
            watermark,
            part,
            ranks,
            wants_keys: check.is_some(),
            check,
            cursor,
            is_at_end: false,
            together: TOGETHER_MIN,
            chunk: Vec::new(),
            shown: Vec::new(),
            next: 0,
        }))
    }
}

/// The ranks of a set, or else of a range; `None` where there is none.
fn in_direction(
    set: Option<roaring::RoaringBitmap>,
    range: Range<u32>,
    direction: Direction,
) -> Option<Ranks> {
    Some(match (set, direction) {
        (Some(set), _) if set.is_empty() => return None,
        (None, _) if range.is_empty() => return None,
        (Some(set), Direction::Forward) => Box::new(set.into_iter()),
        (Some(set), Direction::Backward) => Box::new(set.into_iter().rev()),
        (None, Direction::Forward) => Box::new(range),
        (None, Direction::Backward) => Box::new(range.rev()),
    })
}

impl Selected {
    /// The next selected row that the view shows, expired or not.
    fn next_row(&mut self) -> Result<Option<(Rank, Ordinal)>> {
        loop {
            let Some((rank, ordinal)) = self.shown.get(self.next).copied() else {
                if !self.look_ahead()? {
                    return Ok(None);
                }
                continue;
            };
            self.next += 1;
            let Some(check) = &self.check else { return Ok(Some((rank, ordinal))) };
            self.cursor.move_to(rank)?;
            let key = self.cursor.key().map_or(&[][..], |(_, key)| key);
            if check.holds(&Checked { slot: &self.slot, part: &self.part, rank, ordinal, key })? {
                return Ok(Some((rank, ordinal)));
            }
        }
    }

    /// Looks at the next ranks; says whether there were any.
    fn look_ahead(&mut self) -> Result<bool> {
        self.next = 0;
        self.shown.clear();
        self.chunk.clear();
        self.chunk.extend(self.ranks.by_ref().take(self.together).map(Rank));
        self.together = (self.together * 2).min(TOGETHER_MAX);
        self.part.ordinals_at(&self.chunk, &mut self.shown)?;
        let mut failed = Ok(());
        self.shown.retain(|(_, ordinal)| {
            let has = self.slot.has(&self.rows, *ordinal, self.watermark);
            has.unwrap_or_else(|error| {
                failed = Err(error);
                false
            })
        });
        failed?;
        if self.wants_keys {
            self.part.touch_keys(&self.shown);
        }
        Ok(!self.chunk.is_empty())
    }

    fn advance(&mut self) -> Result<()> {
        match self.next_row()? {
            Some((rank, _)) => self.cursor.move_to(rank),
            None => {
                self.is_at_end = true;
                Ok(())
            }
        }
    }

    /// Shows each row that had not expired at `now_ms`. For who has not used it as a cursor.
    ///
    /// # Errors
    /// `Corruption` where a footer is damaged.
    pub(super) fn for_each(mut self, now_ms: u64, mut show: impl FnMut(Rank)) -> Result<()> {
        let may_expire = self.part.next_expiry(0)?.is_some_and(|first| first <= now_ms);
        while let Some((rank, ordinal)) = self.next_row()? {
            if !may_expire || self.part.place(ordinal)?.expires_ms.is_none_or(|at| at > now_ms) {
                show(rank);
            }
        }
        Ok(())
    }

    pub(super) fn part(&self) -> Part {
        self.part.clone()
    }
}

impl RowCursor for Selected {
    #[inline]
    fn key(&self) -> Option<(NamespaceId, &[u8])> {
        if self.is_at_end { None } else { self.cursor.key() }
    }

    #[inline]
    fn ordinal(&self) -> Ordinal {
        self.cursor.ordinal()
    }

    #[inline]
    fn known_place(&self) -> Option<RowPlace> {
        self.cursor.known_place()
    }

    #[inline]
    fn place(&self, ordinal: Ordinal) -> Result<RowPlace> {
        self.part.place(ordinal)
    }

    fn next(&mut self) -> Result<()> {
        self.advance()
    }

    /// It goes the way that it was made for, so both are the same.
    fn previous(&mut self) -> Result<()> {
        self.advance()
    }
}
