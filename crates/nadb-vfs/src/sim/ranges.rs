//! A set of block numbers, kept as disjoint ranges: a reservation of millions of blocks costs one entry.

use std::collections::BTreeMap;
use std::ops::Range;

/// INVARIANT: ranges (start to end) are not empty, do not overlap and do not touch; `count` is the sum of their lengths.
#[derive(Debug, Clone, Default)]
pub(super) struct Ranges {
    ends: BTreeMap<u64, u64>,
    count: u64,
}

impl Ranges {
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    pub(super) fn contains(&self, block: u64) -> bool {
        self.ends.range(..=block).next_back().is_some_and(|(_, &end)| block < end)
    }

    /// How many blocks of `range` are not in the set.
    pub(super) fn missing(&self, range: &Range<u64>) -> u64 {
        let held: u64 = self
            .ends
            .range(..range.end)
            .rev()
            .take_while(|&(_, &end)| end > range.start)
            .map(|(&start, &end)| end.min(range.end) - start.max(range.start))
            .sum();
        range.end.saturating_sub(range.start) - held
    }

    pub(super) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        self.count += self.missing(&range);
        let (mut first, mut last) = (range.start, range.end);
        while let Some((&start, &end)) =
            self.ends.range(..=last).next_back().filter(|&(_, &end)| end >= first)
        {
            self.ends.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        self.ends.insert(first, last);
    }

    /// Takes out every block from `end` on.
    pub(super) fn truncate(&mut self, end: u64) {
        for (start, range_end) in self.ends.split_off(&end) {
            self.count -= range_end - start;
        }
        if let Some((_, last)) = self.ends.iter_mut().next_back().filter(|(_, last)| **last > end) {
            self.count -= *last - end;
            *last = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::rng::Rng;
    use super::*;

    #[test]
    fn agrees_with_a_plain_set() {
        let mut rng = Rng::new(7);
        for _ in 0..200 {
            let (mut ranges, mut model) = (Ranges::default(), BTreeSet::new());
            for _ in 0..20 {
                let start = rng.below(40) as u64;
                let range = start..start + rng.below(8) as u64;
                assert_eq!(
                    ranges.missing(&range),
                    range.clone().filter(|b| !model.contains(b)).count() as u64
                );
                if rng.below(4) == 0 {
                    ranges.truncate(start);
                    model.retain(|&b| b < start);
                } else {
                    ranges.insert(range.clone());
                    model.extend(range);
                }
                assert_eq!(ranges.count(), model.len() as u64);
                assert!((0..60).all(|b| ranges.contains(b) == model.contains(&b)));
            }
        }
    }
}
