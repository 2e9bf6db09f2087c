//! Sealing under faults and crashes: whatever a seal ends in, the records stay readable, and a later seal succeeds.

use std::sync::Arc;

use nadb_core::{Durability, ErrorKind, Location, ManualClock, NamespaceId, SeededEntropy};
use nadb_engine::{ReadMode, SegmentState};
use nadb_log::{
    FrameBody, Log, LogOptions, Memtable, Placed, Publish, RecordFields, RecordKind, RecordRef,
    SealedSegment, Segment, Visit,
};
use nadb_testkit::crash::Left;
use nadb_testkit::model::Model;
use nadb_testkit::script::{delete, set};
use nadb_testkit::workload::{DIR, Promise, Runner, Setup, Step, Trouble};
use nadb_vfs::{CrashMode, Fault, FaultKind, Fs, SimFs};

const KINDS: [FaultKind; 6] = [
    FaultKind::Eio,
    FaultKind::NoSpace,
    FaultKind::ReadOnly,
    FaultKind::ShortWrite,
    FaultKind::ShortThenNoSpace,
    FaultKind::SyncLost,
];

fn runner(disk: &SimFs, seed: u64, model: Model) -> Runner {
    let setup = Setup { compression: nadb_core::Compression::None, ..Setup::default() };
    let mut runner = Runner::new(Arc::new(disk.clone()), setup, seed, model);
    runner.open().unwrap();
    runner
}

fn take(runner: &mut Runner, step: &Step) -> Promise {
    runner.step(step).unwrap_or_else(|trouble| panic!("{step:?}: {trouble}"))
}

fn write(ops: Vec<nadb_testkit::workload::Op>) -> Step {
    Step::Write(ops, Some(Durability::Flushed))
}

/// How many segments are in this state.
fn count(runner: &Runner, state: SegmentState) -> usize {
    runner.engine().unwrap().segments().unwrap().iter().filter(|segment| segment.state == state).count()
}

/// Overwrites and deletes some keys until so many segments are full.
fn fill(runner: &mut Runner, full: usize) {
    for n in 0.. {
        if count(runner, SegmentState::Full) >= full {
            return;
        }
        let key = format!("fill:{:02}", n % 20);
        take(runner, &write(vec![set("app/users", &key, &[n as u8; 300])]));
        if n % 7 == 3 {
            take(runner, &write(vec![delete("app/users", &format!("fill:{:02}", n % 5))]));
        }
    }
}

/// A store with three segments to be sealed, all durable, seen by a view.
fn store_to_seal() -> (SimFs, Runner) {
    let disk = SimFs::new(1);
    let mut runner = runner(&disk, 1, Model::default());
    take(&mut runner, &write(vec![set("temp", "a", b"1"), set("app/users", "fill:00", b"first")]));
    take(&mut runner, &Step::Snapshot);
    fill(&mut runner, 3);
    take(&mut runner, &Step::Drop("temp"));
    take(&mut runner, &Step::Flush);
    (disk, runner)
}

fn check(runner: &mut Runner) -> Result<(), Trouble> {
    runner.check_content()?;
    runner.compare_views(1)?;
    runner.verify()
}

/// Opens what a crash left; it must hold what `model` holds.
fn reopen(disk: &SimFs, seed: u64, model: &Model) -> Runner {
    let mut runner = runner(disk, seed, model.clone());
    check(&mut runner).unwrap();
    runner
}

/// The n-th call of sealing three segments fails. Says whether it did.
fn seal_with_fault(fault: Fault) -> Result<bool, String> {
    let (disk, mut runner) = store_to_seal();
    disk.inject(fault);
    let sealed = runner.step(&Step::Maintain);
    let shown = disk.clear_faults() == 0;
    check(&mut runner).map_err(|e| format!("afterwards: {e}"))?;
    let model = runner.model.clone();
    let later = write(vec![set("counters", "later", b"1")]);
    match sealed {
        Err(Trouble::Store(error)) if error.kind() == ErrorKind::Poisoned => {
            let refused = runner.step(&later);
            if !matches!(&refused, Err(Trouble::Store(e)) if e.kind() == ErrorKind::Poisoned) {
                return Err(format!("a poisoned store answers {refused:?}"));
            }
        }
        Err(Trouble::Store(error))
            if !matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::ReadOnly) =>
        {
            return Err(format!("an unexpected error: {error:?}"));
        }
        Err(Trouble::Wrong(what)) => return Err(what),
        _ => {
            take(&mut runner, &later);
            take(&mut runner, &Step::Maintain);
            if count(&runner, SegmentState::Full) != 0 || count(&runner, SegmentState::Sealed) < 3 {
                return Err("not all is sealed".to_owned());
            }
            check(&mut runner).map_err(|e| format!("after sealing again: {e}"))?;
        }
    }
    let model = if runner.model == model { model } else { runner.model.clone() };
    runner.abandon_without_close();
    for left in [Left::Power(CrashMode::DropAll, 0), Left::Power(CrashMode::KeepAll, 0), Left::Kill] {
        let mut runner = reopen(&left.of(&disk, 1), 2, &model);
        take(&mut runner, &Step::Maintain);
        let warnings = runner.engine().unwrap().recovery().warnings.clone();
        if !warnings.is_empty() || count(&runner, SegmentState::Full) != 0 {
            return Err(format!("{left}: {warnings:?}"));
        }
        check(&mut runner).map_err(|e| format!("{left}: {e}"))?;
    }
    Ok(shown)
}

#[test]
fn every_call_of_sealing_fails_once() {
    for kind in KINDS {
        let mut run = 0;
        for nth in 1.. {
            let fault = Fault::any(nth, kind);
            if !seal_with_fault(fault).unwrap_or_else(|what| panic!("{kind:?} at call {nth}: {what}")) {
                break;
            }
            run += 1;
        }
        println!("{kind:?}: {run} calls failed");
        assert!(run >= 3, "{kind:?}: only {run} calls");
    }
}

/// Trap 8: the footer is durable, the manifest that says so is not.
#[test]
fn a_complete_footer_under_an_old_manifest_is_no_footer() {
    let manifest = format!("{DIR}/MANIFEST");
    for left in Left::ALL {
        let (disk, mut runner) = store_to_seal();
        let old = disk.read_file(&manifest).unwrap();
        take(&mut runner, &Step::Maintain);
        assert_eq!(count(&runner, SegmentState::Full), 0);
        let model = runner.model.clone();
        runner.abandon_without_close();
        let image = left.of(&disk, 3);
        image.write_file(&manifest, &old).unwrap();
        let mut runner = reopen(&image, 2, &model);
        assert_eq!(count(&runner, SegmentState::Sealed), 0, "{left}");
        fill(&mut runner, 4);
        take(&mut runner, &Step::Maintain);
        check(&mut runner).unwrap();
        let model = runner.model.clone();
        runner.abandon_without_close();
        let runner = reopen(&Left::Power(CrashMode::DropAll, 0).of(&image, 4), 3, &model);
        assert_eq!(count(&runner, SegmentState::Full), 0);
        assert!(runner.engine().unwrap().recovery().warnings.is_empty());
    }
}

#[test]
fn a_footer_is_durable_before_the_manifest_that_names_it() {
    let (disk, mut runner) = store_to_seal();
    take(&mut runner, &Step::Maintain);
    let sealed = count(&runner, SegmentState::Sealed);
    let model = runner.model.clone();
    runner.abandon_without_close();
    let runner = reopen(&Left::Power(CrashMode::DropAll, 0).of(&disk, 1), 2, &model);
    let report = runner.engine().unwrap().recovery();
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert!(sealed >= 3 && count(&runner, SegmentState::Sealed) >= sealed);
}

#[test]
fn replay_goes_on_where_the_sealed_segments_end() {
    let (disk, mut runner) = store_to_seal();
    take(&mut runner, &Step::Maintain);
    fill(&mut runner, 2);
    let before = [SegmentState::Sealed, SegmentState::Full].map(|state| count(&runner, state));
    assert!(before[0] >= 3 && before[1] >= 2, "{before:?}");
    let model = runner.model.clone();
    runner.abandon_without_close();
    let runner = reopen(&Left::Kill.of(&disk, 1), 2, &model);
    assert!(count(&runner, SegmentState::Sealed) >= before[0]);
}

/// What a sealed segment says of where it ends holds for all before it.
#[test]
fn segments_are_sealed_in_their_order() {
    struct Nobody;
    impl Publish<()> for Nobody {
        fn publish(&self, (): (), _: Placed, _: &Arc<Segment>) {}
    }
    impl Visit for Nobody {
        fn begin(&mut self, _: u64) {}
        fn sealed(&mut self, _: &[SealedSegment]) -> nadb_core::Result<()> {
            Ok(())
        }
        fn record(&mut self, _: &RecordRef<'_>, _: Location, _: &Arc<Segment>) -> nadb_core::Result<()> {
            Ok(())
        }
    }
    let disk = SimFs::new(1);
    let options = LogOptions {
        segment_size: 4096,
        buffer_size: 0,
        create: true,
        read_mode: ReadMode::default(),
        clock: Arc::new(ManualClock::new(1)),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    let fs: Arc<dyn Fs> = Arc::new(disk);
    let log = Log::open(fs, DIR.as_ref(), options, &mut Nobody, Arc::new(Nobody)).unwrap();
    let mut body = FrameBody::new();
    body.push(&RecordFields::new(RecordKind::Value, NamespaceId(1), b"k", &[1; 1500], 1));
    while log.unsealed_count() < 2 {
        log.append(&body, Durability::Flushed, false, || ()).unwrap();
    }
    let (segments, ..) = log.segments();
    assert_eq!(log.oldest_unsealed().map(|segment| segment.id()), Some(segments[0].id()));
    let refused = log.seal(&segments[1], &Memtable::new()).map(|_| ());
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(log.unsealed_count(), 2);
}
