//! Which small segments to join, so that there are few and no byte is joined often.
//!
//! A set is joined when the result has at least twice the bytes of its largest part: the segment in which a byte stands doubles
//! with each joining, so a byte is joined at most log2(output / smallest file) times. What is left when no set qualifies grows
//! geometrically from one to the next, so a handful is left.

use crate::expiry::is_waited_for;
use crate::{ExpiryGroup, Moment, SegmentFacts};

/// Every segment counts as this many bytes at least: opening and searching it costs as much as some bytes of it do.
const BYTES_MIN: u64 = 64 << 10;

/// Bytes of a segment for this purpose.
fn weight(segment: &SegmentFacts) -> u64 {
    segment.kept_bytes().max(BYTES_MIN)
}

/// Whether `segment` is small beside the outputs of its store.
pub(crate) fn is_small(segment: &SegmentFacts, output_bytes: u64) -> bool {
    segment.kept_bytes() < output_bytes / 4
}

/// The largest set that is worth joining and fits in `bytes_max`, of at least `least` segments whose records expire about
/// equally far ahead.
pub(crate) fn small_set<'a>(
    segments: &[&'a SegmentFacts],
    moment: &Moment,
    (output_bytes, bytes_max): (u64, u64),
    least: usize,
) -> Option<Vec<&'a SegmentFacts>> {
    let mut small: Vec<(ExpiryGroup, &SegmentFacts)> = segments
        .iter()
        .filter(|segment| is_small(segment, output_bytes) && !is_waited_for(segment, moment.now_ms))
        .map(|segment| (ExpiryGroup::of(segment.all_expire_by_ms, moment.now_ms), *segment))
        .collect();
    small.sort_by_key(|(group, segment)| (*group, weight(segment), segment.id));
    let sets = small.chunk_by(|(a, _), (b, _)| a == b).filter_map(|group| worth_joining(group, bytes_max));
    sets.max_by_key(Vec::len).filter(|set| set.len() >= least)
}

/// The longest run from the smallest on that doubles its largest part.
fn worth_joining<'a>(
    group: &[(ExpiryGroup, &'a SegmentFacts)],
    bytes_max: u64,
) -> Option<Vec<&'a SegmentFacts>> {
    let (mut len, mut sum, mut copied) = (0, 0_u64, 0_u64);
    for (at, (_, segment)) in group.iter().enumerate() {
        copied = copied.saturating_add(segment.kept_bytes());
        if copied > bytes_max {
            break;
        }
        sum = sum.saturating_add(weight(segment));
        if sum / 2 >= weight(segment) {
            len = at + 1;
        }
    }
    (len > 1).then(|| group.iter().take(len).map(|(_, segment)| *segment).collect())
}
