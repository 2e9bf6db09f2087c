//! What reads feel of a million records expiring at once: `NADB_BENCH_KEYS=1000000 cargo bench -p nadb-benches --bench expire`.
//!
//! A store holds as many records that last as records that expire, all at one moment; the latter have a tag each. One thread reads
//! records that last, in an open loop: reads are due at equal distances, at half the rate that the thread reaches when it does not wait, and a
//! read's latency counts from when it was due, so that a pause is felt by every read that should have been done meanwhile. Five runs,
//! each with a store of its own, read calmly first and then from the moment of expiry on, while `purge_expired` runs in another thread.
//! Compared are the latencies at 99.9 % of the calm reads and of those that were due before the purge had ended; medians of the runs.
//! Beside them stands what the same loop sees when it reads nothing, and when it reads beside a thread that keeps another core busy and
//! touches nothing: where those are not far below, the machine was measured.
//! NADB_BENCH_DIR names the disk.
#![allow(clippy::print_stdout, missing_docs, reason = "a benchmark's program says what it measured")]

use std::error::Error;
use std::thread;
use std::time::{Duration, Instant};

use nadb::{Namespace, Store};
use nadb_benches::open_loop::{Done, Latencies, at_peak, beside_a_busy_core, due, median};
use nadb_benches::{Random, VALUE_BYTES, Values, key};

const SEED: u64 = 0x6E61_6462;
const RUNS: usize = 5;
/// How long the calm reads go on; those beside the purge at least as long.
const READING: Duration = Duration::from_secs(5);
/// How long reads go on beside a busy core: about as long as a purge takes.
const BUSY: Duration = Duration::from_secs(1);
/// How long the reads go on that do not wait.
const AT_PEAK: Duration = Duration::from_secs(2);
const TAGS: u64 = 1000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

fn main() -> Outcome<()> {
    // Where tests are run, it only has to be there.
    if std::env::args().any(|argument| argument == "--test") {
        return Ok(());
    }
    let keys = std::env::var("NADB_BENCH_KEYS").ok().map_or(Ok(200_000), |text| text.parse())?;
    println!("{keys} keys that last and {keys} that expire, values of {VALUE_BYTES} bytes, class Flushed");
    let mut runs = Vec::new();
    for number in 1..=RUNS {
        let run = Run::new(keys)?;
        println!("run {number}: {run}");
        runs.push(run);
    }
    let calm = median(runs.iter().map(|run| run.calm.at_999).collect());
    let beside = median(runs.iter().map(|run| run.beside.at_999).collect());
    let busy = median(runs.iter().map(|run| run.busy.at_999).collect());
    println!(
        "p99.9, median of {RUNS} runs: calm {calm:.1?}, beside a busy core {busy:.1?}, beside expiry {beside:.1?}: {:.2} and {:.2} times that",
        beside.as_secs_f64() / calm.as_secs_f64(),
        beside.as_secs_f64() / busy.as_secs_f64()
    );
    Ok(())
}

/// One store's life.
struct Run {
    /// Reads a second of the open loop.
    rate: f64,
    /// Of the loop alone.
    nothing: Latencies,
    calm: Latencies,
    /// While another thread keeps a core busy and touches nothing.
    busy: Latencies,
    beside: Latencies,
    purged: u64,
    /// From the moment of expiry to the end of the purge.
    took: Duration,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Run { rate, nothing, calm, busy, beside, purged, took } = self;
        write!(
            f,
            "{rate:.0} reads a second; without reading: {nothing}; calm: {calm}; beside a busy core: {busy}; "
        )?;
        write!(f, "beside expiry, which was over {took:.1?} after its moment with {purged} purged: {beside}")
    }
}

impl Run {
    fn new(keys: u64) -> Outcome<Run> {
        let parent = std::env::var("NADB_BENCH_DIR").unwrap_or_else(|_| env!("CARGO_TARGET_TMPDIR").into());
        let folder = tempfile::tempdir_in(parent)?;
        let store = Store::open(folder.path().join("store"))?;
        let reads = Reads { namespace: store.namespace("lasting")?, values: Values::new(SEED), keys };
        let moment = load(&store, &reads)?;
        let mut random = Random::new(SEED);
        let peak = at_peak(AT_PEAK, || reads.one(&mut random))?;
        let rate = peak / 2.0;
        let nothing = due(rate, Instant::now(), |elapsed| elapsed < READING, || Outcome::Ok(()))?;
        let calm = due(rate, Instant::now(), |elapsed| elapsed < READING, || reads.one(&mut random))?;
        let busy = beside_a_busy_core(|| {
            due(rate, Instant::now(), |elapsed| elapsed < BUSY, || reads.one(&mut random))
        })?;
        let wait = moment.checked_duration_since(Instant::now());
        thread::sleep(wait.ok_or("records expired before the reads began: the load was too slow")?);
        let (beside, ended, purged) = beside_purge(&store, &reads, rate, moment)?;
        let left = store.stats()?.keys;
        if left != keys {
            return Err(format!("{left} of {keys} keys are there").into());
        }
        store.close()?;
        let took = ended - moment;
        Ok(Run {
            rate,
            nothing: Latencies::of(nothing, READING),
            calm: Latencies::of(calm, READING),
            busy: Latencies::of(busy, BUSY),
            beside: Latencies::of(beside, took),
            purged,
            took,
        })
    }
}

/// Writes what lasts and what expires; when that will be.
fn load(store: &Store, reads: &Reads) -> Outcome<Instant> {
    let start = Instant::now();
    for number in 0..reads.keys {
        reads.namespace.set(key(number, SEED), reads.value(number)?)?;
    }
    // Records with tags and expiries take longer, and are not to be gone before all of it has been read calmly.
    let moment = Instant::now() + 4 * start.elapsed() + AT_PEAK + 2 * READING + BUSY + Duration::from_secs(1);
    let expiring = store.namespace("expiring")?;
    for number in 0..reads.keys {
        let ttl = moment.checked_duration_since(Instant::now()).ok_or("the load was too slow")?;
        let tag = format!("topic-{:04}", number % TAGS);
        expiring.put(key(number, SEED), reads.value(number)?).tags([tag]).ttl(ttl).commit()?;
    }
    Ok(moment)
}

/// Reads while a purge runs; when that ended, and what it purged.
fn beside_purge(
    store: &Store,
    reads: &Reads,
    rate: f64,
    moment: Instant,
) -> Outcome<(Vec<Done>, Instant, u64)> {
    thread::scope(|scope| {
        let purging = scope.spawn(|| -> nadb::Result<(Instant, u64)> {
            // Expiries are rounded up to milliseconds.
            thread::sleep(Duration::from_millis(2));
            let purged = store.purge_expired()?.records;
            Ok((Instant::now(), purged))
        });
        let goes_on = |elapsed| elapsed < READING || !purging.is_finished();
        let mut random = Random::new(SEED);
        let done = due(rate, moment, goes_on, || reads.one(&mut random));
        let (ended, purged) = purging.join().map_err(|_| "the purge panicked")??;
        Ok((done?, ended, purged))
    })
}

/// Reads of records that last.
struct Reads {
    namespace: Namespace,
    values: Values,
    keys: u64,
}

impl Reads {
    fn value(&self, number: u64) -> Outcome<&[u8; VALUE_BYTES]> {
        Ok(self.values.of(usize::try_from(number)?))
    }

    fn one(&self, random: &mut Random) -> Outcome<()> {
        let number = random.below(self.keys);
        let expected = self.value(number)?;
        match self.namespace.get_with(key(number, SEED), |value| value == expected)? {
            Some(true) => Ok(()),
            Some(false) => Err(format!("a wrong value of record {number}").into()),
            None => Err(format!("record {number} is gone").into()),
        }
    }
}
