//! `nadb batch`: many operations from JSON lines, all or nothing.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::Args;
use nadb::limits::{self, BATCH_BYTES_MAX};
use nadb::{Attrs, Outcome, Store, Tags};
use serde::Deserialize;
use serde_json::Value;

use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::ttl;

const EXAMPLES: &str = r#"Examples:
  nadb batch changes.jsonl
  printf '%s\n' '{"op":"delete","key":"a"}' '{"op":"incr","key":"n","by":2}' | nadb batch -

A line is one of
  {"op":"set","key":"k","value":"v","tags":["t"],"ttl":"1h","namespace":"n","content_type":"text/plain",
   "attrs":{"lang":"en"},"if_absent":true}
  {"op":"set","key_base64":"/wA=","value_base64":"AAEC","if_version":7}
  {"op":"delete","key":"k","if_version":7}
  {"op":"incr","key":"k","by":2}
  {"op":"expire","key":"k","ttl":"1h"}
  {"op":"persist","key":"k"}
Without "namespace" it is the one of the command line. All lines happen in one atomic step, in order; if a line is invalid it
is named and nothing is written."#;

/// The longest line: a value of which every byte is escaped as \u00XX, a key likewise, and room for the rest.
const LINE_BYTES_MAX: u64 = 6 * (limits::VALUE_BYTES_MAX + limits::KEY_BYTES_MAX) as u64 + (1 << 20);

/// Do many operations from JSON lines, all or none
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Batch {
    /// The file of JSON lines, or - for standard input
    file: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Op {
    Set,
    Delete,
    Incr,
    Expire,
    Persist,
}

/// A line as it was written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    op: Op,
    namespace: Option<String>,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    tags: Option<Vec<String>>,
    ttl: Option<String>,
    content_type: Option<String>,
    attrs: Option<serde_json::Map<String, Value>>,
    by: Option<i64>,
    #[serde(default)]
    if_absent: bool,
    if_version: Option<u64>,
}

/// A line that makes sense.
#[derive(Debug)]
struct Step {
    line: usize,
    namespace: String,
    key: Vec<u8>,
    change: Change,
    if_version: Option<u64>,
}

#[derive(Debug)]
enum Change {
    Set(Box<Record>),
    Delete,
    Incr(i64),
    Expire(Duration),
    Persist,
}

#[derive(Debug)]
struct Record {
    value: Vec<u8>,
    tags: Vec<String>,
    ttl: Option<Duration>,
    content_type: Option<String>,
    attrs: Vec<(String, String)>,
    if_absent: bool,
}

impl Batch {
    /// Reads and checks all lines, then writes them as one batch.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let (reader, name): (Box<dyn Read>, _) = if self.file == Path::new("-") {
            (Box::new(io::stdin()), "standard input".to_owned())
        } else {
            let file =
                File::open(&self.file).map_err(|error| Failure::file("opening", &self.file, &error))?;
            (Box::new(file), self.file.display().to_string())
        };
        let steps = read(BufReader::new(reader), &name, context)?;
        let lines: Vec<usize> = steps.iter().map(|step| step.line).collect();
        let outcomes = context.with_store(|store| commit(store, steps))?;
        let mut out = context.output();
        for (line, outcome) in lines.iter().zip(&outcomes).filter(|_| context.json) {
            out.json(&fields(*line, outcome))?;
        }
        out.finish()
    }
}

fn fields(line: usize, outcome: &Outcome) -> Fields {
    let fields = Fields::default()
        .with("line", line)
        .with("version", outcome.version)
        .with("existed", outcome.existed);
    match &outcome.merged {
        Some(value) => fields.with("value", String::from_utf8_lossy(value).into_owned()),
        None => fields,
    }
}

fn commit(store: &Store, steps: Vec<Step>) -> Result<Vec<Outcome>> {
    let mut batch = store.batch();
    for Step { namespace, key, change, if_version, .. } in steps {
        match change {
            Change::Set(record) => {
                let mut put = batch.put(namespace, key, record.value).tags(record.tags);
                put = record.attrs.into_iter().fold(put, |put, (name, value)| put.attr(name, value));
                if let Some(ttl) = record.ttl {
                    put = put.ttl(ttl);
                }
                if let Some(content_type) = record.content_type {
                    put = put.content_type(content_type);
                }
                if record.if_absent {
                    put = put.if_absent();
                }
                if let Some(version) = if_version {
                    put.if_version(version);
                }
            }
            Change::Delete => {
                let remove = batch.remove(namespace, key);
                if let Some(version) = if_version {
                    remove.if_version(version);
                }
            }
            Change::Incr(by) => {
                batch.incr(namespace, key, by);
            }
            Change::Expire(ttl) => {
                batch.expire(namespace, key, ttl);
            }
            Change::Persist => {
                batch.persist(namespace, key);
            }
        }
    }
    Ok(batch.commit()?)
}

/// All lines but blank ones; the first that makes no sense is the error.
fn read(mut reader: impl BufRead, name: &str, context: &Context) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    let mut bytes = 0;
    for number in 1.. {
        let mut line = Vec::new();
        let read = reader.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', &mut line);
        match read {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(Failure::file("reading", Path::new(name), &error)),
        }
        let wrong =
            |error: String| Failure::Input(format!("line {number} of {name}: {error}; nothing was written"));
        if line.len() as u64 > LINE_BYTES_MAX {
            return Err(wrong(format!("it has more than {LINE_BYTES_MAX} bytes")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let step = parse(&line, number, context).map_err(wrong)?;
        bytes += step.bytes();
        if bytes > BATCH_BYTES_MAX {
            return Err(wrong(format!(
                "up to here the batch has {bytes} bytes, the limit is {BATCH_BYTES_MAX} bytes (256 MiB)"
            )));
        }
        steps.push(step);
    }
    Ok(steps)
}

fn parse(line: &[u8], number: usize, context: &Context) -> Result<Step, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| error.to_string())?;
    line.fits_its_op()?;
    let key = bytes("key", line.key, line.key_base64)?;
    limits::check_key(&key).map_err(|error| error.to_string())?;
    let namespace = line.namespace.unwrap_or_else(|| context.namespace.clone());
    limits::check_namespace(&namespace).map_err(|error| error.to_string())?;
    let change = match line.op {
        Op::Delete => Change::Delete,
        Op::Incr => Change::Incr(line.by.unwrap_or(1)),
        Op::Expire => {
            let ttl = ttl::parse(line.ttl.as_deref().ok_or("ttl is missing")?)?;
            limits::check_ttl(ttl, 0).map_err(|error| error.to_string())?;
            Change::Expire(ttl)
        }
        Op::Persist => Change::Persist,
        Op::Set => {
            let value = bytes("value", line.value, line.value_base64)?;
            let tags = line.tags.unwrap_or_default();
            let ttl = line.ttl.as_deref().map(ttl::parse).transpose()?;
            let attrs = attrs(line.attrs.unwrap_or_default())?;
            let (content_type, if_absent) = (line.content_type, line.if_absent);
            let record = Record { value, tags, ttl, content_type, attrs, if_absent };
            record.check().map_err(|error| error.to_string())?;
            Change::Set(Box::new(record))
        }
    };
    Ok(Step { line: number, namespace, key, change, if_version: line.if_version })
}

impl Record {
    /// The checks of the store, made here so that the line can be named.
    fn check(&self) -> nadb::Result<()> {
        limits::check_value_len(self.value.len() as u64)?;
        Tags::new(self.tags.iter().map(String::as_str))?;
        Attrs::new(self.attrs.iter().map(|(name, value)| (name.as_str(), value.as_str())))?;
        self.content_type.as_deref().map_or(Ok(()), limits::check_content_type)?;
        self.ttl.map_or(Ok(0), |ttl| limits::check_ttl(ttl, 0)).map(|_| ())
    }
}

/// The bytes of a field that may be given as text or as Base64.
fn bytes(field: &str, text: Option<String>, base64: Option<String>) -> Result<Vec<u8>, String> {
    match (text, base64) {
        (Some(text), None) => Ok(text.into_bytes()),
        (None, Some(base64)) => {
            BASE64_STANDARD.decode(base64).map_err(|error| format!("{field}_base64 is no Base64: {error}"))
        }
        (Some(_), Some(_)) => Err(format!("{field} and {field}_base64 exclude each other")),
        (None, None) => Err(format!("{field} or {field}_base64 is missing")),
    }
}

fn attrs(attrs: serde_json::Map<String, Value>) -> Result<Vec<(String, String)>, String> {
    let text = |(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        other => Err(format!("attribute {name:?} is {other}, it must be a string")),
    };
    attrs.into_iter().map(text).collect()
}

impl Line {
    /// Whether every field that is given means something for the operation.
    fn fits_its_op(&self) -> Result<(), String> {
        let fields = [
            ("ttl", self.ttl.is_some()),
            ("if_version", self.if_version.is_some()),
            ("by", self.by.is_some()),
            ("value", self.value.is_some()),
            ("value_base64", self.value_base64.is_some()),
            ("tags", self.tags.is_some()),
            ("content_type", self.content_type.is_some()),
            ("attrs", self.attrs.is_some()),
            ("if_absent", self.if_absent),
        ];
        let takes = |field: &str| match self.op {
            Op::Set => field != "by",
            Op::Delete => field == "if_version",
            Op::Incr => field == "by",
            Op::Expire => field == "ttl",
            Op::Persist => false,
        };
        let stray = fields.into_iter().find(|(field, is_given)| *is_given && !takes(field));
        match stray {
            Some((field, _)) => Err(format!("{field} means nothing for this operation")),
            None if self.if_absent && self.if_version.is_some() => {
                Err("if_absent and if_version exclude each other".to_owned())
            }
            None => Ok(()),
        }
    }
}

impl Step {
    fn bytes(&self) -> usize {
        let value = if let Change::Set(record) = &self.change { record.value.len() } else { 0 };
        self.key.len() + value
    }
}
