//! NADB with its defaults; values of 64 KiB without compression.

use std::path::Path;

use anyhow::Result;
use nadb::{Compression, Durability, Namespace, Store};
use nadb_benches::Key;

use super::{Class, Counted, Engine, Setup};

pub(super) struct Nadb {
    store: Store,
    namespace: Namespace,
}

impl Nadb {
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Nadb> {
        let durability = match setup.class {
            Class::Flushed => Durability::Flushed,
            Class::Synced => Durability::Synced,
        };
        let mut builder = Store::builder().path(dir).durability(durability);
        if setup.large_values {
            builder = builder.compression(Compression::None);
        }
        let store = builder.open()?;
        let namespace = store.namespace("bench")?;
        Ok(Nadb { store, namespace })
    }
}

impl Counted for Nadb {
    fn seals(&self) -> Option<u64> {
        self.store.stats().ok().map(|stats| stats.seals)
    }

    fn written_bytes(&self) -> Option<u64> {
        self.store.stats().ok().map(|stats| stats.written_bytes)
    }
}

impl Engine for Nadb {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.namespace.set(key, value)?;
        Ok(())
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        self.namespace.set_many(rows.iter().map(|(key, value)| (key, value)))?;
        Ok(())
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.namespace.get(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let mut records = self.namespace.range(from..)?;
        for _ in 0..limit {
            match records.next_with(&mut *see) {
                Some(seen) => seen?,
                None => break,
            }
        }
        Ok(())
    }

    fn compact(&self) -> Result<bool> {
        self.store.compact()?;
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.store.close()?)
    }
}
