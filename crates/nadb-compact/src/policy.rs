//! Which segments are rewritten next, and why.
//!
//! Promises: a decision follows from its input alone; it never names a held segment, never takes more room than there is, and
//! copies at most `copied_bytes_max`, an output's size, or one segment, whichever is most. Asked again and again with what its
//! choices lead to, and nothing dies or is written, it comes to rest.
//!
//! The order is: what is empty, what is damaged, what the limit demands, what the bound demands, what is small. Among dead ones
//! benefit over cost decides, as in the cleaner of Sprite LFS (Rosenblum and Ousterhout, "The Design and Implementation of a
//! Log-Structured File System", 1992, section 3.6); see docs/decisions/0016-compaction-policy.md for what was measured.

use nadb_core::Result;

use crate::candidates::{Limits, Picked, pick, sort_by_benefit};
use crate::expiry::is_waited_for;
use crate::facts::Sums;
use crate::small::small_set;
use crate::{Choice, Decision, Demand, Moment, PolicyOptions, SegmentFacts, Why};

/// How many segments a store has about, once it is large: an output has this part of it.
const SEGMENTS: u64 = 64;
/// One compaction copies this part of the live bytes at most, or one output: inputs are there until outputs are whole.
const COPIED_PART: u64 = 4;
/// How many small segments are worth joining at rest.
const SMALL_AT_REST: usize = 4;
/// How many small segments are worth joining although the store is busy.
const SMALL_UNDER_LOAD: usize = 16;

/// Decides what is compacted.
///
/// ```
/// use nadb_compact::{Moment, Policy, PolicyOptions, SegmentFacts, Why};
/// use nadb_core::SegmentId;
/// let policy = Policy::new(PolicyOptions { gain_bytes_min: 0, ..PolicyOptions::default() })?;
/// let segment = |id, live: u32| SegmentFacts {
///     id: SegmentId(id),
///     file_bytes: 1_000_000,
///     rows: 1_000,
///     row_bytes: 1_000_000,
///     live_rows: live,
///     live_bytes: u64::from(live) * 1_000,
///     ..SegmentFacts::default()
/// };
/// let choice = policy.decide(&[segment(1, 900), segment(2, 300)], &Moment::default()).choice().unwrap();
/// assert_eq!((choice.inputs, choice.why), (vec![SegmentId(2)], Why::Dead));
/// assert_eq!((choice.copied_bytes, choice.freed_bytes), (300_000, 700_000));
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Policy {
    options: PolicyOptions,
}

impl Policy {
    /// A policy with these settings.
    ///
    /// # Errors
    /// `InvalidInput` names the setting that is out of bounds.
    pub fn new(options: PolicyOptions) -> Result<Policy> {
        options.check()?;
        Ok(Policy { options })
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &PolicyOptions {
        &self.options
    }

    /// How large compacted segments are meant to be in a store of `total` bytes: a 64th of it, within the settings.
    #[must_use]
    pub fn output_bytes(&self, total: u64) -> u64 {
        (total / SEGMENTS).clamp(self.options.output_bytes_min, self.options.output_bytes_max)
    }

    /// What to do now. `segments` are all of the store, those that are not sealed too, as held ones.
    #[must_use]
    pub fn decide(&self, segments: &[SegmentFacts], moment: &Moment) -> Decision {
        let sums = Sums::of(segments);
        let output_bytes = self.output_bytes(sums.file_bytes);
        let mut asked = Asked { policy: self, moment, output_bytes, sums, too_large: None };
        let free: Vec<&SegmentFacts> = segments.iter().filter(|segment| !segment.is_held).collect();
        let choice = asked
            .empty(&free)
            .or_else(|| asked.damaged(&free))
            .or_else(|| asked.lag(&free))
            .or_else(|| asked.dead(&free))
            .or_else(|| asked.small(&free));
        match (choice, asked.too_large) {
            (Some(choice), _) => Decision::Compact(choice),
            (None, Some(needed_bytes)) => Decision::NoRoom { needed_bytes },
            (None, None) => Decision::Rest,
        }
    }

    /// Whether the segment that takes the writes should be sealed now, so that it can be compacted: the store is at rest, too much
    /// of it is dead, and of this segment as well.
    #[must_use]
    pub fn should_seal(&self, active: &SegmentFacts, segments: &[SegmentFacts], moment: &Moment) -> bool {
        let sums = Sums::of(segments.iter().filter(|segment| segment.id != active.id).chain([active]));
        moment.demand != Demand::UnderLoad
            && sums.gain_share() > self.options.dead_share
            && active.gain_bytes() >= self.options.gain_bytes_min
            && self.is_worth_it(active, self.options.dead_share)
    }

    /// Whether rewriting `segment` alone brings the share of all below `bound` closer. A segment of which next to nothing died is
    /// left, though each of its frames would go: that gain is had once something else is to be had as well.
    pub(crate) fn is_worth_it(&self, segment: &SegmentFacts, bound: f64) -> bool {
        segment.gain_share() > bound && segment.dead_share() >= bound / 4.0
    }

    /// The share of all bytes above which the compactor works.
    pub(crate) fn bound(&self, demand: Demand) -> f64 {
        match demand {
            Demand::UnderLoad => self.options.dead_share.max(1.0 - 1.0 / self.options.lag),
            Demand::AtRest => self.options.dead_share,
            Demand::Full => 0.0,
        }
    }

    /// The share of all bytes above which nothing is waited for.
    pub(crate) fn bound_max(&self) -> f64 {
        self.options.dead_share.max(1.0 - 1.0 / self.options.lag_max)
    }
}

/// One question.
struct Asked<'a> {
    policy: &'a Policy,
    moment: &'a Moment,
    output_bytes: u64,
    sums: Sums,
    too_large: Option<u64>,
}

impl Asked<'_> {
    fn limits(&self) -> Limits {
        let copied_bytes = match self.moment.demand {
            Demand::Full => u64::MAX,
            Demand::UnderLoad | Demand::AtRest => {
                let kept = self.sums.file_bytes.saturating_sub(self.sums.gain_bytes);
                self.policy.options.copied_bytes_max.min(kept / COPIED_PART).max(self.output_bytes)
            }
        };
        Limits { copied_bytes, room_bytes: self.moment.room_bytes }
    }

    fn empty(&mut self, free: &[&SegmentFacts]) -> Option<Choice> {
        let inputs: Vec<&SegmentFacts> = free.iter().copied().filter(|segment| segment.is_empty()).collect();
        self.choice(inputs, Why::Empty)
    }

    fn damaged(&mut self, free: &[&SegmentFacts]) -> Option<Choice> {
        let mut damaged: Vec<&SegmentFacts> =
            free.iter().copied().filter(|segment| segment.is_damaged).collect();
        damaged.sort_by_key(|segment| (segment.kept_bytes(), segment.id));
        let picked = pick(&damaged, self.limits(), self.sums, |_| false);
        self.accept(picked, Why::Damaged)
    }

    /// Above the limit, nothing is waited for.
    fn lag(&mut self, free: &[&SegmentFacts]) -> Option<Choice> {
        let bound = self.policy.bound_max();
        let all = free.iter().copied().filter(|segment| self.policy.is_worth_it(segment, bound)).collect();
        self.above(all, self.sums, bound, Why::Lag)
    }

    fn dead(&mut self, free: &[&SegmentFacts]) -> Option<Choice> {
        if self.moment.demand == Demand::Full {
            return self.full(free);
        }
        let bound = self.policy.bound(self.moment.demand);
        let is_left = |segment: &SegmentFacts| is_waited_for(segment, self.moment.now_ms);
        // What is waited for counts neither as a whole nor as dead: else others would be rewritten to make up for it.
        let sums = free.iter().filter(|segment| is_left(segment)).fold(self.sums, |sums, segment| Sums {
            file_bytes: sums.file_bytes.saturating_sub(segment.file_bytes),
            gain_bytes: sums.gain_bytes.saturating_sub(segment.gain_bytes()),
        });
        let all = free.iter().copied();
        let all =
            all.filter(|segment| !is_left(segment) && self.policy.is_worth_it(segment, bound)).collect();
        self.above(all, sums, bound, Why::Dead)
    }

    fn full(&mut self, free: &[&SegmentFacts]) -> Option<Choice> {
        let has_gain =
            |segment: &SegmentFacts| !segment.is_compacted || segment.dead_bytes() > segment.file_bytes / 100;
        let mut all: Vec<&SegmentFacts> = free.iter().copied().filter(|segment| has_gain(segment)).collect();
        sort_by_benefit(&mut all, self.moment);
        let picked = pick(&all, self.limits(), self.sums, |_| false);
        self.accept(picked, Why::Asked)
    }

    /// The best of `all`, until no more than `bound` of `sums` is left to gain.
    fn above(&mut self, mut all: Vec<&SegmentFacts>, sums: Sums, bound: f64, why: Why) -> Option<Choice> {
        if sums.gain_share() <= bound {
            return None;
        }
        sort_by_benefit(&mut all, self.moment);
        let picked = pick(&all, self.limits(), sums, |left| left.gain_share() <= bound);
        if picked.freed_bytes < self.policy.options.gain_bytes_min && picked.too_large.is_none() {
            return None;
        }
        self.accept(picked, why)
    }

    fn small(&mut self, free: &[&SegmentFacts]) -> Option<Choice> {
        let least = match self.moment.demand {
            Demand::UnderLoad => SMALL_UNDER_LOAD,
            Demand::AtRest | Demand::Full => SMALL_AT_REST,
        };
        let bytes_max = self.output_bytes.min(self.moment.room_bytes);
        let inputs = small_set(free, self.moment, (self.output_bytes, bytes_max), least)?;
        self.choice(inputs, Why::Small)
    }

    fn accept(&mut self, picked: Picked<'_>, why: Why) -> Option<Choice> {
        if let Some(needed) = picked.too_large {
            self.too_large = Some(self.too_large.unwrap_or(u64::MAX).min(needed));
        }
        self.choice(picked.segments, why)
    }

    fn choice(&self, mut inputs: Vec<&SegmentFacts>, why: Why) -> Option<Choice> {
        if inputs.is_empty() {
            return None;
        }
        inputs.sort_by_key(|segment| segment.id);
        let sums = Sums::of(inputs.iter().copied());
        let copied_bytes = sums.file_bytes.saturating_sub(sums.gain_bytes);
        let outputs = copied_bytes.div_ceil(self.output_bytes).max(1);
        Some(Choice {
            inputs: inputs.iter().map(|segment| segment.id).collect(),
            why,
            input_bytes: sums.file_bytes,
            copied_bytes,
            freed_bytes: sums.gain_bytes,
            output_bytes: copied_bytes.div_ceil(outputs),
        })
    }
}
