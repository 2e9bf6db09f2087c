//! A sum over which row has which key and which tags: what says them in key order and what says them by record have the same one.
//!
//! It promises to differ where one of the two says otherwise, but for a chance of one in 2^64; not that nobody can make two that
//! have the same.

use nadb_core::{NamespaceId, Ordinal, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::row::Row;
use crate::rows::Rows;
use crate::table::RowTable;

/// A key and a tag of the same bytes count differently.
const OF_KEYS: u64 = 0x9E37_79B9_7F4A_7C15;

/// The sum over keys and tags of rows, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowSum(u64);

impl RowSum {
    /// The sum over all of a segment's rows, as they say it.
    ///
    /// # Errors
    /// `Corruption` where they are damaged; `Io`.
    pub fn of(rows: &Rows) -> Result<RowSum> {
        let mut sum = RowSum::default();
        for part in rows.parts()? {
            part.for_each_tag(&mut |ordinal, namespace, tag| {
                sum.add_text(ordinal, namespace, tag.as_bytes(), 0);
            })?;
        }
        let table = RowTable::new(rows)?;
        let mut ordinals = Vec::with_capacity(table.len() as usize);
        table.for_each_ordinal(0..table.len(), |ordinal| ordinals.push(ordinal))?;
        let mut ordinals = ordinals.into_iter();
        table.for_each_key(0..table.len(), |_, namespace, key| {
            ordinals.next().into_iter().for_each(|ordinal| sum.add_text(ordinal, namespace, key, OF_KEYS));
        })?;
        Ok(sum)
    }

    /// Adds key and tags of a row, as its record says them.
    pub fn add(&mut self, ordinal: Ordinal, row: &Row<'_>) {
        self.add_text(ordinal, row.namespace, row.key, OF_KEYS);
        row.tags.unchecked().for_each(|tag| self.add_text(ordinal, row.namespace, tag, 0));
    }

    fn add_text(&mut self, ordinal: Ordinal, namespace: NamespaceId, text: &[u8], kind: u64) {
        let seed = (u64::from(namespace.0) << 32 | u64::from(ordinal.0)) ^ kind;
        self.0 = self.0.wrapping_add(xxh3_64_with_seed(text, seed));
    }
}
