//! The pure half of the compactor: which segments are rewritten and why ([`Policy`]), how records that expire together are
//! kept together ([`ExpiryGroup`]), how fast the work goes and how writers are slowed beside it ([`Pace`]), and how the log
//! looks ([`Strip`]).
//!
//! Nothing here does I/O, has a thread, or asks for the time: facts and moments are given, decisions are given back, and equal
//! input gives equal output. Reading, writing and installing are left to who acts on the decisions. Safety is, too: no decision
//! made here can lose data, only time and space.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod candidates;
mod choice;
mod expiry;
mod facts;
mod options;
mod pace;
mod policy;
mod small;
mod strip;
mod verdict;
mod writers;

pub use crate::choice::{Choice, Decision, Demand, Moment, Why};
pub use crate::expiry::ExpiryGroup;
pub use crate::facts::SegmentFacts;
pub use crate::options::PolicyOptions;
pub use crate::pace::{Load, Pace, PaceOptions};
pub use crate::policy::Policy;
pub use crate::strip::{Strip, StripSegment, StripStyle};
pub use crate::verdict::{Reason, Verdict};
pub use crate::writers::WriterBrake;

/// How much of `to` is `of`; zero where there is nothing.
#[expect(clippy::cast_precision_loss, reason = "a share; no byte is lost by its rounding")]
pub(crate) fn share(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}
