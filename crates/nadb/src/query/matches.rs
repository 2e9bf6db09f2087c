//! Iterators over the records that a query means, in its order.

use std::fmt;
use std::sync::Arc;

use nadb_core::{Cursor, Entry, Matches, QueryRequest, Result};

/// The records that a query means; made by [`Query::entries`](crate::Query::entries).
///
/// It owns what it needs, may go to another thread, and hinders no writer. An item is an error when its record is damaged or the
/// store was closed. It does not keep the store open.
///
/// ```
/// let letters = nadb::Store::memory()?.namespace("letters")?;
/// letters.set_many([("a", "1"), ("b", "2")])?;
/// let values: nadb::Result<Vec<_>> = letters.query().entries()?.map(|entry| Ok(entry?.value)).collect();
/// assert_eq!(values?, [b"1", b"2"]);
/// # Ok::<(), nadb::Error>(())
/// ```
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct QueryEntries {
    matches: Box<dyn Matches>,
    request: QueryRequest,
    namespace: Arc<str>,
}

impl QueryEntries {
    pub(super) fn new(matches: Box<dyn Matches>, request: QueryRequest, namespace: Arc<str>) -> QueryEntries {
        QueryEntries { matches, request, namespace }
    }

    /// Only the keys of what is left.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", "1"), ("b", "2")])?;
    /// let mut entries = letters.query().entries()?;
    /// entries.next().unwrap()?;
    /// assert_eq!(entries.keys().next().unwrap()?, b"b");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn keys(self) -> QueryKeys {
        QueryKeys { entries: self }
    }

    /// The place of the record that was given last, from which [`Query::after`](crate::Query::after) goes on; `None` before the first.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", "1"), ("b", "2")])?;
    /// let mut entries = letters.query().entries()?;
    /// assert!(entries.cursor().is_none());
    /// entries.next().unwrap()?;
    /// let rest = letters.query().after(entries.cursor().unwrap());
    /// assert_eq!(rest.entries()?.next().unwrap()?.key, b"b");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        let position = self.matches.last_position()?;
        Some(Cursor::new(&self.request, &self.namespace, position))
    }
}

impl Iterator for QueryEntries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.matches.next()
    }
}

impl fmt::Debug for QueryEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEntries")
            .field("namespace", &self.namespace)
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

/// The keys of the records that a query means, without their values; made by [`Query::keys`](crate::Query::keys).
///
/// ```
/// let letters = nadb::Store::memory()?.namespace("letters")?;
/// letters.set_many([("a", "1"), ("b", "2")])?;
/// assert_eq!(letters.query().descending().keys()?.next().unwrap()?, b"b");
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct QueryKeys {
    entries: QueryEntries,
}

impl QueryKeys {
    /// The place of the key that was given last, from which [`Query::after`](crate::Query::after) goes on; `None` before the first.
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", "1"), ("b", "2")])?;
    /// let mut keys = letters.query().limit(1).keys()?;
    /// assert_eq!(keys.by_ref().count(), 1);
    /// let rest = letters.query().after(keys.cursor().unwrap());
    /// assert_eq!(rest.keys()?.next().unwrap()?, b"b");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn cursor(&self) -> Option<Cursor> {
        self.entries.cursor()
    }
}

impl Iterator for QueryKeys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        self.entries.matches.next_key()
    }
}
