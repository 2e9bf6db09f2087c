//! The rows of a sealed segment whose footer nobody has looked at yet: opening with a checkpoint needs none of them.
//!
//! It promises that the footer is read and checked as an opening without a checkpoint does it, once, by who first needs a row; and
//! that it has as many rows as the checkpoint says.

use std::sync::{Arc, OnceLock};

use nadb_core::Result;
use parking_lot::Mutex;

use crate::log::ReadMode;
use crate::rows::Rows;
use crate::seal::open_or_rebuild;
use crate::segment::Segment;

/// The rows of a sealed segment, read when one of them is first asked for.
#[derive(Debug)]
pub struct SealedRows {
    segment: Arc<Segment>,
    mode: ReadMode,
    len: u32,
    found: OnceLock<Rows>,
    /// Held by who reads the footer.
    opening: Mutex<()>,
    is_rebuilt: OnceLock<()>,
}

impl SealedRows {
    pub(crate) fn new(segment: &Arc<Segment>, mode: ReadMode, len: u32) -> SealedRows {
        SealedRows {
            segment: Arc::clone(segment),
            mode,
            len,
            found: OnceLock::new(),
            opening: Mutex::new(()),
            is_rebuilt: OnceLock::new(),
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// The rows, if somebody has needed them.
    pub(crate) fn found(&self) -> Option<&Rows> {
        self.found.get()
    }

    /// Whether the footer was damaged, and is built again in memory.
    pub(crate) fn is_rebuilt(&self) -> bool {
        self.is_rebuilt.get().is_some()
    }

    /// The rows; waits for the file where they have not been needed before.
    ///
    /// # Errors
    /// `Corruption` where neither footer nor records are whole, or they are not as the checkpoint says; `Io`. The next call
    /// tries again.
    pub(crate) fn rows(&self) -> Result<&Rows> {
        match self.found.get() {
            Some(rows) => Ok(rows),
            None => self.open(),
        }
    }

    #[cold]
    fn open(&self) -> Result<&Rows> {
        let _one_at_a_time = self.opening.lock();
        if let Some(rows) = self.found.get() {
            return Ok(rows);
        }
        let (rows, warning) = open_or_rebuild(&self.segment, self.mode)?;
        if rows.len() != self.len {
            let what = format!(
                "the segment has {} rows, the checkpoint says {}; close the store, remove the file CHECKPOINT, and open it \
                 again",
                rows.len(),
                self.len
            );
            return Err(self.segment.corruption(u64::from(rows.len()), what));
        }
        if warning.is_some() {
            let _ = self.is_rebuilt.set(());
        }
        Ok(self.found.get_or_init(|| rows))
    }
}
