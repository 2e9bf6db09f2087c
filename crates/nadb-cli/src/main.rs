//! The `nadb` command: look into a store, put data in, get it out.
//!
//! One file per sub-command under `commands`. What it promises: raw bytes in and out, errors as one sentence on standard
//! error with the exit codes of [`failure`], a store that is always closed, and no panic when nobody reads the output.
//! Everything about the store itself is left to the `nadb` crate.
#![forbid(unsafe_code)]
#![allow(clippy::print_stderr, clippy::print_stdout, reason = "the command line is what prints")]
#![allow(
    clippy::disallowed_methods,
    reason = "users' files are read and written here, never those of a store"
)]

mod cli;
mod commands;
mod context;
mod escape;
mod failure;
mod fields;
mod file_tags;
mod output;
mod present;
mod progress;
mod source;
mod table;
mod ttl;

use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(sentence) = failure.sentence() {
                output::complain(&sentence);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Help and version as `clap` prints them; a wrong command line as one sentence, like every other error.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // A reader that has gone away misses the help, and that is all.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or(&text);
    let words: Vec<&str> = first.trim_start_matches("error: ").split_whitespace().collect();
    output::complain(&format!("{}; --help shows how it is used", words.join(" ")));
    ExitCode::from(2)
}
