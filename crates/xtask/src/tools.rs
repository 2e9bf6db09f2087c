//! Tools that the tasks need: looked for, and installed where they are missing.

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

/// Makes sure that `valgrind` runs.
pub(crate) fn valgrind() -> Outcome {
    from_the_system("valgrind", "valgrind")
}

/// Makes sure that `redis-server` runs: the tests of the Redis backend start it.
pub(crate) fn redis() -> Outcome {
    from_the_system("redis-server", "redis-server")
}

/// Makes sure that a program runs which is no Rust program: it comes from the system's packages, and only root may install those.
fn from_the_system(program: &str, package: &str) -> Outcome {
    let runs = || process::succeeds(Command::new(program).arg("--version"));
    if runs() {
        return Ok(());
    }
    if process::succeeds(Command::new("apt-get").arg("--version")) && is_root() {
        println!("{program} is missing: installing it once");
        let install = || {
            let mut command = Command::new("apt-get");
            process::run(command.args(["install", "--yes", "--no-install-recommends", package]))
        };
        // The lists of a fresh machine are empty.
        install()
            .or_else(|_| process::run(Command::new("apt-get").arg("update")).and_then(|()| install()))?;
    }
    if runs() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "{program} is missing; install it as root: `apt-get install {package}`, or what your system has in its place"
    )))
}

fn is_root() -> bool {
    process::output(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
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
