//! A small hash table of at most 64 KiB: the unit that grows, splits, and is moved at one time.
//!
//! Slots stand in groups of eight with a control byte each, as in Swiss tables (Kulukundis, "Designing a fast, efficient,
//! cache-friendly hash table, step by step", CppCon 2017). A group's eight control bytes are compared at once in one 64-bit
//! word. Unlike there, the number of groups is any number, and a table grows by three sixteenths: that is what keeps memory close to
//! what the entries need.

use nadb_core::{Location, SegmentId};

use crate::load::Reader;

/// Groups of a bucket that splits rather than grows: 448 · 8 · 17 bytes are 59.5 KiB.
pub(crate) const GROUPS_MAX: usize = 448;
const GROUP: usize = 8;
/// Of eight slots of a group, this many are used on average when a bucket is full.
const USED_MAX: usize = 7;

/// A bucket is sparse when less than one place in so many is used.
const SPARSE: usize = 4;

const EMPTY: u8 = 0;
const DELETED: u8 = 1;
const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// What of a key's hash an entry keeps: 32 bits in its slot and seven in its control byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) hash: u32,
    /// The highest bit is set: neither empty nor deleted.
    pub(crate) control: u8,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    hash: u32,
    at: Location,
}

const VACANT: Slot = Slot { hash: 0, at: Location { segment: SegmentId(0), offset: 0, len: 0 } };

/// Bytes of an entry as it is saved: hash, segment, offset, length.
const SAVED_ENTRY: usize = 16;

impl Slot {
    fn save(&self) -> [u8; SAVED_ENTRY] {
        let mut bytes = [0; SAVED_ENTRY];
        let fields = [self.hash, self.at.segment.0, self.at.offset, self.at.len];
        for (to, field) in bytes.chunks_exact_mut(4).zip(fields) {
            to.copy_from_slice(&field.to_le_bytes());
        }
        bytes
    }

    fn load(bytes: [u8; SAVED_ENTRY]) -> Slot {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        let at = Location {
            segment: SegmentId(u32::from_le_bytes([e, f, g, h])),
            offset: u32::from_le_bytes([i, j, k, l]),
            len: u32::from_le_bytes([m, n, o, p]),
        };
        Slot { hash: u32::from_le_bytes([a, b, c, d]), at }
    }
}

/// Eight places, their control bytes before them: a search mostly ends within two neighbouring cache lines.
#[derive(Debug, Clone, Copy)]
struct Group {
    controls: [u8; GROUP],
    slots: [Slot; GROUP],
}

const EMPTY_GROUP: Group = Group { controls: [EMPTY; GROUP], slots: [VACANT; GROUP] };

impl Group {
    fn used(&self) -> impl Iterator<Item = (u8, &Slot)> {
        self.controls.iter().copied().zip(&self.slots).filter(|(control, _)| control & 0x80 != 0)
    }
}

/// A bucket: entries whose hashes have the same first bits.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    groups: Vec<Group>,
    len: usize,
    deleted: usize,
}

impl Bucket {
    /// A bucket of these entries, with room for a few more.
    pub(crate) fn of(entries: &[(Tag, Location)]) -> Bucket {
        let mut bucket = Bucket::with_groups(room_for(entries.len()));
        entries.iter().for_each(|(tag, at)| bucket.insert(*tag, *at));
        bucket
    }

    fn with_groups(groups: usize) -> Bucket {
        Bucket { groups: vec![EMPTY_GROUP; groups], len: 0, deleted: 0 }
    }

    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.groups.capacity() * size_of::<Group>()
    }

    /// Whether nothing fits in any more without [`Bucket::grow`] or a split.
    pub(crate) fn is_full(&self) -> bool {
        self.len + self.deleted >= self.groups() * USED_MAX
    }

    /// Shows the groups in which an entry with this hash may stand, in the order in which they are tried, until one is
    /// enough. A plain loop: every read and every write goes through it.
    fn probe(&self, hash: u32, mut is_enough: impl FnMut(usize, u64, &[Slot; GROUP]) -> bool) {
        let mut at = home(hash, self.groups());
        for _ in 0..self.groups() {
            let Some(Group { controls, slots }) = self.groups.get(at) else { return };
            if is_enough(at, u64::from_le_bytes(*controls), slots) {
                return;
            }
            at = if at + 1 == self.groups() { 0 } else { at + 1 };
        }
    }

    /// Shows the entries with this tag: group, place in it, location.
    fn matches(&self, tag: Tag, mut found: impl FnMut(usize, usize, Location)) {
        self.probe(tag.hash, |group, controls, slots| {
            for place in bytes_equal(controls, tag.control) {
                if let Some(slot) = slots.get(place).filter(|slot| slot.hash == tag.hash) {
                    found(group, place, slot.at);
                }
            }
            has_byte(controls, EMPTY)
        });
    }

    /// Shows the locations of the entries with this tag.
    pub(crate) fn find(&self, tag: Tag, mut found: impl FnMut(Location)) {
        self.probe(tag.hash, |_, controls, slots| {
            // The hashes first, all of them: so their cache lines are fetched together with that of the control bytes, rather
            // than one after the other.
            let mut equal = 0u64;
            for (place, slot) in slots.iter().enumerate() {
                equal |= u64::from(slot.hash == tag.hash) << place;
            }
            if equal != 0 {
                for place in bytes_equal(controls, tag.control).filter(|place| equal & (1 << place) != 0) {
                    if let Some(slot) = slots.get(place) {
                        found(slot.at);
                    }
                }
            }
            has_byte(controls, EMPTY)
        });
    }

    fn position(&self, tag: Tag, at: Location) -> Option<(usize, usize)> {
        let mut position = None;
        self.matches(tag, |group, place, found| {
            if found == at {
                position = Some((group, place));
            }
        });
        position
    }

    /// Adds an entry; the bucket is not full.
    pub(crate) fn insert(&mut self, tag: Tag, at: Location) {
        let mut first_free = None;
        self.probe(tag.hash, |group, controls, _| {
            // Neither an empty nor a deleted control byte has its highest bit set.
            let free = !controls & HIGH_BITS;
            if free != 0 {
                first_free = Some((group, free.trailing_zeros() as usize / 8));
            }
            first_free.is_some()
        });
        if let Some((group, place)) = first_free {
            if self.groups.get(group).and_then(|group| group.controls.get(place)) == Some(&DELETED) {
                self.deleted -= 1;
            }
            self.put(group, place, tag.control, Slot { hash: tag.hash, at });
            self.len += 1;
        }
    }

    fn put(&mut self, group: usize, place: usize, control: u8, slot: Slot) {
        let Some(Group { controls, slots }) = self.groups.get_mut(group) else { return };
        if let (Some(controls), Some(slots)) = (controls.get_mut(place), slots.get_mut(place)) {
            (*controls, *slots) = (control, slot);
        }
    }

    /// Moves an entry; says whether it was at `old`.
    pub(crate) fn replace(&mut self, tag: Tag, old: Location, new: Location) -> bool {
        let Some((group, place)) = self.position(tag, old) else { return false };
        self.put(group, place, tag.control, Slot { hash: tag.hash, at: new });
        true
    }

    /// Removes an entry; says whether it was at `old`.
    pub(crate) fn remove(&mut self, tag: Tag, old: Location) -> bool {
        let Some((group, place)) = self.position(tag, old) else { return false };
        // Where the group has an empty place, no search goes past it, so this place may be empty, too.
        let ends_here = self.groups.get(group).is_some_and(|group| group.controls.contains(&EMPTY));
        self.put(group, place, if ends_here { EMPTY } else { DELETED }, VACANT);
        self.deleted += usize::from(!ends_here);
        self.len -= 1;
        true
    }

    /// Every entry.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (Tag, Location)> {
        let used = self.groups.iter().flat_map(Group::used);
        used.map(|(control, slot)| (Tag { hash: slot.hash, control }, slot.at))
    }

    /// Makes room: without what was deleted, and by three sixteenths larger where that is not enough.
    pub(crate) fn grow(&mut self) {
        let groups = self.groups();
        let is_mostly_deleted = self.deleted > self.len / 8;
        let wanted = if is_mostly_deleted { groups } else { groups + (groups * 3 / 16).max(1) };
        let mut grown = Bucket::with_groups(wanted);
        self.entries().for_each(|(tag, at)| grown.insert(tag, at));
        *self = grown;
    }

    /// Appends groups (4 bytes), control bytes, and the entries in the order of their places.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        if is_sparse(self.len, self.groups()) {
            return self.packed().save(out);
        }
        out.extend_from_slice(&u32::try_from(self.groups()).unwrap_or(u32::MAX).to_le_bytes());
        self.groups.iter().for_each(|group| out.extend_from_slice(&group.controls));
        let used = self.groups.iter().flat_map(Group::used);
        used.for_each(|(_, slot)| out.extend_from_slice(&slot.save()));
    }

    /// The same entries in as few groups as they need.
    fn packed(&self) -> Bucket {
        let mut packed = Bucket::with_groups(room_for(self.len));
        self.entries().for_each(|(tag, at)| packed.insert(tag, at));
        packed
    }

    /// Reads what [`Bucket::save`] has written; `None` where an entry would not be found at its place, is not accepted, or
    /// a count is not borne out. Allocates at most five times the bytes that are there.
    pub(crate) fn load(
        reader: &mut Reader<'_>,
        mut accept: impl FnMut(u32, Location) -> bool,
    ) -> Option<Bucket> {
        let groups = usize::try_from(reader.u32()?).ok()?;
        let (controls, _) = reader.take(groups.checked_mul(GROUP)?)?.as_chunks::<GROUP>();
        let count = |is: fn(&u8) -> bool| controls.iter().flatten().filter(|control| is(control)).count();
        let (len, deleted) = (count(|control| control & 0x80 != 0), count(|control| *control == DELETED));
        let vacant = deleted + count(|control| *control == EMPTY);
        if len + vacant != groups * GROUP || len + deleted > groups * USED_MAX || is_sparse(len, groups) {
            return None;
        }
        let (entries, _) = reader.take(len.checked_mul(SAVED_ENTRY)?)?.as_chunks::<SAVED_ENTRY>();
        let mut entries = entries.iter();
        let filled = controls.iter().map(|controls| Group { controls: *controls, ..EMPTY_GROUP });
        let mut bucket = Bucket { groups: filled.collect(), len, deleted };
        let mut strayed = Vec::new();
        let mut filled = std::mem::take(&mut bucket.groups);
        for (group, Group { controls, slots }) in filled.iter_mut().enumerate() {
            for (_, slot) in controls.iter().zip(slots).filter(|(control, _)| **control & 0x80 != 0) {
                *slot = Slot::load(*entries.next()?);
                if !accept(slot.hash, slot.at) {
                    return None;
                }
                let home = home(slot.hash, groups);
                if home != group {
                    strayed.push((home, group));
                }
            }
        }
        bucket.groups = filled;
        bucket.are_found(&strayed).then_some(bucket)
    }

    /// Whether a search that begins at the first group of each pair goes on to the second: no group on the way has an empty
    /// place.
    fn are_found(&self, strayed: &[(usize, usize)]) -> bool {
        if strayed.is_empty() {
            return true;
        }
        // For each group, how many before it end a search.
        let mut ends = vec![0usize];
        let mut count = 0;
        for group in &self.groups {
            count += usize::from(group.controls.contains(&EMPTY));
            ends.push(count);
        }
        let between = |from: usize, to: usize| Some(ends.get(to)? - ends.get(from)?);
        strayed.iter().all(|&(home, group)| {
            let on_the_way = if home < group {
                between(home, group)
            } else {
                between(home, self.groups()).zip(between(0, group)).map(|(tail, head)| tail + head)
            };
            on_the_way == Some(0)
        })
    }

    /// Whether some bit of the hashes tells its entries apart.
    pub(crate) fn can_split(&self) -> bool {
        let mut hashes = self.entries().map(|(tag, _)| tag.hash);
        let first = hashes.next();
        hashes.any(|hash| Some(hash) != first)
    }

    /// Takes the entries apart by one bit of the hash: what has it goes into the new bucket.
    pub(crate) fn split(&mut self, bit: u32) -> Bucket {
        let has_bit = |tag: &Tag| tag.hash & bit != 0;
        let count = self.entries().filter(|(tag, _)| has_bit(tag)).count();
        let room = |entries: usize| Bucket::with_groups(room_for(entries));
        let (mut with, mut without) = (room(count), room(self.len - count));
        for (tag, at) in self.entries() {
            let side = if has_bit(&tag) { &mut with } else { &mut without };
            side.insert(tag, at);
        }
        *self = without;
        with
    }
}

/// The first of so many groups in which an entry with this hash may stand.
fn home(hash: u32, groups: usize) -> usize {
    let spread = u64::from(hash.wrapping_mul(0x9E37_79B1));
    usize::try_from((spread * groups as u64) >> 32).unwrap_or_default()
}

/// Groups in which so many entries stand well.
pub(crate) fn room_for(entries: usize) -> usize {
    if entries == 0 { 0 } else { entries * 2 / 13 + 1 }
}

/// Whether a bucket is packed before it is saved, so that the memory it takes when it is loaded follows the bytes.
fn is_sparse(entries: usize, groups: usize) -> bool {
    groups > room_for(entries) && entries * SPARSE < groups * GROUP
}

/// Places whose byte is `byte`, lowest first. Above a true one there may be a false one, which the caller's comparison of
/// the hash refuses.
fn bytes_equal(word: u64, byte: u8) -> impl Iterator<Item = usize> {
    let mut found = zero_bytes(word ^ (LOW_BITS * u64::from(byte)));
    std::iter::from_fn(move || {
        let place = (found != 0).then(|| found.trailing_zeros() as usize / 8);
        found &= found.wrapping_sub(1);
        place
    })
}

fn has_byte(word: u64, byte: u8) -> bool {
    zero_bytes(word ^ (LOW_BITS * u64::from(byte))) != 0
}

/// The high bit of every zero byte, exact for the lowest one (Warren, "Hacker's Delight", 6-1).
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(LOW_BITS) & !word & HIGH_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_bytes_are_found_lowest_first() {
        let word = u64::from_le_bytes([0x81, 0, 0x93, 0x81, 1, 0xFF, 0x80, 0x93]);
        assert_eq!(bytes_equal(word, 0x93).collect::<Vec<_>>(), [2, 7]);
        assert_eq!(bytes_equal(word, 0x81).next(), Some(0));
        assert_eq!(bytes_equal(word, 0x99).count(), 0);
        assert!(has_byte(word, EMPTY) && !has_byte(word | 0x8000, EMPTY));
    }

    #[test]
    fn a_bucket_without_groups_is_full_and_finds_nothing() {
        let bucket = Bucket::default();
        assert!(bucket.is_full());
        bucket.find(Tag { hash: 1, control: 0x81 }, |at| panic!("found {at:?}"));
        assert!(!bucket.can_split());
    }
}
