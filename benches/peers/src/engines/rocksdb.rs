//! RocksDB as its wiki page "Setup Options and Basic Tuning" sets up a general workload: blocks of 16 KiB, bloom filters of 10 bits, index
//! and filter blocks in the cache and those of level 0 pinned, `bytes_per_sync` of 1 MiB, dynamic level sizes; its default
//! compression. Writes go to the write-ahead log, synced or not by class.

use std::path::Path;

use anyhow::Result;
use nadb_benches::Key;
use rocksdb::{
    BlockBasedOptions, Cache, DB, DBCompressionType, Direction, IteratorMode, Options, WriteBatch,
    WriteOptions,
};

use super::{CACHE_BYTES, Class, Counted, Engine, Setup};

/// How RocksDB is set up here, whatever it holds.
pub(super) fn options(setup: &Setup) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    table.set_block_size(16 << 10);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    table.set_bloom_filter(10.0, false);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_level_compaction_dynamic_level_bytes(true);
    options.set_max_background_jobs(6);
    options.set_bytes_per_sync(1 << 20);
    options.set_block_based_table_factory(&table);
    if setup.large_values {
        options.set_compression_type(DBCompressionType::None);
    }
    options
}

pub(super) struct Rocks {
    db: DB,
    write: WriteOptions,
}

impl Rocks {
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Rocks> {
        let options = options(setup);
        let mut write = WriteOptions::default();
        write.set_sync(setup.class == Class::Synced);
        Ok(Rocks { db: DB::open(&options, dir)?, write })
    }
}

impl Counted for Rocks {}

impl Engine for Rocks {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut batch = WriteBatch::default();
        rows.iter().for_each(|(key, value)| batch.put(key, value));
        Ok(self.db.write_opt(batch, &self.write)?)
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.db.get_pinned(key)?;
        if let Some(value) = &value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        for row in self.db.iterator(IteratorMode::From(from, Direction::Forward)).take(limit) {
            let (key, value) = row?;
            see(&key, &value);
        }
        Ok(())
    }

    fn compact(&self) -> Result<bool> {
        self.db.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(true)
    }

    fn close(self: Box<Self>) -> Result<()> {
        // What the log holds is there again when it is opened: a close in order need not write the memtable.
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}
