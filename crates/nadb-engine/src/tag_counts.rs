//! How many live records of a namespace have each tag.
//!
//! Counted when somebody first asks, from the rows of a view, and from then on kept by what each publication and the reaper change.
//! Until then writers pay nothing for it. What had expired when counting began is not in it, nor missed when it goes; what expires
//! later is in it until it is reaped, and who answers looks whether there is any.
//!
//! Promises that between two publications the counts are exact. Leaves to the engine: that nobody writes to the namespace while
//! the count begins ([`TagCounts::begin`]).

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nadb_log::{RecordRef, TagList};
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
    /// What had expired then is not counted.
    begun_ms: u64,
}

/// The tags of a record that is displaced or reaped.
#[derive(Debug, Clone)]
pub(crate) struct OldTags {
    /// As they stand in the record.
    list: Box<[u8]>,
    expires_ms: Option<u64>,
}

impl OldTags {
    pub(crate) fn of(record: &RecordRef<'_>) -> OldTags {
        OldTags { list: record.tag_list().as_bytes().into(), expires_ms: record.expires_ms }
    }
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

    /// Whether it has counted.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_on() && self.counts.lock().is_whole
    }

    /// The counts at this time; `None` until it has counted, and under a clock that was set back since: that shows again what had
    /// expired when counting began.
    fn whole_at(&self, now_ms: u64) -> Option<MutexGuard<'_, Counts>> {
        let counts = self.is_on().then(|| self.counts.lock())?;
        (counts.is_whole && counts.begun_ms <= now_ms).then_some(counts)
    }

    /// From now on it is told what changes; [`TagCounts::add_base`] is to follow. Nobody who writes to the namespace is between looking
    /// a key up and publication.
    pub(crate) fn begin(&self, now_ms: u64) {
        let mut counts = self.counts.lock();
        *counts = Counts { begun_ms: now_ms, ..Counts::default() };
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
            held.change(&tag, i64::try_from(count).unwrap_or(i64::MAX));
        }
        held.counts.by_tag.retain(|_, count| *count != 0);
        held.counts.is_whole = true;
        let bytes = held.counts.by_tag.keys().map(|tag| tag.len() + ENTRY_BYTES).sum();
        self.memory_bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn hold(&self) -> Held<'_> {
        Held { of: self, counts: self.counts.lock() }
    }

    /// How many records have a tag at this time, where it can say.
    pub(crate) fn count(&self, tag: &str, now_ms: u64) -> Option<u64> {
        let count = self.whole_at(now_ms)?.by_tag.get(tag).copied();
        Some(u64::try_from(count.unwrap_or(0)).unwrap_or(0))
    }

    /// The tags that begin with `prefix`, in order, with their counts at this time, where it can say.
    pub(crate) fn tags(&self, prefix: &str, now_ms: u64) -> Option<Vec<(String, u64)>> {
        let counts = self.whole_at(now_ms)?;
        let all = counts.by_tag.iter().map(|(tag, count)| (&**tag, *count));
        let begins = all.filter(|(tag, _)| tag.starts_with(prefix));
        let owned = |(tag, count): (&str, i64)| Some((tag.to_owned(), u64::try_from(count).ok()?));
        let mut tags: Vec<_> = begins.filter_map(owned).collect();
        drop(counts);
        tags.sort_unstable();
        Some(tags)
    }

    /// Bytes of RAM.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes.load(Ordering::Relaxed)
    }
}

impl Held<'_> {
    /// One more record.
    pub(crate) fn add(&mut self, new: &RecordRef<'_>) {
        self.change_all(new.tag_list(), new.expires_ms, 1);
    }

    /// One less.
    pub(crate) fn remove(&mut self, old: &OldTags) {
        self.change_all(TagList::new(&old.list), old.expires_ms, -1);
    }

    /// Both ways alike, what has expired by the time when counting began does not count: also what is written under a clock that was
    /// set back since, which is gone again when that time comes.
    fn change_all(&mut self, tags: TagList<'_>, expires_ms: Option<u64>, by: i64) {
        if expires_ms.is_none_or(|at| at > self.counts.begun_ms) {
            tags.iter().map_while(Result::ok).for_each(|tag| self.change(tag, by));
        }
    }

    fn change(&mut self, tag: &str, by: i64) {
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
