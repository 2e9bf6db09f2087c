//! The checkpoint: taken where it holds, passed over where anything about it is doubtful, and right answers in either case.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::path::Path;
use std::sync::{Arc, Mutex};

use nadb_core::{Action, Entropy, ErrorKind, ManualClock, OnOpen, OpenPhase, Operation, Put, SeededEntropy};
use nadb_engine::{Engine, Options, RepairOutcome, SegmentState, repair};
use nadb_vfs::{CallKind, CrashMode, Fault, FaultKind, SimFs};
use proptest::prelude::*;

const DIR: &str = "/db";
const CHECKPOINT: &str = "/db/CHECKPOINT";
const SPACES: [&str; 3] = ["a", "b/c", "d"];

type Model = BTreeMap<(usize, Vec<u8>), Vec<u8>>;

/// A store, and what it must hold.
#[derive(Clone)]
struct World {
    fs: SimFs,
    entropy: Arc<dyn Entropy>,
    clock: Arc<ManualClock>,
    model: Model,
    spaces: BTreeSet<usize>,
    dice: u64,
    checkpoint_rows: u64,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            fs: SimFs::new(seed),
            entropy: Arc::new(SeededEntropy::new(seed)),
            clock: Arc::new(ManualClock::new(1_700_000_000_000)),
            model: Model::new(),
            spaces: BTreeSet::new(),
            dice: seed,
            checkpoint_rows: 0,
        }
    }

    fn roll(&mut self, sides: u32) -> u32 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        u32::try_from(self.dice >> 33).unwrap() % sides
    }

    fn options(&self) -> Options {
        let mut options = Options::default();
        options.memtable_size = 4 << 10;
        options.background = false;
        options.clock = Arc::clone(&self.clock) as _;
        options.entropy = Arc::clone(&self.entropy);
        options.checkpoint_rows = self.checkpoint_rows;
        options
    }

    fn try_open(&self) -> nadb_core::Result<Engine> {
        Engine::open(Arc::new(self.fs.clone()), Path::new(DIR), self.options())
    }

    fn open(&self) -> Engine {
        self.try_open().unwrap()
    }

    /// The same store on a copy of the disk, all of which is durable.
    fn copy(&self) -> World {
        World { fs: self.fs.power_cut(CrashMode::KeepAll, 0), ..self.clone() }
    }

    /// Goes on with what the end of the process leaves.
    fn kill(&mut self, engine: Engine) {
        let left = self.fs.process_kill();
        drop(engine);
        self.fs = left;
    }

    fn put(&mut self, engine: &Engine, space: usize, key: &[u8], value: &[u8]) {
        let put = Action::Put(Put::new(value));
        engine.write(&[Operation::new(SPACES[space], key, put)], None).unwrap();
        self.model.insert((space, key.to_vec()), value.to_vec());
        self.spaces.insert(space);
    }

    fn step(&mut self, engine: &Engine) {
        let space = self.roll(3) as usize;
        let key = format!("key {}", self.roll(60)).into_bytes();
        match self.roll(40) {
            0 => {
                let was_there = engine.drop_namespace(SPACES[space]).unwrap();
                assert_eq!(was_there, self.spaces.remove(&space));
                self.model.retain(|(of, _), _| *of != space);
            }
            1 | 2 => engine.maintain().unwrap(),
            3..12 => {
                engine.write(&[Operation::new(SPACES[space], &key[..], Action::Delete)], None).unwrap();
                self.model.remove(&(space, key));
            }
            _ => {
                let len = self.roll(300) as usize;
                let value = vec![u8::try_from(self.roll(256)).unwrap(); len];
                self.put(engine, space, &key, &value);
            }
        }
    }

    fn steps(&mut self, engine: &Engine, count: u32) {
        (0..count).for_each(|_| self.step(engine));
    }

    /// Every answer is right, and the index is the one that the files give.
    fn check(&self, engine: &Engine) {
        self.check_answers(engine);
        engine.verify().unwrap();
    }

    fn check_answers(&self, engine: &Engine) {
        let namespaces: BTreeMap<_, _> =
            engine.namespaces().unwrap().into_iter().map(|info| (info.name, info.keys)).collect();
        assert_eq!(namespaces.len(), self.spaces.len());
        for &space in &self.spaces {
            let of_space = self.model.iter().filter(|((of, _), _)| *of == space);
            let expected: Vec<_> = of_space.map(|((_, key), value)| (&key[..], &value[..])).collect();
            assert_eq!(namespaces[SPACES[space]], expected.len() as u64);
            let scan = engine.scan(SPACES[space], (Bound::Unbounded, Bound::Unbounded)).unwrap();
            let found: Vec<_> = scan.map(|entry| entry.unwrap().key).collect();
            assert_eq!(found, expected.iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>());
            for (key, value) in expected {
                assert_eq!(engine.get(SPACES[space], key).unwrap().unwrap(), value);
            }
            assert_eq!(engine.get(SPACES[space], b"no such key").unwrap(), None);
        }
    }

    fn checkpoint(&self) -> Option<Vec<u8>> {
        self.fs.read_file(CHECKPOINT).ok()
    }
}

/// A value that fills a segment and does not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut dice = World::new(seed);
    (0..4050).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect()
}

/// A closed store with a checkpoint, of several segments, some of them sealed.
fn closed(seed: u64, steps: u32) -> World {
    let mut world = World::new(seed);
    let engine = world.open();
    world.steps(&engine, steps);
    engine.close().unwrap();
    assert!(world.checkpoint().is_some());
    world
}

#[test]
fn after_every_close_it_is_taken_and_after_every_kill_answers_are_right() {
    let (mut taken_after_kill, mut passed_after_kill) = (0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed);
        let mut was_closed = None;
        for _ in 0..8 {
            let engine = world.open();
            let is_taken = engine.recovery().from_checkpoint;
            match was_closed {
                Some(true) => assert!(is_taken, "seed {seed}"),
                Some(false) if is_taken => taken_after_kill += 1,
                Some(false) => passed_after_kill += 1,
                None => assert!(!is_taken),
            }
            world.check(&engine);
            let steps = 1 + world.roll(120);
            world.steps(&engine, steps);
            world.check(&engine);
            if world.roll(2) == 0 {
                world.put(&engine, 0, b"last", b"so that something is written");
                engine.close().unwrap();
                was_closed = Some(true);
            } else {
                world.kill(engine);
                was_closed = Some(false);
            }
        }
    }
    assert!(taken_after_kill > 10 && passed_after_kill > 10, "{taken_after_kill}, {passed_after_kill}");
}

#[test]
fn what_was_written_after_it_is_replayed_over_it_also_after_a_kill() {
    let mut world = closed(1, 300);
    let first = world.checkpoint();
    let engine = world.open();
    assert!(engine.recovery().from_checkpoint);
    world.put(&engine, 1, b"key 1", b"overwritten");
    engine.write(&[Operation::new(SPACES[2], b"key 2".as_slice(), Action::Delete)], None).unwrap();
    world.model.remove(&(2, b"key 2".to_vec()));
    world.put(&engine, 0, b"new", b"new");
    assert!(engine.drop_namespace(SPACES[1]).unwrap());
    world.model.retain(|(space, _), _| *space != 1);
    world.put(&engine, 1, b"again", b"in a namespace of the same name");
    world.kill(engine);
    assert_eq!(world.checkpoint(), first);
    let engine = world.open();
    assert!(engine.recovery().from_checkpoint && !engine.recovery().clean);
    world.check(&engine);
}

#[test]
fn a_segment_that_was_sealed_since_with_more_in_it_makes_it_useless() {
    let mut world = closed(2, 200);
    let engine = world.open();
    (0..60).for_each(|n| world.put(&engine, 0, format!("{n}").as_bytes(), &[7; 200]));
    engine.maintain().unwrap();
    world.kill(engine);
    let engine = world.open();
    assert!(!engine.recovery().from_checkpoint);
    assert_eq!(world.checkpoint(), None, "it can never be taken again, and takes room");
    world.check(&engine);
}

#[test]
fn a_sealed_segment_that_it_does_not_know_makes_it_useless() {
    let mut world = World::new(21);
    let engine = world.open();
    world.put(&engine, 0, b"before", b"1");
    engine.close().unwrap();
    let engine = world.open();
    // The segment of the first session has no room for this one, and gets no more.
    let large = noise(1);
    world.put(&engine, 0, b"after", &large);
    world.put(&engine, 0, b"last", &large);
    engine.maintain().unwrap();
    let sealed = engine.segments().unwrap().iter().filter(|s| s.state == SegmentState::Sealed).count();
    assert_eq!(sealed, 2);
    world.kill(engine);
    let engine = world.open();
    world.check(&engine);
    assert!(!engine.recovery().from_checkpoint);
}

#[test]
fn a_segment_that_was_sealed_since_as_it_was_does_not() {
    let mut world = World::new(3);
    let engine = world.open();
    (0..40).for_each(|n| world.put(&engine, 0, format!("{n}").as_bytes(), &[7; 200]));
    let full = |engine: &Engine, state| {
        engine.segments().unwrap().iter().filter(|segment| segment.state == state).count()
    };
    assert!(full(&engine, SegmentState::Full) > 0);
    engine.close().unwrap();
    let engine = world.open();
    let sealed_before = full(&engine, SegmentState::Sealed);
    engine.maintain().unwrap();
    assert!(full(&engine, SegmentState::Sealed) > sealed_before);
    world.kill(engine);
    let engine = world.open();
    assert!(engine.recovery().from_checkpoint);
    world.check(&engine);
}

#[test]
fn a_flipped_byte_outside_of_shards_or_a_cut_anywhere_means_that_there_is_none() {
    let world = closed(4, 60);
    let len = world.checkpoint().unwrap().len() as u64;
    let shards = Parts::of(&world.checkpoint().unwrap()).shards();
    let expect = |is_taken: bool, damage: &dyn Fn(&World), what: &str| {
        let copy = world.copy();
        damage(&copy);
        let engine = copy.open();
        assert_eq!(engine.recovery().from_checkpoint, is_taken, "{what}");
        assert!(engine.recovery().clean && engine.recovery().warnings.is_empty());
        copy.check(&engine);
    };
    for at in 0..len {
        let is_taken = shards.iter().any(|shard| shard.contains(&at));
        let flip = |copy: &World| copy.fs.flip_byte(CHECKPOINT, at, 1 << (at % 8)).unwrap();
        expect(is_taken, &flip, &format!("byte {at}"));
        expect(false, &|copy| copy.fs.truncate_file(CHECKPOINT, at).unwrap(), &format!("cut to {at}"));
    }
    expect(false, &|copy| copy.fs.truncate_file(CHECKPOINT, len + 1).unwrap(), "longer");
    expect(true, &|_| (), "and undamaged it is taken");
}

/// A shard that cannot be read when it is first asked for is made of rows, whatever has become of other shards meanwhile.
#[test]
fn damaged_shards_are_made_of_the_live_rows() {
    for seed in 0..12 {
        let mut world = closed(40 + seed, 250);
        for (number, shard) in Parts::of(&world.checkpoint().unwrap()).shards().into_iter().enumerate() {
            // Some are left whole.
            if number % 3 != 0 {
                world.fs.flip_byte(CHECKPOINT, shard.end - 1, 1).unwrap();
            }
        }
        let engine = world.open();
        assert!(engine.recovery().from_checkpoint);
        world.steps(&engine, 60);
        world.check(&engine);
        world.kill(engine);
        let engine = world.open();
        world.steps(&engine, 30);
        world.check(&engine);
        world.put(&engine, 0, b"last", b"value");
        engine.close().unwrap();
        let engine = world.open();
        assert!(engine.recovery().from_checkpoint);
        world.check(&engine);
    }
}

/// No footer is looked at while a store with a checkpoint is opened; one that turns out damaged is built again, and told of.
#[test]
fn a_damaged_footer_is_found_when_a_row_is_first_asked_for() {
    let world = closed(60, 300);
    let engine = world.open();
    let sealed = engine.segments().unwrap().into_iter().filter(|s| s.state == SegmentState::Sealed);
    let sealed: Vec<_> = sealed.collect();
    drop(engine);
    assert!(sealed.len() > 2);
    for segment in &sealed {
        world.fs.flip_byte(&segment.path, segment.bytes + 5, 1).unwrap();
    }
    let copy = world.copy();
    let engine = copy.open();
    assert!(engine.recovery().from_checkpoint && engine.recovery().warnings.is_empty());
    assert_eq!(engine.stats().unwrap().rebuilt_footers, 0);
    copy.check_answers(&engine);
    assert_eq!(engine.stats().unwrap().rebuilt_footers, sealed.len() as u64);
    assert_eq!(engine.verify().unwrap_err().kind(), ErrorKind::Corruption, "it reads the file");
    // Its shards are damaged, too: they are made of records.
    let world = world.copy();
    for shard in Parts::of(&world.checkpoint().unwrap()).shards() {
        world.fs.flip_byte(CHECKPOINT, shard.start, 1).unwrap();
    }
    let engine = world.open();
    assert!(engine.recovery().from_checkpoint);
    world.check_answers(&engine);
}

/// Neither rows nor shard can be had: an error that names the file, and never a key that is silently missing.
#[test]
fn a_shard_that_can_neither_be_read_nor_made_is_an_error() {
    let world = closed(61, 300);
    let engine = world.open();
    let sealed = engine.segments().unwrap().into_iter().find(|s| s.state == SegmentState::Sealed).unwrap();
    drop(engine);
    world.fs.flip_byte(&sealed.path, sealed.bytes + 5, 1).unwrap();
    world.fs.flip_byte(&sealed.path, sealed.bytes - 5, 1).unwrap();
    for shard in Parts::of(&world.checkpoint().unwrap()).shards() {
        world.fs.flip_byte(CHECKPOINT, shard.start, 1).unwrap();
    }
    let engine = world.open();
    assert!(engine.recovery().from_checkpoint);
    for (space, key) in world.model.keys() {
        let error = engine.get(SPACES[*space], key).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corruption);
        assert_eq!(error.path().unwrap(), sealed.path);
    }
    assert_eq!(engine.verify().unwrap_err().kind(), ErrorKind::Corruption);
}

#[test]
fn a_crash_at_any_call_of_a_close_leaves_a_store_with_all_that_was_flushed() {
    let before = closed(5, 150);
    for n in 1.. {
        // The same session again, up to the n-th call of its close.
        let mut world = World { entropy: Arc::new(SeededEntropy::new(99)), ..before.copy() };
        let engine = world.open();
        world.steps(&engine, 40);
        engine.flush().unwrap();
        world.fs.crash_at_mutation(n);
        let closed = engine.close();
        let has_crashed = world.fs.crashed();
        for mode in [CrashMode::KeepAll, CrashMode::DropAll, CrashMode::Torn, CrashMode::Reordered] {
            let left = World { fs: world.fs.power_cut(mode, n), ..world.clone() };
            let engine = left.open();
            left.check(&engine);
            engine.close().unwrap();
            let engine = left.open();
            assert!(engine.recovery().from_checkpoint);
            left.check(&engine);
        }
        if !has_crashed {
            closed.unwrap();
            assert!(n > 5, "a close takes more than {n} calls");
            return;
        }
    }
}

#[test]
fn a_close_that_cannot_write_it_is_a_close_all_the_same() {
    for kind in [FaultKind::Eio, FaultKind::NoSpace, FaultKind::ReadOnly] {
        for n in 1..12 {
            let mut world = closed(6, 100).copy();
            let engine = world.open();
            world.steps(&engine, 10);
            world.put(&engine, 0, b"last", b"value");
            world.fs.inject(Fault::any(n, kind).on("CHECKPOINT"));
            engine.close().unwrap();
            let is_used_up = world.fs.clear_faults() == 0;
            let engine = world.open();
            assert!(engine.recovery().clean);
            world.check(&engine);
            if !is_used_up {
                assert!(n > 3);
                break;
            }
        }
    }
}

#[test]
fn an_error_while_it_is_read_means_that_there_is_none_or_a_shard_is_made() {
    let world = closed(7, 100);
    let (mut passed, mut made) = (0, 0);
    for n in 1.. {
        let copy = world.copy();
        copy.fs.inject(Fault::at(CallKind::Read, n, FaultKind::Eio).on("CHECKPOINT"));
        let engine = copy.open();
        let is_taken = engine.recovery().from_checkpoint;
        copy.check(&engine);
        if copy.fs.clear_faults() > 0 {
            assert!(is_taken && passed > 3 && made > 3, "{passed} passed over, {made} with a shard made");
            return;
        }
        if is_taken { made += 1 } else { passed += 1 }
    }
}

#[test]
fn an_older_one_and_one_of_another_store_are_passed_over() {
    let mut world = closed(8, 100);
    let old = world.checkpoint().unwrap();
    let engine = world.open();
    world.steps(&engine, 300);
    engine.close().unwrap();
    let other = closed(9, 100).checkpoint().unwrap();
    for wrong in [old, other] {
        let copy = world.copy();
        copy.fs.write_file(CHECKPOINT, &wrong).unwrap();
        let engine = copy.open();
        assert!(!engine.recovery().from_checkpoint);
        copy.check(&engine);
    }
}

#[test]
fn one_that_covers_more_than_the_files_have_is_passed_over() {
    // A copy of the store from before, with the checkpoint from after.
    let mut world = World::new(10);
    let engine = world.open();
    world.put(&engine, 0, b"1", b"before");
    engine.close().unwrap();
    let before = world.copy();
    world.fs = world.fs.power_cut(CrashMode::KeepAll, 0);
    let engine = world.open();
    world.put(&engine, 0, b"2", b"after");
    engine.close().unwrap();
    before.fs.write_file(CHECKPOINT, &world.checkpoint().unwrap()).unwrap();
    let engine = before.open();
    assert!(!engine.recovery().from_checkpoint && engine.recovery().clean);
    before.check(&engine);
}

/// Two copies of a store write the same amount into segments of the same number.
#[test]
fn one_of_a_copy_that_went_its_own_way_is_passed_over() {
    let mut origin = World::new(20);
    let engine = origin.open();
    origin.put(&engine, 0, b"first", b"value");
    engine.close().unwrap();
    let went_on = |key: &[u8], seed| {
        let mut world = World { entropy: Arc::new(SeededEntropy::new(seed)), ..origin.copy() };
        let engine = world.open();
        // The segment that they share has no room for these, and gets no more.
        world.put(&engine, 0, key, &noise(1));
        world.put(&engine, 0, key, &noise(2));
        engine.close().unwrap();
        world
    };
    let (one, other) = (went_on(b"one", 50), went_on(b"two", 51));
    other.fs.write_file(CHECKPOINT, &one.checkpoint().unwrap()).unwrap();
    let engine = other.open();
    other.check(&engine);
    assert!(!engine.recovery().from_checkpoint);
}

#[test]
fn a_repair_leaves_none_and_one_that_is_put_back_is_passed_over() {
    let world = closed(11, 300);
    let checkpoint = world.checkpoint().unwrap();
    for outcome in [RepairOutcome::ManifestRebuilt, RepairOutcome::Rewritten] {
        let copy = world.copy();
        match outcome {
            RepairOutcome::ManifestRebuilt => copy.fs.truncate_file("/db/MANIFEST", 0).unwrap(),
            _ => copy.fs.flip_byte("/db/0000000001.seg", 300, 1).unwrap(),
        }
        let report = repair(&copy.fs, Path::new(DIR), false, &copy.options()).unwrap();
        assert_eq!(report.outcome, outcome);
        assert_eq!(copy.checkpoint(), None);
        copy.fs.write_file(CHECKPOINT, &checkpoint).unwrap();
        let engine = copy.open();
        assert!(!engine.recovery().from_checkpoint);
        engine.verify().unwrap();
        if outcome == RepairOutcome::ManifestRebuilt {
            copy.check(&engine);
        }
    }
}

#[test]
fn it_is_written_only_where_opening_would_take_long_without_it() {
    let mut world = World { checkpoint_rows: 10, ..World::new(12) };
    let session = |world: &mut World, writes: usize| {
        let engine = world.open();
        (0..writes).for_each(|n| world.put(&engine, 0, format!("{n}").as_bytes(), b"v"));
        engine.close().unwrap();
        world.checkpoint()
    };
    assert_eq!(session(&mut world, 4), None);
    // Another four, and the record of the namespace: nine in all.
    assert_eq!(session(&mut world, 4), None);
    let first = session(&mut world, 1);
    assert!(first.is_some());
    assert_eq!(session(&mut world, 0), first);
    assert_eq!(session(&mut world, 9), first);
    assert_ne!(session(&mut world, 1), first, "now ten would be replayed over it");
}

#[test]
fn a_leftover_is_removed_and_a_directory_with_nothing_else_is_refused() {
    let world = closed(13, 30);
    world.fs.write_file("/db/CHECKPOINT.tmp", b"half").unwrap();
    let engine = world.open();
    assert!(engine.recovery().from_checkpoint);
    assert!(world.fs.read_file("/db/CHECKPOINT.tmp").is_err());
    for name in ["/db/CHECKPOINT", "/db/CHECKPOINT.tmp"] {
        let orphan = World::new(14);
        orphan.fs.write_file(name, &world.checkpoint().unwrap()).unwrap();
        assert_eq!(orphan.try_open().unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(orphan.fs.read_file("/db/MANIFEST").is_err());
    }
}

#[test]
fn the_phases_of_opening_are_told() {
    let world = closed(15, 300);
    let phases = |is_with: bool| {
        let copy = world.copy();
        if !is_with {
            copy.fs.truncate_file(CHECKPOINT, 0).unwrap();
        }
        let told: Arc<Mutex<Vec<_>>> = Arc::default();
        let (mut options, to) = (copy.options(), Arc::clone(&told));
        options.on_open = Some(OnOpen::new(move |progress| {
            assert!(progress.done <= progress.total);
            to.lock().unwrap().push((progress.phase, progress.done == progress.total));
        }));
        drop(Engine::open(Arc::new(copy.fs.clone()), Path::new(DIR), options).unwrap());
        let told = told.lock().unwrap();
        [OpenPhase::Footers, OpenPhase::Checkpoint, OpenPhase::Merging, OpenPhase::Replaying]
            .map(|phase| told.contains(&(phase, true)))
    };
    assert_eq!(phases(true), [false, true, false, true]);
    assert_eq!(phases(false), [true, false, true, true]);
}

/// A checkpoint taken apart, so that its content can be changed and summed again.
struct Parts {
    header: Vec<u8>,
    sections: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Parts {
    fn of(bytes: &[u8]) -> Parts {
        let count = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let mut at = 64;
        let sections = bytes[bytes.len() - count * 16..].chunks(16).map(|line| {
            let len = u32::from_le_bytes(line[8..12].try_into().unwrap()) as usize;
            at += len;
            (line[..8].to_vec(), bytes[at - len..at].to_vec())
        });
        Parts { header: bytes[..48].to_vec(), sections: sections.collect() }
    }

    /// Where the shards stand.
    fn shards(&self) -> Vec<std::ops::Range<u64>> {
        const SHARD: u32 = 4;
        let mut at = 64;
        let mut shards = Vec::new();
        for (name, section) in &self.sections {
            let end = at + section.len() as u64;
            if name[..4] == SHARD.to_le_bytes() {
                shards.push(at..end);
            }
            at = end;
        }
        shards
    }

    /// The last shard; behind it stand only the counts.
    fn last_shard(&mut self) -> &mut Vec<u8> {
        let at = self.sections.len() - 2;
        &mut self.sections[at].1
    }

    fn summed(&self) -> Vec<u8> {
        let sum = |bytes: &[u8]| crc32fast::hash(bytes).to_le_bytes();
        let (mut content, mut directory) = (Vec::new(), Vec::new());
        for (name, section) in &self.sections {
            content.extend_from_slice(section);
            directory.extend_from_slice(name);
            directory.extend_from_slice(&u32::try_from(section.len()).unwrap().to_le_bytes());
            directory.extend_from_slice(&sum(section));
        }
        let mut header = self.header.clone();
        header[12..16].copy_from_slice(&u32::try_from(self.sections.len()).unwrap().to_le_bytes());
        header.extend_from_slice(&((64 + content.len() + directory.len()) as u64).to_le_bytes());
        header.extend_from_slice(&sum(&directory));
        header.extend_from_slice(&sum(&header));
        [header, content, directory].concat()
    }
}

#[test]
fn taken_apart_and_summed_again_it_is_the_same() {
    let bytes = closed(16, 100).checkpoint().unwrap();
    assert_eq!(Parts::of(&bytes).summed(), bytes);
}

/// It is taken, and then the log turns out to end below it.
#[test]
fn one_that_is_refused_half_way_leaves_nothing_behind() {
    let mut world = World::new(17);
    let engine = world.open();
    (0..10).for_each(|n| world.put(&engine, 0, format!("{n}").as_bytes(), b"before"));
    engine.close().unwrap();
    // All of it is in one segment: the checkpoint fits the manifest from before, too.
    let before = world.copy();
    world.fs = world.fs.power_cut(CrashMode::KeepAll, 0);
    let engine = world.open();
    (0..20).for_each(|n| world.put(&engine, 0, format!("{n}").as_bytes(), b"after"));
    engine.close().unwrap();
    before.fs.write_file(CHECKPOINT, &world.checkpoint().unwrap()).unwrap();
    let engine = before.open();
    assert!(!engine.recovery().from_checkpoint);
    before.check(&engine);
}

#[test]
fn counts_that_do_not_agree_mean_that_there_is_none() {
    const NAMESPACES: u32 = 2;
    let world = closed(18, 100);
    let mut parts = Parts::of(&world.checkpoint().unwrap());
    let is_it = |(name, _): &&mut (Vec<u8>, Vec<u8>)| name[..4] == NAMESPACES.to_le_bytes();
    let (_, table) = parts.sections.iter_mut().find(is_it).unwrap();
    // Time and next id, then id and creation of the first namespace, then its keys.
    table[24] += 1;
    world.fs.write_file(CHECKPOINT, &parts.summed()).unwrap();
    let engine = world.open();
    assert!(!engine.recovery().from_checkpoint);
    world.check(&engine);
}

/// Trap 13: somebody who can sum makes the index name a record that was overwritten. Verification rebuilds the index from the
/// files, and the two differ.
#[test]
fn verification_notices_an_index_that_the_files_do_not_give() {
    let mut world = World::new(19);
    let engine = world.open();
    world.put(&engine, 0, b"key", b"old");
    world.put(&engine, 0, b"key", b"new");
    engine.close().unwrap();
    let whole = world.checkpoint().unwrap();
    let offset_of =
        |section: &[u8]| u32::from_le_bytes(section[section.len() - 8..][..4].try_into().unwrap());
    let newest = offset_of(Parts::of(&whole).last_shard());
    let mut wrong = 0;
    for offset in 64..newest {
        let mut parts = Parts::of(&whole);
        let shard = parts.last_shard();
        let at = shard.len() - 8;
        shard[at..at + 4].copy_from_slice(&offset.to_le_bytes());
        let copy = world.copy();
        copy.fs.write_file(CHECKPOINT, &parts.summed()).unwrap();
        let engine = copy.open();
        assert!(engine.recovery().from_checkpoint);
        if engine.get(SPACES[0], b"key").is_ok_and(|value| value.unwrap() == b"old") {
            assert_eq!(engine.verify().unwrap_err().kind(), ErrorKind::Corruption);
            wrong += 1;
        }
    }
    assert_eq!(wrong, 1);
}

/// What may be done to a section whose checksum will hold all the same.
#[derive(Debug, Clone)]
enum Change {
    Set(prop::sample::Index, prop::sample::Index, u8),
    Cut(prop::sample::Index, prop::sample::Index),
    Grow(prop::sample::Index, Vec<u8>),
    Drop(prop::sample::Index),
    Rename(prop::sample::Index, u32),
}

impl Change {
    fn apply(&self, parts: &mut Parts) {
        let count = parts.sections.len();
        let at = match self {
            Change::Set(at, ..)
            | Change::Cut(at, _)
            | Change::Grow(at, _)
            | Change::Drop(at)
            | Change::Rename(at, _) => at.index(count),
        };
        let (name, section) = &mut parts.sections[at];
        match self {
            Change::Set(_, place, byte) if !section.is_empty() => {
                let place = place.index(section.len());
                section[place] = *byte;
            }
            Change::Cut(_, len) => section.truncate(len.index(section.len() + 1)),
            Change::Grow(_, more) => section.extend_from_slice(more),
            Change::Rename(_, number) => name[4..].copy_from_slice(&number.to_le_bytes()),
            Change::Drop(_) if count > 1 => drop(parts.sections.remove(at)),
            _ => {}
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<prop::sample::Index>;
    prop_oneof![
        6 => (at(), at(), any::<u8>()).prop_map(|(section, at, byte)| Change::Set(section, at, byte)),
        1 => (at(), at()).prop_map(|(section, len)| Change::Cut(section, len)),
        1 => (at(), prop::collection::vec(any::<u8>(), 1..40)).prop_map(|(s, more)| Change::Grow(s, more)),
        1 => at().prop_map(Change::Drop),
        1 => (at(), 0..300u32).prop_map(|(section, number)| Change::Rename(section, number)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Who can sum it can make the index say what he likes; he cannot make the store fall over.
    #[test]
    fn content_that_lies_never_panics_and_never_keeps_a_store_from_opening(
        seed in 0..4u64,
        changes in prop::collection::vec(change(), 1..4),
    ) {
        let world = closed(100 + seed, 120);
        let mut parts = Parts::of(&world.checkpoint().unwrap());
        changes.iter().for_each(|change| change.apply(&mut parts));
        world.fs.write_file(CHECKPOINT, &parts.summed()).unwrap();
        let engine = world.open();
        let is_taken = engine.recovery().from_checkpoint;
        for (space, key) in world.model.keys() {
            let _ = engine.get(SPACES[*space], key);
        }
        if !is_taken {
            world.check(&engine);
        }
    }
}
