//! Backends that show values wrongly, in one way each; `noticed.rs` says which checks must notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nadb_core::{
    Backend, BackendSnapshot, Capabilities, Clock, Entry, Error, ErrorKind, Listing, NamespaceInfo,
    Operation, Outcome, Result, ScanRequest, Stats, Value, ValueReader, ValueWriter, WriteBatch,
    WriteOptions,
};

use crate::map_backend::MapBackend;

/// How they are wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    AbsentIsEmpty,
    AnyInputIsTaken,
    ClosingIsForgotten,
    ExpiredAreShown,
    KeepsQuiet,
    LocksTheStore,
    NothingIsShown,
    ShowsHalf,
    ShowsTwice,
    StaysLockedAfterAPanic,
    SwallowsPanics,
}

pub(crate) struct Wrong {
    map: MapBackend,
    fault: Fault,
    /// The store with all that was ever written, whatever became of it.
    archive: MapBackend,
    /// Somebody is being shown a value.
    is_busy: AtomicBool,
}

impl Wrong {
    pub(crate) fn new(fault: Fault, clock: Arc<dyn Clock>) -> Wrong {
        let archive = MapBackend::new(Arc::new(nadb_core::ManualClock::new(1)));
        Wrong { map: MapBackend::new(clock), fault, archive, is_busy: AtomicBool::new(false) }
    }

    /// Instead of waiting for ever, which a test would have to wait for.
    fn check_idle(&self) -> Result<()> {
        if self.is_busy.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::Unavailable, "a value is being shown"));
        }
        Ok(())
    }

    fn show(&self, value: &[u8], read: &mut dyn FnMut(&[u8])) {
        match self.fault {
            Fault::LocksTheStore => {
                self.is_busy.store(true, Ordering::SeqCst);
                let _free = Free(&self.is_busy);
                read(value);
            }
            Fault::StaysLockedAfterAPanic => {
                // Others may call it meanwhile, but its end is waited for.
                let is_done = AtomicBool::new(false);
                let _locked = LockUnless { is_done: &is_done, is_busy: &self.is_busy };
                read(value);
                is_done.store(true, Ordering::SeqCst);
            }
            Fault::SwallowsPanics => {
                let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| read(value)));
            }
            Fault::NothingIsShown => {}
            Fault::ShowsHalf => read(&value[..value.len() / 2]),
            Fault::ShowsTwice => {
                read(value);
                read(value);
            }
            _ => read(value),
        }
    }
}

struct Free<'a>(&'a AtomicBool);

impl Drop for Free<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

struct LockUnless<'a> {
    is_done: &'a AtomicBool,
    is_busy: &'a AtomicBool,
}

impl Drop for LockUnless<'_> {
    fn drop(&mut self) {
        if !self.is_done.load(Ordering::SeqCst) {
            self.is_busy.store(true, Ordering::SeqCst);
        }
    }
}

impl Backend for Wrong {
    fn capabilities(&self) -> &Capabilities {
        self.map.capabilities()
    }

    fn write(&self, batch: &WriteBatch<'_>, options: &WriteOptions) -> Result<Vec<Outcome>> {
        self.check_idle()?;
        if self.fault == Fault::ExpiredAreShown {
            let _ = self.archive.write(batch, options);
        }
        self.map.write(batch, options)
    }

    fn get(&self, namespace: &str, key: &[u8]) -> Result<Option<Value>> {
        self.check_idle()?;
        self.map.get(namespace, key)
    }

    fn get_with(&self, namespace: &str, key: &[u8], read: &mut dyn FnMut(&[u8])) -> Result<bool> {
        self.check_idle()?;
        let found = match self.map.get(namespace, key) {
            Err(error) if self.fault == Fault::ClosingIsForgotten && error.kind() == ErrorKind::Closed => {
                None
            }
            Err(error) if self.fault == Fault::AnyInputIsTaken && error.kind() != ErrorKind::Closed => None,
            found => found?,
        };
        let found = match self.fault {
            Fault::ExpiredAreShown => self.archive.get(namespace, key)?,
            Fault::AbsentIsEmpty => Some(found.unwrap_or_default()),
            _ => found,
        };
        if let Some(value) = &found {
            self.show(value, read);
        }
        Ok(found.is_some() && self.fault != Fault::KeepsQuiet)
    }

    fn get_entry(&self, namespace: &str, key: &[u8]) -> Result<Option<Entry>> {
        self.check_idle()?;
        self.map.get_entry(namespace, key)
    }

    fn scan(&self, namespace: &str, request: ScanRequest) -> Result<Box<dyn Listing>> {
        self.check_idle()?;
        self.map.scan(namespace, request)
    }

    fn namespaces(&self) -> Result<Vec<NamespaceInfo>> {
        self.map.namespaces()
    }

    fn drop_namespace(&self, name: &str) -> Result<bool> {
        self.check_idle()?;
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

    fn writer(&self, operation: Operation<'static>, options: &WriteOptions) -> Result<Box<dyn ValueWriter>> {
        self.map.writer(operation, options)
    }

    fn reader(&self, namespace: &str, key: &[u8]) -> Result<Option<Box<dyn ValueReader>>> {
        self.map.reader(namespace, key)
    }
}
