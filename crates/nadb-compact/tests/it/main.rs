//! The policy on a model of a store: what it writes, what space it leaves, and that it comes to rest.
#![allow(clippy::unwrap_used)]

mod model;
mod overwrites;
mod rest;
mod runs;
mod ttl;
