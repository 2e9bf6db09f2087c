//! redb with a cache of 512 MiB and its default durability, which syncs: a table for the records, one for the tags and one for the
//! expiries, all changed in one transaction. A cursor cannot seek, so a seek is a new range, and thirty-two steps come before it.

use std::path::Path;

use anyhow::Result;
use redb::{
    AccessGuard, Database, Range, ReadOnlyTable, ReadableDatabase, ReadableTable, Table, TableDefinition,
};

use super::Counted;
use super::by_hand::{Change, Cursor, Op, PURGE_BATCH, Rows, combine, tag_bounds, tag_row};
use crate::engines::CACHE_BYTES;

const RECORDS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("records");
const TAGS: TableDefinition<&[u8], ()> = TableDefinition::new("tags");
const EXPIRIES: TableDefinition<&[u8], ()> = TableDefinition::new("expiries");
const STEPS: usize = 32;

pub(super) struct Redb {
    db: Database,
}

impl Redb {
    pub(super) fn open(dir: &Path) -> Result<Redb> {
        let db = Database::builder().set_cache_size(CACHE_BYTES).create(dir.join("store.redb"))?;
        let write = db.begin_write()?;
        write.open_table(RECORDS)?;
        write.open_table(TAGS)?;
        write.open_table(EXPIRIES)?;
        write.commit()?;
        Ok(Redb { db })
    }
}

impl Counted for Redb {}

impl Rows for Redb {
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> Result<()>) -> Result<()> {
        let write = self.db.begin_write()?;
        work(&mut RedbChange {
            records: write.open_table(RECORDS)?,
            tags: write.open_table(TAGS)?,
            expiries: write.open_table(EXPIRIES)?,
        })?;
        Ok(write.commit()?)
    }

    fn record(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let table = self.db.begin_read()?.open_table(RECORDS)?;
        let bytes = table.get(key)?;
        if let Some(bytes) = &bytes {
            see(bytes.value());
        }
        Ok(bytes.is_some())
    }

    fn pair(&self, op: Op, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let table = self.db.begin_read()?.open_table(TAGS)?;
        let cursors = (RedbCursor::new(&table, tags[0])?, RedbCursor::new(&table, tags[1])?);
        combine(op, cursors, STEPS, see)
    }

    fn rows_of(&self, tag: &str) -> Result<u64> {
        let table = self.db.begin_read()?.open_table(TAGS)?;
        let [from, to] = tag_bounds(tag);
        let mut count = 0;
        for row in table.range(&from[..]..&to[..])? {
            row?;
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        Ok(self.db.close()?)
    }
}

struct RedbChange<'t> {
    records: Table<'t, &'static [u8], &'static [u8]>,
    tags: Table<'t, &'static [u8], ()>,
    expiries: Table<'t, &'static [u8], ()>,
}

impl Change for RedbChange<'_> {
    fn record(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let bytes = self.records.get(key)?;
        if let Some(bytes) = &bytes {
            see(bytes.value());
        }
        Ok(bytes.is_some())
    }

    fn put_record(&mut self, key: &[u8], bytes: &[u8]) -> Result<()> {
        self.records.insert(key, bytes)?;
        Ok(())
    }

    fn delete_record(&mut self, key: &[u8]) -> Result<()> {
        self.records.remove(key)?;
        Ok(())
    }

    fn put_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        self.tags.insert(&tag_row(tag, key)[..], ())?;
        Ok(())
    }

    fn delete_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        self.tags.remove(&tag_row(tag, key)[..])?;
        Ok(())
    }

    fn put_expiry(&mut self, row: &[u8]) -> Result<()> {
        self.expiries.insert(row, ())?;
        Ok(())
    }

    fn delete_expiry(&mut self, row: &[u8]) -> Result<()> {
        self.expiries.remove(row)?;
        Ok(())
    }

    fn expiries(&mut self, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>> {
        let rows = self.expiries.range(from..to)?.take(PURGE_BATCH);
        rows.map(|row| Ok(row?.0.value().to_vec())).collect()
    }
}

struct RedbCursor<'t> {
    table: &'t ReadOnlyTable<&'static [u8], ()>,
    rows: Range<'t, &'static [u8], ()>,
    current: Option<AccessGuard<'t, &'static [u8]>>,
    /// The tag's prefix, and behind it what was sought last.
    row: Vec<u8>,
    prefix_bytes: usize,
    to: Vec<u8>,
}

impl<'t> RedbCursor<'t> {
    fn new(table: &'t ReadOnlyTable<&'static [u8], ()>, tag: &str) -> Result<RedbCursor<'t>> {
        let [from, to] = tag_bounds(tag);
        let rows = table.range(&from[..]..&to[..])?;
        let mut cursor = RedbCursor { table, rows, current: None, prefix_bytes: from.len(), row: from, to };
        cursor.step()?;
        Ok(cursor)
    }
}

impl Cursor for RedbCursor<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.current.as_ref()?.value().get(self.prefix_bytes..)
    }

    fn step(&mut self) -> Result<()> {
        self.current = self.rows.next().transpose()?.map(|(row, _)| row);
        Ok(())
    }

    fn seek(&mut self, to: &[u8]) -> Result<()> {
        self.row.truncate(self.prefix_bytes);
        self.row.extend_from_slice(to);
        self.rows = self.table.range(&self.row[..]..&self.to[..])?;
        self.step()
    }
}
