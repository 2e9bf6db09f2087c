//! What the policy is asked, and what it answers.

use std::fmt;

use nadb_core::{SegmentId, Seq};

/// How much is wanted of the compactor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Demand {
    /// The store is busy: only what keeps the files within `lag` times what live records need.
    UnderLoad,
    /// The store has time: everything down to the bound `dead_share`.
    #[default]
    AtRest,
    /// Somebody asked: every segment that has a gain, or is not compacted yet. Nothing is waited for.
    Full,
}

/// Under which circumstances a decision is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The time, in Unix milliseconds; it is compared with expiries only, and a wrong one costs work or space, never data.
    pub now_ms: u64,
    /// The newest number of the store: how old a segment is, is counted in numbers.
    pub newest_seq: Seq,
    /// Bytes that outputs may take while their inputs are still there: free bytes of the disk above the floor.
    pub room_bytes: u64,
    /// How much is wanted.
    pub demand: Demand,
}

impl Default for Moment {
    /// No time has passed, there is any room, and the store is at rest.
    fn default() -> Moment {
        Moment { now_ms: 0, newest_seq: Seq(0), room_bytes: u64::MAX, demand: Demand::AtRest }
    }
}

/// Why segments were chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Why {
    /// Nothing in them is kept: they go without being read.
    Empty,
    /// One is damaged.
    Damaged,
    /// The files take more than `lag_max` times what live records need.
    Lag,
    /// The dead share of the store is above the bound in force.
    Dead,
    /// There are too many small ones.
    Small,
    /// Somebody asked.
    Asked,
}

impl fmt::Display for Why {
    /// A few words, to go after "because".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Why::Empty => "nothing in them is live",
            Why::Damaged => "one is damaged",
            Why::Lag => "the files have grown beyond the limit",
            Why::Dead => "too much of the store is dead",
            Why::Small => "there are too many small segments",
            Why::Asked => "somebody asked",
        })
    }
}

/// Segments to rewrite together, or to drop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The segments, by number.
    pub inputs: Vec<SegmentId>,
    /// Why these.
    pub why: Why,
    /// Bytes of their files.
    pub input_bytes: u64,
    /// Bytes that the outputs will have: what is to be written, and the room that it takes.
    pub copied_bytes: u64,
    /// Bytes that are free afterwards.
    pub freed_bytes: u64,
    /// When to begin the next output, in bytes: outputs are all of about this size, none is a small rest.
    pub output_bytes: u64,
}

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing, until something dies, expires or is sealed.
    Rest,
    /// This.
    Compact(Choice),
    /// Something should be done, but there is no room for it.
    NoRoom {
        /// The least room that anything worth doing takes, in bytes.
        needed_bytes: u64,
    },
}

impl Decision {
    /// The choice, if there is one.
    #[must_use]
    pub fn choice(self) -> Option<Choice> {
        match self {
            Decision::Compact(choice) => Some(choice),
            Decision::Rest | Decision::NoRoom { .. } => None,
        }
    }
}
