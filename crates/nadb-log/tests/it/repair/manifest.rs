//! A manifest that is missing, damaged, older than the files, or of another version.

use nadb_core::{ErrorKind, Seq};
use nadb_log::{Manifest, ManifestFound, RecordKind, RepairOutcome};
use nadb_vfs::Fs;

use super::{
    append, assert_lost, copy_of, damage, open, put, record, reopened, repaired, sample, try_repair,
};
use crate::support::{files, manifest};

#[test]
fn a_lost_manifest_is_made_anew_and_nothing_else_changes() {
    let (fs, all) = sample();
    let store = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap().store;
    fs.remove(&manifest()).unwrap();
    let before = files(&fs);
    let report = repaired(&fs);
    assert_eq!((report.outcome, report.manifest), (RepairOutcome::ManifestRebuilt, ManifestFound::Missing));
    assert!(report.aside.is_none());
    let mut after = files(&fs);
    let made = Manifest::decode(&after.remove(&manifest()).unwrap()).unwrap();
    assert_eq!((made.store, after), (store, before));
    let (log, found) = open(&fs).unwrap();
    assert_eq!(found, all);
    let placed = append(&log, &[put(1, "new", b"new")]);
    assert!(placed.first_seq > Seq(1 << 44));
}

#[test]
fn any_damage_to_the_manifest_loses_nothing() {
    let (whole, all) = sample();
    let len = whole.read_file(manifest()).unwrap().len() as u64;
    for at in 0..len {
        let fs = copy_of(&whole);
        fs.flip_byte(manifest(), at, 0x10).unwrap();
        let originals = fs.read_file(manifest()).unwrap();
        let report = repaired(&fs);
        assert_eq!(report.outcome, RepairOutcome::ManifestRebuilt, "byte {at}: {report}");
        assert_eq!(fs.read_file(report.aside.unwrap().join("MANIFEST")).unwrap(), originals);
        assert_lost(&all, &reopened(&fs, &all), &[]);
    }
    for len in 0..len {
        let fs = copy_of(&whole);
        fs.truncate_file(manifest(), len).unwrap();
        assert_eq!(repaired(&fs).outcome, RepairOutcome::ManifestRebuilt, "cut to {len}");
        assert_lost(&all, &reopened(&fs, &all), &[]);
    }
}

#[test]
fn a_true_other_version_is_refused() {
    let (fs, _) = sample();
    let mut bytes = fs.read_file(manifest()).unwrap();
    bytes[8] = 9;
    let body = bytes.len() - 4;
    let crc = crc32fast::hash(&bytes[..body]);
    bytes[body..].copy_from_slice(&crc.to_le_bytes());
    fs.write_file(manifest(), &bytes).unwrap();
    let before = files(&fs);
    assert_eq!(try_repair(&fs, false).unwrap_err().kind(), ErrorKind::Version);
    assert_eq!(files(&fs), before);
}

#[test]
fn damage_without_a_manifest_is_repaired_alike() {
    let (fs, all) = sample();
    let bad = record(&all, RecordKind::Value, "k4");
    damage(&fs, bad);
    fs.remove(&manifest()).unwrap();
    let report = repaired(&fs);
    assert_eq!((report.outcome, report.manifest), (RepairOutcome::Rewritten, ManifestFound::Missing));
    assert_lost(&all, &reopened(&fs, &all), &[bad]);
}

#[test]
fn an_older_manifest_gets_the_later_segments() {
    let (fs, _) = sample();
    let old = fs.read_file(manifest()).unwrap();
    let (log, _) = open(&fs).unwrap();
    for n in 0..12 {
        append(&log, &[put(1, &format!("m{n}"), &[b'm'; 80])]);
    }
    log.close().unwrap();
    drop(log);
    let (log, all) = open(&fs).unwrap();
    drop(log);
    fs.write_file(manifest(), &old).unwrap();
    assert_eq!(open(&fs).err().unwrap().kind(), ErrorKind::Corruption);
    let report = repaired(&fs);
    assert_eq!((report.outcome, report.manifest), (RepairOutcome::ManifestRebuilt, ManifestFound::Outdated));
    assert_lost(&all, &reopened(&fs, &all), &[]);
}
