//! The door to the log's repair: nothing but the log's own files need repair, everything else is rebuilt from them.

use std::path::Path;

use nadb_core::Result;
use nadb_log::{RepairOptions, RepairReport};
use nadb_vfs::Fs;

use crate::options::Options;

/// Repairs the store in `dir`, which must not be open: saves everything whose checksum holds and leaves a store that opens.
/// The originals are copied aside first, into a folder that the report names. A store that opens is left as it is. With
/// `dry_run` nothing is changed, and the report says what would be.
///
/// Of `options` it takes the memtable's size, the clock and the source of randomness.
///
/// # Errors
/// `Locked`, `InvalidInput` for a directory that is no store, `Version`, `NoSpace` (the store is as it was), `ReadOnly`, and
/// `Io`, also where the medium cannot be read.
pub fn repair(fs: &dyn Fs, dir: &Path, dry_run: bool, options: &Options) -> Result<RepairReport> {
    options.check()?;
    let options = RepairOptions {
        segment_size: options.memtable_size,
        dry_run,
        clock: options.clock.clone(),
        entropy: options.entropy.clone(),
    };
    nadb_log::repair(fs, dir, &options)
}
