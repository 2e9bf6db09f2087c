//! The rule about dependencies between members: an edge that is not in [`EDGES`] is a decision, and a commit of its own with
//! a line in the architecture document.

use super::Finding;

/// Which members each member may depend on.
const EDGES: &[(&str, &[&str])] = &[
    ("nadb-core", &[]),
    ("nadb-vfs", &[]),
    ("nadb-log", &["nadb-core", "nadb-vfs"]),
    ("nadb-index", &["nadb-core", "nadb-vfs"]),
    ("nadb-compact", &["nadb-core", "nadb-vfs", "nadb-log", "nadb-index"]),
    ("nadb-engine", &["nadb-core", "nadb-vfs", "nadb-log", "nadb-index", "nadb-compact"]),
    ("nadb-redis", &["nadb-core"]),
    ("nadb", &["nadb-core", "nadb-vfs", "nadb-engine", "nadb-redis"]),
    ("nadb-cli", &["nadb"]),
    ("nadb-conformance", &["nadb-core"]),
    (
        "nadb-testkit",
        &[
            "nadb-core",
            "nadb-vfs",
            "nadb-log",
            "nadb-index",
            "nadb-compact",
            "nadb-engine",
            "nadb-conformance",
            "nadb",
        ],
    ),
    // The facade for what users do; log and index for the structures that are timed alone; engine and file system for a store
    // without a background thread, of which instructions are counted.
    ("nadb-benches", &["nadb", "nadb-core", "nadb-log", "nadb-index", "nadb-engine", "nadb-vfs"]),
    ("nadb-peers", &["nadb", "nadb-benches"]),
    ("nadb-fuzz", &["nadb-testkit"]),
    ("xtask", &[]),
];

/// What any member's tests may depend on, too.
const TEST_ONLY: [&str; 2] = ["nadb-conformance", "nadb-testkit"];

/// A dependency on a member, as a manifest states it.
#[derive(Debug, PartialEq, Eq)]
struct Edge {
    to: String,
    line: usize,
    dev: bool,
}

/// Checks one Cargo.toml.
pub(super) fn check(path: &str, manifest: &str) -> Vec<Finding> {
    let Some(package) = package_name(manifest) else {
        return vec![]; // the virtual root
    };
    let Some((_, allowed)) = EDGES.iter().find(|(from, _)| *from == package) else {
        let message = format!("{package} is not in the list of crates/xtask/src/tidy/edges.rs");
        return vec![Finding::new(path, 1, message)];
    };
    let fits = |edge: &Edge| {
        allowed.contains(&edge.to.as_str()) || edge.dev && TEST_ONLY.contains(&edge.to.as_str())
    };
    let wrong = edges(manifest).into_iter().filter(|edge| !fits(edge));
    wrong
        .map(|edge| Finding::new(path, edge.line, format!("{package} must not depend on {}", edge.to)))
        .collect()
}

fn package_name(manifest: &str) -> Option<String> {
    let after = manifest.split_once("[package]")?.1;
    let line = after.lines().find(|line| line.split('=').next().is_some_and(|key| key.trim() == "name"))?;
    Some(value(line))
}

/// Every dependency on a member, whatever kind of table it stands in.
fn edges(manifest: &str) -> Vec<Edge> {
    let mut edges = vec![];
    let mut table = String::new();
    for (at, line) in manifest.lines().enumerate() {
        let line = line.split('#').next().unwrap_or("").trim();
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            table = name.into();
            // [dependencies.nadb-core]
            if let Some((of, to)) = table.rsplit_once('.').filter(|(of, _)| is_dependencies(of)) {
                edges.push(Edge {
                    to: to.trim_matches('"').into(),
                    line: at + 1,
                    dev: of.ends_with("dev-dependencies"),
                });
            }
        } else if let Some((key, rest)) = line.split_once('=').filter(|_| is_dependencies(&table)) {
            let renamed = rest.split_once("package").map(|(_, package)| value(package));
            let name = key.split('.').next().unwrap_or(key).trim().trim_matches('"');
            let to = renamed.unwrap_or_else(|| name.into());
            edges.push(Edge { to, line: at + 1, dev: table.ends_with("dev-dependencies") });
        }
    }
    edges.retain(|edge| EDGES.iter().any(|(member, _)| *member == edge.to));
    edges
}

fn is_dependencies(table: &str) -> bool {
    table != "workspace.dependencies" && table.ends_with("dependencies")
}

/// The first quoted text in `text`.
fn value(text: &str) -> String {
    text.split('"').nth(1).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(package: &str, tables: &str) -> Vec<usize> {
        let manifest = format!("[package]\nname = \"{package}\"\n{tables}");
        check("Cargo.toml", &manifest).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_forbidden_edge_is_found_in_every_notation() {
        for table in
            ["dependencies", "dev-dependencies", "build-dependencies", "target.'cfg(unix)'.dependencies"]
        {
            for line in [
                "nadb-index.workspace = true",
                "nadb-index = { path = \"../nadb-index\" }",
                "index = { path = \"../nadb-index\", package = \"nadb-index\" }",
                "\"nadb-index\" = \"0.1\"",
            ] {
                assert_eq!(found("nadb-log", &format!("[{table}]\n{line}\n")), [4], "{table} {line}");
            }
            assert_eq!(
                found("nadb-log", &format!("[{table}.nadb-index]\nworkspace = true\n")),
                [3],
                "{table}"
            );
        }
    }

    #[test]
    fn allowed_edges_and_foreign_crates_are_not() {
        assert_eq!(
            found("nadb-log", "[dependencies]\nnadb-core.workspace = true\nbytes.workspace = true\n"),
            [0; 0]
        );
        assert_eq!(found("nadb-log", "[features]\nnadb-index = []\n"), [0; 0]);
        assert_eq!(found("nadb-log", "[dependencies]\n# nadb-index.workspace = true\n"), [0; 0]);
    }

    #[test]
    fn the_testkit_is_for_tests() {
        assert_eq!(found("nadb-engine", "[dev-dependencies]\nnadb-testkit.workspace = true\n"), [0; 0]);
        assert_eq!(found("nadb-engine", "[dependencies]\nnadb-testkit.workspace = true\n"), [4]);
    }

    #[test]
    fn a_member_that_is_not_listed_is_found_and_the_root_is_none() {
        assert_eq!(found("nadb-new", ""), [1]);
        assert_eq!(check("Cargo.toml", "[workspace]\n[workspace.dependencies]\nnadb = \"1\"\n"), []);
    }
}
