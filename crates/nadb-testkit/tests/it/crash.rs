//! Power lost, or the process killed, at every call that changes the disk.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::Durability;
use nadb_testkit::crash::{Campaign, Caps, Counts, Left, Life};
use nadb_testkit::workload::{Setup, script};

/// What CI runs: every crash point with everything that may be left, the rest sampled.
const CI: Caps = Caps { second_lives: 150, second_crashes: 1, recoveries: 25 };

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

fn caps() -> Caps {
    if std::env::var_os("NADB_CRASH_FULL").is_some() { Caps::WHOLE } else { CI }
}

/// Runs a workload, and every crash of it, or the one that the environment names.
fn campaign(seed: u64, setup: Setup, len: usize) -> Counts {
    let seed = number("NADB_SEED").unwrap_or(seed);
    let chosen = number("NADB_CRASH_AT");
    let lefts: Vec<Left> = match std::env::var("NADB_CRASH_MODE") {
        Ok(mode) => vec![mode.parse().unwrap()],
        Err(_) => Left::ALL.to_vec(),
    };
    let caps = if chosen.is_some() { Caps::WHOLE } else { caps() };
    let campaign = Campaign::new(Life::first(setup, seed, script(seed, len)), caps)
        .unwrap_or_else(|what| panic!("NADB_SEED={seed}: {what}"));
    let next = AtomicU64::new(chosen.unwrap_or(1));
    let last = chosen.unwrap_or(campaign.mutations);
    let done = Mutex::new((Counts::default(), BTreeMap::new()));
    let work = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n > last {
                return;
            }
            let point = std::panic::catch_unwind(AssertUnwindSafe(|| campaign.point(n, &lefts)));
            let point = point.unwrap_or_else(|_| {
                Err(format!("NADB_SEED={seed} NADB_CRASH_AT={n}: it panicked, see above"))
            });
            let mut done = done.lock().unwrap();
            match point {
                Ok(counts) => done.0.add(counts),
                Err(what) => _ = done.1.insert(n, what),
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
    let (counts, failures) = done.into_inner().unwrap();
    println!(
        "seed {seed}: {} steps, {} calls that change the disk: {counts}",
        campaign.golden.steps(),
        campaign.mutations
    );
    let shown: Vec<_> = failures.values().take(5).cloned().collect();
    assert!(failures.is_empty(), "{} crash points failed:\n{}", failures.len(), shown.join("\n"));
    counts
}

#[test]
fn at_every_call_of_a_workload_and_of_its_recovery() {
    campaign(1, Setup::default(), 180);
}

#[test]
fn at_every_call_of_a_workload_with_long_buffers_and_larger_segments() {
    let setup = Setup {
        memtable_size: 8192,
        buffer_size: 16 << 10,
        compression: nadb_core::Compression::None,
        durability: Durability::Buffered,
    };
    campaign(2, setup, 180);
}
