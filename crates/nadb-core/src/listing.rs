//! Listings: what is asked for, and the iterator that gives it.

use std::fmt;
use std::ops::Bound;

use crate::{Entry, Result};

/// Which records of a namespace a listing has.
///
/// A page is a listing of what comes [`after`](ScanRequest::after) the last key of the page before, taken until it is full.
///
/// ```
/// use nadb_core::ScanRequest;
/// let page = ScanRequest::prefix(b"user:").after(b"user:17").expecting(50);
/// assert!(page.contains(b"user:2") && !page.contains(b"user:17") && !page.contains(b"vote:1"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ScanRequest {
    /// INVARIANT: the start is not behind the end, so that ordered maps take them.
    bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    expected: Option<usize>,
}

impl ScanRequest {
    /// All records.
    #[must_use]
    pub fn all() -> ScanRequest {
        ScanRequest { bounds: (Bound::Unbounded, Bound::Unbounded), expected: None }
    }

    /// The records of a range of keys; none where the start lies behind the end.
    #[must_use]
    pub fn range(bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> ScanRequest {
        ScanRequest { bounds: ordered(bounds), expected: None }
    }

    /// The records whose keys begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> ScanRequest {
        ScanRequest { bounds: prefix_bounds(prefix), expected: None }
    }

    /// Of these only those behind `key`.
    #[must_use]
    pub fn after(self, key: &[u8]) -> ScanRequest {
        let (from, to) = self.bounds;
        let from = match from {
            Bound::Included(from) if *from > *key => Bound::Included(from),
            Bound::Excluded(from) if *from > *key => Bound::Excluded(from),
            _ => Bound::Excluded(key.to_vec()),
        };
        ScanRequest { bounds: ordered((from, to)), ..self }
    }

    /// Of these only those before `key`.
    #[must_use]
    pub fn before(self, key: &[u8]) -> ScanRequest {
        let (from, to) = self.bounds;
        let to = match to {
            Bound::Included(to) if *to < *key => Bound::Included(to),
            Bound::Excluded(to) if *to < *key => Bound::Excluded(to),
            _ => Bound::Excluded(key.to_vec()),
        };
        ScanRequest { bounds: ordered((from, to)), ..self }
    }

    /// How many records will probably be taken: advice for how many to fetch at once, no limit.
    #[must_use]
    pub fn expecting(mut self, records: usize) -> ScanRequest {
        self.expected = Some(records);
        self
    }

    /// The first and the last key, each included, excluded or unbounded. The start is never behind the end, and
    /// `BTreeMap::range` takes them as they are.
    #[must_use]
    pub fn bounds(&self) -> (Bound<&[u8]>, Bound<&[u8]>) {
        (self.bounds.0.as_ref().map(Vec::as_slice), self.bounds.1.as_ref().map(Vec::as_slice))
    }

    /// The same, to keep.
    #[must_use]
    pub fn into_bounds(self) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
        self.bounds
    }

    /// How many records will probably be taken, if the caller said so.
    #[must_use]
    pub fn expected(&self) -> Option<usize> {
        self.expected
    }

    /// Whether `key` is one of those asked for.
    #[must_use]
    pub fn contains(&self, key: &[u8]) -> bool {
        let (from, to) = self.bounds();
        let is_behind_start = match from {
            Bound::Included(from) => key >= from,
            Bound::Excluded(from) => key > from,
            Bound::Unbounded => true,
        };
        is_behind_start
            && match to {
                Bound::Included(to) => key <= to,
                Bound::Excluded(to) => key < to,
                Bound::Unbounded => true,
            }
    }
}

/// The records of a [`ScanRequest`] in the order of their keys' bytes, from either end; it ends where both ends meet.
///
/// It owns what it needs and may go to another thread. It fetches as it is asked, so that whoever stops early has not paid
/// for the rest. An item is an error when its record could not be read, or the store was closed; asking for more is allowed
/// then, and gives what comes next, or an error again, or the end.
pub trait Listing: DoubleEndedIterator<Item = Result<Entry>> + Send + 'static {
    /// The key of the next record, which counts as given then. A backend that can spares itself the value.
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.next().map(|entry| entry.map(|entry| entry.key))
    }

    /// The key of the next record from the back, likewise.
    fn next_key_back(&mut self) -> Option<Result<Vec<u8>>> {
        self.next_back().map(|entry| entry.map(|entry| entry.key))
    }

    /// Shows key and value of the next record, which counts as given then, to `see`, once, if there is a next record and it can be
    /// read. A backend that can spares itself the copies, so what it shows is there only until `see` returns.
    fn next_with(&mut self, see: &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>> {
        self.next().map(|entry| entry.map(|entry| see(&entry.key, &entry.value)))
    }

    /// The same with the next record from the back.
    fn next_back_with(&mut self, see: &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>> {
        self.next_back().map(|entry| entry.map(|entry| see(&entry.key, &entry.value)))
    }
}

impl fmt::Debug for dyn Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}

/// All keys that begin with `prefix`.
fn prefix_bounds(prefix: &[u8]) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
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
fn ordered(bounds: (Bound<Vec<u8>>, Bound<Vec<u8>>)) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
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
    use std::ops::Bound::{Excluded, Included, Unbounded};

    use super::*;

    #[test]
    fn a_prefix_ends_before_the_next_one() {
        let check = |prefix: &[u8], end: Option<&[u8]>| {
            let end = end.map_or(Unbounded, Excluded);
            assert_eq!(ScanRequest::prefix(prefix).bounds(), (Included(prefix), end));
        };
        check(b"", None);
        check(b"a", Some(b"b"));
        check(b"a\xFF", Some(b"b"));
        check(b"\xFF\xFF", None);
        check(b"a\x00", Some(b"a\x01"));
    }

    #[test]
    fn inverted_ranges_are_empty() {
        let request = |from: Bound<&str>, to: Bound<&str>| {
            let own = |bound: Bound<&str>| bound.map(|key| key.as_bytes().to_vec());
            ScanRequest::range((own(from), own(to)))
        };
        let empty = request(Included(""), Excluded(""));
        assert_eq!(request(Included("b"), Excluded("a")), empty);
        assert_eq!(request(Included("b"), Included("a")), empty);
        assert_eq!(request(Included("a"), Excluded("a")), empty);
        assert_eq!(request(Excluded("a"), Included("a")), empty);
        assert_eq!(request(Excluded("a"), Excluded("a")), empty);
        let one = request(Included("a"), Included("a"));
        assert!(one.contains(b"a") && !one.contains(b"aa") && !one.contains(b""));
        assert_eq!(one.after(b"a"), empty);
        assert_eq!(ScanRequest::prefix(b"a").after(b"b"), empty);
    }

    #[test]
    fn pages_narrow_and_never_widen() {
        let b_to_d = ScanRequest::range((Excluded(b"b".to_vec()), Included(b"d".to_vec())));
        assert_eq!(b_to_d.clone().after(b"a"), b_to_d);
        assert_eq!(b_to_d.clone().before(b"e"), b_to_d);
        assert_eq!(b_to_d.clone().after(b"c").bounds(), (Excluded(&b"c"[..]), Included(&b"d"[..])));
        assert_eq!(b_to_d.clone().before(b"d").bounds(), (Excluded(&b"b"[..]), Excluded(&b"d"[..])));
        let all = ScanRequest::all().after(b"x").before(b"y");
        assert_eq!(all.bounds(), (Excluded(&b"x"[..]), Excluded(&b"y"[..])));
    }
}
