//! Instructions of the hot paths, counted by valgrind and compared with benches/counts.json: what a slower machine, or a busy one,
//! does not change.
//!
//! What is compared are ratios to the section `reference` of the same run, so that another compiler or processor matters less than
//! a change of the code. Instructions are not time: what waits for memory or for the system is not seen here.

mod baseline;
mod compare;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{self, Failure, Outcome, cargo};
use crate::tools;

/// Keys of each section. Opening has costs that do not grow with it, so the baseline holds for this number only.
const SIZE: &str = "10000";
const BASELINE: &str = "benches/counts.json";
/// The function of `nadb-counts` whose calls are the sections.
const COUNTED: &str = "nadb_counts::counted";

/// Instructions of one operation of a section.
#[derive(Debug, Clone, PartialEq)]
struct Count {
    name: String,
    instructions: f64,
}

/// Counts and compares with the baseline, or makes what was counted the baseline.
pub(crate) fn counts(is_blessing: bool) -> Outcome {
    tools::valgrind()?;
    let program = built()?;
    let scratch = process::root().join("target/counts");
    let counted = in_empty(&scratch, || counted(&program, &scratch))?;
    let path = process::root().join(BASELINE);
    if is_blessing {
        return write(&path, &baseline::text(&counted));
    }
    let text = fs::read_to_string(&path).map_err(|error| {
        Failure::new(format!("{BASELINE} cannot be read ({error}); `cargo xtask counts --bless` writes it"))
    })?;
    let comparison = compare::compare(&baseline::parsed(&text)?, &counted)?;
    println!("{}", comparison.table());
    comparison.outcome()
}

/// Builds the program and says where it is.
fn built() -> Result<PathBuf, Failure> {
    let words = ["build", "--release", "--package", "nadb-benches", "--bin", "nadb-counts"];
    let messages = process::output(cargo(&words).args(["--message-format", "json-render-diagnostics"]))?;
    let executable = |line: &str| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        message.get("executable")?.as_str().map(PathBuf::from)
    };
    messages
        .lines()
        .find_map(executable)
        .ok_or_else(|| Failure::new("cargo names no program that it has built"))
}

/// Runs `work` with an empty folder, which goes afterwards.
fn in_empty<T>(folder: &Path, work: impl FnOnce() -> Result<T, Failure>) -> Result<T, Failure> {
    let failed = |error| Failure::new(format!("{}: {error}", folder.display()));
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(failed)?;
    }
    fs::create_dir_all(folder).map_err(failed)?;
    let done = work();
    fs::remove_dir_all(folder).map_err(failed)?;
    done
}

/// Runs the program under valgrind, which writes a file at the end of every section.
fn counted(program: &Path, scratch: &Path) -> Result<Vec<Count>, Failure> {
    let out = scratch.join("callgrind.out");
    let mut command = Command::new("valgrind");
    command.args(["--quiet", "--tool=callgrind"]);
    command.arg(format!("--zero-before={COUNTED}")).arg(format!("--dump-after={COUNTED}"));
    command.arg(format!("--callgrind-out-file={}", out.display()));
    // A short relative path: that of the checkout would be copied, and counted, wherever a file is named.
    let said = process::output(command.arg(program).args(["stores", SIZE]).current_dir(scratch))?;
    let dump = |number: usize| {
        let path = scratch.join(format!("callgrind.out.{number}"));
        fs::read_to_string(&path).map_err(|_| {
            Failure::new(format!(
                "valgrind has seen {} calls of {COUNTED} and not one for each section: it does not find the function",
                number - 1
            ))
        })
    };
    said.lines().zip(1..).map(|(line, number)| count(line, &dump(number)?)).collect()
}

/// The count of the section that the program announced with `line`, from what valgrind wrote at its end.
fn count(line: &str, dump: &str) -> Result<Count, Failure> {
    let section = line.split_once(' ').and_then(|(count, name)| Some((count.parse::<u32>().ok()?, name)));
    let summary = dump.lines().find_map(|line| line.strip_prefix("summary: "));
    let instructions = summary.and_then(|number| number.trim().parse::<f64>().ok());
    match (section, instructions) {
        (Some((operations @ 1.., name)), Some(instructions)) => {
            Ok(Count { name: name.into(), instructions: instructions / f64::from(operations) })
        }
        _ => Err(Failure::new(format!(
            "the section `{line}` has no operations, or valgrind counted none of them"
        ))),
    }
}

fn write(path: &Path, text: &str) -> Outcome {
    fs::write(path, text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    println!("{text}written to {}", path.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_counted_per_operation() {
        let dump = "version: 1\npositions: line\nevents: Ir\nsummary: 69115\n\nfn=(1)\n1 3\ntotals: 70000\n";
        let found = count("100 scan, a row", dump).unwrap();
        assert_eq!(found, Count { name: "scan, a row".into(), instructions: 691.15 });
    }

    #[test]
    fn what_was_not_counted_is_no_zero() {
        assert!(count("100 set", "events: Ir\n").is_err());
        assert!(count("0 set", "summary: 7\n").is_err());
        assert!(count("set", "summary: 7\n").is_err());
    }

    #[test]
    fn the_baseline_that_is_checked_in_can_be_read() {
        let text = fs::read_to_string(process::root().join(BASELINE)).unwrap();
        let counts = baseline::parsed(&text).unwrap();
        assert!(counts.len() > 10, "{counts:?}");
        assert_eq!(baseline::text(&counts), text);
    }
}
