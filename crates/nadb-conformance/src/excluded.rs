//! What a backend's capabilities exclude from the suite.

use nadb_core::{BatchAtomicity, Durability, Feature, ScanConsistency};

use crate::Subject;

/// What the suite does not demand of this backend, since its capabilities, or its subject, exclude it: one line each, in a
/// fixed order. Where something is excluded the suite demands instead that it be refused as `Unsupported`.
#[must_use]
pub fn excluded(subject: &Subject) -> Vec<String> {
    let capabilities = subject.backend().capabilities();
    let mut lines: Vec<String> = Feature::ALL
        .iter()
        .filter(|&&feature| !capabilities.has(feature))
        .map(|feature| feature.name().to_owned())
        .collect();
    let classes = [Durability::Buffered, Durability::Flushed, Durability::Synced];
    let missing = classes.iter().filter(|class| !capabilities.durability.contains(class));
    lines.extend(missing.map(|class| format!("durability class {class:?}")));
    if capabilities.batches != BatchAtomicity::All {
        lines.push("batches across buckets".to_owned());
    }
    if capabilities.scans != ScanConsistency::Settled {
        lines.push("listings that later writes do not change".to_owned());
    }
    if !subject.can_reopen() {
        lines.push("opening again".to_owned());
    }
    lines
}

/// Prints what is [`excluded`] and compares it with `listed`, one line each; empty lines do not count.
///
/// # Panics
/// If they differ.
pub fn assert_excluded(subject: &Subject, listed: &str) {
    let excluded = excluded(subject);
    let name = &subject.backend().capabilities().backend;
    #[expect(clippy::print_stdout, reason = "shown by the test harness with --no-capture")]
    {
        println!("the backend {name:?} excludes from the suite: {excluded:?}");
    }
    let listed: Vec<&str> = listed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(excluded, listed, "what the backend {name:?} excludes (left) is not what is listed (right)");
}
