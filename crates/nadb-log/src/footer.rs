//! The footer of a sealed segment: what can be derived from the records, so that opening and scanning touch none.
//!
//! Key records are rows, in two orders: by ordinal in packed columns, by rank in a front-coded key column. Records about the
//! store itself are listed beside them. docs/format.md has the byte tables.
//!
//! Promises: no byte is used before the checksum of its block held; opening reads the trailer, the directory and the table
//! of namespaces and nothing else; nothing in the bytes is believed, also where checksums hold, and none of it can panic,
//! loop or allocate beyond the bytes that are there. Leaves files, and the decision that a segment is sealed, to others.

mod blocks;
mod builder;
mod check;
mod column;
mod cursor;
mod expiring;
mod keys;
mod layout;
mod origin;
mod own_tags;
mod postings;
mod rows;
mod system;
mod tags;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nadb_core::{BlobId, Error, NamespaceId, Ordinal, Rank, Result, SegmentUid, Seq};

pub use builder::{FooterBuilder, FooterSource, encode_footer};
pub use cursor::FooterCursor;
pub use keys::NamespaceRows;
pub(crate) use layout::BEHIND_CHECKSUM;
pub use layout::{FOOTER_TRAILER, footer_bytes};
pub use origin::Origin;
pub(crate) use own_tags::OwnTags;
pub(crate) use postings::Found;
pub(crate) use tags::{TagUse, TagView};

use crate::record::RECORD_BYTES_MIN;
use crate::row::{RowMeta, RowPlace, SystemRow};
use blocks::{Blocks, Section};
use column::Column;
use expiring::Expiring;
use keys::Keys;
use layout::{Layout, id};
use rows::Rows;
use tags::Dictionary;

/// No segment has room for more rows.
#[expect(clippy::cast_possible_truncation, reason = "a few bytes")]
const ROWS_MAX: u32 = u32::MAX / RECORD_BYTES_MIN as u32;

/// An open footer.
pub struct Footer {
    blocks: Blocks,
    len: u32,
    rows: Rows,
    keys: Keys,
    /// Ordinals by rank; without it the two are equal.
    order: Option<Column>,
    system: Option<Section>,
    /// Without it no row has a tag.
    tags: Option<Dictionary>,
    /// Without it no row has an expiry.
    expiring: Option<Expiring>,
    /// Of a compacted segment.
    origin: Option<Section>,
}

impl Footer {
    /// Opens the footer whose bytes, exactly, stand at offset `at` of the file `path`, that of the segment `uid`. Blocks are
    /// verified when they are first touched; few are touched here.
    ///
    /// # Errors
    /// `Corruption` with file and offset; `Version` where the footer needs another build.
    pub fn open(bytes: Bytes, uid: SegmentUid, at: u32, path: &Path) -> Result<Footer> {
        let layout = Layout::read(&bytes, uid, at).map_err(|error| error.with_path(path))?;
        let blocks = Blocks::new(bytes, uid, at, path, (layout.body, layout.table));
        let len = layout.rows;
        if len > ROWS_MAX {
            return Err(blocks.corrupt(layout.body, format!("no segment has room for {len} rows")));
        }
        let required = |id| layout.section(id).ok_or_else(|| layout.missing(&blocks, id));
        let sections = [required(id::GROUPS)?, required(id::KEYS)?, required(id::NAMESPACES)?];
        Ok(Footer {
            len,
            rows: Rows::open(&blocks, &layout)?,
            keys: Keys::open(&blocks, len, sections)?,
            order: layout.column(&blocks, id::ORDER, len)?,
            system: layout.section(id::SYSTEM),
            tags: Footer::open_tags(&blocks, &layout)?,
            expiring: Footer::open_expiring(&blocks, &layout)?,
            origin: layout.section(id::ORIGIN),
            blocks,
        })
    }

    fn open_tags(blocks: &Blocks, layout: &Layout) -> Result<Option<Dictionary>> {
        match (layout.section(id::TAGS), layout.section(id::POSTINGS)) {
            (Some(tags), Some(postings)) => Dictionary::open(blocks, tags, postings).map(Some),
            // No tag has more than one row.
            (Some(tags), None) => {
                Dictionary::open(blocks, tags, Section { start: tags.start + tags.len, len: 0 }).map(Some)
            }
            (None, Some(_)) => Err(layout.missing(blocks, id::TAGS)),
            (None, None) => Ok(None),
        }
    }

    fn open_expiring(blocks: &Blocks, layout: &Layout) -> Result<Option<Expiring>> {
        match (layout.section(id::EXPIRIES), layout.section(id::EXPIRING)) {
            (Some(_), Some(section)) => Expiring::open(blocks, section, layout.rows).map(Some),
            (Some(_), None) => Err(layout.missing(blocks, id::EXPIRING)),
            (None, Some(_)) => Err(layout.missing(blocks, id::EXPIRIES)),
            (None, None) => Ok(None),
        }
    }

    /// How many rows there are, dead ones and tombstones too.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is known of a row beside its key.
    ///
    /// # Errors
    /// `Corruption`, also for an ordinal that the footer does not have.
    pub fn meta(&self, ordinal: Ordinal) -> Result<RowMeta> {
        self.rows.meta(&self.blocks, ordinal)
    }

    /// Where the record of a row stands, and until when it is visible; cheaper than [`Footer::meta`].
    ///
    /// # Errors
    /// As [`Footer::meta`].
    pub fn place(&self, ordinal: Ordinal) -> Result<RowPlace> {
        self.rows.place(&self.blocks, ordinal)
    }

    /// Where the records of rows stand from a rank on, where rows were written in key order: what a compaction has made.
    fn places_from<const N: usize>(&self, first: u32) -> Option<Result<[RowPlace; N]>> {
        let rows = (self.len.checked_sub(first)? as usize).min(N);
        let mut places = [RowPlace::default(); N];
        self.order
            .is_none()
            .then(|| self.rows.places(&self.blocks, first, &mut places, rows).map(|()| places))
    }

    /// The sequence number of a row; cheaper than [`Footer::meta`].
    ///
    /// # Errors
    /// As [`Footer::meta`].
    #[inline]
    pub fn seq(&self, ordinal: Ordinal) -> Result<Seq> {
        self.rows.seq(&self.blocks, ordinal)
    }

    /// The row whose record begins exactly at this offset of the segment's file.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn ordinal_of(&self, offset: u32) -> Result<Option<Ordinal>> {
        self.rows.ordinal_of(&self.blocks, offset)
    }

    /// The row that has this rank.
    ///
    /// # Errors
    /// `Corruption`, also for a rank that the footer does not have.
    #[inline]
    pub fn ordinal_at(&self, rank: Rank) -> Result<Ordinal> {
        match self.order {
            None => self.checked(rank, u64::from(rank.0)),
            Some(order) => self.checked(rank, order.value(&self.blocks, rank.0)?),
        }
    }

    /// The rows of the ranks from `first` on, as many as there are and as `ordinals` has room for. `first` and the room divide
    /// the rows of a column's block.
    #[inline]
    fn ordinals_from<const N: usize>(&self, first: u32, ordinals: &mut [Ordinal; N]) -> Result<()> {
        let Some(order) = self.order else {
            (first..).zip(ordinals).for_each(|(rank, ordinal)| *ordinal = Ordinal(rank));
            return Ok(());
        };
        let mut numbers = [0; N];
        let rows = (self.len - first) as usize;
        let numbers = numbers.get_mut(..rows.min(N)).unwrap_or_default();
        order.values(&self.blocks, first, numbers)?;
        for ((rank, number), ordinal) in (first..).zip(numbers).zip(ordinals) {
            *ordinal = self.checked(Rank(rank), *number)?;
        }
        Ok(())
    }

    /// A row that a rank stands for, if there is such a row.
    #[inline]
    fn checked(&self, rank: Rank, ordinal: u64) -> Result<Ordinal> {
        match u32::try_from(ordinal) {
            Ok(ordinal) if ordinal < self.len => Ok(Ordinal(ordinal)),
            _ => Err(self.no_row(rank, ordinal)),
        }
    }

    #[cold]
    fn no_row(&self, rank: Rank, ordinal: u64) -> Error {
        let position = self.order.map_or(0, |order| order.position(rank.0));
        self.blocks.corrupt(
            position,
            format!("rank {} stands for row {ordinal}, the footer has {} rows", rank.0, self.len),
        )
    }

    /// Checks the checksum of every block, so that no later read finds one that does not hold.
    ///
    /// # Errors
    /// `Corruption` with file and offset: what was found first.
    pub fn check_sums(&self) -> Result<()> {
        self.blocks.check_all()
    }

    /// The first rank whose namespace and key are not below these; [`Footer::len`] where there is none.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn seek(&self, namespace: NamespaceId, key: &[u8]) -> Result<Rank> {
        self.keys.seek(&self.blocks, namespace, key).map(Rank)
    }

    /// Namespace and key of a rank.
    ///
    /// # Errors
    /// `Corruption`, also for a rank that the footer does not have.
    pub fn key_at(&self, rank: Rank) -> Result<(NamespaceId, Vec<u8>)> {
        if rank.0 >= self.len {
            return Err(self.no_row(rank, u64::from(rank.0)));
        }
        self.keys.key_at(&self.blocks, rank.0)
    }

    /// A cursor over the row of a rank; behind the last row for [`Footer::len`] and above.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn cursor(self: &Arc<Self>, at: Rank) -> Result<FooterCursor> {
        FooterCursor::new(Arc::clone(self), at)
    }

    /// The namespaces that have rows here, in rising order.
    #[must_use]
    pub fn namespaces(&self) -> &[NamespaceRows] {
        self.keys.namespaces()
    }

    /// The records about the store itself, in the order of writing.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn system(&self) -> Result<Vec<SystemRow>> {
        let Some(section) = self.system else {
            return Ok(Vec::new());
        };
        let bytes = self.blocks.get(section, 0, section.len)?;
        system::read_system(bytes, self.blocks.at()).map_err(|(position, what)| {
            let what = format!("a system record's {what} in the footer is malformed");
            self.blocks.corrupt(section.start + position, what)
        })
    }

    /// Which compaction has made the segment; `None` where none has.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn origin(&self) -> Result<Option<Origin>> {
        let Some(section) = self.origin else { return Ok(None) };
        let bytes = self.blocks.get(section, 0, section.len)?;
        match Origin::decode(bytes) {
            Some(origin) => Ok(Some(origin)),
            None => {
                Err(self.blocks.corrupt(section.start, "the footer's section 18 is malformed".to_owned()))
            }
        }
    }

    /// The blobs that rows refer to, in the order of the rows; one that several refer to comes several times.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn blob_ids(&self) -> Result<Vec<BlobId>> {
        let blobs = self.rows.blobs(&self.blocks, self.len)?;
        Ok(blobs.into_iter().map(|(_, blob)| blob).collect())
    }

    /// The tags, where any row has one.
    pub(crate) fn tags(&self) -> Option<TagView<'_>> {
        let dictionary = self.tags.as_ref()?;
        Some(TagView { blocks: &self.blocks, dictionary, namespaces: self.namespaces() })
    }

    /// See [`crate::Part::expiring`].
    pub(crate) fn expiring(
        &self,
        times: (u64, u64),
        show: &mut dyn FnMut(Ordinal, u64) -> bool,
    ) -> Result<()> {
        self.expiring.map_or(Ok(()), |expiring| expiring.show(&self.blocks, times, show))
    }

    /// See [`crate::Part::next_expiry`].
    pub(crate) fn next_expiry(&self, after_ms: u64) -> Result<Option<u64>> {
        self.expiring.map_or(Ok(None), |expiring| expiring.next(&self.blocks, after_ms))
    }

    /// See [`crate::Part::all_expire_by`].
    pub(crate) fn all_expire_by(&self) -> Result<Option<u64>> {
        match self.expiring.filter(|expiring| expiring.len() == self.len) {
            Some(expiring) => expiring.last(&self.blocks).map(Some),
            None => Ok(None),
        }
    }

    /// Bytes of memory that the open footer takes, without the footer's own bytes.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        size_of::<Footer>() + self.blocks.memory_bytes() + size_of_val(self.namespaces())
    }
}

impl fmt::Debug for Footer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Footer");
        debug.field("path", &self.blocks.path()).field("at", &self.blocks.at()).field("rows", &self.len);
        debug.finish_non_exhaustive()
    }
}
