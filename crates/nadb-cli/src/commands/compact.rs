//! `nadb compact`: gives space back now.

use std::io::{self, IsTerminal};
use std::ops::ControlFlow;

use clap::Args;
use nadb::{CompactionRange, CompactionReport, CompactionRequest};

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;
use crate::present;
use crate::progress::Compacting;

const EXAMPLES: &str = "\
Examples:
  nadb compact
  nadb compact --dry-run
  nadb compact --only app/users

Rewrites segments without what is dead in them, in key order. An open store does that by itself as more of it is dead; this is for
who wants all of it now. `nadb inspect` shows what is to be had.";

/// Rewrite segments without what is dead in them
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Compact {
    /// Only say what it would come to
    #[arg(long)]
    dry_run: bool,
    /// Only segments that hold keys of this namespace
    #[arg(long, value_name = "NAMESPACE")]
    only: Option<String>,
}

impl Compact {
    /// Of all segments, or of those that hold keys of a namespace.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let range = self.only.map_or(CompactionRange::All, CompactionRange::Namespace);
        let mut request = CompactionRequest::new().range(range).dry_run(self.dry_run);
        let bar = Compacting::begin();
        if io::stderr().is_terminal() {
            let bar = bar.clone();
            request = request.on_progress(move |progress| {
                bar.show(progress);
                ControlFlow::Continue(())
            });
        }
        let report = context.with_existing(|store| Ok(store.compact_with(&request)?));
        bar.end();
        let report = report?;
        let mut out = context.output();
        let is_estimate = self.dry_run;
        out.either(&fields(&report, is_estimate), || sentence(&report, is_estimate))?;
        out.finish()
    }
}

fn fields(report: &CompactionReport, is_estimate: bool) -> Fields {
    Fields::default()
        .with("dry_run", is_estimate)
        .with("segments_in", report.segments_in)
        .with("segments_out", report.segments_out)
        .with("kept", report.kept)
        .with("dropped_dead", report.dropped_dead)
        .with("dropped_expired", report.dropped_expired)
        .with("dropped_tombstones", report.dropped_tombstones)
        .with("bytes_before", report.bytes_before)
        .with("bytes_after", report.bytes_after)
        .with("bytes_written", report.bytes_written)
        .with("elapsed_ms", u64::try_from(report.elapsed.as_millis()).unwrap_or(u64::MAX))
}

fn sentence(report: &CompactionReport, is_estimate: bool) -> String {
    match (report.segments_in, is_estimate) {
        (0, _) => "nothing to compact\n".to_owned(),
        (_, true) => format!(
            "would rewrite {} segments, {} into about {}; about {} records stay, about {} are dead\n",
            report.segments_in,
            present::size(report.bytes_before),
            present::size(report.bytes_after),
            report.kept,
            report.dropped_dead
        ),
        _ => format!("{report}\n"),
    }
}
