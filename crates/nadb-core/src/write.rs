//! Writes: what can be asked of a store in one atomic step.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use crate::{Attrs, Entry, MergeOperator, Tags};

/// When a write is acknowledged, and with that what can be lost. What survives is always a prefix of the order of writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Acknowledged in memory. A process kill loses at most what the last flush interval holds; a power cut that and what
    /// was not synced.
    Buffered,
    /// Acknowledged when handed to the operating system. A process kill loses nothing; a power cut at most what was
    /// written since the last background sync.
    #[default]
    Flushed,
    /// Acknowledged when on stable storage. Concurrent writers share one sync. Nothing acknowledged is ever lost.
    Synced,
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Condition {
    /// Nothing.
    #[default]
    Always,
    /// The key is absent (or expired).
    IfAbsent,
    /// The key is there.
    IfPresent,
    /// The key is there with exactly this version.
    IfVersion(u64),
}

/// Which tags the record gets.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TagsUpdate {
    /// These and no others.
    Replace(Tags),
    /// Those that it has; none if it is new.
    Keep,
}

impl Default for TagsUpdate {
    fn default() -> Self {
        TagsUpdate::Replace(Tags::default())
    }
}

/// Which expiry the record gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ExpiryUpdate {
    /// None: it lives until it is deleted.
    #[default]
    Never,
    /// The one that it has; none if it is new.
    Keep,
    /// Now plus this; above zero.
    After(Duration),
    /// This moment in Unix milliseconds. One already past makes the write act as a delete.
    AtMs(u64),
}

/// When a record came into being and when it was written, in the store that it comes from: Unix milliseconds, at most the end of year
/// 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordTimes {
    /// As [`Metadata::created_ms`](crate::Metadata::created_ms).
    pub created_ms: u64,
    /// As [`Metadata::updated_ms`](crate::Metadata::updated_ms).
    pub updated_ms: u64,
}

impl RecordTimes {
    /// These two.
    #[must_use]
    pub fn new(created_ms: u64, updated_ms: u64) -> RecordTimes {
        RecordTimes { created_ms, updated_ms }
    }
}

/// A write of a value with everything that belongs to it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Put<'a> {
    /// The value.
    pub value: Cow<'a, [u8]>,
    /// Its tags.
    pub tags: TagsUpdate,
    /// Its expiry.
    pub expiry: ExpiryUpdate,
    /// Its media type.
    pub content_type: Option<Cow<'a, str>>,
    /// Its attributes.
    pub attrs: Attrs,
    /// The times that it had elsewhere, for a record that is moved. `None`, which is what writes are but for that: it is written now,
    /// and came into being when the key did. Optional: [`Feature::Import`](crate::Feature::Import).
    pub times: Option<RecordTimes>,
}

impl<'a> Put<'a> {
    /// A value without tags, expiry, media type or attributes.
    #[must_use]
    pub fn new(value: impl Into<Cow<'a, [u8]>>) -> Put<'a> {
        Put { value: value.into(), ..Put::default() }
    }
}

/// A merge: the new value is made from the current one. Tags, expiry, attributes, media type and `created` stay.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Merge<'a> {
    /// How.
    pub operator: Arc<dyn MergeOperator>,
    /// With what.
    pub operand: Cow<'a, [u8]>,
}

impl<'a> Merge<'a> {
    /// A merge by `operator` with `operand`.
    #[must_use]
    pub fn new(operator: Arc<dyn MergeOperator>, operand: impl Into<Cow<'a, [u8]>>) -> Merge<'a> {
        Merge { operator, operand: operand.into() }
    }
}

/// What is done to a key.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Action<'a> {
    /// Its record is written.
    Put(Put<'a>),
    /// Its record is deleted.
    Delete,
    /// Its value is merged.
    Merge(Merge<'a>),
    /// Its expiry is changed, and nothing else but the version: value, tags, attributes, media type, `created` and `updated`
    /// stay. One already past makes it a delete. Nothing happens where the key is absent; no namespace is created.
    Expire(ExpiryUpdate),
}

/// One operation of a batch.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Operation<'a> {
    /// The namespace's name; a put or merge creates it where it is missing.
    pub namespace: Cow<'a, str>,
    /// The key.
    pub key: Cow<'a, [u8]>,
    /// What is done.
    pub action: Action<'a>,
    /// What must hold.
    pub condition: Condition,
}

impl<'a> Operation<'a> {
    /// An unconditional operation.
    #[must_use]
    pub fn new(
        namespace: impl Into<Cow<'a, str>>,
        key: impl Into<Cow<'a, [u8]>>,
        action: Action<'a>,
    ) -> Operation<'a> {
        Operation { namespace: namespace.into(), key: key.into(), action, condition: Condition::Always }
    }

    /// The put that makes `entry` again as it is, with its times, but for the version and the last access.
    #[must_use]
    pub fn import(namespace: impl Into<Cow<'a, str>>, entry: &'a Entry) -> Operation<'a> {
        let metadata = &entry.metadata;
        let mut put = Put::new(&*entry.value);
        put.tags = TagsUpdate::Replace(metadata.tags.clone());
        put.expiry = metadata.expires_ms.map_or(ExpiryUpdate::Never, ExpiryUpdate::AtMs);
        put.content_type = metadata.content_type.as_deref().map(Into::into);
        put.attrs = metadata.attrs.clone();
        put.times = Some(RecordTimes::new(metadata.created_ms, metadata.updated_ms));
        Operation::new(namespace, &*entry.key, Action::Put(put))
    }

    /// The same under a condition.
    #[must_use]
    pub fn when(mut self, condition: Condition) -> Operation<'a> {
        self.condition = condition;
        self
    }
}

/// Operations that happen all or not at all, in order; later ones see earlier ones.
pub type WriteBatch<'a> = [Operation<'a>];

/// What one operation did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Outcome {
    /// The version that it made; `None` for a delete of a key that had no record.
    pub version: Option<u64>,
    /// Whether the key was there (visible) before.
    pub existed: bool,
    /// Whether the key is there afterwards: not after a delete, nor after a put whose expiry was already past.
    pub exists: bool,
    /// The new value of a merge.
    pub merged: Option<Vec<u8>>,
}

impl Outcome {
    /// An outcome of these parts.
    #[must_use]
    pub fn new(version: Option<u64>, existed: bool, exists: bool, merged: Option<Vec<u8>>) -> Outcome {
        Outcome { version, existed, exists, merged }
    }
}

/// What a set or put did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Written {
    /// The record's version.
    pub version: u64,
    /// Whether the key is new: absent or expired before, and there now.
    pub created: bool,
}

impl Written {
    /// What a write of `version` did.
    #[must_use]
    pub fn new(version: u64, created: bool) -> Written {
        Written { version, created }
    }
}
