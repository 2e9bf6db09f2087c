//! The process that the kill test kills: `nadb-kill-child DIR CLASS SEED ROUND MODE`.
//!
//! It opens the store and says so; in mode `write` its threads write until they are killed, and each write is acknowledged
//! on standard output after the engine has acknowledged it. In mode `open` it ends without closing, in mode `hold` it does
//! nothing more.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{Action, Add, Durability, Merge, Operation, Put, Result};
use nadb_engine::{Engine, Options};
use nadb_testkit::kill::{Ack, Effect, STEPS_AT_FULL_SPEED, Step, THREADS, step};
use nadb_vfs::RealFs;

/// A parent that has forgotten us does not let us write for ever.
const STEPS_MAX: u64 = 60_000;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [dir, class, seed, round, mode] = words.as_slice() else {
        panic!("usage: nadb-kill-child DIR buffered|flushed|synced SEED ROUND write|open|hold");
    };
    let number = |word: &str| word.parse::<u64>().expect("seed and round are numbers");
    let (seed, round) = (number(seed), number(round));
    say("opening");
    let engine = match Engine::open(Arc::new(RealFs), Path::new(dir), options(class)) {
        Ok(engine) => engine,
        Err(error) => fail("open", &error),
    };
    say("opened");
    match mode.as_str() {
        "write" => std::thread::scope(|scope| {
            for thread in 0..THREADS {
                let engine = engine.clone();
                scope.spawn(move || write(&engine, seed, round, thread));
            }
        }),
        "hold" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        _ => std::process::exit(0),
    }
}

fn options(class: &str) -> Options {
    let mut options = Options::default();
    options.memtable_size = 256 << 10;
    options.buffer_size = 64 << 10;
    options.sync_interval = Duration::from_millis(40);
    options.flush_interval = Duration::from_millis(15);
    options.durability = match class {
        "buffered" => Durability::Buffered,
        "flushed" => Durability::Flushed,
        "synced" => Durability::Synced,
        other => panic!("there is no durability class {other}"),
    };
    options
}

fn write(engine: &Engine, seed: u64, round: u64, thread: u64) {
    for index in 0..STEPS_MAX {
        let versions = match run(engine, &step(seed, round, thread, index)) {
            Ok(versions) => versions,
            Err(error) => fail("write", &error),
        };
        say(&Ack { thread, index, versions }.to_string());
        if index >= STEPS_AT_FULL_SPEED {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn run(engine: &Engine, step: &Step) -> Result<Vec<Option<u64>>> {
    let changes = match step {
        Step::Write(changes) => changes,
        Step::DropNamespace(name) => return engine.drop_namespace(name).map(|_| Vec::new()),
    };
    let operation = |change: &nadb_testkit::kill::Change| {
        let action = match &change.effect {
            Effect::Put(value) => Action::Put(Put::new(value.clone())),
            Effect::Delete => Action::Delete,
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
