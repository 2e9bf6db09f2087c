//! Merge operators: a new value made from the current one and an operand, in one atomic step.
//!
//! [`Add`], [`Min`] and [`Max`] work on canonical decimal 64-bit integers, [`Append`] on any bytes; your own implement
//! [`MergeOperator`]. Use them with [`Namespace::merge`](crate::Namespace::merge) and
//! [`Batch::merge`](crate::Batch::merge).
//!
//! ```
//! use nadb::{Store, merge};
//! let scores = Store::memory()?.namespace("scores")?;
//! assert_eq!(scores.merge("best", merge::Max, "17")?, b"17");
//! assert_eq!(scores.merge("best", merge::Max, "9")?, b"17");
//! assert_eq!(scores.merge("log", merge::Append, "17;")?, b"17;");
//! assert_eq!(scores.merge("log", merge::Append, "9;")?, b"17;9;");
//! # Ok::<(), nadb::Error>(())
//! ```

pub use nadb_core::{Add, Append, Max, MergeOperator, Min};
