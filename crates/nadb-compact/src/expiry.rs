//! Records that expire: which belong together, and which segments are left to die by themselves.
//!
//! A segment whose records all expire soon becomes empty without being read; copying them would be for nothing. That only works
//! if they stand apart from records that stay, so outputs are divided by [`ExpiryGroup`].

use crate::SegmentFacts;

/// How many times its age a segment is waited for, until the last of its records has expired.
const PATIENCE: u128 = 4;

/// Records whose expiries lie about equally far ahead, by a factor of four. An output has one group, or neighbouring ones
/// where one alone has too little.
///
/// ```
/// use nadb_compact::ExpiryGroup;
/// let now = 1_000_000;
/// let (minute, month) = (now + 60_000, now + 30 * 86_400_000);
/// assert!(ExpiryGroup::of(Some(minute), now) < ExpiryGroup::of(Some(month), now));
/// assert!(ExpiryGroup::of(Some(month), now) < ExpiryGroup::NEVER);
/// assert_eq!(ExpiryGroup::of(None, now), ExpiryGroup::NEVER);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExpiryGroup(u8);

impl ExpiryGroup {
    /// How many groups there are.
    pub const COUNT: usize = 11;
    /// Records that never expire.
    pub const NEVER: ExpiryGroup = ExpiryGroup(10);

    /// The group of records with this expiry, in Unix milliseconds: within 4 minutes, 16, 64, and so on; all that is more than about
    /// 6 months ahead is one group.
    #[must_use]
    pub fn of(expires_ms: Option<u64>, now_ms: u64) -> ExpiryGroup {
        let Some(expires_ms) = expires_ms else {
            return ExpiryGroup::NEVER;
        };
        let four_minutes = expires_ms.saturating_sub(now_ms) / 240_000;
        let quarters = four_minutes.checked_ilog(4).map_or(0, |log| log + 1).min(9);
        ExpiryGroup(u8::try_from(quarters).unwrap_or(9))
    }

    /// The place of this group in a table of [`ExpiryGroup::COUNT`].
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// Which output each group goes to, from the bytes that each one has: neighbours that expire share an output until it has
    /// `output_bytes / 4`, and what is less at the end goes to the one before. Records that never expire have an output of
    /// their own, unless all others together are too few for one.
    ///
    /// ```
    /// use nadb_compact::ExpiryGroup;
    /// let mut bytes = [0; ExpiryGroup::COUNT];
    /// (bytes[2], bytes[3], bytes[7], bytes[10]) = (10, 90, 120, 300);
    /// let outputs = ExpiryGroup::outputs(&bytes, 400);
    /// assert_eq!((outputs[2], outputs[3], outputs[7], outputs[10]), (0, 0, 1, 2));
    /// ```
    #[must_use]
    pub fn outputs(bytes: &[u64; ExpiryGroup::COUNT], output_bytes: u64) -> [usize; ExpiryGroup::COUNT] {
        let enough = (output_bytes / 4).max(1);
        let expiring: u64 =
            bytes.iter().take(Self::NEVER.index()).fold(0, |sum, bytes| sum.saturating_add(*bytes));
        let mut outputs = [0; ExpiryGroup::COUNT];
        let (mut output, mut filled, mut left) = (0, 0_u64, expiring);
        for (at, (bytes, to)) in bytes.iter().zip(&mut outputs).enumerate() {
            let is_last = at == Self::NEVER.index();
            if filled >= enough && (is_last || left >= enough) {
                (output, filled) = (output + 1, 0);
            }
            *to = output;
            filled = filled.saturating_add(*bytes);
            left = left.saturating_sub(*bytes);
        }
        outputs
    }
}

/// Whether the live records of `segment` are better left to expire where they are.
///
/// Dead bytes that are held for so long are weighed against live bytes that are copied for nothing: what is half dead is waited for
/// [`PATIENCE`] times its age, with less dead longer. With more dead it is shorter, unless they have expired: then the others will,
/// in the same way, and the wait stays [`PATIENCE`] times the age.
pub(crate) fn is_waited_for(segment: &SegmentFacts, now_ms: u64) -> bool {
    let Some(last_ms) = segment.all_expire_by_ms.filter(|_| segment.live_rows > 0) else {
        return false;
    };
    let wait = u128::from(last_ms.saturating_sub(now_ms));
    let patience = PATIENCE * u128::from(now_ms.saturating_sub(segment.written_ms));
    let (live, dead) = (u128::from(segment.live_bytes), u128::from(segment.dead_bytes()));
    let dies_by_expiry = u128::from(segment.expired_bytes) * 2 >= dead;
    let dead = if dies_by_expiry { dead.min(live) } else { dead };
    wait.saturating_mul(dead) <= patience.saturating_mul(live)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600_000;

    fn segment(live: u64, expired: u64, last_ms: u64) -> SegmentFacts {
        SegmentFacts {
            file_bytes: 1_000,
            rows: 1_000,
            row_bytes: 1_000,
            live_rows: u32::try_from(live).unwrap(),
            live_bytes: live,
            expired_bytes: expired,
            all_expire_by_ms: Some(last_ms),
            ..SegmentFacts::default()
        }
    }

    #[test]
    fn what_expires_is_waited_for_by_its_age() {
        // Written at 0; it is one o'clock, and a fifth is left that expires at five, or one millisecond later.
        assert!(is_waited_for(&segment(200, 800, 5 * HOUR), HOUR));
        assert!(!is_waited_for(&segment(200, 800, 5 * HOUR + 1), HOUR));
    }

    #[test]
    fn what_is_overwritten_is_waited_for_as_long_as_much_is_live() {
        assert!(is_waited_for(&segment(800, 0, 5 * HOUR), HOUR));
        assert!(is_waited_for(&segment(500, 0, 5 * HOUR), HOUR));
        assert!(!is_waited_for(&segment(200, 0, 5 * HOUR), HOUR));
        assert!(is_waited_for(&segment(200, 0, 2 * HOUR), HOUR));
    }

    #[test]
    fn nothing_is_waited_for_that_stays_or_is_gone() {
        let stays = SegmentFacts { all_expire_by_ms: None, ..segment(200, 800, 0) };
        assert!(!is_waited_for(&stays, HOUR));
        assert!(!is_waited_for(&segment(0, 1_000, 2 * HOUR), HOUR));
    }

    #[test]
    fn a_clock_that_was_set_back_waits_for_nothing_and_overflows_nowhere() {
        let late = SegmentFacts { written_ms: 9 * HOUR, ..segment(200, 800, 10 * HOUR) };
        assert!(!is_waited_for(&late, HOUR));
        let endless = segment(200, 0, u64::MAX);
        assert!(!is_waited_for(&endless, HOUR));
        assert!(is_waited_for(&endless, u64::MAX));
    }

    #[test]
    fn groups_are_four_times_as_wide_each() {
        let group = |minutes: u64| ExpiryGroup::of(Some(minutes * 60_000), 0).index();
        assert_eq!([0, 3, 4, 15, 16, 63, 64].map(group), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!([1_000_000, u64::MAX / 60_000].map(group), [9, 9]);
        assert_eq!(ExpiryGroup::of(Some(5), 10).index(), 0);
    }

    #[test]
    fn outputs_rise_with_the_groups_and_none_but_the_only_one_is_small() {
        let check = |bytes: [u64; ExpiryGroup::COUNT]| {
            let outputs = ExpiryGroup::outputs(&bytes, 400);
            let mut sums = [0; ExpiryGroup::COUNT];
            outputs.iter().zip(bytes).for_each(|(output, bytes)| sums[*output] += bytes);
            assert!(outputs.is_sorted());
            outputs.map(|output| sums[output])
        };
        assert_eq!(check([0; 11])[0], 0);
        assert_eq!(check([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 500])[10], 501); // too few for an output of their own
        assert_eq!(check([50, 50, 99, 0, 0, 0, 0, 0, 0, 0, 0])[0], 199); // what follows is too little
        assert_eq!(check([100, 0, 0, 0, 0, 0, 0, 0, 0, 100, 7])[10], 7);
        assert_eq!(check([100, 0, 0, 0, 0, 0, 0, 0, 0, 100, 7])[9], 100);
    }
}
