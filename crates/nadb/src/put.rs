//! A single put with everything that belongs to it.

use std::time::{Duration, SystemTime};

use nadb_core::{Action, Condition, Durability, Operation, Result, Written};

use crate::settings::{PutSettings, written};
use crate::{Namespace, ValueWriter};

/// A write of one record with tags, expiry, media type, attributes and conditions; made by [`Namespace::put`]. Nothing
/// happens before [`commit`](PutBuilder::commit).
///
/// Value, tags, expiry, media type and attributes are replaced as a whole: what is not given here the record does not have
/// afterwards, except where a `keep_` says otherwise. Of setters that contradict each other the last one counts; a tag or
/// attribute that is not allowed is remembered and is the error of `commit`.
///
/// ```
/// use nadb::Store;
/// use std::time::Duration;
/// let users = Store::memory()?.namespace("users")?;
/// let written = users
///     .put("user:123", "Alice")
///     .tags(["user", "premium"])
///     .ttl(Duration::from_secs(3600))
///     .content_type("text/plain")
///     .attr("lang", "en")
///     .commit()?;
/// assert!(written.created);
///
/// let metadata = users.metadata("user:123")?.unwrap();
/// assert!(metadata.tags.contains("premium"));
/// assert_eq!(metadata.attrs.get("lang"), Some("en"));
/// assert_eq!(metadata.expires_ms.unwrap() - metadata.updated_ms, 3_600_000);
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is written until `commit` is called"]
pub struct PutBuilder<'n, K, V> {
    namespace: &'n Namespace,
    key: K,
    value: V,
    settings: PutSettings,
    durability: Option<Durability>,
}

impl<'n, K: AsRef<[u8]>, V: AsRef<[u8]>> PutBuilder<'n, K, V> {
    pub(crate) fn new(namespace: &'n Namespace, key: K, value: V) -> PutBuilder<'n, K, V> {
        PutBuilder { namespace, key, value, settings: PutSettings::default(), durability: None }
    }

    /// The put fails at its commit.
    #[cfg(feature = "json")]
    pub(crate) fn failed(mut self, error: nadb_core::Error) -> Self {
        self.settings.fail(error);
        self
    }

    /// The record's tags: these and no others. At most 64, each 1 to 255 bytes without NUL; equal ones count once.
    pub fn tags<T: Into<String>>(mut self, tags: impl IntoIterator<Item = T>) -> Self {
        self.settings.tags(tags);
        self
    }

    /// The tags stay as they are; a new record has none.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.put("k", "1").tags(["a"]).commit()?;
    /// users.put("k", "2").keep_tags().commit()?;
    /// assert!(users.metadata("k")?.unwrap().tags.contains("a"));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn keep_tags(mut self) -> Self {
        self.settings.keep_tags();
        self
    }

    /// The record expires this long after the write, in steps of a millisecond, rounded up; above zero. From that moment
    /// on no read finds it.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.settings.ttl(ttl);
        self
    }

    /// The record expires at this moment, in steps of a millisecond, rounded up; at most at the end of year 9999. A
    /// moment already past makes the put act as a delete.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// let year_2100 = SystemTime::UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    /// users.put("k", "v").expires_at(year_2100).commit()?;
    /// assert_eq!(users.metadata("k")?.unwrap().expires(), Some(year_2100));
    /// users.put("k", "v").expires_at(SystemTime::UNIX_EPOCH).commit()?;
    /// assert!(!users.contains("k")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.settings.expires_at(at);
        self
    }

    /// The expiry stays as it is; a new record has none.
    ///
    /// ```
    /// use std::time::Duration;
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.put("k", "1").ttl(Duration::from_secs(60)).commit()?;
    /// let expires = users.metadata("k")?.unwrap().expires_ms;
    /// users.put("k", "2").keep_ttl().commit()?;
    /// assert_eq!(users.metadata("k")?.unwrap().expires_ms, expires);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn keep_ttl(mut self) -> Self {
        self.settings.keep_ttl();
        self
    }

    /// The media type of the value, such as `application/json`: 1 to 255 bytes.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.settings.content_type(content_type.into());
        self
    }

    /// One more attribute; of equal names the last counts. At most 16 a record, and 4 KiB in all.
    pub fn attr(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.attr(name.into(), value.into());
        self
    }

    /// Write only if the key is absent or expired.
    ///
    /// ```
    /// use nadb::{ErrorKind, Store};
    /// let users = Store::memory()?.namespace("users")?;
    /// let first = users.put("k", "1").if_absent().commit()?;
    /// let error = users.put("k", "2").if_absent().commit().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PreconditionFailed { current: Some(first.version) });
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn if_absent(mut self) -> Self {
        self.settings.condition = Condition::IfAbsent;
        self
    }

    /// Write only if the key is there.
    ///
    /// ```
    /// use nadb::{ErrorKind, Store};
    /// let users = Store::memory()?.namespace("users")?;
    /// let error = users.put("k", "1").if_present().commit().unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::PreconditionFailed { current: None });
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn if_present(mut self) -> Self {
        self.settings.condition = Condition::IfPresent;
        self
    }

    /// Write only if the key is there with exactly this version: compare and set.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// let first = users.set("k", "1")?;
    /// users.put("k", "2").if_version(first.version).commit()?;
    /// assert!(users.put("k", "3").if_version(first.version).commit().is_err());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn if_version(mut self, version: u64) -> Self {
        self.settings.condition = Condition::IfVersion(version);
        self
    }

    /// The durability class of this write, in place of the store's.
    ///
    /// ```
    /// use nadb::{Durability, Store};
    /// let users = Store::memory()?.namespace("users")?;
    /// users.put("k", "v").durability(Durability::Synced).commit()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn durability(mut self, durability: Durability) -> Self {
        self.durability = Some(durability);
        self
    }

    /// The value is written piece by piece, and the record made at the end: see [`ValueWriter`]. The pieces are added to the
    /// value that the builder has.
    ///
    /// # Errors
    /// As [`commit`](PutBuilder::commit) for what is wrong already; `Unsupported` on a backend without streams.
    ///
    /// ```
    /// use std::io::Write;
    /// let files = nadb::Store::memory()?.namespace("files")?;
    /// let mut writer = files.put("log", "begin\n").tags(["logs"]).writer()?;
    /// writer.write_all(b"end\n")?;
    /// writer.commit()?;
    /// assert_eq!(files.get("log")?.unwrap(), b"begin\nend\n");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn writer(self) -> Result<ValueWriter> {
        let condition = self.settings.condition;
        let put = self.settings.into_put(self.value.as_ref().to_vec())?;
        let (namespace, key) = (self.namespace.name().to_owned(), self.key.as_ref().to_vec());
        let operation = Operation::new(namespace, key, Action::Put(put)).when(condition);
        self.namespace.write_stream(operation, self.durability)
    }

    /// Writes the record in one atomic step. When it returns, the record is visible, and as durable as its class says.
    ///
    /// # Errors
    /// `PreconditionFailed` with the current version when a condition did not hold; `Limit` or `InvalidInput` for key,
    /// value, tags, attributes or expiry; `NoSpace`, `Poisoned`, `Closed`. Nothing was written then, except that after
    /// `Poisoned` the outcome of this write is unknown.
    pub fn commit(self) -> Result<Written> {
        let condition = self.settings.condition;
        let put = self.settings.into_put(self.value.as_ref())?;
        let operation =
            Operation::new(self.namespace.name(), self.key.as_ref(), Action::Put(put)).when(condition);
        Ok(written(&self.namespace.write_one(operation, self.durability)?))
    }
}
