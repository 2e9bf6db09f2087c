//! Rebuilding the keyspace from the files: at opening, and to check the live one against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nadb_core::{Error, KeyHash, Location, NamespaceId, Result, SegmentId, guard};
use nadb_log::{RecordKind, RecordRef, Segment, Visit};

use crate::keyspace::{Displaced, Keyspace, Namespace, unsupported};

/// Applies records, in the order of their numbers, to a keyspace.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    keyspace: &'a Keyspace,
    namespaces: BTreeMap<NamespaceId, Arc<Namespace>>,
    dropped: BTreeSet<NamespaceId>,
    segments: BTreeMap<SegmentId, Arc<Segment>>,
    /// Whether a dropped namespace had keys that are still in the index.
    must_purge: bool,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(keyspace: &'a Keyspace) -> Replay<'a> {
        Replay {
            keyspace,
            namespaces: BTreeMap::new(),
            dropped: BTreeSet::new(),
            segments: BTreeMap::new(),
            must_purge: false,
        }
    }

    /// After the last record: the keys of dropped namespaces go, and the others' names are known.
    pub(crate) fn finish(self) -> Result<()> {
        for namespace in self.namespaces.values() {
            self.keyspace.add_namespace(namespace);
        }
        if !self.must_purge {
            return Ok(());
        }
        let segment_of = |at: Location| self.segments.get(&at.segment).cloned();
        let key_of = |at: Location| {
            let segment = segment_of(at).ok_or_else(|| missing(at))?;
            let buf = segment.read(at)?;
            let record = buf.record()?;
            Ok((record.namespace, self.keyspace.hash(record.namespace, record.key)))
        };
        let entries = self.keyspace.entries_of(|id| self.dropped.contains(&id), key_of)?;
        self.keyspace.purge(&entries, segment_of);
        Ok(())
    }

    fn find(&self, record: &RecordRef<'_>, hash: KeyHash) -> Result<Option<Displaced>> {
        let segment_of = |at: Location| self.segments.get(&at.segment).ok_or_else(|| missing(at));
        let found = self.keyspace.find(record.namespace, hash, record.key, |at| segment_of(at)?.read(at))?;
        found.map(|(at, _)| Ok(Displaced { at, segment: Arc::clone(segment_of(at)?) })).transpose()
    }

    fn set_key(
        &mut self,
        record: &RecordRef<'_>,
        at: Location,
        segment: &Arc<Segment>,
        is_live: bool,
    ) -> Result<()> {
        let Some(namespace) = self.namespaces.get(&record.namespace).cloned() else {
            return Err(Error::corruption(
                segment.path(),
                u64::from(at.offset),
                format!(
                    "record {} belongs to namespace {}, which does not exist there",
                    record.seq, record.namespace
                ),
            ));
        };
        let hash = self.keyspace.hash(record.namespace, record.key);
        let old = self.find(record, hash)?;
        if is_live {
            segment.add_live(at.len);
        }
        self.keyspace.apply(hash, &namespace, old.as_ref(), is_live.then_some(at));
        Ok(())
    }

    fn drop_namespace(&mut self, id: NamespaceId) {
        if let Some(namespace) = self.namespaces.remove(&id) {
            self.must_purge |= namespace.keys.load(std::sync::atomic::Ordering::Relaxed) > 0;
            self.dropped.insert(id);
        }
    }
}

fn missing(at: Location) -> Error {
    Error::new(nadb_core::ErrorKind::Corruption, format!("segment {} is missing", at.segment))
}

impl Visit for Replay<'_> {
    fn begin(&mut self, hash_seed: u64) {
        self.keyspace.set_hash_seed(hash_seed);
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, segment: &Arc<Segment>) -> Result<()> {
        self.segments.entry(segment.id()).or_insert_with(|| Arc::clone(segment));
        match record.kind {
            RecordKind::Value => self.set_key(record, at, segment, true),
            RecordKind::Tombstone if guard::on("replay.tombstones_remove") => {
                self.set_key(record, at, segment, false)
            }
            RecordKind::Tombstone => Ok(()),
            RecordKind::NamespaceCreate => {
                let name = std::str::from_utf8(record.key).unwrap_or_default();
                let namespace = Arc::new(Namespace::new(record.namespace, name));
                self.namespaces.insert(record.namespace, namespace);
                if guard::on("namespace.ids_not_reused") {
                    self.keyspace.reserve_namespace_id(record.namespace);
                }
                Ok(())
            }
            RecordKind::NamespaceDrop => {
                self.drop_namespace(record.namespace);
                Ok(())
            }
            RecordKind::Clock => {
                let ms = record.value.try_into().map(u64::from_le_bytes).unwrap_or_default();
                self.keyspace.raise_time_mark(ms);
                Ok(())
            }
            // Last access is not tracked yet; losing it loses no data.
            RecordKind::AccessTime => Ok(()),
            _ => Err(unsupported(record, at).with_path(segment.path())),
        }
    }
}
