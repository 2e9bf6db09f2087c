//! What is measured: rates, latencies, memory, disk and bytes written.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::engines::Kind;

/// One measured line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) engine: Kind,
    /// The workload: a key of the report's table of rows.
    pub(crate) row: String,
    pub(crate) threads: usize,
    /// Operations that were done; rows where the unit is a row.
    pub(crate) count: u64,
    pub(crate) seconds: f64,
    /// Microseconds at 50, 99, 99.9 and 100 %; of a batch or scan where that is one call.
    pub(crate) latency_us: Option<[f64; 4]>,
    /// Resident memory after it, in bytes.
    pub(crate) rss_bytes: u64,
    /// What the store's files occupy after it, in bytes.
    pub(crate) disk_bytes: u64,
    /// Bytes written to files, as the system counted them, per byte that the user handed over.
    pub(crate) written_ratio: Option<f64>,
    /// What has to be known beside the figure.
    pub(crate) remark: Option<String>,
}

impl Figure {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.count as f64 / self.seconds.max(1e-9)
    }
}

/// Runs, timed one by one.
pub(crate) struct Timed {
    pub(crate) count: u64,
    pub(crate) elapsed: Duration,
    pub(crate) latency: Histogram<u64>,
}

impl Timed {
    pub(crate) fn latency_us(&self) -> [f64; 4] {
        let at = |percent| self.latency.value_at_percentile(percent) as f64 / 1e3;
        [at(50.0), at(99.0), at(99.9), self.latency.max() as f64 / 1e3]
    }
}

/// Runs `work(0..count)` shared out over threads by turns, each call timed, until all is done or the time is up.
///
/// # Errors
/// The first error of `work`.
pub(crate) fn timed(
    count: usize,
    threads: usize,
    at_most: Duration,
    work: impl Fn(usize) -> Result<()> + Sync,
) -> Result<Timed> {
    let work = &work;
    let start = Instant::now();
    let run = move |thread: usize| -> Result<(u64, Histogram<u64>)> {
        let mut latency = Histogram::new(3)?;
        let mut done = 0;
        let mut before = Instant::now();
        for number in (thread..count).step_by(threads) {
            work(number)?;
            let after = Instant::now();
            // It grows with what it is given.
            latency.record(u64::try_from((after - before).as_nanos())?)?;
            before = after;
            done += 1;
            if done % 256 == 0 && after - start > at_most {
                break;
            }
        }
        Ok((done, latency))
    };
    let parts: Vec<Result<_>> = if threads <= 1 {
        vec![run(0)]
    } else {
        thread::scope(|scope| {
            let running: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|e| std::panic::resume_unwind(e)))
                .collect()
        })
    };
    let elapsed = start.elapsed();
    let mut timed = Timed { count: 0, elapsed, latency: Histogram::new(3)? };
    for part in parts {
        let (count, latency) = part?;
        timed.count += count;
        timed.latency.add(latency)?;
    }
    Ok(timed)
}

/// Runs `work(0..)` in this thread, each call timed, for as long as the flag is set.
///
/// # Errors
/// The first error of `work`.
pub(crate) fn timed_while(flag: &AtomicBool, work: impl Fn(usize) -> Result<()>) -> Result<Timed> {
    let mut latency = Histogram::new(3)?;
    let start = Instant::now();
    let (mut before, mut count) = (start, 0);
    while flag.load(Ordering::Relaxed) {
        work(count)?;
        let after = Instant::now();
        latency.record(u64::try_from((after - before).as_nanos())?)?;
        before = after;
        count += 1;
    }
    Ok(Timed { count: count as u64, elapsed: before - start, latency })
}

/// Resident memory of this process.
pub(crate) fn rss_bytes() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kib * 1024)
}

/// Bytes that this process has made the system write: pages of files made dirty, and direct writes.
pub(crate) fn written_bytes() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes:")).context("no write_bytes")?;
    Ok(line.trim().parse()?)
}

/// What the files below a folder occupy.
pub(crate) fn disk_bytes(dir: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        match entry.metadata() {
            Ok(meta) if meta.is_dir() => bytes += disk_bytes(&entry.path())?,
            Ok(meta) => bytes += meta.blocks() * 512,
            // A store removes its own files while it runs.
            Err(gone) if gone.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(bytes)
}
