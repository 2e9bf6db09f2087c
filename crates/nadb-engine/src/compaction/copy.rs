//! The first step: rows that stay are copied into new segments, which nobody knows of yet.
//!
//! Records that expire together go into segments of their own, which then become empty without being read. So several outputs may be
//! open at a time, each of which is in key order; what never expires, markers, and records about the store itself share one.

use std::collections::BTreeSet;
use std::sync::Arc;

use nadb_compact::{Copied, ExpiryGroup, Input, Rewrite, Rewritten, Sink};
use nadb_core::{Error, KeyHash, Location, NamespaceId, Ordinal, Result, Seq, guard};
use nadb_log::{Compacted, Compaction, Output, RecordKind, RecordRef, SystemRow};

use super::{Control, may_have_namespace, older};
use crate::engine::Shared;
use crate::slot::Slot;

/// Rows of all outputs that are being written, at most: memory has some 100 bytes for each.
const OUTPUT_ROWS_MAX: u32 = 1 << 20;
/// While rows are copied they are numbered within their stream, in so many bits; above them stands the stream.
const STREAM_ROW_BITS: u32 = 28;
const STREAM_ROWS_MAX: u32 = 1 << STREAM_ROW_BITS;

/// Copies that wait to be installed.
pub(super) struct Copies {
    pub(super) compaction: Compaction,
    /// In the order in which their rows are counted.
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

/// The namespaces at one moment of a compaction. The record that makes one must not stay without that which drops it, so of both the same is
/// said, although the last key may leave the index between the two.
pub(super) struct NamespacesThen {
    there: BTreeSet<NamespaceId>,
    /// With keys that may still be in the index.
    dropped: BTreeSet<NamespaceId>,
}

/// Takes what is copied.
struct Writer<'a> {
    shared: &'a Shared,
    control: &'a mut dyn Control,
    output_bytes: u64,
    division: Division,
    streams: Vec<Stream>,
    copies: Copies,
}

/// Outputs of records that expire together, one behind the other.
#[derive(Default)]
struct Stream {
    current: Option<Output>,
    finished: Vec<Compacted>,
    /// Rows of those.
    rows: u32,
}

/// Which stream a record goes to.
#[derive(Debug, Clone, Copy)]
struct Division {
    by_group: [usize; ExpiryGroup::COUNT],
    /// What the groups were counted by.
    now_ms: u64,
}

impl Division {
    fn streams(&self) -> usize {
        self.lasting() + 1
    }

    /// The stream of what never expires, which is the last one.
    fn lasting(&self) -> usize {
        self.by_group.last().copied().unwrap_or_default()
    }

    fn stream_of(&self, record: &RecordRef<'_>, is_marker: bool) -> usize {
        if is_marker {
            return self.lasting();
        }
        let group = ExpiryGroup::of(record.expires_ms, self.now_ms);
        self.by_group.get(group.index()).copied().unwrap_or_default()
    }
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
        let division = self.division(inputs, output_bytes)?;
        let streams = division.streams() as u64;
        // Of two outputs of a stream that follow each other at least one is half full.
        let outputs_max =
            2 * (bytes / output_bytes + rows * streams / u64::from(OUTPUT_ROWS_MAX)) + 1 + streams;
        let then = self.namespaces_now();
        let outputs_max = if self.has_nothing(inputs, others, &then)? { 0 } else { outputs_max };
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
        let streams = (0..streams).map(|_| Stream::default()).collect();
        let mut writer = Writer { shared: self, control, output_bytes, division, streams, copies };
        if outputs_max > 0 {
            writer.copy_system(inputs, others, &then)?;
            let sources: Vec<Input<'_>> = inputs.iter().map(|slot| source(slot)).collect();
            let known = self.known_namespaces();
            let rewritten = Rewrite::new(&sources, older(others), known)?.run(&mut writer)?;
            writer.copies.rewritten = rewritten;
        } else {
            writer.copies.rewritten.dropped.dead = rows;
        }
        let mut copies = writer.finish()?;
        // Who had displaced a row that was seen to be dead is published: nothing is on its way just now.
        copies.dead_upto = self.log.while_unpublished(|| self.log.published_seq());
        Ok(copies)
    }

    /// Which records go together, by what the segments have of each group. It is looked at once and need not be exact.
    fn division(&self, inputs: &[Arc<Slot>], output_bytes: u64) -> Result<Division> {
        let now_ms = self.now_ms();
        let mut bytes = [0_u64; ExpiryGroup::COUNT];
        for slot in inputs.iter().filter(|slot| slot.live.live_count() > 0) {
            let row_bytes = (slot.live.live_bytes() / slot.live.live_count()).max(1);
            let mut expiring = 0;
            for part in slot.rows().parts()? {
                part.expiring(0, u64::MAX, &mut |ordinal, expires_ms| {
                    let group = ExpiryGroup::of(Some(expires_ms), now_ms);
                    if let Some(bytes) = bytes.get_mut(group.index()).filter(|_| slot.live.is_live(ordinal)) {
                        *bytes += row_bytes;
                        expiring += row_bytes;
                    }
                    true
                })?;
            }
            if let Some(bytes) = bytes.get_mut(ExpiryGroup::NEVER.index()) {
                *bytes += slot.live.live_bytes().saturating_sub(expiring);
            }
        }
        Ok(Division { by_group: ExpiryGroup::outputs(&bytes, output_bytes), now_ms })
    }

    /// Whether nothing of the segments stays: then they are not even read.
    fn has_nothing(&self, inputs: &[Arc<Slot>], others: &[Arc<Slot>], then: &NamespacesThen) -> Result<bool> {
        for input in inputs {
            if input.live.live_count() > 0 || input.live.marker_count() > 0 {
                return Ok(false);
            }
            for row in input.rows().system()? {
                if self.stays(&row, others, then) {
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

    /// The namespaces, for [`Shared::stays`].
    pub(super) fn namespaces_now(&self) -> NamespacesThen {
        let namespaces = &self.keyspace.namespaces;
        // In this order: one that is dropped in between is in both.
        let there = namespaces.all().iter().map(|namespace| namespace.id).collect();
        let dropped = namespaces.dropped().iter().map(|namespace| namespace.id).collect();
        NamespacesThen { there, dropped }
    }

    /// Whether a record about the store itself has to stay.
    pub(super) fn stays(&self, row: &SystemRow, others: &[Arc<Slot>], then: &NamespacesThen) -> bool {
        let is_pending = |id| then.dropped.contains(&id);
        match row.kind {
            // A later one hides more, and stays in turn.
            RecordKind::Clock => {
                let ms = row.content[..].try_into().map(u64::from_le_bytes).unwrap_or_default();
                ms >= self.keyspace.time_mark_ms()
            }
            RecordKind::NamespaceCreate => {
                then.there.contains(&row.namespace)
                    || is_pending(row.namespace)
                    || may_have_namespace(others, row.namespace)
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
    fn copy_system(
        &mut self,
        inputs: &[Arc<Slot>],
        others: &[Arc<Slot>],
        then: &NamespacesThen,
    ) -> Result<()> {
        for slot in inputs {
            for row in slot.rows().system()? {
                if self.shared.stays(&row, others, then) {
                    let at = Location { segment: slot.segment.id(), offset: row.offset, len: row.len };
                    slot.segment
                        .with_source(at, |source| self.output(&source.record, true)?.push_system(source))?;
                }
            }
        }
        Ok(())
    }

    /// Finishes the output of a stream that is being written, if there is one.
    fn end_output(&mut self, stream: usize, is_last: bool) -> Result<()> {
        let Some(stream) = self.streams.get_mut(stream) else { return Ok(()) };
        if let Some(output) = stream.current.take() {
            stream.rows += output.rows();
            stream.finished.push(self.copies.compaction.finish(output, is_last)?);
        }
        Ok(())
    }

    /// Finishes all outputs, and numbers their rows over all streams.
    fn finish(mut self) -> Result<Copies> {
        let last = self.streams.iter().rposition(|stream| stream.current.is_some());
        for stream in 0..self.streams.len() {
            self.end_output(stream, Some(stream) == last)?;
        }
        let (mut firsts, mut first) = (Vec::with_capacity(self.streams.len()), 0_u32);
        for stream in self.streams {
            firsts.push(first);
            first = first.checked_add(stream.rows).ok_or_else(too_many_rows)?;
            self.copies.outputs.extend(stream.finished);
        }
        let number = |row: &mut u32| {
            let first = firsts.get((*row >> STREAM_ROW_BITS) as usize).copied().unwrap_or_default();
            *row = first + (*row & (STREAM_ROWS_MAX - 1));
        };
        self.copies.moves.iter_mut().flatten().for_each(|copy| number(&mut copy.row));
        self.copies.markers.iter_mut().for_each(number);
        Ok(self.copies)
    }
}

fn too_many_rows() -> Error {
    Error::limit("one compaction cannot copy so many records")
}

impl Sink for Writer<'_> {
    fn output(&mut self, record: &RecordRef<'_>, is_marker: bool) -> Result<&mut Output> {
        let at = self.division.stream_of(record, is_marker);
        let rows_max = OUTPUT_ROWS_MAX / u32::try_from(self.streams.len()).unwrap_or(u32::MAX).max(1);
        let is_full = |output: &Output| {
            output.bytes() + record.len() as u64 > self.output_bytes || output.rows() >= rows_max
        };
        if self.streams.get(at).and_then(|stream| stream.current.as_ref()).is_some_and(is_full) {
            self.end_output(at, false)?;
        }
        let Some(stream) =
            self.streams.get_mut(at).filter(|stream| stream.rows < STREAM_ROWS_MAX - OUTPUT_ROWS_MAX)
        else {
            return Err(too_many_rows());
        };
        match stream.current {
            Some(ref mut output) => Ok(output),
            None => {
                let output = self.shared.log.begin_output(&mut self.copies.compaction)?;
                Ok(stream.current.insert(output))
            }
        }
    }

    fn copied(&mut self, copied: Copied, record: &RecordRef<'_>) {
        let at = self.division.stream_of(record, copied.is_marker);
        let before = self.streams.get(at).map_or(0, |stream| stream.rows);
        let number = u32::try_from(at).unwrap_or_default() << STREAM_ROW_BITS;
        let row = number | (before + copied.to.0);
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
