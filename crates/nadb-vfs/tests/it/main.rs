//! Tests of the file systems through their public face.
#![allow(clippy::unwrap_used, clippy::cast_possible_truncation)]
#![allow(clippy::disallowed_methods, reason = "the tests prepare real files by themselves")]

mod appender;
mod crash;
mod faults;
mod mapping;
mod random;
mod suite;

use std::path::Path;
use std::sync::Arc;

use nadb_vfs::{CrashMode, File, Fs, SimFs};

/// A disk with a durable, empty directory `/db`.
fn disk() -> SimFs {
    let fs = SimFs::new(1);
    fs.create_dir_all("/db".as_ref()).unwrap();
    fs.sync_dir("/".as_ref()).unwrap();
    fs
}

fn create(fs: &SimFs, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = fs.create_new(path.as_ref()).unwrap();
    file.write_all_at(bytes, 0).unwrap();
    file
}

/// A file that is durable with its name.
fn durable(fs: &SimFs, path: &str, bytes: &[u8]) -> Arc<dyn File> {
    let file = create(fs, path, bytes);
    file.sync_all().unwrap();
    fs.sync_dir(Path::new(path).parent().unwrap()).unwrap();
    file
}

/// What a file holds after each of many crashes; the disk itself is dead afterwards.
fn outcomes(fs: &SimFs, mode: CrashMode, path: &str) -> Vec<Option<Vec<u8>>> {
    let mut all: Vec<_> = (0..300).map(|seed| fs.power_cut(mode, seed).read_file(path).ok()).collect();
    all.sort();
    all.dedup();
    all
}
