//! Which rows of one part of a segment a filter selects: first by sets of ranks, which tags and prefixes give exactly, then by a
//! check of each row that is left, for what no set says.

use nadb_core::query::has_part;
use nadb_core::{Filter, NamespaceId, Ordinal, Rank, Result, ScanRequest};
use nadb_log::{Part, RowMeta};
use roaring::RoaringBitmap;
use std::ops::{Bound, Range};

use crate::slot::Slot;

/// A set of ranks: those of a bitmap, or all but those.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Set {
    ranks: RoaringBitmap,
    is_rest: bool,
}

impl Set {
    fn all() -> Set {
        Set { ranks: RoaringBitmap::new(), is_rest: true }
    }

    fn of(ranks: RoaringBitmap) -> Set {
        Set { ranks, is_rest: false }
    }

    fn nothing() -> Set {
        Set::of(RoaringBitmap::new())
    }

    fn is_nothing(&self) -> bool {
        !self.is_rest && self.ranks.is_empty()
    }

    fn rest(self) -> Set {
        Set { is_rest: !self.is_rest, ..self }
    }

    fn and(self, other: Set) -> Set {
        match (self.is_rest, other.is_rest) {
            (false, false) => Set::of(self.ranks & other.ranks),
            (false, true) => Set::of(self.ranks - other.ranks),
            (true, false) => Set::of(other.ranks - self.ranks),
            (true, true) => Set { ranks: self.ranks | other.ranks, is_rest: true },
        }
    }

    fn or(self, other: Set) -> Set {
        self.rest().and(other.rest()).rest()
    }

    fn contains(&self, rank: Rank) -> bool {
        self.ranks.contains(rank.0) != self.is_rest
    }

    /// Those of a range, in rising order or in falling one; `None` where they are the whole range.
    pub(super) fn within(mut self, range: &Range<u32>) -> Option<RoaringBitmap> {
        match self.is_rest {
            true if self.ranks.is_empty() => None,
            true => Some(all_of(range) - self.ranks),
            false => {
                self.ranks.remove_range(..range.start);
                self.ranks.remove_range(range.end..);
                Some(self.ranks)
            }
        }
    }
}

/// What a row must be, beside being in a set.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Check {
    /// In this set.
    In(Set),
    /// What a term says of key or metadata.
    Term(Filter),
    And(Vec<Check>),
    Or(Vec<Check>),
    Not(Box<Check>),
}

/// A row that is checked; what is known of it is looked up where a check asks for it.
pub(super) struct Checked<'a> {
    pub(super) slot: &'a Slot,
    pub(super) part: &'a Part,
    pub(super) rank: Rank,
    pub(super) ordinal: Ordinal,
    pub(super) key: &'a [u8],
}

impl Checked<'_> {
    fn meta(&self) -> Result<RowMeta> {
        self.part.meta(self.ordinal)
    }
}

impl Check {
    pub(super) fn holds(&self, row: &Checked<'_>) -> Result<bool> {
        Ok(match self {
            Check::In(set) => set.contains(row.rank),
            Check::Term(term) => match term {
                Filter::KeyContains(part) => has_part(row.key, part),
                Filter::Size(span) => span.contains(row.meta()?.size),
                Filter::Created(span) => span.contains(row.meta()?.created_ms),
                Filter::Updated(span) => span.contains(row.meta()?.updated_ms),
                Filter::Expires(span) => row.meta()?.expires_ms.is_some_and(|at| span.contains(at)),
                Filter::Accessed(span) => {
                    let meta = row.meta()?;
                    let accessed_ms = row.slot.accessed_ms(meta.offset, meta.created_ms);
                    accessed_ms.is_some_and(|at| span.contains(at))
                }
                // The others give sets.
                _ => false,
            },
            Check::And(checks) => {
                for check in checks {
                    if !check.holds(row)? {
                        return Ok(false);
                    }
                }
                true
            }
            Check::Or(checks) => {
                for check in checks {
                    if check.holds(row)? {
                        return Ok(true);
                    }
                }
                false
            }
            Check::Not(check) => !check.holds(row)?,
        })
    }
}

/// The rows that a filter selects of a part: those of the set that pass the check.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Selection {
    pub(super) set: Set,
    pub(super) check: Option<Check>,
}

impl Selection {
    fn exactly(set: Set) -> Selection {
        Selection { set, check: None }
    }

    fn into_check(self) -> Check {
        match self.check {
            None => Check::In(self.set),
            Some(check) if self.set == Set::all() => check,
            Some(check) => Check::And(vec![Check::In(self.set), check]),
        }
    }

    /// What `filter` selects of the rows of a namespace.
    ///
    /// # Errors
    /// `Corruption` where a footer is damaged.
    pub(super) fn of(filter: &Filter, part: &Part, namespace: NamespaceId) -> Result<Selection> {
        Ok(match filter {
            Filter::Tag(tag) => {
                let postings = part.postings(namespace, tag)?;
                let ranks = postings.map(|postings| postings.to_bitmap()).transpose()?;
                Selection::exactly(Set::of(ranks.unwrap_or_default()))
            }
            Filter::Prefix(prefix) => Selection::exactly(of_prefix(prefix, part, namespace)?),
            Filter::And(terms) => Selection::of_all(terms, part, namespace)?,
            Filter::Or(terms) => Selection::of_any(terms, part, namespace)?,
            Filter::Not(term) => match Selection::of(term, part, namespace)? {
                Selection { set, check: None } => Selection::exactly(set.rest()),
                unsure => {
                    let check = Check::Not(Box::new(unsure.into_check()));
                    Selection { set: Set::all(), check: Some(check) }
                }
            },
            term => Selection { set: Set::all(), check: Some(Check::Term(term.clone())) },
        })
    }

    /// Tags first, those of the fewest rows before the others: what is cut with little is little. Where nothing is left, nobody
    /// asks further.
    fn of_all(terms: &[Filter], part: &Part, namespace: NamespaceId) -> Result<Selection> {
        let (mut postings, mut others) = (Vec::new(), Vec::new());
        for term in terms {
            match term {
                Filter::Tag(tag) => match part.postings(namespace, tag)? {
                    Some(of_tag) => postings.push(of_tag),
                    None => return Ok(Selection::exactly(Set::nothing())),
                },
                _ => others.push(term),
            }
        }
        postings.sort_by_key(|postings| postings.len());
        let (mut set, mut checks) = (Set::all(), Vec::new());
        if let Some((fewest, rest)) = postings.split_first() {
            let mut ranks = fewest.to_bitmap()?;
            for postings in rest {
                if ranks.is_empty() {
                    break;
                }
                postings.intersect(&mut ranks)?;
            }
            set = Set::of(ranks);
        }
        for term in others {
            if set.is_nothing() {
                return Ok(Selection::exactly(set));
            }
            let selection = Selection::of(term, part, namespace)?;
            set = set.and(selection.set);
            checks.extend(selection.check);
        }
        let check = if checks.len() > 1 { Some(Check::And(checks)) } else { checks.pop() };
        Ok(Selection { set, check })
    }

    fn of_any(terms: &[Filter], part: &Part, namespace: NamespaceId) -> Result<Selection> {
        let selections: Result<Vec<Selection>> =
            terms.iter().map(|term| Selection::of(term, part, namespace)).collect();
        let selections = selections?;
        if selections.iter().all(|selection| selection.check.is_none()) {
            let set = selections.into_iter().fold(Set::nothing(), |set, selection| set.or(selection.set));
            return Ok(Selection::exactly(set));
        }
        let set = selections.iter().fold(Set::nothing(), |set, selection| set.or(selection.set.clone()));
        let check = Check::Or(selections.into_iter().map(Selection::into_check).collect());
        Ok(Selection { set, check: Some(check) })
    }
}

/// The ranks of the rows whose keys begin with `prefix`.
fn of_prefix(prefix: &[u8], part: &Part, namespace: NamespaceId) -> Result<Set> {
    let (from, to) = ScanRequest::prefix(prefix).into_bounds();
    Ok(Set::of(all_of(&ranks_of(&(from, to), part, namespace)?)))
}

/// Without run containers, which no other set has: few operations on them are worth their code.
fn all_of(range: &Range<u32>) -> RoaringBitmap {
    let mut ranks = RoaringBitmap::new();
    ranks.insert_range(range.clone());
    ranks.remove_run_compression();
    ranks
}

/// The ranks of the rows of a range of keys.
pub(super) fn ranks_of(
    (from, to): &(Bound<Vec<u8>>, Bound<Vec<u8>>),
    part: &Part,
    namespace: NamespaceId,
) -> Result<Range<u32>> {
    // The key behind all that are at most `key`.
    let behind = |key: &[u8]| [key, &[0]].concat();
    let first = match from {
        Bound::Included(key) => part.seek(namespace, key)?,
        Bound::Excluded(key) => part.seek(namespace, &behind(key))?,
        Bound::Unbounded => part.seek(namespace, b"")?,
    };
    let end = match to {
        Bound::Included(key) => part.seek(namespace, &behind(key))?,
        Bound::Excluded(key) => part.seek(namespace, key)?,
        Bound::Unbounded => part.seek(NamespaceId(namespace.0.saturating_add(1)), b"")?,
    };
    Ok(first.0..end.0.max(first.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;

    fn sets() -> impl Strategy<Value = (Set, Vec<bool>)> {
        (btree_set(0..40_u32, 0..30), any::<bool>()).prop_map(|(ranks, is_rest)| {
            let has = (0..40).map(|rank| ranks.contains(&rank) != is_rest).collect();
            (Set { ranks: ranks.into_iter().collect(), is_rest }, has)
        })
    }

    proptest! {
        #[test]
        fn sets_are_a_boolean_algebra((a, has_a) in sets(), (b, has_b) in sets(), range in (0..40_u32, 0..40_u32)) {
            let check = |set: &Set, has: &dyn Fn(usize) -> bool| {
                let range = range.0..range.1.max(range.0);
                let within = set.clone().within(&range);
                for rank in 0..40 {
                    prop_assert_eq!(set.contains(Rank(rank)), has(rank as usize));
                    let is_within = within.as_ref().is_none_or(|within| within.contains(rank));
                    if within.is_some() || range.contains(&rank) {
                        prop_assert_eq!(is_within, has(rank as usize) && range.contains(&rank));
                    }
                }
                Ok(())
            };
            check(&a, &|rank| has_a[rank])?;
            check(&a.clone().rest(), &|rank| !has_a[rank])?;
            check(&a.clone().and(b.clone()), &|rank| has_a[rank] && has_b[rank])?;
            check(&a.or(b), &|rank| has_a[rank] || has_b[rank])?;
        }
    }
}
