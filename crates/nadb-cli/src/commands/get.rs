//! `nadb get`: reads one record.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use nadb::{Entry, Namespace};

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::output;
use crate::present;
use crate::source::{self, CopyError};

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
        if !context.json && !self.meta {
            return context.with_existing(|store| self.value(context, &context.namespace(store)?, &key));
        }
        if self.meta && self.output.is_none() {
            return self.metadata(context, &key);
        }
        let entry = context.with_existing(|store| Ok(context.namespace(store)?.get_entry(&key)?))?;
        let entry = entry.ok_or_else(|| context.no_key(&key))?;
        if let Some(path) = &self.output {
            fs::write(path, &entry.value).map_err(|error| Failure::file("writing", path, &error))?;
        }
        let mut out = context.output();
        if context.json {
            out.json(&self.fields(&entry))?;
        } else {
            out.bytes(present::metadata_text(&entry.key, &entry.metadata).as_bytes())?;
        }
        out.finish()
    }

    /// Prints what is known about the record, which is no read of it.
    fn metadata(&self, context: &Context, key: &[u8]) -> Result<()> {
        let metadata = context.with_last_access(|store| Ok(context.namespace(store)?.metadata(key)?))?;
        let metadata = metadata.ok_or_else(|| context.no_key(key))?;
        let mut out = context.output();
        if context.json {
            let fields = Fields::default().with_bytes("key", "key_base64", key);
            out.json(&present::metadata_json(fields, &metadata))?;
        } else {
            out.bytes(present::metadata_text(key, &metadata).as_bytes())?;
        }
        out.finish()
    }

    /// Writes the value out piece by piece: it need not fit in memory.
    fn value(&self, context: &Context, namespace: &Namespace, key: &[u8]) -> Result<()> {
        let mut reader = namespace.reader(key)?.ok_or_else(|| context.no_key(key))?;
        let Some(path) = &self.output else {
            let mut out = context.output();
            source::copy(&mut reader, &mut out).map_err(|error| copy_failed(error, None))?;
            return out.finish();
        };
        let mut file = fs::File::create(path).map_err(|error| Failure::file("writing", path, &error))?;
        source::copy(&mut reader, &mut file).map(drop).map_err(|error| copy_failed(error, Some(path)))
    }

    fn fields(&self, entry: &Entry) -> Fields {
        let mut fields = Fields::default().with_bytes("key", "key_base64", &entry.key);
        if !self.meta && self.output.is_none() {
            fields = fields.with_bytes("value", "value_base64", &entry.value);
        }
        present::metadata_json(fields, &entry.metadata)
    }
}

fn copy_failed(error: CopyError, path: Option<&Path>) -> Failure {
    match (error, path) {
        (CopyError::Write(error), Some(path)) => Failure::file("writing", path, &error),
        (CopyError::Write(error), None) => output::failed(error),
        (CopyError::Read(error), _) => match source::store_error(error) {
            Ok(error) => error.into(),
            Err(error) => Failure::Other(format!("reading the value failed: {error}")),
        },
    }
}
