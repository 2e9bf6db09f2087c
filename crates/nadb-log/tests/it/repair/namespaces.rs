//! Namespaces whose creation or drop is lost.

use nadb_log::{AfterLoss, RecordKind};

use super::{append, assert_lost, create, damage, open, put, record, reopened, repaired, sample};
use crate::support::segment;

#[test]
fn a_namespace_whose_creation_is_lost_gets_a_name() {
    let (fs, all) = sample();
    let bad = record(&all, RecordKind::NamespaceCreate, "three");
    damage(&fs, bad);
    let report = repaired(&fs);
    assert_eq!(report.found_namespaces.len(), 1, "{report}");
    assert_eq!((report.found_namespaces[0].id, &*report.found_namespaces[0].name), (3, "lost+found/3"));
    let found = reopened(&fs, &all);
    let made = record(&found, RecordKind::NamespaceCreate, "lost+found/3");
    assert!(made.seq < record(&found, RecordKind::Value, "y").seq);
    let others: Vec<_> = found.iter().filter(|full| full.seq != made.seq).cloned().collect();
    assert_lost(&all, &others, &[bad]);
}

#[test]
fn a_dropped_namespace_whose_creation_is_lost_stays_dropped() {
    let (fs, all) = sample();
    let bad = record(&all, RecordKind::NamespaceCreate, "two");
    damage(&fs, bad);
    let report = repaired(&fs);
    assert!(report.found_namespaces.is_empty(), "{report}");
    let found = reopened(&fs, &all);
    assert_lost(&all, &found, &[bad, record(&all, RecordKind::Value, "x")]);
}

#[test]
fn a_lost_drop_is_told_unless_the_names_next_owner_proves_it() {
    let (fs, all) = sample();
    let bad = record(&all, RecordKind::NamespaceDrop, "");
    fs.flip_byte(segment(bad.at.segment.0), u64::from(bad.at.offset), 1).unwrap();
    let report = repaired(&fs);
    let created = record(&all, RecordKind::NamespaceCreate, "two").seq;
    let back: Vec<_> = report.resurrected().map(|lost| (lost.namespace.clone(), lost.after)).collect();
    assert_eq!(back, [(Some("two".into()), AfterLoss::Older { version: created })], "{report}");
    assert_lost(&all, &reopened(&fs, &all), &[bad]);

    let (fs, _) = sample();
    let (log, _) = open(&fs).unwrap();
    append(&log, &[create(4, "two"), put(4, "x", b"new")]);
    log.close().unwrap();
    drop(log);
    let (log, all) = open(&fs).unwrap();
    drop(log);
    let bad = record(&all, RecordKind::NamespaceDrop, "");
    fs.flip_byte(segment(bad.at.segment.0), u64::from(bad.at.offset), 1).unwrap();
    let report = repaired(&fs);
    assert_eq!(report.resurrected().count(), 0, "{report}");
    assert_eq!(report.notes.len(), 1, "{report}");
    let gone: Vec<_> = all.iter().filter(|full| full.namespace == 2).collect();
    assert_lost(&all, &reopened(&fs, &all), &gone);
}
