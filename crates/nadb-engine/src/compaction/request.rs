//! Compactions that somebody asks for: of everything, of a namespace or key range, of chosen segments, or only as an estimate. What
//! is too much for one compaction is done in parts, each installed by itself.

use std::sync::Arc;

use nadb_compact::{Demand, PartBounds, SegmentFacts};
use nadb_core::{CompactionRange, CompactionReport, CompactionRequest, NamespaceId, Result, SegmentId};
use nadb_log::{Direction, RowCursor, RowsCursor};

use super::driver::{Paced, check_no_filter};
use crate::engine::Shared;
use crate::slot::Slot;

/// The most that a part of a request takes of `memory_limit`, beside it, is one of so many parts of that.
const PART_MEMORY_OF_LIMIT: u64 = 4;
/// And it copies at most so many times `memory_limit`: what is given up when it is cancelled.
const PART_BYTES_BY_LIMIT: u64 = 4;

/// What a request comes to.
#[derive(Debug, Default)]
struct Meant {
    /// To be compacted, each by itself, in this order.
    parts: Vec<Vec<SegmentId>>,
    /// Compacting them would gain nothing.
    done: Vec<SegmentId>,
}

impl Shared {
    /// Compacts what a request means, in parts: the active segment too, as far as it is meant. Where there is a filter, it is asked
    /// about every live record that is meant.
    ///
    /// # Errors
    /// As [`Shared::compact_slots`] and [`Shared::filter_copies`]: parts that were done stay so. `InvalidInput` for a namespace's
    /// name that cannot be one, and in a filter.
    pub(crate) fn compact(self: &Arc<Self>, request: &CompactionRequest) -> Result<CompactionReport> {
        check_no_filter()?;
        let begun = self.options.clock.monotonic();
        let meant = self.begin_request(request)?;
        if request.dry_run {
            return Ok(self.estimate(&meant.parts));
        }
        let (mut report, mut paced) = (CompactionReport::default(), Paced::new(self, Some(request)));
        *self.compactor.filter_failure.lock() = None;
        for facts in
            self.facts().iter().filter(|facts| meant.parts.iter().flatten().any(|id| *id == facts.id))
        {
            paced.progress.total_segments += 1;
            paced.progress.total_bytes += facts.file_bytes;
        }
        let mut parts = meant.parts.iter();
        let done = parts.try_for_each(|part| self.compact_part(part, &mut paced, &mut report));
        let done =
            done.and_then(|()| self.filter_copies(&self.slots_of(&meant.done), &mut paced, &mut report));
        match done {
            Err(_) if paced.is_cancelled => report.cancelled = true,
            done => done?,
        }
        report.elapsed = self.options.clock.monotonic().saturating_sub(begun);
        Ok(report)
    }

    /// Seals what is meant, unless it is only about an estimate, and says what is to be done.
    fn begin_request(&self, request: &CompactionRequest) -> Result<Meant> {
        let _running = self.compactor.running.lock();
        if !request.dry_run {
            let _open = self.check_open()?;
            self.end_active()?;
            self.seal_all()?;
        }
        self.check_open_to_read()?;
        self.keyspace.purge_dropped()?;
        self.clear_markers()?;
        self.meant(&request.range)
    }

    /// Compacts one part, asks the filter about it, and lets go of what it replaces.
    fn compact_part(
        self: &Arc<Self>,
        part: &[SegmentId],
        paced: &mut Paced<'_>,
        report: &mut CompactionReport,
    ) -> Result<()> {
        let copies = {
            let _running = self.compactor.running.lock();
            self.check_open_to_read()?;
            // Without those that the compactor has replaced in between: it has done what was to be done.
            let inputs = self.slots_of(part);
            if inputs.is_empty() {
                return Ok(());
            }
            let output_bytes =
                self.policy.output_bytes(self.facts().iter().map(|facts| facts.file_bytes).sum());
            let (done, copies) = self.compact_counted(&inputs, output_bytes, paced)?;
            report.add(&done);
            copies
        };
        // The next part needs the room. What is in use goes later.
        let _ = self.remove_retired();
        self.filter_copies(&copies, paced, report)
    }

    /// Compacts those of some segments that are sealed.
    ///
    /// # Errors
    /// As [`Shared::compact`].
    pub(crate) fn compact_chosen(self: &Arc<Self>, ids: &[u32]) -> Result<CompactionReport> {
        check_no_filter()?;
        let ids: Vec<SegmentId> = ids.iter().copied().map(SegmentId).collect();
        let mut report = CompactionReport::default();
        self.compact_part(&ids, &mut Paced::new(self, None), &mut report)?;
        Ok(report)
    }

    /// Those of some segments that are sealed, and in the list of segments.
    fn slots_of(&self, ids: &[SegmentId]) -> Vec<Arc<Slot>> {
        let slots = self.keyspace.slots();
        let is_meant = |slot: &&Arc<Slot>| slot.segment.is_sealed() && ids.contains(&slot.segment.id());
        slots.iter().filter(is_meant).cloned().collect()
    }

    /// What a compaction of these parts would come to.
    fn estimate(&self, parts: &[Vec<SegmentId>]) -> CompactionReport {
        let mut report = CompactionReport::default();
        for facts in self.slots_of(&parts.concat()).iter().map(|slot| self.facts_of(slot)) {
            report.segments_in += 1;
            report.bytes_before += facts.file_bytes;
            report.bytes_after += facts.kept_bytes();
            report.kept += u64::from(facts.live_rows);
            report.dropped_dead += u64::from(facts.rows.saturating_sub(facts.kept_rows()));
        }
        let all: u64 = self.facts().iter().map(|facts| facts.file_bytes).sum();
        report.segments_out = report.bytes_after.div_ceil(self.policy.output_bytes(all).max(1));
        report.bytes_written = report.bytes_after;
        report.compactions = parts.len() as u64;
        report
    }

    /// What a request is about: all segments that hold any of its keys. Where one compaction can take them all, it does, unless
    /// nothing is to be gained from any of them; else parts are made of those from which something is.
    fn meant(&self, range: &CompactionRange) -> Result<Meant> {
        let slots = self.keyspace.slots();
        let (mut meant, mut facts) = (Vec::new(), Vec::new());
        for slot in slots.iter().filter(|slot| slot.segment.is_sealed()) {
            if self.holds(slot, range)? && !self.compactor.is_unreadable(slot.segment.id()) {
                meant.push(Arc::clone(slot));
                facts.push(self.facts_of(slot));
            }
        }
        let is_done =
            |facts: &SegmentFacts| facts.is_compacted && facts.rows == facts.live_rows && !facts.is_damaged;
        let bounds = self.part_bounds();
        let parts = bounds.divide(&facts);
        if parts.len() > 1 || facts.iter().all(is_done) && is_one_run(&meant)? {
            let (done, to_do): (Vec<SegmentFacts>, Vec<_>) = facts.into_iter().partition(is_done);
            return Ok(Meant {
                parts: bounds.divide(&to_do),
                done: done.iter().map(|facts| facts.id).collect(),
            });
        }
        Ok(Meant { parts, done: Vec::new() })
    }

    /// The most that one part of a request takes.
    fn part_bounds(&self) -> PartBounds {
        let limit = self.options.memory_limit;
        PartBounds {
            memory_bytes: limit / PART_MEMORY_OF_LIMIT,
            kept_bytes: limit.saturating_mul(PART_BYTES_BY_LIMIT).min(self.moment(Demand::AtRest).room_bytes),
        }
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
