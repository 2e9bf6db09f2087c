//! Views: the store as it was at one moment.
//!
//! A view is the list of segments and a watermark W, the last number of a frame, both taken under the lock under which W rises.
//! It shows a record whose number is at most W and which is live, or was killed by a number above W. So that this can be
//! told, deaths and displaced index entries are remembered before anything changes, as long as a view is open that they
//! concern; a view that is closed lets go of them. Nothing is copied when a view is taken.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use nadb_core::{KeyHash, Location, NamespaceId, Result, Seq, guard};
use parking_lot::{Mutex, MutexGuard};

use crate::keyspace::{HasRecord, Keyspace};
use crate::slot::Slot;

/// The watermark, and which views are open.
#[derive(Debug, Default)]
pub(crate) struct Views {
    state: Mutex<ViewsState>,
}

#[derive(Debug, Default)]
pub(crate) struct ViewsState {
    /// The last number that is visible: always the end of a frame.
    pub(crate) watermark: Seq,
    /// Open views by their watermarks: how many, and when the first of them was taken, by the monotonic clock.
    open: BTreeMap<Seq, (usize, Duration)>,
}

impl ViewsState {
    pub(crate) fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// No open view, and none to come, is older.
    pub(crate) fn oldest(&self) -> Seq {
        self.open.keys().next().copied().unwrap_or(self.watermark)
    }

    /// Whether a view that is open, or to come, has its watermark at or above `from` and below `to`. An older view does not say
    /// that there is none: what came and went after its moment may be another one's.
    pub(crate) fn any_within(&self, from: Seq, to: Seq) -> bool {
        self.watermark < to || self.open.range(from..to).next().is_some()
    }
}

impl Views {
    pub(crate) fn lock(&self) -> MutexGuard<'_, ViewsState> {
        self.state.lock()
    }

    /// How many views are open, and when the oldest was taken.
    pub(crate) fn open(&self) -> (usize, Option<Duration>) {
        let state = self.state.lock();
        let count = state.open.values().map(|(count, _)| count).sum();
        (count, state.open.values().map(|(_, taken)| *taken).min())
    }
}

/// The store at one moment.
#[derive(Debug)]
pub(crate) struct View {
    keyspace: Arc<Keyspace>,
    pub(crate) watermark: Seq,
    pub(crate) slots: Arc<[Arc<Slot>]>,
    /// What had expired then is not shown.
    pub(crate) now_ms: u64,
}

impl View {
    /// The store as of now.
    pub(crate) fn take(keyspace: &Arc<Keyspace>, now_ms: u64, monotonic: Duration) -> View {
        let mut state = keyspace.views.lock();
        let watermark = state.watermark;
        let slots = keyspace.slots();
        // Under the lock under which the mark is raised: what is reaped from now on has expired for this view, too.
        let now_ms = keyspace.now_ms(now_ms);
        state.open.entry(watermark).or_insert((0, monotonic)).0 += 1;
        View { keyspace: Arc::clone(keyspace), watermark, slots, now_ms }
    }

    /// The record of a key that was its newest at the view's moment, expired or not. `read` reads the record at a place that the
    /// index names, `read_pinned` one in a segment that a compaction may have replaced.
    pub(crate) fn find<R: HasRecord>(
        &self,
        namespace: NamespaceId,
        hash: KeyHash,
        key: &[u8],
        read: impl Fn(Location) -> Result<R>,
        read_pinned: impl Fn(&Slot, Location) -> Result<R>,
    ) -> Result<Option<(Location, R)>> {
        let found = self.keyspace.find(namespace, hash, key, &read)?;
        if let Some((at, buf)) = found
            && (buf.record()?.seq <= self.watermark || !guard::on("view.later_record_is_not_it"))
        {
            return Ok(Some((at, buf)));
        }
        // Absent, or newer than the view. What a writer displaces it remembers here before it changes the index.
        for (at, slot) in self.keyspace.versions.candidates(hash, self.watermark) {
            let buf = read_pinned(&slot, at)?;
            let (is_key, is_old) = {
                let record = buf.record()?;
                (record.namespace == namespace && record.key == key, record.seq <= self.watermark)
            };
            // They come by rising killers: the first that is the key's was its newest record when the view was taken, or
            // came after it, and then the key was not there.
            if is_key {
                return Ok(is_old.then_some((at, buf)));
            }
        }
        Ok(None)
    }
}

impl Drop for View {
    fn drop(&mut self) {
        let mut state = self.keyspace.views.lock();
        let before = state.oldest();
        if let Some((count, _)) = state.open.get_mut(&self.watermark) {
            *count -= 1;
            if *count == 0 {
                state.open.remove(&self.watermark);
            }
        }
        let oldest = state.oldest();
        drop(state);
        if oldest > before {
            self.keyspace.forget_deaths(oldest);
        }
    }
}
