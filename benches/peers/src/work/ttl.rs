//! Records with tags and expiries: how fast they are written, and how fast those that have expired go.
//!
//! Every other record expires soon, the rest a day later. Soon is behind the load of a fast engine, so that nothing goes while that
//! is timed; all engines are then given the same time to wait for, by the system's clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use super::Work;
use super::tags::{check_keys, check_values};
use crate::data::Values;
use crate::engines::Class;
use crate::tagged::{Model, Names};

/// Writes a second that a load is expected to reach before the first records expire.
const LOADED_A_SECOND: u64 = 100_000;
const LATE_MS: u64 = 24 * 60 * 60 * 1000;

impl Work {
    pub(super) fn ttl(&self) -> Result<()> {
        let (values, names, model) = (Values::small(), Names::new(), Model::new(self.tagged_keys));
        let engine = self.kind.open_tagged(&self.setup(Class::Flushed, false))?;
        let soon_ms = now_ms()? + 2_000 + self.tagged_keys * 1000 / LOADED_A_SECOND;
        let is_late = |number: u64| number % 2 == 1;
        let expires_ms = |number| if is_late(number) { soon_ms + LATE_MS } else { soon_ms };
        self.load_tagged(&*engine, &values, &names, &model, ("9 ttl: load", &expires_ms))?;
        let wait_ms = (soon_ms + 1).saturating_sub(now_ms()?);
        std::thread::sleep(Duration::from_millis(wait_ms));
        let start = Instant::now();
        let purged = engine.purge(soon_ms)?;
        let elapsed = start.elapsed();
        let expected = self.tagged_keys.div_ceil(2);
        ensure!(purged == expected, "{purged} of {expected} expired records were purged");
        self.show_plain("9 ttl: purge of the expired half", purged, elapsed)?;
        check_keys(&*engine, &names, &model.answers(is_late))?;
        check_values(&*engine, &values, is_late, self.tagged_keys)?;
        ensure!(engine.purge(soon_ms)? == 0, "records that had gone went again");
        engine.close()
    }
}

fn now_ms() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}
