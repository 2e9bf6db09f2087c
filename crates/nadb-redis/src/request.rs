//! A batch as the script takes it: which buckets and records it touches, and each operation in five arguments. The numbers are those of
//! `scripts/write.lua`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use nadb_core::limits::{EXPIRY_MS_MAX, VALUE_BYTES_MAX, check_ttl};
use nadb_core::{
    Action, Compression, Condition, Error, ErrorKind, ExpiryUpdate, Merge, MergeKind, Operation, Outcome,
    Put, RecordTimes, Result, TagsUpdate, WriteBatch, compress,
};

use crate::call::Call;
use crate::failure::unexpected;
use crate::layout::{Bucket, Space};
use crate::record::{COMPRESSED, pack_rest, pack_tags};

const PUT: u8 = 1;
const DELETE: u8 = 2;
const ADD: u8 = 3;
const APPEND: u8 = 4;
const MIN: u8 = 5;
const MAX: u8 = 6;
const EXPIRE: u8 = 7;

/// In the flags of an operation.
const KEEPS_TAGS: u8 = 2;
const HAS_TIMES: u8 = 4;
/// In the flags of the whole: nothing but deletes, which are done without memory.
const FREES_ONLY: u8 = 2;
/// Where the flags stand in the head of a write.
const FLAGS_AT: usize = 8;
/// Versions stay below this as long as a double can count them, which is until the year 2255.
const VERSION_MAX: u64 = (1 << 53) - 1;

/// The value of a key as it was read, for a merge that the server cannot do because it is compressed.
pub(crate) struct Known {
    pub(crate) version: u64,
    pub(crate) value: Vec<u8>,
}

/// A batch whose namespaces and buckets are known.
pub(crate) struct Draft<'b> {
    pub(crate) batch: &'b WriteBatch<'b>,
    /// Of each operation its namespace; `None` where there is none, and the operation makes none.
    pub(crate) spaces: Vec<Option<Arc<Space>>>,
    /// Values that were read for merges, by operation.
    pub(crate) known: HashMap<usize, Known>,
}

/// Keys and arguments of a call; a server drops the connection at a few more.
const WORDS_MAX: usize = 1_000_000;

/// How a batch is packed.
pub(crate) struct Packing {
    /// The number of the write in its session.
    pub(crate) number: u64,
    pub(crate) compression: Compression,
    pub(crate) value_max: u64,
}

/// A batch that is packed.
pub(crate) struct Packed<'b> {
    /// Of each bucket one operation that is about it, and the bucket's number in its namespace.
    pub(crate) buckets: Vec<(usize, usize)>,
    /// The slot of the first bucket, and the key of the session's last reply in it.
    first: &'b Bucket,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Cow<'b, [u8]>>,
}

impl Packed<'_> {
    /// The call, where `reply` gives the key of the session's last reply from the first bucket.
    pub(crate) fn call(&self, reply: impl FnOnce(&Bucket) -> Vec<u8>) -> Call {
        let keys: Vec<&[u8]> = self.keys.iter().map(Vec::as_slice).collect();
        let reply = reply(self.first);
        let keys: Vec<&[u8]> = std::iter::once(reply.as_slice()).chain(keys).collect();
        Call::write(self.first.slot, &keys, &self.arguments, FLAGS_AT)
    }
}

/// The buckets and records of a batch, each with its place among the keys of the call.
#[derive(Default)]
struct Places<'b> {
    buckets: Vec<(&'b Bucket, usize, usize)>,
    bucket_at: HashMap<(u64, usize), u32>,
    records: Vec<Vec<u8>>,
    record_at: HashMap<(u32, &'b [u8]), u32>,
}

impl<'b> Places<'b> {
    /// Where bucket and record of an operation stand.
    fn of(&mut self, at: usize, space: &'b Space, key: &'b [u8]) -> Result<(u32, u32)> {
        let too_many = |_| Error::limit("the batch has more operations than a script takes; split it");
        let number = space.bucket_number(key);
        let of = space.buckets.get(number).ok_or_else(|| unexpected("for a namespace"))?;
        let bucket = match self.bucket_at.get(&(space.listed.id, number)) {
            Some(bucket) => *bucket,
            None => {
                let bucket = u32::try_from(self.buckets.len()).map_err(too_many)?;
                self.buckets.push((of, at, number));
                self.bucket_at.insert((space.listed.id, number), bucket);
                bucket
            }
        };
        let record = match self.record_at.get(&(bucket, key)) {
            Some(record) => *record,
            None => {
                let record = u32::try_from(self.records.len()).map_err(too_many)?;
                self.records.push(of.record(key));
                self.record_at.insert((bucket, key), record);
                record
            }
        };
        Ok((bucket, record))
    }
}

impl Draft<'_> {
    /// Packs the operations that have no outcome in `absent`.
    ///
    /// # Errors
    /// `Limit` for more operations than can be counted.
    pub(crate) fn packed(&self, packing: &Packing, absent: &[Option<Outcome>]) -> Result<Packed<'_>> {
        let mut places = Places::default();
        let mut arguments: Vec<Cow<'_, [u8]>> = vec![Cow::default()];
        let has_merges = self.batch.iter().any(|operation| matches!(operation.action, Action::Merge(_)));
        // The server makes the new value, and cannot read a compressed one of the same batch.
        let compression = if has_merges { Compression::None } else { packing.compression };
        for (at, ((operation, space), absent)) in self.batch.iter().zip(&self.spaces).zip(absent).enumerate()
        {
            if let (Some(space), None) = (space, absent) {
                let (bucket, record) = places.of(at, space, &operation.key)?;
                let mut words = operation_of(operation, bucket, record, self.known.get(&at), compression);
                if let (Action::Put(Put { times: Some(times), .. }), [head, ..]) =
                    (&operation.action, &mut words)
                {
                    add_times(head.to_mut(), *times);
                }
                arguments.extend(words);
            }
        }
        let frees_only = self.batch.iter().all(|operation| matches!(operation.action, Action::Delete));
        let count = u32::try_from(places.buckets.len()).unwrap_or(u32::MAX);
        let head = [
            &packing.number.to_le_bytes()[..],
            &[if frees_only { FREES_ONLY } else { 0 }],
            &count.to_le_bytes(),
            &packing.value_max.to_le_bytes(),
        ];
        if let Some(first) = arguments.first_mut() {
            *first = Cow::Owned(head.concat());
        }
        let Places { buckets, records, .. } = places;
        let (first, _, _) = *buckets.first().ok_or_else(|| unexpected("for a namespace"))?;
        let mut keys: Vec<Vec<u8>> = buckets.iter().flat_map(|(bucket, _, _)| bucket.own()).collect();
        keys.extend(records);
        if keys.len() + arguments.len() > WORDS_MAX {
            let what = format!(
                "the batch has {} operations, more than one script takes; split it",
                self.batch.len()
            );
            return Err(Error::limit(what));
        }
        let buckets = buckets.into_iter().map(|(_, at, number)| (at, number)).collect();
        Ok(Packed { buckets, first, keys, arguments })
    }

    /// The outcomes of operations whose namespace is not there.
    ///
    /// # Errors
    /// `PreconditionFailed` where one of them demands that its key be there.
    pub(crate) fn absent_outcomes(&self) -> Result<Vec<Option<Outcome>>> {
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

/// The condition of an operation does not hold.
pub(crate) fn precondition(operation: &Operation<'_>, current: Option<u64>) -> Error {
    let now = current.map_or("it is absent".to_owned(), |version| format!("it has version {version}"));
    let words = format!("the write wanted {:?} of its key, but {now}", operation.condition);
    Error::new(ErrorKind::PreconditionFailed { current }, words)
}

/// Code and milliseconds of an expiry; `None` for one that came with a later version.
pub(crate) fn expiry_code(update: ExpiryUpdate) -> Result<Option<(u8, u64)>> {
    Ok(match update {
        ExpiryUpdate::Never => Some((0, 0)),
        ExpiryUpdate::Keep => Some((1, 0)),
        ExpiryUpdate::After(ttl) => Some((2, check_ttl(ttl, 0)?)),
        ExpiryUpdate::AtMs(at) => Some((3, at)),
        _ => None,
    })
}

/// The code of a merge; `None` for an operator of the user.
pub(crate) fn merge_code(merge: &Merge<'_>) -> Option<u8> {
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

/// Adds the times that a put brings along to its numbers.
fn add_times(head: &mut Vec<u8>, times: RecordTimes) {
    if let Some(flags) = head.get_mut(1) {
        *flags |= HAS_TIMES;
    }
    for ms in [times.created_ms, times.updated_ms] {
        // Six bytes are enough until the year 10889.
        let [a, b, c, d, e, f, ..] = ms.min(EXPIRY_MS_MAX).to_le_bytes();
        head.extend_from_slice(&[a, b, c, d, e, f]);
    }
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
    // Longer ones could not be read again: nothing is decompressed beyond that.
    let is_short = put.value.len() <= VALUE_BYTES_MAX;
    *value = match compress(compression, &put.value).filter(|_| is_short) {
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
