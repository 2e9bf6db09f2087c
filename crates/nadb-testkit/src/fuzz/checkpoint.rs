//! Checkpoints from hostile bytes, as they are and with checksums that hold, beside a small store.
//!
//! Who can sum can make a checkpoint say anything. What is promised then: the store opens, nothing panics, no key gets a value
//! that it never had, and verification finds what is wrong.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use nadb_core::{Action, ManualClock, Operation, Put, Result, SeededEntropy};
use nadb_engine::{Engine, Options};
use nadb_vfs::{Fs, MemFs};

use super::{crc32, put_file};

const DIR: &str = "db";
const NAME: &str = "CHECKPOINT";
const HEADER: usize = 64;
/// Bytes of a section's line in the directory.
const LINE: usize = 16;
const SPACES: [&str; 2] = ["a", "b/c"];
const KEYS: u8 = 6;

type Values = BTreeMap<(&'static str, Vec<u8>), Vec<u8>>;

/// A store that was closed: its files, what it holds, and all that its keys ever had.
struct Golden {
    files: Vec<(PathBuf, Vec<u8>)>,
    checkpoint: Vec<u8>,
    now: Values,
    ever: BTreeMap<(&'static str, Vec<u8>), Vec<Vec<u8>>>,
}

static GOLDEN: LazyLock<Golden> = LazyLock::new(|| golden().expect("memory fails nobody"));

/// Opens the store with a checkpoint of these bytes.
///
/// # Panics
/// When a promise of the code is broken.
pub fn checkpoint_decode(data: &[u8]) {
    let mut bytes = data.to_vec();
    // One opening a run, to be quick. As they are, few are looked at.
    if resum(&mut bytes).is_some() && !crc32(&[data]).is_multiple_of(8) {
        explore(&bytes);
    } else {
        explore(data);
    }
}

fn explore(bytes: &[u8]) {
    let golden = &*GOLDEN;
    let fs = MemFs::default();
    for (path, bytes) in &golden.files {
        put_file(&fs, path, bytes);
    }
    put_file(&fs, &Path::new(DIR).join(NAME), bytes);
    let engine = open(&fs, u64::MAX).expect("a checkpoint keeps no store from opening");
    assert!(engine.recovery().clean && engine.recovery().warnings.is_empty());
    // Without a checkpoint the store is whole.
    let is_whole = !engine.recovery().from_checkpoint || engine.verify().is_ok();
    for (space, key) in golden.ever.keys() {
        let Ok(value) = engine.get(space, key) else {
            assert!(!is_whole);
            continue;
        };
        let value = value.map(|value| value.to_vec());
        if is_whole {
            assert_eq!(value.as_ref(), golden.now.get(&(*space, key.clone())), "{space}");
        } else if let Some(value) = value {
            let had = golden.ever.get(&(*space, key.clone())).is_some_and(|values| values.contains(&value));
            assert!(had, "{space}: a value that is another key's");
        }
    }
    if is_whole {
        assert_eq!(all(&engine).ok().as_ref(), Some(&golden.now));
    }
}

/// What scans show of every namespace.
fn all(engine: &Engine) -> Result<Values> {
    let mut all = Values::new();
    for space in SPACES {
        for entry in engine.scan(space, (Bound::Unbounded, Bound::Unbounded))? {
            let entry = entry?;
            all.insert((space, entry.key), entry.value.to_vec());
        }
    }
    Ok(all)
}

fn open(fs: &MemFs, checkpoint_rows: u64) -> Result<Engine> {
    let mut options = Options::default();
    options.memtable_size = 4 << 10;
    options.background = false;
    options.checkpoint_rows = checkpoint_rows;
    options.clock = Arc::new(ManualClock::new(1_700_000_000_000));
    options.entropy = Arc::new(SeededEntropy::new(5));
    Engine::open(Arc::new(fs.clone()), Path::new(DIR), options)
}

/// Two segments, one of them sealed; keys that were overwritten and deleted, a namespace that was dropped.
fn golden() -> Result<Golden> {
    let fs = MemFs::default();
    let engine = open(&fs, 0)?;
    let (mut now, mut ever) = (Values::new(), BTreeMap::<_, Vec<_>>::new());
    let mut write = |space: &'static str, key: u8, value: Option<Vec<u8>>| -> Result<()> {
        let at = (space, vec![b'k', key]);
        let action = match value.clone() {
            Some(value) => Action::Put(Put::new(value)),
            None => Action::Delete,
        };
        engine.write(&[Operation::new(space, at.1.clone(), action)], None)?;
        ever.entry(at.clone()).or_default().extend(value.clone());
        match value {
            Some(value) => now.insert(at, value),
            None => now.remove(&at),
        };
        Ok(())
    };
    for key in 0..KEYS {
        write("a", key, Some(vec![key; 30]))?;
        write("b/c", key, Some(vec![100 + key; 30]))?;
    }
    write("a", 1, Some(vec![7; 30]))?;
    write("a", 2, None)?;
    // Fills the segment, so that what follows goes into the next one.
    write("a", 50, Some((0..3500u32).map(|n| (n * n / 5).to_le_bytes()[0]).collect()))?;
    write("a", 3, Some(vec![8; 30]))?;
    write("b/c", 4, None)?;
    write("b/c", 60, Some(vec![9; 30]))?;
    let gone = Operation::new("gone", b"k".as_slice(), Action::Put(Put::new(b"gone".as_slice())));
    engine.write(&[gone], None)?;
    engine.drop_namespace("gone")?;
    engine.maintain()?;
    engine.close()?;
    let checkpoint = super::file(&fs, &Path::new(DIR).join(NAME));
    let entries = fs.list(Path::new(DIR)).unwrap_or_default().into_iter();
    let kept = entries.filter(|entry| entry.is_file && entry.name != NAME && entry.name != "LOCK");
    let paths = kept.map(|entry| Path::new(DIR).join(entry.name));
    let files = paths.map(|path| (path.clone(), super::file(&fs, &path))).collect();
    Ok(Golden { files, checkpoint, now, ever })
}

/// Gives a checkpoint the lengths and checksums that hold, as docs/format.md has them.
fn resum(bytes: &mut [u8]) -> Option<()> {
    let count = usize::try_from(u32::from_le_bytes(*bytes.get(12..)?.first_chunk()?)).ok()?;
    let directory = bytes.len().checked_sub(count.checked_mul(LINE)?).filter(|at| *at >= HEADER)?;
    let (content, lines) = bytes.split_at_mut_checked(directory)?;
    let mut at = HEADER;
    for (number, line) in (1..).zip(lines.chunks_exact_mut(LINE)) {
        let stated = usize::try_from(u32::from_le_bytes(*line.get(8..)?.first_chunk()?)).ok()?;
        // The last one has what is left.
        let len = if number == count { content.len() - at } else { stated.min(content.len() - at) };
        let crc = crc32(&[content.get(at..at + len)?]);
        line.get_mut(8..12)?.copy_from_slice(&u32::try_from(len).ok()?.to_le_bytes());
        line.get_mut(12..)?.copy_from_slice(&crc.to_le_bytes());
        at += len;
    }
    let (file_len, directory_crc) = ((directory + lines.len()) as u64, crc32(&[lines]));
    content.get_mut(48..56)?.copy_from_slice(&file_len.to_le_bytes());
    content.get_mut(56..60)?.copy_from_slice(&directory_crc.to_le_bytes());
    let crc = crc32(&[content.get(..60)?]);
    content.get_mut(60..64)?.copy_from_slice(&crc.to_le_bytes());
    Some(())
}

/// Checkpoints to begin with: whole, and with single bytes of its parts changed.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let whole = &GOLDEN.checkpoint;
    let changed = |at: usize, by: u8| {
        let mut bytes = whole.clone();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= by;
        }
        bytes
    };
    let number = |at: usize| {
        let bytes = whole.get(at..).and_then(|bytes| bytes.first_chunk());
        bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
    };
    // The last section but one is a shard with one bucket; its last entry ends where the counts begin, whose length the last line
    // of the directory says.
    let end = whole.len() - number(12) * LINE - number(whole.len() - LINE + 8);
    vec![
        ("whole", whole.clone()),
        ("cut", whole[..whole.len() - 5].to_vec()),
        ("empty", Vec::new()),
        ("covers-less", changed(HEADER + 8 + 25, 1)),
        ("another-length", changed(end - 4, 1)),
        ("another-offset", changed(end - 8, 0x40)),
        ("another-hash", changed(end - 16, 1)),
    ]
}
