//! Ranges of keys: what [`Namespace::range`](crate::Namespace::range) takes.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The bounds as the engine takes them.
pub(crate) type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// A range of keys, in the order of their bytes: every range expression over keys, such as `"a".."m"`, `b"a"..=b"m"`,
/// `key..` and `..`, and a pair of [`Bound`]s.
///
/// It is a trait of its own, not [`RangeBounds`], because that leaves the type of the key open for byte strings.
///
/// ```
/// use nadb::Store;
/// use std::ops::Bound;
/// let letters = Store::memory()?.namespace("letters")?;
/// letters.set_many(["a", "b", "c", "d"].map(|letter| (letter, "")))?;
/// assert_eq!(letters.range("b".."d")?.count(), 2);
/// assert_eq!(letters.range(b"b"..=b"d")?.count(), 3);
/// assert_eq!(letters.range(..String::from("b"))?.count(), 1);
/// assert_eq!(letters.range((Bound::Excluded("b"), Bound::Unbounded))?.count(), 2);
/// assert_eq!(letters.range("d".."b")?.count(), 0); // from behind to before: empty
/// # Ok::<(), nadb::Error>(())
/// ```
pub trait KeyRange {
    /// The first and the last key, each included, excluded or unbounded.
    fn into_bounds(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>);
}

fn owned<K: AsRef<[u8]>>(range: &impl RangeBounds<K>) -> Bounds {
    let own = |bound: Bound<&K>| bound.map(|key| key.as_ref().to_vec());
    (own(range.start_bound()), own(range.end_bound()))
}

macro_rules! key_ranges {
    ($($range:ty),*) => {$(
        impl<K: AsRef<[u8]>> KeyRange for $range {
            fn into_bounds(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
                owned::<K>(&self)
            }
        }
    )*};
}

key_ranges!(Range<K>, RangeInclusive<K>, RangeFrom<K>, RangeTo<K>, RangeToInclusive<K>, (Bound<K>, Bound<K>));

impl KeyRange for RangeFull {
    fn into_bounds(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        (Bound::Unbounded, Bound::Unbounded)
    }
}

/// All keys that begin with `prefix`.
pub(crate) fn prefix_bounds(prefix: &[u8]) -> Bounds {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return (Bound::Included(prefix.to_vec()), Bound::Excluded(end));
        }
    }
    (Bound::Included(prefix.to_vec()), Bound::Unbounded)
}

/// The same bounds, or those of an empty range where the start lies behind the end: ordered maps panic at such bounds.
pub(crate) fn ordered(bounds: Bounds) -> Bounds {
    let inverted = match (&bounds.0, &bounds.1) {
        (Bound::Included(start), Bound::Included(end)) => start > end,
        (Bound::Included(start) | Bound::Excluded(start), Bound::Included(end) | Bound::Excluded(end)) => {
            start >= end
        }
        _ => false,
    };
    if inverted { (Bound::Included(Vec::new()), Bound::Excluded(Vec::new())) } else { bounds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        let check = |prefix: &[u8], end: Option<&[u8]>| {
            let end = end.map_or(Bound::Unbounded, |end| Bound::Excluded(end.to_vec()));
            assert_eq!(prefix_bounds(prefix), (Bound::Included(prefix.to_vec()), end));
        };
        check(b"", None);
        check(b"a", Some(b"b"));
        check(b"a\xFF", Some(b"b"));
        check(b"\xFF\xFF", None);
        check(b"a\x00", Some(b"a\x01"));
    }

    #[test]
    fn inverted_ranges_are_empty() {
        let empty = (Bound::Included(vec![]), Bound::Excluded(vec![]));
        assert_eq!(ordered(("b".."a").into_bounds()), empty);
        assert_eq!(ordered(("b"..="a").into_bounds()), empty);
        assert_eq!(ordered(("a".."a").into_bounds()), empty);
        assert_eq!(ordered((Bound::Excluded("a"), Bound::Included("a")).into_bounds()), empty);
        assert_eq!(ordered((Bound::Excluded("a"), Bound::Excluded("a")).into_bounds()), empty);
        let one = ("a"..="a").into_bounds();
        assert_eq!(ordered(one.clone()), one);
    }
}
