//! The table of guards: each one with the test that notices when it is off. `cargo xtask mutants` shows that it does, and
//! `cargo xtask tidy` that no guard in the sources is missing here.
//!
//! A guard is `nadb_core::guard::on("name")` in the sources. A test that fails for another reason would count as well, so
//! each row names one test that is about its guard and about little else.

mod run;

pub(crate) use run::mutants;

/// A guard that can be switched off, and who notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// The name in `guard::on("…")`.
    pub(crate) guard: &'static str,
    /// The package of the test.
    pub(crate) package: &'static str,
    /// The test's name: the function, with as many of its modules (`tests::name`) as it takes to name just one.
    pub(crate) test: &'static str,
    /// What goes wrong without the guard, in one sentence.
    pub(crate) without: &'static str,
}

/// Every guard, in the order of crates and files.
pub(crate) const TABLE: &[Mutant] = &[Mutant {
    guard: "codec.length_checked",
    package: "nadb-core",
    test: "a_decompression_bomb_is_refused_before_it_allocates",
    without: "Stored bytes that claim 4 GiB are believed and allocated for.",
}];
