//! Makes the tag dictionary and the postings of rows that come in key order.
//!
//! Promises bytes that depend on the rows alone, whoever writes them. Takes each tag of each row once, as two numbers.

use nadb_core::{Error, Result};

use super::{GROUP_ENTRY_BYTES, HEADER_BYTES, NAMESPACE_ENTRY_BYTES, TAGS_PER_GROUP};
use crate::bytes::put_varint;
use crate::footer::keys::NamespaceRows;
use crate::footer::postings::encode_postings;
use crate::tag_names::{TagId, TagNames};

/// That the row of a rank has a tag.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TagUse {
    pub(crate) tag: TagId,
    pub(crate) rank: u32,
}

/// The ranks of each tag, side by side in the order of the tags' numbers.
struct ByTag {
    ranks: Vec<u32>,
    /// Where those of each tag end.
    ends: Vec<usize>,
}

impl ByTag {
    /// A counting sort, which leaves the ranks of a tag in their order.
    fn new(tags: usize, uses: &[TagUse]) -> ByTag {
        let mut ends = vec![0; tags];
        for one in uses {
            ends.get_mut(one.tag.index()).into_iter().for_each(|count| *count += 1);
        }
        let mut start = 0;
        for end in &mut ends {
            start += std::mem::replace(end, start);
        }
        let mut ranks = vec![0; uses.len()];
        for one in uses {
            // What was the place of the tag's first rank becomes its end, step by step.
            let place = ends.get_mut(one.tag.index()).map(|place| std::mem::replace(place, *place + 1));
            if let Some(rank) = place.and_then(|place| ranks.get_mut(place)) {
                *rank = one.rank;
            }
        }
        ByTag { ranks, ends }
    }

    fn of(&self, tag: TagId) -> &[u32] {
        let start = tag.index().checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied());
        let range = start.zip(self.ends.get(tag.index()).copied());
        range.and_then(|(start, end)| self.ranks.get(start..end)).unwrap_or_default()
    }
}

/// The parts of a dictionary, and the postings.
#[derive(Default)]
struct Writer {
    namespaces: Vec<[u32; NAMESPACE_ENTRY_BYTES / 4]>,
    groups: Vec<[u32; GROUP_ENTRY_BYTES / 4]>,
    tags: Vec<u8>,
    postings: Vec<u8>,
}

impl Writer {
    /// The namespace of the tags that follow.
    fn begin_namespace(&mut self, namespace: &NamespaceRows) -> Result<()> {
        self.namespaces.push([namespace.namespace.0, position(self.groups.len())?, 0]);
        Ok(())
    }

    /// Adds a tag behind `last`, which is the one before it.
    fn push(&mut self, last: &[u8], tag: &[u8], first: u32, ranks: &[u32]) -> Result<()> {
        let Some([_, _, count]) = self.namespaces.last_mut() else {
            return Err(Error::invalid("a tag of a footer has no namespace"));
        };
        let begins_group = count.is_multiple_of(TAGS_PER_GROUP);
        *count += 1;
        let shared = if begins_group {
            self.groups.push([position(self.tags.len())?, position(self.postings.len())?]);
            0
        } else {
            last.iter().zip(tag).take_while(|(a, b)| a == b).count()
        };
        let suffix = tag.get(shared..).unwrap_or_default();
        // A tag has at most 255 bytes.
        self.tags.extend([shared, suffix.len()].map(|len| u8::try_from(len).unwrap_or(u8::MAX)));
        self.tags.extend_from_slice(suffix);
        put_varint(&mut self.tags, ranks.len() as u64);
        if let [rank] = ranks {
            put_varint(&mut self.tags, u64::from(rank.saturating_sub(first)));
            return Ok(());
        }
        let start = self.postings.len();
        encode_postings(&mut self.postings, first, ranks)?;
        put_varint(&mut self.tags, (self.postings.len() - start) as u64);
        Ok(())
    }

    /// The dictionary and the postings.
    fn finish(self) -> Result<[Vec<u8>; 2]> {
        let tables = self.namespaces.len() * NAMESPACE_ENTRY_BYTES + self.groups.len() * GROUP_ENTRY_BYTES;
        let mut dictionary = Vec::with_capacity(HEADER_BYTES + tables + self.tags.len());
        let counts = [position(self.namespaces.len())?, position(self.groups.len())?];
        let fields =
            counts.iter().chain(self.namespaces.iter().flatten()).chain(self.groups.iter().flatten());
        fields.for_each(|field| dictionary.extend_from_slice(&field.to_le_bytes()));
        dictionary.extend_from_slice(&self.tags);
        position(dictionary.len())?;
        Ok([dictionary, self.postings])
    }
}

fn position(number: usize) -> Result<u32> {
    u32::try_from(number).map_err(|_| Error::limit("the tags of a footer take more than 4 GiB"))
}

/// The dictionary and the postings of rows that have tags. `uses` come by rank, `namespaces` are those of the ranks; every tag
/// is used.
///
/// # Errors
/// `InvalidInput` where a row has a tag twice, or one of another namespace; `Limit` where there are too many.
pub(crate) fn encode_tags(
    names: &TagNames,
    uses: &[TagUse],
    namespaces: &[NamespaceRows],
) -> Result<[Vec<u8>; 2]> {
    let by_tag = ByTag::new(names.len(), uses);
    let mut order: Vec<_> = (0..).map(TagId).map_while(|id| Some((names.get(id)?, id))).collect();
    order.sort_unstable();
    let mut writer = Writer::default();
    let mut rest = namespaces.iter();
    let mut current: Option<&NamespaceRows> = None;
    let mut last: &[u8] = &[];
    for ((id, tag), number) in order {
        if current.is_none_or(|current| current.namespace != id) {
            current = rest.find(|rows| rows.namespace == id);
            current.map_or(Ok(()), |current| writer.begin_namespace(current))?;
            last = &[];
        }
        let ranks = by_tag.of(number);
        let rows = current.filter(|rows| {
            let all = rows.first.0..rows.first.0 + rows.rows;
            ranks.first().zip(ranks.last()).is_some_and(|(a, b)| all.contains(a) && all.contains(b))
        });
        let rows = rows.filter(|_| ranks.is_sorted_by(|a, b| a < b));
        let rows = rows.ok_or_else(|| {
            Error::invalid("a row of a footer has a tag twice, or one of another namespace")
        })?;
        writer.push(last, tag, rows.first.0, ranks)?;
        last = tag;
    }
    writer.finish()
}
