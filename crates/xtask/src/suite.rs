//! The test suite, as it is and in its special forms.

use std::process::Command;

use crate::process::{self, Outcome, cargo};
use crate::tools;

/// Members whose tests do not depend on how the engine was built.
pub(crate) const NOT_ENGINE: [&str; 4] = ["--exclude", "xtask", "--exclude", "nadb-benches"];

/// All tests, then all doc tests.
pub(crate) fn test() -> Outcome {
    tools::nextest()?;
    tools::redis()?;
    process::run(&mut cargo(&["nextest", "run", "--workspace", "--all-features"]))?;
    process::run(&mut cargo(&["test", "--doc", "--workspace", "--all-features"]))
}

/// The models of what threads do to each other, by loom. Only they run: with loom's atomics nothing else does.
pub(crate) fn models() -> Outcome {
    let mut command = cargo(&["test", "--package", "nadb-index", "--lib", "models"]);
    in_own_target(&mut command, "models", "--cfg loom");
    process::run(&mut command)
}

/// The suite (of `packages`, or whole) with key hashes cut to 4 bits; of it what a filter of nextest says.
pub(crate) fn hash4(packages: &[String], filter: Option<&str>) -> Outcome {
    tools::nextest()?;
    let mut command = cargo(&["nextest", "run"]);
    in_own_target(&mut command, "hash4", "--cfg nadb_hash_bits_4");
    // Where every key collides, a look-up reads them all: stores are kept small.
    for (name, little) in [("NADB_KILL_ROUNDS", "5"), ("NADB_STRESS_SECONDS", "1")] {
        if std::env::var_os(name).is_none() {
            command.env(name, little);
        }
    }
    if packages.is_empty() {
        command.arg("--workspace").args(NOT_ENGINE);
    }
    for package in packages {
        command.args(["--package", package]);
    }
    if let Some(filter) = filter {
        command.args(["-E", filter]);
    }
    process::run(&mut command)
}

/// The kill test with `rounds` kills per durability class.
pub(crate) fn kill(rounds: u64) -> Outcome {
    testkit("kill", "NADB_KILL_ROUNDS", &rounds.to_string())
}

/// Writes the fixtures of the format anew.
pub(crate) fn fixtures() -> Outcome {
    testkit("fixtures::", "NADB_FIXTURES_WRITE", "1")
}

/// The stress, for `seconds`.
pub(crate) fn stress(seconds: u64) -> Outcome {
    testkit("stress::", "NADB_STRESS_SECONDS", &seconds.to_string())
}

/// The crash simulation, nothing sampled.
pub(crate) fn crash() -> Outcome {
    testkit("crash", "NADB_CRASH_FULL", "1")
}

/// Gives `command` compiler flags and, so that nothing else is rebuilt, a target folder of its own.
pub(crate) fn in_own_target(command: &mut Command, folder: &str, rustflags: &str) {
    command.env("RUSTFLAGS", rustflags).env("CARGO_TARGET_DIR", process::root().join("target").join(folder));
}

/// The tests of nadb-testkit whose name contains `name`, in release, with their output.
fn testkit(name: &str, variable: &str, value: &str) -> Outcome {
    tools::nextest()?;
    let filter = format!("test({name})");
    let words = ["nextest", "run", "--release", "--package", "nadb-testkit", "--no-tests", "fail"];
    process::run(cargo(&words).args(["--success-output", "immediate", "-E", &filter]).env(variable, value))
}
