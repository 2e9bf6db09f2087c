//! The model: what a store must answer, as plain maps.
//!
//! It promises the meaning of every verb (conditions, `keep_*`, merges, expiry, atomic batches, namespaces) and knows nothing
//! of files, numbers or crashes. Versions are taken from the store's own answers and checked to rise.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::accesses::Accesses;
use nadb_core::{
    Action, Attrs, Condition, Entry, ErrorKind, ExpiryUpdate, Operation, Outcome, Put, Tags, TagsUpdate,
};

/// A record as a reader sees it, but for when it was last read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The value.
    pub value: Vec<u8>,
    /// The tags.
    pub tags: Tags,
    /// The media type.
    pub content_type: Option<String>,
    /// The attributes.
    pub attrs: Attrs,
    /// When the key came into being.
    pub created_ms: u64,
    /// When the value was written.
    pub updated_ms: u64,
    /// From when on it is invisible.
    pub expires_ms: Option<u64>,
    /// The version; `None` in a batch that the store has not answered yet.
    pub version: Option<u64>,
}

impl Record {
    /// The record of an entry that a store gave.
    #[must_use]
    pub fn of(entry: Entry) -> Record {
        let metadata = entry.metadata;
        Record {
            value: entry.value.to_vec(),
            tags: metadata.tags,
            content_type: metadata.content_type,
            attrs: metadata.attrs,
            created_ms: metadata.created_ms,
            updated_ms: metadata.updated_ms,
            expires_ms: metadata.expires_ms,
            version: Some(metadata.version),
        }
    }

    /// Whether a reader sees it at this time.
    #[must_use]
    pub fn is_visible(&self, now_ms: u64) -> bool {
        self.expires_ms.is_none_or(|at| at > now_ms)
    }
}

/// The records of one namespace, expired ones included until something overwrites or deletes them.
pub type Records = BTreeMap<Vec<u8>, Arc<Record>>;

/// The content of a store. Clones are cheap: they share what has not changed.
#[derive(Debug, Clone, Default)]
pub struct Model {
    namespaces: BTreeMap<String, Arc<Records>>,
    last_version: u64,
    /// Of content that was read: what had expired at or before this could not be seen.
    mark_ms: u64,
    /// When its keys were last read, where the store keeps that. It is compared apart.
    pub accesses: Accesses,
}

impl PartialEq for Model {
    /// Whether two stores have the same content; which versions were given and are gone again does not count.
    fn eq(&self, other: &Model) -> bool {
        self.namespaces == other.namespaces
    }
}

/// What a store must do with a batch.
#[derive(Debug)]
pub enum Planned {
    /// Refuse it with this error, and change nothing.
    Refused(ErrorKind),
    /// Do it.
    Done(Pending),
}

/// A batch that a store must do, with the versions still open.
#[derive(Debug)]
pub struct Pending {
    next: Model,
    done: Vec<Done>,
}

#[derive(Debug)]
struct Done {
    namespace: String,
    key: Vec<u8>,
    existed: bool,
    merged: Option<Vec<u8>>,
    /// Which version it gives.
    version: Gives,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gives {
    /// None: it makes no record.
    Nothing,
    /// A new one, for a record of any kind.
    New,
    /// A new one or none: a deletion of what has expired makes a record as long as the store has not let go of it.
    NewOrNothing,
    /// The one that the key has.
    Kept,
}

impl Model {
    /// The names of all namespaces, in order.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.namespaces.keys().cloned().collect()
    }

    /// The records of a namespace, expired ones included.
    #[must_use]
    pub fn records(&self, namespace: &str) -> Option<&Records> {
        self.namespaces.get(namespace).map(|records| &**records)
    }

    /// The record of a key that a reader sees at this time.
    #[must_use]
    pub fn visible(&self, namespace: &str, key: &[u8], now_ms: u64) -> Option<&Record> {
        let record = self.records(namespace)?.get(key)?;
        record.is_visible(now_ms).then_some(&**record)
    }

    /// Every key of every namespace, with its namespace.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.namespaces
            .iter()
            .flat_map(|(name, records)| records.keys().map(|key| (name.as_str(), key.as_slice())))
    }

    /// The highest version that was given.
    #[must_use]
    pub fn last_version(&self) -> u64 {
        self.last_version
    }

    /// Whether a store that was read has this content; a version that is still open here may be any.
    #[must_use]
    pub fn admits(&self, content: &Model) -> bool {
        let admits = |ours: &Record, theirs: &Record| {
            ours == theirs || ours.version.is_none() && *ours == Record { version: None, ..theirs.clone() }
        };
        let ours = self.without_expired(content.mark_ms);
        ours.namespaces.len() == content.namespaces.len()
            && ours.namespaces.iter().zip(&content.namespaces).all(|((name, ours), (other, theirs))| {
                name == other
                    && ours.len() == theirs.len()
                    && ours
                        .iter()
                        .zip(theirs.iter())
                        .all(|((key, a), (other, b))| key == other && admits(a, b))
            })
    }

    /// Counts all versions up to this one as given: the next must be above.
    pub fn versions_given_upto(&mut self, version: u64) {
        self.last_version = self.last_version.max(version);
    }

    /// The model of a store whose content was read.
    #[must_use]
    pub fn of(namespaces: BTreeMap<String, Records>) -> Model {
        let versions = namespaces.values().flat_map(|records| records.values()).filter_map(|r| r.version);
        let last_version = versions.max().unwrap_or(0);
        let namespaces = namespaces.into_iter().map(|(name, records)| (name, Arc::new(records))).collect();
        Model { namespaces, last_version, mark_ms: 0, accesses: Accesses::default() }
    }

    /// The same content, of a store that shows nothing that had expired at or before this.
    #[must_use]
    pub fn read_behind(self, mark_ms: u64) -> Model {
        Model { mark_ms, ..self }
    }

    /// The content without what had expired at or before this.
    fn without_expired(&self, mark_ms: u64) -> Model {
        let mut visible = self.clone();
        for records in visible.namespaces.values_mut() {
            if records.values().any(|record| !record.is_visible(mark_ms)) {
                Arc::make_mut(records).retain(|_, record| record.is_visible(mark_ms));
            }
        }
        visible
    }

    /// The same content, of which so much is known.
    #[must_use]
    pub fn accessed(self, accesses: Accesses) -> Model {
        Model { accesses, ..self }
    }

    /// Drops a namespace; says whether it was there.
    pub fn drop_namespace(&mut self, name: &str) -> bool {
        self.accesses.end_all(name);
        self.namespaces.remove(name).is_some()
    }

    /// The first difference to another content, for a failure's message.
    #[must_use]
    pub fn difference(&self, other: &Model) -> Option<String> {
        if self.names() != other.names() {
            return Some(format!("namespaces {:?} and {:?}", self.names(), other.names()));
        }
        for (name, records) in &self.without_expired(other.mark_ms).namespaces {
            let others = other.records(name)?;
            let keys: BTreeSet<&Vec<u8>> = records.keys().chain(others.keys()).collect();
            for key in keys {
                let (a, b) = (records.get(key), others.get(key));
                if a != b {
                    let shown = |r: Option<&Arc<Record>>| r.map_or("absent".to_owned(), |r| shorten(r));
                    return Some(format!("{name}/{}: {} and {}", key.escape_ascii(), shown(a), shown(b)));
                }
            }
        }
        None
    }

    /// What a store with this content must do with a batch at this time.
    #[must_use]
    pub fn plan(&self, batch: &[Operation<'_>], now_ms: u64) -> Planned {
        let mut pending = Pending { next: self.clone(), done: Vec::with_capacity(batch.len()) };
        for operation in batch {
            if !matches!(operation.action, Action::Delete | Action::Expire(_)) {
                pending.next.namespaces.entry(operation.namespace.to_string()).or_default();
            }
        }
        for operation in batch {
            if let Err(refusal) = pending.push(operation, now_ms) {
                return Planned::Refused(refusal);
            }
        }
        Planned::Done(pending)
    }
}

fn shorten(record: &Record) -> String {
    let mut short = record.clone();
    short.value.truncate(24);
    format!("{} bytes {short:?}", record.value.len())
}

impl Pending {
    fn push(&mut self, operation: &Operation<'_>, now_ms: u64) -> Result<(), ErrorKind> {
        let (name, key) = (operation.namespace.to_string(), operation.key.to_vec());
        let stored = self.next.records(&name).and_then(|records| records.get(&key)).cloned();
        let current = stored.clone().filter(|record| record.is_visible(now_ms));
        let version = current.as_ref().map(|record| record.version);
        let holds = match operation.condition {
            Condition::Always => true,
            Condition::IfAbsent => version.is_none(),
            Condition::IfPresent => version.is_some(),
            Condition::IfVersion(wanted) => version == Some(Some(wanted)),
            other => unreachable!("the model does not know {other:?}"),
        };
        if !holds {
            return Err(ErrorKind::PreconditionFailed { current: version.flatten() });
        }
        let (record, merged) = match &operation.action {
            Action::Put(put) => (Some(put_record(put, current.as_deref(), now_ms)), None),
            Action::Merge(merge) => {
                let before = current.as_ref().map(|record| record.value.as_slice());
                let value =
                    merge.operator.merge(&key, before, &merge.operand).map_err(|error| error.kind())?;
                let record = merged_record(value.clone(), current.as_deref(), now_ms);
                (Some(record), Some(value))
            }
            Action::Expire(update) => match &current {
                Some(current) if *update != ExpiryUpdate::Keep => {
                    let expires_ms = expiry(*update, Some(current), now_ms);
                    (Some(Record { expires_ms, version: None, ..(**current).clone() }), None)
                }
                _ => {
                    let version = if current.is_some() { Gives::Kept } else { Gives::Nothing };
                    self.done.push(Done {
                        namespace: name,
                        key,
                        existed: current.is_some(),
                        merged: None,
                        version,
                    });
                    return Ok(());
                }
            },
            _ => (None, None),
        };
        if current.is_none() || record.as_ref().is_none_or(|record| !record.is_visible(now_ms)) {
            self.next.accesses.end(&name, &key);
        }
        let given = |gives| {
            self.done.iter().any(|done| done.namespace == name && done.key == key && done.version == gives)
        };
        let version = if record.is_some() || current.is_some() || given(Gives::New) {
            Gives::New
        } else if stored.is_some() || given(Gives::NewOrNothing) || self.next.mark_ms > 0 {
            // Where content was read behind a mark, what has expired is not known.
            Gives::NewOrNothing
        } else {
            Gives::Nothing
        };
        if let Some(records) = self.next.namespaces.get_mut(&name) {
            let records = Arc::make_mut(records);
            match record.filter(|record| record.is_visible(now_ms)) {
                Some(record) => _ = records.insert(key.clone(), Arc::new(record)),
                None => _ = records.remove(&key),
            }
        }
        self.done.push(Done { namespace: name, key, existed: current.is_some(), merged, version });
        Ok(())
    }

    /// The content afterwards, once the store has answered. The answer must be what the model expects, and its versions
    /// above all that were given before.
    ///
    /// # Errors
    /// What is wrong with the answer.
    pub fn answered(mut self, outcomes: &[Outcome]) -> Result<Model, String> {
        if outcomes.len() != self.done.len() {
            return Err(format!("{} operations have {} outcomes", self.done.len(), outcomes.len()));
        }
        for (done, outcome) in self.done.iter().zip(outcomes) {
            if outcome.existed != done.existed
                || outcome.merged != done.merged
                || outcome.version.is_some() != (done.version != Gives::Nothing)
                    && done.version != Gives::NewOrNothing
            {
                return Err(format!("expected {done:?}, got {outcome:?}"));
            }
            let Some(version) = outcome.version else { continue };
            if done.version == Gives::Kept {
                let record = self.next.records(&done.namespace).and_then(|records| records.get(&done.key));
                // The last operation of the key may have made another one, or deleted it.
                if version > self.next.last_version
                    || record.is_some_and(|r| r.version.is_some_and(|has| has < version))
                {
                    return Err(format!("a kept version {version} that was not given"));
                }
                continue;
            }
            if version <= self.next.last_version {
                return Err(format!("version {version} after version {}", self.next.last_version));
            }
            self.next.last_version = version;
            if let Some(records) = self.next.namespaces.get_mut(&done.namespace)
                && let Some(record) = Arc::make_mut(records).get_mut(&done.key)
            {
                // Of several operations on one key the last counts.
                Arc::make_mut(record).version = Some(version);
            }
        }
        Ok(self.next)
    }

    /// The content afterwards with versions still open: for a batch whose answer was lost.
    #[must_use]
    pub fn unanswered(self) -> Model {
        self.next
    }
}

fn expiry(update: ExpiryUpdate, current: Option<&Record>, now_ms: u64) -> Option<u64> {
    match update {
        ExpiryUpdate::Never => None,
        ExpiryUpdate::Keep => current.and_then(|current| current.expires_ms),
        ExpiryUpdate::After(ttl) => {
            Some(now_ms + u64::try_from(ttl.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX))
        }
        ExpiryUpdate::AtMs(at) => Some(at),
        other => unreachable!("the model does not know {other:?}"),
    }
}

fn put_record(put: &Put<'_>, current: Option<&Record>, now_ms: u64) -> Record {
    let expires_ms = expiry(put.expiry, current, now_ms);
    let tags = match &put.tags {
        TagsUpdate::Replace(tags) => tags.clone(),
        TagsUpdate::Keep => current.map(|current| current.tags.clone()).unwrap_or_default(),
        other => unreachable!("the model does not know {other:?}"),
    };
    Record {
        value: put.value.to_vec(),
        tags,
        content_type: put.content_type.as_ref().map(ToString::to_string),
        attrs: put.attrs.clone(),
        created_ms: current.map_or(now_ms, |current| current.created_ms),
        updated_ms: now_ms,
        expires_ms,
        version: None,
    }
}

fn merged_record(value: Vec<u8>, current: Option<&Record>, now_ms: u64) -> Record {
    Record {
        value,
        tags: current.map(|current| current.tags.clone()).unwrap_or_default(),
        content_type: current.and_then(|current| current.content_type.clone()),
        attrs: current.map(|current| current.attrs.clone()).unwrap_or_default(),
        created_ms: current.map_or(now_ms, |current| current.created_ms),
        updated_ms: now_ms,
        expires_ms: current.and_then(|current| current.expires_ms),
        version: None,
    }
}
