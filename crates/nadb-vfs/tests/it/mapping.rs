//! Mappings: what every file system promises of them, how pins are counted, and what only some file systems do.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use nadb_vfs::{Advice, CallKind, CrashMode, Fault, FaultKind, Fs, Mapping, MemFs, RealFs, SimFs};

use crate::{create, disk};

/// The part of the suite for every file system that is about mappings, in the directory `dir`, which it creates.
pub(crate) fn check(fs: &dyn Fs, dir: &Path) {
    fs.create_dir_all(dir).unwrap();
    whole_and_part(fs, &dir.join("whole"));
    nothing(fs, &dir.join("nothing"));
    slices(fs, &dir.join("slices"));
    appended(fs, &dir.join("appended"));
    survivors(fs, &dir.join("survivors"));
}

/// More than a page, and not a multiple of any block.
fn pattern() -> Vec<u8> {
    (0..70_001_u32).map(|i| (i % 251) as u8).collect()
}

fn refused(fs: &dyn Fs, path: &Path, len: u64) -> ErrorKind {
    fs.open_read(path).unwrap().map(len).unwrap_err().kind()
}

fn whole_and_part(fs: &dyn Fs, path: &Path) {
    let bytes = pattern();
    let file = fs.create_new(path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    for file in [file, fs.open_read(path).unwrap(), fs.open_write(path).unwrap()] {
        assert_eq!(file.map(70_001).unwrap().bytes(), bytes);
        for len in [1, 4095, 4096, 4097, 70_000] {
            assert_eq!(file.map(len).unwrap().bytes(), &bytes[..len as usize], "{len} bytes");
        }
    }
    for len in [70_002, 1 << 20, u64::from(u32::MAX), i64::MAX as u64, u64::MAX] {
        assert_eq!(refused(fs, path, len), ErrorKind::UnexpectedEof, "{len} bytes");
    }
}

fn nothing(fs: &dyn Fs, path: &Path) {
    let file = fs.create_new(path).unwrap();
    for _ in 0..2 {
        let mapping = file.map(0).unwrap();
        assert_eq!(mapping.bytes(), b"");
        let slice = mapping.slice(0..0).unwrap();
        assert_eq!((slice.len(), mapping.pins()), (0, 1), "an empty slice is a pin as well");
        assert_eq!(mapping.slice(0..1), None);
        mapping.advise(Advice::WillNeed).unwrap();
        assert_eq!(file.map(10).unwrap_err().kind(), ErrorKind::UnexpectedEof);
        file.write_all_at(b"123456789", 0).unwrap();
    }
}

#[expect(clippy::reversed_empty_ranges, reason = "that is what is tested")]
fn slices(fs: &dyn Fs, path: &Path) {
    let bytes = pattern();
    let file = fs.create_new(path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let mapping = file.map(50_000).unwrap();
    for advice in [Advice::Sequential, Advice::Random, Advice::WillNeed] {
        mapping.advise(advice).unwrap();
    }
    for range in [0..50_000, 0..0, 50_000..50_000, 7..8, 4095..4097, 49_999..50_000] {
        let slice = mapping.slice(range.clone()).unwrap();
        assert_eq!(slice, bytes[range.clone()]);
        let inside = mapping.bytes().as_ptr().addr() + range.start;
        assert!(slice.is_empty() || slice.as_ptr().addr() == inside, "{range:?} was copied");
    }
    for range in [0..50_001, 50_000..50_001, 60_000..60_000, 8..7, usize::MAX..0, 0..usize::MAX] {
        assert_eq!(mapping.slice(range), None);
    }
    assert_eq!(mapping.pins(), 0, "neither slices that are gone nor refused ones are pins");
    assert!(!format!("{mapping:?}").contains("[1, 2"), "bytes of users do not belong into messages");
}

fn appended(fs: &dyn Fs, path: &Path) {
    let bytes = pattern();
    let file = fs.create_new(path).unwrap();
    file.write_all_at(&bytes[..5000], 0).unwrap();
    let before = file.map(5000).unwrap();
    file.write_all_at(&bytes[5000..], 5000).unwrap();
    assert_eq!(before.bytes(), &bytes[..5000]);
    assert_eq!(file.map(70_001).unwrap().bytes(), bytes);
    // Windows does not cut a mapped file at all.
    if cfg!(unix) {
        file.set_len(6000).unwrap();
    }
    assert_eq!(before.bytes(), &bytes[..5000], "cutting behind the mapped bytes changes none of them");
}

fn survivors(fs: &dyn Fs, path: &Path) {
    let bytes = pattern();
    let file = fs.create_new(path).unwrap();
    file.write_all_at(&bytes, 0).unwrap();
    let mapping = fs.open_read(path).unwrap().map(70_001).unwrap();
    drop(file);
    let slice = mapping.slice(4000..69_000).unwrap();
    let other = mapping.clone();
    drop(mapping);
    assert_eq!(other.pins(), 1, "a handle is no pin, and all handles see the same pins");
    drop(other);
    fs.remove(path).unwrap();
    fs.create_new(path).unwrap().write_all_at(&[9; 70_001], 0).unwrap();
    assert_eq!(slice, bytes[4000..69_000]);
}

#[test]
fn clones_and_parts_of_a_slice_are_one_pin() {
    let mapping = Mapping::from(pattern());
    let slice = mapping.slice(10..1000).unwrap();
    let parts = [slice.clone(), slice.slice(5..6), slice.slice(100..)];
    assert_eq!(mapping.pins(), 1);
    drop(slice);
    assert_eq!(mapping.pins(), 1);
    let again = mapping.slice(10..1000).unwrap();
    assert_eq!(mapping.pins(), 2);
    drop(parts);
    assert_eq!(mapping.pins(), 1);
    drop(again);
    assert_eq!(mapping.pins(), 0);
}

#[test]
fn pins_count_up_and_down_over_eight_threads() {
    const THREADS: usize = 8;
    const EACH: usize = 500;
    let bytes = pattern();
    let mapping = Mapping::from(bytes.clone());
    let made = |thread: usize| -> Vec<_> {
        (0..EACH).map(|n| mapping.slice(thread * EACH + n..60_000).unwrap()).collect()
    };
    let mut slices: Vec<Vec<_>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || made(thread))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(mapping.pins(), THREADS * EACH);
    for (at, slice) in slices.iter().flatten().enumerate() {
        assert_eq!(slice, &bytes[at..60_000]);
    }

    // Each thread drops what another one made, half of it first.
    slices.rotate_left(3);
    let half = Barrier::new(THREADS + 1);
    let rest = Barrier::new(THREADS + 1);
    thread::scope(|scope| {
        for mut slices in slices {
            let (half, rest) = (&half, &rest);
            scope.spawn(move || {
                slices.truncate(EACH / 2);
                half.wait();
                rest.wait();
                drop(slices);
            });
        }
        half.wait();
        let pins = mapping.pins();
        rest.wait();
        assert_eq!(pins, THREADS * EACH / 2);
    });
    assert_eq!(mapping.pins(), 0);
}

#[test]
fn no_pins_is_final_when_nobody_makes_new_ones() {
    let mapping = Mapping::from(pattern());
    let slices: Vec<_> = (0..64).map(|n| mapping.slice(n..n + 1).unwrap()).collect();
    thread::scope(|scope| {
        for mut slices in slices.chunks(8).map(<[_]>::to_vec) {
            scope.spawn(move || while slices.pop().is_some() {});
        }
        drop(slices);
        let mut before = 64;
        while before > 0 {
            let now = mapping.pins();
            assert!(now <= before, "{now} pins after {before}");
            before = now;
            thread::yield_now();
        }
    });
    assert_eq!(mapping.pins(), 0);
}

#[test]
fn only_the_real_file_system_maps() {
    let dir = tempfile::tempdir().unwrap();
    let can_map = |fs: &dyn Fs, path: &Path| fs.create_new(path).unwrap().can_map();
    assert!(can_map(&RealFs, &dir.path().join("f")));
    assert!(!can_map(&MemFs::default(), "f".as_ref()));
    assert!(!can_map(&SimFs::new(0), "f".as_ref()));
}

#[test]
fn faults_of_the_simulated_disk_reach_a_map() {
    let fs = disk();
    let file = create(&fs, "/db/f", &pattern());
    for call in [CallKind::Len, CallKind::Read] {
        fs.inject(Fault::at(call, 1, FaultKind::Eio));
        assert!(file.map(70_001).unwrap_err().to_string().contains("simulated I/O error"), "{call:?}");
        assert_eq!(file.map(70_001).unwrap().bytes(), pattern());
    }

    // What was mapped before stays readable, as memory does.
    let mapping = file.map(70_001).unwrap();
    fs.crash_at_mutation(1);
    assert!(file.sync_all().is_err());
    assert!(file.map(1).unwrap_err().to_string().contains("simulated power cut"));
    assert_eq!(mapping.bytes(), pattern());
    let after = fs.power_cut(CrashMode::DropAll, 0);
    assert_eq!(after.open_read("/db/f".as_ref()).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_huge_hole_is_refused_before_it_is_allocated() {
    let fs = MemFs::default();
    let file = fs.create_new("f".as_ref()).unwrap();
    file.set_len(u64::MAX).unwrap();
    assert_eq!(file.map(u64::MAX).unwrap_err().kind(), ErrorKind::OutOfMemory);
}

/// Maps are listed with the path of their file, also when it is gone.
#[cfg(target_os = "linux")]
#[test]
fn a_real_file_is_mapped_until_its_last_slice_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("mapped-here");
    let maps = || {
        let all = std::fs::read_to_string("/proc/self/maps").unwrap();
        let own = |line: &&str| line.contains(path.to_str().unwrap());
        let found = all.lines().find(own).map(ToOwned::to_owned);
        assert!(all.lines().filter(own).count() <= 1);
        found
    };
    let file = RealFs.create_new(&path).unwrap();
    file.write_all_at(&pattern(), 0).unwrap();
    let mapping = file.map(10_000).unwrap();
    drop(file);
    let line = maps().unwrap();
    assert!(line.contains(" r--s "), "shared and only for reading: {line}");
    let slice = mapping.slice(5000..6000).unwrap();
    RealFs.remove(&path).unwrap();
    drop(mapping);
    assert!(maps().is_some_and(|line| line.ends_with("(deleted)")));
    assert_eq!(slice, pattern()[5000..6000]);
    drop(slice);
    assert_eq!(maps(), None);
}

#[cfg(unix)]
#[test]
fn what_cannot_be_mapped_is_an_error_and_no_copy() {
    let file = RealFs.open_read("/dev/null".as_ref()).unwrap();
    assert_eq!(file.map(1).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    let dir = tempfile::tempdir().unwrap();
    let file = RealFs.open_read(dir.path()).unwrap();
    let len = file.len().unwrap();
    // Some file systems give directories a length, others do not.
    assert!(len == 0 || file.map(len).is_err());
}
