//! The `nadb` command as a shell sees it: output, exit codes, and what is left on disk.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod bad_input;
mod batches;
mod copies;
mod killed;
mod large;
mod lifetimes;
mod output;
mod queries;
mod records;
#[cfg(feature = "redis")]
mod redis;
mod repair;
mod reports;
mod sandbox;
mod small;
mod trees;
