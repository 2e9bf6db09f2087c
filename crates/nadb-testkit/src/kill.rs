//! The kill test's workload: what a writer does is a function of seed, round, thread and index, so that the parent knows
//! what the killed child was doing; and the lines in which the child acknowledges.
//!
//! Each thread writes keys of its own (`t3/…`), so that what survived of it can be compared with a prefix of its steps. The
//! counters in the namespace `common` belong to all threads; a step that adds to one writes an own key as well, in the same
//! batch, and so shows whether it survived.

use std::fmt;

use crate::dice::Dice;

/// Writers of the child.
pub const THREADS: u64 = 4;
/// Steps that a thread does without a pause; then it slows down, so that many rounds fit on a disk.
pub const STEPS_AT_FULL_SPEED: u64 = 800;
/// The namespace of the counters that all threads add to.
pub const COMMON: &str = "common";
/// The namespace of records that expire at once and are let go of all the time, beside what is acknowledged.
pub const BRIEF: &str = "brief";
/// 1 January 2100.
const YEAR_2100_MS: u64 = 4_102_444_800_000;

/// What is done to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The namespace.
    pub namespace: String,
    /// The key.
    pub key: Vec<u8>,
    /// What.
    pub effect: Effect,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The key gets this value.
    Put(Vec<u8>),
    /// The key goes.
    Delete,
    /// The counter grows.
    Add(i64),
    /// The key, if it is there, expires at this moment in Unix milliseconds, long after the test; `None` for never.
    Expire(Option<u64>),
}

/// One step of a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A batch.
    Write(Vec<Change>),
    /// A namespace that only this thread uses is dropped.
    DropNamespace(String),
}

/// What thread `thread` does as its `index`-th step.
#[must_use]
pub fn step(seed: u64, round: u64, thread: u64, index: u64) -> Step {
    let mut dice = Dice::new(seed ^ (round << 40) ^ (thread << 32) ^ index);
    let own = |n: u64| format!("t{thread}/k{n}").into_bytes();
    let side = |right: bool| if right { "right" } else { "left" }.to_owned();
    let change = |namespace: String, key: Vec<u8>, effect| Change { namespace, key, effect };
    let key = own(dice.below(24));
    let right = dice.below(2) == 1;
    let put = |dice: &mut Dice| Effect::Put(value(dice, round, thread, index));
    match dice.below(100) {
        0..38 => Step::Write(vec![change(side(right), key, put(&mut dice))]),
        38..45 => {
            let expiry = dice.chance(70).then(|| YEAR_2100_MS + dice.below(1000));
            Step::Write(vec![change(side(right), key, Effect::Expire(expiry))])
        }
        45..57 => Step::Write(vec![change(side(right), key, Effect::Delete)]),
        57..67 => {
            let counter = format!("t{thread}/n{}", dice.below(3)).into_bytes();
            Step::Write(vec![change("left".into(), counter, Effect::Add(1 + i64::from(right)))])
        }
        67..82 => {
            let counter = format!("n{}", dice.below(3)).into_bytes();
            let (left, right) = (put(&mut dice), put(&mut dice));
            Step::Write(vec![
                change("left".into(), key.clone(), left),
                change(COMMON.into(), counter, Effect::Add(1)),
                change("right".into(), key, right),
            ])
        }
        82..90 => {
            let put = put(&mut dice);
            Step::Write(vec![
                change(side(right), key.clone(), Effect::Delete),
                change(side(!right), key, put),
            ])
        }
        90..98 => {
            let keys = 1 + dice.below(10);
            let puts = (0..keys).map(|n| change(scratch(thread), own(n), put(&mut dice)));
            Step::Write(puts.collect())
        }
        _ => Step::DropNamespace(scratch(thread)),
    }
}

/// The namespace that only this thread uses, and drops.
fn scratch(thread: u64) -> String {
    format!("scratch{thread}")
}

/// Says who wrote it, and goes on with bytes of which some compress and some do not.
fn value(dice: &mut Dice, round: u64, thread: u64, index: u64) -> Vec<u8> {
    let len = match dice.below(20) {
        0 => 1000 + dice.below(7000),
        1..4 => 200 + dice.below(800),
        _ => dice.below(80),
    };
    let alphabet = if dice.below(2) == 0 { 3 } else { 256 };
    let mut value = format!("round {round} thread {thread} step {index} ").into_bytes();
    value.extend((0..len).map(|_| u8::try_from(dice.below(alphabet)).unwrap_or_default()));
    value
}

/// The thread that alone writes this key; `None` for the common counters.
#[must_use]
pub fn owner(key: &[u8]) -> Option<u64> {
    let digits = key.strip_prefix(b"t")?.split(|byte| *byte == b'/').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A line of the acknowledgement log: this step was acknowledged, with these versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The thread.
    pub thread: u64,
    /// Which of its steps.
    pub index: u64,
    /// One version for each change; `None` for a delete that found nothing. None at all for the drop of a namespace.
    pub versions: Vec<Option<u64>>,
}

impl fmt::Display for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ack {} {}", self.thread, self.index)?;
        self.versions.iter().try_for_each(|version| match version {
            Some(version) => write!(f, " {version}"),
            None => write!(f, " -"),
        })
    }
}

impl Ack {
    /// Reads a line; `None` for one that says something else.
    #[must_use]
    pub fn parse(line: &str) -> Option<Ack> {
        let mut words = line.strip_prefix("ack ")?.split(' ');
        let thread = words.next()?.parse().ok()?;
        let index = words.next()?.parse().ok()?;
        let version = |word: &str| if word == "-" { Some(None) } else { word.parse().ok().map(Some) };
        Some(Ack { thread, index, versions: words.map(version).collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip_and_keys_know_their_owner() {
        let ack = Ack { thread: 3, index: 17, versions: vec![Some(5), None, Some(6)] };
        assert_eq!(Ack::parse(&ack.to_string()), Some(ack));
        assert_eq!(Ack::parse("opened"), None);
        assert_eq!(owner(b"t12/k3"), Some(12));
        assert_eq!(owner(b"n1"), None);
    }

    #[test]
    fn a_step_is_a_function_of_its_numbers() {
        assert_eq!(step(1, 2, 3, 4), step(1, 2, 3, 4));
        assert_ne!(step(1, 2, 3, 4), step(1, 2, 3, 5));
    }
}
