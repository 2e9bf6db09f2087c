//! Model, generators and crash runner for the tests of NADB.
#![forbid(unsafe_code)]

pub mod accesses;
pub mod counts;
pub mod crash;
pub mod dice;
pub mod fuzz;
pub mod kill;
pub mod model;
pub mod orphans;
pub mod queries;
pub mod script;
pub mod streams;
pub mod stress;
pub mod views;
pub mod workload;
