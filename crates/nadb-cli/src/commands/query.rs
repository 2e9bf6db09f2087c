//! `nadb query`: finds records by tags, keys and metadata.

use std::ffi::OsString;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, ValueEnum};
use nadb::{Cursor, Filter, Metadata, Namespace, Query as Request, QueryEntries, QueryKeys, SortField};

use crate::context::{Context, os_bytes};
use crate::escape::escape;
use crate::failure::{Failure, Result};
use crate::fields::Fields;
use crate::output::{self, Output};
use crate::present;

const EXAMPLES: &str = "\
Examples:
  nadb query 'tag:user AND NOT tag:banned AND size>1k'
  nadb query 'tag:user AND (prefix:\"user:\" OR updated>now-2h)' --count
  nadb query --all user premium --none banned --prefix user: --meta
  nadb query tag:user --limit 100 --after user:0199         # the next page, in key order
  nadb query tag:user --sort size --descending --limit 10   # where there is more, it says how to go on

Terms: tag:T, prefix:P, contains:P, size>1k, size:10..=20, created, updated, expires and accessed with a time
(2026-01-31, 2026-01-31T23:59:59Z, @1700000000000, now-2h), expires:never, all; AND, OR, NOT and ( ). Quote what has blanks.
Keys are printed as `list` prints them. --meta adds version, size, created, updated, expires and tags, with tabs between.";

/// Find records by tags, keys and metadata
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Query {
    /// Which records: an expression
    #[arg(value_name = "EXPR")]
    expression: Option<String>,
    /// Only records that have all of these tags
    #[arg(long, value_name = "T", num_args = 1..)]
    all: Vec<String>,
    /// Only records that have any of these tags
    #[arg(long, value_name = "T", num_args = 1..)]
    any: Vec<String>,
    /// Only records that have none of these tags
    #[arg(long, value_name = "T", num_args = 1..)]
    none: Vec<String>,
    /// Only records whose keys begin with this
    #[arg(long, value_name = "P")]
    prefix: Option<OsString>,
    /// At most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Only what comes behind this key; with --sort, behind the cursor that the last page ended with
    #[arg(long, value_name = "KEY")]
    after: Option<OsString>,
    /// The order, among equals that of the keys
    #[arg(long, value_name = "FIELD")]
    sort: Option<Field>,
    /// The last of the order first
    #[arg(long)]
    descending: bool,
    /// Print how many there are, and nothing else
    #[arg(long, conflicts_with_all = ["limit", "after", "sort", "descending", "meta"])]
    count: bool,
    /// Print version, size, times and tags, too
    #[arg(long)]
    meta: bool,
    /// Read `now` in EXPR as this moment, in Unix milliseconds: for the pages of one query
    #[arg(long, value_name = "MS")]
    now: Option<u64>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Field {
    Key,
    Created,
    Updated,
    Size,
}

impl Field {
    fn by(self) -> SortField {
        match self {
            Field::Key => SortField::Key,
            Field::Created => SortField::Created,
            Field::Updated => SortField::Updated,
            Field::Size => SortField::Size,
        }
    }
}

impl Query {
    /// Streams what is found.
    pub(crate) fn run(self, context: &Context) -> Result<()> {
        let now_ms = self.now.unwrap_or_else(system_now_ms);
        let filter = self.filter(context, now_ms)?;
        let after = self.after(context)?;
        // A query reads no key, so nothing is noted.
        context.with_last_access(|store| {
            let query = self.query(&context.namespace(store)?, filter);
            if self.count {
                return print_count(context, query.count()?);
            }
            let query = match &after {
                Some(After::Key(key)) => query.after_key(key),
                Some(After::Cursor(cursor)) => query.after(cursor.clone()),
                None => query,
            };
            self.print(context, &query, now_ms)
        })
    }

    /// What is said of the records, checked before any store is opened.
    fn filter(&self, context: &Context, now_ms: u64) -> Result<Filter> {
        let tags = |tags: &[String]| tags.iter().map(Filter::tag).collect::<Vec<_>>();
        let mut terms = Vec::new();
        if let Some(expression) = &self.expression {
            terms.push(Filter::parse_at(expression, now_ms)?);
        }
        terms.extend(tags(&self.all));
        if !self.any.is_empty() {
            terms.push(Filter::Or(tags(&self.any)));
        }
        terms.extend(tags(&self.none).into_iter().map(|tag| !tag));
        if let Some(prefix) = &self.prefix {
            terms.push(Filter::Prefix(context.bytes(prefix)?));
        }
        if terms.is_empty() {
            let sentence =
                "give an EXPR, --all, --any, --none or --prefix; the EXPR `all` means every record";
            return Err(Failure::Input(sentence.to_owned()));
        }
        let filter = Filter::And(terms);
        filter.check()?;
        Ok(filter)
    }

    fn after(&self, context: &Context) -> Result<Option<After>> {
        let Some(argument) = &self.after else { return Ok(None) };
        if self.sort.is_none() {
            return Ok(Some(After::Key(context.bytes(argument)?)));
        }
        let bytes = os_bytes(argument)?;
        let cursor: Cursor = String::from_utf8_lossy(&bytes).parse().map_err(|error: nadb::Error| {
            Failure::input(
                "--after",
                format!("{error}; with --sort it takes the cursor that the last page ended with"),
            )
        })?;
        Ok(Some(After::Cursor(cursor)))
    }

    fn query(&self, namespace: &Namespace, filter: Filter) -> Request {
        let mut query =
            namespace.query().filter(filter).order_by(self.sort.map_or(SortField::Key, Field::by));
        if self.descending {
            query = query.descending();
        }
        query
    }

    fn print(&self, context: &Context, query: &Request, now_ms: u64) -> Result<()> {
        let limit = self.limit.unwrap_or(u64::MAX);
        // One more shows whether there is more.
        let query = query.clone().limit(limit.saturating_add(u64::from(self.sort.is_some())));
        let mut found = if self.meta { Found::Entries(query.entries()?) } else { Found::Keys(query.keys()?) };
        let mut out = context.output();
        let mut given = 0;
        while given < limit
            && let Some(row) = found.next()
        {
            let (key, metadata) = row?;
            print_row(&mut out, context.json, &key, metadata.as_ref())?;
            given += 1;
        }
        let cursor = found.cursor();
        let more = if self.sort.is_some() && given == limit { found.next().transpose()? } else { None };
        out.finish()?;
        if let (Some(cursor), Some(_)) = (cursor, more) {
            output::complain(&format!("more: --after {cursor}{}", self.now_for_more(now_ms)));
        }
        Ok(())
    }

    /// What the next page must say beside its cursor, if the expression is relative to now.
    fn now_for_more(&self, now_ms: u64) -> String {
        let says_now = self.expression.as_ref().is_some_and(|text| Filter::parse(text).is_err());
        if says_now { format!(" --now {now_ms}") } else { String::new() }
    }
}

/// Where to go on.
enum After {
    Key(Vec<u8>),
    Cursor(Cursor),
}

enum Found {
    Keys(QueryKeys),
    Entries(QueryEntries),
}

impl Found {
    fn next(&mut self) -> Option<nadb::Result<(Vec<u8>, Option<Metadata>)>> {
        match self {
            Found::Keys(keys) => keys.next().map(|key| key.map(|key| (key, None))),
            Found::Entries(entries) => {
                entries.next().map(|entry| entry.map(|entry| (entry.key, Some(entry.metadata))))
            }
        }
    }

    fn cursor(&self) -> Option<Cursor> {
        match self {
            Found::Keys(keys) => keys.cursor(),
            Found::Entries(entries) => entries.cursor(),
        }
    }
}

fn print_count(context: &Context, count: u64) -> Result<()> {
    let mut out = context.output();
    out.either(&Fields::default().with("count", count), || format!("{count}\n"))?;
    out.finish()
}

fn print_row(out: &mut Output, json: bool, key: &[u8], metadata: Option<&Metadata>) -> Result<()> {
    if json {
        let fields = Fields::default().with_bytes("key", "key_base64", key);
        return out.json(&match metadata {
            Some(metadata) => present::metadata_json(fields, metadata),
            None => fields,
        });
    }
    out.bytes(escape(key).as_bytes())?;
    if let Some(metadata) = metadata {
        out.bytes(present::metadata_columns(metadata).as_bytes())?;
    }
    out.bytes(b"\n")
}

fn system_now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
