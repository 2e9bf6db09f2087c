//! Why a command did not do what it should, and the exit code for it.

use std::fmt::Display;
use std::io;
use std::path::Path;

use nadb::ErrorKind;

/// The result of a command.
pub(crate) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The store said so.
    Store(nadb::Error),
    /// The command line or the input makes no sense; nothing was written.
    Input(String),
    /// The key or namespace is not there.
    NotFound(String),
    /// Damage was found, and nothing was changed.
    Damage(String),
    /// A part was not done, or the operating system failed.
    Other(String),
    /// Whoever read the output has gone: nothing to say, and nobody to say it to.
    OutputClosed,
}

impl Failure {
    /// A user's file could not be used; a name that leads nowhere is bad input.
    pub(crate) fn file(doing: &str, path: &Path, error: &io::Error) -> Failure {
        let sentence = format!("{doing} {} failed: {error}", path.display());
        match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                Failure::Input(sentence)
            }
            _ => Failure::Other(sentence),
        }
    }

    /// An input error that names what is wrong with `what`.
    pub(crate) fn input(what: impl Display, error: impl Display) -> Failure {
        Failure::Input(format!("{what}: {error}"))
    }

    /// What the shell is told.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Failure::Store(error) => match error.kind() {
                ErrorKind::InvalidInput | ErrorKind::Limit => 2,
                ErrorKind::Corruption => 3,
                ErrorKind::Locked => 4,
                ErrorKind::PreconditionFailed { .. } => 6,
                _ => 5,
            },
            Failure::Input(_) => 2,
            Failure::NotFound(_) => 1,
            Failure::Damage(_) => 3,
            Failure::Other(_) => 5,
            Failure::OutputClosed => 0,
        }
    }

    /// What the user is told.
    pub(crate) fn sentence(&self) -> Option<String> {
        match self {
            Failure::Store(error) => Some(error.to_string()),
            Failure::Input(sentence)
            | Failure::NotFound(sentence)
            | Failure::Damage(sentence)
            | Failure::Other(sentence) => Some(sentence.clone()),
            Failure::OutputClosed => None,
        }
    }
}

impl From<nadb::Error> for Failure {
    fn from(error: nadb::Error) -> Failure {
        Failure::Store(error)
    }
}
