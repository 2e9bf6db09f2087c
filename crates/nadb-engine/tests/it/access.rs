//! When keys were last read: what is known in one session and in the next, and that the files beside the segments are only a cache.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::query::Span;
use nadb_core::{Action, Clock, ErrorKind, ExpiryUpdate, Filter, ManualClock, Operation, Put, SeededEntropy};
use nadb_engine::{Engine, Options};
use nadb_vfs::{CrashMode, Fault, FaultKind, Fs, MemFs, SimFs};

/// Twenty seconds after the begin of a minute.
const NOW_MS: u64 = 1_700_000_000_000;
const MINUTE_MS: u64 = 60_000;
const MINUTE_BEGIN_MS: u64 = NOW_MS - NOW_MS % MINUTE_MS;
const DIR: &str = "store";
/// Values above this become blobs here.
const ABOVE: usize = 3000;

/// A store in memory that can be opened again.
struct Place {
    fs: Arc<MemFs>,
    clock: Arc<ManualClock>,
    seed: std::cell::Cell<u64>,
}

impl Place {
    fn new() -> Place {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        Place { fs: Arc::new(MemFs::default()), clock, seed: std::cell::Cell::new(0) }
    }

    fn options(&self) -> Options {
        self.seed.set(self.seed.get() + 1);
        let mut options = Options::default();
        options.memtable_size = 16 << 10;
        options.blob_above = Some(ABOVE as u64);
        options.background = false;
        options.track_access = true;
        options.clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        options.entropy = Arc::new(SeededEntropy::new(self.seed.get()));
        options
    }

    fn open_with(&self, options: Options) -> Engine {
        Engine::open(Arc::clone(&self.fs) as Arc<dyn Fs>, Path::new(DIR), options).unwrap()
    }

    fn open(&self) -> Engine {
        self.open_with(self.options())
    }

    fn reopen(&self, engine: Engine) -> Engine {
        engine.close().unwrap();
        drop(engine);
        self.open()
    }

    /// The access files that there are.
    fn files(&self) -> Vec<String> {
        let names = self.fs.list(Path::new(DIR)).unwrap().into_iter().map(|entry| entry.name);
        let mut names: Vec<String> = names.filter(|name| name.contains(".access")).collect();
        names.sort_unstable();
        names
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        let _ = self.fs.remove(&path);
        self.fs.create_new(&path).unwrap().write_all_at(bytes, 0).map_err(|e| e.source).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        let file = self.fs.open_read(&self.path(name)).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        bytes
    }

    fn path(&self, name: &str) -> PathBuf {
        Path::new(DIR).join(name)
    }
}

fn act<'k>(key: &'k str, action: Action<'static>) -> Operation<'k> {
    Operation::new("n", key.as_bytes(), action)
}

fn put(key: &str, value: Vec<u8>) -> Operation<'_> {
    act(key, Action::Put(Put::new(value)))
}

fn set(engine: &Engine, key: &str) {
    engine.write(&[put(key, b"value".to_vec())], None).unwrap();
}

fn get(engine: &Engine, key: &str) {
    assert!(engine.get("n", key.as_bytes()).unwrap().is_some(), "{key}");
}

fn accessed(engine: &Engine, key: &str) -> Option<u64> {
    engine.metadata("n", key.as_bytes()).unwrap().unwrap().accessed_ms
}

/// Keys of which a read is known.
fn known(engine: &Engine) -> u64 {
    engine.count("n", &Filter::Accessed(Span::ALL)).unwrap()
}

#[test]
fn without_the_option_nothing_is_kept_and_queries_say_so() {
    let place = Place::new();
    let mut options = place.options();
    options.track_access = false;
    let engine = place.open_with(options);
    set(&engine, "k");
    get(&engine, "k");
    assert!(engine.touch("n", b"k").unwrap());
    assert_eq!((accessed(&engine, "k"), engine.stats().unwrap().access_bytes), (None, 0));
    let error = engine.count("n", &Filter::Accessed(Span::ALL)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("open the store with track_access"), "{error}");
    engine.close().unwrap();
    assert!(place.files().is_empty());
}

#[test]
fn a_time_is_the_minute_of_the_last_read_and_not_before_the_key_was_there() {
    let place = Place::new();
    let engine = place.open();
    set(&engine, "k");
    get(&engine, "k");
    assert_eq!(accessed(&engine, "k"), Some(NOW_MS), "the key came into being within that minute");
    place.clock.advance_ms(MINUTE_MS);
    assert_eq!(accessed(&engine, "k"), Some(NOW_MS), "looking changes nothing");
    get(&engine, "k");
    assert_eq!(accessed(&engine, "k"), Some(MINUTE_BEGIN_MS + MINUTE_MS));
    place.clock.advance_ms(39_999);
    get(&engine, "k");
    assert_eq!(accessed(&engine, "k"), Some(MINUTE_BEGIN_MS + MINUTE_MS));
    place.clock.advance_ms(1);
    get(&engine, "k");
    assert_eq!(accessed(&engine, "k"), Some(MINUTE_BEGIN_MS + 2 * MINUTE_MS));
    // A clock that was set back: the last read counts.
    place.clock.set_ms(NOW_MS + MINUTE_MS);
    get(&engine, "k");
    assert_eq!(accessed(&engine, "k"), Some(MINUTE_BEGIN_MS + MINUTE_MS));
    let stats = engine.stats().unwrap();
    assert!(stats.access_bytes > 0 && stats.access_bytes < 1000);
    let mut without = stats.clone();
    without.access_bytes = 0;
    assert_eq!(stats.memory_bytes(), without.memory_bytes() + stats.access_bytes);
}

#[test]
fn times_outlive_sealing_and_opening_also_from_a_checkpoint() {
    let place = Place::new();
    let keys: Vec<String> = (0..1000).map(|n| format!("key {n:04}")).collect();
    let mut engine = place.open();
    for key in &keys {
        set(&engine, key);
    }
    get(&engine, &keys[1]);
    engine.maintain().unwrap();
    get(&engine, &keys[2]);
    get(&engine, &keys[999]);
    assert_eq!(known(&engine), 3);
    for checkpoint_rows in [u64::MAX, 0, 0] {
        let mut options = place.options();
        options.checkpoint_rows = checkpoint_rows;
        engine.close().unwrap();
        engine = place.open_with(options);
        place.clock.advance_ms(MINUTE_MS);
        assert_eq!(known(&engine), 3);
        let found: Vec<bool> = keys.iter().map(|key| accessed(&engine, key).is_some()).collect();
        assert_eq!(found, (0..1000).map(|n| [1, 2, 999].contains(&n)).collect::<Vec<_>>());
        assert_eq!(accessed(&engine, &keys[1]), Some(NOW_MS));
    }
    assert!(engine.recovery().from_checkpoint);
    engine.verify().unwrap();
}

#[test]
fn a_write_takes_over_what_the_file_says_before_anybody_has_asked() {
    let place = Place::new();
    let engine = place.open();
    for key in ["put", "expire", "both", "gone"] {
        engine.write(&[put(key, vec![b'v'; ABOVE + 1])], None).unwrap();
        assert!(engine.reader("n", key.as_bytes()).unwrap().is_some());
    }
    let engine = place.reopen(engine);
    place.clock.advance_ms(MINUTE_MS);
    let expire = || Action::Expire(ExpiryUpdate::AtMs(NOW_MS * 2));
    set(&engine, "put");
    engine.write(&[act("expire", expire())], None).unwrap();
    engine
        .write(&[put("both", b"v".to_vec()), act("both", expire()), act("gone", Action::Delete)], None)
        .unwrap();
    set(&engine, "gone");
    let check = |engine: &Engine| {
        let found = ["put", "expire", "both", "gone"].map(|key| accessed(engine, key));
        assert_eq!(found, [Some(NOW_MS), Some(NOW_MS), Some(NOW_MS), None]);
        assert_eq!(known(engine), 3);
    };
    check(&engine);
    check(&place.reopen(engine));
}

#[test]
fn what_was_deleted_and_written_again_was_never_read() {
    let place = Place::new();
    let engine = place.open();
    set(&engine, "k");
    get(&engine, "k");
    engine.write(&[act("k", Action::Delete), put("k", b"v".to_vec())], None).unwrap();
    assert_eq!(accessed(&engine, "k"), None);
}

#[test]
fn a_session_that_does_not_keep_times_leaves_them_alone() {
    let place = Place::new();
    let engine = place.open();
    ["k", "l", "m"].iter().for_each(|key| set(&engine, key));
    ["k", "l"].iter().for_each(|key| get(&engine, key));
    engine.close().unwrap();
    let mut options = place.options();
    options.track_access = false;
    let engine = place.open_with(options);
    place.clock.advance_ms(MINUTE_MS);
    get(&engine, "k");
    get(&engine, "m");
    set(&engine, "l");
    let engine = place.reopen(engine);
    let found = ["k", "l", "m"].map(|key| accessed(&engine, key));
    assert_eq!(found, [Some(NOW_MS), None, None]);
}

#[test]
fn a_snapshot_shows_what_is_known_of_its_records_now() {
    let place = Place::new();
    let engine = place.open();
    ["k", "l"].iter().for_each(|key| set(&engine, key));
    let snapshot = engine.snapshot().unwrap();
    let of = |key: &str| snapshot.metadata("n", key.as_bytes()).unwrap().unwrap().accessed_ms;
    assert!(snapshot.get("n", b"l").unwrap().is_some());
    assert_eq!((of("k"), of("l")), (None, None), "reads of a snapshot do not count");
    get(&engine, "k");
    assert_eq!(of("k"), Some(NOW_MS));
    set(&engine, "k");
    engine.write(&[act("l", Action::Delete)], None).unwrap();
    assert_eq!((of("k"), of("l")), (Some(NOW_MS), None));
    assert_eq!(snapshot.count("n", &Filter::Accessed(Span::ALL)).unwrap(), 1);
}

#[test]
fn files_are_written_where_something_has_changed() {
    let place = Place::new();
    let engine = place.open();
    set(&engine, "k");
    engine.maintain().unwrap();
    assert!(place.files().is_empty(), "nothing was read");
    get(&engine, "k");
    engine.maintain().unwrap();
    assert_eq!(place.files(), ["0000000001.access"]);
    let written = place.read("0000000001.access");
    place.write("0000000001.access", b"");
    get(&engine, "k");
    engine.maintain().unwrap();
    assert_eq!(place.read("0000000001.access"), b"", "the same minute is nothing new");
    place.clock.advance_ms(MINUTE_MS);
    get(&engine, "k");
    engine.close().unwrap();
    let later = place.read("0000000001.access");
    assert!(later.len() == written.len() && later != written);
}

#[test]
fn files_that_mean_nothing_are_removed_at_opening_and_others_stay() {
    let place = Place::new();
    let engine = place.open();
    set(&engine, "k");
    get(&engine, "k");
    engine.close().unwrap();
    for name in ["0000000001.access.new", "0000000099.access", "0000000099.access.new"] {
        place.write(name, b"anything");
    }
    for name in ["1.access", "x.access.new"] {
        place.write(name, b"anything");
    }
    let engine = place.open();
    assert_eq!(place.files(), ["0000000001.access", "1.access", "x.access.new"]);
    assert_eq!(accessed(&engine, "k"), Some(NOW_MS));
}

#[test]
fn a_damaged_file_means_that_nothing_is_known() {
    let place = Place::new();
    let engine = place.open();
    ["k", "l"].iter().for_each(|key| set(&engine, key));
    get(&engine, "k");
    engine.close().unwrap();
    let whole = place.read("0000000001.access");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        place.write("0000000001.access", &damaged);
        let engine = place.open();
        assert_eq!((known(&engine), accessed(&engine, "k")), (0, None), "byte {at}");
        assert!(engine.recovery().warnings.is_empty());
        engine.verify().unwrap();
        get(&engine, "l");
        engine.close().unwrap();
    }
    let engine = place.open();
    assert_eq!((accessed(&engine, "k"), accessed(&engine, "l")), (None, Some(NOW_MS)), "it was written anew");
}

#[test]
fn the_background_thread_writes_them_when_their_time_has_come() {
    let place = Place::new();
    let mut options = place.options();
    options.background = true;
    let interval = options.access_flush_interval;
    let engine = place.open_with(options);
    set(&engine, "k");
    get(&engine, "k");
    place.clock.advance_ms(u64::try_from(interval.as_millis()).unwrap());
    while place.files().is_empty() {
        // Each write wakes the thread; otherwise it wakes once a minute.
        set(&engine, "l");
        std::thread::yield_now();
    }
    engine.close().unwrap();
}

#[test]
fn an_interval_of_zero_is_refused() {
    let place = Place::new();
    let mut options = place.options();
    options.access_flush_interval = std::time::Duration::ZERO;
    let error = Engine::open(Arc::new(MemFs::default()), Path::new(DIR), options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Limit);
}

fn on_disk(disk: &SimFs, clock: &Arc<ManualClock>) -> Engine {
    let mut options = Place::new().options();
    options.clock = Arc::clone(clock) as Arc<dyn Clock>;
    options.entropy = Arc::new(SeededEntropy::new(disk.calls()));
    Engine::open(Arc::new(disk.clone()), Path::new("/store"), options).unwrap()
}

/// A disk with a store whose file says that `k` was read, and a later read of `k` and `l` that it does not know of.
fn half_known() -> (SimFs, Arc<ManualClock>, Engine) {
    let (disk, clock) = (SimFs::new(1), Arc::new(ManualClock::new(NOW_MS)));
    disk.create_dir_all(Path::new("/")).unwrap();
    let engine = on_disk(&disk, &clock);
    ["k", "l"].iter().for_each(|key| set(&engine, key));
    get(&engine, "k");
    engine.maintain().unwrap();
    clock.advance_ms(MINUTE_MS);
    ["k", "l"].iter().for_each(|key| get(&engine, key));
    (disk, clock, engine)
}

#[test]
fn a_crash_while_a_file_is_written_takes_times_at_most() {
    const LATER_MS: u64 = MINUTE_BEGIN_MS + MINUTE_MS;
    let mut seen = BTreeSet::new();
    for n in 1.. {
        let mut has_crashed = false;
        for (mode, seed) in CrashMode::ALL.into_iter().flat_map(|mode| (0..4).map(move |seed| (mode, seed))) {
            let (disk, clock, engine) = half_known();
            disk.crash_at_mutation(n);
            let _ = engine.maintain();
            has_crashed = disk.crashed();
            let image = disk.power_cut(mode, seed);
            drop(engine);
            let engine = on_disk(&image, &clock);
            seen.insert((accessed(&engine, "k"), accessed(&engine, "l")));
            ["k", "l"].iter().for_each(|key| get(&engine, key));
            engine.verify().unwrap();
        }
        if !has_crashed {
            assert!(n > 3, "a file is created, written and renamed");
            break;
        }
    }
    let all = [(None, None), (Some(NOW_MS), None), (Some(LATER_MS), Some(LATER_MS))];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all, "nothing, what was known before, or all of it");
}

#[test]
fn a_file_that_cannot_be_written_is_written_the_next_time() {
    for kind in [FaultKind::Eio, FaultKind::NoSpace, FaultKind::ReadOnly] {
        for n in 1.. {
            let (disk, clock, engine) = half_known();
            disk.inject(Fault::any(n, kind).on(".access"));
            engine.maintain().unwrap();
            let has_failed = disk.clear_faults() == 0;
            let before = disk.read_file("/store/0000000001.access").unwrap();
            engine.maintain().unwrap();
            let after = disk.read_file("/store/0000000001.access").unwrap();
            assert!(after != before || !has_failed, "call {n}, {kind:?}: one that failed is left as it was");
            let image = disk.process_kill();
            drop(engine);
            let engine = on_disk(&image, &clock);
            assert_eq!(known(&engine), 2, "call {n}, {kind:?}");
            if !has_failed {
                assert!(n > 3);
                break;
            }
        }
    }
}
