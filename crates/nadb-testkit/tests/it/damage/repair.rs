//! Repair of the damaged sample: the store opens and verifies, what it answers was right at some time, and every key that
//! is not told as lost has its newest value, with version, tags and times.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{ManualClock, SeededEntropy};
use nadb_engine::{LostKind, Options, RepairReport};
use nadb_log::parse_segment;

use super::sample::{DIR, Files, NOW_MS, Sample, disk, open, state};

/// Every so many bytes one is tried.
const STRIDE: usize = 5;

pub(super) fn repair(fs: &nadb_vfs::MemFs) -> RepairReport {
    let mut options = Options::default();
    options.memtable_size = 4 << 10;
    options.clock = Arc::new(ManualClock::new(NOW_MS));
    options.entropy = Arc::new(SeededEntropy::new(5));
    nadb_engine::repair(fs, Path::new(DIR), false, &options).unwrap()
}

/// Says whether anything was to be repaired.
fn check(sample: &Sample, files: &Files, what: &str, is_strict: bool) -> bool {
    let fs = disk(files);
    let report = repair(&fs);
    let engine = open(&fs, 9).unwrap_or_else(|error| panic!("{what}: {error}\n{report}"));
    engine.verify().unwrap_or_else(|error| panic!("{what}: {error}\n{report}"));
    if report.is_intact() {
        return false;
    }
    let found = state(&engine);
    let ever: BTreeMap<_, _> = sample
        .states
        .iter()
        .flat_map(|(_, state)| &state.entries)
        .map(|((_, key), entry)| ((key.clone(), entry.metadata.version), entry))
        .collect();
    for ((_, key), entry) in &found.entries {
        assert_eq!(ever.get(&(key.clone(), entry.metadata.version)), Some(&entry), "{what}\n{report}");
    }
    let is_told = |namespace: &str, key: &[u8]| {
        report.lost_records.iter().any(|lost| {
            lost.key == key && lost.kind != LostKind::NamespaceDrop
                || lost.kind == LostKind::NamespaceDrop && namespace == "gone"
        })
    };
    // Where the key of a lost record is what was hit, the report names another.
    let is_readable = |key: &Vec<u8>| sample.keys.iter().any(|(_, known)| known == key);
    let keyed = |kind| matches!(kind, LostKind::Value | LostKind::Tombstone);
    let mut lost = report.lost_records.iter().filter(|lost| keyed(lost.kind));
    let is_strict = is_strict && report.found_namespaces.is_empty();
    if is_strict && report.unidentified == 0 && lost.all(|lost| is_readable(&lost.key)) {
        let truth = sample.state_at(sample.newest());
        for (namespace, key) in sample.keys.iter().filter(|(namespace, key)| !is_told(namespace, key)) {
            let at = (namespace.clone(), key.clone());
            assert_eq!(found.entries.get(&at), truth.entries.get(&at), "{what}: {at:?}\n{report}");
        }
    }
    engine.close().unwrap();
    drop(engine);
    assert!(repair(&fs).is_intact(), "{what}");
    true
}

#[test]
fn repair_after_any_flipped_byte() {
    let sample = Sample::closed();
    let mut repaired = 0;
    for (name, bytes) in &sample.files {
        for at in (0..bytes.len()).step_by(STRIDE) {
            let mut files = sample.files.clone();
            files.get_mut(name).unwrap()[at] ^= 0x41;
            repaired += usize::from(check(&sample, &files, &format!("{name} byte {at}"), true));
        }
    }
    assert!(repaired > 1000, "{repaired}");
}

#[test]
fn repair_after_any_cut() {
    let sample = Sample::closed();
    for (name, bytes) in sample.files.iter().filter(|(name, _)| parse_segment(name).is_some()) {
        for len in (0..bytes.len()).step_by(STRIDE * 3) {
            let mut files = sample.files.clone();
            files.get_mut(name).unwrap().truncate(len);
            check(&sample, &files, &format!("{name} cut to {len}"), true);
        }
    }
}

#[test]
fn repair_after_any_missing_file() {
    let sample = Sample::closed();
    for name in sample.files.keys() {
        let mut files = sample.files.clone();
        files.remove(name);
        check(&sample, &files, &format!("{name} missing"), true);
        files.remove("MANIFEST");
        check(&sample, &files, &format!("{name} and the manifest missing"), false);
    }
}

#[test]
fn repair_after_damage_in_several_places() {
    let sample = Sample::closed();
    for seed in 0..150u64 {
        let mut dice = nadb_testkit::dice::Dice::new(seed);
        let mut files = sample.files.clone();
        for _ in 0..1 + dice.below(6) {
            let index = dice.below(files.len() as u64) as usize;
            let bytes = files.values_mut().nth(index).unwrap();
            if bytes.is_empty() {
                continue;
            }
            let at = dice.below(bytes.len() as u64) as usize;
            let len = 1 + dice.below(if seed % 2 == 0 { 4 } else { 900 }) as usize;
            let end = (at + len).min(bytes.len());
            let mask = if seed % 3 == 0 { 0 } else { 1 + dice.below(255) as u8 };
            bytes[at..end].iter_mut().for_each(|byte| *byte = if mask == 0 { 0 } else { *byte ^ mask });
        }
        check(&sample, &files, &format!("seed {seed}"), false);
    }
}
