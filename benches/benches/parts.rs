//! Frames and the key index alone: `cargo bench -p nadb-benches --bench parts`.
//!
//! Keys of 21 and values of 128 bytes; no files.
#![allow(clippy::print_stderr, missing_docs, reason = "a benchmark's program says what it ran")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nadb_benches::{Frames, Index, decode};

const SEED: u64 = 0x6E61_6462;

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    for per_frame in [1usize, 100] {
        group.throughput(Throughput::Elements(per_frame as u64));
        let mut frames = Frames::new(per_frame as u64, per_frame, SEED);
        group.bench_function(format!("encode/{per_frame}"), |b| b.iter(|| frames.encode().len()));
        let frame = frames.encode().to_vec();
        group.bench_function(format!("verify/{per_frame}"), |b| b.iter(|| decode(black_box(&frame))));
    }
    group.finish();
}

fn index(c: &mut Criterion) {
    const KEYS: u64 = 1_000_000;
    let mut group = c.benchmark_group("index");
    group.sample_size(10).throughput(Throughput::Elements(KEYS));
    let insert = |index: Index| {
        index.insert_all();
        index
    };
    group.bench_function("insert", |b| {
        b.iter_batched(|| Index::new(KEYS, SEED), insert, BatchSize::PerIteration)
    });
    let full = insert(Index::new(KEYS, SEED));
    eprintln!("index: {:.1} bytes of RAM per key at {KEYS} keys", full.bytes_per_key());
    group.bench_function("find", |b| b.iter(|| full.find_all()));
    group.finish();
}

criterion_group!(benches, frames, index);
criterion_main!(benches);
