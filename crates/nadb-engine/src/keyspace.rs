//! What the store knows of its keys: the index, the segments with their live rows, the namespaces, the highest time that was
//! trusted. Changed by publication alone, in sequence order, and rebuilt by opening.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::{Error, ErrorKind, KeyHash, Location, NamespaceId, Ordinal, Result, SegmentId, Seq, guard};
use nadb_index::{Candidates, KeyIndex, Published, PublishedGuard, VersionTable};
use nadb_log::{Direction, FrameBody, Placed, Publish, RecordBuf, RecordRef, RowCursor, Segment};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;

use crate::halfway::Halfway;
use crate::memory::{MEMORY_LIMIT, Memory};
use crate::namespaces::{Namespace, Namespaces};
use crate::pending::Pending;
use crate::slot::{Slot, SlotTable};
use crate::tag_counts::OldTags;
use crate::view::{Views, ViewsState};

#[cfg(test)]
mod tests;

/// Frames with at most this many keys are published under the lock under which views are taken, so that nothing need be
/// remembered while no view is open. Taking a view waits at most that long.
const KEYS_UNDER_LOCK: usize = 64;

/// Index, segments, namespaces, time.
#[derive(Debug)]
pub(crate) struct Keyspace {
    pub(crate) index: KeyIndex,
    /// Which of its shards are still in the checkpoint.
    pub(crate) pending: Pending,
    /// Places that were displaced while a view was open that needs them.
    pub(crate) versions: VersionTable<Arc<Slot>>,
    pub(crate) namespaces: Namespaces,
    pub(crate) views: Views,
    pub(crate) halfway: Halfway,
    /// What rows, and batches on their way, take.
    pub(crate) memory: Memory,
    slots: Published<SlotTable>,
    hash_seed: AtomicU64,
    /// Nothing that expired at or before this is visible, whatever the wall clock shows.
    time_mark_ms: AtomicU64,
    /// Held while the keys of dropped namespaces are taken out, and while a compaction moves keys to where it has copied them.
    moving: Mutex<()>,
    /// What a test does while a batch is on its way.
    #[cfg(test)]
    pub(crate) at_key: Mutex<Option<tests::AtKey>>,
}

/// What a record was read into.
pub(crate) trait HasRecord {
    /// The record.
    ///
    /// # Errors
    /// Never for bytes that were verified.
    fn record(&self) -> Result<RecordRef<'_>>;
}

impl HasRecord for RecordBuf {
    fn record(&self) -> Result<RecordRef<'_>> {
        RecordBuf::record(self)
    }
}

/// Where the record stands that a change displaces.
#[derive(Debug, Clone)]
pub(crate) struct Displaced {
    pub(crate) at: Location,
    pub(crate) slot: Arc<Slot>,
    pub(crate) ordinal: Ordinal,
}

impl Displaced {
    /// The copy that a compaction has made of it.
    #[inline]
    pub(crate) fn moved(&self) -> Option<Displaced> {
        let (slot, ordinal, offset) = self.slot.moved(self.ordinal)?;
        let at = Location { segment: slot.segment.id(), offset, len: self.at.len };
        Some(Displaced { at, slot: Arc::clone(slot), ordinal })
    }

    /// All copies, the newest last: none but while a writer comes across a compaction.
    #[inline]
    fn copies(&self) -> SmallVec<[Displaced; 1]> {
        let mut copies = SmallVec::new();
        let mut next = self.moved().filter(|_| guard::on("compact.deaths_forwarded"));
        while let Some(copy) = next {
            next = copy.moved();
            copies.push(copy);
        }
        copies
    }
}

/// The last record that a frame has of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NewRecord {
    /// Its offset in the body.
    pub(crate) at: u32,
    /// Its length.
    pub(crate) len: u32,
    /// Which of the frame's key records it is.
    pub(crate) row: u32,
    /// Whether the key is there afterwards: not where it is a tombstone.
    pub(crate) is_live: bool,
    /// Whether the key has been there all the time, from the record before the frame to this one.
    pub(crate) lives_on: bool,
}

/// What a frame does to one key.
#[derive(Debug, Clone)]
pub(crate) struct KeyChange {
    pub(crate) hash: KeyHash,
    pub(crate) namespace: Arc<Namespace>,
    pub(crate) old: Option<Displaced>,
    /// The tags of that, where the namespace counts tags.
    pub(crate) old_tags: Option<OldTags>,
    pub(crate) new: Option<NewRecord>,
}

/// What a frame does.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    pub(crate) created: SmallVec<[Arc<Namespace>; 1]>,
    pub(crate) dropped: Option<Arc<Namespace>>,
    /// Nothing that expired at or before this is visible any more.
    pub(crate) clock_ms: Option<u64>,
    pub(crate) keys: SmallVec<[KeyChange; 1]>,
}

/// A frame and what it does.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) body: FrameBody,
    pub(crate) changes: Changes,
}

impl Publish<Arc<Write>> for Keyspace {
    fn publish(&self, write: Arc<Write>, placed: Placed, segment: &Arc<Segment>) {
        let slot = self.slot_for(segment);
        let appended = slot.append(&write.body, &placed);
        self.memory.note(&slot, appended.held);
        let (body, changes, first) = (&write.body, &write.changes, appended.first);
        let frame = Frame { body, changes, placed, slot: &slot, first };
        let mut views = self.views.lock();
        let is_batch = write.changes.keys.len() > 1;
        if is_batch {
            self.halfway.begin(placed.first_seq);
        }
        if write.changes.keys.len() <= KEYS_UNDER_LOCK {
            let remember = views.has_open();
            self.apply_all(&frame, remember);
        } else {
            // Views are taken meanwhile: they must not see what has come and miss what it has displaced.
            let remember = views.has_open() || guard::on("view.large_batches_remember");
            MutexGuard::unlocked(&mut views, || self.apply_all(&frame, remember));
        }
        views.watermark = placed.last_seq();
        if is_batch {
            self.halfway.end();
        }
        self.end_frame(views, write.changes.keys.len() > KEYS_UNDER_LOCK);
        if appended.expires_ms < u64::MAX {
            slot.note_expiry(appended.expires_ms);
        }
    }
}

/// A frame at its place.
struct Frame<'a> {
    body: &'a FrameBody,
    changes: &'a Changes,
    placed: Placed,
    slot: &'a Arc<Slot>,
    /// The ordinal of its first key record.
    first: Ordinal,
}

impl Keyspace {
    pub(crate) fn new() -> Keyspace {
        Keyspace {
            index: KeyIndex::new(),
            pending: Pending::none(),
            versions: VersionTable::new(),
            namespaces: Namespaces::new(),
            views: Views::default(),
            halfway: Halfway::default(),
            memory: Memory::new(MEMORY_LIMIT),
            slots: Published::new(SlotTable::default()),
            hash_seed: AtomicU64::new(0),
            time_mark_ms: AtomicU64::new(0),
            moving: Mutex::new(()),
            #[cfg(test)]
            at_key: Mutex::new(None),
        }
    }

    pub(crate) fn set_hash_seed(&self, seed: u64) {
        self.hash_seed.store(seed, Ordering::Release);
    }

    pub(crate) fn hash(&self, namespace: NamespaceId, key: &[u8]) -> KeyHash {
        KeyHash::new(self.hash_seed.load(Ordering::Acquire), namespace, key)
    }

    /// Everything up to here is visible: said once, when all has been rebuilt.
    pub(crate) fn set_watermark(&self, seq: Seq) {
        self.views.lock().watermark = seq;
    }

    pub(crate) fn slots(&self) -> Arc<[Arc<Slot>]> {
        self.slots.load().all()
    }

    pub(crate) fn slot(&self, id: SegmentId) -> Option<Arc<Slot>> {
        self.slots.load().get(id).cloned()
    }

    /// The table of slots as it is now. Whoever holds it keeps every segment of it, and what was retired since.
    pub(crate) fn slot_table(&self) -> PublishedGuard<'_, SlotTable> {
        self.slots.load()
    }

    /// The slot of a segment that takes frames.
    pub(crate) fn slot_for(&self, segment: &Arc<Segment>) -> Arc<Slot> {
        if let Some(slot) = self.slot(segment.id()) {
            return slot;
        }
        let slot = Slot::empty(segment);
        self.add_slot(&slot);
        slot
    }

    pub(crate) fn add_slot(&self, slot: &Arc<Slot>) {
        self.slots.update(|table| table.with(Arc::clone(slot)));
    }

    pub(crate) fn set_slots(&self, slots: Vec<Arc<Slot>>) {
        self.slots.store(SlotTable::new(slots));
    }

    fn apply_all(&self, frame: &Frame<'_>, remember: bool) {
        let last = frame.placed.last_seq();
        for namespace in &frame.changes.created {
            namespace.set_created(last);
            self.namespaces.add(namespace);
        }
        if let Some(dropped) = &frame.changes.dropped {
            self.namespaces.drop_at(dropped, last);
        }
        if let Some(clock_ms) = frame.changes.clock_ms {
            self.raise_time_mark(clock_ms);
        }
        for change in &frame.changes.keys {
            #[cfg(test)]
            self.before_a_key_moves();
            // An operation that found nothing to do leaves its key as it is.
            let Some(record) = change.new else { continue };
            let at = Location {
                segment: frame.placed.segment,
                offset: frame.placed.body_offset + record.at,
                len: record.len,
            };
            let new = Some((at, Ordinal(frame.first.0 + record.row), record.is_live));
            let killer = (last, remember);
            self.apply(change.hash, &change.namespace, change.old.as_ref(), frame.slot, new, killer);
            if let Some(old) = &change.old {
                let lives_on = record.lives_on || !guard::on("access.ends_with_its_key");
                let heir = lives_on.then_some(at.offset);
                frame.slot.take_access((&old.slot, old.at.offset), heir, remember);
                for copy in old.copies() {
                    frame.slot.take_access((&copy.slot, copy.at.offset), heir, remember);
                }
            }
        }
        if frame.changes.keys.iter().any(|change| change.namespace.tag_counts.is_on()) {
            count_tags(frame);
        }
    }

    /// Moves a key from its old place to its new one, or takes it away where the new record is a tombstone. `killer` is the
    /// number at which that happens, and whether a view may ask.
    pub(crate) fn apply(
        &self,
        hash: KeyHash,
        namespace: &Namespace,
        old: Option<&Displaced>,
        slot: &Slot,
        new: Option<(Location, Ordinal, bool)>,
        (killer, remember): (Seq, bool),
    ) {
        debug_assert!(self.pending.is_there(KeyIndex::bits(hash).0), "who changes a key has looked it up");
        let live = new.filter(|(.., is_live)| *is_live);
        match (live, new) {
            (Some((at, ordinal, _)), _) => slot.live.set_live(ordinal, at.len),
            (None, Some((_, ordinal, _))) if old.is_some() => slot.live.set_marker(ordinal),
            _ => {}
        }
        let copies = old.map(Displaced::copies).unwrap_or_default();
        if let Some(old) = old {
            // What a view may still ask for is remembered before the index changes: it looks there first.
            if remember && guard::on("view.version_before_index") {
                let newest = copies.last().unwrap_or(old);
                self.versions.remember(hash, newest.at, killer, Arc::clone(&newest.slot));
            }
            old.slot.live.kill(old.ordinal, old.at.len, killer, remember);
            for copy in &copies {
                copy.slot.live.kill(copy.ordinal, copy.at.len, killer, remember);
            }
        }
        // A compaction may have moved the key to any of the copies, but to no other place.
        let mut places = old.into_iter().chain(&copies);
        match (old, live) {
            (None, Some((at, ..))) => {
                self.index.insert(hash, at);
                namespace.keys.fetch_add(1, Ordering::Relaxed);
            }
            (Some(_), Some((at, ..))) => {
                places.any(|place| self.index.replace(hash, place.at, at));
            }
            (Some(_), None) => {
                places.any(|place| self.index.remove(hash, place.at));
                namespace.keys.fetch_sub(1, Ordering::Relaxed);
            }
            (None, None) => {}
        }
    }

    /// Takes keys away whose newest records expired at or before the mark. Nobody else changes them meanwhile.
    ///
    /// The killer is the last number that is visible. A view at that number or a later one was taken when the mark had been raised,
    /// so its clock hides them whatever else it sees; an older one may show them, and remembers.
    pub(crate) fn reap(&self, rows: &[(KeyHash, &Namespace, &Displaced, &OldTags)]) {
        let views = self.views.lock();
        let killer = (views.watermark, views.has_open());
        for (hash, namespace, row, tags) in rows {
            // What it has displaced must stay so.
            row.slot.live.set_marker(row.ordinal);
            row.copies().iter().for_each(|copy| copy.slot.live.set_marker(copy.ordinal));
            self.apply(*hash, namespace, Some(row), &row.slot, None, killer);
            if namespace.tag_counts.is_on() {
                namespace.tag_counts.hold().remove(tags);
            }
        }
    }

    /// What was remembered for views that might have been taken goes where none was.
    fn end_frame(&self, views: MutexGuard<'_, ViewsState>, has_remembered: bool) {
        let oldest = views.oldest();
        let is_alone = !views.has_open();
        drop(views);
        if is_alone && has_remembered {
            self.forget_deaths(oldest);
        }
    }

    /// No view will ask any more for what died up to this number.
    pub(crate) fn forget_deaths(&self, upto: Seq) {
        self.versions.forget(upto);
        for slot in self.slots().iter().filter(|slot| slot.live.deaths() > 0) {
            slot.live.forget(upto);
        }
    }

    /// Where the key with this hash may stand. Whoever changes a key has asked here before: its shard is in memory from then on.
    ///
    /// # Errors
    /// `Corruption` or `Io` where a shard that is still in the checkpoint can neither be read nor made.
    pub(crate) fn candidates(&self, hash: KeyHash) -> Result<Candidates> {
        let (shard, _) = KeyIndex::bits(hash);
        self.pending.ready(self, shard, || self.slots().to_vec())?;
        Ok(self.index.candidates(hash))
    }

    /// Brings all shards of the index into memory.
    ///
    /// # Errors
    /// As [`Keyspace::candidates`].
    pub(crate) fn load_all(&self) -> Result<()> {
        self.pending.ready_all(self, || self.slots().to_vec())
    }

    /// Whether the index has a key with this hash at this place.
    pub(crate) fn is_named(&self, hash: KeyHash, at: Location) -> bool {
        self.index.candidates(hash).contains(&at)
    }

    /// The newest record of a key, read by `read`.
    #[inline]
    pub(crate) fn find<R: HasRecord>(
        &self,
        namespace: NamespaceId,
        hash: KeyHash,
        key: &[u8],
        read: impl Fn(Location) -> Result<R>,
    ) -> Result<Option<(Location, R)>> {
        loop {
            let mut failed = None;
            for at in self.candidates(hash)? {
                let found = match read(at) {
                    Ok(found) => found,
                    Err(error) => {
                        failed = Some((at, error));
                        break;
                    }
                };
                let is_it = {
                    let record = found.record()?;
                    (record.namespace == namespace && record.key == key) || !guard::on("index.key_decides")
                };
                if is_it {
                    return Ok(Some((at, found)));
                }
            }
            match failed {
                None => return Ok(None),
                // Else a compaction has moved the key, out of a segment that is gone by now: the next look finds where to.
                Some((at, error)) if self.is_named(hash, at) || !guard::on("compact.moved_is_found") => {
                    return Err(error);
                }
                Some(_) => {}
            }
        }
    }

    /// The slot and row of a record that the index has named since `slots` were taken.
    pub(crate) fn displaced(&self, slots: &SlotTable, at: Location) -> Result<Displaced> {
        let slot = slots.get(at.segment).cloned().or_else(|| self.slot(at.segment));
        let slot = slot.ok_or_else(|| missing(at))?;
        let ordinal = slot.ordinal_of(at)?;
        Ok(Displaced { at, slot, ordinal })
    }

    /// Takes the keys of dropped namespaces out of the index, but for those that an open view may still ask for.
    ///
    /// # Errors
    /// `Corruption` or `Io` where a footer cannot be read; what is left is tried again at the next call.
    pub(crate) fn purge_dropped(&self) -> Result<()> {
        let _moving = self.moving.lock();
        self.purge_held()
    }

    /// As [`Keyspace::purge_dropped`], where nobody moves keys just now; else some other time.
    ///
    /// # Errors
    /// As [`Keyspace::purge_dropped`].
    pub(crate) fn purge_dropped_if_free(&self) -> Result<()> {
        self.moving.try_lock().map_or(Ok(()), |_moving| self.purge_held())
    }

    fn purge_held(&self) -> Result<()> {
        let purgeable = self.namespaces.purgeable(&self.views.lock());
        for namespace in purgeable {
            for slot in self.slots().iter() {
                self.purge_from(slot, &namespace)?;
            }
            self.namespaces.forget(&namespace);
        }
        Ok(())
    }

    /// Runs `f` while no keys of dropped namespaces are being taken out, and no compaction moves keys.
    pub(crate) fn while_nothing_moves<T>(&self, f: impl FnOnce() -> T) -> T {
        let _moving = self.moving.lock();
        f()
    }

    /// From now on views see `new` in the place of `old`; reads of places that the index still names find them in `old`.
    pub(crate) fn replace_slots(&self, old: &[Arc<Slot>], new: &[Arc<Slot>]) {
        // Under the lock under which views are taken: each has the one or the other.
        let _views = self.views.lock();
        self.slots.update(|table| table.replaced(old, new));
    }

    /// Lets go of tables of slots that nobody looks into any more.
    pub(crate) fn let_go_of_tables(&self) {
        Published::<SlotTable>::let_go();
    }

    /// Nothing names the slots any more that were replaced.
    pub(crate) fn forget_replaced(&self) {
        self.slots.update(SlotTable::without_leaving);
    }

    fn purge_from(&self, slot: &Slot, namespace: &Namespace) -> Result<()> {
        let rows = slot.rows();
        for mut cursor in rows.cursors(namespace.id, b"", Direction::Forward)? {
            while let Some((_, key)) = cursor.key().filter(|(id, _)| *id == namespace.id) {
                let ordinal = cursor.ordinal();
                if slot.live.is_live(ordinal) {
                    let at = slot.location(&rows, ordinal)?;
                    let hash = self.hash(namespace.id, key);
                    self.candidates(hash)?;
                    if self.index.remove(hash, at) {
                        namespace.keys.fetch_sub(1, Ordering::Relaxed);
                        slot.live.kill(ordinal, at.len, Seq(0), false);
                    }
                }
                cursor.next()?;
            }
        }
        Ok(())
    }

    /// The time that decides what has expired: the wall clock's, but never before the mark.
    pub(crate) fn now_ms(&self, wall_ms: u64) -> u64 {
        wall_ms.max(self.time_mark_ms.load(Ordering::Acquire))
    }

    pub(crate) fn time_mark_ms(&self) -> u64 {
        self.time_mark_ms.load(Ordering::Acquire)
    }

    /// Forgets everything but the seed of the hash: while nobody uses it yet.
    pub(crate) fn clear(&self) {
        self.pending.clear();
        self.index.clear();
        self.namespaces.clear();
        self.set_slots(Vec::new());
        self.time_mark_ms.store(0, Ordering::Release);
    }

    pub(crate) fn raise_time_mark(&self, ms: u64) {
        self.time_mark_ms.fetch_max(ms, Ordering::AcqRel);
    }
}

/// Tells the counts of tags what a frame changes; of each namespace all at once.
#[cold]
fn count_tags(frame: &Frame<'_>) {
    let counts = |change: &&KeyChange| change.namespace.tag_counts.is_on();
    let mut changes: Vec<&KeyChange> = frame.changes.keys.iter().filter(counts).collect();
    changes.sort_unstable_by_key(|change| change.namespace.id);
    for same in changes.chunk_by(|a, b| a.namespace.id == b.namespace.id) {
        let Some(first) = same.first() else { continue };
        let mut held = first.namespace.tag_counts.hold();
        for change in same {
            if change.new.is_none() {
                continue;
            }
            let new = change.new.filter(|new| new.is_live).and_then(|new| frame.body.record(new.at).ok());
            if let Some(old) = &change.old_tags {
                held.remove(old);
            }
            if let Some(new) = &new {
                held.add(new);
            }
        }
    }
}

pub(crate) fn missing(at: Location) -> Error {
    Error::new(ErrorKind::Corruption, format!("the index names segment {}, which does not exist", at.segment))
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
