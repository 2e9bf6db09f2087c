//! The crash runner: a workload loses power, or its process, at every call that changes the disk, and what the store recovers
//! is compared with what it had promised.
//!
//! The same workload makes the same calls each time, so one run to the end says what the store holds after each step; a run that
//! ends in a crash must come back as one of these states, and not as an earlier one than was promised.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use nadb_vfs::{CrashMode, SimFs};

use crate::counts::Counts;
use crate::dice::Dice;
use crate::model::Model;
use crate::orphans;
use crate::script::short_script;
use crate::workload::{DIR, Promise, Runner, START_MS, Setup, Step, Trouble};

/// What a crash leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// By a power cut: what the mode allows, chosen by the seed.
    Power(CrashMode, u64),
    /// By the end of the process: everything that was written, still not durable.
    Kill,
}

impl Left {
    /// What the tests try after every crash.
    pub const ALL: [Left; 9] = [
        Left::Power(CrashMode::KeepAll, 0),
        Left::Power(CrashMode::DropAll, 0),
        Left::Power(CrashMode::Torn, 1),
        Left::Power(CrashMode::Torn, 2),
        Left::Power(CrashMode::Reordered, 1),
        Left::Power(CrashMode::Reordered, 2),
        Left::Power(CrashMode::Reordered, 3),
        Left::Power(CrashMode::Reordered, 4),
        Left::Kill,
    ];

    /// The disk as it comes back; `salt` makes the choices of one crash differ from those of another.
    #[must_use]
    pub fn of(self, fs: &SimFs, salt: u64) -> SimFs {
        match self {
            Left::Power(mode, seed) => fs.power_cut(mode, seed.wrapping_mul(0x1_0001).wrapping_add(salt)),
            Left::Kill => fs.process_kill(),
        }
    }

    /// What is promised to survive it.
    #[must_use]
    pub fn survives(self) -> Promise {
        match self {
            Left::Power(..) => Promise::Durable,
            Left::Kill => Promise::Flushed,
        }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Left::Power(CrashMode::KeepAll, seed) => write!(f, "keep:{seed}"),
            Left::Power(CrashMode::DropAll, seed) => write!(f, "drop:{seed}"),
            Left::Power(CrashMode::Torn, seed) => write!(f, "torn:{seed}"),
            Left::Power(CrashMode::Reordered, seed) => write!(f, "reordered:{seed}"),
            Left::Kill => f.write_str("kill"),
        }
    }
}

impl FromStr for Left {
    type Err = String;

    fn from_str(text: &str) -> Result<Left, String> {
        if text == "kill" {
            return Ok(Left::Kill);
        }
        let (mode, seed) = text.split_once(':').unwrap_or((text, "1"));
        let mode = match mode {
            "keep" => CrashMode::KeepAll,
            "drop" => CrashMode::DropAll,
            "torn" => CrashMode::Torn,
            "reordered" => CrashMode::Reordered,
            _ => return Err(format!("{text}: a mode is keep, drop, torn:N, reordered:N or kill")),
        };
        seed.parse().map(|seed| Left::Power(mode, seed)).map_err(|e| format!("{text}: {e}"))
    }
}

/// What a workload had come to when it ended.
#[derive(Debug)]
pub struct Run {
    /// What the store held before each step, and after the last one.
    pub states: Vec<Model>,
    /// Which of them is the earliest that a power cut may bring back.
    pub durable: usize,
    /// Which of them is the earliest that the end of the process may bring back.
    pub flushed: usize,
    /// What ended it before its last step.
    pub trouble: Option<Trouble>,
}

impl Run {
    /// Before the first step.
    #[must_use]
    pub fn begin(base: Model) -> Run {
        Run { states: vec![base], durable: 0, flushed: 0, trouble: None }
    }

    /// Takes a store through one more step.
    ///
    /// # Errors
    /// What the step ended in.
    pub fn take(&mut self, runner: &mut Runner, step: &Step) -> Result<(), Trouble> {
        let promise = runner.step(step)?;
        self.states.push(runner.model.clone());
        if promise >= Promise::Flushed {
            self.flushed = self.steps();
        }
        if promise == Promise::Durable {
            self.durable = self.steps();
        }
        Ok(())
    }

    /// Takes a store through steps, until one fails.
    #[must_use]
    pub fn of(runner: &mut Runner, steps: &[Step]) -> Run {
        let mut run = Run::begin(runner.model.clone());
        run.trouble = steps.iter().find_map(|step| run.take(runner, step).err());
        run
    }

    /// The states that may come back when it ends between two steps.
    #[must_use]
    pub fn allowed(&self, left: Left) -> RangeInclusive<usize> {
        self.earliest(left.survives())..=self.steps()
    }

    /// How many steps succeeded.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.states.len() - 1
    }

    fn earliest(&self, promise: Promise) -> usize {
        match promise {
            Promise::Durable => self.durable,
            _ => self.flushed.max(self.durable),
        }
    }
}

/// One life of a store: from what it begins with, through its steps.
#[derive(Debug, Clone)]
pub struct Life {
    /// The options.
    pub setup: Setup,
    /// The seed of the life's randomness.
    pub seed: u64,
    /// What the clock shows at its beginning.
    pub now_ms: u64,
    /// What the store holds then.
    pub base: Model,
    /// The steps.
    pub steps: Vec<Step>,
    /// What an earlier life left, all of it durable.
    pub left: Option<SimFs>,
}

impl Life {
    /// The first life of a store.
    #[must_use]
    pub fn first(setup: Setup, seed: u64, steps: Vec<Step>) -> Life {
        Life { setup, seed, now_ms: START_MS, base: Model::default(), steps, left: None }
    }

    /// The life after this one, whose process ended, without closing, when its steps were done; the last of them was flushed.
    ///
    /// # Errors
    /// What goes wrong in this one.
    pub fn next(&self, seed: u64, steps: Vec<Step>) -> Result<Life, String> {
        let disk = self.disk();
        let mut runner = self.runner(&disk);
        if let Some(trouble) = Run::of(&mut runner, &self.steps).trouble {
            return Err(format!("in the life before: {trouble}"));
        }
        let left = disk.power_cut(CrashMode::KeepAll, 0);
        let (now_ms, base) = (runner.now_ms(), runner.model.clone());
        runner.abandon_without_close();
        Ok(Life { setup: self.setup, seed, now_ms, base, steps, left: Some(left) })
    }

    /// The disk at its beginning.
    #[must_use]
    pub fn disk(&self) -> SimFs {
        let disk = self.left.as_ref().map_or_else(|| SimFs::new(self.seed), SimFs::process_kill);
        disk.set_appenders(self.setup.appenders);
        disk
    }

    /// A runner at the beginning of this life, on this disk.
    #[must_use]
    pub fn runner(&self, fs: &SimFs) -> Runner {
        Runner::new(Arc::new(fs.clone()), self.setup, self.seed, self.base.clone()).at_time(self.now_ms)
    }
}

/// A crash: the life in which it happened, what that would have come to, and which states may come back.
#[derive(Debug)]
pub struct Crash<'a> {
    /// All states of the life, had it not ended.
    pub states: &'a [Model],
    /// Those that may come back.
    pub allowed: RangeInclusive<usize>,
    /// Whether the store is promised to exist.
    pub exists: bool,
    /// What the clock shows.
    pub now_ms: u64,
    /// The highest version that anyone may have seen.
    pub version: u64,
    /// The options.
    pub setup: Setup,
    /// A seed for the randomness of the next life.
    pub seed: u64,
}

impl<'a> Crash<'a> {
    /// The crash that ended `run`, the beginning of a life that would have had `states`.
    ///
    /// # Errors
    /// Where the run does not agree with these states.
    pub fn of(
        run: &Run,
        states: &'a [Model],
        left: Left,
        runner: &Runner,
        setup: Setup,
        seed: u64,
    ) -> Result<Crash<'a>, String> {
        let at = run.steps();
        if let Some(Trouble::Wrong(what)) = &run.trouble {
            return Err(format!("before the crash, in step {at}: {what}"));
        }
        if run.states.last() != states.get(at) {
            return Err(format!("step {at} had another result than without the crash"));
        }
        let last = (at + 1).min(states.len() - 1);
        let version = run.states.last().map_or(0, Model::last_version).max(runner.published());
        let allowed = run.earliest(left.survives())..=last;
        let exists = run.durable > 0 || run.states.first().is_some_and(|base| base.last_version() > 0);
        Ok(Crash { states, allowed, exists, now_ms: runner.now_ms(), version, setup, seed })
    }

    /// Opens what the crash left, and says with which of the states the store came back.
    ///
    /// # Errors
    /// What is wrong.
    pub fn recover(&self, fs: &SimFs, allowed: &RangeInclusive<usize>) -> Result<(Runner, usize), String> {
        let mut runner = Runner::new(Arc::new(fs.clone()), self.setup, self.seed, Model::default())
            .at_time(self.now_ms)
            .must_exist(self.exists);
        runner.open().map_err(|e| format!("opening after the crash failed: {e}"))?;
        orphans::check_opened(fs, Path::new(DIR)).map_err(|what| format!("after opening: {what}"))?;
        let engine = runner.engine().map_err(|e| e.to_string())?;
        orphans::check_segments(fs, engine).map_err(|what| format!("after opening: {what}"))?;
        let at = self.check(&mut runner, allowed)?;
        Ok((runner, at))
    }

    /// Checks what an open store came back with.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, runner: &mut Runner, allowed: &RangeInclusive<usize>) -> Result<usize, String> {
        let content = runner.content().map_err(|e| format!("reading after the crash failed: {e}"))?;
        let is_it = |at: &usize| self.states.get(*at).is_some_and(|state| state.admits(&content));
        let found = allowed.clone().rev().find(is_it);
        let Some(at) = found else {
            return Err(self.no_state(&content, allowed));
        };
        runner.verify().map_err(|e| format!("verification after the crash failed: {e}"))?;
        let known = self.states.last().map(|state| state.accesses.after_crash(&content.accesses));
        let accesses = known.unwrap_or_else(|| Ok(content.accesses.clone()))?;
        runner.model = content.accessed(accesses);
        runner.model.versions_given_upto(self.version);
        Ok(at)
    }

    fn no_state(&self, content: &Model, allowed: &RangeInclusive<usize>) -> String {
        let other = self.states.iter().rposition(|state| state == content);
        let to =
            |at: usize| self.states.get(at).and_then(|state| state.difference(content)).unwrap_or_default();
        let (first, last) = (*allowed.start(), *allowed.end());
        format!(
            "what came back is not the state after any of the steps {first}..={last} (it is that after {other:?}); \
             difference to that after {first}: {}; to that after {last}: {}",
            to(first),
            to(last)
        )
    }
}

/// How much of the product is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caps {
    /// Of a thousand images, how many see a second life with a second crash.
    pub second_lives: u64,
    /// Second crashes in each of these.
    pub second_crashes: u64,
    /// Of a thousand crashes during a recovery, how many are run; of each, all that may be left, or one.
    pub recoveries: u64,
}

impl Caps {
    /// Everything.
    pub const WHOLE: Caps = Caps { second_lives: 1000, second_crashes: 4, recoveries: 1000 };
}

/// A workload, and all crashes of it.
#[derive(Debug)]
pub struct Campaign {
    life: Life,
    caps: Caps,
    /// What the store holds after each step.
    pub golden: Run,
    /// Calls of the workload that change the disk.
    pub mutations: u64,
}

impl Campaign {
    /// Runs the workload once to its end.
    ///
    /// # Errors
    /// What goes wrong without any crash.
    pub fn new(life: Life, caps: Caps) -> Result<Campaign, String> {
        let disk = life.disk();
        let mut runner = life.runner(&disk);
        let golden = Run::of(&mut runner, &life.steps);
        if let Some(trouble) = &golden.trouble {
            return Err(format!("without any crash, in step {}: {trouble}", golden.steps()));
        }
        let whole = runner.check_content().and_then(|()| runner.verify());
        whole.map_err(|e| format!("without any crash, at the end: {e}"))?;
        let mutations = disk.mutations();
        Ok(Campaign { life, caps, golden, mutations })
    }

    /// The crash at the `n`-th call that changes the disk, with everything that may be left of it.
    ///
    /// # Errors
    /// What is wrong, and how to see it again.
    pub fn point(&self, n: u64, lefts: &[Left]) -> Result<Counts, String> {
        let disk = self.life.disk();
        disk.crash_at_mutation(n);
        let mut runner = self.life.runner(&disk);
        let run = Run::of(&mut runner, &self.life.steps);
        let mut counts = Counts { points: 1, ..Counts::default() };
        for &left in lefts {
            let image = self.image(&disk, &run, &runner, n, left).map_err(|what| {
                format!(
                    "NADB_SEED={} NADB_CRASH_AT={n} NADB_CRASH_MODE={left}: crash in step {} ({:?}): {what}",
                    self.life.seed,
                    run.steps(),
                    self.life.steps.get(run.steps()).map(|step| shorten(&format!("{step:?}"))),
                )
            })?;
            counts.add(image);
        }
        Ok(counts)
    }

    fn image(&self, disk: &SimFs, run: &Run, runner: &Runner, n: u64, left: Left) -> Result<Counts, String> {
        let mut dice = Dice::new(
            self.life.seed ^ (n << 20) ^ Left::ALL.iter().position(|&l| l == left).unwrap_or(0) as u64,
        );
        let seed = dice.next_u64();
        let image = left.of(disk, n);
        let crash = Crash::of(run, &self.golden.states, left, runner, self.life.setup, seed)?;
        let copy = image.process_kill();
        let blobs_before = orphans::count(&copy);
        let (recovered, at) = crash.recover(&copy, &crash.allowed)?;
        // Before its end, which closes the store.
        let calls = copy.mutations();
        let base = recovered.model.clone();
        let blobs = orphans::count(&copy);
        let mut counts = Counts {
            images: 1,
            mixes: u64::from(recovered.is_mix().map_err(|e| e.to_string())?),
            from_checkpoint: u64::from(recovered.is_from_checkpoint().map_err(|e| e.to_string())?),
            blobs: u64::from(blobs > 0),
            orphans: u64::from(blobs < blobs_before),
            ..Counts::default()
        };
        drop(recovered);
        if dice.below(1000) < self.caps.second_lives {
            counts.second = second_life(self.caps.second_crashes, &crash, &image, base, &mut dice)?;
        }
        // What a process left is not durable: a power cut during the recovery may still take it back.
        let earliest = if left == Left::Kill { run.durable } else { at };
        for r in 1..=calls {
            for again in Left::ALL {
                counts.recoveries_all += 1;
                if dice.below(1000) < self.caps.recoveries {
                    counts.recoveries += 1;
                    let earliest = if again == Left::Kill { at } else { earliest };
                    recovery_crash(&crash, &image, r, again, earliest..=at)
                        .map_err(|what| format!("then at call {r} of the recovery, {again}: {what}"))?;
                }
            }
        }
        Ok(counts)
    }
}

/// Goes on after the crash, crashes again, and recovers again.
fn second_life(
    crashes: u64,
    crash: &Crash<'_>,
    image: &SimFs,
    base: Model,
    dice: &mut Dice,
) -> Result<u64, String> {
    let steps = short_script(crash.seed);
    let life = Life { setup: crash.setup, seed: crash.seed, now_ms: crash.now_ms, base, steps, left: None };
    let disk = image.process_kill();
    let mut runner = life.runner(&disk);
    runner.open().map_err(|e| format!("second life: {e}"))?;
    let opened = disk.mutations();
    let golden = Run::of(&mut runner, &life.steps);
    if let Some(trouble) = golden.trouble {
        return Err(format!("second life, step {}: {trouble}", golden.states.len() - 1));
    }
    runner.check_content().map_err(|e| format!("second life, at its end: {e}"))?;
    for _ in 0..crashes {
        let n = 1 + dice.below(disk.mutations() - opened);
        let left = *dice.pick(&Left::ALL);
        second_crash(&life, &golden, image, n, left, dice.next_u64())
            .map_err(|what| format!("second life, crash at {n}, {left}: {what}"))?;
    }
    Ok(crashes)
}

fn second_crash(
    life: &Life,
    golden: &Run,
    image: &SimFs,
    n: u64,
    left: Left,
    seed: u64,
) -> Result<(), String> {
    let disk = image.process_kill();
    let mut runner = life.runner(&disk);
    runner.open().map_err(|e| e.to_string())?;
    disk.crash_at_mutation(n);
    let run = Run::of(&mut runner, &life.steps);
    let image = left.of(&disk, n);
    let crash = Crash::of(&run, &golden.states, left, &runner, life.setup, seed)?;
    let (runner, _) = crash.recover(&image, &crash.allowed)?;
    go_on(&crash, &image, runner)
}

fn recovery_crash(
    crash: &Crash<'_>,
    image: &SimFs,
    r: u64,
    left: Left,
    allowed: RangeInclusive<usize>,
) -> Result<(), String> {
    let disk = image.process_kill();
    disk.crash_at_mutation(r);
    let life = Life {
        setup: crash.setup,
        seed: crash.seed ^ 1,
        now_ms: crash.now_ms,
        base: Model::default(),
        steps: Vec::new(),
        left: None,
    };
    if life.runner(&disk).open().is_ok() {
        return Err("the store opened although the power was cut".to_owned());
    }
    let image = left.of(&disk, r);
    let (runner, _) = crash.recover(&image, &allowed)?;
    go_on(crash, &image, runner)
}

/// A few synced writes to a store that came back; then nothing but them may be lost by what comes.
fn go_on(crash: &Crash<'_>, disk: &SimFs, mut runner: Runner) -> Result<(), String> {
    let steps = short_script(crash.seed ^ 2);
    let run = Run::of(&mut runner, steps.get(..3).unwrap_or_default());
    if let Some(trouble) = run.trouble {
        return Err(format!("going on after the recovery, step {}: {trouble}", run.states.len() - 1));
    }
    let end = run.durable..=run.steps();
    let image = Left::Power(CrashMode::DropAll, 0).of(disk, 0);
    let next = Crash {
        states: &run.states,
        allowed: end.clone(),
        exists: true,
        now_ms: crash.now_ms,
        version: runner.published(),
        setup: crash.setup,
        seed: crash.seed ^ 3,
    };
    next.recover(&image, &end).map(|_| ()).map_err(|what| format!("after going on: {what}"))
}

fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}
