//! Model, generators and crash runner for the tests of NADB.
