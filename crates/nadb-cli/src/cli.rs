//! The command line: global options, sub-commands, and which function runs them.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use nadb::{Durability, limits};

use crate::commands::{
    batch, compact, copy, delete, drop_namespace, expire, extract, get, import, incr, inspect, list,
    namespaces, persist, purge, query, repair, set, stats, tags, ttl, verify,
};
use crate::context::Context;
use crate::failure::Result;

const EXAMPLES: &str = "\
Examples:
  nadb set user:123 Alice --tag user --ttl 2h
  nadb get user:123
  nadb -n docs import ./docs
  nadb -n docs list --prefix guide/ --limit 10
  nadb --path /srv/data verify

Exit codes: 0 done, 1 not found, 2 bad usage or input, 3 corruption, 4 locked by another process, 5 anything else,
6 a condition that did not hold.";

/// An embedded, crash-safe key-value store: put data in, look at it, get it out.
#[derive(Debug, Parser)]
#[command(name = "nadb", version, after_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The store's directory
    #[arg(long, global = true, value_name = "DIR", default_value = "./nadb-data")]
    path: PathBuf,
    /// A store on Redis in place of a directory: redis://[user:password@]host[:port][/database], redis+unix://,
    /// redis+sentinel://, redis+cluster://
    #[cfg(feature = "redis")]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "path")]
    url: Option<String>,
    /// The namespace
    #[arg(short, long, global = true, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// Print one JSON value, or one per line
    #[arg(long, global = true)]
    json: bool,
    /// When a write counts as done: in memory, handed to the operating system (where it is not set), or on stable storage
    #[arg(long, global = true, value_enum, value_name = "CLASS")]
    durability: Option<Class>,
    /// Read KEY, --prefix and --after as `list` writes keys: \xHH, \n, \r, \t and \\ stand for bytes
    #[arg(long, global = true)]
    escaped: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Class {
    Buffered,
    Flushed,
    Synced,
}

#[derive(Debug, Subcommand)]
enum Command {
    Set(set::Set),
    Incr(incr::Incr),
    Batch(batch::Batch),
    Get(get::Get),
    Delete(delete::Delete),
    Expire(expire::Expire),
    Persist(persist::Persist),
    #[command(name = "ttl")]
    TimeLeft(ttl::TimeLeft),
    List(list::List),
    Query(query::Query),
    Tags(tags::Tags),
    Namespaces(namespaces::Namespaces),
    DropNamespace(drop_namespace::DropNamespace),
    Import(import::Import),
    Extract(extract::Extract),
    Stats(stats::Stats),
    Inspect(inspect::Inspect),
    Purge(purge::Purge),
    Compact(compact::Compact),
    Copy(copy::Copy),
    Verify(verify::Verify),
    Repair(repair::Repair),
}

impl Cli {
    /// Runs the sub-command.
    pub(crate) fn run(self) -> Result<()> {
        let Global { path, namespace, json, durability, escaped, .. } = self.global;
        #[cfg(feature = "redis")]
        let url = self.global.url;
        #[cfg(not(feature = "redis"))]
        let url = None;
        limits::check_namespace(&namespace)?;
        let durability = durability.map(|class| match class {
            Class::Buffered => Durability::Buffered,
            Class::Flushed => Durability::Flushed,
            Class::Synced => Durability::Synced,
        });
        let context = Context { path, url, namespace, json, durability, escaped };
        match self.command {
            Command::Set(command) => command.run(&context),
            Command::Incr(command) => command.run(&context),
            Command::Batch(command) => command.run(&context),
            Command::Get(command) => command.run(&context),
            Command::Delete(command) => command.run(&context),
            Command::Expire(command) => command.run(&context),
            Command::Persist(command) => command.run(&context),
            Command::TimeLeft(command) => command.run(&context),
            Command::List(command) => command.run(&context),
            Command::Query(command) => command.run(&context),
            Command::Tags(command) => command.run(&context),
            Command::Namespaces(command) => command.run(&context),
            Command::DropNamespace(command) => command.run(&context),
            Command::Import(command) => command.run(&context),
            Command::Extract(command) => command.run(&context),
            Command::Stats(command) => command.run(&context),
            Command::Inspect(command) => command.run(&context),
            Command::Purge(command) => command.run(&context),
            Command::Compact(command) => command.run(&context),
            Command::Copy(command) => command.run(&context),
            Command::Verify(command) => command.run(&context),
            Command::Repair(command) => command.run(&context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        <Cli as clap::CommandFactory>::command().debug_assert();
    }
}
