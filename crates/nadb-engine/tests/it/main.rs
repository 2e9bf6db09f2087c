//! The engine through its public face.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod access;
mod blobs;
mod checkpoint;
mod closing;
mod conformance;
mod footers;
mod get_with;
mod media;
mod operations;
mod repair;
mod snapshots;
mod times;
#[cfg(feature = "tracing")]
mod traced;
mod ttl;
mod views;
