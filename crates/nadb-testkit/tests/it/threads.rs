//! Many threads at once: no update is lost, conditions are won once, namespaces come and go, closing races writing; and a
//! reopening finds what was there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use nadb_core::{
    Action, Add, Condition, Durability, ErrorKind, Merge, MergeOperator, Operation, Outcome, Put, Result,
};
use nadb_engine::{Engine, Options};
use nadb_testkit::dice::Dice;
use nadb_testkit::stress::{Cast, prepare, run};
use nadb_vfs::{CallKind, Fault, FaultKind, Fs, MemFs, RealFs, SimFs};

const THREADS: u64 = 8;
const CLASSES: [Durability; 3] = [Durability::Buffered, Durability::Flushed, Durability::Synced];

#[test]
fn counters_add_up() {
    for durability in CLASSES {
        let store = Store::in_memory(durability);
        let each = store.rounds(1500);
        let values: Vec<BTreeSet<i64>> = store.all_threads(|thread, engine| {
            let mut dice = Dice::new(thread);
            let mut seen = BTreeSet::new();
            for _ in 0..each {
                let counter = dice.below(3);
                let merged = add(engine, "n", counter, 1).unwrap();
                assert!(seen.insert((merged << 2) + counter as i64), "{merged} was seen twice by one thread");
            }
            seen
        });
        // Every value of every counter was the answer to precisely one writer.
        let all: BTreeSet<i64> = values.iter().flatten().copied().collect();
        assert_eq!(all.len() as u64, THREADS * each);
        let sum: i64 = (0..3).map(|counter| counter_value(&store.engine, "n", counter)).sum();
        assert_eq!(sum as u64, THREADS * each);
        store.check();
    }
}

/// Needs no luck: the second writer comes while the first one is computing.
#[test]
fn a_write_waits_for_the_one_that_has_the_key() {
    #[derive(Debug)]
    struct SlowAdd(AtomicU64);
    impl MergeOperator for SlowAdd {
        fn merge(&self, key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
            self.0.fetch_add(1, Ordering::SeqCst);
            let begun = Instant::now();
            while self.0.load(Ordering::SeqCst) < 2 && begun.elapsed() < Duration::from_millis(200) {
                thread::yield_now();
            }
            Add.merge(key, current, operand)
        }
    }
    let store = Store::in_memory(Durability::Flushed);
    let operator: Arc<dyn MergeOperator> = Arc::new(SlowAdd(AtomicU64::new(0)));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let merge = Merge::new(Arc::clone(&operator), b"1".as_slice());
                store.engine.write(&[Operation::new("n", key(0), Action::Merge(merge))], None).unwrap();
            });
        }
    });
    assert_eq!(counter_value(&store.engine, "n", 0), 2);
    store.check();
}

#[test]
fn compare_and_set_counts_every_success_once() {
    for durability in CLASSES {
        let store = Store::in_memory(durability);
        put(&store.engine, "n", 0, b"0", Condition::Always).unwrap();
        let each = store.rounds(300);
        let refused: u64 =
            store.all_threads(|_, engine| (0..each).map(|_| increase(engine)).sum::<u64>()).iter().sum();
        assert_eq!(counter_value(&store.engine, "n", 0) as u64, THREADS * each);
        println!("{durability:?}: {} successes, {refused} refused", THREADS * each);
        store.check();
    }
}

/// One success, however many attempts it takes; says how many were refused.
fn increase(engine: &Engine) -> u64 {
    for refused in 0.. {
        let entry = engine.get_entry("n", &key(0)).unwrap().unwrap();
        let version = entry.metadata.version;
        let next = (number(&entry.value) + 1).to_string();
        // So that others come in between also where there are few processors.
        thread::yield_now();
        match put(engine, "n", 0, next.as_bytes(), Condition::IfVersion(version)) {
            Ok(written) => {
                assert!(written > version);
                return refused;
            }
            Err(error) => match error.kind() {
                ErrorKind::PreconditionFailed { current: Some(current) } => assert!(current > version),
                other => panic!("{other:?}: {error}"),
            },
        }
    }
    unreachable!()
}

#[test]
fn if_absent_is_won_by_one() {
    for durability in CLASSES {
        let store = Store::in_memory(durability);
        let keys = store.rounds(400);
        let wins = store.all_threads(|thread, engine| {
            let value = thread.to_string().into_bytes();
            let wins = |n: &u64| match put(engine, "n", *n, &value, Condition::IfAbsent) {
                Ok(_) => true,
                Err(error) => {
                    assert!(matches!(error.kind(), ErrorKind::PreconditionFailed { current: Some(_) }));
                    false
                }
            };
            (0..keys).filter(wins).collect::<Vec<u64>>()
        });
        assert_eq!(wins.iter().map(Vec::len).sum::<usize>() as u64, keys);
        for (thread, won) in wins.iter().enumerate() {
            for n in won {
                assert_eq!(
                    store.engine.get("n", &key(*n)).unwrap().unwrap(),
                    thread.to_string().into_bytes()
                );
            }
        }
        store.check();
    }
}

#[test]
fn batches_move_amounts_and_the_sum_stays() {
    const ACCOUNTS: u64 = 6;
    for durability in CLASSES {
        let store = Store::in_memory(durability);
        for n in 0..ACCOUNTS {
            add(&store.engine, side(n), n, 100).unwrap();
        }
        let each = store.rounds(700);
        let is_done = AtomicBool::new(false);
        thread::scope(|scope| {
            let reader = scope.spawn(|| read_versions_until(&store.engine, ACCOUNTS, &is_done));
            store.all_threads(|thread, engine| {
                let mut dice = Dice::new(thread);
                for _ in 0..each {
                    let (from, to) = (dice.below(ACCOUNTS), dice.below(ACCOUNTS));
                    let amount = 1 + dice.below(5) as i64;
                    // Also from an account to itself: later operations of a batch see earlier ones.
                    let batch = [addition(side(from), from, -amount), addition(side(to), to, amount)];
                    engine.write(&batch, None).unwrap();
                }
            });
            is_done.store(true, Ordering::Release);
            println!("{durability:?}: {} reads", reader.join().unwrap());
        });
        let sum: i64 = (0..ACCOUNTS).map(|n| counter_value(&store.engine, side(n), n)).sum();
        assert_eq!(sum, 100 * ACCOUNTS as i64);
        store.check();
    }
}

/// Transfers, large batches, a namespace that comes and goes, segments sealed all the time: each snapshot and scan shows one moment.
#[test]
fn every_view_shows_one_moment_while_segments_are_sealed() {
    for durability in [Durability::Buffered, Durability::Flushed] {
        let store = Store::in_memory(durability);
        let empty = store.engine.stats().unwrap().versions_bytes;
        prepare(&store.engine).unwrap();
        let cast = Cast { writers: 4, readers: 3, seed: 1, pauses: 20 };
        let done = run(&store.engine, cast, Duration::from_millis(1200));
        println!("{durability:?}: {done:?}");
        let stats = store.engine.stats().unwrap();
        assert_eq!((stats.views, stats.remembered_deaths, stats.versions_bytes), (0, 0, empty));
        assert!(stats.seals > 0, "nothing was sealed");
        store.check();
    }
}

fn side(n: u64) -> &'static str {
    if n.is_multiple_of(2) { "even" } else { "odd" }
}

/// A key's version never goes back for a reader.
fn read_versions_until(engine: &Engine, accounts: u64, is_done: &AtomicBool) -> u64 {
    let mut newest = BTreeMap::new();
    let mut reads = 0;
    while !is_done.load(Ordering::Acquire) {
        for n in 0..accounts {
            let version = engine.metadata(side(n), &key(n)).unwrap().unwrap().version;
            let before = newest.insert(n, version).unwrap_or(0);
            assert!(before <= version, "account {n} went from version {before} back to {version}");
            reads += 1;
        }
    }
    reads
}

#[test]
fn a_namespace_is_created_once() {
    for durability in CLASSES {
        let store = Store::in_memory(durability);
        let names = store.rounds(60);
        let barrier = Barrier::new(THREADS as usize);
        store.all_threads(|thread, engine| {
            for n in 0..names {
                barrier.wait();
                // Two at once in different orders, so that creators meet in both.
                let pair = [format!("new{}", n % names), format!("new{}", (n + 1) % names)];
                let order = if thread % 2 == 0 { [0, 1] } else { [1, 0] };
                let batch = order.map(|at| {
                    Operation::new(pair[at].as_str(), key(thread), Action::Put(Put::new(b"v".as_slice())))
                });
                engine.write(&batch, None).unwrap();
            }
        });
        let found = store.engine.namespaces().unwrap();
        assert_eq!(found.len() as u64, names);
        assert!(found.iter().all(|namespace| namespace.keys == THREADS), "{found:?}");
        store.check();
    }
}

#[test]
fn dropping_a_namespace_races_its_writers() {
    for durability in CLASSES {
        let store = Store::in_memory(durability);
        let each = store.rounds(400);
        store.all_threads(|thread, engine| {
            let mut dice = Dice::new(thread);
            for n in 0..each {
                if thread == 0 && n % 8 == 0 {
                    engine.drop_namespace("d").unwrap();
                } else if thread == 0 {
                    // This thread alone drops, so between two drops its own writes stay.
                    put(engine, "d", 1000 + n, b"own", Condition::Always).unwrap();
                    let from = n - n % 8 + 1;
                    for own in from..=n {
                        assert!(engine.contains("d", &key(1000 + own)).unwrap(), "key {own} at step {n}");
                    }
                    for gone in from.saturating_sub(9)..from - 1 {
                        assert!(!engine.contains("d", &key(1000 + gone)).unwrap(), "key {gone} at step {n}");
                    }
                } else {
                    match dice.below(4) {
                        0 => drop(add(engine, "d", 500 + dice.below(4), 1).unwrap()),
                        1 => drop(delete(engine, "d", dice.below(50)).unwrap()),
                        _ => drop(put(engine, "d", dice.below(50), b"other", Condition::Always).unwrap()),
                    }
                    put(engine, "kept", thread * 10_000 + n, b"v", Condition::Always).unwrap();
                }
            }
        });
        let all = (Bound::Unbounded, Bound::Unbounded);
        let counts: Vec<(String, u64)> = store
            .engine
            .namespaces()
            .unwrap()
            .into_iter()
            .map(|namespace| (namespace.name, namespace.keys))
            .collect();
        for (name, keys) in &counts {
            assert_eq!(store.engine.scan(name, all.clone()).unwrap().count() as u64, *keys, "{name}");
        }
        let kept = counts.iter().find(|(name, _)| name == "kept").unwrap().1;
        assert_eq!(kept, (THREADS - 1) * each);
        store.check();
    }
}

#[test]
fn all_drop_and_create_at_once() {
    for durability in CLASSES {
        let store = Store::in_memory(durability);
        let each = store.rounds(300);
        let drops = store.all_threads(|thread, engine| {
            let mut dice = Dice::new(thread);
            let mut drops = 0u64;
            for n in 0..each {
                let name = ["a", "b"][dice.below(2) as usize];
                if dice.below(3) == 0 {
                    drops += u64::from(engine.drop_namespace(name).unwrap());
                } else {
                    let other = if name == "a" { "b" } else { "a" };
                    let value = b"v".as_slice();
                    let batch = [
                        Operation::new(name, key(n % 7), Action::Put(Put::new(value))),
                        Operation::new(other, key(n % 5), Action::Delete),
                        Operation::new(name, key(n % 11), Action::Put(Put::new(value))),
                    ];
                    engine.write(&batch, None).unwrap();
                }
            }
            drops
        });
        println!("{durability:?}: {} drops", drops.iter().sum::<u64>());
        store.check();
    }
}

#[test]
fn synced_writers_share_syncs() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let store = Store::open(Arc::new(RealFs), dir.path(), Durability::Synced);
    let each = 120;
    store.all_threads(|thread, engine| {
        for n in 0..each {
            put(engine, "n", thread * 1000 + n, b"value", Condition::Always).unwrap();
        }
    });
    let stats = store.engine.stats().unwrap();
    println!("{} syncs for {} writes, {} appends", stats.syncs, THREADS * each, stats.appends);
    assert!(stats.durable_seq >= THREADS * each);
    assert!(stats.syncs < THREADS * each * 2 / 3, "{} syncs", stats.syncs);
    store.check();
}

#[test]
fn buffered_writes_are_read_by_their_writer_at_once() {
    for fs in [Arc::new(MemFs::default()) as Arc<dyn Fs>, Arc::new(RealFs)] {
        let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let store = Store::open(fs, dir.path(), Durability::Buffered);
        store.all_threads(|thread, engine| {
            let mut dice = Dice::new(thread);
            for n in 0..1500u64 {
                let at = thread * 100 + dice.below(40);
                let value = [n.to_string().into_bytes(), vec![0; dice.below(300) as usize]].concat();
                let version = put(engine, "n", at, &value, Condition::Always).unwrap();
                let entry = engine.get_entry("n", &key(at)).unwrap().unwrap();
                assert_eq!((entry.metadata.version, &entry.value[..]), (version, &value[..]));
                if n % 5 == 0 {
                    assert!(delete(engine, "n", at).unwrap());
                    assert!(!engine.contains("n", &key(at)).unwrap());
                }
            }
        });
        assert!(store.engine.stats().unwrap().segments > 10);
        store.check();
    }
}

#[test]
fn closing_races_writing() {
    for durability in CLASSES {
        for round in 0..6 {
            let store = Store::in_memory(durability);
            let written: Vec<u64> = thread::scope(|scope| {
                let writers: Vec<_> = (0..THREADS)
                    .map(|thread| {
                        let engine = store.engine.clone();
                        scope.spawn(move || write_until_closed(&engine, thread))
                    })
                    .collect();
                thread::sleep(Duration::from_millis(2 + 3 * round));
                store.engine.close().unwrap();
                writers.into_iter().map(|writer| writer.join().unwrap()).collect()
            });
            let engine = store.reopen();
            assert!(engine.recovery().clean);
            for (thread, written) in written.iter().enumerate() {
                for n in 0..=*written {
                    let is_there = engine.contains("n", &key(thread as u64 * 1_000_000 + n)).unwrap();
                    assert_eq!(
                        is_there,
                        n < *written,
                        "write {n} of thread {thread}, {written} acknowledged"
                    );
                }
            }
            engine.verify().unwrap();
        }
    }
}

/// Whoever closes may open again afterwards, also if another was closing already.
#[test]
fn every_close_returns_when_the_store_is_closed() {
    for _ in 0..40 {
        let store = Store::in_memory(Durability::Flushed);
        put(&store.engine, "n", 0, &[7; 3000], Condition::Always).unwrap();
        store.all_threads(|thread, engine| {
            engine.close().unwrap();
            if thread == THREADS / 2 {
                store.reopen().close().unwrap();
            }
        });
    }
}

/// How many writes were acknowledged before the store was closed.
fn write_until_closed(engine: &Engine, thread: u64) -> u64 {
    for n in 0.. {
        if let Err(error) = put(engine, "n", thread * 1_000_000 + n, b"v", Condition::Always) {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
            assert_eq!(engine.get("n", &key(0)).unwrap_err().kind(), ErrorKind::Closed);
            return n;
        }
    }
    unreachable!()
}

/// When nothing works any more the background thread does not try again and again without a pause.
#[test]
fn the_background_thread_pauses_when_it_fails() {
    let poison = |fs: &SimFs| fs.inject(Fault::at(CallKind::SyncData, 1, FaultKind::SyncLost));
    let fill =
        |fs: &SimFs| (1..20_000).for_each(|n| fs.inject(Fault::at(CallKind::Create, n, FaultKind::NoSpace)));
    for (what, break_it) in [("a failed sync", &poison as &dyn Fn(&SimFs)), ("no room for a file", &fill)] {
        let fs = SimFs::new(1);
        let store = Store::open(Arc::new(fs.clone()), Path::new("/store"), Durability::Flushed);
        // Beyond half of the segment a spare is due, from before the failure on or only after it.
        let mut refused = 0;
        for n in 0..200 {
            refused += u64::from(put(&store.engine, "n", n, &[7; 100], Condition::Always).is_err());
            if n == 10 {
                break_it(&fs);
            }
            if n > 10 && store.engine.flush().is_err() {
                break;
            }
        }
        println!("{what}: {refused} writes refused");
        thread::sleep(Duration::from_millis(50));
        let (calls, begun, before) = (fs.calls(), Instant::now(), cpu_ms());
        thread::sleep(Duration::from_millis(400));
        let (calls, busy_ms, ms) = (fs.calls() - calls, cpu_ms() - before, begun.elapsed().as_millis());
        println!("{what}: {calls} calls and {busy_ms} ms of work in {ms} ms");
        assert!(calls < 2000, "{what}: {calls} calls in {ms} ms");
        assert!(u128::from(busy_ms) < ms / 2, "{what}: {busy_ms} ms of work in {ms} ms");
        fs.clear_faults();
    }
}

/// Processor time of this process so far; 0 where that cannot be told.
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind_name.split_whitespace().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok());
    ticks.sum::<u64>() * 10
}

struct Store {
    engine: Engine,
    fs: Arc<dyn Fs>,
    dir: std::path::PathBuf,
    durability: Durability,
}

impl Store {
    fn in_memory(durability: Durability) -> Store {
        Store::open(Arc::new(MemFs::default()), Path::new("/store"), durability)
    }

    fn open(fs: Arc<dyn Fs>, dir: &Path, durability: Durability) -> Store {
        let engine = Engine::open(Arc::clone(&fs), dir, options(durability)).unwrap();
        Store { engine, fs, dir: dir.to_path_buf(), durability }
    }

    /// Synced writes come in fewer.
    fn rounds(&self, rounds: u64) -> u64 {
        if self.durability == Durability::Synced { rounds / 3 } else { rounds }
    }

    fn all_threads<T: Send>(&self, work: impl Fn(u64, &Engine) -> T + Sync) -> Vec<T> {
        thread::scope(|scope| {
            let work = &work;
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let engine = self.engine.clone();
                    scope.spawn(move || work(thread, &engine))
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    }

    fn reopen(&self) -> Engine {
        Engine::open(Arc::clone(&self.fs), &self.dir, options(self.durability)).unwrap()
    }

    /// The files hold what memory holds, and a reopening finds all of it.
    fn check(self) {
        self.engine.verify().unwrap();
        let before = (contents(&self.engine), counts(&self.engine));
        self.engine.close().unwrap();
        let engine = self.reopen();
        assert!(engine.recovery().clean);
        engine.verify().unwrap();
        assert!(contents(&engine) == before.0);
        assert_eq!(counts(&engine), before.1);
    }
}

fn options(durability: Durability) -> Options {
    let mut options = Options::default();
    options.durability = durability;
    options.memtable_size = 16 << 10;
    options.buffer_size = 4 << 10;
    options.flush_interval = Duration::from_millis(5);
    options.sync_interval = Duration::from_millis(20);
    options
}

fn contents(engine: &Engine) -> BTreeMap<String, (u64, Vec<nadb_core::Entry>)> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let entries = |name: &str| engine.scan(name, all.clone()).unwrap().map(|entry| entry.unwrap()).collect();
    let namespaces = engine.namespaces().unwrap();
    namespaces.into_iter().map(|n| (n.name.clone(), (n.keys, entries(&n.name)))).collect()
}

/// What each segment with records counts: its number, records, those alive, their bytes, first and last number.
/// Live records and their bytes: whatever compactions make of segments between two looks, these stay.
fn counts(engine: &Engine) -> [u64; 2] {
    let segments = engine.segments().unwrap();
    let sum = |of: fn(&nadb_core::SegmentInfo) -> u64| segments.iter().map(of).sum();
    [sum(|segment| segment.live_records), sum(|segment| segment.live_bytes)]
}

fn key(n: u64) -> Vec<u8> {
    format!("key{n}").into_bytes()
}

fn number(value: &[u8]) -> i64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

fn one(engine: &Engine, operation: Operation<'_>) -> Result<Outcome> {
    engine.write(&[operation], None).map(|mut outcomes| outcomes.pop().unwrap())
}

fn put(engine: &Engine, namespace: &str, n: u64, value: &[u8], condition: Condition) -> Result<u64> {
    let put = Operation::new(namespace, key(n), Action::Put(Put::new(value))).when(condition);
    one(engine, put).map(|outcome| outcome.version.unwrap())
}

fn delete(engine: &Engine, namespace: &str, n: u64) -> Result<bool> {
    one(engine, Operation::new(namespace, key(n), Action::Delete)).map(|outcome| outcome.existed)
}

fn addition(namespace: &str, n: u64, by: i64) -> Operation<'_> {
    let merge = Merge::new(Arc::new(Add), by.to_string().into_bytes());
    Operation::new(namespace, key(n), Action::Merge(merge))
}

fn add(engine: &Engine, namespace: &str, n: u64, by: i64) -> Result<i64> {
    one(engine, addition(namespace, n, by)).map(|outcome| number(&outcome.merged.unwrap()))
}

fn counter_value(engine: &Engine, namespace: &str, n: u64) -> i64 {
    number(&engine.get(namespace, &key(n)).unwrap().unwrap())
}
