//! What the engine tells `tracing`, where the feature of that name is on: opening, sealing, slow operations, closing. A failed
//! sync is told by the log, which meets it.
//!
//! What it promises: no key, no value, no tag and no name of a namespace is in a span or an event; and without the feature nothing
//! is left of it. The names are in docs/metrics.md.

use std::path::Path;
use std::time::Duration;

use nadb_core::{Error, RecoveryReport};

use crate::tallies::Op;

/// A span that has been entered; it ends with this.
#[must_use = "the span ends at once"]
pub(crate) struct Span {
    #[cfg(feature = "tracing")]
    _entered: tracing::span::EnteredSpan,
}

#[cfg(feature = "tracing")]
mod on {
    use super::{Duration, Error, Op, Path, RecoveryReport, Span};

    pub(crate) fn open_span(dir: &Path) -> Span {
        Span { _entered: tracing::info_span!(target: "nadb", "open", path = %dir.display()).entered() }
    }

    pub(crate) fn close_span(dir: &Path) -> Span {
        Span { _entered: tracing::info_span!(target: "nadb", "close", path = %dir.display()).entered() }
    }

    pub(crate) fn seal_span(segment: u32) -> Span {
        Span { _entered: tracing::debug_span!(target: "nadb", "seal", segment).entered() }
    }

    pub(crate) fn opened(recovery: &RecoveryReport, took: Duration) {
        for warning in &recovery.warnings {
            tracing::warn!(target: "nadb", warning, "recovery made up for damage");
        }
        if recovery.cut_bytes > 0 {
            tracing::warn!(target: "nadb", cut_bytes = recovery.cut_bytes, "recovery cut a torn tail off");
        }
        tracing::info!(
            target: "nadb",
            created = recovery.created,
            clean = recovery.clean,
            from_checkpoint = recovery.from_checkpoint,
            segments = recovery.segments,
            frames = recovery.frames,
            records = recovery.records,
            last_seq = recovery.last_seq,
            elapsed_us = micros(took),
            "store opened"
        );
    }

    pub(crate) fn open_failed(error: &Error) {
        tracing::error!(target: "nadb", kind = ?error.kind(), "store not opened");
    }

    pub(crate) fn sealed(rows: u32, took: Duration) {
        tracing::debug!(target: "nadb", rows, elapsed_us = micros(took), "segment sealed");
    }

    pub(crate) fn seal_failed(error: &Error) {
        tracing::warn!(target: "nadb", kind = ?error.kind(), "segment not sealed");
    }

    pub(crate) fn slow(op: Op, took: Duration) {
        tracing::warn!(target: "nadb", operation = op.name(), elapsed_us = micros(took), "slow operation");
    }

    pub(crate) fn closed(result: Result<(), &Error>, took: Duration) {
        match result {
            Ok(()) => tracing::info!(target: "nadb", elapsed_us = micros(took), "store closed"),
            Err(error) => {
                tracing::error!(target: "nadb", kind = ?error.kind(), "the last sync failed; store closed");
            }
        }
    }

    fn micros(time: Duration) -> u64 {
        u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
    }
}

#[cfg(not(feature = "tracing"))]
mod on {
    use super::{Duration, Error, Op, Path, RecoveryReport, Span};

    pub(crate) fn open_span(_: &Path) -> Span {
        Span {}
    }
    pub(crate) fn close_span(_: &Path) -> Span {
        Span {}
    }
    pub(crate) fn seal_span(_: u32) -> Span {
        Span {}
    }
    pub(crate) fn opened(_: &RecoveryReport, _: Duration) {}
    pub(crate) fn open_failed(_: &Error) {}
    pub(crate) fn sealed(_: u32, _: Duration) {}
    pub(crate) fn seal_failed(_: &Error) {}
    pub(crate) fn slow(_: Op, _: Duration) {}
    pub(crate) fn closed(_: Result<(), &Error>, _: Duration) {}
}

pub(crate) use on::{
    close_span, closed, open_failed, open_span, opened, seal_failed, seal_span, sealed, slow,
};
