//! Power lost, or the process killed, at every call that changes the disk.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::{Action, Durability, ExpiryUpdate, Operation};
use nadb_engine::SegmentState;
use nadb_testkit::counts::Counts;
use nadb_testkit::crash::{Campaign, Caps, Crash, Left, Life, Run};
use nadb_testkit::dice::Dice;
use nadb_testkit::script::{delete, dropped_stream, script, set, stream};
use nadb_testkit::workload::{Op, START_MS, Setup, Step, VersionIs};
use nadb_vfs::{CrashMode, SimFs};

/// What CI runs: every crash point with everything that may be left, the rest sampled.
const CI: Caps = Caps { second_lives: 250, second_crashes: 1, recoveries: 50 };

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
    if chosen.is_none() {
        assert!(counts.mixes > 0, "no recovery met sealed and unsealed segments");
        assert_eq!(counts.from_checkpoint > 0, setup.checkpoint_rows == 0, "recoveries by a checkpoint");
        assert_eq!(counts.orphans > 0, setup.blob_above.is_some(), "recoveries that removed blobs");
    }
    counts
}

#[test]
fn at_every_call_of_a_workload_and_of_its_recovery() {
    campaign(1, Setup::default(), 135);
}

#[test]
fn at_every_call_of_a_workload_with_long_buffers_and_larger_segments() {
    let setup = Setup {
        memtable_size: 8192,
        buffer_size: 16 << 10,
        compression: nadb_core::Compression::None,
        durability: Durability::Buffered,
        blob_above: Some(2500),
        checkpoint_rows: u64::MAX,
        track_access: true,
        ..Setup::default()
    };
    campaign(2, setup, 180);
}

/// Each crash point of a small workload with everything that may be left of it; of a thousand crashes during recovery so many,
/// or all of them.
fn every_point(steps: Vec<Step>, recoveries: u64) -> Counts {
    let setup = Setup { memtable_size: 4096, ..Setup::default() };
    every_point_of(Life::first(setup, 7, steps), recoveries)
}

fn every_point_of(life: Life, recoveries: u64) -> Counts {
    let caps = if caps() == Caps::WHOLE { Caps::WHOLE } else { Caps { recoveries, ..CI } };
    let campaign = Campaign::new(life, caps).unwrap();
    let mut counts = Counts::default();
    for n in 1..=campaign.mutations {
        counts.add(campaign.point(n, &Left::ALL).unwrap_or_else(|what| panic!("{what}")));
    }
    println!("{counts}");
    counts
}

/// Bytes that do not compress.
fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(u64::from(seed));
    (0..len).map(|_| dice.next_u64() as u8).collect()
}

fn write(class: Durability, ops: impl IntoIterator<Item = Op>) -> Step {
    Step::Write(ops.into_iter().collect(), Some(class))
}

#[test]
fn a_namespace_dropped_and_made_again_in_every_crash_state() {
    every_point(
        vec![
            Step::Open,
            write(Durability::Buffered, [set("temp", "a", b"old"), set("temp", "b", b"old")]),
            write(Durability::Synced, [set("app/users", "a", b"other")]),
            Step::Drop("temp"),
            write(Durability::Flushed, [set("temp", "b", b"new")]),
            Step::Drop("temp"),
            write(Durability::Synced, [set("temp", "c", b"newest"), set("counters", "c", b"1")]),
            Step::Close,
            Step::Open,
            Step::Drop("temp"),
            write(Durability::Flushed, [set("temp", "a", b"last")]),
            Step::Close,
            Step::Open,
        ],
        160,
    );
}

#[test]
fn a_batch_over_a_segments_end_is_there_whole_or_not_at_all() {
    let large = |key| set("app/users", key, &[9; 1500]);
    every_point(
        vec![
            Step::Open,
            write(Durability::Buffered, [set("app/users", "a", b"1")]),
            write(Durability::Buffered, [large("b"), set("temp", "b", b"2"), large("c")]),
            write(Durability::Flushed, [large("a"), delete("temp", "b"), large("d"), large("e"), large("b")]),
            write(Durability::Synced, [delete("app/users", "a"), set("temp", "c", b"3")]),
            Step::Close,
            Step::Open,
        ],
        160,
    );
}

#[test]
fn at_every_call_of_sealing_and_of_opening_what_is_half_sealed() {
    // Two of them are less than a blob each, and with others soon a segment.
    let large = |name, key: &str, byte| {
        let value = noise(byte, 600);
        write(Durability::Flushed, [set(name, key, &value), set(name, &format!("{key}2"), &value)])
    };
    let mut steps = vec![Step::Open, write(Durability::Buffered, [set("temp", "a", b"old")]), Step::Snapshot];
    for (round, key) in (0..).zip(["a", "b", "c", "a", "d", "b", "e", "a", "f"]) {
        steps.push(large(["app/users", "temp"][round % 2], key, round as u8));
    }
    steps.extend([
        Step::Drop("temp"),
        write(Durability::Flushed, [set("temp", "a", b"new"), delete("app/users", "c")]),
        Step::Maintain,
        Step::Compare(1),
        large("app/users", "a", 20),
        large("temp", "b", 21),
        large("app/users", "b", 22),
        large("app/users", "d", 23),
        Step::Maintain,
        Step::Release(0),
        large("app/users", "a", 24),
        large("temp", "c", 25),
        large("app/users", "e", 26),
        large("app/users", "g", 27),
        Step::Close,
        Step::Open,
        Step::Maintain,
    ]);
    let counts = every_point(steps, 50);
    assert!(counts.mixes * 10 > counts.images, "{counts}");
}

/// Two values that do not compress; a few of these make a segment full.
fn fill(name: &'static str, key: &str, byte: u8) -> Step {
    let value = noise(byte, 600);
    write(Durability::Flushed, [set(name, key, &value), set(name, &format!("{key}2"), &value)])
}

/// Over two lives, of which the first is killed some writes after its last checkpoint.
#[test]
fn at_every_call_of_writing_a_checkpoint_and_of_opening_with_it() {
    let first = vec![
        Step::Open,
        write(Durability::Buffered, [set("temp", "a", b"old"), set("app/users", "a", b"1")]),
        fill("app/users", "b", 1),
        Step::Close,
        Step::Open,
        fill("temp", "b", 2),
        fill("app/users", "b", 3),
        fill("app/users", "c", 4),
        Step::Maintain,
        write(Durability::Flushed, [delete("app/users", "b"), set("temp", "a", b"new")]),
        Step::Close,
        Step::Open,
        // Over the checkpoint: an overwrite, a deletion, and a namespace that went and came back.
        write(Durability::Flushed, [set("app/users", "a", b"2"), delete("app/users", "c2")]),
        Step::Drop("temp"),
        write(Durability::Synced, [set("temp", "a", b"again")]),
    ];
    let second = vec![
        Step::Open,
        write(Durability::Buffered, [set("app/users", "d", b"3"), delete("app/users", "a")]),
        // From here on the checkpoint is one of a time before a seal.
        fill("temp", "c", 5),
        fill("app/users", "e", 6),
        fill("app/users", "b", 7),
        Step::Maintain,
        write(Durability::Flushed, [set("temp", "b", b"4")]),
        Step::Close,
        Step::Open,
        Step::Drop("app/users"),
        write(Durability::Buffered, [set("app/users", "a", b"5")]),
        Step::Close,
        Step::Open,
        Step::Close,
        Step::Open,
    ];
    let setup = Setup { compression: nadb_core::Compression::None, ..Setup::default() };
    let first = Life::first(setup, 7, first);
    let second = first.next(8, second).unwrap();
    for life in [first, second] {
        let counts = every_point_of(life, 30);
        assert!(counts.from_checkpoint * 3 > counts.images, "{counts}");
        assert!(counts.from_checkpoint < counts.images, "{counts}");
    }
}

#[test]
fn at_every_call_of_writing_a_blob_and_its_reference() {
    let setup = Setup { blob_above: Some(500), buffer_size: 1 << 20, ..Setup::default() };
    let (large, larger) = (noise(1, 600), noise(2, 5000));
    let first = vec![
        Step::Open,
        write(Durability::Synced, [set("app/users", "a", b"small"), set("app/users", "b", &large)]),
        write(Durability::Buffered, [set("app/users", "a", &large)]),
        stream("app/users", "c", &larger, Durability::Flushed),
        dropped_stream("app/users", "d", &larger),
        write(Durability::Flushed, [set("app/users", "b", b"small"), delete("app/users", "c")]),
        Step::Snapshot,
        write(
            Durability::Buffered,
            [set("temp", "a", &large), set("temp", "b", b"1"), set("temp", "c", &larger)],
        ),
        stream("app/users", "a", &large, Durability::Buffered),
        Step::Compare(1),
        Step::Close,
        Step::Open,
        Step::Drop("temp"),
        stream("temp", "a", &large, Durability::Synced),
    ];
    // A segment is sealed whose rows name blobs, live ones and dead ones.
    let mut second = vec![Step::Open, stream("app/users", "c", &larger, Durability::Flushed)];
    second.push(Step::Reader("app/users", b"c".to_vec()));
    second.extend((0..10).map(|n| write(Durability::Flushed, [set("temp", "filler", &noise(n, 480))])));
    second.extend([
        Step::Maintain,
        write(Durability::Buffered, [set("app/users", "c", b"small"), set("app/users", "b", &large)]),
        Step::Compare(2),
        dropped_stream("temp", "a", &large),
        Step::Close,
        Step::Open,
    ]);
    let first = Life::first(setup, 7, first);
    let second = first.next(8, second).unwrap();
    for life in [first, second] {
        let counts = every_point_of(life, 30);
        assert!(counts.blobs * 2 > counts.images, "{counts}");
        assert!(counts.orphans * 10 > counts.images, "{counts}");
    }
}

/// Compacts those of the sealed segments that have these places in their order. Two bits and two remainders say something else.
fn compact(places: &[u64]) -> Step {
    let which = places.iter().fold(0, |which, at| which | 1 << (at + 2));
    Step::Compact((which..which + 4).find(|which| which % 6 > 1).unwrap())
}

/// Over tombstones that are rewritten alone, records that a buffered write has displaced, a namespace that goes and comes back, and
/// a blob that two records name.
#[test]
fn at_every_call_of_compacting() {
    let touch = |at_ms| Op {
        operation: Operation::new("app/users", b"blob".to_vec(), Action::Expire(ExpiryUpdate::AtMs(at_ms))),
        version: VersionIs::Unnamed,
    };
    let first = vec![
        Step::Open,
        write(Durability::Synced, [set("temp", "a", b"old"), set("app/users", "a", b"1")]),
        write(Durability::Flushed, [set("app/users", "blob", &noise(9, 3000)), set("app/users", "x", b"1")]),
        fill("app/users", "b", 1),
        fill("app/users", "c", 2),
        fill("temp", "b", 3),
        Step::Maintain,
        write(
            Durability::Flushed,
            [delete("app/users", "a"), set("app/users", "x", b"2"), touch(START_MS + 50)],
        ),
        fill("app/users", "b", 4),
        fill("app/users", "c", 5),
        fill("app/users", "d", 6),
        Step::Maintain,
        Step::Snapshot,
        // Tombstones without what they hold down; then what a buffered write alone has displaced.
        compact(&[1]),
        write(Durability::Buffered, [delete("app/users", "b"), set("app/users", "x", b"3")]),
        compact(&[0]),
        Step::Drop("temp"),
        write(Durability::Flushed, [set("temp", "a", b"new")]),
        Step::Compare(1),
        compact(&[0, 1]),
        Step::Release(0),
        write(Durability::Buffered, [delete("temp", "a"), delete("app/users", "c2")]),
        Step::Compact(0),
    ];
    let second = vec![
        Step::Open,
        Step::Clock(100),
        write(Durability::Flushed, [set("app/users", "c", b"4")]),
        // The blob's record has expired.
        Step::Purge,
        compact(&[0]),
        Step::Compact(0),
        write(Durability::Buffered, [set("temp", "a", b"again"), delete("app/users", "x")]),
        Step::Drop("temp"),
        Step::Compact(0),
        Step::Close,
        Step::Open,
        compact(&[0]),
        Step::Drop("app/users"),
        Step::Compact(0),
        write(Durability::Flushed, [set("app/users", "a", b"last")]),
    ];
    let setup = Setup {
        compression: nadb_core::Compression::None,
        blob_above: Some(2500),
        checkpoint_rows: u64::MAX,
        ..Setup::default()
    };
    let first = Life::first(setup, 7, first);
    let second = first.next(8, second).unwrap();
    for life in [first, second] {
        let counts = every_point_of(life, 4);
        assert!(counts.orphans > 0, "{counts}");
    }
}

/// A delete that finds nothing has been told so by a write that may be less durable than itself.
#[test]
fn a_write_that_finds_nothing_to_do_is_as_durable_as_its_class() {
    for (class, left) in
        [(Durability::Synced, Left::Power(CrashMode::DropAll, 0)), (Durability::Flushed, Left::Kill)]
    {
        let disk = SimFs::new(1);
        let life = Life::first(Setup::default(), 1, vec![]);
        let mut runner = life.runner(&disk);
        let steps = [
            Step::Open,
            write(Durability::Synced, [set("app/users", "a", b"1")]),
            write(Durability::Buffered, [delete("app/users", "a")]),
            write(class, [delete("app/users", "a")]),
        ];
        let run = Run::of(&mut runner, &steps);
        assert!(run.trouble.is_none());
        let image = left.of(&disk, 0);
        let crash = Crash::of(&run, &run.states, left, &runner, life.setup, 2).unwrap();
        assert_eq!(crash.allowed, 4..=4);
        crash.recover(&image, &crash.allowed).unwrap_or_else(|what| panic!("{class:?}: {what}"));
    }
}

#[test]
fn the_workloads_rotate_and_reopen() {
    for seed in [1, 2] {
        let steps = script(seed, 180);
        assert!(steps.iter().filter(|step| matches!(step, Step::Open)).count() >= 3);
        let disk = SimFs::new(seed);
        let mut runner = Life::first(Setup::default(), seed, vec![]).runner(&disk);
        assert!(Run::of(&mut runner, &steps).trouble.is_none());
        let segments = runner.engine().unwrap().segments().unwrap();
        assert!(segments.len() >= 5, "{} segments", segments.len());
        let sealed = segments.iter().filter(|segment| segment.state == SegmentState::Sealed).count();
        assert!(sealed >= 3, "{sealed} sealed segments");
    }
}
