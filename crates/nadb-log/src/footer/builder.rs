//! Makes a footer from rows by ordinal, keys by rank, and system records.
//!
//! Promises that what it makes opens again and passes every check. Keys are coded as they come, so that whoever writes a
//! segment in key order need not keep them.

use nadb_core::limits::check_tag;
use nadb_core::{Error, NamespaceId, Ordinal, Result, SegmentUid};

use super::column::{Base, encode_column};
use super::expiring::encode_expiring;
use super::keys::KeyWriter;
use super::layout::{NewSection, assemble, id};
use super::origin::Origin;
use super::rows::{check_row, encode_rows};
use super::tags::{TagUse, encode_tags};
use crate::row::{RowMeta, SystemRow};
use crate::tag_names::{TagId, TagNames};

/// Everything that a footer is made from.
#[derive(Debug)]
pub struct FooterSource<'a, I> {
    /// The rows, by ordinal.
    pub metas: &'a [RowMeta],
    /// Namespace, key, ordinal and tags of each row, by rank: in order of (namespace, key, number).
    pub in_key_order: I,
    /// The records about the store itself, in the order of writing.
    pub system: &'a [SystemRow],
}

/// The bytes of the footer that will stand at offset `at` of the file of the segment `uid`.
///
/// # Errors
/// `InvalidInput` or `Limit`: rows, keys or system records are not what a segment can hold, or out of order.
pub fn encode_footer<'a, I, T>(uid: SegmentUid, at: u32, source: FooterSource<'a, I>) -> Result<Vec<u8>>
where
    I: IntoIterator<Item = (NamespaceId, &'a [u8], Ordinal, T)>,
    T: IntoIterator<Item = &'a str>,
{
    let mut builder = FooterBuilder::new();
    for (namespace, key, ordinal, tags) in source.in_key_order {
        builder.push_key(namespace, key, ordinal, tags)?;
    }
    builder.finish(uid, at, source.metas, source.system)
}

/// Makes a footer whose keys come one by one.
#[derive(Debug, Default)]
pub struct FooterBuilder {
    keys: KeyWriter,
    names: TagNames,
    /// By rank.
    uses: Vec<TagUse>,
    origin: Option<Origin>,
}

impl FooterBuilder {
    /// A builder without keys.
    #[must_use]
    pub fn new() -> FooterBuilder {
        FooterBuilder::default()
    }

    /// Says that a compaction has made the segment.
    pub fn set_origin(&mut self, origin: Origin) {
        self.origin = Some(origin);
    }

    /// Adds the key of the next rank, with the tags of its row in any order. Ranks are in order of (namespace, key, number).
    ///
    /// # Errors
    /// `InvalidInput` for a key out of order, or what is no tag; `Limit` for a length.
    pub fn push_key<'t>(
        &mut self,
        namespace: NamespaceId,
        key: &[u8],
        ordinal: Ordinal,
        tags: impl IntoIterator<Item = &'t str>,
    ) -> Result<()> {
        let rank = self.keys.push(namespace, key, ordinal)?;
        for tag in tags {
            let tag = self.tag(namespace, tag.as_bytes())?;
            self.uses.push(TagUse { tag, rank });
        }
        Ok(())
    }

    /// As [`FooterBuilder::push_key`], for who has the numbers of the tags already.
    pub(crate) fn push_row(
        &mut self,
        namespace: NamespaceId,
        key: &[u8],
        ordinal: Ordinal,
        tags: impl Iterator<Item = TagId>,
    ) -> Result<()> {
        let rank = self.keys.push(namespace, key, ordinal)?;
        self.uses.extend(tags.map(|tag| TagUse { tag, rank }));
        Ok(())
    }

    /// The number of a tag, for [`FooterBuilder::push_row`], which must follow.
    pub(crate) fn tag(&mut self, namespace: NamespaceId, tag: &[u8]) -> Result<TagId> {
        self.names.id_of(namespace, tag).ok_or_else(|| {
            let text = std::str::from_utf8(tag).map_err(|_| Error::invalid("a tag of a footer is not UTF-8"));
            match text.and_then(check_tag) {
                Err(error) => error,
                Ok(()) => Error::limit("a footer has too many tags"),
            }
        })
    }

    /// The bytes of the footer that will stand at offset `at` of the file of the segment `uid`. `metas` are the rows by
    /// ordinal, `system` the records about the store itself in the order of writing.
    ///
    /// # Errors
    /// As [`encode_footer`].
    pub fn finish(
        self,
        uid: SegmentUid,
        at: u32,
        metas: &[RowMeta],
        system: &[SystemRow],
    ) -> Result<Vec<u8>> {
        let (rows, sections) = self.sections(at, metas, system)?;
        assemble(uid, at, rows, sections)
    }

    /// The row count and all sections, in order of their ids.
    pub(super) fn sections(
        self,
        at: u32,
        metas: &[RowMeta],
        system: &[SystemRow],
    ) -> Result<(u32, Vec<NewSection>)> {
        check_metas(metas, at)?;
        check_system(system, at)?;
        let order = self.checked_order(metas)?;
        let rows = u32::try_from(metas.len()).map_err(|_| Error::limit("a footer has too many rows"))?;
        let mut sections = encode_rows(metas);
        let tags = match self.uses.is_empty() {
            true => None,
            false => Some(encode_tags(&self.names, &self.uses, &self.keys.namespaces())?),
        };
        let [groups, keys, namespaces] = self.keys.finish();
        sections.push(NewSection::required(id::GROUPS, groups));
        sections.push(NewSection::required(id::KEYS, keys));
        if let Some(order) = order {
            sections.push(NewSection::required(id::ORDER, order));
        }
        sections.push(NewSection::required(id::NAMESPACES, namespaces));
        if !system.is_empty() {
            let mut bytes = Vec::new();
            system.iter().for_each(|row| row.encode(&mut bytes));
            sections.push(NewSection::required(id::SYSTEM, bytes));
        }
        for (id, bytes) in [id::TAGS, id::POSTINGS].into_iter().zip(tags.into_iter().flatten()) {
            if !bytes.is_empty() {
                sections.push(NewSection::required(id, bytes));
            }
        }
        if let Some(expiring) = encode_expiring(metas) {
            sections.push(NewSection::required(id::EXPIRING, expiring));
        }
        if let Some(origin) = &self.origin {
            sections.push(NewSection::required(id::ORIGIN, origin.encode()));
        }
        Ok((rows, sections))
    }

    /// The column of ordinals by rank, `None` where the two are equal.
    fn checked_order(&self, metas: &[RowMeta]) -> Result<Option<Vec<u8>>> {
        let order = &self.keys.order;
        let mut unused = vec![true; metas.len()];
        let each_once =
            order.iter().all(|ordinal| unused.get_mut(*ordinal as usize).is_some_and(std::mem::take));
        if !each_once || order.len() != metas.len() {
            return Err(Error::invalid("the keys of a footer are not those of its rows, each once"));
        }
        let seq_at = |rank: u32| {
            let ordinal = order.get(rank as usize)?;
            metas.get(*ordinal as usize).map(|row| row.seq)
        };
        if let Some(rank) = self.keys.repeated.iter().find(|rank| seq_at(**rank - 1) >= seq_at(**rank)) {
            return Err(Error::invalid(format!("the number of rank {rank} of a footer is out of order")));
        }
        let is_identity = (0..).zip(order).all(|(rank, ordinal): (u32, _)| rank == *ordinal);
        let numbers = order.iter().map(|ordinal| u64::from(*ordinal));
        Ok((!is_identity).then(|| encode_column(Base::Narrowest, numbers)))
    }
}

fn check_metas(metas: &[RowMeta], at: u32) -> Result<()> {
    let mut end = 0;
    for (ordinal, row) in metas.iter().enumerate() {
        let wrong = |what| Error::invalid(format!("row {ordinal} of a footer has a {what} that cannot be"));
        check_row(row, at).map_err(wrong)?;
        if row.offset < end {
            return Err(wrong("offset"));
        }
        end = row.offset + row.len;
    }
    Ok(())
}

fn check_system(system: &[SystemRow], at: u32) -> Result<()> {
    let mut end = 0;
    for (index, row) in system.iter().enumerate() {
        let wrong =
            |what| Error::invalid(format!("system record {index} of a footer has a {what} that cannot be"));
        row.check(at).map_err(wrong)?;
        if row.offset < end {
            return Err(wrong("offset"));
        }
        end = row.offset + row.len;
    }
    Ok(())
}
