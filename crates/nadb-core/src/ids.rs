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

impl KeyHash {
    /// Hashes with XXH3 (64 bits) under the store's seed.
    ///
    /// Under `--cfg nadb_hash_bits_4` only 4 bits are kept, so that the tests can run with almost every key colliding.
    #[must_use]
    pub fn new(seed: u64, namespace: NamespaceId, key: &[u8]) -> KeyHash {
        let hash = KeyHash::of_short(seed, namespace, key).unwrap_or_else(|| {
            let mut hasher = Xxh3::with_seed(seed);
            hasher.update(&namespace.0.to_be_bytes());
            hasher.update(key);
            hasher.digest()
        });
        KeyHash(if cfg!(nadb_hash_bits_4) { (hash & 0xF).wrapping_mul(0x1111_1111_1111_1111) } else { hash })
    }

    /// The same hash of a key of usual length: in one piece it needs no hasher, which is larger than most keys.
    fn of_short(seed: u64, namespace: NamespaceId, key: &[u8]) -> Option<u64> {
        let mut bytes = [0; SHORT];
        let (id, rest) = bytes.split_first_chunk_mut()?;
        *id = namespace.0.to_be_bytes();
        rest.get_mut(..key.len())?.copy_from_slice(key);
        bytes.get(..size_of::<NamespaceId>() + key.len()).map(|bytes| xxh3_64_with_seed(bytes, seed))
    }
}

/// Bytes of a namespace id and a key up to which they are hashed in one piece.
const SHORT: usize = 128;

#[cfg(all(test, not(nadb_hash_bits_4)))]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_same_in_one_piece_and_in_several() {
        for len in 0..300 {
            let key: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            let mut hasher = Xxh3::with_seed(77);
            hasher.update(&9u32.to_be_bytes());
            hasher.update(&key);
            assert_eq!(KeyHash::new(77, NamespaceId(9), &key), KeyHash(hasher.digest()), "{len} bytes");
            assert_eq!(KeyHash::of_short(77, NamespaceId(9), &key).is_some(), len + 4 <= SHORT);
        }
    }
}
