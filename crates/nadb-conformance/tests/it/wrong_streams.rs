//! Backends whose streams are wrong in one way each; `noticed.rs` says which checks must notice.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex};

use nadb_core::{
    Action, Backend, BackendSnapshot, Capabilities, Clock, Condition, Entry, Error, ErrorKind, ExpiryUpdate,
    Feature, Listing, Metadata, NamespaceInfo, Operation, Outcome, Put, Result, ScanRequest, Stats, Tags,
    TagsUpdate, Value, ValueReader, ValueWriter, WriteBatch, WriteOptions,
};

use crate::map_backend::MapBackend;

/// How they are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    AbsentIsEmpty,
    AnyInputIsTaken,
    AttributesAreForgotten,
    ClaimedOnly,
    ClassesAreIgnored,
    ClosingIsForgotten,
    CommitWhenDropped,
    CommittedAtTheFirstPiece,
    ConditionsAreIgnored,
    ConditionsAreOfTheStart,
    DeletesAreTaken,
    EmptyPieceIsTheEnd,
    ExpiredAreRead,
    FailedGoOn,
    FirstPieceIsAll,
    FirstStreamWins,
    Hidden,
    KeepIsOfTheStart,
    LastPieceIsAll,
    LengthIsThatOfThePiece,
    LifetimesAreOfTheStart,
    LongPiecesAreCut,
    MetadataIsOfNow,
    NamespaceComesAtTheStart,
    OneStreamPerKey,
    OwnValueIsForgotten,
    ReadersAreOfNow,
    ReadersEndEarly,
    ReadersEndWithTheirKey,
    ReadersStopWriters,
    SeeksFromEndCountFromStart,
    SeeksStayBeforeTheEnd,
    SeeksStopAtTheStart,
    TooLongIsCut,
    VersionIsOfTheStart,
}

pub(crate) struct Wrong {
    map: MapBackend,
    clock: Arc<dyn Clock>,
    fault: Fault,
    capabilities: Capabilities,
    /// The store after its last write.
    last: Arc<Mutex<Option<Arc<dyn BackendSnapshot>>>>,
    /// Keys that a stream is open for, and how many readers there are.
    busy: Arc<Mutex<Vec<Vec<u8>>>>,
    readers: Arc<()>,
}

impl Wrong {
    pub(crate) fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
        let map = MapBackend::new(Arc::clone(&clock));
        let mut capabilities = map.capabilities().clone();
        if fault == Fault::Hidden {
            capabilities.features.remove(&Feature::Streams);
        }
        let (last, busy, readers) = (Arc::default(), Arc::default(), Arc::default());
        Wrong { map, clock, fault, capabilities, last, busy, readers }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// What is wrong about an operation before its first piece.
    fn prepare(&self, operation: &mut Operation<'static>) -> Result<()> {
        let (namespace, key) = (operation.namespace.clone(), operation.key.clone());
        let current = self.map.metadata(&namespace, &key);
        let Action::Put(put) = &mut operation.action else { return Ok(()) };
        match self.fault {
            Fault::AttributesAreForgotten => put.attrs = Put::default().attrs,
            Fault::OwnValueIsForgotten => put.value = Vec::new().into(),
            Fault::KeepIsOfTheStart if put.tags == TagsUpdate::Keep => {
                put.tags = TagsUpdate::Replace(current?.map_or_else(Tags::default, |m| m.tags));
            }
            Fault::LifetimesAreOfTheStart => {
                if let ExpiryUpdate::After(ttl) = put.expiry {
                    let ttl_ms = u64::try_from(ttl.as_millis()).unwrap();
                    put.expiry = ExpiryUpdate::AtMs(self.clock.now_ms() + ttl_ms);
                }
            }
            Fault::ConditionsAreIgnored => operation.condition = Condition::Always,
            Fault::ConditionsAreOfTheStart => {
                operation.condition = match (operation.condition, current?) {
                    (Condition::IfAbsent, None) | (Condition::IfPresent, Some(_)) => Condition::Always,
                    (other, _) => other,
                }
            }
            Fault::FirstStreamWins if operation.condition == Condition::Always => {
                operation.condition = match current? {
                    Some(metadata) => Condition::IfVersion(metadata.version),
                    None => Condition::IfAbsent,
                }
            }
            Fault::NamespaceComesAtTheStart => {
                let set = |action| Operation::new(namespace.clone(), b"tmp".as_slice(), action);
                self.map.write(&[set(Action::Put(Put::default()))], &WriteOptions::default())?;
                self.map.write(&[set(Action::Delete)], &WriteOptions::default())?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Backend for Wrong {
    fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        if self.is(Fault::ReadersStopWriters) && Arc::strong_count(&self.readers) > 1 {
            return Err(Error::new(ErrorKind::Unavailable, "there is a reader"));
        }
        let outcomes = self.map.write(batch, options)?;
        *self.last.lock().unwrap() = Some(self.map.snapshot()?);
        Ok(outcomes)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.map.get(namespace, key)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.map.get_entry(namespace, key)
    }

    fn get_many(&self, namespace: &str, keys: &[&[u8]]) -> Result<Vec<Option<Value>>> {
        self.map.get_many(namespace, keys)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        self.map.scan(namespace, request)
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

    fn snapshot(&self) -> Result<Arc<dyn BackendSnapshot>> {
        self.map.snapshot()
    }

    fn writer(
        &self,
        mut operation: Operation<'static>,
        options: &WriteOptions,
    ) -> Result<Box<dyn ValueWriter>> {
        let mut options = options.clone();
        match self.fault {
            Fault::ClaimedOnly => return Err(self.capabilities.unsupported("streams")),
            Fault::ClassesAreIgnored => options.durability = None,
            Fault::DeletesAreTaken => operation.action = Action::Put(Put::default()),
            _ => {}
        }
        self.prepare(&mut operation)?;
        let busy = Busy::new(&self.busy, &operation.key, self.is(Fault::OneStreamPerKey))?;
        let version = self.map.metadata(&operation.namespace, &operation.key).ok().flatten();
        let inner = match self.map.writer(operation.clone(), &options) {
            Err(_) if self.is(Fault::AnyInputIsTaken) => self
                .map
                .writer(Operation::new("n", b"k".as_slice(), Action::Put(Put::default())), &options)?,
            inner => inner?,
        };
        let version = version.map(|metadata| metadata.version);
        let (map, fault, pieces) = (self.map.clone(), self.fault, 0);
        let last = inner.len();
        let inner = Some(inner);
        Ok(Box::new(WrongWriter {
            map,
            fault,
            operation,
            options,
            inner,
            pieces,
            last,
            version,
            _busy: busy,
        }))
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        let found = match self.map.reader(namespace, key) {
            Err(error) if self.is(Fault::ClosingIsForgotten) && error.kind() == ErrorKind::Closed => None,
            Err(error) if self.is(Fault::AnyInputIsTaken) && error.kind() != ErrorKind::Closed => None,
            found => found?,
        };
        let absent = match self.fault {
            Fault::AbsentIsEmpty => Some(Entry::new(key.to_vec(), Value::default(), Metadata::new(1, 0, 1))),
            Fault::ExpiredAreRead => {
                let last = self.last.lock().unwrap().clone();
                last.map(|last| last.get_entry(namespace, key)).transpose()?.flatten()
            }
            _ => None,
        };
        let place = (namespace.to_owned(), key.to_vec());
        let reader = |inner: Box<dyn ValueReader>| -> Box<dyn ValueReader> {
            let (map, token) = (self.map.clone(), Arc::clone(&self.readers));
            Box::new(WrongReader { map, fault: self.fault, place, inner, _token: token })
        };
        let absent = absent.map(|entry| -> Box<dyn ValueReader> {
            Box::new(Remembered { value: io::Cursor::new(entry.value.to_vec()), metadata: entry.metadata })
        });
        Ok(found.or(absent).map(reader))
    }
}

/// That a stream is open for a key.
struct Busy(Arc<Mutex<Vec<Vec<u8>>>>, Vec<u8>);

impl Busy {
    fn new(all: &Arc<Mutex<Vec<Vec<u8>>>>, key: &[u8], is_exclusive: bool) -> Result<Busy> {
        let mut keys = all.lock().unwrap();
        if is_exclusive && keys.iter().any(|busy| busy == key) {
            return Err(Error::new(ErrorKind::Unavailable, "there is another stream for the key"));
        }
        keys.push(key.to_vec());
        Ok(Busy(Arc::clone(all), key.to_vec()))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut keys = self.0.lock().unwrap();
        let at = keys.iter().position(|busy| *busy == self.1).unwrap();
        keys.remove(at);
    }
}

struct WrongWriter {
    map: MapBackend,
    fault: Fault,
    operation: Operation<'static>,
    options: WriteOptions,
    /// What is right; gone after the commit.
    inner: Option<Box<dyn ValueWriter>>,
    pieces: usize,
    /// Bytes of the last piece.
    last: u64,
    /// The key's version when the stream began.
    version: Option<u64>,
    _busy: Busy,
}

impl WrongWriter {
    fn inner(&mut self) -> &mut Box<dyn ValueWriter> {
        self.inner.as_mut().unwrap()
    }

    /// A stream of nothing in the place of the one that was right.
    fn renew(&mut self) -> Result<Box<dyn ValueWriter>> {
        let mut fresh = self.operation.clone();
        fresh.condition = Condition::Always;
        let fresh = self.map.writer(fresh, &self.options)?;
        Ok(self.inner.replace(fresh).unwrap())
    }
}

impl ValueWriter for WrongWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let is_first = self.pieces == 0;
        self.pieces += 1;
        self.last = bytes.len() as u64;
        let max = self.map.capabilities().value_bytes_max;
        let room = usize::try_from(max - self.inner().len()).unwrap();
        let bytes = match self.fault {
            Fault::FirstPieceIsAll if !is_first => return Ok(()),
            Fault::EmptyPieceIsTheEnd if bytes.is_empty() => {
                self.pieces = usize::MAX / 2;
                bytes
            }
            Fault::EmptyPieceIsTheEnd if self.pieces > usize::MAX / 2 => &[],
            Fault::LongPiecesAreCut => &bytes[..bytes.len().min(4_096)],
            Fault::TooLongIsCut => &bytes[..bytes.len().min(room)],
            _ => bytes,
        };
        let written = self.inner().write(bytes);
        match &written {
            Err(_) if self.fault == Fault::FailedGoOn => {
                self.renew()?;
            }
            Err(error) if self.fault == Fault::ClosingIsForgotten && error.kind() == ErrorKind::Closed => {
                return Ok(());
            }
            Ok(()) if self.fault == Fault::CommittedAtTheFirstPiece && is_first => {
                let first = self.renew()?;
                first.commit()?;
                return self.inner().write(bytes);
            }
            _ => {}
        }
        written
    }

    fn len(&self) -> u64 {
        match self.fault {
            Fault::LengthIsThatOfThePiece => self.last,
            _ => self.inner.as_ref().unwrap().len(),
        }
    }

    fn commit(mut self: Box<Self>) -> Result<Outcome> {
        let committed = self.inner.take().unwrap().commit();
        let mut outcome = match committed {
            Err(error) if self.fault == Fault::ClosingIsForgotten && error.kind() == ErrorKind::Closed => {
                Outcome::default()
            }
            outcome => outcome?,
        };
        match self.fault {
            Fault::VersionIsOfTheStart if self.version.is_some() => outcome.version = self.version,
            Fault::LastPieceIsAll => {
                let Some(entry) = self.map.get_entry(&self.operation.namespace, &self.operation.key)? else {
                    return Ok(outcome);
                };
                let skip = entry.value.len() - usize::try_from(self.last).unwrap();
                let put = Action::Put(Put::new(entry.value[skip..].to_vec()));
                self.map.write(
                    &[Operation::new(self.operation.namespace.clone(), entry.key, put)],
                    &WriteOptions::default(),
                )?;
            }
            _ => {}
        }
        Ok(outcome)
    }
}

impl Drop for WrongWriter {
    fn drop(&mut self) {
        if self.fault == Fault::CommitWhenDropped
            && let Some(inner) = self.inner.take()
        {
            let _ = inner.commit();
        }
    }
}

struct WrongReader {
    map: MapBackend,
    fault: Fault,
    place: (String, Vec<u8>),
    /// What is right.
    inner: Box<dyn ValueReader>,
    _token: Arc<()>,
}

impl WrongReader {
    fn of_now(&self) -> Option<Box<dyn ValueReader>> {
        self.map.reader(&self.place.0, &self.place.1).unwrap()
    }
}

impl Read for WrongReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let position = self.inner.stream_position()?;
        let size = self.inner.metadata().size;
        match self.fault {
            Fault::ReadersAreOfNow => {
                let Some(mut now) = self.of_now() else { return self.inner.read(buf) };
                now.seek(SeekFrom::Start(position))?;
                let count = now.read(buf)?;
                self.inner.seek(SeekFrom::Start(position + count as u64))?;
                Ok(count)
            }
            Fault::ReadersEndWithTheirKey if self.of_now().is_none() => Ok(0),
            Fault::ReadersEndEarly if size > 0 => {
                let left = usize::try_from((size - 1).saturating_sub(position)).unwrap();
                let len = buf.len().min(left);
                self.inner.read(&mut buf[..len])
            }
            _ => self.inner.read(buf),
        }
    }
}

impl Seek for WrongReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let size = self.inner.metadata().size;
        match (self.fault, to) {
            (Fault::SeeksFromEndCountFromStart, SeekFrom::End(by)) => {
                self.inner.seek(SeekFrom::Start(by.unsigned_abs()))
            }
            (Fault::SeeksStopAtTheStart, _) => {
                self.inner.seek(to).or_else(|_| self.inner.seek(SeekFrom::Start(0)))
            }
            (Fault::SeeksStayBeforeTheEnd, _) => {
                let position = self.inner.seek(to)?;
                self.inner.seek(SeekFrom::Start(position.min(size)))
            }
            _ => self.inner.seek(to),
        }
    }
}

impl ValueReader for WrongReader {
    fn metadata(&self) -> &Metadata {
        static OTHER: std::sync::LazyLock<Metadata> =
            std::sync::LazyLock::new(|| Metadata::new(u64::MAX, 0, 1));
        // A reader cannot lend out what is the key's now: that it is another shows in the version.
        let is_changed = || {
            let now = self.map.metadata(&self.place.0, &self.place.1).unwrap();
            now.is_none_or(|now| now.version != self.inner.metadata().version)
        };
        if self.fault == Fault::MetadataIsOfNow && is_changed() { &OTHER } else { self.inner.metadata() }
    }
}

/// A value that is no more.
struct Remembered {
    value: io::Cursor<Vec<u8>>,
    metadata: Metadata,
}

impl Read for Remembered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.value.read(buf)
    }
}

impl Seek for Remembered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.value.seek(to)
    }
}

impl ValueReader for Remembered {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}
