//! How many live records of a namespace have each tag.
//!
//! Counted when somebody first asks, from the rows of a view, and from then on kept by what each publication changes. Until then
//! writers pay nothing for it. It counts what is live, expired or not: who answers looks after what has expired and is not reaped.
//!
//! Promises that between two publications the counts are exact. Leaves to the engine: that nobody writes to the namespace while
//! the count begins ([`TagCounts::begin`]).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nadb_log::TagList;
use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;

/// The counts of one namespace.
#[derive(Debug, Default)]
pub(crate) struct TagCounts {
    counts: Mutex<Counts>,
    /// Held by whoever counts for the first time.
    pub(crate) counting: Mutex<()>,
    is_on: AtomicBool,
    memory_bytes: AtomicUsize,
}

/// Bytes of an entry beside the tag's own: the entry, its place in the table, and what an allocation takes.
const ENTRY_BYTES: usize = 48;

#[derive(Debug, Default)]
struct Counts {
    /// Only what has changed is in it until the first count is added.
    by_tag: HashMap<Box<str>, i64>,
    is_whole: bool,
}

/// Counts that are held still, so that a frame's changes show together.
pub(crate) struct Held<'a> {
    of: &'a TagCounts,
    counts: MutexGuard<'a, Counts>,
}

impl TagCounts {
    /// Whether who writes must tell what changes.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Whether it can answer.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_on() && self.counts.lock().is_whole
    }

    /// From now on it is told what changes; [`TagCounts::add_base`] is to follow. Nobody who writes to the namespace is between looking
    /// a key up and publication.
    pub(crate) fn begin(&self) {
        let mut counts = self.counts.lock();
        *counts = Counts::default();
        self.is_on.store(true, Ordering::Release);
    }

    /// The count failed: it is off again.
    pub(crate) fn give_up(&self) {
        let mut counts = self.counts.lock();
        self.is_on.store(false, Ordering::Release);
        *counts = Counts::default();
        self.memory_bytes.store(0, Ordering::Relaxed);
    }

    /// Adds what there was when it began.
    pub(crate) fn add_base(&self, base: Vec<(String, u64)>) {
        let mut held = self.hold();
        for (tag, count) in base {
            held.add(&tag, i64::try_from(count).unwrap_or(i64::MAX));
        }
        held.counts.by_tag.retain(|_, count| *count != 0);
        held.counts.is_whole = true;
        let bytes = held.counts.by_tag.keys().map(|tag| tag.len() + ENTRY_BYTES).sum();
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn hold(&self) -> Held<'_> {
        Held { of: self, counts: self.counts.lock() }
    }

    /// How many records have a tag; `None` until it has counted.
    pub(crate) fn count(&self, tag: &str) -> Option<u64> {
        let counts = self.counts.lock();
        let count = || counts.by_tag.get(tag).copied().unwrap_or(0);
        counts.is_whole.then(|| u64::try_from(count()).unwrap_or(0))
    }

    /// The tags that begin with `prefix`, in order, with their counts; `None` until it has counted.
    pub(crate) fn tags(&self, prefix: &str) -> Option<Vec<(String, u64)>> {
        let counts = self.counts.lock();
        let begins = |(tag, _): &(&Box<str>, &i64)| tag.starts_with(prefix);
        let owned = |(tag, count): (&Box<str>, &i64)| Some((tag.to_string(), u64::try_from(*count).ok()?));
        let mut tags: Vec<_> = counts.by_tag.iter().filter(begins).filter_map(owned).collect();
        let is_whole = counts.is_whole;
        drop(counts);
        tags.sort_unstable();
        is_whole.then_some(tags)
    }

    /// Bytes of RAM.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }
}

impl Held<'_> {
    /// Adds `by` to each tag of a record that was verified.
    pub(crate) fn add_all(&mut self, tags: TagList<'_>, by: i64) {
        tags.iter().map_while(Result::ok).for_each(|tag| self.add(tag, by));
    }

    fn add(&mut self, tag: &str, by: i64) {
        let is_whole = self.counts.is_whole;
        if let Some(count) = self.counts.by_tag.get_mut(tag) {
            *count += by;
            if *count == 0 && is_whole {
                self.counts.by_tag.remove(tag);
                self.of.memory_bytes.fetch_sub(tag.len() + ENTRY_BYTES, Ordering::Relaxed);
            }
        } else {
            self.counts.by_tag.insert(tag.into(), by);
            self.of.memory_bytes.fetch_add(tag.len() + ENTRY_BYTES, Ordering::Relaxed);
        }
    }
}
