//! Small stores as files, checked in: today's code must write the same bytes, and must read what they say.
//!
//! Each is made on a file system in memory, with seeded randomness and a clock that stands still, so that its bytes follow from the
//! code alone. If they differ, the format has changed: then docs/format.md has to say so, and `cargo xtask fixtures` writes them
//! anew. Beside each store stands what a reader must find in it. `LOCK` and `BALLAST` say nothing and are left out.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::{
    Action, Add, Attrs, Clock, CompactionRequest, Entry, ExpiryUpdate, ManualClock, Merge, Operation, Put,
    Result, SeededEntropy, Tags, TagsUpdate, guard,
};
use nadb_engine::{Engine, Options};
use nadb_testkit::dice::Dice;
use nadb_vfs::{Fs, MemFs, RealFs};

const NOW_MS: u64 = 1_700_000_000_000;
const DAY_MS: u64 = 86_400_000;
/// The version of the format, which is the folder.
const VERSION: &str = "v0";

/// The files of a store, by name.
type Files = BTreeMap<String, Vec<u8>>;

/// A store that can be made.
struct Fixture {
    name: &'static str,
    options: fn(&mut Options),
    fill: fn(&Making),
    /// What is done to its files when it is closed, or left open: bytes of the last segment's frames are given.
    spoil: Option<fn(&mut Files, usize)>,
    /// Whether it is closed in order.
    is_closed: bool,
}

impl Fixture {
    const fn new(name: &'static str, options: fn(&mut Options), fill: fn(&Making)) -> Fixture {
        Fixture { name, options, fill, spoil: None, is_closed: true }
    }
}

const FIXTURES: [Fixture; 8] = [
    Fixture::new("fresh", |_| (), |making| making.some(0..5)),
    // With a checkpoint.
    Fixture::new(
        "sealed",
        |options| (options.checkpoint_rows, options.seal_rows) = (0, 0),
        |making| making.some(0..80),
    ),
    Fixture::new("compacted", |_| (), compacted),
    Fixture::new("tags-and-lifetimes", |_| (), tags_and_lifetimes),
    Fixture::new("blobs", |options| options.blob_above = Some(600), blobs),
    Fixture::new("last-access", |options| options.track_access = true, last_access),
    Fixture {
        spoil: Some(|files, _| drop(files.remove("MANIFEST"))),
        ..Fixture::new("without-manifest", |_| (), |m| m.some(0..5))
    },
    Fixture {
        spoil: Some(cut),
        is_closed: false,
        ..Fixture::new("damaged-tail", |_| (), |making| making.some(0..5))
    },
];

/// An open store that is being filled.
struct Making {
    engine: Engine,
    clock: Arc<ManualClock>,
}

impl Making {
    fn act(&self, namespace: &str, key: &str, action: Action<'_>) {
        self.engine.write(&[Operation::new(namespace, key.as_bytes(), action)], None).unwrap();
        self.clock.advance_ms(1);
    }

    /// Records with numbers as keys, every third of which compresses well.
    fn some(&self, numbers: std::ops::Range<u64>) {
        for number in numbers {
            let value = if number % 3 == 0 { vec![b'v'; 600] } else { bytes(number, 40) };
            self.act("app/users", &format!("user:{number:03}"), Action::Put(Put::new(value)));
        }
        self.engine.maintain().unwrap();
    }
}

/// Bytes that look like nothing.
fn bytes(seed: u64, len: usize) -> Vec<u8> {
    let mut dice = Dice::new(seed);
    (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
}

fn compacted(making: &Making) {
    making.some(0..60);
    making.some(20..50);
    for number in 0..10 {
        making.act("app/users", &format!("user:{number:03}"), Action::Delete);
    }
    making.engine.compact(&CompactionRequest::new()).unwrap();
    // A tombstone that holds down what stands in a compacted segment.
    making.act("app/users", "user:055", Action::Delete);
    making.some(100..103);
}

fn tags_and_lifetimes(making: &Making) {
    for number in 0..30_u64 {
        let mut put = Put::new(bytes(number, 30));
        let tags: Vec<String> =
            (2..6).filter(|tag| number.is_multiple_of(*tag)).map(|tag| format!("by-{tag}")).collect();
        put.tags = TagsUpdate::Replace(Tags::new(tags).unwrap());
        if number.is_multiple_of(2) {
            put.expiry = ExpiryUpdate::AtMs(NOW_MS + number * DAY_MS);
        }
        if number.is_multiple_of(7) {
            put.content_type = Some("text/plain".into());
            put.attrs = Attrs::new([("lang", "de"), ("owner", "alice")]).unwrap();
        }
        making.act("tagged", &format!("k{number:02}"), Action::Put(put));
        making.act("counters", "all", Action::Merge(Merge::new(Arc::new(Add), b"1".as_slice())));
    }
    making.act("tagged", "k05", Action::Expire(ExpiryUpdate::AtMs(NOW_MS + 365 * DAY_MS)));
    making.act("gone", "k", Action::Put(Put::new(b"v".as_slice())));
    making.engine.drop_namespace("gone").unwrap();
    making.clock.set_ms(NOW_MS + 3 * DAY_MS);
    making.engine.purge_expired().unwrap();
    making.engine.maintain().unwrap();
}

fn blobs(making: &Making) {
    making.act("files", "large", Action::Put(Put::new(bytes(1, 3000))));
    making.act("files", "replaced", Action::Put(Put::new(bytes(2, 1000))));
    making.act("files", "replaced", Action::Put(Put::new(bytes(3, 1200))));
    making.act("files", "large", Action::Expire(ExpiryUpdate::AtMs(NOW_MS + DAY_MS)));
    making.act("files", "small", Action::Put(Put::new(b"in the log".as_slice())));
}

fn last_access(making: &Making) {
    making.some(0..20);
    for number in (0..20).step_by(3) {
        making.clock.advance_ms(60_000);
        making.engine.get("app/users", format!("user:{number:03}").as_bytes()).unwrap().unwrap();
    }
}

/// What a crash may leave: the last frame is not whole.
fn cut(files: &mut Files, frames_end: usize) {
    let (_, last) =
        files.iter_mut().rfind(|(name, bytes)| name.ends_with(".seg") && bytes.len() >= frames_end).unwrap();
    last.truncate(frames_end - 5);
}

fn open(fixture: &Fixture, fs: Arc<dyn Fs>, dir: &Path, clock: &Arc<ManualClock>) -> Result<Engine> {
    let mut options = Options::default();
    options.background = false;
    options.memtable_size = 4 << 10;
    options.clock = Arc::clone(clock) as Arc<dyn Clock>;
    options.entropy = Arc::new(SeededEntropy::new(1));
    (fixture.options)(&mut options);
    Engine::open(fs, dir, options)
}

fn is_told(name: &str) -> bool {
    !["LOCK", "BALLAST"].contains(&name)
}

/// The files of the store, as today's code writes them, and the time at which it ended.
fn made(fixture: &Fixture) -> (Files, u64) {
    let (fs, dir): (Arc<dyn Fs>, _) = (Arc::new(MemFs::default()), Path::new("store"));
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let making = Making { engine: open(fixture, Arc::clone(&fs), dir, &clock).unwrap(), clock };
    (fixture.fill)(&making);
    let last = making.engine.segments().unwrap().into_iter().rfind(|segment| segment.records > 0).unwrap();
    if fixture.is_closed {
        making.engine.close().unwrap();
    }
    let mut files = Files::new();
    for entry in fs.list(dir).unwrap().into_iter().filter(|entry| is_told(&entry.name)) {
        let file = fs.open_read(&dir.join(&entry.name)).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        files.insert(entry.name, bytes);
    }
    if let Some(spoil) = fixture.spoil {
        spoil(&mut files, usize::try_from(last.bytes).unwrap());
    }
    (files, making.clock.now_ms())
}

/// What a reader finds, as text.
fn told(fixture: &Fixture, files: &Files, now_ms: u64) -> String {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.path().join(name), bytes).unwrap();
    }
    let engine = match open(fixture, Arc::new(RealFs), dir.path(), &Arc::new(ManualClock::new(now_ms))) {
        Ok(engine) => engine,
        Err(error) => {
            assert_eq!(files_in(dir.path()), *files, "what is refused is left as it is");
            return format!("time {now_ms}\nrefused: {:?}\n", error.kind());
        }
    };
    engine.verify().unwrap();
    let recovery = engine.recovery();
    let mut text = format!("time {now_ms}\nclean {}, cut {} bytes\n", recovery.clean, recovery.cut_bytes);
    for namespace in engine.namespaces().unwrap() {
        writeln!(text, "namespace {} of {} keys", namespace.name, namespace.keys).unwrap();
        for entry in engine.scan(&namespace.name, (Bound::Unbounded, Bound::Unbounded)).unwrap() {
            tell_entry(&mut text, &entry.unwrap());
        }
        for (tag, count) in engine.tags(&namespace.name, "").unwrap() {
            writeln!(text, "tag {tag}: {count}").unwrap();
        }
    }
    engine.close().unwrap();
    text
}

fn tell_entry(text: &mut String, entry: &Entry) {
    let metadata = &entry.metadata;
    let head = entry.value.get(..8.min(entry.value.len())).unwrap().escape_ascii();
    let sum = entry.value.iter().fold(0_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(*byte)));
    write!(text, "{} = {} bytes \"{head}\" {sum:016x}, ", entry.key.escape_ascii(), metadata.size).unwrap();
    write!(
        text,
        "version {}, created {}, updated {}",
        metadata.version, metadata.created_ms, metadata.updated_ms
    )
    .unwrap();
    metadata.expires_ms.iter().for_each(|ms| write!(text, ", expires {ms}").unwrap());
    metadata.accessed_ms.iter().for_each(|ms| write!(text, ", accessed {ms}").unwrap());
    metadata.content_type.iter().for_each(|of| write!(text, ", {of}").unwrap());
    metadata.attrs.iter().for_each(|(name, value)| write!(text, ", {name}: {value}").unwrap());
    metadata.tags.iter().for_each(|tag| write!(text, ", #{tag}").unwrap());
    text.push('\n');
}

fn files_in(dir: &Path) -> Files {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    let named = entries.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    named.filter(|(name, _)| is_told(name)).map(|(name, path)| (name, std::fs::read(path).unwrap())).collect()
}

fn stored_at(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(VERSION).join(name)
}

/// Writes a store and what it says, in the place of what was there.
fn write(fixture: &Fixture, files: &Files, text: &str) {
    let dir = stored_at(fixture.name);
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in files {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    std::fs::write(dir.with_extension("txt"), text).unwrap();
}

/// Where two files differ first, and which files only one of them has.
fn difference(stored: &Files, made: &Files) -> Option<String> {
    if !stored.keys().eq(made.keys()) {
        return Some(format!("the files are {:?} and now {:?}", stored.keys(), made.keys()));
    }
    stored.iter().zip(made.values()).find_map(|((name, stored), made)| {
        let at = stored.iter().zip(made).position(|(a, b)| a != b);
        let at = at.or_else(|| (stored.len() != made.len()).then_some(stored.len().min(made.len())));
        at.map(|at| format!("{name} differs from byte {at} on"))
    })
}

#[test]
fn fixtures_are_what_todays_code_writes_and_say_what_they_did() {
    let mut bytes = 0;
    let writes = std::env::var_os("NADB_FIXTURES_WRITE").is_some();
    for fixture in &FIXTURES {
        let (files, now_ms) = made(fixture);
        assert_eq!(difference(&files, &made(fixture).0), None, "{} is not made alike twice", fixture.name);
        if writes {
            write(fixture, &files, &told(fixture, &files, now_ms));
        }
        let stored = files_in(&stored_at(fixture.name));
        // Where hashes are cut for a test, footers have others.
        if let Some(difference) = difference(&stored, &files).filter(|_| guard::on("hash.whole")) {
            panic!(
                "{}: {difference}. The format has changed; say so in docs/format.md, then write the fixtures anew with \
                 `cargo xtask fixtures`",
                fixture.name
            );
        }
        bytes += stored.values().map(Vec::len).sum::<usize>();
        let text = std::fs::read_to_string(stored_at(fixture.name).with_extension("txt")).unwrap();
        let files = if !guard::on("hash.whole") { files } else { stored };
        assert_eq!(told(fixture, &files, now_ms), text, "{}", fixture.name);
    }
    assert!(bytes < 100_000, "{bytes} bytes are too many for what is checked in");
}
