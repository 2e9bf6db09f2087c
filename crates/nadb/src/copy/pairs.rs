//! The records of two stores side by side, in the order of their keys.

use std::cmp::Ordering;

use nadb_core::{Backend, Entry, Listing, Result, ScanRequest};

/// A key in both stores, or in one of them.
pub(super) enum Pair {
    Both(Entry, Entry),
    From(Entry),
    To(Entry),
}

impl Pair {
    pub(super) fn from(&self) -> Option<&Entry> {
        match self {
            Pair::Both(entry, _) | Pair::From(entry) => Some(entry),
            Pair::To(_) => None,
        }
    }

    pub(super) fn to(&self) -> Option<&Entry> {
        match self {
            Pair::Both(_, entry) | Pair::To(entry) => Some(entry),
            Pair::From(_) => None,
        }
    }

    /// The record that there is, of both the one in the first store.
    pub(super) fn entry(&self) -> &Entry {
        match self {
            Pair::Both(entry, _) | Pair::From(entry) | Pair::To(entry) => entry,
        }
    }
}

/// What two records of one key differ in, of what is copied; `None` where they are the same.
pub(super) fn difference(from: &Entry, to: &Entry) -> Option<&'static str> {
    let (a, b) = (&from.metadata, &to.metadata);
    let parts = [
        (from.value == to.value, "has another value"),
        (a.tags == b.tags, "has other tags"),
        (a.expires_ms == b.expires_ms, "has another expiry"),
        (a.created_ms == b.created_ms, "was created at another time"),
        (a.updated_ms == b.updated_ms, "was updated at another time"),
        (a.content_type == b.content_type, "has another media type"),
        (a.attrs == b.attrs, "has other attributes"),
    ];
    parts.into_iter().find(|(is_same, _)| !is_same).map(|(_, what)| what)
}

/// A listing with the record that comes next.
struct Side {
    listing: Box<dyn Listing>,
    next: Option<Entry>,
}

impl Side {
    fn new(backend: &dyn Backend, namespace: &str, scan: ScanRequest) -> Result<Side> {
        Ok(Side { listing: backend.scan(namespace, scan)?, next: None })
    }

    /// Has the next record ready, if there is one.
    fn fill(&mut self) -> Result<()> {
        if self.next.is_none() {
            self.next = self.listing.next().transpose()?;
        }
        Ok(())
    }
}

/// Pairs in the order of the keys. After an error there are no more.
pub(super) struct Pairs {
    from: Side,
    to: Side,
    has_failed: bool,
}

impl Pairs {
    pub(super) fn new(
        from: &dyn Backend,
        to: &dyn Backend,
        namespace: &str,
        scan: ScanRequest,
    ) -> Result<Pairs> {
        Ok(Pairs {
            from: Side::new(from, namespace, scan.clone())?,
            to: Side::new(to, namespace, scan)?,
            has_failed: false,
        })
    }

    fn pair(&mut self) -> Result<Option<Pair>> {
        self.from.fill()?;
        self.to.fill()?;
        let order = match (&self.from.next, &self.to.next) {
            (Some(from), Some(to)) => from.key.cmp(&to.key),
            (Some(_), None) => Ordering::Less,
            (None, _) => Ordering::Greater,
        };
        Ok(match order {
            Ordering::Less => self.from.next.take().map(Pair::From),
            Ordering::Greater => self.to.next.take().map(Pair::To),
            Ordering::Equal => {
                self.from.next.take().zip(self.to.next.take()).map(|(from, to)| Pair::Both(from, to))
            }
        })
    }
}

impl Iterator for Pairs {
    type Item = Result<Pair>;

    fn next(&mut self) -> Option<Result<Pair>> {
        if self.has_failed {
            return None;
        }
        let pair = self.pair();
        self.has_failed = pair.is_err();
        pair.transpose()
    }
}
