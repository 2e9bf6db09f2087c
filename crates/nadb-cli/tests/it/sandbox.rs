//! A directory of its own for each test, and the command run in it.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A working directory with room for a store in `nadb-data`, the default.
pub(crate) struct Sandbox {
    dir: TempDir,
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: Vec<u8>,
    pub(crate) err: String,
}

impl Sandbox {
    pub(crate) fn new() -> Sandbox {
        Sandbox { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("nadb-data")
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn command<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nadb"));
        command.current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        command
    }

    pub(crate) fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Runs a command line without quoting.
    pub(crate) fn sh(&self, line: &str) -> Ran {
        self.run(line.split_whitespace())
    }

    /// Runs a command line that must succeed, and gives its output.
    pub(crate) fn ok(&self, line: &str) -> String {
        let ran = self.sh(line);
        assert_eq!(ran.code, 0, "{line}: {}", ran.err);
        ran.text()
    }

    /// Runs a command line that must fail with `code`, and gives what it said.
    pub(crate) fn fails(&self, code: i32, line: &str) -> String {
        let ran = self.sh(line);
        ran.check_failure(code, line);
        ran.err
    }

    pub(crate) fn with_input(&self, line: &str, input: &[u8]) -> Ran {
        let mut child = self
            .command(line.split_whitespace())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The command may refuse before it has read everything.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap().into()
    }

    /// All keys of the default namespace, as `list` prints them.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.ok("list").lines().map(str::to_owned).collect()
    }
}

impl Ran {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.out.clone()).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.err);
        serde_json::from_slice(&self.out).unwrap()
    }

    /// One sentence on standard error and this exit code.
    pub(crate) fn check_failure(&self, code: i32, what: &str) {
        assert_eq!(self.code, code, "{what}: {}{}", self.text(), self.err);
        assert_eq!(self.err.lines().count(), 1, "{what}: {}", self.err);
        assert!(self.err.starts_with("nadb: "), "{what}: {}", self.err);
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Ran {
        Ran {
            code: output.status.code().unwrap(),
            out: output.stdout,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}
