//! All keys of a footer one after the other, and what of a row the index needs: for opening, which takes every row once.

use std::ops::Range;

use nadb_core::{NamespaceId, Ordinal, Rank, Result};

use super::Footer;
use super::keys::{GroupKeys, ROWS_PER_GROUP};
use crate::row::RowSpot;

impl Footer {
    /// Shows rank, namespace and key of the rows in `ranks`, as far as they are there.
    pub(crate) fn for_each_key(
        &self,
        ranks: Range<u32>,
        mut show: impl FnMut(u32, NamespaceId, &[u8]),
    ) -> Result<()> {
        let ranks = ranks.start..ranks.end.min(self.len);
        let mut keys = GroupKeys::default();
        let mut namespaces = [NamespaceId::default(); ROWS_PER_GROUP as usize];
        for group in ranks.start / ROWS_PER_GROUP..ranks.end.div_ceil(ROWS_PER_GROUP) {
            self.keys.read_group(&self.blocks, group, &mut keys, &mut namespaces)?;
            let all = (group * ROWS_PER_GROUP..).zip(namespaces).enumerate();
            for (slot, (rank, namespace)) in all.filter(|(_, (rank, _))| ranks.contains(rank)) {
                if let Some(key) = keys.get(slot) {
                    show(rank, namespace, key);
                }
            }
        }
        Ok(())
    }

    /// What the index needs of the rows from `first` on, as many as there is room for.
    pub(crate) fn spots(&self, first: Ordinal, spots: &mut [RowSpot]) -> Result<()> {
        self.rows.spots(&self.blocks, first, spots)
    }

    /// The rows of the ranks in `ranks`, all of which there are.
    pub(crate) fn for_each_ordinal(&self, ranks: Range<u32>, mut show: impl FnMut(Ordinal)) -> Result<()> {
        let Some(order) = self.order else {
            ranks.map(Ordinal).for_each(show);
            return Ok(());
        };
        let mut beyond = None;
        let mut rank = ranks.start;
        order.for_each(&self.blocks, ranks, |ordinal| {
            match u32::try_from(ordinal) {
                Ok(ordinal) if ordinal < self.len => show(Ordinal(ordinal)),
                _ => beyond = beyond.or(Some((rank, ordinal))),
            }
            rank += 1;
        })?;
        beyond.map_or(Ok(()), |(rank, ordinal)| Err(self.no_row(Rank(rank), ordinal)))
    }
}
