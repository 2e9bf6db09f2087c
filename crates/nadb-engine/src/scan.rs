//! Scans: the live records of a key range as of a view's moment, in key order, from either end. The rows of all segments are
//! merged; a record is read when it is asked for, and for keys alone never.

pub(crate) mod ahead;

use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::limits::check_namespace;
use nadb_core::{Entry, Listing, Location, NamespaceId, Result};
use nadb_log::{Direction, RecordRef, RowsCursor};

use self::ahead::{Found, Rowed};
use crate::engine::Shared;
use crate::keyspace::HasRecord;
use crate::read::{Content, Visible, value_bytes};
use crate::tallies::{Op, Tally};
use crate::view::View;

pub(crate) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl Shared {
    /// The visible records of a range at the view's moment.
    pub(crate) fn scan(self: &Arc<Self>, view: &Arc<View>, namespace: &str, range: KeyRange) -> Result<Scan> {
        check_namespace(namespace)?;
        self.check_open_to_read()?;
        let namespace = self.keyspace.namespaces.get_at(namespace, view.watermark);
        self.times.tallies.add([(Tally::Scans, 1)]);
        Ok(Scan {
            shared: Arc::clone(self),
            view: Arc::clone(view),
            namespace: namespace.map(|namespace| namespace.id),
            range,
            forward: None,
            backward: None,
            uncounted: Given::default(),
        })
    }
}

/// Where a key stands, seen from a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    Inside,
    Behind,
}

fn side((from, to): &KeyRange, key: &[u8]) -> Side {
    let is_before = match from {
        Bound::Included(from) => key < &from[..],
        Bound::Excluded(from) => key <= &from[..],
        Bound::Unbounded => false,
    };
    let is_behind = match to {
        Bound::Included(to) => key > &to[..],
        Bound::Excluded(to) => key >= &to[..],
        Bound::Unbounded => false,
    };
    match (is_before, is_behind) {
        (false, false) => Side::Inside,
        // Of an empty range both may be said.
        (true, _) => Side::Before,
        (_, true) => Side::Behind,
    }
}

/// The live records of a key range, in key order; from either end.
///
/// It shows one moment: that at which it, or its snapshot, was taken. A record is read, and its checksum verified, when it is
/// asked for; keys come from memory and footers.
pub struct Scan {
    shared: Arc<Shared>,
    view: Arc<View>,
    /// `None` where there was no such namespace.
    namespace: Option<NamespaceId>,
    /// What has not been given yet: each end moves in as its records are.
    range: KeyRange,
    forward: Option<Rowed<RowsCursor>>,
    backward: Option<Rowed<RowsCursor>>,
    /// What it gave that is not in the store's counts yet.
    uncounted: Given,
}

/// Records and keys that a scan gave, and the bytes of their values.
#[derive(Debug, Clone, Copy, Default)]
struct Given {
    steps: u64,
    bytes: u64,
}

impl Drop for Scan {
    fn drop(&mut self) {
        self.count_given();
    }
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("view", &self.view.watermark).finish_non_exhaustive()
    }
}

impl Scan {
    /// The row of the next record, from one end. Its key is then where the rest of the range begins or ends.
    fn step(&mut self, direction: Direction, fetch: bool) -> Result<Option<Found>> {
        // First: a scan that ended in an error, as one does when the store is closed, has an end.
        let Some(namespace) = self.namespace else { return Ok(None) };
        self.shared.check_open_to_read()?;
        let is_two_ended = self.forward.is_some() && self.backward.is_some();
        let rowed = match direction {
            Direction::Forward => &mut self.forward,
            Direction::Backward => &mut self.backward,
        };
        let rowed = match rowed {
            Some(rowed) => rowed,
            None => rowed.insert(Rowed::all(&self.view, namespace, &self.range, direction)?),
        };
        let found = rowed.next(&self.view, namespace, &self.range, fetch)?;
        // The other end may have moved since the row was looked up.
        let found = found.filter(|(key, _)| !is_two_ended || side(&self.range, key) == Side::Inside);
        let Some((key, found)) = found else {
            // Nothing is left: no end need look again.
            self.namespace = None;
            return Ok(None);
        };
        match direction {
            Direction::Forward => exclude(&mut self.range.0, key),
            Direction::Backward => exclude(&mut self.range.1, key),
        }
        Ok(Some(found))
    }

    /// After an error the scan is over: what comes behind it is not known to be whole.
    fn step_or_end(&mut self, direction: Direction, fetch: bool) -> Option<Result<Found>> {
        let step = self.step(direction, fetch);
        if step.is_err() {
            self.namespace = None;
        }
        step.transpose()
    }

    fn read(&self, found: Found) -> Result<Visible<'_>> {
        let slot = self.view.slots.get(found.slot).map(|slot| &**slot);
        Ok((found.at, self.shared.read_of(slot, found.at)?))
    }

    fn count_given(&mut self) {
        let Given { steps, bytes } = std::mem::take(&mut self.uncounted);
        let tallies = &self.shared.times.tallies;
        tallies.add([(Tally::Done(Op::ScanStep), steps), (Tally::Bytes(Op::ScanStep), bytes)]);
    }

    /// Begins a step; gives when, if it is to be timed.
    #[inline]
    fn begin_step(&self) -> Option<Duration> {
        self.shared.times.begin_step(&*self.shared.options.clock)
    }

    /// The step gave a record or key, with a value of so many bytes.
    #[inline]
    fn end_step(&mut self, begun: Option<Duration>, bytes: u64) {
        self.uncounted.steps += 1;
        self.uncounted.bytes += bytes;
        if let Some(begun) = begun {
            self.end_timed_step(begun);
        }
    }

    #[cold]
    fn end_timed_step(&mut self, begun: Duration) {
        let took = self.shared.options.clock.monotonic().saturating_sub(begun);
        self.shared.times.add(Op::ScanStep, took);
        self.count_given();
    }

    fn entry(&mut self, direction: Direction) -> Option<Result<Entry>> {
        let begun = self.begin_step();
        let step = self.step_or_end(direction, true)?;
        let entry = step.and_then(|found| self.shared.entry(&self.read(found)?));
        if let Ok(entry) = &entry {
            self.end_step(begun, entry.value.len() as u64);
        }
        Some(entry)
    }

    fn see(&mut self, direction: Direction, see: &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>> {
        let begun = self.begin_step();
        let step = self.step_or_end(direction, true)?;
        let seen = step.and_then(|found| self.see_found(found, see));
        Some(seen.map(|bytes| self.end_step(begun, bytes)))
    }

    /// Shows a record; gives the bytes of its value.
    fn see_found(&self, found: Found, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        let slot = self.view.slots.get(found.slot);
        if let Some(mapped) = slot.and_then(|slot| slot.segment.mapped_near(found.at)) {
            return self.show(found.at, mapped.record(), see);
        }
        let (at, stored) = self.read(found)?;
        self.show(at, &stored.record()?, see)
    }

    #[inline]
    fn show(&self, at: Location, record: &RecordRef<'_>, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<u64> {
        match self.shared.content(at, record)? {
            Content::InRecord(value) => see(record.key, value),
            Content::Decompressed(value) => see(record.key, &value),
            Content::InBlob(blob) => see(record.key, &blob.read_all()?),
        }
        Ok(value_bytes(record))
    }

    fn key(&mut self, direction: Direction) -> Option<Result<Vec<u8>>> {
        let begun = self.begin_step();
        let step = self.step_or_end(direction, false)?;
        if step.is_ok() {
            self.end_step(begun, 0);
        }
        let last = match direction {
            Direction::Forward => &self.range.0,
            Direction::Backward => &self.range.1,
        };
        Some(step.map(|_| match last {
            Bound::Excluded(key) | Bound::Included(key) => key.clone(),
            Bound::Unbounded => Vec::new(),
        }))
    }
}

/// The key was given; what memory the bound has stays.
fn exclude(bound: &mut Bound<Vec<u8>>, key: &[u8]) {
    match bound {
        Bound::Excluded(last) => {
            last.clear();
            last.extend_from_slice(key);
        }
        _ => *bound = Bound::Excluded(key.to_vec()),
    }
}

impl Iterator for Scan {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.entry(Direction::Forward)
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.entry(Direction::Backward)
    }
}

impl Listing for Scan {
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.key(Direction::Forward)
    }

    fn next_key_back(&mut self) -> Option<Result<Vec<u8>>> {
        self.key(Direction::Backward)
    }

    fn next_with(&mut self, see: &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>> {
        self.see(Direction::Forward, see)
    }

    fn next_back_with(&mut self, see: &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>> {
        self.see(Direction::Backward, see)
    }
}

/// The keys of a range, in order; from either end. No record is read.
#[derive(Debug)]
pub struct Keys(Scan);

impl Scan {
    /// The keys alone.
    #[must_use]
    pub fn keys(self) -> Keys {
        Keys(self)
    }
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        self.0.next_key()
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Result<Vec<u8>>> {
        self.0.next_key_back()
    }
}
