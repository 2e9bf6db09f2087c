//! The engine through its public face.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod checkpoint;
mod conformance;
