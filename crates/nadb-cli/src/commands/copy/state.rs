//! How far a copy has come, in a file of the user's: one JSON object, replaced as a whole each time.
//!
//! It names both stores, without users, passwords and options, so that it is not used for others by mistake.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use nadb::{CopyPosition, limits};
use serde_json::Value;

use crate::failure::{Failure, Result};
use crate::fields::Fields;

/// A file is read up to this; the longest key in base64 is shorter.
const BYTES_MAX: u64 = 1 << 20;

/// The file, and what stood in it.
#[derive(Debug, Clone)]
pub(super) struct State {
    path: PathBuf,
    from: String,
    to: String,
    only: Vec<String>,
    /// Where the copy goes on.
    pub(super) position: Option<CopyPosition>,
}

impl State {
    /// Reads the file, if it is there.
    pub(super) fn open(path: PathBuf, (from, to): (String, String), only: &[String]) -> Result<State> {
        let mut state = State { path, from, to, only: only.to_vec(), position: None };
        match fs::metadata(&state.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(state),
            Err(error) => return Err(Failure::file("opening", &state.path, &error)),
            Ok(metadata) if metadata.len() > BYTES_MAX => return Err(state.useless("is too long")),
            Ok(_) => {}
        }
        let text = fs::read(&state.path).map_err(|error| Failure::file("reading", &state.path, &error))?;
        let found: Value =
            serde_json::from_slice(&text).map_err(|_| state.useless("is no state of a copy"))?;
        if found.get("from") != Some(&state.from.as_str().into())
            || found.get("to") != Some(&state.to.as_str().into())
            || found.get("only") != Some(&state.only.clone().into())
        {
            return Err(state.useless("is of another copy"));
        }
        state.position = Some(position(&found).ok_or_else(|| state.useless("names no key of a namespace"))?);
        Ok(state)
    }

    /// Replaces the file, if it says anything else; after a crash it is the old or the new one.
    pub(super) fn save(&mut self, position: &CopyPosition) -> Result<()> {
        if self.position.as_ref() == Some(position) {
            return Ok(());
        }
        let fields = Fields::default()
            .with("from", self.from.as_str())
            .with("to", self.to.as_str())
            .with("only", self.only.clone())
            .with("namespace", position.namespace.as_str())
            .with("key_base64", BASE64_STANDARD.encode(&position.key));
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let new = PathBuf::from(new);
        let written = serde_json::to_vec(&fields).map_err(io::Error::from).and_then(|text| {
            let mut file = File::create(&new)?;
            file.write_all(&text)?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            fs::rename(&new, &self.path)
        });
        written.map_err(|error| Failure::file("writing", &self.path, &error))?;
        self.position = Some(position.clone());
        Ok(())
    }

    /// The copy is done.
    pub(super) fn remove(&self) -> Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::file("removing", &self.path, &error))
            }
            _ => Ok(()),
        }
    }

    fn useless(&self, why: &str) -> Failure {
        Failure::Input(format!(
            "--state {} {why}; name another file, or remove it to begin anew",
            self.path.display()
        ))
    }
}

fn position(found: &Value) -> Option<CopyPosition> {
    let namespace = found.get("namespace")?.as_str()?.to_owned();
    let key = BASE64_STANDARD.decode(found.get("key_base64")?.as_str()?).ok()?;
    limits::check_namespace(&namespace).ok()?;
    limits::check_key(&key).ok()?;
    Some(CopyPosition { namespace, key })
}
