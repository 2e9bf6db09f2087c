//! Records with tags, and what is known of them: which tags each has, and by that every answer.
//!
//! A record has three different tags of a thousand, drawn by Zipf's law with exponent 1.1: then two different tags that are drawn the
//! same way have some 2,100 records of 250,000 in common. Whatever the exponent, a tag has 750 of them on average, two tags that are
//! drawn evenly have 1.5 in common (three pairs a record, 499,500 pairs) and 1,498.5 together; the skew decides only how far single
//! pairs are from that.

use std::collections::BTreeSet;

use nadb_benches::{Key, Random};

use crate::data::{SEED, key_of, uniform};

/// Different tags.
pub(crate) const TAGS: usize = 1000;
/// Tags of a record.
pub(crate) const TAGS_OF_ONE: usize = 3;
/// Bytes of a tag.
pub(crate) const TAG_BYTES: usize = 10;

const EXPONENT: f64 = 1.1;

/// The number of a tag; the lower, the more frequent.
pub(crate) type TagNumber = u16;
/// The tags of a record.
pub(crate) type TagsOfOne = [TagNumber; TAGS_OF_ONE];

/// A record as an engine is given it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Record<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) tags: [&'a str; TAGS_OF_ONE],
    /// When it expires, in Unix milliseconds; 0 for never.
    pub(crate) expires_ms: u64,
}

/// The words of the tags. Frequent ones stand anywhere in their order.
pub(crate) struct Names(Vec<String>);

impl Names {
    pub(crate) fn new() -> Names {
        // 617 has no factor in common with 1000: every number is met once.
        Names((0..TAGS).map(|n| format!("topic-{:04}", n * 617 % TAGS)).collect())
    }

    pub(crate) fn of<const N: usize>(&self, tags: [TagNumber; N]) -> [&str; N] {
        tags.map(|tag| self.0[usize::from(tag)].as_str())
    }
}

/// Draws tags as they occur.
pub(crate) struct Draw {
    /// The share of the tags up to each.
    upto: Vec<f64>,
    random: Random,
}

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        let weights = (1..=TAGS).map(|rank| (rank as f64).powf(-EXPONENT));
        let sum: f64 = weights.clone().sum();
        let upto = weights.scan(0.0, |upto, weight| {
            *upto += weight / sum;
            Some(*upto)
        });
        Draw { upto: upto.collect(), random: Random::new(seed) }
    }

    fn one(&mut self) -> TagNumber {
        let drawn = (self.random.bits() >> 11) as f64 / (1u64 << 53) as f64;
        let tag = self.upto.partition_point(|upto| *upto < drawn);
        tag.min(TAGS - 1) as TagNumber
    }

    /// Tags of which no two are equal.
    pub(crate) fn different<const N: usize>(&mut self) -> [TagNumber; N] {
        let mut tags = [0; N];
        let mut have = 0;
        while have < N {
            let tag = self.one();
            if !tags[..have].contains(&tag) {
                tags[have] = tag;
                have += 1;
            }
        }
        tags
    }
}

/// Pairs of different tags, each tag as likely as any other.
pub(crate) fn even_pairs(count: usize, seed: u64) -> Vec<[TagNumber; 2]> {
    let drawn = uniform(count * 2, TAGS as u64, seed);
    let pair = |two: &[u64]| {
        let (a, b) = (two[0], if two[0] == two[1] { (two[1] + 1) % TAGS as u64 } else { two[1] });
        [a as TagNumber, b as TagNumber]
    };
    drawn.chunks_exact(2).map(pair).collect()
}

/// Pairs of different tags, drawn as they occur.
pub(crate) fn frequent_pairs(count: usize, seed: u64) -> Vec<[TagNumber; 2]> {
    let mut draw = Draw::new(seed);
    (0..count).map(|_| draw.different()).collect()
}

/// The tags of all records.
pub(crate) struct Model {
    tags: Vec<TagsOfOne>,
}

impl Model {
    /// The records as they are loaded.
    pub(crate) fn new(records: u64) -> Model {
        let mut draw = Draw::new(SEED ^ 20);
        Model { tags: (0..records).map(|_| draw.different()).collect() }
    }

    pub(crate) fn len(&self) -> u64 {
        self.tags.len() as u64
    }

    pub(crate) fn tags_of(&self, number: u64) -> TagsOfOne {
        self.tags[number as usize]
    }

    pub(crate) fn retag(&mut self, number: u64, tags: TagsOfOne) {
        self.tags[number as usize] = tags;
    }

    /// The answers of the records that `is_there` leaves.
    pub(crate) fn answers(&self, is_there: impl Fn(u64) -> bool) -> Answers {
        let mut keys: Vec<(Key, u64)> = (0..self.len())
            .filter(|number| is_there(*number))
            .map(|number| (key_of(number), number))
            .collect();
        keys.sort_unstable();
        let mut of_tag = vec![Vec::new(); TAGS];
        for (rank, (_, number)) in keys.iter().enumerate() {
            for tag in self.tags_of(*number) {
                of_tag[usize::from(tag)].push(rank as u32);
            }
        }
        Answers { keys: keys.into_iter().map(|(key, _)| key).collect(), of_tag }
    }
}

/// What queries have to find.
pub(crate) struct Answers {
    /// In their order.
    keys: Vec<Key>,
    /// For each tag the places of its keys, in their order.
    of_tag: Vec<Vec<u32>>,
}

impl Answers {
    fn places(&self, tag: TagNumber) -> &[u32] {
        &self.of_tag[usize::from(tag)]
    }

    pub(crate) fn count(&self, tag: TagNumber) -> u64 {
        self.places(tag).len() as u64
    }

    fn common([few, many]: [&[u32]; 2]) -> Vec<u32> {
        let (few, mut many) = if few.len() <= many.len() { (few, many) } else { (many, few) };
        let mut common = Vec::new();
        for place in few {
            many = &many[many.partition_point(|other| other < place)..];
            if many.first() == Some(place) {
                common.push(*place);
            }
        }
        common
    }

    pub(crate) fn count_all(&self, tags: [TagNumber; 2]) -> u64 {
        Self::common(tags.map(|tag| self.places(tag))).len() as u64
    }

    pub(crate) fn count_any(&self, tags: [TagNumber; 2]) -> u64 {
        self.count(tags[0]) + self.count(tags[1]) - self.count_all(tags)
    }

    pub(crate) fn all(&self, tags: [TagNumber; 2]) -> Vec<Key> {
        let common = Self::common(tags.map(|tag| self.places(tag)));
        common.into_iter().map(|place| self.keys[place as usize]).collect()
    }

    pub(crate) fn any(&self, tags: [TagNumber; 2]) -> Vec<Key> {
        let places: BTreeSet<u32> = tags.iter().flat_map(|tag| self.places(*tag)).copied().collect();
        places.into_iter().map(|place| self.keys[place as usize]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_different_and_of_one_length() {
        let names = Names::new();
        assert_eq!(names.0.iter().collect::<BTreeSet<_>>().len(), TAGS);
        assert!(names.0.iter().all(|name| name.len() == TAG_BYTES));
    }

    /// The figures at the head of this file.
    #[test]
    fn pairs_have_as_much_in_common_as_the_head_says() {
        let mean = |answers: &Answers, pairs: &[[TagNumber; 2]], of: fn(&Answers, [TagNumber; 2]) -> u64| {
            pairs.iter().map(|pair| of(answers, *pair)).sum::<u64>() as f64 / pairs.len() as f64
        };
        let answers = Model::new(250_000).answers(|_| true);
        let frequent = mean(&answers, &frequent_pairs(5_000, SEED ^ 24), Answers::count_all);
        assert!((1_900.0..2_300.0).contains(&frequent), "{frequent}");
        // The means of all pairs grow with the number of records: a hundredth of these is enough.
        let answers = Model::new(2_500).answers(|_| true);
        let every: Vec<[TagNumber; 2]> = (0..TAGS as u16).flat_map(|a| (0..a).map(move |b| [a, b])).collect();
        let all = mean(&answers, &every, Answers::count_all);
        let any = mean(&answers, &every, Answers::count_any);
        assert!((all - 0.015).abs() < 1e-4 && (any - 14.985).abs() < 1e-4, "{all}, {any}");
    }

    #[test]
    fn answers_are_those_of_looking_at_every_record() {
        let mut model = Model::new(2_000);
        model.retag(5, [1, 2, 3]);
        let answers = model.answers(|number| number % 2 == 1);
        let looked = |is_meant: &dyn Fn(TagsOfOne) -> bool| -> Vec<Key> {
            let of: BTreeSet<Key> =
                (0..2_000).filter(|n| n % 2 == 1 && is_meant(model.tags_of(*n))).map(key_of).collect();
            of.into_iter().collect()
        };
        for pair @ [a, b] in [[1, 2], [0, 3], [2, 900]] {
            let all = looked(&|tags| tags.contains(&a) && tags.contains(&b));
            let any = looked(&|tags| tags.contains(&a) || tags.contains(&b));
            assert_eq!((answers.all(pair), answers.any(pair)), (all.clone(), any.clone()));
            assert_eq!(answers.count_all(pair), all.len() as u64);
            assert_eq!(answers.count_any(pair), any.len() as u64);
        }
        assert!(answers.all([1, 2]).contains(&key_of(5)));
    }
}
