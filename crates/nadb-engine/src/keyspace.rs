//! What the store knows of its keys: the index, the namespaces, the highest time that was trusted. Changed by publication
//! alone, in sequence order, and rebuilt by replay.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use nadb_core::limits::NAMESPACE_ID_MAX;
use nadb_core::{Error, ErrorKind, KeyHash, Location, NamespaceId, Result, guard};
use nadb_index::KeyIndex;
use nadb_log::{Placed, Publish, RecordBuf, RecordRef, Segment};
use parking_lot::RwLock;
use smallvec::SmallVec;

/// One namespace.
#[derive(Debug)]
pub(crate) struct Namespace {
    pub(crate) id: NamespaceId,
    pub(crate) name: String,
    pub(crate) keys: AtomicU64,
    /// Writers hold it shared from looking the namespace up until their write is visible; a drop holds it alone.
    pub(crate) gate: RwLock<()>,
    pub(crate) is_dropped: AtomicBool,
}

impl Namespace {
    pub(crate) fn new(id: NamespaceId, name: &str) -> Namespace {
        Namespace {
            id,
            name: name.to_owned(),
            keys: AtomicU64::new(0),
            gate: RwLock::new(()),
            is_dropped: AtomicBool::new(false),
        }
    }
}

/// Index, namespaces, time.
#[derive(Debug)]
pub(crate) struct Keyspace {
    pub(crate) index: KeyIndex,
    hash_seed: AtomicU64,
    by_name: RwLock<BTreeMap<String, Arc<Namespace>>>,
    next_namespace: AtomicU32,
    /// Nothing that expired at or before this is visible, whatever the wall clock shows.
    time_mark_ms: AtomicU64,
}

/// Where the record stands that a change displaces, and the segment that counts it as live.
#[derive(Debug, Clone)]
pub(crate) struct Displaced {
    pub(crate) at: Location,
    pub(crate) segment: Arc<Segment>,
}

/// What a frame does to one key: `new` is the offset in the body and the length of the key's last record in it.
#[derive(Debug, Clone)]
pub(crate) struct KeyChange {
    pub(crate) hash: KeyHash,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) old: Option<Displaced>,
    pub(crate) new: Option<(u32, u32)>,
}

/// What a frame does.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) created: SmallVec<[Arc<Namespace>; 1]>,
    pub(crate) dropped: Option<Arc<Namespace>>,
    pub(crate) keys: SmallVec<[KeyChange; 1]>,
}

impl Publish<Arc<Changes>> for Keyspace {
    fn publish(&self, changes: Arc<Changes>, placed: Placed, segment: &Arc<Segment>) {
        for namespace in &changes.created {
            self.by_name.write().insert(namespace.name.clone(), Arc::clone(namespace));
        }
        if let Some(dropped) = &changes.dropped {
            self.forget(dropped);
        }
        for change in &changes.keys {
            let new = change.new.map(|(at, len)| Location {
                segment: placed.segment,
                offset: placed.body_offset + at,
                len,
            });
            if let Some(new) = new {
                segment.add_live(new.len);
            }
            self.apply(change.hash, &change.namespace, change.old.as_ref(), new);
        }
    }
}

impl Keyspace {
    pub(crate) fn new() -> Keyspace {
        Keyspace {
            index: KeyIndex::new(),
            hash_seed: AtomicU64::new(0),
            by_name: RwLock::default(),
            next_namespace: AtomicU32::new(1),
            time_mark_ms: AtomicU64::new(0),
        }
    }

    pub(crate) fn set_hash_seed(&self, seed: u64) {
        self.hash_seed.store(seed, Ordering::Release);
    }

    pub(crate) fn hash(&self, namespace: NamespaceId, key: &[u8]) -> KeyHash {
        KeyHash::new(self.hash_seed.load(Ordering::Acquire), namespace, key)
    }

    /// Moves a key from its old place to its new one; the new record is counted as live already.
    pub(crate) fn apply(
        &self,
        hash: KeyHash,
        namespace: &Namespace,
        old: Option<&Displaced>,
        new: Option<Location>,
    ) {
        match (old, new) {
            (None, Some(new)) => {
                self.index.insert(hash, new);
                namespace.keys.fetch_add(1, Ordering::Relaxed);
            }
            (Some(old), Some(new)) => {
                self.index.replace(hash, old.at, new);
            }
            (Some(old), None) => {
                self.index.remove(hash, old.at);
                namespace.keys.fetch_sub(1, Ordering::Relaxed);
            }
            (None, None) => {}
        }
        if let Some(old) = old {
            old.segment.remove_live(old.at.len);
        }
    }

    /// The newest record of a key, read by `read`.
    pub(crate) fn find(
        &self,
        namespace: NamespaceId,
        hash: KeyHash,
        key: &[u8],
        read: impl Fn(Location) -> Result<RecordBuf>,
    ) -> Result<Option<(Location, RecordBuf)>> {
        for at in self.index.candidates(hash) {
            let buf = read(at)?;
            let is_it = {
                let record = buf.record()?;
                (record.namespace == namespace && record.key == key) || !guard::on("index.key_decides")
            };
            if is_it {
                return Ok(Some((at, buf)));
            }
        }
        Ok(None)
    }

    pub(crate) fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.by_name.read().get(name).cloned()
    }

    pub(crate) fn namespaces(&self) -> Vec<Arc<Namespace>> {
        self.by_name.read().values().cloned().collect()
    }

    /// A namespace that nobody sees before its create record is published.
    pub(crate) fn new_namespace(&self, name: &str) -> Result<Arc<Namespace>> {
        let id = self.next_namespace.fetch_add(1, Ordering::Relaxed);
        if id > NAMESPACE_ID_MAX {
            return Err(Error::limit(
                "the store has used up its namespace ids; copy its records into a new store",
            ));
        }
        Ok(Arc::new(Namespace::new(NamespaceId(id), name)))
    }

    /// Ids up to this one are not given again.
    pub(crate) fn reserve_namespace_id(&self, id: NamespaceId) {
        self.next_namespace.fetch_max(id.0.saturating_add(1), Ordering::Relaxed);
    }

    pub(crate) fn add_namespace(&self, namespace: &Arc<Namespace>) {
        self.by_name.write().insert(namespace.name.clone(), Arc::clone(namespace));
    }

    /// The namespace's name is free again; its keys are to be purged.
    pub(crate) fn forget(&self, namespace: &Namespace) {
        namespace.is_dropped.store(true, Ordering::Release);
        let mut by_name = self.by_name.write();
        if by_name.get(&namespace.name).is_some_and(|have| have.id == namespace.id) {
            by_name.remove(&namespace.name);
        }
    }

    /// The index's entries of all keys of some namespaces; `key_of` reads namespace and hash of a record's key.
    pub(crate) fn entries_of(
        &self,
        is_meant: impl Fn(NamespaceId) -> bool,
        key_of: impl Fn(Location) -> Result<(NamespaceId, KeyHash)>,
    ) -> Result<Vec<(KeyHash, Location)>> {
        let mut found = Vec::new();
        for at in self.index.locations() {
            let (namespace, hash) = key_of(at)?;
            if is_meant(namespace) {
                found.push((hash, at));
            }
        }
        Ok(found)
    }

    /// Takes entries of dropped namespaces out of the index. `segment_of` finds the segment that counts a record.
    pub(crate) fn purge(
        &self,
        entries: &[(KeyHash, Location)],
        segment_of: impl Fn(Location) -> Option<Arc<Segment>>,
    ) {
        for &(hash, at) in entries {
            if self.index.remove(hash, at)
                && let Some(segment) = segment_of(at)
            {
                segment.remove_live(at.len);
            }
        }
    }

    /// The time that decides what has expired: the wall clock's, but never before the mark.
    pub(crate) fn now_ms(&self, wall_ms: u64) -> u64 {
        wall_ms.max(self.time_mark_ms.load(Ordering::Acquire))
    }

    pub(crate) fn raise_time_mark(&self, ms: u64) {
        self.time_mark_ms.fetch_max(ms, Ordering::AcqRel);
    }
}

/// The error for a kind of record that this version does not make.
pub(crate) fn unsupported(record: &RecordRef<'_>, at: Location) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "record {} is of kind {:?}, which this version cannot read; open the store with a later one",
            record.seq, record.kind
        ),
    )
    .with_offset(u64::from(at.offset))
}
