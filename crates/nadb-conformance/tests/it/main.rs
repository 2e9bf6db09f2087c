//! The suite itself: a correct backend passes, one like a server's does, and wrong ones are caught.
#![allow(clippy::unwrap_used)]

#[path = "../../examples/map/backend.rs"]
mod map_backend;
mod noticed;
mod server_like;
mod wrong;
mod wrong_access;
mod wrong_imports;
mod wrong_queries;
mod wrong_shown;
mod wrong_snapshots;
mod wrong_streams;

use std::sync::Arc;
use std::time::Duration;

use map_backend::MapBackend;
use nadb_conformance::{Backend, Subject};
use nadb_core::{Clock, ManualClock};

/// A subject on a clock that the suite sets.
fn subject_of<B: Backend>(open: impl FnOnce(Arc<dyn Clock>) -> B) -> Subject {
    let clock = Arc::new(ManualClock::new(1_700_000_000_000));
    Subject::new(Arc::new(open(clock.clone()))).with_time(move |time: Duration| {
        clock.advance_ms(u64::try_from(time.as_millis()).unwrap());
    })
}

fn map() -> Subject {
    subject_of(MapBackend::new)
}

nadb_conformance::tests!(map, excluded: "
flush
segments
verify
recovery
purge
compact
last access
durability class Buffered
durability class Flushed
durability class Synced
opening again
");

#[test]
fn a_run_reports_all_checks_and_what_is_excluded() {
    let report = nadb_conformance::run(&map);
    assert_eq!((report.checks, report.failures.len()), (nadb_conformance::CHECKS.len(), 0));
    let text = report.to_string();
    assert!(text.starts_with(&format!("map: {0} of {0} checks hold", report.checks)), "{text}");
    assert!(text.contains("excluded: flush\n"), "{text}");
}
