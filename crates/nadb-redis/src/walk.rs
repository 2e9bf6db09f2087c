//! Walks: the live keys of a namespace in order, in either direction, from all its buckets, page by page.
//!
//! A page is one call of a script per bucket, which looks at some hundred members at most and answers with keys alone. It promises each
//! key at most once, and every key that nobody touches meanwhile; it leaves the records to others.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;

use nadb_core::{Filter, Result, ScanRequest};

use crate::call::{Answer, Call};
use crate::core::{Core, PAGE, Said, bytes_of};
use crate::failure::unexpected;
use crate::layout::Space;
use crate::scripts::Script;

/// Which keys a page has: those with all of some tags and none of others. It is what a server can decide by its sorted sets alone.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    with: Vec<String>,
    without: Vec<String>,
    /// Whether nothing else is to be tested.
    pub(crate) is_exact: bool,
}

impl Plan {
    /// Every key.
    pub(crate) fn all() -> Plan {
        Plan { is_exact: true, ..Plan::default() }
    }

    /// What a server can decide of a filter. Keys that the filter means are all among those of the plan, within the bounds of
    /// [`Filter::key_prefix`].
    pub(crate) fn of(filter: &Filter) -> Plan {
        let mut plan = Plan::all();
        let prefix = filter.key_prefix();
        plan.take(filter, prefix);
        plan.with.sort_unstable();
        plan.with.dedup();
        plan.without.sort_unstable();
        plan.without.dedup();
        // More than that is tested in the client, against the tags that the record has.
        const TAGS_MAX: usize = 16;
        if plan.with.len() > TAGS_MAX || plan.without.len() > TAGS_MAX {
            plan.with.truncate(TAGS_MAX);
            plan.without.truncate(TAGS_MAX);
            plan.is_exact = false;
        }
        plan
    }

    fn take(&mut self, filter: &Filter, prefix: &[u8]) {
        match filter {
            Filter::Tag(tag) => self.with.push(tag.clone()),
            Filter::Prefix(part) if prefix.starts_with(part) => {}
            Filter::KeyContains(part) if part.is_empty() => {}
            Filter::And(terms) => terms.iter().for_each(|term| self.take(term, prefix)),
            Filter::Or(terms) if terms.len() == 1 => terms.iter().for_each(|term| self.take(term, prefix)),
            Filter::Not(term) => match &**term {
                Filter::Tag(tag) => self.without.push(tag.clone()),
                _ => self.is_exact = false,
            },
            _ => self.is_exact = false,
        }
    }

    /// The one tag that decides all.
    pub(crate) fn only_tag(&self) -> Option<&str> {
        match (&self.with[..], &self.without[..], self.is_exact) {
            ([tag], [], true) => Some(tag),
            _ => None,
        }
    }

    /// Whether every record is meant.
    pub(crate) fn is_all(&self) -> bool {
        self.is_exact && self.with.is_empty() && self.without.is_empty()
    }
}

/// How far one bucket has been walked.
#[derive(Default)]
struct Part {
    low: Vec<u8>,
    high: Vec<u8>,
    keys: VecDeque<Vec<u8>>,
    is_done: bool,
}

/// A walk through a namespace.
pub(crate) struct Walk {
    core: Arc<Core>,
    name: String,
    plan: Plan,
    /// From the last key to the first.
    is_reverse: bool,
    /// Keys of a page.
    step: usize,
    bounds: (Vec<u8>, Vec<u8>),
    space: Option<Arc<Space>>,
    parts: Vec<Part>,
    is_begun: bool,
}

/// The bounds of a request as ZRANGE takes them.
fn bounds_of(request: &ScanRequest) -> (Vec<u8>, Vec<u8>) {
    let bound = |bound: Bound<&[u8]>, none: &[u8]| match bound {
        Bound::Included(key) => [b"[", key].concat(),
        Bound::Excluded(key) => [b"(", key].concat(),
        Bound::Unbounded => none.to_vec(),
    };
    let (from, to) = request.bounds();
    (bound(from, b"-"), bound(to, b"+"))
}

impl Walk {
    pub(crate) fn new(
        core: &Arc<Core>,
        name: &str,
        request: &ScanRequest,
        plan: Plan,
        is_reverse: bool,
    ) -> Walk {
        let step = request.expected().unwrap_or(PAGE).clamp(1, PAGE);
        Walk {
            core: Arc::clone(core),
            name: name.to_owned(),
            plan,
            is_reverse,
            step,
            bounds: bounds_of(request),
            space: None,
            parts: Vec::new(),
            is_begun: false,
        }
    }

    /// The next key.
    ///
    /// # Errors
    /// Those of a read. Asking again tries again.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<u8>>> {
        self.core.link.check_open()?;
        self.fill()?;
        let first = |part: &&mut Part| part.keys.front().cloned();
        let parts = self.parts.iter_mut().filter(|part| !part.keys.is_empty());
        let next = match self.is_reverse {
            true => parts.max_by_key(first),
            false => parts.min_by_key(first),
        };
        Ok(next.and_then(|part| part.keys.pop_front()))
    }

    /// Fetches until every part has a key or is at its end.
    fn fill(&mut self) -> Result<()> {
        while !self.is_begun || self.parts.iter().any(|part| part.keys.is_empty() && !part.is_done) {
            let core = Arc::clone(&self.core);
            let name = self.name.clone();
            let was_begun = core.in_space(&name, |space| self.fetch(space))?;
            if was_begun.is_none() {
                // There is no such namespace, or not any more.
                self.parts.clear();
                self.is_begun = true;
            }
        }
        Ok(())
    }

    fn fetch(&mut self, space: &Arc<Space>) -> Result<Said<()>> {
        let is_same = self.space.as_ref().is_some_and(|known| known.listed.id == space.listed.id);
        if !self.is_begun {
            let part =
                |_: &_| Part { low: self.bounds.0.clone(), high: self.bounds.1.clone(), ..Part::default() };
            self.parts = space.buckets.iter().map(part).collect();
            (self.space, self.is_begun) = (Some(Arc::clone(space)), true);
        } else if !is_same {
            // It was dropped and made again: what was walked has ended.
            self.parts.clear();
            return Ok(Said::This(()));
        }
        let wants = |part: &Part| part.keys.is_empty() && !part.is_done;
        let wanted: Vec<usize> =
            self.parts.iter().enumerate().filter(|(_, part)| wants(part)).map(|(number, _)| number).collect();
        let calls = wanted.iter().filter_map(|number| {
            let (bucket, part) = (space.buckets.get(*number)?, self.parts.get(*number)?);
            Some(page_call(bucket, &self.plan, (&part.low, &part.high), self.is_reverse, Some(self.step)))
        });
        let answers = core_pages(&self.core, calls.collect())?;
        for (number, page) in wanted.into_iter().zip(answers) {
            let Some(page) = page else { return Ok(Said::NotLive(number)) };
            let Some(part) = self.parts.get_mut(number) else { continue };
            part.is_done = page.last.is_empty();
            match self.is_reverse {
                true => part.high = [b"(", &*page.last].concat(),
                false => part.low = [b"(", &*page.last].concat(),
            }
            part.keys = page.keys.into();
        }
        Ok(Said::This(()))
    }
}

/// A page of a bucket.
struct Page {
    last: Vec<u8>,
    keys: Vec<Vec<u8>>,
    count: u64,
}

/// The call of a page; of a count where no keys are wanted.
fn page_call(
    bucket: &crate::layout::Bucket,
    plan: &Plan,
    (low, high): (&[u8], &[u8]),
    is_reverse: bool,
    wanted: Option<usize>,
) -> Call {
    let keys = [bucket.state(), bucket.keys(), bucket.tags(), bucket.expiries()];
    let flag = |is_set: bool| if is_set { b"1".to_vec() } else { b"0".to_vec() };
    let mut arguments = vec![
        low.to_vec(),
        high.to_vec(),
        flag(is_reverse),
        wanted.unwrap_or(0).to_string().into_bytes(),
        flag(wanted.is_none()),
        plan.with.len().to_string().into_bytes(),
    ];
    arguments.extend(plan.with.iter().chain(&plan.without).map(|tag| tag.clone().into_bytes()));
    Call::script(bucket.slot, Script::Page, &keys, &arguments)
}

/// Pages; `None` for one of a bucket that is not live.
fn core_pages(core: &Core, calls: Vec<Call>) -> Result<Vec<Option<Page>>> {
    let page = |answer: redis::Value| {
        let wrong = || unexpected("for a page");
        let mut parts = answer.list().ok_or_else(wrong)?.into_iter();
        let status = parts.next().and_then(Answer::bytes).flatten().ok_or_else(wrong)?;
        if status != [0] {
            return Ok(None);
        }
        let last = parts.next().and_then(Answer::bytes).flatten().ok_or_else(wrong)?;
        match parts.next() {
            Some(redis::Value::Int(count)) => {
                Ok(Some(Page { last, keys: Vec::new(), count: u64::try_from(count).unwrap_or(0) }))
            }
            Some(keys) => Ok(Some(Page { last, keys: bytes_of(keys).ok_or_else(wrong)?, count: 0 })),
            None => Err(wrong()),
        }
    };
    core.link.ask_all(calls)?.into_iter().map(page).collect()
}

impl Core {
    /// How many keys of a range an exact plan has, counted on the servers.
    pub(crate) fn count_keys(&self, name: &str, request: &ScanRequest, plan: &Plan) -> Result<u64> {
        let bounds = bounds_of(request);
        let counted = self.in_space(name, |space| {
            let mut count = 0;
            let mut left: Vec<(usize, Vec<u8>)> =
                (0..space.buckets.len()).map(|number| (number, bounds.0.clone())).collect();
            while !left.is_empty() {
                let calls = left.iter().filter_map(|(number, low)| {
                    Some(page_call(space.buckets.get(*number)?, plan, (low, &bounds.1), false, None))
                });
                let pages = core_pages(self, calls.collect())?;
                let mut again = Vec::new();
                for ((number, _), page) in left.into_iter().zip(pages) {
                    let Some(page) = page else { return Ok(Said::NotLive(number)) };
                    count += page.count;
                    if !page.last.is_empty() {
                        again.push((number, [b"(", &*page.last].concat()));
                    }
                }
                left = again;
            }
            Ok(Said::This(count))
        })?;
        Ok(counted.unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(filter: Filter) -> (Vec<String>, Vec<String>, bool) {
        let plan = Plan::of(&filter);
        (plan.with, plan.without, plan.is_exact)
    }

    fn own(tags: &[&str]) -> Vec<String> {
        tags.iter().map(|tag| (*tag).to_owned()).collect()
    }

    #[test]
    fn a_plan_has_what_a_server_can_decide() {
        let tag = |name: &str| Filter::tag(name);
        assert_eq!(plan(tag("b").and(tag("a")).and(!tag("c"))), (own(&["a", "b"]), own(&["c"]), true));
        assert_eq!(plan(Filter::all()), (own(&[]), own(&[]), true));
        assert_eq!(plan(tag("a").or(tag("b"))), (own(&[]), own(&[]), false));
        assert_eq!(plan(tag("a").and(tag("b").or(tag("c")))), (own(&["a"]), own(&[]), false));
        assert_eq!(plan(Filter::Or(vec![tag("a")])), (own(&["a"]), own(&[]), true));
        assert_eq!(plan(Filter::Not(Box::new(!tag("a")))), (own(&[]), own(&[]), false));
        let prefix = |text: &str| Filter::Prefix(text.into());
        assert_eq!(plan(prefix("ab").and(prefix("a"))), (own(&[]), own(&[]), true));
        assert_eq!(plan(prefix("ab").and(prefix("x"))), (own(&[]), own(&[]), false));
        assert!(Plan::of(&Filter::all()).is_all() && Plan::of(&tag("a")).only_tag() == Some("a"));
        assert!(!Plan::of(&(!tag("a"))).is_all() && Plan::of(&(!tag("a"))).only_tag().is_none());
    }

    #[test]
    fn bounds_are_those_of_sorted_sets() {
        let of = |request: ScanRequest| bounds_of(&request);
        assert_eq!(of(ScanRequest::all()), (b"-".to_vec(), b"+".to_vec()));
        assert_eq!(of(ScanRequest::prefix(b"a")), (b"[a".to_vec(), b"(b".to_vec()));
        assert_eq!(of(ScanRequest::all().after(b"x")), (b"(x".to_vec(), b"+".to_vec()));
    }
}
