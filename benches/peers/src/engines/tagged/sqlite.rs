//! SQLite as for single keys: a table of records by key without row ids, and a table of tags whose primary key is tag and key, so that it
//! is its own covering index; a second index by key and tag finds what an overwrite and a purge have to delete. Both tables' rows change in
//! one transaction. Expiries have an index of the rows that have one.
//!
//! All-of is an `INTERSECT`, any-of a `UNION`. Asked for in key order, SQLite merges the sorted rows of both tags, and that was faster than
//! joins, `EXISTS`, `IN` with `DISTINCT`, or the same without an order. The count of any-of is the sum of both counts without what they have in
//! common, faster than counting a `UNION` or distinct keys; its `LIMIT -1` keeps SQLite from dropping the order. Row ids in the table of records
//! made no difference.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior};

use super::by_hand::PURGE_BATCH;
use super::{Counted, Tagged};
use crate::engines::CACHE_BYTES;
use crate::tagged::Record;

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS records (key BLOB PRIMARY KEY NOT NULL, value BLOB NOT NULL, expires INTEGER) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS tags (tag TEXT NOT NULL, key BLOB NOT NULL, PRIMARY KEY (tag, key)) WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS tags_by_key ON tags (key, tag);
    CREATE INDEX IF NOT EXISTS records_by_expiry ON records (expires) WHERE expires IS NOT NULL;";
const PUT: &str = "INSERT INTO records (key, value, expires) VALUES (?1, ?2, ?3)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, expires = excluded.expires";
const PUT_TAG: &str = "INSERT OR IGNORE INTO tags (tag, key) VALUES (?1, ?2)";
const DROP_TAGS: &str = "DELETE FROM tags WHERE key = ?1 AND tag NOT IN (?2, ?3, ?4)";
const GET: &str = "SELECT value FROM records WHERE key = ?1";
const ALL_OF: &str =
    "SELECT key FROM tags WHERE tag = ?1 INTERSECT SELECT key FROM tags WHERE tag = ?2 ORDER BY key";
const ANY_OF: &str =
    "SELECT key FROM tags WHERE tag = ?1 UNION SELECT key FROM tags WHERE tag = ?2 ORDER BY key";
const COUNT_ANY_OF: &str =
    "SELECT (SELECT count(*) FROM tags WHERE tag = ?1) + (SELECT count(*) FROM tags WHERE tag = ?2)
    - (SELECT count(*) FROM (SELECT key FROM tags WHERE tag = ?1 INTERSECT SELECT key FROM tags WHERE tag = ?2
        ORDER BY key LIMIT -1))";
const COUNT: &str = "SELECT count(*) FROM tags WHERE tag = ?1";
const EXPIRED: &str = "SELECT key FROM records WHERE expires <= ?1 ORDER BY expires LIMIT ?2";

pub(super) struct Sqlite {
    connection: Mutex<Connection>,
    purge: [String; 2],
}

impl Sqlite {
    pub(super) fn open(dir: &Path) -> Result<Sqlite> {
        let connection = Connection::open(dir.join("store.sqlite"))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "cache_size", -i64::try_from(CACHE_BYTES / 1024)?)?;
        connection.set_prepared_statement_cache_capacity(32);
        connection.execute_batch(TABLES)?;
        let purge = ["tags", "records"].map(|table| format!("DELETE FROM {table} WHERE key IN ({EXPIRED})"));
        Ok(Sqlite { connection: Mutex::new(connection), purge })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write<T>(&self, work: impl FnOnce(&Transaction) -> Result<T>) -> Result<T> {
        let mut connection = self.lock();
        let write = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = work(&write)?;
        write.commit()?;
        Ok(done)
    }

    fn keys(&self, query: &str, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached(query)?;
        let mut rows = statement.query(tags)?;
        while let Some(row) = rows.next()? {
            see(row.get_ref(0)?.as_blob()?);
        }
        Ok(())
    }
}

fn put(write: &Transaction, record: &Record) -> Result<()> {
    let expires = if record.expires_ms == 0 { None } else { Some(i64::try_from(record.expires_ms)?) };
    write.prepare_cached(PUT)?.execute((record.key, record.value, expires))?;
    let mut put_tag = write.prepare_cached(PUT_TAG)?;
    for tag in record.tags {
        put_tag.execute((tag, record.key))?;
    }
    Ok(())
}

impl Counted for Sqlite {}

impl Tagged for Sqlite {
    fn insert(&self, records: &[Record]) -> Result<()> {
        self.write(|write| records.iter().try_for_each(|record| put(write, record)))
    }

    fn replace(&self, record: Record) -> Result<()> {
        self.write(|write| {
            let [a, b, c] = record.tags;
            write.prepare_cached(DROP_TAGS)?.execute((record.key, a, b, c))?;
            put(write, &record)
        })
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let connection = self.lock();
        let found = connection.prepare_cached(GET)?.query_row([key], |row| {
            see(row.get_ref(0)?.as_blob()?);
            Ok(())
        });
        Ok(found.optional()?.is_some())
    }

    fn all_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.keys(ALL_OF, tags, see)
    }

    fn any_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.keys(ANY_OF, tags, see)
    }

    fn count_any_of(&self, tags: [&str; 2]) -> Result<u64> {
        Ok(self.lock().prepare_cached(COUNT_ANY_OF)?.query_row(tags, count_of)?)
    }

    fn count(&self, tag: &str) -> Result<u64> {
        Ok(self.lock().prepare_cached(COUNT)?.query_row([tag], count_of)?)
    }

    fn purge(&self, upto_ms: u64) -> Result<u64> {
        let mut purged = 0;
        loop {
            let some = self.write(|write| {
                let [tags, records] = &self.purge;
                write.prepare_cached(tags)?.execute((upto_ms as i64, PURGE_BATCH as i64))?;
                Ok(write.prepare_cached(records)?.execute((upto_ms as i64, PURGE_BATCH as i64))?)
            })?;
            purged += some as u64;
            if some < PURGE_BATCH {
                return Ok(purged);
            }
        }
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

fn count_of(row: &Row) -> rusqlite::Result<u64> {
    row.get::<_, i64>(0).map(|count| count as u64)
}
