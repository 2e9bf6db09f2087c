//! What a close does for the next opening.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{Action, Operation, Put};
use nadb_engine::{Engine, Options};
use nadb_vfs::MemFs;

#[test]
fn a_close_seals_what_the_next_opening_would_replay_for_long() {
    let fs = MemFs::default();
    let open = || {
        let mut options = Options::default();
        (options.background, options.seal_rows) = (false, 100);
        Engine::open(Arc::new(fs.clone()), Path::new("store"), options).unwrap()
    };
    let session = |keys: Range<u32>| {
        let engine = open();
        for n in keys.clone() {
            let put = Put::new(n.to_string().into_bytes());
            let operation = Operation::new("n", n.to_be_bytes().to_vec(), Action::Put(put));
            engine.write(&[operation], None).unwrap();
        }
        let (frames, segments) = (engine.recovery().frames, engine.segments().unwrap().len());
        engine.close().unwrap();
        (frames, segments)
    };
    // Few stay, and the next session goes on in the same segment.
    assert_eq!(session(0..50).1, 1);
    let (frames, segments) = session(50..99);
    assert!(frames > 50 && segments == 1, "{frames}, {segments}");
    let (frames, segments) = session(99..150);
    assert!(frames > 99 && segments == 1, "{frames}, {segments}");
    // Many do not: only what marks beginning and end is replayed, and what comes goes to a segment of its own.
    assert!(session(150..160).0 < 3);
    let engine = open();
    let frames = engine.recovery().frames;
    assert!((10..20).contains(&frames), "{frames}");
    assert_eq!(engine.segments().unwrap().len(), 2);
    for n in 0..160_u32 {
        let value = engine.get("n", &n.to_be_bytes()).unwrap();
        assert_eq!(value.as_deref(), Some(n.to_string().as_bytes()));
    }
    engine.verify().unwrap();
}
