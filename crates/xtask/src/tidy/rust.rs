//! Rules about Rust files: header, length, unfinished code, homes, unsafe.

use super::Finding;
use super::source::Source;

/// Lines of a file, without its unit tests, from which on one should look twice, and that it may have at most.
const FILE_LINES_WARN: usize = 500;
const FILE_LINES_MAX: usize = 800;
/// Lines that a function may have at most.
const FUNCTION_LINES_MAX: usize = 70;

/// Where `std::fs` may be named: the door itself, programs that touch users' files, and what is only used by tests.
const FS_HOMES: [&str; 6] = [
    "benches/",
    "crates/nadb-cli/",
    "crates/nadb-testkit/",
    "crates/nadb-vfs/",
    "crates/xtask/",
    "examples/",
];
/// Where `memmap2` may be named.
const MMAP_HOMES: [&str; 1] = ["crates/nadb-vfs/"];
/// Packages whose root may deny unsafe code instead of forbidding it, so that a small module can expect it with a reason.
const UNSAFE_HOMES: [&str; 3] = ["crates/nadb-index/", "crates/nadb-vfs/", "benches/peers/src/"];

/// All rules about one file.
pub(super) fn check(source: &Source<'_>) -> Vec<Finding> {
    let mut findings: Vec<Finding> = header(source).into_iter().collect();
    findings.extend(file_length(source));
    findings.extend(function_lengths(source));
    findings.extend(unfinished(source));
    findings.extend(file_system(source));
    findings.extend(mappings(source));
    findings.extend(unsafe_code(source));
    findings
}

fn header(source: &Source<'_>) -> Option<Finding> {
    let missing = !source.text.starts_with("//!");
    missing.then(|| {
        Finding::new(source.path, 1, "a file opens with `//!`: what it is, promises, leaves to others")
    })
}

fn file_length(source: &Source<'_>) -> Option<Finding> {
    let lines = source.lines_without_tests();
    if lines > FILE_LINES_MAX {
        let message = format!("{lines} lines without unit tests, at most {FILE_LINES_MAX} are allowed");
        return Some(Finding::new(source.path, 1, message));
    }
    let message = || format!("{lines} lines without unit tests: look twice at {FILE_LINES_WARN}");
    (lines > FILE_LINES_WARN).then(|| Finding::warning(source.path, 1, message()))
}

fn function_lengths(source: &Source<'_>) -> Vec<Finding> {
    let long = source.functions().into_iter().filter_map(|function| {
        let lines = function.last_line - function.first_line + 1;
        let message =
            format!("fn {} has {lines} lines, at most {FUNCTION_LINES_MAX} are allowed", function.name);
        (lines > FUNCTION_LINES_MAX).then(|| Finding::new(source.path, function.first_line, message))
    });
    long.collect()
}

fn unfinished(source: &Source<'_>) -> Vec<Finding> {
    let marks = ["todo", "unimplemented"].into_iter().flat_map(|word| {
        let calls =
            source.words(word).filter(|at| source.code[at + word.len()..].trim_start().starts_with('!'));
        calls.map(move |at| (word, at)).collect::<Vec<_>>()
    });
    marks
        .map(|(word, at)| finding(source, at, format!("{word}! is left: finish it or give an error")))
        .collect()
}

fn file_system(source: &Source<'_>) -> Vec<Finding> {
    if FS_HOMES.iter().any(|home| source.path.starts_with(home)) || is_test_or_example(source.path) {
        return vec![];
    }
    let direct = source.words("std::fs").collect::<Vec<_>>();
    let grouped = source.words("std").filter_map(|at| grouped_fs(source, at));
    let places = direct.into_iter().chain(grouped);
    let outside = places.filter(|at| !source.is_unit_test(source.line(*at)));
    outside
        .map(|at| finding(source, at, "std::fs outside of its homes: store files go through nadb-vfs"))
        .collect()
}

/// Whether the `std` at `at` begins `std::{…}` with an `fs` of its own in the braces; gives `at` back.
fn grouped_fs(source: &Source<'_>, at: usize) -> Option<usize> {
    let open = at + "std::".len();
    source.code.get(at..)?.starts_with("std::{").then_some(())?;
    let inner = source.code.get(open + 1..source.closing(open)?)?;
    let mut depth = 0_usize;
    let top: String = inner
        .chars()
        .filter(|c| {
            depth += usize::from(*c == '{');
            depth -= usize::from(*c == '}' && depth > 0);
            depth == 0
        })
        .collect();
    let first_words = top.split(',').map(|item| item.trim().split([':', ' ']).next().unwrap_or(""));
    first_words.into_iter().any(|word| word == "fs").then_some(at)
}

fn mappings(source: &Source<'_>) -> Vec<Finding> {
    if MMAP_HOMES.iter().any(|home| source.path.starts_with(home)) {
        return vec![];
    }
    let message = "memmap2 outside of nadb-vfs: mappings have one home";
    source.words("memmap2").map(|at| finding(source, at, message)).collect()
}

fn unsafe_code(source: &Source<'_>) -> Option<Finding> {
    let root = source.path.ends_with("src/lib.rs") || source.path.ends_with("src/main.rs");
    if !root || source.code.contains("#![forbid(unsafe_code)]") {
        return None;
    }
    if !UNSAFE_HOMES.iter().any(|home| source.path.starts_with(home)) {
        return Some(Finding::new(source.path, 1, "a crate's root says #![forbid(unsafe_code)]"));
    }
    let denied = source.code.contains("#![deny(unsafe_code)]");
    (!denied)
        .then(|| Finding::new(source.path, 1, "the root of a home of unsafe code says #![deny(unsafe_code)]"))
}

fn is_test_or_example(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/examples/")
}

fn finding(source: &Source<'_>, at: usize, message: impl Into<String>) -> Finding {
    Finding::new(source.path, source.line(at), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATH: &str = "crates/nadb-core/src/a.rs";

    fn lines_found(path: &str, text: &str) -> Vec<usize> {
        let text = format!("//! A file.\n{text}");
        check(&Source::new(path, &text)).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_file_without_a_header_is_found() {
        let found = |text| header(&Source::new(PATH, text)).is_some();
        assert!(found("fn a() {}\n"));
        assert!(found("// A file.\n"));
        assert!(!found("//! A file.\n"));
    }

    #[test]
    fn a_long_file_is_found_unless_its_tests_make_it_long() {
        let lines = |count: usize| "const A: u8 = 1;\n".repeat(count);
        let found = |text: String| file_length(&Source::new(PATH, &text)).map(|finding| finding.only_warns);
        assert_eq!(found(lines(FILE_LINES_WARN)), None);
        assert_eq!(found(lines(FILE_LINES_WARN + 1)), Some(true));
        assert_eq!(found(lines(FILE_LINES_MAX)), Some(true));
        assert_eq!(found(lines(FILE_LINES_MAX + 1)), Some(false));
        assert_eq!(found(format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(FILE_LINES_MAX))), None);
    }

    #[test]
    fn a_long_function_is_found() {
        let function = |lines: usize| format!("fn a() {{\n{}}}\n", "    b();\n".repeat(lines - 2));
        assert_eq!(lines_found(PATH, &function(FUNCTION_LINES_MAX)), [0; 0]);
        assert_eq!(lines_found(PATH, &function(FUNCTION_LINES_MAX + 1)), [2]);
    }

    #[test]
    fn unfinished_code_is_found() {
        assert_eq!(lines_found(PATH, "fn a() {\n    todo!()\n}\n"), [3]);
        assert_eq!(lines_found(PATH, "fn a() {\n    unimplemented!(\"b\")\n}\n"), [3]);
        assert_eq!(lines_found(PATH, "fn todo() {} // todo!()\n"), [0; 0]);
    }

    #[test]
    fn the_file_system_is_named_only_in_its_homes() {
        for text in
            ["use std::fs;\n", "use std::fs::File;\n", "use std::{fs, io};\n", "use std::{io, fs::{self}};\n"]
        {
            assert_eq!(lines_found(PATH, text), [2], "{text}");
            assert_eq!(lines_found("crates/nadb-vfs/src/a.rs", text), [0; 0]);
            assert_eq!(lines_found("crates/nadb/tests/it/a.rs", text), [0; 0]);
            assert_eq!(lines_found("crates/nadb/examples/a.rs", text), [0; 0]);
        }
        for text in ["use std::{io, os::unix::{fs::FileExt}};\n", "// std::fs\n", "use nadb_vfs::Fs;\n"] {
            assert_eq!(lines_found(PATH, text), [0; 0], "{text}");
        }
        assert_eq!(lines_found(PATH, "#[cfg(test)]\nmod tests {\n    use std::fs;\n}\n"), [0; 0]);
    }

    #[test]
    fn mappings_are_named_only_in_their_home() {
        assert_eq!(lines_found("crates/nadb-cli/src/a.rs", "use memmap2::Mmap;\n"), [2]);
        assert_eq!(lines_found("crates/nadb-vfs/src/a.rs", "use memmap2::Mmap;\n"), [0; 0]);
    }

    #[test]
    fn a_root_that_allows_unsafe_code_is_found() {
        assert_eq!(lines_found("crates/nadb/src/lib.rs", "mod a;\n"), [1]);
        assert_eq!(lines_found("crates/nadb/src/lib.rs", "// #![forbid(unsafe_code)]\n"), [1]);
        assert_eq!(lines_found("crates/nadb/src/lib.rs", "#![forbid(unsafe_code)]\n"), [0; 0]);
    }

    #[test]
    fn only_a_home_of_unsafe_code_may_deny_it() {
        for home in ["crates/nadb-index/src/lib.rs", "crates/nadb-vfs/src/lib.rs"] {
            assert_eq!(lines_found(home, "#![deny(unsafe_code)]\n"), [0; 0]);
            assert_eq!(lines_found(home, "#![forbid(unsafe_code)]\n"), [0; 0]);
            assert_eq!(lines_found(home, "mod a;\n"), [1]);
            assert_eq!(lines_found(home, "#![warn(unsafe_code)]\n"), [1]);
            assert_eq!(lines_found(home, "// #![deny(unsafe_code)]\n"), [1]);
        }
        for root in ["crates/nadb/src/lib.rs", "crates/nadb-cli/src/main.rs", "benches/src/lib.rs"] {
            assert_eq!(lines_found(root, "#![deny(unsafe_code)]\n"), [1]);
        }
    }
}
