//! `nadb stats`: counts and sizes.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb stats
  nadb --json stats

Bytes of index, memtables, live sets and versions are in memory, all others in files. Views, seals and what belongs to
them begin at zero when the store is opened, so here they show this command alone.";

/// Print counts and sizes of the store
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Stats {}

impl Stats {
    /// One line for each figure.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let (stats, segments, recovery) = context
            .with_existing(|store| Ok((store.stats()?, store.segments()?, store.recovery().clone())))?;
        let footer_bytes: u64 = segments.iter().map(|segment| segment.footer_bytes).sum();
        let oldest_view_ms =
            stats.oldest_view.map(|open| u64::try_from(open.as_millis()).unwrap_or(u64::MAX));
        let fields = Fields::default()
            .with("path", context.path.display().to_string())
            .with("keys", stats.keys)
            .with("namespaces", stats.namespaces)
            .with("segments", stats.segments)
            .with("unsealed_segments", stats.unsealed_segments)
            .with("records", stats.records)
            .with("log_bytes", stats.log_bytes)
            .with("live_bytes", stats.live_bytes)
            .with("footer_bytes", footer_bytes)
            .with("index_bytes", stats.index_bytes)
            .with("memtable_bytes", stats.memtable_bytes)
            .with("live_set_bytes", stats.live_set_bytes)
            .with("rebuilt_footers", stats.rebuilt_footers)
            .with("versions_bytes", stats.versions_bytes)
            .with("views", stats.views)
            .with("oldest_view_ms", oldest_view_ms)
            .with("remembered_deaths", stats.remembered_deaths)
            .with("seals", stats.seals)
            .with("seal_waits", stats.seal_waits)
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
