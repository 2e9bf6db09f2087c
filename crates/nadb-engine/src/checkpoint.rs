//! The checkpoint of the keyspace: index, live rows and namespaces as they stand at a close in order, so that the next opening
//! need not merge all footers. docs/format.md has the bytes of its sections.
//!
//! It promises that what is loaded is whole: every location is inside of what the checkpoint covers, and index, live rows and
//! key counts agree on how many keys there are. It is only a cache: `load` answers `None` for whatever is doubtful, and saving
//! may fail without harm.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;

use nadb_core::limits::{NAMESPACE_ID_MAX, check_namespace};
use nadb_core::{Location, NamespaceId, OnOpen, OpenPhase, Result, SegmentId, Seq, guard};
use nadb_index::{LiveSet, SHARDS};
use nadb_log::{Checkpoint, CheckpointWriter, Closed, Coverage, Rows, SEGMENT_HEADER, SealedSegment};

use crate::engine::Shared;
use crate::keyspace::{Keyspace, Write};
use crate::namespaces::Namespace;
use crate::slot::Slot;

/// Kinds of sections.
const NAMESPACES: u32 = 2;
const LIVE: u32 = 3;
const SHARD: u32 = 4;

/// Shards are loaded by at most this many threads.
const THREADS_MAX: usize = 8;

/// What a checkpoint says beside the index, which is in the keyspace already.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) last_seq: Seq,
    pub(crate) namespaces: BTreeMap<NamespaceId, Arc<Namespace>>,
    /// The slots of the sealed segments.
    pub(crate) slots: BTreeMap<SegmentId, Arc<Slot>>,
    /// The live rows of segments that are not sealed, and how many rows these have up to where they are covered.
    pub(crate) open: BTreeMap<SegmentId, (LiveSet, u32)>,
}

impl Shared {
    /// Writes a checkpoint, if opening without it would take long.
    pub(crate) fn save_checkpoint(&self, closed: &Closed<'_, Arc<Write>>) {
        let records = closed.records_to_apply();
        // What an open view may still ask for is in the index of a dropped namespace; the next opening takes it out.
        let is_settled =
            || self.keyspace.purge_dropped().is_ok() && self.keyspace.namespaces.dropped().is_empty();
        if records > 0 && records >= self.options.checkpoint_rows && is_settled() {
            // Only a cache: without it, opening takes longer.
            let _ = closed.write_checkpoint(|writer, coverage| save(&self.keyspace, writer, coverage));
        }
    }
}

fn save(keyspace: &Keyspace, writer: &mut CheckpointWriter, coverage: &Coverage) -> Result<()> {
    writer.section(NAMESPACES, 0, &encode_namespaces(keyspace))?;
    let mut bytes = Vec::new();
    for segment in &coverage.segments {
        bytes.clear();
        // A segment that has only frames without records has no slot.
        if let Some(slot) = keyspace.slot(segment.named.id) {
            bytes.extend_from_slice(&slot.rows().len().to_le_bytes());
            slot.live.save(&mut bytes);
            writer.section(LIVE, segment.named.id.0, &bytes)?;
        }
    }
    for (shard, number) in (0..SHARDS).zip(0..) {
        bytes.clear();
        if keyspace.index.save_shard(shard, &mut bytes) > 0 {
            writer.section(SHARD, number, &bytes)?;
        }
    }
    Ok(())
}

fn encode_namespaces(keyspace: &Keyspace) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&keyspace.time_mark_ms().to_le_bytes());
    out.extend_from_slice(&keyspace.namespaces.next_id().to_le_bytes());
    for namespace in keyspace.namespaces.all() {
        out.extend_from_slice(&namespace.id.0.to_le_bytes());
        out.extend_from_slice(&namespace.created().0.to_le_bytes());
        out.extend_from_slice(&namespace.keys.load(Ordering::Relaxed).to_le_bytes());
        out.push(u8::try_from(namespace.name.len()).unwrap_or(u8::MAX));
        out.extend_from_slice(namespace.name.as_bytes());
    }
    out
}

/// The namespace table of a checkpoint.
#[derive(Debug, Default)]
struct Table {
    time_mark_ms: u64,
    next_id: u32,
    namespaces: BTreeMap<NamespaceId, Arc<Namespace>>,
    keys: u64,
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = bytes.split_first_chunk()?;
    *bytes = left;
    Some(*taken)
}

fn decode_namespaces(mut bytes: &[u8], last_seq: Seq) -> Option<Table> {
    let bytes = &mut bytes;
    let mut table = Table {
        time_mark_ms: u64::from_le_bytes(take(bytes)?),
        next_id: u32::from_le_bytes(take(bytes)?),
        ..Table::default()
    };
    let mut last_name = String::new();
    while !bytes.is_empty() {
        let id = NamespaceId(u32::from_le_bytes(take(bytes)?));
        let created = Seq(u64::from_le_bytes(take(bytes)?));
        let keys = u64::from_le_bytes(take(bytes)?);
        let [len] = take(bytes)?;
        let (name, left) = bytes.split_at_checked(usize::from(len))?;
        *bytes = left;
        let name = std::str::from_utf8(name).ok()?;
        check_namespace(name).ok()?;
        let is_new = *last_name < *name && !table.namespaces.contains_key(&id);
        let is_given = (1..table.next_id).contains(&id.0) && id.0 <= NAMESPACE_ID_MAX;
        if !is_new || !is_given || created.0 == 0 || created > last_seq {
            return None;
        }
        name.clone_into(&mut last_name);
        let namespace = Namespace::new(id, name);
        namespace.set_created(created);
        namespace.keys.store(keys, Ordering::Relaxed);
        table.keys = table.keys.checked_add(keys)?;
        table.namespaces.insert(id, Arc::new(namespace));
    }
    Some(table)
}

/// Loads a checkpoint into an empty keyspace. `None` where anything about it is doubtful; then the keyspace has to be cleared.
pub(crate) fn load(
    keyspace: &Keyspace,
    checkpoint: &Checkpoint,
    all_sealed: &[SealedSegment],
    on_open: Option<&OnOpen>,
) -> Option<Loaded> {
    let last_seq = checkpoint.coverage().last_seq;
    let table = decode_namespaces(&checkpoint.section(NAMESPACES, 0)?, last_seq)?;
    let tallies = load_index(keyspace, checkpoint, on_open)?;
    let mut loaded =
        Loaded { last_seq, namespaces: table.namespaces, slots: BTreeMap::new(), open: BTreeMap::new() };
    let listed: BTreeSet<u32> = checkpoint.sections(LIVE).map(|(number, _)| number).collect();
    for tally in tallies {
        let sealed = all_sealed.binary_search_by_key(&tally.id, |sealed| sealed.segment.id()).ok();
        let sealed = sealed.and_then(|at| all_sealed.get(at));
        if listed.contains(&tally.id.0) {
            loaded.add_segment(checkpoint, &tally, sealed)?;
        } else if sealed.is_some() || tally.keys.into_inner() > 0 {
            return None;
        }
    }
    if table.keys != keyspace.index.len() && guard::on("checkpoint.counts_agree") {
        return None;
    }
    keyspace.raise_time_mark(table.time_mark_ms);
    keyspace.namespaces.reserve_id(NamespaceId(table.next_id.checked_sub(1)?));
    Some(loaded)
}

impl Loaded {
    /// The live rows of a segment, which must be as many as the index has keys there.
    fn add_segment(
        &mut self,
        checkpoint: &Checkpoint,
        tally: &Tally,
        sealed: Option<&SealedSegment>,
    ) -> Option<()> {
        let bytes = checkpoint.section(LIVE, tally.id.0)?;
        let (rows, bits) = bytes.split_first_chunk()?;
        let rows = u32::from_le_bytes(*rows);
        let live_bytes = tally.bytes.load(Ordering::Relaxed);
        // Every row has a record, so there are fewer than bytes.
        let live = LiveSet::load(bits, rows, live_bytes).filter(|_| rows < tally.end)?;
        if live.live_count() != tally.keys.load(Ordering::Relaxed) && guard::on("checkpoint.counts_agree") {
            return None;
        }
        match sealed {
            Some(sealed) if sealed.rows.len() == rows => {
                let slot = Slot::with_live(&sealed.segment, sealed.rows.clone(), live);
                self.slots.insert(tally.id, slot);
            }
            Some(_) => return None,
            None => _ = self.open.insert(tally.id, (live, rows)),
        }
        Some(())
    }

    /// The slot of a segment that is not sealed.
    pub(crate) fn open_slot(&mut self, segment: &Arc<nadb_log::Segment>) -> Arc<Slot> {
        let live = self.open.get_mut(&segment.id()).map(|(live, _)| std::mem::take(live));
        Slot::with_live(segment, Rows::none(), live.unwrap_or_default())
    }
}

/// What the index has of a segment.
#[derive(Debug)]
struct Tally {
    id: SegmentId,
    end: u32,
    keys: AtomicU64,
    bytes: AtomicU64,
}

/// Loads all shards, several at a time.
fn load_index(keyspace: &Keyspace, checkpoint: &Checkpoint, on_open: Option<&OnOpen>) -> Option<Vec<Tally>> {
    let shards: Vec<(u32, u32)> = checkpoint.sections(SHARD).collect();
    let covered = checkpoint.coverage().segments.iter();
    let tallies: Vec<Tally> = covered
        .map(|covered| Tally {
            id: covered.named.id,
            end: covered.end,
            keys: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
        })
        .collect();
    let total: u64 = shards.iter().map(|(_, len)| u64::from(*len)).sum();
    let (next, done, is_whole) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicBool::new(true));
    let work = || {
        while let Some((shard, len)) = shards.get(next.fetch_add(1, Ordering::Relaxed)) {
            if load_shard(keyspace, checkpoint, *shard, &tallies).is_none() {
                is_whole.store(false, Ordering::Relaxed);
            }
            if !is_whole.load(Ordering::Relaxed) {
                return;
            }
            let done = done.fetch_add(u64::from(*len), Ordering::Relaxed) + u64::from(*len);
            if let Some(on_open) = on_open {
                on_open.report(OpenPhase::Checkpoint, done, total);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX).min(shards.len());
    thread::scope(|scope| {
        // The scope itself says so where one panics.
        (1..threads).for_each(|_| _ = scope.spawn(work));
        work();
    });
    is_whole.into_inner().then_some(tallies)
}

fn load_shard(keyspace: &Keyspace, checkpoint: &Checkpoint, shard: u32, tallies: &[Tally]) -> Option<()> {
    let bytes = checkpoint.section(SHARD, shard)?;
    let mut own: Vec<(u64, u64)> = vec![(0, 0); tallies.len()];
    let mut last = 0;
    let accept = |at: Location| {
        // Neighbours in the index seldom are neighbours in the log, but a store has few segments.
        let is_it = |tally: &Tally| tally.id == at.segment;
        if !tallies.get(last).is_some_and(is_it) {
            match tallies.binary_search_by_key(&at.segment, |tally| tally.id) {
                Ok(found) => last = found,
                Err(_) => return false,
            }
        }
        let (Some(tally), Some(own)) = (tallies.get(last), own.get_mut(last)) else { return false };
        own.0 += 1;
        own.1 += u64::from(at.len);
        let end = u64::from(at.offset) + u64::from(at.len);
        at.offset >= SEGMENT_HEADER && end <= u64::from(tally.end)
    };
    keyspace.index.load_shard(usize::try_from(shard).ok()?, &bytes, accept)?;
    for (tally, (keys, bytes)) in tallies.iter().zip(own) {
        tally.keys.fetch_add(keys, Ordering::Relaxed);
        tally.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
    Some(())
}
