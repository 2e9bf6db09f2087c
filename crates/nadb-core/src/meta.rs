//! What a record carries beside key and value: tags, attributes, times.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::limits::{ATTRS_BYTES_MAX, ATTRS_MAX, check_len_of, check_tag, check_tag_count};
use crate::{Result, Value};

/// The tags of one record: a set of strings, in order.
///
/// ```
/// use nadb_core::Tags;
/// let tags = Tags::new(["user", "premium", "user"])?;
/// assert_eq!(tags.iter().collect::<Vec<_>>(), ["premium", "user"]);
/// assert!(Tags::new(["a\0b"]).is_err());
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Tags(Vec<String>);

impl Tags {
    /// Checks, sorts and deduplicates.
    ///
    /// # Errors
    /// `Limit` or `InvalidInput` for a tag that is empty, too long or has a NUL, and for too many tags.
    pub fn new<T: Into<String>>(tags: impl IntoIterator<Item = T>) -> Result<Tags> {
        let mut tags: Vec<String> = tags.into_iter().map(Into::into).collect();
        tags.sort_unstable();
        tags.dedup();
        check_tag_count(tags.len())?;
        tags.iter().try_for_each(|tag| check_tag(tag))?;
        Ok(Tags(tags))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether `tag` is among them.
    #[must_use]
    pub fn contains(&self, tag: &str) -> bool {
        self.0.binary_search_by(|have| have.as_str().cmp(tag)).is_ok()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

/// Attributes: small named strings that an application wants to find beside the value, in order of their names.
///
/// ```
/// use nadb_core::Attrs;
/// let attrs = Attrs::new([("owner", "alice"), ("lang", "de")])?;
/// assert_eq!(attrs.get("owner"), Some("alice"));
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Attrs(Vec<(String, String)>);

impl Attrs {
    /// Checks and sorts; of attributes with equal names the last counts.
    ///
    /// # Errors
    /// `Limit` when there are too many, they are too long in all, or a name is empty.
    pub fn new<N: Into<String>, V: Into<String>>(attrs: impl IntoIterator<Item = (N, V)>) -> Result<Attrs> {
        let mut map = std::collections::BTreeMap::new();
        for (name, value) in attrs {
            map.insert(name.into(), value.into());
        }
        let attrs: Vec<(String, String)> = map.into_iter().collect();
        check_len_of("attrs", "attributes", attrs.len(), 0, ATTRS_MAX)?;
        for (name, _) in &attrs {
            check_len_of("attribute name", "bytes", name.len(), 1, ATTRS_BYTES_MAX)?;
        }
        let bytes = attrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        check_len_of("attrs", "bytes", bytes, 0, ATTRS_BYTES_MAX)?;
        Ok(Attrs(attrs))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the attribute `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let at = self.0.binary_search_by(|(have, _)| have.as_str().cmp(name)).ok()?;
        self.0.get(at).map(|(_, value)| value.as_str())
    }

    /// Names and values, in order of the names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Everything that is known of a record but its key and value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metadata {
    /// The version: rises with every write of the store, never reused.
    pub version: u64,
    /// Bytes of the value.
    pub size: u64,
    /// Bytes that the value takes in its file, after compression.
    pub stored_size: u64,
    /// The media type, where the writer gave one.
    pub content_type: Option<String>,
    /// Named strings.
    pub attrs: Attrs,
    /// Tags.
    pub tags: Tags,
    /// When the key came into being, Unix milliseconds. Overwrites keep it; a delete or expiry ends it.
    pub created_ms: u64,
    /// When the value was written, Unix milliseconds.
    pub updated_ms: u64,
    /// When the record expires, Unix milliseconds; from that millisecond on it is invisible.
    pub expires_ms: Option<u64>,
    /// When the key was last read, Unix milliseconds, coarsely: by a minute or so too early. `None` on a backend without
    /// [`Feature::LastAccess`](crate::Feature::LastAccess), and where no read is known since the key came into being.
    ///
    /// `get`, `get_with`, `get_entry`, `get_many`, a `reader` and `touch` are reads; listings, queries, `metadata`, `contains` and
    /// reads of a snapshot are not. What shows it shows what was known before. Overwrites and another expiry keep it; a
    /// delete or expiry ends it. It is a hint: a crash may take the latest reads out of it, and so may a write of the same key
    /// at the same moment. A snapshot's records show what is known when they are asked for.
    pub accessed_ms: Option<u64>,
}

impl Metadata {
    /// Metadata of a fresh record without tags, attributes or expiry. Backends fill in the rest.
    #[must_use]
    pub fn new(version: u64, size: u64, updated_ms: u64) -> Metadata {
        Metadata {
            version,
            size,
            stored_size: size,
            content_type: None,
            attrs: Attrs::default(),
            tags: Tags::default(),
            created_ms: updated_ms,
            updated_ms,
            expires_ms: None,
            accessed_ms: None,
        }
    }

    /// [`Metadata::created_ms`] as a point in time.
    #[must_use]
    pub fn created(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.created_ms)
    }

    /// [`Metadata::updated_ms`] as a point in time.
    #[must_use]
    pub fn updated(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(self.updated_ms)
    }

    /// [`Metadata::expires_ms`] as a point in time.
    #[must_use]
    pub fn expires(&self) -> Option<SystemTime> {
        self.expires_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms))
    }

    /// [`Metadata::accessed_ms`] as a point in time.
    #[must_use]
    pub fn accessed(&self) -> Option<SystemTime> {
        self.accessed_ms.map(|ms| UNIX_EPOCH + Duration::from_millis(ms))
    }
}

/// A record: key, value and metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Value,
    /// Everything else.
    pub metadata: Metadata,
}

impl Entry {
    /// A record of these parts.
    #[must_use]
    pub fn new(key: Vec<u8>, value: Value, metadata: Metadata) -> Entry {
        Entry { key, value, metadata }
    }
}
