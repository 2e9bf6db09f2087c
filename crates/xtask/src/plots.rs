//! Charts of a recorded run beside other stores: `cargo xtask plots docs/benchmarks/2026-11-23.json` writes an SVG for each group of
//! workloads next to the file. The same figures give the same bytes, so a chart that is out of date is noticed by a test.

mod chart;
mod figures;
mod scale;
mod svg;

use std::fs;
use std::path::{Path, PathBuf};

use crate::process::{self, Failure, Outcome};
use figures::Figure;

/// Workloads that stand in one chart: what its file is called, and what its title is.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    file: String,
    title: String,
}

/// Draws the runs in `files`.
pub(crate) fn plots(files: &[String]) -> Outcome {
    if files.is_empty() {
        return Err(Failure::usage("which run? cargo xtask plots docs/benchmarks/<run>.json"));
    }
    for file in files {
        for (path, text) in drawn(&process::root().join(file))? {
            let kib = text.len().div_ceil(1024);
            fs::write(&path, text).map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
            println!("{} ({kib} KiB)", path.display());
        }
    }
    Ok(())
}

/// The charts of a run: where each belongs, and its text.
fn drawn(run: &Path) -> Result<Vec<(PathBuf, String)>, Failure> {
    let text =
        fs::read_to_string(run).map_err(|error| Failure::new(format!("{}: {error}", run.display())))?;
    let figures = figures::parsed(&text)?;
    let stem = run.file_stem().unwrap_or_default().to_string_lossy();
    let mut groups: Vec<Group> = Vec::new();
    for figure in &figures {
        let group = group_of(&figure.row);
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let draw = |group: &Group| {
        let of: Vec<&Figure> = figures.iter().filter(|figure| group_of(&figure.row) == *group).collect();
        (run.with_file_name(format!("{stem}-{}.svg", group.file)), chart::draw(&group.title, &of))
    };
    Ok(groups.iter().map(draw).collect())
}

/// The group of a row. Rows are called by the number of their target, `1b batches of 100`, or by what is varied, `threads: get`.
fn group_of(row: &str) -> Group {
    let group = |file: &str, title: &str| Group { file: file.into(), title: title.into() };
    if let Some(work) = row.strip_prefix("threads: ") {
        return group(&format!("threads-{}", svg::file_name(work)), &format!("{work}, by number of threads"));
    }
    if row.starts_with("tail: ") {
        return group("tail", "One thread of sets beside one of gets");
    }
    let number: String = row.chars().take_while(char::is_ascii_digit).collect();
    match number.as_str() {
        "1" => group("load", "Loading new keys"),
        "2" | "3" => group("get", "Reading single keys"),
        "4" => group("ycsb", "Reads and updates, skewed (YCSB)"),
        "5" => group("synced", "Synced sets"),
        "6" => group("large", "Values of 64 KiB"),
        "7" if row == "7 overwrite" => group("overwrite", "Overwriting at random"),
        "7" => group("rest", "Coming to rest after overwriting, and compacting"),
        "8" => group("tags", "Records with tags"),
        "9" => group("ttl", "Records with tags and expiries"),
        "10" => group("open", "Closing and opening"),
        "11" => group("scan", "Scans in key order"),
        _ => group("other", "Other work"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: &str = "docs/benchmarks";

    fn runs() -> Vec<PathBuf> {
        let files = fs::read_dir(process::root().join(RUNS)).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|extension| extension == "json")).collect()
    }

    #[test]
    fn the_charts_that_are_checked_in_are_those_of_their_runs() {
        assert!(!runs().is_empty());
        for run in runs() {
            for (path, text) in drawn(&run).unwrap() {
                let stored = fs::read_to_string(&path).unwrap_or_default();
                assert!(stored == text, "{} is not what `cargo xtask plots` draws", path.display());
            }
        }
    }

    #[test]
    fn charts_are_small_and_well_formed() {
        for (path, text) in runs().iter().flat_map(|run| drawn(run).unwrap()) {
            assert!(text.len() < 30 << 10, "{}: {} bytes", path.display(), text.len());
            assert_eq!(svg::fault(&text), None, "{}", path.display());
        }
    }

    #[test]
    fn every_row_has_a_group() {
        assert_eq!(group_of("1b batches of 100").file, "load");
        assert_eq!(group_of("11 scan all").file, "scan");
        assert_eq!(group_of("threads: YCSB-A").file, "threads-ycsb-a");
        assert_eq!(group_of("tail: set beside gets").file, "tail");
        assert_eq!(group_of("something new").file, "other");
    }
}
