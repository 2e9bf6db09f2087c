//! `nadb ttl`: what is left of a record's life.

use std::ffi::OsString;
use std::time::Duration;

use clap::Args;
use nadb::Ttl;
use serde_json::Value;

use crate::context::Context;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb ttl session:1

Prints the time that is left in whole milliseconds, such as 1799642ms, or never. With --json the field ttl_ms is a number or null.";

/// Print how long a key is still there
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct TimeLeft {
    /// The key
    key: OsString,
}

impl TimeLeft {
    /// Looks at the record's expiry.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let key = context.key(&self.key)?;
        let left = match context.with_existing(|store| Ok(context.namespace(store)?.ttl(&key)?))? {
            Ttl::Absent => return Err(context.no_key(&key)),
            Ttl::Never => None,
            Ttl::Left(left) => Some(milliseconds(left)),
        };
        let mut out = context.output();
        out.either(
            &Fields::default().with("ttl_ms", left.map_or(Value::Null, Value::from)),
            || match left {
                None => "never\n".to_owned(),
                Some(left) => format!("{left}ms\n"),
            },
        )?;
        out.finish()
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
