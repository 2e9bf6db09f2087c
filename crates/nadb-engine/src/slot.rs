//! A segment as the engine sees it: the file, its rows, and which of them are live.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use nadb_core::{Error, Location, Ordinal, Result, SegmentId, Seq, guard};
use nadb_index::{AccessTimes, LiveSet};
use nadb_log::{Footer, FrameBody, Memtable, Placed, Row, Rows, Segment, SystemRow};
use parking_lot::RwLock;

/// One segment.
pub(crate) struct Slot {
    pub(crate) segment: Arc<Segment>,
    /// Which rows are live, by ordinal: an ordinal stays the same when the rows move from memtable to footer.
    pub(crate) live: LiveSet,
    /// When its records were last read, by their offsets.
    pub(crate) access: AccessTimes,
    /// Set once that has what the segment's access file says.
    pub(crate) access_loaded: OnceLock<()>,
    /// What the accounts of memory have of its rows.
    pub(crate) noted_bytes: AtomicUsize,
    /// When the compactor last looked at its markers: how many segments had gone by then, and one.
    pub(crate) markers_seen: AtomicU64,
    /// Where its live rows are now, once a compaction has copied them.
    forward: OnceLock<Forward>,
    /// No live row that was not looked at for its expiry expires before this, in Unix milliseconds. 0 while nothing is known.
    next_expiry: AtomicU64,
    rows: RwLock<Rows>,
}

/// Where a compaction has put the rows of a segment. It goes with the slot.
#[derive(Debug)]
pub(crate) struct Forward {
    /// The compaction's outputs, with the number of the first row of each, counted over all of them.
    pub(crate) outputs: Arc<[(u32, Arc<Slot>)]>,
    /// By ordinal of the segment.
    pub(crate) targets: Vec<Target>,
}

/// Where a row was copied to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// The row, counted over all outputs of the compaction.
    pub(crate) row: u32,
    /// Where its record begins there.
    pub(crate) offset: u32,
}

impl Target {
    /// Of a row that was not copied as a live one.
    pub(crate) const NONE: Target = Target { row: u32::MAX, offset: 0 };
}

impl Forward {
    fn find(&self, ordinal: Ordinal) -> Option<(&Arc<Slot>, Ordinal, u32)> {
        let target = self.targets.get(ordinal.0 as usize).filter(|target| **target != Target::NONE)?;
        let output = self.outputs.partition_point(|(first, _)| *first <= target.row).checked_sub(1)?;
        let (first, slot) = self.outputs.get(output)?;
        Some((slot, Ordinal(target.row - first), target.offset))
    }
}

/// What the rows of a frame have come to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Appended {
    /// The ordinal of the first.
    pub(crate) first: Ordinal,
    /// The memory of all of the segment's rows.
    pub(crate) held: usize,
    /// When the first of the frame's rows expires; `u64::MAX` for never.
    pub(crate) expires_ms: u64,
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slot({})", self.segment.id())
    }
}

impl Slot {
    pub(crate) fn new(segment: &Arc<Segment>, rows: Rows) -> Arc<Slot> {
        Slot::with_live(segment, rows, LiveSet::new())
    }

    pub(crate) fn with_live(segment: &Arc<Segment>, rows: Rows, live: LiveSet) -> Arc<Slot> {
        Arc::new(Slot {
            segment: Arc::clone(segment),
            live,
            access: AccessTimes::new(),
            access_loaded: OnceLock::new(),
            noted_bytes: AtomicUsize::new(0),
            markers_seen: AtomicU64::new(0),
            forward: OnceLock::new(),
            next_expiry: AtomicU64::new(0),
            rows: RwLock::new(rows),
        })
    }

    /// A slot of a segment without rows.
    pub(crate) fn empty(segment: &Arc<Segment>) -> Arc<Slot> {
        let slot = Slot::new(segment, Rows::none());
        slot.next_expiry.store(u64::MAX, Ordering::Release);
        slot
    }

    /// When the next row may expire; `u64::MAX` for never.
    pub(crate) fn next_expiry(&self) -> u64 {
        self.next_expiry.load(Ordering::Acquire)
    }

    /// A live row expires then. Said once it is live: who looks for rows before that does not find it.
    pub(crate) fn note_expiry(&self, expires_ms: u64) {
        self.next_expiry.fetch_min(expires_ms, Ordering::AcqRel);
    }

    /// When rows may have expired from on, if that is not after `now_ms`. Whoever takes it looks at all of them, and notes the next
    /// one; what is noted meanwhile stays noted.
    pub(crate) fn take_next_expiry(&self, now_ms: u64) -> Option<u64> {
        if self.next_expiry() > now_ms {
            return None;
        }
        Some(self.next_expiry.swap(u64::MAX, Ordering::AcqRel))
    }

    /// From now on whoever changes one of its rows changes the copy, too: said while nothing is published.
    pub(crate) fn set_forward(&self, forward: Forward) {
        let _ = self.forward.set(forward);
    }

    /// The copy that a compaction has made of a live row: slot, row, and where its record begins.
    #[inline]
    pub(crate) fn moved(&self, ordinal: Ordinal) -> Option<(&Arc<Slot>, Ordinal, u32)> {
        self.forward.get()?.find(ordinal)
    }

    /// Where its rows are now; they stay readable there whatever happens to the slot.
    pub(crate) fn rows(&self) -> Rows {
        self.rows.read().clone()
    }

    /// The rows are in the footer from now on.
    pub(crate) fn seal(&self, footer: Footer) {
        *self.rows.write() = Rows::Footer(Arc::new(footer));
    }

    /// Adds the rows of a frame.
    pub(crate) fn append(&self, body: &FrameBody, placed: &Placed) -> Appended {
        let rows = self.rows.read();
        let first = Ordinal(rows.len());
        let mut expires_ms = u64::MAX;
        if let Rows::Memtable(memtable) = &*rows {
            for (index, (at, mut record)) in (0u64..).zip(body.records()) {
                record.seq = placed.first_seq.plus(index);
                let offset = placed.body_offset + at;
                if let Some(row) = Row::of(&record, offset) {
                    expires_ms = expires_ms.min(row.meta.expires_ms.unwrap_or(u64::MAX));
                    memtable.push(&row);
                } else if let Some(row) = SystemRow::of(&record, offset) {
                    memtable.push_system(row);
                }
            }
        }
        Appended { first, held: rows.memtable().map_or(0, Memtable::held_bytes), expires_ms }
    }

    /// The row of the record at a place that the index names.
    pub(crate) fn ordinal_of(&self, at: Location) -> Result<Ordinal> {
        if self.rows.read().is_waiting() {
            // The file is looked at, which is nothing to do under a lock.
            self.rows().now()?;
        }
        self.rows.read().ordinal_of(at.offset)?.ok_or_else(|| {
            let what = "the index names a record here, but the segment has no row for it";
            Error::corruption(self.segment.path(), u64::from(at.offset), what)
        })
    }

    /// Whether a view at this watermark has the row, expired or not.
    pub(crate) fn has(&self, rows: &Rows, ordinal: Ordinal, watermark: Seq) -> Result<bool> {
        let is_of_then = self.is_wholly_upto(watermark)
            || rows.seq(ordinal)? <= watermark
            || !guard::on("view.later_rows_hidden");
        Ok(is_of_then && self.live.is_live_at(ordinal, watermark))
    }

    /// Whether no row has a number above the watermark: so of every segment but the last ones of a view, and of all of them while
    /// nobody writes. A segment counts a record before its row can be seen.
    fn is_wholly_upto(&self, watermark: Seq) -> bool {
        self.segment.seq_range().is_some_and(|(_, last)| last <= watermark)
    }

    /// The place of a row's record.
    pub(crate) fn location(&self, rows: &Rows, ordinal: Ordinal) -> Result<Location> {
        let meta = rows.meta(ordinal)?;
        Ok(Location { segment: self.segment.id(), offset: meta.offset, len: meta.len })
    }
}

/// All segments, in the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct SlotTable {
    slots: Arc<[Arc<Slot>]>,
    /// Segments that a compaction has replaced, while the index may still name them.
    leaving: Vec<Arc<Slot>>,
}

impl SlotTable {
    pub(crate) fn new(mut slots: Vec<Arc<Slot>>) -> SlotTable {
        slots.sort_by_key(|slot| slot.segment.id());
        SlotTable { slots: slots.into(), leaving: Vec::new() }
    }

    #[inline]
    pub(crate) fn get(&self, id: SegmentId) -> Option<&Arc<Slot>> {
        match self.slots.binary_search_by_key(&id, |slot| slot.segment.id()) {
            Ok(at) => self.slots.get(at),
            Err(_) => self.leaving.iter().find(|slot| slot.segment.id() == id),
        }
    }

    pub(crate) fn all(&self) -> Arc<[Arc<Slot>]> {
        Arc::clone(&self.slots)
    }

    /// The same with one more.
    pub(crate) fn with(&self, slot: Arc<Slot>) -> SlotTable {
        let all = self.slots.iter().cloned().chain([slot]).collect();
        SlotTable { leaving: self.leaving.clone(), ..SlotTable::new(all) }
    }

    /// The same with some in the place of others, which leave.
    pub(crate) fn replaced(&self, old: &[Arc<Slot>], new: &[Arc<Slot>]) -> SlotTable {
        let goes = |slot: &&Arc<Slot>| old.iter().any(|old| Arc::ptr_eq(old, slot));
        let stay = self.slots.iter().filter(|slot| !goes(slot));
        let all = stay.chain(new).cloned().collect();
        SlotTable { leaving: self.leaving.iter().chain(old).cloned().collect(), ..SlotTable::new(all) }
    }

    /// The same without those that were leaving: nothing names them any more.
    pub(crate) fn without_leaving(&self) -> SlotTable {
        SlotTable { slots: Arc::clone(&self.slots), leaving: Vec::new() }
    }
}
