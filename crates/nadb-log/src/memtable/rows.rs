//! Rows in the order of writing, in columns, with their keys in one arena: what a memtable's tail and its runs are made of.
//!
//! Promises: what was pushed comes back unchanged, by ordinal or by offset. Leaves to others: key order, locks, and how many
//! rows stand together.
//!
//! The columns are what is asked for together: a search by offset, a walk through the keys, and a look at the sequence number
//! of each row met on it touch few cache lines that way.

use std::mem::size_of;

use nadb_core::{BlobId, NamespaceId, Ordinal, Seq};

use super::tags::RowTags;
use crate::record::RecordKind;
use crate::row::{Row, RowMeta, RowPlace, RowSpot};

/// Bits of [`KeyRef::flags`].
mod flag {
    /// The row has an expiry.
    pub(super) const EXPIRES: u8 = 1;
    /// Size and blob stand in [`super::Wide`].
    pub(super) const WIDE: u8 = 2;
}

/// Where a row's key stands in the arena, and what has room beside that.
#[derive(Debug, Clone, Copy)]
pub(super) struct KeyRef {
    namespace: NamespaceId,
    start: u32,
    len: u16,
    kind: RecordKind,
    flags: u8,
}

impl KeyRef {
    /// The namespace of the key.
    pub(super) fn namespace(self) -> NamespaceId {
        self.namespace
    }
}

/// What is asked for least.
#[derive(Debug, Clone, Copy)]
struct Rest {
    expires_ms: u64,
    created_ms: u64,
    updated_ms: u64,
    len: u32,
    size: u32,
}

/// What few rows have: a blob, or a size beyond 32 bits.
#[derive(Debug, Clone, Copy)]
struct Wide {
    /// Which of the rows, counted from the first one here.
    index: u32,
    size: u64,
    blob: Option<BlobId>,
}

/// What a walk in key order needs of a row, so that it goes through memory from front to back, and only keys stand elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct OrderedRow {
    /// Which of the rows it is, counted from the first one here.
    pub(super) index: u32,
    pub(super) key: KeyRef,
    offset: u32,
    len: u32,
}

const _: () = assert!(size_of::<OrderedRow>() == 24);

/// Bytes of a row in the columns.
const ROW_BYTES: usize = size_of::<u32>() + size_of::<Seq>() + size_of::<KeyRef>() + size_of::<Rest>();
const _: () = assert!(ROW_BYTES == 56);

/// Rows with contiguous ordinals; offsets and sequence numbers rise.
#[derive(Debug)]
pub(super) struct Rows {
    first: u32,
    offsets: Vec<u32>,
    seqs: Vec<Seq>,
    key_refs: Vec<KeyRef>,
    rests: Vec<Rest>,
    wide: Vec<Wide>,
    keys: Vec<u8>,
    tags: RowTags,
}

impl Rows {
    /// No rows; the first will have the ordinal `first`. Has room for so many rows and bytes of keys.
    pub(super) fn with_room(first: u32, rows: usize, key_bytes: usize) -> Rows {
        Rows {
            first,
            offsets: Vec::with_capacity(rows),
            seqs: Vec::with_capacity(rows),
            key_refs: Vec::with_capacity(rows),
            rests: Vec::with_capacity(rows),
            wide: Vec::new(),
            keys: Vec::with_capacity(key_bytes),
            tags: RowTags::default(),
        }
    }

    /// No rows; the first will stand behind these, and there is room for as many. To these none is added any more.
    pub(super) fn successor(&mut self) -> Rows {
        let next = Rows::with_room(self.end(), self.offsets.len(), self.key_bytes());
        Rows { tags: self.tags.successor(), ..next }
    }

    /// The rows of all `parts`, whose ordinals follow one another.
    pub(super) fn concat<'a>(parts: impl Iterator<Item = &'a Rows> + Clone) -> Rows {
        let first = parts.clone().next().map_or(0, |rows| rows.first);
        let count = parts.clone().map(|rows| rows.offsets.len()).sum();
        let mut all = Rows::with_room(first, count, parts.clone().map(Rows::key_bytes).sum());
        all.wide.reserve_exact(parts.clone().map(|rows| rows.wide.len()).sum());
        all.tags.reserve(parts.clone().map(|rows| &rows.tags));
        for rows in parts {
            let (row_base, key_base) = (all.len(), to_u32(all.keys.len()));
            all.offsets.extend_from_slice(&rows.offsets);
            all.seqs.extend_from_slice(&rows.seqs);
            all.key_refs
                .extend(rows.key_refs.iter().map(|key| KeyRef { start: key.start + key_base, ..*key }));
            all.rests.extend_from_slice(&rows.rests);
            all.wide.extend(rows.wide.iter().map(|wide| Wide { index: wide.index + row_base, ..*wide }));
            all.keys.extend_from_slice(&rows.keys);
            if !rows.tags.is_empty() {
                all.tags.append(row_base, &rows.tags);
            }
        }
        all
    }

    /// Adds a row, which gets the next ordinal. Its key is within the limit; its offset is above all others here, and its number above all others of its key.
    pub(super) fn push(&mut self, row: &Row<'_>) {
        let Row { namespace, key, meta, tags } = row;
        debug_assert!(self.offsets.last().is_none_or(|last| *last < meta.offset));
        // In the order of writing numbers rise, in a compacted segment keys do: of one key, numbers rise in both.
        let is_above = || self.key_at(self.len() - 1).is_none_or(|last| last < (*namespace, *key));
        debug_assert!(self.seqs.last().is_none_or(|last| *last < meta.seq || is_above()));
        let mut flags = 0;
        if meta.expires_ms.is_some() {
            flags |= flag::EXPIRES;
        }
        if meta.blob.is_some() || u32::try_from(meta.size).is_err() {
            flags |= flag::WIDE;
            self.wide.push(Wide { index: self.len(), size: meta.size, blob: meta.blob });
        }
        if !tags.is_empty() {
            self.tags.push(self.len(), *namespace, *tags);
        }
        self.offsets.push(meta.offset);
        self.seqs.push(meta.seq);
        self.key_refs.push(KeyRef {
            namespace: *namespace,
            start: to_u32(self.keys.len()),
            len: u16::try_from(key.len()).unwrap_or(u16::MAX),
            kind: meta.kind,
            flags,
        });
        self.rests.push(Rest {
            expires_ms: meta.expires_ms.unwrap_or(0),
            created_ms: meta.created_ms,
            updated_ms: meta.updated_ms,
            len: meta.len,
            size: u32::try_from(meta.size).unwrap_or(u32::MAX),
        });
        self.keys.extend_from_slice(key);
    }

    /// How many rows.
    pub(super) fn len(&self) -> u32 {
        to_u32(self.offsets.len())
    }

    /// The ordinal of the first row.
    pub(super) fn first(&self) -> u32 {
        self.first
    }

    /// The ordinal behind the last row.
    pub(super) fn end(&self) -> u32 {
        self.first + self.len()
    }

    /// Bytes of all keys.
    pub(super) fn key_bytes(&self) -> usize {
        self.keys.len()
    }

    /// Bytes of keys and of distinct tags.
    pub(super) fn text_bytes(&self) -> usize {
        self.keys.len() + self.tags.text_bytes()
    }

    /// The rows' tags.
    pub(super) fn tags(&self) -> &RowTags {
        &self.tags
    }

    /// Which rows have an expiry, by index, and when.
    pub(super) fn expiries(&self) -> impl Iterator<Item = (u32, u64)> {
        let rows = (0u32..).zip(self.key_refs.iter().zip(&self.rests));
        rows.filter(|(_, (key, _))| key.flags & flag::EXPIRES != 0)
            .map(|(index, (_, rest))| (index, rest.expires_ms))
    }

    /// The expiry of a row that has one.
    pub(super) fn expiry_at(&self, index: u32) -> Option<u64> {
        self.rests.get(index as usize).map(|rest| rest.expires_ms)
    }

    /// Where the last record begins; `None` without rows.
    pub(super) fn last_offset(&self) -> Option<u32> {
        self.offsets.last().copied()
    }

    /// Sequence number of a row.
    pub(super) fn seq(&self, ordinal: Ordinal) -> Option<Seq> {
        self.seqs.get(self.index_of(ordinal)?).copied()
    }

    /// All that is known of a row beside its key.
    pub(super) fn meta(&self, ordinal: Ordinal) -> Option<RowMeta> {
        self.meta_at(self.index_of(ordinal)?)
    }

    /// Where a row's record stands.
    pub(super) fn place(&self, ordinal: Ordinal) -> Option<RowPlace> {
        let index = self.index_of(ordinal)?;
        self.place_of(&self.ordered_row(to_u32(index))?)
    }

    /// The same of a row in key order.
    #[inline]
    pub(super) fn place_of(&self, row: &OrderedRow) -> Option<RowPlace> {
        let expires_ms = match row.key.flags & flag::EXPIRES {
            0 => None,
            _ => Some(self.rests.get(row.index as usize)?.expires_ms),
        };
        Some(RowPlace { offset: row.offset, len: row.len, expires_ms })
    }

    /// The rows of these indexes, in this order.
    pub(super) fn ordered(&self, order: &[u32]) -> Box<[OrderedRow]> {
        order.iter().filter_map(|index| self.ordered_row(*index)).collect()
    }

    fn ordered_row(&self, index: u32) -> Option<OrderedRow> {
        let at = index as usize;
        let (key, offset, len) = (*self.key_refs.get(at)?, *self.offsets.get(at)?, self.rests.get(at)?.len);
        Some(OrderedRow { index, key, offset, len })
    }

    /// What the index needs of a row.
    pub(super) fn spot(&self, ordinal: Ordinal) -> Option<RowSpot> {
        let index = self.index_of(ordinal)?;
        let (key, rest) = (self.key_refs.get(index)?, self.rests.get(index)?);
        Some(RowSpot { kind: key.kind, offset: *self.offsets.get(index)?, len: rest.len })
    }

    /// Namespace and key of a row.
    pub(super) fn key(&self, ordinal: Ordinal) -> Option<(NamespaceId, &[u8])> {
        self.key_of(*self.key_refs.get(self.index_of(ordinal)?)?)
    }

    /// The row whose record begins exactly at `offset`.
    pub(super) fn ordinal_of(&self, offset: u32) -> Option<Ordinal> {
        let index = self.offsets.binary_search(&offset).ok()?;
        Some(Ordinal(self.first + to_u32(index)))
    }

    /// Where the key stands of the row with this index, counted from the first one here.
    pub(super) fn key_ref_at(&self, index: u32) -> Option<KeyRef> {
        self.key_refs.get(index as usize).copied()
    }

    /// Namespace and key that stand there.
    pub(super) fn key_of(&self, key: KeyRef) -> Option<(NamespaceId, &[u8])> {
        let start = key.start as usize;
        Some((key.namespace, self.keys.get(start..start + usize::from(key.len))?))
    }

    /// Namespace and key of the row with this index, counted from the first one here.
    pub(super) fn key_at(&self, index: u32) -> Option<(NamespaceId, &[u8])> {
        self.key_of(self.key_ref_at(index)?)
    }

    /// All rows in the order of writing.
    pub(super) fn metas(&self) -> impl Iterator<Item = RowMeta> {
        (0..self.offsets.len()).filter_map(|index| self.meta_at(index))
    }

    /// Gives back room that is not used.
    pub(super) fn shrink(&mut self) {
        self.offsets.shrink_to_fit();
        self.seqs.shrink_to_fit();
        self.key_refs.shrink_to_fit();
        self.rests.shrink_to_fit();
        self.wide.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.tags.shrink();
    }

    /// Bytes that are allocated, used or not.
    pub(super) fn memory_bytes(&self) -> usize {
        self.offsets.capacity() * size_of::<u32>()
            + self.seqs.capacity() * size_of::<Seq>()
            + self.key_refs.capacity() * size_of::<KeyRef>()
            + self.rests.capacity() * size_of::<Rest>()
            + self.wide.capacity() * size_of::<Wide>()
            + self.keys.capacity()
            + self.tags.memory_bytes()
    }

    fn index_of(&self, ordinal: Ordinal) -> Option<usize> {
        Some(ordinal.0.checked_sub(self.first)? as usize)
    }

    fn meta_at(&self, index: usize) -> Option<RowMeta> {
        let (key, rest) = (self.key_refs.get(index)?, self.rests.get(index)?);
        let wide = if key.flags & flag::WIDE == 0 { None } else { self.wide_at(index) };
        Some(RowMeta {
            kind: key.kind,
            seq: *self.seqs.get(index)?,
            offset: *self.offsets.get(index)?,
            len: rest.len,
            expires_ms: (key.flags & flag::EXPIRES != 0).then_some(rest.expires_ms),
            size: wide.map_or(u64::from(rest.size), |wide| wide.size),
            created_ms: rest.created_ms,
            updated_ms: rest.updated_ms,
            blob: wide.and_then(|wide| wide.blob),
        })
    }

    fn wide_at(&self, index: usize) -> Option<&Wide> {
        let at = self.wide.binary_search_by_key(&index, |wide| wide.index as usize).ok()?;
        self.wide.get(at)
    }
}

/// Counts of rows and key bytes fit 32 bits: offsets do, and each row's record with its key is longer than what is counted.
pub(super) fn to_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
