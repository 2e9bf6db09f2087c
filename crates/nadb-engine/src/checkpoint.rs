//! The checkpoint of the keyspace: index, live rows and namespaces as they stand at a close in order, so that the next opening
//! need look at no footer. docs/format.md has the bytes of its sections.
//!
//! It promises that what is taken is whole as far as it is looked at: live rows, shards and namespaces agree on how many keys there
//! are. The shards themselves stay in the file until they are asked for ([`crate::pending`]). It is only a cache: `load`
//! answers `None` for whatever is doubtful, and saving may fail without harm.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::limits::{NAMESPACE_ID_MAX, check_namespace};
use nadb_core::{Error, NamespaceId, OnOpen, OpenPhase, Result, SegmentId, Seq, guard};
use nadb_index::{LiveSet, SHARDS};
use nadb_log::{Checkpoint, CheckpointWriter, Closed, Coverage, CoveredSegment, Rows, SealedSegment};

use crate::engine::Shared;
use crate::keyspace::{Keyspace, Write};
use crate::namespaces::Namespace;
use crate::pending::Source;
use crate::slot::Slot;

/// Kinds of sections.
const NAMESPACES: u32 = 2;
const LIVE: u32 = 3;
pub(crate) const SHARD: u32 = 4;
const COUNTS: u32 = 5;

/// What a checkpoint says beside the index, which is pending in the keyspace.
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
            let rows = |id| self.keyspace.slot(id).map_or(0, |slot| slot.rows().len());
            // Only a cache: without it, opening takes longer.
            let _ = closed.write_checkpoint(rows, |writer, coverage| save(&self.keyspace, writer, coverage));
        }
    }
}

fn save(keyspace: &Keyspace, writer: &mut CheckpointWriter, coverage: &Coverage) -> Result<()> {
    keyspace.load_all()?;
    writer.section(NAMESPACES, 0, &encode_namespaces(keyspace))?;
    let mut bytes = Vec::new();
    for segment in &coverage.segments {
        bytes.clear();
        // A segment that has only frames without records has no slot.
        if let Some(slot) = keyspace.slot(segment.named.id) {
            bytes.extend_from_slice(&slot.rows().len().to_le_bytes());
            bytes.extend_from_slice(&slot.live.live_bytes().to_le_bytes());
            slot.live.save(&mut bytes);
            writer.section(LIVE, segment.named.id.0, &bytes)?;
        }
    }
    let mut counts = Vec::with_capacity(SHARDS * size_of::<u32>());
    for (shard, number) in (0..SHARDS).zip(0..) {
        bytes.clear();
        let keys = keyspace.index.save_shard(shard, &mut bytes);
        if keys > 0 {
            writer.section(SHARD, number, &bytes)?;
            let keys = u32::try_from(keys).map_err(|_| Error::limit("a shard of the index has 2^32 keys"))?;
            counts.extend_from_slice(&keys.to_le_bytes());
        }
    }
    writer.section(COUNTS, 0, &counts)
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

/// How many keys each shard has, and all of them together; `shards` are those that the checkpoint has.
fn decode_counts(bytes: &[u8], shards: impl Iterator<Item = u32>) -> Option<(Vec<u32>, u64)> {
    let (counts, rest) = bytes.as_chunks();
    let mut keys = vec![0; SHARDS];
    let (mut counts, mut sum) = (counts.iter().map(|count| u32::from_le_bytes(*count)), 0);
    for shard in shards {
        let count = counts.next().filter(|count| *count > 0)?;
        *keys.get_mut(usize::try_from(shard).ok()?)? = count;
        sum += u64::from(count);
    }
    (counts.next().is_none() && rest.is_empty()).then_some((keys, sum))
}

/// Takes a checkpoint for an empty keyspace. `None` where anything about it is doubtful; then the keyspace has to be cleared.
pub(crate) fn load(
    keyspace: &Keyspace,
    checkpoint: &Checkpoint,
    all_sealed: &[SealedSegment],
    on_open: Option<&OnOpen>,
) -> Option<Loaded> {
    let coverage = checkpoint.coverage();
    let last_seq = coverage.last_seq;
    let table = decode_namespaces(&checkpoint.section(NAMESPACES, 0)?, last_seq)?;
    let shards = checkpoint.sections(SHARD).map(|(shard, _)| shard);
    let (keys, all_keys) = decode_counts(&checkpoint.section(COUNTS, 0)?, shards)?;
    let mut loaded =
        Loaded { last_seq, namespaces: table.namespaces, slots: BTreeMap::new(), open: BTreeMap::new() };
    let mut live_rows = 0;
    let total = coverage.segments.len() as u64;
    for (covered, done) in coverage.segments.iter().zip(1..) {
        let sealed = all_sealed.binary_search_by_key(&covered.named.id, |sealed| sealed.segment.id()).ok();
        let sealed = sealed.and_then(|at| all_sealed.get(at));
        live_rows += loaded.add_segment(checkpoint, covered, sealed)?;
        if let Some(on_open) = on_open {
            on_open.report(OpenPhase::Checkpoint, done, total);
        }
    }
    let counts_agree = table.keys == all_keys && live_rows == all_keys;
    if !counts_agree && guard::on("checkpoint.counts_agree") {
        return None;
    }
    keyspace.pending.set(Source { checkpoint: checkpoint.clone(), keys });
    keyspace.raise_time_mark(table.time_mark_ms);
    keyspace.namespaces.reserve_id(NamespaceId(table.next_id.checked_sub(1)?));
    Some(loaded)
}

impl Loaded {
    /// The live rows of a segment, and how many they are.
    fn add_segment(
        &mut self,
        checkpoint: &Checkpoint,
        covered: &CoveredSegment,
        sealed: Option<&SealedSegment>,
    ) -> Option<u64> {
        let id = covered.named.id;
        if covered.rows == 0 && sealed.is_none() && !checkpoint.has_section(LIVE, id.0) {
            return Some(0);
        }
        let bytes = checkpoint.section(LIVE, id.0)?;
        let (rows, bits) = bytes.split_first_chunk()?;
        let (live_bytes, bits) = bits.split_first_chunk()?;
        let (rows, live_bytes) = (u32::from_le_bytes(*rows), u64::from_le_bytes(*live_bytes));
        let live = LiveSet::load(bits, rows, live_bytes)
            .filter(|_| rows == covered.rows && live_bytes <= u64::from(covered.end))?;
        let count = live.live_count();
        match sealed {
            Some(sealed) => {
                let slot = Slot::with_live(&sealed.segment, sealed.rows.clone(), live);
                self.slots.insert(id, slot);
            }
            None => _ = self.open.insert(id, (live, rows)),
        }
        Some(count)
    }

    /// The slot of a segment that is not sealed.
    pub(crate) fn open_slot(&mut self, segment: &Arc<nadb_log::Segment>) -> Arc<Slot> {
        let live = self.open.get_mut(&segment.id()).map(|(live, _)| std::mem::take(live));
        Slot::with_live(segment, Rows::none(), live.unwrap_or_default())
    }
}
