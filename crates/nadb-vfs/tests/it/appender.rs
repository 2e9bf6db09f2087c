//! Appending through memory, on a real disk and on the simulated one.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use nadb_vfs::{Appender, CallKind, CrashMode, Fault, FaultKind, File, Fs, MemFs, RealFs, SimFs};

const LEN: u64 = 256 << 10;

fn sim() -> SimFs {
    let fs = SimFs::new(1);
    fs.set_appenders(true);
    fs
}

/// The file system on which tests keep their files may be one that keeps no reservations.
fn real(dir: &Path) -> Option<(Arc<dyn File>, Box<dyn Appender>)> {
    let file = RealFs.create_new(&dir.join("f")).unwrap();
    let appender = file.appender(0, LEN).unwrap();
    Some((file, appender?))
}

fn content(file: &dyn File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn check_appends(file: &dyn File, mut appender: Box<dyn Appender>) {
    assert_eq!((appender.end(), appender.room().reserved()), (0, 0));
    assert!(!appender.append(b"x"), "no room is reserved yet");
    assert!(appender.append(b""));
    assert_eq!(appender.room().reserve(100).unwrap(), 100);
    assert!(appender.append(b"hello, "));
    assert!(!appender.append(&[1; 94]), "one byte more than there is room for");
    assert_eq!(appender.end(), 7);
    assert!(appender.append(&[b'w'; 93]));
    assert_eq!((appender.end(), file.len().unwrap()), (100, 100));
    let room = appender.room();
    assert_eq!(room.reserve(50).unwrap(), 100);
    room.allocate(LEN + 7).unwrap();
    assert_eq!((file.len().unwrap(), room.reserved()), (LEN, 100));
    assert!(!appender.append(b"x"), "blocks are reserved, and no pages ready");
    assert_eq!(room.reserve(LEN + 7).unwrap(), LEN);
    // A positioned write goes between, and the appender goes on behind it.
    file.write_all_at(b"written", 100).unwrap();
    appender.skip_to(107);
    appender.skip_to(3);
    assert!(appender.append(b"!"));
    let bytes = content(file);
    assert_eq!(bytes.len() as u64, LEN);
    assert!(bytes.starts_with(b"hello, www") && bytes[100..].starts_with(b"written!\0"));
    assert!(bytes[108..].iter().all(|byte| *byte == 0));
    appender.stop();
    assert!(!appender.append(b"x"), "nothing is appended any more");
    appender.skip_to(120);
    assert_eq!(appender.end(), 120);
    assert!(appender.mapping().is_none_or(|mapping| mapping.bytes() == &bytes[..120]));
    drop(appender);
    assert_eq!(room.reserved(), LEN);
}

#[test]
fn appended_bytes_are_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    if let Some((file, appender)) = real(dir.path()) {
        check_appends(&*file, appender);
    }
    let fs = sim();
    let file = fs.create_new("f".as_ref()).unwrap();
    let appender = file.appender(0, LEN).unwrap().unwrap();
    check_appends(&*file, appender);
    assert_eq!(fs.calls_of(CallKind::Append), 4);
}

#[test]
fn settling_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let Some((file, mut appender)) = real(dir.path()) else { return };
    let room = appender.room();
    room.reserve(LEN).unwrap();
    let written: Vec<u8> = (0..LEN).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for (number, piece) in written.chunks(1000).enumerate() {
        assert!(appender.append(piece));
        if number % 20 == 0 {
            room.settle(appender.end());
            file.sync_data().unwrap();
        }
    }
    room.settle(LEN * 2);
    room.settle(0);
    assert_eq!(content(&*file), written);
    assert_eq!(appender.mapping().unwrap().bytes(), written);
    appender.stop();
    room.settle(LEN);
    assert_eq!(content(&*file), written);
}

#[test]
fn a_mapping_follows_the_end_and_outlives_the_appender() {
    let dir = tempfile::tempdir().unwrap();
    let Some((file, mut appender)) = real(dir.path()) else { return };
    let mapping = appender.mapping().unwrap();
    assert!(mapping.bytes().is_empty() && mapping.slice(0..1).is_none());
    appender.room().reserve(LEN).unwrap();
    assert!(appender.append(b"abc"));
    let slice = mapping.slice(1..3).unwrap();
    assert!(mapping.slice(1..4).is_none(), "behind the end");
    assert!(appender.append(b"def"));
    assert_eq!((&slice[..], mapping.bytes()), (&b"bc"[..], &b"abcdef"[..]));
    drop(appender);
    // What was reserved and not used is cut off while the slice is held.
    file.set_len(6).unwrap();
    assert_eq!((&slice[..], mapping.bytes(), mapping.pins()), (&b"bc"[..], &b"abcdef"[..], 1));
}

#[test]
fn readers_see_only_what_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let Some((_file, mut appender)) = real(dir.path()) else { return };
    appender.room().reserve(LEN).unwrap();
    let mapping = appender.mapping().unwrap();
    thread::scope(|scope| {
        for _ in 0..2 {
            let mapping = mapping.clone();
            scope.spawn(move || {
                let mut seen = 0;
                while seen < LEN as usize / 64 {
                    let bytes = mapping.bytes();
                    assert_eq!(bytes.len() % 64, 0);
                    for (number, part) in bytes.chunks(64).enumerate().skip(seen) {
                        assert!(part.iter().all(|byte| usize::from(*byte) == 1 + number % 255));
                    }
                    seen = bytes.len() / 64;
                }
            });
        }
        for number in 0..LEN as usize / 64 {
            assert!(appender.append(&[u8::try_from(1 + number % 255).unwrap(); 64]));
        }
    });
}

#[test]
fn there_is_none_where_nothing_promises_the_room() {
    let file = MemFs::default().create_new("f".as_ref()).unwrap();
    assert!(file.appender(0, LEN).unwrap().is_none());
    let fs = SimFs::new(1);
    let file = fs.create_new("f".as_ref()).unwrap();
    assert!(file.appender(0, LEN).unwrap().is_none());
    fs.set_appenders(true);
    assert!(file.appender(LEN + 1, LEN).unwrap().is_none());
    assert!(fs.open_read("f".as_ref()).unwrap().appender(0, LEN).unwrap().is_none());
}

#[test]
fn a_full_disk_shows_when_room_is_reserved_and_only_then() {
    let fs = sim();
    let file = fs.create_new("f".as_ref()).unwrap();
    let mut appender = file.appender(0, LEN).unwrap().unwrap();
    fs.set_capacity(Some(8192));
    assert_eq!(appender.room().reserve(8192).unwrap(), 8192);
    assert_eq!(appender.room().reserve(8193).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(appender.room().allocate(8193).unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(appender.room().reserved(), 8192);
    fs.inject(Fault::any(1, FaultKind::Eio));
    assert!(appender.append(&[7; 8192]), "no fault shows at an append");
    assert_eq!(fs.clear_faults(), 1);
    assert_eq!(content(&*file), vec![7; 8192]);
}

#[test]
fn what_was_appended_outlives_the_process_and_not_the_power() {
    let fs = sim();
    let file = fs.create_new("f".as_ref()).unwrap();
    fs.sync_dir("".as_ref()).unwrap();
    let mut appender = file.appender(0, LEN).unwrap().unwrap();
    appender.room().reserve(LEN).unwrap();
    file.sync_all().unwrap();
    assert!(appender.append(b"synced"));
    file.sync_data().unwrap();
    assert!(appender.append(b", not synced"));
    let starts = |fs: &SimFs, with: &[u8]| fs.read_file("f").unwrap().starts_with(with);
    assert!(starts(&fs.process_kill(), b"synced, not synced\0"));
    assert!(starts(&fs.power_cut(CrashMode::DropAll, 1), b"synced\0\0"));
    // Of what comes after the power is gone, nothing arrives.
    fs.crash_at_mutation(fs.mutations() + 1);
    assert!(!appender.append(b"lost"));
    assert!(starts(&fs.process_kill(), b"synced, not synced\0"));
}
