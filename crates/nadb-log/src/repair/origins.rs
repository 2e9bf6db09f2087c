//! Which files count where no manifest tells: what compactions say of their making.
//!
//! A compaction whose segments are all there has replaced its inputs: their files, should they still be there, are no part of the
//! store. Of one whose segments are not all there nobody knows whether it was ever installed. Then its inputs count if they are all
//! there, and everything else counts where they are not, so that nothing that can be read is lost.

use std::collections::{BTreeMap, BTreeSet};

use nadb_core::{SegmentId, SegmentUid};

use crate::footer::Origin;

/// A segment file, and what its footer says of its making.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: SegmentId,
    pub(super) uid: SegmentUid,
    /// `None` for one that no compaction has made, and where that cannot be read.
    pub(super) origin: Option<Origin>,
}

/// What a segment file is to a repair without a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// A part of the store.
    Used,
    /// A compaction has replaced it.
    Replaced,
    /// Of a compaction of which not all segments are there, while all that it was to replace is.
    Unfinished,
    /// Of a compaction of which not all segments are there, nor all that it replaced: a part of the store, beside what is left of that.
    Partial,
}

type Replaced = BTreeSet<(SegmentId, SegmentUid)>;

/// Judges all segment files of a store.
pub(super) fn judge(members: &[Member]) -> Vec<Verdict> {
    let mut compactions: BTreeMap<[u8; 16], Outputs<'_>> = BTreeMap::new();
    for member in members {
        if let Some(origin) = &member.origin {
            let outputs = compactions.entry(origin.compaction).or_insert_with(|| Outputs { all: Vec::new() });
            outputs.all.push((member, origin));
        }
    }
    // The later ones first: only they can have replaced outputs of the others.
    let mut compactions: Vec<_> = compactions.into_iter().collect();
    compactions.sort_by_key(|(_, outputs)| outputs.all.iter().map(|(member, _)| member.id).max());
    let there: BTreeSet<_> = members.iter().map(|member| (member.id, member.uid)).collect();
    let mut replaced = Replaced::new();
    let mut verdicts = BTreeMap::new();
    for (compaction, outputs) in compactions.into_iter().rev() {
        let counts = |input: (SegmentId, SegmentUid)| there.contains(&input) && !replaced.contains(&input);
        let verdict = if outputs.are_accounted_for(&replaced) {
            replaced.extend(outputs.inputs());
            Verdict::Used
        } else if !outputs.were_installed(&replaced) && outputs.inputs().all(counts) {
            Verdict::Unfinished
        } else {
            Verdict::Partial
        };
        verdicts.insert(compaction, verdict);
    }
    let verdict = |member: &Member| match &member.origin {
        _ if replaced.contains(&(member.id, member.uid)) => Verdict::Replaced,
        Some(origin) => verdicts.get(&origin.compaction).copied().unwrap_or(Verdict::Used),
        None => Verdict::Used,
    };
    members.iter().map(verdict).collect()
}

/// The outputs of one compaction that are there.
struct Outputs<'a> {
    all: Vec<(&'a Member, &'a Origin)>,
}

impl Outputs<'_> {
    fn inputs(&self) -> impl Iterator<Item = (SegmentId, SegmentUid)> {
        self.all.iter().flat_map(|(_, origin)| &origin.inputs).copied()
    }

    /// The number of an output: they follow one another.
    fn id(&self, index: u32) -> Option<SegmentId> {
        let (member, origin) = self.all.first()?;
        let id = i64::from(member.id.0) - i64::from(origin.index) + i64::from(index);
        u32::try_from(id).ok().map(SegmentId)
    }

    /// How many there were, as far as is known: behind one that is not the last there is another.
    fn count(&self) -> u32 {
        let known = |(_, origin): &(&Member, &Origin)| origin.outputs.max(origin.index.saturating_add(1));
        let count = self.all.iter().map(known).max().unwrap_or_default();
        let is_last_there = self.all.iter().any(|(_, origin)| origin.outputs > 0);
        count.saturating_add(u32::from(!is_last_there))
    }

    /// Whether each is there, or was replaced by a later compaction in turn.
    fn are_accounted_for(&self, replaced: &Replaced) -> bool {
        let is_there = |index: u32| {
            self.all.iter().any(|(_, origin)| origin.index == index) || self.is_replaced(index, replaced)
        };
        (0..self.count()).all(is_there)
    }

    /// Only what was installed can have been replaced.
    fn were_installed(&self, replaced: &Replaced) -> bool {
        let mut indices =
            self.all.iter().flat_map(|(_, origin)| [Some(origin.index), origin.index.checked_add(1)]);
        let count = self.count();
        indices.any(|index| index.is_some_and(|index| index < count && self.is_replaced(index, replaced)))
    }

    fn is_replaced(&self, index: u32, replaced: &Replaced) -> bool {
        let (low, high) = (SegmentUid([0; 16]), SegmentUid([0xFF; 16]));
        self.id(index).is_some_and(|id| replaced.range((id, low)..=(id, high)).next().is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{Partial, Replaced, Unfinished, Used};
    use super::*;

    fn uid(id: u32) -> SegmentUid {
        SegmentUid([u8::try_from(id).unwrap(); 16])
    }

    fn original(id: u32) -> Member {
        Member { id: SegmentId(id), uid: uid(id), origin: None }
    }

    /// The output `index` of `outputs`, of a compaction of these inputs.
    fn output(id: u32, (index, outputs): (u32, u32), inputs: &[u32]) -> Member {
        let inputs: Vec<_> = inputs.iter().map(|id| (SegmentId(*id), uid(*id))).collect();
        let first = u8::try_from(id - index).unwrap();
        let outputs = if index + 1 == outputs { outputs } else { 0 };
        let origin = Origin { compaction: [first; 16], index, outputs, inputs };
        Member { origin: Some(origin), ..original(id) }
    }

    #[test]
    fn a_whole_compaction_replaces_its_inputs() {
        let all =
            [original(1), original(2), original(3), output(4, (0, 2), &[1, 2]), output(5, (1, 2), &[1, 2])];
        assert_eq!(judge(&all), [Replaced, Replaced, Used, Used, Used]);
        assert_eq!(judge(&all[2..]), [Used; 3]);
        // A file of the same number, and of other bytes, is none of them.
        let other = Member { uid: uid(99), ..original(1) };
        assert_eq!(judge(&[other, all[3].clone(), all[4].clone()]), [Used; 3]);
    }

    #[test]
    fn of_a_part_of_a_compaction_the_inputs_count_if_all_are_there() {
        for part in [output(4, (0, 2), &[1, 2]), output(5, (1, 2), &[1, 2])] {
            assert_eq!(judge(&[original(1), original(2), part.clone()]), [Used, Used, Unfinished]);
            assert_eq!(judge(&[original(2), part.clone()]), [Used, Partial]);
            assert_eq!(judge(&[part]), [Partial]);
        }
    }

    #[test]
    fn what_was_compacted_again_still_replaces() {
        let (early, late) = (output(4, (0, 2), &[1, 2]), output(7, (0, 1), &[5]));
        // Number 5 is gone, and its successor says so.
        assert_eq!(judge(&[original(1), early.clone(), late.clone()]), [Replaced, Used, Used]);
        // A file of it that came back is known, too.
        let back = output(5, (1, 2), &[1, 2]);
        assert_eq!(
            judge(&[original(1), early.clone(), back.clone(), late.clone()]),
            [Replaced, Used, Replaced, Used]
        );
        // Number 4 is nowhere: what is left of its inputs counts.
        assert_eq!(judge(&[original(1), back.clone(), late]), [Used, Replaced, Used]);
        let late = output(7, (0, 1), &[4, 5]);
        assert_eq!(judge(&[original(1), back.clone(), late]), [Replaced, Replaced, Used]);
        // Its own last one is gone, and nobody tells of that: but installed it was.
        let three = [output(4, (0, 3), &[1, 2]), output(8, (0, 1), &[4])];
        assert_eq!(judge(&[&[original(1), original(2)][..], &three].concat()), [Used, Used, Replaced, Used]);
        // Without the successor it is only a part.
        assert_eq!(judge(&[original(1), original(2), early.clone()]), [Used, Used, Unfinished]);
        let part = output(8, (1, 2), &[5]);
        assert_eq!(judge(&[early.clone(), back, part.clone()]), [Used, Used, Unfinished]);
        assert_eq!(judge(&[early, part]), [Partial, Partial]);
    }

    #[test]
    fn a_claim_of_four_billion_outputs_is_no_long_loop() {
        let mut huge = output(4, (0, 2), &[1]);
        huge.origin.iter_mut().for_each(|origin| (origin.index, origin.outputs) = (u32::MAX - 1, u32::MAX));
        assert_eq!(judge(&[original(1), huge.clone()]), [Used, Unfinished]);
        assert_eq!(judge(&[huge]), [Partial]);
    }
}
