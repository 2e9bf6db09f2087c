//! Random operations, reopenings, kills, power cuts and clock steps, against the model; whatever the options.

use std::path::Path;
use std::sync::Arc;

use nadb_core::{Compression, Condition, Durability, KeyHash, NamespaceId};
use nadb_engine::ReadMode;
use nadb_log::Manifest;
use nadb_testkit::crash::{Crash, Left, Run};
use nadb_testkit::dice::Dice;
use nadb_testkit::model::Model;
use nadb_testkit::orphans;
use nadb_testkit::script::{delete, random_step, set};
use nadb_testkit::workload::{DIR, Runner, Setup, Step, Trouble};
use nadb_vfs::{CrashMode, Fs, MemFs, RealFs, SimFs};
use proptest::prelude::*;
use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestRng, TestRunner};

const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proptest-regressions/model.txt");
const SEED: u64 = 20_240_229;

/// One move of a history.
#[derive(Debug, Clone)]
enum Move {
    /// The step that this seed makes.
    Step(u64),
    /// Closed and opened again.
    Reopen,
    /// The process is killed and another one goes on.
    Kill,
    /// The power goes, and comes back.
    Cut(CrashMode, u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let mode = prop::sample::select(CrashMode::ALL.to_vec());
    let one = prop_oneof![
        40 => any::<u64>().prop_map(Move::Step),
        1 => Just(Move::Reopen),
        1 => Just(Move::Kill),
        1 => (mode, any::<u64>()).prop_map(|(mode, seed)| Move::Cut(mode, seed)),
    ];
    prop::collection::vec(one, 1..120)
}

fn setups() -> impl Strategy<Value = Setup> {
    (
        prop::sample::select(vec![4096, 6000, 16 << 10, 1 << 20]),
        prop::sample::select(vec![0, 300, 4096, 1 << 20]),
        prop::sample::select(vec![Compression::None, Compression::Snappy]),
        prop::sample::select(vec![Durability::Buffered, Durability::Flushed, Durability::Synced]),
        prop::sample::select(vec![ReadMode::Mapped, ReadMode::Positioned]),
        prop::sample::select(vec![None, Some(0), Some(100), Some(2000)]),
        prop::sample::select(vec![0, 40, u64::MAX]),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(
            |(
                memtable_size,
                buffer_size,
                compression,
                durability,
                read_mode,
                blob_above,
                checkpoint_rows,
                appenders,
                track_access,
            )| {
                Setup {
                    memtable_size,
                    buffer_size,
                    compression,
                    durability,
                    read_mode,
                    blob_above,
                    checkpoint_rows,
                    appenders,
                    track_access,
                }
            },
        )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

/// Runs cases of a strategy from a seed that the environment may name.
fn check<S: Strategy>(strategy: S, test: impl Fn(S::Value) -> Result<(), String>) {
    check_cases(150, strategy, test);
}

fn check_cases<S: Strategy>(cases: u64, strategy: S, test: impl Fn(S::Value) -> Result<(), String>) {
    let seed = number("NADB_SEED").unwrap_or(SEED);
    let cases = u32::try_from(number("PROPTEST_CASES").unwrap_or(cases)).unwrap();
    let config = Config {
        cases,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        max_shrink_iters: 4000,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let result = runner.run(&strategy, |value| test(value).map_err(TestCaseError::fail));
    result.unwrap_or_else(|failure| panic!("NADB_SEED={seed}: {failure}"));
}

/// A store on a simulated disk, and what it may come back with.
struct History {
    disk: SimFs,
    runner: Runner,
    run: Run,
    setup: Setup,
    lives: u64,
}

impl History {
    fn new(setup: Setup) -> Result<History, String> {
        let disk = SimFs::new(1);
        disk.set_appenders(setup.appenders);
        let mut runner = Runner::new(Arc::new(disk.clone()), setup, 1, Model::default());
        runner.open().map_err(|e| e.to_string())?;
        Ok(History { disk, runner, run: Run::begin(Model::default()), setup, lives: 1 })
    }

    fn step(&mut self, step: &Step) -> Result<(), String> {
        self.run.take(&mut self.runner, step).map_err(|e| format!("{step:?}: {e}"))
    }

    fn make(&mut self, next: &Move) -> Result<(), String> {
        match next {
            Move::Step(seed) => self.step(&random_step(&mut Dice::new(*seed)))?,
            Move::Reopen => {
                self.step(&Step::Close)?;
                self.step(&Step::Open)?;
                orphans::check_opened(&self.disk, Path::new(DIR))?;
            }
            Move::Kill => self.crash(Left::Kill)?,
            Move::Cut(mode, seed) => self.crash(Left::Power(*mode, *seed))?,
        }
        // Trap 13: after every move the index that is rebuilt from the files equals the live one.
        self.runner.verify().map_err(|e| format!("verification: {e}"))
    }

    /// The whole store, every view of it and every reader.
    fn check(&mut self, seed: u64) -> Result<(), String> {
        self.runner.check_content().and_then(|()| self.runner.compare_views(seed)).map_err(|e| e.to_string())
    }

    fn crash(&mut self, left: Left) -> Result<(), String> {
        self.lives += 1;
        let image = left.of(&self.disk, self.lives);
        let crash = Crash {
            states: &self.run.states,
            allowed: self.run.allowed(left),
            exists: true,
            now_ms: self.runner.now_ms(),
            version: self.runner.published().max(self.runner.model.last_version()),
            setup: self.setup,
            seed: self.lives,
        };
        let (runner, _) = crash.recover(&image, &crash.allowed)?;
        self.run = Run::begin(runner.model.clone());
        (self.disk, self.runner) = (image, runner);
        Ok(())
    }
}

#[test]
fn a_store_answers_as_its_model_through_reopenings_and_crashes_and_verifies_after_every_move() {
    check((setups(), moves()), |(setup, moves)| {
        let mut history = History::new(setup)?;
        for (at, next) in moves.iter().enumerate() {
            history.make(next).map_err(|what| format!("move {at}, {next:?}: {what}"))?;
            if at % 4 == 0 {
                history.check(at as u64).map_err(|e| format!("after move {at}, {next:?}: {e}"))?;
            }
        }
        history.check(0).map_err(|e| format!("at the end: {e}"))?;
        let released = history.runner.release_views().and_then(|()| history.runner.verify());
        released.map_err(|e| format!("after the last view: {e}"))
    });
}

#[test]
fn options_change_no_answer() {
    let steps = prop::collection::vec(any::<u64>(), 1..150);
    check((setups(), setups(), steps), |(one, other, steps)| {
        let mut contents = Vec::new();
        for setup in [one, other] {
            let mut runner = Runner::new(Arc::new(MemFs::default()), setup, 1, Model::default());
            runner.open().map_err(|e| e.to_string())?;
            for (at, seed) in steps.iter().enumerate() {
                let step = random_step(&mut Dice::new(*seed));
                let mut take =
                    |step: &Step| runner.step(step).map_err(|e| format!("step {at}, {step:?}: {e}"));
                take(&step)?;
                if seed % 50 == 0 {
                    take(&Step::Close)?;
                    take(&Step::Open)?;
                }
            }
            let checked = runner.check_content().and_then(|()| runner.compare_views(1));
            checked.and_then(|()| runner.verify()).map_err(|e| e.to_string())?;
            contents.push(runner.content().map_err(|e| e.to_string())?);
        }
        // Versions too: numbers follow the writes and nothing else.
        contents[0].difference(&contents[1]).map_or(Ok(()), |what| Err(format!("the options matter: {what}")))
    });
}

/// Trap 14. The simulated disk has no mappings: what is mapped, and what is not, is compared on a real one.
#[test]
fn read_modes_change_no_answer() {
    let steps = prop::collection::vec(any::<u64>(), 60..140);
    check_cases(12, (setups(), steps), |(setup, steps)| {
        let mut contents = Vec::new();
        for read_mode in [ReadMode::Mapped, ReadMode::Positioned] {
            let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
            // Every blob takes two syncs, which are real ones here.
            let blob_above = setup.blob_above.map(|above| above.max(1500));
            let setup = Setup { memtable_size: 4096, read_mode, blob_above, ..setup };
            let mut runner =
                Runner::new(Arc::new(RealFs), setup, 1, Model::default()).in_dir(&dir.path().join("store"));
            runner.open().map_err(|e| e.to_string())?;
            for (at, seed) in steps.iter().enumerate() {
                let step = random_step(&mut Dice::new(*seed));
                let mut take = |step: &Step| {
                    runner.step(step).map_err(|e| format!("{read_mode:?}, step {at}, {step:?}: {e}"))
                };
                take(&step)?;
                match seed % 40 {
                    0 => {
                        take(&Step::Close)?;
                        take(&Step::Open)?;
                    }
                    1..=3 => _ = take(&Step::Maintain)?,
                    4..=6 => _ = take(&Step::Compare(*seed))?,
                    _ => {}
                }
            }
            let checked = runner.check_content().and_then(|()| runner.compare_views(1));
            checked.and_then(|()| runner.verify()).map_err(|e| format!("{read_mode:?}: {e}"))?;
            contents.push(runner.content().map_err(|e| e.to_string())?);
        }
        contents[0].difference(&contents[1]).map_or(Ok(()), |what| Err(format!("the mode matters: {what}")))
    });
}

/// Without checkpoints: what these stories are about, a checkpoint would keep from happening.
fn open(disk: &SimFs) -> Runner {
    let setup = Setup { checkpoint_rows: u64::MAX, ..Setup::default() };
    let mut runner = Runner::new(Arc::new(disk.clone()), setup, 1, Model::default());
    runner.open().unwrap();
    runner
}

fn take(runner: &mut Runner, steps: &[Step]) {
    for step in steps {
        runner.step(step).unwrap_or_else(|trouble| panic!("{step:?}: {trouble}"));
    }
}

fn write(ops: impl IntoIterator<Item = nadb_testkit::workload::Op>) -> Step {
    Step::Write(ops.into_iter().collect(), None)
}

#[test]
fn a_deleted_key_stays_deleted_after_reopening() {
    let mut runner = open(&SimFs::new(1));
    let steps = [
        write([set("app/users", "a", b"1"), set("app/users", "b", b"2")]),
        write([delete("app/users", "a")]),
        Step::Close,
        Step::Open,
        Step::Get("app/users", b"a".to_vec()),
        Step::Verify,
    ];
    take(&mut runner, &steps);
    runner.check_content().unwrap();
}

#[test]
fn a_namespace_made_after_reopening_shares_no_keys_with_an_older_one() {
    let mut runner = open(&SimFs::new(1));
    let steps = [
        write([set("app/users", "a", b"1")]),
        Step::Close,
        Step::Open,
        write([set("temp", "b", b"2")]),
        Step::Get("temp", b"a".to_vec()),
        Step::Drop("temp"),
        Step::Get("app/users", b"a".to_vec()),
        Step::Close,
        Step::Open,
        write([set("temp", "b", b"3")]),
        Step::Scan("temp"),
        Step::Verify,
    ];
    take(&mut runner, &steps);
    runner.check_content().unwrap();
}

/// Two keys of 16 bytes whose hashes under this seed are equal, all 64 bits of them. XXH3 takes such a key as two numbers, each mixed
/// with constants of its secret and the seed, and gives a one-to-one function of the first one's bytes reversed, plus the second,
/// plus the halves of their product combined by exclusive or: where the first is 0, that is the second.
fn twins(seed: u64) -> [Vec<u8>; 2] {
    let low_mask = (0x1F67_B3B7_A4A4_4072_u64 ^ 0x78E5_C0CC_4EE6_79CB).wrapping_add(seed);
    let high_mask = (0x2172_FFCC_7DD0_5A82_u64 ^ 0x8E24_43F7_7446_08B8).wrapping_sub(seed);
    let key =
        |low: u64, high: u64| [(low ^ low_mask).to_le_bytes(), (high ^ high_mask).to_le_bytes()].concat();
    let (low, high) = (0x0123_4567_89AB_CDEF_u64, 0xFEDC_BA98_7654_3210_u64);
    let product = u128::from(low) * u128::from(high);
    let [upper, lower] = [(product >> 64) as u64, product as u64];
    let sum = low.swap_bytes().wrapping_add(high).wrapping_add(upper ^ lower);
    [key(low, high), key(0, sum)]
}

#[test]
fn keys_of_equal_hashes_are_told_apart_by_the_key_on_the_record() {
    let put = |key: &[u8], value: &[u8]| {
        let mut op = set("app/users", "", value);
        op.operation.key = key.to_vec().into();
        Step::Write(vec![op], None)
    };
    let disk = SimFs::new(1);
    let mut runner = open(&disk);
    let seed = Manifest::load(&disk, Path::new(DIR)).unwrap().unwrap().hash_seed;
    let hash = |key: &[u8]| KeyHash::new(seed, NamespaceId(1), key);
    // The namespace's seed; docs of `KeyHash::new`.
    let [a, b] = twins(seed.wrapping_add(0x9E37_79B9_7F4A_7C15));
    assert_eq!(hash(&a), hash(&b), "equal keys by another way are needed for this hash");
    assert_ne!(a, b);
    let gets = |name| [a.clone(), b.clone()].map(|key| Step::Get(name, key));
    take(&mut runner, &[put(&a, b"first"), put(&b, b"second")]);
    take(&mut runner, &gets("app/users"));
    let mut absent = set("app/users", "", b"third");
    absent.operation.key = b.clone().into();
    absent.operation.condition = Condition::IfAbsent;
    let mut gone = delete("app/users", "");
    gone.operation.key = a.clone().into();
    take(&mut runner, &[Step::Write(vec![gone], None), Step::Write(vec![absent], None)]);
    take(&mut runner, &gets("app/users"));
    take(&mut runner, &[Step::Verify, Step::Close, Step::Open, Step::Verify]);
    take(&mut runner, &gets("app/users"));
    runner.check_content().unwrap();
}

#[test]
fn a_missing_store_is_not_made_where_it_must_exist() {
    let disk = SimFs::new(1);
    let mut runner =
        Runner::new(Arc::new(disk.clone()), Setup::default(), 1, Model::default()).must_exist(true);
    assert!(matches!(runner.open(), Err(Trouble::Store(_))));
    assert!(disk.list(Path::new(DIR)).is_err());
}
