//! Segments that are cut, missing, under other names, or not of this store; and what an opening had cut off.

use std::collections::BTreeSet;

use nadb_log::{Manifest, RecordKind, RepairOutcome};
use nadb_vfs::{Fs, SimFs};

use super::{append, assert_lost, copy_of, create, damage, open, put, record, reopened, repaired, sample};
use crate::support::{manifest, segment};

#[test]
fn a_cut_segment_loses_its_end_only() {
    let (fs, all) = sample();
    let bad = record(&all, RecordKind::Value, "k4");
    fs.truncate_file(segment(bad.at.segment.0), u64::from(bad.at.offset) + 30).unwrap();
    let lost: Vec<_> = all
        .iter()
        .filter(|full| full.at.segment == bad.at.segment && full.at.offset >= bad.at.offset)
        .collect();
    let report = repaired(&fs);
    assert_eq!(report.lost_numbers[0].first, bad.seq);
    assert_eq!(report.lost_numbers[0].last, lost.last().unwrap().seq);
    assert_lost(&all, &reopened(&fs, &all), &lost);
}

#[test]
fn a_missing_segment_loses_what_it_held() {
    let (fs, all) = sample();
    let ids: BTreeSet<_> = all.iter().map(|full| full.at.segment.0).collect();
    assert!(ids.len() > 3, "{ids:?}");
    for id in ids.into_iter().skip(1) {
        let fs = copy_of(&fs);
        fs.remove(&segment(id)).unwrap();
        let report = repaired(&fs);
        assert!(report.damage.iter().any(|range| range.path == segment(id)), "{report}");
        let found = reopened(&fs, &all);
        // A namespace whose drop was lost comes back, one whose creation was lost has another name.
        let kept: Vec<_> = all.iter().filter(|full| full.at.segment.0 != id).map(|full| full.seq).collect();
        let made: BTreeSet<_> = report.found_namespaces.iter().map(|found| found.id).collect();
        let found: Vec<_> = found
            .iter()
            .filter(|full| full.kind != RecordKind::NamespaceCreate || !made.contains(&full.namespace))
            .map(|full| full.seq)
            .collect();
        let dropped = |seq: &u64| all.iter().any(|f| f.seq == *seq && f.namespace == 2 && f.key == "x");
        let missing: Vec<_> = kept.iter().filter(|seq| !found.contains(seq)).collect();
        assert!(missing.iter().all(|seq| dropped(seq)), "{missing:?}\n{report}");
    }
    // The first one: everything in it, and the names of the namespaces of the others.
    let id = all[0].at.segment.0;
    fs.remove(&segment(id)).unwrap();
    let report = repaired(&fs);
    assert!(report.found_namespaces.iter().any(|found| found.name == "lost+found/1"), "{report}");
    let found = reopened(&fs, &all);
    assert!(record(&found, RecordKind::NamespaceCreate, "lost+found/1").seq < found.last().unwrap().seq);
    assert!(
        all.iter()
            .filter(|f| f.at.segment.0 != id && f.namespace == 1)
            .all(|full| { found.iter().any(|found| found.content() == full.content()) })
    );
}

#[test]
fn any_damage_to_a_segments_header_loses_nothing() {
    let (whole, all) = sample();
    for at in 0..64 {
        let fs = copy_of(&whole);
        fs.flip_byte(segment(2), at, 0x10).unwrap();
        let report = repaired(&fs);
        assert_eq!(report.outcome, RepairOutcome::Rewritten, "byte {at}");
        assert_eq!((report.damage.len(), report.has_losses()), (1, false), "byte {at}: {report}");
        assert_lost(&all, &reopened(&fs, &all), &[]);
        // Without a manifest the uid must be one that can be read.
        let fs = copy_of(&whole);
        fs.flip_byte(segment(2), at, 0x10).unwrap();
        fs.remove(&manifest()).unwrap();
        let report = repaired(&fs);
        if !(16..32).contains(&at) {
            assert!(!report.has_losses(), "byte {at}: {report}");
            assert_lost(&all, &reopened(&fs, &all), &[]);
        }
    }
}

#[test]
fn two_files_under_each_others_names_are_told_apart() {
    let (fs, all) = sample();
    let [one, two] = [1, 2].map(|id| fs.read_file(segment(id)).unwrap());
    fs.write_file(segment(1), &two).unwrap();
    fs.write_file(segment(2), &one).unwrap();
    let report = repaired(&fs);
    assert!(!report.has_losses() && report.notes.len() == 2, "{report}");
    assert_lost(&all, &reopened(&fs, &all), &[]);
}

#[test]
fn a_segment_of_another_store_is_put_aside() {
    let (fs, all) = sample();
    let bytes = fs.read_file(segment(2)).unwrap();
    let mut foreign = bytes.clone();
    foreign[16..48].fill(0x77);
    let crc = crc32fast::hash(&foreign[..60]);
    foreign[60..64].copy_from_slice(&crc.to_le_bytes());
    fs.write_file(segment(2), &foreign).unwrap();
    let report = repaired(&fs);
    let copy = report.aside.clone().unwrap().join("0000000002.seg");
    assert_eq!(fs.read_file(copy).unwrap(), foreign);
    assert_eq!(report.notes.len(), 1, "{report}");
    let found = reopened(&fs, &all);
    assert!(found.iter().all(|found| {
        found.key.starts_with("lost+found") || all.iter().any(|full| full.content() == found.content())
    }));
}

#[test]
fn files_that_the_manifest_forgot_stay_out() {
    let (fs, all) = sample();
    let mut named = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap();
    // Segment 2 as if an opening had dropped it and the removal had not become durable.
    let bad = record(&all, RecordKind::Value, "k0");
    damage(&fs, bad);
    let held: Vec<_> = all.iter().filter(|full| full.at.segment.0 == 2).map(|full| full.seq).collect();
    named.segments.retain(|named| named.id.0 != 2);
    fs.write_file(manifest(), &named.encode()).unwrap();
    repaired(&fs);
    let found = reopened(&fs, &all);
    assert!(!held.is_empty() && found.iter().all(|full| !held.contains(&full.seq)));
}

#[test]
fn what_an_opening_cut_off_stays_out_also_without_a_manifest() {
    let fs = SimFs::new(1);
    let (log, _) = open(&fs).unwrap();
    append(&log, &[create(1, "one")]);
    for n in 0..12 {
        append(&log, &[put(1, &format!("k{n}"), &[b'v'; 80])]);
    }
    drop(log);
    let fs = fs.process_kill();
    let (_, all) = open(&copy_of(&fs)).unwrap();
    // Nothing of it was synced: damage in segment 2 is a torn tail, and segment 3 goes.
    damage(&fs, all.iter().find(|full| full.at.segment.0 == 2).unwrap());
    let dropped = fs.read_file(segment(3)).unwrap();
    let (log, _) = open(&fs).unwrap();
    append(&log, &[put(1, "stays", b"s")]);
    log.close().unwrap();
    drop(log);
    assert!(fs.read_file(segment(3)).is_err());
    let (_, all) = open(&copy_of(&fs)).unwrap();
    // Its removal was not durable, and the manifest is lost.
    fs.write_file(segment(3), &dropped).unwrap();
    fs.remove(&manifest()).unwrap();
    let report = repaired(&fs);
    assert_eq!((report.notes.len(), report.has_losses()), (1, false), "{report}");
    assert_lost(&all, &reopened(&fs, &all), &[]);
}
