//! `nadb verify`: reads and checks every byte.

use clap::Args;

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;
use crate::present::{count, size};

const EXAMPLES: &str = "\
Examples:
  nadb verify && echo fine
  nadb --json verify

Damage is an error that names file and offset; the exit code is 3 then, and nothing is changed.";

/// Read and check every byte of the store
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Verify {}

impl Verify {
    /// What was read; anything wrong is an error.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let report = context.with_existing(|store| Ok(store.verify()?))?;
        let fields = Fields::default()
            .with("segments", report.segments)
            .with("frames", report.frames)
            .with("records", report.records)
            .with("bytes", report.bytes)
            .with("keys", report.keys);
        let mut out = context.output();
        out.either(&fields, || {
            format!(
                "nothing wrong: {} ({}) with {}, {} and {}\n",
                count(report.segments, "segment", "segments"),
                size(report.bytes),
                count(report.frames, "frame", "frames"),
                count(report.records, "record", "records"),
                count(report.keys, "key", "keys"),
            )
        })?;
        out.finish()
    }
}
