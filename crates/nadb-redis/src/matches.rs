//! Queries: keys that a server finds by its sorted sets, tested further by their metadata where the filter asks for more.
//!
//! In key order matches are found as they are asked for. In another order all candidates are looked at first, of which only the places
//! are kept. A record is fetched at last, and given only if the filter still means it.

use std::collections::VecDeque;
use std::sync::Arc;

use nadb_core::{
    Entry, Filter, Matches, Metadata, Order, Position, QueryRequest, Result, ScanRequest, SortField,
};

use crate::core::Core;
use crate::listing::Slice;
use crate::walk::{Plan, Walk};

/// Candidates whose metadata is fetched at once.
const TESTED: usize = 256;
/// Places that are kept beyond those that are wanted before the rest is dropped.
const SPARE: usize = 1024;

/// The keys that a filter may mean.
fn candidates(request: &QueryRequest) -> ScanRequest {
    let keys = ScanRequest::prefix(request.filter.key_prefix());
    match (&request.after, request.order) {
        (Some(after), Order { by: SortField::Key, descending: false }) => keys.after(&after.key),
        (Some(after), Order { by: SortField::Key, descending: true }) => keys.before(&after.key),
        _ => keys,
    }
}

/// The places of matches in key order.
struct Found {
    core: Arc<Core>,
    name: String,
    filter: Filter,
    by: SortField,
    walk: Walk,
    /// Whether metadata is needed: to test the filter, or to sort.
    asks_metadata: bool,
    tested: VecDeque<Position>,
}

impl Found {
    fn new(core: &Arc<Core>, name: &str, request: &QueryRequest) -> Found {
        let plan = Plan::of(&request.filter);
        let by = request.order.by;
        let is_reverse = by == SortField::Key && request.order.descending;
        Found {
            core: Arc::clone(core),
            name: name.to_owned(),
            filter: request.filter.clone(),
            by,
            asks_metadata: !plan.is_exact || by != SortField::Key,
            walk: Walk::new(core, name, &candidates(request), plan, is_reverse),
            tested: VecDeque::new(),
        }
    }

    fn next(&mut self) -> Result<Option<Position>> {
        if !self.asks_metadata {
            return Ok(self.walk.next()?.map(|key| Position { value: 0, key }));
        }
        while self.tested.is_empty() {
            let mut keys = Vec::with_capacity(TESTED);
            while keys.len() < TESTED
                && let Some(key) = self.walk.next()?
            {
                keys.push(key);
            }
            if keys.is_empty() {
                return Ok(None);
            }
            let metadata = self.core.metadata_in(&self.name, &keys)?;
            for (key, metadata) in keys.into_iter().zip(metadata) {
                if let Some(metadata) = metadata.filter(|metadata| self.filter.matches(&key, metadata)) {
                    self.tested.push_back(Position { value: self.by.value_of(&metadata), key });
                }
            }
        }
        Ok(self.tested.pop_front())
    }
}

impl Core {
    fn metadata_in(&self, name: &str, keys: &[Vec<u8>]) -> Result<Vec<Option<Metadata>>> {
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let found = self.in_space(name, |space| self.metadata_of(space, &keys))?;
        Ok(found.unwrap_or_else(|| keys.iter().map(|_| None).collect()))
    }

    /// How many records a filter means.
    pub(crate) fn count(self: &Arc<Core>, name: &str, filter: &Filter) -> Result<u64> {
        let plan = Plan::of(filter);
        let keys = ScanRequest::prefix(filter.key_prefix());
        if keys == ScanRequest::prefix(b"") && (plan.is_all() || plan.only_tag().is_some()) {
            return self.count_swept(name, plan.only_tag());
        }
        if plan.is_exact {
            return self.count_keys(name, &keys, &plan);
        }
        let mut found = Found::new(self, name, &QueryRequest::new(filter.clone()));
        let mut count = 0;
        while found.next()?.is_some() {
            count += 1;
        }
        Ok(count)
    }
}

/// Places in the order that is asked for.
enum Places {
    InKeyOrder(Box<Found>),
    Unsorted(Box<Found>),
    Sorted(std::vec::IntoIter<Position>),
}

/// The matches of a query.
pub(crate) struct Answers {
    core: Arc<Core>,
    name: String,
    request: QueryRequest,
    places: Places,
    /// Places that were found and not given yet, each with its record once that was fetched.
    ahead: VecDeque<(Position, Option<Entry>)>,
    slice: Slice,
    to_skip: u64,
    left: u64,
    last: Option<Position>,
}

impl Answers {
    pub(crate) fn new(core: &Arc<Core>, name: &str, request: &QueryRequest) -> Answers {
        let found = Box::new(Found::new(core, name, request));
        let expected = request.limit.and_then(|limit| usize::try_from(limit).ok());
        Answers {
            core: Arc::clone(core),
            name: name.to_owned(),
            request: request.clone(),
            places: if request.order.by == SortField::Key {
                Places::InKeyOrder(found)
            } else {
                Places::Unsorted(found)
            },
            ahead: VecDeque::new(),
            slice: Slice::new(expected),
            to_skip: request.offset,
            left: request.limit.unwrap_or(u64::MAX),
            last: None,
        }
    }

    /// The next place, before offset and limit.
    fn place(&mut self) -> Result<Option<Position>> {
        loop {
            match &mut self.places {
                Places::InKeyOrder(found) => return found.next(),
                Places::Sorted(sorted) => return Ok(sorted.next()),
                Places::Unsorted(found) => {
                    let sorted = sort(found, &self.request)?;
                    self.places = Places::Sorted(sorted.into_iter());
                }
            }
        }
    }

    /// Makes that a place is ahead, and its record is there if it is wanted; false at the end.
    fn look_ahead(&mut self, with_record: bool) -> Result<bool> {
        self.core.link.check_open()?;
        loop {
            match self.ahead.front() {
                Some((_, Some(_))) => return Ok(true),
                Some((_, None)) if !with_record => return Ok(true),
                Some((_, None)) => self.fetch()?,
                None => {
                    let wanted = if with_record { self.slice.len() } else { 1 };
                    while self.ahead.len() < wanted
                        && let Some(place) = self.place()?
                    {
                        self.ahead.push_back((place, None));
                    }
                    if self.ahead.is_empty() {
                        return Ok(false);
                    }
                }
            }
        }
    }

    /// Fetches the records of all places that are ahead; those that are not meant any more go.
    fn fetch(&mut self) -> Result<()> {
        let keys: Vec<Vec<u8>> = self.ahead.iter().map(|(place, _)| place.key.clone()).collect();
        let mut entries = self.core.fetch(&self.name, &keys)?.into_iter().peekable();
        let mut bytes = 0;
        let filter = &self.request.filter;
        let found = std::mem::take(&mut self.ahead).into_iter().filter_map(|(place, _)| {
            let entry = entries.next_if(|entry| entry.key == place.key)?;
            bytes += entry.key.len() + entry.value.len();
            filter.matches(&entry.key, &entry.metadata).then_some((place, Some(entry)))
        });
        self.ahead = found.collect();
        self.slice.learn(bytes);
        Ok(())
    }

    fn step(&mut self, with_record: bool) -> Result<Option<(Position, Option<Entry>)>> {
        while self.to_skip > 0 && self.left > 0 {
            if !self.look_ahead(false)? {
                return Ok(None);
            }
            self.ahead.pop_front();
            self.to_skip -= 1;
        }
        if self.left == 0 || !self.look_ahead(with_record)? {
            return Ok(None);
        }
        self.left -= 1;
        let given = self.ahead.pop_front();
        self.last = given.as_ref().map(|(place, _)| place.clone());
        Ok(given)
    }
}

/// The places that are wanted, sorted.
fn sort(found: &mut Found, request: &QueryRequest) -> Result<Vec<Position>> {
    let order = request.order;
    let wanted = request.wanted().and_then(|wanted| usize::try_from(wanted).ok());
    let mut places: Vec<Position> = Vec::new();
    let sort = |places: &mut Vec<Position>| {
        places.sort_unstable_by(|a, b| if order.descending { b.cmp(a) } else { a.cmp(b) });
        places.truncate(wanted.unwrap_or(usize::MAX));
    };
    while let Some(place) = found.next()? {
        if request.after.as_ref().is_none_or(|after| order.is_behind(&place, after)) {
            places.push(place);
        }
        if wanted.is_some_and(|wanted| places.len() / 2 >= wanted.max(SPARE)) {
            sort(&mut places);
        }
    }
    sort(&mut places);
    Ok(places)
}

impl Iterator for Answers {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.step(true).map(|given| given.and_then(|(_, entry)| entry)).transpose()
    }
}

impl Matches for Answers {
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.step(false).map(|given| given.map(|(place, _)| place.key)).transpose()
    }

    fn last_position(&self) -> Option<Position> {
        self.last.clone()
    }
}
