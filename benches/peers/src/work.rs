//! The workloads. Each group runs in a process of its own, for one engine; a figure goes out as one line of JSON.

mod kill;
mod tags;
mod tail;
mod threads;
mod ttl;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use nadb_benches::Key;
use serde::{Deserialize, Serialize};

use crate::data::{SEED, Values, key_of, uniform, zipf};
use crate::engines::{Class, Counted, Engine, Kind, Setup, store_dir};
use crate::measure::{Figure, Timed, disk_bytes, rss_bytes, timed, written_bytes};

/// No single workload takes longer; a slow engine does less of it, and its rate is that of what it did.
const AT_MOST: Duration = Duration::from_secs(60);
/// An engine whose files have not changed for so long has come to rest.
const REST: Duration = Duration::from_secs(5);
/// Rows of a batch.
const BATCH: usize = 100;
/// Rows of a short scan.
const SHORT_SCAN: usize = 100;

/// How many in a hundred operations of YCSB A and B are updates.
const YCSB_A_UPDATES: u64 = 50;
const YCSB_B_UPDATES: u64 = 5;

/// Workloads that share one process and one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Group {
    /// Load by single sets; scans; gets; closing and opening.
    Singles,
    /// Load by batches.
    Batches,
    /// YCSB A and B.
    Ycsb,
    /// Synced sets.
    Synced,
    /// Values of 64 KiB.
    Large,
    /// Overwrites at random.
    Overwrite,
    /// Load, and end the process; the parent runs `Reopen` next.
    Kill,
    /// Open what `Kill` left.
    Reopen,
    /// Load, gets and YCSB A by more and more threads.
    Threads,
    /// Sets beside gets.
    Tail,
    /// Records with tags: load, overwrites, queries.
    Tags,
    /// Records with tags and expiries: load, purge.
    Ttl,
}

impl Group {
    /// What the parent runs, in this order.
    pub(crate) const ALL: [Group; 12] = [
        Group::Singles,
        Group::Batches,
        Group::Ycsb,
        Group::Synced,
        Group::Large,
        Group::Overwrite,
        Group::Kill,
        Group::Reopen,
        Group::Threads,
        Group::Tail,
        Group::Tags,
        Group::Ttl,
    ];

    /// Whether it means something for the engine.
    pub(crate) fn is_for(self, kind: Kind) -> bool {
        match self {
            Group::Singles | Group::Batches | Group::Large | Group::Overwrite | Group::Threads => true,
            Group::Ycsb | Group::Tail => kind.reads(),
            Group::Synced => kind != Kind::HashMap,
            Group::Kill | Group::Reopen => kind.is_store(),
            Group::Tags | Group::Ttl => kind.has_tags(),
        }
    }

    /// Whether it needs an empty folder.
    pub(crate) fn is_fresh(self) -> bool {
        self != Group::Reopen
    }
}

/// One group of one engine.
pub(crate) struct Work {
    pub(crate) kind: Kind,
    pub(crate) keys: u64,
    /// Records with tags.
    pub(crate) tagged_keys: u64,
    pub(crate) dir: PathBuf,
    pub(crate) show: fn(&Figure),
}

impl Work {
    /// Runs a group.
    ///
    /// # Errors
    /// Those of the engine, and wrong answers.
    pub(crate) fn run(&self, group: Group) -> Result<()> {
        match group {
            Group::Singles => self.singles(),
            Group::Batches => self.batches(),
            Group::Ycsb => self.ycsb(),
            Group::Synced => self.synced(),
            Group::Large => self.large(),
            Group::Overwrite => self.overwrite(),
            Group::Kill => self.kill(),
            Group::Reopen => self.reopen(),
            Group::Threads => self.threads(),
            Group::Tail => self.tail(),
            Group::Tags => self.tags(),
            Group::Ttl => self.ttl(),
        }
    }

    fn setup(&self, class: Class, large_values: bool) -> Setup {
        Setup { dir: self.dir.clone(), class, large_values }
    }

    fn open(&self) -> Result<Box<dyn Engine>> {
        self.kind.open(&self.setup(Class::Flushed, false))
    }

    fn singles(&self) -> Result<()> {
        let values = Values::small();
        let engine = self.open()?;
        let loaded = self.load(&*engine, &values, "1 load")?;
        if self.kind.is_store() {
            // Scans straight after the load, then what is left of background work is waited for.
            self.scan_all(&*engine, &values, "11 scan all")?;
            self.scan_short(&*engine, &values, "11 scan 100")?;
        }
        if self.kind.reads() {
            std::thread::sleep(Duration::from_secs(3));
            self.get(&*engine, &values, "2 get", 0, 1, AT_MOST)?;
            self.get(&*engine, &values, "2 get", 0, 2, AT_MOST)?;
            self.get(&*engine, &values, "3 miss", self.keys, 1, AT_MOST)?;
            self.check_some(&*engine, &values, loaded)?;
        }
        if self.kind.is_store() {
            self.close_and_open(engine, &values)?;
        }
        Ok(())
    }

    /// Sets every key once, in scrambled order; what is not done in time is loaded in batches and not counted.
    fn load(&self, engine: &dyn Engine, values: &Values, row: &str) -> Result<u64> {
        let keys: Vec<Key> = (0..self.keys).map(key_of).collect();
        let before = Written::of(engine)?;
        let timed = timed(keys.len(), 1, AT_MOST, |n| {
            with_value(values, &keys[n], n, |value| engine.set(&keys[n], value))
        })?;
        let remark = (timed.count < self.keys).then(|| format!("stopped after {} sets", timed.count));
        self.show(row, 1, &timed, Some((before, engine, values.row_bytes())), remark)?;
        self.load_batches(engine, values, &(timed.count..self.keys).collect::<Vec<u64>>())?;
        Ok(self.keys)
    }

    fn load_batches(&self, engine: &dyn Engine, values: &Values, numbers: &[u64]) -> Result<()> {
        for part in numbers.chunks(1000) {
            engine.set_batch(&rows(values, part))?;
        }
        Ok(())
    }

    fn get(
        &self,
        engine: &dyn Engine,
        values: &Values,
        row: &str,
        first: u64,
        threads: usize,
        at_most: Duration,
    ) -> Result<()> {
        let drawn = uniform(usize::try_from(self.keys)?, self.keys, SEED ^ 2);
        let keys: Vec<Key> = drawn.into_iter().map(|n| key_of(first + n)).collect();
        let is_hit = first == 0;
        let timed = timed(keys.len(), threads, at_most, |n| {
            let mut is_right = false;
            let found = engine.get(&keys[n], &mut |value| is_right = values.is_of(&keys[n], value))?;
            ensure!(found == is_hit && is_right == is_hit, "key {n}: found {found}, right {is_right}");
            Ok(())
        })?;
        self.show(row, threads, &timed, None, None)
    }

    fn scan_all(&self, engine: &dyn Engine, values: &Values, row: &str) -> Result<()> {
        let start = Instant::now();
        let mut count = 0;
        let mut wrong = 0;
        let mut last: Vec<u8> = Vec::new();
        engine.scan(b"", usize::MAX, &mut |key, value| {
            count += 1;
            wrong += u64::from(!values.is_of(key, value) || last.as_slice() >= key);
            last.clear();
            last.extend_from_slice(key);
        })?;
        ensure!(wrong == 0 && count == self.keys, "{count} rows, {wrong} wrong");
        let elapsed = start.elapsed();
        self.show_plain(row, count, elapsed)
    }

    fn scan_short(&self, engine: &dyn Engine, values: &Values, row: &str) -> Result<()> {
        let starts: Vec<Key> = uniform(50_000, self.keys, SEED ^ 3).into_iter().map(key_of).collect();
        let timed = timed(starts.len(), 1, AT_MOST / 4, |n| {
            let mut wrong = 0;
            engine.scan(&starts[n], SHORT_SCAN, &mut |key, value| {
                wrong += u64::from(!values.is_of(key, value) || key < starts[n].as_slice());
            })?;
            ensure!(wrong == 0, "{wrong} wrong rows");
            Ok(())
        })?;
        self.show(row, 1, &timed, None, None)
    }

    /// Looks at every byte of some values.
    fn check_some(&self, engine: &dyn Engine, values: &Values, of: u64) -> Result<()> {
        for key in uniform(10_000, of, SEED ^ 4).into_iter().map(key_of) {
            let mut checked = Ok(());
            let found = engine.get(&key, &mut |value| checked = values.check(&key, value))?;
            ensure!(found, "a key is missing");
            checked?;
        }
        Ok(())
    }

    fn close_and_open(&self, engine: Box<dyn Engine>, values: &Values) -> Result<()> {
        let start = Instant::now();
        engine.close()?;
        self.show_plain("10 close", 1, start.elapsed())?;
        let start = Instant::now();
        let engine = self.open()?;
        let first = key_of(0);
        ensure!(engine.get(&first, &mut |_| ())?, "a key is missing after opening again");
        self.show_plain("10 open", 1, start.elapsed())?;
        self.check_some(&*engine, values, self.keys)?;
        engine.close()
    }

    fn batches(&self) -> Result<()> {
        let values = Values::small();
        let engine = self.open()?;
        let numbers: Vec<u64> = (0..self.keys).collect();
        let batches: Vec<&[u64]> = numbers.chunks(BATCH).collect();
        // Rows are made before they are timed, a part of all at a time.
        let before = Written::of(&*engine)?;
        let mut all: Option<Timed> = None;
        for part in batches.chunks(1000) {
            let rows: Vec<Vec<(Key, Vec<u8>)>> = part.iter().map(|numbers| rows(&values, numbers)).collect();
            let timed = timed(rows.len(), 1, AT_MOST, |n| engine.set_batch(&rows[n]))?;
            match &mut all {
                None => all = Some(timed),
                Some(all) => {
                    all.count += timed.count;
                    all.elapsed += timed.elapsed;
                    all.latency.add(timed.latency)?;
                }
            }
            if all.as_ref().is_some_and(|all| all.elapsed > AT_MOST) {
                break;
            }
        }
        let mut all = all.context("no keys")?;
        all.count *= BATCH as u64;
        let remark = (all.count < self.keys).then(|| format!("stopped after {} rows", all.count));
        let checked = all.count.min(self.keys);
        self.show("1b batches of 100", 1, &all, Some((before, &*engine, values.row_bytes())), remark)?;
        if self.kind.reads() {
            self.check_some(&*engine, &values, checked)?;
        }
        engine.close()
    }

    fn ycsb(&self) -> Result<()> {
        let values = Values::small();
        let engine = self.open()?;
        self.load_batches(&*engine, &values, &(0..self.keys).collect::<Vec<u64>>())?;
        std::thread::sleep(Duration::from_secs(3));
        for mix in [("4a YCSB-A", YCSB_A_UPDATES), ("4b YCSB-B", YCSB_B_UPDATES)] {
            for threads in [1, 4] {
                self.ycsb_of(&*engine, &values, mix, threads, AT_MOST)?;
            }
        }
        self.check_some(&*engine, &values, self.keys)?;
        engine.close()
    }

    /// A row of YCSB: its name, and how many in a hundred operations are updates.
    fn ycsb_of(
        &self,
        engine: &dyn Engine,
        values: &Values,
        (row, updates): (&str, u64),
        threads: usize,
        at_most: Duration,
    ) -> Result<()> {
        let keys: Vec<Key> =
            zipf(usize::try_from(self.keys)?, self.keys, SEED ^ 5).into_iter().map(key_of).collect();
        let draws = uniform(keys.len(), 100, SEED ^ 6);
        let timed = timed(keys.len(), threads, at_most, |n| {
            if draws[n] < updates {
                return with_value(values, &keys[n], n, |value| engine.set(&keys[n], value));
            }
            let mut is_right = false;
            engine.get(&keys[n], &mut |value| is_right = values.is_of(&keys[n], value))?;
            ensure!(is_right, "a wrong value");
            Ok(())
        })?;
        self.show(row, threads, &timed, None, None)
    }

    fn synced(&self) -> Result<()> {
        let values = Values::small();
        let engine = self.kind.open(&self.setup(Class::Synced, false))?;
        let (mut first, mut done) = (0, 0);
        for (threads, count) in [(1, 20_000), (8, 80_000)] {
            let keys: Vec<Key> = (first..first + count).map(key_of).collect();
            let before = Written::of(&*engine)?;
            let timed = timed(keys.len(), threads, AT_MOST / 4, |n| {
                with_value(&values, &keys[n], n, |value| engine.set(&keys[n], value))
            })?;
            self.show("5 synced", threads, &timed, Some((before, &*engine, values.row_bytes())), None)?;
            first += count;
            done += timed.count;
        }
        if self.kind.reads() {
            let mut right = 0;
            for key in (0..first).map(key_of) {
                engine.get(&key, &mut |value| right += u64::from(values.is_of(&key, value)))?;
            }
            ensure!(right == done, "{done} sets had returned, {right} keys have a right value");
        }
        engine.close()
    }

    fn large(&self) -> Result<()> {
        let values = Values::large();
        let engine = self.kind.open(&self.setup(Class::Flushed, true))?;
        let count = self.keys / 50;
        let keys: Vec<Key> = (0..count).map(key_of).collect();
        let before = Written::of(&*engine)?;
        let write = timed(keys.len(), 1, AT_MOST, |n| {
            with_value(&values, &keys[n], n, |value| engine.set(&keys[n], value))
        })?;
        let remark = (write.count < count).then(|| format!("stopped after {} sets", write.count));
        self.show("6 64 KiB: write", 1, &write, Some((before, &*engine, values.row_bytes())), remark)?;
        if self.kind.reads() {
            let drawn = uniform(keys.len(), write.count, SEED ^ 7);
            let read = timed(drawn.len(), 1, AT_MOST, |n| {
                let key = &keys[usize::try_from(drawn[n])?];
                let mut is_right = false;
                engine.get(key, &mut |value| is_right = values.is_of(key, value))?;
                ensure!(is_right, "a wrong value");
                Ok(())
            })?;
            self.show("6 64 KiB: read", 1, &read, None, None)?;
        }
        engine.close()
    }

    fn overwrite(&self) -> Result<()> {
        let values = Values::small();
        let engine = self.open()?;
        self.load_batches(&*engine, &values, &(0..self.keys).collect::<Vec<u64>>())?;
        let drawn = uniform(usize::try_from(3 * self.keys)?, self.keys, SEED ^ 8);
        let keys: Vec<Key> = drawn.iter().copied().map(key_of).collect();
        let before = Written::of(&*engine)?;
        let timed = timed(keys.len(), 1, AT_MOST, |n| {
            with_value(&values, &keys[n], n, |value| engine.set(&keys[n], value))
        })?;
        let remark = (timed.count < 3 * self.keys).then(|| format!("stopped after {} sets", timed.count));
        self.show("7 overwrite", 1, &timed, Some((before, &*engine, values.row_bytes())), remark)?;
        if self.kind.reads() {
            self.check_some(&*engine, &values, self.keys)?;
        }
        if self.kind.is_store() {
            self.come_to_rest(&*engine, &values)?;
        }
        engine.close()
    }

    /// What an overwritten store takes when its background work is done, and when it was told to compact; and how it scans then.
    fn come_to_rest(&self, engine: &dyn Engine, values: &Values) -> Result<()> {
        let start = Instant::now();
        let (mut disk, mut since) = (disk_bytes(&store_dir(&self.dir))?, Instant::now());
        while since.elapsed() < REST && start.elapsed() < AT_MOST {
            std::thread::sleep(Duration::from_millis(500));
            let now = disk_bytes(&store_dir(&self.dir))?;
            if now != disk {
                (disk, since) = (now, Instant::now());
            }
        }
        self.show_plain("7 at rest", 1, start.elapsed())?;
        let start = Instant::now();
        let row = if engine.compact()? { "7 compact()" } else { "7 has no compact()" };
        self.show_plain(row, 1, start.elapsed())?;
        self.scan_all(engine, values, "11 scan all, compacted")?;
        self.scan_short(engine, values, "11 scan 100, compacted")?;
        self.check_some(engine, values, self.keys)
    }

    fn show(
        &self,
        row: &str,
        threads: usize,
        timed: &Timed,
        wrote: Option<(Written, &dyn Counted, usize)>,
        remark: Option<String>,
    ) -> Result<()> {
        let mut written = None;
        let mut remarks: Vec<String> = remark.into_iter().collect();
        if let Some((before, engine, row_bytes)) = wrote {
            written = Some(before.ratio(engine, timed.count, row_bytes)?);
            // Latencies of sets mean what they should only where segments were sealed meanwhile.
            let seals =
                engine.seals().map(|seals| format!("{} segments sealed meanwhile", seals - before.seals));
            remarks.extend(seals);
        }
        let remark = (!remarks.is_empty()).then(|| remarks.join("; "));
        self.show_figure(row, threads, timed.count, timed.elapsed, Some(timed.latency_us()), written, remark)
    }

    fn show_plain(&self, row: &str, count: u64, elapsed: Duration) -> Result<()> {
        self.show_figure(row, 1, count, elapsed, None, None, None)
    }

    #[expect(clippy::too_many_arguments, reason = "one line of a table")]
    fn show_figure(
        &self,
        row: &str,
        threads: usize,
        count: u64,
        elapsed: Duration,
        latency_us: Option<[f64; 4]>,
        written_ratio: Option<f64>,
        remark: Option<String>,
    ) -> Result<()> {
        let class = if row.starts_with('5') { Class::Synced } else { Class::Flushed };
        let remarks: BTreeSet<String> =
            remark.into_iter().chain(self.kind.remark(class).map(String::from)).collect();
        let remark = (!remarks.is_empty()).then(|| remarks.into_iter().collect::<Vec<_>>().join("; "));
        (self.show)(&Figure {
            engine: self.kind,
            row: row.to_owned(),
            threads,
            count,
            seconds: elapsed.as_secs_f64(),
            latency_us,
            rss_bytes: rss_bytes()?,
            disk_bytes: disk_bytes(&store_dir(&self.dir))?,
            written_ratio,
            remark,
        });
        Ok(())
    }
}

/// What was written so far.
struct Written {
    /// By the engine's own count where it has one, for it counts at the seam; else by the system's.
    bytes: u64,
    /// Segments sealed, where the engine has such and counts them.
    seals: u64,
}

impl Written {
    fn of(engine: &dyn Counted) -> Result<Written> {
        let bytes = engine.written_bytes().map_or_else(written_bytes, Ok)?;
        Ok(Written { bytes, seals: engine.seals().unwrap_or_default() })
    }

    fn ratio(&self, engine: &dyn Counted, count: u64, row_bytes: usize) -> Result<f64> {
        let written = Written::of(engine)?.bytes - self.bytes;
        Ok(written as f64 / (count * row_bytes as u64) as f64)
    }
}

fn rows(values: &Values, numbers: &[u64]) -> Vec<(Key, Vec<u8>)> {
    let row = |number: &u64| {
        let key = key_of(*number);
        (key, values.value(&key, usize::try_from(*number).unwrap_or_default()))
    };
    numbers.iter().map(row).collect()
}

thread_local! {
    static VALUE: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(Vec::new()) };
}

/// Lends a value out of a buffer that the thread keeps.
fn with_value<T>(values: &Values, key: &Key, version: usize, work: impl FnOnce(&[u8]) -> T) -> T {
    VALUE.with_borrow_mut(|value| {
        values.fill(value, key, version);
        work(value)
    })
}
