//! Scripts: the steps of workloads, made from a seed or written out.
//!
//! The same seed makes the same steps. What they mean, and who takes a store through them, is the workload module's.

use std::sync::Arc;
use std::time::Duration;

use nadb_core::{
    Action, Add, Append, Attrs, Condition, Durability, ExpiryUpdate, Max, Merge, MergeOperator, Operation,
    Put, Tags, TagsUpdate,
};

use crate::dice::Dice;
use crate::streams::Stream;
use crate::views::OPEN_MAX;
use crate::workload::{Op, START_MS, Step, VersionIs};

/// Names of the namespaces that workloads use.
pub const NAMESPACES: [&str; 3] = ["app/users", "counters", "temp"];

/// A script that opens a store, does `len` steps of every sort, closes and opens it twice between, and leaves it open. The first
/// close finds no view open, so that nothing keeps it from writing a checkpoint.
#[must_use]
pub fn script(seed: u64, len: usize) -> Vec<Step> {
    let mut random = Dice::new(seed);
    let mut steps = vec![Step::Open];
    for at in 1..=len {
        if at == len / 3 {
            steps.extend([const { Step::Release(0) }; OPEN_MAX]);
        }
        if at == len / 3 || at == 2 * len / 3 {
            steps.extend([Step::Close, Step::Open]);
        }
        steps.push(random_step(&mut random));
        // A namespace that goes comes back under the same name, with some of the same keys.
        if let Some(&Step::Drop(name)) = steps.last() {
            let again = put_op(&mut random, name);
            steps.push(Step::Write(vec![again], class(&mut random)));
        }
    }
    steps
}

/// A short script for a store that is open: what a process does that goes on after a crash.
#[must_use]
pub fn short_script(seed: u64) -> Vec<Step> {
    let mut random = Dice::new(seed);
    let name = *random.pick(&NAMESPACES);
    let synced = Some(Durability::Synced);
    let mut steps = vec![
        Step::Write(vec![put_op(&mut random, name)], synced),
        Step::Write(vec![put_op(&mut random, name)], Some(Durability::Buffered)),
        Step::Write(random_batch(&mut random), synced),
        Step::Drop(name),
        Step::Write(vec![put_op(&mut random, name)], class(&mut random)),
        Step::Maintain,
        Step::Maintain,
    ];
    for _ in 0..4 {
        steps.push(random_step(&mut random));
    }
    steps.push(Step::Write(vec![large_op(&mut random)], class(&mut random)));
    steps.push(Step::Write(random_batch(&mut random), synced));
    steps.push(Step::Close);
    steps.push(Step::Open);
    steps.push(Step::Write(random_batch(&mut random), synced));
    steps
}

/// One step of any sort but opening and closing.
pub fn random_step(random: &mut Dice) -> Step {
    let name = *random.pick(&NAMESPACES);
    match random.below(142) {
        0..=21 => Step::Write(vec![put_op(random, name)], class(random)),
        22..=29 => Step::Write(vec![expire_op(random, name)], class(random)),
        30..=41 => Step::Write(random_batch(random), class(random)),
        42..=51 => Step::Write(vec![conditional_op(random, name)], class(random)),
        52..=59 => Step::Write(vec![merge_op(random)], class(random)),
        60..=67 => Step::Write(vec![delete_op(random, name)], class(random)),
        68..=71 => Step::Write(vec![large_op(random)], class(random)),
        72..=77 => Step::Clock(clock_step(random)),
        78..=83 => Step::Get(name, key(random)),
        84..=86 => Step::Scan(name),
        87..=89 => Step::Drop(name),
        90 => Step::Flush,
        91 => Step::Purge,
        92 => Step::Verify,
        93..=99 => Step::Maintain,
        100..=104 => Step::Snapshot,
        105..=109 => Step::Compare(random.next_u64()),
        110..=112 => Step::Release(random.next_u64()),
        113..=114 => Step::Write(large_batch(random), class(random)),
        115..=121 => random_stream(random, name),
        122..=129 => Step::Query(name, random.next_u64()),
        130..=135 => Step::Compact(random.next_u64()),
        _ => {
            let name = if random.chance(50) { "app/users" } else { name };
            Step::Reader(name, key(random))
        }
    }
}

/// A value in pieces, of which many are committed.
fn random_stream(random: &mut Dice, name: &'static str) -> Step {
    let op = match random.below(4) {
        0 | 1 => large_op(random),
        2 => conditional_put(random, name),
        _ => put_op(random, name),
    };
    let piece = usize::try_from(1 + random.below(3000)).unwrap_or(1);
    Step::Stream(Stream { op, piece, is_committed: random.chance(75), durability: class(random) })
}

fn class(random: &mut Dice) -> Option<Durability> {
    match random.below(10) {
        0..=3 => Some(Durability::Buffered),
        4..=6 => Some(Durability::Flushed),
        7 => Some(Durability::Synced),
        _ => None,
    }
}

fn clock_step(random: &mut Dice) -> i64 {
    let ms = i64::try_from(random.below(20_000)).unwrap_or_default();
    if random.chance(35) { -ms } else { ms }
}

fn key(random: &mut Dice) -> Vec<u8> {
    format!("key:{:02}", random.below(24)).into_bytes()
}

fn value(random: &mut Dice) -> Vec<u8> {
    let len = match random.below(10) {
        0 => 0,
        1..=7 => random.below(120),
        _ => 300 + random.below(900),
    };
    bytes(random, len)
}

/// Bytes that compress, or that do not.
fn bytes(random: &mut Dice, len: u64) -> Vec<u8> {
    let noise = random.chance(50);
    let start = random.next_u64();
    (0..len).map(|at| (if noise { random.next_u64() } else { start ^ (at / 16) }).to_le_bytes()[0]).collect()
}

fn op(name: &'static str, key: Vec<u8>, action: Action<'static>) -> Op {
    Op { operation: Operation::new(name, key, action), version: VersionIs::Unnamed }
}

fn random_put(random: &mut Dice, value: Vec<u8>) -> Put<'static> {
    let mut put = Put::new(value);
    if random.chance(40) {
        let all = ["user", "premium", "eu", "us", "banned"];
        let some: Vec<&str> = all.into_iter().filter(|_| random.chance(40)).collect();
        put.tags = Tags::new(some).map(TagsUpdate::Replace).unwrap_or_default();
    } else if random.chance(30) {
        put.tags = TagsUpdate::Keep;
    }
    put.expiry = match random.below(10) {
        0 => ExpiryUpdate::After(Duration::from_millis(1 + random.below(15_000))),
        1 => ExpiryUpdate::AtMs(START_MS + random.below(40_000)),
        2 => ExpiryUpdate::Keep,
        _ => ExpiryUpdate::Never,
    };
    if random.chance(20) {
        put.content_type = Some("text/plain".into());
        put.attrs = Attrs::new([("owner", "alice"), ("lang", "de")]).unwrap_or_default();
    }
    put
}

fn put_op(random: &mut Dice, name: &'static str) -> Op {
    let value = value(random);
    let key = key(random);
    op(name, key, Action::Put(random_put(random, value)))
}

/// A value that does not fit into what is left of a segment.
fn large_op(random: &mut Dice) -> Op {
    let len = 1500 + random.below(5000);
    let value = bytes(random, len);
    let key = key(random);
    op("app/users", key, Action::Put(Put::new(value)))
}

fn expire_op(random: &mut Dice, name: &'static str) -> Op {
    let expiry = match random.below(8) {
        0..=2 => ExpiryUpdate::After(Duration::from_millis(1 + random.below(15_000))),
        3..=4 => ExpiryUpdate::AtMs(START_MS + random.below(40_000)),
        5 => ExpiryUpdate::Keep,
        _ => ExpiryUpdate::Never,
    };
    let key = if random.chance(15) { b"n0".to_vec() } else { key(random) };
    op(name, key, Action::Expire(expiry))
}

fn delete_op(random: &mut Dice, name: &'static str) -> Op {
    op(name, key(random), Action::Delete)
}

fn merge_op(random: &mut Dice) -> Op {
    let operator: Arc<dyn MergeOperator> = match random.below(4) {
        0 => Arc::new(Append),
        1 => Arc::new(Max),
        _ => Arc::new(Add),
    };
    let operand = random.below(50).to_string().into_bytes();
    let key = format!("n{}", random.below(3)).into_bytes();
    op("counters", key, Action::Merge(Merge::new(operator, operand)))
}

fn conditional_op(random: &mut Dice, name: &'static str) -> Op {
    let op = match random.below(10) {
        0..=2 => delete_op(random, name),
        3 => expire_op(random, name),
        _ => return conditional_put(random, name),
    };
    with_condition(random, op)
}

fn conditional_put(random: &mut Dice, name: &'static str) -> Op {
    let op = put_op(random, name);
    with_condition(random, op)
}

fn with_condition(random: &mut Dice, mut op: Op) -> Op {
    match random.below(4) {
        0 => op.operation.condition = Condition::IfAbsent,
        1 => op.operation.condition = Condition::IfPresent,
        2 => op.version = VersionIs::Current,
        _ => op.version = VersionIs::Wrong,
    }
    op
}

/// Several operations over several namespaces, sometimes on the same key twice, sometimes with a condition.
pub fn random_batch(random: &mut Dice) -> Vec<Op> {
    let mut ops: Vec<Op> = Vec::new();
    for _ in 0..2 + random.below(5) {
        let name = *random.pick(&NAMESPACES);
        ops.push(match random.below(12) {
            0..=5 => put_op(random, name),
            6..=7 => expire_op(random, name),
            8..=9 => delete_op(random, name),
            10 => op("counters", b"n0".to_vec(), add(random.below(9))),
            _ => conditional_op(random, name),
        });
    }
    if random.chance(30)
        && let Some(first) = ops.first().cloned()
    {
        let action = match random.chance(30) {
            true => expire_op(random, "app/users").operation.action,
            false => {
                let value = value(random);
                Action::Put(random_put(random, value))
            }
        };
        ops.push(Op {
            operation: Operation::new(first.operation.namespace, first.operation.key, action),
            version: VersionIs::Unnamed,
        });
    }
    ops
}

/// So many keys that the engine makes them visible on another path than those of small batches.
fn large_batch(random: &mut Dice) -> Vec<Op> {
    let name = *random.pick(&NAMESPACES);
    let first = random.below(40);
    let put = |random: &mut Dice, key| {
        op(name, key, Action::Put(Put::new(random.next_u64().to_string().into_bytes())))
    };
    (first..first + 66)
        .map(|at| {
            let key = if at < 24 { format!("key:{at:02}") } else { format!("many:{at:03}") }.into_bytes();
            if random.chance(15) { op(name, key, Action::Delete) } else { put(random, key) }
        })
        .collect()
}

fn add(by: u64) -> Action<'static> {
    Action::Merge(Merge::new(Arc::new(Add), by.to_string().into_bytes()))
}

/// A put of a small value, for tests that write out their steps.
#[must_use]
pub fn set(name: &'static str, key: &str, value: &[u8]) -> Op {
    op(name, key.as_bytes().to_vec(), Action::Put(Put::new(value.to_vec())))
}

/// A delete, for tests that write out their steps.
#[must_use]
pub fn delete(name: &'static str, key: &str) -> Op {
    op(name, key.as_bytes().to_vec(), Action::Delete)
}

/// A put of a value by stream, in pieces of a hundred bytes, for tests that write out their steps.
#[must_use]
pub fn stream(name: &'static str, key: &str, value: &[u8], class: Durability) -> Step {
    let op = set(name, key, value);
    Step::Stream(Stream { op, piece: 100, is_committed: true, durability: Some(class) })
}

/// The same, dropped when all pieces are written.
#[must_use]
pub fn dropped_stream(name: &'static str, key: &str, value: &[u8]) -> Step {
    let op = set(name, key, value);
    Step::Stream(Stream { op, piece: 100, is_committed: false, durability: None })
}
