//! Answers by looking at every record: what a backend does that knows nothing better, and what others are compared with.

use std::collections::BTreeMap;

use super::{Filter, Matches, Order, Position, QueryRequest, SortField};
use crate::{Entry, Listing, Result, ScanRequest};

/// Matches that are kept beyond those that are wanted before the rest is dropped.
const SPARE_MAX: usize = 1024;

/// Answers a request from the listings that `scan` makes. In key order records are read as they are asked for; in another order
/// all are read at the first, and of those only the ones that are wanted are kept.
///
/// # Errors
/// What [`Filter::check`] refuses; what `scan` fails with.
pub fn by_scan(
    request: &QueryRequest,
    scan: impl FnOnce(ScanRequest) -> Result<Box<dyn Listing>>,
) -> Result<Box<dyn Matches>> {
    request.filter.check()?;
    let keys = ScanRequest::prefix(request.filter.key_prefix());
    let keys = match (&request.after, request.order) {
        (Some(after), Order { by: SortField::Key, descending: false }) => keys.after(&after.key),
        (Some(after), Order { by: SortField::Key, descending: true }) => keys.before(&after.key),
        _ => keys,
    };
    let filtered = Filtered { listing: scan(keys)?, request: request.clone() };
    let source: Box<dyn Iterator<Item = Result<Entry>> + Send> = match request.order.by {
        SortField::Key => Box::new(filtered),
        _ => Box::new(Sorted { unread: Some(filtered), sorted: Vec::new().into_iter() }),
    };
    let (left, to_skip) = (request.limit.unwrap_or(u64::MAX), request.offset);
    Ok(Box::new(Section { source, by: request.order.by, to_skip, left, last: None }))
}

/// How many records of a listing a filter means.
///
/// # Errors
/// As [`by_scan`].
pub fn count_by_scan(
    filter: &Filter,
    scan: impl FnOnce(ScanRequest) -> Result<Box<dyn Listing>>,
) -> Result<u64> {
    let matches = by_scan(&QueryRequest::new(filter.clone()), scan)?;
    matches.map(|entry| entry.map(|_| 1)).sum()
}

/// The tags of a listing's records that begin with `prefix`, in order, with how many records have each.
///
/// # Errors
/// What the listing fails with.
pub fn tags_by_scan(prefix: &str, listing: Box<dyn Listing>) -> Result<Vec<(String, u64)>> {
    let mut counts = BTreeMap::<String, u64>::new();
    for entry in listing {
        for tag in entry?.metadata.tags.iter().filter(|tag| tag.starts_with(prefix)) {
            match counts.get_mut(tag) {
                Some(count) => *count += 1,
                None => _ = counts.insert(tag.to_owned(), 1),
            }
        }
    }
    Ok(counts.into_iter().collect())
}

/// The records of a listing that are meant and come behind the place to go on from.
struct Filtered {
    listing: Box<dyn Listing>,
    request: QueryRequest,
}

impl Iterator for Filtered {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let QueryRequest { filter, order, after, .. } = &self.request;
        let listing = &mut self.listing;
        let backward = order.by == SortField::Key && order.descending;
        let mut entries = std::iter::from_fn(|| if backward { listing.next_back() } else { listing.next() });
        entries.find(|entry| {
            let Ok(entry) = entry else { return true };
            filter.matches(&entry.key, &entry.metadata)
                && after.as_ref().is_none_or(|after| order.is_behind(&Position::of(entry, order.by), after))
        })
    }
}

/// The same in another order than that of the keys.
struct Sorted {
    unread: Option<Filtered>,
    sorted: std::vec::IntoIter<Entry>,
}

impl Sorted {
    fn read(filtered: Filtered) -> Result<Vec<Entry>> {
        let order = filtered.request.order;
        let wanted = filtered.request.wanted().and_then(|wanted| usize::try_from(wanted).ok());
        let mut found: Vec<(Position, Entry)> = Vec::new();
        let sort = |found: &mut Vec<(Position, Entry)>| {
            found.sort_unstable_by(|(a, _), (b, _)| if order.descending { b.cmp(a) } else { a.cmp(b) });
            found.truncate(wanted.unwrap_or(usize::MAX));
        };
        for entry in filtered {
            let entry = entry?;
            found.push((Position::of(&entry, order.by), entry));
            if wanted.is_some_and(|wanted| found.len() / 2 >= wanted.max(SPARE_MAX)) {
                sort(&mut found);
            }
        }
        sort(&mut found);
        Ok(found.into_iter().map(|(_, entry)| entry).collect())
    }
}

impl Iterator for Sorted {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Some(unread) = self.unread.take() {
            match Sorted::read(unread) {
                Ok(sorted) => self.sorted = sorted.into_iter(),
                Err(error) => return Some(Err(error)),
            }
        }
        self.sorted.next().map(Ok)
    }
}

/// Without the first ones, and not more than are wanted.
struct Section {
    source: Box<dyn Iterator<Item = Result<Entry>> + Send>,
    by: SortField,
    to_skip: u64,
    left: u64,
    last: Option<Position>,
}

impl Iterator for Section {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        while self.to_skip > 0 && self.left > 0 {
            match self.source.next()? {
                Ok(_) => self.to_skip -= 1,
                Err(error) => return Some(Err(error)),
            }
        }
        self.left = self.left.checked_sub(1)?;
        let entry = self.source.next()?;
        if let Ok(entry) = &entry {
            self.last = Some(Position::of(entry, self.by));
        }
        Some(entry)
    }
}

impl Matches for Section {
    fn last_position(&self) -> Option<Position> {
        self.last.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Metadata, Tags, Value};

    struct Some6(std::vec::IntoIter<Entry>);
    impl Iterator for Some6 {
        type Item = Result<Entry>;
        fn next(&mut self) -> Option<Result<Entry>> {
            self.0.next().map(Ok)
        }
    }
    impl DoubleEndedIterator for Some6 {
        fn next_back(&mut self) -> Option<Result<Entry>> {
            self.0.next_back().map(Ok)
        }
    }
    impl Listing for Some6 {}

    /// Keys a to f; sizes 3, 2, 1, 3, 2, 1; every second one is tagged "even", all are tagged "x".
    fn scan(request: ScanRequest) -> Result<Box<dyn Listing>> {
        let entry = |n: u64| {
            let key = vec![b'a' + u8::try_from(n).unwrap()];
            let mut metadata = Metadata::new(n + 1, 3 - n % 3, 1);
            metadata.tags =
                Tags::new(["x", "even"].into_iter().take(if n % 2 == 0 { 2 } else { 1 })).unwrap();
            Entry::new(key, Value::default(), metadata)
        };
        let entries: Vec<Entry> = (0..6).map(entry).filter(|entry| request.contains(&entry.key)).collect();
        Ok(Box::new(Some6(entries.into_iter())))
    }

    fn keys(request: &QueryRequest) -> String {
        let mut matches = by_scan(request, scan).unwrap();
        let keys = std::iter::from_fn(|| matches.next_key()).map(Result::unwrap);
        keys.map(|key| String::from_utf8(key).unwrap()).collect()
    }

    #[test]
    fn orders_and_sections_are_exact() {
        let all = QueryRequest::new(Filter::all());
        assert_eq!(keys(&all), "abcdef");
        assert_eq!(keys(&all.clone().section(1, Some(3))), "bcd");
        assert_eq!(keys(&all.clone().section(9, Some(3))), "");
        assert_eq!(keys(&all.clone().ordered(Order::descending(SortField::Key)).section(0, Some(2))), "fe");
        let by_size = all.clone().ordered(Order::ascending(SortField::Size));
        assert_eq!(keys(&by_size), "cfbead");
        assert_eq!(keys(&by_size.section(1, Some(2))), "fb");
        assert_eq!(keys(&all.ordered(Order::descending(SortField::Size))), "daebfc");
        assert_eq!(keys(&QueryRequest::new(Filter::tag("even"))), "ace");
        assert_eq!(count_by_scan(&!Filter::tag("even"), scan).unwrap(), 3);
    }

    #[test]
    fn every_position_goes_on_behind_itself() {
        use SortField::{Created, Key, Size, Updated};
        for order in [Key, Created, Updated, Size]
            .into_iter()
            .flat_map(|by| [Order::ascending(by), Order::descending(by)])
        {
            let request = QueryRequest::new(Filter::all()).ordered(order);
            let whole = keys(&request);
            let mut matches = by_scan(&request, scan).unwrap();
            assert!(matches.last_position().is_none());
            for given in 1..=6 {
                let _ = matches.next_key();
                let rest = request.clone().behind(matches.last_position());
                assert_eq!(keys(&rest), whole[given..], "{order:?} behind {given}");
            }
        }
    }

    #[test]
    fn tags_are_counted_in_order() {
        let tags = |prefix| tags_by_scan(prefix, scan(ScanRequest::all()).unwrap()).unwrap();
        assert_eq!(tags(""), [("even".to_owned(), 3), ("x".to_owned(), 6)]);
        assert_eq!(tags("e"), [("even".to_owned(), 3)]);
        assert!(tags("y").is_empty());
    }
}
