//! Planning a batch: each operation is checked against the key as it is, or as an earlier operation of the batch left it,
//! and becomes a record of the frame.

use std::sync::Arc;

use hashbrown::HashTable;
use nadb_core::limits::{BATCH_BYTES_MAX, check_expiry, check_ttl, check_value_len};
use nadb_core::{
    Action, Attrs, BlobId, Codec, Compression, Condition, Error, ErrorKind, ExpiryUpdate, KeyHash, Location,
    Merge, NamespaceId, Operation, Outcome, Put, Result, SegmentId, Tags, TagsUpdate, compress, decompress,
};
use nadb_log::{FinishedBlob, FrameBody, RecordBuf, RecordFields, RecordKind, RecordRef};
use smallvec::SmallVec;

use crate::blobs::{Blobs, is_blob};
use crate::keyspace::{Changes, Displaced, KeyChange, NewRecord, Write};
use crate::namespaces::Namespace;
use crate::tag_counts::OldTags;

/// A key's newest record in the store, if it has one.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) displaced: Displaced,
    pub(crate) buf: RecordBuf,
}

/// Where an operation's version comes from.
#[derive(Debug, Clone, Copy)]
enum Version {
    /// It is that of this record of the frame.
    Record(u32),
    /// The key has it already: nothing was written.
    Kept(u64),
}

/// What an operation did, with the version still relative to the frame.
#[derive(Debug)]
struct Done {
    version: Option<Version>,
    existed: bool,
    exists: bool,
    merged: Option<Vec<u8>>,
}

/// Bytes of the values of a frame: as they were given, and as they are stored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ValueBytes {
    pub(crate) logical: u64,
    pub(crate) stored: u64,
}

/// A frame in the making.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) body: FrameBody,
    pub(crate) changes: Changes,
    pub(crate) only_deletes: bool,
    /// Blobs that its records refer to.
    pub(crate) used_blobs: SmallVec<[BlobId; 1]>,
    /// Of the values that are in the log.
    pub(crate) values: ValueBytes,
    blobs: &'a Blobs,
    compression: Compression,
    now_ms: u64,
    done: SmallVec<[Done; 1]>,
    /// Keys that this batch has touched and their places in `changes.keys`; not kept for a single operation.
    touched: HashTable<Touched<'a>>,
    is_batch: bool,
    /// How many of the records are about keys.
    rows: u32,
}

/// A key that the batch has touched, and its place in the changes.
#[derive(Debug)]
struct Touched<'a> {
    hash: KeyHash,
    namespace: NamespaceId,
    key: &'a [u8],
    change: usize,
}

/// The parts of a key's current record that a new one may keep.
#[derive(Debug, Default)]
struct Current {
    version: Option<u64>,
    created_ms: u64,
    expires_ms: Option<u64>,
    tags: Tags,
    content_type: Option<String>,
    attrs: Attrs,
    value: Option<Vec<u8>>,
    stored: Option<Stored>,
}

/// What a record with another expiry says just as the one before it does.
#[derive(Debug)]
struct Stored {
    kind: RecordKind,
    updated_ms: u64,
    value: Vec<u8>,
    codec: Codec,
    logical_len: usize,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(blobs: &'a Blobs, compression: Compression, now_ms: u64, is_batch: bool) -> Plan<'a> {
        Plan {
            body: FrameBody::new(),
            changes: Changes::default(),
            only_deletes: true,
            used_blobs: SmallVec::new(),
            values: ValueBytes::default(),
            blobs,
            compression,
            now_ms,
            done: SmallVec::new(),
            touched: HashTable::new(),
            is_batch,
            rows: 0,
        }
    }

    /// The namespace comes into being with this frame.
    pub(crate) fn create_namespace(&mut self, namespace: &Arc<Namespace>) {
        let name = namespace.name.as_bytes();
        self.body.push(&RecordFields::new(RecordKind::NamespaceCreate, namespace.id, name, &[], self.now_ms));
        self.changes.created.push(Arc::clone(namespace));
    }

    /// The namespace and all its keys end with this frame.
    pub(crate) fn drop_namespace(&mut self, namespace: &Arc<Namespace>) {
        self.body.push(&RecordFields::new(RecordKind::NamespaceDrop, namespace.id, &[], &[], self.now_ms));
        self.changes.dropped = Some(Arc::clone(namespace));
    }

    /// Nothing that expired at or before this is visible from this frame on.
    pub(crate) fn set_clock(&mut self, clock_ms: u64) {
        let value = clock_ms.to_le_bytes();
        self.body.push(&RecordFields::new(RecordKind::Clock, NamespaceId(0), &[], &value, self.now_ms));
        self.changes.clock_ms = Some(clock_ms);
        self.only_deletes = false;
    }

    /// A delete or expire in a namespace that does not exist.
    pub(crate) fn push_absent(&mut self, operation: &Operation<'_>) -> Result<()> {
        check_condition(operation.condition, None)?;
        if let Action::Expire(update) = &operation.action {
            self.expiry(*update, None)?;
        }
        self.done.push(Done { version: None, existed: false, exists: false, merged: None });
        Ok(())
    }

    /// Adds one operation. `blob` is the value where that is in a blob already; `find` looks a key up in the store.
    pub(crate) fn push(
        &mut self,
        operation: &'a Operation<'_>,
        namespace: &Arc<Namespace>,
        hash: KeyHash,
        blob: Option<FinishedBlob>,
        find: impl FnOnce() -> Result<Option<Found>>,
    ) -> Result<()> {
        let key: &[u8] = &operation.key;
        let is_batch = self.is_batch;
        let is_it = |touched: &Touched<'_>| touched.key == key && touched.namespace == namespace.id;
        let touched =
            is_batch.then(|| self.touched.find(hash.0, is_it).map(|touched| touched.change)).flatten();
        // What an earlier operation left as it was is in the store still.
        let written = touched.filter(|index| self.new_record(*index).is_some());
        let (change, current) = match written {
            Some(index) => (index, self.current_in_batch(index, &operation.action)?),
            None => {
                let found = find()?;
                let current = match &found {
                    Some(found) => self.current_in_store(found, &operation.action)?,
                    None => None,
                };
                let index = match touched {
                    Some(index) => index,
                    None => self.touch(hash, namespace, key, found)?,
                };
                (index, current)
            }
        };
        let version = current.as_ref().map(|current| current.version);
        check_condition(operation.condition, version)?;
        let existed = current.is_some();
        let lived = self.new_record(change).is_none_or(|new| new.lives_on);
        let place = (namespace.id, key);
        let (version, merged) = match &operation.action {
            Action::Delete => (self.push_delete(place, change), None),
            Action::Put(put) => (Some(self.push_put(place, change, put, blob, current.as_ref())?), None),
            Action::Merge(merge) => {
                let (version, value) = self.push_merge(place, change, merge, current.as_ref())?;
                (Some(version), Some(value))
            }
            Action::Expire(update) => (self.push_expire(place, change, *update, current.as_ref())?, None),
            _ => {
                return Err(Error::unsupported("engine", "this operation"));
            }
        };
        if self.body.len() as usize > BATCH_BYTES_MAX {
            return Err(batch_too_large(self.body.len() as usize));
        }
        let exists = match self.new_record(change) {
            Some(new) => new.is_live,
            None => existed,
        };
        if let Some(new) = self.changes.keys.get_mut(change).and_then(|change| change.new.as_mut()) {
            new.lives_on = lived && existed && exists;
        }
        self.done.push(Done { version, existed, exists, merged });
        Ok(())
    }

    /// Notes a key that the batch has not touched yet; gives its place among the changes.
    fn touch(
        &mut self,
        hash: KeyHash,
        namespace: &Arc<Namespace>,
        key: &'a [u8],
        found: Option<Found>,
    ) -> Result<usize> {
        let old_tags = match &found {
            Some(found) if namespace.tag_counts.is_on() => Some(OldTags::of(&found.buf.record()?)),
            _ => None,
        };
        let old = found.map(|found| found.displaced);
        let index = self.changes.keys.len();
        self.changes.keys.push(KeyChange {
            hash,
            namespace: Arc::clone(namespace),
            old,
            old_tags,
            new: None,
        });
        if self.is_batch {
            let touched = Touched { hash, namespace: namespace.id, key, change: index };
            self.touched.insert_unique(hash.0, touched, |touched| touched.hash.0);
        }
        Ok(index)
    }

    /// What the operations did, once the frame's first number is known.
    pub(crate) fn outcomes(self, first_seq: u64) -> Vec<Outcome> {
        let number = |version: Version| match version {
            Version::Record(record) => first_seq + u64::from(record),
            Version::Kept(number) => number,
        };
        self.done
            .into_iter()
            .map(|done| Outcome::new(done.version.map(number), done.existed, done.exists, done.merged))
            .collect()
    }

    /// The last record that the batch has of a key so far.
    fn new_record(&self, change: usize) -> Option<NewRecord> {
        self.changes.keys.get(change).and_then(|change| change.new)
    }

    fn current_in_store(&self, found: &Found, action: &Action<'_>) -> Result<Option<Current>> {
        let record = found.buf.record()?;
        let at = found.displaced.at;
        let path = found.displaced.slot.segment.path();
        let corrupt = |what: String| Error::corruption(path, u64::from(at.offset), what);
        self.current(&record, at, Some(record.seq.0), action, corrupt)
    }

    fn current_in_batch(&self, index: usize, action: &Action<'_>) -> Result<Option<Current>> {
        let Some(NewRecord { at, .. }) = self.new_record(index).filter(|new| new.is_live) else {
            return Ok(None);
        };
        let record = self.body.record(at).map_err(|e| Error::invalid(e.to_string()))?;
        let at = Location { segment: SegmentId(0), offset: at, len: 0 };
        self.current(&record, at, None, action, Error::invalid)
    }

    /// Reads of the current record what `action` may need; `None` when it has expired.
    fn current(
        &self,
        record: &RecordRef<'_>,
        at: Location,
        version: Option<u64>,
        action: &Action<'_>,
        corrupt: impl Fn(String) -> Error,
    ) -> Result<Option<Current>> {
        if record.is_expired(self.now_ms) {
            return Ok(None);
        }
        let mut current = Current {
            version,
            created_ms: record.created_ms,
            expires_ms: record.expires_ms,
            ..Current::default()
        };
        let keeps_tags = match action {
            Action::Put(put) => put.tags == TagsUpdate::Keep,
            Action::Merge(_) | Action::Expire(_) => true,
            _ => false,
        };
        if keeps_tags {
            current.tags = record.tags().map_err(|e| corrupt(e.to_string()))?;
        }
        if matches!(action, Action::Merge(_) | Action::Expire(_)) {
            let (content_type, attrs) = record.extra().map_err(|e| corrupt(e.to_string()))?;
            current.content_type = content_type.map(str::to_owned);
            current.attrs = attrs;
        }
        if matches!(action, Action::Expire(_)) {
            current.stored = Some(Stored {
                kind: record.kind,
                updated_ms: record.updated_ms,
                value: record.value.to_vec(),
                codec: record.codec,
                logical_len: record.logical_len,
            });
        }
        if matches!(action, Action::Merge(_)) {
            current.value = Some(match record.codec {
                _ if is_blob(record) => self.blobs.read_to_merge(record, at)?,
                Codec::Plain => record.value.to_vec(),
                Codec::Snappy => decompress(record.value, record.logical_len)
                    .map_err(|e| corrupt(format!("the value does not decompress: {e:?}")))?,
            });
        }
        Ok(Some(current))
    }

    /// The expiry that an update gives to a record that is now `current`.
    fn expiry(&self, update: ExpiryUpdate, current: Option<&Current>) -> Result<Option<u64>> {
        match update {
            ExpiryUpdate::Never => Ok(None),
            ExpiryUpdate::Keep => Ok(current.and_then(|current| current.expires_ms)),
            ExpiryUpdate::After(ttl) => check_ttl(ttl, self.now_ms).map(Some),
            ExpiryUpdate::AtMs(at) => check_expiry(at).map(|()| Some(at)),
            other => Err(unsupported(&other)),
        }
    }

    /// A key without any record needs no tombstone.
    fn push_delete(&mut self, (namespace, key): (NamespaceId, &[u8]), change: usize) -> Option<Version> {
        let change_to = self.changes.keys.get(change)?;
        if change_to.old.is_none() && change_to.new.is_none() {
            return None;
        }
        let tombstone = RecordFields::new(RecordKind::Tombstone, namespace, key, &[], self.now_ms);
        Some(self.push_record(&tombstone, change))
    }

    /// The same record with another expiry. Nothing is written for a key that is not there, nor where the expiry is to stay.
    fn push_expire(
        &mut self,
        (namespace, key): (NamespaceId, &[u8]),
        change: usize,
        update: ExpiryUpdate,
        current: Option<&Current>,
    ) -> Result<Option<Version>> {
        let expires_ms = self.expiry(update, current)?;
        let Some((current, stored)) = current.and_then(|current| Some((current, current.stored.as_ref()?)))
        else {
            return Ok(None);
        };
        if update == ExpiryUpdate::Keep {
            return Ok(current.version.map(Version::Kept).or_else(|| self.version_in_batch(change)));
        }
        let fields = RecordFields {
            expires_ms,
            tags: Some(&current.tags),
            content_type: current.content_type.as_deref(),
            attrs: Some(&current.attrs),
            created_ms: current.created_ms,
            codec: stored.codec,
            logical_len: stored.logical_len,
            ..RecordFields::new(stored.kind, namespace, key, &stored.value, stored.updated_ms)
        };
        Ok(Some(match self.is_past(expires_ms) {
            true => self.push_past(&fields, change),
            false => {
                self.only_deletes = false;
                self.push_record(&fields, change)
            }
        }))
    }

    /// The version of a key that the batch has written. What it says of the store itself stands before all records of keys.
    fn version_in_batch(&self, change: usize) -> Option<Version> {
        let first = self.body.count() - self.rows;
        self.new_record(change).map(|new| Version::Record(first + new.row))
    }

    fn push_put(
        &mut self,
        (namespace, key): (NamespaceId, &[u8]),
        change: usize,
        put: &Put<'_>,
        blob: Option<FinishedBlob>,
        current: Option<&Current>,
    ) -> Result<Version> {
        let expires_ms = self.expiry(put.expiry, current)?;
        let tags = match &put.tags {
            TagsUpdate::Replace(tags) => Some(tags),
            TagsUpdate::Keep => current.map(|current| &current.tags),
            other => return Err(unsupported(other)),
        };
        let created_ms = current.map_or(self.now_ms, |current| current.created_ms);
        let updated_ms = put.times.map_or(self.now_ms, |times| times.updated_ms);
        let reference = blob.map(|blob| reference(&blob));
        let (kind, value) = match &reference {
            Some(reference) => (RecordKind::BlobReference, &reference[..]),
            None => (RecordKind::Value, &*put.value),
        };
        let fields = RecordFields {
            expires_ms,
            tags,
            content_type: put.content_type.as_deref(),
            attrs: Some(&put.attrs),
            created_ms: put.times.map_or(created_ms, |times| times.created_ms),
            ..RecordFields::new(kind, namespace, key, value, updated_ms)
        };
        let version = self.push_value(fields, change);
        let is_live = self.new_record(change).is_some_and(|new| new.is_live);
        self.used_blobs.extend(blob.filter(|_| is_live).map(|blob| blob.id));
        Ok(version)
    }

    fn push_merge(
        &mut self,
        (namespace, key): (NamespaceId, &[u8]),
        change: usize,
        merge: &Merge<'_>,
        current: Option<&Current>,
    ) -> Result<(Version, Vec<u8>)> {
        let before = current.and_then(|current| current.value.as_deref());
        let value = merge.operator.merge(key, before, &merge.operand)?;
        check_value_len(value.len() as u64)?;
        let fields = RecordFields {
            expires_ms: current.and_then(|current| current.expires_ms),
            tags: current.map(|current| &current.tags),
            content_type: current.and_then(|current| current.content_type.as_deref()),
            attrs: current.map(|current| &current.attrs),
            created_ms: current.map_or(self.now_ms, |current| current.created_ms),
            ..RecordFields::new(RecordKind::Value, namespace, key, &value, self.now_ms)
        };
        Ok((self.push_value(fields, change), value))
    }

    fn is_past(&self, expires_ms: Option<u64>) -> bool {
        expires_ms.is_some_and(|at| at <= self.now_ms)
    }

    /// An expiry that is past already makes the write a delete.
    fn push_past(&mut self, fields: &RecordFields<'_>, change: usize) -> Version {
        let RecordFields { namespace, key, .. } = *fields;
        self.push_record(&RecordFields::new(RecordKind::Tombstone, namespace, key, &[], self.now_ms), change)
    }

    fn push_value(&mut self, fields: RecordFields<'_>, change: usize) -> Version {
        if self.is_past(fields.expires_ms) {
            return self.push_past(&fields, change);
        }
        self.only_deletes = false;
        let is_value = fields.kind == RecordKind::Value;
        let compressed = is_value.then(|| compress(self.compression, fields.value)).flatten();
        if is_value {
            self.values.logical += fields.value.len() as u64;
            self.values.stored += compressed.as_ref().map_or(fields.value.len(), Vec::len) as u64;
        }
        match compressed {
            Some(compressed) => {
                self.push_record(&RecordFields { codec: Codec::Snappy, value: &compressed, ..fields }, change)
            }
            None => self.push_record(&fields, change),
        }
    }

    /// Adds the record of a key, which is the key's last so far.
    fn push_record(&mut self, fields: &RecordFields<'_>, change: usize) -> Version {
        let index = self.body.count();
        let (at, len) = self.body.push(fields);
        let is_live = fields.kind != RecordKind::Tombstone;
        if let Some(change) = self.changes.keys.get_mut(change) {
            change.new = Some(NewRecord { at, len, row: self.rows, is_live, lives_on: false });
        }
        self.rows += 1;
        Version::Record(index)
    }

    /// The frame and what it does, to be appended; what is left has the outcomes.
    pub(crate) fn take_write(&mut self) -> Arc<Write> {
        Arc::new(Write { body: std::mem::take(&mut self.body), changes: std::mem::take(&mut self.changes) })
    }
}

/// What the record of a blob has in the place of a value.
fn reference(blob: &FinishedBlob) -> Vec<u8> {
    [&blob.id.0[..], &blob.len.to_le_bytes()].concat()
}

/// `version` is `None` for an absent key, `Some(None)` for one that the same batch has written.
fn check_condition(condition: Condition, version: Option<Option<u64>>) -> Result<()> {
    let holds = match condition {
        Condition::Always => true,
        Condition::IfAbsent => version.is_none(),
        Condition::IfPresent => version.is_some(),
        Condition::IfVersion(wanted) => version == Some(Some(wanted)),
        other => return Err(unsupported(&other)),
    };
    if holds {
        return Ok(());
    }
    let wanted = match condition {
        Condition::IfVersion(wanted) => format!("version {wanted}"),
        Condition::IfAbsent => "the key to be absent".to_owned(),
        _ => "the key to be there".to_owned(),
    };
    let current = version.flatten();
    let found = match version {
        None => "it is absent".to_owned(),
        Some(None) => "it was written by the same batch".to_owned(),
        Some(Some(version)) => format!("it has version {version}"),
    };
    Err(Error::new(
        ErrorKind::PreconditionFailed { current },
        format!("the write wanted {wanted}, but {found}; nothing was written"),
    ))
}

/// What came with a later version of the vocabulary.
fn unsupported(what: &dyn std::fmt::Debug) -> Error {
    Error::unsupported("engine", &format!("{what:?}"))
}

fn batch_too_large(bytes: usize) -> Error {
    Error::limit(format!(
        "the batch has {bytes} encoded bytes, the limit is {BATCH_BYTES_MAX} bytes; split it"
    ))
}
