//! `nadb extract`: records become files, the reverse of `import`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use nadb::Namespace;

use crate::context::Context;
use crate::escape::escape;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::present::{count, size};
use crate::progress::Progress;
use crate::source::{self, CopyError};

const EXAMPLES: &str = "\
Examples:
  nadb extract ./copy
  nadb -n site extract ./public --prefix www/

The path below DIR is the key without the prefix; missing directories are made, files of the same name are replaced. Keys
that cannot be such a path (empty parts, . and .., a NUL), that lead through a symbolic link, or that are both a file and a
directory are named and make the exit code 5 when everything else is out.";

/// Write records to files
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Extract {
    /// The directory, made where it is missing
    dir: PathBuf,
    /// Only keys that begin with this; it is left out of the paths
    #[arg(long, value_name = "P", default_value = "")]
    prefix: OsString,
}

impl Extract {
    /// Extracts what can be extracted and says what could not.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let started = Instant::now();
        let prefix = context.bytes(&self.prefix)?;
        let report = context.with_existing(|store| {
            fs::create_dir_all(&self.dir).map_err(|error| Failure::file("making", &self.dir, &error))?;
            let mut report = Report::default();
            let done = extract_all(&context.namespace(store)?, &prefix, &self.dir, &mut report);
            let printed = print(context, &report, started);
            done.and(printed).map(|()| report)
        })?;
        match report.failed {
            0 => Ok(()),
            failed => Err(Failure::Other(format!(
                "{} could not be extracted and {} named above",
                count(failed, "key", "keys"),
                if failed == 1 { "is" } else { "are" }
            ))),
        }
    }
}

#[derive(Debug, Default)]
struct Report {
    files: u64,
    bytes: u64,
    failed: u64,
}

fn extract_all(namespace: &Namespace, prefix: &[u8], dir: &Path, report: &mut Report) -> Result<()> {
    let mut target = Target::new(dir);
    let progress = Progress::new(None);
    for key in namespace.prefix(prefix)?.keys() {
        let key = key?;
        // What has expired since the listing began is gone.
        let Some(mut value) = namespace.reader(&key)? else { continue };
        match target.write(key.get(prefix.len()..).unwrap_or_default(), &mut value) {
            Ok(bytes) => {
                report.files += 1;
                report.bytes += bytes;
                progress.step(report.bytes);
            }
            Err(NotWritten::Store(error)) => return Err(error.into()),
            Err(NotWritten::Target(why)) => {
                report.failed += 1;
                progress.complain(&format!("key \"{}\" was not extracted: {why}", escape(&key)));
            }
        }
    }
    Ok(())
}

fn print(context: &Context, report: &Report, started: Instant) -> Result<()> {
    let seconds = started.elapsed().as_secs_f64();
    let fields = Fields::default()
        .with("extracted", report.files)
        .with("bytes", report.bytes)
        .with("failed", report.failed)
        .with("seconds", seconds);
    let mut out = context.output();
    out.either(&fields, || {
        format!(
            "extracted {} ({}) in {seconds:.2} s, failed {}\n",
            count(report.files, "file", "files"),
            size(report.bytes),
            report.failed
        )
    })?;
    out.finish()
}

/// The directory that is written to.
#[derive(Debug)]
struct Target<'a> {
    root: &'a Path,
    /// Directories below the root that are known to be real ones.
    known: HashSet<PathBuf>,
    temporary: u64,
}

impl Target<'_> {
    fn new(root: &Path) -> Target<'_> {
        Target { root, known: HashSet::new(), temporary: 0 }
    }

    /// Writes one file under a temporary name and renames it, so that no reader sees half of it.
    fn write(&mut self, path: &[u8], value: &mut dyn Read) -> Result<u64, NotWritten> {
        let relative = relative_path(path)?;
        if let Some(parent) = relative.parent() {
            self.make_dirs(parent)?;
        }
        let target = self.root.join(&relative);
        if fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_dir()) {
            return Err("there is a directory of that name".to_owned().into());
        }
        let temporary = self.temporary_beside(&target);
        let written = write_new(&temporary, value)
            .and_then(|bytes| fs::rename(&temporary, &target).map(|()| bytes).map_err(CopyError::Write));
        written.map_err(|error| {
            // Best effort: the failure that counts is the first one.
            let _ = fs::remove_file(&temporary);
            match error {
                CopyError::Write(error) => NotWritten::Target(error.to_string()),
                CopyError::Read(error) => match source::store_error(error) {
                    Ok(error) => NotWritten::Store(error),
                    Err(error) => NotWritten::Target(error.to_string()),
                },
            }
        })
    }

    /// Makes the directories down to `relative` and refuses to pass through anything that is no directory: a link could
    /// lead out of the root.
    fn make_dirs(&mut self, relative: &Path) -> Result<(), String> {
        let mut below = PathBuf::new();
        for component in relative.components() {
            below.push(component);
            if self.known.contains(&below) {
                continue;
            }
            let dir = self.root.join(&below);
            let shown = escape(below.as_os_str().as_encoded_bytes());
            match fs::symlink_metadata(&dir) {
                Ok(metadata) if metadata.is_dir() => {}
                Ok(metadata) if metadata.is_symlink() => {
                    return Err(format!("\"{shown}\" is a symbolic link there"));
                }
                Ok(_) => return Err(format!("\"{shown}\" is a file there and cannot be a directory, too")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    fs::create_dir(&dir).map_err(|error| format!("making \"{shown}\" failed: {error}"))?;
                }
                Err(error) => return Err(format!("looking at \"{shown}\" failed: {error}")),
            }
            self.known.insert(below.clone());
        }
        Ok(())
    }

    fn temporary_beside(&mut self, target: &Path) -> PathBuf {
        self.temporary += 1;
        target.with_file_name(format!(".nadb-{}-{}.tmp", std::process::id(), self.temporary))
    }
}

/// Why a key did not become a file.
#[derive(Debug)]
enum NotWritten {
    /// The store does not give the value.
    Store(nadb::Error),
    /// The file cannot be.
    Target(String),
}

impl From<String> for NotWritten {
    fn from(why: String) -> NotWritten {
        NotWritten::Target(why)
    }
}

fn write_new(path: &Path, value: &mut dyn Read) -> Result<u64, CopyError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    source::copy(value, &mut file.map_err(CopyError::Write)?)
}

/// The path below the root that a key stands for.
fn relative_path(key: &[u8]) -> Result<PathBuf, String> {
    if key.contains(&0) {
        return Err("it has a NUL, which no file name can have".to_owned());
    }
    let mut path = PathBuf::new();
    for part in key.split(|byte| *byte == b'/') {
        match part {
            b"" => return Err("a part of its path is empty".to_owned()),
            b"." | b".." => return Err("its path has . or .. as a part".to_owned()),
            _ => path.push(file_name(part)?),
        }
    }
    Ok(path)
}

#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
fn file_name(part: &[u8]) -> Result<&std::ffi::OsStr, String> {
    Ok(std::os::unix::ffi::OsStrExt::from_bytes(part))
}

#[cfg(not(unix))]
fn file_name(part: &[u8]) -> Result<&str, String> {
    let name = std::str::from_utf8(part).map_err(|_| "its path is not UTF-8".to_owned())?;
    if name.contains(['\\', ':', '<', '>', '"', '|', '?', '*']) || name.ends_with(['.', ' ']) {
        return Err("its path has a name that no file can have here".to_owned());
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_key_leads_out_of_the_root() {
        assert_eq!(relative_path(b"a/b.txt"), Ok(PathBuf::from("a/b.txt")));
        assert_eq!(relative_path(b"..."), Ok(PathBuf::from("...")));
        for bad in ["", "/", "/etc/passwd", "a//b", "a/", "..", "../x", "a/../../x", ".", "a/./b", "a\0b"] {
            assert!(relative_path(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }
}
