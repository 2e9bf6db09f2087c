//! The limit of writes: one `write(2)` a record or batch, with `fdatasync` for class Synced, and nothing else.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use nadb_benches::Key;

use super::{Class, Counted, Engine, Setup};

pub(super) struct RawAppend {
    file: File,
    class: Class,
}

impl RawAppend {
    pub(super) fn open(dir: &Path, setup: &Setup) -> Result<RawAppend> {
        let file = File::options().create(true).append(true).open(dir.join("records"))?;
        Ok(RawAppend { file, class: setup.class })
    }

    fn write(&self, bytes: &[u8]) -> Result<()> {
        (&self.file).write_all(bytes)?;
        if self.class == Class::Synced {
            self.file.sync_data()?;
        }
        Ok(())
    }
}

fn push(to: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for len in [key.len(), value.len()] {
        to.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes());
    }
    to.extend_from_slice(key);
    to.extend_from_slice(value);
}

impl Counted for RawAppend {}

impl Engine for RawAppend {
    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        let mut record = Vec::with_capacity(8 + key.len() + value.len());
        push(&mut record, key, value);
        self.write(&record)
    }

    fn set_batch(&self, rows: &[(Key, Vec<u8>)]) -> Result<()> {
        let mut records = Vec::new();
        rows.iter().for_each(|(key, value)| push(&mut records, key, value));
        self.write(&records)
    }

    fn get(&self, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<bool> {
        anyhow::bail!("appended records cannot be found again")
    }

    fn scan(&self, _: &[u8], _: usize, _: &mut dyn FnMut(&[u8], &[u8])) -> Result<()> {
        anyhow::bail!("appended records cannot be found again")
    }

    fn close(self: Box<Self>) -> Result<()> {
        Ok(self.file.sync_all()?)
    }
}
