//! The fuzz targets, each for some seconds on a copy of its checked-in corpus, so that the tree stays clean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::process::{self, Failure, Outcome, cargo};
use crate::tools;

/// The targets, in order of cost.
pub(crate) const TARGETS: [&str; 7] = [
    "query_parse",
    "blob_decode",
    "manifest_decode",
    "footer_decode",
    "frame_decode",
    "checkpoint_decode",
    "open_directory",
];

/// Runs `targets` (all where none is named) for `seconds` each.
pub(crate) fn fuzz(seconds: u64, targets: &[String]) -> Outcome {
    if let Some(unknown) = targets.iter().find(|target| !TARGETS.contains(&target.as_str())) {
        return Err(Failure::usage(format!(
            "there is no fuzz target {unknown}; there are {}",
            TARGETS.join(", ")
        )));
    }
    if !tools::nightly() {
        return Err(Failure::unavailable(
            "fuzzing needs a nightly toolchain (rustup toolchain install nightly); without one, the corpora are replayed \
             by a plain test: cargo nextest run -p nadb-testkit -E 'test(corpus)'",
        ));
    }
    tools::cargo_fuzz()?;
    for target in TARGETS.iter().filter(|target| targets.is_empty() || targets.iter().any(|t| t == *target)) {
        let scratch = scratch_corpus(target)?;
        let limit = format!("-max_total_time={seconds}");
        let mut command = cargo(&["+nightly", "fuzz", "run", target]);
        process::run(command.arg(&scratch).args(["--", &limit, "-timeout=10", "-print_final_stats=1"]))?;
    }
    Ok(())
}

/// A copy of the target's corpus under target/, which libFuzzer may add to.
fn scratch_corpus(target: &str) -> Result<PathBuf, Failure> {
    let corpus = process::root().join("fuzz/corpus").join(target);
    let scratch = process::root().join("target/fuzz-corpus").join(target);
    match copied(&corpus, &scratch) {
        Ok(count) => println!("{target}: {count} inputs in the corpus"),
        Err(error) => {
            let message = format!("{} cannot be copied to {}: {error}", corpus.display(), scratch.display());
            return Err(Failure::new(message));
        }
    }
    Ok(scratch)
}

fn copied(corpus: &Path, scratch: &Path) -> io::Result<usize> {
    if scratch.exists() {
        fs::remove_dir_all(scratch)?;
    }
    fs::create_dir_all(scratch)?;
    let mut count = 0;
    for entry in fs::read_dir(corpus)? {
        let entry = entry?;
        if entry.file_type()?.is_file() && !entry.file_name().to_string_lossy().starts_with('.') {
            fs::copy(entry.path(), scratch.join(entry.file_name()))?;
            count += 1;
        }
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_is_refused_before_anything_is_built() {
        assert_eq!(fuzz(1, &["no_such_target".into()]).unwrap_err().code, 2);
    }

    #[test]
    fn every_target_has_a_program_and_a_corpus() {
        for target in TARGETS {
            assert!(process::root().join(format!("fuzz/fuzz_targets/{target}.rs")).is_file(), "{target}");
            assert!(process::root().join(format!("fuzz/corpus/{target}")).is_dir(), "{target}");
        }
    }
}
