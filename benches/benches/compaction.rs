//! What compaction costs and gives: `NADB_BENCH_KEYS=1000000 cargo bench -p nadb-benches --bench compaction`.
//!
//! First how much is written and how much space is taken: a store is loaded, then churned as fast as one thread can (keys overwritten
//! at random or by Zipf's law with 0.99, deleted and set again, or written with a lifetime that ends during the run), with the compactor at
//! three bounds; it rests until nothing more is compacted, and is compacted whole. Then what others feel: one thread gets and sets in an
//! open loop, at half the rate that it reaches when it does not wait, first calmly and then from the beginning of a full compaction to
//! its end; medians of five runs. Beside them stands what the same loop sees when it does nothing, and beside a thread that keeps another core
//! busy and touches nothing: where those are not far below, the machine was measured. `-- space` or `-- felt` runs one of the two. NADB_BENCH_DIR names the disk; with NADB_BENCH_SVG, a folder, it draws how the
//! space went.
#![allow(
    clippy::print_stdout,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark's program says what it measured, and draws it for its user"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nadb::{Namespace, Stats, Store};
use nadb_benches::open_loop::{Latencies, at_peak, beside_a_busy_core, due, median};
use nadb_benches::{KEY_BYTES, Random, VALUE_BYTES, Values, key};

const SEED: u64 = 0x6E61_6462;
const ROUNDS: u64 = 3;
const RUNS: usize = 5;
const CALM: Duration = Duration::from_secs(3);
const AT_PEAK: Duration = Duration::from_secs(2);
const SAMPLE: Duration = Duration::from_millis(100);
/// A store that compacts nothing for so long has come to rest.
const REST: Duration = Duration::from_secs(8);
const REST_MAX: Duration = Duration::from_secs(120);
/// Of records that expire.
const TTL: Duration = Duration::from_secs(2);
const USER_BYTES: u64 = (KEY_BYTES + VALUE_BYTES) as u64;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[derive(Debug, Clone, Copy)]
enum Churn {
    Uniform,
    Zipf,
    Deletes,
    Lifetimes,
}

impl Churn {
    const ALL: [Churn; 4] = [Churn::Uniform, Churn::Zipf, Churn::Deletes, Churn::Lifetimes];

    fn name(self) -> &'static str {
        match self {
            Churn::Uniform => "overwrites, uniform",
            Churn::Zipf => "overwrites, Zipf 0.99",
            Churn::Deletes => "deletes and sets",
            Churn::Lifetimes => "lifetimes of 2 s",
        }
    }
}

fn main() -> Outcome<()> {
    // Where tests are run, it only has to be there.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let keys = std::env::var("NADB_BENCH_KEYS").ok().map_or(Ok(200_000), |text| text.parse())?;
    println!(
        "{keys} keys of {KEY_BYTES} bytes, values of {VALUE_BYTES}, class Flushed, {ROUNDS} operations a key\n"
    );
    let part =
        |name: &str| std::env::args().skip(1).filter(|word| !word.starts_with('-')).all(|word| word == name);
    if part("space") {
        space(keys)?;
    }
    if part("felt") {
        felt(keys)?;
    }
    Ok(())
}

/// What is written, and what space is taken.
fn space(keys: u64) -> Outcome<()> {
    println!(
        "| churn | bound | ops/s | written by user byte | of it compaction | peak by compacted | at rest by compacted | compact() |"
    );
    println!("| --- | --- | --- | --- | --- | --- | --- | --- |");
    let mut curves = Vec::new();
    for churn in Churn::ALL {
        for bound in [0.1, 0.2, 0.4] {
            let run = Run::new(churn, bound, keys)?;
            println!("| {} | {:.0} % | {run} |", churn.name(), bound * 100.0);
            if bound == 0.2 {
                curves.push((churn.name(), run.space));
            }
        }
    }
    if let Ok(folder) = std::env::var("NADB_BENCH_SVG") {
        std::fs::write(format!("{folder}/compaction-space.svg"), draw(&curves))?;
    }
    Ok(())
}

fn folder() -> Outcome<tempfile::TempDir> {
    let parent = std::env::var("NADB_BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").into());
    Ok(tempfile::tempdir_in(parent)?)
}

/// One store's life under one churn.
struct Run {
    rate: f64,
    written: f64,
    compacted: f64,
    peak: f64,
    at_rest: f64,
    megabytes_a_second: f64,
    /// Seconds since the churn began, and bytes of the files by those of the compacted store.
    space: Vec<(f64, f64)>,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run { rate, written, compacted, peak, at_rest, megabytes_a_second, .. } = self;
        write!(
            f,
            "{rate:.0} | {written:.2} | {compacted:.2} | {peak:.2} | {at_rest:.2} | {megabytes_a_second:.0} MB/s"
        )
    }
}

fn files(stats: &Stats) -> u64 {
    stats.log_bytes + stats.footer_bytes + stats.retired_bytes
}

#[expect(clippy::cast_precision_loss, reason = "a ratio for people to read")]
fn ratio(of: u64, to: u64) -> f64 {
    of as f64 / to.max(1) as f64
}

impl Run {
    fn new(churn: Churn, bound: f64, keys: u64) -> Outcome<Run> {
        let folder = folder()?;
        let store = Store::builder().path(folder.path().join("store")).dead_share(bound).open()?;
        let work = Work::new(&store, keys)?;
        if !matches!(churn, Churn::Lifetimes) {
            (0..keys).try_for_each(|number| work.set(number))?;
        }
        let before = store.stats()?;
        let begun = Instant::now();
        let is_over = AtomicBool::new(false);
        let (ended, space) = thread::scope(|scope| {
            let sampler = scope.spawn(|| sample(&store, begun, &is_over));
            let churned = work.churn(churn).map(|()| begun.elapsed());
            let rested = churned.and_then(|took| wait_for_rest(&store).map(|()| took));
            is_over.store(true, Ordering::Relaxed);
            let space = sampler.join().map_err(|_| "the sampler panicked")??;
            Ok::<_, Box<dyn Error + Send + Sync>>((rested?, space))
        })?;
        let rested = store.stats()?;
        let start = Instant::now();
        let report = store.compact()?;
        let took = start.elapsed();
        let compacted = store.stats()?;
        let full = (compacted.log_bytes + compacted.footer_bytes).max(1);
        let user_bytes = ROUNDS * keys * USER_BYTES;
        let by_full = |bytes| {
            if matches!(churn, Churn::Lifetimes) {
                ratio(bytes, keys * USER_BYTES)
            } else {
                ratio(bytes, full)
            }
        };
        let run = Run {
            rate: ratio(ROUNDS * keys, 1) / ended.as_secs_f64(),
            written: ratio(rested.written_bytes - before.written_bytes, user_bytes),
            compacted: ratio(rested.compaction_written_bytes - before.compaction_written_bytes, user_bytes),
            peak: space.iter().map(|(_, bytes)| by_full(*bytes)).fold(0.0, f64::max),
            at_rest: by_full(rested.log_bytes + rested.footer_bytes),
            megabytes_a_second: ratio(report.bytes_before, 1_000_000) / took.as_secs_f64(),
            space: space.iter().map(|(at, bytes)| (at.as_secs_f64(), by_full(*bytes))).collect(),
        };
        store.close()?;
        Ok(run)
    }
}

/// The bytes of all files, every now and then.
fn sample(store: &Store, begun: Instant, is_over: &AtomicBool) -> nadb::Result<Vec<(Duration, u64)>> {
    let mut samples = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        samples.push((begun.elapsed(), files(&store.stats()?)));
        thread::sleep(SAMPLE);
    }
    Ok(samples)
}

fn wait_for_rest(store: &Store) -> Outcome<()> {
    let begun = Instant::now();
    let (mut last, mut since) = (store.stats()?.compactions, Instant::now());
    while since.elapsed() < REST && begun.elapsed() < REST_MAX {
        thread::sleep(SAMPLE);
        let now = store.stats()?.compactions;
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    Ok(())
}

/// What is done to a store.
struct Work {
    namespace: Namespace,
    values: Values,
    keys: u64,
}

impl Work {
    fn new(store: &Store, keys: u64) -> Outcome<Work> {
        Ok(Work { namespace: store.namespace("churned")?, values: Values::new(SEED), keys })
    }

    fn value(&self, number: u64) -> Outcome<&[u8; VALUE_BYTES]> {
        Ok(self.values.of(usize::try_from(number)?))
    }

    fn set(&self, number: u64) -> Outcome<()> {
        self.namespace.set(key(number, SEED), self.value(number)?)?;
        Ok(())
    }

    fn churn(&self, churn: Churn) -> Outcome<()> {
        let (mut random, zipf) = (Random::new(SEED + 1), Zipf::new(self.keys));
        for number in 0..ROUNDS * self.keys {
            match churn {
                Churn::Uniform => self.set(random.below(self.keys))?,
                Churn::Zipf => self.set(zipf.draw(&mut random))?,
                Churn::Deletes => {
                    let number = random.below(self.keys);
                    if !self.namespace.delete(key(number, SEED))? {
                        self.set(number)?;
                    }
                }
                Churn::Lifetimes => {
                    self.namespace.put(key(number, SEED), self.value(number)?).ttl(TTL).commit()?;
                }
            }
        }
        Ok(())
    }

    /// A get, or a set of the same value.
    fn one(&self, random: &mut Random) -> Outcome<()> {
        let number = random.below(self.keys);
        if random.below(2) == 0 {
            return self.set(number);
        }
        let expected = self.value(number)?;
        match self.namespace.get_with(key(number, SEED), |value| value == expected)? {
            Some(true) => Ok(()),
            _ => Err(format!("record {number} is gone, or another one").into()),
        }
    }
}

/// Numbers by Zipf's law with 0.99, the most frequent ones scattered (Gray et al., "Quickly generating billion-record synthetic
/// databases", SIGMOD 1994).
struct Zipf {
    keys: u64,
    zeta: f64,
    eta: f64,
}

const THETA: f64 = 0.99;

impl Zipf {
    #[expect(clippy::cast_precision_loss, reason = "a distribution")]
    fn new(keys: u64) -> Zipf {
        let zeta = |upto: u64| (1..=upto).map(|n| (n as f64).powf(-THETA)).sum::<f64>();
        let all = zeta(keys);
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - THETA)) / (1.0 - zeta(2) / all);
        Zipf { keys, zeta: all, eta }
    }

    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a distribution"
    )]
    fn draw(&self, random: &mut Random) -> u64 {
        let uniform = (random.bits() >> 11) as f64 / (1_u64 << 53) as f64;
        let scaled = uniform * self.zeta;
        let rank = if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5_f64.powf(THETA) {
            1
        } else {
            (self.keys as f64 * (self.eta * uniform - self.eta + 1.0).powf(1.0 / (1.0 - THETA))) as u64
        };
        rank.min(self.keys - 1)
    }
}

/// What gets and sets feel of a full compaction.
fn felt(keys: u64) -> Outcome<()> {
    println!();
    let (mut calm, mut busy, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=RUNS {
        let folder = folder()?;
        let store = Store::builder().path(folder.path().join("store")).auto_compact(false).open()?;
        let work = Work::new(&store, keys)?;
        (0..keys).try_for_each(|number| work.set(number))?;
        work.churn(Churn::Uniform)?;
        let mut random = Random::new(SEED + 2);
        let rate = at_peak(AT_PEAK, || work.one(&mut random))? / 2.0;
        let in_time = |elapsed: Duration| elapsed < CALM;
        let nothing = Latencies::of(due(rate, Instant::now(), in_time, || Outcome::Ok(()))?, CALM);
        let at_rest = Latencies::of(due(rate, Instant::now(), in_time, || work.one(&mut random))?, CALM);
        let at_work = beside_a_busy_core(|| due(rate, Instant::now(), in_time, || work.one(&mut random)))?;
        let at_work = Latencies::of(at_work, CALM);
        let start = Instant::now();
        let (during, report) = thread::scope(|scope| {
            let compacting = scope.spawn(|| store.compact());
            let goes_on = |_| !compacting.is_finished();
            let done = due(rate, start, goes_on, || work.one(&mut random));
            let report = compacting.join().map_err(|_| "the compaction panicked")??;
            Ok::<_, Box<dyn Error + Send + Sync>>((done?, report))
        })?;
        let during = Latencies::of(during, Duration::MAX);
        println!(
            "run {number}: {rate:.0} gets and sets a second; without them: {nothing}; calm: {at_rest}; beside a busy core: \
             {at_work}; beside a compaction: {during}; {report}"
        );
        calm.push(at_rest.at_999);
        busy.push(at_work.at_999);
        beside.push(during.at_999);
        store.close()?;
    }
    let (calm, busy, beside) = (median(calm), median(busy), median(beside));
    println!(
        "p99.9, median of {RUNS} runs: calm {calm:.1?}, beside a busy core {busy:.1?}, beside a full compaction {beside:.1?}: {:.2} and {:.2} \
         times that",
        beside.as_secs_f64() / calm.as_secs_f64(),
        beside.as_secs_f64() / busy.as_secs_f64()
    );
    Ok(())
}

const COLOURS: [&str; 4] = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd"];
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 50.0;
const TOP: f64 = 20.0;

/// The curves as a picture.
fn draw(curves: &[(&str, Vec<(f64, f64)>)]) -> String {
    let points = || curves.iter().flat_map(|(_, points)| points);
    let right = points().map(|(at, _)| *at).fold(1.0, f64::max);
    let top = points().map(|(_, space)| *space).fold(1.0, f64::max).ceil();
    let (x, y) = (|at: f64| LEFT + at / right * WIDTH, |space: f64| TOP + (1.0 - space / top) * HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        LEFT + WIDTH + 20.0,
        TOP + HEIGHT + 60.0
    );
    let mut line = |text: String| _ = writeln!(svg, "{text}");
    for space in (0_u32..).map(f64::from).take_while(|space| *space <= top) {
        line(format!(
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{1}\" y2=\"{1}\" stroke=\"#ccc\"/><text x=\"10\" y=\"{2}\">{space} ×</text>",
            LEFT + WIDTH,
            y(space),
            y(space) + 4.0
        ));
    }
    for (number, ((name, points), colour)) in curves.iter().zip(COLOURS).enumerate() {
        let points: Vec<String> =
            points.iter().map(|(at, space)| format!("{:.1},{:.1}", x(*at), y(*space))).collect();
        line(format!(
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            points.join(" ")
        ));
        let left = LEFT + f64::from(u32::try_from(number).unwrap_or_default()) * WIDTH / 4.0;
        line(format!("<text x=\"{left}\" y=\"{}\" fill=\"{colour}\">{name}</text>", TOP + HEIGHT + 40.0));
    }
    line(format!(
        "<text x=\"{LEFT}\" y=\"{0}\">0 s</text><text x=\"{1}\" y=\"{0}\">{right:.0} s</text>",
        TOP + HEIGHT + 18.0,
        LEFT + WIDTH - 20.0
    ));
    line("</svg>".to_owned());
    svg
}
