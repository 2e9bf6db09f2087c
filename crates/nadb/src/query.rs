//! Queries: records by tags, keys and metadata, in an order, page by page.
//!
//! A [`Query`] is put together here and answered by the backend. What it promises: wrong input is an error before anything is
//! looked at, and a [`Cursor`] that one query gave is refused by another.

mod matches;
mod page;
mod times;
mod verbs;

use std::fmt;
use std::ops::RangeBounds;
use std::sync::Arc;

use nadb_core::{
    Backend, Clock, Cursor, Error, Feature, Filter, Matches, Position, QueryRequest, Result, SortField, Span,
    SystemClock,
};

use crate::Snapshot;

pub use matches::{QueryEntries, QueryKeys};
pub use page::Page;
pub use times::{Moment, TimeRange};
pub use verbs::TagCount;

/// Which records of a namespace are meant, in which order, from where on, and how many. Made by
/// [`Namespace::query`](crate::Namespace::query) and [`SnapshotNamespace::query`](crate::SnapshotNamespace::query); without anything else said, it means all records in the order of their keys.
///
/// What is said of records must hold all together: `all_of(["a"]).none_of(["b"])` means those with the tag a and without the tag b.
/// Anything else that AND, OR and NOT can say goes in by [`filter`](Query::filter), or as text by [`matching`](Query::matching).
///
/// It is owned: keep it, clone it, ask it again, send it to another thread. Each time it is asked it shows the store as it is then,
/// or for a snapshot as it was. What it shows while others write is what an [`Iter`](crate::Iter) shows. It keeps the store open.
///
/// ```
/// use nadb::{SortField, Store};
/// let users = Store::memory()?.namespace("users")?;
/// users.put("user:1", "Alice").tags(["user", "premium"]).commit()?;
/// users.put("user:2", "Bob").tags(["user"]).commit()?;
/// users.put("user:3", "Mallory").tags(["user", "premium", "banned"]).commit()?;
///
/// let premium = users.query().all_of(["user", "premium"]).none_of(["banned"]);
/// assert_eq!(premium.keys()?.collect::<nadb::Result<Vec<_>>>()?, [b"user:1"]);
/// let largest = users.query().prefix("user:").order_by(SortField::Size).descending().limit(1);
/// assert_eq!(largest.entries()?.next().unwrap()?.value, b"Mallory");
/// assert_eq!(users.query().matching("tag:user AND NOT tag:premium")?.count()?, 1);
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a query does nothing until it is asked for keys, entries, a count or a page"]
pub struct Query {
    source: Source,
    request: QueryRequest,
    after: Option<After>,
}

/// Where to go on, to be checked against the whole query when it is asked.
#[derive(Debug, Clone)]
enum After {
    Key(Vec<u8>),
    Cursor(Cursor),
}

/// Who answers, and of which namespace.
#[derive(Clone)]
struct Source {
    at: At,
    namespace: Arc<str>,
}

#[derive(Clone)]
enum At {
    Now(Arc<dyn Backend>),
    Then(Snapshot),
}

impl Query {
    fn new(at: At, namespace: &Arc<str>) -> Query {
        let source = Source { at, namespace: Arc::clone(namespace) };
        Query { source, request: QueryRequest::default(), after: None }
    }

    /// Of these, only records that have all of these tags.
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put("a", "").tags(["red", "round"]).commit()?;
    /// notes.put("b", "").tags(["red"]).commit()?;
    /// assert_eq!(notes.query().all_of(["red", "round"]).count()?, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn all_of<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Query {
        tags.into_iter().fold(self, |query, tag| query.filter(Filter::tag(tag)))
    }

    /// Of these, only records that have at least one of these tags: none, if no tag is given.
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put("a", "").tags(["red"]).commit()?;
    /// notes.put("b", "").tags(["blue"]).commit()?;
    /// notes.put("c", "").tags(["green"]).commit()?;
    /// assert_eq!(notes.query().any_of(["red", "blue"]).count()?, 2);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn any_of<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Query {
        self.filter(Filter::Or(tags.into_iter().map(Filter::tag).collect()))
    }

    /// Of these, only records that have none of these tags.
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put("a", "").tags(["red"]).commit()?;
    /// notes.set("b", "")?;
    /// assert_eq!(notes.query().none_of(["red", "blue"]).count()?, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn none_of<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Query {
        tags.into_iter().fold(self, |query, tag| query.filter(!Filter::tag(tag)))
    }

    /// Of these, only records that have this tag.
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put("a", "").tags(["red"]).commit()?;
    /// assert_eq!(notes.query().tag("red").count()?, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn tag(self, tag: impl Into<String>) -> Query {
        self.filter(Filter::tag(tag))
    }

    /// Of these, only records whose keys begin with this.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set_many([("user:1", ""), ("team:1", "")])?;
    /// assert_eq!(users.query().prefix("user:").count()?, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn prefix(self, prefix: impl AsRef<[u8]>) -> Query {
        self.filter(Filter::Prefix(prefix.as_ref().to_vec()))
    }

    /// Of these, only records whose keys have this anywhere.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set_many([("user:1", ""), ("team:1", "")])?;
    /// assert_eq!(users.query().contains("am:").count()?, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn contains(self, part: impl AsRef<[u8]>) -> Query {
        self.filter(Filter::KeyContains(part.as_ref().to_vec()))
    }

    /// Of these, only records whose values have so many bytes, before compression.
    ///
    /// ```
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// files.set_many([("short", "1"), ("long", "1234567890")])?;
    /// assert_eq!(files.query().size(5..).count()?, 1);
    /// assert_eq!(files.query().size(..=10).count()?, 2);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn size(self, bytes: impl RangeBounds<u64>) -> Query {
        self.filter(Filter::Size(Span::of(bytes)))
    }

    /// Of these, only records whose keys came into being in this time: see [`TimeRange`]. Overwriting a record does not change it.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("k", "v")?;
    /// let created = users.metadata("k")?.unwrap().created();
    /// assert_eq!(users.query().created(created..).count()?, 1);
    /// assert_eq!(users.query().created(..created - Duration::from_secs(3600)).count()?, 0);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn created(self, time: impl TimeRange) -> Query {
        self.filter(Filter::Created(time.into_span()))
    }

    /// Of these, only records that were written in this time: see [`TimeRange`].
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.set("k", "v")?;
    /// let updated_ms = users.metadata("k")?.unwrap().updated_ms;
    /// assert_eq!(users.query().updated(updated_ms..=updated_ms).count()?, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn updated(self, time: impl TimeRange) -> Query {
        self.filter(Filter::Updated(time.into_span()))
    }

    /// Of these, only records that expire in this time: see [`TimeRange`]. A record without expiry is in no range, not even in `..`.
    ///
    /// ```
    /// use std::time::Duration;
    /// let sessions = nadb::Store::memory()?.namespace("sessions")?;
    /// sessions.put("a", "").ttl(Duration::from_secs(60)).commit()?;
    /// sessions.set("b", "")?;
    /// assert_eq!(sessions.query().expires(..).count()?, 1);
    /// assert_eq!(sessions.query().matching("expires:never")?.count()?, 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn expires(self, time: impl TimeRange) -> Query {
        self.filter(Filter::Expires(time.into_span()))
    }

    /// Of these, only records whose keys were last read in this time: see [`TimeRange`], and [`Metadata::accessed_ms`](crate::Metadata::accessed_ms) for what a
    /// read is. A key of which no read is known is in no range. Without
    /// [`StoreBuilder::track_access`](crate::StoreBuilder::track_access) the answer is `Unsupported`.
    ///
    /// ```
    /// use nadb::Store;
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let path = dir.path().join("data");
    /// let store = Store::builder().path(&path).track_access(true).open()?;
    /// let users = store.namespace("users")?;
    /// users.set("alice", "…")?;
    /// users.set("bob", "…")?;
    /// users.get("alice")?;
    /// assert_eq!(users.query().accessed(..).count()?, 1);
    /// assert_eq!(users.query().matching("accessed:never")?.keys()?.next().unwrap()?, b"bob");
    /// # store.close()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn accessed(self, time: impl TimeRange) -> Query {
        self.filter(Filter::Accessed(time.into_span()))
    }

    /// Of these, only records that `filter` means.
    ///
    /// ```
    /// use nadb::Filter;
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put("a", "").tags(["red", "round"]).commit()?;
    /// notes.put("b", "").tags(["blue"]).commit()?;
    /// notes.put("c", "").tags(["red"]).commit()?;
    /// let red_and_round = Filter::tag("red").and(Filter::tag("round"));
    /// assert_eq!(notes.query().filter(red_and_round.or(Filter::tag("blue"))).count()?, 2);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn filter(mut self, filter: Filter) -> Query {
        let all = std::mem::take(&mut self.request.filter);
        self.request.filter = if all == Filter::all() { filter } else { all.and(filter) };
        self
    }

    /// Of these, only records that an expression means, such as `tag:user AND NOT tag:banned AND size>1k AND updated>now-2h`:
    /// see [`Filter::parse_at`]. What it calls `now` is the time of the system's clock at this call.
    ///
    /// # Errors
    /// `InvalidInput` or `Limit`, with the place where the expression makes no sense.
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put("a", "1").tags(["red"]).commit()?;
    /// assert_eq!(notes.query().matching("tag:red AND (size<1k OR updated<now-7d)")?.count()?, 1);
    /// let error = notes.query().matching("tag:red AND (size<1k").unwrap_err();
    /// assert!(error.to_string().starts_with("column 21: found the end, expected AND, OR or \")\""));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn matching(self, expression: impl AsRef<str>) -> Result<Query> {
        let filter = Filter::parse_at(expression.as_ref(), SystemClock::default().now_ms())?;
        Ok(self.filter(filter))
    }

    /// What the records are sorted by, the smallest first; those that are equal come in the order of their keys. By any other field
    /// than the key, all that are meant are looked at before the first is given.
    ///
    /// ```
    /// use nadb::SortField;
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// files.set_many([("a", "333"), ("b", "1"), ("c", "22")])?;
    /// let keys = files.query().order_by(SortField::Size).keys()?.collect::<nadb::Result<Vec<_>>>()?;
    /// assert_eq!(keys, [b"b", b"c", b"a"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn order_by(mut self, field: SortField) -> Query {
        self.request.order.by = field;
        self
    }

    /// The last of the order first, also among equals.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", ""), ("b", "")])?;
    /// assert_eq!(letters.query().descending().keys()?.next().unwrap()?, b"b");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn descending(mut self) -> Query {
        self.request.order.descending = true;
        self
    }

    /// At most so many records.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", ""), ("b", ""), ("c", "")])?;
    /// assert_eq!(letters.query().limit(2).keys()?.count(), 2);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn limit(mut self, records: u64) -> Query {
        self.request.limit = Some(records);
        self
    }

    /// Not the first so many records. They are looked at all the same: to go on where a page ended, [`after`](Query::after) is cheaper,
    /// and does not slip when records come and go meanwhile.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", ""), ("b", ""), ("c", "")])?;
    /// assert_eq!(letters.query().offset(1).keys()?.next().unwrap()?, b"b");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn offset(mut self, records: u64) -> Query {
        self.request.offset = records;
        self
    }

    /// Only records behind this key; before it, if the order is descending. The key need not be there. For the order of keys alone: with
    /// another one the query fails when it is asked.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", ""), ("b", ""), ("c", "")])?;
    /// assert_eq!(letters.query().after_key("a").keys()?.next().unwrap()?, b"b");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn after_key(mut self, key: impl AsRef<[u8]>) -> Query {
        self.after = Some(After::Key(key.as_ref().to_vec()));
        self
    }

    /// Only records behind the place of a cursor, which the same query gave: same namespace, same order, same filter. Otherwise the query
    /// fails when it is asked.
    ///
    /// ```
    /// use nadb::{Cursor, SortField};
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// files.set_many([("a", "333"), ("b", "1"), ("c", "22")])?;
    /// let by_size = files.query().order_by(SortField::Size);
    /// let mut first = by_size.clone().limit(2).keys()?;
    /// assert_eq!(first.by_ref().count(), 2);
    /// let text = first.cursor().unwrap().to_string();
    ///
    /// let cursor: Cursor = text.parse()?;
    /// assert_eq!(by_size.after(cursor).keys()?.next().unwrap()?, b"a");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn after(mut self, cursor: Cursor) -> Query {
        self.after = Some(After::Cursor(cursor));
        self
    }

    /// The keys of the records, in the order of the query.
    ///
    /// # Errors
    /// `InvalidInput` for a cursor from elsewhere, for [`after_key`](Query::after_key) in another order than that of keys, and with
    /// `Limit` for a filter that is nested too deep, has too many terms, or a tag that no record can have; otherwise as
    /// [`Namespace::iter`](crate::Namespace::iter), here or in an item.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", ""), ("b", "")])?;
    /// assert_eq!(letters.query().keys()?.collect::<nadb::Result<Vec<_>>>()?, [b"a", b"b"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn keys(&self) -> Result<QueryKeys> {
        self.entries().map(QueryEntries::keys)
    }

    /// The records, with values and metadata, in the order of the query.
    ///
    /// # Errors
    /// As [`keys`](Query::keys).
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set("a", "value")?;
    /// let entry = letters.query().entries()?.next().unwrap()?;
    /// assert_eq!((entry.value, entry.metadata.size), (b"value".to_vec().into(), 5));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn entries(&self) -> Result<QueryEntries> {
        let request = self.asked()?;
        let matches = self.source.matches(&request)?;
        Ok(QueryEntries::new(matches, request, Arc::clone(&self.source.namespace)))
    }

    /// How many records are meant in all: order, limit, offset and where to go on do not count.
    ///
    /// # Errors
    /// As [`keys`](Query::keys).
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", ""), ("b", ""), ("c", "")])?;
    /// assert_eq!(letters.query().after_key("a").limit(1).count()?, 3);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn count(&self) -> Result<u64> {
        self.source.count(&self.request.filter)
    }

    /// What the backend is asked.
    fn asked(&self) -> Result<QueryRequest> {
        let after = match &self.after {
            None => None,
            Some(After::Cursor(cursor)) => Some(cursor.position_for(&self.request, &self.source.namespace)?),
            Some(After::Key(key)) if self.request.order.by == SortField::Key => {
                Some(Position { value: 0, key: key.clone() })
            }
            Some(After::Key(_)) => {
                return Err(Error::invalid(
                    "after_key goes on in the order of keys alone; in another order go on with after(cursor)",
                ));
            }
        };
        Ok(self.request.clone().behind(after))
    }
}

impl Source {
    fn matches(&self, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        match &self.at {
            At::Now(backend) => backend.query(&self.namespace, request),
            At::Then(snapshot) => snapshot.at.query(&self.namespace, request),
        }
    }

    fn count(&self, filter: &Filter) -> Result<u64> {
        match &self.at {
            At::Now(backend) => backend.count(&self.namespace, filter),
            At::Then(snapshot) => snapshot.at.count(&self.namespace, filter),
        }
    }

    /// The same at one moment, where the backend has snapshots.
    fn settled(&self) -> Result<Source> {
        let at = match &self.at {
            At::Now(backend) if backend.capabilities().has(Feature::Snapshots) => {
                At::Then(Snapshot::take(backend)?)
            }
            at => at.clone(),
        };
        Ok(Source { at, namespace: Arc::clone(&self.namespace) })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_of_a_snapshot = matches!(self.at, At::Then(_));
        f.debug_struct("Source")
            .field("namespace", &self.namespace)
            .field("is_of_a_snapshot", &is_of_a_snapshot)
            .finish_non_exhaustive()
    }
}
