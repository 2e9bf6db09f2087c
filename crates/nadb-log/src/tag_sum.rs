//! A sum over which row has which tag: what says a row's tags by rank and what says them by record have the same one.
//!
//! It promises to differ where one of the two says otherwise, but for a chance of one in 2^64; not that nobody can make two that
//! have the same.

use nadb_core::{NamespaceId, Ordinal, Result};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::row::Row;
use crate::rows::Rows;

/// The sum over tags of rows, in any order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TagSum(u64);

impl TagSum {
    /// The sum over all of a segment's rows, as they say it.
    ///
    /// # Errors
    /// `Corruption` where they are damaged; `Io`.
    pub fn of(rows: &Rows) -> Result<TagSum> {
        let mut sum = TagSum::default();
        for part in rows.parts()? {
            part.for_each_tag(&mut |ordinal, namespace, tag| {
                sum.add_tag(ordinal, namespace, tag.as_bytes())
            })?;
        }
        Ok(sum)
    }

    /// Adds the tags of a row, as its record says them.
    pub fn add(&mut self, ordinal: Ordinal, row: &Row<'_>) {
        row.tags.unchecked().for_each(|tag| self.add_tag(ordinal, row.namespace, tag));
    }

    fn add_tag(&mut self, ordinal: Ordinal, namespace: NamespaceId, tag: &[u8]) {
        let seed = u64::from(namespace.0) << 32 | u64::from(ordinal.0);
        self.0 = self.0.wrapping_add(xxh3_64_with_seed(tag, seed));
    }
}
