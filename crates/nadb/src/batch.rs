//! Batches: writes that happen all or not at all.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nadb_core::{
    Action, Add, Backend, Condition, Durability, ExpiryUpdate, Merge, MergeOperator, Operation, Outcome,
    Result, WriteOptions,
};

use crate::settings::{PutSettings, unix_ms};

/// Writes to any keys of any namespaces that happen all or not at all, also across a crash; made by
/// [`Store::batch`](crate::Store::batch). Nothing happens before [`commit`](Batch::commit).
///
/// Operations happen in order: later ones see earlier ones, and of several writes to a key the last counts. If one
/// condition does not hold, or one operation is not allowed, nothing at all is written. A batch may have 256 MiB, encoded.
/// It owns its data and may go to another thread.
///
/// ```
/// use nadb::Store;
/// let store = Store::memory()?;
/// let mut batch = store.batch();
/// batch.set("users", "alice", "…").delete("invitations", "alice").incr("counters", "users", 1);
/// batch.put("users", "bob", "…").tags(["invited"]).if_absent();
/// let outcomes = batch.commit()?;
/// assert_eq!(outcomes.len(), 4);
/// assert!(!outcomes[1].existed);
/// assert_eq!(outcomes[2].merged.as_deref(), Some(&b"1"[..]));
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "nothing is written until `commit` is called"]
pub struct Batch {
    backend: Arc<dyn Backend>,
    items: Vec<Item>,
    durability: Option<Durability>,
}

#[derive(Debug)]
struct Item {
    namespace: String,
    key: Vec<u8>,
    change: Change,
    /// All of them matter to a put, the condition alone to a delete, none to a merge or another expiry.
    settings: PutSettings,
}

#[derive(Debug)]
enum Change {
    Put(Vec<u8>),
    Delete,
    Merge(Merge<'static>),
    Expire(ExpiryUpdate),
}

impl Item {
    fn into_operation(self) -> Result<Operation<'static>> {
        let Item { namespace, key, change, settings } = self;
        let condition = settings.condition;
        let action = match change {
            Change::Put(value) => Action::Put(settings.into_put(value)?),
            Change::Delete => Action::Delete,
            Change::Merge(merge) => Action::Merge(merge),
            Change::Expire(update) => Action::Expire(update),
        };
        Ok(Operation::new(namespace, key, action).when(condition))
    }
}

impl Batch {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Batch {
        Batch { backend, items: Vec::new(), durability: None }
    }

    /// Adds a write of a value, as [`Namespace::set`](crate::Namespace::set).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.set("a", "k", "1").set("b", "k", "2");
    /// batch.commit()?;
    /// assert_eq!(store.namespace("b")?.get("k")?.unwrap(), b"2");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn set(
        &mut self,
        namespace: impl Into<String>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> &mut Self {
        self.put(namespace, key, value);
        self
    }

    /// Adds a write with tags, expiry and so on: it is in the batch at once, and the handle that is returned changes it
    /// there.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.put("users", "alice", "…").tags(["user"]).content_type("text/plain");
    /// assert_eq!(batch.commit()?.len(), 1);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn put(
        &mut self,
        namespace: impl Into<String>,
        key: impl AsRef<[u8]>,
        value: impl AsRef<[u8]>,
    ) -> BatchPut<'_> {
        let change = Change::Put(value.as_ref().to_vec());
        BatchPut { settings: &mut self.push(namespace.into(), key.as_ref(), change).settings }
    }

    /// Adds a delete; a missing key is no error.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.set("n", "k", "v").delete("n", "k");
    /// assert!(batch.commit()?[1].existed); // later operations see earlier ones
    /// assert!(!store.namespace("n")?.contains("k")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn delete(&mut self, namespace: impl Into<String>, key: impl AsRef<[u8]>) -> &mut Self {
        self.remove(namespace, key);
        self
    }

    /// Adds a delete that can be made to depend on a condition: it is in the batch at once, and the handle that is
    /// returned changes it there.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let written = store.namespace("n")?.set("k", "v")?;
    /// let mut batch = store.batch();
    /// batch.remove("n", "k").if_version(written.version);
    /// assert!(batch.commit()?[0].existed);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn remove(&mut self, namespace: impl Into<String>, key: impl AsRef<[u8]>) -> BatchRemove<'_> {
        BatchRemove { settings: &mut self.push(namespace.into(), key.as_ref(), Change::Delete).settings }
    }

    /// Adds `by` to a counter, as [`Namespace::incr`](crate::Namespace::incr); the outcome's `merged` is the new value.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.incr("counters", "visits", 2).incr("counters", "visits", 3);
    /// assert_eq!(batch.commit()?[1].merged.as_deref(), Some(&b"5"[..]));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn incr(&mut self, namespace: impl Into<String>, key: impl AsRef<[u8]>, by: i64) -> &mut Self {
        self.merge(namespace, key, Add, by.to_string())
    }

    /// Adds a merge, as [`Namespace::merge`](crate::Namespace::merge); the outcome's `merged` is the new value.
    ///
    /// ```
    /// use nadb::{Store, merge::Append};
    /// let store = Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.set("n", "k", "a").merge("n", "k", Append, "b");
    /// batch.commit()?;
    /// assert_eq!(store.namespace("n")?.get("k")?.unwrap(), b"ab");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn merge(
        &mut self,
        namespace: impl Into<String>,
        key: impl AsRef<[u8]>,
        operator: impl MergeOperator,
        operand: impl AsRef<[u8]>,
    ) -> &mut Self {
        let merge = Merge::new(Arc::new(operator), operand.as_ref().to_vec());
        self.push(namespace.into(), key.as_ref(), Change::Merge(merge));
        self
    }

    /// Adds another expiry, as [`Namespace::expire`](crate::Namespace::expire); the outcome's `existed` says whether the key was
    /// there.
    ///
    /// ```
    /// use std::time::Duration;
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.set("n", "a", "1").expire("n", "a", Duration::from_secs(60)).expire("n", "b", Duration::from_secs(60));
    /// let outcomes = batch.commit()?;
    /// assert!(outcomes[1].existed && !outcomes[2].existed);
    /// assert!(store.namespace("n")?.metadata("a")?.unwrap().expires().is_some());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn expire(
        &mut self,
        namespace: impl Into<String>,
        key: impl AsRef<[u8]>,
        ttl: Duration,
    ) -> &mut Self {
        self.change_expiry(namespace.into(), key.as_ref(), ExpiryUpdate::After(ttl))
    }

    /// Adds an expiry at a moment, as [`Namespace::expire_at`](crate::Namespace::expire_at).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.set("n", "k", "v").expire_at("n", "k", std::time::UNIX_EPOCH);
    /// assert!(!batch.commit()?[1].exists, "that is past");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn expire_at(
        &mut self,
        namespace: impl Into<String>,
        key: impl AsRef<[u8]>,
        at: SystemTime,
    ) -> &mut Self {
        self.change_expiry(namespace.into(), key.as_ref(), ExpiryUpdate::AtMs(unix_ms(at)))
    }

    /// Adds the end of an expiry, as [`Namespace::persist`](crate::Namespace::persist).
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.put("n", "k", "v").ttl(std::time::Duration::from_secs(60));
    /// batch.persist("n", "k");
    /// batch.commit()?;
    /// assert_eq!(store.namespace("n")?.ttl("k")?, nadb::Ttl::Never);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn persist(&mut self, namespace: impl Into<String>, key: impl AsRef<[u8]>) -> &mut Self {
        self.change_expiry(namespace.into(), key.as_ref(), ExpiryUpdate::Never)
    }

    fn change_expiry(&mut self, namespace: String, key: &[u8], update: ExpiryUpdate) -> &mut Self {
        self.push(namespace, key, Change::Expire(update));
        self
    }

    /// How many operations it has.
    ///
    /// ```
    /// let mut batch = nadb::Store::memory()?.batch();
    /// batch.set("n", "k", "v");
    /// assert_eq!((batch.len(), batch.is_empty()), (1, false));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The durability class of the batch, in place of the store's.
    ///
    /// ```
    /// use nadb::{Durability, Store};
    /// let mut batch = Store::memory()?.batch();
    /// batch.durability(Durability::Synced).set("n", "k", "v");
    /// batch.commit()?;
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn durability(&mut self, durability: Durability) -> &mut Self {
        self.durability = Some(durability);
        self
    }

    /// Writes everything in one atomic step and gives one outcome for each operation, in order. When it returns, all of
    /// it is visible, and as durable as its class says. An empty batch does nothing.
    ///
    /// # Errors
    /// `PreconditionFailed` when a condition did not hold; `Limit` or `InvalidInput` for an operation that is not allowed
    /// or a batch that is too large; what a merge operator returns; `NoSpace`, `Poisoned`, `Closed`. Nothing was written
    /// then, except that after `Poisoned` the outcome is unknown.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.set("n", "a", "1");
    /// batch.set("n", "", "no key");
    /// assert!(batch.commit().is_err());
    /// assert!(!store.namespace("n")?.contains("a")?);
    /// assert!(store.batch().commit()?.is_empty());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn commit(self) -> Result<Vec<Outcome>> {
        if self.items.is_empty() {
            return Ok(Vec::new());
        }
        let count = self.items.len();
        let operations = self
            .items
            .into_iter()
            .zip(1..)
            .map(|(item, number)| item.into_operation().map_err(|error| error.in_batch(number, count)));
        let options = WriteOptions::default().with_durability(self.durability);
        self.backend.write(&operations.collect::<Result<Vec<_>>>()?, &options)
    }

    fn push(&mut self, namespace: String, key: &[u8], change: Change) -> &mut Item {
        let item = Item { namespace, key: key.to_vec(), change, settings: PutSettings::default() };
        self.items.push(item);
        let last = self.items.len() - 1;
        &mut self.items[last]
    }
}

/// A put inside a [`Batch`], to be given tags, expiry and so on; made by [`Batch::put`]. Each setter means what it means on
/// [`PutBuilder`](crate::PutBuilder); a tag or attribute that is not allowed is the error of [`Batch::commit`].
///
/// ```
/// use std::time::Duration;
/// let store = nadb::Store::memory()?;
/// let mut batch = store.batch();
/// batch.put("n", "a", "1").tags(["x"]).ttl(Duration::from_secs(60)).attr("lang", "en");
/// batch.put("n", "b", "2").if_absent();
/// batch.commit()?;
/// assert!(store.namespace("n")?.metadata("a")?.unwrap().tags.contains("x"));
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchPut<'b> {
    settings: &'b mut PutSettings,
}

impl BatchPut<'_> {
    /// The put fails at the batch's commit.
    #[cfg(feature = "json")]
    pub(crate) fn failed(self, error: nadb_core::Error) -> Self {
        self.settings.fail(error);
        self
    }

    /// See [`PutBuilder::tags`](crate::PutBuilder::tags).
    pub fn tags<T: Into<String>>(self, tags: impl IntoIterator<Item = T>) -> Self {
        self.settings.tags(tags);
        self
    }

    /// See [`PutBuilder::keep_tags`](crate::PutBuilder::keep_tags).
    pub fn keep_tags(self) -> Self {
        self.settings.keep_tags();
        self
    }

    /// See [`PutBuilder::ttl`](crate::PutBuilder::ttl).
    pub fn ttl(self, ttl: Duration) -> Self {
        self.settings.ttl(ttl);
        self
    }

    /// See [`PutBuilder::expires_at`](crate::PutBuilder::expires_at).
    pub fn expires_at(self, at: SystemTime) -> Self {
        self.settings.expires_at(at);
        self
    }

    /// See [`PutBuilder::keep_ttl`](crate::PutBuilder::keep_ttl).
    pub fn keep_ttl(self) -> Self {
        self.settings.keep_ttl();
        self
    }

    /// See [`PutBuilder::content_type`](crate::PutBuilder::content_type).
    pub fn content_type(self, content_type: impl Into<String>) -> Self {
        self.settings.content_type(content_type.into());
        self
    }

    /// See [`PutBuilder::attr`](crate::PutBuilder::attr).
    pub fn attr(self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.settings.attr(name.into(), value.into());
        self
    }

    /// See [`PutBuilder::if_absent`](crate::PutBuilder::if_absent).
    pub fn if_absent(self) -> Self {
        self.settings.condition = Condition::IfAbsent;
        self
    }

    /// See [`PutBuilder::if_present`](crate::PutBuilder::if_present).
    pub fn if_present(self) -> Self {
        self.settings.condition = Condition::IfPresent;
        self
    }

    /// See [`PutBuilder::if_version`](crate::PutBuilder::if_version).
    pub fn if_version(self, version: u64) -> Self {
        self.settings.condition = Condition::IfVersion(version);
        self
    }
}

/// A delete inside a [`Batch`], to be made conditional; made by [`Batch::remove`].
///
/// ```
/// let store = nadb::Store::memory()?;
/// let mut batch = store.batch();
/// batch.remove("n", "k").if_present();
/// assert!(batch.commit().is_err()); // it is not there
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
pub struct BatchRemove<'b> {
    settings: &'b mut PutSettings,
}

impl BatchRemove<'_> {
    /// See [`RemoveBuilder::if_version`](crate::RemoveBuilder::if_version).
    pub fn if_version(self, version: u64) -> Self {
        self.settings.condition = Condition::IfVersion(version);
        self
    }

    /// See [`RemoveBuilder::if_present`](crate::RemoveBuilder::if_present).
    pub fn if_present(self) -> Self {
        self.settings.condition = Condition::IfPresent;
        self
    }
}
