//! System records in a footer: what the segment says of namespaces and of the clock, in the order of writing.

use nadb_core::limits::check_namespace;
use nadb_core::{NamespaceId, Seq};

use super::rows::check_place;
use crate::bytes::{Reader, put_u48, put_u56, put_varint};
use crate::record::{RecordKind, RecordRef};

/// Bytes of a clock record's time.
const TIME_BYTES: usize = 8;

/// A record that says something of the store itself and not of a key, as a footer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemRow {
    /// Namespace create, namespace drop or clock.
    pub kind: RecordKind,
    /// The namespace that it creates or drops.
    pub namespace: NamespaceId,
    /// Sequence number.
    pub seq: Seq,
    /// Where the record begins in the segment's file.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
    /// When it was written, Unix milliseconds.
    pub updated_ms: u64,
    /// The name of a namespace that it creates, the 8 bytes of a clock's time, nothing for a drop.
    pub content: Vec<u8>,
}

impl SystemRow {
    /// The row of a record that stands at `offset`; `None` where it is no system record.
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

    /// Says what of the row cannot be, in a segment whose records end at `end`.
    pub(super) fn check(&self, end: u32) -> Result<(), &'static str> {
        check_place(self.offset, self.len, self.seq, self.updated_ms, end)?;
        let name = || std::str::from_utf8(&self.content).is_ok_and(|name| check_namespace(name).is_ok());
        let (kind, content) = match self.kind {
            RecordKind::NamespaceCreate => (true, name()),
            RecordKind::NamespaceDrop => (true, self.content.is_empty()),
            RecordKind::Clock => (true, self.content.len() == TIME_BYTES),
            _ => (false, false),
        };
        if !kind {
            return Err("kind");
        }
        content.then_some(()).ok_or("content")
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind as u8);
        put_varint(out, u64::from(self.namespace.0));
        put_u56(out, self.seq.0);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.len.to_le_bytes());
        put_u48(out, self.updated_ms);
        put_varint(out, self.content.len() as u64);
        out.extend_from_slice(&self.content);
    }

    fn decode(reader: &mut Reader<'_>) -> Option<SystemRow> {
        let number = reader.u8()?;
        let kinds = [RecordKind::NamespaceCreate, RecordKind::NamespaceDrop, RecordKind::Clock];
        let kind = kinds.into_iter().find(|kind| *kind as u8 == number)?;
        let namespace = NamespaceId(reader.varint_u32()?);
        let (seq, offset, len, updated_ms) =
            (Seq(reader.u56()?), reader.u32()?, reader.u32()?, reader.u48()?);
        let content = reader.varint_len(usize::MAX)?;
        let content = reader.take(content)?.to_vec();
        Some(SystemRow { kind, namespace, seq, offset, len, updated_ms, content })
    }
}

/// Reads the rows of a section of a segment whose records end at `end`; an error has its position in the section.
pub(super) fn read_system(section: &[u8], end: u32) -> Result<Vec<SystemRow>, (usize, &'static str)> {
    let mut reader = Reader::new(section);
    let mut rows = Vec::<SystemRow>::new();
    while !reader.is_at_end() {
        let position = reader.position();
        let row = SystemRow::decode(&mut reader).ok_or((position, "form"))?;
        row.check(end).map_err(|what| (position, what))?;
        if rows.last().is_some_and(|last| last.offset >= row.offset) {
            return Err((position, "offset"));
        }
        rows.push(row);
    }
    Ok(rows)
}
