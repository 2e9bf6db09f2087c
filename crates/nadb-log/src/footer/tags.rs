//! The tag dictionary: which tags the rows of each namespace have, in byte order, how many rows have each, and where its postings
//! stand. A footer has it in its file; a run of a memtable has the same bytes in memory.
//!
//! Tags are front-coded in groups of sixteen, which belong to one namespace each: a search compares the first tags of groups and
//! reads through one group, so that it touches few pages. Promises that the counts and ranks that it gives are possible ones, and
//! that nothing is allocated for a claim. Leaves it to the postings which rows have a tag.

mod writer;

use std::cmp::Ordering;
use std::ops::Range;

use nadb_core::limits::TAG_BYTES_MAX;
use nadb_core::{Error, NamespaceId, Rank, Result};

use super::blocks::{Blocks, Section};
use super::keys::NamespaceRows;
use super::postings::{Found, Place};
use crate::bytes::Reader;
pub(crate) use writer::{TagUse, encode_tags};

const TAGS_PER_GROUP: u32 = 16;
/// How many namespaces, and how many groups.
const HEADER_BYTES: usize = 8;
/// Namespace id, first group, tags.
const NAMESPACE_ENTRY_BYTES: usize = 12;
/// Where the group's tags begin, and where their postings do.
const GROUP_ENTRY_BYTES: usize = 8;

/// The dictionary of a footer or a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dictionary {
    section: Section,
    postings: Section,
    namespaces: u32,
    groups: u32,
}

/// The tags of one namespace.
#[derive(Debug, Clone, Copy)]
struct NamespaceTags {
    first: u32,
    end: u32,
    tags: u32,
    /// The namespace's rows.
    rows: NamespaceRows,
}

impl NamespaceTags {
    fn ranks(&self) -> Range<u32> {
        self.rows.first.0..self.rows.first.0.saturating_add(self.rows.rows)
    }

    fn tags_of(&self, group: u32) -> u32 {
        self.tags.saturating_sub((group - self.first) * TAGS_PER_GROUP).min(TAGS_PER_GROUP)
    }
}

/// A tag as a walk shows it.
struct Listed<'a> {
    namespace: NamespaceId,
    tag: &'a str,
    found: Found,
    /// The namespace's.
    ranks: Range<u32>,
}

/// A tag as a group has it.
struct Entry<'a> {
    /// How many bytes of the tag before it begins with.
    shared: usize,
    suffix: &'a [u8],
    found: Found,
}

/// The tags of one group, read one after the other.
struct GroupReader<'a> {
    rest: &'a [u8],
    ranks: Range<u32>,
    /// Bytes of the tag before.
    len: usize,
    postings_at: usize,
    postings_end: usize,
}

impl<'a> GroupReader<'a> {
    #[inline]
    fn number(&mut self) -> Option<u32> {
        if let [byte, rest @ ..] = self.rest
            && byte & 0x80 == 0
        {
            self.rest = rest;
            return Some(u32::from(*byte));
        }
        let mut reader = Reader::new(self.rest);
        let number = reader.varint_u32()?;
        self.rest = self.rest.get(reader.position()..)?;
        Some(number)
    }

    /// The next tag; `None` where the bytes are malformed.
    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        let [shared, suffix, rest @ ..] = self.rest else { return None };
        let (suffix, rest) = rest.split_at_checked(usize::from(*suffix))?;
        let shared = usize::from(*shared);
        if shared > self.len {
            return None;
        }
        self.len = shared + suffix.len();
        self.rest = rest;
        let (count, at) = (self.number()?, self.number()?);
        let rows = self.ranks.end - self.ranks.start;
        let place = if count == 1 {
            Place::One(self.ranks.start + Some(at).filter(|rank| *rank < rows)?)
        } else {
            let (from, len) = (self.postings_at, at as usize);
            self.postings_at = from.checked_add(len).filter(|end| *end <= self.postings_end)?;
            Place::Bytes { from, len }
        };
        let is_possible = (1..=rows).contains(&count) && (1..=TAG_BYTES_MAX).contains(&self.len);
        is_possible.then_some(Entry { shared, suffix, found: Found { count, place } })
    }
}

impl Dictionary {
    /// The dictionary whose bytes these are.
    ///
    /// # Errors
    /// `Corruption`: it is too short for what it claims.
    pub(super) fn open(blocks: &Blocks, section: Section, postings: Section) -> Result<Dictionary> {
        let header: [u8; HEADER_BYTES] = blocks.array(section, 0)?;
        let mut reader = Reader::new(&header);
        let (namespaces, groups) = (reader.u32().unwrap_or(0), reader.u32().unwrap_or(0));
        let tables = u64::from(namespaces) * NAMESPACE_ENTRY_BYTES as u64
            + u64::from(groups) * GROUP_ENTRY_BYTES as u64;
        if tables > (section.len - HEADER_BYTES) as u64 || namespaces > groups {
            let what = format!(
                "the footer's tag dictionary is too short for {groups} groups of {namespaces} namespaces"
            );
            return Err(blocks.corrupt(section.start, what));
        }
        Ok(Dictionary { section, postings, namespaces, groups })
    }

    pub(super) fn postings(&self) -> Section {
        self.postings
    }

    /// Id, first group and tags of the namespace with this index in the dictionary.
    fn namespace_at(&self, blocks: &Blocks, index: u32) -> Result<(NamespaceId, u32, u32)> {
        let from = HEADER_BYTES + index as usize * NAMESPACE_ENTRY_BYTES;
        let entry: [u8; NAMESPACE_ENTRY_BYTES] = blocks.array(self.section, from)?;
        let mut reader = Reader::new(&entry);
        let mut field = || reader.u32().unwrap_or(0);
        Ok((NamespaceId(field()), field(), field()))
    }

    /// The tags of the namespace with this index, whose rows are among `all`.
    fn tags_at(&self, blocks: &Blocks, index: u32, all: &[NamespaceRows]) -> Result<NamespaceTags> {
        let (id, first, tags) = self.namespace_at(blocks, index)?;
        let end = match index + 1 {
            next if next < self.namespaces => self.namespace_at(blocks, next)?.1,
            _ => self.groups,
        };
        let rows = all.binary_search_by_key(&id, |rows| rows.namespace).ok().and_then(|at| all.get(at));
        let groups = end.checked_sub(first).filter(|groups| *groups > 0 && end <= self.groups);
        match (rows, groups) {
            (Some(rows), Some(groups)) if tags.div_ceil(TAGS_PER_GROUP) == groups => {
                Ok(NamespaceTags { first, end, tags, rows: *rows })
            }
            _ => Err(self.malformed(blocks, HEADER_BYTES + index as usize * NAMESPACE_ENTRY_BYTES)),
        }
    }

    fn tags_of(
        &self,
        blocks: &Blocks,
        namespace: NamespaceId,
        all: &[NamespaceRows],
    ) -> Result<Option<NamespaceTags>> {
        let (mut low, mut high) = (0, self.namespaces);
        while low < high {
            let middle = low + (high - low) / 2;
            match self.namespace_at(blocks, middle)?.0.cmp(&namespace) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return self.tags_at(blocks, middle, all).map(Some),
            }
        }
        Ok(None)
    }

    /// Where a group's tags begin, counted in the section, and where their postings do.
    #[inline]
    fn starts(&self, blocks: &Blocks, group: u32) -> Result<(usize, usize)> {
        let from = self.group_entry(group);
        let entry = u64::from_le_bytes(blocks.array(self.section, from)?);
        #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
        let (tags, postings) = (entry as u32 as usize, (entry >> 32) as usize);
        let tags = self.group_entry(self.groups).saturating_add(tags);
        if tags > self.section.len || postings > self.postings.len {
            return Err(self.malformed(blocks, from));
        }
        Ok((tags, postings))
    }

    fn group_entry(&self, group: u32) -> usize {
        HEADER_BYTES + self.namespaces as usize * NAMESPACE_ENTRY_BYTES + group as usize * GROUP_ENTRY_BYTES
    }

    fn group<'a>(&self, blocks: &'a Blocks, group: u32, ranks: Range<u32>) -> Result<GroupReader<'a>> {
        let (start, postings_at) = self.starts(blocks, group)?;
        let (end, postings_end) = match group + 1 {
            next if next < self.groups => self.starts(blocks, next)?,
            _ => (self.section.len, self.postings.len),
        };
        let len = end.checked_sub(start).filter(|_| postings_at <= postings_end);
        let len = len.ok_or_else(|| self.malformed(blocks, self.group_entry(group)))?;
        let rest = blocks.get(self.section, start, len)?;
        Ok(GroupReader { rest, ranks, len: 0, postings_at, postings_end })
    }

    #[cold]
    fn malformed(&self, blocks: &Blocks, at: usize) -> Error {
        let position = self.section.start + at.min(self.section.len);
        blocks.corrupt(position, "the footer's tag dictionary is malformed")
    }

    /// The first tag of a group.
    #[inline]
    fn first_tag<'a>(&self, blocks: &'a Blocks, group: u32) -> Result<&'a [u8]> {
        let (start, _) = self.starts(blocks, group)?;
        let [_, len] = blocks.array(self.section, start)?;
        blocks.get(self.section, start + 2, usize::from(len))
    }

    /// The last group of a namespace whose first tag is not above `tag`, or its first group.
    fn group_of(&self, blocks: &Blocks, tags: &NamespaceTags, tag: &[u8]) -> Result<u32> {
        let (mut low, mut high) = (tags.first + 1, tags.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if self.first_tag(blocks, middle)? <= tag { low = middle + 1 } else { high = middle }
        }
        Ok(low - 1)
    }

    /// A tag of a namespace, with the namespace's ranks; `all` are the namespaces of the rows.
    ///
    /// # Errors
    /// `Corruption`.
    pub(super) fn find(
        &self,
        blocks: &Blocks,
        all: &[NamespaceRows],
        namespace: NamespaceId,
        tag: &[u8],
    ) -> Result<Option<(Found, Range<u32>)>> {
        let Some(tags) = self.tags_of(blocks, namespace, all)? else {
            return Ok(None);
        };
        let number = self.group_of(blocks, &tags, tag)?;
        let mut group = self.group(blocks, number, tags.ranks())?;
        // How many bytes the entry has in common with what is looked for. One that shares more than that with the entry before
        // relates to it as that one does.
        let mut common = 0;
        for _ in 0..tags.tags_of(number) {
            let entry = group.next().ok_or_else(|| self.malformed(blocks, self.group_entry(number)))?;
            if entry.shared > common {
                continue;
            }
            let rest = tag.get(entry.shared..).unwrap_or_default();
            match entry.suffix.cmp(rest) {
                Ordering::Less => {}
                Ordering::Equal => return Ok(Some((entry.found, tags.ranks()))),
                Ordering::Greater => return Ok(None),
            }
            common = entry.shared + entry.suffix.iter().zip(rest).take_while(|(a, b)| a == b).count();
        }
        Ok(None)
    }

    /// Shows the tags of a namespace that begin with `prefix`, in byte order.
    ///
    /// # Errors
    /// `Corruption`.
    pub(super) fn with_prefix(
        &self,
        blocks: &Blocks,
        all: &[NamespaceRows],
        (namespace, prefix): (NamespaceId, &str),
        show: &mut dyn FnMut(&str, u32),
    ) -> Result<()> {
        let Some(tags) = self.tags_of(blocks, namespace, all)? else {
            return Ok(());
        };
        let from = self.group_of(blocks, &tags, prefix.as_bytes())?;
        self.walk(blocks, &tags, from, |listed| {
            let is_it = listed.tag.starts_with(prefix);
            if is_it {
                show(listed.tag, listed.found.count);
            }
            Ok(is_it || listed.tag < prefix)
        })
    }

    /// Shows all tags of all namespaces in order, each with the namespace's ranks.
    ///
    /// # Errors
    /// `Corruption`, or what `show` says.
    fn for_each(
        &self,
        blocks: &Blocks,
        all: &[NamespaceRows],
        mut show: impl FnMut(Listed<'_>) -> Result<()>,
    ) -> Result<()> {
        for index in 0..self.namespaces {
            let tags = self.tags_at(blocks, index, all)?;
            self.walk(blocks, &tags, tags.first, |listed| show(listed).map(|()| true))?;
        }
        Ok(())
    }

    /// Shows the tags of a namespace from a group on, as long as `show` says so.
    fn walk(
        &self,
        blocks: &Blocks,
        tags: &NamespaceTags,
        from: u32,
        mut show: impl FnMut(Listed<'_>) -> Result<bool>,
    ) -> Result<()> {
        let mut tag: Vec<u8> = Vec::new();
        for number in from..tags.end {
            let malformed = || self.malformed(blocks, self.group_entry(number));
            let mut group = self.group(blocks, number, tags.ranks())?;
            for _ in 0..tags.tags_of(number) {
                let entry = group.next().ok_or_else(malformed)?;
                tag.truncate(entry.shared);
                tag.extend_from_slice(entry.suffix);
                let text = std::str::from_utf8(&tag).map_err(|_| malformed())?;
                let namespace = tags.rows.namespace;
                if !show(Listed { namespace, tag: text, found: entry.found, ranks: tags.ranks() })? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Checks what no single question needs: that namespaces and tags rise, that the groups follow one another without gaps, and
    /// that there is nothing else. That the postings are whole is checked by who reads them.
    ///
    /// # Errors
    /// `Corruption`.
    pub(super) fn check(&self, blocks: &Blocks, all: &[NamespaceRows]) -> Result<()> {
        let mut last: Option<(NamespaceId, String)> = None;
        let mut is_rising = true;
        self.for_each(blocks, all, |Listed { namespace, tag, .. }| {
            let is_tag = nadb_core::limits::check_tag(tag).is_ok();
            is_rising &= is_tag && last.as_ref().is_none_or(|(n, t)| (*n, t.as_str()) < (namespace, tag));
            last = Some((namespace, tag.to_owned()));
            Ok(())
        })?;
        let mut groups = 0;
        let mut ends = (self.group_entry(self.groups), 0);
        for index in 0..self.namespaces {
            let tags = self.tags_at(blocks, index, all)?;
            is_rising &= tags.first == groups;
            groups = tags.end;
            for number in tags.first..tags.end {
                is_rising &= self.starts(blocks, number)? == ends;
                let mut group = self.group(blocks, number, tags.ranks())?;
                let read = (0..tags.tags_of(number)).map_while(|_| group.next()).count();
                is_rising &= read == tags.tags_of(number) as usize && group.rest.is_empty();
                let end = if number + 1 < self.groups {
                    self.starts(blocks, number + 1)?.0
                } else {
                    self.section.len
                };
                ends = (end, group.postings_at);
            }
        }
        let is_all = groups == self.groups && ends == (self.section.len, self.postings.len);
        if is_rising && is_all { Ok(()) } else { Err(self.malformed(blocks, 0)) }
    }
}

/// A dictionary with all that its questions need.
#[derive(Clone, Copy)]
pub(crate) struct TagView<'a> {
    pub(super) blocks: &'a Blocks,
    pub(super) dictionary: &'a Dictionary,
    pub(super) namespaces: &'a [NamespaceRows],
}

impl TagView<'_> {
    /// A tag of a namespace, with the namespace's ranks.
    pub(crate) fn find(&self, namespace: NamespaceId, tag: &str) -> Result<Option<(Found, Range<u32>)>> {
        self.dictionary.find(self.blocks, self.namespaces, namespace, tag.as_bytes())
    }

    /// Shows the tags of a namespace that begin with `prefix`, in byte order, with how many rows have each.
    pub(crate) fn with_prefix(
        &self,
        namespace: NamespaceId,
        prefix: &str,
        show: &mut dyn FnMut(&str, u32),
    ) -> Result<()> {
        self.dictionary.with_prefix(self.blocks, self.namespaces, (namespace, prefix), show)
    }

    /// Shows each tag with the ranks of its rows.
    pub(crate) fn for_each_rank(
        &self,
        show: &mut dyn FnMut(NamespaceId, &str, Rank) -> Result<()>,
    ) -> Result<()> {
        self.dictionary.for_each(self.blocks, self.namespaces, |Listed { namespace, tag, found, ranks }| {
            let rows = found.to_bitmap(self.blocks, self.dictionary.postings(), &ranks)?;
            rows.iter().try_for_each(|rank| show(namespace, tag, Rank(rank)))
        })
    }

    /// See [`Found::to_bitmap`].
    pub(crate) fn bitmap(&self, found: Found, ranks: &Range<u32>) -> Result<roaring::RoaringBitmap> {
        found.to_bitmap(self.blocks, self.dictionary.postings(), ranks)
    }

    /// See [`Found::intersect`].
    pub(crate) fn intersect(
        &self,
        found: Found,
        ranks: &Range<u32>,
        bitmap: &mut roaring::RoaringBitmap,
    ) -> Result<()> {
        found.intersect(self.blocks, self.dictionary.postings(), ranks, bitmap)
    }
}
