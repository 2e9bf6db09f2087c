//! SQLite through rusqlite: write-ahead log, `synchronous` NORMAL for class Flushed (what its documentation recommends with that log)
//! and FULL for class Synced, a page cache of 512 MiB, statements prepared once. The table has no row ids while values are
//! small, as its documentation advises, and has them for values of 64 KiB. Each thread has a connection of its own.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use nadb_benches::Key;
use rusqlite::{Connection, OptionalExtension};

use super::{CACHE_BYTES, Class, Counted, Engine, Setup};

const SET: &str = "INSERT INTO kv (k, v) VALUES (?1, ?2) ON CONFLICT (k) DO UPDATE SET v = excluded.v";
const GET: &str = "SELECT v FROM kv WHERE k = ?1";
const SCAN: &str = "SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k LIMIT ?2";

thread_local! {
    static CONNECTION: RefCell<Option<(PathBuf, Connection)>> = const { RefCell::new(None) };
}

pub(super) struct Sqlite {
    path: PathBuf,
    class: Class,
}

impl Sqlite {
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<Sqlite> {
        let sqlite = Sqlite { path: dir.join("store.sqlite"), class: setup.class };
        let rows = if setup.large_values { "" } else { "WITHOUT ROWID" };
        let table =
            format!("CREATE TABLE IF NOT EXISTS kv (k BLOB PRIMARY KEY NOT NULL, v BLOB NOT NULL) {rows}");
        sqlite.connect()?.execute_batch(&table)?;
        Ok(sqlite)
    }

    fn connect(&self) -> Result<Connection> {
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(Duration::from_secs(60))?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = if self.class == Class::Synced { "FULL" } else { "NORMAL" };
        connection.pragma_update(None, "synchronous", synchronous)?;
        connection.pragma_update(None, "cache_size", -i64::try_from(CACHE_BYTES / 1024)?)?;
        Ok(connection)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T>) -> Result<T> {
        CONNECTION.with_borrow_mut(|own| {
            if own.as_ref().is_none_or(|(path, _)| *path != self.path) {
                *own = Some((self.path.clone(), self.connect()?));
            }
            let (_, connection) = own.as_mut().context("just connected")?;
            work(connection)
        })
    }
}

impl Counted for Sqlite {}

impl Engine for Sqlite {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.with(|connection| {
            connection.prepare_cached(SET)?.execute((key, value))?;
            Ok(())
        })
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        self.with(|connection| {
            let write = connection.transaction()?;
            {
                let mut statement = write.prepare_cached(SET)?;
                for (key, value) in rows {
                    statement.execute((&key[..], &value[..]))?;
                }
            }
            Ok(write.commit()?)
        })
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(GET)?;
            let found = statement.query_row([key], |row| {
                see(row.get_ref(0)?.as_blob()?);
                Ok(())
            });
            Ok(found.optional()?.is_some())
        })
    }

    fn scan(&self, from: &[u8], limit: usize, see: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        self.with(|connection| {
            let mut statement = connection.prepare_cached(SCAN)?;
            let mut rows = statement.query((from, i64::try_from(limit).unwrap_or(i64::MAX)))?;
            while let Some(row) = rows.next()? {
                see(row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
            }
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> Result<()> {
        CONNECTION.set(None);
        Ok(())
    }
}
