//! redb with a cache of 512 MiB and its default durability: the only one that survives the end of the process is the one that syncs.

use std::path::Path;

use anyhow::Result;
use nadb_benches::Key;
use redb::{Database, ReadableDatabase, TableDefinition};

use super::{CACHE_BYTES, Counted, Engine};

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("bench");

pub(super) struct Redb {
    db: Database,
}

impl Redb {
    pub(super) fn open(dir: &Path) -> Result<Redb> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("store.redb"))?;
        let write = db.begin_write()?;
        write.open_table(TABLE)?;
        write.commit()?;
        Ok(Redb { db })
    }
}

impl Counted for Redb {}

impl Engine for Redb {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let write = self.db.begin_write()?;
        write.open_table(TABLE)?.insert(key, value)?;
        Ok(write.commit()?)
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let write = self.db.begin_write()?;
        {
            let mut table = write.open_table(TABLE)?;
            for (key, value) in rows {
                table.insert(&key[..], &value[..])?;
            }
        }
        Ok(write.commit()?)
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        let value = table.get(key)?;
        if let Some(value) = &value {
            see(value.value());
        }
        Ok(value.is_some())
    }

    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let table = self.db.begin_read()?.open_table(TABLE)?;
        for row in table.range(from..)?.take(limit) {
            let (key, value) = row?;
            see(key.value(), value.value());
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.close()?)
    }
}
