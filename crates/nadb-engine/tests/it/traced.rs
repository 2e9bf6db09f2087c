//! What a subscriber is told, and that it is told nothing that users have written.

use std::fmt::{Debug, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nadb_core::{Action, Durability, Operation, Put, Tags, TagsUpdate};
use nadb_engine::{Engine, Options};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, Fs, SimFs};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::times::Ticking;

/// Writes every span and event down, a line for each.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>);

struct Line<'s>(&'s mut String);

impl Visit for Line<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Told {
    fn line(&self, metadata: &Metadata<'_>, fields: impl FnOnce(&mut Line<'_>)) {
        let mut text = self.0.lock().unwrap();
        write!(text, "{} {} {}", metadata.level(), metadata.target(), metadata.name()).unwrap();
        fields(&mut Line(&mut text));
        text.push('\n');
    }
}

impl Subscriber for Told {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }
    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.line(span.metadata(), |line| span.record(line));
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, values: &Record<'_>) {
        values.record(&mut Line(&mut self.0.lock().unwrap()));
    }
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn event(&self, event: &Event<'_>) {
        self.line(event.metadata(), |line| event.record(line));
    }
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

const SECRET: &str = "hunter2";

fn open(disk: &SimFs) -> Engine {
    let mut options = Options::default();
    (options.background, options.clock) = (false, Arc::new(Ticking::default()));
    options.memtable_size = 4 << 10;
    options.slow_above = Some(Duration::ZERO);
    Engine::open(Arc::new(disk.clone()), Path::new("/store"), options).unwrap()
}

/// An operation that has the secret wherever users can put something.
fn put(nth: usize) -> Operation<'static> {
    let mut put = Put::new(format!("{SECRET} {nth}").repeat(20).into_bytes());
    put.tags = TagsUpdate::Replace(Tags::new([SECRET]).unwrap());
    put.content_type = Some(SECRET.into());
    Operation::new(SECRET, format!("{SECRET}:{nth}").into_bytes(), Action::Put(put))
}

/// A life with everything that is told: opening, slow operations, sealing, a crash, a torn tail, a failed sync, closing.
fn live() {
    let disk = SimFs::new(1);
    disk.create_dir_all(Path::new("/")).unwrap();
    let engine = open(&disk);
    for nth in 0..50 {
        engine.write(&[put(nth)], None).unwrap();
        engine.get(SECRET, format!("{SECRET}:{nth}").as_bytes()).unwrap().unwrap();
    }
    engine.maintain().unwrap();
    engine.write(&[put(50), put(51)], None).unwrap();
    let disk = disk.power_cut(CrashMode::KeepAll, 1);
    drop(engine);
    let is_segment = |(path, len): &(PathBuf, u64)| path.to_string_lossy().ends_with(".seg") && *len > 200;
    let (path, len) = disk.files().into_iter().rfind(is_segment).unwrap();
    disk.truncate_file(&path, len - 1).unwrap();
    let engine = open(&disk);
    engine.write(&[put(1)], None).unwrap();
    disk.inject(Fault::at(CallKind::SyncData, 1, FaultKind::Eio).on(".seg"));
    engine.write(&[put(2)], Some(Durability::Synced)).unwrap_err();
    engine.close().unwrap_err();
}

#[test]
fn everything_is_told_but_what_users_have_written() {
    let told = Told::default();
    tracing::subscriber::with_default(told.clone(), live);
    let told = told.0.lock().unwrap();
    for wanted in [
        "INFO nadb open path=/store\n",
        "message=store opened created=true",
        "message=store opened created=false clean=false",
        "message=slow operation operation=\"set\"",
        "message=slow operation operation=\"get\"",
        "message=slow operation operation=\"batch\"",
        "DEBUG nadb seal segment=1\n",
        "message=segment sealed rows=",
        "message=recovery cut a torn tail off cut_bytes=",
        "message=sync failed error=",
        "INFO nadb close path=/store\n",
        "message=the last sync failed; store closed kind=Poisoned",
    ] {
        assert!(told.contains(wanted), "{wanted:?} is not in\n{told}");
    }
    assert!(!told.contains(SECRET), "{told}");
}
