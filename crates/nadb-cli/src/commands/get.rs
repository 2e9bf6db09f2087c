//! `nadb get`: reads one record.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use nadb::Entry;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::present;

const EXAMPLES: &str = "\
Examples:
  nadb get user:123
  nadb get photo -o photo.jpg
  nadb get user:123 --meta
  nadb --json get user:123

The value is written byte for byte, without a line end behind it.";

/// Print a value, or what is known about it
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Get {
    /// The key
    key: OsString,
    /// Print version, sizes, tags and times in place of the value
    #[arg(long)]
    meta: bool,
    /// Write the value to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Get {
    /// Reads value and metadata of one version.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let key = context.key(&self.key)?;
        let entry = context.with_existing(|store| Ok(context.namespace(store)?.get_entry(&key)?))?;
        let entry = entry.ok_or_else(|| context.no_key(&key))?;
        if let Some(path) = &self.output {
            fs::write(path, &entry.value).map_err(|error| Failure::file("writing", path, &error))?;
        }
        let mut out = context.output();
        if context.json {
            out.json(&self.fields(&entry))?;
        } else if self.meta {
            out.bytes(present::metadata_text(&entry.key, &entry.metadata).as_bytes())?;
        } else if self.output.is_none() {
            out.bytes(&entry.value)?;
        }
        out.finish()
    }

    fn fields(&self, entry: &Entry) -> Fields {
        let mut fields = Fields::default().with_bytes("key", "key_base64", &entry.key);
        if !self.meta && self.output.is_none() {
            fields = fields.with_bytes("value", "value_base64", &entry.value);
        }
        present::metadata_json(fields, &entry.metadata)
    }
}
