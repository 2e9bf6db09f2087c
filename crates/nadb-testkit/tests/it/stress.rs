//! The stress on a real disk: four writers, four readers, held values and snapshots, and segments so small that they are sealed all
//! the time; and what that may cost.
//!
//! The compactor works beside them. When a round has written so much the store is checked, closed, and the next round begins with a new
//! one. What the process holds of a store must be gone with it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nadb_engine::{Engine, Options, SegmentState};
use nadb_testkit::stress::{Cast, prepare, run};
use nadb_vfs::RealFs;

/// Bytes written at which a round ends.
const WRITTEN_BYTES_MAX: u64 = 192 << 20;
/// A part of a round, after which the costs are looked at.
const PART: Duration = Duration::from_millis(1000);
/// Private memory of the process beyond what the store says of itself.
const OTHER_BYTES_MAX: u64 = 160 << 20;
/// Open files of a store beyond its segments: the lock, the manifest while it is written, the spare, a segment that is being made.
const OTHER_FILES_MAX: usize = 6;
/// Segments that a compaction is making, or has made and not put into their place yet: it does not wait for who counts.
const OUTPUTS_MAX: usize = 16;

/// Replaced segments whose files are still there, while nobody holds a view.
const RETIRED_MAX: usize = 64;

fn seconds() -> u64 {
    std::env::var("NADB_STRESS_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

fn options() -> Options {
    let mut options = Options::default();
    options.memtable_size = 128 << 10;
    options.buffer_size = 16 << 10;
    options.flush_interval = Duration::from_millis(5);
    options.sync_interval = Duration::from_millis(50);
    options
}

#[test]
fn stress_with_snapshots_values_and_constant_sealing() {
    let end = Instant::now() + Duration::from_secs(seconds());
    for seed in 1.. {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        round(seed, left);
    }
}

fn round(seed: u64, time: Duration) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let path = dir.path().canonicalize().unwrap();
    let engine = Engine::open(Arc::new(RealFs), &path, options()).unwrap();
    let empty = engine.stats().unwrap().versions_bytes;
    prepare(&engine).unwrap();
    let end = Instant::now() + time;
    let mut part = seed << 16;
    while Instant::now() < end && engine.stats().unwrap().written_bytes < WRITTEN_BYTES_MAX {
        part += 1;
        let cast = Cast { writers: 4, readers: 4, seed: part, pauses: 20 };
        let time = PART.min(end.saturating_duration_since(Instant::now()));
        let done = run(&engine, cast, time);
        check_costs(&engine, &path, empty);
        println!("{done:?}");
    }
    let stats = engine.stats().unwrap();
    println!(
        "seed {seed}: {} seals, {} waits for them, {} MiB of log, {} batches",
        stats.seals,
        stats.seal_waits,
        stats.log_bytes >> 20,
        stats.batches
    );
    assert!(stats.seals > 0, "nothing was sealed");
    engine.verify().unwrap();
    engine.close().unwrap();
    drop(engine);
    assert_eq!((open_files(&path), mappings(&path)), (0, 0), "open files and mappings of a closed store");
    let engine = Engine::open(Arc::new(RealFs), &path, options()).unwrap();
    assert!(engine.recovery().clean && engine.recovery().warnings.is_empty());
    engine.verify().unwrap();
    engine.close().unwrap();
}

/// No view is open now.
fn check_costs(engine: &Engine, dir: &Path, empty: u64) {
    // Dropped namespaces are taken out of the index.
    engine.maintain().unwrap();
    let stats = engine.stats().unwrap();
    assert_eq!((stats.views, stats.remembered_deaths, stats.versions_bytes), (0, 0, empty), "{stats:?}");
    let segments = engine.segments().unwrap();
    let full = segments.iter().filter(|segment| segment.state == SegmentState::Full).count();
    assert!(full <= 6, "{full} segments wait to be sealed");
    // Those that compactions have replaced go when the last one who looked into a table of segments has gone.
    let retired = usize::try_from(engine.stats().unwrap().retired_segments).unwrap();
    assert!(retired <= RETIRED_MAX, "{retired} replaced segments, and no view is open");
    let (files, known) = (open_files(dir), segments.len() + retired + OUTPUTS_MAX);
    assert!(files <= known + OTHER_FILES_MAX, "{files} open files, {known} segments");
    // One for reading each; one more for writing to each that is not sealed: the active one, the spare, and those that wait.
    let maps = mappings(dir);
    assert!(maps <= known + 2 + full, "{maps} mappings, {known} segments, {full} full");
    let own = stats.index_bytes + stats.memtable_bytes + stats.versions_bytes + stats.live_set_bytes;
    let held = private_bytes();
    assert!(held <= own + OTHER_BYTES_MAX, "{held} bytes of memory, the store says {own}");
}

/// Private memory of this process; mapped files do not count. 0 where that cannot be told.
fn private_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) << 10
}

/// Open files in this folder; 0 where that cannot be told.
fn open_files(dir: &Path) -> usize {
    let Ok(all) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    let links = all.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
    links.filter(|target| target.starts_with(dir)).count()
}

/// Mappings of files in this folder; 0 where that cannot be told.
fn mappings(dir: &Path) -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let dir = dir.to_string_lossy();
    maps.lines().filter(|line| line.contains(&*dir)).count()
}
