//! Iterators over the records of a namespace, in the order of their keys.

use nadb_core::{Entry, Error, ErrorKind, Listing, Result};

/// The records of a range of keys, in order; reverse it with [`Iterator::rev`].
///
/// Made by [`Namespace::iter`](crate::Namespace::iter), [`prefix`](crate::Namespace::prefix) and
/// [`range`](crate::Namespace::range), and by those of a [`SnapshotNamespace`](crate::SnapshotNamespace). Which records it
/// has, and which values, was settled at one moment, when it was made: later writes, deletes and expiries do not change it,
/// and a batch is in it whole or not at all. (On a backend whose
/// [`ScanConsistency`](crate::backend::ScanConsistency) is `Weak` it may show some of what is written meanwhile.)
///
/// It owns what it needs, may go to another thread, and hinders no writer; while it is held the store remembers what is
/// overwritten, as for a [`Snapshot`](crate::Snapshot). An item is an error when its record is damaged or the store was
/// closed; going on is allowed. It does not keep the store open.
///
/// ```
/// use nadb::Store;
/// let letters = Store::memory()?.namespace("letters")?;
/// letters.set_many([("a", "1"), ("b", "2"), ("c", "3")])?;
/// let mut newest_first = letters.iter()?.rev();
/// let entry = newest_first.next().unwrap()?;
/// assert_eq!((entry.key.as_slice(), &entry.value[..]), (&b"c"[..], &b"3"[..]));
/// assert_eq!(entry.metadata.size, 1);
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Iter {
    listing: Box<dyn Listing>,
}

impl Iter {
    pub(crate) fn new(listing: Box<dyn Listing>) -> Iter {
        Iter { listing }
    }

    /// Only the keys of what is left; no value is read.
    ///
    /// ```
    /// use nadb::Store;
    /// let letters = Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", "1"), ("b", "2")])?;
    /// let keys = letters.iter()?.keys().collect::<nadb::Result<Vec<_>>>()?;
    /// assert_eq!(keys, [b"a", b"b"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn keys(self) -> Keys {
        Keys { listing: self.listing }
    }

    /// Shows key and value of the next record to `see`, without the copies and the metadata of an [`Entry`]: the fastest way through
    /// many records. `None` at the end.
    ///
    /// What `see` is shown is there only until it returns. An error is as that of [`next`](Iterator::next), and `see` is not called
    /// then.
    ///
    /// ```
    /// use nadb::Store;
    /// let letters = Store::memory()?.namespace("letters")?;
    /// letters.set_many([("a", "1"), ("b", "22")])?;
    /// let (mut records, mut bytes) = (letters.iter()?, 0);
    /// while let Some(seen) = records.next_with(|_key, value| bytes += value.len()) {
    ///     seen?;
    /// }
    /// assert_eq!(bytes, 3);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn next_with<R>(&mut self, see: impl FnOnce(&[u8], &[u8]) -> R) -> Option<Result<R>> {
        self.with(see, |listing, see| listing.next_with(see))
    }

    /// The same with the next record from the back.
    pub fn next_back_with<R>(&mut self, see: impl FnOnce(&[u8], &[u8]) -> R) -> Option<Result<R>> {
        self.with(see, |listing, see| listing.next_back_with(see))
    }

    fn with<R>(
        &mut self,
        see: impl FnOnce(&[u8], &[u8]) -> R,
        step: impl FnOnce(&mut dyn Listing, &mut dyn FnMut(&[u8], &[u8])) -> Option<Result<()>>,
    ) -> Option<Result<R>> {
        let (mut see, mut seen) = (Some(see), None);
        let step = step(&mut *self.listing, &mut |key, value| {
            if let Some(see) = see.take() {
                seen = Some(see(key, value));
            }
        })?;
        let nothing = || Error::new(ErrorKind::Unsupported, "the backend gave a record without showing it");
        Some(step.and_then(|()| seen.ok_or_else(nothing)))
    }
}

impl Iterator for Iter {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        self.listing.next()
    }
}

impl DoubleEndedIterator for Iter {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.listing.next_back()
    }
}

/// The keys of a range, in order, without their values; made by [`Iter::keys`].
///
/// ```
/// use nadb::Store;
/// let letters = Store::memory()?.namespace("letters")?;
/// letters.set_many([("a", "1"), ("b", "2")])?;
/// assert_eq!(letters.range("a"..)?.keys().next_back().unwrap()?, b"b");
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug)]
#[must_use = "an iterator does nothing until it is asked for items"]
pub struct Keys {
    listing: Box<dyn Listing>,
}

impl Iterator for Keys {
    type Item = Result<Vec<u8>>;

    fn next(&mut self) -> Option<Result<Vec<u8>>> {
        self.listing.next_key()
    }
}

impl DoubleEndedIterator for Keys {
    fn next_back(&mut self) -> Option<Result<Vec<u8>>> {
        self.listing.next_key_back()
    }
}
