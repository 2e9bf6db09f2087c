//! Repair of sealed segments whose footers are damaged, through crashes and failing calls.

use std::path::Path;
use std::sync::Arc;

use nadb_core::{ErrorKind, Location, ManualClock, Ordinal, Result, SeededEntropy};
use nadb_log::{
    Log, LogOptions, Manifest, Memtable, ReadMode, RecordRef, RepairOutcome, RepairReport, Row, Rows,
    SealedSegment, Segment, TagList, Visit,
};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, SimFs};

use super::{Quiet, SEGMENT_BYTES, copy_of, repaired, sample, try_repair};
use crate::support::{DIR, files, manifest, segment};

/// Counts what opening shows.
#[derive(Debug, Default)]
struct Counted {
    records: u64,
}

impl Visit for Counted {
    fn begin(&mut self, _hash_seed: u64) {}

    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()> {
        for sealed in segments {
            self.records += u64::from(sealed.rows.len()) + sealed.rows.system()?.len() as u64;
        }
        Ok(())
    }

    fn record(&mut self, _record: &RecordRef<'_>, _at: Location, _segment: &Arc<Segment>) -> Result<()> {
        self.records += 1;
        Ok(())
    }
}

fn open(fs: &SimFs) -> Result<(Log<()>, u64)> {
    let options = LogOptions {
        segment_size: SEGMENT_BYTES,
        buffer_size: 64 << 10,
        read_mode: ReadMode::default(),
        create: false,
        clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(fs.calls())),
    };
    let mut counted = Counted::default();
    let log = Log::open(Arc::new(fs.clone()), Path::new(DIR), options, &mut counted, Arc::new(Quiet))?;
    Ok((log, counted.records))
}

/// The sample with all full segments sealed, and how many records it has.
fn sealed_sample() -> (SimFs, u64) {
    let (fs, all) = sample();
    let (log, _) = open(&fs).unwrap();
    while let Some(segment) = log.oldest_unsealed() {
        let Rows::Memtable(memtable) = Rows::rebuild(&segment).unwrap() else { panic!("of records") };
        log.seal(&segment, &memtable).unwrap();
    }
    log.close().unwrap();
    drop(log);
    // What is on the disk now is durable.
    let fs = copy_of(&fs);
    assert!(sealed(&fs).len() >= 3);
    (fs, all.len() as u64)
}

/// Number, end of the frames and length of each sealed segment.
fn sealed(fs: &SimFs) -> Vec<(u32, u64, u64)> {
    let manifest = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap();
    let sealed = manifest.segments.iter().filter_map(|named| Some((named.id.0, named.sealed?)));
    sealed.map(|(id, extent)| (id, extent.frames_end.into(), extent.file_len.into())).collect()
}

/// Opens and reads everything; gives how many warnings there were.
fn check_open(fs: &SimFs, records: u64, context: &str) -> usize {
    let (log, found) = open(fs).unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(found, records, "{context}");
    let warnings = log.recovered().warnings.len();
    let scanned = log.scan(&mut |_, _, _| Ok(()));
    assert_eq!(scanned.is_ok(), warnings == 0, "{context}: {scanned:?}");
    warnings
}

/// Seals what is full as if no record had a tag.
fn sealed_without_tags() -> SimFs {
    let (fs, _) = sample();
    let (log, _) = open(&fs).unwrap();
    while let Some(segment) = log.oldest_unsealed() {
        let rows = Rows::rebuild(&segment).unwrap();
        let without = Memtable::new();
        for ordinal in (0..rows.len()).map(Ordinal) {
            let meta = rows.meta(ordinal).unwrap();
            let tags = TagList::default();
            let push = |namespace, key: &[u8]| without.push(&Row { namespace, key, meta, tags });
            rows.memtable().unwrap().with_key(ordinal, push).unwrap();
        }
        rows.system().unwrap().into_iter().for_each(|row| without.push_system(row));
        log.seal(&segment, &without).unwrap();
    }
    log.close().unwrap();
    drop(log);
    copy_of(&fs)
}

#[test]
fn footers_that_do_not_have_the_records_tags_are_written_anew() {
    let ((whole, records), fs) = (sealed_sample(), sealed_without_tags());
    assert_ne!(files(&fs), files(&whole));
    let report = repaired(&fs);
    assert_eq!(report.outcome, RepairOutcome::FootersRebuilt, "{report}");
    assert!(report.damage.iter().all(|damage| damage.what.contains("other tags")), "{report}");
    for (path, bytes) in files(&whole) {
        let is_manifest = path == manifest();
        assert!(is_manifest || fs.read_file(&path).unwrap() == bytes, "{}", path.display());
    }
    assert_eq!(check_open(&fs, records, "repaired"), 0);
}

fn damaged_sample() -> (SimFs, SimFs, u64) {
    let (whole, records) = sealed_sample();
    let fs = copy_of(&whole);
    let all = sealed(&fs);
    fs.flip_byte(segment(all[0].0), all[0].1 + 2, 8).unwrap();
    fs.truncate_file(segment(all[1].0), all[1].1 + 9).unwrap();
    (whole, fs, records)
}

#[test]
fn sealed_segments_are_no_damage() {
    let (fs, records) = sealed_sample();
    let before = files(&fs);
    let report = repaired(&fs);
    assert!(report.is_intact());
    assert_eq!((report.records_kept, report.torn_bytes), (records, 0));
    assert_eq!(files(&fs), before);
    assert_eq!(check_open(&fs, records, "whole"), 0);
}

#[test]
fn damaged_footers_are_written_anew_and_nothing_else_changes() {
    let (whole, fs, records) = damaged_sample();
    assert_eq!(check_open(&copy_of(&fs), records, "damaged"), 2);
    let damaged = files(&fs);
    let report = repaired(&fs);
    assert_eq!((report.outcome, report.damage.len()), (RepairOutcome::FootersRebuilt, 2), "{report}");
    assert!(!report.has_losses(), "{report}");
    let aside = report.aside.clone().unwrap();
    for range in &report.damage {
        let copy = fs.read_file(aside.join(range.path.file_name().unwrap())).unwrap();
        assert_eq!(copy, damaged[&range.path]);
    }
    for (path, bytes) in files(&whole) {
        assert_eq!(fs.read_file(&path).unwrap(), bytes, "{}", path.display());
    }
    assert_eq!(check_open(&fs, records, "repaired"), 0);
    assert!(try_repair(&fs, false).unwrap().is_intact());
}

/// Whatever happened, the store has all its records, and another repair leaves it whole.
fn check_after(fs: &SimFs, records: u64, context: &str) {
    check_open(&copy_of(fs), records, context);
    let report: Result<RepairReport> = try_repair(fs, false);
    report.unwrap_or_else(|error| panic!("{context}: {error}"));
    assert_eq!(check_open(fs, records, context), 0, "{context}");
}

#[test]
fn a_crash_at_any_call_of_it_loses_nothing() {
    let (_, damaged, records) = damaged_sample();
    for at in 1.. {
        let fs = copy_of(&damaged);
        fs.crash_at_mutation(at);
        let finished = try_repair(&fs, false).is_ok();
        for mode in CrashMode::ALL {
            for seed in 0..3 {
                check_after(&fs.power_cut(mode, seed), records, &format!("call {at}, {mode:?}, seed {seed}"));
            }
        }
        check_after(&fs.process_kill(), records, &format!("call {at}, killed"));
        if finished {
            assert!(at > 10);
            break;
        }
    }
}

#[test]
fn any_call_of_it_that_fails_loses_nothing() {
    use CallKind::{
        Create, CreateDir, Len, List, OpenRead, OpenWrite, Read, SetLen, SyncAll, SyncDir, Write,
    };
    let (_, damaged, records) = damaged_sample();
    for kind in [Create, CreateDir, Len, List, OpenRead, OpenWrite, Read, SetLen, SyncAll, SyncDir, Write] {
        for fault in [FaultKind::Eio, FaultKind::NoSpace] {
            for n in 1.. {
                let fs = copy_of(&damaged);
                fs.inject(Fault::at(kind, n, fault));
                let result = try_repair(&fs, false);
                if fs.clear_faults() > 0 {
                    result.unwrap();
                    break;
                }
                let context = format!("{kind:?} {n} {fault:?}: {result:?}");
                let error = result.expect_err("a call failed");
                assert_ne!(error.kind(), ErrorKind::Corruption, "{context}");
                check_after(&fs.process_kill(), records, &context);
            }
        }
    }
}

/// A footer that is a few bytes longer or shorter than the one before has its new length in the manifest.
#[test]
fn a_footer_of_another_length_is_told_to_the_manifest() {
    let (fs, records) = sealed_sample();
    let (id, _, len) = sealed(&fs)[1];
    let mut named = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap();
    let own = named.segments.iter_mut().find(|named| named.id.0 == id).unwrap();
    own.sealed.as_mut().unwrap().file_len += 5;
    fs.write_file(manifest(), &named.encode()).unwrap();
    let bytes = [fs.read_file(segment(id)).unwrap(), vec![0; 5]].concat();
    fs.write_file(segment(id), &bytes).unwrap();
    let report = repaired(&fs);
    assert_eq!(report.outcome, RepairOutcome::FootersRebuilt, "{report}");
    assert_eq!(sealed(&fs)[1], (id, sealed(&fs)[1].1, len));
    assert_eq!(check_open(&fs, records, "repaired"), 0);
}

#[test]
fn a_file_that_ends_inside_the_frames_of_a_sealed_segment_is_corruption() {
    let (whole, records) = sealed_sample();
    for (id, frames_end, _) in sealed(&whole) {
        for len in (64..frames_end).step_by(11) {
            let fs = copy_of(&whole);
            fs.truncate_file(segment(id), len).unwrap();
            let error = open(&fs).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert_eq!((error.path(), error.offset()), (Some(&*segment(id)), Some(len)), "{error}");
            let report = repaired(&fs);
            assert_eq!(report.outcome, RepairOutcome::Rewritten, "{report}");
            let kept = open(&fs).unwrap().1;
            assert!(kept <= records + report.found_namespaces.len() as u64, "{report}");
            assert_eq!(check_open(&fs, kept, "repaired"), 0);
        }
    }
}
