//! Rules about every text file: no blanks at line ends, no home directory of anyone, links that lead somewhere.

use std::collections::BTreeSet;

use super::{Finding, TextFile};

/// Where people's home directories are. Put together here, so that this file does not break its own rule.
const HOMES: [&[&str]; 4] = [&["/home", "/"], &["/Users", "/"], &["/root", "/"], &[":\\Users", "\\"]];

/// Checks each line of a file.
pub(super) fn check(file: &TextFile) -> Vec<Finding> {
    let homes = HOMES.map(|parts| parts.concat());
    let mut findings = vec![];
    for (at, line) in file.text.lines().enumerate() {
        if line.ends_with([' ', '\t']) {
            findings.push(Finding::new(&file.path, at + 1, "blanks at the end of the line"));
        }
        if homes.iter().any(|home| names_home(line, home)) {
            findings.push(Finding::new(&file.path, at + 1, "an absolute path of a home directory"));
        }
    }
    findings
}

/// Whether `home` stands in the line at the beginning of a path.
fn names_home(line: &str, home: &str) -> bool {
    line.match_indices(home).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().next_back());
        home.starts_with(':') || !before.is_some_and(|c| c.is_alphanumeric() || "._-/".contains(c))
    })
}

/// Checks that relative links of a Markdown file lead to a file of the tree, or to a folder of it.
pub(super) fn links(file: &TextFile, paths: &BTreeSet<String>) -> Vec<Finding> {
    let mut findings = vec![];
    let mut fenced = false;
    for (at, line) in file.text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        for target in targets(&without_code(line)) {
            if !leads_somewhere(&file.path, &target, paths) {
                findings.push(Finding::new(
                    &file.path,
                    at + 1,
                    format!("the link to {target} leads nowhere"),
                ));
            }
        }
    }
    findings
}

/// The line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect()
}

/// The targets of `[text](target)` and `[text]: target`.
fn targets(line: &str) -> Vec<String> {
    let inline = line.split("](").skip(1).filter_map(|after| after.split(')').next());
    let reference = line.trim_start().strip_prefix('[').and_then(|rest| rest.split_once("]: "));
    let all = inline.chain(reference.map(|(_, target)| target));
    all.filter_map(|target| target.split_whitespace().next()).map(String::from).collect()
}

fn leads_somewhere(from: &str, target: &str, paths: &BTreeSet<String>) -> bool {
    let target = target.trim_matches(['<', '>']).split('#').next().unwrap_or_default();
    if target.is_empty() || target.contains("://") || target.starts_with("mailto:") {
        return true;
    }
    let mut parts: Vec<&str> = from.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.pop().is_none() => return false,
            ".." => {}
            _ => parts.push(part),
        }
    }
    let path = parts.join("/");
    let folder = format!("{path}/");
    path.is_empty() || paths.contains(&path) || paths.iter().any(|known| known.starts_with(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile { path: path.into(), text: text.into() }
    }

    #[test]
    fn blanks_at_line_ends_are_found() {
        let found = |text| check(&file("a.txt", text)).len();
        assert_eq!(found("a \nb\t\nc\n"), 2);
        assert_eq!(found("a\n b\n\n"), 0);
    }

    #[test]
    fn home_directories_are_found() {
        for home in HOMES {
            let home = home.concat();
            assert_eq!(check(&file("a.txt", &format!("see {home}someone/x"))).len(), 1, "{home}");
        }
        let site = format!("https://example.org{}page", HOMES[0].concat());
        assert_eq!(check(&file("a.txt", &site)).len(), 0);
    }

    #[test]
    fn links_that_lead_nowhere_are_found() {
        let paths: BTreeSet<String> =
            ["README.md", "docs/a.md", "docs/decisions/1.md"].map(String::from).into();
        let found = |text| links(&file("docs/a.md", text), &paths).len();
        for bad in
            ["[x](b.md)", "[x](README.md)", "[x](../../README.md)", "[x]: gone.md", "![x](p.png \"title\")"]
        {
            assert_eq!(found(bad), 1, "{bad}");
        }
        for good in [
            "[x](../README.md)",
            "[x](decisions)",
            "[x](decisions/1.md#part)",
            "[x](#part)",
            "[x](https://example.org/b.md)",
            "[x]: ../README.md",
            "`[x](b.md)`",
            "```\n[x](b.md)\n```",
        ] {
            assert_eq!(found(good), 0, "{good}");
        }
    }
}
