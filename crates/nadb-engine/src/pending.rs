//! The shards of the index that opening has left in the checkpoint: each is read when a key of it is first asked for.
//!
//! It promises that nobody sees a shard before it is whole, and that a shard which cannot be taken from the checkpoint, because its
//! bytes are damaged or cannot be read or make no sense, is made anew from live rows and keys: those of a shard's keys stay as
//! the checkpoint knew them until the shard is there, for whoever changes a key has looked it up before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nadb_core::{Error, ErrorKind, Location, Result};
use nadb_index::{KeyIndex, SHARDS};
use nadb_log::{Checkpoint, RowTable, SEGMENT_HEADER};
use parking_lot::Mutex;

use crate::checkpoint::SHARD;
use crate::keyspace::Keyspace;
use crate::slot::Slot;

/// Which shards are still in the checkpoint.
#[derive(Debug)]
pub(crate) struct Pending {
    /// Whether all shards are there: the one thing that is looked at once they are.
    is_done: AtomicBool,
    is_there: Box<[AtomicBool]>,
    /// Held while a shard is read.
    source: Mutex<Option<Source>>,
}

/// Where the shards come from.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) checkpoint: Checkpoint,
    /// How many keys each shard has.
    pub(crate) keys: Vec<u32>,
}

impl Pending {
    /// Nothing is pending.
    pub(crate) fn none() -> Pending {
        let is_there = (0..SHARDS).map(|_| AtomicBool::new(true)).collect();
        Pending { is_done: AtomicBool::new(true), is_there, source: Mutex::new(None) }
    }

    /// All shards are to be taken from there: while nobody uses the index yet.
    pub(crate) fn set(&self, source: Source) {
        let mut held = self.source.lock();
        for (is_there, keys) in self.is_there.iter().zip(&source.keys) {
            is_there.store(*keys == 0, Ordering::Release);
        }
        *held = Some(source);
        self.is_done.store(false, Ordering::Release);
    }

    /// Forgets what is pending: the index is empty.
    pub(crate) fn clear(&self) {
        let mut held = self.source.lock();
        *held = None;
        self.is_there.iter().for_each(|is_there| is_there.store(true, Ordering::Release));
        self.is_done.store(true, Ordering::Release);
    }

    /// Whether a shard is in memory.
    #[inline]
    pub(crate) fn is_there(&self, shard: usize) -> bool {
        self.is_done.load(Ordering::Acquire)
            || self.is_there.get(shard).is_none_or(|is_there| is_there.load(Ordering::Acquire))
    }

    /// Sees to it that a shard is there. `slots` are all segments that the checkpoint covers.
    ///
    /// # Errors
    /// `Corruption` or `Io` where neither checkpoint nor rows have it; the next call tries again.
    #[inline]
    pub(crate) fn ready(
        &self,
        keyspace: &Keyspace,
        shard: usize,
        slots: impl Fn() -> Vec<Arc<Slot>>,
    ) -> Result<()> {
        if self.is_there(shard) { Ok(()) } else { self.load(keyspace, shard, &slots) }
    }

    /// Sees to it that all shards are there.
    ///
    /// # Errors
    /// As [`Pending::ready`].
    pub(crate) fn ready_all(&self, keyspace: &Keyspace, slots: impl Fn() -> Vec<Arc<Slot>>) -> Result<()> {
        if !self.is_done.load(Ordering::Acquire) {
            (0..SHARDS).try_for_each(|shard| self.ready(keyspace, shard, &slots))?;
            *self.source.lock() = None;
            self.is_done.store(true, Ordering::Release);
        }
        Ok(())
    }

    #[cold]
    fn load(&self, keyspace: &Keyspace, shard: usize, slots: &dyn Fn() -> Vec<Arc<Slot>>) -> Result<()> {
        let source = self.source.lock();
        let Some(source) = source.as_ref().filter(|_| !self.is_there(shard)) else { return Ok(()) };
        if source.load(&keyspace.index, shard).is_none() {
            source.make(keyspace, shard, &slots())?;
        }
        if let Some(is_there) = self.is_there.get(shard) {
            is_there.store(true, Ordering::Release);
        }
        Ok(())
    }
}

impl Source {
    fn keys(&self, shard: usize) -> u64 {
        self.keys.get(shard).map_or(0, |keys| u64::from(*keys))
    }

    /// Takes a shard from the checkpoint; `None`, and nothing has changed, where that is not possible.
    fn load(&self, index: &KeyIndex, shard: usize) -> Option<()> {
        let bytes = self.checkpoint.section(SHARD, u32::try_from(shard).ok()?)?;
        let covered = &self.checkpoint.coverage().segments;
        let mut last = 0;
        let accept = |at: Location| {
            // Neighbours in the index seldom are neighbours in the log, but a store has few segments.
            if covered.get(last).is_none_or(|covered| covered.named.id != at.segment) {
                match covered.binary_search_by_key(&at.segment, |covered| covered.named.id) {
                    Ok(found) => last = found,
                    Err(_) => return false,
                }
            }
            let end = u64::from(at.offset) + u64::from(at.len);
            at.offset >= SEGMENT_HEADER
                && covered.get(last).is_some_and(|covered| end <= u64::from(covered.end))
        };
        index.load_shard(shard, &bytes, self.keys(shard), accept).then_some(())
    }

    /// Makes a shard of the rows that are live.
    fn make(&self, keyspace: &Keyspace, shard: usize, slots: &[Arc<Slot>]) -> Result<()> {
        let mut keys = Vec::new();
        for slot in slots {
            let Some(covered) = self.checkpoint.coverage().segment(slot.segment.id()) else { continue };
            let rows = slot.rows();
            let table = RowTable::new(&rows)?;
            let mut ordinals = Vec::with_capacity(table.len() as usize);
            table.for_each_ordinal(0..table.len(), |ordinal| ordinals.push(ordinal))?;
            let mut live = Vec::new();
            let mut ordinals = ordinals.iter();
            table.for_each_key(0..table.len(), |_, namespace, key| {
                let Some(ordinal) = ordinals.next() else { return };
                let (of, bits) = KeyIndex::bits(keyspace.hash(namespace, key));
                if of == shard && ordinal.0 < covered.rows && slot.live.is_live(*ordinal) {
                    live.push((bits, *ordinal));
                }
            })?;
            for (bits, ordinal) in live {
                keys.push((bits, slot.location(&rows, ordinal)?));
            }
        }
        keys.sort_unstable();
        if keys.len() as u64 != self.keys(shard) || !keyspace.index.fill_shard(shard, &keys) {
            return Err(Error::new(
                ErrorKind::Corruption,
                format!(
                    "the checkpoint says that shard {shard} of the index has {} keys, its rows have {}; close the store, \
                     remove the file CHECKPOINT, and open it again",
                    self.keys(shard),
                    keys.len()
                ),
            ));
        }
        Ok(())
    }
}
