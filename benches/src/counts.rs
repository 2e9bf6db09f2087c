//! The hot paths one after another, each as a section whose instructions can be counted: the same instructions in every run.
//!
//! What could differ is fixed: the seed, the clock, the randomness; no thread runs in the background, its work is done between the
//! sections by the caller. The files are real ones, for the way into a mapped segment is part of what is counted. Preparing the
//! stores and checking the answers happens outside of the sections. What remains are the hash maps of the standard
//! library, some instructions in ten thousand, and whether a buffer grows in place, which is up to 3 % where large ones grow (sealing).

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;

use nadb::{Namespace, Result, SegmentState, Store};
use nadb_core::{Error, ErrorKind, ManualClock, SeededEntropy};
use nadb_engine::{Engine, Options};
use nadb_vfs::RealFs;

use crate::data::{Key, Random, Values, key};
use crate::store::{Found, Gets, Sets};

const SEED: u64 = 0x6E61_6462;
const NAMESPACE: &str = "bench";
/// Where what fills segments up is put, so that it is not met in scans.
const FILLER: &str = "filler";
/// Keys of a batch, and of a read of many.
const MANY: usize = 100;
/// Bytes of a segment: small, so that a store of some thousand keys has several.
const SEGMENT_BYTES: u64 = 512 << 10;
/// Sets after which a background thread would have been through.
const SETS_BETWEEN_MAINTENANCE: usize = 500;

/// A hot path and how often it is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Section {
    /// What is done.
    pub name: &'static str,
    /// How many operations, or rows, it is.
    pub operations: u64,
}

/// Runs the work of a section and counts or times what it takes.
pub trait Timer {
    /// Runs `work` once, and nothing else that would be counted with it.
    ///
    /// # Errors
    /// Those of the work.
    fn run(&mut self, section: Section, work: &mut dyn FnMut() -> Result<()>) -> Result<()>;
}

/// Runs every hot path with about `size` keys, in stores below `dir`, which is empty and stays to be removed by the caller. The first
/// section is the reference: work that does not depend on NADB.
///
/// # Errors
/// Those of the stores, and wrong answers.
pub fn hot_paths(dir: &Path, size: u64, timer: &mut dyn Timer) -> Result<()> {
    reference(size, timer)?;
    single_operations(&dir.join("singles"), size, timer)?;
    batches(&dir.join("batches"), size, timer)?;
    sealed_reads(&dir.join("sealed"), size, timer)?;
    openings(&dir.join("sealed"), size, timer)?;
    reads_that_are_noted(&dir.join("sealed"), size, timer)
}

/// What a store does most, without a store: for each key a hash, a checksum over its value, a search for it and a copy.
fn reference(size: u64, timer: &mut dyn Timer) -> Result<()> {
    let values = Values::new(SEED);
    let mut sorted: Vec<Key> = (0..size).map(|number| key(number, SEED)).collect();
    sorted.sort_unstable();
    let mut random = Random::new(SEED);
    let drawn: Vec<Key> = (0..size).map(|_| key(random.below(size), SEED)).collect();
    let mut out = Vec::new();
    let mut all_found = true;
    timer.run(Section { name: "reference", operations: size }, &mut || {
        for (number, key) in drawn.iter().enumerate() {
            let value = black_box(values.of(number));
            let hash = xxhash_rust::xxh3::xxh3_64_with_seed(black_box(key), SEED);
            let sum = crc32fast::hash(value);
            all_found &= sorted.binary_search(key).is_ok();
            out.clear();
            out.extend_from_slice(key);
            out.extend_from_slice(value);
            black_box((hash, sum, &out));
        }
        Ok(())
    })?;
    expect(all_found, "the reference misses a key")
}

/// Sets, overwrites, gets and deletes of single keys whose records are in the memtable.
fn single_operations(dir: &Path, size: u64, timer: &mut dyn Timer) -> Result<()> {
    // All of it fits the active segment: what sealing costs is a section of its own.
    let (_, store) = open(dir, (size * 1024).next_power_of_two().max(SEGMENT_BYTES), u64::MAX)?;
    let namespace = store.namespace(NAMESPACE)?;
    namespace.set("first", "")?;
    let sets = Sets::new(size, SEED);
    timer.run(Section { name: "set, new key", operations: size }, &mut || sets.run(&namespace, 1))?;
    let sets = Sets::drawn(size, size, SEED);
    timer.run(Section { name: "set, overwrite", operations: size }, &mut || sets.run(&namespace, 1))?;
    gets("get, memtable", &namespace, &Gets::hits(size, size, SEED), size, timer)?;
    gets("get, miss", &namespace, &Gets::misses(size, size, SEED), 0, timer)?;
    let (mut random, mut deleted) = (Random::new(SEED ^ 1), 0);
    let first = random.below(size);
    let keys: Vec<Key> = (0..size / 2).map(|number| key((first + number) % size, SEED)).collect();
    timer.run(Section { name: "delete", operations: size / 2 }, &mut || {
        for key in &keys {
            deleted += u64::from(namespace.delete(key)?);
        }
        Ok(())
    })?;
    expect(deleted == size / 2, "a key that was there was not deleted")?;
    expect(store.stats()?.segments <= 2, "a segment was full, so that its sealing was counted, too")?;
    store.close()
}

fn gets(
    name: &'static str,
    namespace: &Namespace,
    gets: &Gets,
    hits: u64,
    timer: &mut dyn Timer,
) -> Result<()> {
    let mut found = Found::default();
    timer.run(Section { name, operations: gets.len() }, &mut || {
        found = gets.run(namespace, 1)?;
        Ok(())
    })?;
    expect(found.hits == hits, "gets found another number of keys than are there")
}

/// Rows written a hundred at a time.
fn batches(dir: &Path, size: u64, timer: &mut dyn Timer) -> Result<()> {
    let (_, store) = open(dir, (size * 1024).next_power_of_two().max(SEGMENT_BYTES), u64::MAX)?;
    let namespace = store.namespace(NAMESPACE)?;
    namespace.set("first", "")?;
    let values = Values::new(SEED);
    let keys: Vec<Key> = (0..size).map(|number| key(number, SEED)).collect();
    timer.run(Section { name: "batch of 100, a row", operations: size }, &mut || {
        for (number, keys) in keys.chunks(MANY).enumerate() {
            let first = number * MANY;
            namespace.set_many(keys.iter().enumerate().map(|(at, key)| (key, values.of(first + at))))?;
        }
        Ok(())
    })?;
    expect(store.stats()?.keys == size + 1, "a batch has not set all of its keys")?;
    store.close()
}

/// Sealing, and reads of what is sealed.
fn sealed_reads(dir: &Path, size: u64, timer: &mut dyn Timer) -> Result<()> {
    let (engine, store) = open(dir, SEGMENT_BYTES, u64::MAX)?;
    let namespace = store.namespace(NAMESPACE)?;
    let values = Values::new(SEED);
    for number in 0..size {
        let at = usize::try_from(number).unwrap_or_default();
        namespace.set(key(number, SEED), values.of(at))?;
        if at % SETS_BETWEEN_MAINTENANCE == 0 {
            engine.maintain()?;
        }
    }
    fill_segment(&store)?;
    let rows: u64 =
        store.segments()?.iter().filter(|s| s.state == SegmentState::Full).map(|s| s.records).sum();
    timer.run(Section { name: "seal, a row", operations: rows }, &mut || engine.maintain())?;
    let keys =
        store.segments()?.iter().filter(|s| s.state == SegmentState::Sealed).map(|s| s.live_records).sum();
    expect(size <= keys, "there are keys that are not sealed")?;

    gets("get, sealed", &namespace, &Gets::hits(size, size, SEED), size, timer)?;
    get_many(&namespace, size, timer)?;
    scan(&namespace, size, timer)?;
    store.close()
}

/// Writes until the active segment is full, so that it can be sealed, and the next one holds no key of the benchmark.
fn fill_segment(store: &Store) -> Result<()> {
    let filler = store.namespace(FILLER)?;
    let mut random = Random::new(SEED);
    let noise: Vec<u8> = (0..4096).flat_map(|_| random.bits().to_le_bytes()).collect();
    let count = SEGMENT_BYTES / noise.len() as u64 + 1;
    (0..count).try_for_each(|number| filler.set(number.to_le_bytes(), &noise).map(drop))
}

fn get_many(namespace: &Namespace, size: u64, timer: &mut dyn Timer) -> Result<()> {
    let mut random = Random::new(SEED ^ 2);
    let keys: Vec<Key> = (0..size).map(|_| key(random.below(size), SEED)).collect();
    let mut found = 0;
    timer.run(Section { name: "get_many of 100, a key", operations: size }, &mut || {
        for keys in keys.chunks(MANY) {
            found += namespace.get_many(keys)?.iter().flatten().count() as u64;
        }
        Ok(())
    })?;
    expect(found == size, "reads of many keys found another number than are there")
}

fn scan(namespace: &Namespace, size: u64, timer: &mut dyn Timer) -> Result<()> {
    let mut bytes = 0;
    timer.run(Section { name: "scan, a row", operations: size }, &mut || {
        for entry in namespace.iter()? {
            let entry = entry?;
            bytes += entry.key.len() + entry.value.len();
        }
        Ok(())
    })?;
    let row = crate::data::KEY_BYTES + crate::data::VALUE_BYTES;
    expect(bytes as u64 == size * row as u64, "a scan has not met every row")
}

/// Opening the sealed store: first from its footers, for it was closed without a checkpoint; then from the checkpoint of that close.
fn openings(dir: &Path, size: u64, timer: &mut dyn Timer) -> Result<()> {
    for (name, checkpoint_rows) in
        [("open from footers, a key", 0), ("open from a checkpoint, a key", u64::MAX)]
    {
        let mut opened = None;
        timer.run(Section { name, operations: size }, &mut || {
            let (_, store) = open(dir, SEGMENT_BYTES, checkpoint_rows)?;
            let found = store.namespace(NAMESPACE)?.get(key(size / 2, SEED))?;
            opened = Some((store, found.is_some()));
            Ok(())
        })?;
        let (store, has_key) = opened.ok_or_else(|| wrong("nothing was opened"))?;
        expect(has_key, "a key is missing after opening")?;
        // The first close, and only it, writes a checkpoint.
        let is_from_checkpoint = checkpoint_rows == u64::MAX;
        expect(store.recovery().from_checkpoint == is_from_checkpoint, "it was opened from something else")?;
        store.close()?;
    }
    Ok(())
}

/// Reads of what is sealed in a store that keeps when keys were last read: the first ones of their keys, and later ones within
/// the same minute.
fn reads_that_are_noted(dir: &Path, size: u64, timer: &mut dyn Timer) -> Result<()> {
    let mut options = options(SEGMENT_BYTES, u64::MAX);
    options.track_access = true;
    let store = Store::with_backend(Arc::new(Engine::open(Arc::new(RealFs), dir, options)?));
    let namespace = store.namespace(NAMESPACE)?;
    let hits = Gets::hits(size, size, SEED);
    // What opening has left in the checkpoint is brought into memory before.
    for number in 0..size {
        expect(namespace.contains(key(number, SEED))?, "a key is missing after opening")?;
    }
    gets("get, sealed, noted first", &namespace, &hits, size, timer)?;
    gets("get, sealed, noted again", &namespace, &hits, size, timer)?;
    expect(store.stats()?.access_bytes > 0, "nothing was noted")?;

    store.close()
}

/// A store without a background thread; the engine does what that would do when it is told to.
fn open(dir: &Path, segment_bytes: u64, checkpoint_rows: u64) -> Result<(Engine, Store)> {
    let engine = Engine::open(Arc::new(RealFs), dir, options(segment_bytes, checkpoint_rows))?;
    Ok((engine.clone(), Store::with_backend(Arc::new(engine))))
}

fn options(segment_bytes: u64, checkpoint_rows: u64) -> Options {
    let mut options = Options::default();
    options.memtable_size = segment_bytes;
    options.background = false;
    options.checkpoint_rows = checkpoint_rows;
    options.clock = Arc::new(ManualClock::new(1_800_000_000_000));
    options.entropy = Arc::new(SeededEntropy::new(SEED));
    options
}

fn expect(holds: bool, what: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(wrong(what)) }
}

fn wrong(what: &str) -> Error {
    Error::new(ErrorKind::Backend, what)
}
