//! The checksum of a store's records: the same on every backend, whatever it does with them.

use nadb_core::Entry;
use xxhash_rust::xxh3::Xxh3;

use super::CopySum;

/// Counts, and a running checksum: XXH3-64 of all names and records in order, each part behind its length in 8 bytes, numbers in
/// 8 bytes, little-endian.
#[derive(Default)]
pub(super) struct Sum {
    hasher: Xxh3,
    records: u64,
    bytes: u64,
}

impl Sum {
    /// What follows is of this namespace.
    pub(super) fn begin(&mut self, namespace: &str) {
        self.part(namespace.as_bytes());
    }

    /// Key, value and everything that is copied.
    pub(super) fn add(&mut self, entry: &Entry) {
        let metadata = &entry.metadata;
        self.records += 1;
        self.bytes += entry.value.len() as u64;
        self.part(&entry.key);
        self.part(&entry.value);
        self.number(metadata.created_ms);
        self.number(metadata.updated_ms);
        // No expiry is as late as that.
        self.number(metadata.expires_ms.unwrap_or(u64::MAX));
        self.number(metadata.tags.len() as u64);
        metadata.tags.iter().for_each(|tag| self.part(tag.as_bytes()));
        self.part(metadata.content_type.as_deref().unwrap_or_default().as_bytes());
        self.number(metadata.attrs.len() as u64);
        for (name, value) in metadata.attrs.iter() {
            self.part(name.as_bytes());
            self.part(value.as_bytes());
        }
    }

    pub(super) fn end(self) -> CopySum {
        CopySum { records: self.records, bytes: self.bytes, checksum: self.hasher.digest() }
    }

    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_le_bytes());
    }

    fn part(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.hasher.update(bytes);
    }
}
