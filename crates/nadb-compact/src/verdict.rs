//! What the policy thinks of each segment, for people to read.

use std::fmt;

use nadb_core::SegmentId;

use crate::expiry::is_waited_for;
use crate::small::is_small;
use crate::{Decision, Demand, Moment, Policy, SegmentFacts, Why};

/// Why a segment is chosen now, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// It belongs to the next compaction.
    Chosen(Why),
    /// It is not sealed, or it is being rewritten.
    Held,
    /// Its turn comes, unless others free enough before.
    Later,
    /// Its records all expire soon, the last of them then, in Unix milliseconds; copying them would be for nothing.
    Expires(u64),
    /// It would be worth it, but the store is busy, and not so much is dead that this would not matter.
    Busy,
    /// Too little of it is dead.
    MostlyLive,
    /// It is small; it is joined with others when there are enough of its size.
    Small,
}

impl fmt::Display for Reason {
    /// A sentence without its full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Chosen(why) => write!(f, "chosen: {why}"),
            Reason::Held => f.write_str("not sealed, or in use by the compactor"),
            Reason::Later => f.write_str("dead enough; comes after others, if those do not free enough"),
            Reason::Expires(_) => f.write_str("all of it expires soon, so it is left to go by itself"),
            Reason::Busy => f.write_str("dead enough; waits until the store has time"),
            Reason::MostlyLive => f.write_str("too little of it is dead"),
            Reason::Small => f.write_str("small; waits for others to be joined with"),
        }
    }
}

/// What the policy thinks of a segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The segment.
    pub id: SegmentId,
    /// The share of its file that is there because of rows that died, 0.0 to 1.0.
    pub dead_share: f64,
    /// Bytes that rewriting it would free.
    pub gain_bytes: u64,
    /// Whether it is chosen, and why, or why not.
    pub reason: Reason,
}

impl Policy {
    /// What this policy thinks of each segment, in the order given.
    ///
    /// ```
    /// use nadb_compact::{Moment, Policy, PolicyOptions, Reason, SegmentFacts, Why};
    /// let policy = Policy::new(PolicyOptions::default())?;
    /// let verdicts = policy.verdicts(&[SegmentFacts::default()], &Moment::default());
    /// assert_eq!(verdicts[0].reason, Reason::Chosen(Why::Empty));
    /// assert_eq!(verdicts[0].reason.to_string(), "chosen: nothing in them is live");
    /// # Ok::<(), nadb_core::Error>(())
    /// ```
    #[must_use]
    pub fn verdicts(&self, segments: &[SegmentFacts], moment: &Moment) -> Vec<Verdict> {
        let chosen = match self.decide(segments, moment) {
            Decision::Compact(choice) => Some(choice),
            Decision::Rest | Decision::NoRoom { .. } => None,
        };
        let total = segments.iter().fold(0_u64, |sum, segment| sum.saturating_add(segment.file_bytes));
        let reason = |segment: &SegmentFacts| match &chosen {
            Some(choice) if choice.inputs.contains(&segment.id) => Reason::Chosen(choice.why),
            _ => self.why_not(segment, total, moment),
        };
        let verdict = |segment: &SegmentFacts| Verdict {
            id: segment.id,
            dead_share: segment.dead_share(),
            gain_bytes: segment.gain_bytes(),
            reason: reason(segment),
        };
        segments.iter().map(verdict).collect()
    }

    fn why_not(&self, segment: &SegmentFacts, total: u64, moment: &Moment) -> Reason {
        let is_worth_it = |demand| self.is_worth_it(segment, self.bound(demand));
        match segment.all_expire_by_ms {
            _ if segment.is_held => Reason::Held,
            Some(last_ms) if is_waited_for(segment, moment.now_ms) => Reason::Expires(last_ms),
            _ if is_worth_it(moment.demand) => Reason::Later,
            _ if is_worth_it(Demand::AtRest) => Reason::Busy,
            _ if is_small(segment, self.output_bytes(total)) => Reason::Small,
            _ => Reason::MostlyLive,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PolicyOptions;

    fn segment(id: u32, live: u32) -> SegmentFacts {
        SegmentFacts {
            id: SegmentId(id),
            file_bytes: 100_000_000,
            rows: 1_000,
            row_bytes: 100_000_000,
            live_rows: live,
            live_bytes: u64::from(live) * 100_000,
            ..SegmentFacts::default()
        }
    }

    fn reasons(segments: &[SegmentFacts], demand: Demand) -> Vec<Reason> {
        let policy = Policy::new(PolicyOptions::default()).unwrap();
        let moment = Moment { demand, now_ms: 1_000, ..Moment::default() };
        policy.verdicts(segments, &moment).iter().map(|verdict| verdict.reason).collect()
    }

    #[test]
    fn each_segment_has_its_reason() {
        let expires = SegmentFacts { all_expire_by_ms: Some(1_500), ..segment(5, 500) };
        let held = SegmentFacts { is_held: true, ..segment(6, 500) };
        let tiny =
            SegmentFacts { file_bytes: 100_000, row_bytes: 100_000, live_bytes: 90_000, ..segment(7, 900) };
        let segments =
            [segment(1, 100), segment(2, 700), segment(3, 1_000), segment(4, 990), expires, held, tiny];
        let live =
            [Reason::MostlyLive, Reason::MostlyLive, Reason::Expires(1_500), Reason::Held, Reason::Small];
        let at_rest = reasons(&segments, Demand::AtRest);
        assert_eq!(at_rest[..2], [Reason::Chosen(Why::Dead), Reason::Later]);
        assert_eq!(at_rest[2..], live);
        let under_load = reasons(&segments, Demand::UnderLoad);
        assert_eq!(under_load[..2], [Reason::Later, Reason::Busy]);
        assert_eq!(under_load[2..], live);
    }

    #[test]
    fn every_reason_is_said_in_words() {
        let whys =
            [Why::Empty, Why::Damaged, Why::Lag, Why::Dead, Why::Small, Why::Asked].map(Reason::Chosen);
        let others = [
            Reason::Held,
            Reason::Later,
            Reason::Expires(0),
            Reason::Busy,
            Reason::MostlyLive,
            Reason::Small,
        ];
        let words: std::collections::BTreeSet<String> =
            whys.iter().chain(&others).map(Reason::to_string).collect();
        assert_eq!(words.len(), 12);
        assert!(words.iter().all(|words| !words.is_empty() && !words.ends_with('.')));
    }
}
