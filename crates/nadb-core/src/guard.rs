//! Switches for the mutant check: every guard that keeps data safe has a name and can be turned off in a test build, so
//! that `cargo xtask mutants` can show that a test notices.
//!
//! In every ordinary build [`on`] is the constant `true` and vanishes. Under `--cfg nadb_mutants` the guard named by the
//! environment variable `NADB_MUTANT` is off.

/// Whether the guard `name` is in force.
#[cfg(not(nadb_mutants))]
#[inline(always)]
#[must_use]
pub const fn on(_name: &'static str) -> bool {
    true
}

/// Whether the guard `name` is in force.
#[cfg(nadb_mutants)]
#[must_use]
pub fn on(name: &'static str) -> bool {
    static OFF: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    OFF.get_or_init(|| std::env::var("NADB_MUTANT").ok()).as_deref() != Some(name)
}
