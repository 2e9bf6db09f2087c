//! Scans: the live records of a key range as of a view's moment, in key order, from either end. The rows of all segments are
//! merged; a record is read when it is asked for, and for keys alone never.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use nadb_core::limits::check_namespace;
use nadb_core::{Entry, Listing, Location, NamespaceId, Result};
use nadb_log::{Direction, Merge, RowPlace, Rows, RowsCursor};

use crate::engine::Shared;
use crate::view::View;

type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl Shared {
    /// The visible records of a range at the view's moment.
    pub(crate) fn scan(self: &Arc<Self>, view: &Arc<View>, namespace: &str, range: KeyRange) -> Result<Scan> {
        check_namespace(namespace)?;
        self.check_open_to_read()?;
        let namespace = self.keyspace.namespaces.get_at(namespace, view.watermark);
        Ok(Scan {
            shared: Arc::clone(self),
            view: Arc::clone(view),
            namespace: namespace.map(|namespace| namespace.id),
            range,
            forward: None,
            backward: None,
        })
    }
}

/// Rows that are looked up ahead of the one that is given: by then the processor has fetched their records. Few at first, for
/// many a scan ends after a few rows.
const AHEAD_MAX: usize = 32;

/// A row that the view shows.
type Found = (Vec<u8>, Location);

/// A merge of all segments' rows; each source is known by its place in the view's list.
struct Rowed {
    direction: Direction,
    rows: Vec<Rows>,
    merge: Merge<RowsCursor, usize>,
    /// Found already, to be given next; at its end what ended the search.
    ahead: VecDeque<Result<Option<Found>>>,
    /// How many are looked up at a time.
    depth: usize,
}

impl Rowed {
    /// Begins at the end of the range that `direction` comes from.
    fn new(view: &View, namespace: NamespaceId, range: &KeyRange, direction: Direction) -> Result<Rowed> {
        let rows: Vec<Rows> = view.slots.iter().map(|slot| slot.rows()).collect();
        let (namespace, key) = start(namespace, range, direction);
        let mut sources = Vec::new();
        for (at, rows) in rows.iter().enumerate() {
            let cursors = rows.cursors(namespace, &key, direction)?;
            sources.extend(cursors.into_iter().map(|cursor| (cursor, at)));
        }
        let merge = Merge::new(sources, direction);
        Ok(Rowed { direction, merge, rows, ahead: VecDeque::new(), depth: 1 })
    }

    /// The next row that the view shows, and goes on behind it; `None` at the end of the range, which may have moved since
    /// the row was looked up. Their records are going to be read if `fetch` says so.
    fn next(
        &mut self,
        view: &View,
        namespace: NamespaceId,
        range: &KeyRange,
        fetch: bool,
    ) -> Result<Option<Found>> {
        if self.ahead.is_empty() {
            self.look_ahead(view, namespace, range, fetch);
        }
        let found = self.ahead.pop_front().transpose()?.flatten();
        Ok(found.filter(|(key, _)| side(range, key) == Side::Inside))
    }

    fn look_ahead(&mut self, view: &View, namespace: NamespaceId, range: &KeyRange, fetch: bool) {
        for _ in 0..self.depth {
            let found = self.look_up(view, namespace, range, fetch);
            let goes_on = matches!(found, Ok(Some(_)));
            self.ahead.push_back(found);
            if !goes_on {
                break;
            }
        }
        self.depth = (self.depth * 2).min(AHEAD_MAX);
    }

    /// The next row of the merge that the view shows.
    fn look_up(
        &mut self,
        view: &View,
        namespace: NamespaceId,
        range: &KeyRange,
        fetch: bool,
    ) -> Result<Option<Found>> {
        while let Some(row) = self.merge.current() {
            if row.namespace != namespace {
                return Ok(None);
            }
            match (side(range, row.key), self.direction) {
                (Side::Inside, _) => {}
                // Another record of the key that was given last: a dead one.
                (Side::Before, Direction::Forward) | (Side::Behind, Direction::Backward) => {
                    self.merge.advance()?;
                    continue;
                }
                _ => return Ok(None),
            }
            let (slot, rows) = (view.slots.get(*row.source), self.rows.get(*row.source));
            let shown = match slot.zip(rows) {
                Some((slot, rows)) if slot.has(rows, row.ordinal, view.watermark)? => Some(slot),
                _ => None,
            };
            let found = match shown {
                Some(slot) => {
                    let key = row.key.to_vec();
                    let RowPlace { offset, len, expires_ms } = self.merge.place()?;
                    let at = Location { segment: slot.segment.id(), offset, len };
                    let is_expired = expires_ms.is_some_and(|expires_ms| expires_ms <= view.now_ms);
                    if fetch && !is_expired {
                        slot.segment.prefetch(at);
                    }
                    (!is_expired).then_some((key, at))
                }
                None => None,
            };
            self.merge.advance()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }
}

/// Where a merge begins: at the first key at or behind this, or before it where it goes backward.
fn start(namespace: NamespaceId, (from, to): &KeyRange, direction: Direction) -> (NamespaceId, Vec<u8>) {
    // The key behind all that are at most `key`.
    let behind = |key: &[u8]| [key, &[0]].concat();
    match (direction, from, to) {
        (Direction::Forward, Bound::Included(from), _) => (namespace, from.clone()),
        (Direction::Forward, Bound::Excluded(from), _) => (namespace, behind(from)),
        (Direction::Forward, Bound::Unbounded, _) => (namespace, Vec::new()),
        (Direction::Backward, _, Bound::Included(to)) => (namespace, behind(to)),
        (Direction::Backward, _, Bound::Excluded(to)) => (namespace, to.clone()),
        (Direction::Backward, _, Bound::Unbounded) => {
            (NamespaceId(namespace.0.saturating_add(1)), Vec::new())
        }
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
    forward: Option<Rowed>,
    backward: Option<Rowed>,
}

impl std::fmt::Debug for Scan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scan").field("view", &self.view.watermark).finish_non_exhaustive()
    }
}

impl Scan {
    /// The place of the next record, from one end, whose key is then where the rest of the range begins or ends.
    fn step(&mut self, direction: Direction, fetch: bool) -> Result<Option<Location>> {
        // First: a scan that ended in an error, as one does when the store is closed, has an end.
        let Some(namespace) = self.namespace else { return Ok(None) };
        self.shared.check_open_to_read()?;
        let rowed = match direction {
            Direction::Forward => &mut self.forward,
            Direction::Backward => &mut self.backward,
        };
        let rowed = match rowed {
            Some(rowed) => rowed,
            None => rowed.insert(Rowed::new(&self.view, namespace, &self.range, direction)?),
        };
        let Some((key, at)) = rowed.next(&self.view, namespace, &self.range, fetch)? else {
            // Nothing is left: no end need look again.
            self.namespace = None;
            return Ok(None);
        };
        match direction {
            Direction::Forward => self.range.0 = Bound::Excluded(key),
            Direction::Backward => self.range.1 = Bound::Excluded(key),
        }
        Ok(Some(at))
    }

    /// After an error the scan is over: what comes behind it is not known to be whole.
    fn step_or_end(&mut self, direction: Direction, fetch: bool) -> Option<Result<Location>> {
        let step = self.step(direction, fetch);
        if step.is_err() {
            self.namespace = None;
        }
        step.transpose()
    }

    fn entry(&mut self, direction: Direction) -> Option<Result<Entry>> {
        let step = self.step_or_end(direction, true)?;
        Some(step.and_then(|at| self.shared.entry_at(at)))
    }

    fn key(&mut self, direction: Direction) -> Option<Result<Vec<u8>>> {
        let step = self.step_or_end(direction, false)?;
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
