//! A cursor over a footer's rows in key order.
//!
//! It decodes a group of sixteen rows at a time into buffers that it keeps, so that moving allocates nothing once they have
//! grown to the longest keys, and moving back costs what moving forward costs.

use std::cell::OnceCell;
use std::sync::Arc;

use nadb_core::{NamespaceId, Ordinal, Rank, Result};

use super::Footer;
use super::keys::{GroupKeys, ROWS_PER_GROUP};
use crate::row::{RowCursor, RowPlace};

const ROWS: usize = ROWS_PER_GROUP as usize;

/// The rows of one group.
#[derive(Debug)]
struct Group {
    /// Which group it is, `None` for none yet.
    number: Option<u32>,
    keys: GroupKeys,
    namespaces: [NamespaceId; ROWS],
    ordinals: [Ordinal; ROWS],
    /// Where the records stand, where they stand side by side and somebody has asked; `None` where only the footer says it.
    places: OnceCell<Option<[RowPlace; ROWS]>>,
}

impl Group {
    fn new() -> Group {
        Group {
            number: None,
            keys: GroupKeys::default(),
            namespaces: [NamespaceId::default(); ROWS],
            ordinals: [Ordinal::default(); ROWS],
            places: OnceCell::new(),
        }
    }

    fn read(&mut self, footer: &Footer, number: u32) -> Result<()> {
        self.number = None;
        self.places.take();
        footer.keys.read_group(&footer.blocks, number, &mut self.keys, &mut self.namespaces)?;
        footer.ordinals_from(number * ROWS_PER_GROUP, &mut self.ordinals)?;
        self.number = Some(number);
        Ok(())
    }
}

/// A place in the key order of a footer; see [`Footer::cursor`].
#[derive(Debug)]
pub struct FooterCursor {
    footer: Arc<Footer>,
    /// Rank and one: 0 before the first row, row count and one behind the last.
    place: u32,
    /// Of the row in its group; one that no group has where there is no row.
    slot: usize,
    group: Group,
    /// Where the next group is decoded, so that a failure leaves the cursor as it was.
    spare: Group,
}

impl FooterCursor {
    pub(super) fn new(footer: Arc<Footer>, at: Rank) -> Result<FooterCursor> {
        let place = at.0.min(footer.len) + 1;
        let (group, spare) = (Group::new(), Group::new());
        let mut cursor = FooterCursor { footer, place: 0, slot: ROWS, group, spare };
        cursor.move_to_place(place)?;
        Ok(cursor)
    }

    /// The rank of the row under the cursor; `None` before the first and behind the last.
    #[must_use]
    pub fn rank(&self) -> Option<Rank> {
        (self.slot < ROWS).then(|| Rank(self.place - 1))
    }

    /// Moves to the row of a rank; behind the last row for [`Footer::len`] and above.
    ///
    /// # Errors
    /// As [`RowCursor::next`]: the cursor has not moved.
    #[inline]
    pub fn move_to(&mut self, rank: Rank) -> Result<()> {
        self.move_to_place(rank.0.min(self.footer.len) + 1)
    }

    #[inline]
    fn move_to_place(&mut self, place: u32) -> Result<()> {
        let Some(rank) = place.checked_sub(1).filter(|rank| *rank < self.footer.len) else {
            (self.place, self.slot) = (place, ROWS);
            return Ok(());
        };
        let number = rank / ROWS_PER_GROUP;
        if self.group.number != Some(number) {
            self.spare.read(&self.footer, number)?;
            std::mem::swap(&mut self.group, &mut self.spare);
        }
        (self.place, self.slot) = (place, (rank % ROWS_PER_GROUP) as usize);
        Ok(())
    }
}

impl RowCursor for FooterCursor {
    #[inline]
    fn key(&self) -> Option<(NamespaceId, &[u8])> {
        let namespace = self.group.namespaces.get(self.slot)?;
        Some((*namespace, self.group.keys.get(self.slot)?))
    }

    #[inline]
    fn ordinal(&self) -> Ordinal {
        self.group.ordinals.get(self.slot).copied().unwrap_or_default()
    }

    #[inline]
    fn known_place(&self) -> Option<RowPlace> {
        // An error is met again, and said, where the place is asked for.
        let read = || self.footer.places_from(self.group.number? * ROWS_PER_GROUP)?.ok();
        self.group.places.get_or_init(read).as_ref()?.get(self.slot).copied()
    }

    #[inline]
    fn place(&self, ordinal: Ordinal) -> Result<RowPlace> {
        self.footer.place(ordinal)
    }

    #[inline]
    fn next(&mut self) -> Result<()> {
        if self.place > self.footer.len { Ok(()) } else { self.move_to_place(self.place + 1) }
    }

    #[inline]
    fn previous(&mut self) -> Result<()> {
        self.place.checked_sub(1).map_or(Ok(()), |place| self.move_to_place(place))
    }
}
