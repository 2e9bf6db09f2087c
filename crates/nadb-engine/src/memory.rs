//! What the store holds in memory beside its index, and that it stays within `memory_limit`.
//!
//! Of the limit an eighth is for buffers and for what is not counted. The rest is eight shares: the rows of the active segment
//! may take one, then the segment is ended early; full segments and batches on their way may take four more, then writers
//! wait; three are for the sealing of one segment, which nobody waits with. What follows the number of keys (index, live
//! bits, footers that are not mapped) and what snapshots ask for is counted elsewhere and is not limited.
//!
//! It promises nothing that needs exactness: rows are noted some KiB late, and single writes and small batches are not counted
//! before their rows are. It leaves to `sealing.rs` who waits and for how long, and to the log how a segment is ended.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use nadb_core::{Action, Error, Operation, Result, SegmentId, TagsUpdate, WriteBatch, guard};

use crate::slot::Slot;

/// The least that can be chosen.
pub const MEMORY_LIMIT_MIN: u64 = 8 << 20;
/// What is chosen where nothing is said.
pub(crate) const MEMORY_LIMIT: u64 = 256 << 20;

/// Batches that take no more than this are written without being counted.
pub(crate) const UNCOUNTED_MAX: u64 = 64 << 10;
/// Rows are noted in steps of about so many bytes.
const NOTE_BYTES: usize = 16 << 10;

/// Sealing takes at most so many times the memory of the rows that it seals: measured for keys of 8 to 200 bytes.
pub(crate) const SEALING_FACTOR: usize = 3;
/// Shares of the limit, of which there are eight: full segments and batches, with the active segment's one.
const SHARES_FOR_WRITES: u64 = 5;
/// What an operation of a batch takes beside its record: change, outcome, place in the frame, entry among the touched keys.
const OPERATION_BYTES: u64 = 200;
/// What an operation adds to a memtable beside its key, and to its frame beside what it says.
const ROW_BYTES: u64 = 64;

/// The accounts of one store.
#[derive(Debug)]
pub(crate) struct Memory {
    /// Bytes of rows after which the active segment is ended.
    share: AtomicU64,
    /// Rows of segments that are not sealed, as they were noted. Wraps while a seal and a note pass each other.
    memtables: AtomicU64,
    /// What the sealing of those segments takes that have more than their share, beyond what is always kept for sealing.
    excess: AtomicU64,
    /// Batches on their way.
    frames: AtomicU64,
    sealing: AtomicUsize,
    /// The active segment if its rows have had their share; 0 for none.
    to_end: AtomicU32,
    /// The active segment has had half of its share.
    is_half: AtomicBool,
    /// Large batches that wait; while one does, nobody passes it.
    in_line: AtomicUsize,
    /// Whether a writer has to look closely before it goes on.
    is_pressed: AtomicBool,
}

/// The limit in shares.
fn share_of(limit: u64) -> u64 {
    (limit - limit / 8) / 8
}

impl Memory {
    /// Accounts with this limit.
    pub(crate) fn new(limit: u64) -> Memory {
        Memory {
            share: AtomicU64::new(share_of(limit)),
            memtables: AtomicU64::new(0),
            excess: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            sealing: AtomicUsize::new(0),
            to_end: AtomicU32::new(0),
            is_half: AtomicBool::new(false),
            in_line: AtomicUsize::new(0),
            is_pressed: AtomicBool::new(false),
        }
    }

    /// Another limit: before anything is written.
    pub(crate) fn set_limit(&self, limit: u64) {
        self.share.store(share_of(limit), Ordering::Relaxed);
    }

    fn share(&self) -> u64 {
        self.share.load(Ordering::Relaxed)
    }

    /// Bytes of full segments, the active one, and batches on their way, at most.
    fn for_writes(&self) -> u64 {
        self.share() * SHARES_FOR_WRITES
    }

    /// The largest batch: what is there when all segments are sealed and the active one is nearly empty.
    fn batch_max(&self) -> u64 {
        self.for_writes() - self.share() / 2
    }

    pub(crate) fn memtable_bytes(&self) -> u64 {
        at_least_zero(&self.memtables)
    }

    /// Bytes that are taken, or have to be kept, of those for writes.
    fn taken(&self) -> u64 {
        self.memtable_bytes() + at_least_zero(&self.excess) + self.frame_bytes()
    }

    /// What sealing so many bytes of rows takes beyond what is always kept for it.
    fn excess_of(&self, rows: usize) -> u64 {
        (rows as u64).saturating_sub(self.share()).saturating_mul(SEALING_FACTOR as u64)
    }

    /// The rows of a segment take so many bytes now, instead of those.
    fn change(&self, before: usize, now: usize) {
        self.memtables.fetch_add((now as u64).wrapping_sub(before as u64), Ordering::Relaxed);
        let excess = self.excess_of(now).wrapping_sub(self.excess_of(before));
        if excess != 0 {
            self.excess.fetch_add(excess, Ordering::Relaxed);
        }
    }

    pub(crate) fn frame_bytes(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub(crate) fn sealing_bytes(&self) -> u64 {
        self.sealing.load(Ordering::Relaxed) as u64
    }

    /// Notes the rows of a segment that frames come to; called in the order of publication, by one thread at a time.
    #[inline]
    pub(crate) fn note(&self, slot: &Slot, held: usize) {
        if held.abs_diff(slot.noted_bytes.load(Ordering::Relaxed)) >= NOTE_BYTES {
            self.note_now(slot, held);
        }
    }

    #[cold]
    pub(crate) fn note_now(&self, slot: &Slot, held: usize) {
        let before = slot.noted_bytes.swap(held, Ordering::Relaxed);
        self.change(before, held);
        let share = self.share();
        if held as u64 >= share / 2 {
            self.is_half.store(true, Ordering::Relaxed);
        }
        if held as u64 >= share && guard::on("memory.segments_end_early") {
            self.to_end.store(slot.segment.id().0, Ordering::Relaxed);
        }
        self.judge();
    }

    /// The rows of a segment are in its footer now.
    pub(crate) fn forget(&self, slot: &Slot) {
        self.change(slot.noted_bytes.swap(0, Ordering::Relaxed), 0);
        self.judge();
    }

    /// Notes what the sealing of so many bytes of rows takes; 0 afterwards.
    pub(crate) fn note_sealing(&self, rows: usize) {
        self.sealing.store(rows.saturating_mul(SEALING_FACTOR), Ordering::Relaxed);
    }

    /// Whether a spare is wanted early; says so once.
    pub(crate) fn take_half(&self) -> bool {
        self.is_half.load(Ordering::Relaxed) && self.is_half.swap(false, Ordering::Relaxed)
    }

    /// The segment that is to be ended because of its rows.
    pub(crate) fn to_end(&self) -> Option<SegmentId> {
        Some(SegmentId(self.to_end.load(Ordering::Relaxed))).filter(|id| id.0 != 0)
    }

    /// That segment has been ended.
    pub(crate) fn ended(&self, id: SegmentId) {
        let _ = self.to_end.compare_exchange(id.0, 0, Ordering::Relaxed, Ordering::Relaxed);
        self.judge();
    }

    /// Whether a writer has to look closely before it goes on.
    #[inline]
    pub(crate) fn is_pressed(&self) -> bool {
        self.is_pressed.load(Ordering::Relaxed)
    }

    fn judge(&self) {
        let is_pressed = self.to_end().is_some()
            || self.in_line.load(Ordering::Relaxed) > 0
            || self.taken() > self.for_writes();
        self.is_pressed.store(is_pressed, Ordering::Relaxed);
    }

    /// Joins the line of large batches, or says that the batch is larger than memory can ever be had for.
    pub(crate) fn line_up(&self, bytes: u64, limit: u64) -> Result<Line<'_>> {
        if bytes > self.batch_max() {
            return Err(Error::limit(format!(
                "the batch takes about {bytes} bytes of memory, the limit is {} bytes under a memory_limit of {limit} bytes; \
                 split it, or open the store with a higher memory_limit",
                self.batch_max()
            )));
        }
        self.in_line.fetch_add(1, Ordering::Relaxed);
        self.judge();
        Ok(Line { memory: self })
    }

    /// Whether there is room for so much more. One thread at a time asks and then takes it.
    pub(crate) fn has_room(&self, bytes: u64, is_in_line: bool) -> bool {
        let is_ones_turn = is_in_line || self.in_line.load(Ordering::Relaxed) == 0;
        (is_ones_turn && self.taken() + bytes <= self.for_writes()) || !guard::on("memory.writers_wait")
    }

    /// Takes room for a batch.
    pub(crate) fn take(&self, bytes: u64) {
        self.frames.fetch_add(bytes, Ordering::Relaxed);
        self.judge();
    }

    /// Gives it back.
    pub(crate) fn give_back(&self, bytes: u64) {
        self.frames.fetch_sub(bytes, Ordering::Relaxed);
        self.judge();
    }
}

/// What one thread adds and another one takes may pass each other.
fn at_least_zero(count: &AtomicU64) -> u64 {
    let count = count.load(Ordering::Relaxed);
    if count > u64::MAX / 2 { 0 } else { count }
}

/// A place in the line of large batches.
#[derive(Debug)]
pub(crate) struct Line<'m> {
    memory: &'m Memory,
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        self.memory.in_line.fetch_sub(1, Ordering::Relaxed);
        self.memory.judge();
    }
}

/// What writing a batch takes, about: its frame twice, once as it is encoded and once on its way to the file, and its rows with what their sealing takes.
/// Values with more than `blob_above` bytes go to files of their own, piece by piece.
pub(crate) fn batch_bytes(batch: &WriteBatch<'_>, blob_above: u64) -> u64 {
    let row = |operation: &Operation<'_>| {
        let row = operation.key.len() as u64 + ROW_BYTES;
        row * (1 + SEALING_FACTOR as u64) + OPERATION_BYTES
    };
    2 * frame_bytes(batch, blob_above) + batch.iter().map(row).sum::<u64>()
}

/// Whether a batch is one operation that is surely not worth counting, whatever tags and attributes it has.
#[inline]
pub(crate) fn is_small(batch: &WriteBatch<'_>) -> bool {
    const SMALL_MAX: usize = 4 << 10;
    match batch {
        [Operation { key, action: Action::Put(put), .. }] => key.len() + put.value.len() <= SMALL_MAX,
        [Operation { key, action: Action::Delete, .. }] => key.len() <= SMALL_MAX,
        _ => false,
    }
}

/// What the frame of a batch has, at most and about.
pub(crate) fn frame_bytes(batch: &WriteBatch<'_>, blob_above: u64) -> u64 {
    let record =
        |operation: &Operation<'_>| operation.key.len() as u64 + ROW_BYTES + said(operation, blob_above);
    batch.iter().map(record).sum()
}

/// Bytes of a record beside its key and its header.
fn said(operation: &Operation<'_>, blob_above: u64) -> u64 {
    let (value, rest) = match &operation.action {
        Action::Put(put) => {
            let tags = match &put.tags {
                TagsUpdate::Replace(tags) => tags.iter().map(|tag| tag.len() + 1).sum(),
                _ => 0,
            };
            let attrs: usize = put.attrs.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
            (put.value.len(), tags + attrs + put.content_type.as_ref().map_or(0, |text| text.len()))
        }
        Action::Merge(merge) => (merge.operand.len(), 0),
        _ => (0, 0),
    };
    let value = value as u64;
    rest as u64 + if value > blob_above { 0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nadb_core::Put;

    #[test]
    fn shares_are_within_the_limit() {
        for limit in [MEMORY_LIMIT_MIN, MEMORY_LIMIT, 1 << 40] {
            let memory = Memory::new(limit);
            assert!(memory.for_writes() + SEALING_FACTOR as u64 * memory.share() <= limit - limit / 8);
            assert!(memory.batch_max() <= memory.for_writes());
        }
    }

    #[test]
    fn a_large_batch_is_refused_with_the_limit_and_a_smaller_one_counted_twice() {
        let memory = Memory::new(MEMORY_LIMIT_MIN);
        let error = memory.line_up(5 << 20, MEMORY_LIMIT_MIN).unwrap_err();
        assert!(error.to_string().contains("a memory_limit of 8388608 bytes"), "{error}");
        let put = |len| [Operation::new("n", b"key".as_slice(), Action::Put(Put::new(vec![0; len])))];
        let small = batch_bytes(&put(0), 1 << 20);
        assert_eq!(batch_bytes(&put(1000), 1 << 20), small + 2000);
        assert_eq!(batch_bytes(&put(1001), 1000), small, "a blob is not in memory");
    }

    #[test]
    fn nobody_passes_a_batch_that_waits_in_line() {
        let memory = Memory::new(MEMORY_LIMIT_MIN);
        assert!(!memory.is_pressed() && memory.has_room(0, false));
        let line = memory.line_up(1 << 20, MEMORY_LIMIT_MIN).unwrap();
        assert!(memory.is_pressed() && !memory.has_room(0, false) && memory.has_room(1 << 20, true));
        memory.take(1 << 20);
        drop(line);
        assert!(!memory.is_pressed());
        memory.take(memory.batch_max());
        assert!(memory.is_pressed() && !memory.has_room(0, false));
        memory.give_back(memory.batch_max());
        memory.give_back(1 << 20);
        assert!(!memory.is_pressed() && memory.frame_bytes() == 0);
    }
}
