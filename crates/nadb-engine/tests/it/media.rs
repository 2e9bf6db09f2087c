//! Trap 14: what opening, verification and repair read they read by position, so that a medium that fails is an error and no
//! signal; shown on a simulated disk whose files can be mapped, and whose mappings go on when its reads fail.

use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::{Action, ErrorKind, ManualClock, Operation, Put, SeededEntropy};
use nadb_engine::{Engine, Options, ReadMode, SegmentState, repair};
use nadb_vfs::{
    CallKind, DirEntry, Fault, FaultKind, File, FileLock, Fs, LockError, Mapping, SimFs, TraceEntry,
};

const DIR: &str = "/store";

/// A simulated disk whose files can be mapped: a mapping has the bytes of its moment, whatever becomes of the disk.
#[derive(Debug, Clone)]
struct MapFs {
    sim: SimFs,
    maps: Arc<AtomicU64>,
}

#[derive(Debug)]
struct MapFile {
    file: Arc<dyn File>,
    path: PathBuf,
    fs: MapFs,
}

impl MapFs {
    fn new(sim: &SimFs) -> MapFs {
        MapFs { sim: sim.clone(), maps: Arc::default() }
    }

    fn maps(&self) -> u64 {
        self.maps.load(Ordering::Relaxed)
    }

    fn wrap(&self, path: &Path, file: Arc<dyn File>) -> Arc<dyn File> {
        Arc::new(MapFile { file, path: path.to_path_buf(), fs: self.clone() })
    }
}

impl Fs for MapFs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.sim.create_dir_all(dir)
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.sim.create_new(path)?))
    }
    fn open_read(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        Ok(self.wrap(path, self.sim.open_read(path)?))
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

impl File for MapFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
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
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }
    /// Past the calls that can fail, as the system reads what is mapped.
    fn map(&self, len: u64) -> io::Result<Mapping> {
        self.fs.maps.fetch_add(1, Ordering::Relaxed);
        let mut bytes = self.fs.sim.read_file(&self.path)?;
        bytes.truncate(usize::try_from(len).unwrap());
        Ok(Mapping::from(bytes))
    }
    fn can_map(&self) -> bool {
        true
    }
}

fn options(read_mode: ReadMode) -> Options {
    let mut options = Options::default();
    options.memtable_size = 4 << 10;
    options.blob_above = Some(2000);
    options.background = false;
    options.read_mode = read_mode;
    options.clock = Arc::new(ManualClock::new(1_700_000_000_000));
    options.entropy = Arc::new(SeededEntropy::new(1));
    options
}

fn open(fs: &MapFs, read_mode: ReadMode) -> nadb_core::Result<Engine> {
    Engine::open(Arc::new(fs.clone()), Path::new(DIR), options(read_mode))
}

/// Three segments, two of them sealed, and a blob; closed in order.
fn store() -> SimFs {
    let sim = SimFs::new(1);
    let engine = open(&MapFs::new(&sim), ReadMode::Mapped).unwrap();
    let set = |key: u32, len: u32| {
        let value: Vec<u8> = (0..len).map(|n| (n * n / 5 + key).to_le_bytes()[0]).collect();
        let put = Operation::new("n", key.to_be_bytes().to_vec(), Action::Put(Put::new(value)));
        engine.write(&[put], None).unwrap();
    };
    (0..24).for_each(|key| set(key, 500));
    set(24, 3000);
    engine.maintain().unwrap();
    let states: Vec<_> = engine.segments().unwrap().iter().map(|segment| segment.state).collect();
    assert!(states.iter().filter(|state| **state == SegmentState::Sealed).count() >= 2, "{states:?}");
    assert!(states.contains(&SegmentState::Active));
    engine.close().unwrap();
    sim
}

/// Reads everything through the engine.
fn read_all(engine: &Engine) -> nadb_core::Result<usize> {
    for key in 0..25u32 {
        assert!(engine.get("n", &key.to_be_bytes())?.is_some());
    }
    engine.scan("n", (Bound::Unbounded, Bound::Unbounded))?.try_fold(0, |sum, entry| entry.map(|_| sum + 1))
}

/// `act` with the n-th read of a file of the store failing, for every n: an I/O error each time, until none fails.
fn every_read_fails_once<T>(sim: &SimFs, mut act: impl FnMut() -> nadb_core::Result<T>) -> u64 {
    for nth in 1.. {
        sim.inject(Fault::at(CallKind::Read, nth, FaultKind::Eio).on("/store/"));
        let done = act();
        if sim.clear_faults() > 0 {
            done.unwrap();
            return nth - 1;
        }
        let error = done.err().unwrap_or_else(|| panic!("nobody has heard of read {nth}"));
        assert_eq!(error.kind(), ErrorKind::Io, "read {nth}: {error}");
        assert!(error.path().is_some(), "read {nth}: {error}");
    }
    unreachable!()
}

/// Trap 14.
#[test]
fn what_opening_cannot_read_is_an_error_whatever_is_mapped() {
    for read_mode in [ReadMode::Mapped, ReadMode::Positioned] {
        let sim = store();
        let fs = MapFs::new(&sim);
        let reads = every_read_fails_once(&sim, || open(&fs, read_mode));
        assert!(reads > 8, "{reads}");
        let engine = open(&fs, read_mode).unwrap();
        assert_eq!(read_all(&engine).unwrap(), 25);
        engine.verify().unwrap();
    }
}

/// Trap 14: the footers, which are mapped afterwards, to their last byte.
#[test]
fn opening_reads_every_sealed_segments_footer_by_position() {
    let sim = store();
    let fs = MapFs::new(&sim);
    sim.set_tracing(true);
    let engine = open(&fs, ReadMode::Mapped).unwrap();
    let trace = sim.trace();
    let segments = engine.segments().unwrap();
    let sealed = segments.iter().filter(|segment| segment.state == SegmentState::Sealed);
    let lens: std::collections::BTreeMap<_, _> = sim.files().into_iter().collect();
    let mut checked = 0;
    for segment in sealed {
        let path = Path::new(DIR).join(format!("{:010}.seg", segment.id));
        let (from, to) = (segment.bytes, lens[&path]);
        assert!(from < to);
        let is_it =
            |entry: &&TraceEntry| entry.call == CallKind::Read && entry.path == path && entry.offset <= from;
        assert!(trace.iter().filter(is_it).any(|entry| entry.offset + entry.len >= to), "{path:?}");
        checked += 1;
    }
    assert!(checked >= 2 && fs.maps() >= checked);
}

/// Trap 14: a mapping has good bytes of a file that is damaged by now, and one that reads fail on.
#[test]
fn verification_looks_at_the_files_and_not_at_what_is_mapped() {
    for read_mode in [ReadMode::Mapped, ReadMode::Positioned] {
        let sim = store();
        let fs = MapFs::new(&sim);
        let engine = open(&fs, read_mode).unwrap();
        read_all(&engine).unwrap();
        let reads = every_read_fails_once(&sim, || engine.verify());
        assert!(reads > 8, "{reads}");
        let files: Vec<_> = sim
            .files()
            .into_iter()
            .filter(|(path, _)| path.extension().is_some_and(|e| e == "seg"))
            .collect();
        for (path, len) in files {
            // Within the first record; within the footer, where there is one.
            for at in [150, len - 30].into_iter().filter(|at| *at < len && len > 64) {
                sim.flip_byte(&path, at, 1).unwrap();
                let error = engine.verify().unwrap_err();
                assert_eq!(
                    (error.kind(), error.path()),
                    (ErrorKind::Corruption, Some(&*path)),
                    "{at}: {error}"
                );
                sim.flip_byte(&path, at, 1).unwrap();
            }
        }
        engine.verify().unwrap();
    }
}

/// Trap 14.
#[test]
fn positioned_mode_maps_nothing() {
    let sim = store();
    let fs = MapFs::new(&sim);
    let engine = open(&fs, ReadMode::Positioned).unwrap();
    read_all(&engine).unwrap();
    engine.verify().unwrap();
    engine.close().unwrap();
    assert_eq!(fs.maps(), 0);
}

/// Trap 14: whichever way the store is read otherwise.
#[test]
fn repair_maps_nothing_and_hears_of_what_it_cannot_read() {
    let sim = store();
    sim.flip_byte("/store/0000000001.seg", 150, 1).unwrap();
    let fs = MapFs::new(&sim);
    let options = options(ReadMode::Mapped);
    let reads = every_read_fails_once(&sim, || repair(&fs, Path::new(DIR), true, &options));
    assert!(reads > 8, "{reads}");
    repair(&fs, Path::new(DIR), false, &options).unwrap();
    assert_eq!(fs.maps(), 0);
    open(&fs, ReadMode::Mapped).unwrap().verify().unwrap();
}
