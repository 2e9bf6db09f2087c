//! The same work by 1, 2, 4 and 8 threads: what more threads than cores must not do is make a store slower.

use anyhow::{Result, ensure};
use nadb_benches::Key;

use super::{AT_MOST, Work, Written, YCSB_A_UPDATES, with_value};
use crate::data::{Values, key_of};
use crate::engines::Engine;
use crate::measure::timed;

const THREADS: [usize; 4] = [1, 2, 4, 8];

impl Work {
    /// For each number of threads a load into a store of its own, then gets and YCSB A on it.
    pub(super) fn threads(&self) -> Result<()> {
        let values = Values::small();
        for threads in THREADS {
            let own = Work { dir: self.dir.join(format!("threads-{threads}")), ..*self };
            let engine = own.open()?;
            own.load_by(&*engine, &values, threads)?;
            if self.kind.reads() {
                own.get(&*engine, &values, "threads: get", 0, threads, AT_MOST / 4)?;
                own.ycsb_of(&*engine, &values, ("threads: YCSB-A", YCSB_A_UPDATES), threads, AT_MOST / 4)?;
                own.check_some(&*engine, &values, self.keys)?;
            }
            engine.close()?;
            std::fs::remove_dir_all(&own.dir)?;
        }
        Ok(())
    }

    /// Sets every key once. Threads take keys by turns, so what was not done in time is known by asking.
    fn load_by(&self, engine: &dyn Engine, values: &Values, threads: usize) -> Result<()> {
        let keys: Vec<Key> = (0..self.keys).map(key_of).collect();
        let before = Written::of(engine)?;
        let timed = timed(keys.len(), threads, AT_MOST / 4, |n| {
            with_value(values, &keys[n], n, |value| engine.set(&keys[n], value))
        })?;
        let remark = (timed.count < self.keys).then(|| format!("stopped after {} sets", timed.count));
        self.show("threads: load", threads, &timed, Some((before, engine, values.row_bytes())), remark)?;
        if timed.count < self.keys && self.kind.reads() {
            let missing = self.missing(engine)?;
            ensure!(missing.len() as u64 == self.keys - timed.count, "{} keys are missing", missing.len());
            self.load_batches(engine, values, &missing)?;
        }
        Ok(())
    }

    /// The numbers of the keys that are not there.
    fn missing(&self, engine: &dyn Engine) -> Result<Vec<u64>> {
        let mut missing = Vec::new();
        for number in 0..self.keys {
            if !engine.get(&key_of(number), &mut |_| ())? {
                missing.push(number);
            }
        }
        Ok(missing)
    }
}
