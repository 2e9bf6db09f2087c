//! fjall with a cache of 512 MiB and its defaults: a keyspace for the records, one for the tags and one for the expiries, all changed
//! in one batch. Queries read a snapshot. A cursor cannot seek, so a seek is a new range, which opens an iterator on every table; a
//! hundred steps come before it.

use std::path::Path;

use anyhow::Result;
use fjall::{
    Database, Iter, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot,
    UserKey,
};

use super::Counted;
use super::by_hand::{Change, Cursor, Op, PURGE_BATCH, Rows, combine, tag_bounds, tag_row};
use crate::engines::CACHE_BYTES;

const STEPS: usize = 100;

pub(super) struct Fjall {
    db: Database,
    records: Keyspace,
    tags: Keyspace,
    expiries: Keyspace,
}

impl Fjall {
    pub(super) fn open(dir: &Path) -> Result<Fjall> {
        let db = Database::builder(dir).cache_size(CACHE_BYTES as u64).open()?;
        let keyspace = |name| db.keyspace(name, KeyspaceCreateOptions::default);
        let (records, tags, expiries) = (keyspace("records")?, keyspace("tags")?, keyspace("expiries")?);
        Ok(Fjall { db, records, tags, expiries })
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let bytes = self.records.get(key)?;
        if let Some(bytes) = &bytes {
            see(bytes);
        }
        Ok(bytes.is_some())
    }
}

impl Counted for Fjall {}

impl Rows for Fjall {
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> Result<()>) -> Result<()> {
        let mut change = FjallChange { fjall: self, batch: self.db.batch() };
        work(&mut change)?;
        Ok(change.batch.commit()?)
    }

    fn record(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.get(key, see)
    }

    fn pair(&self, op: Op, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let snapshot = self.db.snapshot();
        let cursor = |tag| FjallCursor::new(&snapshot, &self.tags, tag);
        combine(op, (cursor(tags[0])?, cursor(tags[1])?), STEPS, see)
    }

    fn rows_of(&self, tag: &str) -> Result<u64> {
        let [from, to] = tag_bounds(tag);
        let mut count = 0;
        for row in self.tags.range(from..to) {
            row.key()?;
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}

struct FjallChange<'f> {
    fjall: &'f Fjall,
    batch: OwnedWriteBatch,
}

impl Change for FjallChange<'_> {
    fn record(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.fjall.get(key, see)
    }

    fn put_record(&mut self, key: &[u8], bytes: &[u8]) -> Result<()> {
        self.batch.insert(&self.fjall.records, key, bytes);
        Ok(())
    }

    fn delete_record(&mut self, key: &[u8]) -> Result<()> {
        self.batch.remove(&self.fjall.records, key);
        Ok(())
    }

    fn put_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        self.batch.insert(&self.fjall.tags, tag_row(tag, key), b"");
        Ok(())
    }

    fn delete_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        self.batch.remove(&self.fjall.tags, tag_row(tag, key));
        Ok(())
    }

    fn put_expiry(&mut self, row: &[u8]) -> Result<()> {
        self.batch.insert(&self.fjall.expiries, row, b"");
        Ok(())
    }

    fn delete_expiry(&mut self, row: &[u8]) -> Result<()> {
        self.batch.remove(&self.fjall.expiries, row);
        Ok(())
    }

    fn expiries(&mut self, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>> {
        let rows = self.fjall.expiries.range(from..to).take(PURGE_BATCH);
        rows.map(|row| Ok(row.key()?.to_vec())).collect()
    }
}

struct FjallCursor<'s> {
    snapshot: &'s Snapshot,
    tags: &'s Keyspace,
    rows: Iter,
    current: Option<UserKey>,
    /// The tag's prefix, and behind it what was sought last.
    row: Vec<u8>,
    prefix_bytes: usize,
    to: Vec<u8>,
}

impl<'s> FjallCursor<'s> {
    fn new(snapshot: &'s Snapshot, tags: &'s Keyspace, tag: &str) -> Result<FjallCursor<'s>> {
        let [from, to] = tag_bounds(tag);
        let rows = snapshot.range(tags, &from[..]..&to[..]);
        let mut cursor =
            FjallCursor { snapshot, tags, rows, current: None, prefix_bytes: from.len(), row: from, to };
        cursor.step()?;
        Ok(cursor)
    }
}

impl Cursor for FjallCursor<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.current.as_ref()?.get(self.prefix_bytes..)
    }

    fn step(&mut self) -> Result<()> {
        self.current = self.rows.next().map(fjall::Guard::key).transpose()?;
        Ok(())
    }

    fn seek(&mut self, to: &[u8]) -> Result<()> {
        self.row.truncate(self.prefix_bytes);
        self.row.extend_from_slice(to);
        self.rows = self.snapshot.range(self.tags, &self.row[..]..&self.to[..]);
        self.step()
    }
}
