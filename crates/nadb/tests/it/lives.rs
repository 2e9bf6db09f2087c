//! Stores on disk: reopened, locked, closed; and records that end.

use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nadb::{Durability, ErrorKind, Store};

#[test]
fn everything_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::builder().path(dir.path().join("data")).memtable_size(8 << 10).open().unwrap();
    let store = open();
    assert!(store.recovery().created);
    let n = store.namespace("n").unwrap();
    for i in 0..500 {
        let put = n.put(format!("k{i:03}"), vec![b'v'; i]).tags([format!("t{}", i % 3)]);
        put.durability([Durability::Buffered, Durability::Flushed, Durability::Synced][i % 3])
            .commit()
            .unwrap();
    }
    n.delete("k007").unwrap();
    store.namespace("dropped").unwrap().set("k", "v").unwrap();
    assert!(store.drop_namespace("dropped").unwrap());
    let before: Vec<_> = n.iter().unwrap().map(Result::unwrap).collect();
    assert!(store.segments().unwrap().len() > 5);
    store.verify().unwrap();
    store.close().unwrap();

    let store = open();
    assert!(!store.recovery().created && store.recovery().clean);
    assert_eq!(store.recovery().cut_bytes, 0);
    let n = store.namespace("n").unwrap();
    let after: Vec<_> = n.iter().unwrap().map(Result::unwrap).collect();
    assert_eq!(after.len(), 499);
    assert!(after == before);
    assert_eq!(store.namespaces().unwrap().len(), 1);
    store.verify().unwrap();
}

#[test]
fn a_store_is_open_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let error = Store::open(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Locked);
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    let n = store.namespace("n").unwrap();
    n.set("k", "v").unwrap();
    drop(store);
    assert_eq!(n.get("k").unwrap().unwrap(), b"v"); // a namespace keeps it open
    assert_eq!(Store::open(dir.path()).unwrap_err().kind(), ErrorKind::Locked);
    drop(n);
    let store = Store::open(dir.path()).unwrap();
    assert_eq!(store.namespace("n").unwrap().get("k").unwrap().unwrap(), b"v");
}

#[test]
fn after_close_every_handle_says_so() {
    let store = Store::memory().unwrap();
    let n = store.namespace("n").unwrap();
    n.set("k", "v").unwrap();
    let value = n.get("k").unwrap().unwrap();
    let mut batch = store.batch();
    batch.set("n", "k", "w");
    let snapshot = store.snapshot().unwrap();
    let then = snapshot.namespace("n").unwrap();
    store.clone().close().unwrap();
    store.close().unwrap();
    let closed = |error: nadb::Error| assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    closed(n.set("k", "w").unwrap_err());
    closed(n.get("k").unwrap_err());
    closed(n.contains("k").unwrap_err());
    closed(n.delete("k").unwrap_err());
    closed(n.iter().map(drop).unwrap_err());
    closed(store.snapshot().unwrap_err());
    closed(snapshot.namespaces().unwrap_err());
    closed(then.get("k").unwrap_err());
    closed(then.exists_many(["k"]).unwrap_err());
    closed(then.iter().map(drop).unwrap_err());
    closed(batch.commit().unwrap_err());
    closed(store.flush().unwrap_err());
    closed(store.namespaces().unwrap_err());
    closed(store.drop_namespace("n").unwrap_err());
    assert_eq!(value, b"v"); // what was read stays readable
}

#[test]
fn records_end_when_they_were_told_to() {
    let n = Store::memory().unwrap().namespace("n").unwrap();
    n.put("short", "v").ttl(Duration::from_millis(1)).tags(["t"]).commit().unwrap();
    n.put("long", "v").ttl(Duration::from_secs(3600)).commit().unwrap();
    thread::sleep(Duration::from_millis(10));
    assert!(n.get("short").unwrap().is_none());
    assert!(n.metadata("short").unwrap().is_none());
    assert!(!n.contains("short").unwrap());
    assert_eq!(n.iter().unwrap().keys().map(Result::unwrap).collect::<Vec<_>>(), [b"long"]);
    assert!(n.put("short", "w").keep_tags().keep_ttl().if_absent().commit().unwrap().created);
    let metadata = n.metadata("short").unwrap().unwrap();
    assert!(metadata.tags.is_empty() && metadata.expires_ms.is_none());
    assert!(n.put("short", "x").if_present().commit().is_ok());
}

#[test]
fn an_expiry_in_the_past_deletes() {
    let n = Store::memory().unwrap().namespace("n").unwrap();
    let past = UNIX_EPOCH + Duration::from_secs(1);
    n.put("k", "v").expires_at(past).commit().unwrap();
    assert!(!n.contains("k").unwrap());
    let first = n.set("k", "v").unwrap();
    assert!(!n.put("k", "w").expires_at(past).commit().unwrap().created);
    assert!(n.get("k").unwrap().is_none());
    assert!(n.set("k", "again").unwrap().version > first.version);
    assert!(n.put("k", "v").expires_at(SystemTime::UNIX_EPOCH - Duration::from_secs(9)).commit().is_ok());
    assert!(!n.contains("k").unwrap());
}
