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
            if let Some(count) = self.kept(namespace, |counts, now_ms| counts.count(tag, now_ms))? {
                return Ok(count);
            }
        }
        self.count(&self.take_view(), namespace, filter)
    }

    /// The tags that begin with `prefix`, with how many records have each now.
    pub(crate) fn tags_now(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        match self.kept(namespace, |counts, now_ms| counts.tags(prefix, now_ms))? {
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
    fn kept<T>(&self, namespace: &str, read: impl Fn(&TagCounts, u64) -> Option<T>) -> Result<Option<T>> {
        check_namespace(namespace)?;
        self.check_open_to_read()?;
        let Some(namespace) = self.keyspace.namespaces.get(namespace) else { return Ok(None) };
        let read_now = || {
            let now_ms = self.now_ms();
            if self.may_be_due(now_ms) { None } else { read(&namespace.tag_counts, now_ms) }
        };
        if !namespace.tag_counts.is_on() {
            self.begin_counting(&namespace)?;
        }
        Ok(read_now())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use nadb_core::{Action, Clock, ExpiryUpdate, ManualClock, Operation, Put, Tags, TagsUpdate};
    use nadb_vfs::MemFs;

    use super::*;
    use crate::{Engine, Options};

    const NOW_MS: u64 = 1_700_000_000_000;

    fn engine() -> (Engine, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let options =
            Options { background: false, clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Options::default() };
        (Engine::open(Arc::new(MemFs::default()), Path::new("store"), options).unwrap(), clock)
    }

    fn put(engine: &Engine, key: &str, tag: &str, expires_ms: Option<u64>) {
        let mut put = Put::new(b"v".as_slice());
        put.tags = TagsUpdate::Replace(Tags::new([tag]).unwrap());
        put.expiry = expires_ms.map_or(ExpiryUpdate::Never, ExpiryUpdate::AtMs);
        engine.write(&[Operation::new("n", key.as_bytes(), Action::Put(put))], None).unwrap();
    }

    fn delete(engine: &Engine, key: &str) {
        engine.write(&[Operation::new("n", key.as_bytes(), Action::Delete)], None).unwrap();
    }

    /// What is kept, if it can answer; and what a view says, which must be the same.
    fn kept(engine: &Engine, tag: &str) -> Option<u64> {
        let counted = engine.snapshot().unwrap().count("n", &Filter::tag(tag)).unwrap();
        assert_eq!(engine.count("n", &Filter::tag(tag)).unwrap(), counted);
        let kept = engine.shared().kept("n", |counts, now_ms| counts.count(tag, now_ms)).unwrap();
        assert!(kept.is_none_or(|kept| kept == counted), "{kept:?} kept, {counted} there");
        kept
    }

    #[test]
    fn counts_are_kept_from_the_first_question_on() {
        let (engine, _) = engine();
        put(&engine, "a", "x", None);
        put(&engine, "b", "x", None);
        assert_eq!(kept(&engine, "x"), Some(2));
        put(&engine, "b", "y", None);
        put(&engine, "c", "y", None);
        delete(&engine, "a");
        assert_eq!((kept(&engine, "x"), kept(&engine, "y")), (Some(0), Some(2)));
        assert_eq!(engine.tags("n", "").unwrap(), [("y".to_owned(), 2)]);
    }

    #[test]
    fn what_expires_is_not_counted_before_nor_after_it_is_reaped() {
        let (engine, clock) = engine();
        put(&engine, "early", "x", Some(NOW_MS + 10));
        put(&engine, "late", "x", Some(NOW_MS + 20));
        put(&engine, "stays", "x", None);
        clock.advance_ms(10);
        assert_eq!(kept(&engine, "x"), None, "one is due");
        engine.maintain().unwrap();
        assert_eq!(kept(&engine, "x"), Some(2));
        clock.advance_ms(10);
        assert_eq!(kept(&engine, "x"), None, "another one is due");
        engine.purge_expired().unwrap();
        assert_eq!(kept(&engine, "x"), Some(1));
    }

    #[test]
    fn a_record_that_had_expired_when_counting_began_is_not_missed_when_it_goes() {
        let (engine, clock) = engine();
        put(&engine, "gone", "x", Some(NOW_MS + 10));
        put(&engine, "stays", "x", None);
        clock.advance_ms(10);
        let namespace = engine.shared().keyspace.namespaces.get("n").unwrap();
        engine.shared().begin_counting(&namespace).unwrap();
        engine.maintain().unwrap();
        assert_eq!(kept(&engine, "x"), Some(1));
    }

    #[test]
    fn a_clock_that_was_set_back_leaves_no_wrong_count_behind() {
        let (engine, clock) = engine();
        put(&engine, "a", "x", None);
        clock.set_ms(NOW_MS + 1000);
        assert_eq!(kept(&engine, "x"), Some(1));
        clock.set_ms(NOW_MS);
        put(&engine, "b", "x", Some(NOW_MS + 500));
        put(&engine, "c", "x", Some(NOW_MS + 500));
        assert_eq!(kept(&engine, "x"), None, "what had expired may show again");
        delete(&engine, "b");
        clock.set_ms(NOW_MS + 1000);
        engine.maintain().unwrap();
        assert_eq!(kept(&engine, "x"), Some(1));
    }
}
