//! What a power cut leaves right after a compaction.

use nadb_vfs::CrashMode;

use super::*;

fn disk() -> SimFs {
    SimFs::new(3)
}

fn store(disk: &SimFs) -> Store {
    let place = Place::new(disk.clone(), Path::new("/store"));
    Place { durability: Durability::Buffered, ..place }.open()
}

const CUTS: [CrashMode; 4] = [CrashMode::DropAll, CrashMode::Torn, CrashMode::Reordered, CrashMode::KeepAll];

/// What was durable at first; what then displaces it, no more than buffered; and what is there at last.
type Case = (fn(&Store), fn(&Store), &'static [(&'static str, &'static str)]);

const CASES: [Case; 4] = [
    (|store| store.set("a", "old"), |store| store.set("a", "new"), &[("a", "new")]),
    (|store| store.set("a", "old"), |store| store.delete("a"), &[]),
    (
        |store| store.set_expiring("a", 10),
        |store| {
            store.place.clock.advance_ms(10);
            assert_eq!(store.engine.purge_expired().unwrap().records, 1);
        },
        &[],
    ),
    (
        |store| store.set("a", "old"),
        |store| {
            store.engine.drop_namespace(N).unwrap();
            store.set("b", "again");
        },
        &[("b", "again")],
    ),
];

#[test]
fn what_displaced_a_record_that_was_dropped_is_durable() {
    for mode in CUTS {
        for (case, (before, displace, expected)) in CASES.into_iter().enumerate() {
            let disk = disk();
            let store = store(&disk);
            before(&store);
            store.engine.flush().unwrap();
            store.seal();
            displace(&store);
            store.compact(&[0]);
            store.place.clock.set_ms(NOW_MS);
            let store = store.crashed(disk.power_cut(mode, 1));
            assert_eq!(store.content(), content(expected), "case {case}, {mode:?}");
            store.engine.verify().unwrap();
        }
    }
}

#[test]
fn the_outputs_are_durable_before_a_manifest_names_them() {
    for mode in CUTS {
        let disk = disk();
        let store = store(&disk);
        for key in KEYS {
            store.set(key, "value");
        }
        store.seal();
        store.engine.flush().unwrap();
        store.compact(&[0]);
        let expected = content(&KEYS.map(|key| (key, "value")));
        let store = store.crashed(disk.power_cut(mode, 2));
        assert!(store.engine.recovery().warnings.is_empty(), "{:?}", store.engine.recovery().warnings);
        store.check(&expected);
    }
}

/// Its outputs have numbers that a manifest knows, so no opening takes that manifest for an old one.
#[test]
fn a_crash_while_outputs_are_written_leaves_a_store_that_opens() {
    let disk = disk();
    let store = store(&disk);
    store.set("a", "1");
    store.seal();
    store.engine.flush().unwrap();
    let sealed = store.sealed();
    // As a crash leaves it: nobody removes what was finished.
    let copies = store.shared().copy(&sealed, &store.shared().others(&sealed), 0, &mut Nothing).unwrap();
    let images = [disk.power_cut(CrashMode::KeepAll, 1), disk.process_kill()];
    drop(copies);
    let Store { engine, place } = store;
    std::mem::forget(engine);
    for image in images {
        let opened = Place { fs: Arc::new(image.clone()), ..place.clone() }.open();
        opened.check(&content(&[("a", "1")]));
        let segments = image.files().into_iter().filter(|(path, _)| path.extension() == Some("seg".as_ref()));
        assert_eq!(segments.count(), opened.engine.segments().unwrap().len());
    }
}
