//! The rule that every guard of the sources is in the mutants table, and every row of the table in the sources.

use std::collections::BTreeMap;

use super::Finding;
use super::source::Source;
use crate::mutants::Mutant;

const CALL: &str = "guard::on";
const TABLE_PATH: &str = "crates/xtask/src/mutants.rs";

/// Compares the guards of all sources with the table.
pub(super) fn check(sources: &[Source<'_>], table: &[Mutant]) -> Vec<Finding> {
    let mut findings = vec![];
    let mut named: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for source in sources {
        for at in source.words(CALL) {
            let line = source.line(at);
            match literal(source.text, at + CALL.len()) {
                Some(name) => _ = named.entry(name).or_insert((source.path, line)),
                None => findings.push(Finding::new(source.path, line, "a guard's name is a string literal")),
            }
        }
    }
    for (name, (path, line)) in &named {
        if !table.iter().any(|row| row.guard == *name) {
            let message =
                format!("the guard {name} is not in {TABLE_PATH}: name the test that fails without it");
            findings.push(Finding::new(path, *line, message));
        }
    }
    for (at, row) in table.iter().enumerate() {
        let mut stop =
            |message: String| findings.push(Finding::new(TABLE_PATH, table_line(sources, row), message));
        if !named.contains_key(row.guard) {
            stop(format!("no guard::on(\"{}\") is in the sources", row.guard));
        }
        if table.iter().take(at).any(|earlier| earlier.guard == row.guard) {
            stop(format!("the guard {} is in the table twice", row.guard));
        }
        if !sources.iter().any(|source| has_test(source, row)) {
            stop(format!("{} has no function {}", row.package, row.test));
        }
    }
    findings
}

/// The string literal that is the only argument of the call whose name ends at `at`.
fn literal(text: &str, at: usize) -> Option<&str> {
    let inner = text.get(at..)?.trim_start().strip_prefix('(')?.trim_start().strip_prefix('"')?;
    inner.split_once('"').map(|(name, _)| name)
}

fn has_test(source: &Source<'_>, row: &Mutant) -> bool {
    let function = row.test.rsplit("::").next().unwrap_or(row.test);
    let folder = format!("crates/{}/", row.package);
    source.path.starts_with(&folder) && source.functions().iter().any(|known| known.name == function)
}

fn table_line(sources: &[Source<'_>], row: &Mutant) -> usize {
    let quoted = format!("\"{}\"", row.guard);
    let table = sources.iter().find(|source| source.path == TABLE_PATH);
    table.and_then(|table| Some(table.line(table.text.find(&quoted)?))).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: Mutant = Mutant { guard: "a.b", package: "nadb-log", test: "tests::c", without: "" };

    fn found(sources: &[(&str, &str)], table: &[Mutant]) -> Vec<String> {
        let sources: Vec<_> = sources.iter().map(|(path, text)| Source::new(path, text)).collect();
        check(&sources, table).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn guards_and_table_agree() {
        let text = "fn a() -> bool {\n    guard::on(\n        \"a.b\",\n    )\n}\nfn c() {}\n";
        assert_eq!(found(&[("crates/nadb-log/src/a.rs", text)], &[ROW]), [""; 0]);
        assert_eq!(
            found(&[("a.rs", "// guard::on(\"a.b\")\nfn f() -> &str { \"guard::on(x)\" }\n")], &[]),
            [""; 0]
        );
    }

    #[test]
    fn a_guard_without_a_row_is_found() {
        let found = found(&[("a.rs", "\nconst A: bool = nadb_core::guard::on(\"a.b\");\n")], &[]);
        assert!(found[0].starts_with("a.rs:2: the guard a.b is not in"), "{found:?}");
    }

    #[test]
    fn a_guard_whose_name_is_computed_is_found() {
        let found = found(&[("a.rs", "fn a(n: &'static str) -> bool { guard::on(n) }\n")], &[]);
        assert!(found[0].starts_with("a.rs:1: a guard's name is a string literal"), "{found:?}");
    }

    #[test]
    fn a_row_without_guard_or_test_or_twice_is_found() {
        let table = (TABLE_PATH, "\n\n[Mutant { guard: \"a.b\" }]\n");
        let found_without = found(&[table], &[ROW]);
        assert!(
            found_without[0].starts_with("crates/xtask/src/mutants.rs:3: no guard::on"),
            "{found_without:?}"
        );
        assert!(found_without[1].contains("nadb-log has no function tests::c"), "{found_without:?}");
        let guarded = ("crates/nadb-log/src/a.rs", "fn c() { guard::on(\"a.b\"); }\n");
        assert!(found(&[table, guarded], &[ROW, ROW])[0].contains("twice"));
    }
}
