//! The whole suite at once, and what came of it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{CHECKS, Check, Subject, excluded};

/// A check that did not hold.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Failure {
    /// Which.
    pub check: Check,
    /// What it said.
    pub message: String,
}

/// What came of a run of the suite.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Report {
    /// The backend's name.
    pub backend: String,
    /// How many checks were done.
    pub checks: usize,
    /// Those that did not hold.
    pub failures: Vec<Failure>,
    /// What was not demanded: see [`excluded`](excluded()).
    pub excluded: Vec<String>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let failed = self.failures.len();
        writeln!(f, "{}: {} of {} checks hold", self.backend, self.checks - failed, self.checks)?;
        for failure in &self.failures {
            writeln!(f, "failed: {:?}: {}", failure.check, failure.message)?;
        }
        for line in &self.excluded {
            writeln!(f, "excluded: {line}")?;
        }
        Ok(())
    }
}

/// Does every check on a fresh store from `subject`, and reports all that did not hold. The panics of failed checks are
/// caught; the messages that the process prints for them are not.
pub fn run(subject: &dyn Fn() -> Subject) -> Report {
    let first = subject();
    let backend = first.backend().capabilities().backend.clone().into_owned();
    let excluded = excluded(&first);
    drop(first);
    let mut failures = Vec::new();
    for &check in CHECKS {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check.run(subject()))) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            failures.push(Failure { check, message: text.unwrap_or_else(|| "it panicked".to_owned()) });
        }
    }
    Report { backend, checks: CHECKS.len(), failures, excluded }
}
