//! Tools that the tasks need: looked for, and installed with cargo where they are missing.

use std::process::Command;

use crate::process::{self, Failure, Outcome};

/// Makes sure that `cargo nextest` runs.
pub(crate) fn nextest() -> Outcome {
    installed("cargo-nextest", "nextest")
}

/// Makes sure that `cargo fuzz` runs.
pub(crate) fn cargo_fuzz() -> Outcome {
    installed("cargo-fuzz", "fuzz")
}

/// Whether a nightly toolchain is there. None is installed for the asking.
pub(crate) fn nightly() -> bool {
    let mut probe = Command::new("cargo");
    process::succeeds(probe.args(["+nightly", "--version"]).env("RUSTUP_AUTO_INSTALL", "0"))
}

fn installed(package: &str, subcommand: &str) -> Outcome {
    let runs = || process::succeeds(&mut process::cargo(&[subcommand, "--version"]));
    if runs() {
        return Ok(());
    }
    println!("{package} is missing: installing it once, which takes some minutes");
    process::run(&mut process::cargo(&["install", package, "--locked"]))?;
    if runs() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{package} was installed, but `cargo {subcommand}` does not run: is cargo's bin folder on the PATH?"
    )))
}
