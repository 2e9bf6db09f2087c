//! What a store is after its process was killed: how soon it answers, and whether all is there that had returned.

use std::time::Instant;

use anyhow::{Result, ensure};

use super::Work;
use crate::data::{Values, key_of};

impl Work {
    /// Loads, says how many sets had returned, and ends the process as `kill -9` does.
    pub(super) fn kill(&self) -> Result<()> {
        let values = Values::small();
        let engine = self.open()?;
        let loaded = self.load(&*engine, &values, "1 load (to be killed)")?;
        std::fs::write(self.dir.join("acknowledged"), loaded.to_string())?;
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL)?;
        anyhow::bail!("still alive after a kill")
    }

    /// Opens what the kill left, and asks for everything that had returned.
    pub(super) fn reopen(&self) -> Result<()> {
        let values = Values::small();
        let acknowledged: u64 = std::fs::read_to_string(self.dir.join("acknowledged"))?.parse()?;
        let start = Instant::now();
        let engine = self.open()?;
        ensure!(engine.get(&key_of(0), &mut |_| ())?, "a key is missing after the kill");
        let elapsed = start.elapsed();
        let mut lost = 0;
        for key in (0..acknowledged).map(key_of) {
            let mut is_right = false;
            engine.get(&key, &mut |value| is_right = values.is_of(&key, value))?;
            lost += u64::from(!is_right);
        }
        let remark = (lost > 0).then(|| format!("{lost} of {acknowledged} acknowledged sets are lost"));
        self.show_figure("10 open after a kill", 1, 1, elapsed, None, None, remark)?;
        engine.close()
    }
}
