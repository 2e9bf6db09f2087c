//! What is known of a segment without reading it, and what rewriting it would give.
//!
//! Promises that no sum overflows and no share leaves 0.0 to 1.0, whatever numbers are given.

use nadb_core::{SegmentId, Seq};

use crate::share;

/// A segment as the policy sees it. Every fact is a count that is kept in memory or stands in the segment's footer.
///
/// ```
/// use nadb_compact::SegmentFacts;
/// use nadb_core::SegmentId;
/// let segment = SegmentFacts {
///     id: SegmentId(7),
///     file_bytes: 1_300, // 10 records of 100 bytes, 20 for each one's frame, 10 for each one's part of the footer
///     footer_bytes: 100,
///     rows: 10,
///     row_bytes: 1_000,
///     live_rows: 4,
///     live_bytes: 400,
///     ..SegmentFacts::default()
/// };
/// assert_eq!(segment.kept_bytes(), 440); // four records and their part of a footer
/// assert_eq!(segment.gain_bytes(), 860);
/// assert_eq!(segment.dead_bytes(), 780); // not the frames of the four
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentFacts {
    /// Its number.
    pub id: SegmentId,
    /// Bytes of its file, footer included.
    pub file_bytes: u64,
    /// Bytes of its footer; of a segment that is not sealed, those that the footer will have, as far as they can be told.
    pub footer_bytes: u64,
    /// Rows: records that say something of a key.
    pub rows: u32,
    /// Bytes of the records of all rows.
    pub row_bytes: u64,
    /// Rows that are live.
    pub live_rows: u32,
    /// Bytes of their records.
    pub live_bytes: u64,
    /// Rows that are markers. They are kept until what they mark is gone.
    pub markers: u32,
    /// Bytes of their records, where they are known exactly; else they count as average ones of those that are not live.
    pub marker_bytes: Option<u64>,
    /// Bytes of records that were live until they expired, as far as that was counted; zero is always safe.
    pub expired_bytes: u64,
    /// The highest number of a row.
    pub last_seq: Seq,
    /// When its newest row was written, in Unix milliseconds; of a compacted segment, the newest of its inputs' times. It is
    /// compared with expiries only.
    pub written_ms: u64,
    /// Where every live row has an expiry: the last of them, in Unix milliseconds.
    pub all_expire_by_ms: Option<u64>,
    /// Whether the compactor has written it: its records have no frames of their own and stand in key order.
    pub is_compacted: bool,
    /// Whether its footer, or a record that is not live, is damaged; it is rewritten as soon as may be.
    pub is_damaged: bool,
    /// Whether it must not be chosen: it is not sealed, it is being rewritten, or rewriting it has failed for a reason that is
    /// still there. Its bytes count all the same.
    pub is_held: bool,
}

impl SegmentFacts {
    /// Rows that rewriting would keep.
    #[must_use]
    pub fn kept_rows(&self) -> u32 {
        self.live_rows.saturating_add(self.markers).min(self.rows)
    }

    /// Whether rewriting would keep nothing, so that it goes without being read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live_rows == 0 && self.markers == 0
    }

    /// Bytes that its rows would take in a compacted segment: the records that are kept, and their part of the footer.
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        if self.is_empty() {
            return 0;
        }
        let records = self.live_bytes.saturating_add(self.kept_marker_bytes());
        records.saturating_add(part(self.footer_bytes, self.kept_rows(), self.rows)).min(self.file_bytes)
    }

    /// Bytes of the markers' records. Where every row is kept there is nothing to guess: so what was just rewritten never looks as if
    /// rewriting it again would free anything.
    fn kept_marker_bytes(&self) -> u64 {
        let others = self.row_bytes.saturating_sub(self.live_bytes);
        let rows = self.rows.saturating_sub(self.live_rows);
        match self.marker_bytes {
            Some(bytes) if self.markers < rows => bytes.min(others),
            _ => part(others, self.markers, rows),
        }
    }

    /// Bytes that rewriting would free: those of dead records, and all that a compacted segment does without, as the frame
    /// header of each record.
    #[must_use]
    pub fn gain_bytes(&self) -> u64 {
        self.file_bytes - self.kept_bytes()
    }

    /// Bytes that are there because of rows that died: their records, frames and part of the footer. A segment that was
    /// just written has none, whatever rewriting it would free.
    #[must_use]
    pub fn dead_bytes(&self) -> u64 {
        let frames = self.file_bytes.saturating_sub(self.row_bytes).saturating_sub(self.footer_bytes);
        self.gain_bytes().saturating_sub(part(frames, self.kept_rows(), self.rows))
    }

    /// The share of the file that rewriting would free, 0.0 to 1.0.
    #[must_use]
    pub fn gain_share(&self) -> f64 {
        share(self.gain_bytes(), self.file_bytes)
    }

    /// The share of the file that is there because of rows that died, 0.0 to 1.0.
    #[must_use]
    pub fn dead_share(&self) -> f64 {
        share(self.dead_bytes(), self.file_bytes)
    }
}

/// `bytes × rows / of`, rounded up.
fn part(bytes: u64, rows: u32, of: u32) -> u64 {
    let product = u128::from(bytes) * u128::from(rows.min(of));
    u64::try_from(product.div_ceil(u128::from(of.max(1)))).unwrap_or(bytes)
}

/// Sums over segments: all their bytes, and those that rewriting would free.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) file_bytes: u64,
    pub(crate) gain_bytes: u64,
}

impl Sums {
    pub(crate) fn of<'a>(segments: impl IntoIterator<Item = &'a SegmentFacts>) -> Sums {
        segments.into_iter().fold(Sums::default(), |sums, segment| Sums {
            file_bytes: sums.file_bytes.saturating_add(segment.file_bytes),
            gain_bytes: sums.gain_bytes.saturating_add(segment.gain_bytes()),
        })
    }

    /// The sums once `segment` is rewritten.
    pub(crate) fn without_gain_of(self, segment: &SegmentFacts) -> Sums {
        Sums {
            file_bytes: self.file_bytes.saturating_sub(segment.gain_bytes()),
            gain_bytes: self.gain_bytes.saturating_sub(segment.gain_bytes()),
        }
    }

    pub(crate) fn gain_share(self) -> f64 {
        share(self.gain_bytes, self.file_bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts(rows: u32, live: u32, markers: u32) -> SegmentFacts {
        SegmentFacts {
            file_bytes: 100 + u64::from(rows) * 130,
            footer_bytes: u64::from(rows) * 10,
            rows,
            row_bytes: u64::from(rows) * 100,
            live_rows: live,
            live_bytes: u64::from(live) * 100,
            markers,
            ..SegmentFacts::default()
        }
    }

    #[test]
    fn what_was_just_written_has_a_gain_and_nothing_dead() {
        let fresh = facts(1_000, 1_000, 0);
        assert!(fresh.gain_share() > 0.15);
        assert_eq!(fresh.dead_bytes(), 0);
    }

    #[test]
    fn markers_are_kept_and_nothing_else_is_empty() {
        assert_eq!(facts(10, 2, 3).kept_bytes(), facts(10, 5, 0).kept_bytes());
        assert!(!facts(10, 0, 1).is_empty());
        assert_eq!((facts(10, 0, 0).gain_bytes(), facts(10, 0, 0).gain_share()), (1_400, 1.0));
    }

    #[test]
    fn bytes_of_markers_are_taken_as_they_are_or_as_average() {
        let mut mixed = SegmentFacts { row_bytes: 1_000, live_bytes: 100, ..facts(10, 1, 3) };
        assert_eq!(mixed.kept_bytes(), 100 + 300 + 40);
        mixed.marker_bytes = Some(50);
        assert_eq!(mixed.kept_bytes(), 100 + 50 + 40);
        // Nothing is dead, whatever is said of markers.
        let rewritten = SegmentFacts { marker_bytes: Some(0), ..facts(10, 4, 6) };
        assert_eq!(rewritten.dead_bytes(), 0);
    }

    #[test]
    fn half_of_the_rows_are_half_of_the_bytes() {
        let half = facts(1_000, 500, 0);
        assert!((half.dead_share() - 0.5).abs() < 0.01, "{}", half.dead_share());
    }

    proptest! {
        #[test]
        fn nothing_overflows_and_shares_are_shares(
            bytes in proptest::array::uniform6(any::<u64>()),
            rows in proptest::array::uniform3(any::<u32>()),
        ) {
            let [file_bytes, footer_bytes, row_bytes, live_bytes, marker_bytes, expired_bytes] = bytes;
            let marker_bytes = (marker_bytes % 2 == 0).then_some(marker_bytes);
            let [rows, live_rows, markers] = rows;
            let facts = SegmentFacts {
                file_bytes, footer_bytes, rows, row_bytes, live_rows, live_bytes, markers, marker_bytes, expired_bytes,
                ..SegmentFacts::default()
            };
            prop_assert_eq!(facts.kept_bytes() + facts.gain_bytes(), file_bytes);
            prop_assert!(facts.dead_bytes() <= facts.gain_bytes());
            prop_assert!((0.0..=1.0).contains(&facts.gain_share()));
            prop_assert!((0.0..=1.0).contains(&facts.dead_share()));
        }
    }
}
