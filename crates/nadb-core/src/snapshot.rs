//! A store at one moment, as something that keeps records sees it.

use std::fmt;

use crate::{Entry, Listing, Metadata, Result, ScanRequest, Value};

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
