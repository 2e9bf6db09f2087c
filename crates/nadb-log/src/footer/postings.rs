//! Postings: which ranks have a tag. One row stands in the dictionary itself, few as the gaps between them, more as a Roaring
//! bitmap in its portable serialization (roaringbitmap.org, "Roaring Bitmap format specification") without run containers.
//!
//! Promises that every rank it gives is one of the namespace whose tag it is, and that there are as many as the dictionary says.

use std::ops::Range;

use nadb_core::{Error, Result, guard};
use roaring::RoaringBitmap;

use super::blocks::{Blocks, Section};
use crate::bytes::{Reader, put_varint};

/// So many rows at most are written as gaps: 40 bytes of a bitmap's frame would weigh more than the rows.
pub(super) const LIST_ROWS_MAX: u32 = 32;
/// With these the serialization of a bitmap without run containers begins, and then comes the number of containers.
const NO_RUNS_COOKIE: u32 = 12_346;
/// Key, count and place of a container, beside its rows.
const CONTAINER_FRAME_BYTES: usize = 8;
/// Ranks that one container can hold.
const CONTAINER_RANKS: u32 = 1 << 16;

/// Where the rows of a tag stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Here: a single rank.
    One(u32),
    /// In the section of postings.
    Bytes {
        /// From there on.
        from: usize,
        /// So many bytes.
        len: usize,
    },
}

/// What the dictionary says of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// How many rows have it.
    pub(crate) count: u32,
    pub(crate) place: Place,
}

/// Appends the postings of rising ranks, at least two, of a namespace that begins at rank `first`.
pub(super) fn encode_postings(out: &mut Vec<u8>, first: u32, ranks: &[u32]) -> Result<()> {
    if ranks.len() <= LIST_ROWS_MAX as usize {
        let mut next = first;
        for rank in ranks {
            put_varint(out, u64::from(rank.saturating_sub(next)));
            next = rank + 1;
        }
        return Ok(());
    }
    let out_of_order = || Error::invalid("a row of a footer has a tag twice");
    let bitmap = RoaringBitmap::from_sorted_iter(ranks.iter().copied()).map_err(|_| out_of_order())?;
    bitmap.serialize_into(out).map_err(|_| Error::limit("a tag's postings cannot be written"))
}

/// The ranks of a list that begins at rank `first`.
fn read_list(bytes: &[u8], count: u32, first: u32) -> Option<RoaringBitmap> {
    let mut reader = Reader::new(bytes);
    let (mut next, mut bitmap) = (first, RoaringBitmap::new());
    for _ in 0..count.min(LIST_ROWS_MAX) {
        let rank = next.checked_add(reader.varint_u32()?)?;
        bitmap.try_push(rank).ok()?;
        next = rank.checked_add(1)?;
    }
    reader.is_at_end().then_some(bitmap)
}

/// The ranks of a serialized bitmap, all of them below `end`.
fn read_bitmap(mut bytes: &[u8], end: u32) -> Option<RoaringBitmap> {
    let mut header = Reader::new(bytes);
    let cookie = header.u32()?;
    let containers = header.u32()?;
    // Of what the header claims nothing is believed that the bytes or the rows have no room for.
    let room = bytes.len() / CONTAINER_FRAME_BYTES;
    if cookie != NO_RUNS_COOKIE || containers as usize > room || containers > end.div_ceil(CONTAINER_RANKS) {
        return None;
    }
    let bitmap = RoaringBitmap::deserialize_from(&mut bytes).ok()?;
    bytes.is_empty().then_some(bitmap)
}

impl Found {
    /// The ranks, which are among those of the namespace.
    ///
    /// # Errors
    /// `Corruption`.
    pub(super) fn to_bitmap(
        self,
        blocks: &Blocks,
        postings: Section,
        namespace: &Range<u32>,
    ) -> Result<RoaringBitmap> {
        let (from, len) = match self.place {
            // The dictionary has seen that it is one of the namespace's.
            Place::One(rank) => return Ok(std::iter::once(rank).collect()),
            Place::Bytes { from, len } => (from, len),
        };
        let bytes = blocks.get(postings, from, len)?;
        let bitmap = if self.count <= LIST_ROWS_MAX {
            read_list(bytes, self.count, namespace.start)
        } else {
            read_bitmap(bytes, namespace.end)
        };
        let is_right = |bitmap: &RoaringBitmap| {
            let is_within = bitmap.min().is_some_and(|min| min >= namespace.start)
                && bitmap.max().is_some_and(|max| max < namespace.end);
            bitmap.len() == u64::from(self.count)
                && (is_within || !guard::on("footer.postings_within_namespace"))
        };
        bitmap.filter(is_right).ok_or_else(|| {
            blocks.corrupt(postings.start + from, "a tag's postings in the footer are malformed")
        })
    }

    /// Takes out of `bitmap` what does not have the tag.
    ///
    /// # Errors
    /// `Corruption`: `bitmap` is as it was.
    pub(super) fn intersect(
        self,
        blocks: &Blocks,
        postings: Section,
        namespace: &Range<u32>,
        bitmap: &mut RoaringBitmap,
    ) -> Result<()> {
        match self.place {
            Place::One(rank) => {
                let has = bitmap.contains(rank);
                bitmap.clear();
                if has {
                    bitmap.insert(rank);
                }
            }
            Place::Bytes { .. } => *bitmap &= self.to_bitmap(blocks, postings, namespace)?,
        }
        Ok(())
    }
}
