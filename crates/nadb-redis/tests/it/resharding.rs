//! Slots that move to another master while they are written to.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use nadb_core::Backend;
use redis::Value;

use crate::agree::assert_agree;
use crate::groups::{Cluster, until};
use crate::server::Server;
use crate::stores::{N, get, keys, one, open, put, tagged};

fn text(value: Value) -> String {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).unwrap(),
        Value::Int(number) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn list(value: Value) -> Vec<String> {
    let Value::Array(parts) = value else { panic!("{value:?}") };
    parts.into_iter().map(text).collect()
}

/// The slots of a server that buckets are in.
fn slots_of(server: &Server) -> Vec<String> {
    let names = list(server.command(&["KEYS", "{*:*:*}m"]));
    names.iter().map(|name| text(server.command(&["CLUSTER", "KEYSLOT", name]))).collect()
}

fn move_slot(slot: &str, from: &Server, to: &Server, others: &[&Server]) {
    let id = |server: &Server| text(server.command(&["CLUSTER", "MYID"]));
    let (from_id, to_id) = (id(from), id(to));
    to.command(&["CLUSTER", "SETSLOT", slot, "IMPORTING", &from_id]);
    from.command(&["CLUSTER", "SETSLOT", slot, "MIGRATING", &to_id]);
    loop {
        let names = list(from.command(&["CLUSTER", "GETKEYSINSLOT", slot, "3"]));
        if names.is_empty() {
            break;
        }
        let port = to.port.to_string();
        let mut words = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "5000", "KEYS"];
        words.extend(names.iter().map(String::as_str));
        from.command(&words);
        thread::sleep(Duration::from_millis(1));
    }
    for server in [to, from].into_iter().chain(others.iter().copied()) {
        server.command(&["CLUSTER", "SETSLOT", slot, "NODE", &to_id]);
    }
}

#[test]
fn sets_and_records_agree_after_slots_have_moved_under_writes() {
    let cluster = Cluster::start();
    let (store, other) = (open(&cluster.url()), open(&cluster.url()));
    let key = |number: usize| format!("k{number}");
    for number in 0..200 {
        one(&store, put(&key(number), b"0", &["first", "all"], Some(Duration::from_secs(600)))).unwrap();
    }
    let is_over = AtomicBool::new(false);
    let written: Vec<usize> = thread::scope(|scope| {
        let writer = |seed: usize| {
            let (store, is_over) = (&store, &is_over);
            scope.spawn(move || {
                let mut rounds = 0;
                while !is_over.load(Ordering::SeqCst) {
                    rounds += 1;
                    for number in (seed..200).step_by(2) {
                        let ttl = (number % 3 == 0).then_some(Duration::from_secs(600));
                        let tag = format!("round{}", rounds % 3);
                        one(store, put(&key(number), rounds.to_string().as_bytes(), &[&tag, "all"], ttl))
                            .unwrap();
                    }
                }
                rounds
            })
        };
        let writers = [writer(0), writer(1)];
        let [first, second, third] = [0, 1, 2].map(|number| &cluster.servers[number]);
        for slot in slots_of(first).iter().take(4) {
            move_slot(slot, first, second, &[third]);
        }
        is_over.store(true, Ordering::SeqCst);
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    for number in 0..200 {
        let expected = written[number % 2].to_string();
        assert_eq!(get(&other, &key(number)).unwrap(), Some(expected), "the last write of {number}");
    }
    assert_eq!(
        (keys(&other).len(), tagged(&other, "all").len(), tagged(&other, "first").len()),
        (200, 200, 0)
    );
    until("that replicas know of it", || {
        slots_of(&cluster.servers[0]).len() < slots_of(&cluster.servers[1]).len()
    });
    assert_eq!(assert_agree(cluster.masters()), 200);
    assert!(other.drop_namespace(N).unwrap());
}
