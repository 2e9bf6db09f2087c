//! A real process that writes under load is killed at random moments; what the store then holds is compared with what the
//! process had acknowledged through a pipe.
//!
//! The steps of each writer are known ([`nadb_testkit::kill::step`]), and so is the store before the round. What a writer's
//! keys hold afterwards must be what they held after some prefix of its steps, and the recovery's last number says exactly
//! which prefix. The rounds of a class go on in one directory, so that recovery comes on top of recovery. In some of them the process
//! closes the store in order if it gets that far, so that the next one opens it by a checkpoint. In one class another thread compacts all
//! the time: then nearly every kill hits a compaction.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use nadb_core::ErrorKind;
use nadb_engine::{Engine, Options};
use nadb_testkit::dice::Dice;
use nadb_testkit::kill::{Ack, BRIEF, COMMON, Change, Effect, Step, THREADS, owner, step};
use nadb_testkit::orphans;
use nadb_vfs::{Fs, RealFs};

const CHILD: &str = env!("CARGO_BIN_EXE_nadb-kill-child");
const PATIENCE: Duration = Duration::from_secs(60);
/// Then a new directory: the time that a round takes grows with the log.
const ROUNDS_PER_DIRECTORY: u64 = 50;

#[test]
fn kill_buffered_keeps_a_prefix() {
    Rounds::new("buffered").run();
}

#[test]
fn kill_flushed_keeps_everything_acknowledged() {
    Rounds::new("flushed").run();
}

#[test]
fn kill_synced_keeps_everything_acknowledged() {
    Rounds::new("synced").run();
}

#[test]
fn kill_while_compacting_keeps_everything_acknowledged_and_leaves_no_file() {
    Rounds { compacts: true, ..Rounds::new("flushed") }.run();
}

#[test]
fn kill_while_the_store_is_made_leaves_one_that_opens() {
    let mut dice = Dice::new(u64::from(std::process::id()));
    for attempt in 0..12 {
        let dir = temp_dir();
        let store = dir.path().join("new/store");
        for _ in 0..4 {
            let (mut child, lines) = spawn(&store, "synced", 1, 0, "open");
            expect_line(&lines, "opening");
            std::thread::sleep(Duration::from_micros(dice.below(2000)));
            child.kill().unwrap();
            child.wait().unwrap();
            let error = lines.iter().find(|line| line.starts_with("error"));
            assert_eq!(error, None, "attempt {attempt}");
        }
        let engine = open(&store).unwrap();
        engine.verify().unwrap();
        assert!(engine.namespaces().unwrap().is_empty());
        engine.close().unwrap();
    }
}

#[test]
fn a_second_process_and_a_second_handle_are_refused_until_the_owner_is_killed() {
    let dir = temp_dir();
    let (mut owner, lines) = spawn(dir.path(), "flushed", 1, 0, "hold");
    expect_line(&lines, "opening");
    expect_line(&lines, "opened");
    let refused = open(dir.path()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    assert!(refused.to_string().contains(&format!("pid {}", owner.id())), "{refused}");
    assert_eq!(refused.path(), Some(dir.path().join("LOCK").as_path()));
    owner.kill().unwrap();
    owner.wait().unwrap();

    let engine = open(dir.path()).unwrap();
    let refused = open(dir.path()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Locked);
    assert!(refused.to_string().contains(&format!("this process (pid {})", std::process::id())), "{refused}");
    let (mut second, lines) = spawn(dir.path(), "flushed", 1, 0, "hold");
    expect_line(&lines, "opening");
    let line = lines.recv_timeout(PATIENCE).unwrap();
    let pid = format!("pid {}", std::process::id());
    assert!(line.starts_with("error open: Locked") && line.contains(&pid), "{line}");
    second.wait().unwrap();
    engine.close().unwrap();
    open(dir.path()).unwrap().close().unwrap();
}

/// A key, with its namespace first.
type Place = (String, Vec<u8>);

/// What a key holds; the version is unknown where the write was not acknowledged before the kill.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    value: Vec<u8>,
    version: Option<u64>,
    expires_ms: Option<u64>,
}

type State = BTreeMap<Place, Held>;

struct Rounds {
    class: &'static str,
    /// Whether another thread compacts all the time.
    compacts: bool,
    count: u64,
    seed: u64,
    dice: Dice,
    dir: tempfile::TempDir,
    /// What the store held after the last round.
    state: State,
    /// The highest version that was ever seen, of lost writes, too.
    highest: u64,
    acknowledged: u64,
    lost: u64,
    cut_bytes: u64,
    /// Rounds whose process closed the store before it was killed.
    closed: u64,
    /// Openings by a checkpoint.
    from_checkpoint: u64,
    /// Blobs that the openings found, and kept.
    blobs: usize,
    /// Rounds whose process was in a compaction when it was killed.
    killed_compacting: u64,
}

impl Rounds {
    fn new(class: &'static str) -> Rounds {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        // Which moment is hit depends on the machine as well, so another seed each time finds more.
        let seed = number("NADB_SEED").unwrap_or_else(|| u64::from(std::process::id()));
        Rounds {
            class,
            compacts: false,
            count: number("NADB_KILL_ROUNDS").unwrap_or(20),
            seed,
            dice: Dice::new(seed),
            dir: temp_dir(),
            state: State::new(),
            highest: 0,
            acknowledged: 0,
            lost: 0,
            cut_bytes: 0,
            closed: 0,
            from_checkpoint: 0,
            blobs: 0,
            killed_compacting: 0,
        }
    }

    fn run(mut self) {
        println!("{}: NADB_SEED={}", self.class, self.seed);
        for round in 0..self.count {
            if round > 0 && round.is_multiple_of(ROUNDS_PER_DIRECTORY) {
                (self.dir, self.state, self.highest) = (temp_dir(), State::new(), 0);
            }
            let (acks, was_closed) = self.write_and_kill(round);
            self.closed += u64::from(was_closed);
            if round % 10 == 3 {
                self.kill_while_opening(round);
            }
            // Checked in a copy, the store itself stays as the kill left it, and the next kill comes on top.
            let copy = (round % 2 == 1).then(|| copy_of(self.dir.path()));
            let dir = copy.as_ref().map_or(self.dir.path(), |copy| copy.path()).to_path_buf();
            self.check(&dir, round, &acks, was_closed);
        }
        let Rounds { class, count, acknowledged, lost, cut_bytes, closed, from_checkpoint, blobs, .. } =
            &self;
        if self.compacts {
            println!("{} of the kills hit a compaction", self.killed_compacting);
        }
        println!(
            "{class}: {count} rounds, {closed} closed before the kill, {acknowledged} steps acknowledged, {lost} of them lost, \
             {cut_bytes} bytes cut, {from_checkpoint} openings by a checkpoint, {blobs} blobs found"
        );
        assert!(*lost == 0 || *class == "buffered");
        assert!(*count < 2 || *closed.min(from_checkpoint) > 0);
    }

    /// What a process acknowledged before it was killed, and whether it had closed the store.
    fn write_and_kill(&mut self, round: u64) -> (Vec<Ack>, bool) {
        // Every third goes for a close; of these every other is killed before, in it, or afterwards.
        let mode = match round % 3 {
            1 => format!("close:{}", 4 + self.dice.below(40)),
            _ => "write".to_owned(),
        };
        let mode = if self.compacts { format!("compact:{mode}") } else { mode };
        let (mut child, lines) = spawn(self.dir.path(), self.class, self.seed, round, &mode);
        expect_line(&lines, "opening");
        expect_line(&lines, "opened");
        let mut said = vec![lines.recv_timeout(PATIENCE).unwrap()];
        let must_close = round % 6 == 1;
        if must_close {
            said.extend(std::iter::from_fn(|| lines.recv_timeout(PATIENCE).ok()));
        } else {
            let most = if self.dice.below(2) == 0 { 40 } else { 300 };
            std::thread::sleep(Duration::from_millis(5 + self.dice.below(most - 5)));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        said.extend(lines.iter());
        let was_closed = said.pop_if(|line| line == "closed").is_some();
        let (compactions, said): (Vec<_>, Vec<_>) =
            said.into_iter().partition(|line| line.starts_with("compact"));
        self.killed_compacting += u64::from(compactions.last().is_some_and(|line| line == "compacting"));
        let acks = said.iter().map(|line| ack(line)).collect();
        assert!(was_closed || !must_close, "round {round}: the process did not close the store");
        (acks, was_closed)
    }

    fn kill_while_opening(&mut self, round: u64) {
        for _ in 0..3 {
            let (mut child, lines) = spawn(self.dir.path(), self.class, self.seed, round, "open");
            expect_line(&lines, "opening");
            std::thread::sleep(Duration::from_micros(self.dice.below(30_000)));
            child.kill().unwrap();
            child.wait().unwrap();
            if let Some(error) = lines.iter().find(|line| line.starts_with("error")) {
                panic!("round {round}: {error}");
            }
        }
    }

    fn check(&mut self, dir: &Path, round: u64, acks: &[Ack], was_closed: bool) {
        let what = format!("{} round {round} seed {}", self.class, self.seed);
        let engine = open(dir).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        engine.verify().unwrap_or_else(|e| panic!("{what}: {e:?}"));
        let found = state(&engine);
        let recovery = engine.recovery().clone();
        let last_seq = recovery.last_seq;
        self.cut_bytes += recovery.cut_bytes;
        self.from_checkpoint += u64::from(recovery.from_checkpoint);
        engine.close().unwrap();
        let fs: Arc<dyn Fs> = Arc::new(RealFs);
        self.blobs += orphans::check_closed(&fs, dir).unwrap_or_else(|e| panic!("{what}: {e}"));
        if was_closed {
            assert!(recovery.clean && recovery.from_checkpoint, "{what}: {recovery:?}");
        }

        self.check_versions(&what, acks, &found);
        let mut sums: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        for thread in 0..THREADS {
            let own: Vec<&Ack> = acks.iter().filter(|ack| ack.thread == thread).collect();
            assert!(
                own.iter().zip(0u64..).all(|(ack, index)| ack.index == index),
                "{what}: a line is missing"
            );
            let writer = Writer { seed: self.seed, round, thread, acks: &own };
            // Of a store that was closed nothing is lost.
            let class = if was_closed { "synced" } else { self.class };
            let survived = writer.survived(&what, class, last_seq, &self.state, &found);
            self.acknowledged += own.len() as u64;
            self.lost += (own.len() as u64).saturating_sub(survived);
            writer.add_to(&mut sums, survived);
        }
        for (place, held) in found.iter().filter(|(place, _)| place.0 == COMMON) {
            let before = self.state.get(place).map_or(0, |held| number(&held.value));
            let added = sums.remove(&place.1).unwrap_or(0);
            assert_eq!(number(&held.value), before + added, "{what}: counter {place:?}");
        }
        assert!(sums.is_empty(), "{what}: counters are lost: {sums:?}");
        self.state = found;
    }

    fn check_versions(&mut self, what: &str, acks: &[Ack], found: &State) {
        let acked: Vec<u64> = acks.iter().flat_map(|ack| ack.versions.iter().flatten().copied()).collect();
        let distinct: BTreeSet<u64> = acked.iter().copied().collect();
        assert_eq!(distinct.len(), acked.len(), "{what}: a version was given twice");
        let is_old = |place: &Place, held: &Held| self.state.get(place) == Some(held);
        let new = found.iter().filter(|(place, held)| !is_old(place, held)).filter_map(|(_, h)| h.version);
        let all: BTreeSet<u64> = new.chain(acked).collect();
        if let (Some(first), Some(last)) = (all.first(), all.last()) {
            assert!(*first > self.highest, "{what}: version {first} is not above {}", self.highest);
            self.highest = *last;
        }
    }
}

/// What one writer of the child did.
struct Writer<'a> {
    seed: u64,
    round: u64,
    thread: u64,
    acks: &'a [&'a Ack],
}

impl Writer<'_> {
    /// How many of its steps survived: a number that explains everything that its keys hold.
    fn survived(&self, what: &str, class: &str, last_seq: u64, before: &State, found: &State) -> u64 {
        let (least, most) = self.bounds(class, last_seq);
        let mine = |state: &State| -> State {
            let of_mine = state.iter().filter(|((_, key), _)| owner(key) == Some(self.thread));
            of_mine.map(|(place, held)| (place.clone(), held.clone())).collect()
        };
        let mut replay = Replay::new(mine(before), mine(found));
        for done in 0..=most {
            if done >= least && replay.wrong.is_empty() {
                return done;
            }
            let versions =
                usize::try_from(done).ok().and_then(|at| self.acks.get(at)).map(|ack| &ack.versions);
            replay.apply(step(self.seed, self.round, self.thread, done), versions.map(Vec::as_slice));
        }
        let mut at_least = Replay::new(mine(before), mine(found));
        for done in 0..least {
            let versions =
                usize::try_from(done).ok().and_then(|at| self.acks.get(at)).map(|ack| &ack.versions);
            at_least.apply(step(self.seed, self.round, self.thread, done), versions.map(Vec::as_slice));
        }
        panic!(
            "{what}: thread {} has {} acknowledged steps, {least} to {most} of which may have survived up to number \
             {last_seq}; none of these numbers explains what its keys hold. After {least} steps these are wrong: {:?}",
            self.thread,
            self.acks.len(),
            at_least.differences(),
        );
    }

    /// The steps that must have survived when the log ends at `last_seq`, and those that may have.
    fn bounds(&self, class: &str, last_seq: u64) -> (u64, u64) {
        let newest = |ack: &&Ack| ack.versions.iter().flatten().max().copied();
        let lost = self.acks.iter().position(|ack| newest(ack).is_some_and(|version| version > last_seq));
        if class != "buffered" {
            assert_eq!(lost, None, "thread {}: an acknowledged step is behind {last_seq}", self.thread);
            return (self.acks.len() as u64, self.acks.len() as u64 + 1);
        }
        // A step without a version may be on either side; one more may have been under way.
        let kept = |upto: usize| {
            self.acks[..upto].iter().rposition(|ack| newest(ack).is_some()).map_or(0, |at| at + 1)
        };
        match lost {
            Some(lost) => (kept(lost) as u64, lost as u64),
            None => (kept(self.acks.len()) as u64, self.acks.len() as u64 + 1),
        }
    }

    fn add_to(&self, sums: &mut BTreeMap<Vec<u8>, i64>, survived: u64) {
        for index in 0..survived {
            let Step::Write(changes) = step(self.seed, self.round, self.thread, index) else { continue };
            for change in changes.into_iter().filter(|change| change.namespace == COMMON) {
                if let Effect::Add(by) = change.effect {
                    *sums.entry(change.key).or_default() += by;
                }
            }
        }
    }
}

/// Applies steps and keeps count of the keys that differ from what was found.
struct Replay {
    now: State,
    found: State,
    wrong: BTreeSet<Place>,
}

impl Replay {
    fn new(now: State, found: State) -> Replay {
        let mut replay = Replay { now, found, wrong: BTreeSet::new() };
        let places: Vec<Place> = replay.now.keys().chain(replay.found.keys()).cloned().collect();
        places.into_iter().for_each(|place| replay.compare(place));
        replay
    }

    fn compare(&mut self, place: Place) {
        let is_right = match (self.now.get(&place), self.found.get(&place)) {
            (None, None) => true,
            (Some(now), Some(found)) => {
                now.value == found.value
                    && now.expires_ms == found.expires_ms
                    && (now.version.is_none() || now.version == found.version)
            }
            _ => false,
        };
        if is_right {
            self.wrong.remove(&place);
        } else {
            self.wrong.insert(place);
        }
    }

    fn apply(&mut self, step: Step, versions: Option<&[Option<u64>]>) {
        match step {
            Step::DropNamespace(name) => {
                let gone: Vec<Place> = self.now.keys().filter(|place| place.0 == name).cloned().collect();
                for place in gone {
                    self.now.remove(&place);
                    self.compare(place);
                }
            }
            Step::Write(changes) => {
                for (index, change) in changes.into_iter().enumerate() {
                    let version = versions.and_then(|versions| versions.get(index).copied()).flatten();
                    self.change(change, version);
                }
            }
        }
    }

    fn change(&mut self, change: Change, version: Option<u64>) {
        if change.namespace == COMMON {
            return;
        }
        let place = (change.namespace, change.key);
        let now = self.now.get(&place);
        let held = |value, expires_ms| Some(Held { value, version, expires_ms });
        let after = match change.effect {
            Effect::Delete => None,
            Effect::Put(value) => held(value, None),
            Effect::Add(by) => {
                let sum = now.map_or(0, |now| number(&now.value)) + by;
                held(sum.to_string().into_bytes(), now.and_then(|now| now.expires_ms))
            }
            Effect::Expire(at) => now.and_then(|now| held(now.value.clone(), at)),
        };
        match after {
            Some(after) => self.now.insert(place.clone(), after),
            None => self.now.remove(&place),
        };
        self.compare(place);
    }

    /// For people: key, expected, found, of the first few.
    fn differences(&self) -> Vec<String> {
        let show = |held: Option<&Held>| {
            held.map_or("nothing".to_owned(), |held| {
                let head = &held.value[..held.value.len().min(40)];
                format!("\"{}\" {:?}", head.escape_ascii(), held.version)
            })
        };
        let line = |place: &Place| {
            let key = format!("{}/{}", place.0, place.1.escape_ascii());
            format!("{key}: expected {}, found {}", show(self.now.get(place)), show(self.found.get(place)))
        };
        self.wrong.iter().take(5).map(line).collect()
    }
}

fn number(value: &[u8]) -> i64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

fn open(dir: &Path) -> nadb_core::Result<Engine> {
    Engine::open(Arc::new(RealFs), dir, Options::default())
}

fn state(engine: &Engine) -> State {
    let mut state = State::new();
    for namespace in engine.namespaces().unwrap().into_iter().filter(|namespace| namespace.name != BRIEF) {
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        let before = state.len();
        for entry in engine.scan(&namespace.name, all).unwrap() {
            let entry = entry.unwrap();
            let held = Held {
                value: entry.value.to_vec(),
                version: Some(entry.metadata.version),
                expires_ms: entry.metadata.expires_ms,
            };
            assert_eq!(engine.get(&namespace.name, &entry.key).unwrap().unwrap(), held.value);
            state.insert((namespace.name.clone(), entry.key), held);
        }
        assert_eq!(namespace.keys, (state.len() - before) as u64, "keys of {}", namespace.name);
    }
    state
}

fn temp_dir() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

fn copy_of(dir: &Path) -> tempfile::TempDir {
    let copy = temp_dir();
    for entry in std::fs::read_dir(dir).unwrap() {
        let from: PathBuf = entry.unwrap().path();
        std::fs::copy(&from, copy.path().join(from.file_name().unwrap())).unwrap();
    }
    copy
}

/// Starts the child and a thread that reads its lines until the pipe is empty and closed.
fn spawn(dir: &Path, class: &str, seed: u64, round: u64, mode: &str) -> (Child, Receiver<String>) {
    let mut child = Command::new(CHILD)
        .arg(dir)
        .args([class, &seed.to_string(), &round.to_string(), mode])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let (send, lines) = channel();
    std::thread::spawn(move || {
        let mut out = BufReader::new(out);
        let mut line = String::new();
        while out.read_line(&mut line).unwrap() > 0 {
            // A last line that is not whole was cut by the kill, and is no acknowledgement.
            let Some(whole) = line.strip_suffix('\n') else { break };
            if send.send(whole.to_owned()).is_err() {
                break;
            }
            line.clear();
        }
    });
    (child, lines)
}

fn expect_line(lines: &Receiver<String>, expected: &str) {
    assert_eq!(lines.recv_timeout(PATIENCE).unwrap(), expected);
}

fn ack(line: &str) -> Ack {
    Ack::parse(line).unwrap_or_else(|| panic!("the child says: {line}"))
}
