//! The suite that every backend must pass: on one server, on a cluster, and on a group that sentinels watch.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nadb_conformance::{Backend, CHECKS, Subject};
use nadb_redis::{RedisBackend, RedisOptions};

use crate::groups::{Cluster, Watched};

mod standalone {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use nadb_conformance::Subject;
    use nadb_redis::{RedisBackend, RedisOptions};

    use crate::server::Server;

    /// A store of its own on a server of its own, which lives as long as the subject.
    fn subject() -> Subject {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let server = Server::start(&[]);
        let prefix = format!("test{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let url = format!("{}?prefix={prefix}", server.url());
        let open = move || {
            let _server = &server;
            let options = RedisOptions::from_url(&url).unwrap();
            Arc::new(RedisBackend::open(options).unwrap())
        };
        Subject::new(open()).with_reopen(move || open())
    }

    nadb_conformance::tests!(subject, excluded: include_str!("excluded_standalone.txt"));
}

/// Every check on one group of servers, each with a prefix of its own, several at a time.
fn run_all(url: &str, excluded: &str) {
    let failures = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let subject = |number: usize| {
        let url = format!("{url}?prefix=check{number}");
        let open = move || -> Arc<dyn Backend> {
            Arc::new(RedisBackend::open(RedisOptions::from_url(&url).unwrap().sweep_interval(None)).unwrap())
        };
        Subject::new(open()).with_reopen(open)
    };
    nadb_conformance::assert_excluded(&subject(CHECKS.len()), excluded);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    let Some(check) = CHECKS.get(number) else { return };
                    if catch_unwind(AssertUnwindSafe(|| check.run(subject(number)))).is_err() {
                        failures.lock().unwrap().push(format!("{check:?}"));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn every_check_holds_on_a_cluster() {
    run_all(&Cluster::start().url(), include_str!("excluded_cluster.txt"));
}

#[test]
fn every_check_holds_on_a_group_that_sentinels_watch() {
    run_all(&Watched::start().url(), include_str!("excluded_standalone.txt"));
}
