//! sled 0.34 with a cache of 512 MiB and its defaults: it writes what it buffers every 500 ms, so class Flushed is weaker than
//! asked for; class Synced calls `flush` after each write.

use std::path::Path;

use anyhow::Result;
use nadb_benches::Key;
use sled::{Batch, Config, Db, Mode};

use super::{CACHE_BYTES, Class, Counted, Engine, Setup};

pub(super) struct Sled {
    db: Db,
    class: Class,
}

impl Sled {
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Sled> {
        let config = Config::new().path(dir).cache_capacity(CACHE_BYTES as u64).mode(Mode::HighThroughput);
        Ok(Sled { db: config.open()?, class: setup.class })
    }

    fn persist(&self) -> Result<()> {
        if self.class == Class::Synced {
            self.db.flush()?;
        }
        Ok(())
    }
}

impl Counted for Sled {}

impl Engine for Sled {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.db.insert(key, value)?;
        self.persist()
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut batch = Batch::default();
        rows.iter().for_each(|(key, value)| batch.insert(&key[..], &value[..]));
        self.db.apply_batch(batch)?;
        self.persist()
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.db.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.db.range(from..).take(limit) {
            let (key, value) = row?;
            see(&key, &value);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.db.flush()?;
        Ok(())
    }
}
