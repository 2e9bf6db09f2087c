//! `memory_limit` and the statistics of memory, against a counting allocator. A binary of its own, because what it counts is the
//! process's: tests take turns.
#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod slow;

use std::alloc::{GlobalAlloc, Layout, System};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use nadb_core::{Action, ErrorKind, Operation, Put, Stats};
use nadb_engine::{Engine, MEMORY_LIMIT_MIN, Options};
use nadb_vfs::RealFs;
use parking_lot::Mutex;

use self::slow::SlowFs;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller's promises about `layout` are the ones that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: `pointer` came from `alloc` above, so from `System`, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static TURN: Mutex<()> = Mutex::new(());

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

/// Begins a new peak; gives what is allocated now.
fn begin_peak() -> usize {
    PEAK.store(allocated(), Ordering::Relaxed);
    allocated()
}

fn peak() -> usize {
    PEAK.load(Ordering::Relaxed)
}

fn put<'a>(key: &'a str, value: &'a [u8]) -> Operation<'a> {
    Operation::new("users", key.as_bytes(), Action::Put(Put::new(value)))
}

fn keys(count: usize, key_len: usize) -> Vec<String> {
    (0..count).map(|n| format!("{:0>key_len$}", n * 7919 % count)).collect()
}

fn stats(engine: &Engine) -> Stats {
    engine.stats().unwrap()
}

/// A store on a real disk, so that no file is on the heap.
fn open(dir: &tempfile::TempDir, change: impl FnOnce(&mut Options)) -> Engine {
    let mut options = Options::default();
    options.background = false;
    change(&mut options);
    Engine::open(Arc::new(RealFs), dir.path(), options).unwrap()
}

/// Writes each key once, some at a time.
fn load(engine: &Engine, keys: &[String], value: &[u8], at_once: usize) {
    for some in keys.chunks(at_once) {
        let batch: Vec<_> = some.iter().map(|key| put(key, value)).collect();
        engine.write(&batch, None).unwrap();
    }
}

/// Beside the limit: the tables that a batch is planned with while they grow, batches that are too small to be counted, one
/// for each thread, what the file system and the threads take.
const SLACK: usize = 1 << 20;

#[test]
fn memory_stays_within_its_limit_while_sealing_is_slow() {
    const LIMIT: usize = 16 << 20;
    let _turn = TURN.lock();
    let keys = keys(40_000, 21);
    let batches: Vec<Vec<_>> =
        keys.chunks(8_000).map(|some| some.iter().map(|key| put(key, &[1; 100])).collect()).collect();
    let dir = tempfile::tempdir().unwrap();
    let base = begin_peak();
    let disk = SlowFs::default();
    let options = {
        let mut options = Options::default();
        options.memory_limit = LIMIT as u64;
        options.sync_interval = Duration::from_millis(20);
        options
    };
    let engine = Engine::open(Arc::new(disk.clone()), dir.path(), options).unwrap();
    load(&engine, &keys, &[0; 100], 100);
    let kept = stats(&engine).memory_bytes() - stats(&engine).limited_bytes();
    begin_peak();
    let must_stop = AtomicBool::new(false);
    let goes_on = || !must_stop.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let _end = AtEnd { must_stop: &must_stop, disk: &disk };
        for nth in 0..2 {
            let (engine, keys, goes_on) = (&engine, &keys, &goes_on);
            scope.spawn(move || {
                for key in keys.iter().cycle().skip(nth * 1000).take_while(|_| goes_on()) {
                    engine.write(&[put(key, b"overwritten, and not long")], None).unwrap();
                }
            });
        }
        let (engine, batches) = (&engine, &batches);
        let goes_on = &goes_on;
        for nth in 0..3 {
            scope.spawn(move || {
                for batch in batches.iter().cycle().skip(nth).take_while(|_| goes_on()) {
                    engine.write(batch, None).unwrap();
                }
            });
        }
        for round in 1..=4 {
            disk.hold_footers();
            let seals = stats(engine).seals;
            wait_until(|| disk.holds_one());
            // Nobody can go on for long now.
            wait_until(|| {
                let before = stats(engine).published_seq;
                thread::sleep(Duration::from_millis(30));
                stats(engine).published_seq == before
            });
            assert!(stats(engine).limited_bytes() <= LIMIT as u64, "round {round}: {:?}", stats(engine));
            disk.let_footers_go();
            wait_until(|| stats(engine).seals >= seals + 4);
        }
    });
    let after = stats(&engine);
    let follows_keys =
        usize::try_from(after.memory_bytes() - after.limited_bytes() - after.fixed_bytes).unwrap();
    let most = peak() - base - follows_keys;
    println!("at most {most} bytes of {LIMIT}; index and live bits {follows_keys}, before {kept}; {after:?}");
    assert!(most <= LIMIT + SLACK, "{most} bytes with a limit of {LIMIT}: {after:?}");
    assert!(after.early_rotations > 0 && after.seal_waits > 0, "{after:?}");
    engine.close().unwrap();
}

/// Lets the threads end, also where the test fails.
struct AtEnd<'a> {
    must_stop: &'a AtomicBool,
    disk: &'a SlowFs,
}

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.must_stop.store(true, Ordering::Relaxed);
        self.disk.let_footers_go();
    }
}

fn wait_until(is_so: impl Fn() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(1));
    }
    panic!("what was waited for has not come for a minute");
}

#[test]
fn the_parts_of_memory_add_up_to_what_is_allocated() {
    let _turn = TURN.lock();
    for (count, key_len, positioned) in [(60_000, 21, false), (60_000, 100, true), (200_000, 8, false)] {
        let keys = keys(count, key_len);
        let dir = tempfile::tempdir().unwrap();
        let base = allocated();
        let engine = open(&dir, |options| {
            options.memory_limit = 64 << 20;
            options.memtable_size = 4 << 20;
            if positioned {
                options.read_mode = nadb_engine::ReadMode::Positioned;
            }
        });
        load(&engine, &keys, &[7; 60], 500);
        let check = |when: &str| {
            let (stats, real) = (stats(&engine), allocated() - base);
            let sum = usize::try_from(stats.memory_bytes()).unwrap();
            println!("{when}: {sum} bytes for {real}");
            assert!(
                sum.abs_diff(real) * 10 <= real,
                "{when}: {sum} bytes, the allocator has {real}: {stats:?}"
            );
        };
        check("with memtables");
        let snapshot = engine.snapshot().unwrap();
        load(&engine, &keys[..count / 3], &[8; 60], 500);
        check("with a snapshot");
        assert!(stats(&engine).versions_bytes > 0);
        drop(snapshot);
        check("without it");
        engine.maintain().unwrap();
        check("with footers");
        assert_eq!(stats(&engine).mapped_bytes > 0, !positioned);
        assert_eq!(stats(&engine).footer_memory_bytes > 200_000, positioned);
        engine.close().unwrap();
    }
}

/// What is set aside for a batch is enough, and not much too much, for many small records and for few large ones.
#[test]
fn a_batch_takes_about_what_is_set_aside_for_it() {
    let _turn = TURN.lock();
    for (count, key_len, len) in [(100_000, 12, 0), (50_000, 24, 100), (2_000, 24, 20_000)] {
        let dir = tempfile::tempdir().unwrap();
        let engine = open(&dir, |options| options.compression = nadb_core::Compression::None);
        engine.write(&[put("first", b"")], None).unwrap();
        let (keys, value) = (keys(count, key_len), vec![3; len]);
        let batch: Vec<_> = keys.iter().map(|key| put(key, &value)).collect();
        let index = stats(&engine).index_bytes;
        let before = begin_peak();
        engine.write(&batch, None).unwrap();
        let took = peak() - before - usize::try_from(stats(&engine).index_bytes - index).unwrap();
        let set_aside = count * (2 * (key_len + 64 + len) + 4 * (key_len + 64) + 200);
        println!("{count} of {key_len} + {len} bytes: {took}, set aside {set_aside}");
        assert!(took <= set_aside + SLACK && took >= set_aside / 3, "{took} of {set_aside}");
        engine.close().unwrap();
    }
}

#[test]
fn a_segment_ends_early_when_its_rows_have_had_their_share() {
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir, |options| options.memory_limit = MEMORY_LIMIT_MIN);
    for some in keys(40_000, 21).chunks(500) {
        for key in some {
            engine.write(&[put(key, b"small")], None).unwrap();
        }
        engine.maintain().unwrap();
        let stats = stats(&engine);
        assert!(stats.memtable_bytes < MEMORY_LIMIT_MIN / 6, "{stats:?}");
    }
    let stats = stats(&engine);
    assert!(stats.early_rotations >= 2 && stats.seals == stats.early_rotations, "{stats:?}");
    engine.close().unwrap();
}

/// What the limit sets aside for the sealing of a segment is enough.
#[test]
fn sealing_takes_no_more_than_is_set_aside_for_it() {
    let _turn = TURN.lock();
    for key_len in [8, 21, 60, 200] {
        let keys = keys(20_000, key_len);
        let dir = tempfile::tempdir().unwrap();
        let engine = open(&dir, |options| options.memtable_size = 3 << 20);
        for key in keys.iter().cycle() {
            engine.write(&[put(key, b"value")], None).unwrap();
            if stats(&engine).unsealed_segments == 1 {
                break;
            }
        }
        let rows = usize::try_from(stats(&engine).memtable_bytes).unwrap();
        let before = begin_peak();
        engine.maintain().unwrap();
        let took = peak() - before;
        println!(
            "keys of {key_len} bytes: rows {rows}, sealing {took}: {:.2} times",
            took as f64 / rows as f64
        );
        assert!(took <= 3 * rows + (64 << 10), "keys of {key_len} bytes: rows {rows}, sealing {took}");
        engine.close().unwrap();
    }
}

#[test]
fn a_write_does_not_wait_for_ever_for_memory() {
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let disk = SlowFs::default();
    let mut options = Options::default();
    (options.memory_limit, options.memtable_size) = (MEMORY_LIMIT_MIN, 64 << 10);
    options.stall_max = Duration::from_millis(50);
    let engine = Engine::open(Arc::new(disk.clone()), dir.path(), options).unwrap();
    disk.hold_footers();
    let mut written = 0;
    let error = loop {
        match engine.write(&[put(&format!("{written}"), &[0; 1000])], None) {
            Ok(_) => written += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("memory_limit (8388608 bytes)"), "{error}");
    assert!(stats(&engine).seal_waits > 0 && engine.get("users", b"0").unwrap().is_some());
    assert!(engine.get("users", format!("{written}").as_bytes()).unwrap().is_none());
    disk.let_footers_go();
    wait_until(|| engine.write(&[put("later", b"1")], None).is_ok());
    engine.close().unwrap();
}

#[test]
fn a_batch_beyond_the_limit_is_refused_and_a_large_one_waits_until_there_is_room() {
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir, |options| options.memory_limit = MEMORY_LIMIT_MIN);
    let value = vec![9; 1 << 10];
    let batch = |count: usize| -> Vec<Operation<'static>> {
        let action = |_| Action::Put(Put::new(Cow::Owned(value.clone())));
        (0..count).map(|n| Operation::new("users", format!("{n:06}").into_bytes(), action(n))).collect()
    };
    let error = engine.write(&batch(4_000), None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(error.to_string().contains("memory_limit of 8388608 bytes"), "{error}");
    assert!(engine.namespaces().unwrap().is_empty(), "nothing was written");
    // Rows of which a large batch needs the room: the active segment ends, and is sealed.
    for key in keys(6_000, 21) {
        engine.write(&[put(&key, b"small")], None).unwrap();
    }
    assert_eq!(stats(&engine).seals, 0);
    engine.write(&batch(1_530), None).unwrap();
    assert!(stats(&engine).seals > 0 && stats(&engine).frame_bytes == 0, "{:?}", stats(&engine));
    // A value that is too large for the frames is written piece by piece.
    let large = vec![5; 6 << 20];
    let before = begin_peak();
    engine.write(&[put("large", &large)], None).unwrap();
    assert!(peak() - before < 2 << 20, "{} bytes", peak() - before);
    assert_eq!(engine.get("users", b"large").unwrap().unwrap(), large);
    engine.close().unwrap();
}

#[test]
fn a_limit_below_the_least_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::default();
    options.memory_limit = MEMORY_LIMIT_MIN - 1;
    let error = Engine::open(Arc::new(RealFs), dir.path(), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert_eq!(error.to_string(), "memory_limit is 8388607 bytes, the least is 8388608 bytes (8 MiB)");
}

/// What another session has left unsealed counts at once.
#[test]
fn rows_that_opening_finds_are_within_the_limit_of_the_new_session() {
    let _turn = TURN.lock();
    let dir = tempfile::tempdir().unwrap();
    let engine = open(&dir, |options| options.seal_rows = u64::MAX);
    load(&engine, &keys(60_000, 21), b"value", 400);
    assert_eq!(stats(&engine).unsealed_segments, 0);
    engine.close().unwrap();
    let engine = open(&dir, |options| options.memory_limit = MEMORY_LIMIT_MIN);
    assert!(stats(&engine).memtable_bytes > 4 << 20);
    engine.write(&[put("one more", b"1")], None).unwrap();
    let stats = stats(&engine);
    assert!(stats.seals == 1 || stats.unsealed_segments == 1, "{stats:?}");
    engine.close().unwrap();
}
