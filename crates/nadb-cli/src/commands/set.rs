//! `nadb set`: writes one record.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use nadb::{Tags, limits};

use crate::context::{Context, os_bytes};
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::source::{self, CopyError, Source, SourceError};
use crate::ttl;

const EXAMPLES: &str = "\
Examples:
  nadb set user:123 Alice
  nadb set user:123 Alice --tag user --tag premium --ttl 2h
  nadb set photo --file photo.jpg --if-absent
  date | nadb set now -
  nadb set user:123 Alicia --if-version 7

The record gets these tags and this lifetime and no others, whatever it had before. A VALUE of - is standard input.";

/// Write a value, with tags and a lifetime
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Set {
    /// The key: 1 to 65,535 bytes
    key: OsString,
    /// The value, or - for standard input
    #[arg(allow_negative_numbers = true)]
    value: Option<OsString>,
    /// Take the value from this file
    #[arg(long, value_name = "F", conflicts_with = "value")]
    file: Option<PathBuf>,
    /// A tag; may be repeated
    #[arg(long = "tag", value_name = "T")]
    tags: Vec<String>,
    /// The record expires after this time: 500ms, 90s, 10m, 2h, 7d
    #[arg(long, value_name = "TIME", value_parser = ttl::parse)]
    ttl: Option<Duration>,
    /// Write only if there is no such key
    #[arg(long, conflicts_with = "if_version")]
    if_absent: bool,
    /// Write only if the key has this version
    #[arg(long, value_name = "N")]
    if_version: Option<u64>,
}

impl Set {
    /// Checks and reads everything first, so that bad input leaves no trace of a store.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let key = context.key(&self.key)?;
        Tags::new(self.tags.iter().map(String::as_str))?;
        if let Some(ttl) = self.ttl {
            limits::check_ttl(ttl, 0)?;
        }
        let Source { head, rest } = self.value()?;
        let written = context.with_store(|store| {
            let namespace = context.namespace(store)?;
            let mut put = namespace.put(&key, &head).tags(self.tags);
            if let Some(ttl) = self.ttl {
                put = put.ttl(ttl);
            }
            if self.if_absent {
                put = put.if_absent();
            }
            if let Some(version) = self.if_version {
                put = put.if_version(version);
            }
            match rest {
                None => Ok(put.commit()?),
                Some(mut rest) => {
                    let mut writer = put.writer()?;
                    source::copy(&mut *rest, &mut writer)
                        .map_err(|error| copy_failed(error, self.file.as_deref()))?;
                    Ok(writer.commit()?)
                }
            }
        })?;
        let mut out = context.output();
        let fields = Fields::default().with("version", written.version).with("created", written.created);
        out.either(&fields, String::new)?;
        out.finish()
    }

    fn value(&self) -> Result<Source> {
        match (&self.file, &self.value) {
            (Some(path), _) => source::open_file(path).map_err(|error| match error {
                SourceError::TooLong(error) => error.with_path(path).into(),
                SourceError::Io(error) => Failure::file("reading", path, &error),
            }),
            (None, Some(value)) if value == "-" => {
                source::open_stream(io::stdin()).map_err(|error| match error {
                    SourceError::TooLong(error) => error.with_context("standard input").into(),
                    SourceError::Io(error) => {
                        Failure::Other(format!("reading standard input failed: {error}"))
                    }
                })
            }
            (None, Some(value)) => {
                let value = os_bytes(value)?;
                limits::check_value_len(value.len() as u64)?;
                Ok(Source { head: value, rest: None })
            }
            (None, None) => Err(Failure::Input("give a VALUE, --file F, or - for standard input".to_owned())),
        }
    }
}

/// Nothing was written: reading the value failed in the middle, or the store took no more of it.
fn copy_failed(error: CopyError, path: Option<&Path>) -> Failure {
    match (error, path) {
        (CopyError::Read(error), Some(path)) => Failure::file("reading", path, &error),
        (CopyError::Read(error), None) => Failure::Other(format!("reading standard input failed: {error}")),
        (CopyError::Write(error), _) => match source::store_error(error) {
            Ok(error) => error.into(),
            Err(error) => Failure::Other(format!("writing the value failed: {error}")),
        },
    }
}
