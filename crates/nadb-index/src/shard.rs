//! One of the index's shards: buckets, and a directory that finds the bucket of a hash by its first bits (Fagin et al.,
//! "Extendible hashing", ACM TODS 1979).

use nadb_core::Location;

use crate::bucket::{Bucket, GROUPS_MAX, Tag};

/// Bits of the hash that the directory uses at most: 65,536 entries of four bytes.
const DEPTH_MAX: u32 = 16;

#[derive(Debug)]
pub(crate) struct Shard {
    /// For each value of the first `depth` bits the number of the bucket.
    directory: Vec<u32>,
    depth: u32,
    /// Each with the number of bits that its entries have in common.
    buckets: Vec<(u32, Bucket)>,
}

impl Default for Shard {
    fn default() -> Shard {
        Shard { directory: vec![0], depth: 0, buckets: vec![(0, Bucket::default())] }
    }
}

/// The first `count` bits of a hash, as a number.
fn first_bits(hash: u32, count: u32) -> usize {
    hash.checked_shr(u32::BITS - count).unwrap_or_default() as usize
}

impl Shard {
    fn number_of(&self, hash: u32) -> usize {
        self.directory.get(first_bits(hash, self.depth)).copied().unwrap_or_default() as usize
    }

    pub(crate) fn bucket(&self, hash: u32) -> Option<&Bucket> {
        self.buckets.get(self.number_of(hash)).map(|(_, bucket)| bucket)
    }

    pub(crate) fn bucket_mut(&mut self, hash: u32) -> Option<&mut Bucket> {
        let number = self.number_of(hash);
        self.buckets.get_mut(number).map(|(_, bucket)| bucket)
    }

    pub(crate) fn buckets(&self) -> impl Iterator<Item = &Bucket> {
        self.buckets.iter().map(|(_, bucket)| bucket)
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        let buckets: usize = self.buckets().map(Bucket::memory_bytes).sum();
        self.directory.capacity() * 4 + self.buckets.capacity() * size_of::<(u32, Bucket)>() + buckets
    }

    /// Adds an entry; at most one bucket is grown, or split, so at most 64 KiB are moved.
    pub(crate) fn insert(&mut self, tag: Tag, at: Location) {
        let number = self.number_of(tag.hash);
        let Some((common, bucket)) = self.buckets.get_mut(number) else { return };
        if bucket.is_full() {
            let is_large = bucket.groups() >= GROUPS_MAX;
            if is_large && *common < DEPTH_MAX && bucket.can_split() {
                self.split(number, tag.hash);
                return self.insert(tag, at);
            }
            bucket.grow();
        }
        bucket.insert(tag, at);
    }

    /// Splits a bucket by the first bit that its entries need not have in common.
    fn split(&mut self, number: usize, hash: u32) {
        let Some((common, bucket)) = self.buckets.get_mut(number) else { return };
        let prefix = first_bits(hash, *common);
        *common += 1;
        let common = *common;
        let with = bucket.split(1 << (u32::BITS - common));
        if common > self.depth {
            self.directory = self.directory.iter().flat_map(|&bucket| [bucket, bucket]).collect();
            self.depth += 1;
        }
        let new = u32::try_from(self.buckets.len()).unwrap_or(u32::MAX);
        self.buckets.push((common, with));
        // The directory's entries for the prefix with the new bit set.
        let width = 1usize << (self.depth - common);
        let first = (prefix * 2 + 1) * width;
        if let Some(entries) = self.directory.get_mut(first..first + width) {
            entries.fill(new);
        }
    }
}
