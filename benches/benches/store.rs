//! Sets and gets through the public face, on a real disk: `cargo bench -p nadb-benches --bench store`.
//!
//! Keys of 21 and values of 128 bytes. `set/…` inserts new keys into a new store, one class after the other; `overwrite/…`
//! and `get/…` work on a loaded store whose files are in the page cache. The stores are made under target/tmp, or in the folder
//! that NADB_BENCH_DIR names; NADB_BENCH_KEYS says how many keys a loaded store has.
#![allow(clippy::print_stderr, missing_docs, reason = "a benchmark's program says what it ran")]

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nadb::{Durability, Result, Store};
use nadb_benches::{Gets, Sets};
use tempfile::TempDir;

const SEED: u64 = 0x6E61_6462;
const NAMESPACE: &str = "bench";

/// How many keys a loaded store has.
fn key_count() -> u64 {
    std::env::var("NADB_BENCH_KEYS").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000)
}

/// An empty folder on the disk that is measured.
fn folder() -> TempDir {
    let parent = std::env::var("NADB_BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").into());
    tempfile::tempdir_in(parent).expect("a folder for the store")
}

fn open(folder: &TempDir, durability: Durability) -> Result<Store> {
    Store::builder().path(folder.path().join("store")).durability(durability).open()
}

fn loaded(folder: &TempDir) -> Result<Store> {
    let store = open(folder, Durability::Flushed)?;
    Sets::new(key_count(), SEED).run(&store.namespace(NAMESPACE)?, 1)?;
    Ok(store)
}

/// The time of `sets` alone, and the bytes written per byte that the user handed over.
fn timed_sets(store: &Store, sets: &Sets, threads: usize) -> Result<(Duration, f64)> {
    let namespace = store.namespace(NAMESPACE)?;
    let before = store.stats()?.written_bytes;
    let start = Instant::now();
    sets.run(&namespace, threads)?;
    let elapsed = start.elapsed();
    let written = store.stats()?.written_bytes - before;
    #[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
    Ok((elapsed, written as f64 / sets.user_bytes() as f64))
}

fn insert(count: u64, durability: Durability, threads: usize) -> Result<(Duration, f64)> {
    let folder = folder();
    let store = open(&folder, durability)?;
    let timed = timed_sets(&store, &Sets::new(count, SEED), threads)?;
    store.close()?;
    Ok(timed)
}

fn set(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("set");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    for (name, durability, threads) in [
        ("buffered", Durability::Buffered, 1),
        ("flushed", Durability::Flushed, 1),
        ("flushed, 2 threads", Durability::Flushed, 2),
        ("synced", Durability::Synced, 1),
        ("synced, 8 threads", Durability::Synced, 8),
    ] {
        let mut written = 0.0;
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let (elapsed, ratio) = insert(count, durability, threads).expect("sets succeed");
                written = ratio;
                elapsed
            });
        });
        eprintln!("set/{name}: new keys, new store, {written:.2} bytes written per user byte");
    }
    group.finish();
}

fn overwrite(criterion: &mut Criterion) {
    let folder = folder();
    let store = loaded(&folder).expect("a loaded store");
    let mut group = criterion.benchmark_group("overwrite");
    group.throughput(Throughput::Elements(1)).sample_size(10);
    group.bench_function("flushed", |bencher| {
        bencher.iter_custom(|count| {
            let sets = Sets::drawn(count, key_count(), SEED);
            timed_sets(&store, &sets, 1).expect("sets succeed").0
        });
    });
    eprintln!("overwrite/flushed: {} keys, warm", key_count());
    group.finish();
}

fn get(criterion: &mut Criterion) {
    let folder = folder();
    let store = loaded(&folder).expect("a loaded store");
    let namespace = store.namespace(NAMESPACE).expect("the namespace");
    let mut group = criterion.benchmark_group("get");
    group.throughput(Throughput::Elements(1)).sample_size(20);
    let hits: fn(u64) -> Gets = |count| Gets::hits(count, key_count(), SEED);
    let misses: fn(u64) -> Gets = |count| Gets::misses(count, key_count(), SEED);
    for (name, gets, threads) in [("hits", hits, 1), ("hits, 2 threads", hits, 2), ("misses", misses, 1)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|count| {
                let gets = gets(count);
                let start = Instant::now();
                let found = gets.run(&namespace, threads).expect("gets succeed");
                let elapsed = start.elapsed();
                assert_eq!(found.hits, if name == "misses" { 0 } else { count });
                elapsed
            });
        });
    }
    eprintln!("get: {} keys, warm", key_count());
    group.finish();
}

criterion_group!(benches, set, overwrite, get);
criterion_main!(benches);
