//! The stress: writers move amounts between accounts while segments are sealed as fast as they fill, and readers look at the store
//! in every way, some of them for long.
//!
//! It promises that what is written never changes the sum of all accounts, so that any reader who sees another sum has not seen one
//! moment. It counts what is read; what the process may cost is for the test to say.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nadb_core::{Action, Add, Merge, Operation, Put, Result, Value};
use nadb_engine::{Engine, Snapshot};

use crate::dice::Dice;

/// Accounts, all in one namespace.
pub const ACCOUNTS: u64 = 200;
const FIRST_AMOUNT: i64 = 1000;
/// What all accounts have together, at every moment.
pub const SUM: i64 = FIRST_AMOUNT * ACCOUNTS as i64;
/// Keys of the namespace that comes and goes: either all are there, or the namespace is not.
const BURST: u64 = 90;
const BANK: &str = "bank";
const PASSING: &str = "passing";
/// Views that a reader holds at once.
const HELD_MAX: usize = 3;

/// Who takes part.
#[derive(Debug, Clone, Copy)]
pub struct Cast {
    /// Threads that write.
    pub writers: u64,
    /// Threads that read.
    pub readers: u64,
    /// What follows from it: the choices of all of them, but not how they meet.
    pub seed: u64,
    /// Of a thousand transfers, how many are followed by a millisecond's pause.
    pub pauses: u64,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Batches.
    pub batches: AtomicU64,
    /// Looks at a sum.
    pub sums: AtomicU64,
    /// Looks at a view that was held for a while.
    pub later_sums: AtomicU64,
}

fn account(n: u64) -> Vec<u8> {
    format!("account:{n:04}").into_bytes()
}

fn addition(n: u64, by: i64) -> Operation<'static> {
    let merge = Merge::new(Arc::new(Add), by.to_string().into_bytes());
    Operation::new(BANK, account(n), Action::Merge(merge))
}

/// Opens all accounts, in one batch.
///
/// # Errors
/// What the store answers.
pub fn prepare(engine: &Engine) -> Result<()> {
    let batch: Vec<_> = (0..ACCOUNTS).map(|n| addition(n, FIRST_AMOUNT)).collect();
    engine.write(&batch, None).map(drop)
}

/// Everybody does their part for this long.
///
/// # Panics
/// Where a reader sees what never was, or the store answers with an error.
#[must_use]
pub fn run(engine: &Engine, cast: Cast, time: Duration) -> Done {
    let done = Done::default();
    let is_over = AtomicBool::new(false);
    let end = Instant::now() + time;
    thread::scope(|scope| {
        let (done, is_over) = (&done, &is_over);
        let mut threads = Vec::new();
        for writer in 0..cast.writers {
            threads.push(scope.spawn(move || write(engine, writer, cast, done, is_over)));
        }
        for reader in 0..cast.readers {
            let dice = Dice::new(cast.seed ^ (reader + 1) << 40);
            threads.push(scope.spawn(move || read(engine, reader, dice, done, is_over)));
        }
        // Who fails ends the run for all.
        while Instant::now() < end && threads.iter().all(|thread| !thread.is_finished()) {
            thread::sleep(Duration::from_millis(5));
        }
        is_over.store(true, Ordering::Release);
    });
    done
}

fn write(engine: &Engine, writer: u64, cast: Cast, done: &Done, is_over: &AtomicBool) {
    let mut dice = Dice::new(cast.seed ^ (writer + 1) << 20);
    while !is_over.load(Ordering::Acquire) {
        let result = match dice.below(100) {
            0..=3 => engine.write(&many_transfers(&mut dice), None).map(drop),
            4..=5 if writer == 0 => come_and_go(engine, &mut dice),
            _ => engine.write(&transfer(&mut dice), None).map(drop),
        };
        result.unwrap_or_else(|error| panic!("writer {writer}: {error:?}"));
        done.batches.fetch_add(1, Ordering::Relaxed);
        if dice.below(1000) < cast.pauses {
            thread::sleep(Duration::from_millis(1));
        }
    }
}

fn transfer(dice: &mut Dice) -> [Operation<'static>; 2] {
    let (from, to) = (dice.below(ACCOUNTS), dice.below(ACCOUNTS));
    let amount = 1 + i64::try_from(dice.below(9)).unwrap_or_default();
    [addition(from, -amount), addition(to, amount)]
}

/// So many at once that they do not become visible under one short lock.
fn many_transfers(dice: &mut Dice) -> Vec<Operation<'static>> {
    let first = dice.below(ACCOUNTS);
    let half = ACCOUNTS / 4;
    let takes = (0..half).map(|n| addition((first + n) % ACCOUNTS, -1));
    let gives = (half..2 * half).map(|n| addition((first + n) % ACCOUNTS, 1));
    takes.chain(gives).collect()
}

/// A namespace comes with all its keys, or goes.
fn come_and_go(engine: &Engine, dice: &mut Dice) -> Result<()> {
    if engine.drop_namespace(PASSING)? {
        return Ok(());
    }
    let value = dice.next_u64().to_le_bytes().repeat(6);
    let put = |n: u64| Operation::new(PASSING, account(n), Action::Put(Put::new(value.clone())));
    let batch: Vec<_> = (0..BURST).map(put).collect();
    engine.write(&batch, None).map(drop)
}

/// A view, and what was read in it when it was taken.
struct Held {
    snapshot: Snapshot,
    account: u64,
    value: Value,
    copy: Vec<u8>,
    burst: usize,
}

fn read(engine: &Engine, reader: u64, mut dice: Dice, done: &Done, is_over: &AtomicBool) {
    let mut held: VecDeque<Held> = VecDeque::new();
    while !is_over.load(Ordering::Acquire) {
        let step = match dice.below(10) {
            0..=3 => look(engine, &mut dice, done),
            4..=6 => hold(engine, &mut dice).map(|view| held.push_back(view)),
            _ => held.iter().try_for_each(|view| look_again(view, done)),
        };
        step.unwrap_or_else(|error| panic!("reader {reader}: {error:?}"));
        if held.len() > HELD_MAX {
            held.pop_front();
        }
    }
}

/// At the store as it is now, in one of the ways that show one moment.
fn look(engine: &Engine, dice: &mut Dice, done: &Done) -> Result<()> {
    let sum = match dice.below(3) {
        0 => sum_of_scan(&engine.snapshot()?, dice.chance(50))?,
        1 => {
            let keys: Vec<Vec<u8>> = (0..ACCOUNTS).map(account).collect();
            let keys: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
            engine.get_many(BANK, &keys)?.iter().map(|value| amount(value.as_deref())).sum()
        }
        _ => {
            let all = (Bound::Unbounded, Bound::Unbounded);
            let mut sum = 0;
            for entry in engine.scan(BANK, all)? {
                sum += amount(Some(&entry?.value));
            }
            sum
        }
    };
    assert_eq!(sum, SUM, "a reader saw a sum that never was");
    done.sums.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn hold(engine: &Engine, dice: &mut Dice) -> Result<Held> {
    let snapshot = engine.snapshot()?;
    let account_number = dice.below(ACCOUNTS);
    let value = snapshot.get(BANK, &account(account_number))?;
    let value = value.unwrap_or_else(|| panic!("account {account_number} is absent"));
    let burst = burst(&snapshot)?;
    Ok(Held { snapshot, account: account_number, copy: value.to_vec(), value, burst })
}

fn look_again(view: &Held, done: &Done) -> Result<()> {
    assert_eq!(&view.value[..], &view.copy[..], "a value changed while it was held");
    let again = view.snapshot.get(BANK, &account(view.account))?;
    assert_eq!(again.as_deref(), Some(&view.copy[..]), "a snapshot's value changed");
    assert_eq!(sum_of_scan(&view.snapshot, true)?, SUM, "a held snapshot has a sum that never was");
    let mut by_get = 0;
    for n in 0..ACCOUNTS {
        by_get += amount(view.snapshot.get(BANK, &account(n))?.as_deref());
    }
    assert_eq!(by_get, SUM, "the gets of a held snapshot have a sum that never was");
    assert_eq!(burst(&view.snapshot)?, view.burst, "a namespace of a held snapshot changed");
    done.later_sums.fetch_add(1, Ordering::Relaxed);
    Ok(())
}

fn sum_of_scan(snapshot: &Snapshot, is_forward: bool) -> Result<i64> {
    let mut scan = snapshot.scan(BANK, (Bound::Unbounded, Bound::Unbounded))?;
    let (mut sum, mut count) = (0, 0);
    while let Some(entry) = if is_forward { scan.next() } else { scan.next_back() } {
        sum += amount(Some(&entry?.value));
        count += 1;
    }
    assert_eq!(count, ACCOUNTS, "a scan has not all accounts");
    Ok(sum)
}

/// How many keys the namespace that comes and goes has in a view: all of them, or none.
fn burst(snapshot: &Snapshot) -> Result<usize> {
    let keys = snapshot.scan(PASSING, (Bound::Unbounded, Bound::Unbounded))?.keys();
    let keys = keys.collect::<Result<Vec<_>>>()?;
    let is_there = snapshot.namespaces()?.iter().any(|name| name == PASSING);
    let expected = if is_there { BURST } else { 0 };
    assert_eq!(keys.len() as u64, expected, "a namespace is there in part");
    Ok(keys.len())
}

fn amount(value: Option<&[u8]>) -> i64 {
    let text = value.and_then(|value| std::str::from_utf8(value).ok());
    text.and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value:?} is no amount"))
}
