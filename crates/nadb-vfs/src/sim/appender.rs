//! Appending through memory on a simulated disk: what is appended is in the file at once and unsynced, as on a real one; it
//! fails never, and a full disk shows when room is reserved.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use parking_lot::Mutex;

use super::dir::NodeId;
use super::disk::Disk;
use super::fault::{CallKind, TraceCall};
use crate::appender::{Appender, Room};
use crate::mapping::Mapping;

#[derive(Debug)]
pub(super) struct SimAppender {
    end: u64,
    has_stopped: bool,
    room: Arc<SimRoom>,
}

#[derive(Debug)]
struct SimRoom {
    disk: Arc<Mutex<Disk>>,
    node: NodeId,
    path: PathBuf,
    len: u64,
    extent: Mutex<Extent>,
}

/// How far blocks are reserved, and how far they may be appended to.
#[derive(Debug, Clone, Copy)]
struct Extent {
    allocated: u64,
    ready: u64,
}

impl SimAppender {
    /// Counts as a handle of the file.
    pub(super) fn new(disk: &Arc<Mutex<Disk>>, node: NodeId, path: PathBuf, from: u64, len: u64) -> Self {
        disk.lock().opened(node);
        let room = SimRoom {
            disk: Arc::clone(disk),
            node,
            path,
            len,
            extent: Mutex::new(Extent { allocated: from, ready: from }),
        };
        SimAppender { end: from, has_stopped: false, room: Arc::new(room) }
    }
}

impl Drop for SimRoom {
    fn drop(&mut self) {
        self.disk.lock().closed(self.node);
    }
}

impl Appender for SimAppender {
    fn end(&self) -> u64 {
        self.end
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let end = self.end + bytes.len() as u64;
        if self.has_stopped || end > self.room.reserved() {
            return false;
        }
        let mut disk = self.room.disk.lock();
        let call = TraceCall::range(CallKind::Append, &self.room.path, self.end, bytes.len() as u64);
        // A process that has lost its power appends nothing; whoever asks hears of it from the next call.
        let is_alive = disk.accounts.begin(&call).is_ok();
        if is_alive {
            // The blocks are reserved.
            let _ = disk.write(self.room.node, bytes, self.end);
            self.end = end;
        }
        is_alive
    }

    fn skip_to(&mut self, end: u64) {
        self.end = self.end.max(end);
    }

    fn stop(&mut self) {
        self.has_stopped = true;
    }

    /// Tests read by calls, which can be counted and can fail.
    fn mapping(&self) -> Option<Mapping> {
        None
    }

    fn room(&self) -> Arc<dyn Room> {
        Arc::clone(&self.room) as Arc<dyn Room>
    }
}

impl SimRoom {
    fn allocate_from(&self, extent: &mut Extent, upto: u64) -> io::Result<()> {
        let from = extent.allocated;
        if upto > from {
            let mut disk = self.disk.lock();
            disk.begin(&TraceCall::range(CallKind::Allocate, &self.path, from, upto - from))?;
            disk.allocate(self.node, from, upto - from)?;
            extent.allocated = upto;
        }
        Ok(())
    }
}

impl Room for SimRoom {
    fn reserved(&self) -> u64 {
        self.extent.lock().ready
    }

    fn limit(&self) -> u64 {
        self.len
    }

    fn allocate(&self, upto: u64) -> io::Result<()> {
        self.allocate_from(&mut self.extent.lock(), upto.min(self.len))
    }

    fn reserve(&self, upto: u64) -> io::Result<u64> {
        let mut extent = self.extent.lock();
        let upto = upto.min(self.len);
        self.allocate_from(&mut extent, upto)?;
        extent.ready = extent.ready.max(upto);
        Ok(extent.ready)
    }
}
