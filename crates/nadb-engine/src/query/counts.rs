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
            Some(namespace) => count_tags(view, namespace.id, prefix),
            None => Ok(Vec::new()),
        }
    }

    /// What is read of the counts that are kept; `None` where there are none, or where they have what has expired.
    fn kept<T>(&self, namespace: &str, read: impl Fn(&TagCounts) -> Option<T>) -> Result<Option<T>> {
        check_namespace(namespace)?;
        self.check_open_to_read()?;
        let Some(namespace) = self.keyspace.namespaces.get(namespace) else { return Ok(None) };
        let now_ms = self.now_ms();
        if self.may_be_due(now_ms) {
            return Ok(None);
        }
        let counts = &namespace.tag_counts;
        if !counts.is_whole() {
            self.begin_counting(&namespace)?;
        }
        // A clock that was set back shows again what had expired when counting began.
        Ok(if counts.begun_ms() <= now_ms { read(counts) } else { None })
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
            let view = self.take_view();
            counts.begin(view.now_ms);
            view
        };
        match count_tags(&view, namespace.id, "") {
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

/// How many records that a view shows have each tag that begins with `prefix`.
fn count_tags(view: &View, namespace: NamespaceId, prefix: &str) -> Result<Vec<(String, u64)>> {
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
            selected.for_each(view.now_ms, |rank| _ = live.try_push(rank.0))?;
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
