//! Queries: which records of a namespace are meant, and in which order they come.
//!
//! A [`Filter`] is boolean algebra over tags, keys and metadata; a [`QueryRequest`] adds order, a place to go on from, and how
//! many. What stands here promises the meaning, the same on every backend: [`Filter::matches`] decides of one record, and
//! [`by_scan`] answers a whole request by looking at every record, which any backend can do. It leaves to backends to be quicker
//! than that.

mod by_scan;
mod cursor;
mod text;

use std::ops::{Bound, RangeBounds};

use crate::limits::{FILTER_DEPTH_MAX, FILTER_TERMS_MAX, check_tag};
use crate::{Entry, Error, Metadata, Result};

pub use by_scan::{by_scan, count_by_scan, tags_by_scan};
pub use cursor::Cursor;

/// A range of numbers, both ends included. Nothing is in it where it ends before it begins.
///
/// ```
/// use nadb_core::Span;
/// assert_eq!(Span::of(10..20), Span { from: 10, to: 19 });
/// assert!(Span::of(1_000..).contains(1_000) && !Span::of(1_000..).contains(999));
/// assert!(!Span::of(5..5).contains(5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Span {
    /// The first number of it.
    pub from: u64,
    /// The last number of it.
    pub to: u64,
}

impl Span {
    /// All numbers.
    pub const ALL: Span = Span { from: 0, to: u64::MAX };
    const NONE: Span = Span { from: 1, to: 0 };

    /// The numbers of a range.
    #[must_use]
    pub fn of(range: impl RangeBounds<u64>) -> Span {
        let from = match range.start_bound() {
            Bound::Included(from) => Some(*from),
            Bound::Excluded(before) => before.checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let to = match range.end_bound() {
            Bound::Included(to) => Some(*to),
            Bound::Excluded(behind) => behind.checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        from.zip(to).map_or(Span::NONE, |(from, to)| Span { from, to })
    }

    /// Whether a number is in it.
    #[must_use]
    pub fn contains(self, number: u64) -> bool {
        (self.from..=self.to).contains(&number)
    }
}

/// Which records are meant.
///
/// ```
/// use nadb_core::{Filter, Metadata, Span};
/// let filter = Filter::tag("user").and(Filter::Size(Span::of(1_000..))).and(!Filter::tag("banned"));
/// assert!(!filter.matches(b"user:1", &Metadata::new(1, 5_000, 0)), "it has no tag");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Filter {
    /// Records that have this tag.
    Tag(String),
    /// Records whose keys begin with this.
    Prefix(Vec<u8>),
    /// Records whose keys have this anywhere.
    KeyContains(Vec<u8>),
    /// Records whose values have so many bytes, before compression.
    Size(Span),
    /// Records whose keys came into being then, in Unix milliseconds.
    Created(Span),
    /// Records that were written then, in Unix milliseconds.
    Updated(Span),
    /// Records that expire then, in Unix milliseconds. One without expiry is in no range.
    Expires(Span),
    /// Records that were last read then, in Unix milliseconds; where the backend keeps that. One that was never read is in no range.
    Accessed(Span),
    /// Records that all of these mean; every record where there is none.
    And(Vec<Filter>),
    /// Records that any of these means; no record where there is none.
    Or(Vec<Filter>),
    /// Records that this does not mean.
    Not(Box<Filter>),
}

impl Filter {
    /// Every record.
    #[must_use]
    pub fn all() -> Filter {
        Filter::And(Vec::new())
    }

    /// Records that have this tag.
    #[must_use]
    pub fn tag(tag: impl Into<String>) -> Filter {
        Filter::Tag(tag.into())
    }

    /// Records that both mean.
    #[must_use]
    pub fn and(self, other: Filter) -> Filter {
        match self {
            Filter::And(mut terms) => {
                terms.push(other);
                Filter::And(terms)
            }
            first => Filter::And(vec![first, other]),
        }
    }

    /// Records that either means.
    #[must_use]
    pub fn or(self, other: Filter) -> Filter {
        match self {
            Filter::Or(mut terms) => {
                terms.push(other);
                Filter::Or(terms)
            }
            first => Filter::Or(vec![first, other]),
        }
    }

    /// Whether a record with this key and this metadata is meant.
    #[must_use]
    pub fn matches(&self, key: &[u8], metadata: &Metadata) -> bool {
        match self {
            Filter::Tag(tag) => metadata.tags.contains(tag),
            Filter::Prefix(prefix) => key.starts_with(prefix),
            Filter::KeyContains(part) => has_part(key, part),
            Filter::Size(span) => span.contains(metadata.size),
            Filter::Created(span) => span.contains(metadata.created_ms),
            Filter::Updated(span) => span.contains(metadata.updated_ms),
            Filter::Expires(span) => metadata.expires_ms.is_some_and(|at| span.contains(at)),
            Filter::Accessed(span) => metadata.accessed_ms.is_some_and(|at| span.contains(at)),
            Filter::And(terms) => terms.iter().all(|term| term.matches(key, metadata)),
            Filter::Or(terms) => terms.iter().any(|term| term.matches(key, metadata)),
            Filter::Not(term) => !term.matches(key, metadata),
        }
    }

    /// The longest prefix that the keys of all records that are meant are known to have.
    #[must_use]
    pub fn key_prefix(&self) -> &[u8] {
        match self {
            Filter::Prefix(prefix) => prefix,
            Filter::And(terms) => {
                terms.iter().map(Filter::key_prefix).max_by_key(|prefix| prefix.len()).unwrap_or_default()
            }
            Filter::Or(terms) if terms.len() == 1 => terms.first().map_or(&[], Filter::key_prefix),
            _ => &[],
        }
    }

    /// Whether the answer depends on when records were last read.
    #[must_use]
    pub fn asks_for_access(&self) -> bool {
        match self {
            Filter::Accessed(_) => true,
            Filter::And(terms) | Filter::Or(terms) => terms.iter().any(Filter::asks_for_access),
            Filter::Not(term) => term.asks_for_access(),
            _ => false,
        }
    }

    /// Refuses what no record could be meant by, and what is too large to answer: every backend checks before it answers.
    ///
    /// # Errors
    /// `Limit` or `InvalidInput` for a tag that no record can have, for more than [`FILTER_TERMS_MAX`] terms, and for terms that
    /// are nested deeper than [`FILTER_DEPTH_MAX`].
    pub fn check(&self) -> Result<()> {
        let mut terms = 0;
        self.check_terms(0, &mut terms)
    }

    fn check_terms(&self, depth: usize, terms: &mut usize) -> Result<()> {
        *terms += 1;
        if depth > FILTER_DEPTH_MAX {
            let what = format!("the filter is nested deeper than the limit, {FILTER_DEPTH_MAX} levels");
            return Err(Error::limit(what));
        }
        if *terms > FILTER_TERMS_MAX {
            let what = format!("the filter has more terms than the limit, {FILTER_TERMS_MAX}");
            return Err(Error::limit(what));
        }
        match self {
            Filter::Tag(tag) => check_tag(tag),
            Filter::And(parts) | Filter::Or(parts) => {
                parts.iter().try_for_each(|part| part.check_terms(depth + 1, terms))
            }
            Filter::Not(part) => part.check_terms(depth + 1, terms),
            _ => Ok(()),
        }
    }
}

impl Default for Filter {
    /// Every record.
    fn default() -> Filter {
        Filter::all()
    }
}

impl std::ops::Not for Filter {
    type Output = Filter;

    fn not(self) -> Filter {
        match self {
            Filter::Not(term) => *term,
            term => Filter::Not(Box::new(term)),
        }
    }
}

/// Whether `part` stands anywhere in `key`.
#[must_use]
pub fn has_part(key: &[u8], part: &[u8]) -> bool {
    part.is_empty() || key.windows(part.len()).any(|window| window == part)
}

/// What matches are sorted by. Those that are equal come in the order of their keys, in the direction of the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum SortField {
    /// The bytes of the key.
    #[default]
    Key,
    /// When the key came into being.
    Created,
    /// When the record was written.
    Updated,
    /// Bytes of the value, before compression.
    Size,
}

impl SortField {
    /// What a record is sorted by, beside its key; 0 where that is all.
    #[must_use]
    pub fn value_of(self, metadata: &Metadata) -> u64 {
        match self {
            SortField::Key => 0,
            SortField::Created => metadata.created_ms,
            SortField::Updated => metadata.updated_ms,
            SortField::Size => metadata.size,
        }
    }
}

/// The order in which matches come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Order {
    /// What they are sorted by.
    pub by: SortField,
    /// Whether the last comes first.
    pub descending: bool,
}

impl Order {
    /// The smallest first.
    #[must_use]
    pub fn ascending(by: SortField) -> Order {
        Order { by, descending: false }
    }

    /// The largest first.
    #[must_use]
    pub fn descending(by: SortField) -> Order {
        Order { by, descending: true }
    }

    /// Whether a record at `position` comes behind one at `other`.
    #[must_use]
    pub fn is_behind(self, position: &Position, other: &Position) -> bool {
        if self.descending { position < other } else { position > other }
    }
}

/// Where a match stands in its order: two of one order never stand at the same place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// What it is sorted by, [`SortField::value_of`].
    pub value: u64,
    /// Its key.
    pub key: Vec<u8>,
}

impl Position {
    /// Where an entry stands.
    #[must_use]
    pub fn of(entry: &Entry, by: SortField) -> Position {
        Position { value: by.value_of(&entry.metadata), key: entry.key.clone() }
    }
}

/// What is asked for: which records, in which order, from where on, and how many.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct QueryRequest {
    /// Which records.
    pub filter: Filter,
    /// In which order.
    pub order: Order,
    /// Only those behind this place of the order.
    pub after: Option<Position>,
    /// Of these not the first so many.
    pub offset: u64,
    /// Of these at most so many; all where there is none.
    pub limit: Option<u64>,
}

impl QueryRequest {
    /// All records that `filter` means, in the order of their keys.
    #[must_use]
    pub fn new(filter: Filter) -> QueryRequest {
        QueryRequest { filter, ..QueryRequest::default() }
    }

    /// The same in another order.
    #[must_use]
    pub fn ordered(mut self, order: Order) -> QueryRequest {
        self.order = order;
        self
    }

    /// The same behind a place of the order.
    #[must_use]
    pub fn behind(mut self, after: Option<Position>) -> QueryRequest {
        self.after = after;
        self
    }

    /// The same without the first `offset`, and at most `limit` of the rest.
    #[must_use]
    pub fn section(mut self, offset: u64, limit: Option<u64>) -> QueryRequest {
        (self.offset, self.limit) = (offset, limit);
        self
    }

    /// How many of the first matches are enough to answer; `None` for all.
    #[must_use]
    pub fn wanted(&self) -> Option<u64> {
        self.limit.map(|limit| limit.saturating_add(self.offset))
    }
}

/// The matches of a query, in its order. It owns what it needs and may go to another thread; it fetches as it is asked. An item is
/// an error when its record could not be read, or the store was closed.
pub trait Matches: Iterator<Item = Result<Entry>> + Send + 'static {
    /// The key of the next match, which counts as given then. A backend that can spares itself the value.
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.next().map(|entry| entry.map(|entry| entry.key))
    }

    /// Where the match that was given last stands; `None` before the first.
    fn last_position(&self) -> Option<Position>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Tags};

    fn metadata(tags: &[&str], size: u64, expires_ms: Option<u64>) -> Metadata {
        let mut metadata = Metadata::new(7, size, 500);
        metadata.tags = Tags::new(tags.iter().copied()).unwrap();
        (metadata.created_ms, metadata.expires_ms) = (400, expires_ms);
        metadata
    }

    #[test]
    fn every_term_means_what_it_says() {
        let record = metadata(&["a", "b"], 10, Some(900));
        let check = |filter: Filter, means: bool| {
            assert_eq!(filter.matches(b"user:1", &record), means, "{filter:?}");
            assert_eq!((!filter.clone()).matches(b"user:1", &record), !means, "not {filter:?}");
        };
        check(Filter::tag("a"), true);
        check(Filter::tag("c"), false);
        check(Filter::Prefix(b"user:".to_vec()), true);
        check(Filter::Prefix(b"ser".to_vec()), false);
        check(Filter::KeyContains(b"ser:".to_vec()), true);
        check(Filter::KeyContains(Vec::new()), true);
        check(Filter::KeyContains(b"user:12".to_vec()), false);
        check(Filter::Size(Span::of(10..11)), true);
        check(Filter::Size(Span::of(..10)), false);
        check(Filter::Created(Span::of(400..=400)), true);
        check(Filter::Updated(Span::of(400..=400)), false);
        check(Filter::Expires(Span::of(..=900)), true);
        check(Filter::Accessed(Span::ALL), false);
        check(Filter::all(), true);
        check(Filter::Or(Vec::new()), false);
        check(Filter::tag("c").or(Filter::tag("b")), true);
        check(Filter::tag("c").and(Filter::tag("b")), false);
        assert!(!Filter::Expires(Span::ALL).matches(b"k", &metadata(&[], 1, None)));
    }

    #[test]
    fn spans_are_exact_at_the_ends_of_all_numbers() {
        assert_eq!(Span::of(..), Span::ALL);
        assert_eq!(Span::of(..=u64::MAX), Span::ALL);
        assert!(!Span::of(..0).contains(0));
        let behind_all = (Bound::Excluded(u64::MAX), Bound::Unbounded);
        assert!(!Span::of(behind_all).contains(u64::MAX));
    }

    #[test]
    fn what_no_record_can_have_and_what_is_too_large_is_refused() {
        let kind = |filter: Filter| filter.check().map_err(|error| error.kind());
        assert_eq!(kind(Filter::tag("t".repeat(255))), Ok(()));
        assert_eq!(kind(Filter::tag("t".repeat(256))), Err(ErrorKind::Limit));
        assert_eq!(kind(Filter::tag("a").and(Filter::tag(""))), Err(ErrorKind::Limit));
        let terms = |count| Filter::Or(vec![Filter::tag("a"); count]);
        assert_eq!(kind(terms(FILTER_TERMS_MAX - 1)), Ok(()));
        assert_eq!(kind(terms(FILTER_TERMS_MAX)), Err(ErrorKind::Limit));
        let nested = |depth| (0..depth).fold(Filter::all(), |inner, _| Filter::Not(Box::new(inner)));
        assert_eq!(kind(nested(FILTER_DEPTH_MAX)), Ok(()));
        assert_eq!(kind(nested(FILTER_DEPTH_MAX + 1)), Err(ErrorKind::Limit));
    }

    #[test]
    fn the_prefix_of_all_matches_is_the_longest_that_is_sure() {
        let prefix = |prefix: &str| Filter::Prefix(prefix.into());
        assert_eq!(prefix("us").and(prefix("user:")).and(Filter::tag("a")).key_prefix(), b"user:");
        assert_eq!(prefix("a").or(prefix("b")).key_prefix(), b"");
        assert_eq!((!prefix("a")).key_prefix(), b"");
    }
}
