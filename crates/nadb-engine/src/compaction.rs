//! Compaction: what is live in some segments is copied into new ones, which take their place.
//!
//! One compaction goes in three steps. Rows are merged and copied while everybody reads and writes as before ([`copy`]). The log makes
//! the new segments durable, syncs whatever had displaced the records that were left out, and stores one manifest that has the new
//! segments in the place of the old ones. Then memory follows ([`settle`]). Until the manifest is stored nothing has changed, so a
//! compaction can be given up at any moment.
//!
//! It promises that no reader or writer waits for more than a few pointers, and that nothing that was displaced, deleted or expired
//! comes back. It leaves to `nadb-compact` which segments are worth it and which rows stay.

mod copy;
mod driver;
mod facts;
mod filter;
mod request;
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use nadb_compact::Older;
use nadb_core::{BlobId, CompactionReport, Error, NamespaceId, Result};
use nadb_log::{Direction, RecordKind, RowCursor, SystemRow};

use self::copy::Copies;
use crate::engine::Shared;
use crate::slot::Slot;

pub(crate) use driver::{Compactor, policy, spawn};

/// Who is told how far a compaction has come, and may end it.
pub(crate) trait Control {
    /// So many bytes were read or written since the last call.
    ///
    /// # Errors
    /// Ends the compaction; the store is as before.
    fn spent(&mut self, bytes: u64) -> Result<()>;
}

impl Shared {
    /// Replaces segments, all sealed and in the list of segments, by what is live in them; gives the new ones. The caller is the only
    /// one who compacts.
    ///
    /// # Errors
    /// `Corruption` where a live record does not verify, `NoSpace`, `Io`, and what `control` answers: the store is as before.
    /// `Poisoned` when the log cannot be synced.
    pub(crate) fn compact_slots(
        &self,
        inputs: &[Arc<Slot>],
        output_bytes: u64,
        control: &mut dyn Control,
    ) -> Result<(CompactionReport, Vec<Arc<Slot>>)> {
        self.check_open_to_read()?;
        // Keys are moved in the index alone: none is left in the checkpoint.
        self.keyspace.load_all()?;
        let others = self.others(inputs);
        let copies = self.copy(inputs, &others, output_bytes, control)?;
        let report = report(inputs, &copies);
        let blobs = named_blobs(inputs)?;
        let (compaction, outputs) = self.keyspace.while_nothing_moves(|| self.install(inputs, copies))?;
        self.log.retire(compaction, self.unnamed(blobs)?);
        // What is still in use goes later.
        let _ = self.remove_retired();
        Ok((report, outputs))
    }

    /// Removes the files of replaced segments that nobody holds any more.
    ///
    /// # Errors
    /// `Io`: tried again the next time.
    pub(crate) fn remove_retired(&self) -> Result<()> {
        if self.log.retired().1 == 0 {
            return Ok(());
        }
        self.keyspace.let_go_of_tables();
        self.log.remove_retired(false)
    }

    /// The segments beside `inputs`.
    fn others(&self, inputs: &[Arc<Slot>]) -> Vec<Arc<Slot>> {
        let is_input = |slot: &&Arc<Slot>| inputs.iter().any(|input| Arc::ptr_eq(input, slot));
        self.keyspace.slots().iter().filter(|slot| !is_input(slot)).cloned().collect()
    }

    /// Those of some blobs that no record names any more.
    fn unnamed(&self, mut blobs: Vec<BlobId>) -> Result<Vec<BlobId>> {
        if blobs.is_empty() {
            return Ok(blobs);
        }
        let mut named = BTreeSet::new();
        for slot in self.keyspace.slots().iter() {
            named.extend(slot.rows().blobs()?);
        }
        blobs.retain(|blob| !named.contains(blob));
        Ok(blobs)
    }
}

/// What a compaction that waits to be installed will have done.
fn report(inputs: &[Arc<Slot>], copies: &Copies) -> CompactionReport {
    let mut report = CompactionReport::default();
    report.compactions = 1;
    report.segments_in = inputs.len() as u64;
    report.segments_out = copies.outputs.len() as u64;
    report.kept = copies.rewritten.kept + copies.rewritten.markers;
    report.dropped_dead = copies.rewritten.dropped.dead;
    report.dropped_expired = copies.rewritten.dropped.expired;
    report.dropped_tombstones = copies.rewritten.dropped.tombstones;
    report.bytes_before = inputs.iter().map(|slot| slot.segment.file_bytes()).sum();
    report.bytes_after = copies.outputs.iter().map(|output| output.segment().file_bytes()).sum();
    report.bytes_written = report.bytes_after;
    report
}

/// The blobs that records of these segments name, each once.
fn named_blobs(inputs: &[Arc<Slot>]) -> Result<Vec<BlobId>> {
    let mut blobs = BTreeSet::new();
    for input in inputs {
        blobs.extend(input.rows().blobs()?);
    }
    Ok(blobs.into_iter().collect())
}

/// The segments in which older records of keys can stand. Those that are not sealed have higher numbers than all that are.
fn older(others: &[Arc<Slot>]) -> Older {
    let sealed = others.iter().filter(|slot| slot.segment.is_sealed());
    Older::new(sealed.map(|slot| (&*slot.segment, slot.rows())))
}

/// Whether any segment has, or may have, a key of a namespace, or the record that makes it.
fn may_have_namespace(slots: &[Arc<Slot>], id: NamespaceId) -> bool {
    let makes = |row: &SystemRow| row.kind == RecordKind::NamespaceCreate && row.namespace == id;
    let has = |slot: &Arc<Slot>| {
        let rows = slot.rows();
        let cursors = rows.cursors(id, b"", Direction::Forward)?;
        let has_key = cursors.iter().any(|cursor| cursor.key().is_some_and(|(found, _)| found == id));
        Ok::<_, Error>(has_key || rows.system()?.iter().any(makes))
    };
    slots.iter().any(|slot| has(slot).unwrap_or(true))
}
