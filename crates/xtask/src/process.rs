//! Running other programs from the workspace's root, and what a task ends with.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Why a task did not succeed: a sentence and the exit code of the whole run.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) message: String,
    pub(crate) code: u8,
}

/// What a task ends with.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    /// Something that was checked does not hold.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 1 }
    }

    /// The command line was not understood.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: 2 }
    }

    /// A tool that cannot be installed from here is missing.
    pub(crate) fn unavailable(message: impl Into<String>) -> Self {
        Failure { message: message.into(), code: UNAVAILABLE }
    }

    /// The same failure, with nothing left to print.
    pub(crate) fn already_said(self) -> Self {
        Failure { message: String::new(), code: self.code }
    }
}

/// The exit code for a tool that is missing and cannot be installed from here.
pub(crate) const UNAVAILABLE: u8 = 3;

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    let mut root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.pop();
    root.pop();
    root
}

/// `cargo` in the workspace's root. It is looked up on the PATH, so that rustup understands `+nightly`.
pub(crate) fn cargo(words: &[&str]) -> Command {
    let mut command = Command::new("cargo");
    command.args(words).current_dir(root());
    command
}

/// Prints the command line and runs it; fails when it does.
pub(crate) fn run(command: &mut Command) -> Outcome {
    println!("$ {}", shown(command));
    let status = command.status().map_err(|error| not_started(command, &error))?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!("`{}` failed ({status})", shown(command))))
}

/// Runs quietly and gives what went to stdout; what goes to stderr is seen.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| not_started(command, &error))?;
    if !output.status.success() {
        return Err(Failure::new(format!("`{}` failed ({})", shown(command), output.status)));
    }
    String::from_utf8(output.stdout)
        .map_err(|_| Failure::new(format!("`{}` printed no UTF-8", shown(command))))
}

/// Whether the command runs and succeeds; what it prints is dropped.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// What `command` looks like on a command line, with the variables that it adds.
fn shown(command: &Command) -> String {
    let variables = command.get_envs().filter_map(|(name, value)| {
        Some(format!("{}='{}'", name.to_string_lossy(), value?.to_string_lossy()))
    });
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    variables.chain(words.map(|word| quoted(&word.to_string_lossy()))).collect::<Vec<_>>().join(" ")
}

/// The word as a shell wants it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=+,:@".contains(c);
    if word.chars().all(plain) { word.into() } else { format!("'{word}'") }
}

fn not_started(command: &Command, error: &std::io::Error) -> Failure {
    Failure::new(format!("`{}` could not be started: {error}", shown(command)))
}
