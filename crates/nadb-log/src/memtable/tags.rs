//! Which rows have which tags, in the order of writing: the tags by number, so that a row with tags takes a few bytes for each
//! and a row without takes none.
//!
//! Promises that rows keep the tags they were pushed with. Leaves to others which ranks they have.

use std::mem::size_of;

use nadb_core::NamespaceId;

use super::rows::to_u32;
use crate::tag_list::TagList;
use crate::tag_names::{TagId, TagNames};

/// A row that has tags.
#[derive(Debug, Clone, Copy)]
struct Tagged {
    /// Which of the rows, counted from the first one here.
    index: u32,
    /// Where its tags begin; they end where those of the next one do.
    start: u32,
}

/// The tags of rows.
#[derive(Debug, Default)]
pub(super) struct RowTags {
    names: TagNames,
    ids: Vec<TagId>,
    rows: Vec<Tagged>,
}

impl RowTags {
    /// Adds the tags of a row, whose index is above all others here.
    pub(super) fn push(&mut self, index: u32, namespace: NamespaceId, tags: TagList<'_>) {
        let start = to_u32(self.ids.len());
        let names = &mut self.names;
        // Whoever verified the record has seen that its list is well-formed.
        self.ids.extend(tags.unchecked().filter_map(|tag| names.id_of(namespace, tag)));
        if self.ids.len() > start as usize {
            self.rows.push(Tagged { index, start });
        }
    }

    /// Adds the tags of rows that stand behind these, from index `base` on.
    pub(super) fn append(&mut self, base: u32, tags: &RowTags) {
        let start = to_u32(self.ids.len());
        // Every one of them is a tag, so that none is left out.
        let new: Vec<TagId> =
            tags.names.iter().filter_map(|(namespace, tag)| self.names.id_of(namespace, tag)).collect();
        self.ids.extend(tags.ids.iter().filter_map(|id| new.get(id.index())));
        let moved = |row: &Tagged| Tagged { index: row.index + base, start: row.start + start };
        self.rows.extend(tags.rows.iter().map(moved));
    }

    /// Has room for the rows of all of these.
    pub(super) fn reserve<'a>(&mut self, parts: impl Iterator<Item = &'a RowTags> + Clone) {
        self.ids.reserve_exact(parts.clone().map(|tags| tags.ids.len()).sum());
        self.rows.reserve_exact(parts.map(|tags| tags.rows.len()).sum());
    }

    /// Whether no row has a tag.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn names(&self) -> &TagNames {
        &self.names
    }

    /// The tags of a row.
    pub(super) fn of(&self, index: u32) -> &[TagId] {
        // Rows have rising indexes from 0 on, so that none stands behind its own index; where all have tags, there it stands.
        let Some(last) = self.rows.len().checked_sub(1) else { return &[] };
        let at = last.min(index as usize);
        let found = match self.rows.get(at) {
            Some(row) if row.index == index => Some(at),
            _ => self.rows.get(..at).and_then(|rows| rows.binary_search_by_key(&index, |row| row.index).ok()),
        };
        found.and_then(|at| self.ids_at(at)).unwrap_or_default()
    }

    /// The tagged rows by index, each with its tags.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &[TagId])> {
        self.rows.iter().enumerate().map(|(at, row)| (row.index, self.ids_at(at).unwrap_or_default()))
    }

    /// How often rows have tags: one for each row and tag.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    fn ids_at(&self, at: usize) -> Option<&[TagId]> {
        let start = self.rows.get(at)?.start as usize;
        let end = self.rows.get(at + 1).map_or(self.ids.len(), |next| next.start as usize);
        self.ids.get(start..end)
    }

    /// Bytes of the distinct tags.
    pub(super) fn text_bytes(&self) -> usize {
        self.names.text_bytes()
    }

    /// No rows, and room for as many. To these none is added any more.
    pub(super) fn successor(&mut self) -> RowTags {
        RowTags {
            names: self.names.successor(),
            ids: Vec::with_capacity(self.ids.len()),
            rows: Vec::with_capacity(self.rows.len()),
        }
    }

    /// Gives back room; no row is added any more.
    pub(super) fn shrink(&mut self) {
        self.names.shrink();
        self.ids.shrink_to_fit();
        self.rows.shrink_to_fit();
    }

    /// Bytes that are allocated, used or not.
    pub(super) fn memory_bytes(&self) -> usize {
        self.names.memory_bytes()
            + self.ids.capacity() * size_of::<TagId>()
            + self.rows.capacity() * size_of::<Tagged>()
    }
}
