//! The store under kills, damage and many threads; and what the other helpers of the kit show.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::cast_possible_truncation)]
#![allow(clippy::disallowed_methods, reason = "the tests prepare and compare files by themselves")]

mod corpus;
mod crash;
mod damage;
mod faults;
mod fixtures;
mod kill;
mod model;
mod seal;
mod stress;
mod threads;
