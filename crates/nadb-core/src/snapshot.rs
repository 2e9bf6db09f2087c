//! A store at one moment, as something that keeps records sees it.

use std::fmt;

use crate::stream::in_memory;
use crate::{
    Entry, Filter, Listing, Matches, Metadata, QueryRequest, Result, ScanRequest, Value, ValueReader, query,
};

/// The store as it was when the snapshot was taken: every method answers as the store's own would have answered then, also
/// for what has been overwritten, deleted or dropped, or has expired, since. Writes go on meanwhile and do not show.
///
/// - **Batches** are in it whole or not at all.
/// - **Time** stands still in it: what had expired when it was taken is absent, and nothing expires afterwards.
/// - **Namespaces** are those that there were. One that was dropped and made again since has its old records.
/// - **Input** beyond a limit is refused as by [`Backend::get`](crate::Backend::get).
/// - **Its end** is when it is dropped; listings of it go on. After the store's end every method but `version` answers
///   `Closed`.
///
/// Methods that a later version adds have a default, as those of [`Backend`](crate::Backend).
///
/// ```
/// use nadb_core::{Backend, Result, ScanRequest};
///
/// /// How many keys of a namespace were made and how many deleted while `work` ran.
/// fn difference(store: &dyn Backend, namespace: &str, work: impl FnOnce() -> Result<()>) -> Result<(usize, usize)> {
///     let before = store.snapshot()?;
///     work()?;
///     let after = store.snapshot()?;
///     let (mut made, mut deleted) = (0, 0);
///     for entry in after.scan(namespace, ScanRequest::all())? {
///         made += usize::from(!before.contains(namespace, &entry?.key)?);
///     }
///     for entry in before.scan(namespace, ScanRequest::all())? {
///         deleted += usize::from(!after.contains(namespace, &entry?.key)?);
///     }
///     Ok((made, deleted))
/// }
/// ```
pub trait BackendSnapshot: Send + Sync + 'static {
    /// The version of the newest write that it shows: no record of it has a higher one, and every later write gets a
    /// higher one. 0 where nothing was written yet. Also after the store's end.
    fn version(&self) -> u64;

    /// The value that a key had.
    ///
    /// # Errors
    /// As [`Backend::get`](crate::Backend::get); `Stale` where the backend has given up what the snapshot shows.
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>>;

    /// Shows `read` the value that a key had, and says whether there was one; as
    /// [`Backend::get_with`](crate::Backend::get_with).
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get).
    fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let value = self.get(namespace, key)?;
        Ok(value.map(|value| read(&value)).is_some())
    }

    /// Key, value and metadata, all of the same version.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get).
    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>>;

    /// The metadata that a key had. The default reads the value, too.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get).
    fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        Ok(self.get_entry(namespace, key)?.map(|entry| entry.metadata))
    }

    /// Whether a key was there. The default reads the metadata.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get).
    fn contains(&self, namespace: &str, key: &[u8]) -> Result<bool> {
        Ok(self.metadata(namespace, key)?.is_some())
    }

    /// The values of several keys of a namespace, in the order of `keys`, which may repeat.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get), the first that happens.
    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        keys.iter().map(|key| self.get(namespace, key)).collect()
    }

    /// The value that a key had, to be read piece by piece: see [`ValueReader`]. It goes on after the snapshot's end. The default
    /// reads the whole value at once, so that this is there also where [`Backend::reader`](crate::Backend::reader) is not; a
    /// backend with streams reads as that does.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get).
    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        Ok(self.get_entry(namespace, key)?.map(in_memory))
    }

    /// The records of a key range, in order, from either end.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get), here or in an item.
    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>>;

    /// The records that a filter means, in the order that is asked for. The default looks at every record.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get), here or in an item; `Limit` or `InvalidInput` for a filter that
    /// [`Filter::check`] refuses.
    fn query(&self, namespace: &str, request: &QueryRequest) -> Result<Box<dyn Matches>> {
        query::by_scan(request, |keys| self.scan(namespace, keys))
    }

    /// How many records a filter means. The default looks at every record.
    ///
    /// # Errors
    /// As [`query`](BackendSnapshot::query).
    fn count(&self, namespace: &str, filter: &Filter) -> Result<u64> {
        query::count_by_scan(filter, |keys| self.scan(namespace, keys))
    }

    /// The tags that begin with `prefix`, in order, with the number of records that have each. The default looks at every record.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get).
    fn tags(&self, namespace: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
        query::tags_by_scan(prefix, self.scan(namespace, ScanRequest::all())?)
    }

    /// The names of the namespaces that there were, in any order.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get).
    fn namespaces(&self) -> Result<Vec<String>>;
}

impl fmt::Debug for dyn BackendSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BackendSnapshot").field(&self.version()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom};

    use super::*;

    /// As little as a snapshot can be.
    struct Least;

    impl BackendSnapshot for Least {
        fn version(&self) -> u64 {
            7
        }
        fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
            Ok(self.get_entry(namespace, key)?.map(|entry| entry.value))
        }
        fn get_entry(&self, _: &str, key: &[u8]) -> Result<Option<Entry>> {
            let entry = Entry::new(key.to_vec(), b"value".to_vec().into(), Metadata::new(1, 5, 1));
            Ok((key != b"none").then_some(entry))
        }
        fn scan(&self, _: &str, _: ScanRequest) -> Result<Box<dyn Listing>> {
            Err(crate::Error::unsupported("least", "scan"))
        }
        fn namespaces(&self) -> Result<Vec<String>> {
            Ok(Vec::new())
        }
    }

    #[test]
    fn the_defaults_read_by_what_there_is() {
        assert!(Least.contains("n", b"k").unwrap() && !Least.contains("n", b"none").unwrap());
        let mut seen = Vec::new();
        assert!(Least.get_with("n", b"k", &mut |value| seen.push(value.to_vec())).unwrap());
        assert!(!Least.get_with("n", b"none", &mut |value| seen.push(value.to_vec())).unwrap());
        assert_eq!(seen, [b"value"]);
        let mut reader = Least.reader("n", b"k").unwrap().unwrap();
        assert_eq!((reader.seek(SeekFrom::End(-2)).unwrap(), reader.metadata().size), (3, 5));
        let mut end = String::new();
        reader.read_to_string(&mut end).unwrap();
        assert_eq!(end, "ue");
        assert!(Least.reader("n", b"none").unwrap().is_none());
    }
}
