//! Compactions that somebody asks for: of everything, of a namespace or key range, of chosen segments, or only as an estimate.

use std::sync::Arc;

use nadb_core::{CompactionRange, CompactionReport, CompactionRequest, NamespaceId, Result};
use nadb_log::{Direction, RowCursor, RowsCursor};

use super::driver::Paced;
use crate::engine::Shared;
use crate::slot::Slot;

impl Shared {
    /// Compacts what a request means: the active segment too, as far as it is meant.
    ///
    /// # Errors
    /// As [`Shared::compact_slots`]; `InvalidInput` for a namespace's name that cannot be one.
    pub(crate) fn compact(&self, request: &CompactionRequest) -> Result<CompactionReport> {
        let _running = self.compactor.running.lock();
        let begun = self.options.clock.monotonic();
        if !request.dry_run {
            let _open = self.check_open()?;
            self.end_active()?;
            self.seal_all()?;
        }
        self.check_open_to_read()?;
        self.keyspace.purge_dropped()?;
        self.clear_markers()?;
        let meant = self.meant(&request.range)?;
        let (mut report, mut paced) = (CompactionReport::default(), Paced::new(self, Some(request)));
        if meant.is_empty() {
            return Ok(report);
        }
        paced.progress.total_segments = meant.len() as u64;
        paced.progress.total_bytes = meant.iter().map(|slot| slot.segment.file_bytes()).sum();
        if request.dry_run {
            return Ok(self.estimate(&meant));
        }
        let output_bytes = self.policy.output_bytes(self.facts().iter().map(|facts| facts.file_bytes).sum());
        let done = self.compact_counted(&meant, output_bytes, &mut paced);
        match done {
            Ok(done) => report = done,
            Err(_) if paced.is_cancelled => report.cancelled = true,
            Err(error) => return Err(error),
        }
        report.elapsed = self.options.clock.monotonic().saturating_sub(begun);
        Ok(report)
    }

    /// Compacts those of some segments that are sealed.
    ///
    /// # Errors
    /// As [`Shared::compact_slots`].
    pub(crate) fn compact_chosen(&self, ids: &[u32]) -> Result<CompactionReport> {
        let _running = self.compactor.running.lock();
        let slots = self.keyspace.slots();
        let is_meant = |slot: &&Arc<Slot>| slot.segment.is_sealed() && ids.contains(&slot.segment.id().0);
        let inputs: Vec<Arc<Slot>> = slots.iter().filter(is_meant).cloned().collect();
        if inputs.is_empty() {
            return Ok(CompactionReport::default());
        }
        let output_bytes = self.policy.output_bytes(self.facts().iter().map(|facts| facts.file_bytes).sum());
        self.compact_counted(&inputs, output_bytes, &mut Paced::new(self, None))
    }

    /// What a compaction of these segments would come to.
    fn estimate(&self, slots: &[Arc<Slot>]) -> CompactionReport {
        let mut report = CompactionReport::default();
        for facts in slots.iter().map(|slot| self.facts_of(slot)) {
            report.segments_in += 1;
            report.bytes_before += facts.file_bytes;
            report.bytes_after += facts.kept_bytes();
            report.kept += u64::from(facts.live_rows);
            report.dropped_dead += u64::from(facts.rows.saturating_sub(facts.kept_rows()));
        }
        let all: u64 = self.facts().iter().map(|facts| facts.file_bytes).sum();
        report.segments_out = report.bytes_after.div_ceil(self.policy.output_bytes(all).max(1));
        report.bytes_written = report.bytes_after;
        report.compactions = 1;
        report
    }

    /// The segments that a request is about: all that hold any of its keys, unless nothing is to be gained from any of them.
    fn meant(&self, range: &CompactionRange) -> Result<Vec<Arc<Slot>>> {
        let slots = self.keyspace.slots();
        let mut meant: Vec<Arc<Slot>> = Vec::new();
        for slot in slots.iter().filter(|slot| slot.segment.is_sealed()) {
            if self.holds(slot, range)? && !self.compactor.is_unreadable(slot.segment.id()) {
                meant.push(Arc::clone(slot));
            }
        }
        let is_done = meant.iter().all(|slot| {
            let facts = self.facts_of(slot);
            facts.is_compacted && u64::from(facts.rows) == u64::from(facts.live_rows) && !facts.is_damaged
        });
        if is_done && is_one_run(&meant)? {
            meant.clear();
        }
        Ok(meant)
    }

    /// Whether a segment holds keys of a range.
    fn holds(&self, slot: &Slot, range: &CompactionRange) -> Result<bool> {
        let (name, from, to) = match range {
            CompactionRange::Namespace(name) => (name, &[][..], None),
            CompactionRange::Keys { namespace, from, to } => (namespace, &from[..], to.as_deref()),
            _ => return Ok(true),
        };
        nadb_core::limits::check_namespace(name)?;
        let Some(namespace) = self.keyspace.namespaces.get(name) else { return Ok(false) };
        let cursors = slot.rows().cursors(namespace.id, from, Direction::Forward)?;
        Ok(cursors
            .iter()
            .filter_map(|cursor| cursor.key())
            .any(|(id, key)| id == namespace.id && to.is_none_or(|to| key < to)))
    }
}

/// Whether the keys of segments stand in one order, each of them wholly before the next one.
fn is_one_run(slots: &[Arc<Slot>]) -> Result<bool> {
    let mut ends = Vec::new();
    for slot in slots {
        let rows = slot.rows();
        let first = rows.cursors(NamespaceId(0), b"", Direction::Forward)?;
        let last = rows.cursors(NamespaceId(u32::MAX), b"", Direction::Backward)?;
        if first.len() > 1 {
            return Ok(false);
        }
        let owned = |cursor: &RowsCursor| cursor.key().map(|(id, key)| (id, key.to_vec()));
        if let (Some(first), Some(last)) = (first.first().and_then(owned), last.first().and_then(owned)) {
            ends.push((first, last));
        }
    }
    ends.sort_unstable();
    Ok(ends.windows(2).all(|two| matches!(two, [one, next] if one.1 < next.0)))
}
