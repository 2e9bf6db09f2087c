//! Workloads of the benchmarks as library functions: size and seed are parameters, so that criterion calls them large and a
//! test calls them tiny. What is written is the same for every run with the same seed.
#![forbid(unsafe_code)]

mod counts;
mod data;
pub mod open_loop;
mod parts;
mod store;

pub use counts::{Section, Timer, hot_paths};
pub use data::{KEY_BYTES, Key, Random, VALUE_BYTES, Values, key, keys};
pub use parts::{Frames, Index, decode};
pub use store::{Found, Gets, Sets};
