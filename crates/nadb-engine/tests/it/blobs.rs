//! Large values: in files of their own, as streams, and without a trace where they were not committed.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{
    Action, Condition, Durability, ErrorKind, ExpiryUpdate, ManualClock, Merge, Operation, Put,
    SeededEntropy, ValueReader, ValueWriter, WriteOptions,
};
use nadb_engine::{Engine, Options};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, Fs, RealFs, SimFs};

const DIR: &str = "/store";
/// Values above this become blobs here.
const ABOVE: usize = 1000;

fn disk() -> SimFs {
    let disk = SimFs::new(1);
    disk.create_dir_all(Path::new("/")).unwrap();
    disk
}

fn open(disk: &SimFs) -> Engine {
    Engine::open(Arc::new(disk.clone()), Path::new(DIR), options(disk.calls())).unwrap()
}

fn options(seed: u64) -> Options {
    let mut options = Options::default();
    options.memtable_size = 4 << 10;
    options.blob_above = Some(ABOVE as u64);
    options.background = false;
    options.clock = Arc::new(ManualClock::new(1_700_000_000_000));
    options.entropy = Arc::new(SeededEntropy::new(seed));
    options
}

fn put(key: &str, value: Vec<u8>) -> Operation<'static> {
    Operation::new("n", key.as_bytes().to_vec(), Action::Put(Put::new(value)))
}

fn set(engine: &Engine, key: &str, value: &[u8]) {
    engine.write(&[put(key, value.to_vec())], None).unwrap();
}

fn get(engine: &Engine, key: &str) -> Option<Vec<u8>> {
    engine.get("n", key.as_bytes()).unwrap().map(|value| value.to_vec())
}

fn blobs(disk: &SimFs) -> usize {
    let entries = disk.list(Path::new(DIR)).unwrap();
    entries.iter().filter(|entry| entry.name.ends_with(".blob")).count()
}

fn large(seed: u8) -> Vec<u8> {
    (0..200_000u32).map(|n| (n / 7).to_le_bytes()[0] ^ seed).collect()
}

#[test]
fn large_values_come_back_through_every_read_and_every_opening() {
    let disk = disk();
    let engine = open(&disk);
    set(&engine, "small", &[1; ABOVE]);
    assert_eq!(blobs(&disk), 0);
    set(&engine, "large", &large(1));
    engine.write(&[put("a", large(2)), put("b", b"b".to_vec()), put("c", large(3))], None).unwrap();
    assert_eq!(blobs(&disk), 3);
    for round in 0..4 {
        let engine = if round == 0 { engine.clone() } else { open(&disk) };
        assert_eq!(get(&engine, "large").unwrap(), large(1));
        assert_eq!(get(&engine, "c").unwrap(), large(3));
        let entry = engine.get_entry("n", b"a").unwrap().unwrap();
        assert_eq!((entry.value.to_vec(), entry.metadata.size), (large(2), 200_000));
        let all = engine.scan("n", (Bound::Unbounded, Bound::Unbounded)).unwrap();
        let lens: Vec<_> = all.map(|entry| entry.unwrap().value.len()).collect();
        assert_eq!(lens, [200_000, 1, 200_000, 200_000, ABOVE]);
        // Sealed from the second round on.
        (0..200).for_each(|n| set(&engine, "filler", &[n; 50]));
        engine.maintain().unwrap();
        engine.write(&[Operation::new("n", b"filler".as_slice(), Action::Delete)], None).unwrap();
        engine.verify().unwrap();
        engine.close().unwrap();
    }
    assert_eq!(blobs(&disk), 3);
}

#[test]
fn a_write_that_is_not_done_leaves_no_blob() {
    let disk = disk();
    let engine = open(&disk);
    set(&engine, "there", b"1");
    let refused = engine.write(&[put("there", large(1)).when(Condition::IfAbsent)], None).unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::PreconditionFailed { .. }));
    assert_eq!(blobs(&disk), 0);
    let mut past = Put::new(large(1));
    past.expiry = ExpiryUpdate::AtMs(1);
    engine.write(&[Operation::new("n", b"there".as_slice(), Action::Put(past))], None).unwrap();
    assert_eq!((blobs(&disk), get(&engine, "there")), (0, None));
    // Of a batch, what another operation refuses takes the blobs of all with it.
    let batch = [put("x", large(1)), put("y", large(2)).when(Condition::IfPresent)];
    assert!(engine.write(&batch, None).is_err());
    assert_eq!(blobs(&disk), 0);
}

#[test]
fn a_merge_takes_a_blob_for_its_value() {
    let disk = disk();
    let engine = open(&disk);
    set(&engine, "log", &large(1));
    let merge = Action::Merge(Merge::new(Arc::new(nadb_core::Append), b"end".as_slice()));
    engine.write(&[Operation::new("n", b"log".as_slice(), merge)], None).unwrap();
    assert_eq!(get(&engine, "log").unwrap(), [&large(1)[..], b"end"].concat());
}

#[test]
fn streams_write_and_read_by_pieces() {
    let disk = disk();
    let engine = open(&disk);
    for len in [0, 1, ABOVE, ABOVE + 1, 65_536, 200_000] {
        let value = &large(9)[..len];
        let mut writer = Box::new(engine.writer(put("k", Vec::new()), &WriteOptions::default()).unwrap());
        for piece in value.chunks(777) {
            writer.write(piece).unwrap();
        }
        assert_eq!(writer.len(), len as u64);
        let outcome = writer.commit().unwrap();
        assert!(outcome.exists);
        assert_eq!(get(&engine, "k").unwrap(), value);
        let mut reader = engine.reader("n", b"k").unwrap().unwrap();
        assert_eq!(reader.metadata().size, len as u64);
        // The reader has the value of its moment.
        set(&engine, "k", b"other");
        let mut read = Vec::new();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, value);
        reader.seek(SeekFrom::Start(len as u64 / 2)).unwrap();
        read.clear();
        reader.read_to_end(&mut read).unwrap();
        assert_eq!(read, &value[len / 2..]);
    }
    assert!(engine.reader("n", b"absent").unwrap().is_none());
}

#[test]
fn a_stream_that_is_dropped_leaves_nothing() {
    let disk = disk();
    let engine = open(&disk);
    let mut writer = engine.writer(put("k", Vec::new()), &WriteOptions::default()).unwrap();
    writer.write(&large(1)).unwrap();
    assert_eq!(blobs(&disk), 1);
    drop(writer);
    assert_eq!((blobs(&disk), get(&engine, "k")), (0, None));
}

/// The bytes are never looked at, so that those behind them are never there.
#[test]
fn a_stream_ends_one_byte_behind_the_limit() {
    let disk = disk();
    let engine = open(&disk);
    set(&engine, "k", b"old");
    let most = usize::try_from(nadb_core::limits::BLOB_BYTES_MAX).unwrap();
    let zeros = vec![0; most + 1];
    for begun in [0, 1, ABOVE, ABOVE + 1, 3 << 20] {
        let mut writer = Box::new(engine.writer(put("k", Vec::new()), &WriteOptions::default()).unwrap());
        writer.write(&large(1).repeat(16)[..begun]).unwrap();
        for _ in 0..2 {
            let error = writer.write(&zeros[..most + 1 - begun]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Limit);
            let message = format!("value has {} bytes, the limit is {most} bytes", most + 1);
            assert!(error.to_string().contains(&message), "{error}");
        }
        assert_eq!(blobs(&disk), 0, "its file is gone at once");
        assert_eq!(writer.write(b"").unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::Limit);
        assert_eq!(get(&engine, "k").unwrap(), b"old");
    }
}

#[test]
fn a_crash_at_any_call_keeps_the_value_whole_or_leaves_no_trace() {
    let golden = disk();
    set(&open(&golden), "k", b"old");
    let before = golden.process_kill();
    let calls = {
        let disk = before.process_kill();
        let engine = open(&disk);
        let opened = disk.mutations();
        engine.write(&[put("k", large(1))], Some(Durability::Synced)).unwrap();
        disk.mutations() - opened
    };
    assert!(calls > 4);
    for at in 1..=calls + 1 {
        for mode in CrashMode::ALL {
            let disk = before.process_kill();
            let engine = open(&disk);
            disk.crash_at_mutation(at);
            let written = engine.write(&[put("k", large(1))], Some(Durability::Synced));
            let image = disk.power_cut(mode, at);
            drop(engine);
            let engine = open(&image);
            let value = get(&engine, "k").unwrap();
            assert!(value == large(1) || (written.is_err() && value == b"old"), "call {at}, {mode:?}");
            let expected = usize::from(value != b"old");
            assert_eq!(blobs(&image), expected, "call {at}, {mode:?}: what nothing names is gone");
            engine.verify().unwrap();
        }
    }
}

#[test]
fn a_failing_call_leaves_no_blob_or_a_poisoned_store() {
    for kind in [CallKind::Write, CallKind::SyncAll, CallKind::SyncDir, CallKind::Create] {
        for nth in 1..=3 {
            let disk = disk();
            let engine = open(&disk);
            set(&engine, "k", b"old");
            disk.inject(Fault::at(kind, nth, FaultKind::Eio));
            let written = engine.write(&[put("k", large(1))], None);
            disk.clear_faults();
            match written {
                Ok(_) => assert_eq!((get(&engine, "k").unwrap(), blobs(&disk)), (large(1), 1)),
                Err(error) => {
                    assert_eq!(get(&engine, "k").unwrap(), b"old", "{kind:?} {nth}: {error}");
                    let is_unknown = error.kind() == ErrorKind::Poisoned;
                    assert!(is_unknown || blobs(&disk) == 0, "{kind:?} {nth}: {error}");
                }
            }
        }
    }
}

/// The frame is in the file though its write failed, and it cannot be cut off: nobody knows what the next opening finds.
#[test]
fn a_blob_stays_where_its_record_may_be_there() {
    let (mut refused, mut kept) = (0, 0);
    for seed in 0..300 {
        let disk = SimFs::new(seed);
        disk.create_dir_all(Path::new("/")).unwrap();
        let engine = open(&disk);
        set(&engine, "k", b"old");
        disk.inject(Fault::at(CallKind::Write, 1, FaultKind::Eio).on(".seg"));
        disk.inject(Fault::at(CallKind::SetLen, 1, FaultKind::Eio).on(".seg"));
        let error = engine.write(&[put("k", large(1))], None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned);
        let left = disk.process_kill();
        drop(engine);
        let engine = open(&left);
        let value = get(&engine, "k").unwrap();
        if value == large(1) {
            kept += 1
        } else {
            refused += 1
        }
        assert!(value == large(1) || value == b"old");
        assert_eq!(blobs(&left), usize::from(value != b"old"));
    }
    assert!(kept > 0 && refused > 0, "{kept}, {refused}");
}

#[test]
fn a_blob_that_a_record_names_outlives_openings() {
    let disk = disk();
    let engine = open(&disk);
    set(&engine, "k", &large(1));
    engine.close().unwrap();
    assert_eq!(get(&open(&disk), "k").unwrap(), large(1));
}

/// Trap 4: neither what is written later nor the end of the store takes away what a reader holds.
#[test]
fn a_reader_of_a_blob_goes_on_after_overwrite_drop_and_close() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Engine::open(Arc::new(RealFs), dir.path(), options(1)).unwrap();
    let engine = open();
    set(&engine, "k", &large(1));
    let value = engine.get("n", b"k").unwrap().unwrap();
    let mut reader = engine.reader("n", b"k").unwrap().unwrap();
    let mut part = vec![0; 1000];
    reader.read_exact(&mut part).unwrap();
    set(&engine, "k", b"other");
    assert!(engine.drop_namespace("n").unwrap());
    (0..40).for_each(|n| set(&engine, "filler", &[n; 200]));
    engine.maintain().unwrap();
    reader.seek(SeekFrom::Start(150_000)).unwrap();
    reader.read_exact(&mut part).unwrap();
    assert_eq!(part, large(1)[150_000..151_000]);
    engine.close().unwrap();
    // The next process; then the files are gone.
    drop((open(), engine));
    let mut rest = Vec::new();
    reader.seek(SeekFrom::Start(0)).unwrap();
    reader.by_ref().take(100_000).read_to_end(&mut rest).unwrap();
    dir.close().unwrap();
    reader.read_to_end(&mut rest).unwrap();
    assert!(rest == large(1) && value == large(1));
}

#[test]
fn damage_in_a_blob_is_an_error_of_its_value_alone() {
    let disk = disk();
    let engine = open(&disk);
    set(&engine, "large", &large(1));
    set(&engine, "other", b"1");
    engine.verify().unwrap();
    let (path, _) =
        disk.files().into_iter().find(|(path, _)| path.extension().is_some_and(|e| e == "blob")).unwrap();
    disk.flip_byte(&path, 100_000, 1).unwrap();
    for error in [engine.get("n", b"large").map(drop).unwrap_err(), engine.verify().map(drop).unwrap_err()] {
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(error.path().unwrap(), path);
    }
    let mut reader = engine.reader("n", b"large").unwrap().unwrap();
    let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
    assert!(error.get_ref().unwrap().is::<nadb_core::Error>(), "{error}");
    assert_eq!(get(&engine, "other").unwrap(), b"1");
    // What is gone altogether is told from a key that is absent.
    disk.remove(&path).unwrap();
    assert_eq!(engine.get("n", b"large").unwrap_err().kind(), ErrorKind::Corruption);
    assert_eq!(engine.metadata("n", b"large").unwrap().unwrap().size, 200_000);
}
