//! When the records of one segment were last read: an open hash table of the offsets of records, without a lock for readers.
//!
//! An entry is one word, offset and time, so that noting a time is one store and looking one up is one load. It promises that what
//! was noted is found as long as no later time of the same record was noted, also when the table grows meanwhile: who has changed
//! a table looks afterwards whether it is still the one in use, and who replaces one looks through the old one again after
//! that. It leaves to others what a time is (any number below 2^32 - 1), and that a record does not change its place.
//!
//! Memory: none until a first time is noted, then 11 to 22 bytes for each record that has one. What was forgotten takes its place
//! until the table is replaced.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering, fence};

use parking_lot::Mutex;

use crate::published::Published;

/// Bits of the number of entries of a first table: 512 bytes.
const FIRST_BITS: u32 = 6;
/// More entries than there can be records in a segment.
const BITS_MAX: u32 = 31;

/// No record begins at the begin of a file.
const EMPTY: u64 = 0;
/// In place of the time of a record that was forgotten.
const GONE: u32 = u32::MAX;

fn entry(offset: u32, time: u32) -> u64 {
    u64::from(offset) << 32 | u64::from(time)
}

#[expect(clippy::cast_possible_truncation, reason = "put together of these two")]
fn parts(entry: u64) -> (u32, u32) {
    ((entry >> 32) as u32, entry as u32)
}

/// Last accesses by the offsets of records.
///
/// ```
/// use nadb_index::AccessTimes;
/// let times = AccessTimes::new();
/// assert_eq!(times.get(64), None);
/// times.note(64, 1_000);
/// times.note(64, 1_001);
/// times.note_older(64, 7);
/// times.note_older(99, 7);
/// assert_eq!(times.all(), [(64, 1_001), (99, 7)]);
/// times.forget(64);
/// assert_eq!(times.get(64), None);
/// ```
#[derive(Default)]
pub struct AccessTimes {
    inner: OnceLock<Box<Inner>>,
}

struct Inner {
    table: Published<Table>,
    /// Held while the table is replaced.
    growing: Mutex<()>,
    /// Whether something has changed since [`AccessTimes::take_changed`].
    is_changed: AtomicBool,
}

/// Entries stand at the place that their hash says or behind it, before the next empty one.
struct Table {
    bits: u32,
    used: AtomicUsize,
    entries: Box<[AtomicU64]>,
}

/// What became of a note in one table.
enum Noted {
    /// It was there already.
    Before,
    Now,
    /// There is no room for it.
    Full,
}

impl Table {
    fn new(bits: u32) -> Table {
        let entries = (0..1_usize << bits).map(|_| AtomicU64::new(EMPTY)).collect();
        Table { bits, used: AtomicUsize::new(0), entries }
    }

    /// The entries in the order in which an offset is looked for. In the order of the high bits, so that a table of twice the size has
    /// neighbours side by side, too.
    #[inline]
    fn probe(&self, offset: u32) -> impl Iterator<Item = &AtomicU64> {
        let start = (offset.wrapping_mul(0x9E37_79B1) >> (32 - self.bits)) as usize;
        let mask = self.entries.len() - 1;
        (0..self.entries.len()).filter_map(move |step| self.entries.get((start + step) & mask))
    }

    /// The entry of an offset.
    #[inline]
    fn find(&self, offset: u32) -> Option<(&AtomicU64, u64)> {
        for at in self.probe(offset) {
            let entry = at.load(Ordering::Relaxed);
            if parts(entry).0 == offset {
                return Some((at, entry));
            }
            if entry == EMPTY {
                return None;
            }
        }
        None
    }

    /// Three of four entries may be taken.
    fn is_full(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.entries.len() / 4 * 3
    }

    /// Notes a time; where there is one, `wins` says whether it replaces it.
    fn note(&self, offset: u32, time: u32, wins: impl Fn(u32) -> bool) -> Noted {
        for at in self.probe(offset) {
            let mut before = at.load(Ordering::Relaxed);
            while before == EMPTY || parts(before).0 == offset {
                if before == EMPTY && self.is_full() {
                    return Noted::Full;
                }
                if before != EMPTY && !wins(parts(before).1) {
                    return Noted::Before;
                }
                match at.compare_exchange(before, entry(offset, time), Ordering::Relaxed, Ordering::Relaxed) {
                    Ok(_) => {
                        self.used.fetch_add(usize::from(before == EMPTY), Ordering::Relaxed);
                        return Noted::Now;
                    }
                    Err(now) => before = now,
                }
            }
        }
        Noted::Full
    }

    /// What is known.
    fn each(&self) -> impl Iterator<Item = (u32, u32)> {
        let entries = self.entries.iter().map(|at| at.load(Ordering::Relaxed));
        entries.filter(|entry| *entry != EMPTY).map(parts).filter(|(_, time)| *time != GONE)
    }
}

impl Inner {
    fn new() -> Inner {
        Inner {
            table: Published::new(Table::new(FIRST_BITS)),
            growing: Mutex::new(()),
            is_changed: AtomicBool::new(false),
        }
    }

    fn note(&self, offset: u32, time: u32, wins: impl Fn(u32) -> bool + Copy) {
        loop {
            let table = self.table.load();
            match table.note(offset, time, wins) {
                Noted::Before => return,
                // More than a segment can have: nothing is known of the others.
                Noted::Full if table.bits >= BITS_MAX => return,
                Noted::Full => {
                    drop(table);
                    self.grow();
                }
                Noted::Now => {
                    // Either this sees that the table was replaced, or who replaced it sees the entry: each has written before its
                    // fence and reads behind it.
                    fence(Ordering::SeqCst);
                    if std::ptr::eq(&raw const *table, &raw const *self.table.load()) {
                        return;
                    }
                }
            }
        }
    }

    /// Replaces a full table by one with room, without what was forgotten; unless somebody else has.
    #[cold]
    fn grow(&self) {
        let growing = self.growing.lock();
        let old = self.table.load();
        if !old.is_full() {
            return;
        }
        let is_half_empty = old.each().count() < old.entries.len() / 8 * 3;
        let new = Table::new(if is_half_empty { old.bits } else { old.bits + 1 });
        for (offset, time) in old.each() {
            new.note(offset, time, |_| true);
        }
        self.table.store(new);
        fence(Ordering::SeqCst);
        drop(growing);
        // What was noted in the old one meanwhile. What the new one has of the same record may be later.
        for (offset, time) in old.each() {
            self.note(offset, time, |noted| noted < time);
        }
    }
}

impl AccessTimes {
    /// None.
    #[must_use]
    pub const fn new() -> AccessTimes {
        AccessTimes { inner: OnceLock::new() }
    }

    /// The record at `offset`, which is not 0, was read at `time`.
    #[inline]
    pub fn note(&self, offset: u32, time: u32) {
        if let Some(inner) = self.inner.get()
            && inner.table.load().find(offset).is_some_and(|(_, found)| found == entry(offset, time))
        {
            return;
        }
        self.note_anew(offset, time);
    }

    /// Has the processor fetch what [`AccessTimes::note`] is going to look at, beside whatever else it waits for.
    #[inline]
    pub fn touch(&self, offset: u32) {
        if let Some(inner) = self.inner.get() {
            let table = inner.table.load();
            std::hint::black_box(table.probe(offset).next().map(|at| at.load(Ordering::Relaxed)));
        }
    }

    #[cold]
    fn note_anew(&self, offset: u32, time: u32) {
        if offset > 0 {
            self.inner().note(offset, time, |noted| noted != time);
            self.set_changed();
        }
    }

    /// The record at `offset` was read at `time`, and perhaps later: where anything is known of it, that stays. It does not count
    /// as a change.
    pub fn note_older(&self, offset: u32, time: u32) {
        if offset > 0 {
            self.inner().note(offset, time, |_| false);
        }
    }

    /// The record at `offset` is not there any more: from now on nothing is known of it. Who reads it at this moment may note that
    /// all the same.
    #[inline]
    pub fn forget(&self, offset: u32) {
        if let Some(inner) = self.inner.get()
            && let Some((at, found)) = inner.table.load().find(offset)
            && found != EMPTY
        {
            // Where the table is replaced meanwhile it is remembered in the next one, which is only memory.
            at.store(entry(offset, GONE), Ordering::Relaxed);
        }
    }

    fn inner(&self) -> &Inner {
        self.inner.get_or_init(|| Box::new(Inner::new()))
    }

    /// When the record at `offset` was last read.
    #[must_use]
    pub fn get(&self, offset: u32) -> Option<u32> {
        let table = self.inner.get()?.table.load();
        let (_, found) = table.find(offset).filter(|(_, found)| *found != EMPTY)?;
        Some(parts(found).1).filter(|time| *time != GONE)
    }

    /// All of them, by rising offsets.
    #[must_use]
    pub fn all(&self) -> Vec<(u32, u32)> {
        let Some(inner) = self.inner.get() else { return Vec::new() };
        let mut all: Vec<(u32, u32)> = inner.table.load().each().collect();
        all.sort_unstable();
        all
    }

    /// Whether something has changed since this was last asked.
    pub fn take_changed(&self) -> bool {
        self.inner.get().is_some_and(|inner| inner.is_changed.swap(false, Ordering::Relaxed))
    }

    /// Says that something has changed.
    pub fn set_changed(&self) {
        if let Some(inner) = self.inner.get()
            && !inner.is_changed.load(Ordering::Relaxed)
        {
            inner.is_changed.store(true, Ordering::Relaxed);
        }
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let Some(inner) = self.inner.get() else { return 0 };
        (size_of::<Inner>() + size_of::<Table>() + size_of_val(&*inner.table.load().entries)) as u64
    }
}

impl fmt::Debug for AccessTimes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let noted = self.inner.get().map_or(0, |inner| inner.table.load().used.load(Ordering::Relaxed));
        f.debug_struct("AccessTimes").field("noted", &noted).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Offsets that often share a place: they differ in their high bits alone, or hardly.
    fn offsets() -> impl Strategy<Value = u32> {
        prop_oneof![64..400_u32, (1..200_u32).prop_map(|n| n << 24), Just(u32::MAX), any::<u32>()]
    }

    proptest! {
        #[test]
        fn it_is_a_map(notes in vec((offsets(), 0..5_u32, 0..3), 0..500)) {
            let (times, mut expected) = (AccessTimes::new(), BTreeMap::new());
            for (offset, time, what) in notes {
                if what == 0 && !expected.contains_key(&offset) {
                    // What was forgotten is not known from before, either.
                    times.note(offset, time);
                    expected.insert(offset, time);
                } else if what == 0 {
                    times.note_older(offset, time);
                } else if what == 1 && time == 0 {
                    times.forget(offset);
                    expected.remove(&offset);
                } else {
                    times.note(offset, time);
                    expected.insert(offset, time);
                }
                expected.remove(&0);
                prop_assert_eq!(times.get(offset), expected.get(&offset).copied());
            }
            prop_assert_eq!(times.all(), expected.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(times.get(0), None);
        }
    }

    #[test]
    fn nothing_is_there_and_takes_memory_until_something_is_noted() {
        let times = AccessTimes::new();
        assert_eq!((times.get(64), times.all(), times.take_changed()), (None, vec![], false));
        assert_eq!(times.memory_bytes(), 0);
        times.note(64, 0);
        assert_eq!(times.get(64), Some(0), "the first minute of 1970 is a time");
        assert!(times.take_changed() && !times.take_changed());
        times.note(64, 0);
        times.note_older(99, 0);
        assert!(!times.take_changed(), "what is known changes nothing");
        times.set_changed();
        assert!(times.take_changed());
    }

    #[test]
    fn a_record_takes_between_eleven_and_twenty_two_bytes() {
        let times = AccessTimes::new();
        for n in 1..=100_000_u32 {
            times.note(n * 200, 7);
            let bytes = times.memory_bytes() - (size_of::<Inner>() + size_of::<Table>()) as u64;
            assert!(n < 48 || bytes <= u64::from(n) * 22, "{bytes} bytes for {n}");
            assert!(bytes * 3 >= u64::from(n) * 32, "{bytes} bytes for {n}");
        }
    }

    #[test]
    fn what_was_forgotten_gives_its_room_back() {
        let times = AccessTimes::new();
        for n in 1..=100_000_u32 {
            times.note(n, 7);
            times.note_older(n, 8);
            if n > 100 {
                times.forget(n);
                times.note_older(n, 8);
                assert_eq!(times.get(n), None, "what is older than its end does not come back");
            }
        }
        assert_eq!(times.all(), (1..=100).map(|n| (n, 7)).collect::<Vec<_>>());
        assert!(times.memory_bytes() < 6000, "{} bytes", times.memory_bytes());
        times.forget(0);
        AccessTimes::new().forget(1);
    }

    /// Threads note records of their own and common ones while the table grows under them, from the first to the last.
    #[test]
    fn nothing_is_lost_while_the_table_grows() {
        const THREADS: u32 = 4;
        const EACH: u32 = 20_000;
        let times = AccessTimes::new();
        std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let times = &times;
                scope.spawn(move || {
                    for n in 0..EACH {
                        times.note(1 + n * THREADS + thread, n);
                        times.note(u32::MAX - n % 8, n);
                        // An entry that was there before, in whatever table that was.
                        times.note(1 + n / 2 * THREADS + thread, EACH + n / 2);
                    }
                });
            }
        });
        for n in 0..EACH {
            let expected = if n < EACH / 2 { EACH + n } else { n };
            for thread in 0..THREADS {
                assert_eq!(times.get(1 + n * THREADS + thread), Some(expected), "{n} of thread {thread}");
            }
        }
        assert_eq!(times.all().len(), (THREADS * EACH + 8) as usize);
    }
}
