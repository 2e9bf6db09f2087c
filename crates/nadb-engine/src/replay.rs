//! Rebuilding the keyspace from the files: at opening, and to check the live one against.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Error, KeyHash, Location, NamespaceId, OnOpen, Ordinal, Result, SegmentId, Seq, guard};
use nadb_index::KeyIndex;
use nadb_log::{
    Checkpoint, RecordKind, RecordRef, Row, RowMeta, RowSum, Rows, SealedSegment, Segment, SystemRow, Visit,
};

use crate::checkpoint::{Loaded, load};
use crate::keyspace::{Displaced, Keyspace, missing, unsupported};
use crate::namespaces::Namespace;
use crate::rebuild::{Rebuild, no_namespace};
use crate::slot::Slot;

/// Applies sealed segments and then records, in the order of their numbers, to a keyspace.
#[derive(Debug)]
pub(crate) struct Replay<'a> {
    keyspace: &'a Keyspace,
    namespaces: BTreeMap<NamespaceId, Arc<Namespace>>,
    dropped: BTreeSet<NamespaceId>,
    slots: BTreeMap<SegmentId, Arc<Slot>>,
    /// The slot of the last record, with its rows: mostly that of the next one.
    current: Option<(Arc<Slot>, Rows)>,
    /// To check a live keyspace: the rows that each segment must turn out to have.
    expected: Option<BTreeMap<SegmentId, Expected>>,
    /// What its records say of the store itself, in any order.
    system: Vec<SystemRow>,
    /// Dropped namespaces whose keys the live keyspace still has.
    pending: BTreeSet<NamespaceId>,
    /// What the checkpoint says that was taken.
    loaded: Option<Loaded>,
    on_open: Option<OnOpen>,
}

/// The rows of a segment, and how far the records have confirmed them.
#[derive(Debug)]
struct Expected {
    rows: Rows,
    next: u32,
    system: std::vec::IntoIter<SystemRow>,
    /// The keys and tags that the records have.
    sum: RowSum,
}

impl<'a> Replay<'a> {
    /// Fills an empty keyspace.
    pub(crate) fn new(keyspace: &'a Keyspace) -> Replay<'a> {
        Replay {
            keyspace,
            namespaces: BTreeMap::new(),
            dropped: BTreeSet::new(),
            slots: BTreeMap::new(),
            current: None,
            expected: None,
            system: Vec::new(),
            pending: BTreeSet::new(),
            loaded: None,
            on_open: None,
        }
    }

    /// Tells somebody how far it has come.
    pub(crate) fn with_progress(self, on_open: Option<OnOpen>) -> Replay<'a> {
        Replay { on_open, ..self }
    }

    /// Fills an empty keyspace from records, to be compared with a live one: the records must be those that its segments' rows say,
    /// in whatever order they come.
    ///
    /// # Errors
    /// `Corruption` where a footer is damaged.
    pub(crate) fn check(keyspace: &'a Keyspace, live: &Keyspace) -> Result<Replay<'a>> {
        let mut replay = Replay::new(keyspace);
        let mut expected = BTreeMap::new();
        replay.pending = live.namespaces.dropped().iter().map(|namespace| namespace.id).collect();
        for slot in live.slots().iter() {
            let (id, rows) = (slot.segment.id(), slot.rows());
            replay.slots.insert(id, Slot::new(&slot.segment, rows.clone()));
            let system = rows.system()?.into_iter();
            expected.insert(id, Expected { rows, next: 0, system, sum: RowSum::default() });
        }
        replay.expected = Some(expected);
        Ok(replay)
    }

    /// After the last record, whose number is `last`.
    pub(crate) fn finish(mut self, last: Seq) -> Result<()> {
        if self.expected.is_some() {
            let mut system = std::mem::take(&mut self.system);
            system.sort_by_key(|system| system.seq);
            system.iter().for_each(|system| self.apply_system(system));
            self.replayed()?;
            self.namespaces.retain(|id, _| !self.pending.contains(id));
        }
        for namespace in self.namespaces.values() {
            self.keyspace.namespaces.add(namespace);
        }
        if let Some(expected) = &self.expected {
            for (id, expected) in expected {
                let (found, rows) = (expected.next, expected.rows.len());
                if found != rows || expected.system.len() > 0 {
                    let what = format!("segment {id} has {found} records of keys, its rows say {rows}");
                    return Err(Error::new(nadb_core::ErrorKind::Corruption, what));
                }
                if RowSum::of(&expected.rows)? != expected.sum && guard::on("verify.compares_tags") {
                    let what = format!("segment {id} gives rows other keys or tags than their records have");
                    return Err(Error::new(nadb_core::ErrorKind::Corruption, what));
                }
            }
        }
        self.keyspace.set_slots(self.slots.into_values().collect());
        self.keyspace.set_watermark(last);
        self.keyspace.purge_dropped()
    }

    /// Whether records only leave their rows, and the index is built of all rows at once in the end: where nothing is known of the
    /// keys before.
    fn is_at_once(&self) -> bool {
        self.loaded.is_none()
    }

    fn slot(&mut self, segment: &Arc<Segment>) -> Arc<Slot> {
        let new = || match &mut self.loaded {
            Some(loaded) => loaded.open_slot(segment),
            None => Slot::new(segment, Rows::none()),
        };
        Arc::clone(self.slots.entry(segment.id()).or_insert_with(new))
    }

    /// Notes what a record says of itself; gives its ordinal where it says something of a key.
    fn add_row(
        &mut self,
        (slot, rows): &(Arc<Slot>, Rows),
        record: &RecordRef<'_>,
        at: Location,
    ) -> Result<Option<Ordinal>> {
        let row = Row::of(record, at.offset);
        let system = SystemRow::of(record, at.offset);
        if let Some(expected) = &mut self.expected {
            let expected = expected.get_mut(&at.segment);
            let confirmed = expected.map(|expected| expected.confirm(row.as_ref(), system)).transpose()?;
            return confirmed.flatten().ok_or_else(|| {
                let what = format!("record {} is not what the segment's rows say of it", record.seq);
                Error::corruption(slot.segment.path(), u64::from(at.offset), what)
            });
        }
        let Rows::Memtable(memtable) = rows else { return Ok(None) };
        if let Some(system) = system {
            memtable.push_system(system);
        }
        Ok(row.map(|row| memtable.push(&row)))
    }

    /// Where the key's newest record so far stands. Rows decide which key a candidate has: no record is read, so that one that is
    /// damaged and displaced anyway stops no opening.
    fn find(&self, record: &RecordRef<'_>, hash: KeyHash) -> Result<Option<Displaced>> {
        let (shard, _) = KeyIndex::bits(hash);
        // What is covered has been replayed before the first record that changes anything.
        let slots = || self.slots.values().cloned().collect();
        self.keyspace.pending.ready(self.keyspace, shard, slots)?;
        for at in self.keyspace.index.candidates(hash) {
            let slot = self.slots.get(&at.segment).ok_or_else(|| missing(at))?;
            let is_it = slot.rows().is_key_at(at.offset, record.namespace, record.key)?;
            if is_it || !guard::on("index.key_decides") {
                let ordinal = slot.ordinal_of(at)?;
                return Ok(Some(Displaced { at, slot: Arc::clone(slot), ordinal }));
            }
        }
        Ok(None)
    }

    fn set_key(
        &mut self,
        record: &RecordRef<'_>,
        at: Location,
        slot: &Slot,
        ordinal: Ordinal,
        is_live: bool,
    ) -> Result<()> {
        let Some(namespace) = self.namespaces.get(&record.namespace) else {
            let meta = Row::of(record, at.offset).map(|row| row.meta);
            let error = |meta: RowMeta| no_namespace(slot, &meta, record.namespace);
            return meta.map_or(Ok(()), |meta| Err(error(meta)));
        };
        if self.is_at_once() {
            return Ok(());
        }
        let hash = self.keyspace.hash(record.namespace, record.key);
        let old = self.find(record, hash)?;
        let new = Some((at, ordinal, is_live));
        self.keyspace.apply(hash, namespace, old.as_ref(), slot, new, (record.seq, false));
        Ok(())
    }

    fn apply_system(&mut self, system: &SystemRow) {
        match system.kind {
            RecordKind::NamespaceCreate => {
                let name = std::str::from_utf8(&system.content).unwrap_or_default();
                let namespace = Arc::new(Namespace::new(system.namespace, name));
                namespace.set_created(system.seq);
                self.namespaces.insert(system.namespace, namespace);
                if guard::on("namespace.ids_not_reused") {
                    self.keyspace.namespaces.reserve_id(system.namespace);
                }
            }
            // Its keys are still in the index that this one is compared with.
            RecordKind::NamespaceDrop if self.pending.contains(&system.namespace) => {}
            RecordKind::NamespaceDrop => {
                if let Some(namespace) = self.namespaces.remove(&system.namespace)
                    && namespace.keys.load(Ordering::Relaxed) > 0
                {
                    self.keyspace.namespaces.drop_at(&namespace, system.seq);
                }
                // Also where a compaction has left its create record out.
                self.dropped.insert(system.namespace);
                self.keyspace.namespaces.reserve_id(system.namespace);
            }
            RecordKind::Clock => {
                let ms = system.content[..].try_into().map(u64::from_le_bytes).unwrap_or_default();
                self.keyspace.raise_time_mark(ms);
            }
            _ => {}
        }
    }
}

impl Expected {
    /// The ordinal of a record that is as the rows say; `None` where it is not.
    fn confirm(
        &mut self,
        row: Option<&Row<'_>>,
        system: Option<SystemRow>,
    ) -> Result<Option<Option<Ordinal>>> {
        let Some(row) = row else {
            let is_it = system.is_none() || system == self.system.next();
            return Ok(is_it.then_some(None));
        };
        let ordinal = Ordinal(self.next);
        if self.next >= self.rows.len() || self.rows.meta(ordinal)? != row.meta {
            return Ok(None);
        }
        self.next += 1;
        self.sum.add(ordinal, row);
        let is_found = self.rows.ordinal_of(row.meta.offset)? == Some(ordinal);
        Ok(is_found.then_some(Some(ordinal)))
    }
}

impl Visit for Replay<'_> {
    fn begin(&mut self, hash_seed: u64) {
        self.keyspace.set_hash_seed(hash_seed);
    }

    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()> {
        let mut system = Vec::new();
        for sealed in segments {
            let slot = Slot::new(&sealed.segment, sealed.rows.clone());
            self.slots.insert(sealed.segment.id(), slot);
            system.extend(sealed.rows.system()?);
        }
        // First which namespaces there are, then their keys.
        system.sort_by_key(|system| system.seq);
        system.iter().for_each(|system| self.apply_system(system));
        Ok(())
    }

    fn replayed(&mut self) -> Result<()> {
        if !self.is_at_once() {
            return Ok(());
        }
        let slots: Vec<_> = self.slots.values().cloned().collect();
        let (namespaces, dropped) = (&self.namespaces, &self.dropped);
        let on_open = self.on_open.as_ref();
        Rebuild { keyspace: self.keyspace, slots: &slots, namespaces, dropped, on_open }.run()
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint, sealed: &[SealedSegment]) -> bool {
        let Some(mut loaded) = load(self.keyspace, checkpoint, sealed, self.on_open.as_ref()) else {
            self.restart();
            return false;
        };
        self.namespaces = std::mem::take(&mut loaded.namespaces);
        self.slots = std::mem::take(&mut loaded.slots);
        self.loaded = Some(loaded);
        true
    }

    fn reached(&mut self, segment: &Arc<Segment>) -> bool {
        let expected = self.loaded.as_ref().and_then(|loaded| loaded.open.get(&segment.id()));
        let rows = self.slots.get(&segment.id()).map_or(0, |slot| slot.rows().len());
        expected.map_or(0, |(_, rows)| *rows) == rows
    }

    fn restart(&mut self) {
        if guard::on("checkpoint.refused_is_forgotten") {
            self.keyspace.clear();
        }
        *self = Replay::new(self.keyspace).with_progress(self.on_open.take());
    }

    fn on_open(&self) -> Option<OnOpen> {
        self.on_open.clone()
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, segment: &Arc<Segment>) -> Result<()> {
        let current = match self.current.take().filter(|(slot, _)| slot.segment.id() == segment.id()) {
            Some(current) => current,
            None => {
                let slot = self.slot(segment);
                let rows = slot.rows();
                (slot, rows)
            }
        };
        let ordinal = self.add_row(&current, record, at);
        let slot = Arc::clone(&current.0);
        self.current = Some(current);
        let ordinal = ordinal?;
        if self.loaded.as_ref().is_some_and(|loaded| record.seq <= loaded.last_seq) {
            // The checkpoint has what it does.
            return Ok(());
        }
        if self.expected.is_some() {
            self.system.extend(SystemRow::of(record, at.offset));
            return Ok(());
        }
        match (record.kind, ordinal) {
            (RecordKind::Value | RecordKind::BlobReference, Some(ordinal)) => {
                self.set_key(record, at, &slot, ordinal, true)
            }
            (RecordKind::Tombstone, Some(ordinal)) if guard::on("replay.tombstones_remove") => {
                self.set_key(record, at, &slot, ordinal, false)
            }
            (RecordKind::Tombstone, _) => Ok(()),
            (RecordKind::NamespaceCreate | RecordKind::NamespaceDrop | RecordKind::Clock, _) => {
                if let Some(system) = SystemRow::of(record, at.offset) {
                    self.apply_system(&system);
                }
                Ok(())
            }
            _ => Err(unsupported(record, at).with_path(segment.path())),
        }
    }
}
