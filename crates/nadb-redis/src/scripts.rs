//! The scripts, each in a file of its own under `scripts/`, by their SHA-1.
//!
//! A server that does not have one yet answers NOSCRIPT without having done anything; then all are loaded, and the call is sent again.

use std::sync::LazyLock;

/// What can be called on the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Script {
    /// One batch.
    Write,
    /// A part of a bucket's keys.
    Page,
    /// Lets go of what has expired, and counts.
    Sweep,
    /// Tags with their counts.
    Tags,
    /// Ends a bucket for writes.
    Close,
    /// Lets go of a part of a closed bucket.
    Clear,
    /// Gives a bucket its state back.
    Mend,
    /// Changes the list of namespaces.
    List,
    /// Compares records with sorted sets.
    Check,
}

const SOURCES: [(Script, &str); 9] = [
    (Script::Write, include_str!("scripts/write.lua")),
    (Script::Page, include_str!("scripts/page.lua")),
    (Script::Sweep, include_str!("scripts/sweep.lua")),
    (Script::Tags, include_str!("scripts/tags.lua")),
    (Script::Close, include_str!("scripts/close.lua")),
    (Script::Clear, include_str!("scripts/clear.lua")),
    (Script::Mend, include_str!("scripts/mend.lua")),
    (Script::List, include_str!("scripts/list.lua")),
    (Script::Check, include_str!("scripts/check.lua")),
];

static HASHES: LazyLock<Vec<(Script, String)>> = LazyLock::new(|| {
    let hash =
        |(script, source): &(Script, &str)| (*script, redis::Script::new(source).get_hash().to_owned());
    SOURCES.iter().map(hash).collect()
});

impl Script {
    /// Its SHA-1, by which the server knows it.
    pub(crate) fn hash(self) -> &'static str {
        let hash = HASHES.iter().find(|(script, _)| *script == self);
        hash.map_or("", |(_, hash)| hash)
    }

    /// The texts of all.
    pub(crate) fn sources() -> impl ExactSizeIterator<Item = &'static str> {
        SOURCES.iter().map(|(_, source)| *source)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_script_has_a_hash_of_its_own() {
        let hashes: std::collections::BTreeSet<_> = SOURCES.iter().map(|(script, _)| script.hash()).collect();
        assert_eq!(hashes.len(), SOURCES.len());
        assert!(hashes.iter().all(|hash| hash.len() == 40));
        assert_eq!(Script::sources().len(), SOURCES.len());
    }
}
