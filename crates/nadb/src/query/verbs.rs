//! Where queries begin: at a namespace, as it is or as it was.

use std::sync::Arc;

use nadb_core::Result;

use super::{At, Query};
use crate::{Namespace, SnapshotNamespace};

/// A tag, and how many records have it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct TagCount {
    /// The tag.
    pub tag: String,
    /// How many live records have it; at least 1.
    pub count: u64,
}

fn counted(tags: Vec<(String, u64)>) -> Vec<TagCount> {
    tags.into_iter().map(|(tag, count)| TagCount { tag, count }).collect()
}

/// Queries.
impl Namespace {
    /// Records by tags, keys and metadata, in any order, page by page: see [`Query`].
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.put("user:1", "Alice").tags(["user"]).commit()?;
    /// assert_eq!(users.query().tag("user").keys()?.next().unwrap()?, b"user:1");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn query(&self) -> Query {
        Query::new(At::Now(Arc::clone(&self.backend)), &self.name)
    }

    /// All tags that live records have, in the order of their bytes, each with how many have it.
    ///
    /// # Errors
    /// As [`iter`](Namespace::iter).
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put("a", "").tags(["red", "round"]).commit()?;
    /// notes.put("b", "").tags(["red"]).commit()?;
    /// let tags: Vec<_> = notes.tags()?.into_iter().map(|found| (found.tag, found.count)).collect();
    /// assert_eq!(tags, [("red".to_owned(), 2), ("round".to_owned(), 1)]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn tags(&self) -> Result<Vec<TagCount>> {
        self.tags_with_prefix("")
    }

    /// The same of the tags that begin with `prefix`.
    ///
    /// # Errors
    /// As [`iter`](Namespace::iter).
    ///
    /// ```
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// files.put("a.rs", "").tags(["ext:rs", "mine"]).commit()?;
    /// assert_eq!(files.tags_with_prefix("ext:")?[0].tag, "ext:rs");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn tags_with_prefix(&self, prefix: impl AsRef<str>) -> Result<Vec<TagCount>> {
        self.backend.tags(&self.name, prefix.as_ref()).map(counted)
    }
}

/// Queries.
impl SnapshotNamespace {
    /// Records by tags, keys and metadata as they were, in any order, page by page: see [`Query`].
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let users = store.namespace("users")?;
    /// users.put("user:1", "Alice").tags(["user"]).commit()?;
    /// let then = store.snapshot()?.namespace("users")?;
    /// users.delete("user:1")?;
    /// assert_eq!((then.query().tag("user").count()?, users.query().tag("user").count()?), (1, 0));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn query(&self) -> Query {
        Query::new(At::Then(self.snapshot.clone()), &self.name)
    }

    /// All tags that there were, in the order of their bytes, each with how many records had it.
    ///
    /// # Errors
    /// As [`iter`](SnapshotNamespace::iter).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let notes = store.namespace("notes")?;
    /// notes.put("a", "").tags(["red"]).commit()?;
    /// let then = store.snapshot()?.namespace("notes")?;
    /// notes.delete("a")?;
    /// assert_eq!((then.tags()?.len(), notes.tags()?.len()), (1, 0));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn tags(&self) -> Result<Vec<TagCount>> {
        self.tags_with_prefix("")
    }

    /// The same of the tags that begin with `prefix`.
    ///
    /// # Errors
    /// As [`iter`](SnapshotNamespace::iter).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// store.namespace("notes")?.put("a", "").tags(["red"]).commit()?;
    /// let then = store.snapshot()?.namespace("notes")?;
    /// assert!(then.tags_with_prefix("blue")?.is_empty());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn tags_with_prefix(&self, prefix: impl AsRef<str>) -> Result<Vec<TagCount>> {
        self.snapshot.at.tags(&self.name, prefix.as_ref()).map(counted)
    }
}
