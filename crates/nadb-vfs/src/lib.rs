//! The one door of NADB to the operating system.
//!
//! Everything the store does to files goes through [`Fs`] and [`File`], so that the same engine runs on a real disk
//! ([`RealFs`]), wholly in memory ([`MemFs`]), and on a simulated disk that loses power at any chosen call ([`SimFs`]).
//!
//! What it promises: positioned reads and writes, exact error kinds, read-only maps of files whose slices cost no copy
//! ([`Mapping`]), appending through memory where reserved blocks stay reserved ([`Appender`]), and on the simulated disk nothing
//! more durable than what was synced. What it leaves to others: file names, formats, retries, and to map only what stays as it
//! is.

// One spot maps files; it says why it may.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod appender;
mod fs;
mod mapping;
mod mem;
mod real;
mod sim;

pub use appender::{Appender, Room};
pub use fs::{DirEntry, File, FileLock, Fs, LockError, WriteError};
pub use mapping::{Advice, Mapping};
pub use mem::MemFs;
pub use real::RealFs;
pub use sim::{CallKind, CrashMode, Fault, FaultKind, SimFs, TraceEntry};
