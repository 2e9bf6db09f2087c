//! What has expired is let go of: by whoever counts, by a purge, and in the background. That is bookkeeping alone: a record that has
//! expired is absent from every answer already.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use nadb_core::{PurgeReport, Result};
use parking_lot::{Condvar, Mutex};

use crate::call::{Answer, Call};
use crate::core::{Core, PAGE, Said};
use crate::failure::unexpected;
use crate::layout::{Bucket, Space, slot_of};
use crate::scripts::Script;

/// Tags of a page.
const TAGS: &str = "200";

/// The number of a bucket, and the bound at which its tags go on.
type Left = (usize, Vec<u8>);

/// What to count behind a sweep.
#[derive(Clone, Copy)]
enum Counted<'t> {
    Nothing,
    Keys,
    Tag(&'t str),
}

fn sweep_call(bucket: &Bucket, counted: Counted<'_>) -> Call {
    let (what, tag) = match counted {
        Counted::Nothing => ("", ""),
        Counted::Keys => ("k", ""),
        Counted::Tag(tag) => ("t", tag),
    };
    Call::script(bucket.slot, Script::Sweep, &bucket.own(), &[&PAGE.to_string(), what, tag])
}

impl Core {
    /// Sweeps buckets until nothing is due; gives how many records were let go of, and the count.
    fn sweep(&self, buckets: &[Bucket], counted: Counted<'_>) -> Result<(u64, u64)> {
        let (mut gone, mut count) = (0, 0);
        let mut left: Vec<&Bucket> = buckets.iter().collect();
        while !left.is_empty() {
            let calls = left.iter().map(|bucket| sweep_call(bucket, counted));
            let answers = self.link.ask_all(calls.collect())?;
            let mut again = Vec::new();
            for (bucket, answer) in left.into_iter().zip(answers) {
                let numbers =
                    answer.list().map(|parts| parts.into_iter().map(Answer::number).collect::<Vec<_>>());
                let [Some(swept), Some(more), Some(counted)] = numbers.as_deref().unwrap_or_default() else {
                    return Err(unexpected("for a sweep"));
                };
                gone += swept;
                count += counted;
                if *more > 0 {
                    again.push(bucket);
                }
            }
            left = again;
        }
        Ok((gone, count))
    }

    /// The number of all keys, or of those with a tag; nothing that has expired is in it.
    pub(crate) fn count_swept(&self, name: &str, tag: Option<&str>) -> Result<u64> {
        let counted = tag.map_or(Counted::Keys, Counted::Tag);
        let count = self.in_space(name, |space| Ok(Said::This(self.sweep(&space.buckets, counted)?.1)))?;
        Ok(count.unwrap_or(0))
    }

    /// The tags of a namespace that begin with `prefix`, with their counts.
    pub(crate) fn tags(&self, name: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        let counts = self.in_space(name, |space| {
            let mut counts = BTreeMap::new();
            let begin = [b"[", prefix.as_bytes()].concat();
            let mut left: Vec<Left> =
                (0..space.buckets.len()).map(|number| (number, begin.clone())).collect();
            while !left.is_empty() {
                match self.tags_page(space, prefix, left, &mut counts)? {
                    Said::This(again) => left = again,
                    Said::NotLive(bucket) => return Ok(Said::NotLive(bucket)),
                }
            }
            Ok(Said::This(counts))
        })?;
        let text = |(tag, count): (Vec<u8>, u64)| {
            let tag = String::from_utf8(tag).map_err(|_| unexpected("for tags"))?;
            Ok((tag, count))
        };
        counts.unwrap_or_default().into_iter().map(text).collect()
    }

    /// Adds a page of the tags of each of these buckets, from where it was left; gives those that have more.
    fn tags_page(
        &self,
        space: &Space,
        prefix: &str,
        left: Vec<Left>,
        counts: &mut BTreeMap<Vec<u8>, u64>,
    ) -> Result<Said<Vec<Left>>> {
        let call = |(number, from): &Left| {
            let bucket = space.buckets.get(*number)?;
            let keys = [bucket.state(), bucket.tags(), bucket.expiries()];
            Some(Call::script(bucket.slot, Script::Tags, &keys, &[from, prefix.as_bytes(), TAGS.as_bytes()]))
        };
        let answers = self.link.ask_all(left.iter().filter_map(call).collect())?;
        let wrong = || unexpected("for tags");
        let mut again = Vec::new();
        for ((number, from), answer) in left.into_iter().zip(answers) {
            let mut parts = answer.list().ok_or_else(wrong)?.into_iter();
            match parts.next().and_then(Answer::bytes).flatten().as_deref() {
                Some([0]) => {}
                Some([3]) => {
                    self.sweep(space.buckets.get(number..=number).unwrap_or_default(), Counted::Nothing)?;
                    again.push((number, from));
                    continue;
                }
                Some([2]) => return Ok(Said::NotLive(number)),
                _ => return Err(wrong()),
            }
            let from = parts.next().and_then(Answer::bytes).flatten().ok_or_else(wrong)?;
            let mut pairs = parts.next().and_then(Answer::list).ok_or_else(wrong)?.into_iter();
            while let (Some(tag), Some(count)) = (pairs.next(), pairs.next()) {
                let tag = tag.bytes().flatten().ok_or_else(wrong)?;
                *counts.entry(tag).or_default() += count.number().ok_or_else(wrong)?;
            }
            if !from.is_empty() {
                again.push((number, from));
            }
        }
        Ok(Said::This(again))
    }

    /// Sweeps all namespaces of the store.
    pub(crate) fn purge(&self) -> Result<PurgeReport> {
        let upto_ms = self.now_ms()?;
        let mut records = 0;
        for (_, listed) in self.list()?.into_iter().filter(|(_, listed)| !listed.is_dropping) {
            let space = Space::new(&self.store, listed);
            records += self.sweep(&space.buckets, Counted::Nothing)?.0;
        }
        let mut report = PurgeReport::default();
        (report.records, report.upto_ms) = (records, upto_ms);
        Ok(report)
    }

    /// The time of the server that has the list of namespaces.
    pub(crate) fn now_ms(&self) -> Result<u64> {
        self.link.check_open()?;
        let answer = self.link.ask(Call::command(slot_of(self.store.list().as_bytes()), &[b"TIME"]))?;
        let mut parts = answer.list().unwrap_or_default().into_iter();
        match (parts.next().and_then(Answer::number), parts.next().and_then(Answer::number)) {
            (Some(seconds), Some(micros)) => Ok(seconds * 1000 + micros / 1000),
            _ => Err(unexpected("for its time")),
        }
    }

    /// One small sweep of what this store knows of.
    fn sweep_some(&self) {
        for space in self.known() {
            let calls = space.buckets.iter().map(|bucket| sweep_call(bucket, Counted::Nothing));
            // It is bookkeeping: what does not succeed now is done later, or by whoever needs it.
            _ = self.link.ask_all(calls.collect());
        }
    }
}

/// The thread that sweeps now and then. It ends when this is dropped, or the store was closed.
pub(crate) struct Sweeper {
    signal: Arc<(Mutex<bool>, Condvar)>,
}

impl Sweeper {
    pub(crate) fn start(core: &Arc<Core>, interval: Duration) -> Sweeper {
        let signal = Arc::new((Mutex::new(false), Condvar::new()));
        let (weak, seen) = (Arc::downgrade(core), Arc::clone(&signal));
        let run = move || run(&weak, &seen, interval);
        // A system that has no thread to give has other worries; sweeping is never needed.
        _ = thread::Builder::new().name("nadb-redis-sweep".to_owned()).spawn(run);
        Sweeper { signal }
    }

    pub(crate) fn stop(&self) {
        *self.signal.0.lock() = true;
        self.signal.1.notify_all();
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(core: &Weak<Core>, (is_over, woken): &(Mutex<bool>, Condvar), interval: Duration) {
    loop {
        {
            let mut is_over = is_over.lock();
            if !*is_over {
                woken.wait_for(&mut is_over, interval);
            }
            if *is_over {
                return;
            }
        }
        let Some(core) = core.upgrade() else { return };
        if core.link.check_open().is_err() {
            return;
        }
        core.sweep_some();
    }
}
