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

fn main() -> ExitCode {
    match cli::Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(sentence) = failure.sentence() {
                output::complain(&sentence);
            }
            ExitCode::from(failure.exit_code())
        }
    }
}
