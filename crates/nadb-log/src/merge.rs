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
    /// What its source was given with.
    pub source: &'a T,
}

/// A merge of cursors: a binary heap whose top is the next row. Rows with equal keys come one after the other, in no particular
/// order.
#[derive(Debug)]
pub struct Merge<C, T> {
    sources: Vec<(C, T)>,
    /// Places in `sources` of those that have rows left; each is not after its two children at `2i + 1` and `2i + 2`.
    heap: Vec<usize>,
    direction: Direction,
}

impl<C: RowCursor, T> Merge<C, T> {
    /// A merge of `sources`, each of which stands on the row to begin with.
    #[must_use]
    pub fn new(sources: Vec<(C, T)>, direction: Direction) -> Merge<C, T> {
        let heap = (0..sources.len()).collect();
        let mut merge = Merge { sources, heap, direction };
        let sources = &merge.sources;
        merge.heap.retain(|&at| sources.get(at).is_some_and(|(cursor, _)| cursor.key().is_some()));
        for at in (0..merge.heap.len() / 2).rev() {
            merge.sift_down(at);
        }
        merge
    }

    fn key_at(&self, place: usize) -> Option<(NamespaceId, &[u8])> {
        let source = *self.heap.get(place)?;
        self.sources.get(source)?.0.key()
    }

    /// Whether the row at one place of the heap comes before that at another.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let order = self.key_at(one).cmp(&self.key_at(other));
        match self.direction {
            Direction::Forward => order == Ordering::Less,
            Direction::Backward => order == Ordering::Greater,
        }
    }

    fn sift_down(&mut self, mut place: usize) {
        loop {
            let (left, right) = (2 * place + 1, 2 * place + 2);
            if left >= self.heap.len() {
                return;
            }
            let first = if right < self.heap.len() && self.is_before(right, left) { right } else { left };
            if !self.is_before(first, place) {
                return;
            }
            self.heap.swap(first, place);
            place = first;
        }
    }

    /// The row that comes next; `None` when all have been.
    #[must_use]
    pub fn current(&self) -> Option<Merged<'_, T>> {
        let (cursor, source) = self.sources.get(*self.heap.first()?)?;
        let (namespace, key) = cursor.key()?;
        Some(Merged { namespace, key, ordinal: cursor.ordinal(), source })
    }

    /// Where the record of the current row stands.
    ///
    /// # Errors
    /// As [`RowCursor::place`].
    pub fn place(&mut self) -> Result<RowPlace> {
        let top = self.heap.first().copied().unwrap_or(usize::MAX);
        match self.sources.get_mut(top) {
            Some((cursor, _)) => cursor.place(),
            None => Err(Error::new(ErrorKind::Corruption, "the merge is at its end")),
        }
    }

    /// Goes on to the next row.
    ///
    /// # Errors
    /// As [`RowCursor::next`]; the merge has not moved.
    pub fn advance(&mut self) -> Result<()> {
        let Some(&top) = self.heap.first() else { return Ok(()) };
        let Some((cursor, _)) = self.sources.get_mut(top) else { return Ok(()) };
        match self.direction {
            Direction::Forward => cursor.next()?,
            Direction::Backward => cursor.previous()?,
        }
        if cursor.key().is_none() {
            self.heap.swap_remove(0);
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
        fn place(&mut self) -> Result<RowPlace> {
            Ok(RowPlace { offset: self.ordinal().0, ..RowPlace::default() })
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
        fn all_rows_come_in_order_either_way(mut sources in vec(vec(vec(0..4u8, 1..3), 0..20), 0..9)) {
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
                    prop_assert_eq!(merge.place().unwrap().offset, ordinal.0);
                    merge.advance().unwrap();
                }
                prop_assert!(merge.place().is_err());
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
