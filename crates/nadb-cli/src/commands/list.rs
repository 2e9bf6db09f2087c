//! `nadb list`: lists keys.

use std::ffi::OsString;
use std::ops::Bound;

use clap::Args;

use crate::context::Context;
use crate::escape::escape;
use crate::failure::Result;
use crate::fields::Fields;

const EXAMPLES: &str = "\
Examples:
  nadb list
  nadb list --prefix user: --limit 100
  nadb list --prefix user: --limit 100 --after user:0199   # the next page
  nadb list --reverse --limit 1                            # the last key

Keys come in the order of their bytes, one a line. Where a key is not printable UTF-8 it is escaped: \\xHH, \\n, \\r, \\t,
and \\\\ for a backslash; --escaped makes the other commands read keys like that.";

/// List keys in order
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct List {
    /// Only keys that begin with this
    #[arg(long, value_name = "P")]
    prefix: Option<OsString>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Only keys behind this one (with --reverse: before it)
    #[arg(long, value_name = "KEY")]
    after: Option<OsString>,
    /// The last key first
    #[arg(long)]
    reverse: bool,
}

impl List {
    /// Streams the keys; no value is read.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let given =
            |argument: &Option<OsString>| argument.as_ref().map(|bytes| context.bytes(bytes)).transpose();
        let prefix = given(&self.prefix)?.unwrap_or_default();
        let bounds = bounds(&prefix, given(&self.after)?, self.reverse);
        let limit = self.limit.unwrap_or(usize::MAX);
        context.with_existing(|store| {
            let keys = context.namespace(store)?.range(bounds)?.keys();
            if self.reverse {
                print(context, keys.rev().take(limit))
            } else {
                print(context, keys.take(limit))
            }
        })
    }
}

fn print(context: &Context, keys: impl Iterator<Item = nadb::Result<Vec<u8>>>) -> Result<()> {
    let mut out = context.output();
    for key in keys {
        let key = key?;
        if context.json {
            out.json(&Fields::default().with_bytes("key", "key_base64", &key))?;
        } else {
            out.bytes(escape(&key).as_bytes())?;
            out.bytes(b"\n")?;
        }
    }
    out.finish()
}

/// The keys with the prefix that lie behind `after`, or with `reverse` before it.
fn bounds(prefix: &[u8], after: Option<Vec<u8>>, reverse: bool) -> (Bound<Vec<u8>>, Bound<Vec<u8>>) {
    let mut start = Bound::Included(prefix.to_vec());
    let mut end = first_behind(prefix).map_or(Bound::Unbounded, Bound::Excluded);
    if let Some(after) = after {
        if reverse {
            if !matches!(&end, Bound::Excluded(end) if *end <= after) {
                end = Bound::Excluded(after);
            }
        } else if after.as_slice() >= prefix {
            start = Bound::Excluded(after);
        }
    }
    (start, end)
}

/// The least key behind all that begin with `prefix`, if there is one.
fn first_behind(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut key = prefix.get(..=last)?.to_vec();
    *key.last_mut()? += 1;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_within_the_prefix() {
        let check = |prefix: &str, after: Option<&str>, reverse, start: Bound<&str>, end: Bound<&str>| {
            let own = |bound: Bound<&str>| bound.map(|key| key.as_bytes().to_vec());
            let after = after.map(|key| key.as_bytes().to_vec());
            assert_eq!(bounds(prefix.as_bytes(), after, reverse), (own(start), own(end)));
        };
        use Bound::{Excluded, Included, Unbounded};
        check("", None, false, Included(""), Unbounded);
        check("b", None, false, Included("b"), Excluded("c"));
        check("b", Some("a"), false, Included("b"), Excluded("c"));
        check("b", Some("b"), false, Excluded("b"), Excluded("c"));
        check("b", Some("b5"), false, Excluded("b5"), Excluded("c"));
        check("b", Some("x"), false, Excluded("x"), Excluded("c")); // empty
        check("b", Some("x"), true, Included("b"), Excluded("c"));
        check("b", Some("b5"), true, Included("b"), Excluded("b5"));
        check("b", Some("a"), true, Included("b"), Excluded("a")); // empty
        check("", Some("x"), true, Included(""), Excluded("x"));
        assert_eq!(first_behind(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(first_behind(b"\xff"), None);
    }
}
