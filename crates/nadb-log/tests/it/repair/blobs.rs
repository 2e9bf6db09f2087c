//! Blobs: a record whose blob is not whole is lost and told, with the bytes that are bad; whole blobs stay where they are, all
//! others go aside.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{BlobId, ErrorKind};
use nadb_log::{
    AfterLoss, BlobReader, BlobWriter, Log, LostKind, ManifestFound, REPAIR_REPORT, RecordFields, RecordKind,
    RepairOutcome, RepairReport, blob_path,
};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, Fs, SimFs};

use super::{
    Full, append, assert_aside, assert_lost, copy_of, create, damage, open, put, record, reopened, repaired,
    sample_with, try_repair,
};
use crate::support::{DIR, files, manifest, segment};

const BLOCK: u32 = 4096;
const HEADER: u64 = 64;
/// Bytes of the values in the blobs 1 to 4, and 5 to which nothing refers.
const LENS: [u64; 5] = [1500, 10_000, 700, 600, 500];

fn id(number: u8) -> BlobId {
    BlobId([number; 16])
}

fn path(number: u8) -> PathBuf {
    blob_path(Path::new(DIR), id(number))
}

fn value_len(number: u8) -> u64 {
    LENS[usize::from(number) - 1]
}

/// Writes a blob, and gives the content of a record that refers to it.
fn blob(fs: &SimFs, log: &Log<()>, number: u8) -> Vec<u8> {
    let disk: Arc<dyn Fs> = Arc::new(fs.clone());
    let mut writer =
        BlobWriter::create_with(&disk, Path::new(DIR), id(number), log.store_id(), BLOCK).unwrap();
    let len = usize::try_from(value_len(number)).unwrap();
    writer.write(&vec![number; len]).unwrap();
    let done = writer.finish().unwrap();
    [&done.id.0[..], &done.len.to_le_bytes()].concat()
}

fn refer<'a>(key: &'a str, content: &'a [u8]) -> RecordFields<'a> {
    RecordFields { kind: RecordKind::BlobReference, ..put(1, key, content) }
}

/// A store with four blobs: 1 is the second value of `over`; 2 stands in a batch; `one` and `two` refer to 3; that of 4 was
/// overwritten.
fn blobs() -> (SimFs, Vec<Full>) {
    let fs = SimFs::new(1);
    let (log, _) = open(&fs).unwrap();
    let small = [b'v'; 100];
    append(&log, &[create(1, "n"), put(1, "over", b"older"), put(1, "stays", &small)]);
    append(&log, &[refer("over", &blob(&fs, &log, 1))]);
    append(&log, &[put(1, "b0", &small), refer("b1", &blob(&fs, &log, 2)), put(1, "b2", &small)]);
    let shared = blob(&fs, &log, 3);
    append(&log, &[refer("one", &shared)]);
    append(&log, &[refer("gone", &blob(&fs, &log, 4))]);
    append(&log, &[put(1, "filler", &small)]);
    append(&log, &[refer("two", &shared)]);
    append(&log, &[put(1, "gone", b"newer")]);
    append(&log, &[put(1, "last", &small)]);
    log.close().unwrap();
    drop(log);
    let fs = copy_of(&fs);
    let all = open(&copy_of(&fs)).unwrap().1;
    (fs, all)
}

/// The records that refer to a blob.
fn referring(all: &[Full], number: u8) -> Vec<&Full> {
    all.iter().filter(|full| full.value.get(..16) == Some(&id(number).0[..])).collect()
}

/// Everything about a repair of a store in which this blob alone has this one bad range.
fn check_one_blob(fs: &SimFs, all: &[Full], number: u8, bad: (u64, u64), context: &str) -> RepairReport {
    let originals = copy_of(fs);
    let report = repaired(fs);
    assert_eq!(
        (report.outcome, report.manifest),
        (RepairOutcome::Rewritten, ManifestFound::Whole),
        "{context}"
    );
    let [range] = &report.damage[..] else { panic!("{context}: {report}") };
    assert_eq!((&range.path, range.offset, range.len), (&path(number), bad.0, bad.1), "{context}: {report}");
    let lost = referring(all, number);
    let told: Vec<_> = report.lost_records.iter().map(|l| (l.seq, &l.key[..], l.offset, l.kind)).collect();
    let expected: Vec<_> = lost
        .iter()
        .map(|full| (Some(full.seq), full.key.as_bytes(), u64::from(full.at.offset), LostKind::Value))
        .collect();
    assert_eq!(told, expected, "{context}: {report}");
    for (told, full) in report.lost_records.iter().zip(&lost) {
        assert_eq!((&told.path, told.blob.as_ref()), (&segment(full.at.segment.0), Some(&path(number))));
    }
    let numbers: u64 = report.lost_numbers.iter().map(|range| range.last - range.first + 1).sum();
    assert_eq!((numbers, report.unidentified), (lost.len() as u64, 0), "{context}: {report}");
    // The blob as it was is aside, if it was anywhere, and the others are where they were.
    let was_there = originals.read_file(path(number)).is_ok();
    assert_eq!(report.unused_blobs, if was_there { vec![path(number)] } else { vec![] }, "{context}");
    let aside = report.aside.as_ref().unwrap();
    for (file, bytes) in files(&originals) {
        let name = file.file_name().unwrap();
        let is_kept = name.to_str().unwrap().ends_with(".blob") && file != path(number);
        let stands = if is_kept { file.clone() } else { aside.join(name) };
        assert!(fs.read_file(&stands).unwrap() == bytes, "{context}: {}", stands.display());
        assert!(!is_kept || fs.read_file(aside.join(name)).is_err(), "{context}: a whole blob is not copied");
    }
    assert!(fs.read_file(path(number)).is_err(), "{context}");
    assert_lost(all, &reopened(fs, all), &lost);
    report
}

/// Offset and length of the range to which a byte of a blob belongs.
fn part(number: u8, at: u64) -> (u64, u64) {
    let (len, block) = (value_len(number), u64::from(BLOCK));
    let end = HEADER + len;
    match at {
        at if at < HEADER => (0, HEADER),
        at if at < end => {
            let start = HEADER + (at - HEADER) / block * block;
            (start, block.min(end - start))
        }
        _ => (end, len.div_ceil(block) * 4 + 12),
    }
}

#[test]
fn whole_blobs_are_no_damage_and_one_that_nothing_refers_to_is_left_to_opening() {
    let (fs, all) = blobs();
    let (log, _) = open(&fs).unwrap();
    blob(&fs, &log, 5);
    log.close().unwrap();
    drop(log);
    let before = files(&fs);
    let report = repaired(&fs);
    assert!(report.is_intact() && report.unused_blobs.is_empty(), "{report}");
    assert_eq!(report.records_kept, all.len() as u64);
    assert_eq!(files(&fs), before);
}

#[test]
fn any_flipped_byte_of_a_blob_loses_its_values_alone() {
    let (whole, all) = blobs();
    for (number, stride) in [(1, 1), (2, 331), (3, 97)] {
        let len = whole.read_file(path(number)).unwrap().len() as u64;
        for at in (0..len).step_by(stride) {
            let fs = copy_of(&whole);
            fs.flip_byte(path(number), at, 0x11).unwrap();
            check_one_blob(&fs, &all, number, part(number, at), &format!("blob {number}, byte {at}"));
        }
    }
}

#[test]
fn any_cut_of_a_blob_loses_its_values_alone() {
    let (whole, all) = blobs();
    for (number, stride) in [(1, 1), (2, 467)] {
        let len = whole.read_file(path(number)).unwrap().len() as u64;
        for cut in (0..len).step_by(stride) {
            let fs = copy_of(&whole);
            fs.truncate_file(path(number), cut).unwrap();
            // What is cut off is nowhere; of what stands behind the value, the rest is worth nothing.
            let start = cut.min(HEADER + value_len(number));
            check_one_blob(&fs, &all, number, (start, cut - start), &format!("blob {number} cut to {cut}"));
        }
        let fs = copy_of(&whole);
        fs.truncate_file(path(number), len + 3).unwrap();
        let end = HEADER + value_len(number);
        check_one_blob(&fs, &all, number, (end, len + 3 - end), "a blob that is too long");
    }
}

#[test]
fn a_missing_blob_and_one_of_another_store_lose_their_values_alone() {
    let (whole, all) = blobs();
    for number in 1..=4 {
        let fs = copy_of(&whole);
        fs.remove(&path(number)).unwrap();
        let report = check_one_blob(&fs, &all, number, (0, 0), "missing");
        let after: Vec<_> = report.lost_records.iter().map(|lost| lost.after).collect();
        let over = all.iter().find(|full| full.key == "over").unwrap();
        let expected = match number {
            1 => vec![AfterLoss::Older { version: over.seq }],
            2 => vec![AfterLoss::Absent],
            3 => vec![AfterLoss::Absent; 2],
            _ => vec![AfterLoss::Newer],
        };
        assert_eq!(after, expected, "{report}");
        let batches: Vec<_> = report.broken_batches.iter().map(|batch| (batch.records, batch.kept)).collect();
        assert_eq!(batches, if number == 2 { vec![(Some(3), 2)] } else { vec![] }, "{report}");
        // Another blob under its name.
        let fs = copy_of(&whole);
        let other = whole.read_file(path(5 - number)).unwrap();
        fs.write_file(path(number), &other).unwrap();
        let report = repaired(&fs);
        assert_eq!(report.lost_records.len(), referring(&all, number).len(), "{report}");
        assert_lost(&all, &reopened(&fs, &all), &referring(&all, number));
    }
}

#[test]
fn bad_blocks_side_by_side_are_one_range() {
    let (whole, all) = blobs();
    let fs = copy_of(&whole);
    fs.flip_byte(path(2), 5000, 1).unwrap();
    fs.flip_byte(path(2), 9000, 1).unwrap();
    let (second, end) = (HEADER + u64::from(BLOCK), HEADER + value_len(2));
    check_one_blob(&fs, &all, 2, (second, end - second), "two blocks");
    let fs = copy_of(&whole);
    fs.flip_byte(path(2), 100, 1).unwrap();
    fs.flip_byte(path(2), 9000, 1).unwrap();
    let report = repaired(&fs);
    let ranges: Vec<_> = report.damage.iter().map(|range| (range.offset, range.len)).collect();
    let third = second + u64::from(BLOCK);
    assert_eq!(ranges, [(HEADER, u64::from(BLOCK)), (third, end - third)]);
}

#[test]
fn the_report_beside_the_originals_tells_of_the_blob() {
    let (fs, _) = blobs();
    fs.flip_byte(path(1), 70, 1).unwrap();
    let report = repaired(&fs);
    let text = fs.read_file(report.aside.unwrap().join(REPAIR_REPORT)).unwrap();
    let text = String::from_utf8(text).unwrap();
    let blob = path(1).display().to_string();
    assert!(text.contains(&format!("damage: 1500 bytes at offset 64 of {blob}: ")), "{text}");
    assert!(text.contains(&format!(", with its value in {blob}; version 2 has come back\n")), "{text}");
    assert!(text.contains(&format!("blob to which nothing refers any more: {blob}\n")), "{text}");
}

#[test]
fn a_blob_whose_record_is_lost_goes_aside_whole() {
    let (fs, all) = blobs();
    let bad = record(&all, RecordKind::BlobReference, "over");
    damage(&fs, bad);
    let originals = copy_of(&fs);
    let report = repaired(&fs);
    let [lost] = &report.lost_records[..] else { panic!("{report}") };
    assert_eq!((lost.kind, &lost.key[..]), (LostKind::Value, &b"over"[..]));
    // The damaged byte is in the blob's length, its id can still be read.
    assert_eq!(lost.blob, Some(path(1)));
    assert_eq!(report.unused_blobs, [path(1)]);
    let copy = report.aside.as_ref().unwrap().join(path(1).file_name().unwrap());
    assert_eq!(fs.read_file(copy).unwrap(), originals.read_file(path(1)).unwrap());
    assert!(fs.read_file(path(1)).is_err());
    assert_lost(&all, &reopened(&fs, &all), &[bad]);
    // A blob of which one record is lost and another whole stays.
    let (fs, all) = blobs();
    damage(&fs, record(&all, RecordKind::BlobReference, "one"));
    let report = repaired(&fs);
    assert!(report.unused_blobs.is_empty() && fs.read_file(path(3)).is_ok(), "{report}");
}

#[test]
fn a_blob_comes_back_where_what_replaced_it_is_lost() {
    let (fs, all) = blobs();
    let (bad, old) =
        (record(&all, RecordKind::Value, "gone"), record(&all, RecordKind::BlobReference, "gone"));
    damage(&fs, bad);
    let report = repaired(&fs);
    let [lost] = &report.lost_records[..] else { panic!("{report}") };
    assert_eq!((lost.after, &lost.blob), (AfterLoss::Older { version: old.seq }, &None));
    assert!(report.unused_blobs.is_empty(), "{report}");
    assert_lost(&all, &reopened(&fs, &all), &[bad]);
}

#[test]
fn in_a_damaged_batch_a_record_whose_blob_is_damaged_is_lost_too() {
    let (fs, all) = blobs();
    let (first, second) =
        (record(&all, RecordKind::Value, "b0"), record(&all, RecordKind::BlobReference, "b1"));
    damage(&fs, first);
    fs.remove(&path(2)).unwrap();
    let report = repaired(&fs);
    let [broken] = &report.broken_batches[..] else { panic!("{report}") };
    assert_eq!((broken.records, broken.kept), (Some(3), 1));
    let keys: Vec<_> = report.lost_records.iter().map(|lost| &lost.key[..]).collect();
    assert_eq!(keys, [&b"b0"[..], b"b1"]);
    let [numbers] = &report.lost_numbers[..] else { panic!("{report}") };
    assert_eq!((numbers.first, numbers.last), (first.seq, second.seq));
    assert_lost(&all, &reopened(&fs, &all), &[first, second]);
}

#[test]
fn without_a_manifest_blobs_to_which_nothing_refers_go_aside() {
    let (fs, all) = blobs();
    let (log, _) = open(&fs).unwrap();
    blob(&fs, &log, 5);
    log.close().unwrap();
    drop(log);
    let orphan = fs.read_file(path(5)).unwrap();
    fs.remove(&manifest()).unwrap();
    let report = repaired(&fs);
    assert_eq!(report.outcome, RepairOutcome::ManifestRebuilt, "{report}");
    assert_eq!(report.unused_blobs, [path(5)]);
    let copy = report.aside.unwrap().join(path(5).file_name().unwrap());
    assert_eq!((fs.read_file(copy).unwrap(), fs.read_file(path(5)).is_err()), (orphan, true));
    assert_lost(&all, &reopened(&fs, &all), &[]);
    // With damage in a blob, too, the log is written anew.
    let (fs, all) = blobs();
    fs.remove(&manifest()).unwrap();
    fs.flip_byte(path(1), 70, 1).unwrap();
    let report = repaired(&fs);
    assert_eq!((report.outcome, report.manifest), (RepairOutcome::Rewritten, ManifestFound::Missing));
    assert_lost(&all, &reopened(&fs, &all), &referring(&all, 1));
}

#[test]
fn blobs_stay_when_the_log_is_damaged_elsewhere() {
    let (fs, all) = blobs();
    let bad = record(&all, RecordKind::Value, "filler");
    damage(&fs, bad);
    let before: BTreeMap<_, _> =
        files(&fs).into_iter().filter(|(path, _)| path.extension().is_some_and(|e| e == "blob")).collect();
    let report = repaired(&fs);
    assert!(report.unused_blobs.is_empty(), "{report}");
    assert!(before.len() == 4 && before.iter().all(|(path, bytes)| fs.read_file(path).unwrap() == *bytes));
    assert_lost(&all, &reopened(&fs, &all), &[bad]);
    // And where there are none, nothing is different.
    let (fs, all) = sample_with(true);
    damage(&fs, record(&all, RecordKind::Value, "k4"));
    let originals = copy_of(&fs);
    assert_aside(&fs, &repaired(&fs), &originals);
}

#[test]
fn a_blob_of_a_true_other_version_is_refused() {
    let (whole, _) = blobs();
    let fs = copy_of(&whole);
    let mut bytes = fs.read_file(path(1)).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    fs.write_file(path(1), &bytes).unwrap();
    let before = files(&fs);
    assert_eq!(try_repair(&fs, false).unwrap_err().kind(), ErrorKind::Version);
    assert_eq!(files(&fs), before);
}

/// Two blobs damaged, one record lost: three blobs go aside, and one stays.
fn damaged() -> (SimFs, Vec<Full>) {
    let (fs, all) = blobs();
    fs.flip_byte(path(1), 70, 1).unwrap();
    fs.truncate_file(path(2), 6000).unwrap();
    damage(&fs, record(&all, RecordKind::BlobReference, "gone"));
    (fs, all)
}

/// The store is the original one, or the repaired one with its blob; a repair afterwards gives the repaired one, and whatever
/// it is without is aside.
fn check_crash(fs: &SimFs, originals: &SimFs, expected: &[Full], context: &str) {
    let opened = open(&copy_of(fs));
    let is_old = match &opened {
        Ok((_, found)) => found.iter().map(Full::content).collect::<Vec<_>>() != expected,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{context}: {error}");
            true
        }
    };
    for (file, bytes) in files(originals).into_iter().filter(|(file, _)| is_old && *file != manifest()) {
        assert!(fs.read_file(&file).unwrap() == bytes, "{context}: {}", file.display());
    }
    drop(opened);
    let report = try_repair(fs, false).unwrap_or_else(|error| panic!("{context}: {error}"));
    let (log, found) = open(fs).unwrap();
    assert_eq!(found.iter().map(Full::content).collect::<Vec<_>>(), expected, "{context}, repaired again");
    let reader = BlobReader::open(fs, Path::new(DIR), id(3), log.store_id(), value_len(3)).unwrap();
    assert_eq!(reader.read_all().unwrap(), [3; 700], "{context}");
    let is_aside = |number: u32| {
        let aside = Path::new(DIR).join(format!("repair-{number:04}"));
        fs.read_file(aside.join(REPAIR_REPORT)).is_ok()
            && files(originals).iter().all(|(file, bytes)| {
                let copy = fs.read_file(aside.join(file.file_name().unwrap()));
                *file == path(3) || copy.is_ok_and(|copy| *file == manifest() || copy == *bytes)
            })
    };
    assert!((1..=3).any(is_aside), "{context}: {report}");
}

fn expected(originals: &SimFs) -> Vec<Full> {
    let fs = copy_of(originals);
    try_repair(&fs, false).unwrap();
    open(&fs).unwrap().1.iter().map(Full::content).collect()
}

#[test]
fn a_crash_at_any_call_leaves_one_store_or_the_other_with_its_blobs() {
    for is_without_manifest in [false, true] {
        let (originals, _) = damaged();
        if is_without_manifest {
            originals.flip_byte(manifest(), 30, 1).unwrap();
        }
        let expected = expected(&originals);
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
}

#[test]
fn any_call_that_fails_leaves_one_store_or_the_other_with_its_blobs() {
    use CallKind::{Create, CreateDir, Len, List, OpenRead, Read, Remove, Rename, SyncAll, SyncDir, Write};
    let (originals, _) = damaged();
    let expected = expected(&originals);
    for kind in [Create, CreateDir, Len, List, OpenRead, Read, Remove, Rename, SyncAll, SyncDir, Write] {
        for fault in [FaultKind::Eio, FaultKind::NoSpace] {
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
