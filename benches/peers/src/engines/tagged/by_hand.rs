//! Tags and expiries on a store of ordered rows that has neither, as a careful user would keep them.
//!
//! Three trees: the records by key, each with its expiry and tags before its value; a row for each record and tag, by tag and then key;
//! a row for each record that expires, by expiry and then key. All rows of a record change in one batch or transaction. A record that may be
//! there is read first, and the rows that the new one does not have are removed; one that is known to be new is not looked for.
//! Queries go through the rows of two tags side by side, in key order. Nothing knows beforehand which tag has fewer rows, so the one
//! that is behind goes on a few rows and then seeks; how few, each store says. Counts go through the rows.

use std::cmp::Ordering;

use anyhow::{Context, Result, ensure};

use super::{Counted, Tagged};
use crate::tagged::{Record, TAG_BYTES, TAGS_OF_ONE};

/// Expired records that are purged in one batch or transaction.
pub(super) const PURGE_BATCH: usize = 1000;

/// Bytes before the value: expiry and tags, which are all of one length.
const HEAD_BYTES: usize = 8 + TAGS_OF_ONE * TAG_BYTES;

/// What has become of a record's rows.
pub(super) trait Change {
    /// Shows the bytes of a record as they were before the change.
    fn record(&mut self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool>;
    fn put_record(&mut self, key: &[u8], bytes: &[u8]) -> Result<()>;
    fn delete_record(&mut self, key: &[u8]) -> Result<()>;
    fn put_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()>;
    fn delete_tag(&mut self, tag: &[u8], key: &[u8]) -> Result<()>;
    fn put_expiry(&mut self, row: &[u8]) -> Result<()>;
    fn delete_expiry(&mut self, row: &[u8]) -> Result<()>;
    /// The first [`PURGE_BATCH`] rows of the expiries in a range: with the first bound, without the last.
    fn expiries(&mut self, from: &[u8], to: &[u8]) -> Result<Vec<Vec<u8>>>;
}

/// Which records a query of two tags means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    All,
    Any,
}

/// A store of ordered rows.
pub(super) trait Rows: Counted + Send + Sync {
    /// Does all that `work` asks of the change at once, or nothing.
    fn change(&self, work: &mut dyn FnMut(&mut dyn Change) -> Result<()>) -> Result<()>;
    /// Shows the bytes of a record.
    fn record(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool>;
    /// Shows the keys that two tags mean, in their order, from one moment's state.
    fn pair(&self, op: Op, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()>;
    /// How many rows a tag has.
    fn rows_of(&self, tag: &str) -> Result<u64>;
    fn close(self) -> Result<()>;
}

/// The keys of a tag, one after the other.
pub(super) trait Cursor {
    /// Where it stands; `None` behind the last.
    fn key(&self) -> Option<&[u8]>;
    /// Goes to the next.
    fn step(&mut self) -> Result<()>;
    /// Goes to the first that is not below `to`, which is behind where it stands.
    fn seek(&mut self, to: &[u8]) -> Result<()>;

    /// The same, by so many steps where they are enough.
    fn advance(&mut self, to: &[u8], steps: usize) -> Result<()> {
        for _ in 0..steps {
            self.step()?;
            if self.key().is_none_or(|key| key >= to) {
                return Ok(());
            }
        }
        self.seek(to)
    }
}

/// The keys that two cursors mean. The one behind goes `steps` steps before it seeks.
pub(super) fn combine<C: Cursor>(
    op: Op,
    (mut a, mut b): (C, C),
    steps: usize,
    see: &mut dyn FnMut(&[u8]),
) -> Result<()> {
    match op {
        Op::All => common(&mut a, &mut b, steps, see),
        Op::Any => either(&mut a, &mut b, see),
    }
}

fn common<C: Cursor>(a: &mut C, b: &mut C, steps: usize, see: &mut dyn FnMut(&[u8])) -> Result<()> {
    while let (Some(at), Some(bt)) = (a.key(), b.key()) {
        match at.cmp(bt) {
            Ordering::Less => a.advance(bt, steps)?,
            Ordering::Greater => b.advance(at, steps)?,
            Ordering::Equal => {
                see(at);
                a.step()?;
                b.step()?;
            }
        }
    }
    Ok(())
}

fn either<C: Cursor>(a: &mut C, b: &mut C, see: &mut dyn FnMut(&[u8])) -> Result<()> {
    loop {
        let order = match (a.key(), b.key()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(at), Some(bt)) => at.cmp(bt),
        };
        if let Some(key) = if order.is_le() { a.key() } else { b.key() } {
            see(key);
        }
        if order.is_le() {
            a.step()?;
        }
        if order.is_ge() {
            b.step()?;
        }
    }
}

/// The row of a tag and a key, where both stand in one: no tag has a zero byte.
pub(super) fn tag_row(tag: &[u8], key: &[u8]) -> Vec<u8> {
    [tag, &[0], key].concat()
}

/// Where the rows of a tag begin, and where they have ended.
pub(super) fn tag_bounds(tag: &str) -> [Vec<u8>; 2] {
    [[tag.as_bytes(), &[0]].concat(), [tag.as_bytes(), &[1]].concat()]
}

fn expiry_row(expires_ms: u64, key: &[u8]) -> Vec<u8> {
    [&expires_ms.to_be_bytes(), key].concat()
}

fn encode(record: &Record) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + record.value.len());
    bytes.extend_from_slice(&record.expires_ms.to_be_bytes());
    record.tags.iter().for_each(|tag| bytes.extend_from_slice(tag.as_bytes()));
    bytes.extend_from_slice(record.value);
    bytes
}

/// What stands before the value of a record.
struct Head {
    expires_ms: u64,
    tags: [[u8; TAG_BYTES]; TAGS_OF_ONE],
}

impl Head {
    fn read(change: &mut dyn Change, key: &[u8]) -> Result<Option<Head>> {
        let mut head = None;
        change.record(key, &mut |bytes| head = Head::decode(bytes))?;
        Ok(head)
    }

    fn decode(bytes: &[u8]) -> Option<Head> {
        let (expires_ms, rest) = bytes.split_first_chunk()?;
        let (tags, _) = rest.split_at_checked(TAGS_OF_ONE * TAG_BYTES)?;
        let mut head =
            Head { expires_ms: u64::from_be_bytes(*expires_ms), tags: [[0; TAG_BYTES]; TAGS_OF_ONE] };
        head.tags
            .iter_mut()
            .zip(tags.chunks_exact(TAG_BYTES))
            .for_each(|(to, from)| to.copy_from_slice(from));
        Some(head)
    }
}

fn put(change: &mut dyn Change, record: &Record, old: Option<&Head>) -> Result<()> {
    change.put_record(record.key, &encode(record))?;
    for tag in record.tags.map(str::as_bytes) {
        if !old.is_some_and(|old| old.tags.iter().any(|had| had == tag)) {
            change.put_tag(tag, record.key)?;
        }
    }
    if record.expires_ms != 0 && old.is_none_or(|old| old.expires_ms != record.expires_ms) {
        change.put_expiry(&expiry_row(record.expires_ms, record.key))?;
    }
    Ok(())
}

fn replace(change: &mut dyn Change, record: &Record) -> Result<()> {
    let old = Head::read(change, record.key)?;
    if let Some(old) = &old {
        for tag in old.tags.iter().filter(|tag| !record.tags.iter().any(|has| has.as_bytes() == *tag)) {
            change.delete_tag(tag, record.key)?;
        }
        if old.expires_ms != 0 && old.expires_ms != record.expires_ms {
            change.delete_expiry(&expiry_row(old.expires_ms, record.key))?;
        }
    }
    put(change, record, old.as_ref())
}

/// Removes some expired records; the row of the last, where there may be more.
fn purge_some(change: &mut dyn Change, from: &[u8], to: &[u8]) -> Result<(u64, Option<Vec<u8>>)> {
    let rows = change.expiries(from, to)?;
    for row in &rows {
        let key = row.get(8..).context("a short row")?;
        let head = Head::read(change, key)?.context("a row without a record")?;
        ensure!(row.starts_with(&head.expires_ms.to_be_bytes()), "a row that its record does not have");
        head.tags.iter().try_for_each(|tag| change.delete_tag(tag, key))?;
        change.delete_record(key)?;
        change.delete_expiry(row)?;
    }
    let last = if rows.len() == PURGE_BATCH { rows.last().cloned() } else { None };
    Ok((rows.len() as u64, last))
}

impl<R: Rows> Tagged for R {
    fn insert(&self, records: &[Record]) -> Result<()> {
        self.change(&mut |change| records.iter().try_for_each(|record| put(change, record, None)))
    }

    fn replace(&self, record: Record) -> Result<()> {
        self.change(&mut |change| replace(change, &record))
    }

    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<bool> {
        Rows::record(self, key, &mut |bytes| see(bytes.get(HEAD_BYTES..).unwrap_or_default()))
    }

    fn all_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.pair(Op::All, tags, see)
    }

    fn any_of(&self, tags: [&str; 2], see: &mut dyn FnMut(&[u8])) -> Result<()> {
        self.pair(Op::Any, tags, see)
    }

    fn count_any_of(&self, tags: [&str; 2]) -> Result<u64> {
        let mut count = 0;
        self.pair(Op::Any, tags, &mut |_| count += 1)?;
        Ok(count)
    }

    fn count(&self, tag: &str) -> Result<u64> {
        self.rows_of(tag)
    }

    fn purge(&self, upto_ms: u64) -> Result<u64> {
        let to = (upto_ms + 1).to_be_bytes();
        let (mut purged, mut next) = (0, Some(Vec::new()));
        while let Some(from) = next.take() {
            self.change(&mut |change| {
                let (count, last) = purge_some(change, &from, &to)?;
                purged += count;
                next = last;
                Ok(())
            })?;
        }
        Ok(purged)
    }

    fn close(self: Box<Self>) -> Result<()> {
        Rows::close(*self)
    }
}
