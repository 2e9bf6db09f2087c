//! The compactor: which segments are worth rewriting, how fast that may go, and the rewriting itself.
//!
//! It promises that a rewriting leaves nothing out that a reader, now or after any crash, could still need: live records are copied,
//! markers are kept as long as something older could come back. It leaves to the engine what memory makes of the new segments, and
//! to the log how they take the place of the old ones.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod older;
mod rewrite;

pub use older::Older;
pub use rewrite::{Copied, Dropped, Input, Rewrite, Rewritten, Sink};
