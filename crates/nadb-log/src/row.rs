//! What a segment knows of a key record without reading it: the vocabulary that memtable and footer share.
//!
//! Key records are those that say something of a key: values, tombstones, blob references. In the order of writing they are
//! counted by ordinals, in key order by ranks; key order is (namespace id, key, number).

use nadb_core::{BlobId, NamespaceId, Ordinal, Result, Seq};

use crate::record::{RecordKind, RecordRef};
use crate::tag_list::TagList;

/// What is known of a key record beside its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowMeta {
    /// Value, tombstone or blob reference.
    pub kind: RecordKind,
    /// Sequence number.
    pub seq: Seq,
    /// Where the record begins in the segment's file.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
    /// Expiry, Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// Bytes of the value before any codec; of a blob's value for its reference.
    pub size: u64,
    /// When the key came into being, Unix milliseconds.
    pub created_ms: u64,
    /// When the record was written, Unix milliseconds.
    pub updated_ms: u64,
    /// The blob that a blob reference names.
    pub blob: Option<BlobId>,
}

/// What a listing needs of a row to find its record, or to pass over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowPlace {
    /// Where the record begins in the segment's file.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
    /// Expiry, Unix milliseconds.
    pub expires_ms: Option<u64>,
}

/// What the index needs of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowSpot {
    /// Value, tombstone or blob reference.
    pub kind: RecordKind,
    /// Where the record begins in the segment's file.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
}

impl RowSpot {
    /// A place to read into.
    pub const NOWHERE: RowSpot = RowSpot { kind: RecordKind::Tombstone, offset: 0, len: 0 };
}

/// A key record as memtable and footer have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Namespace id.
    pub namespace: NamespaceId,
    /// Key.
    pub key: &'a [u8],
    /// The rest.
    pub meta: RowMeta,
    /// Tags, of a record that was verified.
    pub tags: TagList<'a>,
}

impl<'a> Row<'a> {
    /// The row of a record that stands at `offset`; `None` where it is no key record.
    #[must_use]
    pub fn of(record: &RecordRef<'a>, offset: u32) -> Option<Row<'a>> {
        let (size, blob) = match record.kind {
            RecordKind::Value => (record.logical_len as u64, None),
            RecordKind::Tombstone => (0, None),
            RecordKind::BlobReference => {
                let (id, size) = record.value.split_first_chunk::<16>()?;
                (u64::from_le_bytes(size.try_into().ok()?), Some(BlobId(*id)))
            }
            _ => return None,
        };
        Some(Row {
            namespace: record.namespace,
            key: record.key,
            meta: RowMeta {
                kind: record.kind,
                seq: record.seq,
                offset,
                len: u32::try_from(record.len()).ok()?,
                expires_ms: record.expires_ms,
                size,
                created_ms: record.created_ms,
                updated_ms: record.updated_ms,
                blob,
            },
            tags: record.tag_list(),
        })
    }
}

/// A record that says something of the store or a namespace, not of a key: a namespace created or dropped, or a clock record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemRow {
    /// Namespace create, namespace drop or clock.
    pub kind: RecordKind,
    /// The namespace that is created or dropped; 0 for a clock record.
    pub namespace: NamespaceId,
    /// Sequence number.
    pub seq: Seq,
    /// Where the record begins in the segment's file.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
    /// When the record was written, Unix milliseconds.
    pub updated_ms: u64,
    /// The name of a namespace that is created, the 8 bytes of a clock record; empty for a drop.
    pub content: Vec<u8>,
}

impl SystemRow {
    /// The row of a record that stands at `offset`; `None` where it is a key record.
    #[must_use]
    pub fn of(record: &RecordRef<'_>, offset: u32) -> Option<SystemRow> {
        let content = match record.kind {
            RecordKind::NamespaceCreate => record.key,
            RecordKind::NamespaceDrop => &[],
            RecordKind::Clock => record.value,
            _ => return None,
        };
        Some(SystemRow {
            kind: record.kind,
            namespace: record.namespace,
            seq: record.seq,
            offset,
            len: u32::try_from(record.len()).ok()?,
            updated_ms: record.updated_ms,
            content: content.to_vec(),
        })
    }
}

/// A place in rows that stand in key order, movable both ways: over one run of a memtable, or over a footer.
pub trait RowCursor {
    /// Namespace and key of the row under the cursor; `None` before the first and behind the last.
    fn key(&self) -> Option<(NamespaceId, &[u8])>;

    /// The ordinal of the row under the cursor; where there is none, any number.
    fn ordinal(&self) -> Ordinal;

    /// Where the record of the row under the cursor stands, where the cursor knows that without looking for it.
    fn known_place(&self) -> Option<RowPlace> {
        None
    }

    /// Where the record of a row stands. Neighbours in key order stand anywhere in the columns: who asks for several rows at once
    /// waits for memory once.
    ///
    /// # Errors
    /// `Corruption`, also where there is no such row.
    fn place(&self, ordinal: Ordinal) -> Result<RowPlace>;

    /// Moves to the next row in key order; from before the first to the first.
    ///
    /// # Errors
    /// `Corruption` or `Io`: the cursor has not moved.
    fn next(&mut self) -> Result<()>;

    /// Moves to the row before in key order; from behind the last to the last.
    ///
    /// # Errors
    /// As [`RowCursor::next`].
    fn previous(&mut self) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::RecordFields;

    fn encoded(kind: RecordKind, key: &[u8], value: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        RecordFields::new(kind, NamespaceId(9), key, value, 1234).encode(&mut bytes);
        bytes
    }

    #[test]
    fn every_kind_is_a_row_or_a_system_row_or_neither() {
        let clock = &77_u64.to_le_bytes()[..];
        let cases = [
            (RecordKind::Value, &b"key"[..], &b"value"[..], None, true),
            (RecordKind::Tombstone, b"key", b"", None, true),
            (RecordKind::NamespaceCreate, b"app/users", b"", Some(&b"app/users"[..]), false),
            (RecordKind::NamespaceDrop, b"", b"", Some(b""), false),
            (RecordKind::Clock, b"", clock, Some(clock), false),
        ];
        for (kind, key, value, content, is_row) in cases {
            let bytes = encoded(kind, key, value);
            let record = RecordRef::decode(&bytes).unwrap();
            assert_eq!(Row::of(&record, 5).is_some(), is_row, "{kind:?}");
            let expected = content.map(|content| SystemRow {
                kind,
                namespace: NamespaceId(9),
                seq: Seq(0),
                offset: 5,
                len: u32::try_from(bytes.len()).unwrap(),
                updated_ms: 1234,
                content: content.to_vec(),
            });
            assert_eq!(SystemRow::of(&record, 5), expected);
        }
    }
}
