//! Repair of stores with compacted segments: nothing that verifies is lost, and nothing rises from the dead.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{Location, ManualClock, NamespaceId, Ordinal, Result, SeededEntropy};
use nadb_log::{
    Direction, Log, LogOptions, Manifest, ManifestFound, Placed, ReadMode, RecordKind, RecordRef,
    RepairOutcome, RepairReport, RowCursor, Rows, SealedSegment, Segment, Visit,
};
use nadb_vfs::{CrashMode, Fs, SimFs};

use super::{Quiet, append, copy_of, create, of_kind, put, repaired, try_repair};
use crate::support::{DIR, files, manifest, segment};

const SEGMENT_BYTES: u64 = 600;

struct Seen;

impl Visit for Seen {
    fn begin(&mut self, _hash_seed: u64) {}

    fn sealed(&mut self, _segments: &[SealedSegment]) -> Result<()> {
        Ok(())
    }

    fn record(&mut self, _record: &RecordRef<'_>, _at: Location, _segment: &Arc<Segment>) -> Result<()> {
        Ok(())
    }
}

fn open(fs: &SimFs) -> Log<()> {
    let options = LogOptions {
        segment_size: SEGMENT_BYTES,
        buffer_size: 64 << 10,
        read_mode: ReadMode::default(),
        create: true,
        clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(fs.calls())),
    };
    Log::open(Arc::new(fs.clone()), Path::new(DIR), options, &mut Seen, Arc::new(Quiet)).unwrap()
}

/// Number, kind and value of the record that counts, by namespace and key; a namespace by its number and no key.
type Content = BTreeMap<(u32, Vec<u8>), (u64, RecordKind, Vec<u8>)>;

/// What a log has, and how many records.
fn content(log: &Log<()>) -> (Content, u64) {
    let (mut newest, mut all) = (BTreeMap::new(), 0);
    log.scan(&mut |record, at, _| {
        all += 1;
        let is_system = matches!(record.kind, RecordKind::NamespaceCreate | RecordKind::NamespaceDrop);
        let key = if is_system { Vec::new() } else { record.key.to_vec() };
        let value = if is_system { record.key } else { record.value };
        let new = ((record.seq, at.segment), (record.seq.0, record.kind, value.to_vec()));
        let slot = newest.entry((record.namespace.0, key)).or_insert_with(|| new.clone());
        if slot.0 < new.0 {
            *slot = new;
        }
        Ok(())
    })
    .unwrap();
    (newest.into_iter().map(|(key, (_, record))| (key, record)).collect(), all)
}

/// What can be seen of it.
fn visible(content: &Content) -> Content {
    let mut content = content.clone();
    let is_dropped =
        |(_, (_, kind, _)): (&_, &(u64, RecordKind, Vec<u8>))| *kind == RecordKind::NamespaceDrop;
    let dropped: Vec<u32> =
        content.iter().filter(|entry| is_dropped(*entry)).map(|((id, _), _)| *id).collect();
    content.retain(|(id, _), (_, kind, _)| !dropped.contains(id) && *kind != RecordKind::Tombstone);
    content
}

fn seal_all(log: &Log<()>) {
    while let Some(segment) = log.oldest_unsealed() {
        let Rows::Memtable(memtable) = Rows::rebuild(&segment).unwrap() else { panic!("of records") };
        log.seal(&segment, &memtable).unwrap();
    }
}

/// Replaces segments by what counts in them, in outputs of at most so many rows. Files of the inputs stay if `keeps` says so.
fn compact(log: &Log<()>, ids: &[u32], rows_max: usize, keeps: bool) {
    let (all, ..) = log.segments();
    let inputs: Vec<_> = all.into_iter().filter(|segment| ids.contains(&segment.id().0)).collect();
    assert_eq!(inputs.len(), ids.len());
    let mut rows = BTreeMap::new();
    let mut system = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let found = Rows::rebuild(input).unwrap();
        for row in found.system().unwrap() {
            system.push((row.seq, index, row.offset, row.len));
        }
        for mut cursor in found.cursors(NamespaceId(0), b"", Direction::Forward).unwrap() {
            while let Some((namespace, key)) = cursor.key() {
                let meta = found.meta(cursor.ordinal()).unwrap();
                let new = (meta.seq, index, meta.offset, meta.len);
                let slot = rows.entry((namespace, key.to_vec())).or_insert(new);
                *slot = new.max(*slot);
                cursor.next().unwrap();
            }
        }
    }
    let outputs = u32::try_from(rows.len() / rows_max + 2).unwrap();
    let mut compaction = log.begin_compaction(&inputs, outputs).unwrap();
    let mut output = log.begin_output(&mut compaction).unwrap();
    let mut done = Vec::new();
    let at = |(_, index, offset, len): (_, usize, _, _)| {
        let input: &Arc<Segment> = &inputs[index];
        (input, Location { segment: input.id(), offset, len })
    };
    for row in system {
        let (input, at) = at(row);
        input.with_source(at, |source| output.push_system(source)).unwrap();
    }
    for row in rows.into_values() {
        if output.rows() as usize >= rows_max {
            let full = std::mem::replace(&mut output, log.begin_output(&mut compaction).unwrap());
            done.push(compaction.finish(full, false).unwrap());
        }
        let (input, at) = at(row);
        let ordinal = input.with_source(at, |source| output.push(source)).unwrap();
        assert!(ordinal < Ordinal(output.rows()));
    }
    done.push(compaction.finish(output, true).unwrap());
    log.install(&compaction, &mut done, log.published_seq()).unwrap();
    if !keeps {
        drop((inputs, done));
        log.retire(compaction, Vec::new());
        log.remove_retired(true).unwrap();
    }
}

/// A closed store: original segments that are sealed, two outputs of one compaction and one of another, and originals that are
/// not sealed; keys that were overwritten and deleted across all of them.
fn sample_with(keeps: bool) -> SimFs {
    sample_of(keeps, true)
}

/// The same with the first of the compactions only.
fn sample_of(keeps: bool, has_second: bool) -> SimFs {
    let fs = SimFs::new(1);
    let log = open(&fs);
    let value = [b'v'; 60];
    let (first, second) = ([b'1'; 50], [b'2'; 55]);
    append(&log, &[create(1, "one"), put(1, "first", &value)]);
    append(&log, &[create(2, "two"), put(2, "gone", &value)]);
    for n in 0..8 {
        append(&log, &[put(1, &format!("k{n}"), &first)]);
        append(&log, &[put(1, &format!("d{n}"), &first)]);
    }
    append(&log, &[of_kind(RecordKind::NamespaceDrop, 2, "")]);
    for n in 0..8 {
        append(&log, &[put(1, &format!("k{n}"), &second)]);
        append(&log, &[of_kind(RecordKind::Tombstone, 1, &format!("d{n}"))]);
    }
    for n in 0..6 {
        append(&log, &[put(1, &format!("l{n}"), &value)]);
    }
    append(&log, &[create(3, "three"), put(3, "y", &value)]);
    seal_all(&log);
    let sealed = sealed_ids(&log);
    assert!(sealed.len() >= 7, "{sealed:?}");
    // The first one stays, so that what tombstones hide is there.
    compact(&log, &sealed[2..5], 6, keeps);
    for n in 0..10 {
        append(&log, &[put(1, &format!("m{n}"), &value), put(1, &format!("k{}", n % 3), &first)]);
    }
    seal_all(&log);
    let sealed = originals(&log);
    if has_second {
        compact(&log, &sealed[sealed.len() - 2..], 100, keeps);
    }
    append(&log, &[of_kind(RecordKind::Tombstone, 1, "l1"), put(1, "last", &value)]);
    log.close().unwrap();
    drop(log);
    copy_of(&fs)
}

fn sample() -> SimFs {
    sample_with(false)
}

fn sealed_ids(log: &Log<()>) -> Vec<u32> {
    log.segments().0.iter().filter(|segment| segment.is_sealed()).map(|segment| segment.id().0).collect()
}

fn originals(log: &Log<()>) -> Vec<u32> {
    let (all, ..) = log.segments();
    let is_original = |segment: &&Arc<Segment>| segment.is_sealed() && !segment.is_compacted();
    all.iter().filter(is_original).map(|segment| segment.id().0).collect()
}

fn read(fs: &SimFs) -> (Content, u64) {
    content(&open(&copy_of(fs)))
}

/// Numbers of the compacted segments, and where frames and files of them end.
fn compacted(fs: &SimFs) -> Vec<(u32, u64, u64)> {
    let manifest = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap();
    let sealed = manifest.segments.iter().filter_map(|named| Some((named.id.0, named.sealed?)));
    let sealed = sealed.filter(|(_, extent)| extent.is_compacted);
    sealed.map(|(id, extent)| (id, extent.frames_end.into(), extent.file_len.into())).collect()
}

/// The repaired store opens, reads whole, goes on, and a second repair finds nothing.
fn reopened(fs: &SimFs, context: &str) -> Content {
    let log = open(fs);
    assert!(log.recovered().warnings.is_empty(), "{context}: {:?}", log.recovered().warnings);
    let (found, records) = content(&log);
    let highest = found.values().map(|(seq, ..)| *seq).max().unwrap_or_default();
    let placed: Placed = append(&log, &[create(90, "later"), put(90, "new", b"new")]);
    assert!(placed.first_seq.0 > highest, "{context}");
    log.close().unwrap();
    drop(log);
    assert!(try_repair(fs, false).unwrap().is_intact(), "{context}");
    assert_eq!(read(fs).1, records + 2, "{context}");
    found
}

fn is_lost(report: &RepairReport, seq: u64) -> bool {
    report.lost_numbers.iter().any(|range| (range.first..=range.last).contains(&seq))
}

/// Whatever is not there as it was is reported, and nothing is there that never was.
fn check_damage(fs: &SimFs, whole: &Content, context: &str) -> RepairReport {
    let report = match try_repair(fs, false) {
        Ok(report) => report,
        Err(error) => panic!("{context}: {error}"),
    };
    let found = reopened(fs, context);
    let made: Vec<_> = report.found_namespaces.iter().map(|found| found.id).collect();
    let is_unknown = !report.unknown_losses.is_empty();
    for (key, record) in whole {
        let is_there = found.get(key) == Some(record);
        let is_told = is_lost(&report, record.0) || is_unknown || report.torn_bytes > 0;
        // Records of a namespace that was dropped may be left out.
        assert!(is_there || is_told || key.0 == 2, "{context}: {key:?} {record:?}\n{report}");
        assert!(!is_there || is_unknown || !is_lost(&report, record.0), "{context}: {key:?}\n{report}");
    }
    for (key, record) in &visible(&found) {
        let is_made = key.1.is_empty() && made.contains(&key.0);
        let before = whole.get(key);
        let is_back = before.is_some_and(|before| is_lost(&report, before.0) && before.0 > record.0);
        assert!(before == Some(record) || is_back || is_made || is_unknown, "{context}: {key:?}\n{report}");
    }
    report
}

fn is_segment(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "seg")
}

#[test]
fn an_intact_store_with_compacted_segments_is_left_alone() {
    let fs = sample();
    let (_, records) = read(&fs);
    assert!(compacted(&fs).len() >= 3, "{:?}", compacted(&fs));
    let before = files(&fs);
    let report = repaired(&fs);
    assert!(report.is_intact() && !report.has_losses(), "{report}");
    assert_eq!(report.records_kept, records);
    assert_eq!(files(&fs), before);
}

#[test]
fn any_flipped_byte_of_a_compacted_store_loses_at_most_what_it_hit() {
    let fs = sample();
    let (whole, records) = read(&fs);
    for (path, len) in fs.files().into_iter().filter(|(path, _)| !path.ends_with("LOCK")) {
        for at in (0..len).step_by(if is_segment(&path) { 13 } else { 5 }) {
            let fs = copy_of(&fs);
            fs.flip_byte(&path, at, 0x11).unwrap();
            let context = format!("{} byte {at}", path.display());
            let report = check_damage(&fs, &whole, &context);
            assert!(report.unknown_losses.is_empty(), "{context}: {report}");
            // One record, or all of a frame of an original segment.
            let lost = records - report.records_kept.min(records);
            assert!(lost <= 2, "{context}: {lost} lost\n{report}");
        }
    }
}

#[test]
fn any_cut_of_a_segment_of_a_compacted_store_loses_at_most_what_was_cut() {
    let fs = sample();
    let (whole, _) = read(&fs);
    for (path, len) in fs.files().into_iter().filter(|(path, _)| is_segment(path)) {
        for at in (0..len).step_by(19) {
            let fs = copy_of(&fs);
            fs.truncate_file(&path, at).unwrap();
            let report = check_damage(&fs, &whole, &format!("{} cut to {at}", path.display()));
            assert!(report.has_losses() || report.torn_bytes > 0 || report.damage.len() == 1, "{report}");
        }
        let fs = copy_of(&fs);
        fs.remove(&path).unwrap();
        let report = check_damage(&fs, &whole, &format!("{} is gone", path.display()));
        assert!(report.has_losses() || len <= 64, "{report}");
    }
}

#[test]
fn a_damaged_footer_of_a_compacted_segment_is_made_anew_in_its_place() {
    let fs = sample();
    let (whole, _) = read(&fs);
    for (id, frames_end, _) in compacted(&fs) {
        let fs = copy_of(&fs);
        fs.flip_byte(segment(id), frames_end + 3, 4).unwrap();
        // Opening makes up for it in memory.
        assert_eq!(open(&copy_of(&fs)).recovered().warnings.len(), 1);
        let report = repaired(&fs);
        assert_eq!(report.outcome, RepairOutcome::FootersRebuilt, "{report}");
        assert_eq!(reopened(&fs, "repaired"), whole);
    }
}

#[test]
fn a_lost_record_of_a_compacted_segment_is_named_by_the_footer() {
    let fs = sample();
    let (whole, _) = read(&fs);
    let log = open(&copy_of(&fs));
    let mut place = None;
    log.scan(&mut |record, at, segment| {
        let is_it = segment.is_compacted() && record.kind == RecordKind::Value;
        place = place.take().or(is_it.then(|| (at, (record.namespace.0, record.key.to_vec()), record.seq.0)));
        Ok(())
    })
    .unwrap();
    let (at, key, seq): (Location, (u32, Vec<u8>), u64) = place.unwrap();
    // The header with its key.
    (0..40).for_each(|n| fs.flip_byte(segment(at.segment.0), u64::from(at.offset) + n, 0xA5).unwrap());
    let report = repaired(&fs);
    let [lost] = &report.lost_records[..] else { panic!("{report}") };
    assert_eq!((&lost.key, lost.seq), (&key.1, Some(seq)), "{report}");
    let kept: Vec<_> = compacted(&fs).into_iter().map(|(id, ..)| id).collect();
    assert!(!kept.contains(&at.segment.0), "{kept:?}");
    let mut left = whole.clone();
    let found = reopened(&fs, "repaired");
    left.remove(&key);
    assert!(left.iter().all(|(key, record)| found.get(key) == Some(record)));
}

#[test]
fn a_lost_manifest_of_a_compacted_store_is_made_anew() {
    for keeps in [false, true] {
        let fs = sample_with(keeps);
        let (whole, _) = read(&fs);
        let before = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap();
        fs.remove(&manifest()).unwrap();
        let report = repaired(&fs);
        let outcome = (report.outcome, report.manifest);
        assert_eq!(outcome, (RepairOutcome::ManifestRebuilt, ManifestFound::Missing), "{report}");
        assert!(!report.has_losses(), "{report}");
        let made = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap();
        assert_eq!(made.segments, before.segments, "{report}");
        assert_eq!((made.sealed_upto, made.next_namespace), (before.sealed_upto, 4));
        // Files that compactions have replaced are aside.
        assert_eq!(report.aside.is_some(), keeps, "{report}");
        assert_eq!(reopened(&fs, "repaired"), whole);
    }
}

#[test]
fn damage_without_a_manifest_loses_at_most_what_it_hit() {
    let fs = sample();
    let (whole, _) = read(&fs);
    fs.remove(&manifest()).unwrap();
    for (path, len) in fs.files().into_iter().filter(|(path, _)| is_segment(path)) {
        for at in (0..len).step_by(29) {
            let fs = copy_of(&fs);
            fs.flip_byte(&path, at, 0x11).unwrap();
            let context = format!("{} byte {at}", path.display());
            let report = try_repair(&fs, false).unwrap();
            let found = reopened(&fs, &context);
            // With its uid a segment has lost everything.
            let missing = whole.iter().filter(|(key, record)| found.get(key) != Some(record) && key.0 != 2);
            let missing = missing.count();
            assert!(missing <= 2 || (16..32).contains(&at), "{context}: {missing}\n{report}");
            assert!(missing == 0 || report.has_losses(), "{context}: {missing}\n{report}");
            for (key, record) in visible(&found) {
                let is_made = key.1.is_empty();
                assert!(
                    whole.get(&key) == Some(&record) || is_made || missing > 0,
                    "{context}: {key:?}\n{report}"
                );
            }
        }
    }
}

/// Outputs of which one is gone, with the inputs' files still there, and without.
#[test]
fn without_a_manifest_a_part_of_a_compaction_counts_only_where_its_inputs_are_gone() {
    let (with, without) = (sample_of(true, false), sample_of(false, false));
    let outputs = compacted(&with);
    // All of the first compaction but the last, and the last one alone.
    for gone in [outputs[0].0, outputs[1].0] {
        let fs = copy_of(&with);
        let (whole, _) = read(&fs);
        fs.remove(&manifest()).unwrap();
        fs.remove(&segment(gone)).unwrap();
        let report = try_repair(&fs, false).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("did not end")), "{report}");
        assert_eq!(visible(&reopened(&fs, "with inputs")), visible(&whole), "{report}");

        let fs = copy_of(&without);
        let (whole, _) = read(&fs);
        fs.remove(&manifest()).unwrap();
        let bytes = fs.read_file(segment(gone)).unwrap();
        fs.remove(&segment(gone)).unwrap();
        let report = try_repair(&fs, false).unwrap();
        assert!(report.notes.iter().any(|note| note.contains("may have come back")), "{report}");
        let found = reopened(&fs, "without inputs");
        for (key, record) in &whole {
            let was_there = bytes.windows(key.1.len().max(1)).any(|window| window == key.1);
            assert!(found.get(key) == Some(record) || was_there || key.1.is_empty(), "{key:?}\n{report}");
        }
    }
}

/// An older manifest, which names what a compaction has replaced since, and does not know the outputs to be any.
#[test]
fn outputs_are_found_under_the_manifest_from_before_they_were_installed() {
    let fs = sample();
    let (whole, _) = read(&fs);
    let log = open(&fs);
    seal_all(&log);
    let ids = originals(&log);
    let numbers = log.begin_compaction(&[], 3).unwrap();
    drop(numbers);
    let old = fs.read_file(manifest()).unwrap();
    compact(&log, &ids[..2], 100, false);
    log.close().unwrap();
    drop(log);
    let fs = copy_of(&fs);
    let (after, _) = read(&fs);
    assert_eq!(visible(&after), visible(&whole));
    let mut named = Manifest::decode(&old).unwrap();
    named.next_segment = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap().next_segment;
    fs.write_file(manifest(), &named.encode()).unwrap();
    let report = repaired(&fs);
    assert_eq!((report.outcome, report.manifest), (RepairOutcome::ManifestRebuilt, ManifestFound::Outdated));
    assert!(!report.has_losses(), "{report}");
    assert_eq!(reopened(&fs, "repaired"), after);
}

#[test]
fn a_crash_while_a_compacted_store_is_repaired_leaves_the_one_or_the_other() {
    let whole = sample();
    let (id, frames_end, _) = compacted(&whole)[1];
    whole.flip_byte(segment(id), frames_end - 5, 8).unwrap();
    let without_manifest = copy_of(&whole);
    without_manifest.remove(&manifest()).unwrap();
    crash_everywhere(&whole);
    crash_everywhere(&copy_of(&without_manifest));
}

fn crash_everywhere(damaged: &SimFs) {
    let repaired = copy_of(damaged);
    try_repair(&repaired, false).unwrap();
    let expected = read(&repaired).0;
    for at in 1.. {
        let fs = copy_of(damaged);
        fs.crash_at_mutation(at);
        let finished = try_repair(&fs, false).is_ok();
        for mode in CrashMode::ALL {
            let fs = fs.power_cut(mode, at);
            try_repair(&fs, false).unwrap_or_else(|error| panic!("call {at}, {mode:?}: {error}"));
            assert_eq!(read(&fs).0, expected, "call {at}, {mode:?}");
        }
        if finished {
            assert!(at > 20);
            break;
        }
    }
}

#[test]
fn files_that_are_left_out_are_aside() {
    let fs = sample_with(true);
    let names: Vec<PathBuf> =
        fs.files().into_iter().map(|(path, _)| path).filter(|path| is_segment(path)).collect();
    let named: Vec<_> = Manifest::decode(&fs.read_file(manifest()).unwrap()).unwrap().segments;
    let is_named = |path: &PathBuf| named.iter().any(|named| segment(named.id.0) == *path);
    let replaced: Vec<_> = names.into_iter().filter(|path| !is_named(path)).collect();
    assert!(replaced.len() >= 5, "{replaced:?}");
    fs.remove(&manifest()).unwrap();
    let report = repaired(&fs);
    let aside = report.aside.unwrap();
    for path in replaced {
        assert!(fs.read_file(aside.join(path.file_name().unwrap())).is_ok(), "{}", path.display());
    }
}
