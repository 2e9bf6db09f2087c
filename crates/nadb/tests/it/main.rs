//! The facade as its users see it, on the engine in memory and on disk.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod backends;
mod batches;
mod bounds;
mod conditions;
mod copies;
#[cfg(feature = "json")]
mod json;
mod limits;
mod lives;
mod queries;
mod scans;
mod snapshots;
mod streams;
mod typed;
