//! The process that the kill test kills: `nadb-kill-child DIR CLASS SEED ROUND MODE`.
//!
//! It opens the store and says so; in mode `write` its threads write until they are killed, and each write is acknowledged
//! on standard output after the engine has acknowledged it. In mode `close:N` each of them does N steps, then the store is closed in
//! order, with a checkpoint, and that is said. In mode `open` it ends without closing, in mode `hold` it does nothing more.
//!
//! With `compact:` before the mode one more thread compacts without a pause, and says when it begins and when it is done.
//!
//! In every second round another thread holds snapshots and readers, and looks whether they stay as they were.

use std::io::{Read, Seek, SeekFrom, Write};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nadb_core::{
    Action, Add, CompactionRequest, Durability, Entry, ExpiryUpdate, Merge, Operation, Put, Result,
    ValueWriter, WriteOptions,
};
use nadb_engine::{Engine, Options, Snapshot};
use nadb_testkit::kill::{Ack, BRIEF, Change, Effect, STEPS_AT_FULL_SPEED, Step, THREADS, step};
use nadb_testkit::streams::store_error;
use nadb_vfs::RealFs;

/// A parent that has forgotten us does not let us write for ever.
const STEPS_MAX: u64 = 60_000;
/// Values above this are blobs: about two in a hundred.
const BLOB_ABOVE: u64 = 4000;
/// Times that a snapshot is looked at before the next one is taken.
const LOOKS: usize = 8;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [dir, class, seed, round, mode] = words.as_slice() else {
        panic!(
            "usage: nadb-kill-child DIR buffered|flushed|synced SEED ROUND [compact:]write|close:N|open|hold"
        );
    };
    let number = |word: &str| word.parse::<u64>().expect("seed and round are numbers");
    let (seed, round) = (number(seed), number(round));
    let (compacts, mode) = mode.strip_prefix("compact:").map_or((false, mode.as_str()), |mode| (true, mode));
    say("opening");
    let engine = match Engine::open(Arc::new(RealFs), Path::new(dir), options(class, compacts)) {
        Ok(engine) => engine,
        Err(error) => fail("open", &error),
    };
    say("opened");
    match mode {
        "write" => write_all(&engine, seed, round, STEPS_MAX, compacts),
        "hold" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        mode if mode.starts_with("close:") => {
            write_all(&engine, seed, round, number(&mode["close:".len()..]), compacts);
            match engine.close() {
                Ok(()) => say("closed"),
                Err(error) => fail("close", &error),
            }
        }
        _ => std::process::exit(0),
    }
}

/// All writers, and who watches them and compacts beside them.
fn write_all(engine: &Engine, seed: u64, round: u64, steps: u64, compacts: bool) {
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (engine, done) = (engine.clone(), &done);
            scope.spawn(move || {
                write(&engine, seed, round, thread, steps);
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        scope.spawn(|| write_briefly(engine, &done));
        if compacts {
            scope.spawn(|| {
                for number in seed ^ round.. {
                    if let Err(error) = compact(engine, number) {
                        fail("compact", &error);
                    }
                    if done.load(Ordering::Relaxed) >= THREADS {
                        return;
                    }
                }
            });
        }
        if round.is_multiple_of(2) {
            while done.load(Ordering::Relaxed) < THREADS {
                if let Err(error) = watch(engine) {
                    fail("watch", &error);
                }
            }
        }
    });
}

/// Writes records that expire at once, so that the background lets go of them all the time.
fn write_briefly(engine: &Engine, done: &AtomicU64) {
    for number in 0u64.. {
        if done.load(Ordering::Relaxed) >= THREADS {
            return;
        }
        let mut put = Put::new(b"brief".as_slice());
        put.expiry = ExpiryUpdate::After(Duration::from_millis(1 + number % 20));
        let key = format!("k{}", number % 50).into_bytes();
        if let Err(error) = engine.write(&[Operation::new(BRIEF, key, Action::Put(put))], None) {
            fail("write briefly", &error);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// Compacts everything, what is due, or some segments.
fn compact(engine: &Engine, number: u64) -> Result<()> {
    say("compacting");
    let done = match number % 5 {
        0 => engine.compact(&CompactionRequest::new()),
        1 => engine.compact_due(),
        _ => {
            let ids = engine.segments()?.into_iter().map(|segment| segment.id);
            let is_meant = |id: &u32| (u64::from(*id) ^ number).count_ones().is_multiple_of(2);
            engine.compact_segments(&ids.filter(is_meant).collect::<Vec<u32>>())
        }
    };
    done.map(|_| say("compacted"))
}

/// Takes a snapshot and a reader of its longest value, and looks at both for some time.
fn watch(engine: &Engine) -> Result<()> {
    let snapshot = engine.snapshot()?;
    let first = content(&snapshot)?;
    let longest = first.iter().max_by_key(|(_, entry)| entry.value.len());
    let mut reader = match longest {
        Some((name, entry)) => engine.reader(name, &entry.key)?,
        None => None,
    };
    // The key may have been overwritten since the snapshot was taken: the reader's own first reading counts.
    let mut read = || -> Result<Vec<u8>> {
        let mut value = Vec::new();
        if let Some(reader) = &mut reader {
            reader.seek(SeekFrom::Start(0)).map_err(store_error)?;
            reader.read_to_end(&mut value).map_err(store_error)?;
        }
        Ok(value)
    };
    let first_read = read()?;
    for _ in 0..LOOKS {
        std::thread::sleep(Duration::from_millis(2));
        for (what, is_same) in [("snapshot", content(&snapshot)? == first), ("reader", read()? == first_read)]
        {
            if !is_same {
                say(&format!("error watch: a {what} has changed"));
                std::process::exit(3);
            }
        }
    }
    Ok(())
}

fn content(snapshot: &Snapshot) -> Result<Vec<(String, Entry)>> {
    let mut all = Vec::new();
    for name in snapshot.namespaces()? {
        for entry in snapshot.scan(&name, (Bound::Unbounded, Bound::Unbounded))? {
            all.push((name.clone(), entry?));
        }
    }
    Ok(all)
}

fn options(class: &str, compacts: bool) -> Options {
    let mut options = Options::default();
    // The smaller, the more segments there are to compact.
    options.memtable_size = if compacts { 32 << 10 } else { 256 << 10 };
    options.buffer_size = 64 << 10;
    options.blob_above = Some(BLOB_ABOVE);
    options.checkpoint_rows = 0;
    options.sync_interval = Duration::from_millis(40);
    options.flush_interval = Duration::from_millis(15);
    options.reap_interval = Duration::from_millis(5);
    options.durability = match class {
        "buffered" => Durability::Buffered,
        "flushed" => Durability::Flushed,
        "synced" => Durability::Synced,
        other => panic!("there is no durability class {other}"),
    };
    options
}

fn write(engine: &Engine, seed: u64, round: u64, thread: u64, steps: u64) {
    for index in 0..steps.min(STEPS_MAX) {
        let step = step(seed, round, thread, index);
        let written = match streamed(&step) {
            Some((change, value)) => run_stream(engine, change, value, index),
            None => run(engine, &step),
        };
        let versions = match written {
            Ok(versions) => versions,
            Err(error) => fail("write", &error),
        };
        say(&Ack { thread, index, versions }.to_string());
        if index >= STEPS_AT_FULL_SPEED {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// A large value that is written alone.
fn streamed(step: &Step) -> Option<(&Change, &[u8])> {
    let Step::Write(changes) = step else { return None };
    match changes.as_slice() {
        [change @ Change { effect: Effect::Put(value), .. }] if value.len() as u64 > BLOB_ABOVE / 2 => {
            Some((change, value))
        }
        _ => None,
    }
}

/// Writes a value piece by piece; sometimes another try is given up before.
fn run_stream(engine: &Engine, change: &Change, value: &[u8], index: u64) -> Result<Vec<Option<u64>>> {
    let begin = || {
        let put = Action::Put(Put::new(Vec::new()));
        let operation = Operation::new(change.namespace.clone(), change.key.clone(), put);
        let mut writer = Box::new(engine.writer(operation, &WriteOptions::default())?);
        value.chunks(700).try_for_each(|piece| writer.write(piece))?;
        Ok(writer)
    };
    if index.is_multiple_of(3) {
        drop(begin()?);
    }
    Ok(vec![begin()?.commit()?.version])
}

fn run(engine: &Engine, step: &Step) -> Result<Vec<Option<u64>>> {
    let changes = match step {
        Step::Write(changes) => changes,
        Step::DropNamespace(name) => return engine.drop_namespace(name).map(|_| Vec::new()),
    };
    let operation = |change: &Change| {
        let action = match &change.effect {
            Effect::Put(value) => Action::Put(Put::new(value.clone())),
            Effect::Delete => Action::Delete,
            Effect::Expire(at) => Action::Expire(at.map_or(ExpiryUpdate::Never, ExpiryUpdate::AtMs)),
            Effect::Add(by) => Action::Merge(Merge::new(Arc::new(Add), by.to_string().into_bytes())),
        };
        Operation::new(change.namespace.clone(), change.key.clone(), action)
    };
    let batch: Vec<Operation<'_>> = changes.iter().map(operation).collect();
    Ok(engine.write(&batch, None)?.into_iter().map(|outcome| outcome.version).collect())
}

/// One write call a line: a kill leaves it whole or out of the pipe.
fn say(line: &str) {
    let line = format!("{line}\n");
    let mut out = std::io::stdout().lock();
    if out.write_all(line.as_bytes()).and_then(|()| out.flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(1);
    }
}

fn fail(doing: &str, error: &nadb_core::Error) -> ! {
    say(&format!("error {doing}: {error:?}"));
    std::process::exit(3);
}
