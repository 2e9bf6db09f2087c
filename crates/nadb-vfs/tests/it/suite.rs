//! One suite for every file system: what the traits promise, whoever implements them.

use std::io::ErrorKind;
use std::path::Path;

use nadb_vfs::{DirEntry, Fs, LockError, MemFs, RealFs, SimFs};

use crate::mapping;

/// Runs the suite in the existing directory `root`.
fn check(fs: &dyn Fs, root: &Path) {
    directories(fs, &root.join("directories"));
    files(fs, &root.join("files"));
    lengths(fs, &root.join("lengths"));
    mapping::check(fs, &root.join("mappings"));
    names(fs, &root.join("names"));
    locks(fs, &root.join("locks"));
}

fn kind<T>(result: std::io::Result<T>) -> ErrorKind {
    result.map(|_| ()).unwrap_err().kind()
}

fn list(fs: &dyn Fs, dir: &Path) -> Vec<(String, bool)> {
    let entries = fs.list(dir).unwrap().into_iter();
    let mut names: Vec<_> = entries.map(|DirEntry { name, is_file }| (name, is_file)).collect();
    names.sort();
    names
}

fn directories(fs: &dyn Fs, dir: &Path) {
    assert_eq!(kind(fs.list(dir)), ErrorKind::NotFound);
    assert_eq!(kind(fs.sync_dir(dir)), ErrorKind::NotFound);
    fs.create_dir_all(&dir.join("a/b")).unwrap();
    fs.create_dir_all(&dir.join("a")).unwrap();
    fs.sync_dir(dir).unwrap();
    fs.create_new(&dir.join("file")).unwrap();
    assert_eq!(list(fs, dir), [("a".to_owned(), false), ("file".to_owned(), true)]);
    assert_eq!(list(fs, &dir.join("a")), [("b".to_owned(), false)]);
    assert_eq!(list(fs, &dir.join("./a/../a/b")), []);
    assert_eq!(kind(fs.list(&dir.join("file"))), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.sync_dir(&dir.join("file"))), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.create_dir_all(&dir.join("file"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.create_new(&dir.join("file/x"))), ErrorKind::NotADirectory);
    assert_eq!(kind(fs.create_new(&dir.join("none/x"))), ErrorKind::NotFound);
    assert_eq!(kind(fs.create_new(&dir.join("a"))), ErrorKind::AlreadyExists);
    assert_eq!(kind(fs.open_write(&dir.join("a"))), ErrorKind::IsADirectory);
}

fn files(fs: &dyn Fs, dir: &Path) {
    fs.create_dir_all(dir).unwrap();
    let path = dir.join("f");
    assert_eq!(kind(fs.open_read(&path)), ErrorKind::NotFound);
    assert_eq!(kind(fs.open_write(&path)), ErrorKind::NotFound);
    let file = fs.create_new(&path).unwrap();
    assert!(file.is_empty().unwrap());
    file.write_all_at(b"hello", 0).unwrap();
    assert_eq!(kind(fs.create_new(&path)), ErrorKind::AlreadyExists);
    assert_eq!(file.len().unwrap(), 5, "create_new must not truncate");

    // Across the blocks and chunks of any implementation, with a hole before.
    let big: Vec<u8> = (0..200_000_u32).map(|i| (i % 251) as u8).collect();
    file.write_all_at(&big, 100_003).unwrap();
    file.write_all_at(b"HE", 0).unwrap();
    file.sync_data().unwrap();
    file.sync_all().unwrap();
    let reader = fs.open_read(&path).unwrap();
    assert_eq!(reader.len().unwrap(), 300_003);
    let mut buf = vec![1; 300_010];
    assert_eq!(reader.read_at(&mut buf, 0).unwrap(), 300_003);
    assert_eq!(&buf[..5], b"HEllo");
    assert!(buf[5..100_003].iter().all(|&b| b == 0));
    assert_eq!(&buf[100_003..300_003], big);
    assert_eq!(reader.read_at(&mut buf, 300_003).unwrap(), 0);
    assert_eq!(reader.read_at(&mut buf, u64::from(u32::MAX)).unwrap(), 0);
    assert_eq!(kind(reader.read_exact_at(&mut buf, 0)), ErrorKind::UnexpectedEof);
    assert!(reader.write_at(b"x", 0).is_err());
    assert!(reader.set_len(0).is_err());

    // Another handle sees what is written; both outlive the name.
    let writer = fs.open_write(&path).unwrap();
    fs.remove(&path).unwrap();
    writer.write_all_at(b"bye", 0).unwrap();
    let mut buf = [0; 5];
    reader.read_exact_at(&mut buf, 0).unwrap();
    assert_eq!(&buf, b"byelo");
    assert_eq!(kind(fs.open_read(&path)), ErrorKind::NotFound);
    assert_eq!(kind(fs.remove(&path)), ErrorKind::NotFound);
}

fn lengths(fs: &dyn Fs, dir: &Path) {
    fs.create_dir_all(dir).unwrap();
    let file = fs.create_new(&dir.join("f")).unwrap();
    file.write_all_at(&[7; 2000], 0).unwrap();
    file.set_len(700).unwrap();
    assert_eq!(file.len().unwrap(), 700);
    file.set_len(2500).unwrap();
    let mut buf = [1; 2500];
    file.read_exact_at(&mut buf, 0).unwrap();
    assert!(buf[..700].iter().all(|&b| b == 7));
    assert!(buf[700..].iter().all(|&b| b == 0), "cut bytes must not come back");
    assert_eq!(file.write_at(&[], 9000).unwrap(), 0);
    assert_eq!(file.len().unwrap(), 2500);
    file.allocate(0, 0).unwrap();
    match file.allocate(2400, 1600) {
        Ok(()) => {
            assert_eq!(file.len().unwrap(), 4000);
            file.allocate(0, 100).unwrap();
            assert_eq!(file.len().unwrap(), 4000);
            let mut buf = [1; 4000];
            file.read_exact_at(&mut buf, 0).unwrap();
            assert!(buf[..700].iter().all(|&b| b == 7) && buf[700..].iter().all(|&b| b == 0));
        }
        Err(e) => assert_eq!(e.kind(), ErrorKind::Unsupported),
    }
    file.set_len(0).unwrap();
    assert!(file.is_empty().unwrap());
}

fn names(fs: &dyn Fs, dir: &Path) {
    fs.create_dir_all(dir).unwrap();
    let (a, b) = (dir.join("a"), dir.join("b"));
    assert_eq!(kind(fs.rename(&a, &b)), ErrorKind::NotFound);
    fs.create_new(&a).unwrap().write_all_at(b"new", 0).unwrap();
    let old = fs.create_new(&b).unwrap();
    old.write_all_at(b"old!", 0).unwrap();
    fs.rename(&a, &b).unwrap();
    fs.rename(&b, &b).unwrap();
    fs.sync_dir(dir).unwrap();
    assert_eq!(list(fs, dir), [("b".to_owned(), true)]);
    assert_eq!(fs.open_read(&b).unwrap().len().unwrap(), 3);
    assert_eq!(old.len().unwrap(), 4, "a replaced file stays usable");
    fs.create_dir_all(&a).unwrap();
    assert!(fs.rename(&b, &a).is_err(), "a directory is not replaced by a file");
    assert!(fs.remove(&a).is_err(), "a directory is no file");
}

fn locks(fs: &dyn Fs, dir: &Path) {
    let path = dir.join("LOCK");
    assert!(matches!(fs.lock(&path, "x"), Err(LockError::Io(e)) if e.kind() == ErrorKind::NotFound));
    fs.create_dir_all(dir).unwrap();
    assert!(matches!(fs.lock(dir, "x"), Err(LockError::Io(_))));
    let first = fs.lock(&path, "first owner, with a long text").unwrap();
    let held = fs.lock(&path, "second");
    assert!(matches!(held, Err(LockError::Held { owner }) if owner == "first owner, with a long text"));
    drop(first);
    assert!(fs.open_read(&path).is_ok(), "the file stays");
    let second = fs.lock(&path, "second").unwrap();
    assert!(matches!(fs.lock(&path, "third"), Err(LockError::Held { owner }) if owner == "second"));
    let other = fs.lock(&dir.join("OTHER"), "").unwrap();
    drop((second, other));
    drop(fs.lock(&path, "fourth").unwrap());
}

#[test]
fn real() {
    let dir = tempfile::tempdir().unwrap();
    check(&RealFs, dir.path());
}

#[test]
fn mem() {
    check(&MemFs::default(), Path::new("/"));
    check(&MemFs::default(), Path::new(""));
}

#[test]
fn sim() {
    check(&SimFs::new(0), Path::new("/"));
    check(&SimFs::new(0), Path::new(""));
}

#[cfg(unix)]
#[test]
fn real_lock_on_a_read_only_file_is_an_io_error() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("LOCK");
    std::fs::write(&path, "someone").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write to it all the same.
    let may_write = std::fs::OpenOptions::new().write(true).open(&path).is_ok();
    match RealFs.lock(&path, "me") {
        Err(LockError::Io(e)) => assert!(!may_write && e.kind() == ErrorKind::PermissionDenied),
        other => assert!(may_write && other.is_ok()),
    }
}

#[test]
fn mem_clones_share_files_and_defaults_do_not() {
    let fs = MemFs::default();
    fs.create_new("f".as_ref()).unwrap();
    assert!(fs.clone().open_read("/f".as_ref()).is_err(), "relative and absolute names differ");
    assert!(fs.clone().open_read("./f".as_ref()).is_ok());
    assert!(MemFs::default().open_read("f".as_ref()).is_err());
}

/// Whatever a file system tells of its holes, no byte that was written is taken for one.
fn check_next_data(fs: &dyn Fs, dir: &Path) {
    fs.create_dir_all(dir).unwrap();
    let file = fs.create_new(&dir.join("holes")).unwrap();
    file.set_len(4 << 20).unwrap();
    let written = [5, (1 << 20) + 7, (3 << 20) - 1];
    for at in written {
        file.write_all_at(b"x", at).unwrap();
    }
    for from in (0..4 << 20).step_by(4093) {
        let next = file.next_data(from).unwrap();
        assert!(next >= from && next <= 4 << 20);
        let passed_over = written.iter().any(|at| (from..next).contains(at));
        assert!(!passed_over, "from {from} to {next}");
    }
    assert!(file.next_data(5 << 20).unwrap() >= 5 << 20);
}

#[test]
fn no_written_byte_is_taken_for_a_hole() {
    let disk = tempfile::tempdir().unwrap();
    check_next_data(&RealFs, &disk.path().join("real"));
    check_next_data(&MemFs::default(), Path::new("/mem"));
}
