//! One of the index's shards: buckets, and a directory that finds the bucket of a hash by its first bits (Fagin et al.,
//! "Extendible hashing", ACM TODS 1979).

use nadb_core::Location;

use crate::bucket::{Bucket, GROUPS_MAX, Tag, room_for};
use crate::load::Reader;

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

/// Makes buckets of entries whose hashes have so many first bits in common, in the order of the hashes.
fn divide(entries: &[(Tag, Location)], common: u32, buckets: &mut Vec<(u32, Bucket)>) {
    let ends = entries.first().zip(entries.last());
    let is_divisible = ends.is_some_and(|((first, _), (last, _))| first.hash != last.hash);
    if room_for(entries.len()) <= GROUPS_MAX || common >= DEPTH_MAX || !is_divisible {
        return buckets.push((common, Bucket::of(entries)));
    }
    let bit = 1 << (u32::BITS - common - 1);
    let (without, with) = entries.split_at(entries.partition_point(|(tag, _)| tag.hash & bit == 0));
    divide(without, common + 1, buckets);
    divide(with, common + 1, buckets);
}

impl Shard {
    /// A shard of these entries, which stand in the order of their hashes.
    pub(crate) fn of(entries: &[(Tag, Location)]) -> Shard {
        let mut buckets = Vec::new();
        divide(entries, 0, &mut buckets);
        let depth = buckets.iter().map(|(common, _)| *common).max().unwrap_or_default();
        let mut directory = Vec::with_capacity(1 << depth);
        for ((common, _), number) in buckets.iter().zip(0..) {
            directory.extend(std::iter::repeat_n(number, 1 << (depth - common)));
        }
        Shard { directory, depth, buckets }
    }

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

    /// Appends the depth (1 byte), and the buckets in the order of the hashes that belong to them: how many bits their entries
    /// have in common (1 byte), and what [`Bucket::save`] appends. The directory follows from that.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        out.push(u8::try_from(self.depth).unwrap_or(u8::MAX));
        let mut last = None;
        for &number in &self.directory {
            // A bucket's entries in the directory stand side by side.
            if last.replace(number) != Some(number)
                && let Some((common, bucket)) = self.buckets.get(number as usize)
            {
                out.push(u8::try_from(*common).unwrap_or(u8::MAX));
                bucket.save(out);
            }
        }
    }

    /// Reads what [`Shard::save`] has written, all of `bytes`; `None` where it is anything else, or a location is not
    /// accepted.
    pub(crate) fn load(bytes: &[u8], mut accept: impl FnMut(Location) -> bool) -> Option<Shard> {
        let mut reader = Reader::new(bytes);
        let depth = u32::from(reader.u8()?);
        if depth > DEPTH_MAX {
            return None;
        }
        let mut shard = Shard { directory: Vec::new(), depth, buckets: Vec::new() };
        while shard.directory.len() < 1 << depth {
            let common = u32::from(reader.u8()?);
            let width = 1usize << depth.checked_sub(common)?;
            // What it has in common is a prefix of the directory's bits, so it begins at a multiple of its width.
            if !shard.directory.len().is_multiple_of(width) {
                return None;
            }
            let prefix = shard.directory.len() / width;
            let belongs = |hash, at| first_bits(hash, common) == prefix && accept(at);
            let bucket = Bucket::load(&mut reader, belongs)?;
            let number = u32::try_from(shard.buckets.len()).ok()?;
            shard.directory.extend(std::iter::repeat_n(number, width));
            shard.buckets.push((common, bucket));
        }
        reader.is_at_end().then_some(shard)
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

#[cfg(test)]
mod tests {
    use super::*;
    use nadb_core::SegmentId;
    use proptest::prelude::*;

    fn at(n: u32) -> Location {
        Location { segment: SegmentId(n % 5), offset: n, len: n % 100 }
    }

    fn tag(n: u32) -> Tag {
        let spread = n.wrapping_mul(0x9E37_79B1).rotate_left(7) ^ n;
        Tag { hash: spread, control: (spread >> 24) as u8 | 0x80 }
    }

    /// Entries `from..to`, of which every `keep`-th is left.
    fn shard(from: u32, to: u32, keep: u32) -> Shard {
        let mut shard = Shard::default();
        (from..to).for_each(|n| shard.insert(tag(n), at(n)));
        for n in (from..to).filter(|n| n % keep != 0) {
            assert!(shard.bucket_mut(tag(n).hash).unwrap().remove(tag(n), at(n)));
        }
        shard
    }

    fn saved(shard: &Shard) -> Vec<u8> {
        let mut bytes = Vec::new();
        shard.save(&mut bytes);
        bytes
    }

    fn entries(shard: &Shard) -> Vec<(u32, u8, Location)> {
        let mut all: Vec<_> =
            shard.buckets().flat_map(Bucket::entries).map(|(tag, at)| (tag.hash, tag.control, at)).collect();
        all.sort_unstable();
        all
    }

    /// What loads is a shard in which everything that it has is found, and that can be changed.
    fn check_works(mut shard: Shard) {
        for (hash, control, at) in entries(&shard) {
            let tag = Tag { hash, control };
            let mut is_found = false;
            shard.bucket(hash).unwrap().find(tag, |found| is_found |= found == at);
            assert!(is_found);
        }
        (0..2000).for_each(|n| shard.insert(tag(n), at(n)));
        for n in 0..2000 {
            assert!(shard.bucket_mut(tag(n).hash).unwrap().remove(tag(n), at(n)));
        }
    }

    #[test]
    fn a_saved_shard_loads_as_it_was() {
        for (entries_in, keep) in [(0, 1), (1, 1), (8, 1), (500, 1), (20_000, 1), (20_000, 3), (20_000, 1000)]
        {
            let shard = shard(0, entries_in, keep);
            let bytes = saved(&shard);
            let mut shown = 0;
            let loaded = Shard::load(&bytes, |_| {
                shown += 1;
                true
            });
            let loaded = loaded.unwrap();
            assert_eq!(shown, entries(&shard).len());
            assert_eq!(entries(&loaded), entries(&shard));
            assert!(loaded.memory_bytes() <= shard.memory_bytes() + 300 + shard.buckets.len() * 72);
            check_works(loaded);
        }
    }

    #[test]
    fn a_shard_of_many_entries_at_once_has_what_one_by_one_gives() {
        for count in [0, 1, 8, 500, 2913, 20_000, 400_000] {
            let one_by_one = shard(0, count, 1);
            let mut sorted: Vec<_> = one_by_one.buckets().flat_map(Bucket::entries).collect();
            sorted.sort_unstable_by_key(|(tag, _)| tag.hash);
            let at_once = Shard::of(&sorted);
            assert_eq!(entries(&at_once), entries(&one_by_one));
            assert!(at_once.memory_bytes() <= 24 * count as usize + 400, "{} bytes", at_once.memory_bytes());
            assert_eq!(saved(&Shard::load(&saved(&at_once), |_| true).unwrap()), saved(&at_once));
            check_works(at_once);
        }
    }

    #[test]
    fn equal_and_nearly_equal_hashes_stay_in_one_bucket() {
        for hash in [|_| 7, |n| n & 3, |n| (n % 3) << 30] as [fn(u32) -> u32; 3] {
            let mut sorted: Vec<_> =
                (0..20_000).map(|n| (Tag { hash: hash(n), control: 0x81 }, at(n))).collect();
            sorted.sort_unstable_by_key(|(tag, _)| tag.hash);
            let shard = Shard::of(&sorted);
            assert_eq!(entries(&shard).len(), sorted.len());
            assert!(shard.buckets.len() <= 20);
            check_works(shard);
        }
    }

    #[test]
    fn a_location_that_is_not_accepted_refuses_all() {
        let bytes = saved(&shard(0, 500, 1));
        assert!(Shard::load(&bytes, |location| location != at(321)).is_none());
    }

    #[test]
    fn every_cut_is_refused() {
        let bytes = saved(&shard(0, 100, 1));
        for len in 0..bytes.len() {
            assert!(Shard::load(&bytes[..len], |_| true).is_none(), "cut to {len}");
        }
        let longer = [&bytes[..], &[0]].concat();
        assert!(Shard::load(&longer, |_| true).is_none());
    }

    #[test]
    fn claims_that_nothing_bears_out_are_refused() {
        let refused = |bytes: &[u8]| assert!(Shard::load(bytes, |_| true).is_none(), "{bytes:?}");
        refused(&[17]);
        // A bucket deeper than the directory; many groups that are not there.
        refused(&[0, 1, 0, 0, 0, 0]);
        refused(&[0, 0, 255, 255, 255, 255]);
        // A group with a control byte that means nothing, one without an empty place, one that is all empty.
        refused(&[0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0]);
        refused(&[0, 0, 1, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
        refused(&[0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(Shard::load(&[0, 0, 0, 0, 0, 0], |_| true).is_some());
    }

    #[test]
    fn an_entry_where_no_search_comes_is_refused() {
        let mut bytes = saved(&shard(0, 100, 1));
        let hashes: Vec<_> = entries(&Shard::load(&bytes, |_| true).unwrap()).iter().map(|e| e.0).collect();
        // Its hash is turned round: it stands in the wrong group, or in the wrong bucket, or is found by luck.
        let mut refused = 0;
        for hash in hashes {
            let place = bytes.windows(4).position(|window| window == hash.to_le_bytes()).unwrap();
            bytes[place..place + 4].copy_from_slice(&(!hash).to_le_bytes());
            refused += usize::from(Shard::load(&bytes, |_| true).is_none());
            bytes[place..place + 4].copy_from_slice(&hash.to_le_bytes());
        }
        assert!(refused > 80, "{refused} of 100");
    }

    proptest! {
        #[test]
        fn changed_bytes_are_refused_or_make_a_shard_that_works(
            entries in 0..3000u32,
            keep in 1..6u32,
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        ) {
            let mut bytes = saved(&shard(0, entries, keep));
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(loaded) = Shard::load(&bytes, |_| true) {
                check_works(loaded);
            }
        }

        #[test]
        fn any_bytes_are_refused_or_make_a_shard_that_works(
            depth in 0..4u8,
            buckets in prop::collection::vec((0..4u8, 0..4u32, prop::collection::vec(any::<u8>(), 0..200)), 0..9),
        ) {
            let mut bytes = vec![depth];
            for (common, groups, content) in buckets {
                bytes.push(common);
                bytes.extend_from_slice(&groups.to_le_bytes());
                bytes.extend_from_slice(&content);
            }
            if let Some(loaded) = Shard::load(&bytes, |_| true) {
                check_works(loaded);
            }
        }
    }
}
