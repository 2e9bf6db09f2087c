//! Every byte flipped, every file cut: no more is lost than what was hit.

use std::collections::BTreeSet;

use nadb_log::{RecordKind, parse_segment};
use nadb_vfs::SimFs;

use super::{Full, copy_of, open, reopened, sample, sample_with, try_repair};

/// Every record that is not named as lost, and whose number is not lost, is there as it was; nothing else is there.
fn check_any_damage(fs: &SimFs, all: &[Full], context: &str) {
    let report = match try_repair(fs, false) {
        Ok(report) => report,
        Err(error) => panic!("{context}: {error}"),
    };
    if report.is_intact() && report.torn_bytes > 0 {
        // What was never known to be durable is a torn tail, which opening cuts off.
        open(fs).unwrap();
        return;
    }
    let found = reopened(fs, all);
    let made: BTreeSet<_> = report.found_namespaces.iter().map(|found| found.id).collect();
    let is_lost =
        |seq: u64| report.lost_numbers.iter().any(|range| (range.first..=range.last).contains(&seq));
    for full in all {
        let is_there = found.iter().any(|found| found.content() == full.content());
        let is_dropped = full.namespace == 2;
        assert!(is_there != is_lost(full.seq) || is_dropped, "{context}: {full:?}\n{report}\n{found:?}");
    }
    for found in &found {
        let is_made = found.kind == RecordKind::NamespaceCreate && made.contains(&found.namespace);
        assert!(is_made || all.iter().any(|full| full.content() == found.content()), "{context}: {found:?}");
    }
}

#[test]
fn any_flipped_byte_loses_at_most_what_it_hit() {
    for closed in [true, false] {
        let (whole, all) = sample_with(closed);
        for (path, len) in whole.files() {
            if path.ends_with("LOCK") {
                continue;
            }
            for at in 0..len {
                let fs = copy_of(&whole);
                fs.flip_byte(&path, at, 0x11).unwrap();
                check_any_damage(&fs, &all, &format!("{path:?} byte {at}"));
            }
        }
    }
}

#[test]
fn any_cut_file_loses_at_most_what_was_cut() {
    let (whole, all) = sample();
    for (path, len) in whole.files() {
        let is_segment = parse_segment(path.file_name().unwrap().to_str().unwrap()).is_some();
        for at in (0..len).filter(|_| is_segment) {
            let fs = copy_of(&whole);
            fs.truncate_file(&path, at).unwrap();
            check_any_damage(&fs, &all, &format!("{path:?} cut to {at}"));
        }
    }
}
