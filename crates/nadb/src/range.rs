//! Ranges of keys: what [`Namespace::range`](crate::Namespace::range) takes.

use std::ops::{Bound, Range, RangeBounds, RangeFrom, RangeFull, RangeInclusive, RangeTo, RangeToInclusive};

/// The bounds as a backend takes them.
type Bounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

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
