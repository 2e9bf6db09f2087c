//! Backends whose snapshots are wrong in one way each; `noticed.rs` says which checks must notice.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use nadb_core::{
    Backend, BackendSnapshot, Capabilities, Clock, Entry, Error, ErrorKind, Feature, Listing, Metadata,
    NamespaceInfo, Operation, Outcome, Result, ScanRequest, Stats, Value, ValueReader, ValueWriter,
    WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

/// How they are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    BatchesAreSeenWhileDone,
    ClaimedOnly,
    ClosingIsForgotten,
    DropsReachThem,
    DropsAndNewOnesReachThem,
    EndWithTheirElder,
    ForgetWhatIsDeleted,
    GetIsOfNow,
    GetManyIsNotOfOneMoment,
    GetManyOfThemSortsItsKeys,
    Hidden,
    ListingsReadLate,
    MetadataIsOfNow,
    NamesAreOfNow,
    OneForAll,
    ReadersAreOfNow,
    ReadersEndWithThem,
    ScansForgetTheirOtherEnd,
    ScansHaveNoBounds,
    ScansReadLate,
    ShowNewKeys,
    ShowNow,
    ShownIsOfNow,
    StopWriters,
    TakeAnyInput,
    TimeGoesOn,
    TimeIsThatOfTheLastWrite,
    VersionIsOfNow,
    VersionStandsStill,
}

pub(crate) struct Wrong {
    map: Arc<MapBackend>,
    fault: Fault,
    capabilities: Capabilities,
    /// That of the snapshot that was taken last.
    token: Mutex<Weak<()>>,
    /// One that is given to several.
    kept: Mutex<Option<Arc<dyn BackendSnapshot>>>,
}

impl Wrong {
    pub(crate) fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
        let map = Arc::new(MapBackend::new(clock));
        let mut capabilities = map.capabilities().clone();
        if fault == Fault::Hidden {
            capabilities.features.remove(&Feature::Snapshots);
        }
        Wrong { map, fault, capabilities, token: Mutex::default(), kept: Mutex::default() }
    }
}

impl Backend for Wrong {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        if self.fault == Fault::StopWriters && self.token.lock().unwrap().strong_count() > 0 {
            return Err(Error::new(ErrorKind::Unavailable, "there is a snapshot"));
        }
        if self.fault == Fault::BatchesAreSeenWhileDone {
            let each = batch.iter().map(|operation| {
                thread::sleep(Duration::from_millis(1));
                self.map.write(std::slice::from_ref(operation), options)
            });
            return Ok(each.collect::<Result<Vec<_>>>()?.concat());
        }
        let outcomes = self.map.write(batch, options)?;
        if self.fault == Fault::TimeIsThatOfTheLastWrite {
            *self.kept.lock().unwrap() = Some(self.map.snapshot()?);
        }
        Ok(outcomes)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.map.get(namespace, key)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.map.get_entry(namespace, key)
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        if self.fault != Fault::GetManyIsNotOfOneMoment {
            return self.map.get_many(namespace, keys);
        }
        let each = keys.iter().map(|key| {
            thread::sleep(Duration::from_millis(1));
            self.map.get(namespace, key)
        });
        each.collect()
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        let listing = self.map.scan(namespace, request)?;
        let late = (self.fault == Fault::ListingsReadLate).then(|| Arc::clone(&self.map));
        Ok(Box::new(WrongListing { listing, late, namespace: namespace.to_owned(), other: None }))
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.map.namespaces()
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        self.map.drop_namespace(name)
    }

    fn close(&self) -> Result<()> {
        self.map.close()
    }

    fn stats(&self) -> Result<Stats> {
        self.map.stats()
    }

    fn writer(&self, operation: Operation<'static>, options: &WriteOptions) -> Result<Box<dyn ValueWriter>> {
        self.map.writer(operation, options)
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        self.map.reader(namespace, key)
    }

    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        let then = self.map.snapshot()?;
        if self.fault == Fault::ClaimedOnly {
            return Err(self.capabilities.unsupported("snapshots"));
        }
        let mut kept = self.kept.lock().unwrap();
        let then = match self.fault {
            Fault::OneForAll => Arc::clone(kept.get_or_insert(then)),
            Fault::TimeIsThatOfTheLastWrite => kept.clone().unwrap_or(then),
            _ => then,
        };
        let token = Arc::new(());
        let elder = std::mem::replace(&mut *self.token.lock().unwrap(), Arc::downgrade(&token));
        let elder = (elder.strong_count() > 0).then_some(elder);
        Ok(Arc::new(WrongSnapshot { map: Arc::clone(&self.map), fault: self.fault, then, elder, token }))
    }
}

struct WrongSnapshot {
    map: Arc<MapBackend>,
    fault: Fault,
    /// What is right.
    then: Arc<dyn BackendSnapshot>,
    /// The one that was there when this was taken.
    elder: Option<Weak<()>>,
    token: Arc<()>,
}

impl WrongSnapshot {
    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Whether it shows this namespace as it is now.
    fn is_now(&self, namespace: &str) -> bool {
        let is_there = || self.map.namespaces().unwrap().iter().any(|info| info.name == namespace);
        // A namespace was made anew when its first version is behind the snapshot.
        let is_new = || {
            let all = self.map.scan(namespace, ScanRequest::all()).unwrap();
            all.map(Result::unwrap).all(|entry| entry.metadata.version > self.then.version())
        };
        match self.fault {
            Fault::ShowNow => true,
            Fault::DropsReachThem => !is_there(),
            Fault::DropsAndNewOnesReachThem => is_there() && is_new(),
            Fault::EndWithTheirElder => self.elder.as_ref().is_some_and(|elder| elder.strong_count() == 0),
            _ => false,
        }
    }

    fn wrong_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        let then = self.then.get_entry(namespace, key)?;
        let now = || self.map.get_entry(namespace, key);
        Ok(match self.fault {
            _ if self.is_now(namespace) => now()?,
            Fault::ForgetWhatIsDeleted => now()?.and(then),
            Fault::ShowNewKeys => then.or(now()?),
            Fault::TimeGoesOn => {
                // A record that nobody touched since, and which is gone, has expired.
                then.filter(|entry| {
                    entry.metadata.expires_ms.is_none() || now().is_ok_and(|now| now.is_some())
                })
            }
            _ => then,
        })
    }

    /// What a right one answers where a wrong one is closed or is given wrong input.
    fn or_nothing<T: Default>(&self, result: Result<T>) -> Result<T> {
        match &result {
            Err(error) if self.is(Fault::ClosingIsForgotten) && error.kind() == ErrorKind::Closed => {
                Ok(T::default())
            }
            Err(error) if self.is(Fault::TakeAnyInput) && error.kind() != ErrorKind::Closed => {
                Ok(T::default())
            }
            _ => result,
        }
    }
}

impl BackendSnapshot for WrongSnapshot {
    fn version(&self) -> u64 {
        match self.fault {
            Fault::VersionStandsStill => 7,
            Fault::VersionIsOfNow => self.map.snapshot().map_or(0, |now| now.version()),
            _ => self.then.version(),
        }
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        if self.is(Fault::GetIsOfNow) {
            return self.map.get(namespace, key);
        }
        self.or_nothing(self.wrong_entry(namespace, key).map(|entry| entry.map(|entry| entry.value)))
    }

    fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        if self.is(Fault::ShownIsOfNow) {
            return self.map.get_with(namespace, key, read);
        }
        Ok(self.get(namespace, key)?.map(|value| read(&value)).is_some())
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        if self.is(Fault::ReadersAreOfNow) {
            return self.map.reader(namespace, key);
        }
        let inner = self.then.reader(namespace, key)?;
        let at = self.is(Fault::ReadersEndWithThem).then(|| Arc::downgrade(&self.token));
        let reader = |inner| Box::new(WrongReader { inner, at }) as Box<dyn ValueReader>;
        Ok(self.get_entry(namespace, key)?.and(inner).map(reader))
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.or_nothing(self.wrong_entry(namespace, key))
    }

    fn metadata(&self, namespace: &str, key: &[u8]) -> Result<Option<Metadata>> {
        if self.is(Fault::MetadataIsOfNow) {
            return self.map.metadata(namespace, key);
        }
        self.or_nothing(self.wrong_entry(namespace, key).map(|entry| entry.map(|entry| entry.metadata)))
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        let mut keys = keys.to_vec();
        if self.is(Fault::GetManyOfThemSortsItsKeys) {
            keys.sort_unstable();
        }
        keys.iter().map(|key| self.get(namespace, key)).collect()
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        let request = if self.is(Fault::ScansHaveNoBounds) { ScanRequest::all() } else { request };
        if self.is_now(namespace) {
            return self.map.scan(namespace, request);
        }
        let listing = self.then.scan(namespace, request.clone())?;
        let late = self.is(Fault::ScansReadLate).then(|| Arc::clone(&self.map));
        let other = match self.fault {
            Fault::ScansForgetTheirOtherEnd => Some(self.then.scan(namespace, request)?),
            _ => None,
        };
        Ok(Box::new(WrongListing { listing, late, namespace: namespace.to_owned(), other }))
    }

    fn namespaces(&self) -> Result<Vec<String>> {
        if self.is(Fault::NamesAreOfNow) {
            return Ok(self.map.namespaces()?.into_iter().map(|info| info.name).collect());
        }
        self.or_nothing(self.then.namespaces())
    }
}

struct WrongReader {
    inner: Box<dyn ValueReader>,
    /// The snapshot with which it ends.
    at: Option<Weak<()>>,
}

impl Read for WrongReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let is_over = self.at.as_ref().is_some_and(|at| at.strong_count() == 0);
        if is_over { Ok(0) } else { self.inner.read(buf) }
    }
}

impl Seek for WrongReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

impl ValueReader for WrongReader {
    fn metadata(&self) -> &Metadata {
        self.inner.metadata()
    }
}

struct WrongListing {
    listing: Box<dyn Listing>,
    /// Where values come from that are read when they are asked for.
    late: Option<Arc<MapBackend>>,
    namespace: String,
    /// Gives what is asked for from the back, and knows nothing of the front.
    other: Option<Box<dyn Listing>>,
}

impl Iterator for WrongListing {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let entry = self.listing.next()?;
        let Some(map) = &self.late else { return Some(entry) };
        let of_now = entry.and_then(|entry| Ok(map.get_entry(&self.namespace, &entry.key)?.unwrap_or(entry)));
        Some(of_now)
    }
}

impl DoubleEndedIterator for WrongListing {
    fn next_back(&mut self) -> Option<Result<Entry>> {
        self.other.as_mut().unwrap_or(&mut self.listing).next_back()
    }
}

impl Listing for WrongListing {}
