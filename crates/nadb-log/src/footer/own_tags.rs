//! A dictionary of tags with its postings in memory, for rows that are in no footer yet: the same bytes, so that whoever reads
//! one can read the other.

use nadb_core::Result;

use super::blocks::{Blocks, Section};
use super::keys::NamespaceRows;
use super::tags::{Dictionary, TagUse, TagView, encode_tags};
use crate::tag_names::TagNames;

/// The tags of rows that have ranks.
pub(crate) struct OwnTags {
    blocks: Blocks,
    dictionary: Dictionary,
    namespaces: Box<[NamespaceRows]>,
}

impl OwnTags {
    /// `uses` come by rank, `namespaces` are those of the ranks.
    ///
    /// # Errors
    /// As [`encode_tags`].
    pub(crate) fn new(names: &TagNames, uses: &[TagUse], namespaces: Vec<NamespaceRows>) -> Result<OwnTags> {
        let [mut bytes, mut postings] = encode_tags(names, uses, &namespaces)?;
        let section = Section { start: 0, len: bytes.len() };
        let postings_section = Section { start: bytes.len(), len: postings.len() };
        bytes.append(&mut postings);
        bytes.shrink_to_fit();
        let blocks = Blocks::own(bytes);
        let dictionary = Dictionary::open(&blocks, section, postings_section)?;
        Ok(OwnTags { blocks, dictionary, namespaces: namespaces.into() })
    }

    pub(crate) fn view(&self) -> TagView<'_> {
        TagView { blocks: &self.blocks, dictionary: &self.dictionary, namespaces: &self.namespaces }
    }

    /// Bytes on the heap.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.blocks.len() + self.blocks.memory_bytes() + size_of_val(&*self.namespaces)
    }
}
