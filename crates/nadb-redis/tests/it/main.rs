//! The backend against real servers that the tests start, each with ports and files of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod agree;
mod conformance;
mod failover;
mod faults;
mod groups;
mod proxy;
mod server;
mod stores;
