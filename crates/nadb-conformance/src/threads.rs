//! Many threads on one store: nothing is lost, nobody sees half of anything.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use nadb_core::{Add, Condition, ErrorKind, Result, WriteOptions, parse_counter};

use crate::Subject;
use crate::subject::{N, merge, set};

const THREADS: u64 = 4;
const STEPS: u64 = 50;

pub(crate) fn counters_lose_no_step_among_threads(s: &mut Subject) {
    let backend = s.backend();
    let step = || {
        let outcomes = backend.write(&[merge("k", Add, b"1")], &WriteOptions::default()).unwrap();
        parse_counter(b"k", outcomes[0].merged.as_deref().unwrap()).unwrap()
    };
    let mut seen: Vec<i64> = thread::scope(|scope| {
        let count = || (0..STEPS).map(|_| step()).collect::<Vec<_>>();
        let threads: Vec<_> = (0..THREADS).map(|_| scope.spawn(count)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    seen.sort_unstable();
    assert!(seen.into_iter().eq(1..=(THREADS * STEPS).cast_signed()), "no two callers get the same number");
    assert_eq!(s.get("k").unwrap(), (THREADS * STEPS).to_string().into_bytes());
}

pub(crate) fn of_many_if_absent_one_wins(s: &mut Subject) {
    let backend = s.backend();
    for round in 0..STEPS / 2 {
        let key = format!("k{round}");
        let won = AtomicU64::new(0);
        thread::scope(|scope| {
            for number in 0..THREADS {
                let (key, won) = (&key, &won);
                scope.spawn(move || {
                    let value = number.to_string();
                    let mine = [set(key, &value).when(Condition::IfAbsent)];
                    match backend.write(&mine, &WriteOptions::default()) {
                        Ok(_) => _ = won.fetch_add(1, Ordering::SeqCst),
                        Err(error) => match error.kind() {
                            ErrorKind::PreconditionFailed { current: Some(_) } => {}
                            _ => panic!("{error}"),
                        },
                    }
                });
            }
        });
        assert_eq!(won.into_inner(), 1, "round {round}");
    }
}

pub(crate) fn compare_and_set_loses_no_update(s: &mut Subject) {
    s.set("k", "0");
    let backend = s.backend();
    let add_one = || -> Result<()> {
        loop {
            let entry = backend.get_entry(N, b"k")?.expect("the key is there");
            let next = (parse_counter(b"k", &entry.value)? + 1).to_string();
            let swap = [set("k", &next).when(Condition::IfVersion(entry.metadata.version))];
            match backend.write(&swap, &WriteOptions::default()) {
                Err(error) if matches!(error.kind(), ErrorKind::PreconditionFailed { .. }) => {}
                other => return other.map(drop),
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| (0..STEPS / 2).for_each(|_| add_one().unwrap()));
        }
    });
    assert_eq!(s.get("k").unwrap(), (THREADS * (STEPS / 2)).to_string().into_bytes());
}

pub(crate) fn no_reader_sees_half_a_batch(s: &mut Subject) {
    s.write(&[set("{b}x", "0"), set("{b}y", "0")]);
    let backend = s.backend();
    let is_done = AtomicBool::new(false);
    let read = |key: &[u8]| parse_counter(key, &backend.get(N, key).unwrap().unwrap()).unwrap();
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !is_done.load(Ordering::SeqCst) {
                // Whoever has seen the one half must see at least the other half of the same batch.
                let x = read(b"{b}x");
                let y = read(b"{b}y");
                assert!(y >= x, "{y} was read after {x}");
                let y = read(b"{b}y");
                assert!(read(b"{b}x") >= y);
            }
        });
        for number in 1..=STEPS * 2 {
            let number = number.to_string();
            let batch = [set("{b}x", &number), set("{b}y", &number)];
            backend.write(&batch, &WriteOptions::default()).unwrap();
        }
        is_done.store(true, Ordering::SeqCst);
        reader.join().unwrap();
    });
}
