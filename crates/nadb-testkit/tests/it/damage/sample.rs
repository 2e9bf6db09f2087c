//! A small store, every byte of it known: which frame it belongs to, and what the store holds after each frame.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{
    Action, Attrs, Durability, Entry, ExpiryUpdate, ManualClock, NamespaceId, Operation, Put, SeededEntropy,
    Seq, Tags, TagsUpdate,
};
use nadb_engine::{Engine, Options};
use nadb_log::{Frame, FrameKind, Manifest, NamedSegment, RecordKind, SEGMENT_HEADER, parse_segment};
use nadb_testkit::dice::Dice;
use nadb_vfs::{Fs, MemFs};

pub(crate) const DIR: &str = "/store";
pub(crate) const NOW_MS: u64 = 1_700_000_000_000;

/// Everything that a store answers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct State {
    pub(crate) namespaces: Vec<(String, u64)>,
    pub(crate) entries: BTreeMap<(String, Vec<u8>), Entry>,
}

/// The files of a store by name, without the lock.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A frame of a segment.
#[derive(Debug, Clone)]
pub(crate) struct FrameAt {
    pub(crate) file: String,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) kind: FrameKind,
    pub(crate) last_seq: Seq,
    pub(crate) follows: Option<Seq>,
    pub(crate) durable_upto: Seq,
}

/// A sealed segment.
#[derive(Debug, Clone)]
pub(crate) struct SealedAt {
    pub(crate) file: String,
    /// Where the frames end and the footer begins.
    pub(crate) frames_end: usize,
    pub(crate) file_len: usize,
    pub(crate) last_seq: Seq,
}

/// A record.
#[derive(Debug, Clone)]
pub(crate) struct RecordAt {
    pub(crate) file: String,
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) seq: u64,
    pub(crate) kind: RecordKind,
    pub(crate) namespace: NamespaceId,
    pub(crate) key: Vec<u8>,
}

impl RecordAt {
    pub(crate) fn is_of_key(&self) -> bool {
        matches!(self.kind, RecordKind::Value | RecordKind::Tombstone)
    }
}

/// A store that was closed in order, or whose process died.
pub(crate) struct Sample {
    pub(crate) files: Files,
    pub(crate) manifest: Manifest,
    pub(crate) frames: Vec<FrameAt>,
    pub(crate) sealed: Vec<SealedAt>,
    pub(crate) records: Vec<RecordAt>,
    /// The number after each step, and what the store held then.
    pub(crate) states: Vec<(u64, State)>,
    /// Manifests that were in force earlier.
    pub(crate) old_manifests: Vec<Vec<u8>>,
    /// Every key that there ever was.
    pub(crate) keys: Vec<(String, Vec<u8>)>,
}

/// What the log still says when some of its frames are gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// The last number of the frames that follow one another from the first on.
    pub(crate) last_seq: u64,
    /// The highest number that some frame, or the manifest, says was durable.
    pub(crate) durable_upto: u64,
}

impl Verdict {
    /// Whether what is gone had been promised to stay.
    pub(crate) fn is_corruption(self) -> bool {
        self.last_seq < self.durable_upto
    }
}

impl Sample {
    pub(crate) fn closed() -> Sample {
        Sample::write(true, 0)
    }

    pub(crate) fn killed() -> Sample {
        Sample::write(false, 0)
    }

    /// A store of the same content with other random numbers in it.
    pub(crate) fn foreign() -> Sample {
        Sample::write(true, 1000)
    }

    fn write(is_closed: bool, entropy: u64) -> Sample {
        let fs = MemFs::default();
        let mut writer =
            Writer { engine: open(&fs, entropy + 1).unwrap(), states: vec![], old_manifests: vec![], fs };
        writer.note();
        writer.steps(0..30);
        writer.engine.flush().unwrap();
        // An end mark in the middle, and then a second life in the same segment.
        writer.engine.close().unwrap();
        writer.engine = open(&writer.fs, entropy + 2).unwrap();
        writer.note();
        writer.steps(30..52);
        writer.engine.flush().unwrap();
        writer.steps(52..75);
        if is_closed {
            writer.engine.close().unwrap();
        }
        let files = files(&writer.fs);
        let manifest = Manifest::decode(&files["MANIFEST"]).unwrap();
        let sealed = sealed(&manifest);
        let (frames, records) = frames(&files, &manifest, &sealed);
        let mut old_manifests = writer.old_manifests;
        old_manifests.dedup();
        let keys = writer.states.iter().flat_map(|(_, state)| state.entries.keys().cloned());
        let keys = keys.collect::<std::collections::BTreeSet<_>>().into_iter().collect();
        Sample { files, manifest, frames, sealed, records, states: writer.states, old_manifests, keys }
    }

    pub(crate) fn segments(&self) -> Vec<String> {
        self.files.keys().filter(|name| parse_segment(name).is_some()).cloned().collect()
    }

    /// Segments that hold frames.
    pub(crate) fn written_segments(&self) -> Vec<String> {
        let mut names: Vec<String> = self.frames.iter().map(|frame| frame.file.clone()).collect();
        names.dedup();
        names
    }

    pub(crate) fn sealed(&self, file: &str) -> Option<&SealedAt> {
        self.sealed.iter().find(|sealed| sealed.file == file)
    }

    /// The record that has a byte of its own there.
    pub(crate) fn record(&self, file: &str, offset: usize) -> Option<&RecordAt> {
        self.records.iter().find(|record| record.file == file && (record.from..record.to).contains(&offset))
    }

    /// Whether opening reads a record of a sealed segment: to replay a record that displaces it, it compares keys.
    pub(crate) fn is_displaced_by_replay(&self, hit: &RecordAt) -> bool {
        let mut later = self.records.iter().filter(|record| {
            record.is_of_key()
                && record.seq > hit.seq
                && (record.namespace, &record.key) == (hit.namespace, &hit.key)
        });
        hit.kind == RecordKind::Value && later.next().is_some_and(|next| self.sealed(&next.file).is_none())
    }

    /// What the store holds when its log ends at `last_seq`.
    pub(crate) fn state_at(&self, last_seq: u64) -> &State {
        &self.states.iter().rfind(|(seq, _)| *seq <= last_seq).unwrap().1
    }

    pub(crate) fn newest(&self) -> u64 {
        self.states.last().unwrap().0
    }

    /// What recovery has to find when only the frames for which `is_whole` holds are left; those of sealed segments are not
    /// read.
    pub(crate) fn verdict(&self, is_whole: impl Fn(&FrameAt) -> bool) -> Verdict {
        let whole = |frame: &&FrameAt| is_whole(frame);
        let open = || self.frames.iter().filter(|frame| self.sealed(&frame.file).is_none());
        let durable_upto = open().filter(whole).map(|frame| frame.durable_upto).max();
        let durable_upto = durable_upto.unwrap_or_default().max(self.manifest.durable_upto);
        let mut last_seq = self.sealed.iter().map(|sealed| sealed.last_seq).max().unwrap_or(Seq(0));
        for name in self.written_segments() {
            let mut frames = open().filter(|frame| frame.file == name);
            let Some(opening) = frames.next().filter(whole) else { continue };
            if opening.follows != Some(last_seq) {
                break;
            }
            last_seq =
                frames.take_while(whole).map(|frame| frame.last_seq).max().unwrap_or(last_seq).max(last_seq);
        }
        Verdict { last_seq: last_seq.0, durable_upto: durable_upto.0 }
    }
}

struct Writer {
    fs: MemFs,
    engine: Engine,
    states: Vec<(u64, State)>,
    old_manifests: Vec<Vec<u8>>,
}

impl Writer {
    fn steps(&mut self, range: std::ops::Range<u64>) {
        for index in range {
            step(&self.engine, index);
            self.note();
            // The last segments stay as they are, full and not sealed.
            if index % 9 == 4 && index < 55 {
                self.engine.maintain().unwrap();
            }
            if index == 40 || index == 4 {
                // Idle for the second time: an end mark.
                self.engine.maintain().unwrap();
            }
        }
    }

    fn note(&mut self) {
        self.states.push((self.engine.stats().unwrap().published_seq, state(&self.engine)));
        self.old_manifests.push(files(&self.fs)["MANIFEST"].clone());
    }
}

fn step(engine: &Engine, index: u64) {
    let mut dice = Dice::new(index);
    let key = |n: u64| format!("key{n}").into_bytes();
    let write = |batch: &[Operation<'_>]| drop(engine.write(batch, Some(Durability::Flushed)).unwrap());
    let noise = |dice: &mut Dice, len: u64| -> Vec<u8> {
        (0..len).map(|_| u8::try_from(dice.below(256)).unwrap()).collect()
    };
    let plain = |namespace: &'static str, n: u64, value: Vec<u8>| {
        Operation::new(namespace, key(n), Action::Put(Put::new(value)))
    };
    match index {
        20 => {
            engine.drop_namespace("gone").unwrap();
        }
        _ => match index % 8 {
            0 => write(&[plain("alpha", index % 24, format!("value {index}").into_bytes())]),
            1 => {
                let mut put = Put::new(format!("tagged {index}").into_bytes());
                put.tags = TagsUpdate::Replace(Tags::new(["eins", "zwei", "drei"]).unwrap());
                put.content_type = Some("text/plain".into());
                put.attrs = Attrs::new([("owner", "alice"), ("n", "1")]).unwrap();
                write(&[Operation::new("alpha", key(index % 16), Action::Put(put))]);
            }
            2 => {
                let mut put = Put::new(noise(&mut dice, 40));
                put.expiry = ExpiryUpdate::After(Duration::from_secs(3600));
                write(&[Operation::new("beta", key(index % 5), Action::Put(put))]);
            }
            3 => write(&[plain("beta", 100 + index % 2, b"abcdefgh".repeat(80))]),
            4 => write(&[
                plain("alpha", index, noise(&mut dice, 30)),
                plain("beta", index, Vec::new()),
                Operation::new("alpha", key(index - 4), Action::Delete),
                plain("gone", index % 3, noise(&mut dice, 9)),
            ]),
            5 => write(&[Operation::new("alpha", key((index + 3) % 24), Action::Delete)]),
            6 => write(&[plain("alpha", 200 + index % 2, noise(&mut dice, 500))]),
            _ => {
                let long = [b"long/".as_slice(), &b"x".repeat(200)].concat();
                write(&[Operation::new("gone", long, Action::Put(Put::new(noise(&mut dice, 3))))]);
            }
        },
    }
}

/// Opens the store in `fs`. All that could make two openings differ is fixed but the entropy's seed.
pub(crate) fn open(fs: &MemFs, entropy: u64) -> nadb_core::Result<Engine> {
    let mut options = Options::default();
    options.memtable_size = 4 << 10;
    options.background = false;
    options.clock = Arc::new(ManualClock::new(NOW_MS));
    options.entropy = Arc::new(SeededEntropy::new(entropy));
    Engine::open(Arc::new(fs.clone()), Path::new(DIR), options)
}

pub(crate) fn all_keys() -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    (Bound::Unbounded, Bound::Unbounded)
}

pub(crate) fn state(engine: &Engine) -> State {
    let mut state = State::default();
    for namespace in engine.namespaces().unwrap() {
        for entry in engine.scan(&namespace.name, all_keys()).unwrap() {
            let entry = entry.unwrap();
            assert_eq!(engine.get_entry(&namespace.name, &entry.key).unwrap().as_ref(), Some(&entry));
            state.entries.insert((namespace.name.clone(), entry.key.clone()), entry);
        }
        state.namespaces.push((namespace.name, namespace.keys));
    }
    state
}

/// All files but the lock, and without what repairs put aside.
pub(crate) fn files(fs: &MemFs) -> Files {
    let mut files = Files::new();
    for entry in fs.list(Path::new(DIR)).unwrap() {
        if entry.name == "LOCK" || !entry.is_file {
            continue;
        }
        let file = fs.open_read(&Path::new(DIR).join(&entry.name)).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_exact_at(&mut bytes, 0).unwrap();
        files.insert(entry.name, bytes);
    }
    files
}

/// A file system that holds these files.
pub(crate) fn disk(files: &Files) -> MemFs {
    let fs = MemFs::default();
    fs.create_dir_all(Path::new(DIR)).unwrap();
    for (name, bytes) in files {
        fs.create_new(&Path::new(DIR).join(name)).unwrap().write_all_at(bytes, 0).unwrap();
    }
    fs
}

fn sealed(manifest: &Manifest) -> Vec<SealedAt> {
    let sealed = |named: &NamedSegment| {
        named.sealed.map(|extent| SealedAt {
            file: file_of(named),
            frames_end: extent.frames_end as usize,
            file_len: extent.file_len as usize,
            last_seq: extent.last_seq,
        })
    };
    manifest.segments.iter().filter_map(sealed).collect()
}

pub(crate) fn file_of(named: &NamedSegment) -> String {
    format!("{:010}.seg", named.id.0)
}

fn frames(files: &Files, manifest: &Manifest, sealed: &[SealedAt]) -> (Vec<FrameAt>, Vec<RecordAt>) {
    let (mut frames, mut records) = (Vec::new(), Vec::new());
    for named in &manifest.segments {
        let file = file_of(named);
        let sealed = sealed.iter().find(|sealed| sealed.file == file);
        let bytes = &files[&file][..sealed.map_or(files[&file].len(), |sealed| sealed.frames_end)];
        let mut from = SEGMENT_HEADER as usize;
        while from < bytes.len() {
            let frame = Frame::verify(&bytes[from..], named.uid, u32::try_from(from).unwrap()).unwrap();
            let to = from + usize::try_from(frame.header.frame_len()).unwrap();
            for (at, record) in frame.records() {
                records.push(RecordAt {
                    file: file.clone(),
                    from: at as usize,
                    to: at as usize + record.len(),
                    seq: record.seq.0,
                    kind: record.kind,
                    namespace: record.namespace,
                    key: record.key.to_vec(),
                });
            }
            frames.push(FrameAt {
                file: file.clone(),
                from,
                to,
                kind: frame.header.kind,
                last_seq: if frame.header.count > 0 { frame.header.last_seq() } else { Seq(0) },
                follows: frame.follows(),
                durable_upto: frame.header.durable_upto,
            });
            from = to;
        }
    }
    (frames, records)
}
