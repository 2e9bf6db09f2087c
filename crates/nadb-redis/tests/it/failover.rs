//! Masters that go: a replica takes over, and the store goes on with it.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nadb_core::{Backend, ErrorKind, ScanRequest};
use nadb_redis::{RedisBackend, RedisOptions};

use crate::agree::assert_agree;
use crate::groups::{Cluster, Watched, until};
use crate::server::Server;
use crate::stores::{N, get, keys, one, put, set, tagged};

/// Writes under load until `fail` has run and writes succeed again; gives the keys that were acknowledged.
fn acknowledged(store: &RedisBackend, fail: impl FnOnce()) -> Vec<String> {
    let (acknowledged, is_over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    thread::scope(|scope| {
        for writer in 0..3 {
            let (acknowledged, is_over) = (&acknowledged, &is_over);
            scope.spawn(move || {
                for number in 0.. {
                    let key = format!("{writer}-{number:06}");
                    match one(store, put(&key, key.as_bytes(), &["all"], None)) {
                        Ok(_) => acknowledged.lock().unwrap().push(key),
                        // Nobody can say what became of it; everything else would be wrong.
                        Err(error) => assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}"),
                    }
                    if is_over.load(Ordering::SeqCst) {
                        return;
                    }
                }
            });
        }
        let count = || acknowledged.lock().unwrap().len();
        until("that writes begin", || count() > 50);
        fail();
        let before = count();
        until("that writes go on", || count() > before + 50);
        is_over.store(true, Ordering::SeqCst);
    });
    acknowledged.into_inner().unwrap()
}

/// Every acknowledged key is there with its value, and queries find just what is there.
fn assert_kept(store: &RedisBackend, mut acknowledged: Vec<String>) {
    acknowledged.sort_unstable();
    let found = keys(store);
    let lost: Vec<&String> = acknowledged.iter().filter(|key| found.binary_search(key).is_err()).collect();
    assert!(lost.is_empty(), "acknowledged by a master and a replica, and lost: {lost:?}");
    for key in acknowledged.iter().step_by(7) {
        assert_eq!(get(store, key).unwrap().as_deref(), Some(key.as_str()));
    }
    assert_eq!(tagged(store, "all"), found);
}

#[test]
fn a_store_goes_on_with_the_master_that_sentinels_choose() {
    let group = Watched::start();
    let options = RedisOptions::from_url(&group.url()).unwrap().sweep_interval(None);
    // Both replicas: sentinels may choose the one that is a write behind the other.
    let store = RedisBackend::open(options.wait_replicas(2, Duration::from_millis(500))).unwrap();
    let acknowledged = acknowledged(&store, || {
        let lost = &group.servers[0];
        lost.kill();
        until("that a replica is master", || group.master().is_some());
        lost.restart_behind(group.master().unwrap());
    });
    assert!(group.master().is_some_and(|master| master.port != group.servers[0].port));
    assert_kept(&store, acknowledged);
    assert_agree(group.master());
}

#[test]
fn nothing_acknowledged_is_lost_when_a_server_that_syncs_is_killed() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store =
        RedisBackend::open(RedisOptions::from_url(&server.url()).unwrap().sweep_interval(None)).unwrap();
    let acknowledged = acknowledged(&store, || {
        for _ in 0..3 {
            server.kill();
            server.restart();
        }
    });
    assert_kept(&store, acknowledged);
    store.verify().unwrap();
    assert_agree([&server]);
}

#[test]
fn a_store_goes_on_with_what_is_left_of_a_cluster() {
    let cluster = Cluster::start();
    // One write of the lost master's part finds no replica any more, so what was acknowledged before is what counts.
    let options = RedisOptions::from_url(&cluster.url()).unwrap().sweep_interval(None);
    let store = RedisBackend::open(options).unwrap();
    for number in 0..300 {
        let key = format!("before-{number:03}");
        one(&store, put(&key, key.as_bytes(), &["before"], None)).unwrap();
    }
    cluster.servers[..3].iter().for_each(|master| drop(master.command(&["WAIT", "1", "1000"])));
    until("that replicas have all", || cluster.servers[..3].iter().all(in_step));
    let later = acknowledged(&store, || cluster.servers[1].kill());
    assert!(later.len() > 100);
    assert_eq!(tagged(&store, "before").len(), 300, "what both had is there");
    let found = keys(&store);
    assert!(tagged(&store, "all").iter().all(|key| found.binary_search(key).is_ok()));
    assert_agree(cluster.masters());
    store.verify().unwrap();
    let entries: Vec<_> =
        store.scan(N, ScanRequest::prefix(b"before")).unwrap().map(Result::unwrap).collect();
    store.import("copy", &entries).unwrap();
    let copied: Vec<_> = store.scan("copy", ScanRequest::all()).unwrap().map(Result::unwrap).collect();
    assert!(copied.iter().zip(&entries).all(|(a, b)| a.metadata.created_ms == b.metadata.created_ms));
    assert_eq!(copied.len(), 300);
    set(&store, "k", "after").unwrap();
    assert!(store.drop_namespace(N).unwrap() && keys(&store).is_empty());
}

fn in_step(master: &Server) -> bool {
    let redis::Value::BulkString(info) = master.command(&["INFO", "replication"]) else { return false };
    let info = String::from_utf8(info).unwrap();
    let field = |name: &str| {
        info.split(['\r', '\n', ',']).find_map(|part| part.strip_prefix(name).map(str::to_owned))
    };
    field("offset=").is_some() && field("offset=") == field("master_repl_offset:")
}
