//! What every command needs: the global options, keys from the command line, and a store that is always closed.

use std::ffi::OsString;
use std::path::PathBuf;

use nadb::{Durability, ErrorKind, Namespace, Store, limits};

use crate::escape::{escape, unescape};
use crate::failure::{Failure, Result};
use crate::output::{self, Output};
use crate::progress::Opening;

/// The global options.
#[derive(Debug)]
pub(crate) struct Context {
    /// The store's directory.
    pub(crate) path: PathBuf,
    /// The store's URL, where it is not in a directory.
    pub(crate) url: Option<String>,
    /// The namespace, checked.
    pub(crate) namespace: String,
    /// Whether JSON is printed.
    pub(crate) json: bool,
    /// The class of all writes, where one was asked for.
    pub(crate) durability: Option<Durability>,
    /// Whether keys on the command line are escaped.
    pub(crate) escaped: bool,
}

impl Context {
    /// Opens the store, creating it where it is missing, runs `work` and closes the store.
    pub(crate) fn with_store<T>(&self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        self.open(true, false, work)
    }

    /// Opens the store that must exist, runs `work` and closes the store.
    pub(crate) fn with_existing<T>(&self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        self.open(false, false, work)
    }

    /// The same, where `work` sees when keys were last read, and reads none of them.
    pub(crate) fn with_last_access<T>(&self, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        self.open(false, true, work)
    }

    fn open<T>(&self, create: bool, track_access: bool, work: impl FnOnce(&Store) -> Result<T>) -> Result<T> {
        let store = match &self.url {
            Some(url) => self.connect(url)?,
            None => self.open_directory(create, track_access)?,
        };
        let cut = store.recovery().cut_bytes;
        if cut > 0 {
            output::complain(&format!(
                "note: the store had not been closed; {cut} bytes of unfinished writes at the end of its log were cut off"
            ));
        }
        for warning in &store.recovery().warnings {
            output::complain(&format!("warning: {warning}"));
        }
        let worked = work(&store);
        let closed = store.close();
        match (worked, closed) {
            (Ok(done), Ok(())) => Ok(done),
            (Ok(_) | Err(Failure::OutputClosed), Err(error)) => {
                Err(error.with_context("closing the store failed").into())
            }
            (Err(failure), Err(error)) => {
                // A poisoned store says the same twice.
                if error.kind() != ErrorKind::Poisoned {
                    output::complain(&error.with_context("closing the store failed").to_string());
                }
                Err(failure)
            }
            (Err(failure), Ok(())) => Err(failure),
        }
    }

    fn open_directory(&self, create: bool, track_access: bool) -> Result<Store> {
        let builder = Store::builder().path(&self.path).create(create).track_access(track_access);
        let builder = builder.durability(self.durability.unwrap_or_default());
        let opening = Opening::begin();
        let store = builder.on_open_progress(opening.observer()).open();
        opening.end();
        Ok(store?)
    }

    #[cfg(feature = "redis")]
    fn connect(&self, url: &str) -> Result<Store> {
        if self.durability.is_some() {
            return Err(Failure::Input(
                "--durability: on Redis the servers decide what is durable".to_owned(),
            ));
        }
        Ok(Store::redis(url)?)
    }

    #[cfg(not(feature = "redis"))]
    fn connect(&self, _url: &str) -> Result<Store> {
        Err(Failure::Input("--url: this build knows no stores but those in directories".to_owned()))
    }

    /// Refuses a command that is about the files of a store.
    pub(crate) fn directory_only(&self, command: &str) -> Result<()> {
        match self.url {
            Some(_) => Err(Failure::Input(format!(
                "{command} is for stores in directories; there is none behind --url"
            ))),
            None => Ok(()),
        }
    }

    /// The store as users name it, without user, password and options.
    pub(crate) fn shown(&self) -> String {
        let Some(url) = &self.url else { return self.path.display().to_string() };
        let (scheme, rest) = url.split_once("://").unwrap_or(("redis", url));
        let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
        format!("{scheme}://{}", rest.split('?').next().unwrap_or_default())
    }

    /// The namespace of the command line.
    pub(crate) fn namespace(&self, store: &Store) -> Result<Namespace> {
        Ok(store.namespace(&self.namespace)?)
    }

    /// A key of the command line, within the limits.
    pub(crate) fn key(&self, argument: &OsString) -> Result<Vec<u8>> {
        let key = self.bytes(argument)?;
        limits::check_key(&key)?;
        Ok(key)
    }

    /// A part of a key from the command line, which may be empty.
    pub(crate) fn bytes(&self, argument: &OsString) -> Result<Vec<u8>> {
        let raw = os_bytes(argument)?;
        if self.escaped {
            unescape(&raw).map_err(|error| Failure::input("--escaped", error))
        } else {
            Ok(raw)
        }
    }

    /// The failure for a key that is not there.
    pub(crate) fn no_key(&self, key: &[u8]) -> Failure {
        let namespace = escape(self.namespace.as_bytes());
        Failure::NotFound(format!("no key \"{}\" in namespace \"{namespace}\"", escape(key)))
    }

    /// Standard output.
    pub(crate) fn output(&self) -> Output {
        Output::new(self.json)
    }
}

/// The bytes of an argument: on Unix as they are, elsewhere as UTF-8.
#[cfg(unix)]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(crate) fn os_bytes(argument: &OsString) -> Result<Vec<u8>> {
    Ok(std::os::unix::ffi::OsStrExt::as_bytes(argument.as_os_str()).to_vec())
}

/// The bytes of an argument: on Unix as they are, elsewhere as UTF-8.
#[cfg(not(unix))]
pub(crate) fn os_bytes(argument: &OsString) -> Result<Vec<u8>> {
    match argument.to_str() {
        Some(text) => Ok(text.as_bytes().to_vec()),
        None => Err(Failure::Input(format!(
            "argument {argument:?} is not valid Unicode; write it with --escaped"
        ))),
    }
}
