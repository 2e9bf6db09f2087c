//! What goes wrong between a store and its server, and what the store makes of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nadb_core::{Backend, ErrorKind, ScanRequest};
use nadb_redis::RedisBackend;

use crate::agree::assert_agree;
use crate::proxy::{Proxy, Verdict, is_write};
use crate::server::Server;
use crate::stores::{N, delete, get, impatient, increment, keys, kind, one, open, put, set, set_new, tagged};

#[test]
fn a_server_that_was_restarted_is_found_again() {
    let server = Server::start(&["--appendonly", "yes", "--appendfsync", "always"]);
    let store = open(&server.url());
    set(&store, "before", "1").unwrap();
    server.kill();
    let impatient = RedisBackend::open(impatient(&server.url()));
    assert_eq!(kind(impatient), ErrorKind::Unavailable);
    server.restart();
    // Connections are gone, and the scripts of the server, too.
    assert_eq!(get(&store, "before").unwrap().as_deref(), Some("1"));
    set(&store, "after", "2").unwrap();
    assert_eq!(keys(&store), ["after", "before"]);
}

#[test]
fn calls_wait_for_a_server_that_comes_back() {
    let server = Server::start(&["--appendonly", "yes"]);
    let store = Arc::new(open(&server.url()));
    set(&*store, "k", "1").unwrap();
    server.kill();
    let waiting = {
        let store = Arc::clone(&store);
        std::thread::spawn(move || set(&*store, "k", "2").map(drop))
    };
    std::thread::sleep(Duration::from_millis(100));
    server.restart();
    waiting.join().unwrap().unwrap();
    assert_eq!(get(&*store, "k").unwrap().as_deref(), Some("2"));
}

#[test]
fn a_counter_is_exact_where_replies_are_lost() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let store = open(&proxy.url());
    let mut number = 0;
    proxy.judge(move |request| {
        number += usize::from(is_write(request));
        match number % 5 {
            0 if is_write(request) => Verdict::EatReply,
            3 if is_write(request) => Verdict::Cut,
            _ => Verdict::Pass,
        }
    });
    for count in 1..=60_u64 {
        let outcome = increment(&store, "counter").unwrap();
        assert_eq!(outcome.merged.as_deref(), Some(count.to_string().as_bytes()), "each step is done once");
    }
    assert_eq!(get(&store, "counter").unwrap().as_deref(), Some("60"));
}

#[test]
fn a_counter_ends_between_what_was_acknowledged_and_what_may_have_been_done() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let store = RedisBackend::open(impatient(&proxy.url()).retry_for(Duration::ZERO)).unwrap();
    increment(&store, "counter").unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&seen);
    proxy.judge(move |request| match is_write(request) {
        true => match counter.fetch_add(1, Ordering::SeqCst) % 4 {
            1 => Verdict::EatReply,
            2 => Verdict::Cut,
            _ => Verdict::Pass,
        },
        false => Verdict::Pass,
    });
    let (mut acknowledged, mut unknown) = (1, 0);
    for _ in 0..40 {
        match increment(&store, "counter") {
            Ok(_) => acknowledged += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutcomeUnknown, "{error}");
                unknown += 1;
            }
        }
    }
    let counted: u64 = get(&store, "counter").unwrap().unwrap().parse().unwrap();
    assert_eq!((acknowledged, unknown), (21, 20));
    assert_eq!(counted, acknowledged + unknown / 2, "half of the unknown ones were done");
}

#[test]
fn a_write_that_comes_late_does_not_overwrite_a_later_one() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let store = open(&proxy.url());
    set(&store, "k", "0").unwrap();
    let mut is_held = false;
    proxy.judge(move |request| match is_write(request) && !std::mem::replace(&mut is_held, true) {
        true => Verdict::Hold,
        false => Verdict::Pass,
    });
    set(&store, "k", "1").unwrap();
    set(&store, "k", "2").unwrap();
    let replies = proxy.let_go();
    assert_eq!(replies, [b"$1\r\n\x01\r\n"], "the server refuses it as overtaken");
    assert_eq!(get(&store, "k").unwrap().as_deref(), Some("2"));
}

#[test]
fn a_write_that_was_refused_does_not_happen_later() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let (store, other) = (open(&proxy.url()), open(&server.url()));
    set(&other, "k", "taken").unwrap();
    let mut is_held = false;
    proxy.judge(move |request| match is_write(request) && !std::mem::replace(&mut is_held, true) {
        true => Verdict::Hold,
        false => Verdict::Pass,
    });
    assert!(matches!(kind(set_new(&store, "k", "mine")), ErrorKind::PreconditionFailed { current: Some(_) }));
    delete(&other, "k").unwrap();
    assert_eq!(proxy.let_go().len(), 1);
    assert_eq!(get(&other, "k").unwrap(), None, "the user was told that nothing was written");
}

#[test]
fn a_namespace_dropped_by_another_client_is_gone_for_this_one() {
    let server = Server::start(&[]);
    let (store, other) = (open(&server.url()), open(&server.url()));
    set(&store, "k", "1").unwrap();
    assert_eq!(get(&other, "k").unwrap().as_deref(), Some("1"));
    assert!(other.drop_namespace(N).unwrap());
    set(&other, "k", "2").unwrap();
    assert_eq!(get(&store, "k").unwrap().as_deref(), Some("2"), "it sees the new one");
    assert!(other.drop_namespace(N).unwrap());
    assert_eq!(get(&store, "k").unwrap(), None);
    assert!(keys(&store).is_empty() && tagged(&store, "t").is_empty());
    assert!(!delete(&store, "k").unwrap().existed);
    set(&store, "k", "3").unwrap();
    assert_eq!(get(&other, "k").unwrap().as_deref(), Some("3"));
    assert_eq!(assert_agree([&server]), 1);
}

#[test]
fn a_drop_that_was_interrupted_is_finished_by_whoever_comes() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let store = RedisBackend::open(impatient(&proxy.url())).unwrap();
    for key in ["a", "b", "c"] {
        set(&store, key, "v").unwrap();
    }
    let before = store.metadata(N, b"a").unwrap().unwrap().version;
    // All that deletes is lost from here on.
    proxy.judge(|request| match request[0] == b"EVALSHA" && request[2] > b"5".to_vec() {
        true => Verdict::Cut,
        false => Verdict::Pass,
    });
    assert_eq!(kind(store.drop_namespace(N)), ErrorKind::Unavailable);
    proxy.judge(|_| Verdict::Pass);
    assert!(store.namespaces().unwrap().is_empty() && keys(&store).is_empty());
    assert!(get(&store, "a").unwrap().is_none());
    let outcome = set(&store, "a", "w").unwrap();
    assert!(!outcome.existed && outcome.version > Some(before));
    assert_eq!(keys(&store), ["a"]);
    assert_eq!(assert_agree([&server]), 1);
}

#[test]
fn versions_go_on_behind_those_of_a_dropped_namespace_though_the_clock_was_set_back() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    set(&store, "k", "1").unwrap();
    // As if the clock of the server had shown the year 2100 meanwhile.
    let ahead = 4_102_444_800_000_000_u64;
    let names = server.command(&["KEYS", "*:0}m"]);
    let redis::Value::Array(names) = names else { panic!("{names:?}") };
    let [redis::Value::BulkString(name)] = &names[..] else { panic!("{names:?}") };
    server.command(&["HSET", std::str::from_utf8(name).unwrap(), "v", &ahead.to_string()]);
    assert!(store.drop_namespace(N).unwrap());
    assert!(set(&store, "k", "2").unwrap().version > Some(ahead));
}

#[test]
fn errors_of_servers_say_what_can_be_done() {
    let server = Server::start(&[]);
    let proxy = Proxy::start(server.port);
    let store = RedisBackend::open(impatient(&proxy.url())).unwrap();
    set(&store, "k", "before").unwrap();
    for (answer, expected) in [
        ("-OOM command not allowed when used memory > 'maxmemory'.\r\n", ErrorKind::NoSpace),
        ("-MISCONF Redis is configured to save RDB snapshots, but it cannot.\r\n", ErrorKind::ReadOnly),
        ("-NOPERM this user has no permissions\r\n", ErrorKind::Backend),
        ("-READONLY You can't write against a read only replica.\r\n", ErrorKind::Unavailable),
        ("-LOADING Redis is loading the dataset in memory\r\n", ErrorKind::Unavailable),
        ("-NOREPLICAS Not enough good replicas to write.\r\n", ErrorKind::Unavailable),
        ("-BUSY Redis is busy running a script.\r\n", ErrorKind::Unavailable),
        ("-TRYAGAIN Multiple keys request during rehashing of slot\r\n", ErrorKind::Unavailable),
        ("-CLUSTERDOWN The cluster is down\r\n", ErrorKind::Unavailable),
    ] {
        proxy.judge(move |request| if is_write(request) { Verdict::Answer(answer) } else { Verdict::Pass });
        let error = set(&store, "k", "never").unwrap_err();
        assert_eq!(error.kind(), expected, "{answer}: {error}");
        let code = answer[1..].split(' ').next().unwrap();
        assert!(error.to_string().contains(code), "{error}");
        // It goes on when the server has come to its senses, in the same call if that is soon enough.
        let mut left = 2;
        proxy.judge(move |request| {
            match is_write(request) && expected == ErrorKind::Unavailable && left > 0 {
                true => {
                    left -= 1;
                    Verdict::Answer(answer)
                }
                false => Verdict::Pass,
            }
        });
        set(&store, "k", code).unwrap();
        assert_eq!(get(&store, "k").unwrap().as_deref(), Some(code));
    }
}

#[test]
fn passwords_are_checked_and_never_shown() {
    let server =
        Server::begin(&["--requirepass", "hunter2", "--user", "alice", "on", ">hunter3", "~*", "+@all"]);
    let url = |login: &str| format!("redis://{login}{}", server.address());
    while RedisBackend::open(impatient(&url(":hunter2@"))).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    for login in [":wrong-hunter@", "alice:wrong-hunter@", "bob:hunter3@", ""] {
        let error = RedisBackend::open(impatient(&url(login))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend, "{error}");
        assert!(error.to_string().contains("password") && !error.to_string().contains("hunter"), "{error}");
    }
    let store = open(&url("alice:hunter3@"));
    set(&store, "k", "v").unwrap();
    assert!(!format!("{store:?}").contains("hunter"));
}

#[test]
fn a_server_that_is_too_slow_is_not_waited_for_and_found_again() {
    let server = Server::start(&[]);
    let options = impatient(&server.url()).timeouts(Duration::from_secs(1), Duration::from_millis(30));
    let store = RedisBackend::open(options.retry_for(Duration::from_millis(60))).unwrap();
    set(&store, "k", "1").unwrap();
    server.command(&["CLIENT", "PAUSE", "100000", "ALL"]);
    assert_eq!(kind(get(&store, "k")), ErrorKind::Unavailable);
    assert_eq!(kind(set(&store, "k", "2")), ErrorKind::OutcomeUnknown);
    server.kill();
    server.restart();
    set(&store, "k", "3").unwrap();
    assert_eq!(get(&store, "k").unwrap().as_deref(), Some("3"));
}

#[test]
fn a_server_without_memory_takes_deletes_and_nothing_half() {
    let server = Server::start(&["--maxmemory", "6mb"]);
    let store =
        RedisBackend::open(impatient(&server.url()).compression(nadb_core::Compression::None)).unwrap();
    let value = vec![7; 20_000];
    let mut written = 0;
    let refused = loop {
        assert!(written < 1_000, "6 MB are full some time");
        match one(&store, put(&format!("{written:04}"), &value, &["big", "all"], None)) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::NoSpace);
    server.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
    assert_eq!(kind(set(&store, "k", "v")), ErrorKind::NoSpace);
    assert_eq!(keys(&store).len(), written);
    assert_eq!(assert_agree([&server]), written);
    assert!(!delete(&store, "absent").unwrap().existed);
    for number in 0..written / 2 {
        assert!(delete(&store, &format!("{number:04}")).unwrap().existed);
    }
    server.command(&["CONFIG", "SET", "maxmemory", "100mb"]);
    set(&store, "k", "v").unwrap();
    assert_eq!(tagged(&store, "big").len(), written - written / 2);
    assert_eq!(assert_agree([&server]), written - written / 2 + 1);
    server.command(&["CONFIG", "SET", "maxmemory", "1mb"]);
    assert!(store.drop_namespace(N).unwrap(), "what only frees works without memory");
}

#[test]
fn servers_that_forget_are_refused_unless_allowed() {
    let server = Server::start(&["--maxmemory-policy", "allkeys-lru"]);
    let error = RedisBackend::open(impatient(&server.url())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("allkeys-lru"), "{error}");
    let store = RedisBackend::open(impatient(&server.url()).allow_eviction(true)).unwrap();
    assert_eq!(store.recovery().unwrap().warnings.len(), 1);
    // A record that the server forgot is absent; of its keys in the sets nothing is shown with a value.
    one(&store, put("k", b"v", &["t"], None)).unwrap();
    let redis::Value::Array(names) = server.command(&["KEYS", "*r:k"]) else { panic!("a list") };
    let redis::Value::BulkString(name) = &names[0] else { panic!("a name") };
    server.command(&["DEL", std::str::from_utf8(name).unwrap()]);
    assert_eq!(get(&store, "k").unwrap(), None);
    assert_eq!(store.scan(N, ScanRequest::all()).unwrap().count(), 0);
    delete(&store, "k").unwrap();
    set(&store, "k", "again").unwrap();
    assert_eq!(keys(&store), ["k"]);
}

#[test]
fn replicas_are_waited_for_when_that_is_asked() {
    let master = Server::start(&["--repl-diskless-sync-delay", "0"]);
    let options = impatient(&master.url()).wait_replicas(1, Duration::from_millis(50));
    let store = RedisBackend::open(options).unwrap();
    let error = set(&store, "k", "alone").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::OutcomeUnknown);
    assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
    while set(&store, "k", "twice").is_err() {}
    assert_eq!(get(&store, "k").unwrap().as_deref(), Some("twice"));
    drop(replica);
}

#[test]
fn sets_and_records_agree_after_many_changes_by_many() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let change = |seed: u64| {
        let mut state = seed;
        for _ in 0..300 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let pick = |shift: u32, of: u64| (state >> shift) % of;
            let key = format!("k{}", pick(33, 12));
            let tags: Vec<String> =
                (0..3).filter(|bit| pick(40 + bit, 2) == 1).map(|tag| format!("t{tag}")).collect();
            let tags: Vec<&str> = tags.iter().map(String::as_str).collect();
            let ttl = [None, Some(Duration::from_millis(1)), Some(Duration::from_secs(600))];
            let ttl = ttl[usize::try_from(pick(50, 3)).unwrap()];
            match pick(55, 4) {
                0 => drop(delete(&store, &key).unwrap()),
                _ => drop(one(&store, put(&key, b"1", &tags, ttl)).unwrap()),
            }
        }
    };
    std::thread::scope(|scope| (1..=3).for_each(|seed| drop(scope.spawn(move || change(seed)))));
    std::thread::sleep(Duration::from_millis(5));
    for tag in ["t0", "t1", "t2"] {
        let found = tagged(&store, tag);
        let of_records = |key: &String| {
            let metadata = store.metadata(N, key.as_bytes()).unwrap();
            metadata.is_some_and(|metadata| metadata.tags.contains(tag))
        };
        assert!(found.iter().all(of_records), "{tag}: {found:?}");
        assert_eq!(store.count(N, &nadb_core::Filter::tag(tag)).unwrap(), found.len() as u64);
    }
    store.purge_expired().unwrap();
    assert_eq!(assert_agree([&server]), keys(&store).len());
}

#[test]
fn verification_finds_whatever_does_not_agree() {
    let server = Server::start(&[]);
    let store = open(&server.url());
    let forever = Duration::from_secs(600);
    for number in 0..300 {
        let ttl = (number % 2 == 0).then_some(forever);
        one(&store, put(&format!("k{number:03}"), b"value", &["a", "b"], ttl)).unwrap();
    }
    let report = store.verify().unwrap();
    assert_eq!((report.keys, report.records, report.bytes), (300, 300, 300 * 9));
    let redis::Value::Array(names) = server.command(&["KEYS", "*:0}m"]) else { panic!("a list") };
    let redis::Value::BulkString(name) = &names[0] else { panic!("a name") };
    let tag = std::str::from_utf8(&name[..name.len() - 1]).unwrap();
    let name = |kind: &str| format!("{tag}{kind}");
    for (damage, restore, word) in [
        (["ZREM", &name("k"), "k007"].as_slice(), ["ZADD", &name("k"), "0", "k007"].as_slice(), "(k)"),
        (&["ZADD", &name("k"), "0", "stray"], &["ZREM", &name("k"), "stray"], "(r)"),
        (&["ZREM", &name("t"), "a\0k007"], &["ZADD", &name("t"), "0", "a\0k007"], "(t)"),
        (&["ZADD", &name("t"), "0", "c\0k007"], &["ZREM", &name("t"), "c\0k007"], "(t)"),
        (&["ZADD", &name("t"), "0", "a\0stray"], &["ZREM", &name("t"), "a\0stray"], "(t)"),
        (&["ZADD", &name("x"), "9e12", "k007"], &["ZREM", &name("x"), "k007"], "(x)"),
        (&["ZADD", &name("x"), "9e12", "stray"], &["ZREM", &name("x"), "stray"], "(r)"),
        (&["HSET", &name("y"), "k007", "\u{1}a"], &["HDEL", &name("y"), "k007"], "(y)"),
    ] {
        server.command(damage);
        let error = store.verify().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption, "{damage:?}");
        assert!(error.to_string().contains(word), "{damage:?}: {error}");
        server.command(restore);
        store.verify().unwrap();
    }
    server.command(&["HSET", &name("r:k007"), "v", "longer than it says"]);
    assert_eq!(kind(store.verify()), ErrorKind::Corruption);
    assert_eq!(kind(get(&store, "k007")), ErrorKind::Corruption);
}
