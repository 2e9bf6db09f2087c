//! The originals, copied aside before anything of them changes.

use std::path::{Path, PathBuf};

use nadb_core::{Error, Result};
use nadb_vfs::{DirEntry, Fs};

use super::report::RepairReport;
use crate::names::{REPAIR_REPORT, aside_path, parse_aside};

const CHUNK: usize = 1 << 20;

/// A folder in the store's own that nothing but this repair writes to.
#[derive(Debug)]
pub(super) struct Aside<'a> {
    fs: &'a dyn Fs,
    store: &'a Path,
    pub(super) path: PathBuf,
    made: Vec<PathBuf>,
}

impl<'a> Aside<'a> {
    /// Makes a folder with a number that no earlier repair has.
    pub(super) fn create(fs: &'a dyn Fs, store: &'a Path, entries: &[DirEntry]) -> Result<Aside<'a>> {
        let highest = entries.iter().filter_map(|entry| parse_aside(&entry.name)).max().unwrap_or(0);
        let path = aside_path(store, highest.saturating_add(1));
        fs.create_dir_all(&path).map_err(|e| Error::io("making a folder for the originals", &path, e))?;
        Ok(Aside { fs, store, path, made: Vec::new() })
    }

    /// Copies a file of the store.
    pub(super) fn copy(&mut self, from: &Path) -> Result<()> {
        let to = self.path.join(from.file_name().unwrap_or_default());
        let reading = |e| Error::io("copying an original aside", from, e);
        let source = self.fs.open_read(from).map_err(reading)?;
        let (mut left, mut at) = (source.len().map_err(reading)?, 0);
        let target = self.fs.create_new(&to).map_err(|e| Error::io("copying an original aside", &to, e))?;
        self.made.push(to.clone());
        let mut chunk = vec![0; CHUNK];
        while left > 0 {
            let len = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            chunk.truncate(len);
            source.read_exact_at(&mut chunk, at).map_err(reading)?;
            let writing = |e: nadb_vfs::WriteError| Error::io("copying an original aside", &to, e.source);
            target.write_all_at(&chunk, at).map_err(writing)?;
            at += len as u64;
            left -= len as u64;
        }
        target.sync_all().map_err(|e| Error::io("syncing a copy of an original", &to, e))
    }

    /// Writes the report and makes the folder durable with all that is in it.
    ///
    /// DURABILITY: before anything of the originals changes.
    pub(super) fn finish(&mut self, report: &RepairReport) -> Result<()> {
        let path = self.path.join(REPAIR_REPORT);
        let io = |e| Error::io("writing the report", &path, e);
        let file = self.fs.create_new(&path).map_err(io)?;
        self.made.push(path.clone());
        file.write_all_at(report.to_string().as_bytes(), 0).map_err(|e| io(e.source))?;
        file.sync_all().map_err(io)?;
        for dir in [&*self.path, self.store] {
            self.fs.sync_dir(dir).map_err(|e| Error::io("syncing the directory", dir, e))?;
        }
        Ok(())
    }

    /// After a failure before anything of the originals has changed: gives the room of the copies back. The folder stays.
    pub(super) fn discard(&self) {
        for path in &self.made {
            let _ = self.fs.remove(path);
        }
    }
}
