//! Repair: what verifies is saved with everything on it, what is lost is named, and a crash leaves one store or the other.

mod crash;
mod footers;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{
    Attrs, Durability, ErrorKind, Location, ManualClock, NamespaceId, Result, SeededEntropy, Seq, Tags,
};
use nadb_log::{
    AfterLoss, FrameBody, Log, LogOptions, LostKind, Manifest, ManifestFound, Placed, Publish, REPAIR_REPORT,
    ReadMode, RecordFields, RecordKind, RecordRef, RepairOptions, RepairOutcome, RepairReport, SealedSegment,
    Segment, Visit, parse_segment, repair,
};
use nadb_vfs::{Fs, SimFs};

use crate::support::{DIR, files, manifest, segment};

const SEGMENT_BYTES: u64 = 600;

/// A record with everything on it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Full {
    seq: u64,
    kind: RecordKind,
    namespace: u32,
    key: String,
    value: Vec<u8>,
    times: (u64, u64, Option<u64>),
    tags: Vec<String>,
    at: Location,
}

impl Full {
    /// All but the place.
    fn content(&self) -> Full {
        let at = Location { segment: nadb_core::SegmentId(0), offset: 0, len: self.at.len };
        Full { at, ..self.clone() }
    }
}

#[derive(Debug, Default)]
struct All(Vec<Full>, BTreeSet<NamespaceId>);

impl Visit for All {
    fn begin(&mut self, _hash_seed: u64) {}

    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()> {
        assert!(segments.is_empty(), "nobody seals here");
        Ok(())
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, _segment: &Arc<Segment>) -> Result<()> {
        match record.kind {
            RecordKind::NamespaceCreate => drop(self.1.insert(record.namespace)),
            RecordKind::NamespaceDrop => drop(self.1.remove(&record.namespace)),
            _ => assert!(self.1.contains(&record.namespace), "{record:?} has no namespace"),
        }
        self.0.push(Full {
            seq: record.seq.0,
            kind: record.kind,
            namespace: record.namespace.0,
            key: String::from_utf8(record.key.to_vec()).unwrap(),
            value: record.value.to_vec(),
            times: (record.created_ms, record.updated_ms, record.expires_ms),
            tags: record.tags().unwrap().iter().map(str::to_owned).collect(),
            at,
        });
        Ok(())
    }
}

struct Quiet;

impl Publish<()> for Quiet {
    fn publish(&self, _payload: (), _placed: Placed, _segment: &Arc<Segment>) {}
}

fn open(fs: &SimFs) -> Result<(Log<()>, Vec<Full>)> {
    let options = LogOptions {
        segment_size: SEGMENT_BYTES,
        buffer_size: 64 << 10,
        read_mode: ReadMode::default(),
        create: true,
        clock: Arc::new(ManualClock::new(1_700_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(fs.calls())),
    };
    let mut all = All::default();
    let log = Log::open(Arc::new(fs.clone()), Path::new(DIR), options, &mut all, Arc::new(Quiet))?;
    Ok((log, all.0))
}

fn try_repair(fs: &SimFs, dry_run: bool) -> Result<RepairReport> {
    let options = RepairOptions {
        segment_size: SEGMENT_BYTES,
        dry_run,
        clock: Arc::new(ManualClock::new(1_800_000_000_000)),
        entropy: Arc::new(SeededEntropy::new(77)),
    };
    repair(fs, Path::new(DIR), &options)
}

/// A dry run, which changes nothing, and then the repair, which does what the dry run said.
fn repaired(fs: &SimFs) -> RepairReport {
    let before = files(fs);
    let planned = try_repair(fs, true).unwrap();
    assert_eq!(files(fs), before, "a dry run changes nothing");
    let report = try_repair(fs, false).unwrap();
    let mut done = report.clone();
    (done.dry_run, done.aside, done.segments_written) = (true, None, 0);
    assert_eq!(planned, done);
    report
}

fn append(log: &Log<()>, records: &[RecordFields<'_>]) -> Placed {
    let mut body = FrameBody::new();
    for record in records {
        body.push(record);
    }
    log.append(&body, Durability::Flushed, false, || ()).unwrap()
}

fn put<'a>(namespace: u32, key: &'a str, value: &'a [u8]) -> RecordFields<'a> {
    RecordFields::new(RecordKind::Value, NamespaceId(namespace), key.as_bytes(), value, 1_700_000_000_000)
}

fn create(namespace: u32, name: &str) -> RecordFields<'_> {
    of_kind(RecordKind::NamespaceCreate, namespace, name)
}

fn of_kind(kind: RecordKind, namespace: u32, key: &str) -> RecordFields<'_> {
    RecordFields::new(kind, NamespaceId(namespace), key.as_bytes(), b"", 1_700_000_000_000)
}

/// What is in the store that [`sample`] makes, by key: the last value wins.
fn sample_with(closed: bool) -> (SimFs, Vec<Full>) {
    let fs = SimFs::new(1);
    let (log, _) = open(&fs).unwrap();
    let (tags, attrs) = (Tags::new(["a", "b"]).unwrap(), Attrs::new([("k", "v")]).unwrap());
    let value = [b'v'; 60];
    append(&log, &[create(1, "one"), put(1, "first", &value)]);
    for n in 0..8u64 {
        let key = format!("k{n}");
        let tagged = RecordFields {
            tags: Some(&tags),
            attrs: Some(&attrs),
            expires_ms: Some(1_900_000_000_000 + n),
            created_ms: 5 + n,
            ..put(1, &key, &value)
        };
        append(&log, &[tagged]);
    }
    log.sync_all().unwrap();
    append(&log, &[create(2, "two"), put(2, "x", &value)]);
    append(&log, &[put(1, "b0", &value), put(1, "b1", &value), put(1, "b2", &value)]);
    append(&log, &[of_kind(RecordKind::Tombstone, 1, "k3")]);
    append(&log, &[create(3, "three")]);
    append(&log, &[put(3, "y", &value)]);
    append(&log, &[of_kind(RecordKind::NamespaceDrop, 2, "")]);
    for n in 0..8 {
        append(&log, &[put(1, &format!("l{n}"), &value)]);
    }
    if closed {
        log.close().unwrap();
    } else {
        log.sync_all().unwrap();
    }
    drop(log);
    let fs = fs.process_kill();
    let copy = copy_of(&fs);
    (fs, open(&copy).unwrap().1)
}

fn sample() -> (SimFs, Vec<Full>) {
    sample_with(true)
}

fn copy_of(fs: &SimFs) -> SimFs {
    let copy = SimFs::new(1);
    files(fs).iter().for_each(|(path, bytes)| copy.write_file(path, bytes).unwrap());
    copy
}

fn record<'a>(all: &'a [Full], kind: RecordKind, key: &str) -> &'a Full {
    all.iter().find(|full| full.kind == kind && full.key == key).unwrap()
}

/// Flips a byte near the end of a record.
fn damage(fs: &SimFs, full: &Full) {
    let at = u64::from(full.at.offset + full.at.len - 1);
    fs.flip_byte(segment(full.at.segment.0), at, 0x20).unwrap();
}

/// Opens the repaired store: what it has, and that it goes on with numbers that nobody ever had.
fn reopened(fs: &SimFs, before: &[Full]) -> Vec<Full> {
    let (log, found) = open(fs).unwrap();
    let counts = log.scan(&mut |_, _, _| Ok(())).unwrap();
    assert_eq!(counts.records, found.len() as u64);
    let placed = append(&log, &[create(90, "later"), put(90, "new", b"new")]);
    assert!(before.last().is_none_or(|last| placed.first_seq.0 > last.seq), "{placed:?}");
    log.close().unwrap();
    drop(log);
    let (_, again) = open(fs).unwrap();
    assert_eq!(again[..found.len()], found[..]);
    assert_eq!(again.len(), found.len() + 2);
    assert!(try_repair(fs, false).unwrap().is_intact());
    found
}

/// All of `before` is there but for these.
fn assert_lost(before: &[Full], found: &[Full], lost: &[&Full]) {
    let kept = before.iter().filter(|full| !lost.iter().any(|lost| lost.seq == full.seq));
    let kept: Vec<_> = kept.map(Full::content).collect();
    let found: Vec<_> = found.iter().map(Full::content).collect();
    assert_eq!(found, kept);
}

/// The originals stand aside as they were.
fn assert_aside(fs: &SimFs, report: &RepairReport, originals: &SimFs) {
    let aside = report.aside.clone().unwrap();
    assert!(fs.read_file(aside.join(REPAIR_REPORT)).is_ok());
    for (path, bytes) in files(originals) {
        let copy = aside.join(path.file_name().unwrap());
        assert!(fs.read_file(copy).unwrap() == bytes, "{}", path.display());
    }
}

#[test]
fn an_intact_store_is_left_alone() {
    for closed in [true, false] {
        let (fs, all) = sample_with(closed);
        let before = files(&fs);
        let report = repaired(&fs);
        assert!(report.is_intact() && !report.has_losses() && report.aside.is_none());
        assert_eq!(report.records_kept, all.len() as u64);
        assert_eq!(files(&fs), before);
    }
    // A torn tail is opening's business.
    let (fs, _) = sample_with(false);
    let last = fs.files().into_iter().rfind(|(path, len)| path.extension().is_some() && *len > 64);
    let (path, len) = last.unwrap();
    fs.truncate_file(&path, len + 7).unwrap();
    let report = repaired(&fs);
    assert!(report.is_intact());
    assert_eq!(report.torn_bytes, 7);
}

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
fn a_repaired_store_can_be_repaired_again() {
    let (fs, all) = sample();
    let bad = [record(&all, RecordKind::Value, "k4"), record(&all, RecordKind::NamespaceCreate, "three")];
    bad.iter().for_each(|full| damage(&fs, full));
    repaired(&fs);
    let (log, found) = open(&fs).unwrap();
    drop(log);
    let made = record(&found, RecordKind::NamespaceCreate, "lost+found/3");
    let next = record(&found, RecordKind::Value, "k6");
    [made, next].iter().for_each(|full| damage(&fs, full));
    let report = repaired(&fs);
    assert!(report.aside.as_ref().unwrap().ends_with("repair-0002"));
    let again = reopened(&fs, &all);
    let lost = [bad[0], bad[1], next];
    let others: Vec<_> = again.iter().filter(|full| full.key != "lost+found/3").cloned().collect();
    assert_lost(&all, &others, &lost);
}

#[test]
fn a_store_that_is_open_is_locked_and_what_is_no_store_is_refused() {
    let (fs, _) = sample();
    let (log, _) = open(&fs).unwrap();
    assert_eq!(try_repair(&fs, true).unwrap_err().kind(), ErrorKind::Locked);
    drop(log);
    assert!(try_repair(&fs, true).is_ok());
    let empty = SimFs::new(1);
    assert_eq!(try_repair(&empty, false).unwrap_err().kind(), ErrorKind::InvalidInput);
    empty.write_file(Path::new(DIR).join("letter.txt"), b"dear").unwrap();
    assert_eq!(try_repair(&empty, false).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(files(&empty).len(), 1);
}

#[test]
fn numbers_that_had_jumped_stay_as_they_are() {
    let (fs, _) = sample_with(false);
    for session in 0..3 {
        let (log, _) = open(&fs).unwrap();
        append(&log, &[put(1, &format!("s{session}"), b"after a jump")]);
        log.sync_all().unwrap();
        append(&log, &[put(1, &format!("t{session}"), b"after a jump")]);
        drop(log);
    }
    let (log, all) = open(&fs).unwrap();
    log.close().unwrap();
    drop(log);
    assert!(all.last().unwrap().seq > 3 << 32);
    for key in ["k4", "s0", "t1"] {
        let (fs, bad) = (copy_of(&fs), record(&all, RecordKind::Value, key));
        damage(&fs, bad);
        let report = repaired(&fs);
        assert_eq!(report.lost_numbers.len(), 1, "{report}");
        assert_lost(&all, &reopened(&fs, &all), &[bad]);
    }
}
