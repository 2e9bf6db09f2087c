//! Sessions: who writes, and how many writes it has begun, so that the server knows a write that comes twice or late.

use nadb_core::{Entropy, OsEntropy, Result};
use parking_lot::Mutex;

/// One that writes; it has one write on its way at a time.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) id: u64,
    /// The number of the write that was begun last.
    pub(crate) number: u64,
}

/// Sessions that nobody uses now. The one that was used last is used next, so that few are in use and what is left of a write that
/// was given up is soon behind the number of another.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Vec<Session>>);

impl Sessions {
    /// A session, for one writer alone.
    ///
    /// # Errors
    /// `Io` when the system has no randomness to give.
    pub(crate) fn take(&self) -> Result<Session> {
        if let Some(session) = self.0.lock().pop() {
            return Ok(session);
        }
        let mut id = [0; 8];
        OsEntropy.fill(&mut id)?;
        Ok(Session { id: u64::from_le_bytes(id), number: 0 })
    }

    /// Nothing of the session is on its way any more, as far as anyone knows.
    pub(crate) fn give_back(&self, session: Session) {
        self.0.lock().push(session);
    }
}
