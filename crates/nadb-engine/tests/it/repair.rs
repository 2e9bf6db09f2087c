//! Repair of stores with compacted segments, seen from the engine: what is left opens, verifies, and compacts again without
//! anything coming back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{Action, CompactionRequest, ManualClock, Operation, Put, SeededEntropy};
use nadb_engine::{Engine, Options, repair};
use nadb_log::{Manifest, RepairOutcome, RepairReport};
use nadb_vfs::{Fs, SimFs};

const DIR: &str = "/db";
const MANIFEST: &str = "/db/MANIFEST";
const KEYS: u32 = 24;

fn options(seed: u64) -> Options {
    let mut options = Options::default();
    options.memtable_size = 4 << 10;
    options.background = false;
    options.clock = Arc::new(ManualClock::new(1_700_000_000_000));
    options.entropy = Arc::new(SeededEntropy::new(seed));
    options
}

fn open(fs: &SimFs) -> Engine {
    Engine::open(Arc::new(fs.clone()), Path::new(DIR), options(fs.calls())).unwrap()
}

fn repaired(fs: &SimFs) -> RepairReport {
    repair(fs, Path::new(DIR), false, &options(99)).unwrap()
}

fn write(engine: &Engine, namespace: &str, key: &str, action: Action) {
    engine.write(&[Operation::new(namespace, key.as_bytes().to_vec(), action)], None).unwrap();
}

fn set(engine: &Engine, namespace: &str, key: &str, value: u8) {
    write(engine, namespace, key, Action::Put(Put::new(vec![value; 150])));
}

type Values = BTreeMap<String, Vec<u8>>;

/// All keys that were ever there, and what they have now.
fn values(engine: &Engine) -> Values {
    let mut all = Values::new();
    for namespace in ["n", "later", "dropped"] {
        for key in ["k", "d", "l"].iter().flat_map(|kind| (0..KEYS).map(move |n| format!("{kind}{n}"))) {
            if let Some(value) = engine.get(namespace, key.as_bytes()).unwrap() {
                all.insert(format!("{namespace}/{key}"), value.to_vec());
            }
        }
    }
    all
}

/// A closed store: old values in a segment that was not compacted, the tombstones and overwrites over them in compacted ones, and
/// later writes behind those.
fn sample() -> (SimFs, Values) {
    let fs = SimFs::new(7);
    fs.create_dir_all(Path::new("/")).unwrap();
    let engine = open(&fs);
    for n in 0..KEYS {
        set(&engine, "n", &format!("k{n}"), 1);
        set(&engine, "n", &format!("d{n}"), 1);
        set(&engine, "dropped", &format!("k{n}"), 1);
    }
    engine.drop_namespace("dropped").unwrap();
    for n in 0..KEYS {
        write(&engine, "n", &format!("d{n}"), Action::Delete);
        set(&engine, "n", &format!("k{n}"), 2);
    }
    for n in 0..KEYS {
        set(&engine, "later", &format!("l{n}"), 3);
    }
    engine.maintain().unwrap();
    let ids = named(&fs, false);
    assert!(ids.len() >= 4, "{ids:?}");
    engine.compact_segments(&ids[2..]).unwrap();
    (0..KEYS).for_each(|n| set(&engine, "later", &format!("k{n}"), 4));
    let all = values(&engine);
    assert_eq!(all.len(), 3 * KEYS as usize);
    engine.verify().unwrap();
    engine.close().unwrap();
    drop(engine);
    assert!(!named(&fs, true).is_empty());
    (fs.process_kill(), all)
}

/// The sealed segments that are compacted, or those that are not.
fn named(fs: &SimFs, is_compacted: bool) -> Vec<u32> {
    let manifest = Manifest::decode(&fs.read_file(MANIFEST).unwrap()).unwrap();
    let sealed = manifest.segments.iter().filter_map(|named| Some((named.id.0, named.sealed?)));
    sealed.filter(|(_, extent)| extent.is_compacted == is_compacted).map(|(id, _)| id).collect()
}

fn segments(fs: &SimFs) -> Vec<(PathBuf, u64)> {
    let files = fs.files().into_iter();
    files.filter(|(path, _)| path.parent() == Some(Path::new(DIR)) && path.extension().is_some()).collect()
}

/// What the repaired store has; also after it was compacted and opened again.
fn check(fs: &SimFs, context: &str) -> Values {
    let engine = open(fs);
    let verified = engine.verify();
    assert!(verified.is_ok(), "{context}: {verified:?}");
    let found = values(&engine);
    engine.compact(&CompactionRequest::new()).unwrap();
    assert_eq!(values(&engine), found, "{context}: compacted");
    engine.verify().unwrap();
    set(&engine, "n", "new", 9);
    engine.close().unwrap();
    drop(engine);
    let engine = open(fs);
    assert_eq!(values(&engine), found, "{context}: opened again");
    assert!(engine.get("n", b"new").unwrap().is_some());
    found
}

/// Keys that have something else than before are all accounted for.
fn check_losses(found: &Values, all: &Values, report: &RepairReport, context: &str) {
    let keys = found.keys().chain(all.keys()).filter(|key| found.get(*key) != all.get(*key));
    let mut keys: Vec<_> = keys.collect();
    keys.dedup();
    let lost = report.lost_records.iter().filter_map(|lost| std::str::from_utf8(&lost.key).ok());
    let lost: Vec<_> = lost.collect();
    let nameless = report.unidentified > 0 || !report.unknown_losses.is_empty();
    for key in keys {
        let (namespace, name) = key.split_once('/').unwrap();
        let is_told = lost.contains(&name) || lost.contains(&namespace) || nameless;
        let is_renamed = !report.found_namespaces.is_empty();
        // A drop has no key.
        let is_back = namespace == "dropped" && report.resurrected().count() > 0;
        assert!(is_told || is_renamed || is_back, "{context}: {key}\n{report}");
    }
}

#[test]
fn whatever_byte_of_a_compacted_store_is_flipped_it_verifies_again() {
    let (whole, all) = sample();
    for (path, len) in segments(&whole) {
        for at in (0..len).step_by(211).chain([len - 1]) {
            let fs = whole.process_kill();
            fs.flip_byte(&path, at, 0x40).unwrap();
            let context = format!("{} byte {at}", path.display());
            let report = repaired(&fs);
            check_losses(&check(&fs, &context), &all, &report, &context);
        }
    }
}

#[test]
fn a_compacted_store_without_its_manifest_has_everything() {
    let (whole, all) = sample();
    whole.remove(Path::new(MANIFEST)).unwrap();
    let report = repaired(&whole);
    assert_eq!(report.outcome, RepairOutcome::ManifestRebuilt, "{report}");
    assert_eq!(check(&whole, "without a manifest"), all);
}

/// The old values are written anew behind the compacted tombstones, and must not count for newer than these.
#[test]
fn what_a_compacted_tombstone_hides_stays_hidden_when_it_is_written_anew() {
    let (whole, all) = sample();
    let first = named(&whole, false)[0];
    for without_manifest in [false, true] {
        let fs = whole.process_kill();
        // One record of the first segment, which is dead.
        fs.flip_byte(format!("{DIR}/{first:010}.seg"), 400, 0x40).unwrap();
        if without_manifest {
            fs.remove(Path::new(MANIFEST)).unwrap();
        }
        let report = repaired(&fs);
        assert_eq!(report.outcome, RepairOutcome::Rewritten, "{report}");
        assert_eq!(check(&fs, "rewritten"), all, "{report}");
    }
}
