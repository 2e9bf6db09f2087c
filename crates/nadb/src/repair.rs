//! Repair of a store that does not open, or does not verify.

use std::path::Path;

use nadb_core::Result;
use nadb_engine::{Options, RepairReport};
use nadb_vfs::RealFs;

/// Repairs the store in the directory `path`: saves everything whose checksum holds and leaves a store that opens and verifies,
/// with the versions, tags and times that the records had. The files as they were are copied into a folder `repair-0001` (or a
/// higher number) inside the store's directory first, so this takes room for two more copies of the log. Large values in files
/// of their own stay where they are; only those that are damaged, or to which nothing refers any more, go to the folder. What is
/// lost is in the report, and in a file `REPORT` beside the originals.
///
/// A store that opens and verifies is left as it is. Where only the manifest or footers of sealed segments are damaged, those
/// are made anew from the records and nothing else changes; the report's `outcome` says which.
///
/// A lost deletion or overwrite brings back what it had hidden; the report names the keys as far as they can be read.
///
/// # Errors
/// `Locked` while the store is open; `InvalidInput` for a directory that is no store; `Version` for files of an unknown
/// format; `NoSpace` (the store is as it was), `ReadOnly`, and `Io`, also where the medium cannot be read.
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// let store = nadb::Store::open(&path)?;
/// store.namespace("app/users")?.set("user:123", "Alice")?;
/// store.close()?;
/// std::fs::remove_file(path.join("MANIFEST")).unwrap();
/// assert!(nadb::Store::open(&path).is_err());
///
/// let report = nadb::repair(&path)?;
/// assert!(!report.is_intact() && !report.has_losses());
/// let store = nadb::Store::open(&path)?;
/// assert_eq!(store.namespace("app/users")?.get("user:123")?.unwrap(), b"Alice");
/// # Ok::<(), nadb::Error>(())
/// ```
pub fn repair(path: impl AsRef<Path>) -> Result<RepairReport> {
    nadb_engine::repair(&RealFs, path.as_ref(), false, &Options::default())
}

/// What [`repair`] would do. Nothing is changed.
///
/// # Errors
/// As [`repair`].
///
/// ```
/// # let dir = tempfile::tempdir().unwrap();
/// # let path = dir.path().join("data");
/// nadb::Store::open(&path)?.close()?;
/// assert!(nadb::plan_repair(&path)?.is_intact());
/// # Ok::<(), nadb::Error>(())
/// ```
pub fn plan_repair(path: impl AsRef<Path>) -> Result<RepairReport> {
    nadb_engine::repair(&RealFs, path.as_ref(), true, &Options::default())
}
