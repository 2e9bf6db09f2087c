//! When the keys of a store were last read, as it must know it: exactly, until a crash takes some of it.
//!
//! A crash may bring back what was known of a key at any earlier time, also that of a key of the same name before, or nothing. So
//! what came back is compared with all reads that there ever were, and counts from then on.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use nadb_core::{Filter, QueryRequest, Span};
use nadb_engine::Engine;

use crate::model::{Model, Records};
use crate::workload::Trouble;

const MINUTE_MS: u64 = 60_000;

type Place = (String, Vec<u8>);

/// The last reads of keys, and all that there were. Clones are cheap.
#[derive(Debug, Clone, Default)]
pub struct Accesses {
    last: Arc<BTreeMap<Place, u64>>,
    ever: Arc<BTreeMap<Place, BTreeSet<u64>>>,
}

fn place(name: &str, key: &[u8]) -> Place {
    (name.to_owned(), key.to_vec())
}

impl Accesses {
    /// A key was read.
    pub fn read(&mut self, name: &str, key: &[u8], now_ms: u64) {
        let minute = now_ms / MINUTE_MS;
        Arc::make_mut(&mut self.last).insert(place(name, key), minute);
        Arc::make_mut(&mut self.ever).entry(place(name, key)).or_default().insert(minute);
    }

    /// A key is not there any more, or is another one.
    pub fn end(&mut self, name: &str, key: &[u8]) {
        if !self.last.is_empty() {
            Arc::make_mut(&mut self.last).remove(&place(name, key));
        }
    }

    /// A namespace is not there any more.
    pub fn end_all(&mut self, name: &str) {
        Arc::make_mut(&mut self.last).retain(|(other, _), _| other != name);
    }

    /// What the store must say of a key.
    #[must_use]
    pub fn of(&self, name: &str, key: &[u8], created_ms: u64) -> Option<u64> {
        self.last.get(&place(name, key)).map(|minute| (minute * MINUTE_MS).max(created_ms))
    }

    /// What a store says of a key that was read out of it.
    pub fn note_shown(&mut self, name: &str, key: &[u8], accessed_ms: Option<u64>) {
        if let Some(accessed_ms) = accessed_ms {
            Arc::make_mut(&mut self.last).insert(place(name, key), accessed_ms / MINUTE_MS);
        }
    }

    /// What came back of these after a crash, if it may.
    ///
    /// # Errors
    /// What is known of a key that was never true.
    pub fn after_crash(&self, shown: &Accesses) -> Result<Accesses, String> {
        for (place, minute) in shown.last.iter() {
            // A key that was read before the minute in which it came into being, for the clock was set back, shows that one.
            let is_possible = |ever: &BTreeSet<u64>| ever.iter().any(|read| read <= minute);
            if !self.ever.get(place).is_some_and(is_possible) {
                return Err(format!("{place:?} is said to have been read in minute {minute}, and was not"));
            }
        }
        Ok(Accesses { last: Arc::clone(&shown.last), ever: Arc::clone(&self.ever) })
    }

    /// The first difference to what a store says of the keys that it shows, for a failure's message.
    #[must_use]
    pub fn difference(&self, content: &Model) -> Option<String> {
        for (name, key) in content.keys() {
            let record = content.records(name)?.get(key)?;
            let (ours, theirs) =
                [self, &content.accesses].map(|of| of.of(name, key, record.created_ms)).into();
            if ours != theirs {
                let key = key.escape_ascii();
                return Some(format!("{name}/{key}: last read at {ours:?}, and not at {theirs:?}"));
            }
        }
        None
    }

    /// Compares what queries find; `records` are all that a reader sees of the namespace, and `minute` is one to ask for.
    ///
    /// # Errors
    /// `Store`, or `Wrong` with the first difference.
    pub fn compare(
        &self,
        engine: &Engine,
        name: &str,
        records: &Records,
        minute: u64,
    ) -> Result<(), Trouble> {
        let span = Span::of(minute * MINUTE_MS..);
        let filters = [Filter::Accessed(Span::ALL), Filter::Accessed(span), !Filter::Accessed(span)];
        for filter in filters {
            let is_meant = |key: &[u8], created_ms| {
                let accessed_ms = self.of(name, key, created_ms);
                match &filter {
                    Filter::Accessed(span) => accessed_ms.is_some_and(|at| span.contains(at)),
                    _ => accessed_ms.is_none_or(|at| !span.contains(at)),
                }
            };
            let expected = records.iter().filter(|(key, record)| is_meant(key, record.created_ms));
            let expected: Vec<_> =
                expected.map(|(key, record)| (key.clone(), self.of(name, key, record.created_ms))).collect();
            let found = engine.snapshot()?.query(name, &QueryRequest::new(filter.clone()))?;
            let found: Vec<_> = found
                .map(|entry| entry.map(|entry| (entry.key, entry.metadata.accessed_ms)))
                .collect::<Result<_, _>>()?;
            if found != expected {
                return Err(Trouble::Wrong(format!(
                    "{name}: {filter}: expected {expected:?}, got {found:?}"
                )));
            }
        }
        Ok(())
    }
}
