//! The sub-commands, one file each.

pub(crate) mod batch;
pub(crate) mod compact;
pub(crate) mod copy;
pub(crate) mod delete;
pub(crate) mod drop_namespace;
pub(crate) mod expire;
pub(crate) mod extract;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod incr;
pub(crate) mod inspect;
pub(crate) mod list;
pub(crate) mod namespaces;
pub(crate) mod persist;
pub(crate) mod purge;
pub(crate) mod query;
pub(crate) mod repair;
pub(crate) mod set;
pub(crate) mod stats;
pub(crate) mod tags;
pub(crate) mod ttl;
pub(crate) mod verify;
