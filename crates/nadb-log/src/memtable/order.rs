//! Key order of rows: from nothing, or out of orders of their parts.
//!
//! Promises: rows by (namespace, key, ordinal), which is (namespace, key, number) because of one key numbers rise with ordinals. Leaves
//! to others: when it is worth computing.
//!
//! Sorting keys by comparing them would fetch two rows and two keys for each comparison. Instead rows are sorted by eight
//! bytes at a time, behind what all of them share, as integers that carry the row's index; those that are equal in them form
//! a group that is sorted by what follows. It is a multikey sort with caching of key parts (Ng and Kakehi, "Cache Efficient
//! Radix Sort for String Sorting", 2007, call these parts cached key characters).

use std::ops::Range;

use super::rows::Rows;

/// Bytes of a key that are sorted at a time.
const WINDOW: usize = 8;
/// Groups of so few rows are sorted by comparing keys.
const FEW: usize = 12;

/// What is sorted: the window in the upper 64 bits, then how many bytes of it the key has, then the row's index. A key
/// that ends within the window is filled up with zeros; its length puts it before one that has zeros there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Item(u128);

impl Item {
    fn new(window: u64, window_len: usize, index: u32) -> Item {
        Item((u128::from(window) << 64) | ((window_len as u128) << 32) | u128::from(index))
    }

    /// Of the part of a key that is not sorted yet.
    fn of(rest: &[u8], index: u32) -> Item {
        if let Some(window) = rest.first_chunk::<WINDOW>() {
            return Item::new(u64::from_be_bytes(*window), WINDOW, index);
        }
        let mut window = [0; WINDOW];
        window.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Item::new(u64::from_be_bytes(window), rest.len(), index)
    }

    #[expect(clippy::cast_possible_truncation, reason = "the index stands in the lowest 32 bits")]
    fn index(self) -> u32 {
        self.0 as u32
    }

    /// Whether the key may go on behind the window.
    fn goes_on(self) -> bool {
        (self.0 >> 32) & 0xFF == WINDOW as u128
    }

    fn has_same_window(self, other: Item) -> bool {
        self.0 >> 32 == other.0 >> 32
    }
}

/// Items that agree in namespace and in the first `depth` bytes of their keys.
#[derive(Debug)]
struct Group {
    items: Range<usize>,
    depth: usize,
}

/// The indexes of the rows of `range`, in key order.
pub(super) fn sorted(rows: &Rows, range: Range<u32>) -> Vec<u32> {
    let namespace = |index| rows.key_at(index).map_or(0, |(namespace, _)| u64::from(namespace.0));
    let mut items: Vec<Item> = range.map(|index| Item::new(namespace(index), WINDOW, index)).collect();
    items.sort_unstable();
    let mut groups = Vec::new();
    push_groups(&items, 0, 0, &mut groups);
    while let Some(group) = groups.pop() {
        sort_group(rows, &mut items, group, &mut groups);
    }
    items.into_iter().map(Item::index).collect()
}

/// Makes one order of orders that stand behind one another in `concatenated`, each of rows with higher ordinals than the one
/// before: the standard library's stable sort finds those stretches and merges them, in linear time for two.
pub(super) fn merged(rows: &Rows, mut concatenated: Vec<u32>) -> Vec<u32> {
    concatenated.sort_by_key(|index| rows.key_at(*index));
    concatenated
}

/// Sorts a group by its next window, and adds the groups that are still to be sorted.
fn sort_group(rows: &Rows, items: &mut [Item], group: Group, groups: &mut Vec<Group>) {
    let Some(part) = items.get_mut(group.items.clone()) else { return };
    let rest = |index: u32, depth: usize| {
        rows.key_at(index).and_then(|(_, key)| key.get(depth..)).unwrap_or_default()
    };
    if part.len() <= FEW {
        part.sort_unstable_by_key(|item| (rest(item.index(), group.depth), item.index()));
        return;
    }
    let mut shared = part.first().map_or(&[][..], |item| rest(item.index(), group.depth));
    for item in part.iter() {
        shared = common_start(shared, rest(item.index(), group.depth));
        if shared.is_empty() {
            break;
        }
    }
    let depth = group.depth + shared.len();
    for item in part.iter_mut() {
        *item = Item::of(rest(item.index(), depth), item.index());
    }
    part.sort_unstable();
    push_groups(part, group.items.start, depth + WINDOW, groups);
}

/// Adds the groups of items, `start` being the index of the first, that are equal so far and may differ from `depth` on.
fn push_groups(items: &[Item], start: usize, depth: usize, groups: &mut Vec<Group>) {
    let mut at = start;
    for same in items.chunk_by(|a, b| a.has_same_window(*b)) {
        let goes_on = same.first().is_some_and(|item| item.goes_on());
        if goes_on && same.len() > 1 {
            groups.push(Group { items: at..at + same.len(), depth });
        }
        at += same.len();
    }
}

fn common_start<'a>(a: &'a [u8], b: &[u8]) -> &'a [u8] {
    if b.starts_with(a) {
        return a;
    }
    let len = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    a.get(..len).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memtable::tests::row;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn rows_of(keys: &[(u32, Vec<u8>)]) -> Rows {
        let mut rows = Rows::with_room(0, 0, 0);
        for (n, (namespace, key)) in (0..).zip(keys) {
            rows.push(&row(n, *namespace, key));
        }
        rows
    }

    fn naive(keys: &[(u32, Vec<u8>)], range: Range<u32>) -> Vec<u32> {
        let mut order: Vec<u32> = range.collect();
        order.sort_by_key(|index| (&keys[*index as usize], *index));
        order
    }

    #[track_caller]
    fn check(keys: &[(u32, Vec<u8>)], cuts: &[u32]) {
        let rows = rows_of(keys);
        let expected = naive(keys, 0..rows.len());
        assert_eq!(sorted(&rows, 0..rows.len()), expected);
        let mut ends: Vec<u32> =
            cuts.iter().map(|cut| cut % (rows.len() + 1)).chain([0, rows.len()]).collect();
        ends.sort_unstable();
        let parts: Vec<u32> = ends.windows(2).flat_map(|ends| sorted(&rows, ends[0]..ends[1])).collect();
        assert_eq!(merged(&rows, parts), expected);
    }

    #[test]
    fn no_rows_and_one_row() {
        check(&[], &[]);
        check(&[(1, b"a".to_vec())], &[]);
    }

    #[test]
    fn zeros_at_the_end_of_a_key_are_not_the_filling_of_a_window() {
        let keys: Vec<(u32, Vec<u8>)> =
            (0..40).rev().map(|len| (1, [&b"shared/"[..], &vec![0; len]].concat())).collect();
        check(&keys, &[20]);
    }

    #[test]
    fn one_key_many_times_keeps_the_order_of_writing() {
        check(&vec![(1, b"counter/with/a/long/name".to_vec()); 1000], &[1, 500]);
    }

    #[test]
    fn keys_that_are_prefixes_of_one_another_at_great_length() {
        let keys: Vec<(u32, Vec<u8>)> = (1..600).rev().map(|len| (1, vec![b'a'; len * 7])).collect();
        check(&keys, &[77]);
    }

    fn key() -> impl Strategy<Value = Vec<u8>> {
        // Shared beginnings of every length up to beyond two windows, then few different bytes.
        (0..20_usize, vec(prop_oneof![Just(0), Just(1), Just(b'a'), Just(255)], 0..12))
            .prop_map(|(shared, end)| [&b"tenant/users/aaaaaaaa"[..shared], &end].concat())
    }

    proptest! {
        #[test]
        fn any_rows_come_in_key_order(
            keys in vec((0..3_u32, key()), 0..300),
            cuts in vec(any::<u32>(), 0..6),
        ) {
            check(&keys, &cuts);
        }
    }
}
