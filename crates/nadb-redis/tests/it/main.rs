//! The backend against real servers that the tests start, each with ports and files of its own.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod conformance;
mod server;
