//! Streams and the life of their store.

use std::io::Write;

use nadb::{ErrorKind, Store};

#[test]
fn a_writer_keeps_its_store_open_until_it_ends() {
    let dir = tempfile::tempdir().unwrap();
    let writer = || {
        let store = Store::open(dir.path()).unwrap();
        let mut writer = store.namespace("files").unwrap().writer("k").unwrap();
        writer.write_all(&[7; 100_000]).unwrap();
        writer
    };
    let committed = writer();
    assert_eq!(Store::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    assert!(committed.commit().unwrap().created);
    // It was the last handle, so the store is closed, in order.
    let dropped = writer();
    assert_eq!(Store::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    drop(dropped);
    let store = Store::open(dir.path()).unwrap();
    assert!(store.recovery().clean);
    assert_eq!(store.namespace("files").unwrap().get("k").unwrap().unwrap(), [7; 100_000].as_slice());
}

#[test]
fn a_writer_of_a_closed_store_says_so() {
    let store = Store::memory().unwrap();
    let files = store.namespace("files").unwrap();
    let mut writer = files.writer("k").unwrap();
    writer.write_all(b"v").unwrap();
    store.close().unwrap();
    assert!(writer.write(b"w").is_err());
    assert_eq!(writer.commit().unwrap_err().kind(), ErrorKind::Closed);
}

#[test]
fn get_with_gives_what_the_closure_makes() {
    let store = Store::memory().unwrap();
    let files = store.namespace("files").unwrap();
    files.set("k", "value").unwrap();
    // Of any type, moved in and out.
    let suffix = String::from("!");
    let text = files.get_with("k", |bytes| String::from_utf8_lossy(bytes).into_owned() + &suffix).unwrap();
    assert_eq!(text.unwrap(), "value!");
    let moved = files.get_with("other", move |_| suffix).unwrap();
    assert!(moved.is_none());
    let nested = files.get_with("k", |outer| files.get_with("k", |inner| inner == outer)).unwrap();
    assert!(nested.unwrap().unwrap().unwrap());
    let then = store.snapshot().unwrap().namespace("files").unwrap();
    files.get_with("k", |_| files.set("k", "longer value")).unwrap().unwrap().unwrap();
    assert_eq!(then.get_with("k", <[u8]>::len).unwrap(), Some(5));
    assert_eq!(files.get_with("k", <[u8]>::len).unwrap(), Some(12));
}
