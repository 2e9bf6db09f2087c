//! `nadb expire`: another lifetime for a record.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use nadb::limits;

use crate::context::Context;
use crate::failure::Result;
use crate::ttl;

const EXAMPLES: &str = "\
Examples:
  nadb expire session:1 30m
  nadb expire report 7d

The time counts from now, whatever lifetime the record had. Value and tags stay. `nadb persist` ends a lifetime.";

/// Let a key expire after some time
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Expire {
    /// The key
    key: OsString,
    /// The time from now: 500ms, 90s, 10m, 2h, 7d
    #[arg(value_name = "TTL", value_parser = ttl::parse)]
    ttl: Duration,
}

impl Expire {
    /// Writes the record with another expiry.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let key = context.key(&self.key)?;
        limits::check_ttl(self.ttl, 0)?;
        let existed =
            context.with_existing(|store| Ok(context.namespace(store)?.expire(&key, self.ttl)?))?;
        if existed { Ok(()) } else { Err(context.no_key(&key)) }
    }
}
