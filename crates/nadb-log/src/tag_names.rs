//! Distinct tags, each known by a small number: who keeps many rows with few tags writes none of them twice.
//!
//! Promises that every tag that has a number is within its limits, and that numbers count from 0 without gaps. Leaves which rows
//! have them to others.

use std::hash::{BuildHasher, RandomState};
use std::mem::size_of;
use std::sync::OnceLock;

use hashbrown::HashTable;
use nadb_core::NamespaceId;
use nadb_core::limits::check_tag;
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The number of a tag among those of one [`TagNames`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TagId(pub(crate) u32);

impl TagId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

#[derive(Debug, Clone, Copy)]
struct Name {
    namespace: NamespaceId,
    start: u32,
    len: u8,
}

/// Tags of namespaces and their numbers.
#[derive(Debug, Default)]
pub(crate) struct TagNames {
    names: Vec<Name>,
    bytes: Vec<u8>,
    /// Finds numbers; empty where none is to be found any more.
    table: HashTable<TagId>,
}

/// Nobody who chooses tags can know it, so that nobody can choose many with one hash.
fn seed() -> u64 {
    static SEED: OnceLock<u64> = OnceLock::new();
    *SEED.get_or_init(|| RandomState::new().hash_one(0))
}

fn hash_of(namespace: NamespaceId, tag: &[u8]) -> u64 {
    xxh3_64_with_seed(tag, seed() ^ u64::from(namespace.0).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

impl TagNames {
    /// The number of a tag, a new one where it has none; `None` for what is no tag.
    #[inline]
    pub(crate) fn id_of(&mut self, namespace: NamespaceId, tag: &[u8]) -> Option<TagId> {
        let hash = hash_of(namespace, tag);
        let is_it = |id: &TagId| self.get(*id) == Some((namespace, tag));
        match self.table.find(hash, is_it) {
            Some(id) => Some(*id),
            None => self.add(hash, namespace, tag),
        }
    }

    #[cold]
    fn add(&mut self, hash: u64, namespace: NamespaceId, tag: &[u8]) -> Option<TagId> {
        check_tag(std::str::from_utf8(tag).ok()?).ok()?;
        let id = TagId(u32::try_from(self.names.len()).ok()?);
        let (start, len) = (u32::try_from(self.bytes.len()).ok()?, u8::try_from(tag.len()).ok()?);
        self.names.push(Name { namespace, start, len });
        self.bytes.extend_from_slice(tag);
        let (names, bytes) = (&self.names, &self.bytes);
        let rehash = |id: &TagId| name(names, bytes, *id).map_or(0, |(of, tag)| hash_of(of, tag));
        self.table.insert_unique(hash, id, rehash);
        Some(id)
    }

    /// Namespace and tag of a number.
    #[inline]
    pub(crate) fn get(&self, id: TagId) -> Option<(NamespaceId, &[u8])> {
        name(&self.names, &self.bytes, id)
    }

    /// All of them by number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NamespaceId, &[u8])> {
        (0..self.names.len()).filter_map(|at| self.get(TagId(u32::try_from(at).ok()?)))
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }

    /// Bytes of all tags.
    pub(crate) fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// No tags, and about as much room as these have taken. Nobody will look for a number of these any more.
    pub(crate) fn successor(&mut self) -> TagNames {
        let mut table = std::mem::take(&mut self.table);
        table.clear();
        let (names, bytes) = (Vec::with_capacity(self.names.len()), Vec::with_capacity(self.bytes.len()));
        TagNames { names, bytes, table }
    }

    /// Gives back room: from now on no number is found.
    pub(crate) fn shrink(&mut self) {
        self.table = HashTable::new();
        self.names.shrink_to_fit();
        self.bytes.shrink_to_fit();
    }

    /// Bytes that are allocated, used or not.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.names.capacity() * size_of::<Name>() + self.bytes.capacity() + self.table.allocation_size()
    }
}

#[inline]
fn name<'a>(names: &[Name], bytes: &'a [u8], id: TagId) -> Option<(NamespaceId, &'a [u8])> {
    let name = names.get(id.index())?;
    let start = name.start as usize;
    Some((name.namespace, bytes.get(start..start + usize::from(name.len))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_tags_of_a_namespace_have_one_number_and_others_their_own() {
        let mut names = TagNames::default();
        let tags: Vec<(NamespaceId, Vec<u8>)> =
            (0..500u32).map(|n| (NamespaceId(n % 3), format!("tag-{}", n / 3).into_bytes())).collect();
        for round in 0..2 {
            for ((namespace, tag), id) in tags.iter().zip(0..) {
                assert_eq!(names.id_of(*namespace, tag), Some(TagId(id)), "round {round}");
            }
        }
        assert_eq!(names.len(), 500);
        assert!(names.iter().eq(tags.iter().map(|(namespace, tag)| (*namespace, &tag[..]))));
        assert_eq!(names.get(TagId(500)), None);
        for wrong in [&b""[..], b"\xFF", b"a\0", &[b'a'; 256]] {
            assert_eq!(names.id_of(NamespaceId(1), wrong), None);
        }
        assert_eq!(names.len(), 500);
        let before = names.memory_bytes();
        let next = names.successor();
        assert!(next.memory_bytes() > 500 && next.len() == 0);
        names.shrink();
        assert!(names.memory_bytes() < before);
        assert_eq!(names.iter().count(), 500);
    }
}
