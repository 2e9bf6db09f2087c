//! Identifiers: a newtype each, so that a number of one kind is never taken for another.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

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

/// Bytes of a namespace's id and a key that are hashed from the stack.
const SHORT_BYTES: usize = 128;

impl KeyHash {
    /// Hashes with XXH3 (64 bits) under the store's seed.
    ///
    /// Under `--cfg nadb_hash_bits_4` only 4 bits are kept, so that the tests can run with almost every key colliding.
    #[must_use]
    pub fn new(seed: u64, namespace: NamespaceId, key: &[u8]) -> KeyHash {
        let prefix = namespace.0.to_be_bytes();
        let mut short = [0; SHORT_BYTES];
        let hash = match short.get_mut(..prefix.len() + key.len()) {
            Some(all) => {
                // In one go, which is many times cheaper than in parts, and gives the same.
                let (head, tail) = all.split_at_mut(prefix.len());
                head.copy_from_slice(&prefix);
                tail.copy_from_slice(key);
                xxh3_64_with_seed(all, seed)
            }
            None => {
                let mut hasher = Xxh3::with_seed(seed);
                hasher.update(&prefix);
                hasher.update(key);
                hasher.digest()
            }
        };
        KeyHash(if cfg!(nadb_hash_bits_4) { (hash & 0xF).wrapping_mul(0x1111_1111_1111_1111) } else { hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_in_one_go_and_in_parts() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in (0..=255).chain([0, 1, 123, 124, 125, 126, 128, 240]) {
            let mut hasher = Xxh3::with_seed(9);
            hasher.update(&7u32.to_be_bytes());
            hasher.update(&bytes[..len]);
            let hash = KeyHash::new(9, NamespaceId(7), &bytes[..len]);
            if !cfg!(nadb_hash_bits_4) {
                assert_eq!(hash, KeyHash(hasher.digest()), "{len} bytes");
            }
        }
    }
}
