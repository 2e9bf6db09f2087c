//! Which batch is being published just now: its keys move one after the other, and whoever has seen one of them moved must not
//! see another as it was before.
//!
//! It promises that a read which finds what the batch has made, or nothing, while the batch is on its way is told so: it looks
//! again as of a moment (`View`), which waits for a small batch and is before a large one. It costs a read one load of a word that
//! only batches change. It leaves to the caller that one thread at a time publishes.

use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::{Seq, guard};

/// The first number of a batch of which some keys may have moved and others not; 0 while there is none. On a line of its own:
/// what stands beside it is read by every read, too.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(crate) struct Halfway(AtomicU64);

impl Halfway {
    /// Keys of the batch with this first number move from now on. Keys are moved by releasing stores after this one, so that
    /// whoever finds one moved, by an acquiring load, sees this.
    pub(crate) fn begin(&self, first: Seq) {
        self.0.store(first.0, Ordering::Relaxed);
    }

    /// All of them have moved, and views that are taken from now on show that.
    pub(crate) fn end(&self) {
        self.0.store(0, Ordering::Release);
    }

    /// Whether a record with this number, or that there is none, may be of a batch that is on its way; asked after it was found.
    #[inline]
    pub(crate) fn may_be_of_it(&self, found: impl FnOnce() -> Option<Seq>) -> bool {
        match self.0.load(Ordering::Acquire) {
            0 => false,
            first => {
                found().is_none_or(|seq| seq.0 >= first) && guard::on("batch.single_reads_are_of_one_moment")
            }
        }
    }
}
