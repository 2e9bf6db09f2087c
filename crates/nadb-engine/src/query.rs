//! Queries: the records of a namespace that a filter means, as of a view's moment.
//!
//! A filter becomes, for each sorted part of each segment, a set of ranks and perhaps a check of the rows that are left
//! ([`select`]). What they select and the view shows is merged in key order like a scan ([`selected`]), or sorted by what was
//! asked for ([`sorted`]). Counting merges nothing, and no record is read for keys and counts.

mod counts;
mod select;
mod selected;
mod sorted;

use std::fmt;
use std::sync::Arc;

use nadb_core::limits::check_namespace;
use nadb_core::{
    Entry, Error, Filter, Matches, NamespaceId, Order, Position, QueryRequest, Result, ScanRequest, SortField,
};
use nadb_log::Direction;

use self::selected::{Asked, Selected};
use self::sorted::sorted;
use crate::engine::Shared;
use crate::scan::KeyRange;
use crate::scan::ahead::{Found, Rowed};
use crate::view::View;

impl Shared {
    /// The records that a request means, at the view's moment.
    pub(crate) fn query(
        self: &Arc<Self>,
        view: &Arc<View>,
        namespace: &str,
        request: &QueryRequest,
    ) -> Result<Query> {
        let namespace = self.namespace_to_query(view, namespace, &request.filter)?;
        let source = match namespace {
            None => Source::Nothing,
            Some(namespace) => Source::begin(view, namespace, request)?,
        };
        Ok(Query {
            shared: Arc::clone(self),
            view: Arc::clone(view),
            source,
            to_skip: request.offset,
            left: request.limit.unwrap_or(u64::MAX),
            has_given: false,
            last: None,
        })
    }

    /// How many records a filter means, at the view's moment.
    pub(crate) fn count(&self, view: &View, namespace: &str, filter: &Filter) -> Result<u64> {
        let Some(namespace) = self.namespace_to_query(view, namespace, filter)? else { return Ok(0) };
        let range = ScanRequest::prefix(filter.key_prefix()).into_bounds();
        let asked = Asked { namespace, filter, range: &range, watermark: view.watermark };
        let mut count = 0;
        for slot in view.slots.iter() {
            for selected in asked.of_slot(&slot.rows(), slot, Direction::Forward)? {
                selected.for_each(view.now_ms, |_| count += 1)?;
            }
        }
        Ok(count)
    }

    fn namespace_to_query(
        &self,
        view: &View,
        namespace: &str,
        filter: &Filter,
    ) -> Result<Option<NamespaceId>> {
        check_namespace(namespace)?;
        filter.check()?;
        self.check_open_to_read()?;
        if filter.asks_for_access() {
            self.begin_to_ask_for_access(view)?;
        }
        Ok(self.keyspace.namespaces.get_at(namespace, view.watermark).map(|namespace| namespace.id))
    }
}

impl Shared {
    /// From here on all that is known of last accesses is in memory.
    fn begin_to_ask_for_access(&self, view: &View) -> Result<()> {
        if !self.options.track_access {
            let what = "queries by last access; open the store with track_access to have it kept";
            return Err(Error::unsupported("engine", what));
        }
        view.slots.iter().for_each(|slot| self.load_access(slot));
        Ok(())
    }
}

/// The keys among which all matches are.
fn keys_of(request: &QueryRequest) -> ScanRequest {
    let keys = ScanRequest::prefix(request.filter.key_prefix());
    match (&request.after, request.order) {
        (Some(after), Order { by: SortField::Key, descending: false }) => keys.after(&after.key),
        (Some(after), Order { by: SortField::Key, descending: true }) => keys.before(&after.key),
        _ => keys,
    }
}

/// Where matches come from.
enum Source {
    /// Of a namespace that does not exist.
    Nothing,
    /// Merged, in key order or against it.
    Merged { rowed: Box<Rowed<Selected>>, namespace: NamespaceId, range: KeyRange },
    /// Sorted by something else.
    Sorted(std::vec::IntoIter<(Position, Found)>),
}

impl Source {
    fn begin(view: &View, namespace: NamespaceId, request: &QueryRequest) -> Result<Source> {
        let range = keys_of(request).into_bounds();
        let direction = match request.order {
            Order { by: SortField::Key, descending: true } => Direction::Backward,
            _ => Direction::Forward,
        };
        let asked = Asked { namespace, filter: &request.filter, range: &range, watermark: view.watermark };
        let rowed = Rowed::new(view, direction, true, |rows, slot| asked.cursors(rows, slot, direction))?;
        Ok(match request.order.by {
            SortField::Key => Source::Merged { rowed: Box::new(rowed), namespace, range },
            _ => Source::Sorted(sorted(view, rowed, namespace, &range, request)?.into_iter()),
        })
    }

    /// The next match; where it stands in the order is `last` then.
    fn next(&mut self, view: &View, fetch: bool, last: &mut Option<Position>) -> Result<Option<Found>> {
        match self {
            Source::Nothing => Ok(None),
            Source::Merged { rowed, namespace, range } => {
                let next = rowed.next(view, *namespace, range, fetch)?;
                Ok(next.map(|(key, found)| {
                    // What memory it has stays.
                    let last = last.get_or_insert_with(|| Position { value: 0, key: Vec::new() });
                    last.key.clear();
                    last.key.extend_from_slice(key);
                    found
                }))
            }
            Source::Sorted(sorted) => Ok(sorted.next().map(|(position, found)| {
                *last = Some(position);
                found
            })),
        }
    }
}

/// The matches of a query, in its order.
///
/// They show one moment: that at which it, or its snapshot, was taken. A record is read, and its checksum verified, when it is
/// asked for; keys come from memory and footers.
pub struct Query {
    shared: Arc<Shared>,
    view: Arc<View>,
    source: Source,
    to_skip: u64,
    left: u64,
    has_given: bool,
    /// Of the match that was found last, also of one that was passed over.
    last: Option<Position>,
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query").field("view", &self.view.watermark).finish_non_exhaustive()
    }
}

impl Query {
    fn step(&mut self, fetch: bool) -> Result<Option<Found>> {
        if matches!(self.source, Source::Nothing) {
            return Ok(None);
        }
        self.shared.check_open_to_read()?;
        while self.left > 0 {
            let is_given = self.to_skip == 0;
            let Some(found) = self.source.next(&self.view, fetch && is_given, &mut self.last)? else { break };
            if is_given {
                self.left -= 1;
                self.has_given = true;
                return Ok(Some(found));
            }
            self.to_skip -= 1;
        }
        self.source = Source::Nothing;
        Ok(None)
    }

    /// After an error the query is over: what comes behind it is not known to be whole.
    fn step_or_end(&mut self, fetch: bool) -> Option<Result<Found>> {
        let step = self.step(fetch);
        if step.is_err() {
            self.source = Source::Nothing;
        }
        step.transpose()
    }

    fn entry(&self, found: Found) -> Result<Entry> {
        let slot = self.view.slots.get(found.slot).map(|slot| &**slot);
        self.shared.entry(&(found.at, self.shared.read_of(slot, found.at)?))
    }
}

impl Iterator for Query {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let step = self.step_or_end(true)?;
        Some(step.and_then(|found| self.entry(found)))
    }
}

impl Matches for Query {
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        let step = self.step_or_end(false)?;
        Some(step.map(|_| self.last.as_ref().map(|last| last.key.clone()).unwrap_or_default()))
    }

    fn last_position(&self) -> Option<Position> {
        self.last.clone().filter(|_| self.has_given)
    }
}
