//! What a backend can and cannot do, said once when it is opened.
//!
//! Capabilities only describe. A backend keeps to them by itself: what they exclude it answers with `Unsupported`, and the
//! conformance suite compares both.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use crate::limits::{
    BATCH_BYTES_MAX, VALUE_BYTES_MAX, check_content_type, check_expiry, check_key, check_namespace,
    check_times, check_ttl, check_value_len_max,
};
use crate::{
    Action, Durability, Error, ExpiryUpdate, Filter, MergeKind, Operation, Put, Result, WriteBatch,
    WriteOptions,
};

/// Something that a backend may have or not. A name here says that it works; the method that belongs to it answers
/// `Unsupported` otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Feature {
    /// [`Backend::flush`](crate::Backend::flush).
    Flush,
    /// [`Backend::stats`](crate::Backend::stats).
    Stats,
    /// [`Backend::segments`](crate::Backend::segments).
    Segments,
    /// [`Backend::verify`](crate::Backend::verify).
    Verify,
    /// [`Backend::recovery`](crate::Backend::recovery).
    Recovery,
    /// [`Backend::snapshot`](crate::Backend::snapshot).
    Snapshots,
    /// [`Backend::writer`](crate::Backend::writer) and [`Backend::reader`](crate::Backend::reader), both or neither.
    Streams,
    /// Merges by operators that the user wrote; those of NADB work everywhere.
    CustomMerges,
    /// [`Action::Expire`].
    Expire,
    /// [`Backend::purge_expired`](crate::Backend::purge_expired).
    Purge,
    /// [`Backend::compact`](crate::Backend::compact).
    Compact,
    /// [`Metadata::accessed_ms`](crate::Metadata::accessed_ms), and queries by it. A backend may have it or not by how it was
    /// opened.
    LastAccess,
    /// [`Put::times`](crate::Put::times), and with that [`Backend::import`](crate::Backend::import).
    Import,
}

impl Feature {
    /// All that this version knows.
    pub const ALL: &'static [Feature] = &[
        Feature::Flush,
        Feature::Stats,
        Feature::Segments,
        Feature::Verify,
        Feature::Recovery,
        Feature::Snapshots,
        Feature::Streams,
        Feature::CustomMerges,
        Feature::Expire,
        Feature::Purge,
        Feature::Compact,
        Feature::LastAccess,
        Feature::Import,
    ];

    /// Its name, as it stands in errors and in lists.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Feature::Flush => "flush",
            Feature::Stats => "stats",
            Feature::Segments => "segments",
            Feature::Verify => "verify",
            Feature::Recovery => "recovery",
            Feature::Snapshots => "snapshots",
            Feature::Streams => "streams",
            Feature::CustomMerges => "custom merges",
            Feature::Expire => "expire",
            Feature::Purge => "purge",
            Feature::Compact => "compact",
            Feature::LastAccess => "last access",
            Feature::Import => "import",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Whose clock decides what has expired and stamps `created` and `updated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ClockSource {
    /// A [`Clock`](crate::Clock) of this process.
    #[default]
    Local,
    /// The server's.
    Server,
}

/// Which batches happen all or not at all. A batch that a backend cannot do atomically is refused as `Unsupported`, whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum BatchAtomicity {
    /// Every batch, across keys and namespaces.
    #[default]
    All,
    /// Batches within one bucket: a part of one namespace. Keys with the same, not empty, text between their first `{` and
    /// the next `}` are always in the same bucket; otherwise the backend decides by the whole key.
    PerBucket,
}

/// What a listing shows of writes that happen while it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum ScanConsistency {
    /// Perhaps some of them. A record that nobody touches is there exactly once.
    #[default]
    Weak,
    /// None: it shows one moment, that at which it began; keys, values and what had expired.
    Settled,
}

/// What a backend can do. It stays the same from opening to closing.
///
/// ```
/// use nadb_core::{Capabilities, Durability, ErrorKind, Feature};
/// let mut mine = Capabilities::new("mine").with(Feature::Stats);
/// mine.value_bytes_max = 1 << 20;
/// assert!(mine.has(Feature::Stats) && !mine.has(Feature::Verify));
/// let error = mine.unsupported("verify");
/// assert_eq!(error.kind(), ErrorKind::Unsupported);
/// assert_eq!(error.to_string(), "the backend \"mine\" does not support verify");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Capabilities {
    /// The backend's name, for errors and lists.
    pub backend: Cow<'static, str>,
    /// What it has of the things that not every backend has.
    pub features: BTreeSet<Feature>,
    /// The durability classes that a write may ask for. None: the server decides, and asking is `Unsupported`.
    pub durability: Vec<Durability>,
    /// Whose clock counts.
    pub clock: ClockSource,
    /// Which batches are atomic.
    pub batches: BatchAtomicity,
    /// What listings show of concurrent writes.
    pub scans: ScanConsistency,
    /// Bytes of a value, at most; of one that is written piece by piece, too.
    pub value_bytes_max: u64,
    /// Bytes of a value above which it is stored apart, and does not count for the length of a batch; `u64::MAX` where every
    /// value counts.
    pub apart_bytes_min: u64,
    /// Bytes of all keys and values of a batch together, at most. A single write is a batch, too, so there is room for the
    /// largest value under the longest key.
    pub batch_bytes_max: u64,
}

impl Capabilities {
    /// Those of a backend that promises what every backend must and nothing else: no features, no durability classes, a
    /// local clock, atomic batches, weakly consistent listings, and the limits of [`limits`](crate::limits). Set the fields
    /// that differ.
    #[must_use]
    pub fn new(backend: impl Into<Cow<'static, str>>) -> Capabilities {
        Capabilities {
            backend: backend.into(),
            features: BTreeSet::new(),
            durability: Vec::new(),
            clock: ClockSource::default(),
            batches: BatchAtomicity::default(),
            scans: ScanConsistency::default(),
            value_bytes_max: VALUE_BYTES_MAX as u64,
            apart_bytes_min: u64::MAX,
            batch_bytes_max: BATCH_BYTES_MAX as u64,
        }
    }

    /// The same with one more feature.
    #[must_use]
    pub fn with(mut self, feature: Feature) -> Capabilities {
        self.features.insert(feature);
        self
    }

    /// Whether it has this feature.
    #[must_use]
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// The error for something that the backend does not do.
    #[must_use]
    pub fn unsupported(&self, what: &str) -> Error {
        Error::unsupported(&self.backend, what)
    }

    /// Refuses everything that can be refused without looking at the store, as every backend must before it writes
    /// anything: names, keys, values, media types and expiries beyond their limits, batches that are too large, a
    /// durability class or a merge operator that the backend does not have.
    ///
    /// What it leaves to the backend: conditions, merged values (see
    /// [`check_value_len_max`](crate::limits::check_value_len_max)), relative lifetimes that would end after year 9999 by
    /// its clock, and which batches are within one bucket.
    ///
    /// # Errors
    /// `Limit`, `InvalidInput` or `Unsupported`, naming field, value and limit, and in a batch of several which operation
    /// it was.
    pub fn check_write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<()> {
        if let Some(class) = options.durability
            && !self.durability.contains(&class)
        {
            return Err(self.unsupported(&format!("the durability class {class:?}")));
        }
        let mut bytes = 0u64;
        for (operation, number) in batch.iter().zip(1..) {
            let len = self.check_operation(operation).map_err(|error| error.in_batch(number, batch.len()))?;
            bytes = bytes.saturating_add(len);
        }
        if bytes > self.batch_bytes_max {
            return Err(Error::limit(format!(
                "the batch has {bytes} bytes of keys and values, the limit is {} bytes; split it",
                self.batch_bytes_max
            )));
        }
        Ok(())
    }

    /// Refuses a filter that asks for what the backend does not keep.
    ///
    /// # Errors
    /// `Unsupported` for one by last access without [`Feature::LastAccess`].
    pub fn check_filter(&self, filter: &Filter) -> Result<()> {
        if filter.asks_for_access() && !self.has(Feature::LastAccess) {
            return Err(self.unsupported("queries by last access"));
        }
        Ok(())
    }

    /// Checks one operation by itself; gives the bytes of its key and value, as they count in a batch.
    fn check_operation(&self, operation: &Operation<'_>) -> Result<u64> {
        check_namespace(&operation.namespace)?;
        check_key(&operation.key)?;
        let value_len = match &operation.action {
            Action::Put(put) => {
                check_settings(put)?;
                if put.times.is_some() && !self.has(Feature::Import) {
                    return Err(self.unsupported(Feature::Import.name()));
                }
                put.value.len() as u64
            }
            Action::Merge(merge) => {
                if merge.operator.kind() == MergeKind::Custom && !self.has(Feature::CustomMerges) {
                    return Err(self.unsupported(&format!("the merge operator {:?}", merge.operator)));
                }
                merge.operand.len() as u64
            }
            Action::Expire(expiry) => {
                if !self.has(Feature::Expire) {
                    return Err(self.unsupported(Feature::Expire.name()));
                }
                check_expiry_update(*expiry)?;
                0
            }
            Action::Delete => 0,
        };
        check_value_len_max(value_len, self.value_bytes_max)?;
        let counted = if value_len > self.apart_bytes_min { 0 } else { value_len };
        Ok((operation.key.len() as u64).saturating_add(counted))
    }
}

fn check_settings(put: &Put<'_>) -> Result<()> {
    put.content_type.as_deref().map_or(Ok(()), check_content_type)?;
    put.times.map_or(Ok(()), check_times)?;
    check_expiry_update(put.expiry)
}

fn check_expiry_update(expiry: ExpiryUpdate) -> Result<()> {
    match expiry {
        ExpiryUpdate::After(ttl) => check_ttl(ttl, 0).map(drop),
        ExpiryUpdate::AtMs(at) => check_expiry(at),
        ExpiryUpdate::Never | ExpiryUpdate::Keep => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::{Add, ErrorKind, Merge, MergeOperator};

    #[derive(Debug)]
    struct Mine;
    impl MergeOperator for Mine {
        fn merge(&self, _: &[u8], _: Option<&[u8]>, _: &[u8]) -> Result<Vec<u8>> {
            Ok(Vec::new())
        }
    }

    fn put(value: &[u8]) -> Operation<'_> {
        Operation::new("n", b"k".as_slice(), Action::Put(Put::new(value)))
    }

    fn merge(operator: Arc<dyn MergeOperator>) -> Operation<'static> {
        Operation::new("n", b"k".as_slice(), Action::Merge(Merge::new(operator, b"1".as_slice())))
    }

    #[test]
    fn what_can_be_refused_at_once_is() {
        let mut capabilities = Capabilities::new("mine");
        (capabilities.value_bytes_max, capabilities.batch_bytes_max) = (10, 25);
        let check = |batch: &[Operation<'_>], expected: Option<(ErrorKind, &str)>| {
            let error = capabilities.check_write(batch, &WriteOptions::default()).err();
            match (&error, expected) {
                (None, None) => {}
                (Some(error), Some((kind, words))) if error.kind() == kind => {
                    assert!(error.to_string().contains(words), "{error}");
                }
                _ => panic!("{error:?}, expected {expected:?}"),
            }
        };
        use ErrorKind::{InvalidInput, Limit, Unsupported};
        check(&[], None);
        check(&[put(&[0; 10]), put(&[0; 10])], None);
        check(&[put(&[0; 11])], Some((Limit, "value has 11 bytes, the limit is 10 bytes")));
        check(&[put(b""), put(&[0; 11])], Some((Limit, "operation 2 of 2: value has 11")));
        check(&[put(&[0; 10]), put(&[0; 10]), put(&[0; 3])], Some((Limit, "batch has 26 bytes")));
        check(&[merge(Arc::new(Add)), merge(Arc::new(Arc::new(Add)))], None);
        check(
            &[merge(Arc::new(Mine))],
            Some((Unsupported, "\"mine\" does not support the merge operator Mine")),
        );
        let mut zero = Put::new(b"".as_slice());
        zero.expiry = ExpiryUpdate::After(Duration::ZERO);
        let zero = Operation::new("n", b"k".as_slice(), Action::Put(zero));
        check(&[zero], Some((InvalidInput, "ttl is 0 s")));
    }

    #[test]
    fn classes_that_a_backend_does_not_have_are_refused() {
        let mut capabilities = Capabilities::new("mine");
        capabilities.durability = vec![Durability::Synced];
        let check = |class| {
            let options = WriteOptions::default().with_durability(class);
            capabilities.check_write(&[put(b"")], &options).map_err(|error| error.kind())
        };
        assert_eq!(check(Some(Durability::Synced)), Ok(()));
        assert_eq!(check(None), Ok(()));
        assert_eq!(check(Some(Durability::Flushed)), Err(ErrorKind::Unsupported));
    }

    #[test]
    fn names_of_features_are_all_there_and_different() {
        let names: BTreeSet<_> = Feature::ALL.iter().map(|feature| feature.name()).collect();
        assert_eq!(names.len(), Feature::ALL.len());
    }
}
