//! The limit of reads: 64 hash maps in memory, each behind a lock of its own. It writes no file.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock};

use anyhow::Result;
use nadb_benches::Key;

use super::{Counted, Engine};

type Shard = RwLock<HashMap<Box<[u8]>, Box<[u8]>>>;

pub(super) struct HashMapInMemory {
    hash: RandomState,
    shards: Vec<Shard>,
}

impl HashMapInMemory {
    pub(super) fn new() -> HashMapInMemory {
        HashMapInMemory { hash: RandomState::new(), shards: (0..64).map(|_| Shard::default()).collect() }
    }

    fn shard(&self, key: &[u8]) -> &Shard {
        let hash = usize::try_from(self.hash.hash_one(key) >> 32).unwrap_or_default();
        &self.shards[hash % self.shards.len()]
    }
}

impl Counted for HashMapInMemory {}

impl Engine for HashMapInMemory {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.shard(key).write().unwrap_or_else(PoisonError::into_inner).insert(key.into(), value.into());
        Ok(())
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        rows.iter().try_for_each(|(key, value)| self.set(key, value))
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let shard = self.shard(key).read().unwrap_or_else(PoisonError::into_inner);
        let value = shard.get(key);
        if let Some(value) = value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, _: &[u8], _: usize, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        anyhow::bail!("a hash map has no order")
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
