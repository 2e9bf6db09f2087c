//! `nadb tags`: lists tags.

use clap::Args;

use crate::context::Context;
use crate::escape::escape;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb tags
  nadb tags --prefix ext:
  nadb --json tags

One line for each tag: the tag, a tab, and how many records have it. Tags are escaped as keys are.";

/// List tags and how many records have each
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Tags {
    /// Only tags that begin with this
    #[arg(long, value_name = "P", default_value = "")]
    prefix: String,
}

impl Tags {
    /// In the order of the tags' bytes.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let tags =
            context.with_existing(|store| Ok(context.namespace(store)?.tags_with_prefix(&self.prefix)?))?;
        let mut out = context.output();
        for found in tags {
            if context.json {
                out.json(&Fields::default().with("tag", found.tag).with("count", found.count))?;
            } else {
                out.bytes(format!("{}\t{}\n", escape(found.tag.as_bytes()), found.count).as_bytes())?;
            }
        }
        out.finish()
    }
}
