//! Every call of a recovery fails once: opening is an error or succeeds, and never cuts off what it could not read.

use nadb_core::{Durability, ErrorKind};
use nadb_testkit::crash::{Crash, Left, Life, Run};
use nadb_testkit::model::Model;
use nadb_testkit::script::{script, set};
use nadb_testkit::workload::{Setup, Step, Trouble};
use nadb_vfs::{CrashMode, Fault, FaultKind, SimFs};

use super::{KINDS, STEPS, disk, is_full, is_passing, setup};

const LEFTS: [Left; 4] = [
    Left::Power(CrashMode::KeepAll, 0),
    Left::Power(CrashMode::Torn, 1),
    Left::Power(CrashMode::Reordered, 2),
    Left::Kill,
];

/// Opens what a crash left while a call fails, then again, and says whether the fault has shown.
fn open_twice(crash: &Crash<'_>, image: &SimFs, at: usize, fault: Fault) -> Result<bool, String> {
    let disk = image.process_kill();
    disk.inject(fault);
    let life = Life {
        setup: crash.setup,
        seed: crash.seed ^ 8,
        now_ms: crash.now_ms,
        base: Model::default(),
        steps: Vec::new(),
        left: None,
    };
    let mut first = life.runner(&disk).must_exist(crash.exists);
    match first.open() {
        Ok(()) => {}
        Err(Trouble::Store(error)) if is_passing(&error) => {}
        Err(other) => return Err(format!("the opening that met the fault: {other}")),
    }
    first.abandon_without_close();
    let shown = disk.clear_faults() == 0;
    let disk = disk.process_kill();
    let (mut runner, _) = crash.recover(&disk, &(at..=at)).map_err(|what| format!("opened again: {what}"))?;
    let write = Step::Write(vec![set("app/users", "later", b"y")], Some(Durability::Synced));
    runner.step(&write).map_err(|e| format!("going on: {e}"))?;
    let states = [runner.model.clone()];
    let version = runner.published();
    let next =
        Crash { states: &states, allowed: 0..=0, exists: true, version, seed: crash.seed ^ 9, ..*crash };
    let image = disk.power_cut(CrashMode::DropAll, 0);
    next.recover(&image, &(0..=0)).map_err(|what| format!("then a synced write and a power cut: {what}"))?;
    Ok(shown)
}

#[test]
fn every_call_of_a_recovery_fails_once() {
    let (seed, setup) = (3, setup());
    let life = Life::first(setup, seed, script(seed, STEPS));
    let golden_disk = disk(seed);
    let golden = Run::of(&mut life.runner(&golden_disk), &life.steps);
    assert!(golden.trouble.is_none());
    let (mut run, mut failures) = (0, Vec::new());
    // Calls 1 and 2 made the folder.
    for n in (1..golden_disk.mutations() - 3).step_by(if is_full() { 1 } else { 29 }) {
        let cut = disk(seed);
        cut.crash_at_mutation(n);
        let mut runner = life.runner(&cut);
        let crashed = Run::of(&mut runner, &life.steps);
        for left in LEFTS {
            let image = left.of(&cut, n);
            let crash = Crash::of(&crashed, &golden.states, left, &runner, setup, seed ^ n << 8).unwrap();
            let (_, at) = crash.recover(&image.process_kill(), &crash.allowed).unwrap();
            for kind in KINDS {
                for nth in 1.. {
                    match open_twice(&crash, &image, at, Fault::any(nth, kind)) {
                        Ok(true) => run += 1,
                        Ok(false) => break,
                        Err(what) => {
                            failures.push(format!("crash at {n}, {left}, {kind:?} at call {nth}: {what}"));
                            break;
                        }
                    }
                }
            }
        }
    }
    println!("{run} calls of recoveries failed");
    let shown = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} failed:\n{shown}", failures.len());
    assert!(run > 500, "{run}");
}

/// What the medium does not give is no end of the log.
#[test]
fn a_medium_that_cannot_be_read_is_no_torn_tail() {
    let disk = disk(1);
    let life = Life::first(Setup::default(), 1, Vec::new());
    let mut runner = life.runner(&disk);
    let write = |key, class| Step::Write(vec![set("app/users", key, b"1")], Some(class));
    let steps = [Step::Open, write("a", Durability::Synced), write("b", Durability::Flushed)];
    assert!(Run::of(&mut runner, &steps).trouble.is_none());
    let image = disk.process_kill();
    for nth in 1..100 {
        image.inject(Fault::any(nth, FaultKind::Eio).on(".seg"));
        let mut after = life.runner(&image);
        let opened = after.open();
        if image.clear_faults() > 0 {
            assert!(nth > 5, "{nth}");
            break;
        }
        assert!(matches!(opened, Err(Trouble::Store(e)) if e.kind() == ErrorKind::Io), "{nth}");
    }
    let mut after = life.runner(&image);
    after.open().unwrap();
    assert_eq!(after.content().unwrap().keys().count(), 2);
}
