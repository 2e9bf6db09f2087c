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
mod settle;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nadb_compact::{Older, Rewritten};
use nadb_core::{BlobId, Error, ErrorKind, NamespaceId, Result};
use nadb_log::{Direction, RecordKind, RowCursor, SystemRow};
use parking_lot::Mutex;

use crate::engine::Shared;
use crate::slot::Slot;

/// What there is one of for each store.
#[derive(Debug, Default)]
pub(crate) struct Compactor {
    /// Held by who compacts.
    running: Mutex<()>,
    /// The store is being closed.
    pub(crate) must_stop: AtomicBool,
}

/// Who is told how far a compaction has come, and may end it.
pub(crate) trait Control {
    /// So many bytes were read or written since the last call.
    ///
    /// # Errors
    /// Ends the compaction; the store is as before.
    fn spent(&mut self, bytes: u64) -> Result<()>;
}

/// What a compaction has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Compacted {
    pub(crate) segments_in: u64,
    pub(crate) segments_out: u64,
    pub(crate) bytes_before: u64,
    pub(crate) bytes_after: u64,
    pub(crate) rewritten: Rewritten,
}

impl Shared {
    /// Replaces segments, all sealed, by what is live in them.
    ///
    /// # Errors
    /// `Corruption` where a live record does not verify, `NoSpace`, `Io`, and what `control` answers: the store is as before.
    /// `Poisoned` when the log cannot be synced.
    pub(crate) fn compact_slots(&self, inputs: &[Arc<Slot>], control: &mut dyn Control) -> Result<Compacted> {
        let _running = self.compactor.running.lock();
        self.check_open_to_read()?;
        // Keys are moved in the index alone: none is left in the checkpoint.
        self.keyspace.load_all()?;
        let others = self.others(inputs);
        let copied = self.copy(inputs, &others, control)?;
        let done = Compacted {
            segments_in: inputs.len() as u64,
            segments_out: copied.outputs.len() as u64,
            bytes_before: copied.compaction.bytes(),
            bytes_after: copied.outputs.iter().map(|output| output.segment().file_bytes()).sum(),
            rewritten: copied.rewritten,
        };
        let blobs = dropped_blobs(inputs)?;
        let compaction = self.keyspace.while_nothing_moves(|| self.install(inputs, copied))?;
        self.log.retire(compaction, self.unnamed(blobs)?);
        // What is still in use goes later.
        let _ = self.log.remove_retired(false);
        Ok(done)
    }

    /// Rewrites every segment, the active one included, into as few as there need be, in key order and without anything dead.
    ///
    /// # Errors
    /// As [`Shared::compact_slots`].
    pub(crate) fn compact_all(&self, control: &mut dyn Control) -> Result<Compacted> {
        {
            let _open = self.check_open()?;
            self.end_active()?;
            self.seal_all()?;
        }
        self.keyspace.purge_dropped()?;
        let slots = self.keyspace.slots();
        let inputs: Vec<Arc<Slot>> = slots.iter().filter(|slot| slot.segment.is_sealed()).cloned().collect();
        if inputs.is_empty() {
            return Ok(Compacted::default());
        }
        self.compact_slots(&inputs, control)
    }

    /// Bytes of a segment that a compaction makes.
    fn output_bytes(&self) -> u64 {
        let total: u64 = self.keyspace.slots().iter().map(|slot| slot.segment.file_bytes()).sum();
        (total / 64).clamp(self.options.memtable_size, 2 << 30)
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

/// The blobs that records of these segments name, each once.
fn dropped_blobs(inputs: &[Arc<Slot>]) -> Result<Vec<BlobId>> {
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

impl Compactor {
    /// An error where the store is being closed.
    pub(crate) fn check(&self) -> Result<()> {
        if self.must_stop.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Closed,
                "the store is being closed; the compaction was given up",
            ));
        }
        Ok(())
    }
}
