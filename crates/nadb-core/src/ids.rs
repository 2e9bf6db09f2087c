//! Identifiers: a newtype each, so that a number of one kind is never taken for another.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::guard;

/// A sequence number: the position of a write in the store's one order of writes, and the version of the record it made.
/// Numbers only rise; gaps are allowed; none ever names two records. The largest is 2^56 - 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub fn next(self) -> Seq {
        Seq(self.0 + 1)
    }

    /// This number and `count` more.
    #[must_use]
    pub fn plus(self, count: u64) -> Seq {
        Seq(self.0 + count)
    }

    /// The number before this one; that before 0 is 0.
    #[must_use]
    pub fn previous(self) -> Seq {
        Seq(self.0.saturating_sub(1))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A segment's number; later segments have higher ones and none is used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentId(pub u32);

impl fmt::Display for SegmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A namespace's number inside one store; never reused, also not after a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NamespaceId(pub u32);

impl fmt::Display for NamespaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// 128 random bits that tell one segment file from every other, also from one of equal number in another store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SegmentUid(pub [u8; 16]);

/// 128 random bits that name one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct StoreId(pub [u8; 16]);

/// 128 random bits that name one blob file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BlobId(pub [u8; 16]);

impl fmt::Display for BlobId {
    /// 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A record's position in the order in which its segment's key records were written: the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ordinal(pub u32);

/// A record's position in the key order of its segment: the first is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rank(pub u32);

/// Where a record stands: segment, byte offset in its file, length in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    /// The segment.
    pub segment: SegmentId,
    /// Bytes from the start of the segment's file.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
}

/// The seeded hash of (namespace, key). Equal keys have equal hashes; different keys may, too: the key on the record
/// decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// Hashes the key with XXH3 (64 bits) under the store's seed, which is another one for each namespace.
    ///
    /// Where the guard `hash.whole` is off, in a test build, only 4 bits are kept, so that the tests can run with almost every key
    /// colliding.
    #[must_use]
    #[inline]
    pub fn new(seed: u64, namespace: NamespaceId, key: &[u8]) -> KeyHash {
        // 2^64 by the golden ratio: seeds of neighbouring namespaces lie far apart, and no two are equal.
        let apart = u64::from(namespace.0).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let hash = xxh3_64_with_seed(key, seed.wrapping_add(apart));
        KeyHash(if guard::on("hash.whole") { hash } else { (hash & 0xF).wrapping_mul(0x1111_1111_1111_1111) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_few_bytes_in_many_namespaces_differ() {
        let namespaces = (0..64).chain([1 << 31, u32::MAX]);
        let keys = (0..=255).map(|byte| vec![byte]).chain((0..=255).map(|byte| vec![0, 0, 0, byte]));
        let places = namespaces.flat_map(|namespace| keys.clone().map(move |key| (namespace, key)));
        let hashes = places.map(|(namespace, key)| KeyHash::new(9, NamespaceId(namespace), &key));
        let all: Vec<KeyHash> = hashes.collect();
        let different: std::collections::BTreeSet<KeyHash> = all.iter().copied().collect();
        assert_eq!(different.len(), all.len());
        assert_ne!(KeyHash::new(9, NamespaceId(1), b"key"), KeyHash::new(8, NamespaceId(1), b"key"));
    }
}
