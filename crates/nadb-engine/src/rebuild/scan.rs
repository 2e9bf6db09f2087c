//! The first step of a rebuild: rows are taken in the order in which they stand, and noted by the shards of their hashes.

use std::collections::BTreeMap;
use std::ops::Range;

use nadb_core::{Error, Location, NamespaceId, Ordinal, Result, SegmentId};
use nadb_index::{HashBits, KeyIndex, SHARDS};
use nadb_log::{RecordKind, RowSpot, RowTable};

use super::live::Dead;
use super::{Rebuild, no_namespace};

/// Rows of a part: what a thread takes at a time, and what is sorted in the cache.
pub(super) const PART_ROWS: u32 = 1 << 16;

const LEN_BITS: u32 = 27;
const POSITION_BITS: u32 = 28;

/// A row in 16 bytes: 40 bits of its hash, whether it is a tombstone, length and offset of the record, position.
///
/// They suffice: a segment has room for fewer than 2^28 rows, and no record has 2^27 bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Noted(u128);

impl Noted {
    /// `None` for numbers that no row can have.
    fn new(bits: HashBits, spot: RowSpot, position: u32) -> Option<Noted> {
        if spot.len >> LEN_BITS != 0 || position >> POSITION_BITS != 0 {
            return None;
        }
        let is_tombstone = u128::from(spot.kind == RecordKind::Tombstone);
        let place = u128::from(spot.len) << u32::BITS | u128::from(spot.offset);
        let head = u128::from(bits.number()) << 1 | is_tombstone;
        Some(Noted((head << (LEN_BITS + u32::BITS) | place) << POSITION_BITS | u128::from(position)))
    }

    pub(super) fn bits(self) -> HashBits {
        HashBits::of_number((self.0 >> (u128::BITS - HashBits::WIDTH)) as u64)
    }

    pub(super) fn is_tombstone(self) -> bool {
        self.0 >> (POSITION_BITS + u32::BITS + LEN_BITS) & 1 == 1
    }

    #[expect(clippy::cast_possible_truncation, reason = "the fields")]
    pub(super) fn location(self, segment: SegmentId) -> Location {
        Location { segment, offset: (self.0 >> POSITION_BITS) as u32, len: self.len() }
    }

    /// Bytes of the record.
    #[expect(clippy::cast_possible_truncation, reason = "the field")]
    pub(super) fn len(self) -> u32 {
        (self.0 >> (POSITION_BITS + u32::BITS)) as u32 & ((1 << LEN_BITS) - 1)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower 28 bits")]
    pub(super) fn position(self) -> u32 {
        self.0 as u32 & ((1 << POSITION_BITS) - 1)
    }
}

/// Some rows of one segment, by shard.
#[derive(Debug)]
pub(super) struct Part {
    /// Which of the segments.
    pub(super) source: usize,
    noted: Box<[Noted]>,
    /// Where the rows of each shard end.
    ends: Box<[u32]>,
}

impl Part {
    pub(super) fn len(&self) -> u64 {
        self.noted.len() as u64
    }

    /// The rows of a shard, in the order in which they stand.
    pub(super) fn shard(&self, shard: usize) -> &[Noted] {
        let end = |shard: usize| self.ends.get(shard).map_or(0, |end| *end as usize);
        let start = shard.checked_sub(1).map_or(0, end);
        self.noted.get(start..end(shard)).unwrap_or_default()
    }
}

/// What one thread takes out of the rows of segments.
pub(super) struct Scanner<'a> {
    rebuild: &'a Rebuild<'a>,
    pub(super) parts: Vec<Part>,
    /// The values that there are, of each namespace.
    pub(super) keys: BTreeMap<NamespaceId, u64>,
    pub(super) dead: Dead,
    // Of the part that is being scanned.
    spots: Vec<(Ordinal, RowSpot)>,
    rows: Vec<(usize, Noted)>,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(rebuild: &'a Rebuild<'a>, tables: &[RowTable]) -> Scanner<'a> {
        Scanner {
            rebuild,
            parts: Vec::new(),
            keys: BTreeMap::new(),
            dead: Dead::new(tables),
            spots: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// Takes the rows of one part, but for those of dropped namespaces. `spots` are those of all rows of its segment.
    pub(super) fn scan(
        &mut self,
        source: usize,
        table: &RowTable,
        positions: Range<u32>,
        spots: &[RowSpot],
    ) -> Result<()> {
        // By itself, so that the processor fetches many at once.
        self.spots.clear();
        let missing = RowSpot::NOWHERE;
        table.for_each_ordinal(positions.clone(), |ordinal| {
            let spot = spots.get(ordinal.0 as usize).copied().unwrap_or(missing);
            self.spots.push((ordinal, spot));
        })?;
        self.rows.clear();
        let mut ends = vec![0u32; SHARDS].into_boxed_slice();
        // Neighbours mostly are of one namespace: what became of it is looked up where it changes.
        let mut run = Run { namespace: NamespaceId(0), is_there: false, keys: 0 };
        let mut refused = None;
        let mut spots = self.spots.iter();
        table.for_each_key(positions, |position, namespace, key| {
            let Some((ordinal, spot)) = spots.next() else { return };
            if run.namespace != namespace {
                run.end(&mut self.keys);
                let is_there = self.rebuild.namespaces.contains_key(&namespace);
                run = Run { namespace, is_there, keys: 0 };
            }
            if !run.is_there {
                let is_stray = !self.rebuild.dropped.contains(&namespace);
                refused = refused.or(is_stray.then_some((*ordinal, namespace)));
                self.dead.add(source, *ordinal, *spot);
                return;
            }
            run.keys += u64::from(spot.kind != RecordKind::Tombstone);
            let (shard, bits) = KeyIndex::bits(self.rebuild.keyspace.hash(namespace, key));
            match (ends.get_mut(shard), Noted::new(bits, *spot, position)) {
                (Some(count), Some(noted)) => {
                    *count += 1;
                    self.rows.push((shard, noted));
                }
                _ => refused = refused.or(Some((*ordinal, namespace))),
            }
        })?;
        run.end(&mut self.keys);
        if let Some((ordinal, namespace)) = refused {
            return Err(self.refused(source, ordinal, namespace));
        }
        self.parts.push(Part { source, noted: by_shard(&self.rows, &mut ends), ends });
        Ok(())
    }

    /// The error for a row of a namespace that there never was.
    fn refused(&self, source: usize, ordinal: Ordinal, namespace: NamespaceId) -> Error {
        let Some(slot) = self.rebuild.slots.get(source) else { return Error::invalid("no such segment") };
        match slot.rows().meta(ordinal) {
            Ok(meta) if self.rebuild.namespaces.contains_key(&namespace) => Error::corruption(
                slot.segment.path(),
                u64::from(meta.offset),
                format!("record {} is longer than any can be", meta.seq),
            ),
            Ok(meta) => no_namespace(slot, &meta, namespace),
            Err(error) => error,
        }
    }
}

/// Rows of one namespace that follow one another.
struct Run {
    namespace: NamespaceId,
    is_there: bool,
    keys: u64,
}

impl Run {
    fn end(&self, keys: &mut BTreeMap<NamespaceId, u64>) {
        if self.keys > 0 {
            *keys.entry(self.namespace).or_default() += self.keys;
        }
    }
}

/// Sorts rows by shard, keeping their order. `ends` has how many each shard has; then, where they end.
fn by_shard(rows: &[(usize, Noted)], ends: &mut [u32]) -> Box<[Noted]> {
    let mut sum = 0;
    for end in ends.iter_mut() {
        sum += std::mem::replace(end, sum);
    }
    let mut sorted = vec![Noted::default(); rows.len()].into_boxed_slice();
    for (shard, row) in rows {
        if let Some(next) = ends.get_mut(*shard)
            && let Some(to) = sorted.get_mut(*next as usize)
        {
            *to = *row;
            *next += 1;
        }
    }
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use nadb_core::KeyHash;

    fn noted(hash: u64, kind: RecordKind, offset: u32, len: u32, position: u32) -> Option<Noted> {
        Noted::new(KeyIndex::bits(KeyHash(hash)).1, RowSpot { kind, offset, len }, position)
    }

    #[test]
    fn a_noted_row_gives_back_what_it_was_made_of() {
        let edges = [(0, 64, 23, 0), (u64::MAX, u32::MAX, (1 << 27) - 1, (1 << 28) - 1)];
        for (hash, offset, len, position) in edges {
            for kind in [RecordKind::Value, RecordKind::Tombstone] {
                let row = noted(hash, kind, offset, len, position).unwrap();
                assert_eq!(row.bits(), KeyIndex::bits(KeyHash(hash)).1);
                assert_eq!(row.is_tombstone(), kind == RecordKind::Tombstone);
                assert_eq!(row.location(SegmentId(3)), Location { segment: SegmentId(3), offset, len });
                assert_eq!(row.position(), position);
            }
        }
        assert!(noted(1, RecordKind::Value, 64, 1 << 27, 0).is_none());
        assert!(noted(1, RecordKind::Value, 64, 23, 1 << 28).is_none());
    }

    #[test]
    fn rows_are_sorted_by_shard_and_keep_their_order() {
        let row = |n: u32| noted(0, RecordKind::Value, 64, 23, n).unwrap();
        let rows: Vec<(usize, Noted)> = (0..1000u32).map(|n| ((n * 7 % 256) as usize, row(n))).collect();
        let mut ends = vec![0; SHARDS].into_boxed_slice();
        rows.iter().for_each(|(shard, _)| ends[*shard] += 1);
        let part = Part { source: 0, noted: by_shard(&rows, &mut ends), ends };
        assert_eq!(part.len(), 1000);
        for shard in 0..SHARDS {
            let expected = rows.iter().filter(|(of, _)| *of == shard).map(|(_, row)| row.position());
            assert!(part.shard(shard).iter().map(|row| row.position()).eq(expected), "shard {shard}");
        }
        assert!(part.shard(SHARDS).is_empty());
    }
}
