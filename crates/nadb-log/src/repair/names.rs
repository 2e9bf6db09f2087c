//! Namespaces of a log with holes: what was created and dropped, and what must be made up so that every record has one.

use std::collections::{BTreeMap, BTreeSet};

use nadb_core::{NamespaceId, Seq};

use super::report::FoundNamespace;
use crate::record::{RecordKind, RecordRef};

/// What the salvaged records say about namespaces.
#[derive(Debug, Default)]
pub(super) struct Names {
    created: BTreeMap<NamespaceId, (Seq, String)>,
    dropped: BTreeSet<NamespaceId>,
    /// The lowest number of a record that belongs to it.
    first_use: BTreeMap<NamespaceId, Seq>,
}

/// What is to be done about namespaces.
#[derive(Debug, Default)]
pub(super) struct Settled {
    /// Their records are left out: they were dropped, though the record that says so, or the one that created them, is lost.
    pub(super) skipped: BTreeSet<NamespaceId>,
    /// Create records to be made up, by numbers that no salvaged record has.
    pub(super) made_up: BTreeMap<Seq, (NamespaceId, String)>,
    /// The names of those that the repaired store has, with the numbers of their create records.
    pub(super) names: BTreeMap<NamespaceId, (Seq, String)>,
    pub(super) notes: Vec<String>,
}

impl Settled {
    pub(super) fn found(&self) -> Vec<FoundNamespace> {
        self.made_up.values().map(|(id, name)| FoundNamespace { id: id.0, name: name.clone() }).collect()
    }
}

impl Names {
    /// Takes note of a salvaged record.
    pub(super) fn see(&mut self, record: &RecordRef<'_>) {
        let id = record.namespace;
        match record.kind {
            RecordKind::NamespaceCreate => {
                let name = std::str::from_utf8(record.key).unwrap_or_default();
                self.created.insert(id, (record.seq, name.to_owned()));
            }
            RecordKind::NamespaceDrop => {
                self.dropped.insert(id);
            }
            RecordKind::Clock => {}
            _ => {
                let first = self.first_use.entry(id).or_insert(record.seq);
                *first = record.seq.min(*first);
            }
        }
    }

    /// Whether a namespace has records and no name.
    pub(super) fn has_nameless(&self) -> bool {
        self.first_use.keys().any(|id| !self.created.contains_key(id) && !self.dropped.contains(id))
    }

    /// Decides, given the numbers that salvaged records have, as rising ranges.
    pub(super) fn settle(self, used: &[(Seq, Seq)]) -> Settled {
        let mut settled = Settled::default();
        self.infer_drops(&mut settled);
        // A lost create record had a number below the first use, which no salvaged record has. Taken in the order of their
        // first uses, none can take the last free number of another.
        let mut lost: Vec<_> =
            self.first_use.iter().filter(|(id, _)| !self.created.contains_key(id)).collect();
        lost.sort_by_key(|(_, first)| **first);
        for (&id, &first) in lost {
            if self.dropped.contains(&id) {
                settled.skipped.insert(id);
                continue;
            }
            let free = free_below(first, used, |seq| settled.made_up.contains_key(&seq));
            let Some(free) = free else {
                settled.skipped.insert(id);
                settled.notes.push(format!(
                    "the records of namespace {id} were left out: it was never created, and no number is free for it"
                ));
                continue;
            };
            let name = self.name_for(id);
            settled.names.insert(id, (free, name.clone()));
            settled.made_up.insert(free, (id, name));
        }
        for (id, (seq, name)) in self.created {
            if !settled.skipped.contains(&id) && !self.dropped.contains(&id) {
                settled.names.insert(id, (seq, name));
            }
        }
        settled
    }

    /// A name that was given again had become free: of two namespaces of one name the earlier was dropped.
    fn infer_drops(&self, settled: &mut Settled) {
        let mut in_order: Vec<_> = self.created.iter().collect();
        in_order.sort_by_key(|(_, (seq, _))| *seq);
        let mut owners: BTreeMap<&str, NamespaceId> = BTreeMap::new();
        for (&id, (_, name)) in in_order {
            let before = owners.insert(name, id);
            if let Some(before) = before.filter(|before| !self.dropped.contains(before)) {
                settled.skipped.insert(before);
                settled.notes.push(format!(
                    "namespace {before} (\"{}\") was left out: its drop is lost, but namespace {id} has its name",
                    name.escape_default()
                ));
            }
        }
    }

    /// `lost+found/<id>`, or a name like it that nobody has.
    fn name_for(&self, id: NamespaceId) -> String {
        let taken = |name: &str| self.created.values().any(|(_, taken)| taken == name);
        let plain = format!("lost+found/{id}");
        if !taken(&plain) {
            return plain;
        }
        let numbered = (2u64..).map(|n| format!("{plain}-{n}"));
        numbered.into_iter().find(|name| !taken(name)).unwrap_or(plain)
    }
}

/// The highest number below `first` that is neither in a range nor `taken`.
fn free_below(first: Seq, used: &[(Seq, Seq)], taken: impl Fn(Seq) -> bool) -> Option<Seq> {
    let mut seq = first.previous();
    let mut ranges = used.iter().rev().skip_while(|(low, _)| *low >= first).peekable();
    while seq.0 > 0 {
        match ranges.peek() {
            Some((low, high)) if *high >= seq => {
                seq = seq.min(low.previous());
                ranges.next();
            }
            _ if taken(seq) => seq = seq.previous(),
            _ => return Some(seq),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(first: u64, used: &[(u64, u64)], taken: &[u64]) -> Option<u64> {
        let used: Vec<_> = used.iter().map(|&(a, b)| (Seq(a), Seq(b))).collect();
        free_below(Seq(first), &used, |seq| taken.contains(&seq.0)).map(|seq| seq.0)
    }

    #[test]
    fn the_highest_free_number_is_found() {
        assert_eq!(free(5, &[(1, 2), (5, 9)], &[]), Some(4));
        assert_eq!(free(5, &[(1, 2), (5, 9)], &[4]), Some(3));
        assert_eq!(free(5, &[(1, 2), (5, 9)], &[3, 4]), None);
        assert_eq!(free(7, &[(2, 2), (5, 9)], &[]), Some(4));
        assert_eq!(free(5, &[(1, 9)], &[]), None);
        assert_eq!(free(1, &[(1, 9)], &[]), None);
        assert_eq!(free(12, &[(1, 3), (5, 5), (7, 9)], &[10, 11]), Some(6));
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let mut names = Names::default();
        names.created.insert(NamespaceId(9), (Seq(1), "lost+found/7".into()));
        assert_eq!(names.name_for(NamespaceId(7)), "lost+found/7-2");
        assert_eq!(names.name_for(NamespaceId(8)), "lost+found/8");
    }
}
