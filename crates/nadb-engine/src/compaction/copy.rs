//! The first step: rows that stay are copied into new segments, which nobody knows of yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use nadb_compact::{Copied, Input, Rewrite, Rewritten, Sink};
use nadb_core::{KeyHash, Location, NamespaceId, Ordinal, Result, Seq, guard};
use nadb_log::{Compacted, Compaction, Output, RecordKind, RecordRef, SystemRow};

use super::{Control, may_have_namespace, older};
use crate::engine::Shared;
use crate::slot::Slot;

/// Rows of an output, at most: while it is written, memory has some 100 bytes for each.
const OUTPUT_ROWS_MAX: u32 = 1 << 20;

/// Copies that wait to be installed.
pub(super) struct Copies {
    pub(super) compaction: Compaction,
    pub(super) outputs: Vec<Compacted>,
    /// By input: its live rows.
    pub(super) moves: Vec<Vec<Move>>,
    /// Rows of the outputs that are markers, counted over all of them.
    pub(super) markers: Vec<u32>,
    pub(super) rewritten: Rewritten,
    /// What displaced the records that were left out has at most this number.
    pub(super) dead_upto: Seq,
}

/// A live row that was copied.
pub(super) struct Move {
    /// Of its key.
    pub(super) hash: KeyHash,
    pub(super) from: Ordinal,
    pub(super) from_offset: u32,
    pub(super) len: u32,
    /// The copy, counted over all outputs.
    pub(super) row: u32,
}

/// Takes what is copied.
struct Writer<'a> {
    shared: &'a Shared,
    control: &'a mut dyn Control,
    output_bytes: u64,
    current: Option<Output>,
    /// Rows of the outputs that are finished.
    rows: u32,
    copies: Copies,
}

impl Shared {
    /// Copies what stays of `inputs`; `others` are all other segments.
    pub(super) fn copy(
        &self,
        inputs: &[Arc<Slot>],
        others: &[Arc<Slot>],
        output_bytes: u64,
        control: &mut dyn Control,
    ) -> Result<Copies> {
        let segments: Vec<_> = inputs.iter().map(|slot| Arc::clone(&slot.segment)).collect();
        let output_bytes = output_bytes.max(self.options.memtable_size);
        let bytes: u64 = segments.iter().map(|segment| segment.file_bytes()).sum();
        let rows: u64 = inputs.iter().map(|slot| u64::from(slot.rows().len())).sum();
        let outputs_max = 2 * (bytes / output_bytes + rows / u64::from(OUTPUT_ROWS_MAX)) + 2;
        let outputs_max = if self.has_nothing(inputs, others)? { 0 } else { outputs_max };
        let outputs_number = u32::try_from(outputs_max).unwrap_or(u32::MAX);
        let compaction = self.log.begin_compaction(&segments, outputs_number)?;
        let copies = Copies {
            compaction,
            outputs: Vec::new(),
            moves: inputs.iter().map(|_| Vec::new()).collect(),
            markers: Vec::new(),
            rewritten: Rewritten::default(),
            dead_upto: Seq(0),
        };
        let mut writer = Writer { shared: self, control, output_bytes, current: None, rows: 0, copies };
        if outputs_max > 0 {
            writer.copy_system(inputs, others)?;
            let sources: Vec<Input<'_>> = inputs.iter().map(|slot| source(slot)).collect();
            let known = self.known_namespaces();
            let rewritten = Rewrite::new(&sources, older(others), known)?.run(&mut writer)?;
            writer.copies.rewritten = rewritten;
        } else {
            writer.copies.rewritten.dropped.dead = rows;
        }
        writer.end_output(true)?;
        let mut copies = writer.copies;
        // Who had displaced a row that was seen to be dead is published: nothing is on its way just now.
        copies.dead_upto = self.log.while_unpublished(|| self.log.published_seq());
        Ok(copies)
    }

    /// Whether nothing of the segments stays: then they are not even read.
    fn has_nothing(&self, inputs: &[Arc<Slot>], others: &[Arc<Slot>]) -> Result<bool> {
        for input in inputs {
            if input.live.live_count() > 0 || input.live.marker_count() > 0 {
                return Ok(false);
            }
            for row in input.rows().system()? {
                if self.stays(&row, others) {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Namespaces that have keys in the index, dropped ones too.
    fn known_namespaces(&self) -> BTreeSet<NamespaceId> {
        let namespaces = &self.keyspace.namespaces;
        // In this order: one that is dropped in between is in both.
        let all = namespaces.all().into_iter();
        all.chain(namespaces.dropped()).map(|namespace| namespace.id).collect()
    }

    /// Whether a record about the store itself has to stay.
    fn stays(&self, row: &SystemRow, others: &[Arc<Slot>]) -> bool {
        let namespaces = &self.keyspace.namespaces;
        let is_pending = |id| namespaces.dropped().iter().any(|dropped| dropped.id == id);
        match row.kind {
            // A later one hides more, and stays in turn.
            RecordKind::Clock => {
                let ms = row.content[..].try_into().map(u64::from_le_bytes).unwrap_or_default();
                ms >= self.keyspace.time_mark_ms()
            }
            RecordKind::NamespaceCreate => {
                let name = std::str::from_utf8(&row.content).unwrap_or_default();
                let is_there = namespaces.get(name).is_some_and(|namespace| namespace.id == row.namespace);
                is_there || is_pending(row.namespace) || may_have_namespace(others, row.namespace)
            }
            // It holds down every record of its namespace, and the one that made it.
            RecordKind::NamespaceDrop => {
                let may_have = guard::on("compact.drop_holds_namespace");
                is_pending(row.namespace) || may_have && may_have_namespace(others, row.namespace)
            }
            _ => true,
        }
    }
}

fn source(slot: &Slot) -> Input<'_> {
    Input { segment: &slot.segment, rows: slot.rows(), live: &slot.live }
}

impl Writer<'_> {
    fn copy_system(&mut self, inputs: &[Arc<Slot>], others: &[Arc<Slot>]) -> Result<()> {
        for slot in inputs {
            for row in slot.rows().system()? {
                if self.shared.stays(&row, others) {
                    let at = Location { segment: slot.segment.id(), offset: row.offset, len: row.len };
                    slot.segment.with_source(at, |source| self.output(row.len)?.push_system(source))?;
                }
            }
        }
        Ok(())
    }

    /// Finishes the output that is being written, if there is one.
    fn end_output(&mut self, is_last: bool) -> Result<()> {
        if let Some(output) = self.current.take() {
            self.rows += output.rows();
            self.copies.outputs.push(self.copies.compaction.finish(output, is_last)?);
        }
        Ok(())
    }
}

impl Sink for Writer<'_> {
    fn output(&mut self, bytes: u32) -> Result<&mut Output> {
        let is_full = |output: &Output| {
            output.bytes() + u64::from(bytes) > self.output_bytes || output.rows() >= OUTPUT_ROWS_MAX
        };
        if self.current.as_ref().is_some_and(is_full) {
            self.end_output(false)?;
        }
        match self.current {
            Some(ref mut output) => Ok(output),
            None => {
                let output = self.shared.log.begin_output(&mut self.copies.compaction)?;
                Ok(self.current.insert(output))
            }
        }
    }

    fn copied(&mut self, copied: Copied, record: &RecordRef<'_>) {
        let row = self.rows + copied.to.0;
        if copied.is_marker {
            self.copies.markers.push(row);
            return;
        }
        let hash = self.shared.keyspace.hash(record.namespace, record.key);
        let Location { offset: from_offset, len, .. } = copied.at;
        if let Some(moves) = self.copies.moves.get_mut(copied.input) {
            moves.push(Move { hash, from: copied.from, from_offset, len, row });
        }
    }

    fn spent(&mut self, bytes: u64) -> Result<()> {
        self.control.spent(bytes)
    }
}
