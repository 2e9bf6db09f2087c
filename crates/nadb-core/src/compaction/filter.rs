//! A compaction filter: a function of the application that says of records which a compaction has copied whether they are still
//! wanted.
//!
//! It only decides. Whoever calls it makes ordinary conditional writes of its answers, so that what it wants is logged, seen by
//! readers and survives a crash just as any other write.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::{Attrs, Entry, ExpiryUpdate, Metadata, Put, Result, Tags, TagsUpdate, Value};

/// What is to become of a record.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub enum Fate {
    /// It stays as it is.
    #[default]
    Keep,
    /// It is deleted.
    Drop,
    /// It is written anew.
    Rewrite(Rewrite),
}

/// A record as a compaction filter wants it: another value, and everything else as it was, but for what is said of it. As with any
/// overwrite `created` stays, and `updated` and the version are those of the write.
///
/// ```
/// use nadb_core::{Fate, Rewrite, Tags};
/// let fate = Fate::Rewrite(Rewrite::new("{\"v\":2}").tags(Tags::new(["migrated"])?).expires_ms(None));
/// assert!(matches!(fate, Fate::Rewrite(_)));
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a filter has to answer with it"]
pub struct Rewrite {
    value: Vec<u8>,
    tags: TagsUpdate,
    expiry: ExpiryUpdate,
    content_type: Option<String>,
    attrs: Option<Attrs>,
}

impl Rewrite {
    /// The same record with this value.
    pub fn new(value: impl Into<Vec<u8>>) -> Rewrite {
        Rewrite {
            value: value.into(),
            tags: TagsUpdate::Keep,
            expiry: ExpiryUpdate::Keep,
            content_type: None,
            attrs: None,
        }
    }

    /// It gets these tags and no others.
    pub fn tags(mut self, tags: Tags) -> Rewrite {
        self.tags = TagsUpdate::Replace(tags);
        self
    }

    /// It expires so long after it is written; above zero.
    pub fn ttl(mut self, ttl: Duration) -> Rewrite {
        self.expiry = ExpiryUpdate::After(ttl);
        self
    }

    /// It expires at this moment, in Unix milliseconds; with `None` it does not. A moment already past deletes it.
    pub fn expires_ms(mut self, at_ms: Option<u64>) -> Rewrite {
        self.expiry = at_ms.map_or(ExpiryUpdate::Never, ExpiryUpdate::AtMs);
        self
    }

    /// It gets this media type.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Rewrite {
        self.content_type = Some(content_type.into());
        self
    }

    /// It gets these attributes and no others.
    pub fn attrs(mut self, attrs: Attrs) -> Rewrite {
        self.attrs = Some(attrs);
        self
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// The put that makes this of a record with such metadata, under the condition that it still has that version.
    #[must_use]
    pub fn into_put(self, metadata: Metadata) -> Put<'static> {
        Put {
            value: self.value.into(),
            tags: self.tags,
            expiry: self.expiry,
            content_type: self.content_type.or(metadata.content_type).map(Into::into),
            attrs: self.attrs.unwrap_or(metadata.attrs),
            times: None,
        }
    }
}

/// Where a filter's record comes from: it is read only as far as the filter asks. An [`Entry`] is one, to test a filter with.
pub trait FilterSource {
    /// Everything but key and value.
    ///
    /// # Errors
    /// `Corruption`, `Io`.
    fn metadata(&self) -> Result<Metadata>;

    /// The value, whole.
    ///
    /// # Errors
    /// `Corruption`, `Io`.
    fn value(&self) -> Result<Value>;
}

impl FilterSource for Entry {
    fn metadata(&self) -> Result<Metadata> {
        Ok(self.metadata.clone())
    }

    fn value(&self) -> Result<Value> {
        Ok(self.value.clone())
    }
}

/// A record that a compaction filter is asked about: live, not expired, and the newest of its key when it was read.
///
/// Namespace and key cost nothing; the rest is made when it is asked for, and a value that stands in a blob is then read from its file.
#[derive(Clone, Copy)]
pub struct FilterRecord<'a> {
    namespace: &'a str,
    key: &'a [u8],
    source: &'a dyn FilterSource,
}

impl<'a> FilterRecord<'a> {
    /// A record of these parts.
    #[must_use]
    pub fn new(namespace: &'a str, key: &'a [u8], source: &'a dyn FilterSource) -> FilterRecord<'a> {
        FilterRecord { namespace, key, source }
    }

    /// The name of its namespace.
    #[must_use]
    pub fn namespace(&self) -> &'a str {
        self.namespace
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &'a [u8] {
        self.key
    }

    /// Version, sizes, times, tags, attributes, media type.
    ///
    /// # Errors
    /// `Corruption` or `Io`, which a filter hands on with `?`: the record stays.
    pub fn metadata(&self) -> Result<Metadata> {
        self.source.metadata()
    }

    /// Its value.
    ///
    /// # Errors
    /// As [`FilterRecord::metadata`].
    pub fn value(&self) -> Result<Value> {
        self.source.value()
    }
}

impl fmt::Debug for FilterRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = self.key.escape_ascii().to_string();
        f.debug_struct("FilterRecord")
            .field("namespace", &self.namespace)
            .field("key", &key)
            .finish_non_exhaustive()
    }
}

/// A function that says of records which a compaction has copied what is to become of them.
///
/// ```
/// use nadb_core::{CompactionFilter, Entry, Fate, FilterRecord, Metadata, Value};
/// let filter = CompactionFilter::new(|record| {
///     Ok(if record.key().starts_with(b"tmp/") { Fate::Drop } else { Fate::Keep })
/// });
/// let entry = Entry::new(b"tmp/1".to_vec(), Value::from(b"x".to_vec()), Metadata::new(1, 1, 0));
/// let record = FilterRecord::new("files", &entry.key, &entry);
/// assert!(matches!(filter.decide(&record)?, Fate::Drop));
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Clone)]
pub struct CompactionFilter(Arc<Decide>);

type Decide = dyn Fn(&FilterRecord<'_>) -> Result<Fate> + Send + Sync;

impl CompactionFilter {
    /// Asks `decide`.
    #[must_use]
    pub fn new(
        decide: impl Fn(&FilterRecord<'_>) -> Result<Fate> + Send + Sync + 'static,
    ) -> CompactionFilter {
        CompactionFilter(Arc::new(decide))
    }

    /// What is to become of a record.
    ///
    /// # Errors
    /// Whatever the function answers; the record stays as it is then.
    pub fn decide(&self, record: &FilterRecord<'_>) -> Result<Fate> {
        (self.0)(record)
    }
}

impl fmt::Debug for CompactionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CompactionFilter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rewrite_does_not_name_stays() {
        let mut metadata = Metadata::new(7, 3, 5);
        metadata.content_type = Some("text/plain".to_owned());
        metadata.attrs = Attrs::new([("owner", "alice")]).unwrap();
        let put = Rewrite::new("new").into_put(metadata.clone());
        assert_eq!((put.tags, put.expiry), (TagsUpdate::Keep, ExpiryUpdate::Keep));
        assert_eq!(put.content_type.as_deref(), Some("text/plain"));
        assert_eq!(put.attrs, metadata.attrs);

        let tags = Tags::new(["a"]).unwrap();
        let other = Rewrite::new("new")
            .tags(tags.clone())
            .expires_ms(None)
            .content_type("x/y")
            .attrs(Attrs::default());
        let put = other.into_put(metadata);
        assert_eq!((put.tags, put.expiry), (TagsUpdate::Replace(tags), ExpiryUpdate::Never));
        assert_eq!((put.content_type.as_deref(), put.attrs), (Some("x/y"), Attrs::default()));
    }
}
