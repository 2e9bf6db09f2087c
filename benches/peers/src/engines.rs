//! The engines, each behind the same few calls. How each is set up, and why so, stands at the head of its file.

mod fjall;
mod hash_map;
mod lmdb;
mod nadb;
mod raw_append;
mod redb;
mod rocksdb;
mod sled;
mod sqlite;
mod tagged;

use std::path::{Path, PathBuf};

use anyhow::Result;
use clap::ValueEnum;
use nadb_benches::Key;
use serde::{Deserialize, Serialize};

pub(crate) use tagged::Tagged;

/// Bytes of cache, where an engine has one.
const CACHE_BYTES: usize = 512 << 20;

/// What a write that returned survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Class {
    /// The end of the process.
    Flushed,
    /// The loss of power.
    Synced,
}

/// What a store is opened for.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The folder that holds the store's own.
    pub(crate) dir: PathBuf,
    pub(crate) class: Class,
    /// Values of 64 KiB that are not compressed, in place of small ones.
    pub(crate) large_values: bool,
}

/// What a store says of its own work.
pub(crate) trait Counted {
    /// Segments sealed since it was opened, where the engine has such and counts them.
    fn seals(&self) -> Option<u64> {
        None
    }

    /// Bytes that the engine itself counted as written to files.
    fn written_bytes(&self) -> Option<u64> {
        None
    }
}

/// A store that is open.
pub(crate) trait Engine: Counted + Send + Sync {
    /// Sets one key.
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()>;

    /// Sets several keys at once: all are there afterwards, or none is.
    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()>;

    /// Shows the value of a key as it is now; says whether there is one.
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Shows so many rows in key order, from the first key that is not below `from`.
    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()>;

    /// Gives back at once what space can be given back, where the engine has a call for that; says whether it has.
    fn compact(&self) -> Result<bool> {
        Ok(false)
    }

    /// Closes the store in order.
    fn close(self: Box<Self>) -> Result<()>;
}

/// The engines and the references.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Kind {
    Nadb,
    Rocksdb,
    Lmdb,
    Redb,
    Fjall,
    Sled,
    Sqlite,
    /// No store: a hash map in memory, the limit of reads.
    HashMap,
    /// No store: one `write(2)` for each record, the limit of writes.
    RawAppend,
}

impl Kind {
    /// Whether it is a reference and no store.
    pub(crate) fn is_reference(self) -> bool {
        matches!(self, Kind::HashMap | Kind::RawAppend)
    }

    /// Whether it can be asked for what was written.
    pub(crate) fn reads(self) -> bool {
        self != Kind::RawAppend
    }

    /// Whether its rows come in key order, and are there when it is opened again.
    pub(crate) fn is_store(self) -> bool {
        !self.is_reference()
    }

    /// What has to be said beside its figures in this class.
    pub(crate) fn remark(self, class: Class) -> Option<&'static str> {
        match (self, class) {
            (Kind::Redb, Class::Flushed) => Some("stronger: it has no class between memory and a sync"),
            (Kind::Sled, Class::Flushed) => Some("weaker: up to 500 ms of writes are in memory only"),
            (Kind::Sled, Class::Synced) => Some("does not sync reliably"),
            (Kind::HashMap, _) => Some("reference: in memory only"),
            (Kind::RawAppend, _) => Some("reference: cannot be read"),
            _ => None,
        }
    }

    /// The name in tables and of its folder.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Nadb => "nadb",
            Kind::Rocksdb => "rocksdb",
            Kind::Lmdb => "lmdb",
            Kind::Redb => "redb",
            Kind::Fjall => "fjall",
            Kind::Sled => "sled",
            Kind::Sqlite => "sqlite",
            Kind::HashMap => "hash_map",
            Kind::RawAppend => "raw_append",
        }
    }

    /// Opens the store in its folder, or makes it.
    pub(crate) fn open(self, setup: &Setup) -> Result<Box<dyn Engine>> {
        let dir = store_dir(&setup.dir);
        std::fs::create_dir_all(&dir)?;
        Ok(match self {
            Kind::Nadb => Box::new(nadb::Nadb::open(&dir, setup)?),
            Kind::Rocksdb => Box::new(rocksdb::Rocks::open(&dir, setup)?),
            Kind::Lmdb => Box::new(lmdb::Lmdb::open(&dir, setup)?),
            Kind::Redb => Box::new(redb::Redb::open(&dir)?),
            Kind::Fjall => Box::new(fjall::Fjall::open(&dir, setup)?),
            Kind::Sled => Box::new(sled::Sled::open(&dir, setup)?),
            Kind::Sqlite => Box::new(sqlite::Sqlite::open(&dir, setup)?),
            Kind::HashMap => Box::new(hash_map::HashMapInMemory::new()),
            Kind::RawAppend => Box::new(raw_append::RawAppend::open(&dir, setup)?),
        })
    }
}

/// Where a store keeps its files.
pub(crate) fn store_dir(dir: &Path) -> PathBuf {
    dir.join("store")
}
