//! The engine through its public face.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod conformance;
mod snapshots;
