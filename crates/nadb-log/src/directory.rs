//! A store's directory before anything in it is read: whether it is ours, its lock, its names.

use std::io;
use std::path::Path;

use nadb_core::{Error, ErrorKind, Result};
use nadb_vfs::{DirEntry, FileLock, Fs, LockError};

use crate::names::{LOCK, MANIFEST, is_harmless_without_manifest, parse_segment};

pub(crate) fn list(fs: &dyn Fs, dir: &Path) -> Result<Option<Vec<DirEntry>>> {
    match fs.list(dir) {
        Ok(entries) => Ok(Some(entries)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::NotADirectory => {
            Err(no_store(dir, "it is a file, and a store is a directory").with_source(e))
        }
        Err(e) => Err(Error::io("listing the store directory", dir, e)),
    }
}

pub(crate) fn no_store(dir: &Path, why: &str) -> Error {
    Error::invalid(format!(
        "this is no NADB store: {why}; give the path of a store, or, to create one, of an empty or new directory"
    ))
    .with_path(dir)
}

/// A directory may have a manifest, or nothing that a store could overwrite or be confused by.
pub(crate) fn check_directory(dir: &Path, entries: &[DirEntry], create: bool) -> Result<()> {
    if entries.iter().any(|entry| entry.name == MANIFEST) {
        return Ok(());
    }
    if let Some(segment) = entries.iter().find(|entry| parse_segment(&entry.name).is_some()) {
        return Err(Error::new(
            ErrorKind::Corruption,
            format!(
                "segment file {} stands in a directory without a {MANIFEST} file; nothing was touched: \
                 restore the manifest from a backup, or let `nadb repair` make it anew from the segments",
                segment.name
            ),
        )
        .with_path(dir.join(MANIFEST))
        .with_offset(0));
    }
    if let Some(other) = entries.iter().find(|entry| !is_harmless_without_manifest(&entry.name)) {
        return Err(no_store(
            dir,
            &format!("it has no {MANIFEST}, but other files such as {:?}", other.name),
        ));
    }
    if create { Ok(()) } else { Err(no_store(dir, "the directory is empty")) }
}

/// Syncs the names that lead to `dir`. Also those of a directory that was there: an earlier attempt may have made it and
/// ended before its name was durable.
pub(crate) fn sync_names(fs: &dyn Fs, dir: &Path) -> Result<()> {
    use io::ErrorKind::{InvalidInput, PermissionDenied, ReadOnlyFilesystem, Unsupported};
    for parent in dir.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match fs.sync_dir(parent) {
            // Where names cannot be made or synced, this store's was not made just now.
            Err(e)
                if matches!(e.kind(), InvalidInput | PermissionDenied | ReadOnlyFilesystem | Unsupported) => {
            }
            Err(e) => return Err(Error::io("syncing the directory", parent, e)),
            Ok(()) => {}
        }
    }
    Ok(())
}

pub(crate) fn lock(fs: &dyn Fs, dir: &Path) -> Result<Box<dyn FileLock>> {
    let path = dir.join(LOCK);
    let owner = format!("{}\n", std::process::id());
    fs.lock(&path, &owner).map_err(|e| match e {
        LockError::Held { owner } => {
            let owner = owner.trim();
            let who = if owner == std::process::id().to_string() {
                format!("this process (pid {owner}), in another handle; clone the first one instead")
            } else if owner.is_empty() || !owner.bytes().all(|b| b.is_ascii_digit()) {
                "another process".to_owned()
            } else {
                format!("the process with pid {owner}; close it first")
            };
            Error::new(ErrorKind::Locked, format!("the store is open for writing in {who}")).with_path(&path)
        }
        LockError::Io(e) => Error::io("locking the store", &path, e),
    })
}
