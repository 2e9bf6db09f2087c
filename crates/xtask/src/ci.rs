//! The gates, in order of how soon they can fail. `.ci/run` prepares the toolchain and calls this; there is no second list.

use std::time::Instant;

use crate::process::{self, Outcome, UNAVAILABLE, cargo};
use crate::{counts, fuzz, mutants, suite, tidy};

type Step = (&'static str, fn() -> Outcome);

const STEPS: [Step; 10] = [
    ("format", format),
    ("tidy", tidy::tidy),
    ("clippy", clippy),
    ("doc", doc),
    ("test", suite::test),
    ("counts", || counts::counts(false)),
    ("models", suite::models),
    ("mutants", || mutants::mutants(&[])),
    ("hash4", || suite::hash4(&[])),
    ("fuzz", || fuzz::fuzz(FUZZ_SECONDS, &[])),
];

/// Seconds of each fuzz target.
const FUZZ_SECONDS: u64 = 12;

/// Runs all gates and stops at the first that fails. The last line printed is `N passed, M failed`.
pub(crate) fn ci() -> Outcome {
    let mut report = vec![];
    let failure = STEPS.iter().find_map(|step| run_step(step, &mut report).err());
    println!("\n{}", report.join("\n"));
    if let Some(failure) = &failure {
        println!("stopped: {}", failure.message);
    }
    println!("{}", closing_line(&report, failure.is_some()));
    failure.map_or(Ok(()), |failure| Err(failure.already_said()))
}

fn run_step((name, step): &Step, report: &mut Vec<String>) -> Outcome {
    println!("\n== {name}");
    let start = Instant::now();
    let outcome = step();
    let seconds = start.elapsed().as_secs_f64();
    match outcome {
        Ok(()) => report.push(format!("{PASSED} {name:<8} {seconds:7.1} s")),
        Err(failure) if failure.code == UNAVAILABLE => {
            report.push(format!("not run {name}: {}", failure.message));
        }
        Err(failure) => {
            report.push(format!("FAILED {name:<8} {seconds:7.1} s"));
            return Err(failure);
        }
    }
    Ok(())
}

const PASSED: &str = "passed";

fn closing_line(report: &[String], failed: bool) -> String {
    let passed = report.iter().filter(|line| line.starts_with(PASSED)).count();
    format!("{passed} passed, {} failed", usize::from(failed))
}

fn format() -> Outcome {
    process::run(&mut cargo(&["fmt", "--all", "--check"]))?;
    process::run(&mut cargo(&["fmt", "--all", "--check", "--manifest-path", "fuzz/Cargo.toml"]))?;
    process::run(&mut cargo(&["fmt", "--check", "--manifest-path", "benches/peers/Cargo.toml"]))
}

fn clippy() -> Outcome {
    process::run(&mut cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    ]))
}

fn doc() -> Outcome {
    process::run(
        cargo(&["doc", "--no-deps", "--workspace", "--all-features"]).env("RUSTDOCFLAGS", "-D warnings"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Failure;

    fn after(steps: &[Step]) -> (Vec<String>, bool) {
        let mut report = vec![];
        let failed = steps.iter().any(|step| run_step(step, &mut report).is_err());
        (report, failed)
    }

    #[test]
    fn the_first_failure_stops_and_is_counted() {
        let fails: Step = ("fails", || Err(Failure::new("no")));
        let (report, failed) = after(&[("fine", || Ok(())), fails, ("never", || panic!("must not run"))]);
        assert_eq!(closing_line(&report, failed), "1 passed, 1 failed");
    }

    #[test]
    fn a_missing_tool_is_neither_a_pass_nor_a_failure() {
        let missing: Step = ("fuzz", || Err(Failure::unavailable("no nightly")));
        let (report, failed) = after(&[missing, ("fine", || Ok(()))]);
        assert_eq!(report[0], "not run fuzz: no nightly");
        assert_eq!(closing_line(&report, failed), "1 passed, 0 failed");
    }
}
