//! Counts of tags: as of a view's moment from postings and live rows, as of now from the counts that are kept.

use std::collections::BTreeMap;
use std::sync::Arc;

use nadb_core::limits::check_namespace;
use nadb_core::{Filter, NamespaceId, Result};
use nadb_log::Direction;
use roaring::RoaringBitmap;

use super::selected::Asked;
use crate::engine::Shared;
use crate::namespaces::Namespace;
use crate::tag_counts::TagCounts;
use crate::view::View;

impl Shared {
    /// How many records a filter means now.
    pub(crate) fn count_now(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        if let Some(tag) = only_tag(filter) {
            filter.check()?;
            if let Some(count) = self.kept(namespace, |counts| counts.count(tag))? {
                return Ok(count);
            }
        }
        self.count(&self.take_view(), namespace, filter)
    }

    /// The tags that begin with `prefix`, with how many records have each now.
    pub(crate) fn tags_now(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        match self.kept(namespace, |counts| counts.tags(prefix))? {
            Some(tags) => Ok(tags),
            None => self.tags_at(&self.take_view(), namespace, prefix),
        }
    }

    /// The same at a view's moment.
    pub(crate) fn tags_at(&self, view: &View, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        check_namespace(namespace)?;
        self.check_open_to_read()?;
        match self.keyspace.namespaces.get_at(namespace, view.watermark) {
            Some(namespace) => count_tags(view, namespace.id, prefix, Some(view.now_ms)),
            None => Ok(Vec::new()),
        }
    }

    /// What is read of the counts that are kept; `None` where there are none, or where they have what has expired.
    fn kept<T>(&self, namespace: &str, read: impl Fn(&TagCounts) -> Option<T>) -> Result<Option<T>> {
        check_namespace(namespace)?;
        self.check_open_to_read()?;
        let Some(namespace) = self.keyspace.namespaces.get(namespace) else { return Ok(None) };
        if self.may_be_due()? {
            return Ok(None);
        }
        if let Some(answer) = read(&namespace.tag_counts) {
            return Ok(Some(answer));
        }
        self.begin_counting(&namespace)?;
        Ok(read(&namespace.tag_counts))
    }

    /// Counts the tags of a namespace for the first time.
    fn begin_counting(&self, namespace: &Arc<Namespace>) -> Result<()> {
        let counts = &namespace.tag_counts;
        let _one_at_a_time = counts.counting.lock();
        if counts.is_whole() {
            return Ok(());
        }
        let view = {
            // Nobody is between looking a key of it up and publication: who comes later tells what it changes.
            let _gate = namespace.gate.write();
            counts.begin();
            self.take_view()
        };
        match count_tags(&view, namespace.id, "", None) {
            Ok(base) => counts.add_base(base),
            Err(error) => {
                counts.give_up();
                return Err(error);
            }
        }
        Ok(())
    }
}

/// The tag, where a filter means the records that have it and says nothing else.
fn only_tag(filter: &Filter) -> Option<&str> {
    match filter {
        Filter::Tag(tag) => Some(tag),
        Filter::And(terms) | Filter::Or(terms) => match &terms[..] {
            [only] => only_tag(only),
            _ => None,
        },
        _ => None,
    }
}

/// How many records that a view shows have each tag that begins with `prefix`; those that had expired at `now_ms` do not count.
fn count_tags(
    view: &View,
    namespace: NamespaceId,
    prefix: &str,
    now_ms: Option<u64>,
) -> Result<Vec<(String, u64)>> {
    let filter = Filter::all();
    let range = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
    let asked = Asked { namespace, filter: &filter, range: &range, watermark: view.watermark };
    let mut counts = BTreeMap::<String, u64>::new();
    for slot in view.slots.iter() {
        for selected in asked.of_slot(&slot.rows(), slot, Direction::Forward)? {
            let part = selected.part();
            if !part.has_tags() {
                continue;
            }
            let mut live = RoaringBitmap::new();
            // They come in rising order, so each has its place at the end.
            selected.for_each(now_ms, |rank| _ = live.try_push(rank.0))?;
            let mut tags = Vec::new();
            part.tags(namespace, prefix, &mut |tag, _| tags.push(tag.to_owned()))?;
            for tag in tags {
                let Some(postings) = part.postings(namespace, &tag)? else { continue };
                let count = postings.to_bitmap()?.intersection_len(&live);
                if count > 0 {
                    *counts.entry(tag).or_default() += count;
                }
            }
        }
    }
    Ok(counts.into_iter().collect())
}

impl Shared {
    /// Whether something may have expired that is still counted.
    fn may_be_due(&self) -> Result<bool> {
        let now_ms = self.now_ms();
        for slot in self.keyspace.slots().iter() {
            for part in slot.rows().parts()? {
                if part.next_expiry(0)?.is_some_and(|at| at <= now_ms) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }
}
