//! fjall with a cache of 512 MiB and its defaults; values of 64 KiB are kept apart from the keys, as its documentation recommends
//! for them, and are not compressed. Writes reach the system by default; class Synced calls `persist(SyncAll)` after each.

use std::path::Path;

use anyhow::Result;
use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use nadb_benches::Key;

use super::{CACHE_BYTES, Class, Counted, Engine, Setup};

pub(super) struct Fjall {
    db: Database,
    keyspace: Keyspace,
    class: Class,
}

impl Fjall {
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Fjall> {
        let mut builder = Database::builder(dir).cache_size(CACHE_BYTES as u64);
        if setup.large_values {
            builder = builder.journal_compression(CompressionType::None);
        }
        let db = builder.open()?;
        let large_values = setup.large_values;
        let keyspace = db.keyspace("bench", || {
            let options = KeyspaceCreateOptions::default();
            if !large_values {
                return options;
            }
            let apart = KvSeparationOptions::default().compression(CompressionType::None);
            options
                .data_block_compression_policy(CompressionPolicy::disabled())
                .with_kv_separation(Some(apart))
        })?;
        Ok(Fjall { db, keyspace, class: setup.class })
    }

    fn persist(&self) -> Result<()> {
        if self.class == Class::Synced {
            self.db.persist(PersistMode::SyncAll)?;
        }
        Ok(())
    }
}

impl Counted for Fjall {}

impl Engine for Fjall {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.keyspace.insert(key, value)?;
        self.persist()
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut batch = self.db.batch();
        for (key, value) in rows {
            batch.insert(&self.keyspace, &key[..], &value[..]);
        }
        batch.commit()?;
        self.persist()
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.keyspace.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.keyspace.range(from..).take(limit) {
            let (key, value) = row.into_inner()?;
            see(&key, &value);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
