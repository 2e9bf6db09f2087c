//! Writes: a batch becomes one call of the script, and its answer becomes outcomes.
//!
//! What can be refused without the server is refused before anything is sent.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use nadb_core::limits::check_value_len_max;
use nadb_core::{
    Action, Condition, Entry, Error, ErrorKind, Operation, Outcome, Result, TagsUpdate, WriteBatch,
    WriteOptions,
};

use crate::call::{Answer, Call};
use crate::core::{Core, Said};
use crate::counters::add;
use crate::failure::unexpected;
use crate::layout::{Space, bucket_number};
use crate::reply::{Reply, reply};
use crate::request::{Draft, Known, Packed, Packing, expiry_code, merge_code};
use crate::session::Session;

/// Tries without a wait between them.
const AT_ONCE_MAX: u32 = 3;

impl Core {
    /// Does a batch that [`Capabilities::check_write`](nadb_core::Capabilities::check_write) has not refused.
    pub(crate) fn write(&self, batch: &WriteBatch<'_>) -> Result<Vec<Outcome>> {
        self.link.check_open()?;
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        self.check_known(batch)?;
        self.check_bucket(batch)?;
        let mut session = self.sessions.take()?;
        let outcomes = self.write_in(batch, &mut session);
        self.sessions.give_back(session);
        if outcomes.is_ok() {
            add(&self.counters.batches, 1);
            add(&self.counters.operations, batch.len());
        }
        outcomes
    }

    fn write_in(&self, batch: &WriteBatch<'_>, session: &mut Session) -> Result<Vec<Outcome>> {
        let mut draft = Draft { batch, spaces: Vec::new(), known: HashMap::new() };
        let mut budget = self.link.budget();
        let mut is_fenced = false;
        for tries in 1.. {
            draft.spaces = self.spaces_of(batch)?;
            // Conditions of what cannot be there are decided here.
            let absent = draft.absent_outcomes()?;
            if absent.iter().all(Option::is_some) {
                return Ok(absent.into_iter().flatten().collect());
            }
            session.number += 1;
            let packed = draft.packed(&self.packing(session), &absent)?;
            let mut call = self.write_call(&packed, session);
            if is_fenced {
                call.fence();
            }
            let (answer, waited) = self.link.write(&mut call, &mut budget)?;
            is_fenced |= call.is_fenced();
            let bytes = answer.bytes().flatten().ok_or_else(|| unexpected("a write"))?;
            match reply(batch, &absent, self.capabilities.value_bytes_max, &bytes)? {
                Reply::Done(outcomes) => return self.check_replicas(waited).map(|()| outcomes),
                Reply::NotLive(at) => {
                    if let Some((operation, number)) = packed.buckets.get(at).copied()
                        && let (Some(operation), Some(Some(space))) =
                            (batch.get(operation), draft.spaces.get(operation))
                    {
                        self.look_again(&operation.namespace, space, number)?;
                    }
                }
                Reply::NeedsValue(at) => self.read_for_merge(&mut draft, at)?,
            }
            budget.because("others change what is written again and again");
            if tries > AT_ONCE_MAX && !budget.wait() {
                break;
            }
        }
        // What was lost on its way may still come.
        Err(budget.over(is_fenced))
    }

    fn packing(&self, session: &Session) -> Packing {
        Packing {
            number: session.number,
            compression: self.options.compression,
            value_max: self.capabilities.value_bytes_max,
        }
    }

    fn write_call(&self, packed: &Packed<'_>, session: &Session) -> Call {
        let call = packed.call(|bucket| match self.link.is_cluster() {
            true => bucket.reply(session.id),
            false => self.store.reply(session.id).into_bytes(),
        });
        match self.options.wait_replicas {
            0 => call,
            replicas => call.waiting(replicas, self.options.wait_timeout),
        }
    }

    /// Writes records as they were elsewhere, in one batch per bucket of a cluster, else in one.
    pub(crate) fn import(&self, name: &str, entries: &[Entry]) -> Result<()> {
        let batch: Vec<Operation<'_>> = entries.iter().map(|entry| Operation::import(name, entry)).collect();
        self.capabilities.check_write(&batch, &WriteOptions::default())?;
        if !self.link.is_cluster() || batch.is_empty() {
            return self.write(&batch).map(drop);
        }
        let space = self.reserve(name)?;
        let mut by_bucket: BTreeMap<usize, Vec<Operation<'_>>> = BTreeMap::new();
        for operation in batch {
            by_bucket.entry(space.bucket_number(&operation.key)).or_default().push(operation);
        }
        by_bucket.values().try_for_each(|batch| self.write(batch).map(drop))
    }

    /// Whether as many replicas have the write as was asked for.
    fn check_replicas(&self, waited: Option<redis::Value>) -> Result<()> {
        let (Some(waited), wanted) = (waited, u64::from(self.options.wait_replicas)) else { return Ok(()) };
        let have = waited.number().unwrap_or(0);
        if have >= wanted {
            return Ok(());
        }
        let words = format!(
            "the write was done, but {have} of {wanted} replicas had it after {} ms; it is lost if the master is",
            self.options.wait_timeout.as_millis()
        );
        Err(Error::new(ErrorKind::OutcomeUnknown, words))
    }

    /// Refuses what came with a later version.
    fn check_known(&self, batch: &WriteBatch<'_>) -> Result<()> {
        for (operation, number) in batch.iter().zip(1..) {
            let is_known = matches!(
                operation.condition,
                Condition::Always | Condition::IfAbsent | Condition::IfPresent | Condition::IfVersion(_)
            ) && match &operation.action {
                Action::Put(put) => {
                    expiry_code(put.expiry)?.is_some()
                        && matches!(put.tags, TagsUpdate::Keep | TagsUpdate::Replace(_))
                }
                Action::Delete => true,
                Action::Merge(merge) => merge_code(merge).is_some(),
                Action::Expire(update) => expiry_code(*update)?.is_some(),
                _ => false,
            };
            if !is_known {
                let error = self.capabilities.unsupported("this operation");
                return Err(error.in_batch(number, batch.len()));
            }
        }
        Ok(())
    }

    /// On a cluster a batch is of one bucket.
    fn check_bucket(&self, batch: &WriteBatch<'_>) -> Result<()> {
        if !self.link.is_cluster() || batch.len() == 1 {
            return Ok(());
        }
        let refused = || Err(self.capabilities.unsupported("batches across buckets"));
        let Some(first) = batch.first() else { return Ok(()) };
        if batch.iter().any(|operation| operation.namespace != first.namespace) {
            return refused();
        }
        let found = self.find(&first.namespace)?;
        let buckets = found.map_or(self.options.buckets, |space| space.listed.buckets);
        let bucket = |operation: &Operation<'_>| bucket_number(&operation.key, buckets);
        if batch.iter().any(|operation| bucket(operation) != bucket(first)) {
            return refused();
        }
        Ok(())
    }

    /// The namespace of each operation; those that something is written into are reserved.
    fn spaces_of(&self, batch: &WriteBatch<'_>) -> Result<Vec<Option<Arc<Space>>>> {
        let mut by_name: HashMap<&str, Option<Arc<Space>>> = HashMap::new();
        for operation in batch {
            let makes = matches!(operation.action, Action::Put(_) | Action::Merge(_));
            let space = by_name.entry(&operation.namespace).or_default();
            if space.is_none() {
                *space = match makes {
                    true => Some(self.reserve(&operation.namespace)?),
                    false => self.find(&operation.namespace)?,
                };
            }
        }
        let space = |operation: &Operation<'_>| by_name.get(&*operation.namespace).cloned().flatten();
        Ok(batch.iter().map(space).collect())
    }

    /// Reads the value that a merge is made from.
    fn read_for_merge(&self, draft: &mut Draft<'_>, at: usize) -> Result<()> {
        let Some(operation) = draft.batch.get(at) else { return Err(unexpected("a write")) };
        let entry = self.in_space(&operation.namespace, |space| {
            Ok(match self.entries(space, &[&operation.key])? {
                Said::This(mut entries) => Said::This(entries.pop().flatten()),
                Said::NotLive(bucket) => Said::NotLive(bucket),
            })
        })?;
        match entry.flatten() {
            Some(entry) => {
                if let Action::Merge(merge) = &operation.action {
                    let len = (entry.value.len() as u64).saturating_add(merge.operand.len() as u64);
                    check_value_len_max(len, self.capabilities.value_bytes_max)
                        .map_err(|error| error.in_batch(at + 1, draft.batch.len()))?;
                }
                let known = Known { version: entry.metadata.version, value: entry.value.to_vec() };
                draft.known.insert(at, known);
            }
            // It is gone meanwhile: the next try finds nothing to read.
            None => _ = draft.known.remove(&at),
        }
        Ok(())
    }
}
