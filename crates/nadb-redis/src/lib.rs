//! NADB on Redis: the same API on one server, on a group that sentinels watch, and on a cluster; Redis 7.0 or later, or Valkey.
//!
//! Every write is one script on one server, so it is whole or not at all, and carries a number, so that it is done once however often it
//! is sent. The server's clock counts, and the server decides what is durable. docs/redis.md has every key, script and guarantee. What it
//! leaves to others: running the servers.
#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::indexing_slicing))]

mod backend;
mod call;
mod core;
mod counters;
mod failure;
mod layout;
mod link;
mod listing;
mod matches;
mod node;
mod options;
mod read;
mod reader;
mod record;
mod reply;
mod request;
mod scripts;
mod session;
mod stream;
mod sweep;
mod topology;
mod verify;
mod walk;
mod write;

pub use backend::RedisBackend;
pub use options::RedisOptions;
