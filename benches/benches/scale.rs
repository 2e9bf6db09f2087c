//! One large store from its load to its reopening: `NADB_BENCH_KEYS=10000000 cargo bench -p nadb-benches --bench scale`.
//!
//! Says what a user meets at that size: the longest single set, RAM by part, how long opening takes after a close in order, without
//! the checkpoint, and after the process was killed. Each measured opening happens in a process of its own, so that memory is that
//! opening's alone; the program starts itself for that. Files are in the page cache. NADB_BENCH_DIR names the disk.
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark's program says what it measured")]
#![allow(
    clippy::disallowed_methods,
    reason = "it takes the checkpoint away, and asks the system for its memory"
)]

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nadb::{Store, StoreBuilder};
use nadb_benches::{VALUE_BYTES, Values, key};

const SEED: u64 = 0x6E61_6462;
const NAMESPACE: &str = "bench";
/// What a child is asked to do, by this variable.
const PART: &str = "NADB_BENCH_PART";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let keys = std::env::var("NADB_BENCH_KEYS").ok().map_or(Ok(200_000), |text| text.parse())?;
    match std::env::var(PART).as_deref() {
        Ok("load") => load(&std::env::args().nth(1).ok_or("no folder")?, keys),
        Ok(_) => open(&std::env::args().nth(1).ok_or("no folder")?, keys),
        // Where tests are run, it only has to be there.
        Err(_) if std::env::args().any(|argument| argument == "--test") => Ok(()),
        Err(_) => all(keys),
    }
}

fn all(keys: u64) -> Outcome<()> {
    let parent = std::env::var("NADB_BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").into());
    let folder = tempfile::tempdir_in(parent)?;
    let store = folder.path().join("store");
    println!("{keys} keys of 21 bytes, values of {VALUE_BYTES} bytes, class Flushed");
    let mut child = start("load", &store)?;
    // It says "loaded" and waits: the kill comes while the store is open.
    let mut output = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    while output.read_line(&mut line)? > 0 && !line.ends_with("loaded\n") {}
    print!("{line}");
    child.kill()?;
    child.wait()?;
    println!("open after a kill: {}", run("open", &store)?);
    println!("open after a close in order: {}", run("open", &store)?);
    std::fs::remove_file(store.join("CHECKPOINT"))?;
    println!("open after a close in order, without the checkpoint: {}", run("open", &store)?);
    Ok(())
}

fn start(part: &str, store: &Path) -> Outcome<Child> {
    let program = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.arg(store).env(PART, part).stdin(Stdio::piped()).stdout(Stdio::piped());
    Ok(command.spawn()?)
}

fn run(part: &str, store: &Path) -> Outcome<String> {
    let output = start(part, store)?.wait_with_output()?;
    if !output.status.success() {
        return Err(format!("{part} ended with {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

fn builder(store: &str) -> StoreBuilder {
    Store::builder().path(PathBuf::from(store))
}

/// Loads a new store and waits to be killed.
fn load(path: &str, keys: u64) -> Outcome<()> {
    let store = builder(path).open()?;
    let namespace = store.namespace(NAMESPACE)?;
    let values = Values::new(SEED);
    let mut longest = [Duration::ZERO; 5];
    let mut over_1_ms = 0_u64;
    let start = Instant::now();
    for number in 0..keys {
        let key = key(number, SEED);
        let before = Instant::now();
        namespace.set(key, values.of(usize::try_from(number)?))?;
        note(before.elapsed(), &mut longest, &mut over_1_ms);
    }
    #[expect(clippy::cast_precision_loss, reason = "for people to read")]
    let rate = keys as f64 / start.elapsed().as_secs_f64();
    println!("load: {rate:.0} sets a second, {over_1_ms} of them over 1 ms, longest {longest:.1?}");
    let (longest, over_1_ms) = gaps(start.elapsed());
    println!(
        "a thread that only reads the clock, for as long: {over_1_ms} gaps over 1 ms, longest {longest:.1?}"
    );
    println!("memory after the load: {}", memory(&store)?);
    println!("loaded");
    std::io::stdout().flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// What the machine itself takes from a thread: the longest times between two looks at the clock, and how many are over 1 ms.
/// No set can be expected to do better than that.
fn gaps(during: Duration) -> ([Duration; 5], u64) {
    let (start, mut longest, mut over_1_ms) = (Instant::now(), [Duration::ZERO; 5], 0);
    let mut last = start;
    while last - start < during {
        let now = Instant::now();
        note(now - last, &mut longest, &mut over_1_ms);
        last = now;
    }
    (longest, over_1_ms)
}

fn note(took: Duration, longest: &mut [Duration; 5], over_1_ms: &mut u64) {
    *over_1_ms += u64::from(took > Duration::from_millis(1));
    if took > longest[4] {
        longest[4] = took;
        longest.sort_unstable_by(|a, b| b.cmp(a));
    }
}

/// Opens the store, asks for one key, and closes it.
fn open(path: &str, keys: u64) -> Outcome<()> {
    let start = Instant::now();
    let store = builder(path).create(false).open()?;
    let opened = start.elapsed();
    let namespace = store.namespace(NAMESPACE)?;
    let found = namespace.get(key(keys / 2, SEED))?.is_some();
    let ready = start.elapsed();
    let report = store.recovery().clone();
    let have = store.stats()?.keys;
    if !found || have != keys {
        return Err(format!("{have} of {keys} keys are there").into());
    }
    let memory = memory(&store)?;
    let start = Instant::now();
    store.close()?;
    println!(
        "{opened:.1?}, first answer after {ready:.1?}; {} segments, {} frames replayed, from a checkpoint: {}; {memory}; \
         closed in {:.1?}",
        report.segments,
        report.frames,
        report.from_checkpoint,
        start.elapsed()
    );
    Ok(())
}

/// RAM by part.
#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn memory(store: &Store) -> Outcome<String> {
    let stats = store.stats()?;
    let per_key = |bytes: u64| bytes as f64 / stats.keys.max(1) as f64;
    let mib = |bytes: u64| bytes >> 20;
    Ok(format!(
        "index {:.1} B a key, live bits {:.2} B a key, memtables {} MiB, resident {}",
        per_key(stats.index_bytes),
        per_key(stats.live_set_bytes),
        mib(stats.memtable_bytes),
        resident()
    ))
}

/// Resident memory of this process, where the system says so; pages of mapped files are counted apart.
fn resident() -> String {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return "unknown".into() };
    let field = |name| status.lines().find_map(|line: &str| line.strip_prefix(name)).map(str::trim);
    match (field("RssAnon:"), field("RssFile:")) {
        (Some(own), Some(mapped)) => format!("{own} and {mapped} of files"),
        _ => "unknown".into(),
    }
}
