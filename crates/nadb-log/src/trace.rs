//! What the log tells `tracing`, where the feature of that name is on: that it takes no more writes.

use nadb_core::Error;

/// A sync or the taking back of a write has failed. The error names files, numbers and what the system said, and nothing that
/// users have written.
#[cfg(feature = "tracing")]
pub(crate) fn poisoned(error: &Error) {
    tracing::error!(target: "nadb", %error, "sync failed");
}

#[cfg(not(feature = "tracing"))]
pub(crate) fn poisoned(_: &Error) {}
