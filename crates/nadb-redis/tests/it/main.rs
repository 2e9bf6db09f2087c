//! The backend against real servers that the tests start, each with ports and files of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
#![allow(clippy::disallowed_methods, reason = "sentinels have a configuration in a file")]

mod agree;
mod conformance;
mod failover;
mod faults;
mod groups;
mod proxy;
mod resharding;
mod server;
mod sizes;
mod stores;
