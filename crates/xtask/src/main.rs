//! `cargo xtask COMMAND`: the development tasks of NADB.
//!
//! Every task is a plain program run from the workspace's root. What a machine can check about the sources is in [`tidy`];
//! what the gates run is in [`ci`]. Beside the standard library it depends on serde_json only, so that it builds in a few seconds.
#![forbid(unsafe_code)]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a development tool reads the source tree and talks to the person who runs it"
)]

mod args;
mod ci;
mod counts;
mod fuzz;
mod mutants;
mod plots;
mod process;
mod suite;
mod tidy;
mod tools;

use std::process::ExitCode;

use args::Args;
use process::{Failure, Outcome};

const HELP: &str = "\
cargo xtask COMMAND

  test                           all tests: installs cargo-nextest if it is missing, runs nextest, then the doc tests
  tidy                           the rules of the house that a machine can check
  mutants [NAME…]                switches each guard off (or the named ones) and shows that its test fails
  models                         what threads do to each other in the index, in every order (loom)
  hash4 [PACKAGE…]               the suite with key hashes cut to 4 bits, so that everything collides
  kill [--rounds N]              child processes killed under load, N rounds per durability class (default 200)
  fixtures                       writes the stores of crates/nadb-testkit/fixtures anew, after a change of the format
  crash                          the crash simulation, whole
  stress [--seconds N]           writers, readers, held values and snapshots under constant sealing (default 300)
  fuzz [--seconds N] [TARGET…]   each fuzz target for N seconds (default 60); needs a nightly toolchain, else exit code 3
  counts [--bless]               instructions of the hot paths beside benches/counts.json, or written to it; needs valgrind
  plots FILE…                    charts (SVG) of recorded runs beside other stores, next to each FILE
  ci                             everything that .ci/run asks for";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    match run(&command, Args::new(words.collect())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.message.is_empty() {
                eprintln!("xtask {command}: {}", failure.message);
            }
            ExitCode::from(failure.code)
        }
    }
}

fn run(command: &str, mut args: Args) -> Outcome {
    match command {
        "test" => args.finish().and_then(|()| suite::test()),
        "tidy" => args.finish().and_then(|()| tidy::tidy()),
        "mutants" => args.rest().and_then(|names| mutants::mutants(&names)),
        "models" => args.finish().and_then(|()| suite::models()),
        "hash4" => args.rest().and_then(|packages| suite::hash4(&packages)),
        "kill" => {
            let rounds = args.number("--rounds", 200)?;
            args.finish().and_then(|()| suite::kill(rounds))
        }
        "stress" => {
            let seconds = args.number("--seconds", 300)?;
            args.finish().and_then(|()| suite::stress(seconds))
        }
        "fixtures" => args.finish().and_then(|()| suite::fixtures()),
        "crash" => args.finish().and_then(|()| suite::crash()),
        "fuzz" => {
            let seconds = args.number("--seconds", 60)?;
            args.rest().and_then(|targets| fuzz::fuzz(seconds, &targets))
        }
        "counts" => {
            let is_blessing = args.flag("--bless");
            args.finish().and_then(|()| counts::counts(is_blessing))
        }
        "plots" => args.rest().and_then(|files| plots::plots(&files)),
        "ci" => args.finish().and_then(|()| ci::ci()),
        "" | "help" | "--help" | "-h" => {
            println!("{HELP}");
            Ok(())
        }
        _ => Err(Failure::usage(format!("there is no such command\n\n{HELP}"))),
    }
}
