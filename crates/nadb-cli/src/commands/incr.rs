//! `nadb incr`: adds to a counter.

use std::ffi::OsString;

use clap::Args;

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb incr visits
  nadb incr stock -5

A counter is a decimal 64-bit integer; a missing one counts as 0. Tags and lifetime stay.";

/// Add to a counter and print its new value
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Incr {
    /// The counter's key
    key: OsString,
    /// What is added
    #[arg(value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    by: i64,
}

impl Incr {
    /// Adds, atomically.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let key = context.key(&self.key)?;
        let value = context.with_store(|store| Ok(context.namespace(store)?.incr(&key, self.by)?))?;
        let mut out = context.output();
        out.either(&Fields::default().with("value", value), || format!("{value}\n"))?;
        out.finish()
    }
}
