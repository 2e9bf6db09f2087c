//! The rules of the house that a machine can check. Each rule is a function from text to findings, tested on small strings.

mod edges;
mod guards;
mod rust;
mod source;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::mutants::TABLE;
use crate::process::{self, Failure, Outcome};
use source::Source;

/// Something that a person has to look at.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    line: usize,
    message: String,
    only_warns: bool,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Finding { path: path.into(), line, message: message.into(), only_warns: false }
    }

    fn warning(path: &str, line: usize, message: impl Into<String>) -> Self {
        Finding { only_warns: true, ..Finding::new(path, line, message) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.only_warns { "warning: " } else { "" };
        write!(f, "{}:{}: {word}{}", self.path, self.line, self.message)
    }
}

/// A file of the tree whose bytes are UTF-8.
pub(crate) struct TextFile {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

/// Checks the whole tree and prints what it found, one line each.
pub(crate) fn tidy() -> Outcome {
    let root = process::root();
    let paths = tree(&root)?;
    let files = texts(&root, &paths)?;
    let findings = findings(&paths, &files);
    findings.iter().for_each(|finding| println!("{finding}"));
    let stops = findings.iter().filter(|finding| !finding.only_warns).count();
    println!("tidy: {} files read, {stops} findings, {} warnings", files.len(), findings.len() - stops);
    if stops == 0 { Ok(()) } else { Err(Failure::new("the tree breaks rules of the house, see above")) }
}

fn findings(paths: &BTreeSet<String>, files: &[TextFile]) -> BTreeSet<Finding> {
    let sources: Vec<Source> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| Source::new(&file.path, &file.text))
        .collect();
    let mut findings = BTreeSet::new();
    for file in files {
        findings.extend(text::check(file));
        if file.path.ends_with(".md") {
            findings.extend(text::links(file, paths));
        }
        if file.path.ends_with("Cargo.toml") {
            findings.extend(edges::check(&file.path, &file.text));
        }
    }
    for source in &sources {
        findings.extend(rust::check(source));
    }
    findings.extend(guards::check(&sources, TABLE));
    findings
}

/// All files that git knows or would add; without git, all files outside of target/.
fn tree(root: &Path) -> Result<BTreeSet<String>, Failure> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root)
        .output();
    let mut paths = BTreeSet::new();
    match listed {
        Ok(output) if output.status.success() => {
            let all = String::from_utf8_lossy(&output.stdout).into_owned();
            paths.extend(all.split('\0').filter(|path| !path.is_empty()).map(String::from));
            paths.retain(|path| root.join(path).is_file()); // deleted, but not yet for git
        }
        _ => walk(root, root, &mut paths)
            .map_err(|error| Failure::new(format!("cannot read the tree: {error}")))?,
    }
    Ok(paths)
}

fn walk(root: &Path, folder: &Path, paths: &mut BTreeSet<String>) -> std::io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let relative = relative(root, &path);
        if path.is_dir() && ![".git", "target", "fuzz/target"].contains(&relative.as_str()) {
            walk(root, &path, paths)?;
        } else if path.is_file() {
            paths.insert(relative);
        }
    }
    Ok(())
}

fn relative(root: &Path, path: &Path) -> String {
    let relative: PathBuf = path.strip_prefix(root).unwrap_or(path).into();
    relative.to_string_lossy().replace('\\', "/")
}

/// The files that are text. The corpora of the fuzz targets are bytes, whatever they look like.
fn texts(root: &Path, paths: &BTreeSet<String>) -> Result<Vec<TextFile>, Failure> {
    let mut files = vec![];
    for path in paths.iter().filter(|path| !path.starts_with("fuzz/corpus/")) {
        let bytes = fs::read(root.join(path)).map_err(|error| Failure::new(format!("{path}: {error}")))?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(TextFile { path: path.clone(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_names_file_and_line() {
        assert_eq!(Finding::new("a/b.rs", 7, "too long").to_string(), "a/b.rs:7: too long");
        assert_eq!(Finding::warning("a/b.rs", 7, "long").to_string(), "a/b.rs:7: warning: long");
    }

    #[test]
    fn the_tree_has_this_file_and_nothing_of_target() {
        let paths = tree(&process::root()).unwrap();
        assert!(paths.contains("crates/xtask/src/tidy.rs"));
        assert!(!paths.iter().any(|path| path.starts_with("target/")));
        let mut walked = BTreeSet::new();
        walk(&process::root(), &process::root().join("crates"), &mut walked).unwrap();
        assert!(walked.contains("crates/xtask/src/tidy.rs"));
    }

    #[test]
    fn findings_of_all_kinds_come_together_in_order() {
        let file = |path: &str, text: &str| TextFile { path: path.into(), text: text.into() };
        let files = [
            file("docs/a.md", "[gone](b.md)\n"),
            file(
                "crates/nadb-core/Cargo.toml",
                "[package]\nname = \"nadb-core\"\n[dependencies]\nnadb-log = \"1\"\n",
            ),
            file("crates/nadb-core/src/a.rs", "fn a() {} \n"),
        ];
        let paths = files.iter().map(|file| file.path.clone()).collect();
        let found: Vec<String> =
            findings(&paths, &files).iter().map(|finding| finding.path.clone()).collect();
        assert_eq!(found[..2], ["crates/nadb-core/Cargo.toml", "crates/nadb-core/src/a.rs"]);
        assert!(found.contains(&"docs/a.md".into()));
    }
}
