//! Runs the table: one build with `--cfg nadb_mutants`, every test with its guard on (it must pass), then each with its guard
//! off (it must fail; a timeout is a failure, too).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Mutant, TABLE};
use crate::process::{self, Failure, Outcome, cargo};
use crate::{suite, tools};

const RUSTFLAGS: &str = "--cfg nadb_mutants";
const FOLDER: &str = "mutants";

/// A test that hangs without its guard is ended after a minute.
const NEXTEST_CONFIG: &str = "\
[profile.default]
fail-fast = false
retries = 0
slow-timeout = { period = \"30s\", terminate-after = 2, grace-period = \"1s\" }
";

/// Files of nextest's settings: those, and none.
const STRICT: &str = "nextest.toml";
const PATIENT: &str = "patient.toml";

/// How nextest ends when tests failed, and when there was no test to run.
const EXIT_TESTS_FAILED: i32 = 100;
const EXIT_NO_TESTS: i32 = 4;

/// What became of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    /// The test failed, as it should.
    Noticed,
    /// The test passed although its guard was off.
    Survived,
    /// The row or the run is at fault.
    Broken(String),
}

/// Checks every guard of the table, or the named ones.
pub(crate) fn mutants(names: &[String]) -> Outcome {
    let rows = chosen(TABLE, names)?;
    tools::nextest()?;
    tools::redis()?;
    let build = Build::new(&rows)?;
    println!("with every guard on, all of these tests must pass:");
    let filters: BTreeSet<String> = rows.iter().map(filter).collect();
    let filter_all = filters.into_iter().collect::<Vec<_>>().join(" | ");
    process::run(build.nextest(&filter_all).env_remove("NADB_MUTANT"))?;
    println!("with its guard off, each must fail:");
    let fates = build.fates(&rows);
    report(&rows, &fates)
}

/// Runs the tests that a filter chooses with this guard off: they must pass all the same.
pub(crate) fn without(guard: &str, filter: &str) -> Outcome {
    tools::nextest()?;
    let build = Build::new(TABLE)?;
    // What is slow without the guard is not ended.
    let mut command = build.nextest_with(filter, PATIENT);
    process::run(command.env("NADB_MUTANT", guard))
}

fn chosen(table: &[Mutant], names: &[String]) -> Result<Vec<Mutant>, Failure> {
    let known: BTreeSet<&str> = table.iter().map(|row| row.guard).collect();
    if let Some(name) = names.iter().find(|name| !known.contains(name.as_str())) {
        return Err(Failure::usage(format!("there is no guard {name} in crates/xtask/src/mutants.rs")));
    }
    Ok(table
        .iter()
        .filter(|row| names.is_empty() || names.iter().any(|name| name == row.guard))
        .copied()
        .collect())
}

/// The nextest filter that matches precisely the row's test.
fn filter(row: &Mutant) -> String {
    format!("package(={}) & test(/(^|::){}$/)", row.package, row.test)
}

/// The test binaries, built once.
struct Build {
    folder: PathBuf,
}

impl Build {
    fn new(rows: &[Mutant]) -> Result<Build, Failure> {
        let folder = process::root().join("target").join(FOLDER);
        let build = Build { folder };
        fs::create_dir_all(&build.folder).map_err(|error| unwritable(&build.folder, &error))?;
        build.write(STRICT, NEXTEST_CONFIG)?;
        build.write(PATIENT, "")?;
        let metadata = process::output(&mut cargo(&["metadata", "--format-version", "1", "--no-deps"]))?;
        build.write("cargo-metadata.json", &metadata)?;

        let mut list =
            cargo(&["nextest", "list", "--list-type", "binaries-only", "--message-format", "json"]);
        suite::in_own_target(&mut list, FOLDER, RUSTFLAGS);
        for package in rows.iter().map(|row| row.package).collect::<BTreeSet<_>>() {
            list.args(["--package", package]);
        }
        println!("building the test binaries with {RUSTFLAGS}");
        build.write("binaries-metadata.json", &process::output(&mut list)?)?;
        Ok(build)
    }

    fn write(&self, name: &str, text: &str) -> Outcome {
        let path = self.folder.join(name);
        fs::write(&path, text).map_err(|error| unwritable(&path, &error))
    }

    /// `cargo nextest run` on the binaries that are there.
    fn nextest(&self, filter: &str) -> Command {
        self.nextest_with(filter, STRICT)
    }

    fn nextest_with(&self, filter: &str, config: &str) -> Command {
        let mut command = cargo(&["nextest", "run", "--no-fail-fast", "--no-tests", "fail", "-E", filter]);
        command.arg("--binaries-metadata").arg(self.folder.join("binaries-metadata.json"));
        command.arg("--cargo-metadata").arg(self.folder.join("cargo-metadata.json"));
        command.arg("--config-file").arg(self.folder.join(config));
        command
    }

    /// Runs all rows, as many at a time as there are cores, and gives their fates in order.
    fn fates(&self, rows: &[Mutant]) -> Vec<Fate> {
        let next = AtomicUsize::new(0);
        let fates = Mutex::new(BTreeMap::new());
        let work = || {
            while let Some((at, row)) = take(&next, rows) {
                let fate = self.fate(row);
                fates.lock().unwrap_or_else(|poison| poison.into_inner()).insert(at, fate);
            }
        };
        let workers = std::thread::available_parallelism().map_or(1, usize::from).min(rows.len());
        std::thread::scope(|scope| (0..workers).for_each(|_| drop(scope.spawn(work))));
        fates.into_inner().unwrap_or_else(|poison| poison.into_inner()).into_values().collect()
    }

    fn fate(&self, row: &Mutant) -> Fate {
        let mut command = self.nextest(&filter(row));
        command.env("NADB_MUTANT", row.guard).args(["--color", "never", "--failure-output", "never"]);
        match command.output() {
            Ok(output) => judged(output.status.code(), &String::from_utf8_lossy(&output.stderr)),
            Err(error) => Fate::Broken(format!("cargo nextest could not be started: {error}")),
        }
    }
}

fn take<'a>(next: &AtomicUsize, rows: &'a [Mutant]) -> Option<(usize, &'a Mutant)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, rows.get(at)?))
}

/// What nextest's exit code and summary say about one mutant.
fn judged(code: Option<i32>, summary: &str) -> Fate {
    match code {
        Some(EXIT_NO_TESTS) => Fate::Broken("no test has that name".into()),
        Some(0 | EXIT_TESTS_FAILED) if !summary.contains(" 1 test run: ") => {
            Fate::Broken("more than one test has that name: put its module before it".into())
        }
        Some(0) => Fate::Survived,
        Some(EXIT_TESTS_FAILED) => Fate::Noticed,
        _ => Fate::Broken(format!("nextest ended with {code:?}:\n{summary}")),
    }
}

fn report(rows: &[Mutant], fates: &[Fate]) -> Outcome {
    let width = rows.iter().map(|row| row.guard.len()).max().unwrap_or(0);
    for (row, fate) in rows.iter().zip(fates) {
        let word = match fate {
            Fate::Noticed => "noticed",
            Fate::Survived => "SURVIVED",
            Fate::Broken(_) => "BROKEN",
        };
        println!("  {word:<8}  {:<width$}  {} {}", row.guard, row.package, row.test);
        match fate {
            Fate::Noticed => {}
            Fate::Survived => println!("            {}", row.without),
            Fate::Broken(why) => println!("            {why}"),
        }
    }
    let noticed = fates.iter().filter(|fate| **fate == Fate::Noticed).count();
    println!("{noticed} of {} mutants noticed", rows.len());
    if noticed == rows.len() {
        return Ok(());
    }
    Err(Failure::new("a guard can be switched off without its test failing"))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: &[Mutant] = &[
        Mutant {
            guard: "log.cut",
            package: "nadb-log",
            test: "tests::cut",
            without: "A cut frame comes back.",
        },
        Mutant { guard: "log.gap", package: "nadb-log", test: "gap", without: "A gap is jumped over." },
    ];

    #[test]
    fn rows_are_chosen_by_name_and_unknown_names_refused() {
        let names = |names: &[&str]| names.iter().map(|name| String::from(*name)).collect::<Vec<_>>();
        assert_eq!(chosen(ROWS, &[]).unwrap(), ROWS);
        assert_eq!(chosen(ROWS, &names(&["log.gap"])).unwrap(), ROWS[1..]);
        assert_eq!(chosen(ROWS, &names(&["log.gape"])).unwrap_err().code, 2);
    }

    #[test]
    fn the_filter_is_anchored() {
        assert_eq!(filter(&ROWS[0]), "package(=nadb-log) & test(/(^|::)tests::cut$/)");
    }

    #[test]
    fn only_a_failed_single_test_counts_as_noticed() {
        let summary = "Summary [   0.004s] 1 test run: 0 passed, 1 failed, 40 skipped";
        assert_eq!(judged(Some(100), summary), Fate::Noticed);
        assert_eq!(judged(Some(0), summary), Fate::Survived);
        assert!(matches!(judged(Some(4), ""), Fate::Broken(_)));
        assert!(matches!(judged(Some(100), "Summary [   0.004s] 2 tests run: 1 passed"), Fate::Broken(_)));
        assert!(matches!(judged(Some(101), summary), Fate::Broken(_)));
        assert!(matches!(judged(None, summary), Fate::Broken(_)));
    }

    #[test]
    fn a_survivor_fails_the_run() {
        assert!(report(ROWS, &[Fate::Noticed, Fate::Noticed]).is_ok());
        assert!(report(ROWS, &[Fate::Noticed, Fate::Survived]).is_err());
        assert!(report(ROWS, &[Fate::Noticed, Fate::Broken("no test".into())]).is_err());
    }
}
