//! What happens between two steps of a compaction: writes, deaths and views that come just then.

use nadb_core::Merge;
use nadb_vfs::RealFs;

use super::super::settle::Installed;
use super::*;

/// Does something once, at the call with this number.
struct AtCall<F> {
    left: u32,
    act: Option<F>,
}

impl<F: FnOnce() -> Result<()>> Control for AtCall<F> {
    fn spent(&mut self, _: u64) -> Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => return self.act.take().map_or(Ok(()), |act| act()),
        }
        Ok(())
    }
}

/// A moment of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While rows are copied.
    Copying,
    /// When all are copied, and nothing is installed.
    Copied,
    Installing(Installed),
}

const MOMENTS: [Moment; 6] = [
    Moment::Copying,
    Moment::Copied,
    Moment::Installing(Installed::Stored),
    Moment::Installing(Installed::Forwarded),
    Moment::Installing(Installed::Buried),
    Moment::Installing(Installed::Replaced),
];

/// Compacts these segments, and does something at a moment of it.
fn compact_and(store: &Store, inputs: &[Arc<Slot>], moment: Moment, act: impl FnOnce()) {
    let shared = store.shared();
    let mut act = Some(act);
    let mut act_at = |now| {
        if moment == now {
            act.take().into_iter().for_each(|act| act());
        }
    };
    let _running = shared.compactor.wait();
    shared.keyspace.load_all().unwrap();
    let others = shared.others(inputs);
    let copying = || {
        act_at(Moment::Copying);
        Ok(())
    };
    // Copies are made before the last call, whatever there is to copy.
    let calls = inputs.iter().filter(|input| input.segment.mapped_bytes() > 0).count();
    let mut control = AtCall { left: u32::try_from(calls).unwrap(), act: Some(copying) };
    let copies = shared.copy(inputs, &others, 0, &mut control).unwrap();
    assert!(control.act.is_none(), "there was nothing to copy");
    act_at(Moment::Copied);
    let blobs = named_blobs(inputs).unwrap();
    let (compaction, _) = shared.keyspace.while_nothing_moves(|| {
        shared.install_in_steps(inputs, copies, |installed| act_at(Moment::Installing(installed))).unwrap()
    });
    shared.log.retire(compaction, shared.unnamed(blobs).unwrap());
    drop(act);
}

type Act = fn(&Store);

/// Its name, what it does, and what is there afterwards.
type NamedAct = (&'static str, Act, &'static [(&'static str, &'static str)]);

/// What may happen to the keys of [`sample`].
const ACTS: [NamedAct; 7] = [
    ("nothing", |_| (), &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "expires")]),
    ("overwritten", |store| store.set("a", "new"), &[("a", "new"), ("b", "2"), ("c", "3"), ("d", "expires")]),
    ("deleted", |store| store.delete("b"), &[("a", "1"), ("c", "3"), ("d", "expires")]),
    (
        "deleted and written again",
        |store| {
            store.delete("b");
            store.set("b", "again");
        },
        &[("a", "1"), ("b", "again"), ("c", "3"), ("d", "expires")],
    ),
    (
        "overwritten twice",
        |store| {
            store.set("c", "new");
            store.set("c", "newer");
        },
        &[("a", "1"), ("b", "2"), ("c", "newer"), ("d", "expires")],
    ),
    (
        "expired",
        |store| {
            store.place.clock.advance_ms(1000);
            store.engine.purge_expired().unwrap();
        },
        &[("a", "1"), ("b", "2"), ("c", "3")],
    ),
    (
        "all of it",
        |store| {
            store.set("e", "fresh");
            KEYS.iter().take(4).for_each(|key| store.delete(key));
            store.set("c", "again");
        },
        &[("c", "again"), ("e", "fresh")],
    ),
];

/// Two segments: dead rows, live ones, one that expires, and a marker.
fn sample(place: Place) -> Store {
    let store = place.open();
    store.set("a", "0");
    store.set("b", "2");
    store.set("e", "gone");
    store.seal();
    store.set("a", "1");
    store.set("c", "3");
    store.delete("e");
    store.set_expiring("d", 1000);
    store.seal();
    store
}

/// Views that were open before, that are taken just then, and that come later; over another compaction and a reopening.
fn what_happens_at(moment: Moment, inputs: &[usize], place: impl Fn() -> Place) {
    for (what, act, expected) in ACTS {
        let store = sample(place());
        let expected = content(expected);
        let before = store.engine.snapshot().unwrap();
        let then = content_of(&before);
        let mut between = None;
        let sealed = store.sealed();
        let chosen: Vec<_> = inputs.iter().map(|at| Arc::clone(&sealed[*at])).collect();
        compact_and(&store, &chosen, moment, || {
            let earlier = store.engine.snapshot().unwrap();
            act(&store);
            between = Some((earlier, store.engine.snapshot().unwrap()));
        });
        let case = format!("{what} at {moment:?}");
        let (earlier, later) = between.unwrap();
        for _ in 0..2 {
            store.engine.maintain().unwrap();
            assert_eq!(content_of(&before), then, "{case}");
            assert_eq!(content_of(&earlier), then, "{case}");
            assert_eq!(content_of(&later), expected, "{case}");
            store.check(&expected);
            store.seal();
            store.compact_all();
        }
        drop((before, earlier, later));
        assert_eq!(store.engine.stats().unwrap().remembered_deaths, 0, "{case}");
        let store = store.reopened();
        store.check(&expected);
    }
}

fn simulated() -> Place {
    Place::new(SimFs::new(1), Path::new("/store"))
}

/// Nothing is mapped here: every read goes to a file.
#[test]
fn what_dies_at_any_moment_of_a_compaction_is_dead_for_those_who_come_later() {
    for moment in MOMENTS {
        for inputs in [&[0, 1][..], &[0], &[1]] {
            what_happens_at(moment, inputs, simulated);
        }
    }
}

#[test]
fn what_dies_at_any_moment_is_dead_in_mapped_segments_too() {
    for moment in MOMENTS {
        let folder = tempfile::tempdir().unwrap();
        let number = std::cell::Cell::new(0);
        what_happens_at(moment, &[0, 1], || {
            number.set(number.get() + 1);
            Place::new(RealFs, &folder.path().join(number.get().to_string()))
        });
    }
}

#[test]
fn a_row_that_died_after_it_was_copied_is_dead_in_the_copy() {
    let store = sample(simulated());
    let sealed = store.sealed();
    compact_and(&store, &sealed, Moment::Copied, || store.set("a", "new"));
    let scanned = store.content();
    assert_eq!(scanned.iter().filter(|(key, _)| key == "a").count(), 1, "{scanned:?}");
    store.check(&content(&[("a", "new"), ("b", "2"), ("c", "3"), ("d", "expires")]));
}

#[test]
fn a_key_that_was_deleted_since_it_was_copied_is_not_put_back() {
    let store = sample(simulated());
    let sealed = store.sealed();
    compact_and(&store, &sealed, Moment::Copied, || store.delete("b"));
    assert_eq!(store.get("b"), None);
    store.check(&content(&[("a", "1"), ("c", "3"), ("d", "expires")]));
}

/// Compacts the store that it belongs to, as somebody may at the same time.
#[derive(Debug)]
struct CompactsMeanwhile(Engine);

impl nadb_core::MergeOperator for CompactsMeanwhile {
    fn merge(&self, _: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
        for _ in 0..2 {
            let shared = self.0.shared();
            let slots = shared.keyspace.slots();
            let sealed: Vec<_> = slots.iter().filter(|slot| slot.segment.is_sealed()).cloned().collect();
            let _running = shared.compactor.wait();
            shared.compact_slots(&sealed, 0, &mut Nothing)?;
        }
        Ok([current.unwrap_or_default(), operand].concat())
    }
}

/// It has found the record in a segment that is gone when it displaces it, as is the one that came next.
#[test]
fn a_writer_that_comes_across_compactions_displaces_the_copy() {
    let store = sample(simulated());
    let before = store.engine.snapshot().unwrap();
    let operator = Arc::new(CompactsMeanwhile(store.engine.clone()));
    store.act("a", Action::Merge(Merge::new(operator, b"+".as_slice())));
    assert_eq!(store.get("a").unwrap(), b"1+");
    store.check(&content(&[("a", "1+"), ("b", "2"), ("c", "3"), ("d", "expires")]));
    assert_eq!(content_of(&before), content(&[("a", "1"), ("b", "2"), ("c", "3"), ("d", "expires")]));
}

/// The index has named a place, and then a compaction comes and goes.
#[test]
fn who_finds_a_place_gone_looks_for_the_key_again() {
    let store = sample(simulated());
    let (shared, keyspace) = (store.shared(), &store.shared().keyspace);
    let id = keyspace.namespaces.id_of(N).unwrap();
    let hash = keyspace.hash(id, b"a");
    let compactions = std::cell::Cell::new(0);
    let read = |at| {
        if compactions.replace(compactions.get() + 1) < 2 {
            store.compact(&[0, 1][..store.sealed().len().min(2)]);
        }
        shared.read(&keyspace.slot_table(), at)
    };
    let (at, found) = keyspace.find(id, hash, b"a", read).unwrap().unwrap();
    assert_eq!(found.record().unwrap().value, b"1");
    assert!(keyspace.is_named(hash, at));
    assert_eq!(compactions.get(), 3);
}

/// Whoever reaps just then finds the row where it is, but not the key.
#[test]
fn what_expires_while_keys_move_is_let_go_of_in_the_end() {
    let store = sample(simulated());
    let sealed = store.sealed();
    compact_and(&store, &sealed, Moment::Installing(Installed::Replaced), || {
        store.place.clock.advance_ms(1000);
        store.engine.purge_expired().unwrap();
    });
    store.engine.maintain().unwrap();
    assert_eq!(store.engine.stats().unwrap().keys, 3);
}

#[test]
fn a_compaction_that_is_given_up_changes_nothing_and_leaves_no_file() {
    let store = sample(simulated());
    let before = (store.content(), store.place.fs.list(&store.place.dir).unwrap().len());
    let sealed = store.sealed();
    let mut control = AtCall { left: 0, act: Some(|| Err(Error::invalid("not now"))) };
    assert!(store.shared().compact_slots(&sealed, 0, &mut control).is_err());
    assert_eq!((store.content(), store.place.fs.list(&store.place.dir).unwrap().len()), before);
    store.compact(&[0, 1]);
    store.check(&before.0);
}

#[test]
fn who_looks_with_an_old_table_finds_what_is_in_a_newer_segment_that_is_being_replaced() {
    let store = Store::new();
    store.set("a", "1");
    store.seal();
    let shared = store.shared();
    let slots = shared.keyspace.slot_table();
    // Neither of these is in the table.
    ["b", "c"].into_iter().for_each(|key| {
        store.set(key, "2");
        store.seal();
    });
    let known = |slot: &Arc<Slot>| slots.get(slot.segment.id()).is_some();
    let inputs: Vec<_> = store.sealed().into_iter().filter(|slot| !known(slot)).collect();
    assert!(!inputs.is_empty());
    for moment in [Moment::Installing(Installed::Stored), Moment::Installing(Installed::Replaced)] {
        let inputs: Vec<_> = store.sealed().into_iter().filter(|slot| !known(slot)).collect();
        compact_and(&store, &inputs, moment, || {
            let found = shared.find_visible(&slots, N, b"c").unwrap().unwrap();
            assert_eq!(shared.value(&found).unwrap(), b"2");
        });
    }
}
