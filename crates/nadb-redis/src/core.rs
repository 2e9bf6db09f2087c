//! What all parts of an open store share, and the list of namespaces.
//!
//! A namespace is a number that stands behind its name in the list. Clients remember the number, and every read and write looks at the
//! bucket's state, `m`, too: where that is not live any more, the number is forgotten and asked for again. A namespace is there from its
//! first write on; until then it is reserved and nobody sees it.

use std::collections::HashMap;
use std::sync::Arc;

use nadb_core::limits::check_namespace;
use nadb_core::{Capabilities, Entropy, Error, NamespaceInfo, OsEntropy, Result, guard};
use parking_lot::{Mutex, RwLock};
use redis::Value;

use crate::call::{Answer, Call};
use crate::counters::Counters;
use crate::failure::unexpected;
use crate::layout::{Listed, Space, Store, slot_of};
use crate::link::Link;
use crate::options::RedisOptions;
use crate::scripts::Script;
use crate::session::Sessions;

/// Members of a sorted set, or calls of one pipeline, at most.
pub(crate) const PAGE: usize = 500;

/// Namespaces that are remembered; then the list is asked anew.
const KNOWN_MAX: usize = 4096;

/// An open store.
pub(crate) struct Core {
    pub(crate) link: Link,
    pub(crate) store: Store,
    pub(crate) options: RedisOptions,
    pub(crate) capabilities: Capabilities,
    pub(crate) sessions: Sessions,
    pub(crate) counters: Counters,
    spaces: RwLock<HashMap<String, Arc<Space>>>,
    /// One thread at a time makes or drops namespaces; others of this store would only repeat it.
    making: Mutex<()>,
}

/// What a bucket said when it was asked something: an answer, or that it is not live.
pub(crate) enum Said<T> {
    This(T),
    NotLive(usize),
}

impl Core {
    pub(crate) fn new(options: RedisOptions, capabilities: Capabilities) -> Core {
        Core {
            link: Link::new(&options),
            store: Store::new(&options.prefix),
            options,
            capabilities,
            sessions: Sessions::default(),
            counters: Counters::default(),
            spaces: RwLock::default(),
            making: Mutex::default(),
        }
    }

    fn on_list(&self, arguments: &[&[u8]]) -> Call {
        Call::command(slot_of(self.store.list().as_bytes()), arguments)
    }

    /// What the list says of a name.
    fn listed(&self, name: &str) -> Result<Option<Listed>> {
        let list = self.store.list();
        let answer = self.link.ask(self.on_list(&[b"HGET", list.as_bytes(), name.as_bytes()]))?;
        let text = answer.bytes().ok_or_else(|| unexpected("for a namespace"))?;
        text.map(|text| Listed::parse(name, &text)).transpose()
    }

    /// The namespace of a name, if it is in the list and not being dropped.
    pub(crate) fn find(&self, name: &str) -> Result<Option<Arc<Space>>> {
        if let Some(space) = self.spaces.read().get(name) {
            return Ok(Some(Arc::clone(space)));
        }
        let listed = self.listed(name)?.filter(|listed| !listed.is_dropping);
        Ok(listed.map(|listed| self.remember(name, listed)))
    }

    fn remember(&self, name: &str, listed: Listed) -> Arc<Space> {
        let space = Arc::new(Space::new(&self.store, listed));
        let mut spaces = self.spaces.write();
        if spaces.len() >= KNOWN_MAX {
            spaces.clear();
        }
        spaces.insert(name.to_owned(), Arc::clone(&space));
        space
    }

    fn forget(&self, name: &str, listed: Listed) {
        let mut spaces = self.spaces.write();
        if spaces.get(name).is_some_and(|space| space.listed.id == listed.id) {
            spaces.remove(name);
        }
    }

    /// The namespaces that this store knows of.
    pub(crate) fn known(&self) -> Vec<Arc<Space>> {
        self.spaces.read().values().cloned().collect()
    }

    /// The namespace of a name, reserved where it is missing.
    pub(crate) fn reserve(&self, name: &str) -> Result<Arc<Space>> {
        if let Some(space) = self.find(name)? {
            return Ok(space);
        }
        let _one_at_a_time = self.making.lock();
        loop {
            match self.listed(name)? {
                Some(listed) if listed.is_dropping => self.finish_drop(name, listed).map(drop)?,
                Some(listed) => return Ok(self.remember(name, listed)),
                None => self.enlist(name)?,
            }
        }
    }

    /// Makes the buckets of a new namespace, then puts it into the list; of two clients that do so one loses and clears up.
    fn enlist(&self, name: &str) -> Result<()> {
        let mut id = [0; 8];
        OsEntropy.fill(&mut id)?;
        let listed = Listed { id: u64::from_le_bytes(id), buckets: self.options.buckets, is_dropping: false };
        let space = Space::new(&self.store, listed);
        let (list, versions) = (self.store.list(), self.store.versions());
        let floor = self.link.ask(self.on_list(&[b"GET", versions.as_bytes()]))?;
        let floor =
            floor.bytes().ok_or_else(|| unexpected("for a version"))?.unwrap_or_else(|| b"0".to_vec());
        let make = |bucket: &crate::layout::Bucket| {
            Call::command(bucket.slot, &[b"HSET", &bucket.state(), b"s", b"live", b"f", &floor])
        };
        self.link.ask_all(space.buckets.iter().map(make).collect())?;
        let text = listed.text();
        let enter = [b"HSETNX", list.as_bytes(), name.as_bytes(), text.as_bytes()];
        let won = self.link.ask(self.on_list(&enter))?.number();
        // A try that was sent twice may have won before: what counts is what stands in the list.
        if won != Some(1) && self.listed(name)? != Some(listed) {
            let clear =
                |bucket: &crate::layout::Bucket| Call::command(bucket.slot, &[b"UNLINK", &bucket.state()]);
            self.link.ask_all(space.buckets.iter().map(clear).collect())?;
        }
        Ok(())
    }

    /// Asks something of a namespace, as often as its buckets change under the question. `None` where there is no such namespace.
    ///
    /// # Errors
    /// Those of `ask`; `Limit` or `InvalidInput` for the name; `Unavailable` where a bucket does not come to rest.
    pub(crate) fn in_space<T>(
        &self,
        name: &str,
        mut ask: impl FnMut(&Arc<Space>) -> Result<Said<T>>,
    ) -> Result<Option<T>> {
        check_namespace(name)?;
        self.link.check_open()?;
        let mut budget = self.link.budget();
        loop {
            let Some(space) = self.find(name)? else { return Ok(None) };
            match ask(&space)? {
                Said::This(answer) => return Ok(Some(answer)),
                Said::NotLive(bucket) => self.look_again(name, &space, bucket)?,
            }
            budget.because(format!("the namespace {name:?} is being made or dropped again and again"));
            if !budget.wait() {
                return Err(budget.over(false));
            }
        }
    }

    /// A bucket of what is thought to be a namespace is not live: it was dropped, or a failover has lost the state of the bucket.
    pub(crate) fn look_again(&self, name: &str, space: &Space, bucket: usize) -> Result<()> {
        self.forget(name, space.listed);
        if self.listed(name)? != Some(space.listed) {
            return Ok(());
        }
        let Some(bucket) = space.buckets.get(bucket) else { return Ok(()) };
        let step = |step: &[u8]| {
            let call = Call::script(bucket.slot, Script::Mend, &[bucket.state()], &[step]);
            Ok::<_, Error>(self.link.ask(call)?.number() == Some(1))
        };
        // It is given back only if the namespace is still in the list after the bucket could be seen by whoever drops it.
        if step(b"begin")? && self.listed(name)? == Some(space.listed) {
            step(b"end")?;
        }
        Ok(())
    }

    /// Drops a namespace; false where there was none.
    pub(crate) fn drop_namespace(&self, name: &str) -> Result<bool> {
        check_namespace(name)?;
        self.link.check_open()?;
        let _one_at_a_time = self.making.lock();
        let Some(mut listed) = self.listed(name)? else { return Ok(false) };
        let was_there = !listed.is_dropping;
        if was_there {
            let dropping = Listed { is_dropping: true, ..listed };
            if !self.relist(name, listed, &dropping.text(), 0)? && self.listed(name)? != Some(dropping) {
                return Ok(false);
            }
            listed = dropping;
        }
        Ok(self.finish_drop(name, listed)? && was_there)
    }

    fn relist(&self, name: &str, from: Listed, to: &str, version: u64) -> Result<bool> {
        let keys = [self.store.list(), self.store.versions()];
        let arguments = [name.to_owned(), from.text(), to.to_owned(), version.to_string()];
        let call = Call::script(slot_of(keys[0].as_bytes()), Script::List, &keys, &arguments);
        Ok(self.link.ask(call)?.number() == Some(1))
    }

    /// Does what is left to do of a drop, whoever began it; says whether anything had ever been written.
    ///
    /// INVARIANT: no bucket goes before all are closed and the highest version of any is kept, so that none is given again.
    fn finish_drop(&self, name: &str, listed: Listed) -> Result<bool> {
        self.forget(name, listed);
        let space = Space::new(&self.store, listed);
        let close = |bucket: &crate::layout::Bucket| {
            Call::script(bucket.slot, Script::Close, &[bucket.state()], &[] as &[&[u8]])
        };
        let answers = self.link.ask_all(space.buckets.iter().map(close).collect())?;
        let last = answers.into_iter().filter_map(Answer::number).max();
        let floor = if guard::on("redis.dropped_versions_are_kept") { last.unwrap_or(0) } else { 0 };
        self.relist(name, listed, &listed.text(), floor)?;
        self.clear(&space)?;
        self.relist(name, listed, "", 0)?;
        Ok(last.is_some())
    }

    /// Lets go of all buckets of a closed namespace, page by page.
    fn clear(&self, space: &Space) -> Result<()> {
        let mut left: Vec<&crate::layout::Bucket> = space.buckets.iter().collect();
        let last = (PAGE - 1).to_string();
        while !left.is_empty() {
            let page = |bucket: &&crate::layout::Bucket| {
                Call::command(bucket.slot, &[b"ZRANGE", &bucket.keys(), b"0", last.as_bytes()])
            };
            let pages = self.link.ask_all(left.iter().map(page).collect())?;
            let mut calls = Vec::with_capacity(left.len());
            let mut again = Vec::new();
            for (bucket, page) in left.into_iter().zip(pages) {
                let page = bytes_of(page).ok_or_else(|| unexpected("for keys"))?;
                let records = page.iter().map(|key| bucket.record(key));
                let keys: Vec<Vec<u8>> = bucket.own().into_iter().chain(records).collect();
                calls.push(Call::script(bucket.slot, Script::Clear, &keys, &page));
                if !page.is_empty() {
                    again.push(bucket);
                }
            }
            self.link.ask_all(calls)?;
            left = again;
        }
        Ok(())
    }

    /// All that stands in the list.
    pub(crate) fn list(&self) -> Result<Vec<(String, Listed)>> {
        self.link.check_open()?;
        let (list, count) = (self.store.list(), PAGE.to_string());
        let mut found = HashMap::new();
        let mut cursor = b"0".to_vec();
        loop {
            let scan = [b"HSCAN", list.as_bytes(), &cursor, b"COUNT", count.as_bytes()];
            let wrong = || unexpected("for the list of namespaces");
            let mut parts = self.link.ask(self.on_list(&scan))?.list().ok_or_else(wrong)?.into_iter();
            cursor = parts.next().and_then(Answer::bytes).flatten().ok_or_else(wrong)?;
            let mut pairs = parts.next().and_then(bytes_of).ok_or_else(wrong)?.into_iter();
            while let (Some(name), Some(text)) = (pairs.next(), pairs.next()) {
                let name = String::from_utf8(name).map_err(|_| wrong())?;
                let listed = Listed::parse(&name, &text)?;
                found.insert(name, listed);
            }
            if cursor == b"0" {
                return Ok(found.into_iter().collect());
            }
        }
    }

    /// The namespaces that were ever written to, with the numbers of their keys.
    pub(crate) fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        let live: Vec<_> = self.list()?.into_iter().filter(|(_, listed)| !listed.is_dropping).collect();
        let mut found = Vec::new();
        let most = live.iter().map(|(_, listed)| listed.buckets).max().unwrap_or(1);
        let part = (PAGE / usize::try_from(most).unwrap_or(PAGE)).max(1);
        for part in live.chunks(part) {
            let spaces: Vec<Space> =
                part.iter().map(|(_, listed)| Space::new(&self.store, *listed)).collect();
            let calls = spaces.iter().flat_map(|space| &space.buckets).flat_map(|bucket| {
                let version = Call::command(bucket.slot, &[b"HGET", &bucket.state(), b"v"]);
                [version, Call::command(bucket.slot, &[b"ZCARD", &bucket.keys()])]
            });
            let mut answers = self.link.ask_all(calls.collect())?.into_iter();
            for ((name, _), space) in part.iter().zip(&spaces) {
                let (mut is_written, mut keys) = (false, 0);
                for _ in &space.buckets {
                    let (version, count) = (answers.next(), answers.next());
                    is_written |= version.is_some_and(|version| version != Value::Nil);
                    keys += count.and_then(Answer::number).ok_or_else(|| unexpected("for a count"))?;
                }
                if is_written {
                    found.push(NamespaceInfo::new(name, keys));
                }
            }
        }
        Ok(found)
    }
}

/// A list of texts.
pub(crate) fn bytes_of(answer: Value) -> Option<Vec<Vec<u8>>> {
    answer.list()?.into_iter().map(|part| part.bytes().flatten()).collect()
}
