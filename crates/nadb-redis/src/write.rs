//! Writes: a batch becomes one call of the script, and its answer becomes outcomes.
//!
//! What can be refused without the server is refused before anything is sent. The numbers here are those of `scripts/write.lua`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use nadb_core::limits::{EXPIRY_MS_MAX, check_ttl, check_value_len_max};
use nadb_core::{
    Action, Add, Compression, Condition, Error, ErrorKind, ExpiryUpdate, Merge, MergeKind, MergeOperator,
    Operation, Outcome, Put, Result, TagsUpdate, WriteBatch, compress, parse_counter,
};

use crate::call::{Answer, Call};
use crate::core::{Core, Said};
use crate::counters::add;
use crate::failure::unexpected;
use crate::layout::{Bucket, Space};
use crate::record::{COMPRESSED, pack_rest, pack_tags};
use crate::session::Session;

const PUT: u8 = 1;
const DELETE: u8 = 2;
const ADD: u8 = 3;
const APPEND: u8 = 4;
const MIN: u8 = 5;
const MAX: u8 = 6;
const EXPIRE: u8 = 7;

/// In the flags of an operation.
const KEEPS_TAGS: u8 = 2;
/// In the flags of the whole: nothing but deletes, which are done without memory.
const FREES_ONLY: u8 = 2;
/// Where the flags stand in the head of a write.
const FLAGS_AT: usize = 8;
/// Versions stay below this as long as a double can count them, which is until the year 2255.
const VERSION_MAX: u64 = (1 << 53) - 1;

/// The value of a key as it was read, for a merge that the server cannot do because it is compressed.
struct Known {
    version: u64,
    value: Vec<u8>,
}

/// A batch whose namespaces and buckets are known.
struct Draft<'b> {
    batch: &'b WriteBatch<'b>,
    /// Of each operation its namespace; `None` where there is none, and the operation makes none.
    spaces: Vec<Option<Arc<Space>>>,
    known: HashMap<usize, Known>,
}

/// What the server said of a batch.
enum Reply {
    Done(Vec<Outcome>),
    NotLive(usize),
    NeedsValue(usize),
}

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
        loop {
            draft.spaces = self.spaces_of(batch)?;
            // Conditions of what cannot be there are decided here.
            let absent = draft.absent_outcomes()?;
            if absent.iter().all(Option::is_some) {
                return Ok(absent.into_iter().flatten().collect());
            }
            session.number += 1;
            let (mut call, buckets) = self.call(&draft, session, &absent)?;
            if is_fenced {
                call.fence();
            }
            let (answer, waited) = self.link.write(&mut call, &mut budget)?;
            is_fenced |= call.is_fenced();
            let bytes = answer.bytes().flatten().ok_or_else(|| unexpected("a write"))?;
            match self.reply(&draft, &absent, &bytes)? {
                Reply::Done(outcomes) => return self.check_replicas(waited).map(|()| outcomes),
                Reply::NotLive(at) => {
                    if let Some((operation, number)) = buckets.get(at).copied()
                        && let (Some(operation), Some(Some(space))) =
                            (batch.get(operation), draft.spaces.get(operation))
                    {
                        self.look_again(&operation.namespace, space, number)?;
                    }
                }
                Reply::NeedsValue(at) => self.read_for_merge(&mut draft, at)?,
            }
            budget.because("others change what is written again and again");
            if !budget.wait() {
                return Err(budget.over(false));
            }
        }
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
        let bucket = |operation: &Operation<'_>| crate::layout::bucket_number(&operation.key, buckets);
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

    /// The call of a batch, and of each bucket in it one operation and the bucket's number.
    fn call(
        &self,
        draft: &Draft<'_>,
        session: &Session,
        absent: &[Option<Outcome>],
    ) -> Result<(Call, Vec<(usize, usize)>)> {
        let mut buckets: Vec<(&Bucket, usize, usize)> = Vec::new();
        let mut bucket_at: HashMap<(u64, usize), u32> = HashMap::new();
        let mut records: Vec<Vec<u8>> = Vec::new();
        let mut record_at: HashMap<(u32, &[u8]), u32> = HashMap::new();
        let mut arguments: Vec<Cow<'_, [u8]>> = vec![Cow::default()];
        let compression =
            match draft.batch.iter().any(|operation| matches!(operation.action, Action::Merge(_))) {
                // The server makes the new value, and cannot read a compressed one of the same batch.
                true => Compression::None,
                false => self.options.compression,
            };
        let too_many = || Error::limit("the batch has more operations than a script takes; split it");
        for (at, operation) in draft.batch.iter().enumerate() {
            let Some(Some(space)) = draft.spaces.get(at) else { continue };
            if absent.get(at).is_some_and(Option::is_some) {
                continue;
            }
            let number = space.bucket_number(&operation.key);
            let bucket = match bucket_at.get(&(space.listed.id, number)) {
                Some(bucket) => *bucket,
                None => {
                    let bucket = u32::try_from(buckets.len()).map_err(|_| too_many())?;
                    let of = space.buckets.get(number).ok_or_else(|| unexpected("a namespace"))?;
                    buckets.push((of, at, number));
                    bucket_at.insert((space.listed.id, number), bucket);
                    bucket
                }
            };
            let record = match record_at.get(&(bucket, &*operation.key)) {
                Some(record) => *record,
                None => {
                    let record = u32::try_from(records.len()).map_err(|_| too_many())?;
                    if let Some((of, _, _)) = usize::try_from(bucket).ok().and_then(|at| buckets.get(at)) {
                        records.push(of.record(&operation.key));
                    }
                    record_at.insert((bucket, &operation.key), record);
                    record
                }
            };
            arguments.extend(operation_of(operation, bucket, record, draft.known.get(&at), compression));
        }
        let frees_only = draft.batch.iter().all(|operation| matches!(operation.action, Action::Delete));
        let count = u32::try_from(buckets.len()).map_err(|_| too_many())?;
        let head = [
            &session.number.to_le_bytes()[..],
            &[if frees_only { FREES_ONLY } else { 0 }],
            &count.to_le_bytes(),
            &self.capabilities.value_bytes_max.to_le_bytes(),
        ];
        if let Some(first) = arguments.first_mut() {
            *first = Cow::Owned(head.concat());
        }
        let first = buckets.first().map(|(bucket, _, _)| *bucket).ok_or_else(|| unexpected("a namespace"))?;
        let reply = match self.link.is_cluster() {
            true => first.reply(session.id),
            false => self.store.reply(session.id).into_bytes(),
        };
        let mut keys = vec![reply];
        keys.extend(buckets.iter().flat_map(|(bucket, _, _)| bucket.own()));
        keys.extend(records);
        let mut call = Call::write(first.slot, &keys, &arguments, FLAGS_AT);
        if self.options.wait_replicas > 0 {
            call = call.waiting(self.options.wait_replicas, self.options.wait_timeout);
        }
        Ok((call, buckets.into_iter().map(|(_, at, number)| (at, number)).collect()))
    }

    fn reply(&self, draft: &Draft<'_>, absent: &[Option<Outcome>], bytes: &[u8]) -> Result<Reply> {
        let mut reply = Reader(bytes);
        let wrong = || unexpected("a write");
        let status = reply.number(1).ok_or_else(wrong)?;
        if status == 0 {
            return Ok(Reply::Done(reply.outcomes(absent).ok_or_else(wrong)?));
        }
        if status == 1 || status == 10 {
            let words = match status {
                1 => "a later write of the same session was done before this one",
                _ => "it was done, but what it returned is too long to be kept until it was asked for again",
            };
            return Err(Error::new(ErrorKind::OutcomeUnknown, words));
        }
        let number = reply.number(4).and_then(|number| usize::try_from(number).ok()).ok_or_else(wrong)?;
        if status == 2 {
            return Ok(Reply::NotLive(number));
        }
        // Operations were counted from 1, and only those that were sent.
        let sent = absent.iter().enumerate().filter(|(_, outcome)| outcome.is_none()).map(|(at, _)| at);
        let at = number.checked_sub(1).and_then(|number| sent.clone().nth(number)).ok_or_else(wrong)?;
        if status == 8 {
            return Ok(Reply::NeedsValue(at));
        }
        let operation = draft.batch.get(at).ok_or_else(wrong)?;
        let error = reply.refusal(status, operation, self.capabilities.value_bytes_max).unwrap_or_else(wrong);
        Err(error.in_batch(at + 1, draft.batch.len()))
    }
}

impl Draft<'_> {
    /// The outcomes of operations whose namespace is not there.
    ///
    /// # Errors
    /// `PreconditionFailed` where one of them demands that its key be there.
    fn absent_outcomes(&self) -> Result<Vec<Option<Outcome>>> {
        let mut outcomes = Vec::with_capacity(self.batch.len());
        for ((operation, space), number) in self.batch.iter().zip(&self.spaces).zip(1..) {
            if space.is_some() {
                outcomes.push(None);
                continue;
            }
            if matches!(operation.condition, Condition::IfPresent | Condition::IfVersion(_)) {
                return Err(precondition(operation, None).in_batch(number, self.batch.len()));
            }
            outcomes.push(Some(Outcome::default()));
        }
        Ok(outcomes)
    }
}

fn precondition(operation: &Operation<'_>, current: Option<u64>) -> Error {
    let now = current.map_or("it is absent".to_owned(), |version| format!("it has version {version}"));
    let words = format!("the write wanted {:?} of its key, but {now}", operation.condition);
    Error::new(ErrorKind::PreconditionFailed { current }, words)
}

/// Code and milliseconds of an expiry; `None` for one that came with a later version.
fn expiry_code(update: ExpiryUpdate) -> Result<Option<(u8, u64)>> {
    Ok(match update {
        ExpiryUpdate::Never => Some((0, 0)),
        ExpiryUpdate::Keep => Some((1, 0)),
        ExpiryUpdate::After(ttl) => Some((2, check_ttl(ttl, 0)?)),
        ExpiryUpdate::AtMs(at) => Some((3, at)),
        _ => None,
    })
}

fn merge_code(merge: &Merge<'_>) -> Option<u8> {
    match merge.operator.kind() {
        MergeKind::Add => Some(ADD),
        MergeKind::Append => Some(APPEND),
        MergeKind::Min => Some(MIN),
        MergeKind::Max => Some(MAX),
        _ => None,
    }
}

/// The five arguments of an operation.
fn operation_of<'b>(
    operation: &'b Operation<'_>,
    bucket: u32,
    record: u32,
    known: Option<&'b Known>,
    compression: Compression,
) -> [Cow<'b, [u8]>; 5] {
    let mut parts: [Cow<'b, [u8]>; 4] =
        [Cow::Borrowed(&operation.key), Cow::default(), Cow::default(), Cow::default()];
    let [_, value, tags, rest] = &mut parts;
    let (mut flags, mut expiry, mut size) = (0, ExpiryUpdate::Never, 0);
    let action = match &operation.action {
        Action::Put(put) => {
            size = put.value.len();
            (flags, expiry) = (put_of(put, compression, value, tags, rest), put.expiry);
            PUT
        }
        Action::Merge(merge) => {
            *value = Cow::Borrowed(&merge.operand);
            if let Some(known) = known {
                *tags = Cow::Owned(known.version.to_le_bytes().to_vec());
                *rest = Cow::Borrowed(&known.value);
            }
            merge_code(merge).unwrap_or(0)
        }
        Action::Expire(update) => {
            expiry = *update;
            EXPIRE
        }
        _ => DELETE,
    };
    let (condition, wanted) = match operation.condition {
        Condition::IfAbsent => (1, 0),
        Condition::IfPresent => (2, 0),
        Condition::IfVersion(version) => (3, if version > VERSION_MAX { 0 } else { version }),
        _ => (0, 0),
    };
    let (expiry, expiry_ms) = expiry_code(expiry).ok().flatten().unwrap_or((0, 0));
    let mut head = vec![action, flags];
    head.extend_from_slice(&bucket.to_le_bytes());
    head.extend_from_slice(&record.to_le_bytes());
    head.push(condition);
    head.extend_from_slice(&wanted.to_le_bytes());
    head.push(expiry);
    head.extend_from_slice(&expiry_ms.to_le_bytes());
    head.extend_from_slice(&u32::try_from(size).unwrap_or(u32::MAX).to_le_bytes());
    let [key, value, tags, rest] = parts;
    [Cow::Owned(head), key, value, tags, rest]
}

/// Fills in value, tags and the rest of a put; gives its flags.
fn put_of<'b>(
    put: &'b Put<'_>,
    compression: Compression,
    value: &mut Cow<'b, [u8]>,
    tags: &mut Cow<'b, [u8]>,
    rest: &mut Cow<'b, [u8]>,
) -> u8 {
    let mut flags = 0;
    *value = match compress(compression, &put.value) {
        Some(compressed) => {
            flags |= COMPRESSED;
            Cow::Owned(compressed)
        }
        None => Cow::Borrowed(&put.value),
    };
    match &put.tags {
        TagsUpdate::Replace(new) => *tags = Cow::Owned(pack_tags(new)),
        _ => flags |= KEEPS_TAGS,
    }
    *rest = Cow::Owned(pack_rest(put.content_type.as_deref(), &put.attrs));
    flags
}

/// What is left to read of a reply.
struct Reader<'r>(&'r [u8]);

impl<'r> Reader<'r> {
    fn take(&mut self, len: usize) -> Option<&'r [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(taken.iter().rev().fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }

    /// The outcomes of all operations, those that were not sent among them.
    fn outcomes(&mut self, absent: &[Option<Outcome>]) -> Option<Vec<Outcome>> {
        let mut all = Vec::with_capacity(absent.len());
        for known in absent {
            let outcome = match known {
                Some(outcome) => outcome.clone(),
                None => self.outcome()?,
            };
            all.push(outcome);
        }
        self.0.is_empty().then_some(all)
    }

    fn outcome(&mut self) -> Option<Outcome> {
        let (bits, version) = (self.number(1)?, self.number(8)?);
        let has = |bit: u64| bits & bit != 0;
        let merged = match has(8) {
            true => {
                let len = usize::try_from(self.number(4)?).ok()?;
                Some(self.take(len)?.to_vec())
            }
            false => None,
        };
        Some(Outcome::new(has(4).then_some(version), has(1), has(2), merged))
    }

    /// Why an operation was refused.
    fn refusal(&mut self, status: u64, operation: &Operation<'_>, value_max: u64) -> Option<Error> {
        let operand = match &operation.action {
            Action::Merge(merge) => &*merge.operand,
            _ => &[],
        };
        match status {
            3 => {
                let (is_there, version) = (self.number(1)? != 0, self.number(8)?);
                Some(precondition(operation, is_there.then_some(version)))
            }
            4 => parse_counter(&operation.key, self.0).err(),
            5 => Add.merge(&operation.key, Some(self.0), operand).err(),
            6 => check_value_len_max(self.number(8)?, value_max).err(),
            7 => {
                let (Action::Put(Put { expiry: ExpiryUpdate::After(ttl), .. })
                | Action::Expire(ExpiryUpdate::After(ttl))) = &operation.action
                else {
                    return None;
                };
                check_ttl(*ttl, EXPIRY_MS_MAX).err()
            }
            9 => {
                let words = "the record that is there has a format that this build does not know";
                Some(Error::new(ErrorKind::Version, words))
            }
            _ => None,
        }
    }
}
