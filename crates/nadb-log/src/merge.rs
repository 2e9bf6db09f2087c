//! Merging rows that stand in key order in several places into one key order, either way: what opening, scans and compaction
//! have in common.

use std::cmp::Ordering;

use nadb_core::{Error, ErrorKind, NamespaceId, Ordinal, Result};

use crate::row::{RowCursor, RowPlace};

/// Which way a merge goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From small keys to large ones.
    Forward,
    /// From large keys to small ones.
    Backward,
}

/// The row that a merge has reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merged<'a, T> {
    /// Namespace id.
    pub namespace: NamespaceId,
    /// Key.
    pub key: &'a [u8],
    /// Its ordinal in its source.
    pub ordinal: Ordinal,
    /// Where its record stands, where the source's cursor knows it; else [`Merge::place`] finds it.
    pub place: Option<RowPlace>,
    /// What its source was given with.
    pub source: &'a T,
}

/// A merge of cursors: a binary heap whose top is the next row. Rows with equal keys come one after the other, in no particular
/// order.
#[derive(Debug)]
pub struct Merge<C, T> {
    sources: Vec<(C, T)>,
    /// Those that have rows left; each is not after its two children at `2i + 1` and `2i + 2`.
    heap: Vec<Place>,
    direction: Direction,
}

/// A source in the heap.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// Of the row under its cursor: nearly always enough to compare by, without a look at the key.
    head: u128,
    /// Its place in `sources`.
    source: usize,
}

/// The namespace and the first bytes of a key, as a number in their order: where two heads differ, so do the keys.
fn head(namespace: NamespaceId, key: &[u8]) -> u128 {
    let mut bytes = [0; 12];
    match key.first_chunk::<12>() {
        Some(first) => bytes = *first,
        None => bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from),
    }
    let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    let front = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    u128::from(namespace.0) << 96 | u128::from(front) << 32 | u128::from(u32::from_be_bytes([i, j, k, l]))
}

impl<C: RowCursor, T> Merge<C, T> {
    /// A merge of `sources`, each of which stands on the row to begin with.
    #[must_use]
    pub fn new(sources: Vec<(C, T)>, direction: Direction) -> Merge<C, T> {
        let places = sources.iter().enumerate().filter_map(|(source, (cursor, _))| {
            cursor.key().map(|(namespace, key)| Place { head: head(namespace, key), source })
        });
        let heap = places.collect();
        let mut merge = Merge { sources, heap, direction };
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(at);
        }
        merge
    }

    /// Whether the row of one source comes before that of another.
    #[inline]
    fn is_before(&self, one: Place, other: Place) -> bool {
        let order = one.head.cmp(&other.head).then_with(|| self.compare_keys(one, other));
        match self.direction {
            Direction::Forward => order == Ordering::Less,
            Direction::Backward => order == Ordering::Greater,
        }
    }

    #[cold]
    fn compare_keys(&self, one: Place, other: Place) -> Ordering {
        let key = |place: Place| self.sources.get(place.source).and_then(|(cursor, _)| cursor.key());
        key(one).cmp(&key(other))
    }

    fn sift_down(&mut self, mut at: usize) {
        let Some(&moved) = self.heap.get(at) else { return };
        loop {
            let left = 2 * at + 1;
            let Some(&first) = self.heap.get(left) else { break };
            let (child, place) = match self.heap.get(left + 1) {
                Some(&second) if self.is_before(second, first) => (left + 1, second),
                _ => (left, first),
            };
            if !self.is_before(place, moved) {
                break;
            }
            self.put(at, place);
            at = child;
        }
        self.put(at, moved);
    }

    fn put(&mut self, at: usize, place: Place) {
        if let Some(there) = self.heap.get_mut(at) {
            *there = place;
        }
    }

    /// The row that comes next; `None` when all have been.
    #[must_use]
    #[inline]
    pub fn current(&self) -> Option<Merged<'_, T>> {
        let (cursor, source) = self.sources.get(self.heap.first()?.source)?;
        let (namespace, key) = cursor.key()?;
        Some(Merged { namespace, key, ordinal: cursor.ordinal(), place: cursor.known_place(), source })
    }

    /// Where the record of a row stands that the current row's source has, or had, given.
    ///
    /// # Errors
    /// As [`RowCursor::place`]; also where `source` is none.
    pub fn place(&self, source: usize, ordinal: Ordinal) -> Result<RowPlace> {
        match self.sources.get(source) {
            Some((cursor, _)) => cursor.place(ordinal),
            None => Err(Error::new(ErrorKind::Corruption, "the merge has no such source")),
        }
    }

    /// Which of the sources the current row comes from, for [`Merge::place`].
    #[must_use]
    pub fn current_source(&self) -> usize {
        self.heap.first().map_or(usize::MAX, |place| place.source)
    }

    /// Goes on to the next row.
    ///
    /// # Errors
    /// As [`RowCursor::next`]; the merge has not moved.
    pub fn advance(&mut self) -> Result<()> {
        let Some(top) = self.heap.first_mut() else { return Ok(()) };
        let Some((cursor, _)) = self.sources.get_mut(top.source) else { return Ok(()) };
        match self.direction {
            Direction::Forward => cursor.next()?,
            Direction::Backward => cursor.previous()?,
        }
        match cursor.key() {
            Some((namespace, key)) => top.head = head(namespace, key),
            None => drop(self.heap.swap_remove(0)),
        }
        self.sift_down(0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    /// Keys in order, with a place that is one behind: 0 is before the first.
    #[derive(Debug)]
    struct Keys(Vec<Vec<u8>>, usize);

    impl RowCursor for Keys {
        fn key(&self) -> Option<(NamespaceId, &[u8])> {
            let at = self.1.checked_sub(1)?;
            self.0.get(at).map(|key| (NamespaceId(1), &key[..]))
        }
        fn ordinal(&self) -> Ordinal {
            Ordinal(u32::try_from(self.1).unwrap().wrapping_sub(1))
        }
        fn place(&self, ordinal: Ordinal) -> Result<RowPlace> {
            Ok(RowPlace { offset: ordinal.0, ..RowPlace::default() })
        }
        fn next(&mut self) -> Result<()> {
            self.1 = (self.1 + 1).min(self.0.len() + 1);
            Ok(())
        }
        fn previous(&mut self) -> Result<()> {
            self.1 = self.1.saturating_sub(1);
            Ok(())
        }
    }

    proptest! {
        #[test]
        fn heads_are_in_the_order_of_keys(
            one in (0..3_u32, vec(prop_oneof![Just(0), Just(1), Just(255)], 0..16)),
            other in (0..3_u32, vec(prop_oneof![Just(0), Just(1), Just(255)], 0..16)),
        ) {
            let order = head(NamespaceId(one.0), &one.1).cmp(&head(NamespaceId(other.0), &other.1));
            prop_assert!(order == Ordering::Equal || order == one.cmp(&other));
        }

        #[test]
        fn all_rows_come_in_order_either_way(
            common in prop_oneof![Just(0), Just(11), Just(12), Just(13)],
            mut sources in vec(vec(vec(0..4u8, 1..3), 0..20), 0..9),
        ) {
            sources.iter_mut().flatten().for_each(|key| drop(key.splice(0..0, vec![7; common])));
            sources.iter_mut().for_each(|keys| keys.sort());
            for direction in [Direction::Forward, Direction::Backward] {
                let begin = |keys: &Vec<Vec<u8>>| match direction {
                    Direction::Forward => 1,
                    Direction::Backward => keys.len(),
                };
                let cursors = sources.iter().enumerate().map(|(i, keys)| (Keys(keys.clone(), begin(keys)), i));
                let mut merge = Merge::new(cursors.collect(), direction);
                let mut found = Vec::new();
                while let Some(row) = merge.current() {
                    prop_assert_eq!(row.key, &sources[*row.source][row.ordinal.0 as usize][..]);
                    let ordinal = row.ordinal;
                    found.push(row.key.to_vec());
                    prop_assert_eq!(merge.place(merge.current_source(), ordinal).unwrap().offset, ordinal.0);
                    merge.advance().unwrap();
                }
                prop_assert!(merge.place(merge.current_source(), Ordinal(0)).is_err());
                let mut expected = sources.concat();
                expected.sort();
                if direction == Direction::Backward {
                    expected.reverse();
                }
                prop_assert_eq!(found, expected);
            }
        }
    }
}
