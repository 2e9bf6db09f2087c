//! The door to the log's repair: nothing but the log's own files and its blobs need repair, everything else is rebuilt from them.

use std::path::Path;

use nadb_core::Result;
use nadb_log::{RepairOptions, RepairReport};
use nadb_vfs::Fs;

use crate::options::Options;

/// Repairs the store in `dir`, which must not be open: saves everything whose checksum holds and leaves a store that opens and
/// verifies. The originals are copied aside first, into a folder that the report names. A store that opens and verifies is left
/// as it is; one in which only footers or the manifest are damaged gets those anew, and nothing else of it changes. A record
/// whose blob is not whole counts as lost. With `dry_run` nothing is changed, and the report says what would be.
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

/// What a repair leaves opens, verifies, and has every value that was not hit.
#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use nadb_core::{Action, ErrorKind, ManualClock, Operation, Put, SeededEntropy};
    use nadb_log::{AfterLoss, RepairOutcome, RepairReport};
    use nadb_vfs::{CrashMode, Fs, SimFs};

    use crate::{Engine, Options};

    const DIR: &str = "/store";
    /// Values above this become blobs.
    const ABOVE: usize = 300;

    type Values = BTreeMap<String, Vec<u8>>;

    fn options(seed: u64) -> Options {
        Options {
            memtable_size: 4 << 10,
            blob_above: Some(ABOVE as u64),
            background: false,
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            entropy: Arc::new(SeededEntropy::new(seed)),
            ..Options::default()
        }
    }

    fn open(disk: &SimFs) -> Engine {
        Engine::open(Arc::new(disk.clone()), Path::new(DIR), options(disk.calls())).unwrap()
    }

    fn set(engine: &Engine, key: &str, value: &[u8]) {
        let put = Action::Put(Put::new(value.to_vec()));
        engine.write(&[Operation::new("n", key.as_bytes().to_vec(), put)], None).unwrap();
    }

    fn repair(disk: &SimFs) -> RepairReport {
        super::repair(disk, Path::new(DIR), false, &options(99)).unwrap()
    }

    fn blobs(disk: &SimFs) -> Vec<PathBuf> {
        let files = disk.files().into_iter().map(|(path, _)| path);
        let dir = Path::new(DIR);
        files
            .filter(|path| path.parent() == Some(dir) && path.extension().is_some_and(|e| e == "blob"))
            .collect()
    }

    /// Opens, verifies, and gives all values; those that cannot be read are left out.
    fn values(disk: &SimFs) -> (bool, Values) {
        let engine = open(disk);
        let is_whole = match engine.verify() {
            Ok(_) => true,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
                false
            }
        };
        let keys = ["a", "b", "c", "over", "small"];
        let found = keys.into_iter().filter_map(|key| {
            let value = engine.get("n", key.as_bytes()).ok().flatten()?;
            Some((key.to_owned(), value.to_vec()))
        });
        let found = found.collect();
        engine.close().unwrap();
        (is_whole, found)
    }

    /// A closed store with sealed segments and blobs, one of them overwritten; `over` had an older value.
    fn sample() -> (SimFs, Values) {
        let disk = SimFs::new(1);
        disk.create_dir_all(Path::new("/")).unwrap();
        let engine = open(&disk);
        set(&engine, "over", b"older");
        for (key, byte) in [("a", 1), ("b", 2), ("over", 3)] {
            set(&engine, key, &vec![byte; ABOVE + 20]);
        }
        (0..100).for_each(|n| set(&engine, "small", &[n; 50]));
        engine.maintain().unwrap();
        set(&engine, "c", &[9; ABOVE + 1]);
        set(&engine, "c", b"small now");
        assert!(engine.stats().unwrap().segments > 1);
        engine.verify().unwrap();
        engine.close().unwrap();
        drop(engine);
        let disk = disk.process_kill();
        assert_eq!(blobs(&disk).len(), 4);
        let (is_whole, all) = values(&disk);
        assert!(is_whole && all.len() == 5);
        (disk, all)
    }

    /// Whose value stands in a blob, by its bytes.
    fn key_of(disk: &SimFs, blob: &Path) -> &'static str {
        match disk.read_file(blob).unwrap()[64] {
            1 => "a",
            2 => "b",
            3 => "over",
            _ => "c",
        }
    }

    /// What repair must leave of `all` when the blob of this key is not whole.
    fn without(all: &Values, key: &str) -> Values {
        let mut left = all.clone();
        match key {
            "over" => _ = left.insert(key.into(), b"older".to_vec()),
            // It was dead.
            "c" => {}
            _ => _ = left.remove(key),
        }
        left
    }

    #[test]
    fn a_store_that_verifies_is_left_alone() {
        let (disk, all) = sample();
        let before = disk.files();
        let report = repair(&disk);
        assert!(report.is_intact(), "{report}");
        assert_eq!(disk.files(), before);
        assert_eq!(values(&disk), (true, all));
    }

    #[test]
    fn whatever_is_flipped_or_cut_in_a_blob_the_store_verifies_again() {
        let (whole, all) = sample();
        for blob in blobs(&whole) {
            let key = key_of(&whole, &blob);
            let expected = without(&all, key);
            let len = whole.read_file(&blob).unwrap().len() as u64;
            let damages = (0..len).step_by(7).map(|at| (Some(at), None));
            let cuts = (0..len).step_by(29).map(|len| (None, Some(len)));
            for damage in damages.chain(cuts).chain([(None, None)]) {
                let disk = whole.process_kill();
                match damage {
                    (Some(at), _) => disk.flip_byte(&blob, at, 0x40).unwrap(),
                    (_, Some(len)) => disk.truncate_file(&blob, len).unwrap(),
                    _ => disk.remove(&blob).unwrap(),
                }
                let (is_whole, found) = values(&disk);
                assert!(!is_whole, "{key}: {damage:?} is no damage to verify");
                assert!(found.iter().all(|(key, value)| all[key] == *value), "{key}: {damage:?}");
                let report = repair(&disk);
                assert_eq!(report.outcome, RepairOutcome::Rewritten, "{key}: {damage:?}");
                let [lost] = &report.lost_records[..] else { panic!("{key}: {damage:?}\n{report}") };
                assert_eq!((&lost.key[..], lost.blob.as_ref()), (key.as_bytes(), Some(&blob)));
                assert_eq!(lost.after == AfterLoss::Newer, key == "c", "{report}");
                assert_eq!(values(&disk), (true, expected.clone()), "{key}: {damage:?}\n{report}");
                assert!(repair(&disk).is_intact(), "{key}: {damage:?}");
            }
        }
    }

    /// Opening removes blobs that no record names, so none may be lost to it.
    #[test]
    fn no_opening_after_a_crash_of_a_repair_takes_a_blob_that_is_not_aside() {
        let (whole, all) = sample();
        let over = blobs(&whole).into_iter().find(|blob| key_of(&whole, blob) == "over").unwrap();
        whole.flip_byte(&over, 70, 1).unwrap();
        let damaged = whole.read_file(&over).unwrap();
        let expected = without(&all, "over");
        for at in 1.. {
            let disk = whole.process_kill();
            disk.crash_at_mutation(at);
            let finished = super::repair(&disk, Path::new(DIR), false, &options(99)).is_ok();
            for mode in CrashMode::ALL {
                let context = format!("call {at}, {mode:?}");
                let disk = disk.power_cut(mode, at);
                let (is_whole, found) = values(&disk);
                assert!(!is_whole || found == expected, "{context}");
                let is_there = disk.files().into_iter().any(|(path, _)| {
                    path.file_name() == over.file_name() && disk.read_file(&path).unwrap() == damaged
                });
                assert!(is_there, "{context}: the damaged blob is nowhere");
                repair(&disk);
                assert_eq!(values(&disk), (true, expected.clone()), "{context}");
            }
            if finished {
                assert!(at > 20);
                break;
            }
        }
    }
}
