//! Every call fails once, in every way: a write that ends in an error has no effect, nothing that was promised is lost, and the
//! store goes on.

mod compaction;
mod full_disk;
mod recovery;

use std::sync::Arc;

use nadb_core::{Durability, ErrorKind, Location, ManualClock, NamespaceId, SeededEntropy, Stopwatch};
use nadb_log::{
    FrameBody, Log, LogOptions, Placed, Publish, ReadMode, RecordFields, RecordKind, RecordRef,
    SealedSegment, Segment, Visit,
};
use nadb_testkit::crash::{Crash, Left};
use nadb_testkit::dice::Dice;
use nadb_testkit::model::Model;
use nadb_testkit::orphans;
use nadb_testkit::script::{script, set};
use nadb_testkit::workload::{DIR, Promise, Runner, Setup, Step, Trouble};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, Fs, SimFs};

const STEPS: usize = 90;
/// Of a script that has blobs and opens by checkpoints, which a test asserts.
const SEED: u64 = 9;

const KINDS: [FaultKind; 6] = [
    FaultKind::Eio,
    FaultKind::NoSpace,
    FaultKind::ReadOnly,
    FaultKind::ShortWrite,
    FaultKind::ShortThenNoSpace,
    FaultKind::SyncLost,
];

/// With blobs, and a checkpoint at every close.
fn setup() -> Setup {
    Setup { blob_above: Some(2000), checkpoint_rows: 0, ..Setup::default() }
}

/// The disk after which a fault may strike: the folder's own name is durable, for nobody can make up for losing that.
fn disk(seed: u64) -> SimFs {
    let disk = SimFs::new(seed);
    // Through memory no append can fail: each way has its stories.
    disk.set_appenders(seed.is_multiple_of(2));
    disk.create_dir_all(DIR.as_ref()).unwrap();
    disk.sync_dir("/db".as_ref()).unwrap();
    disk.sync_dir("/".as_ref()).unwrap();
    disk
}

/// A store that a fault has met, or will.
struct Story {
    disk: SimFs,
    runner: Runner,
    states: Vec<Model>,
    durable: usize,
    flushed: usize,
    /// A failed sync made the store refuse writes.
    is_poisoned: bool,
    /// It failed to close.
    is_in_doubt: bool,
    setup: Setup,
    seed: u64,
}

impl Story {
    fn new(seed: u64, setup: Setup) -> Story {
        let disk = disk(seed);
        let runner = Runner::new(Arc::new(disk.clone()), setup, seed, Model::default());
        let states = vec![Model::default()];
        Story {
            disk,
            runner,
            states,
            durable: 0,
            flushed: 0,
            is_poisoned: false,
            is_in_doubt: false,
            setup,
            seed,
        }
    }

    fn last(&self) -> usize {
        self.states.len() - 1
    }

    fn take(&mut self, step: &Step) -> Result<(), String> {
        // After a close that failed, it is open what is still there of what nobody had promised.
        if matches!(step, Step::Open) && std::mem::take(&mut self.is_in_doubt) {
            return self.open_again();
        }
        match self.runner.step(step) {
            Ok(promise) => {
                self.states.push(self.runner.model.clone());
                if promise >= Promise::Flushed {
                    self.flushed = self.last();
                }
                if promise == Promise::Durable {
                    self.durable = self.last();
                }
                Ok(())
            }
            Err(Trouble::Wrong(what)) => Err(what),
            Err(Trouble::Store(error)) => self.failed(step, &error),
        }
    }

    fn failed(&mut self, step: &Step, error: &nadb_core::Error) -> Result<(), String> {
        if self.disk.crashed() {
            self.states.extend(self.runner.unanswered.take());
            return Ok(());
        }
        match error.kind() {
            ErrorKind::Poisoned => {
                self.is_poisoned = true;
                self.states.extend(self.runner.unanswered.take());
                Ok(())
            }
            _ if is_passing(error) => match step {
                Step::Open => self.open_again(),
                Step::Close => {
                    self.is_in_doubt = true;
                    Ok(())
                }
                _ => self.check_whole(),
            },
            _ => Err(format!("an unexpected error: {error:?}")),
        }
    }

    /// The store could not be opened, or not be closed: what it was told to keep is there when it is opened again.
    fn open_again(&mut self) -> Result<(), String> {
        let again = (0..3).find_map(|_| self.runner.open().ok());
        if self.disk.crashed() {
            return Ok(());
        }
        again.ok_or("the store does not open after the fault")?;
        orphans::check_opened(&self.disk, DIR.as_ref())?;
        let allowed = self.flushed..=self.last();
        let states = self.states.clone();
        let crash = self.crash(&states);
        // Another fault may meet the check.
        let mut check = || crash.check(&mut self.runner, &allowed);
        let at = check().or_else(|_| check()).or_else(|_| check())?;
        self.states.truncate(at + 1);
        // Opening makes durable what it finds.
        (self.flushed, self.durable) = (at, at);
        Ok(())
    }

    /// Nothing of what failed is to be seen.
    fn check_whole(&mut self) -> Result<(), String> {
        for _ in 0..4 {
            match self.runner.check_content().and_then(|()| self.runner.verify()) {
                Ok(()) => return Ok(()),
                Err(Trouble::Store(_)) if self.disk.crashed() => return Ok(()),
                Err(Trouble::Store(error)) if error.kind() == ErrorKind::Poisoned => {
                    self.is_poisoned = true;
                    return Ok(());
                }
                // Another fault has met the check.
                Err(Trouble::Store(error)) if is_passing(&error) => {}
                Err(other) => return Err(other.to_string()),
            }
        }
        Err("a fault does not go away".to_owned())
    }

    fn content(&self) -> Result<Model, String> {
        let again = |_| self.runner.content();
        let content = self.runner.content().or_else(again).or_else(again);
        content.map_err(|e| format!("reading a poisoned store: {e}"))
    }

    fn crash<'a>(&self, states: &'a [Model]) -> Crash<'a> {
        Crash {
            states,
            allowed: self.durable..=self.last(),
            exists: self.durable > 0,
            now_ms: self.runner.now_ms(),
            version: self.states.iter().map(Model::last_version).fold(self.runner.published(), u64::max),
            setup: self.setup,
            seed: self.seed ^ 0xFA17,
        }
    }

    /// Writes are refused, reads go on.
    fn check_poisoned(&mut self) -> Result<(), String> {
        if !self.runner.is_open() {
            return Ok(());
        }
        let content = self.content()?;
        let is_it = self.states.iter().rev().take(2).any(|state| state.admits(&content));
        if !is_it {
            return Err(
                "a poisoned store shows something else than before or after the last write".to_owned()
            );
        }
        for class in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
            let write = Step::Write(vec![set("app/users", "poisoned", b"x")], Some(class));
            let mut answer = self.runner.step(&write);
            // Another fault may meet the write before the store refuses it.
            if matches!(&answer, Err(Trouble::Store(error)) if is_passing(error)) {
                answer = self.runner.step(&write);
            }
            match answer {
                Err(Trouble::Store(error)) if error.kind() == ErrorKind::Poisoned => {}
                other => return Err(format!("a poisoned store answers a {class:?} write with {other:?}")),
            }
        }
        let after = self.content()?;
        if after != content {
            return Err("a write that a poisoned store refused is there".to_owned());
        }
        match self.runner.verify() {
            Err(Trouble::Store(error)) if error.kind() != ErrorKind::Poisoned && !is_passing(&error) => {
                Err(format!("verification of a poisoned store: {error:?}"))
            }
            Err(Trouble::Wrong(what)) => Err(what),
            _ => Ok(()),
        }
    }

    /// Every end that this story may take.
    fn check_ends(&mut self) -> Result<(), String> {
        let states = self.states.clone();
        let crash = self.crash(&states);
        let version = crash.version;
        self.runner.abandon_without_close();
        for left in [Left::Power(CrashMode::DropAll, 0), Left::Power(CrashMode::KeepAll, 0), Left::Kill] {
            let earliest = if left == Left::Kill { self.flushed } else { self.durable };
            let image = left.of(&self.disk, 0);
            let recovered = crash.recover(&image, &(earliest..=self.last()));
            let (mut runner, at) = recovered.map_err(|what| format!("{left}: {what}"))?;
            // What opening found, it has made durable; so goes what is written then.
            let write = Step::Write(vec![set("app/users", "later", b"y")], Some(Durability::Synced));
            runner.step(&write).map_err(|e| format!("{left}: going on: {e}"))?;
            let states = [crash.states.get(at).cloned().unwrap_or_default(), runner.model.clone()];
            let next = Crash {
                states: &states,
                allowed: 1..=1,
                exists: true,
                version,
                seed: crash.seed ^ 5,
                ..crash
            };
            let image = Left::Power(CrashMode::DropAll, 0).of(&image, 0);
            next.recover(&image, &(1..=1))
                .map_err(|what| format!("{left}, then a synced write and a power cut: {what}"))?;
        }
        Ok(())
    }
}

/// Whether a fault of the medium shows in this error, and may not show the next time.
fn is_passing(error: &nadb_core::Error) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::NoSpace | ErrorKind::ReadOnly)
}

fn is_full() -> bool {
    std::env::var_os("NADB_CRASH_FULL").is_some()
}

/// The workload with these faults, and perhaps a crash at a call that changes the disk. Says whether all faults have shown.
fn story(seed: u64, faults: &[Fault], crash_at: Option<u64>) -> Result<bool, String> {
    let mut story = Story::new(seed, setup());
    faults.iter().for_each(|fault| story.disk.inject(fault.clone()));
    if let Some(n) = crash_at {
        story.disk.crash_at_mutation(n);
    }
    for (at, step) in script(seed, STEPS).into_iter().enumerate() {
        let in_step = |what| {
            let shown: String = format!("{step:?}").chars().take(160).collect();
            format!("step {at} ({shown}): {what}")
        };
        if !story.runner.is_open() && !matches!(step, Step::Open) {
            continue;
        }
        story.take(&step).map_err(in_step)?;
        if story.disk.crashed() {
            break;
        }
        if story.is_poisoned {
            story.check_poisoned().map_err(in_step)?;
            break;
        }
    }
    let has_crashed = story.disk.crashed();
    let shown = story.disk.clear_faults() == 0;
    if !story.is_poisoned && !has_crashed {
        story.check_whole().map_err(|what| format!("at the end: {what}"))?;
    }
    story.check_ends()?;
    Ok(shown)
}

/// Calls whose failure, or the power cut after it, are chosen by lot.
#[test]
fn a_fault_and_then_a_power_cut() {
    let rounds = if is_full() { 20_000 } else { 1200 };
    let only: Option<u64> = std::env::var("NADB_SEED").ok().and_then(|seed| seed.parse().ok());
    let mut failures = Vec::new();
    for round in only.map_or(0..rounds, |only| only..only + 1) {
        let mut dice = Dice::new(round);
        let mut fault = || {
            let kind = *dice.pick(&KINDS);
            let most = if matches!(kind, FaultKind::Eio) { 500 } else { 90 };
            Fault::any(1 + dice.below(most), kind)
        };
        let faults = [fault(), fault()];
        let crash_at = 1 + dice.below(170);
        if let Err(what) = story(1 + round % 8, &faults, Some(crash_at)) {
            failures.push(format!("NADB_SEED={round} {faults:?}, crash at {crash_at}: {what}"));
        }
    }
    let shown = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} failed:\n{shown}", failures.len());
}

/// Every call, or every `stride`-th, fails once in this way.
fn every_call(kind: FaultKind, stride: u64) {
    let (mut failures, mut run) = (Vec::new(), 0);
    let seeds = if is_full() { SEED..=SEED + 5 } else { SEED..=SEED };
    let stride = if is_full() { 1 } else { stride };
    let seeds =
        std::env::var("NADB_SEED").ok().and_then(|s| s.parse().ok()).map_or(seeds, |seed| seed..=seed);
    for seed in seeds {
        let only: Option<u64> = std::env::var("NADB_CRASH_AT").ok().and_then(|at| at.parse().ok());
        let mut nth = only.unwrap_or(1);
        loop {
            let result = std::panic::catch_unwind(|| story(seed, &[Fault::any(nth, kind)], None));
            match result.unwrap_or_else(|_| Err("it panicked, see above".to_owned())) {
                Ok(false) => break,
                Ok(true) => {}
                Err(what) => failures.push(format!("NADB_SEED={seed} NADB_CRASH_AT={nth} {kind:?}: {what}")),
            }
            run += 1;
            if only.is_some() {
                break;
            }
            nth += stride;
        }
    }
    println!("{kind:?}: {run} calls failed");
    let shown = failures.iter().take(5).cloned().collect::<Vec<_>>().join("\n");
    assert!(failures.is_empty(), "{} of {run} calls: \n{shown}", failures.len());
    assert!(run > 20, "only {run} calls");
}

#[test]
fn every_call_fails_with_an_io_error() {
    every_call(FaultKind::Eio, 2);
}

#[test]
fn every_change_finds_the_disk_full() {
    every_call(FaultKind::NoSpace, 1);
}

#[test]
fn every_change_finds_the_disk_read_only() {
    every_call(FaultKind::ReadOnly, 1);
}

#[test]
fn every_write_is_short() {
    every_call(FaultKind::ShortWrite, 1);
}

#[test]
fn every_write_is_short_and_then_the_disk_is_full() {
    every_call(FaultKind::ShortThenNoSpace, 1);
}

#[test]
fn every_sync_fails_and_loses_what_it_was_to_keep() {
    every_call(FaultKind::SyncLost, 1);
}

#[test]
fn the_workload_has_blobs_and_opens_by_a_checkpoint() {
    let disk = disk(1);
    let mut runner = Runner::new(Arc::new(disk.clone()), setup(), 1, Model::default());
    let (mut openings, mut by_checkpoint) = (0, 0);
    for step in script(SEED, STEPS) {
        take(&mut runner, &step);
        openings += u64::from(matches!(step, Step::Open));
        by_checkpoint += u64::from(matches!(step, Step::Open) && runner.is_from_checkpoint().unwrap());
    }
    // The second close may find a view that keeps it from writing one.
    assert_eq!(openings, 3);
    assert!(by_checkpoint >= 1);
    let blobs = orphans::count(&disk);
    // Others a compaction has unlinked.
    assert!(blobs >= 2, "{blobs} blobs");
}

/// Not one call about the checkpoint matters: where it cannot be written, a close is a close; where it cannot be read, an opening is
/// an opening.
#[test]
fn a_checkpoint_that_cannot_be_written_or_read_fails_nothing() {
    for kind in KINDS {
        let mut run = 0;
        // Most calls are reads of the second opening, one for each part of the index.
        for nth in (1..).step_by(if kind == FaultKind::Eio && !is_full() { 5 } else { 1 }) {
            let disk = disk(1);
            let mut runner = Runner::new(Arc::new(disk.clone()), setup(), 1, Model::default());
            disk.inject(Fault::any(nth, kind).on("CHECKPOINT"));
            for step in script(SEED, STEPS) {
                let taken = runner.step(&step);
                assert!(taken.is_ok(), "{kind:?} at call {nth}, {step:?}: {taken:?}");
            }
            runner.check_content().and_then(|()| runner.verify()).unwrap();
            if disk.clear_faults() > 0 {
                break;
            }
            run += 1;
        }
        println!("{kind:?}: {run} calls failed");
        let least = if kind == FaultKind::SyncLost { 1 } else { 2 };
        assert!(run >= least, "{kind:?}: only {run} calls");
    }
}

fn take(runner: &mut Runner, step: &Step) {
    runner.step(step).unwrap_or_else(|trouble| panic!("{step:?}: {trouble}"));
}

fn opened(disk: &SimFs, setup: Setup, seed: u64, model: Model) -> Runner {
    let mut runner = Runner::new(Arc::new(disk.clone()), setup, seed, model);
    runner.open().unwrap();
    runner
}

// What was found once

/// A drop reads no record, nor does taking its keys out of the index.
#[test]
fn a_drop_needs_no_read() {
    let disk = disk(1);
    let mut runner = opened(&disk, Setup::default(), 1, Model::default());
    for round in 0..40 {
        let large = [round; 400];
        let ops = vec![
            set("temp", &format!("a{round}"), &large),
            set("temp", "b", b"2"),
            set("app/users", "a", b"3"),
        ];
        take(&mut runner, &Step::Write(ops, None));
        if round == 20 {
            // Some of its keys are in footers, others in memory.
            take(&mut runner, &Step::Maintain);
        }
    }
    take(&mut runner, &Step::Snapshot);
    for nth in 1..=50 {
        disk.inject(Fault::at(CallKind::Read, nth, FaultKind::Eio));
    }
    take(&mut runner, &Step::Drop("temp"));
    take(&mut runner, &Step::Release(0));
    assert!(disk.clear_faults() > 0);
    runner.check_content().unwrap();
    runner.verify().unwrap();
}

/// The process whose sync failed ends, and the next one sees bytes that no sync brings to the disk any more.
#[test]
fn what_a_failed_sync_lost_is_written_again_at_the_next_opening() {
    let disk = disk(1);
    let mut runner = opened(&disk, Setup::default(), 1, Model::default());
    take(&mut runner, &Step::Write(vec![set("app/users", "a", b"1")], Some(Durability::Synced)));
    take(&mut runner, &Step::Write(vec![set("app/users", "b", b"2")], Some(Durability::Flushed)));
    disk.inject(Fault::at(CallKind::SyncData, 1, FaultKind::SyncLost));
    let flush = runner.step(&Step::Flush);
    assert!(matches!(flush, Err(Trouble::Store(e)) if e.kind() == ErrorKind::Poisoned));
    let model = runner.model.clone();
    runner.abandon_without_close();
    let image = disk.process_kill();
    let mut after = opened(&image, Setup::default(), 2, model);
    after.check_content().unwrap();
    take(&mut after, &Step::Write(vec![set("app/users", "c", b"3")], Some(Durability::Synced)));
    let image = image.power_cut(CrashMode::DropAll, 0);
    let last = opened(&image, Setup::default(), 3, after.model.clone());
    last.check_content().unwrap();
    after.abandon_without_close();
}

/// The write fails, and cutting the file back fails: what was buffered before stays readable, and nobody calls it corrupt.
#[test]
fn a_poisoned_store_with_frames_in_memory_is_not_called_corrupt() {
    let disk = disk(1);
    let mut runner = opened(&disk, Setup { buffer_size: 1 << 20, ..Setup::default() }, 1, Model::default());
    take(&mut runner, &Step::Write(vec![set("app/users", "a", b"1")], Some(Durability::Synced)));
    take(&mut runner, &Step::Write(vec![set("app/users", "b", b"2")], Some(Durability::Buffered)));
    disk.inject(Fault::at(CallKind::Write, 1, FaultKind::NoSpace));
    disk.inject(Fault::at(CallKind::SetLen, 1, FaultKind::Eio));
    let write = Step::Write(vec![set("app/users", "c", b"3")], Some(Durability::Flushed));
    assert!(matches!(runner.step(&write), Err(Trouble::Store(e)) if e.kind() == ErrorKind::Poisoned));
    runner.check_content().unwrap();
    match runner.verify() {
        Ok(()) => {}
        Err(Trouble::Store(error)) => assert_eq!(error.kind(), ErrorKind::Poisoned, "{error}"),
        Err(wrong) => panic!("{wrong}"),
    }
}

/// Another writer's buffered frame, behind a synced one, does not get into the file: that is no failure of the synced one,
/// which is visible.
#[test]
fn a_sync_does_not_fail_for_frames_above_its_own() {
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
    let disk = disk(1);
    let options = LogOptions {
        segment_size: 1 << 20,
        buffer_size: 1 << 20,
        create: true,
        read_mode: ReadMode::default(),
        clock: Arc::new(ManualClock::new(1)),
        entropy: Arc::new(SeededEntropy::new(1)),
    };
    let fs = Arc::new(disk.clone());
    let log = Log::open(fs, DIR.as_ref(), options, &mut Nobody, Arc::new(Nobody)).unwrap();
    let mut body = FrameBody::new();
    body.push(&RecordFields::new(RecordKind::Value, NamespaceId(1), b"k", b"v", 1));
    let mine = log.append_visible(&body, Durability::Synced, false, || (), &mut Stopwatch::off()).unwrap();
    let other = log.append(&body, Durability::Buffered, false, || ()).unwrap();
    disk.inject(Fault::at(CallKind::Write, 1, FaultKind::NoSpace));
    log.sync_upto(mine.last_seq()).unwrap();
    assert_eq!(log.durable_seq(), mine.last_seq());
    disk.inject(Fault::at(CallKind::Write, 1, FaultKind::NoSpace));
    assert_eq!(log.sync_upto(other.last_seq()).unwrap_err().kind(), ErrorKind::NoSpace);
    log.sync_upto(other.last_seq()).unwrap();
    assert_eq!(log.durable_seq(), other.last_seq());
}
