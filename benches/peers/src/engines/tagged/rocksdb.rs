//! RocksDB as for single keys, with a column family for the records, one for the tags and one for the expiries; a record and its rows
//! go in one batch. Queries read a snapshot, each tag through an iterator that ends where the tag does. A seek goes down all levels, so
//! sixteen steps come before it.

use std::path::Path;

use anyhow::{Context, Result};
use rocksdb::{ColumnFamily, DB, DBRawIterator, ReadOptions, WriteBatch, WriteOptions};

use super::by_hand::{Change, Cursor, Op, PURGE_BATCH, Rows, combine, tag_bounds, tag_row};
use super::{Counted, Setup};
use crate::engines::rocksdb::options;

const RECORDS: &str = "records";
const TAGS: &str = "tags";
const EXPIRIES: &str = "expiries";
const STEPS: usize = 16;

pub(super) struct Rocks {
    db: DB,
}

impl Rocks {
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Rocks> {
        let mut options = options(setup);
        options.create_missing_column_families(true);
        let families = [RECORDS, TAGS, EXPIRIES].map(|name| (name, options.clone()));
        Ok(Rocks { db: DB::open_cf_with_opts(&options, dir, families)? })
    }

    fn family(&self, name: &str) -> Result<&ColumnFamily> {
        self.db.cf_handle(name).context("no such column family")
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let bytes = self.db.get_pinned_cf(self.family(RECORDS)?, key)?;
        if let Some(bytes) = &bytes {
            see(bytes);
        }
        Ok(bytes.is_some())
    }
}

impl Counted for Rocks {}

impl Rows for Rocks {
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> Result<()>) -> Result<()> {
        let mut change = RocksChange {
            rocks: self,
            records: self.family(RECORDS)?,
            tags: self.family(TAGS)?,
            expiries: self.family(EXPIRIES)?,
            batch: WriteBatch::default(),
        };
        work(&mut change)?;
        Ok(self.db.write_opt(change.batch, &WriteOptions::default())?)
    }

    fn record(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.get(key, see)
    }

    fn pair(&self, op: Op, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let (snapshot, family) = (self.db.snapshot(), self.family(TAGS)?);
        let cursor = |tag: &str| {
            let [from, to] = tag_bounds(tag);
            let mut options = ReadOptions::default();
            options.set_iterate_upper_bound(to);
            let mut rows = snapshot.raw_iterator_cf_opt(family, options);
            rows.seek(&from);
            RocksCursor { rows, row: from.clone(), prefix_bytes: from.len() }
        };
        combine(op, (cursor(tags[0]), cursor(tags[1])), STEPS, see)
    }

    fn rows_of(&self, tag: &str) -> Result<u64> {
        let [from, to] = tag_bounds(tag);
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        let mut rows = self.db.raw_iterator_cf_opt(self.family(TAGS)?, options);
        rows.seek(&from);
        let mut count = 0;
        while rows.valid() {
            count += 1;
            rows.next();
        }
        rows.status()?;
        Ok(count)
    }

    fn close(self) -> Result<()> {
        self.db.cancel_all_background_work(true);
        Ok(())
    }
}

struct RocksChange<'r> {
    rocks: &'r Rocks,
    records: &'r ColumnFamily,
    tags: &'r ColumnFamily,
    expiries: &'r ColumnFamily,
    batch: WriteBatch,
}

impl Change for RocksChange<'_> {
    fn record(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.rocks.get(key, see)
    }

    fn put_record(&mut self, key: &[u8], bytes: &[u8]) -> Result<()> {
        self.batch.put_cf(self.records, key, bytes);
        Ok(())
    }

    fn delete_record(&mut self, key: &[u8]) -> Result<()> {
        self.batch.delete_cf(self.records, key);
        Ok(())
    }

    fn put_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        self.batch.put_cf(self.tags, tag_row(tag, key), b"");
        Ok(())
    }

    fn delete_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        self.batch.delete_cf(self.tags, tag_row(tag, key));
        Ok(())
    }

    fn put_expiry(&mut self, row: &[u8]) -> Result<()> {
        self.batch.put_cf(self.expiries, row, b"");
        Ok(())
    }

    fn delete_expiry(&mut self, row: &[u8]) -> Result<()> {
        self.batch.delete_cf(self.expiries, row);
        Ok(())
    }

    fn expiries(&mut self, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(to);
        let mut rows = self.rocks.db.raw_iterator_cf_opt(self.expiries, options);
        rows.seek(from);
        let mut found = Vec::new();
        while let Some(row) = rows.key().filter(|_| found.len() < PURGE_BATCH) {
            found.push(row.to_vec());
            rows.next();
        }
        rows.status()?;
        Ok(found)
    }
}

struct RocksCursor<'d> {
    rows: DBRawIterator<'d>,
    /// The tag's prefix, and behind it what was sought last.
    row: Vec<u8>,
    prefix_bytes: usize,
}

impl Cursor for RocksCursor<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.rows.key()?.get(self.prefix_bytes..)
    }

    fn step(&mut self) -> Result<()> {
        self.rows.next();
        if !self.rows.valid() {
            self.rows.status()?;
        }
        Ok(())
    }

    fn seek(&mut self, to: &[u8]) -> Result<()> {
        self.row.truncate(self.prefix_bytes);
        self.row.extend_from_slice(to);
        self.rows.seek(&self.row);
        if !self.rows.valid() {
            self.rows.status()?;
        }
        Ok(())
    }
}
