//! Queries under test: random filters, orders and sections, answered by a store or a snapshot, and by looking at each record of the
//! model.
//!
//! It promises that whatever is asked (whole entries, keys, counts, pages, tags) is compared. When it is asked is the workload's.

use std::collections::BTreeMap;

use nadb_core::{
    Backend, BackendSnapshot, Entry, Filter, Matches, Metadata, Order, Position, QueryRequest, SortField,
    Span,
};
use nadb_engine::{Engine, Snapshot};

use crate::dice::Dice;
use crate::model::{Record, Records};
use crate::workload::{START_MS, Trouble};

/// The tags that workloads give, and one that no record has.
const TAGS: [&str; 6] = ["user", "premium", "eu", "us", "banned", "never"];
/// Requests of one comparison.
const REQUESTS: usize = 3;

/// What can be asked.
pub trait Ask {
    /// As [`Backend::query`].
    ///
    /// # Errors
    /// As that.
    fn query(&self, name: &str, request: &QueryRequest) -> nadb_core::Result<Box<dyn Matches>>;
    /// As [`Backend::count`].
    ///
    /// # Errors
    /// As that.
    fn count(&self, name: &str, filter: &Filter) -> nadb_core::Result<u64>;
    /// As [`Backend::tags`].
    ///
    /// # Errors
    /// As that.
    fn tags(&self, name: &str, prefix: &str) -> nadb_core::Result<Vec<(String, u64)>>;
}

impl Ask for Engine {
    fn query(&self, name: &str, request: &QueryRequest) -> nadb_core::Result<Box<dyn Matches>> {
        Backend::query(self, name, request)
    }
    fn count(&self, name: &str, filter: &Filter) -> nadb_core::Result<u64> {
        Backend::count(self, name, filter)
    }
    fn tags(&self, name: &str, prefix: &str) -> nadb_core::Result<Vec<(String, u64)>> {
        Backend::tags(self, name, prefix)
    }
}

impl Ask for Snapshot {
    fn query(&self, name: &str, request: &QueryRequest) -> nadb_core::Result<Box<dyn Matches>> {
        BackendSnapshot::query(self, name, request)
    }
    fn count(&self, name: &str, filter: &Filter) -> nadb_core::Result<u64> {
        BackendSnapshot::count(self, name, filter)
    }
    fn tags(&self, name: &str, prefix: &str) -> nadb_core::Result<Vec<(String, u64)>> {
        BackendSnapshot::tags(self, name, prefix)
    }
}

/// The records of a namespace that a reader sees at this time.
#[must_use]
pub fn visible(records: Option<&Records>, now_ms: u64) -> Records {
    let mut records = records.cloned().unwrap_or_default();
    records.retain(|_, record| record.is_visible(now_ms));
    records
}

/// Asks in every way and compares with `records`, which are all that a reader sees. `seed` chooses what is asked.
///
/// # Errors
/// `Wrong` with the first difference, `Store` with what was answered.
pub fn compare(asked: &dyn Ask, name: &str, records: &Records, seed: u64) -> Result<(), Trouble> {
    let mut random = Dice::new(seed);
    for _ in 0..REQUESTS {
        let request = random_request(&mut random);
        let wrong = |what: String| Trouble::Wrong(format!("{name}: {request:?}: {what}"));
        let all = answer(records, &request.clone().section(0, None));
        let expected = answer(records, &request);
        let found: Vec<Entry> = asked.query(name, &request)?.collect::<Result<_, _>>()?;
        let found: Vec<_> = found.into_iter().map(|entry| (entry.key.clone(), Record::of(entry))).collect();
        if !found.iter().map(|(key, record)| (key, record)).eq(expected.iter().copied()) {
            return Err(wrong(format!("expected {expected:?}, got {found:?}")));
        }
        let keys = keys_by_pages(asked, name, &request, 1 + random.below(5))?;
        if !keys.iter().eq(all.iter().map(|(key, _)| *key)) {
            return Err(wrong(format!("in pages expected {all:?}, got {keys:?}")));
        }
        let meant = records.iter().filter(|(key, record)| is_meant(&request.filter, key, record)).count();
        let count = asked.count(name, &request.filter)?;
        if count != meant as u64 {
            return Err(wrong(format!("a count of {count}, expected {meant}")));
        }
    }
    compare_tags(asked, name, records)
}

fn compare_tags(asked: &dyn Ask, name: &str, records: &Records) -> Result<(), Trouble> {
    let mut expected = BTreeMap::<String, u64>::new();
    for record in records.values() {
        record.tags.iter().for_each(|tag| *expected.entry(tag.to_owned()).or_default() += 1);
    }
    for prefix in ["", "u"] {
        let found = asked.tags(name, prefix)?;
        let begins = |(tag, _): &(&String, &u64)| tag.starts_with(prefix);
        if !found.iter().map(|(tag, count)| (tag, count)).eq(expected.iter().filter(begins)) {
            let what = format!("{name}: tags {found:?} that begin with {prefix:?}, of {expected:?}");
            return Err(Trouble::Wrong(what));
        }
    }
    for tag in TAGS {
        let (found, expected) = (asked.count(name, &Filter::tag(tag))?, expected.get(tag).copied());
        if found != expected.unwrap_or(0) {
            let what = format!("{name}: {found} records have the tag {tag:?}, expected {expected:?}");
            return Err(Trouble::Wrong(what));
        }
    }
    Ok(())
}

/// All matches, a few at a time, each page behind the last match of the page before.
fn keys_by_pages(
    asked: &dyn Ask,
    name: &str,
    request: &QueryRequest,
    size: u64,
) -> Result<Vec<Vec<u8>>, Trouble> {
    let mut keys = Vec::new();
    let mut page = request.clone().section(0, Some(size));
    loop {
        let mut matches = asked.query(name, &page)?;
        let before = keys.len();
        while let Some(key) = matches.next_key() {
            keys.push(key?);
        }
        if keys.len() == before {
            return Ok(keys);
        }
        page.after = matches.last_position();
    }
}

fn metadata(record: &Record) -> Metadata {
    let version = record.version.unwrap_or_default();
    let mut metadata = Metadata::new(version, record.value.len() as u64, record.updated_ms);
    metadata.tags = record.tags.clone();
    (metadata.created_ms, metadata.expires_ms) = (record.created_ms, record.expires_ms);
    metadata
}

fn is_meant(filter: &Filter, key: &[u8], record: &Record) -> bool {
    filter.matches(key, &metadata(record))
}

/// What a request must give.
fn answer<'r>(records: &'r Records, request: &QueryRequest) -> Vec<(&'r Vec<u8>, &'r Record)> {
    let order = request.order;
    let meant = records.iter().filter(|(key, record)| is_meant(&request.filter, key, record));
    let position = |key: &[u8], record: &Record| Position {
        value: order.by.value_of(&metadata(record)),
        key: key.to_vec(),
    };
    let mut all: Vec<_> = meant.map(|(key, record)| (position(key, record), (key, &**record))).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    if order.descending {
        all.reverse();
    }
    let behind =
        |position: &Position| request.after.as_ref().is_none_or(|after| order.is_behind(position, after));
    let behind = all.into_iter().filter(|(position, _)| behind(position)).map(|(_, found)| found);
    let limit = request.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    behind.skip(usize::try_from(request.offset).unwrap_or(usize::MAX)).take(limit).collect()
}

fn random_request(random: &mut Dice) -> QueryRequest {
    let fields = [SortField::Key, SortField::Key, SortField::Created, SortField::Updated, SortField::Size];
    let order = Order { by: *random.pick(&fields), descending: random.chance(40) };
    let after = random.chance(30).then(|| Position {
        value: if order.by == SortField::Key { 0 } else { START_MS + random.below(20_000) },
        key: format!("key:{:02}", random.below(24)).into_bytes(),
    });
    let offset = if random.chance(30) { random.below(4) } else { 0 };
    let limit = random.chance(50).then(|| random.below(8));
    QueryRequest::new(random_filter(random, 3)).ordered(order).behind(after).section(offset, limit)
}

fn random_filter(random: &mut Dice, depth: u64) -> Filter {
    if depth == 0 || random.chance(40) {
        return random_term(random);
    }
    let terms = |random: &mut Dice| (0..random.below(4)).map(|_| random_filter(random, depth - 1)).collect();
    match random.below(5) {
        0 | 1 => Filter::And(terms(random)),
        2 | 3 => Filter::Or(terms(random)),
        _ => !random_filter(random, depth - 1),
    }
}

fn random_term(random: &mut Dice) -> Filter {
    let time = |random: &mut Dice| {
        let from = START_MS - 5000 + random.below(20_000);
        Span::of(from..from + random.below(20_000))
    };
    match random.below(12) {
        0..=5 => Filter::tag(*random.pick(&TAGS)),
        6 => Filter::Prefix(random.pick(&["", "key:", "key:1", "n", "many:0"]).as_bytes().to_vec()),
        7 => Filter::KeyContains(random.pick(&["", ":0", "1", "xyz"]).as_bytes().to_vec()),
        8 => Filter::Size(Span::of(random.below(120)..random.below(900))),
        9 => Filter::Created(time(random)),
        10 => Filter::Updated(time(random)),
        _ => Filter::Expires(if random.chance(40) { Span::ALL } else { time(random) }),
    }
}
