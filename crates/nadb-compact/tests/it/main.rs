//! The policy on a model of a store: what it writes, what space it leaves, and that it comes to rest.
#![allow(clippy::unwrap_used)]

mod figures;
mod model;
mod overwrites;
mod rest;
mod ttl;
