//! A request for more than one compaction should take at once, divided: each part is compacted and installed by itself, so that
//! memory and free space follow the part and not the store.

use nadb_core::SegmentId;

use crate::SegmentFacts;

/// Bytes of memory that a compaction has for each record that it copies, until it is installed.
const COPIED_ROW_BYTES: u64 = 24;
/// And for each row of the segments that it replaces.
const INPUT_ROW_BYTES: u64 = 8;

/// The most that one part may take, unless one segment alone takes more.
///
/// ```
/// use nadb_compact::{PartBounds, SegmentFacts};
/// use nadb_core::{SegmentId, Seq};
/// let segment = |id, last_seq| SegmentFacts {
///     id: SegmentId(id),
///     last_seq: Seq(last_seq),
///     file_bytes: 1_000,
///     rows: 10,
///     row_bytes: 900,
///     live_rows: 10,
///     live_bytes: 900,
///     ..SegmentFacts::default()
/// };
/// let bounds = PartBounds { memory_bytes: 1 << 20, kept_bytes: 2_000 };
/// let parts = bounds.divide(&[segment(1, 30), segment(2, 10), segment(3, 20)]);
/// assert_eq!(parts, [vec![SegmentId(2), SegmentId(3)], vec![SegmentId(1)]]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartBounds {
    /// Bytes of memory, while it is compacted.
    pub memory_bytes: u64,
    /// Bytes that are copied, which the disk has to have free.
    pub kept_bytes: u64,
}

impl PartBounds {
    /// Parts of segments, each within the bounds. Old segments come first, as far as age can be said of whole segments: what newer parts have
    /// displaced is gone when these come, so that nothing holds their tombstones.
    #[must_use]
    pub fn divide(&self, segments: &[SegmentFacts]) -> Vec<Vec<SegmentId>> {
        let mut by_age: Vec<&SegmentFacts> = segments.iter().collect();
        by_age.sort_by_key(|segment| (segment.last_seq, segment.id));
        let mut parts: Vec<Vec<SegmentId>> = Vec::new();
        let (mut memory, mut kept) = (0_u64, 0_u64);
        for segment in by_age {
            memory = memory.saturating_add(memory_bytes(segment));
            kept = kept.saturating_add(segment.kept_bytes());
            let has_room = memory <= self.memory_bytes && kept <= self.kept_bytes;
            match parts.last_mut().filter(|_| has_room) {
                Some(part) => part.push(segment.id),
                None => {
                    parts.push(vec![segment.id]);
                    (memory, kept) = (memory_bytes(segment), segment.kept_bytes());
                }
            }
        }
        parts
    }
}

fn memory_bytes(segment: &SegmentFacts) -> u64 {
    let (rows, copied) = (u64::from(segment.rows), u64::from(segment.kept_rows()));
    rows * INPUT_ROW_BYTES + copied * COPIED_ROW_BYTES
}

#[cfg(test)]
mod tests {
    use nadb_core::Seq;
    use proptest::prelude::*;

    use super::*;

    fn segment(id: u32, rows: u32, live: u32, last_seq: u64) -> SegmentFacts {
        SegmentFacts {
            id: SegmentId(id),
            file_bytes: u64::from(rows) * 100,
            rows,
            row_bytes: u64::from(rows) * 100,
            live_rows: live,
            live_bytes: u64::from(live) * 100,
            last_seq: Seq(last_seq),
            ..SegmentFacts::default()
        }
    }

    #[test]
    fn what_has_no_live_record_needs_no_part_of_its_own() {
        let bounds = PartBounds { memory_bytes: u64::MAX, kept_bytes: 100 };
        let segments = [segment(1, 10, 1, 1), segment(2, 1_000, 0, 2), segment(3, 1_000, 0, 3)];
        assert_eq!(bounds.divide(&segments).len(), 1);
        assert!(bounds.divide(&[]).is_empty());
    }

    proptest! {
        #[test]
        fn each_segment_is_in_one_part_and_parts_are_within_bounds(
            segments in proptest::collection::vec((1_u32..5_000, 0.0..=1.0_f64, 0_u64..100), 0..40),
            memory_bytes in 0_u64..200_000,
            kept_bytes in 0_u64..2_000_000,
        ) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a u32")]
            let segments: Vec<_> = (0..)
                .zip(segments)
                .map(|(id, (rows, live, seq))| segment(id, rows, (f64::from(rows) * live) as u32, seq))
                .collect();
            let bounds = PartBounds { memory_bytes, kept_bytes };
            let parts = bounds.divide(&segments);
            let of = |id: &SegmentId| segments.iter().find(|segment| segment.id == *id).unwrap();
            for part in parts.iter().filter(|part| part.len() > 1) {
                prop_assert!(part.iter().map(|id| super::memory_bytes(of(id))).sum::<u64>() <= memory_bytes);
                prop_assert!(part.iter().map(|id| of(id).kept_bytes()).sum::<u64>() <= kept_bytes);
            }
            let all: Vec<_> = parts.into_iter().flatten().collect();
            prop_assert!(all.windows(2).all(|two| of(&two[0]).last_seq <= of(&two[1]).last_seq));
            let mut ids: Vec<_> = all.iter().map(|id| id.0).collect();
            ids.sort_unstable();
            prop_assert_eq!(ids, (0..).take(segments.len()).collect::<Vec<u32>>());
        }
    }
}
