//! What the policy is told of each segment: counts that are in memory anyway. No footer is opened for it that nobody has needed.

use std::sync::Arc;

use nadb_compact::{Demand, Moment, SegmentFacts};
use nadb_core::{Ordinal, Seq};
use nadb_log::{Rows, SEGMENT_HEADER};

use crate::engine::Shared;
use crate::slot::Slot;

/// What a frame with one small record takes beside it.
const FRAME_BYTES: u64 = 24;

impl Shared {
    /// All segments.
    pub(super) fn facts(&self) -> Vec<SegmentFacts> {
        self.keyspace.slots().iter().map(|slot| self.facts_of(slot)).collect()
    }

    pub(super) fn facts_of(&self, slot: &Arc<Slot>) -> SegmentFacts {
        let segment = &slot.segment;
        let all_rows = slot.rows();
        let rows = all_rows.len();
        let file_bytes = segment.file_bytes();
        let footer_bytes = segment.extent().map_or_else(
            // Some ten bytes a row, as measured; it has none yet.
            || u64::from(rows) * 10,
            |extent| u64::from(extent.file_len - extent.frames_end),
        );
        let is_held = !segment.is_sealed() || self.compactor.is_unreadable(segment.id());
        if rows == 0 && segment.is_sealed() {
            // Records about the store itself: they stay, and are joined with others like any small segment.
            let (rows, row_bytes) = (1, file_bytes.saturating_sub(footer_bytes));
            return SegmentFacts {
                id: segment.id(),
                file_bytes,
                footer_bytes,
                rows,
                row_bytes,
                live_rows: rows,
                live_bytes: row_bytes,
                is_compacted: true,
                is_held,
                ..SegmentFacts::default()
            };
        }
        let frames = segment.bytes().saturating_sub(u64::from(SEGMENT_HEADER));
        let headers = if segment.is_compacted() { 0 } else { FRAME_BYTES * u64::from(rows) };
        let live_rows = u32::try_from(slot.live.live_count()).unwrap_or(u32::MAX);
        SegmentFacts {
            id: segment.id(),
            file_bytes: if segment.is_sealed() { file_bytes } else { file_bytes + footer_bytes },
            footer_bytes,
            rows,
            row_bytes: frames.saturating_sub(headers).max(slot.live.live_bytes()),
            live_rows,
            live_bytes: slot.live.live_bytes(),
            markers: u32::try_from(slot.live.marker_count()).unwrap_or(u32::MAX),
            last_seq: segment.seq_range().map_or(Seq(0), |(_, last)| last),
            written_ms: written_ms(&all_rows).unwrap_or_else(|| self.now_ms()),
            all_expire_by_ms: all_expire_by(&all_rows),
            is_compacted: segment.is_compacted(),
            is_damaged: segment.is_sealed() && (all_rows.is_rebuilt() || all_rows.memtable().is_some()),
            is_held,
            ..SegmentFacts::default()
        }
    }

    /// The circumstances of a decision.
    pub(super) fn moment(&self, demand: Demand) -> Moment {
        let room = self
            .log
            .available()
            .map_or(u64::MAX, |bytes| bytes.saturating_sub(self.options.compaction_room_left));
        Moment { now_ms: self.now_ms(), newest_seq: self.log.published_seq(), room_bytes: room, demand }
    }
}

/// When the last of some rows was written.
fn written_ms(rows: &Rows) -> Option<u64> {
    let last = rows.len().checked_sub(1).filter(|_| !rows.is_waiting())?;
    // In key order any of them may be the newest; a few tell enough.
    let some = [0, last / 4, last / 2, last - last / 4, last];
    some.iter().filter_map(|ordinal| rows.meta(Ordinal(*ordinal)).ok()).map(|meta| meta.updated_ms).max()
}

/// Where every row has an expiry: the last of them.
fn all_expire_by(rows: &Rows) -> Option<u64> {
    if rows.is_waiting() || rows.memtable().is_some() {
        return None;
    }
    let parts = rows.parts().ok()?;
    let ends = parts.iter().map(|part| part.all_expire_by().ok().flatten()).collect::<Option<Vec<u64>>>()?;
    ends.into_iter().max()
}
