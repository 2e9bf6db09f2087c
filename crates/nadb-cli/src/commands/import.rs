//! `nadb import`: every file of a tree becomes a record.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use nadb::backend::{BatchAtomicity, Feature};
use nadb::{Batch, ErrorKind, Store, limits};
use walkdir::{DirEntry, WalkDir};

use crate::context::{Context, os_bytes};
use crate::escape::escape;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::file_tags;
use crate::present::{count, size};
use crate::progress::Progress;
use crate::source::{self, CopyError, Source, SourceError};

const EXAMPLES: &str = "\
Examples:
  nadb import ./docs
  nadb -n site import ./public --prefix www/

The key is the prefix and the path below DIR, with /; the value is the file, byte for byte. Tags: ext: with the extension in
lower case, dir: with the directory that holds the file, mime: with the media type, which is the record's content type, too.
Links, special files and the store itself are skipped. Files above the limit of a value and files that cannot be read are
named, and make the exit code 5 when everything else is in. Import again and the files overwrite what they wrote before.";

/// One atomic write holds at most so many files.
const BATCH_FILES_MAX: usize = 256;
/// One atomic write holds at most so many bytes of files, or one larger file.
const BATCH_BYTES_MAX: usize = 4 << 20;

/// Store every file of a tree
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Import {
    /// The directory
    dir: PathBuf,
    /// Put this before every key
    #[arg(long, value_name = "P", default_value = "")]
    prefix: OsString,
    /// Append every key to this file as soon as its write is acknowledged
    #[arg(long, value_name = "FILE", hide = true)]
    ack_log: Option<PathBuf>,
}

impl Import {
    /// Imports what can be imported and says what could not.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let started = Instant::now();
        let prefix = context.bytes(&self.prefix)?;
        let root =
            fs::canonicalize(&self.dir).map_err(|error| Failure::file("opening", &self.dir, &error))?;
        if !root.is_dir() {
            return Err(Failure::Input(format!("{} is no directory", self.dir.display())));
        }
        let ack_log = self.ack_log.as_deref().map(open_ack_log).transpose()?;
        let report = context.with_store(|store| {
            let own = context.url.is_none().then(|| fs::canonicalize(&context.path).ok()).flatten();
            if own.as_ref().is_some_and(|own| root.starts_with(own)) {
                return Err(Failure::Input(format!("{} is the store itself", self.dir.display())));
            }
            let total = Progress::is_visible().then(|| files_in(&root, own.as_deref()));
            let mut import = Importer {
                context,
                store,
                prefix,
                ack_log,
                batch: store.batch(),
                pending: Pending::default(),
                report: Report::default(),
                progress: Progress::new(total),
            };
            let done = import.tree(&root, own.as_deref());
            let report = import.finish();
            let printed = print(context, &report, started);
            done.and(printed).map(|()| report)
        })?;
        match report.failed {
            0 => Ok(()),
            failed => Err(Failure::Other(format!(
                "{} could not be imported and {} named above",
                count(failed, "file", "files"),
                if failed == 1 { "is" } else { "are" }
            ))),
        }
    }
}

#[derive(Debug, Default)]
struct Report {
    files: u64,
    bytes: u64,
    skipped: u64,
    failed: u64,
}

fn print(context: &Context, report: &Report, started: Instant) -> Result<()> {
    let seconds = started.elapsed().as_secs_f64();
    let fields = Fields::default()
        .with("imported", report.files)
        .with("bytes", report.bytes)
        .with("skipped", report.skipped)
        .with("failed", report.failed)
        .with("seconds", seconds);
    let mut out = context.output();
    out.either(&fields, || {
        format!(
            "imported {} ({}) in {seconds:.2} s, skipped {}, failed {}\n",
            count(report.files, "file", "files"),
            size(report.bytes),
            report.skipped,
            report.failed
        )
    })?;
    out.finish()
}

/// The write that is being collected.
#[derive(Debug, Default)]
struct Pending {
    keys: Vec<Vec<u8>>,
    bytes: usize,
}

#[derive(Debug)]
struct Importer<'a> {
    context: &'a Context,
    store: &'a Store,
    prefix: Vec<u8>,
    ack_log: Option<(File, &'a Path)>,
    batch: Batch,
    pending: Pending,
    report: Report,
    progress: Progress,
}

impl Importer<'_> {
    /// Takes the progress bar away; what was collected and not written is forgotten.
    fn finish(self) -> Report {
        self.report
    }

    fn tree(&mut self, root: &Path, own: Option<&Path>) -> Result<()> {
        for entry in walk(root, own) {
            match entry {
                Ok(entry) if entry.file_type().is_file() => self.file(&entry, root)?,
                Ok(entry) if entry.file_type().is_dir() => {}
                Ok(_) => self.report.skipped += 1,
                Err(error) => {
                    let path = error.path().unwrap_or(root).to_owned();
                    self.failed(
                        &path,
                        &error.io_error().map_or_else(|| error.to_string(), ToString::to_string),
                    );
                }
            }
        }
        self.commit()?;
        // Elsewhere what was acknowledged is as durable as it gets.
        if self.store.capabilities().has(Feature::Flush) {
            self.store.flush()?;
        }
        Ok(())
    }

    /// Files that are written together.
    fn batch_files_max(&self) -> usize {
        match self.store.capabilities().batches {
            BatchAtomicity::All => BATCH_FILES_MAX,
            _ => 1,
        }
    }

    fn file(&mut self, entry: &DirEntry, root: &Path) -> Result<()> {
        let path = entry.path();
        let relative = path.strip_prefix(root).unwrap_or(path);
        let key = match self.key(relative) {
            Ok(key) => key,
            Err(failure) => {
                self.failed(path, &failure.sentence().unwrap_or_default());
                return Ok(());
            }
        };
        match source::open_file(path) {
            Ok(Source { head, rest: None }) => self.put(key, &head, relative),
            Ok(Source { head, rest: Some(rest) }) => self.put_large(key, &head, rest, path, relative),
            Err(SourceError::TooLong(error)) => {
                self.failed(path, &error.to_string());
                Ok(())
            }
            Err(SourceError::Io(error)) => {
                self.failed(path, &error.to_string());
                Ok(())
            }
        }
    }

    fn key(&self, relative: &Path) -> Result<Vec<u8>> {
        let mut key = self.prefix.clone();
        for (at, component) in relative.components().enumerate() {
            if at > 0 {
                key.push(b'/');
            }
            key.extend(os_bytes(&component.as_os_str().to_owned())?);
        }
        limits::check_key(&key)?;
        Ok(key)
    }

    fn put(&mut self, key: Vec<u8>, value: &[u8], relative: &Path) -> Result<()> {
        if self.pending.bytes + value.len() > BATCH_BYTES_MAX {
            self.commit()?;
        }
        let media_type = file_tags::media_type(relative);
        let tags = file_tags::tags(relative, media_type.as_deref());
        let put = self.batch.put(&self.context.namespace, &key, value).tags(tags);
        if let Some(media_type) = media_type {
            put.content_type(media_type);
        }
        self.pending.bytes += value.len();
        self.pending.keys.push(key);
        self.progress.step(self.report.bytes + self.pending.bytes as u64);
        if self.pending.keys.len() >= self.batch_files_max() { self.commit() } else { Ok(()) }
    }

    /// A file that is too long to be held in memory is a write of its own.
    fn put_large(
        &mut self,
        key: Vec<u8>,
        head: &[u8],
        mut rest: Box<dyn Read>,
        path: &Path,
        relative: &Path,
    ) -> Result<()> {
        self.commit()?;
        let media_type = file_tags::media_type(relative);
        let tags = file_tags::tags(relative, media_type.as_deref());
        let namespace = self.context.namespace(self.store)?;
        let mut put = namespace.put(&key, head).tags(tags);
        if let Some(media_type) = media_type {
            put = put.content_type(media_type);
        }
        let mut writer = put.writer()?;
        match source::copy(&mut *rest, &mut writer) {
            Ok(_) => {}
            Err(CopyError::Read(error)) => {
                self.failed(path, &error.to_string());
                return Ok(());
            }
            Err(CopyError::Write(error)) => match source::store_error(error) {
                Ok(error) if error.kind() == ErrorKind::Limit => {
                    self.failed(path, &error.to_string());
                    return Ok(());
                }
                Ok(error) => return Err(error.into()),
                Err(error) => return Err(Failure::Other(error.to_string())),
            },
        }
        let len = writer.len();
        writer.commit()?;
        self.acknowledged(&[key], len)
    }

    /// Writes what was collected; with the acknowledgement it counts as imported.
    fn commit(&mut self) -> Result<()> {
        let pending = mem::take(&mut self.pending);
        mem::replace(&mut self.batch, self.store.batch()).commit()?;
        self.acknowledged(&pending.keys, pending.bytes as u64)
    }

    fn acknowledged(&mut self, keys: &[Vec<u8>], bytes: u64) -> Result<()> {
        self.report.files += keys.len() as u64;
        self.report.bytes += bytes;
        if let Some((file, path)) = &mut self.ack_log {
            let lines: String = keys.iter().flat_map(|key| [escape(key), "\n".to_owned()]).collect();
            file.write_all(lines.as_bytes()).map_err(|error| Failure::file("writing", path, &error))?;
        }
        Ok(())
    }

    fn failed(&mut self, path: &Path, why: &str) {
        self.report.failed += 1;
        let path = escape(path.as_os_str().as_encoded_bytes());
        self.progress.complain(&format!("{path} was not imported: {why}"));
    }
}

fn open_ack_log(path: &Path) -> Result<(File, &Path)> {
    match OpenOptions::new().create(true).append(true).open(path) {
        Ok(file) => Ok((file, path)),
        Err(error) => Err(Failure::file("opening", path, &error)),
    }
}

/// Everything below `root` in a fixed order, without the store's own directory, which grows while it is read.
fn walk<'a>(
    root: &'a Path,
    own: Option<&'a Path>,
) -> impl Iterator<Item = walkdir::Result<DirEntry>> + use<'a> {
    WalkDir::new(root)
        .min_depth(1)
        .sort_by_file_name()
        .into_iter()
        .filter_entry(move |entry| Some(entry.path()) != own)
}

fn files_in(root: &Path, own: Option<&Path>) -> u64 {
    walk(root, own).filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_type().is_file())).count()
        as u64
}
