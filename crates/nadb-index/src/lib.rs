//! The key index of NADB: where the newest record of each key stands; and what views need beside it: which records
//! are live as of a moment ([`LiveSet`]), where the displaced ones stand ([`VersionTable`]), and a value that all threads read
//! and few replace ([`Published`]). And when records were last read ([`AccessTimes`]).
//!
//! The index holds 47 bits of each key's hash and a location, never the key: equal bits are candidates, and the key on the record
//! decides (the idea of FASTER's and Aerospike's indexes). It knows nothing of records; who asks reads them.
//!
//! 17 bytes an entry, 24 a key at most. It grows by small buckets, one at a time, so that no insertion moves more than 64 KiB.
#![deny(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod bits;
mod bucket;
mod live;
mod load;
#[cfg(all(loom, test))]
mod models;
mod published;
mod shard;
mod sync;
mod versions;

pub use crate::access::AccessTimes;
pub use crate::live::LiveSet;
pub use crate::published::{Published, PublishedGuard};
pub use crate::versions::{Displaced, VersionTable};

use std::sync::atomic::{AtomicU64, Ordering};

use nadb_core::{KeyHash, Location};
use parking_lot::RwLock;
use smallvec::SmallVec;

use crate::bucket::{Bucket, Tag};
use crate::shard::Shard;

/// Parts of the index, each with a lock of its own; also the parts in which it is saved.
pub const SHARDS: usize = 256;

/// Bytes of RAM that an entry of a B-tree takes, from its size: nodes are a little more than half full where entries come in
/// order, as deaths do.
const fn tree_bytes(entry: usize) -> usize {
    entry * 2
}

/// Locations whose keys may be the one that was asked for; almost always none or one.
pub type Candidates = SmallVec<[Location; 2]>;

/// What the index keeps of a hash within a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HashBits(u64);

impl HashBits {
    /// How many bits they are.
    pub const WIDTH: u32 = 40;

    /// The bits as a number below 2^40, in the same order.
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The bits that this number stands for.
    #[must_use]
    pub fn of_number(number: u64) -> HashBits {
        HashBits(number & ((1 << HashBits::WIDTH) - 1))
    }

    #[expect(clippy::cast_possible_truncation, reason = "put together of these two")]
    fn tag(self) -> Tag {
        Tag { hash: (self.0 >> 8) as u32, control: self.0 as u8 }
    }
}

/// Where the newest record of each key stands.
///
/// ```
/// use nadb_core::{KeyHash, Location, NamespaceId, SegmentId};
/// use nadb_index::KeyIndex;
/// let index = KeyIndex::new();
/// let hash = KeyHash::new(7, NamespaceId(1), b"key");
/// let at = Location { segment: SegmentId(1), offset: 64, len: 30 };
/// index.insert(hash, at);
/// assert_eq!(index.candidates(hash).as_slice(), [at]);
/// assert!(index.remove(hash, at));
/// assert!(index.is_empty());
/// ```
#[derive(Debug)]
pub struct KeyIndex {
    shards: Box<[RwLock<Shard>]>,
    len: AtomicU64,
}

impl Default for KeyIndex {
    fn default() -> Self {
        KeyIndex::new()
    }
}

/// The shard of a hash, and what its entry keeps.
#[expect(clippy::cast_possible_truncation, reason = "the parts of the hash that are used")]
fn parts(hash: KeyHash) -> (usize, Tag) {
    let tag = Tag { hash: (hash.0 >> 32) as u32, control: (hash.0 >> 8) as u8 | 0x80 };
    ((hash.0 & (SHARDS as u64 - 1)) as usize, tag)
}

impl KeyIndex {
    /// An index without keys.
    #[must_use]
    pub fn new() -> KeyIndex {
        KeyIndex { shards: (0..SHARDS).map(|_| RwLock::default()).collect(), len: AtomicU64::new(0) }
    }

    fn shard(&self, hash: KeyHash) -> (&RwLock<Shard>, Tag) {
        let (shard, tag) = parts(hash);
        #[expect(clippy::indexing_slicing, reason = "the shard is masked to their number")]
        (&self.shards[shard], tag)
    }

    /// The locations of all keys with these hash bits. The caller compares the keys on the records.
    #[must_use]
    pub fn candidates(&self, hash: KeyHash) -> Candidates {
        let (shard, tag) = self.shard(hash);
        let shard = shard.read();
        let mut found = Candidates::new();
        if let Some(bucket) = shard.bucket(tag.hash) {
            bucket.find(tag, |at| found.push(at));
        }
        found
    }

    /// Whether a key with this hash stands at exactly this location.
    #[must_use]
    pub fn contains(&self, hash: KeyHash, at: Location) -> bool {
        self.candidates(hash).contains(&at)
    }

    /// Adds a key that the index does not have.
    pub fn insert(&self, hash: KeyHash, at: Location) {
        let (shard, tag) = self.shard(hash);
        shard.write().insert(tag, at);
        self.len.fetch_add(1, Ordering::Relaxed);
    }

    /// Moves a key from `old` to `new`, and says whether it was at `old`.
    pub fn replace(&self, hash: KeyHash, old: Location, new: Location) -> bool {
        let (shard, tag) = self.shard(hash);
        shard.write().bucket_mut(tag.hash).is_some_and(|bucket| bucket.replace(tag, old, new))
    }

    /// Removes a key that stands at `old`, and says whether it did.
    pub fn remove(&self, hash: KeyHash, old: Location) -> bool {
        let (shard, tag) = self.shard(hash);
        let is_removed = shard.write().bucket_mut(tag.hash).is_some_and(|bucket| bucket.remove(tag, old));
        if is_removed {
            self.len.fetch_sub(1, Ordering::Relaxed);
        }
        is_removed
    }

    /// The shard of a hash, and what of the hash its entries keep there: hashes with equal bits stand for one key or for
    /// keys that only their records tell apart. The bits order a shard's keys for [`KeyIndex::fill_shard`].
    #[must_use]
    pub fn bits(hash: KeyHash) -> (usize, HashBits) {
        let (shard, tag) = parts(hash);
        (shard, HashBits(u64::from(tag.hash) << 8 | u64::from(tag.control)))
    }

    /// Puts all keys of a shard in place at once, where it has none yet; they come in the order of their bits. Says whether
    /// it had none: else nothing is changed. Costs a fraction of so many insertions.
    pub fn fill_shard(&self, shard: usize, keys: &[(HashBits, Location)]) -> bool {
        debug_assert!(keys.is_sorted_by_key(|(bits, _)| *bits));
        let tagged: Vec<(Tag, Location)> = keys.iter().map(|(bits, at)| (bits.tag(), *at)).collect();
        let filled = Shard::of(&tagged);
        let Some(shard) = self.shards.get(shard) else { return false };
        let mut shard = shard.write();
        if shard.buckets().any(|bucket| bucket.len() > 0) {
            return false;
        }
        *shard = filled;
        self.len.fetch_add(keys.len() as u64, Ordering::Relaxed);
        true
    }

    /// Appends the keys of one shard to `out`, in the form that [`KeyIndex::load_shard`] reads, and says how many they are.
    /// Nothing is appended where there are none.
    pub fn save_shard(&self, shard: usize, out: &mut Vec<u8>) -> u64 {
        let Some(shard) = self.shards.get(shard) else { return 0 };
        let shard = shard.read();
        let keys = shard.buckets().map(Bucket::len).sum::<usize>() as u64;
        if keys > 0 {
            shard.save(out);
        }
        keys
    }

    /// Puts the keys of one shard in place that has none yet, and says whether it did; `accept` is shown every location.
    /// Nothing is changed where the bytes are not what [`KeyIndex::save_shard`] makes for so many keys, the shard has keys, or a
    /// location is not accepted. Memory is at most some five times the bytes, and a few MiB for the directory and
    /// empty buckets that they may describe.
    pub fn load_shard(
        &self,
        shard: usize,
        bytes: &[u8],
        keys: u64,
        accept: impl FnMut(Location) -> bool,
    ) -> bool {
        let (Some(loaded), Some(shard)) = (Shard::load(bytes, accept), self.shards.get(shard)) else {
            return false;
        };
        let mut shard = shard.write();
        let has_keys = |shard: &Shard| shard.buckets().map(Bucket::len).sum::<usize>() as u64;
        if has_keys(&loaded) != keys || has_keys(&shard) > 0 {
            return false;
        }
        *shard = loaded;
        self.len.fetch_add(keys, Ordering::Relaxed);
        true
    }

    /// Forgets all keys.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.write();
            let keys = shard.buckets().map(Bucket::len).sum::<usize>() as u64;
            *shard = Shard::default();
            self.len.fetch_sub(keys, Ordering::Relaxed);
        }
    }

    /// Keys.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether it has no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All locations, shard by shard: a key that moves meanwhile is seen at one of its places, and at least once if it is
    /// there all the time.
    #[must_use]
    pub fn locations(&self) -> Vec<Location> {
        let mut all = Vec::with_capacity(usize::try_from(self.len()).unwrap_or_default());
        for shard in &self.shards {
            all.extend(shard.read().buckets().flat_map(Bucket::entries).map(|(_, at)| at));
        }
        all
    }

    /// Bytes of RAM.
    #[must_use]
    pub fn memory_bytes(&self) -> u64 {
        let shards: usize = self.shards.iter().map(|shard| shard.read().memory_bytes()).sum();
        (shards + SHARDS * size_of::<RwLock<Shard>>()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nadb_core::{NamespaceId, SegmentId};
    use std::collections::BTreeMap;

    fn at(n: u32) -> Location {
        Location { segment: SegmentId(n % 7), offset: n, len: n % 100 }
    }

    #[test]
    fn agrees_with_a_map_under_inserts_moves_and_removals() {
        let index = KeyIndex::new();
        let mut model: BTreeMap<u32, u32> = BTreeMap::new();
        let hash = |key: u32| KeyHash::new(1, NamespaceId(1), &key.to_le_bytes());
        let mut state = 1u32;
        for step in 0..100_000u32 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = (state >> 16) % 5000;
            let new = step + 1;
            match (model.get(&key).copied(), state % 3) {
                (Some(old), 0) => {
                    assert!(index.remove(hash(key), at(old)));
                    model.remove(&key);
                }
                (Some(old), _) => {
                    assert!(index.replace(hash(key), at(old), at(new)));
                    model.insert(key, new);
                }
                (None, _) => {
                    assert!(!index.remove(hash(key), at(new)));
                    index.insert(hash(key), at(new));
                    model.insert(key, new);
                }
            }
        }
        assert_eq!(index.len(), model.len() as u64);
        for (key, value) in &model {
            assert!(index.candidates(hash(*key)).contains(&at(*value)));
            assert!(index.contains(hash(*key), at(*value)));
        }
        let mut locations = index.locations();
        let mut expected: Vec<_> = model.values().map(|v| at(*v)).collect();
        locations.sort();
        expected.sort();
        assert_eq!(locations, expected);
    }

    #[test]
    fn equal_hashes_are_all_candidates_and_each_moves_alone() {
        let index = KeyIndex::new();
        let hash = KeyHash(0xABCD_0000_0000_0001);
        (0..5).for_each(|n| index.insert(hash, at(n)));
        assert_eq!(index.candidates(hash).len(), 5);
        assert!(index.replace(hash, at(3), at(30)));
        assert!(!index.replace(hash, at(3), at(31)));
        assert!(index.remove(hash, at(4)));
        let mut left = index.candidates(hash).to_vec();
        left.sort();
        let mut expected = vec![at(0), at(1), at(2), at(30)];
        expected.sort();
        assert_eq!(left, expected);
        assert_eq!(index.len(), 4);
        // Another hash in the same shard with another tag is no candidate.
        assert!(index.candidates(KeyHash(0xABCE_0000_0000_0001)).is_empty());
    }

    #[test]
    fn what_was_saved_loads_into_an_index_without_keys_only() {
        let index = KeyIndex::new();
        let hash = |key: u32| KeyHash::new(1, NamespaceId(1), &key.to_le_bytes());
        (0..50_000).for_each(|n| index.insert(hash(n), at(n)));
        let loaded = KeyIndex::new();
        for shard in 0..SHARDS {
            let mut bytes = Vec::new();
            let keys = index.save_shard(shard, &mut bytes);
            assert!(!loaded.load_shard(shard, &bytes, keys + 1, |_| true));
            assert!(loaded.load_shard(shard, &bytes, keys, |_| true));
            assert!(!loaded.load_shard(shard, &bytes, keys, |_| true));
            assert!(!loaded.load_shard(SHARDS, &bytes, keys, |_| true));
        }
        assert_eq!(loaded.len(), 50_000);
        (0..50_000).for_each(|n| assert!(loaded.contains(hash(n), at(n))));
        loaded.clear();
        assert!(loaded.is_empty() && loaded.locations().is_empty());
        assert_eq!(loaded.save_shard(3, &mut Vec::new()), 0);
    }

    #[test]
    fn filled_shards_answer_as_insertions_do() {
        let (one_by_one, filled) = (KeyIndex::new(), KeyIndex::new());
        let hash = |key: u32| KeyHash::new(1, NamespaceId(1), &key.to_le_bytes());
        let mut shards = vec![Vec::new(); SHARDS];
        for n in 0..50_000 {
            one_by_one.insert(hash(n), at(n));
            let (shard, bits) = KeyIndex::bits(hash(n));
            shards[shard].push((bits, at(n)));
        }
        for (shard, mut keys) in shards.into_iter().enumerate() {
            keys.sort_unstable();
            assert!(filled.fill_shard(shard, &keys));
            assert!(!filled.fill_shard(shard, &keys), "it has keys");
        }
        assert!(!filled.fill_shard(SHARDS, &[]));
        let sorted = |index: &KeyIndex| {
            let mut all = index.locations();
            all.sort();
            all
        };
        assert_eq!((filled.len(), sorted(&filled)), (one_by_one.len(), sorted(&one_by_one)));
        (0..50_000).for_each(|n| assert!(filled.contains(hash(n), at(n))));
        (0..50_000).for_each(|n| assert!(filled.remove(hash(n), at(n))));
        assert!(filled.is_empty());
    }

    #[test]
    fn the_shard_of_the_format_document_loads_and_saves() {
        let bytes = b"\0\0\x01\0\0\0\xAB\0\0\0\0\0\0\0\x78\x56\x34\x12\x07\0\0\0\x71\0\0\0\x22\0\0\0";
        let index = KeyIndex::new();
        assert!(index.load_shard(5, bytes, 1, |_| true));
        let at = Location { segment: SegmentId(7), offset: 113, len: 34 };
        assert!(index.contains(KeyHash(0x1234_5678_0000_2B05), at));
        let mut saved = Vec::new();
        index.save_shard(5, &mut saved);
        assert_eq!(saved, bytes);
    }

    #[test]
    fn ten_thousand_equal_hashes_are_kept_without_a_split() {
        let index = KeyIndex::new();
        let hash = KeyHash(0x1111_1111_1111_1111);
        (0..10_000).for_each(|n| index.insert(hash, at(n)));
        assert_eq!(index.candidates(hash).len(), 10_000);
        (0..10_000).for_each(|n| assert!(index.remove(hash, at(n))));
        assert!(index.is_empty() && index.candidates(hash).is_empty());
    }

    #[test]
    fn entries_that_come_and_go_do_not_make_it_grow() {
        let index = KeyIndex::new();
        let hash = |key: u32| KeyHash::new(1, NamespaceId(1), &key.to_le_bytes());
        (0..100_000).for_each(|n| index.insert(hash(n), at(n)));
        let before = index.memory_bytes();
        for n in 0..1_000_000 {
            assert!(index.remove(hash(n), at(n)));
            index.insert(hash(n + 100_000), at(n + 100_000));
        }
        assert_eq!(index.len(), 100_000);
        assert!(index.memory_bytes() < before * 3 / 2, "{before} bytes became {}", index.memory_bytes());
        (1_000_000..1_100_000).for_each(|n| assert!(index.contains(hash(n), at(n))));
    }
}
