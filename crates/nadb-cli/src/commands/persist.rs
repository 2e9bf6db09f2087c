//! `nadb persist`: ends a record's lifetime.

use std::ffi::OsString;

use clap::Args;

use crate::context::Context;
use crate::failure::Result;

const EXAMPLES: &str = "\
Examples:
  nadb persist session:1

The record stays until it is deleted. Value and tags stay as they are.";

/// Let a key live until it is deleted
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Persist {
    /// The key
    key: OsString,
}

impl Persist {
    /// Writes the record without an expiry.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let key = context.key(&self.key)?;
        let existed = context.with_existing(|store| Ok(context.namespace(store)?.persist(&key)?))?;
        if existed { Ok(()) } else { Err(context.no_key(&key)) }
    }
}
