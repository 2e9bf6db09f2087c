//! `nadb purge`: lets go of what has expired.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb purge

No command shows what has expired, purged or not. What was purged stays gone, whatever the clock shows later.";

/// Let go of everything that has expired
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Purge {}

impl Purge {
    /// Of all namespaces.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let report = context.with_existing(|store| Ok(store.purge_expired()?))?;
        let mut out = context.output();
        let fields = Fields::default().with("records", report.records).with("upto_ms", report.upto_ms);
        out.either(&fields, || format!("purged {} expired records\n", report.records))?;
        out.finish()
    }
}
