//! Looking rows up ahead: which rows of the merge a view shows, and where their records stand.
//!
//! Several are looked up at once, step by step for all of them: first their keys, then their places, and then the processor is told
//! to fetch their records. Each step waits for memory once for all rows, and by the time that a record is read it is there.

use std::ops::{Bound, Range};
use std::sync::Arc;

use nadb_core::{Location, NamespaceId, Ordinal, Result};
use nadb_log::{Direction, Merge, RowCursor, RowMeta, RowPlace, Rows, RowsCursor};

use super::{KeyRange, Side, side};
use crate::keyspace::missing;
use crate::slot::Slot;
use crate::view::View;

/// Rows that are looked up at once, at most. Few at first, for many a scan ends after a few rows.
const AHEAD_MAX: usize = 64;

/// Where a record stands that the view shows.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    /// Which of the view's slots has it.
    pub(crate) slot: usize,
    pub(crate) ordinal: Ordinal,
    pub(crate) at: Location,
}

/// A row whose record's place may have to be found.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    /// Where its key ends.
    key_end: usize,
    slot: usize,
    /// Which of the merge's sources gave it.
    source: usize,
    ordinal: Ordinal,
    place: Option<RowPlace>,
}

/// A merge of all segments' rows, or of those that `C` selects of them; each source is known by its place in the view's list.
pub(crate) struct Rowed<C> {
    direction: Direction,
    /// Whether the cursors give nothing but rows of the range that the view shows.
    is_selected: bool,
    rows: Vec<Rows>,
    merge: Merge<C, usize>,
    /// How many are looked up at a time.
    depth: usize,
    candidates: Vec<Candidate>,
    /// Those that the view shows, with the ends of their keys in `keys`.
    found: Vec<(Range<usize>, Found)>,
    keys: Vec<u8>,
    /// The next one of them to be given.
    next: usize,
    /// What comes behind them: the end of the range, or an error.
    end: Option<Result<()>>,
}

impl Rowed<RowsCursor> {
    /// All rows of a range, from the end of it that `direction` comes from.
    pub(super) fn all(
        view: &View,
        namespace: NamespaceId,
        range: &KeyRange,
        direction: Direction,
    ) -> Result<Rowed<RowsCursor>> {
        let (namespace, key) = start(namespace, range, direction);
        Rowed::new(view, direction, false, |rows, _| rows.cursors(namespace, &key, direction))
    }
}

impl<C: RowCursor> Rowed<C> {
    /// The rows that the cursors have which `begin` makes of each slot's rows; `is_selected` says that these are all of the range,
    /// and that the view shows them.
    pub(crate) fn new(
        view: &View,
        direction: Direction,
        is_selected: bool,
        begin: impl Fn(&Rows, &Arc<Slot>) -> Result<Vec<C>>,
    ) -> Result<Rowed<C>> {
        let rows: Vec<Rows> = view.slots.iter().map(|slot| slot.rows()).collect();
        let mut sources = Vec::new();
        for (at, (rows, slot)) in rows.iter().zip(view.slots.iter()).enumerate() {
            sources.extend(begin(rows, slot)?.into_iter().map(|cursor| (cursor, at)));
        }
        let merge = Merge::new(sources, direction);
        let (candidates, found, keys) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Rowed {
            direction,
            is_selected,
            rows,
            merge,
            depth: 1,
            candidates,
            found,
            keys,
            next: 0,
            end: None,
        })
    }

    /// What is known of a row that was given.
    pub(crate) fn meta(&self, found: Found) -> Result<RowMeta> {
        match self.rows.get(found.slot) {
            Some(rows) => rows.meta(found.ordinal),
            None => Err(missing(found.at)),
        }
    }

    /// The next row that the view shows, with its key, and goes on behind it; `None` at the end of the range. Their records are
    /// going to be read if `fetch` says so.
    pub(crate) fn next(
        &mut self,
        view: &View,
        namespace: NamespaceId,
        range: &KeyRange,
        fetch: bool,
    ) -> Result<Option<(&[u8], Found)>> {
        while self.next == self.found.len() && self.end.is_none() {
            self.look_ahead(view, namespace, range);
            self.find_places(view, fetch);
            self.depth = (self.depth * 2).min(AHEAD_MAX);
        }
        let Some((key, found)) = self.found.get(self.next) else {
            return self.end.take().unwrap_or(Ok(())).map(|()| None);
        };
        self.next += 1;
        Ok(Some((self.keys.get(key.clone()).unwrap_or_default(), *found)))
    }

    /// The next rows of the merge that were live at the view's moment.
    fn look_ahead(&mut self, view: &View, namespace: NamespaceId, range: &KeyRange) {
        self.keys.clear();
        self.candidates.clear();
        while self.candidates.len() < self.depth && self.end.is_none() {
            self.end = self.look_at_next(view, namespace, range).transpose();
        }
    }

    /// Looks at the next row of the merge; gives something at the end of the range.
    fn look_at_next(&mut self, view: &View, namespace: NamespaceId, range: &KeyRange) -> Result<Option<()>> {
        let Some(row) = self.merge.current().filter(|row| row.namespace == namespace) else {
            return Ok(Some(()));
        };
        let is_inside = match (side_of(self.is_selected, range, row.key), self.direction) {
            (Side::Inside, _) => true,
            // Another record of the key that was given last: a dead one.
            (Side::Before, Direction::Forward) | (Side::Behind, Direction::Backward) => false,
            _ => return Ok(Some(())),
        };
        let (slot, rows) = (view.slots.get(*row.source), self.rows.get(*row.source));
        if let Some((slot, rows)) = slot.zip(rows).filter(|_| is_inside)
            && (self.is_selected || slot.has(rows, row.ordinal, view.watermark)?)
        {
            self.keys.extend_from_slice(row.key);
            self.candidates.push(Candidate {
                key_end: self.keys.len(),
                slot: *row.source,
                source: self.merge.current_source(),
                ordinal: row.ordinal,
                place: row.place,
            });
        }
        self.merge.advance()?;
        Ok(None)
    }

    /// Where the records of those rows stand, as far as they had not expired. What comes behind an error is not known to be whole.
    fn find_places(&mut self, view: &View, fetch: bool) {
        self.next = 0;
        self.found.clear();
        let mut key_start = 0;
        for candidate in &self.candidates {
            let Candidate { key_end, slot: number, source, ordinal, place } = *candidate;
            let Some(slot) = view.slots.get(number) else { continue };
            let place = match place.map_or_else(|| self.merge.place(source, ordinal), Ok) {
                Ok(place) => place,
                Err(error) => {
                    self.end = Some(Err(error));
                    return;
                }
            };
            let at = Location { segment: slot.segment.id(), offset: place.offset, len: place.len };
            if place.expires_ms.is_none_or(|expires_ms| expires_ms > view.now_ms) {
                self.found.push((key_start..key_end, Found { slot: number, ordinal, at }));
            }
            key_start = key_end;
        }
        if fetch {
            self.fetch(view);
        }
    }

    /// Begins to fetch the records that were found, but those that follow the one before: so far ahead the processor looks by itself.
    fn fetch(&self, view: &View) {
        let mut before = None;
        for (_, Found { slot, at, .. }) in &self.found {
            if before != Some((*slot, at.offset))
                && let Some(slot) = view.slots.get(*slot)
            {
                slot.segment.prefetch(*at);
            }
            before = Some((*slot, at.offset.saturating_add(at.len)));
        }
    }
}

#[inline]
fn side_of(is_selected: bool, range: &KeyRange, key: &[u8]) -> Side {
    if is_selected { Side::Inside } else { side(range, key) }
}

/// Where a merge begins: at the first key at or behind this, or before it where it goes backward.
pub(crate) fn start(
    namespace: NamespaceId,
    (from, to): &KeyRange,
    direction: Direction,
) -> (NamespaceId, Vec<u8>) {
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
