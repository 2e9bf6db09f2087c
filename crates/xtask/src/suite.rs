//! The test suite, as it is and in its special forms.

use std::process::Command;

use crate::process::{self, Outcome, cargo};
use crate::{mutants, tools};

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

/// What a crash leaves does not depend on hashes, nor do the bytes of memory, and the former is the longest part of the suite; where many
/// keys are needed, sixteen hashes take minutes.
const NOT_OF_HASHES: &str =
    "test(/^(crash|kill|stress|corpus)::/) | test(/^compaction::tests::parts::/) | binary(memory)";

/// The suite of `packages` with key hashes cut to 4 bits, in the build of the mutants: of those packages whose answers must not depend
/// on hashes being different, where none is named.
pub(crate) fn hash4(packages: &[String]) -> Outcome {
    let named: Vec<&str> = packages.iter().map(String::as_str).collect();
    let packages = if named.is_empty() { vec!["nadb-engine", "nadb-testkit", "nadb"] } else { named };
    let of: Vec<String> = packages.iter().map(|package| format!("package(={package})")).collect();
    mutants::without("hash.whole", &format!("({}) - ({NOT_OF_HASHES})", of.join(" | ")))
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
