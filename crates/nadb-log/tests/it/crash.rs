//! Power cuts at every call of a small workload, in every mode: what survives is a prefix with all that was promised.

use nadb_core::{Durability, Seq};
use nadb_vfs::{CrashMode, SimFs};

use crate::support::{Env, Store, names};

/// Which keys were promised, and how many were tried.
#[derive(Debug, Default)]
struct Told {
    tried: usize,
    synced: usize,
    highest: Option<Seq>,
}

impl Told {
    fn put(&mut self, store: &Store, durability: Durability) -> bool {
        let key = format!("k{:02}", self.tried);
        self.tried += 1;
        match store.put(&key, durability) {
            Ok(placed) => {
                self.highest = Some(placed.last_seq());
                if durability == Durability::Synced {
                    self.synced = self.tried;
                }
                true
            }
            Err(_) => false,
        }
    }
}

/// Two sessions over several segments; the first is closed, the second is not.
fn workload(env: &Env, told: &mut Told) -> Option<()> {
    for session in 0..2 {
        let store = env.open().ok()?;
        for n in 0..9 {
            let durability = match n % 4 {
                0 => Durability::Buffered,
                3 => Durability::Synced,
                _ => Durability::Flushed,
            };
            told.put(&store, durability).then_some(())?;
        }
        if session == 0 {
            store.log.close().ok()?;
            told.synced = told.tried;
        }
    }
    Some(())
}

/// Opens what a crash left: a prefix that has all that was promised, and a new number above all that were told.
fn check(env: &Env, told: &Told, context: &str) {
    let store = env.open().unwrap_or_else(|e| panic!("{context}: {e}"));
    let keys = store.keys();
    assert!(keys.len() >= told.synced && keys.len() <= told.tried, "{context}: {told:?}, found {keys:?}");
    assert_eq!(keys, names("k", keys.len()), "{context}: a prefix");
    store.check_readable();
    let placed = store.put("after", Durability::Synced).unwrap();
    assert!(told.highest.is_none_or(|highest| placed.first_seq > highest), "{context}: {placed:?}, {told:?}");
    drop(store);
    let again = env.open().unwrap_or_else(|e| panic!("{context}, second opening: {e}"));
    assert_eq!(again.keys(), [keys, vec!["after".into()]].concat(), "{context}, second opening");
}

#[test]
fn a_crash_at_any_call_keeps_a_prefix_with_all_that_was_promised() {
    let mut finished = false;
    for at in 1.. {
        let sim = SimFs::new(1);
        let env = Env { segment_size: 600, ..Env::new(&sim) };
        sim.crash_at_mutation(at);
        let mut told = Told::default();
        workload(&env, &mut told);
        for mode in CrashMode::ALL {
            for seed in 0..6 {
                check(
                    &env.on(&sim.power_cut(mode, seed)),
                    &told,
                    &format!("call {at}, {mode:?}, seed {seed}"),
                );
            }
        }
        if !sim.crashed() || finished {
            break;
        }
        finished = told.tried == 18;
    }
}

#[test]
fn a_crash_during_recovery_loses_nothing_either() {
    let sim = SimFs::new(1);
    let env = Env { segment_size: 600, ..Env::new(&sim) };
    let mut told = Told::default();
    workload(&env, &mut told).unwrap();
    for first in CrashMode::ALL {
        for at in 1.. {
            let torn = sim.power_cut(first, 3);
            torn.crash_at_mutation(at);
            let crashed = env.on(&torn).open().is_err();
            for second in CrashMode::ALL {
                let context = format!("{first:?}, then call {at} of the recovery, {second:?}");
                check(&env.on(&torn.power_cut(second, at)), &told, &context);
            }
            if !crashed {
                break;
            }
        }
    }
}

#[test]
fn a_name_is_durable_before_the_manifest_that_names_it() {
    // A crash between the manifest's rename and the directory's sync may keep the one name and lose the other.
    for seed in 0..60 {
        for at in 1..40 {
            let sim = SimFs::new(1);
            let env = Env::new(&sim);
            sim.crash_at_mutation(at);
            let mut told = Told::default();
            if let Ok(store) = env.open() {
                told.put(&store, Durability::Synced);
            }
            check(
                &env.on(&sim.power_cut(CrashMode::Reordered, seed)),
                &told,
                &format!("call {at}, seed {seed}"),
            );
        }
    }
}

/// A store closed in order, then the power goes.
fn close_then_cut() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    let store = env.open().unwrap();
    store.put("k00", Durability::Synced).unwrap();
    store.log.close().unwrap();
    drop(store);
    let store = env.on(&sim.power_cut(CrashMode::DropAll, 1)).open().unwrap();
    assert!(store.log.recovered().clean);
    assert_eq!(store.keys(), ["k00"]);
}

#[test]
fn a_manifests_content_is_durable_before_its_name() {
    close_then_cut();
}

#[test]
fn a_manifests_name_is_durable_when_storing_it_returns() {
    close_then_cut();
}

#[test]
fn a_segment_is_named_durably_before_its_first_frame() {
    let sim = SimFs::new(1);
    let env = Env::new(&sim);
    env.open().unwrap().put("k00", Durability::Synced).unwrap();
    assert_eq!(env.on(&sim.power_cut(CrashMode::DropAll, 1)).keys(), ["k00"]);
}
