//! `nadb stats`: counts and sizes.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb stats
  nadb --json stats

Counters of operations begin at zero when the store is opened, so here they show this command alone.";

/// Print counts and sizes of the store
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stats {}

impl Stats {
    /// One line for each figure.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let (stats, recovery) =
            context.with_existing(|store| Ok((store.stats()?, store.recovery().clone())))?;
        let fields = Fields::default()
            .with("path", context.path.display().to_string())
            .with("keys", stats.keys)
            .with("namespaces", stats.namespaces)
            .with("segments", stats.segments)
            .with("records", stats.records)
            .with("log_bytes", stats.log_bytes)
            .with("live_bytes", stats.live_bytes)
            .with("index_bytes", stats.index_bytes)
            .with("published_seq", stats.published_seq)
            .with("durable_seq", stats.durable_seq)
            .with("clean_open", recovery.clean)
            .with("replayed_frames", recovery.frames)
            .with("cut_bytes", recovery.cut_bytes);
        let mut out = context.output();
        out.either(&fields, || fields.to_table())?;
        out.finish()
    }
}
