//! Backends that answer queries wrongly, in one way each; `noticed.rs` says which checks must notice.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use nadb_core::{
    Action, Backend, BackendSnapshot, Capabilities, Clock, Entry, ErrorKind, Filter, Listing, ManualClock,
    Matches, NamespaceInfo, Operation, Outcome, Position, QueryRequest, Result, ScanRequest, SortField, Span,
    TagsUpdate, Value, WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

/// How they are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    AndIsOr,
    AnyFilterIsTaken,
    ClosingIsForgotten,
    ContainsIsPrefix,
    CountsStopAtFifty,
    CreatedIsUpdated,
    DescendingKeepsEqualsAscending,
    EmptyAndIsNothing,
    EmptyOrIsEverything,
    EntriesHaveNoValue,
    ExpiredAreCounted,
    ExpiredAreMatched,
    ExpiredHaveTags,
    KeysCountNotAsGiven,
    LastPositionIsMissing,
    LimitCountsFromTheStart,
    MatchesReadLate,
    MatchesStopAtFifty,
    NamespacesAreMixed,
    NoExpiryIsInfinity,
    NotIsForgottenInside,
    OffsetIsIgnored,
    OrderIsIgnored,
    PlaceIsIncluded,
    PlaceIsOfTheKeyAlone,
    PlaceMustExist,
    PrefixIsContained,
    SizeEndsEarly,
    SnapshotsAreOfNow,
    SnapshotsCountNow,
    SnapshotsHaveTagsOfNow,
    TagPrefixIsIgnored,
    TagsAreCaseBlind,
    TagsAreForEver,
    TagsAreUnsorted,
    TagsBeginAlike,
    TagsHaveOneMore,
    UpdatedIsCreated,
}

pub(crate) struct Wrong(Arc<Inner>);

struct Inner {
    map: MapBackend,
    /// The same store where time stands still.
    timeless: MapBackend,
    fault: Fault,
    /// The tags that a key ever had.
    ever: Mutex<BTreeMap<Vec<u8>, BTreeSet<String>>>,
}

impl Wrong {
    pub(crate) fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
        let timeless = MapBackend::new(Arc::new(ManualClock::new(clock.now_ms())));
        Wrong(Arc::new(Inner { map: MapBackend::new(clock), timeless, fault, ever: Mutex::default() }))
    }
}

impl Inner {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// The filter's meaning, with the fault in it.
    fn means(&self, filter: &Filter, entry: &Entry, depth: usize) -> bool {
        let (key, metadata) = (&entry.key, &entry.metadata);
        match (self.fault, filter) {
            (Fault::TagsAreCaseBlind, Filter::Tag(tag)) => {
                metadata.tags.iter().any(|have| have.eq_ignore_ascii_case(tag))
            }
            (Fault::TagsBeginAlike, Filter::Tag(tag)) => {
                metadata.tags.iter().any(|have| have.starts_with(tag.as_str()))
            }
            (Fault::TagsAreForEver, Filter::Tag(tag)) => {
                self.ever.lock().unwrap().get(key).is_some_and(|tags| tags.contains(tag))
            }
            (Fault::PrefixIsContained, Filter::Prefix(part)) => {
                Filter::KeyContains(part.clone()).matches(key, metadata)
            }
            (Fault::ContainsIsPrefix, Filter::KeyContains(part)) => key.starts_with(part),
            (Fault::SizeEndsEarly, Filter::Size(span)) => {
                Span::of(span.from..span.to).contains(metadata.size)
            }
            (Fault::CreatedIsUpdated, Filter::Created(span)) => span.contains(metadata.updated_ms),
            (Fault::UpdatedIsCreated, Filter::Updated(span)) => span.contains(metadata.created_ms),
            (Fault::NoExpiryIsInfinity, Filter::Expires(span)) => {
                span.contains(metadata.expires_ms.unwrap_or(u64::MAX))
            }
            (Fault::EmptyAndIsNothing, Filter::And(terms)) if terms.is_empty() => false,
            (Fault::EmptyOrIsEverything, Filter::Or(terms)) if terms.is_empty() => true,
            (Fault::NotIsForgottenInside, Filter::Not(term)) if depth > 0 => {
                self.means(term, entry, depth + 1)
            }
            (Fault::AndIsOr, Filter::And(terms)) if !terms.is_empty() => {
                terms.iter().any(|term| self.means(term, entry, depth + 1))
            }
            (_, Filter::And(terms)) => terms.iter().all(|term| self.means(term, entry, depth + 1)),
            (_, Filter::Or(terms)) => terms.iter().any(|term| self.means(term, entry, depth + 1)),
            (_, Filter::Not(term)) => !self.means(term, entry, depth + 1),
            (_, term) => term.matches(key, metadata),
        }
    }

    fn is_behind(&self, request: &QueryRequest, entry: &Entry, after: &Position) -> bool {
        let place = Position::of(entry, request.order.by);
        match self.fault {
            Fault::PlaceIsIncluded if place == *after => true,
            Fault::PlaceIsOfTheKeyAlone => {
                let key = |position: &Position| Position { value: 0, key: position.key.clone() };
                request.order.is_behind(&key(&place), &key(after))
            }
            _ => request.order.is_behind(&place, after),
        }
    }

    fn answer(&self, all: Vec<Entry>, request: &QueryRequest) -> Vec<Entry> {
        let mut entries: Vec<Entry> =
            all.into_iter().filter(|entry| self.means(&request.filter, entry, 0)).collect();
        let (by, descending) = (request.order.by, request.order.descending);
        if self.fault == Fault::DescendingKeepsEqualsAscending && descending && by != SortField::Key {
            entries.sort_by_key(|entry| std::cmp::Reverse(by.value_of(&entry.metadata)));
        } else if self.fault != Fault::OrderIsIgnored {
            entries.sort_by_key(|entry| Position::of(entry, by));
            if descending {
                entries.reverse();
            }
        }
        let mut limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap());
        if let Some(after) = &request.after {
            let exists = entries.iter().any(|entry| Position::of(entry, by) == *after);
            if self.fault == Fault::PlaceMustExist && !exists {
                return Vec::new();
            }
            entries.retain(|entry| self.is_behind(request, entry, after));
        }
        let offset = match self.fault {
            Fault::OffsetIsIgnored => 0,
            _ => usize::try_from(request.offset).unwrap(),
        };
        if self.is(Fault::LimitCountsFromTheStart) {
            limit = limit.saturating_sub(offset);
        }
        if self.is(Fault::MatchesStopAtFifty) {
            limit = limit.min(50);
        }
        if self.is(Fault::EntriesHaveNoValue) {
            entries.iter_mut().for_each(|entry| entry.value = Value::default());
        }
        entries.into_iter().skip(offset).take(limit).collect()
    }

    fn all(&self, namespace: &str) -> Result<Vec<Entry>> {
        let source = if self.is(Fault::ExpiredAreMatched) { &self.timeless } else { &self.map };
        let scan = |name: &str| source.scan(name, ScanRequest::all())?.collect::<Result<Vec<_>>>();
        let mut all = match scan(namespace) {
            Err(error) if self.is(Fault::ClosingIsForgotten) && error.kind() == ErrorKind::Closed => {
                return Ok(Vec::new());
            }
            all => all?,
        };
        if self.is(Fault::NamespacesAreMixed) {
            for other in self.map.namespaces()?.iter().filter(|other| other.name != namespace) {
                all.extend(scan(&other.name)?);
            }
        }
        Ok(all)
    }

    fn check(&self, filter: &Filter) -> Result<()> {
        if self.is(Fault::AnyFilterIsTaken) { Ok(()) } else { filter.check() }
    }

    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        let mut tags = match self.fault {
            Fault::ExpiredHaveTags => self.timeless.tags(namespace, prefix)?,
            Fault::TagPrefixIsIgnored => self.map.tags(namespace, "")?,
            _ => self.map.tags(namespace, prefix)?,
        };
        match self.fault {
            Fault::TagsAreUnsorted => tags.reverse(),
            Fault::TagsHaveOneMore => tags.iter_mut().for_each(|(_, count)| *count += 1),
            _ => {}
        }
        Ok(tags)
    }
}

impl Backend for Wrong {
    fn capabilities(&self) -> &Capabilities {
        self.0.map.capabilities()
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        let _ = self.0.timeless.write(batch, options);
        for Operation { key, action, .. } in batch {
            if let Action::Put(put) = action
                && let TagsUpdate::Replace(tags) = &put.tags
            {
                let mut ever = self.0.ever.lock().unwrap();
                ever.entry(key.to_vec()).or_default().extend(tags.iter().map(str::to_owned));
            }
        }
        self.0.map.write(batch, options)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.0.map.get(namespace, key)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.0.map.get_entry(namespace, key)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        self.0.map.scan(namespace, request)
    }

    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        self.0.check(&request.filter)?;
        let (inner, by) = (Arc::clone(&self.0), request.order.by);
        let mut matches =
            WrongMatches { entries: Vec::new(), unread: None, by, given: 0, fault: inner.fault };
        if inner.is(Fault::MatchesReadLate) {
            drop(inner.all(namespace)?);
            let (namespace, request) = (namespace.to_owned(), request.clone());
            matches.unread = Some(Box::new(move || inner.answer(inner.all(&namespace).unwrap(), &request)));
        } else {
            matches.entries = inner.answer(inner.all(namespace)?, request);
        }
        Ok(Box::new(matches))
    }

    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        self.0.check(filter)?;
        if self.0.is(Fault::ExpiredAreCounted) {
            return self.0.timeless.count(namespace, filter);
        }
        let count = match self.0.is(Fault::MatchesStopAtFifty) {
            true => self.0.map.count(namespace, filter)?,
            false => self.0.answer(self.0.all(namespace)?, &QueryRequest::new(filter.clone())).len() as u64,
        };
        Ok(if self.0.is(Fault::CountsStopAtFifty) { count.min(50) } else { count })
    }

    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        self.0.tags(namespace, prefix)
    }

    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        Ok(Arc::new(WrongSnapshot { at: self.0.map.snapshot()?, now: Wrong(Arc::clone(&self.0)) }))
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.0.map.namespaces()
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        let _ = self.0.timeless.drop_namespace(name);
        self.0.map.drop_namespace(name)
    }

    fn close(&self) -> Result<()> {
        self.0.map.close()
    }
}

type Unread = Box<dyn FnOnce() -> Vec<Entry> + Send>;

struct WrongMatches {
    entries: Vec<Entry>,
    unread: Option<Unread>,
    by: SortField,
    given: usize,
    fault: Fault,
}

impl Iterator for WrongMatches {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        if let Some(read) = self.unread.take() {
            self.entries = read();
        }
        let entry = self.entries.get(self.given)?.clone();
        self.given += 1;
        Some(Ok(entry))
    }
}

impl Matches for WrongMatches {
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        let given = self.given;
        let key = self.next()?.map(|entry| entry.key);
        // Between keys that it remembers, and entries, it does not go on in step.
        if self.fault == Fault::KeysCountNotAsGiven && given % 3 == 2 {
            self.given += 1;
        }
        Some(key)
    }

    fn last_position(&self) -> Option<Position> {
        let last = self.given.checked_sub(1).filter(|_| self.fault != Fault::LastPositionIsMissing)?;
        self.entries.get(last).map(|entry| Position::of(entry, self.by))
    }
}

struct WrongSnapshot {
    at: Arc<dyn BackendSnapshot>,
    now: Wrong,
}

impl BackendSnapshot for WrongSnapshot {
    fn version(&self) -> u64 {
        self.at.version()
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.at.get(namespace, key)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.at.get_entry(namespace, key)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        self.at.scan(namespace, request)
    }

    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        match self.now.0.fault {
            Fault::SnapshotsAreOfNow => self.now.query(namespace, request),
            _ => self.at.query(namespace, request),
        }
    }

    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        match self.now.0.fault {
            Fault::SnapshotsCountNow => self.now.count(namespace, filter),
            _ => self.at.count(namespace, filter),
        }
    }

    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        match self.now.0.fault {
            Fault::SnapshotsHaveTagsOfNow => self.now.tags(namespace, prefix),
            _ => self.at.tags(namespace, prefix),
        }
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        self.at.namespaces()
    }
}
