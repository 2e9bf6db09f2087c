//! Runs the conformance suite on a backend of a page: `cargo run -p nadb-conformance --example map`.
#![allow(clippy::print_stdout, reason = "an example shows what it does")]

mod backend;

use std::sync::Arc;
use std::time::Duration;

use backend::MapBackend;
use nadb_conformance::Subject;
use nadb_core::ManualClock;

fn main() {
    let report = nadb_conformance::run(&|| {
        let clock = Arc::new(ManualClock::new(1_700_000_000_000));
        let backend = Arc::new(MapBackend::new(clock.clone()));
        Subject::new(backend).with_time(move |time: Duration| {
            clock.advance_ms(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
        })
    });
    print!("{report}");
    std::process::exit(i32::from(!report.failures.is_empty()));
}
