//! Repairs that do not end: a full disk, a power cut or a kill at any call, any call that fails.

use std::path::Path;

use nadb_core::{Error, ErrorKind, Result};
use nadb_log::{REPAIR_REPORT, RecordKind};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, SimFs};

use super::{Full, assert_lost, copy_of, damage, open, record, reopened, sample, try_repair};
use crate::support::{DIR, files, manifest};

#[test]
fn a_full_disk_leaves_the_store_as_it_was() {
    let (whole, all) = sample();
    let bad = record(&all, RecordKind::Value, "k4");
    damage(&whole, bad);
    let before = files(&whole);
    let (mut failed, mut done) = (0, false);
    for blocks in 0.. {
        let fs = copy_of(&whole);
        fs.set_capacity(Some(fs.used_bytes() + blocks * 512));
        match try_repair(&fs, false) {
            Ok(_) => {
                assert_lost(&all, &reopened_without_writing(&fs), &[bad]);
                done = true;
                break;
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::NoSpace, "{error}");
                // The room of the copies was given back.
                let after: Vec<_> =
                    files(&fs).into_iter().filter(|(path, _)| !path.ends_with("MANIFEST.tmp")).collect();
                if after.len() == before.len() {
                    assert_eq!(after, before.clone().into_iter().collect::<Vec<_>>());
                }
                fs.set_capacity(None);
                try_repair(&fs, false).unwrap();
                assert_lost(&all, &reopened(&fs, &all), &[bad]);
                failed += 1;
            }
        }
    }
    assert!(done && failed > 5);
}

fn reopened_without_writing(fs: &SimFs) -> Vec<Full> {
    open(fs).unwrap().1
}

/// The store is the original one, or the repaired one; a repair afterwards gives the repaired one.
fn check_crash(fs: &SimFs, originals: &SimFs, expected: &[Full], context: &str) {
    let opened: Result<Vec<Full>, Error> = open(&copy_of(fs)).map(|(_, found)| found);
    match opened {
        Ok(found) => {
            let found: Vec<_> = found.iter().map(Full::content).collect();
            assert_eq!(found, expected, "{context}");
        }
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{context}: {error}");
            // All originals still stand where they stood.
            for (path, bytes) in files(originals) {
                let is_manifest = path == manifest();
                assert!(is_manifest || fs.read_file(&path).unwrap() == bytes, "{context}: {path:?}");
            }
        }
    }
    let report = try_repair(fs, false).unwrap_or_else(|error| panic!("{context}: {error}"));
    let found: Vec<_> = open(fs).unwrap().1.iter().map(Full::content).collect();
    assert_eq!(found, expected, "{context}, after another repair");
    // Wherever the new log is in force, the originals are aside, whole.
    let is_aside = |number: u32| {
        let aside = Path::new(DIR).join(format!("repair-{number:04}"));
        fs.read_file(aside.join(REPAIR_REPORT)).is_ok()
            && files(originals).iter().all(|(path, bytes)| {
                let is_new = *path == manifest();
                let copy = fs.read_file(aside.join(path.file_name().unwrap()));
                copy.is_ok_and(|copy| is_new || copy == *bytes)
            })
    };
    assert!((1..=3).any(is_aside), "{context}: {report}");
}

fn crash_everywhere(make: impl Fn() -> (SimFs, Vec<Full>)) {
    let (originals, _) = make();
    let fs = copy_of(&originals);
    try_repair(&fs, false).unwrap();
    let expected: Vec<_> = open(&fs).unwrap().1.iter().map(Full::content).collect();
    for at in 1.. {
        let fs = copy_of(&originals);
        fs.crash_at_mutation(at);
        let finished = try_repair(&fs, false).is_ok();
        for mode in CrashMode::ALL {
            for seed in 0..3 {
                let context = format!("call {at}, {mode:?}, seed {seed}");
                check_crash(&fs.power_cut(mode, seed), &originals, &expected, &context);
            }
        }
        check_crash(&fs.process_kill(), &originals, &expected, &format!("call {at}, killed"));
        if finished {
            assert!(at > 20);
            break;
        }
    }
}

#[test]
fn a_crash_at_any_call_leaves_one_store_or_the_other() {
    crash_everywhere(|| {
        let (fs, all) = sample();
        damage(&fs, record(&all, RecordKind::Value, "k4"));
        damage(&fs, record(&all, RecordKind::NamespaceCreate, "three"));
        (fs, all)
    });
}

#[test]
fn a_crash_at_any_call_without_a_manifest_too() {
    crash_everywhere(|| {
        let (fs, all) = sample();
        damage(&fs, record(&all, RecordKind::Value, "k4"));
        fs.flip_byte(manifest(), 30, 1).unwrap();
        (fs, all)
    });
}

#[test]
fn any_call_that_fails_leaves_one_store_or_the_other() {
    use CallKind::{Create, CreateDir, Len, List, OpenRead, Read, Remove, Rename, SyncAll, SyncDir, Write};
    let (originals, all) = sample();
    damage(&originals, record(&all, RecordKind::Value, "k4"));
    let fs = copy_of(&originals);
    try_repair(&fs, false).unwrap();
    let expected: Vec<_> = open(&fs).unwrap().1.iter().map(Full::content).collect();
    for kind in [Create, CreateDir, Len, List, OpenRead, Read, Remove, Rename, SyncAll, SyncDir, Write] {
        for fault in [FaultKind::Eio, FaultKind::NoSpace, FaultKind::SyncLost] {
            if fault == FaultKind::SyncLost && !matches!(kind, SyncAll | SyncDir) {
                continue;
            }
            for n in 1.. {
                let fs = copy_of(&originals);
                fs.inject(Fault::at(kind, n, fault));
                let result = try_repair(&fs, false);
                if fs.clear_faults() > 0 {
                    result.unwrap();
                    break;
                }
                let context = format!("{kind:?} {n} {fault:?}: {result:?}");
                assert!(result.is_err() || kind == Remove, "{context}");
                check_crash(&fs.process_kill(), &originals, &expected, &context);
                for mode in CrashMode::ALL {
                    check_crash(&fs.power_cut(mode, n), &originals, &expected, &context);
                }
            }
        }
    }
}
