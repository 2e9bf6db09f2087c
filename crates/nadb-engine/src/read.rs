//! The read path: look up, read, verify, check expiry.

use std::collections::VecDeque;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::limits::{check_key, check_namespace};
use nadb_core::{Codec, Entry, Error, Location, Metadata, Result, Value, decompress};
use nadb_log::{RecordBuf, RecordRef};

use crate::engine::Shared;

impl Shared {
    /// The visible record of a key.
    fn find_visible(&self, namespace: &str, key: &[u8]) -> Result<Option<(Location, RecordBuf)>> {
        check_namespace(namespace)?;
        check_key(key)?;
        self.check_open_to_read()?;
        self.counters.gets.fetch_add(1, Ordering::Relaxed);
        let Some(namespace) = self.keyspace.namespace(namespace) else { return Ok(None) };
        let hash = self.keyspace.hash(namespace.id, key);
        let Some((at, buf)) = self.keyspace.find(namespace.id, hash, key, |at| self.log.read(at))? else {
            return Ok(None);
        };
        let is_expired = buf.record()?.is_expired(self.now_ms());
        Ok((!is_expired).then_some((at, buf)))
    }

    pub(crate) fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.find_visible(namespace, key)?.map(|(at, buf)| self.value(at, &buf)).transpose()
    }

    pub(crate) fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.find_visible(namespace, key)?.map(|(at, buf)| self.entry(at, &buf)).transpose()
    }

    pub(crate) fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        let found = self.find_visible(namespace, key)?;
        found.map(|(at, buf)| buf.record().and_then(|record| self.metadata_of(at, &record))).transpose()
    }

    pub(crate) fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        Ok(self.find_visible(namespace, key)?.is_some())
    }

    fn value(&self, at: Location, buf: &RecordBuf) -> Result<Value> {
        let record = buf.record()?;
        match record.codec {
            Codec::Plain => Ok(Value::from(buf.slice(record.value))),
            Codec::Snappy => decompress(record.value, record.logical_len)
                .map(Value::from)
                .map_err(|e| self.corruption(at, &format!("the value does not decompress: {e:?}"))),
        }
    }

    fn entry(&self, at: Location, buf: &RecordBuf) -> Result<Entry> {
        let record = buf.record()?;
        Ok(Entry::new(record.key.to_vec(), self.value(at, buf)?, self.metadata_of(at, &record)?))
    }

    fn metadata_of(&self, at: Location, record: &RecordRef<'_>) -> Result<Metadata> {
        let corrupt = |e: nadb_log::RecordError| self.corruption(at, &e.to_string());
        let (content_type, attrs) = record.extra().map_err(corrupt)?;
        let mut metadata = Metadata::new(record.seq.0, record.logical_len as u64, record.updated_ms);
        metadata.stored_size = record.value.len() as u64;
        metadata.content_type = content_type.map(str::to_owned);
        metadata.attrs = attrs;
        metadata.tags = record.tags().map_err(corrupt)?;
        metadata.created_ms = record.created_ms;
        metadata.expires_ms = record.expires_ms;
        Ok(metadata)
    }

    fn corruption(&self, at: Location, what: &str) -> Error {
        let path =
            self.log.segment(at.segment).map(|segment| segment.path().to_path_buf()).unwrap_or_default();
        Error::corruption(path, u64::from(at.offset), what)
    }

    /// Reads the record at `at`, which the index names, and takes something of it.
    pub(crate) fn read_record<T>(&self, at: Location, take: impl Fn(&RecordRef<'_>) -> T) -> Result<T> {
        self.log.read(at).and_then(|buf| buf.record().map(|record| take(&record)))
    }

    /// The visible keys of a range, in order, with the places of their records. Sorts in memory.
    pub(crate) fn scan(
        self: &Arc<Self>,
        namespace: &str,
        range: (Bound<Vec<u8>>, Bound<Vec<u8>>),
    ) -> Result<Scan> {
        check_namespace(namespace)?;
        self.check_open_to_read()?;
        let now_ms = self.now_ms();
        let mut found = Vec::new();
        if let Some(namespace) = self.keyspace.namespace(namespace) {
            for at in self.keyspace.index.locations() {
                let key = self.read_record(at, |record| {
                    let is_meant = record.namespace == namespace.id
                        && !record.is_expired(now_ms)
                        && contains(&range, record.key);
                    is_meant.then(|| record.key.to_vec())
                })?;
                found.extend(key.map(|key| (key, at)));
            }
            // A key that was written while the index was walked may have been seen at two places: the later one counts.
            found.sort_unstable_by(|a, b| a.0.cmp(&b.0).then(b.1.cmp(&a.1)));
            found.dedup_by(|later, earlier| later.0 == earlier.0);
        }
        Ok(Scan { shared: Arc::clone(self), found: found.into() })
    }
}

fn contains((from, to): &(Bound<Vec<u8>>, Bound<Vec<u8>>), key: &[u8]) -> bool {
    let bound = |bound: &Bound<Vec<u8>>, includes: fn(&[u8], &[u8]) -> bool| match bound {
        Bound::Included(end) => key == &end[..] || includes(key, end),
        Bound::Excluded(end) => includes(key, end),
        Bound::Unbounded => true,
    };
    bound(from, |key, from| key > from) && bound(to, |key, to| key < to)
}

/// The live records of a key range, in key order; from either end.
///
/// Which records these are was decided when the scan began, key by key; each is read, and its checksum verified, when it is
/// asked for.
#[derive(Debug)]
pub struct Scan {
    shared: Arc<Shared>,
    found: VecDeque<(Vec<u8>, Location)>,
}

impl Scan {
    fn read(&self, at: Location) -> Result<Entry> {
        self.shared.check_open_to_read()?;
        self.shared.log.read(at).and_then(|buf| self.shared.entry(at, &buf))
    }

    pub(crate) fn take_key(&mut self) -> Option<Vec<u8>> {
        self.found.pop_front().map(|(key, _)| key)
    }

    pub(crate) fn take_key_back(&mut self) -> Option<Vec<u8>> {
        self.found.pop_back().map(|(key, _)| key)
    }

    /// The keys alone.
    #[must_use]
    pub fn keys(self) -> Keys {
        Keys { found: self.found }
    }
}

impl Iterator for Scan {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let (_, at) = self.found.pop_front()?;
        Some(self.read(at))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.found.len(), Some(self.found.len()))
    }
}

impl DoubleEndedIterator for Scan {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        let (_, at) = self.found.pop_back()?;
        Some(self.read(at))
    }
}

/// The keys of a range, in order; from either end.
#[derive(Debug)]
pub struct Keys {
    found: VecDeque<(Vec<u8>, Location)>,
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        self.found.pop_front().map(|(key, _)| Ok(key))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.found.len(), Some(self.found.len()))
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Result<Vec<u8>>> {
        self.found.pop_back().map(|(key, _)| Ok(key))
    }
}
