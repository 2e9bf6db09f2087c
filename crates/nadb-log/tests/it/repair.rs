//! Repair: what verifies is saved with everything on it, what is lost is named, and a crash leaves one store or the other.

mod blobs;
mod compacted;
mod crash;
mod footers;
mod manifest;
mod namespaces;
mod records;
mod segments;
mod sweeps;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{
    Attrs, Durability, ErrorKind, Location, ManualClock, NamespaceId, Result, SeededEntropy, Tags,
};
use nadb_log::{
    FrameBody, Log, LogOptions, Placed, Publish, REPAIR_REPORT, ReadMode, RecordFields, RecordKind,
    RecordRef, RepairOptions, RepairReport, SealedSegment, Segment, Visit, repair,
};
use nadb_vfs::SimFs;

use crate::support::{DIR, files, segment};

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
