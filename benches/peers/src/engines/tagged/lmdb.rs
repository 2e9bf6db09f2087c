//! LMDB through heed as for single keys: a database for the records, one for the tags and one for the expiries, all changed in one
//! transaction. A tag is one key with all its records' keys as sorted duplicates of one length (`MDB_DUPSORT`, `MDB_DUPFIXED`), which is
//! half the bytes and faster to walk than a row for each. heed neither seeks among duplicates nor tells their number, so a query steps
//! through both tags, and a count through one.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use heed::iteration_method::MoveOnCurrentKeyDuplicates;
use heed::types::{Bytes, Unit};
use heed::{CommitOrAbort, Database, DatabaseFlags, Env, EnvFlags, EnvOpenOptions, RoIter, RoTxn, RwTxn};

use super::Counted;
use super::by_hand::{Change, Cursor, Op, PURGE_BATCH, Rows, combine};

pub(super) struct Lmdb {
    env: Env,
    records: Database<'static, Bytes, Bytes>,
    tags: Database<'static, Bytes, Bytes>,
    expiries: Database<'static, Bytes, Unit>,
}

impl Lmdb {
    #[expect(unsafe_code, reason = "LMDB trusts whoever else has the files")]
    pub(super) fn open(dir: &Path) -> Result<Lmdb> {
        let mut options = EnvOpenOptions::new();
        options.map_size(64 << 30).max_dbs(3);
        // SAFETY: no other process has the folder's store open, and NO_SYNC risks only what a power cut may take.
        let env = unsafe { options.flags(EnvFlags::NO_SYNC).open(dir)? };
        let (records, tags, expiries) = env
            .create_databases_and_commit(env.write_txn()?, |opener, write| -> heed::Result<_> {
                let records = opener.create_database::<Bytes, Bytes>(write, Some("records"))?;
                let expiries = opener.create_database::<Bytes, Unit>(write, Some("expiries"))?;
                let mut tags = opener.database_options().types::<Bytes, Bytes>();
                let tags = tags
                    .name("tags")
                    .flags(DatabaseFlags::DUP_SORT | DatabaseFlags::DUP_FIXED)
                    .create(write)?;
                Ok(CommitOrAbort::<_, ()>::Commit((records, tags, expiries)))
            })?
            .unwrap_commit();
        Ok(Lmdb { env, records, tags, expiries })
    }

    fn cursor<'t>(&self, read: &'t RoTxn, tag: &str) -> Result<LmdbCursor<'t>> {
        let mut cursor = LmdbCursor { keys: self.tags.get_duplicates(read, tag.as_bytes())?, current: None };
        cursor.step()?;
        Ok(cursor)
    }
}

impl Counted for Lmdb {}

impl Rows for Lmdb {
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> Result<()>) -> Result<()> {
        let mut change = LmdbChange { lmdb: self, write: self.env.write_txn()? };
        work(&mut change)?;
        Ok(change.write.commit()?)
    }

    fn record(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let read = self.env.read_txn()?;
        let bytes = self.records.get(&read, key)?;
        if let Some(bytes) = bytes {
            see(bytes);
        }
        Ok(bytes.is_some())
    }

    fn pair(&self, op: Op, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let read = self.env.read_txn()?;
        combine(op, (self.cursor(&read, tags[0])?, self.cursor(&read, tags[1])?), usize::MAX, see)
    }

    fn rows_of(&self, tag: &str) -> Result<u64> {
        let read = self.env.read_txn()?;
        let mut count = 0;
        for row in self.tags.get_duplicates(&read, tag.as_bytes())?.into_iter().flatten() {
            row?;
            count += 1;
        }
        Ok(count)
    }

    fn close(self) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}

struct LmdbChange<'e> {
    lmdb: &'e Lmdb,
    write: RwTxn<'e>,
}

impl Change for LmdbChange<'_> {
    fn record(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let bytes = self.lmdb.records.get(&self.write, key)?;
        if let Some(bytes) = bytes {
            see(bytes);
        }
        Ok(bytes.is_some())
    }

    fn put_record(&mut self, key: &[u8], bytes: &[u8]) -> Result<()> {
        Ok(self.lmdb.records.put(&mut self.write, key, bytes)?)
    }

    fn delete_record(&mut self, key: &[u8]) -> Result<()> {
        self.lmdb.records.delete(&mut self.write, key)?;
        Ok(())
    }

    fn put_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        Ok(self.lmdb.tags.put(&mut self.write, tag, key)?)
    }

    fn delete_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()> {
        self.lmdb.tags.delete_one_duplicate(&mut self.write, tag, key)?;
        Ok(())
    }

    fn put_expiry(&mut self, row: &[u8]) -> Result<()> {
        Ok(self.lmdb.expiries.put(&mut self.write, row, &())?)
    }

    fn delete_expiry(&mut self, row: &[u8]) -> Result<()> {
        self.lmdb.expiries.delete(&mut self.write, row)?;
        Ok(())
    }

    fn expiries(&mut self, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>> {
        // It has no empty key, and takes none.
        let from = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
        let rows = self.lmdb.expiries.range(&self.write, &(from, Bound::Excluded(to)))?.take(PURGE_BATCH);
        rows.map(|row| Ok(row?.0.to_vec())).collect()
    }
}

struct LmdbCursor<'t> {
    keys: Option<RoIter<'t, Bytes, Bytes, MoveOnCurrentKeyDuplicates>>,
    current: Option<&'t [u8]>,
}

impl Cursor for LmdbCursor<'_> {
    fn key(&self) -> Option<&[u8]> {
        self.current
    }

    fn step(&mut self) -> Result<()> {
        let next = self.keys.as_mut().and_then(Iterator::next).transpose()?;
        self.current = next.map(|(_, key)| key);
        Ok(())
    }

    fn seek(&mut self, to: &[u8]) -> Result<()> {
        while self.current.is_some_and(|key| key < to) {
            self.step()?;
        }
        Ok(())
    }
}
