//! Blobs through their public face: what goes in comes out, and what a crash, a fault or damage leaves is never wrong.

use std::io::{BufRead, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{BlobId, ErrorKind, Result, StoreId};
use nadb_log::{
    BLOB_BLOCK_BYTES, BlobReader, BlobStream, BlobWriter, FinishedBlob, blob_path, list_blobs, remove_blob,
};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, Fs, SimFs};
use proptest::collection::vec;
use proptest::prelude::*;

const DIR: &str = "/db";
const ID: BlobId = BlobId([0xB0; 16]);
const STORE: StoreId = StoreId([0xA0; 16]);
const BLOCK: u32 = 4 << 10;
/// Bytes of a value that is written with three calls: the writer writes 1 MiB at a time.
const LONG: usize = (2 << 20) + 3 * BLOCK as usize + 7;

/// A disk with a durable, empty directory.
fn disk() -> SimFs {
    let sim = SimFs::new(1);
    sim.create_dir_all(dir()).unwrap();
    sim.sync_dir(Path::new("/")).unwrap();
    sim
}

fn dir() -> &'static Path {
    Path::new(DIR)
}

fn path() -> PathBuf {
    blob_path(dir(), ID)
}

fn value(len: usize) -> Vec<u8> {
    (0..len as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

/// Writes a value in pieces of these sizes, over and over.
fn write(sim: &SimFs, block: u32, value: &[u8], sizes: &[usize]) -> Result<FinishedBlob> {
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let mut writer = BlobWriter::create_with(&fs, dir(), ID, STORE, block)?;
    let (mut rest, mut sizes) = (value, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, later) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        writer.write(piece)?;
        rest = later;
        assert_eq!(writer.len(), (value.len() - rest.len()) as u64);
    }
    writer.finish()
}

fn open(sim: &SimFs, len: usize) -> Result<BlobReader> {
    BlobReader::open(sim, dir(), ID, STORE, len as u64)
}

fn blobs(sim: &SimFs) -> Vec<BlobId> {
    list_blobs(&sim.list(dir()).unwrap())
}

fn check_round_trip(block: u32, value: &[u8], sizes: &[usize]) {
    let sim = disk();
    assert_eq!(write(&sim, block, value, sizes).unwrap(), FinishedBlob { id: ID, len: value.len() as u64 });
    let reader = open(&sim, value.len()).unwrap();
    assert_eq!((reader.len(), reader.id(), reader.block_bytes()), (value.len() as u64, ID, block));
    reader.verify().unwrap();
    assert_eq!(reader.read_all().unwrap(), value);
    let mut streamed = Vec::new();
    BlobStream::new(reader).read_to_end(&mut streamed).unwrap();
    assert_eq!(streamed, value);
    assert_eq!(blobs(&sim), [ID]);
}

#[test]
fn values_of_all_lengths_round_trip() {
    for block in [BLOCK, BLOB_BLOCK_BYTES, 1 << 20] {
        let size = block as usize;
        for len in [0, 1, size - 1, size, size + 1, 3 * size + 7] {
            check_round_trip(block, &value(len), &[1000]);
            check_round_trip(block, &value(len), &[usize::MAX]);
        }
    }
    check_round_trip(BLOCK, &value(LONG), &[1, 5 << 20]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn pieces_of_any_size_make_the_same_value(len in 0..16_000usize, sizes in vec(1..9000usize, 1..8)) {
        check_round_trip(BLOCK, &value(len), &sizes);
    }

    #[test]
    fn reads_at_any_place_give_the_values_bytes(
        len in 0..16_000usize,
        reads in vec((0..18_000usize, 0..10_000usize), 1..12),
    ) {
        let (sim, value) = (disk(), value(len));
        write(&sim, BLOCK, &value, &[usize::MAX]).unwrap();
        let reader = Arc::new(open(&sim, len).unwrap());
        let mut stream = BlobStream::new(Arc::clone(&reader));
        for (at, wanted) in reads {
            let expected = &value[at.min(len)..(at + wanted).min(len)];
            let mut buf = vec![0xEE; wanted];
            let taken = reader.read_at(at as u64, &mut buf).unwrap();
            prop_assert_eq!(&buf[..taken], expected);
            prop_assert!(buf[taken..].iter().all(|&byte| byte == 0xEE));
            prop_assert_eq!(stream.seek(SeekFrom::Start(at as u64)).unwrap(), at as u64);
            let mut streamed = Vec::new();
            stream.by_ref().take(wanted as u64).read_to_end(&mut streamed).unwrap();
            prop_assert_eq!(streamed, expected);
            prop_assert_eq!(stream.stream_position().unwrap(), (at + expected.len()) as u64);
        }
    }
}

#[test]
fn streams_seek_from_all_sides_and_read_lines() {
    let sim = disk();
    let text: String = (0..2000).map(|n| format!("line {n}\n")).collect();
    write(&sim, BLOCK, text.as_bytes(), &[usize::MAX]).unwrap();
    let mut stream = BlobStream::new(open(&sim, text.len()).unwrap());
    assert_eq!(stream.seek(SeekFrom::End(-10)).unwrap(), text.len() as u64 - 10);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "line 1999\n");
    assert_eq!(stream.seek(SeekFrom::Current(5)).unwrap(), text.len() as u64 + 5);
    assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0, "behind the end");
    for before in [SeekFrom::Current(-(1 << 40)), SeekFrom::End(i64::MIN)] {
        assert_eq!(stream.seek(before).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    }
    assert_eq!(stream.seek(SeekFrom::Start(u64::MAX)).unwrap(), u64::MAX);
    assert_eq!(stream.read(&mut vec![0; 9000]).unwrap(), 0);
    stream.rewind().unwrap();
    let lines: Vec<_> = (&mut stream).lines().map(|line| line.unwrap() + "\n").collect();
    assert_eq!(lines.concat(), text);
    // One who reads on takes every block from the file once.
    sim.set_tracing(true);
    stream.rewind().unwrap();
    stream.read_exact(&mut [0; 100]).unwrap();
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    let reads = sim.trace().iter().filter(|entry| entry.call == CallKind::Read).count();
    assert_eq!(reads, text.len().div_ceil(BLOCK as usize));
}

#[test]
fn streams_and_readers_can_go_to_other_threads() {
    fn owned<T: Send + 'static>() {}
    fn shared<T: Send + Sync + 'static>() {}
    owned::<BlobWriter>();
    owned::<BlobStream>();
    shared::<BlobReader>();
}

#[test]
fn calls_are_large_but_bounded() {
    let sim = disk();
    sim.set_tracing(true);
    let value = value(5 << 20);
    write(&sim, BLOB_BLOCK_BYTES, &value, &[300_000]).unwrap();
    open(&sim, value.len()).unwrap().verify().unwrap();
    let trace = sim.trace();
    let lens = |kind| {
        let calls = trace.iter().filter(move |entry| entry.call == kind);
        calls.map(|entry| entry.len).collect::<Vec<_>>()
    };
    let tail = 4 * 80 + 12;
    assert_eq!(lens(CallKind::Write), [64, 1 << 20, 1 << 20, 1 << 20, 1 << 20, 1 << 20, tail]);
    assert_eq!(*lens(CallKind::Read).iter().max().unwrap(), u64::from(BLOB_BLOCK_BYTES));
}

#[test]
fn the_content_is_durable_before_the_name_and_both_before_finish_returns() {
    let sim = disk();
    sim.set_tracing(true);
    write(&sim, BLOCK, &value(10), &[10]).unwrap();
    let trace = sim.trace();
    let calls: Vec<_> = trace.iter().map(|entry| entry.call).collect();
    use CallKind::{Create, SyncAll, SyncDir, Write};
    assert_eq!(calls, [Create, Write, Write, Write, SyncAll, SyncDir]);
    assert_eq!((trace[4].path.clone(), trace[5].path.clone()), (path(), dir().into()));
}

/// The names are made durable here, so that this is about the content alone.
#[test]
fn the_content_of_a_finished_blob_survives_a_power_cut() {
    let sim = disk();
    let value = value(LONG);
    write(&sim, BLOCK, &value, &[usize::MAX]).unwrap();
    sim.sync_dir(dir()).unwrap();
    let left = sim.power_cut(CrashMode::DropAll, 1);
    assert!(open(&left, value.len()).unwrap().read_all().unwrap() == value);
}

#[test]
fn the_name_of_a_finished_blob_survives_a_power_cut() {
    let sim = disk();
    write(&sim, BLOCK, b"value", &[5]).unwrap();
    assert_eq!(blobs(&sim.power_cut(CrashMode::DropAll, 1)), [ID]);
}

#[test]
fn a_missing_blob_is_corruption_that_names_it() {
    let error = open(&disk(), 10).unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Corruption, Some(path().as_path())));
    assert!(error.to_string().contains("its file is missing"), "{error}");
}

#[test]
fn a_blob_that_is_there_is_never_written_over() {
    let sim = disk();
    write(&sim, BLOCK, b"first", &[5]).unwrap();
    assert_eq!(write(&sim, BLOCK, b"second", &[5]).unwrap_err().kind(), ErrorKind::Io);
    assert_eq!(open(&sim, 5).unwrap().read_all().unwrap(), b"first");
}

#[test]
fn block_sizes_that_no_blob_has_are_refused() {
    for size in [0, 1, 2048, 4097, 12 << 10, 2 << 20, u32::MAX] {
        let sim = disk();
        assert_eq!(write(&sim, size, b"", &[1]).unwrap_err().kind(), ErrorKind::InvalidInput, "{size}");
        assert_eq!(sim.files(), []);
    }
}

#[test]
fn a_writer_that_is_dropped_or_aborted_leaves_nothing() {
    let sim = disk();
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let begin = || {
        let mut writer = BlobWriter::create(&fs, dir(), ID, STORE).unwrap();
        assert!(writer.is_empty());
        writer.write(&value(3 << 20)).unwrap();
        assert_eq!(blobs(&sim), [ID]);
        writer
    };
    drop(begin());
    assert_eq!((blobs(&sim), sim.used_bytes()), (vec![], 0));
    begin().abort().unwrap();
    assert_eq!((blobs(&sim), sim.used_bytes()), (vec![], 0));
    let writer = begin();
    sim.inject(Fault::at(CallKind::Remove, 1, FaultKind::Eio));
    let error = writer.abort().unwrap_err();
    assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(path().as_path())));
    assert_eq!(blobs(&sim), [ID], "an orphan");
    remove_blob(&sim, dir(), ID).unwrap();
    remove_blob(&sim, dir(), ID).unwrap();
    assert_eq!(blobs(&sim), []);
}

#[test]
fn blobs_are_listed_by_name_and_kind() {
    let sim = disk();
    for name in ["MANIFEST", "0000000001.seg", "B0.blob", &format!("{}.blob", "0".repeat(32))] {
        sim.write_file(dir().join(name), b"x").unwrap();
    }
    sim.create_dir_all(&blob_path(dir(), BlobId([1; 16]))).unwrap();
    write(&sim, BLOCK, b"value", &[5]).unwrap();
    assert_eq!(blobs(&sim), [BlobId([0; 16]), ID]);
}

#[test]
fn every_flipped_bit_and_every_other_length_is_an_error() {
    let sim = disk();
    let value = value(2 * BLOCK as usize + 7);
    write(&sim, BLOCK, &value, &[usize::MAX]).unwrap();
    let whole = sim.read_file(path()).unwrap();
    let check = |bytes: &[u8], what: &str| {
        sim.write_file(path(), bytes).unwrap();
        let read = open(&sim, value.len()).and_then(|reader| {
            let verified = reader.verify();
            let read = reader.read_all();
            assert_eq!(verified.is_ok(), read.is_ok(), "{what}");
            read
        });
        let error = read.expect_err(what);
        assert!(matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Version), "{what}: {error}");
        assert!(error.path() == Some(path().as_path()) && error.offset().is_some(), "{what}: {error}");
    };
    let mut bytes = whole.clone();
    for at in 0..whole.len() {
        bytes[at] ^= 1 << (at % 8);
        check(&bytes, &format!("byte {at}"));
        bytes[at] = whole[at];
    }
    for len in 0..whole.len() {
        check(&whole[..len], &format!("cut to {len}"));
    }
    check(&[&whole[..], &[0]].concat(), "a byte behind the end");
    sim.write_file(path(), &whole).unwrap();
    assert_eq!(open(&sim, value.len()).unwrap().read_all().unwrap(), value);
}

#[test]
fn damage_of_one_block_leaves_the_others_readable_and_nothing_of_it() {
    let sim = disk();
    let size = BLOCK as usize;
    let value = value(4 * size);
    write(&sim, BLOCK, &value, &[usize::MAX]).unwrap();
    let reader = open(&sim, value.len()).unwrap();
    let mut bytes = sim.read_file(path()).unwrap();
    bytes[64 + 2 * size + 5] ^= 1;
    sim.write_file(path(), &bytes).unwrap();
    let mut buf = vec![0xEE; 4 * size];
    let error = reader.read_at(0, &mut buf).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Corruption, Some(64 + 2 * size as u64)));
    assert_eq!(buf[..2 * size], value[..2 * size]);
    assert!(buf[2 * size..3 * size].iter().all(|&byte| byte == 0), "no byte that does not verify");
    assert_eq!(reader.read_at(3 * size as u64, &mut buf[..size]).unwrap(), size);
    assert_eq!(buf[..size], value[3 * size..]);
    assert_eq!(reader.verify().unwrap_err().kind(), ErrorKind::Corruption);
    // Also of the parts that were read when it was opened.
    bytes[64 + 2 * size + 5] ^= 1;
    *bytes.last_mut().unwrap() ^= 1;
    sim.write_file(path(), &bytes).unwrap();
    assert_eq!(reader.verify().unwrap_err().kind(), ErrorKind::Corruption);

    let mut stream = BlobStream::new(reader);
    bytes[64 + 2 * size + 5] ^= 1;
    sim.write_file(path(), &bytes).unwrap();
    let mut read = Vec::new();
    let error = stream.read_to_end(&mut read).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    let inner = error.get_ref().unwrap().downcast_ref::<nadb_core::Error>().unwrap();
    assert_eq!(inner.kind(), ErrorKind::Corruption);
    assert_eq!(stream.stream_position().unwrap(), read.len() as u64);
    assert_eq!(read, value[..read.len()]);
}

/// What a crash left: the whole value where it was promised, and otherwise nothing that a listing does not find and nothing
/// wrong.
fn check_crash(sim: &SimFs, value: &[u8], finished: bool, context: &str) {
    match open(sim, value.len()).and_then(|reader| reader.read_all()) {
        Ok(read) => assert!(read == value, "{context}: another value"),
        Err(error) => {
            assert!(!finished, "{context}: {error}");
            assert_eq!(error.kind(), ErrorKind::Corruption, "{context}: {error}");
        }
    }
    for id in blobs(sim) {
        remove_blob(sim, dir(), id).unwrap();
    }
    sim.sync_dir(dir()).unwrap();
    assert_eq!(sim.power_cut(CrashMode::DropAll, 1).files(), [], "{context}");
}

#[test]
fn a_crash_at_any_call_keeps_the_blob_whole_or_unpromised() {
    let value = value(LONG);
    for at in 1.. {
        let sim = disk();
        sim.crash_at_mutation(at);
        let finished = write(&sim, BLOCK, &value, &[700_000]).is_ok();
        assert_eq!(finished, !sim.crashed());
        for mode in CrashMode::ALL {
            for seed in 0..3 {
                let context = format!("call {at}, {mode:?}, seed {seed}");
                check_crash(&sim.power_cut(mode, seed), &value, finished, &context);
            }
        }
        check_crash(&sim.process_kill(), &value, finished, &format!("call {at}, killed"));
        if finished {
            assert_eq!(at, 9, "create, header, three pieces, tail, two syncs");
            break;
        }
    }
}

#[test]
fn every_call_of_writing_may_fail_once() {
    let value = value(LONG);
    use FaultKind::{Eio, NoSpace, ReadOnly, ShortThenNoSpace, ShortWrite, SyncLost};
    for kind in [Eio, NoSpace, ReadOnly, ShortWrite, ShortThenNoSpace, SyncLost] {
        for nth in 1.. {
            let sim = disk();
            sim.inject(Fault::any(nth, kind));
            let written = write(&sim, BLOCK, &value, &[700_000]);
            let context = format!("{kind:?} at call {nth}");
            if sim.clear_faults() > 0 && written.is_ok() {
                break;
            }
            match written {
                Ok(_) => {
                    assert_eq!(kind, ShortWrite, "{context} went unnoticed");
                    assert_eq!(open(&sim, value.len()).unwrap().read_all().unwrap(), value);
                }
                Err(error) => {
                    let expected = match kind {
                        NoSpace | ShortThenNoSpace => ErrorKind::NoSpace,
                        ReadOnly => ErrorKind::ReadOnly,
                        _ => ErrorKind::Io,
                    };
                    assert_eq!(error.kind(), expected, "{context}: {error}");
                    assert!(error.path().is_some(), "{context}: {error}");
                    assert_eq!((blobs(&sim), sim.used_bytes()), (vec![], 0), "{context}");
                }
            }
        }
    }
}

#[test]
fn a_full_disk_gives_its_room_back_at_once() {
    let sim = disk();
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    sim.set_capacity(Some(2 << 20));
    let mut writer = BlobWriter::create(&fs, dir(), ID, STORE).unwrap();
    assert_eq!(writer.write(&value(3 << 20)).unwrap_err().kind(), ErrorKind::NoSpace);
    // The writer is still there, its file and the file's room are not.
    assert_eq!((blobs(&sim), sim.used_bytes()), (vec![], 0));
    assert_eq!(writer.write(b"more").unwrap_err().kind(), ErrorKind::NoSpace);
    assert_eq!(writer.finish().unwrap_err().kind(), ErrorKind::NoSpace);
    write(&sim, BLOCK, &value(1 << 20), &[usize::MAX]).unwrap();
}

#[test]
fn an_unfinished_file_that_cannot_be_removed_is_named() {
    let sim = disk();
    let fs: Arc<dyn Fs> = Arc::new(sim.clone());
    let mut writer = BlobWriter::create(&fs, dir(), ID, STORE).unwrap();
    sim.inject(Fault::at(CallKind::Write, 1, FaultKind::NoSpace));
    sim.inject(Fault::at(CallKind::Remove, 1, FaultKind::Eio));
    let error = writer.write(&value(1 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(error.to_string().starts_with("the unfinished blob stays: removing a blob failed"), "{error}");
    assert_eq!(blobs(&sim), [ID]);
    writer.abort().unwrap();
    assert_eq!(blobs(&sim), []);
}

#[test]
fn every_call_of_reading_may_fail_once() {
    let sim = disk();
    let value = value(3 * BLOCK as usize);
    write(&sim, BLOCK, &value, &[usize::MAX]).unwrap();
    for nth in 1.. {
        sim.inject(Fault::any(nth, FaultKind::Eio));
        let read = open(&sim, value.len()).and_then(|reader| {
            reader.verify()?;
            reader.read_all()
        });
        if sim.clear_faults() > 0 {
            assert_eq!(read.unwrap(), value);
            break;
        }
        let error = read.expect_err("a device error is no end");
        assert_eq!((error.kind(), error.path()), (ErrorKind::Io, Some(path().as_path())), "call {nth}");
    }
}

#[test]
fn a_reader_goes_on_when_the_blob_is_removed() {
    let sim = disk();
    let value = value(3 * BLOCK as usize);
    write(&sim, BLOCK, &value, &[usize::MAX]).unwrap();
    let reader = open(&sim, value.len()).unwrap();
    remove_blob(&sim, dir(), ID).unwrap();
    assert_eq!(reader.read_all().unwrap(), value);
    assert_eq!(open(&sim, value.len()).unwrap_err().kind(), ErrorKind::Corruption);
}
