//! The log through its public face, on simulated disks.
#![allow(clippy::unwrap_used)]

mod append;
mod ballast;
mod blob;
mod compaction;
mod crash;
mod faults;
mod open;
mod recovery;
mod repair;
mod support;
