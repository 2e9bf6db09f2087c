//! The same work on NADB and on other embedded stores: each engine in a process of its own, its answers checked, at the same
//! durability class. `cargo run --release --manifest-path benches/peers/Cargo.toml -- --help`.

// Opening an LMDB store is the caller's to vouch for.
#![deny(unsafe_code)]
#![allow(clippy::disallowed_methods, reason = "it makes folders for stores and measures them from outside")]

mod data;
mod engines;
mod measure;
mod report;
mod tagged;
mod work;

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand, ValueEnum};

use engines::Kind;
use measure::Figure;
use work::{Group, Work};

#[derive(Debug, Parser)]
#[command(about, subcommand_negates_reqs = true)]
struct Args {
    #[command(subcommand)]
    child: Option<Child>,
    /// Keys of a store; the large values are a fiftieth of it.
    #[arg(long, default_value_t = 1_000_000)]
    keys: u64,
    /// Records of the groups `tags` and `ttl`.
    #[arg(long, default_value_t = 250_000)]
    tagged_keys: u64,
    /// The engines, all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    engines: Vec<Kind>,
    /// The groups of workloads, all by default.
    #[arg(long, value_enum, value_delimiter = ',')]
    groups: Vec<Group>,
    /// A folder on the disk that is to be measured; stores are made in it and removed.
    #[arg(long, default_value = "target/peers")]
    dir: PathBuf,
    /// Where results.json and results.md go.
    #[arg(long)]
    out: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Child {
    /// One group of one engine: what the program calls itself with.
    #[command(hide = true)]
    Child { kind: Kind, group: Group, keys: u64, tagged_keys: u64, dir: PathBuf },
}

fn main() -> Result<()> {
    let args = Args::parse();
    if let Some(Child::Child { kind, group, keys, tagged_keys, dir }) = args.child {
        return Work { kind, keys, tagged_keys, dir, show: print_line }.run(group);
    }
    let mut figures = Vec::new();
    for group in chosen(&args.groups, &Group::ALL) {
        for kind in chosen(&args.engines, Kind::value_variants()) {
            if group.is_for(kind) {
                figures.extend(run_child(&args, kind, group)?);
            }
        }
    }
    fs::remove_dir_all(&args.dir).with_context(|| format!("removing {}", args.dir.display()))?;
    let text = report::markdown(&figures);
    println!("{text}");
    if let Some(out) = &args.out {
        fs::create_dir_all(out)?;
        fs::write(out.join("results.json"), serde_json::to_string_pretty(&figures)?)?;
        fs::write(out.join("results.md"), text)?;
    }
    Ok(())
}

fn chosen<T: Copy>(chosen: &[T], all: &[T]) -> Vec<T> {
    if chosen.is_empty() { all.to_vec() } else { chosen.to_vec() }
}

fn print_line(figure: &Figure) {
    match serde_json::to_string(figure) {
        Ok(line) => println!("{line}"),
        Err(error) => eprintln!("a figure that is no JSON: {error}"),
    }
}

/// Runs one group of one engine in a process of its own.
fn run_child(args: &Args, kind: Kind, group: Group) -> Result<Vec<Figure>> {
    let dir = args.dir.join(kind.name());
    if group.is_fresh() {
        empty(&dir)?;
    }
    let value = |v: &dyn std::fmt::Debug| format!("{v:?}");
    let name = group.to_possible_value().map_or_else(|| value(&group), |v| v.get_name().to_owned());
    eprintln!("{} {name}", kind.name());
    let mut child = Command::new(std::env::current_exe()?)
        .args(["child", kind.name(), &name, &args.keys.to_string(), &args.tagged_keys.to_string()])
        .arg(&dir)
        .stdout(Stdio::piped())
        .spawn()?;
    let lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let figures: Result<Vec<Figure>> = lines.map(|line| Ok(serde_json::from_str(&line?)?)).collect();
    let status = child.wait()?;
    let is_as_meant = if group == Group::Kill { status.signal() == Some(9) } else { status.success() };
    if !is_as_meant {
        bail!("{} {name} failed: {status}", kind.name());
    }
    if group != Group::Kill {
        empty(&dir)?;
    }
    figures
}

fn empty(dir: &Path) -> Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir_all(dir)?)
}
