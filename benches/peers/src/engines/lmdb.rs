//! LMDB through heed: a map of 64 GiB, one transaction a write or batch, one read transaction a get, for a get shows what is newest.
//! Class Flushed is `MDB_NOSYNC`: commits are written to the file and not synced. No `MDB_WRITEMAP`, which its documentation
//! calls the less safe way.

use std::ops::Bound;
use std::path::Path;

use anyhow::Result;
use heed::types::Bytes;
use heed::{CommitOrAbort, Database, Env, EnvFlags, EnvOpenOptions};
use nadb_benches::Key;

use super::{Class, Counted, Engine, Setup};

pub(super) struct Lmdb {
    env: Env,
    db: Database<'static, Bytes, Bytes>,
}

impl Lmdb {
    #[expect(unsafe_code, reason = "LMDB trusts whoever else has the files")]
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Lmdb> {
        let mut options = EnvOpenOptions::new();
        options.map_size(64 << 30);
        // SAFETY: no other process has the folder's store open, and NO_SYNC risks only what a power cut may take.
        let env = unsafe {
            if setup.class == Class::Flushed {
                options.flags(EnvFlags::NO_SYNC);
            }
            options.open(dir)?
        };
        let db = env
            .create_databases_and_commit(env.write_txn()?, |opener, write| {
                opener.create_database::<Bytes, Bytes>(write, None).map(CommitOrAbort::<_, ()>::Commit)
            })?
            .unwrap_commit();
        Ok(Lmdb { env, db })
    }
}

impl Counted for Lmdb {}

impl Engine for Lmdb {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut write = self.env.write_txn()?;
        self.db.put(&mut write, key, value)?;
        Ok(write.commit()?)
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut write = self.env.write_txn()?;
        for (key, value) in rows {
            self.db.put(&mut write, key, value)?;
        }
        Ok(write.commit()?)
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let read = self.env.read_txn()?;
        let value = self.db.get(&read, key)?;
        if let Some(value) = value {
            see(value);
        }
        Ok(value.is_some())
    }

    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        let read = self.env.read_txn()?;
        // It has no empty key, and takes none.
        let from = if from.is_empty() { Bound::Unbounded } else { Bound::Included(from) };
        for row in self.db.range(&read, &(from, Bound::Unbounded))?.take(limit) {
            let (key, value) = row?;
            see(key, value);
        }
        Ok(())
    }

    fn close(self: Box<Self>) -> Result<()> {
        self.env.force_sync()?;
        self.env.prepare_for_closing().wait();
        Ok(())
    }
}
