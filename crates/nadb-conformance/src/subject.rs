//! A backend under test, with what the suite needs beside it: passing time, and opening again.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{
    Action, Backend, Clock, Entry, Error, ErrorKind, ExpiryUpdate, Feature, Merge, MergeOperator, Metadata,
    Operation, Outcome, Put, Result, ScanRequest, SystemClock, Tags, TagsUpdate, Value, WriteOptions,
};

/// The namespace that checks use unless they need several.
pub(crate) const N: &str = "n";
/// The lifetime of records that are meant to expire during a check: long enough to be seen alive by a server far away.
pub(crate) const TTL: Duration = Duration::from_millis(150);
/// A moment that no clock in use has reached: 1 January 2100.
pub(crate) const YEAR_2100_MS: u64 = 4_102_444_800_000;

type Reopen = Box<dyn Fn() -> Arc<dyn Backend>>;

/// A new, empty store, to be checked.
pub struct Subject {
    backend: Arc<dyn Backend>,
    pass_time: Box<dyn Fn(Duration)>,
    reopen: Option<Reopen>,
    /// For how long something took, never for what the store's clock shows.
    stopwatch: SystemClock,
    is_closed: bool,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl Subject {
    /// A subject whose clock is left alone: checks of expiry sleep for some 100 ms.
    #[must_use]
    pub fn new(backend: Arc<dyn Backend>) -> Subject {
        let pass_time = Box::new(std::thread::sleep);
        Subject { backend, pass_time, reopen: None, stopwatch: SystemClock::default(), is_closed: false }
    }

    /// The same, where `pass_time` lets time pass on the store's clock, such as
    /// [`ManualClock::advance_ms`](nadb_core::ManualClock::advance_ms).
    #[must_use]
    pub fn with_time(mut self, pass_time: impl Fn(Duration) + 'static) -> Subject {
        self.pass_time = Box::new(pass_time);
        self
    }

    /// The same, where `reopen` opens the same store again after it was closed. For backends that keep anything.
    #[must_use]
    pub fn with_reopen(mut self, reopen: impl Fn() -> Arc<dyn Backend> + 'static) -> Subject {
        self.reopen = Some(Box::new(reopen));
        self
    }

    /// The backend as it is open now.
    #[must_use]
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    pub(crate) fn can_reopen(&self) -> bool {
        self.reopen.is_some()
    }

    /// Closes the store and opens it again; false where that cannot be done.
    pub(crate) fn reopen(&mut self) -> bool {
        let Some(reopen) = &self.reopen else { return false };
        self.backend.close().unwrap();
        self.backend = reopen();
        true
    }

    /// The check closes the store itself.
    pub(crate) fn close(&mut self) {
        self.is_closed = true;
        self.backend.close().unwrap();
    }

    pub(crate) fn finish(self) {
        if self.is_closed {
            return;
        }
        if self.backend.capabilities().has(Feature::Verify) {
            self.backend.verify().expect("what a check leaves behind can be verified");
        }
        self.backend.close().expect("the store closes");
    }
}

/// Time.
impl Subject {
    pub(crate) fn pass(&self, time: Duration) {
        (self.pass_time)(time);
    }

    /// Lets everything expire that was written with [`TTL`] before.
    pub(crate) fn pass_ttl(&self) {
        self.pass(TTL + Duration::from_millis(5));
    }

    pub(crate) fn now(&self) -> Duration {
        self.stopwatch.monotonic()
    }

    /// Asserts that a record written with [`TTL`] after `start` is seen; a machine that took longer than that is excused.
    pub(crate) fn assert_alive(&self, start: Duration, is_seen: bool) {
        assert!(is_seen || self.now() - start >= TTL, "a record was gone before its time");
    }
}

/// Verbs with less to write; they expect to succeed.
impl Subject {
    pub(crate) fn try_write(&self, batch: &[Operation<'_>]) -> Result<Vec<Outcome>> {
        let outcomes = self.backend.write(batch, &WriteOptions::default())?;
        assert_eq!(outcomes.len(), batch.len(), "one outcome for each operation");
        for outcome in &outcomes {
            let has_version = outcome.version.is_some_and(|version| version > 0);
            assert!(has_version || !outcome.exists, "a key that is there has a version: {outcome:?}");
        }
        Ok(outcomes)
    }

    pub(crate) fn write(&self, batch: &[Operation<'_>]) -> Vec<Outcome> {
        self.try_write(batch).unwrap()
    }

    pub(crate) fn one(&self, operation: Operation<'_>) -> Outcome {
        self.write(&[operation]).remove(0)
    }

    pub(crate) fn set(&self, key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Outcome {
        self.one(set(&key, &value))
    }

    pub(crate) fn set_in(&self, namespace: &str, key: &str, value: &str) -> Outcome {
        self.one(Operation::new(namespace, key.as_bytes(), Action::Put(Put::new(value.as_bytes()))))
    }

    /// The version that a set made.
    pub(crate) fn set_version(&self, key: &str, value: &str) -> u64 {
        self.set(key, value).version.unwrap()
    }

    pub(crate) fn delete(&self, key: impl AsRef<[u8]>) -> Outcome {
        self.one(delete(&key))
    }

    pub(crate) fn merge(
        &self,
        key: &str,
        operator: impl MergeOperator,
        operand: impl AsRef<[u8]>,
    ) -> Result<Vec<u8>> {
        let outcome = self.try_write(&[merge(key, operator, operand.as_ref())])?.remove(0);
        Ok(outcome.merged.expect("a merge gives the new value"))
    }

    pub(crate) fn get(&self, key: impl AsRef<[u8]>) -> Option<Value> {
        self.backend.get(N, key.as_ref()).unwrap()
    }

    pub(crate) fn has(&self, key: impl AsRef<[u8]>) -> bool {
        self.backend.contains(N, key.as_ref()).unwrap()
    }

    pub(crate) fn metadata(&self, key: impl AsRef<[u8]>) -> Metadata {
        self.backend.metadata(N, key.as_ref()).unwrap().expect("the key is there")
    }

    pub(crate) fn keys(&self, namespace: &str) -> Vec<Vec<u8>> {
        let mut listing = self.backend.scan(namespace, ScanRequest::all()).unwrap();
        std::iter::from_fn(|| listing.next_key()).map(Result::unwrap).collect()
    }

    /// All that there is, but for when it was read.
    pub(crate) fn everything(&self) -> Vec<(String, Vec<Entry>)> {
        let mut names: Vec<_> = self.backend.namespaces().unwrap().into_iter().map(|n| n.name).collect();
        names.sort_unstable();
        let entries = |name: String| {
            let entries = self.backend.scan(&name, ScanRequest::all()).unwrap().map(Result::unwrap);
            let unread = |entry: Entry| Entry::new(entry.key, entry.value, unread(&entry.metadata));
            (name, entries.map(unread).collect())
        };
        names.into_iter().map(entries).collect()
    }

    /// Asserts that the batch is refused with `kind` and that nothing has changed; gives the error.
    pub(crate) fn refused(&self, batch: &[Operation<'_>], kind: ErrorKind) -> Error {
        self.refused_with(batch, &WriteOptions::default(), kind)
    }

    pub(crate) fn refused_with(
        &self,
        batch: &[Operation<'_>],
        options: &WriteOptions,
        kind: ErrorKind,
    ) -> Error {
        let before = self.everything();
        let Err(error) = self.backend.write(batch, options) else {
            panic!("the write should be refused with {kind:?}"); // not with its outcome, which has values
        };
        assert_eq!(error.kind(), kind, "{error}");
        assert!(self.everything() == before, "a write that was refused changed something: {error}");
        error
    }

    /// Asserts that `error` is `Unsupported` and says what and which backend.
    pub(crate) fn assert_unsupported(&self, error: &Error, what: &str) {
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        let name = &*self.backend.capabilities().backend;
        for word in [what, name] {
            assert!(error.to_string().contains(word), "the error names {word:?}: {error}");
        }
    }
}

/// The same but for the last access.
pub(crate) fn unread(metadata: &Metadata) -> Metadata {
    let mut unread = metadata.clone();
    unread.accessed_ms = None;
    unread
}

pub(crate) fn put<'a>(key: &'a (impl AsRef<[u8]> + ?Sized), put: Put<'a>) -> Operation<'a> {
    Operation::new(N, key.as_ref(), Action::Put(put))
}

pub(crate) fn set<'a>(
    key: &'a (impl AsRef<[u8]> + ?Sized),
    value: &'a (impl AsRef<[u8]> + ?Sized),
) -> Operation<'a> {
    put(key, Put::new(value.as_ref()))
}

pub(crate) fn delete<'a>(key: &'a (impl AsRef<[u8]> + ?Sized)) -> Operation<'a> {
    Operation::new(N, key.as_ref(), Action::Delete)
}

pub(crate) fn merge<'a>(key: &'a str, operator: impl MergeOperator, operand: &'a [u8]) -> Operation<'a> {
    Operation::new(N, key.as_bytes(), Action::Merge(Merge::new(Arc::new(operator), operand)))
}

/// A put of `v` with an expiry.
pub(crate) fn expiring(key: &str, expiry: ExpiryUpdate) -> Operation<'_> {
    let mut value = Put::new(b"v".as_slice());
    value.expiry = expiry;
    put(key, value)
}

/// A put with everything that a record can have: tags, an expiry in 2100, media type, attributes.
pub(crate) fn full<'a>(key: &'a str, value: &'a str) -> Operation<'a> {
    let mut full = Put::new(value.as_bytes());
    full.tags = tags(&["red", "green"]);
    full.expiry = ExpiryUpdate::AtMs(YEAR_2100_MS);
    full.content_type = Some("text/plain".into());
    full.attrs = nadb_core::Attrs::new([("lang", "de"), ("owner", "alice")]).unwrap();
    put(key, full)
}

pub(crate) fn tags(tags: &[&str]) -> TagsUpdate {
    TagsUpdate::Replace(Tags::new(tags.iter().copied()).unwrap())
}
