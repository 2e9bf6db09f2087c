//! The key column: front-coded keys in groups of sixteen, and the namespaces that the ranks belong to.
//!
//! A row says how many bytes it shares with the key before it; the first of a group shares none, so that a search compares
//! the first keys of groups and reads through one group. Which namespace a rank belongs to follows from the table of
//! namespaces alone, so that keys and counts cannot disagree.

use nadb_core::limits::KEY_BYTES_MAX;
use nadb_core::{Error, NamespaceId, Ordinal, Rank, Result};

use super::blocks::{Blocks, Section};
use super::column::{Base, Column, encode_column};
use crate::bytes::{Reader, put_varint};

pub(super) const ROWS_PER_GROUP: u32 = 16;
/// Two lengths of a byte each, of which one may say that the row adds nothing to the key before it.
const ROW_BYTES_MIN: usize = 2;
/// Room for most keys.
const KEY_BYTES_USUAL: usize = 64;
/// Namespace id and first rank.
const NAMESPACE_ENTRY_BYTES: usize = 8;

/// The rows of one namespace in a segment; they follow one another in key order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NamespaceRows {
    /// The namespace.
    pub namespace: NamespaceId,
    /// The rank of its first row.
    pub first: Rank,
    /// How many rows it has, dead ones and tombstones too; at least one.
    pub rows: u32,
}

/// Makes the key column from rows that come in key order.
#[derive(Debug, Default)]
pub(super) struct KeyWriter {
    bytes: Vec<u8>,
    /// Where each group begins in `bytes`.
    groups: Vec<u64>,
    last: Vec<u8>,
    /// First rank of each namespace.
    namespaces: Vec<(NamespaceId, u32)>,
    /// Ordinals by rank.
    pub(super) order: Vec<u32>,
    /// Ranks whose key is that of the rank before.
    pub(super) repeated: Vec<u32>,
}

impl KeyWriter {
    /// Adds the key of the next rank; gives the rank.
    pub(super) fn push(&mut self, namespace: NamespaceId, key: &[u8], ordinal: Ordinal) -> Result<u32> {
        let rank = u32::try_from(self.order.len()).map_err(|_| Error::limit("a footer has too many rows"))?;
        nadb_core::limits::check_key(key)?;
        let last_namespace = self.namespaces.last().map(|(namespace, _)| *namespace);
        if last_namespace.is_some_and(|last| (last, &self.last[..]) > (namespace, key)) {
            return Err(Error::invalid(format!("the key of rank {rank} of a footer is out of order")));
        }
        if last_namespace != Some(namespace) {
            self.namespaces.push((namespace, rank));
        } else if self.last == key {
            self.repeated.push(rank);
        }
        let shared = if rank.is_multiple_of(ROWS_PER_GROUP) {
            self.groups.push(self.bytes.len() as u64);
            0
        } else {
            self.last.iter().zip(key).take_while(|(a, b)| a == b).count()
        };
        let suffix = key.get(shared..).unwrap_or_default();
        put_varint(&mut self.bytes, shared as u64);
        put_varint(&mut self.bytes, suffix.len() as u64);
        self.bytes.extend_from_slice(suffix);
        self.last.truncate(shared);
        self.last.extend_from_slice(suffix);
        self.order.push(ordinal.0);
        Ok(rank)
    }

    /// The namespaces of the keys so far.
    pub(super) fn namespaces(&self) -> Vec<NamespaceRows> {
        let rows = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        let ends = self.namespaces.iter().skip(1).map(|(_, first)| *first).chain([rows]);
        let rows_of = |(&(namespace, first), end): (&(NamespaceId, u32), u32)| NamespaceRows {
            namespace,
            first: Rank(first),
            rows: end - first,
        };
        self.namespaces.iter().zip(ends).map(rows_of).collect()
    }

    /// The column of group places, the keys, and the table of namespaces.
    pub(super) fn finish(self) -> [Vec<u8>; 3] {
        let groups = encode_column(Base::Narrowest, self.groups.into_iter());
        let mut namespaces = Vec::with_capacity(self.namespaces.len() * NAMESPACE_ENTRY_BYTES);
        for (namespace, first) in self.namespaces {
            namespaces.extend_from_slice(&namespace.0.to_le_bytes());
            namespaces.extend_from_slice(&first.to_le_bytes());
        }
        [groups, self.bytes, namespaces]
    }
}

/// The rows of one group, read one after the other.
struct GroupReader<'a> {
    rest: &'a [u8],
    /// Bytes of the key before.
    len: usize,
}

impl<'a> GroupReader<'a> {
    fn new(group: &'a [u8]) -> GroupReader<'a> {
        GroupReader { rest: group, len: 0 }
    }

    /// How many bytes of the key before the next one begins with, and the bytes that follow them.
    #[inline]
    fn next(&mut self) -> Option<(usize, &'a [u8])> {
        let (shared, suffix, rest) = match self.rest {
            // Both lengths in a byte each: nearly always.
            [shared, suffix, rest @ ..] if (shared | suffix) & 0x80 == 0 => {
                (usize::from(*shared), usize::from(*suffix), rest)
            }
            long => Self::long_lengths(long)?,
        };
        if shared > self.len {
            return None;
        }
        self.len = shared + suffix;
        let (suffix, rest) = rest.split_at_checked(suffix)?;
        self.rest = rest;
        (1..=KEY_BYTES_MAX).contains(&self.len).then_some((shared, suffix))
    }

    #[cold]
    fn long_lengths(bytes: &'a [u8]) -> Option<(usize, usize, &'a [u8])> {
        let mut reader = Reader::new(bytes);
        let lengths = (reader.varint_len(KEY_BYTES_MAX)?, reader.varint_len(KEY_BYTES_MAX)?);
        Some((lengths.0, lengths.1, bytes.get(reader.position()..)?))
    }
}

/// A group's keys side by side, for a cursor.
#[derive(Debug, Default)]
pub(super) struct GroupKeys {
    bytes: Vec<u8>,
    /// Where each key ends.
    ends: [usize; ROWS_PER_GROUP as usize],
}

impl GroupKeys {
    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&[u8]> {
        let start = slot.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..*self.ends.get(slot)?)
    }

    /// Takes the keys of a group of `rows` rows; `None` where its bytes are malformed.
    fn fill(&mut self, group: &[u8], rows: usize) -> Option<()> {
        let mut reader = GroupReader::new(group);
        let mut start = 0;
        self.bytes.clear();
        for end in self.ends.iter_mut().take(rows) {
            let (shared, suffix) = reader.next()?;
            // `shared` is at most the length of the key that begins at `start`.
            let next = self.bytes.len();
            self.bytes.extend_from_within(start..start + shared);
            self.bytes.extend_from_slice(suffix);
            (start, *end) = (next, self.bytes.len());
        }
        reader.rest.is_empty().then_some(())
    }
}

/// The key column of a footer.
#[derive(Debug)]
pub(super) struct Keys {
    rows: u32,
    groups: Column,
    bytes: Section,
    namespaces: Box<[NamespaceRows]>,
}

impl Keys {
    /// `sections`: places of groups, keys, namespaces.
    pub(super) fn open(blocks: &Blocks, rows: u32, sections: [Section; 3]) -> Result<Keys> {
        let [groups, bytes, namespaces] = sections;
        let column = Column::new(groups, rows.div_ceil(ROWS_PER_GROUP));
        let column = column.filter(|_| bytes.len / ROW_BYTES_MIN >= rows as usize);
        let groups = column.ok_or_else(|| {
            blocks.corrupt(bytes.start, format!("the footer's key column is too short for {rows} rows"))
        })?;
        let table = blocks.get(namespaces, 0, namespaces.len)?;
        let namespaces = read_namespaces(table, rows).ok_or_else(|| {
            blocks.corrupt(namespaces.start, "the footer's table of namespaces is malformed")
        })?;
        Ok(Keys { rows, groups, bytes, namespaces })
    }

    pub(super) fn namespaces(&self) -> &[NamespaceRows] {
        &self.namespaces
    }

    /// The namespaces from that of `rank` on.
    fn namespaces_from(&self, rank: u32) -> &[NamespaceRows] {
        let behind = self.namespaces.partition_point(|namespace| namespace.first.0 <= rank);
        self.namespaces.get(behind.saturating_sub(1)..).unwrap_or_default()
    }

    fn rows_of(&self, group: u32) -> u32 {
        (self.rows - group * ROWS_PER_GROUP).min(ROWS_PER_GROUP)
    }

    /// Where the bytes of a group begin in the section, unchecked.
    fn start(&self, blocks: &Blocks, group: u32) -> Result<usize> {
        let start = self.groups.value(blocks, group)?;
        usize::try_from(start).map_err(|_| self.malformed(blocks, 0))
    }

    fn group<'a>(&self, blocks: &'a Blocks, group: u32) -> Result<(usize, &'a [u8])> {
        let start = self.start(blocks, group)?;
        let is_last = group + 1 == self.rows.div_ceil(ROWS_PER_GROUP);
        let end = if is_last { self.bytes.len } else { self.start(blocks, group + 1)? };
        let len = end.checked_sub(start).ok_or_else(|| self.malformed(blocks, start))?;
        Ok((start, blocks.get(self.bytes, start, len)?))
    }

    #[cold]
    fn malformed(&self, blocks: &Blocks, at: usize) -> Error {
        let position = self.bytes.start + at.min(self.bytes.len);
        blocks.corrupt(position, "a group of the footer's key column is malformed")
    }

    /// Decodes a group, and the namespaces of its rows.
    pub(super) fn read_group(
        &self,
        blocks: &Blocks,
        group: u32,
        keys: &mut GroupKeys,
        namespaces: &mut [NamespaceId; ROWS_PER_GROUP as usize],
    ) -> Result<()> {
        let (start, bytes) = self.group(blocks, group)?;
        keys.fill(bytes, self.rows_of(group) as usize).ok_or_else(|| self.malformed(blocks, start))?;
        let mut of = self.namespaces_from(group * ROWS_PER_GROUP).iter().peekable();
        let mut current = of.next().map(|rows| rows.namespace).unwrap_or_default();
        for (rank, namespace) in (group * ROWS_PER_GROUP..).zip(namespaces) {
            if let Some(rows) = of.next_if(|rows| rows.first.0 <= rank) {
                current = rows.namespace;
            }
            *namespace = current;
        }
        Ok(())
    }

    /// Namespace and key of a rank below the row count.
    pub(super) fn key_at(&self, blocks: &Blocks, rank: u32) -> Result<(NamespaceId, Vec<u8>)> {
        let group = rank / ROWS_PER_GROUP;
        let (start, bytes) = self.group(blocks, group)?;
        let mut reader = GroupReader::new(bytes);
        let mut key = Vec::with_capacity(KEY_BYTES_USUAL);
        for _ in 0..=rank % ROWS_PER_GROUP {
            let (shared, suffix) = reader.next().ok_or_else(|| self.malformed(blocks, start))?;
            key.truncate(shared);
            key.extend_from_slice(suffix);
        }
        let namespace = self.namespaces_from(rank).first().map(|rows| rows.namespace);
        Ok((namespace.unwrap_or_default(), key))
    }

    /// The first rank whose namespace and key are not below these; the row count where there is none.
    pub(super) fn seek(&self, blocks: &Blocks, namespace: NamespaceId, key: &[u8]) -> Result<u32> {
        let found = self.namespaces.binary_search_by_key(&namespace, |rows| rows.namespace);
        let index = found.unwrap_or_else(|index| index);
        let Some(rows) = self.namespaces.get(index) else {
            return Ok(self.rows);
        };
        let (first, end) = (rows.first.0, rows.first.0 + rows.rows);
        if found.is_err() {
            return Ok(first);
        }
        // Groups whose first row is one of this namespace but the first of all; the last of them that begins below the
        // key, or the group before them, holds the answer or ends right before it.
        let (mut low, mut high) = (first / ROWS_PER_GROUP + 1, (end - 1) / ROWS_PER_GROUP + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_key(blocks, middle)? < key { low = middle + 1 } else { high = middle }
        }
        self.seek_in_group(blocks, low - 1, key, first..end)
    }

    /// The first key of a group.
    fn first_key<'a>(&self, blocks: &'a Blocks, group: u32) -> Result<&'a [u8]> {
        /// Both lengths, at their longest: 0, and 65,535.
        const LENGTHS: usize = 4;
        let start = self.start(blocks, group)?;
        let head = blocks.get(self.bytes, start, LENGTHS.min(self.bytes.len.saturating_sub(start)))?;
        let mut head = Reader::new(head);
        let lengths = (head.varint_len(0), head.varint_len(KEY_BYTES_MAX));
        let (Some(_), Some(len)) = lengths else {
            return Err(self.malformed(blocks, start));
        };
        blocks.get(self.bytes, start + head.position(), len)
    }

    /// The first rank of the group that lies in `ranks` and whose key is not below `key`, or what comes behind.
    fn seek_in_group(
        &self,
        blocks: &Blocks,
        group: u32,
        key: &[u8],
        ranks: std::ops::Range<u32>,
    ) -> Result<u32> {
        let (start, bytes) = self.group(blocks, group)?;
        let mut reader = GroupReader::new(bytes);
        let behind = group * ROWS_PER_GROUP + self.rows_of(group);
        // How many bytes row and key have in common, and whether the row is below the key. A row that shares more than that
        // with the row before relates to the key as that one does, so that no row is put together.
        let (mut common, mut is_below) = (0, true);
        for rank in group * ROWS_PER_GROUP..behind.min(ranks.end) {
            let (shared, suffix) = reader.next().ok_or_else(|| self.malformed(blocks, start))?;
            if shared <= common {
                let rest = key.get(shared..).unwrap_or_default();
                common = shared + suffix.iter().zip(rest).take_while(|(a, b)| a == b).count();
                is_below = suffix < rest;
            }
            if rank >= ranks.start && !is_below {
                return Ok(rank);
            }
        }
        Ok(behind.min(ranks.end))
    }
}

/// Reads the table of namespaces: ids and first ranks both rise, the first rank of all is 0.
fn read_namespaces(table: &[u8], rows: u32) -> Option<Box<[NamespaceRows]>> {
    let mut reader = Reader::new(table);
    let mut namespaces = Vec::<NamespaceRows>::new();
    while !reader.is_at_end() {
        let (namespace, first) = (NamespaceId(reader.u32()?), reader.u32()?);
        let is_next = match namespaces.last_mut() {
            None => first == 0,
            Some(last) => {
                last.rows = first.checked_sub(last.first.0)?;
                last.rows > 0 && last.namespace < namespace
            }
        };
        if !is_next || first >= rows {
            return None;
        }
        namespaces.push(NamespaceRows { namespace, first: Rank(first), rows: rows - first });
    }
    (namespaces.is_empty() == (rows == 0)).then(|| namespaces.into())
}
