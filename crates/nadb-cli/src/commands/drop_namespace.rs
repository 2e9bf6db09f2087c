//! `nadb drop-namespace`: deletes a namespace with everything in it.

use clap::Args;
use nadb::limits;

use crate::context::Context;
use crate::escape::escape;
use crate::failure::{Failure, Result};
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb drop-namespace cache --yes";

/// Delete a namespace with all its keys
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DropNamespace {
    /// The namespace
    #[arg(value_name = "NS")]
    name: String,
    /// Yes, all of its keys
    #[arg(long)]
    yes: bool,
}

impl DropNamespace {
    /// Drops it in one step, if the user is sure.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        limits::check_namespace(&self.name)?;
        let shown = escape(self.name.as_bytes());
        if !self.yes {
            return Err(Failure::Input(format!(
                "dropping namespace \"{shown}\" deletes all its keys; add --yes if that is meant"
            )));
        }
        if !context.with_existing(|store| Ok(store.drop_namespace(&self.name)?))? {
            return Err(Failure::NotFound(format!("no namespace \"{shown}\"")));
        }
        let mut out = context.output();
        out.either(&Fields::default().with("dropped", self.name.as_str()), String::new)?;
        out.finish()
    }
}
