//! Conditional writes, and counters that lose no update.

use std::thread;

use nadb::{ErrorKind, Namespace, Store};

fn current(error: &nadb::Error) -> Option<u64> {
    match error.kind() {
        ErrorKind::PreconditionFailed { current } => current,
        other => panic!("{other:?}: {error}"),
    }
}

#[test]
fn a_failed_condition_names_the_current_version() {
    let n = Store::memory().unwrap().namespace("n").unwrap();
    assert_eq!(current(&n.put("k", "1").if_present().commit().unwrap_err()), None);
    assert_eq!(current(&n.put("k", "1").if_version(1).commit().unwrap_err()), None);
    assert_eq!(current(&n.remove("k").if_present().commit().unwrap_err()), None);
    let first = n.put("k", "1").if_absent().commit().unwrap().version;
    assert_eq!(current(&n.put("k", "2").if_absent().commit().unwrap_err()), Some(first));
    let second = n.put("k", "2").if_version(first).commit().unwrap();
    assert!(second.version > first && !second.created);
    assert_eq!(current(&n.remove("k").if_version(first).commit().unwrap_err()), Some(second.version));
    assert!(n.remove("k").if_version(second.version).commit().unwrap());
    let again = n.put("k", "3").if_absent().commit().unwrap();
    assert!(again.created && again.version > second.version);
}

#[test]
fn of_two_conditions_the_last_counts() {
    let n = Store::memory().unwrap().namespace("n").unwrap();
    assert!(n.put("k", "1").if_present().if_absent().commit().unwrap().created);
}

#[test]
fn eight_threads_lose_no_update() {
    const THREADS: i64 = 8;
    const ROUNDS: i64 = 300;
    let n = Store::memory().unwrap().namespace("n").unwrap();
    n.set("cas", "0").unwrap();
    let work = |n: Namespace| {
        for _ in 0..ROUNDS {
            n.incr("incr", 1).unwrap();
            compare_and_add(&n);
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            let n = n.clone();
            scope.spawn(move || work(n));
        }
    });
    let total = (THREADS * ROUNDS).to_string();
    assert_eq!(n.get("incr").unwrap().unwrap(), total.as_bytes());
    assert_eq!(n.get("cas").unwrap().unwrap(), total.as_bytes());
}

fn compare_and_add(n: &Namespace) {
    loop {
        let entry = n.get_entry("cas").unwrap().unwrap();
        let next = std::str::from_utf8(&entry.value).unwrap().parse::<i64>().unwrap() + 1;
        match n.put("cas", next.to_string()).if_version(entry.metadata.version).commit() {
            Ok(_) => return,
            Err(error) => assert!(current(&error).unwrap() > entry.metadata.version),
        }
    }
}

#[test]
fn of_eight_threads_one_is_first() {
    let n = Store::memory().unwrap().namespace("n").unwrap();
    for round in 0..50 {
        let key = format!("k{round}");
        let winners = thread::scope(|scope| {
            let tries: Vec<_> = (0..8)
                .map(|i| {
                    let (n, key) = (&n, &key);
                    scope.spawn(move || n.put(key, format!("{i}")).if_absent().commit().is_ok())
                })
                .collect();
            tries.into_iter().map(|t| t.join().unwrap()).filter(|won| *won).count()
        });
        assert_eq!(winners, 1);
    }
}
