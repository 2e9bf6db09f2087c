//! A small store over the log: a publisher and a visitor that remember what they were shown, and a file system whose calls a
//! test can listen to.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use nadb_core::{Durability, Entropy, Error, Location, ManualClock, NamespaceId, Result, SeededEntropy, Seq};
use nadb_log::{
    FrameBody, Log, LogOptions, Placed, Publish, ReadMode, RecordFields, RecordKind, RecordRef,
    SealedSegment, Segment, Visit, segment_path,
};
use nadb_vfs::{DirEntry, File, FileLock, Fs, LockError, SimFs};

pub(crate) const DIR: &str = "/parent/db";
/// Bytes of a value: with it, six frames fill a segment of [`SEGMENT_BYTES`].
pub(crate) const VALUE_BYTES: usize = 100;
pub(crate) const SEGMENT_BYTES: u64 = 1024;

/// What stays the same from one opening to the next.
#[derive(Debug, Clone)]
pub(crate) struct Env {
    pub(crate) fs: Arc<dyn Fs>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) segment_size: u64,
    pub(crate) buffer_size: usize,
    pub(crate) create: bool,
}

impl Env {
    pub(crate) fn new(fs: &(impl Fs + Clone)) -> Env {
        Env {
            fs: Arc::new(fs.clone()),
            entropy: Arc::new(SeededEntropy::new(1)),
            segment_size: SEGMENT_BYTES,
            buffer_size: 64 << 10,
            create: true,
        }
    }

    /// The same on another disk.
    pub(crate) fn on(&self, fs: &(impl Fs + Clone)) -> Env {
        Env { fs: Arc::new(fs.clone()), ..self.clone() }
    }

    pub(crate) fn open(&self) -> Result<Store> {
        let options = LogOptions {
            segment_size: self.segment_size,
            buffer_size: self.buffer_size,
            read_mode: ReadMode::default(),
            create: self.create,
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            entropy: Arc::clone(&self.entropy),
        };
        let mut shown = Shown::default();
        let published = Arc::new(Published::default());
        let publisher = Arc::clone(&published) as Arc<dyn Publish<Payload>>;
        let log = Log::open(Arc::clone(&self.fs), Path::new(DIR), options, &mut shown, publisher)?;
        Ok(Store { log, shown: shown.0, published })
    }

    /// Opens and gives the keys of all records.
    pub(crate) fn keys(&self) -> Vec<String> {
        let store = self.open().unwrap();
        store.check_readable();
        store.keys()
    }

    /// The error that opening gives.
    pub(crate) fn error(&self) -> Error {
        self.open().expect_err("opening should fail")
    }
}

/// Per record: offset in the body, length.
pub(crate) type Payload = Vec<(u32, u32)>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) seq: Seq,
    pub(crate) key: String,
    pub(crate) kind: RecordKind,
    pub(crate) at: Location,
}

#[derive(Debug, Default)]
struct Shown(Vec<Row>);

impl Visit for Shown {
    fn begin(&mut self, _hash_seed: u64) {
        assert!(self.0.is_empty());
    }

    fn sealed(&mut self, segments: &[SealedSegment]) -> Result<()> {
        assert!(segments.is_empty(), "nobody seals here");
        Ok(())
    }

    fn record(&mut self, record: &RecordRef<'_>, at: Location, _segment: &Arc<Segment>) -> Result<()> {
        let key = String::from_utf8(record.key.to_vec()).unwrap();
        assert_eq!(record.value, value_of(&key, record.value.len()), "{key} has another key's value");
        self.0.push(Row { seq: record.seq, key, kind: record.kind, at });
        Ok(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct Published(Mutex<Vec<(Seq, Location)>>);

impl Publish<Payload> for Published {
    fn publish(&self, payload: Payload, placed: Placed, segment: &Arc<Segment>) {
        assert_eq!(segment.id(), placed.segment);
        let mut list = self.0.lock().unwrap();
        for ((at, len), index) in payload.into_iter().zip(0..) {
            let location = Location { segment: placed.segment, offset: placed.body_offset + at, len };
            list.push((placed.first_seq.plus(index), location));
        }
    }
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) log: Log<Payload>,
    /// What opening showed.
    pub(crate) shown: Vec<Row>,
    published: Arc<Published>,
}

impl Store {
    pub(crate) fn put(&self, key: &str, durability: Durability) -> Result<Placed> {
        self.put_sized(key, VALUE_BYTES, durability)
    }

    pub(crate) fn put_sized(&self, key: &str, len: usize, durability: Durability) -> Result<Placed> {
        let value = value_of(key, len);
        let record = RecordFields::new(RecordKind::Value, NamespaceId(1), key.as_bytes(), &value, 5);
        self.append(&[record], durability, false)
    }

    /// A tombstone, which may use the ballast.
    pub(crate) fn delete(&self, key: &str) -> Result<Placed> {
        let record = RecordFields::new(RecordKind::Tombstone, NamespaceId(1), key.as_bytes(), b"", 5);
        self.append(&[record], Durability::Flushed, true)
    }

    pub(crate) fn append(
        &self,
        records: &[RecordFields<'_>],
        durability: Durability,
        only_deletes: bool,
    ) -> Result<Placed> {
        let mut body = FrameBody::new();
        let marks: Payload = records.iter().map(|record| body.push(record)).collect();
        self.log.append(&body, durability, only_deletes, || marks.clone())
    }

    /// Puts `count` keys that begin with `prefix`, none of them synced.
    pub(crate) fn put_many(&self, prefix: &str, count: usize) -> Vec<Placed> {
        (0..count).map(|n| self.put(&format!("{prefix}{n:02}"), Durability::Flushed).unwrap()).collect()
    }

    pub(crate) fn published(&self) -> Vec<(Seq, Location)> {
        self.published.0.lock().unwrap().clone()
    }

    /// Where each record stands: those found at opening, then the published ones.
    pub(crate) fn locations(&self) -> Vec<(Seq, Location)> {
        let mut all: Vec<_> = self.shown.iter().map(|row| (row.seq, row.at)).collect();
        all.extend(self.published());
        all
    }

    /// Keys of all records in order, read from the log.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.locations().into_iter().map(|(_, at)| self.key(at)).collect()
    }

    fn key(&self, at: Location) -> String {
        let read = self.log.read(at).unwrap();
        String::from_utf8(read.record().unwrap().key.to_vec()).unwrap()
    }

    /// Every record can be read at its place, and the numbers rise.
    pub(crate) fn check_readable(&self) {
        let all = self.locations();
        assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "numbers rise: {all:?}");
        for (seq, at) in all {
            assert_eq!(self.log.read(at).unwrap().record().unwrap().seq, seq);
        }
    }

    /// The number of the active segment's file.
    pub(crate) fn active(&self) -> u32 {
        self.log.segments().1.expect("a segment is active").0
    }
}

/// A value that tells of its key.
pub(crate) fn value_of(key: &str, len: usize) -> Vec<u8> {
    key.bytes().cycle().take(len).collect()
}

/// `prefix00`, `prefix01`, …
pub(crate) fn names(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}{n:02}")).collect()
}

pub(crate) fn segment(id: u32) -> PathBuf {
    segment_path(Path::new(DIR), nadb_core::SegmentId(id))
}

pub(crate) fn manifest() -> PathBuf {
    Path::new(DIR).join(nadb_log::MANIFEST)
}

pub(crate) fn len_of(fs: &SimFs, path: &Path) -> u64 {
    fs.read_file(path).unwrap().len() as u64
}

/// Every file with its bytes but for the lock file.
pub(crate) fn files(fs: &SimFs) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs.files().into_iter().map(|(path, _)| path);
    paths
        .filter(|path| !path.ends_with(nadb_log::LOCK))
        .map(|path| (path.clone(), fs.read_file(&path).unwrap()))
        .collect()
}

type Act = Box<dyn FnOnce() + Send>;

/// What a test wants to happen at calls on segment files.
#[derive(Default)]
pub(crate) struct Hooks {
    /// Runs once, behind the next sync of a segment's data.
    pub(crate) after_sync: Mutex<Option<Act>>,
    /// How many writes to segments fail though all their bytes were taken.
    pub(crate) writes_that_lie: Mutex<u32>,
}

/// A simulated disk with hooks.
#[derive(Clone)]
pub(crate) struct HookFs {
    pub(crate) sim: SimFs,
    pub(crate) hooks: Arc<Hooks>,
}

impl HookFs {
    pub(crate) fn new(sim: &SimFs) -> HookFs {
        HookFs { sim: sim.clone(), hooks: Arc::default() }
    }

    fn wrap(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        let is_segment = path.extension().is_some_and(|suffix| suffix == "seg");
        if is_segment { Arc::new(HookFile { file, hooks: Arc::clone(&self.hooks) }) } else { file }
    }
}

impl std::fmt::Debug for HookFs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookFs")
    }
}

impl Fs for HookFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.sim.create_dir_all(dir)
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.sim.create_new(path)?))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.sim.open_read(path)
    }
    fn open_write(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.sim.open_write(path)?))
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sim.remove(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.rename(from, to)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sim.sync_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.sim.list(dir)
    }
    fn lock(&self, path: &Path, owner: &str) -> Result<Box<dyn FileLock>, LockError> {
        self.sim.lock(path, owner)
    }
}

struct HookFile {
    file: Arc<dyn File>,
    hooks: Arc<Hooks>,
}

impl std::fmt::Debug for HookFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HookFile")
    }
}

impl File for HookFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let taken = self.file.write_at(buf, offset)?;
        let mut lies = self.hooks.writes_that_lie.lock().unwrap();
        if *lies > 0 {
            *lies -= 1;
            return Err(io::Error::other("a write that lies"));
        }
        Ok(taken)
    }
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.file.allocate(offset, len)
    }
    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()?;
        let act = self.hooks.after_sync.lock().unwrap().take();
        act.into_iter().for_each(|act| act());
        Ok(())
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
}
