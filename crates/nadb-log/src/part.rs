//! One sorted part of a segment's rows: a footer, or one run of a memtable. Both answer the same questions.
//!
//! Promises that ranks are positions in the part's own key order, and that a part answers for ever as it did. Leaves to others
//! which rows are live, and what a view may see: tags and expiries are those of dead rows too.

use std::ops::Range;
use std::sync::Arc;

use nadb_core::{NamespaceId, Ordinal, Rank, Result, Seq};
use roaring::RoaringBitmap;

use crate::footer::{Footer, Found, TagView};
use crate::memtable::Run;
use crate::row::{RowMeta, RowPlace};
use crate::rows::{Rows, RowsCursor, missing};

/// One sorted part of a segment's rows; see [`Rows::parts`].
#[derive(Debug, Clone)]
pub enum Part {
    /// Rows in RAM.
    Run(Arc<Run>),
    /// Rows in the file.
    Footer(Arc<Footer>),
}

impl Part {
    /// How many rows there are, dead ones and tombstones too.
    #[must_use]
    pub fn len(&self) -> u32 {
        match self {
            Part::Run(run) => run.len(),
            Part::Footer(footer) => footer.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first rank whose namespace and key are not below these; [`Part::len`] where there is none.
    ///
    /// # Errors
    /// `Corruption` where the footer is damaged.
    pub fn seek(&self, namespace: NamespaceId, key: &[u8]) -> Result<Rank> {
        match self {
            Part::Run(run) => Ok(run.seek(namespace, key)),
            Part::Footer(footer) => footer.seek(namespace, key),
        }
    }

    /// The row of a rank, counted within the segment.
    ///
    /// # Errors
    /// `Corruption`, also for a rank that there is not.
    #[inline]
    pub fn ordinal_at(&self, rank: Rank) -> Result<Ordinal> {
        match self {
            Part::Run(run) => run.ordinal_at(rank).ok_or_else(|| missing(Ordinal(rank.0))),
            Part::Footer(footer) => footer.ordinal_at(rank),
        }
    }

    /// Adds the rows of several ranks to `rows`. In memory they stand anywhere: asked for together they are waited for once.
    ///
    /// # Errors
    /// As [`Part::ordinal_at`]; some may have been added.
    pub fn ordinals_at(&self, ranks: &[Rank], rows: &mut Vec<(Rank, Ordinal)>) -> Result<()> {
        ranks.iter().try_for_each(|rank| {
            rows.push((*rank, self.ordinal_at(*rank)?));
            Ok(())
        })
    }

    /// Brings the keys of several rows nearer that are going to be looked at: where they stand anywhere in memory, all of them are
    /// waited for at once. It changes no answer.
    pub fn touch_keys(&self, rows: &[(Rank, Ordinal)]) {
        if let Part::Run(run) = self {
            rows.iter().for_each(|(rank, _)| run.touch_key(*rank));
        }
    }

    /// Namespace and key of a rank.
    ///
    /// # Errors
    /// As [`Part::ordinal_at`].
    pub fn key_at(&self, rank: Rank) -> Result<(NamespaceId, Vec<u8>)> {
        match self {
            Part::Run(run) => {
                let key = run.ordinal_at(rank).and_then(|ordinal| run.key(ordinal));
                key.map(|(namespace, key)| (namespace, key.to_vec())).ok_or_else(|| missing(Ordinal(rank.0)))
            }
            Part::Footer(footer) => footer.key_at(rank),
        }
    }

    /// What is known of a row beside its key and tags.
    ///
    /// # Errors
    /// `Corruption`, also for a row that is not in this part.
    pub fn meta(&self, ordinal: Ordinal) -> Result<RowMeta> {
        match self {
            Part::Run(run) => run.meta(ordinal).ok_or_else(|| missing(ordinal)),
            Part::Footer(footer) => footer.meta(ordinal),
        }
    }

    /// The sequence number of a row.
    ///
    /// # Errors
    /// As [`Part::meta`].
    #[inline]
    pub fn seq(&self, ordinal: Ordinal) -> Result<Seq> {
        match self {
            Part::Run(run) => run.seq(ordinal).ok_or_else(|| missing(ordinal)),
            Part::Footer(footer) => footer.seq(ordinal),
        }
    }

    /// Where the record of a row stands, and until when it is visible.
    ///
    /// # Errors
    /// As [`Part::meta`].
    #[inline]
    pub fn place(&self, ordinal: Ordinal) -> Result<RowPlace> {
        match self {
            Part::Run(run) => run.place(ordinal).ok_or_else(|| missing(ordinal)),
            Part::Footer(footer) => footer.place(ordinal),
        }
    }

    /// A cursor on the row of a rank; behind the last for [`Part::len`] and above.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn cursor(&self, at: Rank) -> Result<RowsCursor> {
        match self {
            Part::Run(run) => Ok(RowsCursor::Run(run.cursor(at))),
            Part::Footer(footer) => footer.cursor(at).map(RowsCursor::Footer),
        }
    }

    /// Whether any row has a tag.
    #[must_use]
    pub fn has_tags(&self) -> bool {
        match self {
            Part::Run(run) => run.has_tags(),
            Part::Footer(footer) => footer.tags().is_some(),
        }
    }

    /// The rows of this namespace that have this tag, live or dead; `None` where there is none.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn postings(&self, namespace: NamespaceId, tag: &str) -> Result<Option<Postings>> {
        let Some(view) = self.view()? else {
            return Ok(None);
        };
        let found = view.find(namespace, tag)?;
        Ok(found.map(|(found, ranks)| Postings { part: self.clone(), found, ranks }))
    }

    /// Shows the tags of this namespace that begin with `prefix`, in byte order, with how many rows, live or dead, have each.
    ///
    /// # Errors
    /// `Corruption`: what was shown before it was right.
    pub fn tags(&self, namespace: NamespaceId, prefix: &str, show: &mut dyn FnMut(&str, u32)) -> Result<()> {
        self.view()?.map_or(Ok(()), |view| view.with_prefix(namespace, prefix, show))
    }

    /// Shows every tag of every row.
    pub(crate) fn for_each_tag(&self, show: &mut dyn FnMut(Ordinal, NamespaceId, &str)) -> Result<()> {
        self.view()?.map_or(Ok(()), |view| {
            view.for_each_rank(&mut |namespace, tag, rank| {
                show(self.ordinal_at(rank)?, namespace, tag);
                Ok(())
            })
        })
    }

    /// Shows the rows with `after_ms` < expiry ≤ `upto_ms` (Unix milliseconds), live or dead, in order of their expiry and with
    /// it, until `show` says false.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn expiring(
        &self,
        after_ms: u64,
        upto_ms: u64,
        show: &mut dyn FnMut(Ordinal, u64) -> bool,
    ) -> Result<()> {
        match self {
            Part::Run(run) => {
                run.expiring((after_ms, upto_ms), show);
                Ok(())
            }
            Part::Footer(footer) => footer.expiring((after_ms, upto_ms), show),
        }
    }

    /// The first expiry behind `after_ms`, Unix milliseconds; `None` where there is none.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn next_expiry(&self, after_ms: u64) -> Result<Option<u64>> {
        match self {
            Part::Run(run) => Ok(run.next_expiry(after_ms)),
            Part::Footer(footer) => footer.next_expiry(after_ms),
        }
    }

    /// Where every row has an expiry: the last of them.
    ///
    /// # Errors
    /// `Corruption`.
    pub fn all_expire_by(&self) -> Result<Option<u64>> {
        match self {
            Part::Run(_) => Ok(None),
            Part::Footer(footer) => footer.all_expire_by(),
        }
    }

    fn view(&self) -> Result<Option<TagView<'_>>> {
        match self {
            Part::Run(run) => run.tags(),
            Part::Footer(footer) => Ok(footer.tags()),
        }
    }
}

/// The rows of a part that have a tag, live or dead: ranks. They are read when they are asked for.
#[derive(Debug, Clone)]
pub struct Postings {
    part: Part,
    found: Found,
    /// The namespace's.
    ranks: Range<u32>,
}

impl Postings {
    /// How many rows; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a tag that no row has is not there")]
    pub fn len(&self) -> u32 {
        self.found.count
    }

    /// The ranks.
    ///
    /// # Errors
    /// `Corruption` where they are damaged.
    pub fn to_bitmap(&self) -> Result<RoaringBitmap> {
        self.part
            .view()?
            .map_or_else(|| Ok(RoaringBitmap::new()), |view| view.bitmap(self.found, &self.ranks))
    }

    /// Takes the ranks out of `bitmap` that are not among these.
    ///
    /// # Errors
    /// As [`Postings::to_bitmap`]: `bitmap` is as it was.
    pub fn intersect(&self, bitmap: &mut RoaringBitmap) -> Result<()> {
        self.part.view()?.map_or(Ok(()), |view| view.intersect(self.found, &self.ranks, bitmap))
    }
}

impl Rows {
    /// The sorted parts of all rows. Those of a memtable that come later are in none of them.
    ///
    /// # Errors
    /// `Corruption` where the rows of a sealed segment cannot be had; `Io`.
    pub fn parts(&self) -> Result<Vec<Part>> {
        Ok(match self.now()? {
            Rows::Memtable(memtable) => memtable.runs().into_iter().map(Part::Run).collect(),
            Rows::Footer(footer) => vec![Part::Footer(Arc::clone(footer))],
            Rows::Sealed(_) => Vec::new(),
        })
    }
}
