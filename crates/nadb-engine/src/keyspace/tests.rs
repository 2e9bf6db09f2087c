//! What is seen of a batch whose keys have moved in part.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{Action, Operation, Put};
use nadb_vfs::MemFs;

use super::{KEYS_UNDER_LOCK, Keyspace};
use crate::{Engine, Options};

/// What to do before the key with this number moves.
pub(crate) struct AtKey {
    pub(crate) left: usize,
    pub(crate) act: Box<dyn FnOnce() + Send>,
}

impl std::fmt::Debug for AtKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "AtKey({})", self.left)
    }
}

impl Keyspace {
    pub(super) fn before_a_key_moves(&self) {
        let mut at_key = self.at_key.lock();
        match at_key.as_mut() {
            Some(AtKey { left: left @ 1.., .. }) => *left -= 1,
            Some(_) => {
                let act = at_key.take();
                drop(at_key);
                act.into_iter().for_each(|at_key| (at_key.act)());
            }
            None => {}
        }
    }
}

const N: &str = "n";

/// More keys than are published under the lock under which views are taken.
const KEYS: usize = KEYS_UNDER_LOCK + 40;

/// Every fourth key was not there before the batch that `write(_, 1)` makes, and every fourth is not there after it.
fn write(engine: &Engine, round: u8) {
    let names: Vec<String> = (0..KEYS).map(name).collect();
    let value = [round];
    let batch: Vec<_> = names
        .iter()
        .zip(0..)
        .filter(|(_, n)| round == 1 || n % 4 != 3)
        .map(|(name, n)| {
            let action =
                if round == 1 && n % 4 == 2 { Action::Delete } else { Action::Put(Put::new(&value)) };
            Operation::new(N, name.as_bytes(), action)
        })
        .collect();
    engine.write(&batch, None).unwrap();
}

fn name(n: usize) -> String {
    format!("{n:05}")
}

fn expected(round: u8, n: usize) -> Option<Vec<u8>> {
    let is_there = n % 4 != if round == 1 { 2 } else { 3 };
    is_there.then(|| vec![round])
}

/// Writes a first batch, then a second over it; does something when half of the second has moved, and gives the store.
fn halfway(act: impl FnOnce(&Engine) + Send + 'static) -> Arc<Engine> {
    let options = Options { background: false, memtable_size: 1 << 20, ..Options::default() };
    let engine = Arc::new(Engine::open(Arc::new(MemFs::default()), Path::new("/store"), options).unwrap());
    write(&engine, 0);
    let other = Arc::clone(&engine);
    let act = Box::new(move || act(&other));
    *engine.shared().keyspace.at_key.lock() = Some(AtKey { left: KEYS / 2, act });
    write(&engine, 1);
    assert!(engine.shared().keyspace.at_key.lock().is_none(), "the batch was large enough");
    engine
}

#[test]
fn single_reads_while_a_large_batch_comes_are_of_one_moment() {
    let engine = halfway(|engine| {
        for n in 0..KEYS {
            let key = name(n);
            let value = engine.get(N, key.as_bytes()).unwrap().map(|value| value.to_vec());
            assert_eq!(value, expected(0, n), "{n} while the batch comes");
            assert_eq!(engine.contains(N, key.as_bytes()).unwrap(), expected(0, n).is_some(), "{n}");
            let entry = engine.get_entry(N, key.as_bytes()).unwrap().map(|entry| entry.value.to_vec());
            assert_eq!(entry, expected(0, n), "{n} with its metadata");
        }
    });
    for n in 0..KEYS {
        let value = engine.get(N, name(n).as_bytes()).unwrap().map(|value| value.to_vec());
        assert_eq!(value, expected(1, n), "{n} when it has come");
    }
}

#[test]
fn a_view_that_is_taken_while_a_large_batch_comes_shows_what_was_before_it() {
    let (taken, views) = std::sync::mpsc::channel();
    let engine = halfway(move |engine| taken.send(engine.snapshot().unwrap()).unwrap());
    let before = views.recv().unwrap();
    let after = engine.snapshot().unwrap();
    for (view, round) in [(before, 0), (after, 1)] {
        for n in 0..KEYS {
            let value = view.get(N, name(n).as_bytes()).unwrap().map(|value| value.to_vec());
            assert_eq!(value, expected(round, n), "{n} of round {round}");
        }
        let there = (0..KEYS).filter(|n| expected(round, *n).is_some()).count();
        assert_eq!(view.scan(N, (Bound::Unbounded, Bound::Unbounded)).unwrap().count(), there);
    }
}
