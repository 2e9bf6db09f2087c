//! What a footer says against what the records say.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use nadb_core::{
    Action, ErrorKind, ManualClock, Operation, Ordinal, Put, Rank, SeededEntropy, Tags, TagsUpdate,
};
use nadb_engine::{Engine, Options};
use nadb_log::{Footer, FooterBuilder, Manifest, RowMeta};
use nadb_vfs::SimFs;

const DIR: &str = "/db";
const MANIFEST: &str = "/db/MANIFEST";

fn open(fs: &SimFs) -> Engine {
    let mut options = Options::default();
    options.memtable_size = 4 << 10;
    options.background = false;
    options.clock = Arc::new(ManualClock::new(1_700_000_000_000));
    options.entropy = Arc::new(SeededEntropy::new(7));
    Engine::open(Arc::new(fs.clone()), Path::new(DIR), options).unwrap()
}

/// Gives the first sealed segment a footer that is whole, and says of every row that it has the tags of `change`.
fn forge(fs: &SimFs, change: impl Fn(Rank) -> &'static [&'static str]) {
    let mut manifest = Manifest::decode(&fs.read_file(MANIFEST).unwrap()).unwrap();
    let named = manifest.segments.iter_mut().find(|named| named.sealed.is_some()).unwrap();
    let extent = named.sealed.as_mut().unwrap();
    let path = format!("{DIR}/{:010}.seg", named.id.0);
    let file = fs.read_file(&path).unwrap();
    let (frames, footer) = file.split_at(usize::try_from(extent.frames_end).unwrap());
    let footer =
        Footer::open(Bytes::copy_from_slice(footer), named.uid, extent.frames_end, Path::new(&path)).unwrap();
    let metas: Vec<RowMeta> =
        (0..footer.len()).map(|ordinal| footer.meta(Ordinal(ordinal)).unwrap()).collect();
    let mut builder = FooterBuilder::new();
    for rank in (0..footer.len()).map(Rank) {
        let (namespace, key) = footer.key_at(rank).unwrap();
        let tags = change(rank).iter().copied();
        builder.push_key(namespace, &key, footer.ordinal_at(rank).unwrap(), tags).unwrap();
    }
    let forged = builder.finish(named.uid, extent.frames_end, &metas, &footer.system().unwrap()).unwrap();
    let bytes = [frames, &forged].concat();
    extent.file_len = u32::try_from(bytes.len()).unwrap();
    fs.write_file(&path, &bytes).unwrap();
    fs.write_file(MANIFEST, &manifest.encode()).unwrap();
}

type TagsOf = fn(Rank) -> &'static [&'static str];

#[test]
fn verification_notices_tags_that_the_records_do_not_have() {
    let fs = SimFs::new(7);
    let engine = open(&fs);
    for n in 0..60 {
        let mut put = Put::new(&[b'v'; 90]);
        put.tags = TagsUpdate::Replace(Tags::new(["user", "premium"]).unwrap());
        let put = Action::Put(put);
        engine.write(&[Operation::new("a", format!("key {n}").into_bytes(), put)], None).unwrap();
    }
    engine.maintain().unwrap();
    engine.close().unwrap();
    drop(engine);
    let cases: [(bool, TagsOf); 4] = [
        (true, |_| &["premium", "user"]),
        (false, |_| &[]),
        (false, |rank| if rank == Rank(3) { &["premium"] } else { &["premium", "user"] }),
        (false, |rank| if rank == Rank(3) { &["premium", "user", "x"] } else { &["premium", "user"] }),
    ];
    for (is_right, change) in cases {
        let fs = fs.process_kill();
        forge(&fs, change);
        let verified = open(&fs).verify();
        match verified {
            Ok(_) => assert!(is_right),
            Err(error) => assert!(!is_right && error.kind() == ErrorKind::Corruption, "{error}"),
        }
    }
}
