//! The engine through its public face.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod blobs;
mod checkpoint;
mod closing;
mod conformance;
mod footers;
mod get_with;
mod media;
mod snapshots;
mod times;
mod ttl;
mod views;
