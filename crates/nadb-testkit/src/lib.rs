//! Model, generators and crash runner for the tests of NADB.

pub mod dice;
pub mod kill;
pub mod crash;
pub mod model;
pub mod workload;
