//! `nadb stats`: counts, sizes and times.

mod figures;
mod watch;

use std::time::Duration;

use clap::Args;

use self::figures::Figures;
use self::watch::Watch;
use crate::context::Context;
use crate::failure::Result;

const EXAMPLES: &str = "\
Examples:
  nadb stats
  nadb --json stats
  nadb stats --watch
  nadb --json stats --watch 0.5 --times 10

Bytes of log, live records and footers are in files, mapped bytes are files too. Memory bytes are all that the store holds
in memory, and index bytes and what follows are its parts: the limit is for memtables, sealing, buffers and frames.
Times are of the operations that were timed; those of phases are in nanoseconds, on average. Views, seals, operations, times and
what belongs to them begin at zero when the store is opened, so here they show this command alone; programs ask for them
with Store::stats.

One process may have a store open at a time. --watch opens the store for each look and closes it again: it shows what other
commands have done in between, it says so when another process has the store open and cannot show anything of it, and a
command that comes in the moment of a look finds the store locked. What a running program does is shown by that
program: see docs/metrics.md.";

/// Print counts, sizes and times of the store
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stats {
    /// Look again and again: in place on a terminal, otherwise a line for each look
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", value_parser = watch::interval)]
    watch: Option<Duration>,
    /// End after so many looks
    #[arg(long, value_name = "N", requires = "watch", value_parser = clap::value_parser!(u64).range(1..))]
    times: Option<u64>,
}

impl Stats {
    /// One line for each figure, and one for each operation.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let look = || {
            context.with_existing(|store| {
                Ok(Figures { stats: store.stats()?, recovery: store.recovery().clone() })
            })
        };
        if let Some(interval) = self.watch {
            return Watch { interval, times: self.times }.run(context, look);
        }
        let figures = look()?;
        let mut out = context.output();
        out.either(&figures.json(context), || figures.text(context))?;
        out.finish()
    }
}
