//! Counts and times by operation: counts are exact, bytes are those of users, and what is slow is found.

use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use nadb_core::{
    Action, Add, Append, Backend, Compression, Condition, Filter, Listing, Merge, OpTimes, Operation, Put,
    QueryRequest, ScanRequest, Stats, WriteOptions,
};
use nadb_engine::{Engine, Options};
use nadb_vfs::MemFs;

use crate::times::Ticking;

fn open(change: impl FnOnce(&mut Options)) -> Engine {
    let mut options = Options::default();
    (options.background, options.clock) = (false, Arc::new(Ticking::default()));
    options.compression = Compression::None;
    change(&mut options);
    Engine::open(Arc::new(MemFs::default()), Path::new("/store"), options).unwrap()
}

fn put<'a>(key: &'a str, value: &'a [u8]) -> Operation<'a> {
    Operation::new("users", key.as_bytes(), Action::Put(Put::new(value)))
}

fn delete(key: &str) -> Operation<'_> {
    Operation::new("users", key.as_bytes(), Action::Delete)
}

fn stats(engine: &Engine) -> Stats {
    engine.stats().unwrap()
}

/// How many there were, and their bytes.
fn counted(times: OpTimes) -> (u64, u64) {
    (times.count, times.bytes)
}

#[test]
fn writes_are_counted_by_what_they_do() {
    let engine = open(|_| {});
    engine.write(&[put("a", b"12345")], None).unwrap();
    engine.write(&[put("bc", b"")], None).unwrap();
    engine.write(&[delete("bc")], None).unwrap();
    engine.write(&[delete("none")], None).unwrap();
    let merge = Action::Merge(Merge::new(Arc::new(Append), b"678".as_slice()));
    engine.write(&[Operation::new("users", b"a".as_slice(), merge)], None).unwrap();
    engine.write(&[put("d", b"12"), put("e", b"3"), delete("a")], None).unwrap();
    engine.write(&[], None).unwrap();
    let before = stats(&engine);
    let ops = &before.ops;
    assert_eq!((counted(ops.set), counted(ops.delete)), ((2, 8), (2, 6)));
    assert_eq!((counted(ops.merge), counted(ops.batch)), ((1, 4), (1, 6)));
    assert_eq!((before.batches, before.operations, before.user_bytes()), (6, 8, 24));
    // What was not done does not count.
    let refused = put("d", b"x").when(Condition::IfAbsent);
    engine.write(&[refused], None).unwrap_err();
    let merge = Action::Merge(Merge::new(Arc::new(Add), b"1".as_slice()));
    engine.write(&[Operation::new("users", b"e".as_slice(), merge)], None).unwrap();
    let after = stats(&engine);
    assert_eq!((after.ops.set, counted(after.ops.merge)), (before.ops.set, (2, 6)));
}

#[test]
fn reads_are_counted_with_the_bytes_of_what_they_found() {
    let engine = open(|options| options.blob_above = Some(1000));
    engine.write(&[put("small", b"12345"), put("large", &[7; 5000])], None).unwrap();
    assert!(engine.get("users", b"small").unwrap().is_some());
    assert!(engine.get_with("users", b"large", &mut |_| {}).unwrap());
    assert!(engine.get("users", b"none").unwrap().is_none());
    assert!(engine.get("nobody", b"none").unwrap().is_none());
    assert!(engine.contains("users", b"small").unwrap());
    engine.get_many("users", &[b"small", b"none"]).unwrap();
    engine.get("users", b"").unwrap_err();
    let stats = stats(&engine);
    assert_eq!((counted(stats.ops.get), stats.gets), ((7, 5 + 5000 + 5 + 5), 7));
    assert_eq!(counted(stats.ops.batch), (1, 5 + 5 + 5 + 5000));
    // Compression has nothing to do with the one in a file of its own.
    assert_eq!((stats.value_bytes, stats.value_stored_bytes), (5, 5));
}

#[test]
fn a_stream_counts_as_the_value_that_it_wrote() {
    for len in [10, 5000] {
        let engine = open(|options| options.blob_above = Some(1000));
        let options = WriteOptions::default();
        let operation = Operation::new("users", b"key".as_slice(), Action::Put(Put::new(b"".as_slice())));
        let mut writer = Backend::writer(&engine, operation, &options).unwrap();
        writer.write(&vec![1; len]).unwrap();
        writer.commit().unwrap();
        assert_eq!(counted(stats(&engine).ops.set), (1, 3 + len as u64));
    }
}

#[test]
fn scans_count_what_they_gave() {
    let engine = open(|_| {});
    let keys: Vec<String> = (0..3000).map(|n| format!("{n:04}")).collect();
    let batch: Vec<_> = keys.iter().map(|key| put(key, b"12345")).collect();
    engine.write(&batch, None).unwrap();
    let mut scan = engine.scan("users", ScanRequest::all().into_bounds()).unwrap();
    for _ in 0..2500 {
        scan.next().unwrap().unwrap();
    }
    // It is not over, but the thousands of it are known.
    assert!(stats(&engine).ops.scan_step.count >= 1000);
    scan.next_key().unwrap().unwrap();
    scan.next_back_with(&mut |_, value| assert_eq!(value, b"12345")).unwrap().unwrap();
    drop(scan);
    let all = engine.scan("users", ScanRequest::all().into_bounds()).unwrap();
    assert_eq!(all.keys().count(), 3000);
    let stats = stats(&engine);
    assert_eq!((counted(stats.ops.scan_step), stats.scans), ((5502, 2501 * 5), 2));
    assert!((4..=7).contains(&stats.ops.scan_step.sampled), "{:?}", stats.ops.scan_step);
}

#[test]
fn queries_and_flushes_are_counted_and_timed() {
    // In a thread that has asked nothing before: its first query is timed.
    let engine = open(|_| {});
    engine.write(&[put("a", b"1"), put("b", b"2")], None).unwrap();
    let ask = |_| {
        let request = QueryRequest::new(Filter::all());
        Backend::query(&engine, "users", &request).unwrap().count()
    };
    let found = thread::scope(|scope| scope.spawn(|| (0..18).map(ask).sum::<usize>()).join().unwrap());
    assert_eq!(found, 36);
    let stats_of_queries = stats(&engine).ops.query;
    assert_eq!((stats_of_queries.count, stats_of_queries.sampled), (18, 2));
    // The beginning, two matches, and the end, each of which is asked for twice by the clock's own steps.
    assert!(stats_of_queries.p50 >= Duration::from_micros(4), "{stats_of_queries:?}");
    assert_eq!(Backend::count(&engine, "users", &Filter::all()).unwrap(), 2);
    engine.flush().unwrap();
    engine.flush().unwrap();
    let stats = stats(&engine);
    assert_eq!((stats.ops.query.count, stats.ops.flush.count, stats.ops.flush.sampled), (19, 2, 2));
    assert_eq!((stats.ops.sync.count, stats.ops.sync.sampled), (stats.syncs, stats.syncs));
    assert!(stats.ops.sync.max >= Duration::from_micros(1));
}

#[test]
fn where_somebody_looks_for_slow_operations_everything_is_timed() {
    // Each look at the clock takes a microsecond, so that a write takes several and a step of a scan one.
    let engine = open(|options| options.slow_above = Some(Duration::from_micros(4)));
    for _ in 0..10 {
        engine.write(&[put("a", b"1")], None).unwrap();
        engine.get("users", b"a").unwrap();
    }
    engine.scan("users", ScanRequest::all().into_bounds()).unwrap().for_each(drop);
    let stats = stats(&engine);
    assert_eq!((stats.ops.set.sampled, stats.ops.get.sampled, stats.ops.scan_step.sampled), (10, 10, 1));
    assert!(stats.ops.set.p50 > Duration::from_micros(4) && stats.ops.get.max <= Duration::from_micros(4));
    assert_eq!(stats.slow_operations, 10);
}

#[test]
fn what_compression_saves_and_what_the_log_adds_is_known() {
    let engine = open(|options| options.compression = Compression::Snappy);
    let value = vec![b'x'; 10_000];
    engine.write(&[put("a", &value)], None).unwrap();
    engine.write(&[put("b", b"1")], None).unwrap();
    let stats = stats(&engine);
    assert_eq!(stats.value_bytes, 10_001);
    assert_eq!(stats.value_stored_bytes, stored(&engine, "a") + stored(&engine, "b"));
    assert!(stats.compression_ratio().unwrap() > 10.0);
    assert!(stats.write_amplification().unwrap() < 0.5);
    assert!(stats.space_amplification().unwrap() >= 1.0);
}

fn stored(engine: &Engine, key: &str) -> u64 {
    engine.metadata("users", key.as_bytes()).unwrap().unwrap().stored_size
}

#[test]
fn footers_count_as_space() {
    let engine = open(|options| options.memtable_size = 4 << 10);
    for n in 0..100 {
        engine.write(&[put(&format!("{n}"), &[1; 100])], None).unwrap();
    }
    engine.maintain().unwrap();
    let footers: u64 = engine.segments().unwrap().iter().map(|segment| segment.footer_bytes).sum();
    let stats = stats(&engine);
    assert!(footers > 0);
    assert_eq!(stats.footer_bytes, footers);
}
