//! Workloads: what a step is, and the runner that takes a store and its model through steps side by side.
//!
//! Everything is deterministic: the same steps on the same disk make the same calls.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{
    Clock, CompactionRequest, Compression, Condition, Durability, Error, ErrorKind, ManualClock, Operation,
    Outcome, SeededEntropy,
};
use nadb_engine::{Engine, Options, ReadMode, SegmentState};
use nadb_vfs::Fs;

use crate::accesses::Accesses;
use crate::model::{Model, Planned, Record, Records};
use crate::queries;
use crate::streams::{self, Readers, Stream};
use crate::views::Views;

/// Where the stores of the tests stand.
pub const DIR: &str = "/db/store";
/// What the clocks of the tests show first.
pub const START_MS: u64 = 1_700_000_000_000;

/// Which version an operation names, as the model has it when its turn comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionIs {
    /// The operation's own condition stands.
    Unnamed,
    /// The version that the key has: the condition holds, unless the key is absent.
    Current,
    /// Another version.
    Wrong,
}

/// One operation of a step.
#[derive(Debug, Clone)]
pub struct Op {
    /// What is done.
    pub operation: Operation<'static>,
    /// Which version its condition names.
    pub version: VersionIs,
}

/// One step of a workload.
#[derive(Debug, Clone)]
pub enum Step {
    /// Opens the store, the first time a new one.
    Open,
    /// Closes it in order.
    Close,
    /// Writes a batch.
    Write(Vec<Op>, Option<Durability>),
    /// Writes one value piece by piece.
    Stream(Stream),
    /// Drops a namespace.
    Drop(&'static str),
    /// Makes everything durable.
    Flush,
    /// Does what the background thread does.
    Maintain,
    /// Lets go of everything that has expired.
    Purge,
    /// Compacts all segments, what the policy says, or those of the sealed ones that the number chooses.
    Compact(u64),
    /// Moves the wall clock by milliseconds, also back.
    Clock(i64),
    /// Reads a key in every way there is.
    Get(&'static str, Vec<u8>),
    /// Lists a namespace.
    Scan(&'static str),
    /// Queries a namespace; the number chooses what is asked.
    Query(&'static str, u64),
    /// Reads and checks every byte.
    Verify,
    /// Takes a snapshot; closing the store lets go of it.
    Snapshot,
    /// Opens a reader of a key and holds it; closing the store lets go of it.
    Reader(&'static str, Vec<u8>),
    /// Lets go of the snapshot and of the reader that this number chooses.
    Release(u64),
    /// Reads every snapshot in every way, and parts of what every reader has; the number chooses among the ranges.
    Compare(u64),
}

/// What a step that succeeded has promised of itself and all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Nothing.
    Nothing,
    /// It survives the end of the process.
    Flushed,
    /// It survives a power cut.
    Durable,
}

/// Why a step did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// The store said that it could not; the model is as before.
    Store(Error),
    /// The store gave an answer that is not the model's.
    Wrong(String),
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Trouble::Store(error) => write!(f, "{error:?}"),
            Trouble::Wrong(what) => f.write_str(what),
        }
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Store(error)
    }
}

/// The options of a store under test; none of them may change an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setup {
    /// Bytes of a segment.
    pub memtable_size: u64,
    /// Bytes of buffered frames.
    pub buffer_size: usize,
    /// Whether values are compressed.
    pub compression: Compression,
    /// The class of writes that name none.
    pub durability: Durability,
    /// How sealed segments are read.
    pub read_mode: ReadMode,
    /// Bytes of a value above which it is a blob; `None` is what the engine chooses, which is beyond these workloads.
    pub blob_above: Option<u64>,
    /// Records to apply from which on a close writes a checkpoint: 0 is at every close, the highest number never.
    pub checkpoint_rows: u64,
    /// Whether simulated files can be appended to through memory.
    pub appenders: bool,
    /// Whether the store keeps when keys were last read.
    pub track_access: bool,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup {
            memtable_size: 4096,
            buffer_size: 1024,
            compression: Compression::Snappy,
            durability: Durability::Flushed,
            read_mode: ReadMode::default(),
            blob_above: None,
            checkpoint_rows: 0,
            appenders: true,
            track_access: false,
        }
    }
}

/// A store and its model.
#[derive(Debug)]
pub struct Runner {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    setup: Setup,
    clock: Arc<ManualClock>,
    entropy: Arc<SeededEntropy>,
    engine: Option<Engine>,
    views: Views,
    readers: Readers,
    /// What the version table of an open store takes without versions.
    versions_bytes_empty: u64,
    create: bool,
    /// What the store must hold.
    pub model: Model,
    /// What the store may hold instead, with versions still open, where a write ended in an error that leaves it open.
    pub unanswered: Option<Model>,
}

impl Runner {
    /// Of a store in [`DIR`] that is not open yet. The seed is that of its randomness: no two lives of a store may share one.
    #[must_use]
    pub fn new(fs: Arc<dyn Fs>, setup: Setup, seed: u64, model: Model) -> Runner {
        Runner {
            fs,
            dir: PathBuf::from(DIR),
            setup,
            clock: Arc::new(ManualClock::new(START_MS)),
            entropy: Arc::new(SeededEntropy::new(seed)),
            engine: None,
            views: Views::default(),
            readers: Readers::default(),
            versions_bytes_empty: 0,
            create: true,
            model,
            unanswered: None,
        }
    }

    /// The same in another folder.
    #[must_use]
    pub fn in_dir(mut self, dir: &Path) -> Runner {
        self.dir = dir.to_path_buf();
        self
    }

    /// The same with a clock that shows this.
    #[must_use]
    pub fn at_time(self, now_ms: u64) -> Runner {
        self.clock.set_ms(now_ms);
        self
    }

    /// From now on a store that is missing is an error.
    #[must_use]
    pub fn must_exist(mut self, must: bool) -> Runner {
        self.create = !must;
        self
    }

    /// The time on the store's clock, or what the store says that it is at least.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        let mark_ms =
            self.engine.as_ref().and_then(|engine| engine.stats().ok()).map_or(0, |s| s.time_mark_ms);
        self.clock.now_ms().max(mark_ms)
    }

    /// From now on the store has these options: they count when it is opened again.
    pub fn set_setup(&mut self, setup: Setup) {
        self.setup = setup;
    }

    /// Goes on with another file system: the one that a crash left.
    pub fn set_fs(&mut self, fs: Arc<dyn Fs>) {
        self.abandon();
        self.fs = fs;
    }

    /// The open store.
    ///
    /// # Errors
    /// `Wrong` where none is open.
    pub fn engine(&self) -> Result<&Engine, Trouble> {
        self.engine.as_ref().ok_or_else(|| Trouble::Wrong("the store is not open".to_owned()))
    }

    /// The highest number that readers may have seen; 0 where no store is open.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.engine.as_ref().and_then(|engine| engine.stats().ok()).map_or(0, |stats| stats.published_seq)
    }

    /// Whether the open store has sealed segments and full ones that are to be sealed.
    ///
    /// # Errors
    /// What the store answers.
    pub fn is_mix(&self) -> Result<bool, Trouble> {
        let segments = self.engine()?.segments()?;
        let any = |state| segments.iter().any(|segment| segment.state == state);
        Ok(any(SegmentState::Sealed) && any(SegmentState::Full))
    }

    /// Whether the open store's index came from a checkpoint.
    ///
    /// # Errors
    /// `Wrong` where none is open.
    pub fn is_from_checkpoint(&self) -> Result<bool, Trouble> {
        Ok(self.engine()?.recovery().from_checkpoint)
    }

    /// Whether the store is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.engine.is_some()
    }

    /// Lets go of the store, which closes it.
    pub fn abandon(&mut self) {
        self.let_go();
        self.engine = None;
    }

    /// Lets go of the store as a process does that is killed: nothing is closed, the lock is held until the disk is cut.
    pub fn abandon_without_close(&mut self) {
        self.let_go();
        std::mem::forget(self.engine.take());
    }

    fn let_go(&mut self) {
        self.views.clear();
        self.readers.clear();
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.memtable_size = self.setup.memtable_size;
        options.buffer_size = self.setup.buffer_size;
        options.compression = self.setup.compression;
        options.durability = self.setup.durability;
        options.read_mode = self.setup.read_mode;
        options.blob_above = self.setup.blob_above;
        options.checkpoint_rows = self.setup.checkpoint_rows;
        options.create = self.create;
        options.track_access = self.setup.track_access;
        options.background = false;
        options.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        options.entropy = Arc::clone(&self.entropy) as Arc<dyn nadb_core::Entropy>;
        options
    }

    /// Opens the store.
    ///
    /// # Errors
    /// What the store answers.
    pub fn open(&mut self) -> Result<(), Trouble> {
        let engine = Engine::open(Arc::clone(&self.fs), &self.dir, self.options())?;
        self.versions_bytes_empty = engine.stats()?.versions_bytes;
        self.engine = Some(engine);
        self.create = false;
        Ok(())
    }

    /// Takes store and model through one step.
    ///
    /// # Errors
    /// `Store` with what the store answered (the model is then as before), or `Wrong`.
    pub fn step(&mut self, step: &Step) -> Result<Promise, Trouble> {
        self.unanswered = None;
        match step {
            Step::Open => self.open().map(|()| Promise::Durable),
            Step::Close => {
                let closed = self.engine()?.close();
                self.abandon();
                Ok(closed.map(|()| Promise::Durable)?)
            }
            Step::Flush => Ok(self.engine()?.flush().map(|()| Promise::Durable)?),
            Step::Maintain => {
                let before_ms = self.now_ms();
                self.engine()?.maintain()?;
                match self.now_ms() {
                    now_ms if now_ms == before_ms => Ok(Promise::Durable),
                    now_ms => {
                        Err(Trouble::Wrong(format!("what expires up to {now_ms} is hidden at {before_ms}")))
                    }
                }
            }
            Step::Purge => {
                let report = self.engine()?.purge_expired()?;
                match self.now_ms() {
                    now_ms if report.upto_ms <= now_ms => Ok(self.promised(None)),
                    now_ms => Err(Trouble::Wrong(format!("{report:?} at {now_ms}"))),
                }
            }
            Step::Compact(which) => self.compact(*which).map(|()| Promise::Nothing),
            Step::Clock(by_ms) => {
                self.clock.set_ms(self.clock.now_ms().saturating_add_signed(*by_ms));
                Ok(Promise::Nothing)
            }
            Step::Drop(name) => self.drop_namespace(name),
            Step::Write(ops, durability) => self.write(ops, *durability),
            Step::Stream(stream) => self.stream(stream),
            Step::Get(name, key) => self.get(name, key).map(|()| Promise::Nothing),
            Step::Scan(name) => self.scan(name).map(|()| Promise::Nothing),
            Step::Query(name, seed) => self.query(name, *seed).map(|()| Promise::Nothing),
            Step::Verify => self.verify().map(|()| Promise::Nothing),
            Step::Snapshot => {
                let (engine, now_ms) = (self.engine()?.clone(), self.now_ms());
                self.views.take(&engine, &self.model, now_ms).map(|()| Promise::Nothing)
            }
            Step::Reader(name, key) => self.hold_reader(name, key).map(|()| Promise::Nothing),
            Step::Release(which) => {
                self.readers.release(*which);
                self.views.release(*which);
                self.check_nothing_remembered().map(|()| Promise::Nothing)
            }
            Step::Compare(seed) => self.compare_views(*seed).map(|()| Promise::Nothing),
        }
    }

    fn compact(&self, which: u64) -> Result<(), Trouble> {
        let engine = self.engine()?;
        match which % 6 {
            0 => return Ok(engine.compact(&CompactionRequest::new()).map(|_| ())?),
            1 => return Ok(engine.compact_due().map(|_| ())?),
            _ => {}
        }
        let sealed = engine.segments()?.into_iter().filter(|info| info.state == SegmentState::Sealed);
        let is_chosen = |(at, _): &(u32, _)| which >> (at % 62 + 2) & 1 == 1;
        let chosen: Vec<u32> = (0..).zip(sealed).filter(is_chosen).map(|(_, info)| info.id).collect();
        Ok(engine.compact_segments(&chosen).map(|_| ())?)
    }

    /// Compares every snapshot and every reader with what the store held when they were taken.
    ///
    /// # Errors
    /// `Store`, or `Wrong` with the first difference.
    pub fn compare_views(&mut self, seed: u64) -> Result<(), Trouble> {
        self.readers.compare(seed)?;
        self.views.compare(&self.model, seed)
    }

    fn hold_reader(&mut self, name: &str, key: &[u8]) -> Result<(), Trouble> {
        let engine = self.engine()?.clone();
        let expected = self.model.visible(name, key, self.now_ms());
        self.readers.take(&engine, name, key, expected)?;
        self.note_read(name, key);
        Ok(())
    }

    /// The snapshots that are held.
    #[must_use]
    pub fn views(&self) -> &Views {
        &self.views
    }

    /// Lets go of all snapshots; then nothing may be remembered for them.
    ///
    /// # Errors
    /// `Store`, or `Wrong` with what is.
    pub fn release_views(&mut self) -> Result<(), Trouble> {
        self.views.clear();
        self.check_nothing_remembered()
    }

    /// What is remembered is remembered for views.
    fn check_nothing_remembered(&self) -> Result<(), Trouble> {
        if !self.views.is_empty() {
            return Ok(());
        }
        let stats = self.engine()?.stats()?;
        let versions_bytes = stats.versions_bytes - self.versions_bytes_empty;
        match (stats.views, stats.remembered_deaths, versions_bytes) {
            (0, 0, 0) => Ok(()),
            left => {
                Err(Trouble::Wrong(format!("views, deaths and bytes of versions without a view: {left:?}")))
            }
        }
    }

    fn promised(&self, durability: Option<Durability>) -> Promise {
        match durability.unwrap_or(self.setup.durability) {
            Durability::Buffered => Promise::Nothing,
            Durability::Flushed => Promise::Flushed,
            Durability::Synced => Promise::Durable,
            other => unreachable!("the workload does not know {other:?}"),
        }
    }

    fn drop_namespace(&mut self, name: &str) -> Result<Promise, Trouble> {
        let mut next = self.model.clone();
        let was_there = next.drop_namespace(name);
        match self.engine()?.drop_namespace(name) {
            Ok(answer) if answer == was_there => {
                self.model = next;
                Ok(self.promised(None))
            }
            Ok(answer) => Err(Trouble::Wrong(format!("drop of {name}: expected {was_there}, got {answer}"))),
            Err(error) => {
                self.unanswered = Some(next);
                Err(error.into())
            }
        }
    }

    fn write(&mut self, ops: &[Op], durability: Option<Durability>) -> Result<Promise, Trouble> {
        let batch: Vec<_> = ops.iter().map(|op| self.resolved(op)).collect();
        let answer = self.engine()?.write(&batch, durability);
        self.answered(&batch, answer, durability)
    }

    fn stream(&mut self, stream: &Stream) -> Result<Promise, Trouble> {
        let operation = self.resolved(&stream.op);
        // An error before the commit leaves nothing open: nothing was written.
        let writer = streams::begin(self.engine()?, &operation, stream)?;
        if !stream.is_committed {
            return Ok(Promise::Nothing);
        }
        self.answered(&[operation], streams::commit(writer), stream.durability)
    }

    /// Compares what the store said to a batch with what the model says.
    fn answered(
        &mut self,
        batch: &[Operation<'static>],
        answer: nadb_core::Result<Vec<Outcome>>,
        durability: Option<Durability>,
    ) -> Result<Promise, Trouble> {
        match (self.model.plan(batch, self.now_ms()), answer) {
            (Planned::Done(pending), Ok(outcomes)) => {
                self.model = pending.answered(&outcomes).map_err(Trouble::Wrong)?;
                Ok(self.promised(durability))
            }
            (Planned::Refused(kind), Err(error)) if error.kind() == kind => Ok(Promise::Nothing),
            (Planned::Refused(kind), Ok(outcomes)) => {
                Err(Trouble::Wrong(format!("expected {kind:?}, got {outcomes:?} for {batch:?}")))
            }
            (Planned::Done(pending), Err(error)) => {
                self.unanswered = Some(pending.unanswered());
                let wrong = matches!(
                    error.kind(),
                    ErrorKind::PreconditionFailed { .. } | ErrorKind::InvalidInput | ErrorKind::Limit
                );
                match wrong {
                    true => Err(Trouble::Wrong(format!("unexpected {error:?} for {batch:?}"))),
                    false => Err(error.into()),
                }
            }
            (Planned::Refused(_), Err(error)) => Err(error.into()),
        }
    }

    fn resolved(&self, op: &Op) -> Operation<'static> {
        let mut operation = op.operation.clone();
        let stored = self.model.records(&operation.namespace).and_then(|all| all.get(&*operation.key));
        let version = stored.and_then(|record| record.version).unwrap_or(7);
        match op.version {
            VersionIs::Unnamed => {}
            VersionIs::Current => operation.condition = Condition::IfVersion(version),
            VersionIs::Wrong => operation.condition = Condition::IfVersion(version ^ 1),
        }
        operation
    }

    /// A key was read, if it is there.
    fn note_read(&mut self, name: &str, key: &[u8]) {
        let now_ms = self.now_ms();
        if self.setup.track_access && self.model.visible(name, key, now_ms).is_some() {
            self.model.accesses.read(name, key, now_ms);
        }
    }

    fn get(&mut self, name: &str, key: &[u8]) -> Result<(), Trouble> {
        let value = self.engine()?.get(name, key)?.map(|value| value.to_vec());
        self.note_read(name, key);
        let engine = self.engine()?;
        let expected = self.model.visible(name, key, self.now_ms());
        let entry = engine.get_entry(name, key)?.map(Record::of);
        let metadata = engine.metadata(name, key)?;
        let there = engine.contains(name, key)?;
        let streamed = streams::read_whole(engine, name, key)?;
        let to_stream = expected.map(|record| (record.value.clone(), record.version.unwrap_or_default()));
        let as_expected = streamed == to_stream
            && value.as_ref() == expected.map(|record| &record.value)
            && entry.as_ref() == expected
            && there == expected.is_some()
            && metadata.map(|metadata| (Some(metadata.version), metadata.accessed_ms))
                == expected
                    .map(|record| (record.version, self.model.accesses.of(name, key, record.created_ms)));
        match as_expected {
            true => Ok(()),
            false => Err(Trouble::Wrong(format!(
                "get {name}/{}: expected {expected:?}, got {entry:?}, contains {there}, as a stream {streamed:?}",
                key.escape_ascii()
            ))),
        }
    }

    fn scan(&self, name: &str) -> Result<(), Trouble> {
        let found = self.read_namespace(name)?;
        let now_ms = self.now_ms();
        let mut expected = self.model.records(name).cloned().unwrap_or_default();
        expected.retain(|_, record| record.is_visible(now_ms));
        match found == expected {
            true => self.compare_accesses(name, &expected, 3),
            false => Err(Trouble::Wrong(format!(
                "scan of {name}: expected {:?}, got {:?}",
                expected.keys().map(|key| key.escape_ascii().to_string()).collect::<Vec<_>>(),
                found.keys().map(|key| key.escape_ascii().to_string()).collect::<Vec<_>>(),
            ))),
        }
    }

    fn query(&self, name: &str, seed: u64) -> Result<(), Trouble> {
        let expected = queries::visible(self.model.records(name), self.now_ms());
        queries::compare(self.engine()?, name, &expected, seed)?;
        self.compare_accesses(name, &expected, seed)
    }

    fn compare_accesses(&self, name: &str, records: &Records, seed: u64) -> Result<(), Trouble> {
        if !self.setup.track_access {
            return Ok(());
        }
        let minute = (START_MS / 60_000 + seed % 10).saturating_sub(3);
        self.model.accesses.compare(self.engine()?, name, records, minute)
    }

    fn read_namespace(&self, name: &str) -> Result<Records, Trouble> {
        let mut found = Records::new();
        let mut last: Option<Vec<u8>> = None;
        for entry in self.engine()?.scan(name, (Bound::Unbounded, Bound::Unbounded))? {
            let entry = entry?;
            if last.as_ref().is_some_and(|last| *last >= entry.key) {
                return Err(Trouble::Wrong(format!("the scan of {name} is out of order")));
            }
            last = Some(entry.key.clone());
            found.insert(entry.key.clone(), Arc::new(Record::of(entry)));
        }
        Ok(found)
    }

    /// All that the store holds, read at a time before every expiry, so that nothing hides behind one but what it has let go of.
    ///
    /// # Errors
    /// `Store`, or `Wrong` where the counts of keys are.
    pub fn content(&self) -> Result<Model, Trouble> {
        let now_ms = self.clock.now_ms();
        self.clock.set_ms(0);
        let content = self.read_all().map(|content| content.read_behind(self.now_ms()));
        self.clock.set_ms(now_ms);
        content
    }

    fn read_all(&self) -> Result<Model, Trouble> {
        let (mut all, mut accesses) = (BTreeMap::new(), Accesses::default());
        for info in self.engine()?.namespaces()? {
            let records = self.read_namespace(&info.name)?;
            // What has expired and was not let go of yet counts.
            let mark_ms = self.now_ms();
            if records.len() as u64 > info.keys || mark_ms == 0 && records.len() as u64 != info.keys {
                return Err(Trouble::Wrong(format!(
                    "{} has {} keys, but says {}",
                    info.name,
                    records.len(),
                    info.keys
                )));
            }
            for key in records.keys() {
                let metadata = self.engine()?.metadata(&info.name, key)?;
                accesses.note_shown(&info.name, key, metadata.and_then(|metadata| metadata.accessed_ms));
            }
            all.insert(info.name, records);
        }
        Ok(Model::of(all).accessed(accesses))
    }

    /// Compares the whole store with the model.
    ///
    /// # Errors
    /// `Store`, or `Wrong` with the first difference.
    pub fn check_content(&self) -> Result<(), Trouble> {
        let content = self.content()?;
        let difference = self.model.difference(&content);
        match difference.or_else(|| self.model.accesses.difference(&content)) {
            None => Ok(()),
            Some(difference) => Err(Trouble::Wrong(format!("model and store differ: {difference}"))),
        }
    }

    /// Reads every byte and compares the index with one that is rebuilt.
    ///
    /// # Errors
    /// What the store answers.
    pub fn verify(&self) -> Result<(), Trouble> {
        self.engine()?.verify()?;
        Ok(())
    }
}
