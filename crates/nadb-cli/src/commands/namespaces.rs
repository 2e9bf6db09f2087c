//! `nadb namespaces`: lists namespaces.

use clap::Args;

use crate::context::Context;
use crate::escape::escape;
use crate::failure::Result;
use crate::fields::Fields;
use crate::table;

const EXAMPLES: &str = "\
Examples:
  nadb namespaces
  nadb --json namespaces";

/// List namespaces and how many keys each has
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Namespaces {}

impl Namespaces {
    /// One row for each.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let all = context.with_existing(|store| Ok(store.namespaces()?))?;
        let mut out = context.output();
        if context.json {
            for namespace in &all {
                let fields = Fields::default().with("namespace", namespace.name.as_str());
                out.json(&fields.with("keys", namespace.keys))?;
            }
        } else {
            let mut rows = vec![vec!["NAMESPACE".to_owned(), "KEYS".to_owned()]];
            rows.extend(all.iter().map(|n| vec![escape(n.name.as_bytes()), n.keys.to_string()]));
            out.bytes(table::render(&rows, &[1]).as_bytes())?;
        }
        out.finish()
    }
}
