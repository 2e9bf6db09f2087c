//! Calls that fail: crashes at a chosen call, full disks, bad media, failed syncs; and the accounts of all that.

use std::io::ErrorKind;
use std::path::Path;

use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, Fs, SimFs, TraceEntry};

use crate::{create, disk, durable, outcomes};

#[test]
fn a_crash_at_every_mutation_leaves_exactly_what_came_before() {
    let run = |fs: &SimFs| -> std::io::Result<()> {
        let file = fs.create_new("/db/f".as_ref())?;
        file.write_at(b"abc", 0)?;
        fs.list("/db".as_ref())?;
        file.sync_all()?;
        fs.sync_dir("/db".as_ref())?;
        fs.rename("/db/f".as_ref(), "/db/g".as_ref())
    };
    let calm = disk();
    let before = calm.mutations();
    run(&calm).unwrap();
    assert_eq!(calm.mutations() - before, 5);
    let expected =
        [(None, None), (Some(""), None), (Some("abc"), None), (Some("abc"), None), (Some("abc"), None)];
    for (n, (f, g)) in (1..).zip(expected) {
        let fs = disk();
        fs.crash_at_mutation(n);
        let e = run(&fs).unwrap_err();
        assert!(e.to_string().contains("simulated power cut"));
        assert!(fs.crashed());
        assert!(fs.open_read("/db/f".as_ref()).is_err(), "reading ends too");
        let after = fs.power_cut(CrashMode::KeepAll, 0);
        let read = |path: &str| after.read_file(path).ok().map(|x| String::from_utf8(x).unwrap());
        assert_eq!((read("/db/f").as_deref(), read("/db/g").as_deref()), (f, g), "{n}");
        let synced = fs.power_cut(CrashMode::DropAll, 0).read_file("/db/f").is_ok();
        assert_eq!(synced, n == 5);
    }
    let fs = disk();
    fs.crash_at_mutation(6);
    run(&fs).unwrap();
    assert!(!fs.crashed());
    assert_eq!(fs.clear_faults(), 0);
    fs.remove("/db/g".as_ref()).unwrap();
}

#[test]
fn a_full_disk_takes_what_fits_and_recovers() {
    let fs = disk();
    let file = create(&fs, "/db/f", &[1; 700]);
    assert_eq!(fs.used_bytes(), 1024);
    fs.set_capacity(Some(2048));
    let e = file.write_all_at(&[2; 5000], 700).unwrap_err();
    assert_eq!((e.written, e.source.kind()), (2048 - 700, ErrorKind::StorageFull));
    assert_eq!(file.len().unwrap(), 2048);
    file.write_all_at(&[3; 2048], 0).unwrap();
    assert_eq!(file.write_at(&[1], 2048).unwrap_err().kind(), ErrorKind::StorageFull);
    let other = fs.create_new("/db/g".as_ref()).unwrap();
    assert_eq!(other.write_at(&[1], 0).unwrap_err().kind(), ErrorKind::StorageFull);
    assert!(fs.lock("/db/LOCK".as_ref(), "me").is_ok(), "a full disk can be locked");
    file.set_len(1000).unwrap();
    other.write_all_at(&[1; 1024], 0).unwrap();
    fs.remove("/db/f".as_ref()).unwrap();
    assert_eq!(
        other.write_at(&[1], 1024).unwrap_err().kind(),
        ErrorKind::StorageFull,
        "a handle holds its room"
    );
    drop(file);
    other.write_all_at(&[1; 1024], 1024).unwrap();
    fs.set_capacity(None);
    other.write_all_at(&[1; 9000], 2048).unwrap();
    assert_eq!(fs.power_cut(CrashMode::KeepAll, 0).used_bytes(), 11_264);
}

#[test]
fn reserved_room_is_there_when_the_disk_is_full() {
    let fs = disk();
    fs.set_capacity(Some(10_240));
    let file = durable(&fs, "/db/f", b"");
    assert_eq!(file.allocate(0, 20_000).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!((file.len().unwrap(), fs.used_bytes()), (0, 0));
    file.allocate(0, 8192).unwrap();
    let other = create(&fs, "/db/g", &[1; 2048]);
    assert_eq!(other.write_at(&[1], 2048).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_all_at(&[1; 8192], 0).unwrap();
    assert_eq!(file.write_at(&[1], 8192).unwrap_err().kind(), ErrorKind::StorageFull);
    file.set_len(100).unwrap();
    assert_eq!(fs.used_bytes(), 512 + 2048);
}

#[test]
fn a_reservation_is_durable_with_its_length() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"");
    file.allocate(0, 4096).unwrap();
    assert_eq!(fs.power_cut(CrashMode::DropAll, 0).used_bytes(), 0);
    let fs = fs.process_kill();
    fs.open_write("/db/f".as_ref()).unwrap().sync_all().unwrap();
    assert_eq!(fs.power_cut(CrashMode::DropAll, 0).used_bytes(), 4096);

    // A hole below an old length is not reserved by a call that was never synced.
    let fs = disk();
    let file = durable(&fs, "/db/f", b"");
    file.set_len(4096).unwrap();
    file.sync_all().unwrap();
    file.allocate(0, 8192).unwrap();
    assert_eq!(fs.power_cut(CrashMode::DropAll, 0).used_bytes(), 0);
}

#[test]
fn short_writes_take_a_part_and_say_so() {
    for seed in 0..50 {
        let fs = SimFs::new(seed);
        let file = fs.create_new("f".as_ref()).unwrap();
        fs.inject(Fault::at(CallKind::Write, 2, FaultKind::ShortWrite));
        assert_eq!(file.write_at(b"0123456789", 0).unwrap(), 10);
        let n = file.write_at(b"abcdefghij", 10).unwrap();
        assert!((1..10).contains(&n));
        assert_eq!(file.len().unwrap(), 10 + n as u64);
        fs.inject(Fault::any(1, FaultKind::ShortWrite));
        assert_eq!(file.write_at(b"x", 0).unwrap(), 1);
        fs.inject(Fault::any(1, FaultKind::ShortWrite));
        file.write_all_at(b"ABCDEFGHIJ", 0).unwrap();
        assert_eq!(&fs.read_file("f").unwrap()[..10], b"ABCDEFGHIJ");
    }
}

#[test]
fn short_then_no_space() {
    let fs = disk();
    let file = create(&fs, "/db/f", b"");
    fs.inject(Fault::at(CallKind::Write, 1, FaultKind::ShortThenNoSpace));
    let e = file.write_all_at(&[1; 100], 0).unwrap_err();
    assert!((1..100).contains(&e.written));
    assert_eq!(e.source.kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), e.written as u64);
    file.write_all_at(&[1; 100], 0).unwrap();
}

#[test]
fn an_io_error_on_a_write_may_leave_a_part_of_it() {
    let mut lens: Vec<u64> = (0..200)
        .map(|seed| {
            let fs = SimFs::new(seed);
            let file = fs.create_new("f".as_ref()).unwrap();
            fs.inject(Fault::any(1, FaultKind::Eio));
            assert!(file.write_at(&[1; 3], 0).is_err());
            file.len().unwrap()
        })
        .collect();
    lens.sort_unstable();
    lens.dedup();
    assert_eq!(lens, [0, 1, 2, 3]);
}

#[test]
fn faults_show_once_at_the_call_they_name() {
    let fs = disk();
    let file = create(&fs, "/db/f", b"abc");
    fs.inject(Fault::at(CallKind::Read, 2, FaultKind::Eio));
    fs.inject(Fault::any(1, FaultKind::ReadOnly));
    fs.inject(Fault::at(CallKind::SetLen, 1, FaultKind::NoSpace).on("/g"));
    let mut buf = [0; 3];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert!(file.read_exact_at(&mut buf, 0).is_err());
    file.read_exact_at(&mut buf, 0).unwrap();
    file.len().unwrap();
    assert_eq!(fs.remove("/db/f".as_ref()).unwrap_err().kind(), ErrorKind::ReadOnlyFilesystem);
    file.set_len(2).unwrap();
    let other = create(&fs, "/db/g", b"abc");
    assert_eq!(other.set_len(1).unwrap_err().kind(), ErrorKind::StorageFull);
    other.set_len(1).unwrap();
    fs.inject(Fault::at(CallKind::Rename, 1, FaultKind::Eio).on("/h"));
    assert!(fs.rename("/db/g".as_ref(), "/db/h".as_ref()).is_err());
    assert!(fs.read_file("/db/g").is_ok() && fs.read_file("/db/h").is_err());
    fs.inject(Fault::at(CallKind::Lock, 1, FaultKind::ReadOnly));
    assert!(fs.lock("/db/L".as_ref(), "").is_err());
    assert_eq!(fs.clear_faults(), 0);
}

#[test]
fn a_failed_sync_forgets_what_was_unsynced() {
    let fs = disk();
    let file = durable(&fs, "/db/f", &[1; 1024]);
    file.write_all_at(&[2; 1536], 0).unwrap();
    fs.inject(Fault::any(1, FaultKind::SyncLost));
    assert!(file.sync_data().is_err());
    assert_eq!(fs.read_file("/db/f").unwrap(), [2; 1536], "still readable");
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    for mode in CrashMode::ALL {
        assert_eq!(outcomes(&fs, mode, "/db/f"), [Some(vec![1; 1024])], "{mode:?}");
    }

    // Writing again makes the block, and the length, durable after all; the others stay lost.
    let fs = fs.process_kill();
    let file = fs.open_write("/db/f".as_ref()).unwrap();
    file.write_all_at(&[3; 512], 1024).unwrap();
    file.sync_data().unwrap();
    let mut expected = vec![1; 1024];
    expected.extend([3; 512]);
    for mode in CrashMode::ALL {
        assert_eq!(outcomes(&fs, mode, "/db/f"), [Some(expected.clone())], "{mode:?}");
    }
}

#[test]
fn a_plain_io_error_on_a_sync_leaves_everything_unsynced() {
    let fs = disk();
    let file = durable(&fs, "/db/f", b"old");
    file.write_all_at(b"new", 0).unwrap();
    fs.inject(Fault::at(CallKind::SyncData, 1, FaultKind::Eio));
    assert!(file.sync_data().is_err());
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(b"old".to_vec())]);
    let fs = fs.process_kill();
    fs.open_write("/db/f".as_ref()).unwrap().sync_data().unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(b"new".to_vec())]);
}

#[test]
fn a_failed_sync_of_a_directory_forgets_its_changes() {
    let fs = disk();
    let _old = durable(&fs, "/db/old", b"o");
    create(&fs, "/db/new", b"n").sync_all().unwrap();
    fs.remove("/db/old".as_ref()).unwrap();
    fs.inject(Fault::at(CallKind::SyncDir, 1, FaultKind::SyncLost));
    assert!(fs.sync_dir("/db".as_ref()).is_err());
    assert!(fs.read_file("/db/new").is_ok() && fs.read_file("/db/old").is_err(), "still visible");
    create(&fs, "/db/later", b"l").sync_all().unwrap();
    fs.sync_dir("/db".as_ref()).unwrap();
    for mode in CrashMode::ALL {
        let names: Vec<_> = fs.power_cut(mode, 3).files().into_iter().map(|(path, _)| path).collect();
        assert_eq!(names, [Path::new("/db/later"), Path::new("/db/old")], "{mode:?}");
    }
}

#[test]
fn accounts_and_trace() {
    let fs = SimFs::new(0);
    fs.set_tracing(true);
    let file = fs.create_new("f".as_ref()).unwrap();
    file.write_all_at(b"abcd", 8).unwrap();
    file.sync_all().unwrap();
    fs.rename("f".as_ref(), "g".as_ref()).unwrap();
    assert!(fs.sync_dir("none".as_ref()).is_err());
    assert_eq!((fs.calls(), fs.mutations(), fs.syncs(), fs.bytes_written()), (5, 5, 1, 4));
    file.len().unwrap();
    assert_eq!((fs.calls(), fs.mutations(), fs.calls_of(CallKind::Write)), (6, 5, 1));
    let entry = |call, path: &str, to: Option<&str>, offset, len| TraceEntry {
        call,
        path: path.into(),
        to: to.map(Into::into),
        offset,
        len,
    };
    assert_eq!(
        fs.trace(),
        [
            entry(CallKind::Create, "f", None, 0, 0),
            entry(CallKind::Write, "f", None, 8, 4),
            entry(CallKind::SyncAll, "f", None, 0, 0),
            entry(CallKind::Rename, "f", Some("g"), 0, 0),
            entry(CallKind::SyncDir, "none", None, 0, 0),
            entry(CallKind::Len, "f", None, 0, 0),
        ]
    );
    fs.set_tracing(false);
    assert!(fs.trace().is_empty());
}

#[test]
fn helpers_bypass_accounts_and_are_durable() {
    let fs = SimFs::new(0);
    fs.create_dir_all("/db".as_ref()).unwrap();
    let _unsynced = create(&fs, "/db/u", b"u");
    let calls = fs.calls();
    fs.write_file("/db/sub/f", &[7; 1000]).unwrap();
    fs.flip_byte("/db/sub/f", 999, 0x80).unwrap();
    fs.truncate_file("/db/sub/f", 1100).unwrap();
    assert_eq!(fs.flip_byte("/db/sub/f", 1100, 1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert!(fs.read_file("/db/none").is_err() && fs.read_file("/db/sub").is_err());
    assert_eq!(fs.calls(), calls);
    assert_eq!(fs.used_bytes(), 512 + 1024);
    let after = fs.power_cut(CrashMode::DropAll, 0);
    assert_eq!(after.files(), [("/db/sub/f".into(), 1100)], "other names stay unsynced");
    let bytes = after.read_file("/db/sub/f").unwrap();
    assert_eq!((bytes[998], bytes[999], bytes[1000]), (7, 7 ^ 0x80, 0));
}

#[test]
fn a_written_file_is_durable_under_a_name_with_a_past() {
    let fs = disk();
    drop(durable(&fs, "/db/f", b"first"));
    fs.remove("/db/f".as_ref()).unwrap();
    drop(create(&fs, "/db/tmp", b"second"));
    fs.rename("/db/tmp".as_ref(), "/db/f".as_ref()).unwrap();
    fs.write_file("/db/f", b"third").unwrap();
    for mode in CrashMode::ALL {
        assert_eq!(outcomes(&fs, mode, "/db/f"), [Some(b"third".to_vec())], "{mode:?}");
    }
    let fs = fs.process_kill();
    fs.sync_dir("/db".as_ref()).unwrap();
    assert_eq!(outcomes(&fs, CrashMode::DropAll, "/db/f"), [Some(b"third".to_vec())]);
}

#[test]
fn damage_shows_in_unsynced_blocks_too() {
    let fs = disk();
    let file = durable(&fs, "/db/f", &[1; 100]);
    file.write_all_at(&[2; 50], 0).unwrap();
    fs.flip_byte("/db/f", 10, 0xf0).unwrap();
    assert_eq!(fs.read_file("/db/f").unwrap()[10], 0xf2);
    assert_eq!(fs.power_cut(CrashMode::DropAll, 0).read_file("/db/f").unwrap()[10], 0xf1);
    assert_eq!(fs.power_cut(CrashMode::KeepAll, 0).read_file("/db/f").unwrap()[10], 0xf2);
}
