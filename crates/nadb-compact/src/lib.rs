//! The compactor: which segments are rewritten and why ([`Policy`]), how records that expire together are kept together
//! ([`ExpiryGroup`]), how a large request is
//! divided ([`PartBounds`]), how fast the work goes and how writers are slowed beside it ([`Pace`], [`WriterBrake`]), how the log looks
//! ([`Strip`]), and the rewriting itself ([`Rewrite`]).
//!
//! What decides does no I/O and does not ask for the time: facts and moments are given, decisions are given back, and equal input
//! gives equal output; no decision can lose data, only time and space. Rewriting promises to leave nothing out that a reader, now or
//! after any crash, could still need: live records are copied, markers are kept as long as something older could come back. What
//! memory makes of the new segments is the engine's, how they take the place of the old ones the log's.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod candidates;
mod choice;
mod expiry;
mod facts;
mod older;
mod options;
mod pace;
mod parts;
mod policy;
mod rewrite;
mod small;
mod strip;
mod verdict;
mod writers;

pub use crate::choice::{Choice, Decision, Demand, Moment, Why};
pub use crate::expiry::ExpiryGroup;
pub use crate::facts::SegmentFacts;
pub use crate::older::Older;
pub use crate::options::PolicyOptions;
pub use crate::pace::{Load, Pace, PaceOptions};
pub use crate::parts::PartBounds;
pub use crate::policy::Policy;
pub use crate::rewrite::{Copied, Dropped, Input, Rewrite, Rewritten, Sink};
pub use crate::strip::{Strip, StripSegment, StripStyle};
pub use crate::verdict::{Reason, Verdict};
pub use crate::writers::WriterBrake;

/// How much of `to` is `of`; zero where there is nothing.
#[expect(clippy::cast_precision_loss, reason = "a share; no byte is lost by its rounding")]
pub(crate) fn share(of: u64, to: u64) -> f64 {
    if to == 0 { 0.0 } else { of as f64 / to as f64 }
}
