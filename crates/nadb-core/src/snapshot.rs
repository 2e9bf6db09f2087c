//! A store at one moment, as something that keeps records sees it.

use std::fmt;

use crate::{Entry, Listing, Metadata, Result, ScanRequest, Value};

/// The store as it was when the snapshot was taken: every method answers as the store's own would have answered then, also
/// for what has been overwritten, deleted or dropped, or has expired, since. Writes go on meanwhile and do not show.
///
/// It ends when it is dropped; listings of it go on. After the store's end every method answers `Closed`. Methods that a
/// later version adds have a default, as those of [`Backend`](crate::Backend).
pub trait BackendSnapshot: Send + Sync + 'static {
    /// The version of the newest write that it shows.
    fn version(&self) -> u64;

    /// The value that a key had.
    ///
    /// # Errors
    /// As [`Backend::get`](crate::Backend::get); `Stale` where the backend has given up what the snapshot shows.
    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>>;

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

    /// The records of a key range, in order, from either end.
    ///
    /// # Errors
    /// As [`get`](BackendSnapshot::get), here or in an item.
    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>>;

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
