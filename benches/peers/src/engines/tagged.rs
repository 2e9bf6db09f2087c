//! The engines for records with tags and expiries. NADB has both; SQLite has them as columns and tables; on the others they are
//! indexes kept by hand (`by_hand`), in a second and a third tree beside the records.

mod by_hand;
mod fjall;
mod lmdb;
mod nadb;
mod redb;
mod rocksdb;
mod sqlite;

use anyhow::{Result, bail};

use super::{Counted, Kind, Setup, store_dir};
use crate::tagged::Record;

/// A store of records with tags that is open. Every write does all it does, or nothing of it.
pub(crate) trait Tagged: Counted + Send + Sync {
    /// Writes records whose keys are known to be new, at once.
    fn insert(&self, records: &[Record]) -> Result<()>;

    /// Writes a record whose key may be there: what the old one had is found by no query any more.
    fn replace(&self, record: Record) -> Result<()>;

    /// Shows the value of a key; says whether there is one.
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool>;

    /// Shows the keys of the records that have both tags, in key order.
    fn all_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()>;

    /// Shows the keys of the records that have either tag, in key order.
    fn any_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()>;

    /// How many records have either tag.
    fn count_any_of(&self, tags: [&str; 2]) -> Result<u64>;

    /// How many records have a tag.
    fn count(&self, tag: &str) -> Result<u64>;

    /// Makes all go that expired at or before this, which is not after now; says how many went by that.
    fn purge(&self, upto_ms: u64) -> Result<u64>;

    /// Closes the store in order.
    fn close(self: Box<Self>) -> Result<()>;
}

impl Kind {
    /// Whether there is a way to tag records in it, here.
    pub(crate) fn has_tags(self) -> bool {
        !self.is_reference() && self != Kind::Sled
    }

    /// Opens the store in its folder, or makes it.
    pub(crate) fn open_tagged(self, setup: &Setup) -> Result<Box<dyn Tagged>> {
        let dir = store_dir(&setup.dir);
        std::fs::create_dir_all(&dir)?;
        Ok(match self {
            Kind::Nadb => Box::new(nadb::Nadb::open(&dir)?),
            Kind::Rocksdb => Box::new(rocksdb::Rocks::open(&dir, setup)?),
            Kind::Lmdb => Box::new(lmdb::Lmdb::open(&dir)?),
            Kind::Redb => Box::new(redb::Redb::open(&dir)?),
            Kind::Fjall => Box::new(fjall::Fjall::open(&dir)?),
            Kind::Sqlite => Box::new(sqlite::Sqlite::open(&dir)?),
            Kind::Sled | Kind::HashMap | Kind::RawAppend => bail!("no tags in {}", self.name()),
        })
    }
}
