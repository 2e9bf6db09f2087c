//! Values in pieces. A server takes and gives a value as a whole, so it is in memory here, up to the longest value that there may be.

use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::Arc;

use nadb_core::limits::check_value_len_max;
use nadb_core::{
    Action, Entry, Error, Metadata, Operation, Outcome, Result, Value, ValueReader, ValueWriter,
};

use crate::core::Core;
use crate::failure::unexpected;

/// A value that is being collected; nobody sees anything of it before it is whole.
pub(crate) struct Writer {
    core: Arc<Core>,
    operation: Operation<'static>,
    value: Vec<u8>,
    /// What was wrong first, and is from then on.
    failed: Option<Error>,
}

impl Writer {
    /// Begins with the value that a put brings along.
    ///
    /// # Errors
    /// `Unsupported` for anything but a put.
    pub(crate) fn new(core: &Arc<Core>, mut operation: Operation<'static>) -> Result<Writer> {
        let Action::Put(put) = &mut operation.action else {
            return Err(core.capabilities.unsupported("streams of anything but a put"));
        };
        let value = std::mem::take(&mut put.value).into_owned();
        Ok(Writer { core: Arc::clone(core), operation, value, failed: None })
    }

    fn check(&self, more: usize) -> Result<()> {
        self.core.link.check_open()?;
        let len = (self.value.len() as u64).saturating_add(more as u64);
        check_value_len_max(len, self.core.capabilities.value_bytes_max)
    }
}

impl ValueWriter for Writer {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        if self.failed.is_none() {
            self.failed = self.check(bytes.len()).err();
        }
        if let Some(error) = &self.failed {
            return Err(error.duplicate());
        }
        self.value.extend_from_slice(bytes);
        Ok(())
    }

    fn len(&self) -> u64 {
        self.value.len() as u64
    }

    fn commit(self: Box<Self>) -> Result<Outcome> {
        let Writer { core, mut operation, value, failed } = *self;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Action::Put(put) = &mut operation.action {
            put.value = value.into();
        }
        core.write(&[operation])?.pop().ok_or_else(|| unexpected("a write"))
    }
}

/// A value as it was when it was found.
pub(crate) struct Reader {
    value: Cursor<Value>,
    metadata: Metadata,
}

impl Reader {
    pub(crate) fn new(entry: Entry) -> Reader {
        Reader { value: Cursor::new(entry.value), metadata: entry.metadata }
    }
}

impl Read for Reader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.value.read(buf)
    }
}

impl Seek for Reader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.value.seek(to)
    }
}

impl ValueReader for Reader {
    fn metadata(&self) -> &Metadata {
        &self.metadata
    }
}
