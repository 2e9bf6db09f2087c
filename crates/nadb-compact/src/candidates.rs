//! Segments that may be rewritten for what that frees, the best first, and the set that is worth it now.

use nadb_core::Seq;

use crate::facts::Sums;
use crate::{Moment, SegmentFacts};

/// What rewriting costs beside copying, as a share of the file: reading the footer, making a file, syncing.
const COST_MIN: f64 = 0.02;

/// How much a set may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes to copy, unless one segment alone has more.
    pub(crate) copied_bytes: u64,
    /// Bytes of the disk.
    pub(crate) room_bytes: u64,
}

/// A set of segments, and what rewriting it means.
#[derive(Debug, Clone, Default)]
pub(crate) struct Picked<'a> {
    pub(crate) segments: Vec<&'a SegmentFacts>,
    pub(crate) copied_bytes: u64,
    pub(crate) freed_bytes: u64,
    /// The least that a segment would have copied for which there was no room.
    pub(crate) too_large: Option<u64>,
}

impl<'a> Picked<'a> {
    fn take(&mut self, segment: &'a SegmentFacts) {
        self.copied_bytes = self.copied_bytes.saturating_add(segment.kept_bytes());
        self.freed_bytes = self.freed_bytes.saturating_add(segment.gain_bytes());
        self.segments.push(segment);
    }
}

/// Takes the first of `ordered` that fit, until `enough` says of the sums that are left that it is enough.
pub(crate) fn pick<'a>(
    ordered: &[&'a SegmentFacts],
    limits: Limits,
    mut left: Sums,
    enough: impl Fn(Sums) -> bool,
) -> Picked<'a> {
    let mut picked = Picked::default();
    for segment in ordered {
        if enough(left) {
            break;
        }
        let copied = picked.copied_bytes.saturating_add(segment.kept_bytes());
        if copied > limits.room_bytes {
            let least = picked.too_large.unwrap_or(u64::MAX);
            picked.too_large = Some(least.min(segment.kept_bytes()));
            continue; // a smaller one may fit
        }
        if copied > limits.copied_bytes && !picked.segments.is_empty() {
            break;
        }
        picked.take(segment);
        left = left.without_gain_of(segment);
    }
    picked
}

/// Sorts by benefit over cost, the best first; equal ones by number.
pub(crate) fn sort_by_benefit(segments: &mut [&SegmentFacts], moment: &Moment) {
    let benefit = |segment: &SegmentFacts| benefit(segment, moment.newest_seq);
    segments.sort_by(|a, b| benefit(b).total_cmp(&benefit(a)).then(a.id.cmp(&b.id)));
}

/// What is freed by what is copied, times the root of the age: what has been left alone for long will be left alone, so what is
/// freed there stays free. Sprite LFS takes the age itself, which leaves young segments too long where all die alike.
#[expect(clippy::cast_precision_loss, reason = "an order among estimates")]
fn benefit(segment: &SegmentFacts, newest: Seq) -> f64 {
    let gain = segment.gain_share();
    let age = newest.0.saturating_sub(segment.last_seq.0) as f64 + 1.0;
    gain * age.sqrt() / (COST_MIN + 1.0 - gain)
}

#[cfg(test)]
mod tests {
    use nadb_core::SegmentId;

    use super::*;

    fn segment(id: u32, live: u32, last_seq: u64) -> SegmentFacts {
        SegmentFacts {
            id: SegmentId(id),
            file_bytes: 1_000,
            rows: 1_000,
            row_bytes: 1_000,
            live_rows: live,
            live_bytes: u64::from(live),
            last_seq: Seq(last_seq),
            ..SegmentFacts::default()
        }
    }

    fn order(segments: &[SegmentFacts]) -> Vec<u32> {
        let mut sorted: Vec<&SegmentFacts> = segments.iter().collect();
        sort_by_benefit(&mut sorted, &Moment { newest_seq: Seq(10_000), ..Moment::default() });
        sorted.iter().map(|segment| segment.id.0).collect()
    }

    #[test]
    fn the_emptier_goes_first_and_among_equals_the_older() {
        assert_eq!(order(&[segment(1, 500, 0), segment(2, 100, 0), segment(3, 900, 0)]), [2, 1, 3]);
        assert_eq!(order(&[segment(1, 500, 9_000), segment(2, 500, 100)]), [2, 1]);
        assert_eq!(order(&[segment(2, 500, 100), segment(1, 500, 100)]), [1, 2]);
        assert_eq!(order(&[segment(1, 100, 9_000), segment(2, 500, 100)]), [1, 2]); // age is not all
    }

    #[test]
    fn a_set_ends_where_it_is_enough_or_full() {
        let segments = [segment(1, 100, 0), segment(2, 200, 0), segment(3, 300, 0)];
        let ordered: Vec<&SegmentFacts> = segments.iter().collect();
        let sums = Sums::of(ordered.iter().copied());
        let check = |copied_bytes, room_bytes, bound: f64| {
            let limits = Limits { copied_bytes, room_bytes };
            let picked = pick(&ordered, limits, sums, |left| left.gain_share() <= bound);
            let ids: Vec<u32> = picked.segments.iter().map(|segment| segment.id.0).collect();
            (ids, picked.too_large)
        };
        assert_eq!(check(u64::MAX, u64::MAX, 0.0), (vec![1, 2, 3], None));
        assert_eq!(check(u64::MAX, u64::MAX, 0.6), (vec![1, 2], None)); // 700 of 1,300 are left to gain
        assert_eq!(check(299, u64::MAX, 0.0), (vec![1], None));
        assert_eq!(check(10, u64::MAX, 0.0), (vec![1], None)); // one is always allowed
        assert_eq!(check(u64::MAX, 250, 0.0), (vec![1], Some(200)));
        assert_eq!(check(u64::MAX, 99, 0.0), (vec![], Some(100)));
    }
}
