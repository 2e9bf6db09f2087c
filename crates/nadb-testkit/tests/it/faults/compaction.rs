//! Compactions under faults: whatever one ends in, the store holds what it held, a later one succeeds, and no file is left over.

use std::path::Path;

use nadb_core::{Action, Durability, ErrorKind, ExpiryUpdate, Operation};
use nadb_engine::SegmentState;
use nadb_testkit::crash::Left;
use nadb_testkit::model::Model;
use nadb_testkit::orphans;
use nadb_testkit::script::{delete, set};
use nadb_testkit::workload::{DIR, Op, Runner, START_MS, Setup, Step, Trouble, VersionIs};
use nadb_vfs::{CrashMode, Fault, SimFs};

use super::{KINDS, disk, opened, take};

fn setup() -> Setup {
    Setup { compression: nadb_core::Compression::None, blob_above: Some(1500), ..Setup::default() }
}

fn write(class: Durability, ops: Vec<Op>) -> Step {
    Step::Write(ops, Some(class))
}

/// Some sealed segments with live records, dead ones and markers, a blob that two records name, and writes that are no more than
/// buffered.
fn store() -> (SimFs, Runner) {
    let disk = disk(1);
    let mut runner = opened(&disk, setup(), 1, Model::default());
    let operation = Operation::new(
        "app/users",
        b"blob".to_vec(),
        Action::Expire(ExpiryUpdate::AtMs(START_MS + 1_000_000)),
    );
    let touch = Op { operation, version: VersionIs::Unnamed };
    take(&mut runner, &write(Durability::Flushed, vec![set("app/users", "blob", &[3; 2000])]));
    for n in 0..14u8 {
        let key = format!("k{}", n % 5);
        take(&mut runner, &write(Durability::Flushed, vec![set("app/users", &key, &[n; 600])]));
        match n {
            4 => {
                take(&mut runner, &write(Durability::Flushed, vec![delete("app/users", "k1"), touch.clone()]))
            }
            9 => take(&mut runner, &write(Durability::Flushed, vec![set("temp", "a", b"1")])),
            _ => {}
        }
    }
    take(&mut runner, &Step::Maintain);
    take(&mut runner, &Step::Drop("temp"));
    take(&mut runner, &write(Durability::Buffered, vec![delete("app/users", "k2"), set("temp", "b", b"2")]));
    (disk, runner)
}

fn check(runner: &mut Runner) -> Result<(), Trouble> {
    runner.check_content()?;
    runner.compare_views(1)?;
    runner.verify()
}

/// Every segment and every blob on the disk is one of the store's.
fn check_files(disk: &SimFs, runner: &mut Runner) -> Result<(), String> {
    // What a compaction has replaced goes with the next look at it.
    take(runner, &Step::Maintain);
    orphans::check_segments(disk, runner.engine().map_err(|e| e.to_string())?)
}

/// The fault meets a compaction. Says whether it has shown.
fn compact_with_fault(fault: Fault, which: u64) -> Result<bool, String> {
    let (disk, mut runner) = store();
    take(&mut runner, &Step::Snapshot);
    disk.inject(fault);
    let compacted = runner.step(&Step::Compact(which));
    let has_shown = disk.clear_faults() == 0;
    check(&mut runner).map_err(|e| format!("afterwards: {e}"))?;
    let is_poisoned = matches!(&compacted, Err(Trouble::Store(error)) if error.kind() == ErrorKind::Poisoned);
    match compacted {
        Err(Trouble::Wrong(what)) => return Err(what),
        Err(_) if is_poisoned => {}
        Err(Trouble::Store(error))
            if !matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::ReadOnly) =>
        {
            return Err(format!("an unexpected error: {error:?}"));
        }
        _ => {
            take(&mut runner, &write(Durability::Flushed, vec![set("counters", "later", b"1")]));
            take(&mut runner, &Step::Release(0));
            take(&mut runner, &Step::Compact(0));
            check(&mut runner).map_err(|e| format!("after another: {e}"))?;
            check_files(&disk, &mut runner)?;
        }
    }
    let model = runner.model.clone();
    runner.abandon_without_close();
    // A snapshot's files and what could not be removed go at the next opening; what was buffered need not be there.
    let image = Left::Kill.of(&disk, 1);
    let mut runner = opened(&image, setup(), 2, Model::default());
    orphans::check_opened(&image, Path::new(DIR))?;
    orphans::check_segments(&image, runner.engine().map_err(|e| e.to_string())?)?;
    if !is_poisoned {
        runner.model = model;
        runner.check_content().map_err(|e| format!("killed: {e}"))?;
    }
    runner.verify().map_err(|e| format!("killed: {e}"))?;
    Ok(has_shown)
}

#[test]
fn every_call_of_a_compaction_fails_once() {
    // All segments; and of the sealed ones the second and third.
    for which in [0, 2 | 0b11 << 3] {
        for kind in KINDS {
            let mut run = 0;
            for nth in 1.. {
                let fault = Fault::any(nth, kind);
                let case = || format!("{kind:?} at call {nth} of {which}");
                match compact_with_fault(fault, which) {
                    Ok(true) => run += 1,
                    Ok(false) => break,
                    Err(what) => panic!("{}: {what}", case()),
                }
            }
            println!("{kind:?} of {which}: {run} calls failed");
            assert!(run >= 3, "{kind:?}: only {run} calls");
        }
    }
}

/// The outputs find no room, and give back what they took.
#[test]
fn a_compaction_on_a_full_disk_leaves_it_as_it_was() {
    let (disk, mut runner) = store();
    let sealed = |runner: &Runner| {
        let segments = runner.engine().unwrap().segments().unwrap();
        segments.iter().filter(|info| info.state == SegmentState::Sealed).count()
    };
    let (before, used) = (sealed(&runner), disk.used_bytes());
    for room in [0, 512, 1024, 2048] {
        disk.set_capacity(Some(used + room));
        let which = 0b111 << 2;
        let refused = runner.step(&Step::Compact(which));
        assert!(
            matches!(&refused, Err(Trouble::Store(e)) if e.kind() == ErrorKind::NoSpace),
            "with room for {room}: {refused:?}"
        );
        assert_eq!(sealed(&runner), before);
        check(&mut runner).unwrap();
    }
    disk.set_capacity(None);
    take(&mut runner, &Step::Compact(0));
    check(&mut runner).unwrap();
    check_files(&disk, &mut runner).unwrap();
    let model = runner.model.clone();
    take(&mut runner, &Step::Close);
    let mut again = opened(&disk.power_cut(CrashMode::DropAll, 1), setup(), 2, model);
    check(&mut again).unwrap();
}
