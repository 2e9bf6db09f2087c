//! Queries, counted and timed: what is done for one, step by step, without what its caller does in between.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{Entry, Matches, Position, Result};

use super::{QUERIES_LEFT, SAMPLE_QUERIES_EVERY};
use crate::engine::Shared;
use crate::tallies::{Op, Tally};

impl Shared {
    /// Begins a query by `begin`; its matches are timed with it, if it is to be timed.
    pub(crate) fn timed_query(
        self: &Arc<Self>,
        begin: impl FnOnce() -> Result<Box<dyn Matches>>,
    ) -> Result<Box<dyn Matches>> {
        let is_timed = self.times.is_due(&QUERIES_LEFT, SAMPLE_QUERIES_EVERY);
        let begun = is_timed.then(|| self.options.clock.monotonic());
        let matches = begin()?;
        self.times.tallies.add([(Tally::Done(Op::Query), 1)]);
        let Some(begun) = begun else { return Ok(matches) };
        let spent = self.options.clock.monotonic().saturating_sub(begun);
        Ok(Box::new(Timed { shared: Arc::clone(self), matches, spent }))
    }

    /// Counts by `count`, which is timed, if it is to be.
    pub(crate) fn timed_count(&self, count: impl FnOnce() -> Result<u64>) -> Result<u64> {
        let is_timed = self.times.is_due(&QUERIES_LEFT, SAMPLE_QUERIES_EVERY);
        let begun = is_timed.then(|| self.options.clock.monotonic());
        let counted = count()?;
        self.times.tallies.add([(Tally::Done(Op::Query), 1)]);
        if let Some(begun) = begun {
            self.times.add(Op::Query, self.options.clock.monotonic().saturating_sub(begun));
        }
        Ok(counted)
    }
}

/// Matches whose time is added up; it is noted when they go.
struct Timed {
    shared: Arc<Shared>,
    matches: Box<dyn Matches>,
    spent: Duration,
}

impl fmt::Debug for Timed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timed").field("spent", &self.spent).finish_non_exhaustive()
    }
}

impl Timed {
    fn step<T>(&mut self, step: impl FnOnce(&mut dyn Matches) -> T) -> T {
        let begun = self.shared.options.clock.monotonic();
        let done = step(&mut *self.matches);
        self.spent += self.shared.options.clock.monotonic().saturating_sub(begun);
        done
    }
}

impl Iterator for Timed {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.step(Iterator::next)
    }
}

impl Matches for Timed {
    fn next_key(&mut self) -> Option<Result<Vec<u8>>> {
        self.step(Matches::next_key)
    }

    fn last_position(&self) -> Option<Position> {
        self.matches.last_position()
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        self.shared.times.add(Op::Query, self.spent);
    }
}
