//! Views under test: snapshots of a store, each with what the model held at its moment, and every way to read them.
//!
//! It promises that a snapshot and a scan that is under way answer as their moment was, whatever is done to the store meanwhile, and
//! that nothing is remembered for views that are closed. What is done meanwhile is the workload's.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use nadb_core::Entry;
use nadb_engine::{Engine, Scan, Snapshot};

use crate::dice::Dice;
use crate::model::{Model, Record};
use crate::queries;
use crate::script::NAMESPACES;
use crate::workload::Trouble;

/// Views that are open at once, at most.
pub const OPEN_MAX: usize = 4;

type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);
/// The records that a scan has still to give, in key order.
type Expected = VecDeque<(Vec<u8>, Arc<Record>)>;

/// A snapshot, and what it must show.
#[derive(Debug)]
struct Held {
    snapshot: Snapshot,
    state: Model,
    now_ms: u64,
    /// A scan that is under way, and what it has still to give.
    scan: Option<(Scan, Expected)>,
}

/// The views that a workload holds.
#[derive(Debug, Default)]
pub struct Views {
    open: VecDeque<Held>,
}

impl Views {
    /// Takes a view of a store whose content is `state`; the oldest goes where there are too many.
    ///
    /// # Errors
    /// What the store answers.
    pub fn take(&mut self, engine: &Engine, state: &Model, now_ms: u64) -> Result<(), Trouble> {
        let snapshot = engine.snapshot()?;
        let mut held = Held { snapshot, state: state.clone(), now_ms, scan: None };
        let all = (Bound::Unbounded, Bound::Unbounded);
        let name = NAMESPACES.first().copied().unwrap_or_default();
        held.scan = Some((held.snapshot.scan(name, all.clone())?, held.expected(name, &all)));
        while self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(held);
        Ok(())
    }

    /// How many are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Closes one of them.
    pub fn release(&mut self, which: u64) {
        if let Some(at) = which.checked_rem(self.open.len() as u64) {
            self.open.remove(usize::try_from(at).unwrap_or_default());
        }
    }

    /// Closes all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Compares each with what it must show; `now` is what the store holds now, `seed` chooses among the ranges.
    ///
    /// # Errors
    /// `Wrong` with the first difference, `Store` with what the store answered.
    pub fn compare(&mut self, now: &Model, seed: u64) -> Result<(), Trouble> {
        for held in &mut self.open {
            let version = held.snapshot.version();
            held.compare(now, &mut Dice::new(seed)).map_err(|trouble| match trouble {
                Trouble::Wrong(what) => Trouble::Wrong(format!("view of version {version}: {what}")),
                store @ Trouble::Store(_) => store,
            })?;
        }
        Ok(())
    }
}

impl Held {
    fn compare(&mut self, now: &Model, random: &mut Dice) -> Result<(), Trouble> {
        let names = self.snapshot.namespaces()?;
        if names != self.state.names() {
            return wrong(format!("namespaces {names:?}, expected {:?}", self.state.names()));
        }
        let names: BTreeSet<String> =
            names.into_iter().chain(now.names()).chain(NAMESPACES.map(str::to_owned)).collect();
        for name in &names {
            self.compare_keys(name, now)?;
            let all = (Bound::Unbounded, Bound::Unbounded);
            self.compare_range(name, all.clone(), || true)?;
            self.compare_range(name, all, || false)?;
            for _ in 0..3 {
                let range = random_range(random);
                self.compare_range(name, range, || random.chance(50))?;
            }
            let visible = queries::visible(self.state.records(name), self.now_ms);
            queries::compare(&self.snapshot, name, &visible, random.next_u64())?;
        }
        let steps = random.below(4);
        self.go_on_scanning(steps)
    }

    /// All keys of then and now, and one that there never is.
    fn compare_keys(&self, name: &str, now: &Model) -> Result<(), Trouble> {
        let keys = |model: &Model| -> Vec<Vec<u8>> {
            model.records(name).map(|all| all.keys().cloned().collect()).unwrap_or_default()
        };
        let keys: BTreeSet<Vec<u8>> =
            keys(&self.state).into_iter().chain(keys(now)).chain([b"never".to_vec()]).collect();
        let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
        let values = self.snapshot.get_many(name, &keys)?;
        for (key, value) in keys.iter().zip(values) {
            let expected = self.state.visible(name, key, self.now_ms);
            let entry = self.snapshot.get_entry(name, key)?.map(Record::of);
            let as_expected = entry.as_ref() == expected
                && value.as_deref() == expected.map(|record| record.value.as_slice())
                && self.snapshot.contains(name, key)? == expected.is_some()
                && self.snapshot.metadata(name, key)?.map(|m| m.version) == expected.and_then(|r| r.version);
            if !as_expected {
                let key = key.escape_ascii();
                return wrong(format!("{name}/{key}: expected {expected:?}, got {entry:?} and {value:?}"));
            }
        }
        Ok(())
    }

    fn expected(&self, name: &str, range: &KeyRange) -> Expected {
        let Some(records) = self.state.records(name) else { return Expected::new() };
        let visible = records.iter().filter(|(_, record)| record.is_visible(self.now_ms));
        let inside = visible.filter(|(key, _)| contains(range, key));
        inside.map(|(key, record)| (key.clone(), Arc::clone(record))).collect()
    }

    /// A whole scan; each step from the end that `is_forward` says.
    fn compare_range(
        &self,
        name: &str,
        range: KeyRange,
        mut is_forward: impl FnMut() -> bool,
    ) -> Result<(), Trouble> {
        let mut expected = self.expected(name, &range);
        let mut scan = self.snapshot.scan(name, range.clone())?;
        loop {
            let is_forward = is_forward();
            let is_over = step(&mut scan, &mut expected, is_forward);
            match is_over {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(Trouble::Wrong(what)) => return wrong(format!("scan of {name} {range:?}: {what}")),
                Err(store) => return Err(store),
            }
        }
    }

    fn go_on_scanning(&mut self, steps: u64) -> Result<(), Trouble> {
        let Some((scan, expected)) = &mut self.scan else { return Ok(()) };
        for at in 0..steps {
            match step(scan, expected, at % 2 == 0) {
                Ok(_) => {}
                // A scan is over after an error.
                Err(Trouble::Store(error)) => {
                    self.scan = None;
                    return Err(error.into());
                }
                Err(Trouble::Wrong(what)) => return wrong(format!("the scan under way: {what}")),
            }
        }
        Ok(())
    }
}

/// One step of a scan; says whether it is over.
fn step(scan: &mut Scan, expected: &mut Expected, is_forward: bool) -> Result<bool, Trouble> {
    let (found, next) = match is_forward {
        true => (scan.next(), expected.pop_front()),
        false => (scan.next_back(), expected.pop_back()),
    };
    let found: Option<Entry> = found.transpose()?;
    let found = found.map(|entry| (entry.key.clone(), Arc::new(Record::of(entry))));
    match found == next {
        true => Ok(found.is_none()),
        false => wrong(format!("expected {next:?}, got {found:?} (forward: {is_forward})")),
    }
}

fn wrong<T>(what: String) -> Result<T, Trouble> {
    Err(Trouble::Wrong(what))
}

/// Ranges of which many are empty, turned round, or all keys with a prefix.
fn random_range(random: &mut Dice) -> KeyRange {
    let key = |random: &mut Dice| format!("key:{:02}", random.below(24)).into_bytes();
    if random.chance(20) {
        return (Bound::Included(b"key:1".to_vec()), Bound::Excluded(b"key:2".to_vec()));
    }
    let end = |random: &mut Dice| match random.below(5) {
        0 => Bound::Unbounded,
        1 | 2 => Bound::Included(key(random)),
        _ => Bound::Excluded(key(random)),
    };
    (end(random), end(random))
}

/// Whether a range that may be turned round has a key.
fn contains((from, to): &KeyRange, key: &[u8]) -> bool {
    let is_behind_start = match from {
        Bound::Included(from) => key >= &from[..],
        Bound::Excluded(from) => key > &from[..],
        Bound::Unbounded => true,
    };
    let is_before_end = match to {
        Bound::Included(to) => key <= &to[..],
        Bound::Excluded(to) => key < &to[..],
        Bound::Unbounded => true,
    };
    is_behind_start && is_before_end
}
