//! Pages by number, with the total.

use nadb_core::{Cursor, Entry, Error, Result};

use super::Query;

/// A page of what a query means; made by [`Query::page`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Page {
    /// The records of this page; fewer than its size on the last one, none behind that.
    pub entries: Vec<Entry>,
    /// Its number, from 1.
    pub number: u64,
    /// How many records a full page has.
    pub size: u64,
    /// How many records there are on all pages.
    pub total: u64,
    /// How many pages there are; 0 where there are no records.
    pub pages: u64,
    /// Where the next page begins, for [`Query::after`] and [`limit`](Query::limit); `None` where there is none.
    pub next: Option<Cursor>,
}

impl Query {
    /// A page by its number, from 1, with the total: for lists in which people leaf. Entries and total are of one moment where the
    /// backend has snapshots, as the engine does. A number behind the last page gives a page without records.
    ///
    /// Pages before it are looked at, too. To go through all of them, or through a list that changes meanwhile, go on with
    /// [`Page::next`] and [`after`](Query::after), or with [`cursor`](crate::QueryEntries::cursor).
    ///
    /// # Errors
    /// `InvalidInput` for page 0, pages of 0 records, and a query that says itself where to begin or how many (`limit`, `offset`,
    /// `after`, `after_key`); otherwise as [`keys`](Query::keys).
    ///
    /// ```
    /// let letters = nadb::Store::memory()?.namespace("letters")?;
    /// letters.set_many(["a", "b", "c", "d", "e"].map(|letter| (letter, "")))?;
    /// let page = letters.query().page(2, 2)?;
    /// let keys: Vec<_> = page.entries.iter().map(|entry| entry.key.as_slice()).collect();
    /// assert_eq!((keys, page.total, page.pages), (vec![&b"c"[..], b"d"], 5, 3));
    ///
    /// let rest = letters.query().after(page.next.unwrap()).keys()?.collect::<nadb::Result<Vec<_>>>()?;
    /// assert_eq!(rest, [b"e"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn page(&self, number: u64, size: u64) -> Result<Page> {
        let Some(before) = number.checked_sub(1) else {
            return Err(Error::invalid("page is 0, the first page is 1"));
        };
        if size == 0 {
            return Err(Error::invalid("page size is 0, a page has at least 1 record"));
        }
        if self.request.limit.is_some() || self.request.offset > 0 || self.after.is_some() {
            return Err(Error::invalid(
                "page(number, size) says where to begin and how many; leave out limit, offset, after and after_key",
            ));
        }
        let mut query = Query { source: self.source.settled()?, ..self.clone() };
        let total = query.count()?;
        query.request = query.request.section(before.saturating_mul(size), Some(size));
        let mut matches = query.entries()?;
        let entries = matches.by_ref().collect::<Result<Vec<_>>>()?;
        let pages = total.div_ceil(size);
        let next = if number < pages { matches.cursor() } else { None };
        Ok(Page { entries, number, size, total, pages, next })
    }
}
