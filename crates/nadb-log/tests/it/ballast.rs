//! Room for deletes on a full disk.

use std::path::{Path, PathBuf};

use nadb_core::{Durability, ErrorKind};
use nadb_log::BALLAST;
use nadb_vfs::SimFs;

use crate::support::{DIR, Env, Store, files};

fn ballast() -> PathBuf {
    Path::new(DIR).join(BALLAST)
}

/// A store of more than 16 segments with a ballast.
fn grown(sim: &SimFs) -> (Env, Store) {
    let env = Env { segment_size: 400, ..Env::new(sim) };
    let store = env.open().unwrap();
    store.log.keep_ballast().unwrap();
    assert!(!files(sim).contains_key(&ballast()), "a small store has none");
    store.put_many("k", 60);
    assert!(store.log.segments().0.len() > 16);
    store.log.keep_ballast().unwrap();
    assert!(files(sim)[&ballast()].len() >= 64 << 10);
    (env, store)
}

#[test]
fn a_grown_store_keeps_a_ballast() {
    let sim = SimFs::new(1);
    let (env, store) = grown(&sim);
    store.log.close().unwrap();
    drop(store);
    let store = env.open().unwrap();
    let used = sim.used_bytes();
    store.log.keep_ballast().unwrap();
    assert_eq!(sim.used_bytes(), used, "it was found");
}

#[test]
fn on_a_full_disk_deletes_succeed_and_other_writes_wait_for_room() {
    let sim = SimFs::new(1);
    let (env, store) = grown(&sim);
    sim.set_capacity(Some(sim.used_bytes()));
    let error = store.put_sized("large", 5000, Durability::Flushed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace);
    assert!(files(&sim).contains_key(&ballast()), "not for values");
    for n in 0..60 {
        store.delete(&format!("k{n:02}")).unwrap();
    }
    assert!(!files(&sim).contains_key(&ballast()), "its room was used");
    let error = store.put("small", Durability::Flushed).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSpace, "what room is left is for deletes: {error}");
    store.check_readable();
    store.delete("k00").unwrap();

    sim.set_capacity(None);
    store.put("small", Durability::Flushed).unwrap();
    assert!(files(&sim).contains_key(&ballast()), "made again");
    store.log.close().unwrap();
    drop(store);
    assert_eq!(env.keys().len(), 60 + 61 + 1);
}

#[test]
fn a_store_that_shrank_and_gave_up_its_ballast_resumes_writing() {
    let sim = SimFs::new(1);
    let env = Env { segment_size: 400, ..Env::new(&sim) };
    let store = env.open().unwrap();
    store.put_many("k", 3);
    store.log.close().unwrap();
    drop(store);
    // Left from a time when the store was larger.
    sim.write_file(ballast(), &[0; 64 << 10]).unwrap();
    let store = env.open().unwrap();
    sim.set_capacity(Some(sim.used_bytes()));
    for n in 0..40 {
        store.delete(&format!("k{n:02}")).unwrap();
    }
    assert_eq!(store.put("k03", Durability::Flushed).unwrap_err().kind(), ErrorKind::NoSpace);
    sim.set_capacity(None);
    store.put("k03", Durability::Flushed).unwrap();
}

#[test]
fn a_full_disk_at_close_keeps_everything() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    let keys: Vec<_> = store.put_many("k", 7).iter().map(|placed| placed.first_seq).collect();
    sim.set_capacity(Some(sim.used_bytes()));
    let closed = store.log.close();
    drop(store);
    sim.set_capacity(None);
    let store = env.open().unwrap();
    assert_eq!(store.shown.iter().map(|row| row.seq).collect::<Vec<_>>(), keys);
    assert!(closed.is_ok() || !store.log.recovered().clean);
}
