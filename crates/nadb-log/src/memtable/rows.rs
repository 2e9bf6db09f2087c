//! Rows in the order of writing, packed, with their keys in one arena: what a memtable's tail and its runs are made of.
//!
//! Promises: what was pushed comes back unchanged, by ordinal or by offset. Leaves to others: key order, locks, and how many
//! rows stand together.

use std::mem::size_of;

use nadb_core::{BlobId, NamespaceId, Ordinal, Seq};

use crate::record::RecordKind;
use crate::row::{Row, RowMeta};

/// Bits of [`Packed::flags`].
mod flag {
    /// The row has an expiry.
    pub(super) const EXPIRES: u8 = 1;
    /// Size and blob stand in [`super::Wide`].
    pub(super) const WIDE: u8 = 2;
}

/// A row in 56 bytes.
#[derive(Debug, Clone, Copy)]
struct Packed {
    seq: Seq,
    expires_ms: u64,
    created_ms: u64,
    updated_ms: u64,
    offset: u32,
    len: u32,
    size: u32,
    namespace: NamespaceId,
    key_start: u32,
    key_len: u16,
    kind: RecordKind,
    flags: u8,
}

const _: () = assert!(size_of::<Packed>() == 56);

/// What few rows have: a blob, or a size beyond 32 bits.
#[derive(Debug, Clone, Copy)]
struct Wide {
    /// Which of the rows, counted from the first one here.
    index: u32,
    size: u64,
    blob: Option<BlobId>,
}

/// Rows with contiguous ordinals; offsets and sequence numbers rise.
#[derive(Debug)]
pub(super) struct Rows {
    first: u32,
    packed: Vec<Packed>,
    keys: Vec<u8>,
    wide: Vec<Wide>,
}

impl Rows {
    /// No rows; the first will have the ordinal `first`. Has room for so many rows and bytes of keys.
    pub(super) fn with_room(first: u32, rows: usize, key_bytes: usize) -> Rows {
        Rows {
            first,
            packed: Vec::with_capacity(rows),
            keys: Vec::with_capacity(key_bytes),
            wide: Vec::new(),
        }
    }

    /// The rows of all `parts`, whose ordinals follow one another.
    pub(super) fn concat<'a>(parts: impl Iterator<Item = &'a Rows> + Clone) -> Rows {
        let first = parts.clone().next().map_or(0, |rows| rows.first);
        let count = parts.clone().map(|rows| rows.packed.len()).sum();
        let mut all = Rows::with_room(first, count, parts.clone().map(Rows::key_bytes).sum());
        for rows in parts {
            let (row_base, key_base) = (all.len(), to_u32(all.keys.len()));
            all.packed
                .extend(rows.packed.iter().map(|row| Packed { key_start: row.key_start + key_base, ..*row }));
            all.keys.extend_from_slice(&rows.keys);
            all.wide.extend(rows.wide.iter().map(|wide| Wide { index: wide.index + row_base, ..*wide }));
        }
        all
    }

    /// Adds a row, which gets the next ordinal. Its key is within the limit; offset and number are above all others here.
    pub(super) fn push(&mut self, row: &Row<'_>) {
        let Row { namespace, key, meta } = row;
        debug_assert!(self.packed.last().is_none_or(|last| last.offset < meta.offset && last.seq < meta.seq));
        let mut flags = 0;
        if meta.expires_ms.is_some() {
            flags |= flag::EXPIRES;
        }
        if meta.blob.is_some() || u32::try_from(meta.size).is_err() {
            flags |= flag::WIDE;
            self.wide.push(Wide { index: self.len(), size: meta.size, blob: meta.blob });
        }
        self.packed.push(Packed {
            seq: meta.seq,
            expires_ms: meta.expires_ms.unwrap_or(0),
            created_ms: meta.created_ms,
            updated_ms: meta.updated_ms,
            offset: meta.offset,
            len: meta.len,
            size: u32::try_from(meta.size).unwrap_or(u32::MAX),
            namespace: *namespace,
            key_start: to_u32(self.keys.len()),
            key_len: u16::try_from(key.len()).unwrap_or(u16::MAX),
            kind: meta.kind,
            flags,
        });
        self.keys.extend_from_slice(key);
    }

    /// How many rows.
    pub(super) fn len(&self) -> u32 {
        to_u32(self.packed.len())
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

    /// Where the last record begins; `None` without rows.
    pub(super) fn last_offset(&self) -> Option<u32> {
        self.packed.last().map(|row| row.offset)
    }

    /// Sequence number of a row.
    pub(super) fn seq(&self, ordinal: Ordinal) -> Option<Seq> {
        Some(self.packed.get(self.index_of(ordinal)?)?.seq)
    }

    /// All that is known of a row beside its key.
    pub(super) fn meta(&self, ordinal: Ordinal) -> Option<RowMeta> {
        self.meta_at(self.index_of(ordinal)?)
    }

    /// Namespace and key of a row.
    pub(super) fn key(&self, ordinal: Ordinal) -> Option<(NamespaceId, &[u8])> {
        self.key_at(to_u32(self.index_of(ordinal)?))
    }

    /// The row whose record begins exactly at `offset`.
    pub(super) fn ordinal_of(&self, offset: u32) -> Option<Ordinal> {
        let index = self.packed.binary_search_by_key(&offset, |row| row.offset).ok()?;
        Some(Ordinal(self.first + to_u32(index)))
    }

    /// Namespace and key of the row with this index, counted from the first one here.
    #[inline]
    pub(super) fn key_at(&self, index: u32) -> Option<(NamespaceId, &[u8])> {
        let row = self.packed.get(index as usize)?;
        let start = row.key_start as usize;
        Some((row.namespace, self.keys.get(start..start + usize::from(row.key_len))?))
    }

    /// All rows in the order of writing.
    pub(super) fn metas(&self) -> impl Iterator<Item = RowMeta> {
        (0..self.packed.len()).filter_map(|index| self.meta_at(index))
    }

    /// Gives back room that is not used.
    pub(super) fn shrink(&mut self) {
        self.packed.shrink_to_fit();
        self.keys.shrink_to_fit();
        self.wide.shrink_to_fit();
    }

    /// Bytes that are allocated, used or not.
    pub(super) fn memory_bytes(&self) -> usize {
        self.packed.capacity() * size_of::<Packed>()
            + self.keys.capacity()
            + self.wide.capacity() * size_of::<Wide>()
    }

    fn index_of(&self, ordinal: Ordinal) -> Option<usize> {
        Some(ordinal.0.checked_sub(self.first)? as usize)
    }

    fn meta_at(&self, index: usize) -> Option<RowMeta> {
        let row = self.packed.get(index)?;
        let wide = if row.flags & flag::WIDE == 0 { None } else { self.wide_at(index) };
        Some(RowMeta {
            kind: row.kind,
            seq: row.seq,
            offset: row.offset,
            len: row.len,
            expires_ms: (row.flags & flag::EXPIRES != 0).then_some(row.expires_ms),
            size: wide.map_or(u64::from(row.size), |wide| wide.size),
            created_ms: row.created_ms,
            updated_ms: row.updated_ms,
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
