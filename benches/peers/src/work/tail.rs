//! What one thread of sets and one of gets do to each other's slowest calls, while segments are sealed and compacted behind them.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, ensure};
use nadb_benches::Key;

use super::{AT_MOST, Work, Written, with_value};
use crate::data::{SEED, Values, key_of, uniform};
use crate::engines::Engine;
use crate::measure::{Timed, timed, timed_while};

impl Work {
    /// Overwrites as many keys as there are, beside gets for as long as that takes.
    pub(super) fn tail(&self) -> Result<()> {
        let values = Values::small();
        let engine = self.open()?;
        self.load_batches(&*engine, &values, &(0..self.keys).collect::<Vec<u64>>())?;
        let before = Written::of(&*engine)?;
        let (sets, gets) = self.side_by_side(&*engine, &values)?;
        self.show("tail: set beside gets", 1, &sets, Some((before, &*engine, values.row_bytes())), None)?;
        self.show("tail: get beside sets", 1, &gets, None, None)?;
        self.check_some(&*engine, &values, self.keys)?;
        engine.close()
    }

    fn side_by_side(&self, engine: &dyn Engine, values: &Values) -> Result<(Timed, Timed)> {
        let draw = |seed| -> Result<Vec<Key>> {
            Ok(uniform(usize::try_from(self.keys)?, self.keys, seed).into_iter().map(key_of).collect())
        };
        let (set_keys, get_keys) = (draw(SEED ^ 9)?, draw(SEED ^ 10)?);
        let (both, is_writing) = (Barrier::new(2), AtomicBool::new(true));
        thread::scope(|scope| {
            let getting = scope.spawn(|| {
                both.wait();
                timed_while(&is_writing, |n| {
                    let key = &get_keys[n % get_keys.len()];
                    let mut is_right = false;
                    engine.get(key, &mut |value| is_right = values.is_of(key, value))?;
                    ensure!(is_right, "a wrong value");
                    Ok(())
                })
            });
            both.wait();
            let sets = timed(set_keys.len(), 1, AT_MOST / 2, |n| {
                with_value(values, &set_keys[n], n, |value| engine.set(&set_keys[n], value))
            });
            is_writing.store(false, Ordering::Relaxed);
            let gets = getting.join().unwrap_or_else(|e| std::panic::resume_unwind(e));
            Ok((sets?, gets?))
        })
    }
}
