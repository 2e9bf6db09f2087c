//! Damage inside frames: which records are lost, which come back, which batches break.

use nadb_log::{AfterLoss, LostKind, ManifestFound, REPAIR_REPORT, RecordKind, RepairOutcome};
use nadb_vfs::SimFs;

use super::{
    append, assert_aside, assert_lost, copy_of, create, damage, open, put, record, reopened, repaired, sample,
};
use crate::support::segment;

#[test]
fn a_flipped_byte_loses_one_record_and_keeps_the_later_ones() {
    let (fs, all) = sample();
    let bad = record(&all, RecordKind::Value, "k4");
    damage(&fs, bad);
    let originals = copy_of(&fs);
    let error = open(&fs).err().unwrap();
    assert!(error.to_string().contains("nadb repair"), "{error}");
    let report = repaired(&fs);
    assert_eq!((report.outcome, report.manifest), (RepairOutcome::Rewritten, ManifestFound::Whole));
    assert_eq!(report.damage.len(), 1, "{report}");
    assert_eq!(report.damage[0].path, segment(bad.at.segment.0));
    assert!((20..24).contains(&(u64::from(bad.at.offset) - report.damage[0].offset)));
    let [lost] = &report.lost_records[..] else { panic!("{report}") };
    assert_eq!((lost.seq, lost.offset, &lost.key[..]), (Some(bad.seq), bad.at.offset.into(), &b"k4"[..]));
    assert_eq!((lost.namespace.as_deref(), lost.kind), (Some("one"), LostKind::Value));
    assert_eq!((lost.after, report.unidentified), (AfterLoss::Absent, 0));
    assert_eq!((report.lost_numbers[0].first, report.lost_numbers[0].last), (bad.seq, bad.seq));
    assert_aside(&fs, &report, &originals);
    assert_lost(&all, &reopened(&fs, &all), &[bad]);
}

#[test]
fn a_record_of_which_nothing_can_be_read_is_a_lost_number() {
    let (fs, all) = sample();
    let bad = record(&all, RecordKind::Value, "k4");
    for at in 0..bad.at.len {
        fs.flip_byte(segment(bad.at.segment.0), u64::from(bad.at.offset + at), 0xA5).unwrap();
    }
    let report = repaired(&fs);
    assert_eq!((report.lost_records.len(), report.unidentified), (0, 1), "{report}");
    assert_lost(&all, &reopened(&fs, &all), &[bad]);
}

#[test]
fn a_hole_of_zeros_over_several_frames_loses_those() {
    let (fs, all) = sample();
    let hit: Vec<_> = ["k2", "k3"].map(|key| record(&all, RecordKind::Value, key)).into();
    let path = segment(hit[0].at.segment.0);
    assert_eq!(hit[0].at.segment, hit[1].at.segment);
    let mut bytes = fs.read_file(&path).unwrap();
    bytes[hit[0].at.offset as usize - 10..hit[1].at.offset as usize + 40].fill(0);
    fs.write_file(&path, &bytes).unwrap();
    let report = repaired(&fs);
    assert_eq!(report.unidentified, 2, "{report}");
    assert_lost(&all, &reopened(&fs, &all), &hit);
}

#[test]
fn a_lost_deletion_is_told_and_the_older_value_is_back() {
    let (fs, all) = sample();
    let (bad, old) = (record(&all, RecordKind::Tombstone, "k3"), record(&all, RecordKind::Value, "k3"));
    fs.flip_byte(segment(bad.at.segment.0), u64::from(bad.at.offset), 0x20).unwrap();
    let report = repaired(&fs);
    let back: Vec<_> = report.resurrected().collect();
    assert_eq!(back.len(), 1, "{report}");
    assert_eq!((&back[0].key[..], back[0].after), (&b"k3"[..], AfterLoss::Older { version: old.seq }));
    let text = fs.read_file(report.aside.clone().unwrap().join(REPAIR_REPORT)).unwrap();
    assert!(String::from_utf8(text).unwrap().contains("deletion of key \"k3\" in namespace 1"));
    assert_lost(&all, &reopened(&fs, &all), &[bad]);
}

#[test]
fn a_lost_overwrite_is_told_and_a_later_one_hides_it() {
    let fs = SimFs::new(1);
    let (log, _) = open(&fs).unwrap();
    append(&log, &[create(1, "one"), put(1, "a", b"a1"), put(1, "b", b"b1")]);
    for (key, value) in [("a", b"a2"), ("b", b"b2"), ("b", b"b3")] {
        append(&log, &[put(1, key, value)]);
    }
    log.close().unwrap();
    drop(log);
    let (log, all) = open(&fs).unwrap();
    drop(log);
    let bad: Vec<_> = all.iter().filter(|full| full.value.ends_with(b"2")).collect();
    bad.iter().for_each(|full| damage(&fs, full));
    let report = repaired(&fs);
    let after: Vec<_> = report.lost_records.iter().map(|lost| lost.after).collect();
    assert_eq!(after, [AfterLoss::Older { version: 2 }, AfterLoss::Newer]);
    assert_lost(&all, &reopened(&fs, &all), &bad);
}

#[test]
fn a_damaged_batch_is_saved_in_part_and_told() {
    let (whole, all) = sample();
    for key in ["b0", "b1", "b2"] {
        let fs = copy_of(&whole);
        let bad = record(&all, RecordKind::Value, key);
        damage(&fs, bad);
        let report = repaired(&fs);
        let [broken] = &report.broken_batches[..] else { panic!("{report}") };
        assert_eq!((broken.records, broken.kept), (Some(3), 2));
        assert_eq!(report.lost_records[0].key, key.as_bytes());
        assert_lost(&all, &reopened(&fs, &all), &[bad]);
    }
}
