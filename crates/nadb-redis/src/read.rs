//! Reads of single keys: the bucket's state and the record in one pipeline, so that a namespace which someone else dropped is absent at
//! once. The server lets records expire by itself, at their millisecond.

use nadb_core::limits::check_key;
use nadb_core::{Entry, Metadata, Result, Value, guard};

use crate::call::{Answer, Call};
use crate::core::{Core, PAGE, Said};
use crate::counters::add;
use crate::failure::unexpected;
use crate::layout::Space;
use crate::record::Record;

/// Metadata and stored value of each key, where it is there.
type Found = Vec<Option<(Record, Vec<u8>)>>;

impl Core {
    /// The values of keys, in their order.
    pub(crate) fn values(&self, name: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let found = self.in_space(name, |space| self.found(space, keys, true))?;
        add(&self.counters.gets, keys.len());
        let Some(found) = found else { return Ok(keys.iter().map(|_| None).collect()) };
        let value = |(record, stored): (Record, Vec<u8>)| record.value(stored);
        found.into_iter().map(|found| found.map(value).transpose()).collect()
    }

    /// A whole record.
    pub(crate) fn entry(&self, name: &str, key: &[u8]) -> Result<Option<Entry>> {
        check_key(key)?;
        let entries = self.in_space(name, |space| self.entries(space, &[key]))?;
        add(&self.counters.gets, 1);
        Ok(entries.and_then(|mut entries| entries.pop().flatten()))
    }

    /// All of a record but its value.
    pub(crate) fn metadata(&self, name: &str, key: &[u8]) -> Result<Option<Metadata>> {
        check_key(key)?;
        let found = self.in_space(name, |space| self.found(space, &[key], false))?;
        add(&self.counters.gets, 1);
        let found = found.and_then(|mut found| found.pop().flatten());
        Ok(found.map(|(record, _)| record.metadata))
    }

    /// Whole records of a namespace, in the order of the keys.
    pub(crate) fn entries(&self, space: &Space, keys: &[&[u8]]) -> Result<Said<Vec<Option<Entry>>>> {
        let found = match self.found(space, keys, true)? {
            Said::This(found) => found,
            Said::NotLive(bucket) => return Ok(Said::NotLive(bucket)),
        };
        let entry = |(found, key): (Option<(Record, Vec<u8>)>, &&[u8])| {
            let Some((record, stored)) = found else { return Ok(None) };
            let value = record.value(stored)?;
            Ok(Some(Entry::new(key.to_vec(), value, record.metadata)))
        };
        Ok(Said::This(found.into_iter().zip(keys).map(entry).collect::<Result<_>>()?))
    }

    /// Metadata of a namespace's records, in the order of the keys.
    pub(crate) fn metadata_of(&self, space: &Space, keys: &[&[u8]]) -> Result<Said<Vec<Option<Metadata>>>> {
        Ok(match self.found(space, keys, false)? {
            Said::This(found) => {
                Said::This(found.into_iter().map(|found| found.map(|(record, _)| record.metadata)).collect())
            }
            Said::NotLive(bucket) => Said::NotLive(bucket),
        })
    }

    fn found(&self, space: &Space, keys: &[&[u8]], with_values: bool) -> Result<Said<Found>> {
        let mut found = Vec::with_capacity(keys.len());
        for keys in keys.chunks(PAGE) {
            match self.found_part(space, keys, with_values)? {
                Said::This(part) => found.extend(part),
                Said::NotLive(bucket) => return Ok(Said::NotLive(bucket)),
            }
        }
        Ok(Said::This(found))
    }

    fn found_part(&self, space: &Space, keys: &[&[u8]], with_values: bool) -> Result<Said<Found>> {
        let mut numbers: Vec<usize> = keys.iter().map(|key| space.bucket_number(key)).collect();
        let mut calls = Vec::with_capacity(keys.len() + 1);
        for (key, number) in keys.iter().zip(&numbers) {
            let Some(bucket) = space.buckets.get(*number) else { continue };
            let record = bucket.record(key);
            calls.push(match with_values {
                true => Call::command(bucket.slot, &[b"HMGET", &record, b"m", b"v"]),
                false => Call::command(bucket.slot, &[b"HMGET", &record, b"m"]),
            });
        }
        numbers.sort_unstable();
        numbers.dedup();
        // What is live after the records were read was live when they were; a namespace that is being dropped closes its buckets first.
        for bucket in numbers.iter().filter_map(|number| space.buckets.get(*number)) {
            calls.push(Call::command(bucket.slot, &[b"HGET", &bucket.state(), b"s"]));
        }
        let mut answers = self.link.ask_all(calls)?;
        let states = answers.split_off(keys.len().min(answers.len()));
        for (state, number) in states.into_iter().zip(numbers) {
            if guard::on("redis.reads_see_drops") && state.bytes().flatten().as_deref() != Some(b"live") {
                return Ok(Said::NotLive(number));
            }
        }
        let found = |answer: redis::Value| {
            let wrong = || unexpected("for a record");
            let mut fields = answer.list().ok_or_else(wrong)?.into_iter();
            let Some(m) = fields.next().and_then(Answer::bytes).ok_or_else(wrong)? else { return Ok(None) };
            let stored = fields.next().and_then(Answer::bytes).flatten().unwrap_or_default();
            Ok(Some((Record::parse(&m)?, stored)))
        };
        Ok(Said::This(answers.into_iter().map(found).collect::<Result<_>>()?))
    }
}
