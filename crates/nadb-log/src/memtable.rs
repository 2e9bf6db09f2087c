//! The memtable: what the footer of the active segment will hold, in memory, readable while one thread appends.
//!
//! Promises: a row gets the next [`Ordinal`] and is readable from the moment that [`Memtable::len`] counts it; a run that
//! somebody holds answers for ever as it did. Leaves to others: which rows are live, what a view may see, values and tags,
//! and the order of appending, which is file order and the order of sequence numbers.
//!
//! Rows are appended to a short tail. A full tail is frozen into a run and never touched again, so that appending moves
//! little. A scan needs key order and few runs: it freezes what the tail has, and merges small runs as a binary counter does,
//! so that their number stays logarithmic until they are as large as a run gets.
//!
//! Locks are taken in this order: `merging`, `tail`, `frozen`. Runs are merged and sorted under none but `merging`, for which
//! only scans wait. Nothing of the caller's runs under any of them.

mod in_key_order;
mod order;
mod rows;
mod run;
mod tags;
#[cfg(test)]
mod tests;

use std::fmt;
use std::mem::{self, size_of};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use nadb_core::{NamespaceId, Ordinal, Result, Seq, guard};
use parking_lot::{Mutex, RwLock};
use smallvec::SmallVec;

pub use self::in_key_order::InKeyOrder;
use self::rows::Rows;
pub use self::run::{Run, RunCursor};
use crate::footer::FooterBuilder;
use crate::row::{Row, RowMeta, SystemRow};

/// How large things get.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// A tail with so many rows is frozen.
    tail_rows: u32,
    /// A tail with so many bytes of keys and distinct tags is frozen.
    tail_key_bytes: usize,
    /// Runs are merged up to so many rows.
    run_rows: u32,
    /// Runs are merged up to so many bytes of keys and distinct tags.
    run_key_bytes: usize,
}

/// Of so many rows, one notes how much memory there is; one with a longer key always does.
const NOTE_EVERY: u32 = 64;
const NOTE_KEY_BYTES: usize = 256;

const SIZES: Sizes =
    Sizes { tail_rows: 4096, tail_key_bytes: 1 << 20, run_rows: 65_536, run_key_bytes: 16 << 20 };

/// The rows and system rows of the active segment.
pub struct Memtable {
    sizes: Sizes,
    /// Rows that can be read; raised under `tail`.
    len: AtomicU32,
    /// One scan merges at a time; none loses what another one has merged.
    merging: Mutex<()>,
    tail: Mutex<Rows>,
    /// Runs by ordinal, without gaps, up to the tail. Changed behind its end under `tail`, elsewhere under `merging`.
    frozen: RwLock<Vec<Arc<Run>>>,
    system: Mutex<Vec<SystemRow>>,
    /// What the tail, the runs and the system rows take, each noted under its lock.
    tail_bytes: AtomicUsize,
    frozen_bytes: AtomicUsize,
    system_bytes: AtomicUsize,
}

impl Default for Memtable {
    fn default() -> Memtable {
        Memtable::new()
    }
}

impl fmt::Debug for Memtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memtable").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Memtable {
    /// A memtable without rows.
    #[must_use]
    pub fn new() -> Memtable {
        Memtable::with_sizes(SIZES)
    }

    fn with_sizes(sizes: Sizes) -> Memtable {
        Memtable {
            sizes,
            len: AtomicU32::new(0),
            merging: Mutex::new(()),
            tail: Mutex::new(Rows::with_room(0, 0, 0)),
            frozen: RwLock::new(Vec::new()),
            system: Mutex::new(Vec::new()),
            tail_bytes: AtomicUsize::new(0),
            frozen_bytes: AtomicUsize::new(0),
            system_bytes: AtomicUsize::new(0),
        }
    }

    /// Appends a row. Its record stands behind those of all rows before it and has a higher sequence number; its key is
    /// within [`nadb_core::limits`].
    pub fn push(&self, row: &Row<'_>) -> Ordinal {
        let mut tail = self.tail.lock();
        let ordinal = Ordinal(tail.end());
        tail.push(row);
        if tail.len() >= self.sizes.tail_rows || tail.text_bytes() >= self.sizes.tail_key_bytes {
            // A tail that got full will get full again: its successor has room for as much at once.
            let next = tail.successor();
            self.freeze(&mut tail, next);
        } else if ordinal.0.is_multiple_of(NOTE_EVERY) || row.key.len() > NOTE_KEY_BYTES {
            self.tail_bytes.store(tail.memory_bytes(), Ordering::Relaxed);
        }
        self.len.store(ordinal.0 + 1, Ordering::Release);
        ordinal
    }

    /// Appends a system row.
    pub fn push_system(&self, row: SystemRow) {
        let mut system = self.system.lock();
        system.push(row);
        // Of the vector, what is used: it is small beside what the rows refer to.
        let last = system.last().map_or(0, |row| size_of::<SystemRow>() + row.content.capacity());
        self.system_bytes.fetch_add(last, Ordering::Relaxed);
    }

    /// How many rows, without system rows. Every ordinal below can be read.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there are no rows; there may be system rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is known of a row beside its key.
    #[must_use]
    pub fn meta(&self, ordinal: Ordinal) -> Option<RowMeta> {
        self.find(|runs| run_of(runs, ordinal)?.meta(ordinal), |tail| tail.meta(ordinal))
    }

    /// Sequence number of a row.
    #[must_use]
    pub fn seq(&self, ordinal: Ordinal) -> Option<Seq> {
        self.find(|runs| run_of(runs, ordinal)?.seq(ordinal), |tail| tail.seq(ordinal))
    }

    /// The row whose record begins exactly at `offset` of the segment's file.
    #[must_use]
    pub fn ordinal_of(&self, offset: u32) -> Option<Ordinal> {
        let in_runs = |runs: &[Arc<Run>]| {
            let at = runs.partition_point(|run| run.rows().last_offset() < Some(offset));
            runs.get(at)?.rows().ordinal_of(offset)
        };
        self.find(in_runs, |tail| tail.ordinal_of(offset))
    }

    /// Calls `f` with namespace and key of a row.
    pub fn with_key<T>(&self, ordinal: Ordinal, f: impl FnOnce(NamespaceId, &[u8]) -> T) -> Option<T> {
        // `f` runs without a lock: what the tail has is copied, a run is held.
        enum Found {
            Run(Arc<Run>),
            Tail(NamespaceId, SmallVec<[u8; 64]>),
        }
        let found = self.find(
            |runs| run_of(runs, ordinal).map(|run| Found::Run(Arc::clone(run))),
            |tail| {
                tail.key(ordinal).map(|(namespace, key)| Found::Tail(namespace, SmallVec::from_slice(key)))
            },
        )?;
        match found {
            Found::Run(run) => run.key(ordinal).map(|(namespace, key)| f(namespace, key)),
            Found::Tail(namespace, key) => Some(f(namespace, &key)),
        }
    }

    /// Runs with all rows that were pushed before, by ordinal, few enough to be merged by a scan.
    #[must_use]
    pub fn runs(&self) -> Vec<Arc<Run>> {
        self.freeze_tail();
        let runs = self.frozen.read().clone();
        if groups(&runs, self.sizes).len() == runs.len() { runs } else { self.merge() }
    }

    /// As [`Memtable::runs`], but as many runs as there happen to be: for who does not look for keys.
    pub(crate) fn runs_by_ordinal(&self) -> Vec<Arc<Run>> {
        self.freeze_tail();
        self.frozen.read().clone()
    }

    fn freeze_tail(&self) {
        let mut tail = self.tail.lock();
        if tail.len() > 0 {
            let next = Rows::with_room(tail.end(), 0, 0);
            self.freeze(&mut tail, next);
        }
    }

    /// The system rows, in the order of appending.
    #[must_use]
    pub fn system(&self) -> Vec<SystemRow> {
        self.system.lock().clone()
    }

    /// Bytes that are allocated for rows, keys, tags, what is derived from them, and system rows. Runs that only readers still hold are not counted.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        let tail = self.tail.lock().memory_bytes();
        let frozen = {
            let runs = self.frozen.read();
            let pointers = runs.capacity() * size_of::<Arc<Run>>();
            pointers + runs.iter().map(|run| run.memory_bytes()).sum::<usize>()
        };
        let system = {
            let rows = self.system.lock();
            let contents: usize = rows.iter().map(|row| row.content.capacity()).sum();
            rows.capacity() * size_of::<SystemRow>() + contents
        };
        size_of::<Memtable>() + tail + frozen + system
    }

    /// As [`Memtable::memory_bytes`], but without a lock; it may be some dozens of rows behind, and what was derived for readers since a tail was last frozen.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        [&self.tail_bytes, &self.frozen_bytes, &self.system_bytes]
            .map(|bytes| bytes.load(Ordering::Relaxed))
            .iter()
            .sum()
    }

    /// All rows by ordinal, for sealing.
    #[must_use]
    pub fn metas(&self) -> Vec<RowMeta> {
        self.runs().iter().flat_map(|run| run.rows().metas()).collect()
    }

    /// A footer's builder that has the keys and tags of all rows.
    ///
    /// # Errors
    /// `Limit`: there are too many.
    pub(crate) fn footer_builder(&self) -> Result<FooterBuilder> {
        in_key_order::footer_builder(&self.runs())
    }

    /// All rows in key order.
    #[must_use]
    pub fn in_key_order(&self) -> InKeyOrder {
        InKeyOrder::new(&self.runs())
    }

    /// Makes a run of the tail's rows; `next` becomes the tail.
    fn freeze(&self, tail: &mut Rows, next: Rows) {
        let run = Arc::new(Run::new(mem::replace(tail, next)));
        self.tail_bytes.store(tail.memory_bytes(), Ordering::Relaxed);
        let mut frozen = self.frozen.write();
        frozen.push(run);
        // All of them: what was asked of the others has made them larger.
        let bytes = frozen.iter().map(|run| run.memory_bytes()).sum();
        self.frozen_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Merges what is to be merged; gives the runs of all rows that were frozen when it began.
    fn merge(&self) -> Vec<Arc<Run>> {
        // Two that merge the same runs would each replace them: the second one's ranges are of a list that is not there any
        // more.
        let _one_at_a_time = guard::on("memtable.one_merge_at_a_time").then(|| self.merging.lock());
        let before = self.frozen.read().clone();
        let after: Vec<Arc<Run>> = groups(&before, self.sizes)
            .into_iter()
            .filter_map(|group| before.get(group))
            .map(|group| match group {
                [run] => Arc::clone(run),
                _ => Arc::new(Run::merged(group)),
            })
            .collect();
        // Appending may have added runs behind those; nobody else has changed them. What is replaced is freed with `before`,
        // behind the lock.
        let replaced: Vec<Arc<Run>> = {
            let mut frozen = self.frozen.write();
            let replaced = frozen.splice(..before.len(), after.iter().cloned()).collect();
            let bytes = frozen.iter().map(|run| run.memory_bytes()).sum();
            self.frozen_bytes.store(bytes, Ordering::Relaxed);
            replaced
        };
        drop(replaced);
        after
    }

    /// Answers from the runs, else from the tail.
    fn find<T>(
        &self,
        in_runs: impl Fn(&[Arc<Run>]) -> Option<T>,
        in_tail: impl FnOnce(&Rows) -> Option<T>,
    ) -> Option<T> {
        let searched_to = {
            let runs = self.frozen.read();
            if let Some(found) = in_runs(&runs) {
                return Some(found);
            }
            runs.last().map_or(0, |run| run.rows().end())
        };
        let tail = self.tail.lock();
        // The tail may have been frozen between the two locks.
        let in_new_runs = if tail.first() == searched_to { None } else { in_runs(&self.frozen.read()) };
        in_new_runs.or_else(|| in_tail(&tail))
    }
}

/// The run that may have the row with this ordinal.
fn run_of(runs: &[Arc<Run>], ordinal: Ordinal) -> Option<&Arc<Run>> {
    runs.get(runs.partition_point(|run| run.rows().end() <= ordinal.0))
}

/// Which neighbours are to be merged into one run each: ranges of `runs`, without gaps.
///
/// Each run in turn joins the group before it while that is not more than twice as large and both fit into one run. So
/// groups at least halve from one to the next, but for pairs that together exceed a run.
fn groups(runs: &[Arc<Run>], sizes: Sizes) -> Vec<Range<usize>> {
    struct Group {
        start: usize,
        rows: u32,
        key_bytes: usize,
    }
    let mut groups: Vec<Group> = Vec::with_capacity(runs.len());
    for (start, run) in runs.iter().enumerate() {
        let mut newer = Group { start, rows: run.len(), key_bytes: run.rows().text_bytes() };
        while let Some(older) = groups.pop_if(|older| {
            older.rows <= newer.rows.saturating_mul(2)
                && older.rows + newer.rows <= sizes.run_rows
                && older.key_bytes + newer.key_bytes <= sizes.run_key_bytes
        }) {
            newer = Group {
                start: older.start,
                rows: older.rows + newer.rows,
                key_bytes: older.key_bytes + newer.key_bytes,
            };
        }
        groups.push(newer);
    }
    let ends = groups.iter().skip(1).map(|group| group.start).chain([runs.len()]);
    groups.iter().zip(ends).map(|(group, end)| group.start..end).collect()
}
