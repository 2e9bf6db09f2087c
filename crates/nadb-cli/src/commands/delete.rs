//! `nadb delete`: deletes keys.

use std::ffi::OsString;

use clap::Args;

use crate::context::Context;
use crate::escape::escape;
use crate::failure::{Failure, Result};
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb delete user:123
  nadb delete a b c

Several keys are deleted in one atomic step. If one of them is not there, the others are deleted and the exit code is 1.";

/// Delete keys
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Delete {
    /// The keys
    #[arg(required = true, value_name = "KEY")]
    keys: Vec<OsString>,
}

impl Delete {
    /// Deletes all of them in one batch.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let keys = self.keys.iter().map(|key| context.key(key)).collect::<Result<Vec<_>>>()?;
        let existed = context.with_existing(|store| Ok(context.namespace(store)?.delete_many(&keys)?))?;
        if context.json {
            let mut out = context.output();
            for (key, existed) in keys.iter().zip(&existed) {
                out.json(&Fields::default().with_bytes("key", "key_base64", key).with("deleted", *existed))?;
            }
            out.finish()?;
        }
        let missing: Vec<&Vec<u8>> =
            keys.iter().zip(&existed).filter(|(_, existed)| !**existed).map(|(key, _)| key).collect();
        match missing.as_slice() {
            [] => Ok(()),
            [key] => Err(context.no_key(key)),
            _ => {
                let names: Vec<String> = missing.iter().map(|key| format!("\"{}\"", escape(key))).collect();
                let namespace = escape(context.namespace.as_bytes());
                Err(Failure::NotFound(format!("no keys {} in namespace \"{namespace}\"", names.join(", "))))
            }
        }
    }
}
