//! The log's part of a compaction: outputs that are written, read again and opened again, one manifest for all of them, and the files
//! of what they replace.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nadb_core::{
    BlobId, Durability, ErrorKind, Location, ManualClock, NamespaceId, Ordinal, Result, SeededEntropy,
    SegmentId, Seq,
};
use nadb_log::{
    Compacted, Compaction, Direction, FrameBody, Log, LogOptions, Manifest, Memtable, Placed, Publish,
    ReadMode, RecordFields, RecordKind, RecordRef, Row, RowCursor, Rows, SealedSegment, Segment, SystemRow,
    Visit, blob_path,
};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, SimFs};

use crate::support::{DIR, SEGMENT_BYTES, manifest, segment, value_of};

const N: NamespaceId = NamespaceId(1);

/// The rows of each segment.
#[derive(Debug, Default)]
struct AllRows(Mutex<BTreeMap<SegmentId, Arc<Memtable>>>);

impl AllRows {
    fn of(&self, segment: SegmentId) -> Arc<Memtable> {
        let new = || Arc::new(Memtable::new());
        Arc::clone(self.0.lock().unwrap().entry(segment).or_insert_with(new))
    }
}

impl Publish<Arc<FrameBody>> for AllRows {
    fn publish(&self, body: Arc<FrameBody>, placed: Placed, segment: &Arc<Segment>) {
        let rows = self.of(segment.id());
        for (index, (at, mut record)) in (0..).zip(body.records()) {
            record.seq = placed.first_seq.plus(index);
            let offset = placed.body_offset + at;
            match Row::of(&record, offset) {
                Some(row) => _ = rows.push(&row),
                None => rows.push_system(SystemRow::of(&record, offset).unwrap()),
            }
        }
    }
}

/// What an opening shows.
#[derive(Debug, Default)]
struct Shown {
    sealed: Vec<SealedSegment>,
    replayed: Vec<String>,
}

impl Visit for Shown {
    fn begin(&mut self, _: u64) {}

    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()> {
        for SealedSegment { segment, rows } in segments {
            self.sealed.push(SealedSegment { segment: Arc::clone(segment), rows: rows.clone() });
        }
        Ok(())
    }

    fn record(&mut self, record: &RecordRef<'_>, _: Location, _: &Arc<Segment>) -> Result<()> {
        self.replayed.push(String::from_utf8(record.key.to_vec()).unwrap());
        Ok(())
    }
}

struct Store {
    sim: SimFs,
    log: Log<Arc<FrameBody>>,
    rows: Arc<AllRows>,
    shown: Shown,
}

impl Store {
    fn open(sim: &SimFs, seed: u64) -> Store {
        let options = LogOptions {
            segment_size: SEGMENT_BYTES,
            buffer_size: 64 << 10,
            read_mode: ReadMode::default(),
            create: true,
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            entropy: Arc::new(SeededEntropy::new(seed)),
        };
        let (mut shown, rows) = (Shown::default(), Arc::new(AllRows::default()));
        let publisher = Arc::clone(&rows) as Arc<dyn Publish<Arc<FrameBody>>>;
        let log = Log::open(Arc::new(sim.clone()), Path::new(DIR), options, &mut shown, publisher).unwrap();
        Store { sim: sim.clone(), log, rows, shown }
    }

    /// Of keys `k00`, `k01`, …, so that there are three sealed segments and one that is not.
    fn new() -> Store {
        let store = Store::open(&SimFs::new(1), 1);
        for n in 0.. {
            store.put(&format!("k{n:02}"), 100, Durability::Synced);
            if store.log.unsealed_count() == 3 {
                break;
            }
        }
        while let Some(segment) = store.log.oldest_unsealed() {
            store.log.seal(&segment, &store.rows.of(segment.id())).unwrap();
        }
        assert_eq!(store.sealed().len(), 3);
        store
    }

    fn put(&self, key: &str, len: usize, durability: Durability) -> Placed {
        let mut body = FrameBody::new();
        let value = value_of(key, len);
        body.push(&RecordFields::new(RecordKind::Value, N, key.as_bytes(), &value, 5));
        let body = Arc::new(body);
        self.log.append(&body, durability, false, || Arc::clone(&body)).unwrap()
    }

    fn sealed(&self) -> Vec<Arc<Segment>> {
        self.log.segments().0.into_iter().filter(|segment| segment.is_sealed()).collect()
    }

    /// Copies all keys of some sealed segments, so many into each output, but for those that are left out.
    fn copy(
        &self,
        inputs: &[Arc<Segment>],
        at_once: usize,
        out: &[&str],
    ) -> Result<(Compaction, Vec<Compacted>)> {
        let mut all = Vec::new();
        for input in inputs {
            let rows = self.rows.of(input.id());
            for ordinal in (0..rows.len()).map(Ordinal) {
                let meta = rows.meta(ordinal).unwrap();
                let at = Location { segment: input.id(), offset: meta.offset, len: meta.len };
                let key = rows.with_key(ordinal, |_, key| String::from_utf8(key.to_vec()).unwrap()).unwrap();
                all.push((key, meta.seq, Arc::clone(input), at));
            }
        }
        all.retain(|(key, ..)| !out.contains(&&**key));
        all.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let outputs = u32::try_from(all.len().div_ceil(at_once)).unwrap();
        let mut compaction = self.log.begin_compaction(inputs, outputs)?;
        let mut done = Vec::new();
        for (number, some) in all.chunks(at_once).enumerate() {
            let mut output = self.log.begin_output(&mut compaction)?;
            for (_, _, input, at) in some {
                input.with_source(*at, |source| output.push(source).map(|_| ()))?;
            }
            done.push(compaction.finish(output, (number + 1) * at_once >= all.len())?);
        }
        Ok((compaction, done))
    }

    fn compact(&self, inputs: &[Arc<Segment>], at_once: usize) -> Result<Compaction> {
        let (compaction, mut outputs) = self.copy(inputs, at_once, &[])?;
        self.log.install(&compaction, &mut outputs, self.log.published_seq())?;
        Ok(compaction)
    }

    /// Every record of the log, by number, as [`Log::scan`] reads it.
    fn scanned(&self) -> BTreeMap<Seq, String> {
        let mut all = BTreeMap::new();
        let scanned = self.log.scan(&mut |record: &RecordRef<'_>, at: Location, segment: &Arc<Segment>| {
            let key = String::from_utf8(record.key.to_vec()).unwrap();
            assert_eq!(record.value, value_of(&key, record.value.len()));
            assert_eq!(segment.read(at).unwrap().record().unwrap().seq, record.seq);
            assert!(all.insert(record.seq, key).is_none(), "{} is there twice", record.seq);
            Ok(())
        });
        assert_eq!(scanned.unwrap().records, all.len() as u64);
        all
    }

    fn end(self) -> SimFs {
        let sim = self.sim.clone();
        std::mem::forget(self.log);
        sim
    }

    fn files(&self) -> Vec<u32> {
        segment_files(&self.sim)
    }

    fn numbers(&self) -> Vec<u32> {
        self.log.segments().0.iter().map(|segment| segment.id().0).collect()
    }
}

/// The numbers of all segment files.
fn segment_files(sim: &SimFs) -> Vec<u32> {
    let names = sim.files().into_iter().map(|(path, _)| path.file_name().unwrap().to_owned());
    names.filter_map(|name| name.to_str()?.strip_suffix(".seg")?.parse().ok()).collect()
}

/// The keys of rows in their order, each of which says of itself what its record does.
fn keys_of(segment: &Arc<Segment>, rows: &Rows) -> Vec<String> {
    let mut keys = Vec::new();
    for mut cursor in rows.cursors(NamespaceId(0), b"", Direction::Forward).unwrap() {
        while let Some((_, key)) = cursor.key() {
            let key = String::from_utf8(key.to_vec()).unwrap();
            let meta = rows.meta(cursor.ordinal()).unwrap();
            let at = Location { segment: segment.id(), offset: meta.offset, len: meta.len };
            let buf = segment.read(at).unwrap();
            let record = buf.record().unwrap();
            assert_eq!((record.key, record.seq), (key.as_bytes(), meta.seq));
            assert_eq!(rows.ordinal_of(meta.offset).unwrap(), Some(cursor.ordinal()));
            keys.push(key);
            cursor.next().unwrap();
        }
    }
    keys
}

#[test]
fn outputs_are_read_as_they_were_written_now_and_after_an_opening() {
    for at_once in [1, 4, 100] {
        let store = Store::new();
        let before = store.scanned();
        let active = store.put("last", 10, Durability::Synced);
        let sealed = store.sealed();
        let (compaction, mut outputs) = store.copy(&sealed, at_once, &[]).unwrap();
        let rows: usize = outputs.iter().map(|output| output.rows().len() as usize).sum();
        assert_eq!(rows, sealed.iter().map(|segment| usize::try_from(segment.records()).unwrap()).sum());
        assert_eq!(outputs.len(), rows.div_ceil(at_once));
        let keys: Vec<_> =
            outputs.iter().flat_map(|output| keys_of(output.segment(), output.rows())).collect();
        assert!(keys.is_sorted());
        assert!(outputs.iter().all(|output| output.segment().is_compacted()));
        store.log.install(&compaction, &mut outputs, store.log.published_seq()).unwrap();
        drop(outputs);
        let mut after = before;
        after.insert(active.first_seq, "last".to_owned());
        assert_eq!(store.scanned(), after);
        // Nobody holds the inputs but this test.
        drop(sealed);
        store.log.retire(compaction, Vec::new());
        store.log.remove_retired(false).unwrap();
        assert_eq!(store.files(), store.numbers());

        let store = Store::open(&store.end().power_cut(CrashMode::DropAll, 1), 2);
        assert!(store.log.recovered().warnings.is_empty());
        assert_eq!(store.scanned(), after);
        let opened: Vec<_> =
            store.shown.sealed.iter().flat_map(|one| keys_of(&one.segment, &one.rows)).collect();
        assert_eq!(opened, keys);
        assert_eq!(store.shown.replayed.last().unwrap(), "last");
        assert!(
            store.shown.sealed.iter().all(|one| one.segment.is_compacted() && one.rows.memtable().is_none())
        );
    }
}

/// Its rows are made from its frames where its footer is damaged.
#[test]
fn the_frames_of_an_output_give_its_rows_again() {
    let store = Store::new();
    store.compact(&store.sealed(), 100).unwrap();
    let output = store.sealed().pop().unwrap();
    let after = store.scanned();
    let keys: Vec<String> = after.values().filter(|key| *key != "last").cloned().collect();
    let rebuilt = Rows::rebuild(&output).unwrap();
    assert_eq!(keys_of(&output, &rebuilt), keys[..rebuilt.len() as usize]);
    let (id, file_len) = (output.id().0, output.extent().unwrap().file_len);
    drop(output);
    let sim = store.end().power_cut(CrashMode::DropAll, 1);
    sim.flip_byte(segment(id), u64::from(file_len) - 1, 1).unwrap();
    let store = Store::open(&sim, 2);
    assert_eq!(store.log.recovered().warnings.len(), 1);
    let opened = &store.shown.sealed[0];
    assert!(opened.rows.memtable().is_some());
    assert_eq!(keys_of(&opened.segment, &opened.rows), keys_of(&opened.segment, &rebuilt));
}

#[test]
fn only_sealed_segments_of_this_store_are_replaced_and_no_more_numbers_used_than_were_asked_for() {
    let store = Store::new();
    let sealed = store.sealed();
    let (segments, active, _) = store.log.segments();
    let active = segments.iter().find(|segment| Some(segment.id()) == active).unwrap();
    let other = Store::new();
    other.compact(&other.sealed(), 100).unwrap();
    for refused in [active, &other.sealed()[0]] {
        let error = store.log.begin_compaction(&[Arc::clone(refused)], 1).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
    let mut compaction = store.log.begin_compaction(&sealed, 1).unwrap();
    let mut output = store.log.begin_output(&mut compaction).unwrap();
    let error = store.log.begin_output(&mut compaction).unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Limit), "{error}");
    // Out of order.
    let rows = store.rows.of(sealed[0].id());
    let mut push = |ordinal| {
        let meta = rows.meta(Ordinal(ordinal)).unwrap();
        let at = Location { segment: sealed[0].id(), offset: meta.offset, len: meta.len };
        sealed[0].with_source(at, |source| output.push(source).map(|_| ()))
    };
    push(1).unwrap();
    assert_eq!(push(0).unwrap_err().kind(), ErrorKind::InvalidInput);
    drop(output);
    assert_eq!(store.files(), store.numbers());
    // Those that were replaced once are not replaced again.
    store.compact(&sealed, 100).unwrap();
    assert_eq!(store.log.begin_compaction(&sealed, 1).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn a_compaction_that_is_given_up_leaves_no_file() {
    let store = Store::new();
    let before = (store.numbers(), store.scanned());
    let sealed = store.sealed();
    drop(store.copy(&sealed, 2, &[]).unwrap());
    assert_eq!((store.files(), store.scanned()), before);
    // Its numbers are not given again.
    let compaction = store.compact(&sealed, 100).unwrap();
    drop((compaction, sealed));
    assert!(store.numbers().iter().max() > before.0.iter().max());
}

#[test]
fn a_manifest_knows_the_numbers_of_outputs_before_their_files_have_frames() {
    let store = Store::new();
    let sealed = store.sealed();
    let (_compaction, outputs) = store.copy(&sealed, 2, &[]).unwrap();
    let highest = outputs.iter().map(|output| output.segment().id()).max().unwrap();
    let stored = Manifest::decode(&store.sim.read_file(manifest()).unwrap()).unwrap();
    assert!(stored.next_segment > highest);
}

/// All bytes of it, and its name.
#[test]
fn an_output_is_durable_when_it_is_installed() {
    for mode in CrashMode::ALL {
        let store = Store::new();
        store.compact(&store.sealed(), 3).unwrap();
        let after = store.scanned();
        let store = Store::open(&store.end().power_cut(mode, 3), 2);
        assert!(store.log.recovered().warnings.is_empty(), "{:?}", store.log.recovered().warnings);
        assert_eq!(store.scanned(), after);
    }
}

/// The record that is left out was displaced by one that is not durable.
#[test]
fn what_has_displaced_a_record_is_durable_before_the_record_goes() {
    let store = Store::new();
    let sealed = store.sealed();
    let displaced_by = store.put("k00", 7, Durability::Buffered).last_seq();
    let (compaction, mut outputs) = store.copy(&sealed, 100, &["k00"]).unwrap();
    store.log.install(&compaction, &mut outputs, displaced_by).unwrap();
    drop(outputs);
    let store = Store::open(&store.end().power_cut(CrashMode::DropAll, 1), 2);
    assert_eq!(store.scanned().values().filter(|key| *key == "k00").count(), 1);
}

#[test]
fn the_file_of_a_replaced_segment_goes_when_nobody_holds_it() {
    let store = Store::new();
    let sealed = store.sealed();
    let (held, id) = (Arc::clone(&sealed[1]), sealed[1].id().0);
    let compaction = store.compact(&sealed, 100).unwrap();
    drop(sealed);
    let bytes = compaction.bytes();
    store.log.retire(compaction, Vec::new());
    assert_eq!(store.log.retired(), (bytes, 3));
    store.log.remove_retired(false).unwrap();
    assert!(store.files().contains(&id), "a file went that is held");
    assert_eq!(store.log.retired(), (u64::from(held.extent().unwrap().file_len), 1));
    drop(held);
    store.log.remove_retired(false).unwrap();
    assert_eq!(store.log.retired(), (0, 0));
    assert_eq!(store.files(), store.numbers());
    // What was removed does not come back with an old directory.
    let store = Store::open(&store.end().power_cut(CrashMode::DropAll, 1), 2);
    assert_eq!(store.files(), store.numbers());
}

#[test]
fn at_a_close_all_replaced_files_go() {
    let store = Store::new();
    let held = store.sealed();
    let compaction = store.compact(&held, 100).unwrap();
    store.log.retire(compaction, Vec::new());
    store.log.close().unwrap();
    assert_eq!(store.files(), store.numbers());
}

/// They have the numbers of the groups that they go with.
#[test]
fn blobs_wait_for_segments_that_were_replaced_before() {
    let store = Store::new();
    let held = store.sealed();
    let blob = |n| blob_path(Path::new(DIR), BlobId([n; 16]));
    for n in [1, 2] {
        store.sim.write_file(blob(n), b"content").unwrap();
    }
    let is_there = |n| store.sim.read_file(blob(n)).is_ok();
    let compaction = store.compact(&held, 100).unwrap();
    store.log.retire(compaction, vec![BlobId([1; 16])]);
    // An older record may name it, too, in a segment that is held.
    let compaction = store.compact(&store.sealed(), 100).unwrap();
    store.log.retire(compaction, vec![BlobId([2; 16])]);
    store.log.remove_retired(false).unwrap();
    assert_eq!(store.log.retired().1, 3);
    assert!(is_there(1) && is_there(2));
    drop(held);
    store.log.remove_retired(false).unwrap();
    assert!(!is_there(1) && !is_there(2));
}

#[test]
fn a_file_that_cannot_be_removed_is_tried_again() {
    let store = Store::new();
    let compaction = store.compact(&store.sealed(), 100).unwrap();
    store.log.retire(compaction, Vec::new());
    store.sim.inject(Fault::at(CallKind::Remove, 2, FaultKind::Eio).on(".seg"));
    assert_eq!(store.log.remove_retired(false).unwrap_err().kind(), ErrorKind::Io);
    assert!(store.log.retired().1 > 0);
    store.log.remove_retired(false).unwrap();
    assert_eq!(store.files(), store.numbers());
}

/// The new manifest may be the one on the disk, or the old one: until another is stored, the files of both stay.
#[test]
fn outputs_stay_while_it_is_not_known_whether_a_manifest_names_them() {
    for (call, is_renamed) in [(CallKind::Rename, false), (CallKind::SyncDir, true)] {
        let store = Store::new();
        let (before, sealed) = (store.scanned(), store.sealed());
        let (compaction, mut outputs) = store.copy(&sealed, 4, &[]).unwrap();
        let made: Vec<u32> = outputs.iter().map(|output| output.segment().id().0).collect();
        // The directory is synced for the outputs' names first.
        let nth = if is_renamed { 2 } else { 1 };
        store.sim.inject(Fault::at(call, nth, FaultKind::Eio));
        let failed = store.log.install(&compaction, &mut outputs, store.log.published_seq());
        assert_eq!(failed.unwrap_err().kind(), ErrorKind::Io);
        drop((compaction, outputs));
        assert!(made.iter().all(|id| store.files().contains(id)), "{call:?}");
        assert_eq!(store.scanned(), before, "the inputs are in force");
        for (mode, seed) in [(CrashMode::DropAll, 1), (CrashMode::KeepAll, 1), (CrashMode::Reordered, 2)] {
            let copy = store.sim.power_cut(mode, seed);
            let opened = Store::open(&copy, 2);
            assert_eq!(opened.scanned(), before, "{call:?} {mode:?}");
            assert_eq!(opened.files(), opened.numbers());
        }
    }
}

#[test]
fn undecided_outputs_go_with_the_next_manifest() {
    for (call, nth) in [(CallKind::Rename, 1), (CallKind::SyncDir, 2)] {
        let store = Store::new();
        let (before, sealed) = (store.scanned(), store.sealed());
        let (compaction, mut outputs) = store.copy(&sealed, 4, &[]).unwrap();
        store.sim.inject(Fault::at(call, nth, FaultKind::Eio));
        assert!(store.log.install(&compaction, &mut outputs, store.log.published_seq()).is_err());
        drop((compaction, outputs));
        assert!(store.files().len() > store.numbers().len());
        let compaction = store.compact(&sealed, 100).unwrap();
        drop(sealed);
        store.log.retire(compaction, Vec::new());
        store.log.remove_retired(false).unwrap();
        assert_eq!((store.files(), store.scanned()), (store.numbers(), before));
    }
}

/// The store is as before, whatever call fails; another compaction succeeds, and an opening finds nothing to remove.
#[test]
fn every_call_of_a_compaction_fails_once() {
    for kind in [FaultKind::Eio, FaultKind::NoSpace, FaultKind::ShortThenNoSpace, FaultKind::SyncLost] {
        for nth in 1.. {
            let store = Store::new();
            let (before, sealed) = (store.scanned(), store.sealed());
            store.sim.inject(Fault::any(nth, kind));
            let compacted = store.compact(&sealed, 4);
            let has_shown = store.sim.clear_faults() == 0;
            let case = format!("{kind:?} at call {nth}");
            match compacted {
                Ok(compaction) => store.log.retire(compaction, Vec::new()),
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace), "{case}: {error}");
                    let again = store.compact(&sealed, 4).unwrap_or_else(|e| panic!("{case}: {e}"));
                    store.log.retire(again, Vec::new());
                }
            }
            drop(sealed);
            store.log.remove_retired(false).unwrap();
            assert_eq!((store.files(), store.scanned()), (store.numbers(), before.clone()), "{case}");
            for left in [store.sim.power_cut(CrashMode::DropAll, 1), store.end().process_kill()] {
                let opened = Store::open(&left, 2);
                assert_eq!((opened.files(), opened.scanned()), (opened.numbers(), before.clone()), "{case}");
            }
            if !has_shown {
                assert!(nth > 5, "{kind:?}: only {nth} calls");
                break;
            }
        }
    }
}
