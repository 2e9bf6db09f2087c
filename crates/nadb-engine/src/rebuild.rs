//! Rebuilding the keyspace from sealed segments: their footers are merged in key order, so that all records of a key come one
//! after the other, and the one with the highest number is the key's. No record is read.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nadb_core::{
    Error, ErrorKind, Location, NamespaceId, OnOpen, OpenPhase, Ordinal, Rank, Result, Seq, guard,
};
use nadb_log::{Direction, Merge, RecordKind, RowMeta, Rows, RowsCursor};

use crate::keyspace::Keyspace;
use crate::namespaces::Namespace;
use crate::slot::Slot;

/// Below this many rows one thread is quicker than several.
const ROWS_PER_THREAD: u64 = 50_000;
const THREADS_MAX: u64 = 8;

/// Rows that a thread merges between two reports of progress.
const ROWS_PER_REPORT: u64 = 1 << 16;

/// A key's place in key order.
type Bound = (NamespaceId, Vec<u8>);

/// What the rows belong to.
#[derive(Debug)]
pub(crate) struct Rebuild<'a> {
    pub(crate) keyspace: &'a Keyspace,
    pub(crate) slots: &'a [Arc<Slot>],
    pub(crate) namespaces: &'a BTreeMap<NamespaceId, Arc<Namespace>>,
    /// Ids of namespaces that were dropped: their keys are not there.
    pub(crate) dropped: &'a BTreeSet<NamespaceId>,
    /// Who is told how far it has come.
    pub(crate) on_open: Option<&'a OnOpen>,
}

/// How far the merge has come, over all threads.
struct Progress<'a> {
    on_open: Option<&'a OnOpen>,
    done: AtomicU64,
    total: u64,
}

impl Progress<'_> {
    fn add(&self, rows: u64) {
        let done = self.done.fetch_add(rows, Ordering::Relaxed) + rows;
        if let Some(on_open) = self.on_open {
            on_open.report(OpenPhase::Merging, done, self.total);
        }
    }
}

/// The newest record of a key, as far as the merge has come.
struct Newest {
    namespace: NamespaceId,
    key: Vec<u8>,
    meta: RowMeta,
    slot: usize,
    ordinal: Ordinal,
    /// How many records the key has.
    records: u32,
}

impl Rebuild<'_> {
    /// Fills index, live rows and key counts.
    ///
    /// # Errors
    /// `Corruption` where a footer is damaged or a record belongs to no namespace; `Io`.
    pub(crate) fn run(&self) -> Result<()> {
        let rows: u64 = self.slots.iter().map(|slot| u64::from(slot.rows().len())).sum();
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let threads = (rows / ROWS_PER_THREAD).clamp(1, cores.min(THREADS_MAX));
        let bounds = self.bounds(threads)?;
        let ends = bounds.iter().skip(1).map(Some).chain([None]);
        let mut parts: Vec<_> = bounds.iter().zip(ends).collect();
        let progress = &Progress { on_open: self.on_open, done: AtomicU64::new(0), total: rows };
        let Some(last) = parts.pop() else { return Ok(()) };
        thread::scope(|scope| {
            let threads: Vec<_> = parts
                .into_iter()
                .map(|(from, to)| scope.spawn(move || self.run_part(from, to, progress)))
                .collect();
            let own = self.run_part(last.0, last.1, progress);
            threads.into_iter().try_for_each(join).and(own)
        })
    }

    /// Where each part begins: keys that divide the largest segment evenly.
    fn bounds(&self, parts: u64) -> Result<Vec<Bound>> {
        let mut bounds = vec![(NamespaceId(0), Vec::new())];
        let largest = self.slots.iter().map(|slot| slot.rows()).max_by_key(Rows::len);
        if let Some(Rows::Footer(footer)) = largest {
            for part in 1..parts {
                let rank = u64::from(footer.len()) * part / parts;
                bounds.push(footer.key_at(Rank(u32::try_from(rank).unwrap_or_default()))?);
            }
        }
        bounds.dedup();
        Ok(bounds)
    }

    fn run_part(&self, from: &Bound, to: Option<&Bound>, progress: &Progress<'_>) -> Result<()> {
        let rows: Vec<Rows> = self.slots.iter().map(|slot| slot.rows()).collect();
        let mut sources: Vec<(RowsCursor, usize)> = Vec::new();
        for (at, rows) in rows.iter().enumerate() {
            let cursors = rows.cursors(from.0, &from.1, Direction::Forward)?;
            sources.extend(cursors.into_iter().map(|cursor| (cursor, at)));
        }
        let mut merge = Merge::new(sources, Direction::Forward);
        let mut newest: Option<Newest> = None;
        let mut merged = 0u64;
        while let Some(row) = merge.current() {
            if to.is_some_and(|to| (row.namespace, row.key) >= (to.0, &to.1[..])) {
                break;
            }
            let (slot, ordinal) = (*row.source, row.ordinal);
            let Some(in_slot) = rows.get(slot) else { break };
            match &mut newest {
                Some(newest) if newest.namespace == row.namespace && newest.key == row.key => {
                    newest.records += 1;
                    // On equal numbers the later segment is the copy that counts.
                    let is_newer = (in_slot.seq(ordinal)?, slot) > (newest.meta.seq, newest.slot);
                    if is_newer == guard::on("rebuild.newest_wins") {
                        (newest.meta, newest.slot, newest.ordinal) = (in_slot.meta(ordinal)?, slot, ordinal);
                    }
                }
                _ => {
                    let next = match newest.take() {
                        Some(done) => {
                            self.settle(&done)?;
                            done
                        }
                        None => Newest::empty(),
                    };
                    newest =
                        Some(next.restart(row.namespace, row.key, in_slot.meta(ordinal)?, slot, ordinal));
                }
            }
            merge.advance()?;
            merged += 1;
            if merged == ROWS_PER_REPORT {
                progress.add(std::mem::take(&mut merged));
            }
        }
        progress.add(merged);
        newest.map_or(Ok(()), |newest| self.settle(&newest))
    }

    /// All records of a key have been seen.
    fn settle(&self, newest: &Newest) -> Result<()> {
        let Some(slot) = self.slots.get(newest.slot) else { return Ok(()) };
        if self.dropped.contains(&newest.namespace) {
            return Ok(());
        }
        let Some(namespace) = self.namespaces.get(&newest.namespace) else {
            return Err(no_namespace(slot, &newest.meta, newest.namespace));
        };
        if newest.meta.kind == RecordKind::Tombstone {
            if newest.records > 1 {
                slot.live.set_marker(newest.ordinal);
            }
            return Ok(());
        }
        let RowMeta { offset, len, .. } = newest.meta;
        let at = Location { segment: slot.segment.id(), offset, len };
        self.keyspace.index.insert(self.keyspace.hash(newest.namespace, &newest.key), at);
        slot.live.set_live(newest.ordinal, len);
        namespace.keys.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

impl Newest {
    fn empty() -> Newest {
        let meta = RowMeta {
            kind: RecordKind::Tombstone,
            seq: Seq(0),
            offset: 0,
            len: 0,
            expires_ms: None,
            size: 0,
            created_ms: 0,
            updated_ms: 0,
            blob: None,
        };
        Newest { namespace: NamespaceId(0), key: Vec::new(), meta, slot: 0, ordinal: Ordinal(0), records: 0 }
    }

    /// The first record of the next key, in the same memory.
    fn restart(
        self,
        namespace: NamespaceId,
        key: &[u8],
        meta: RowMeta,
        slot: usize,
        ordinal: Ordinal,
    ) -> Newest {
        let mut own = self.key;
        own.clear();
        own.extend_from_slice(key);
        Newest { namespace, key: own, meta, slot, ordinal, records: 1 }
    }
}

pub(crate) fn no_namespace(slot: &Slot, meta: &RowMeta, namespace: NamespaceId) -> Error {
    Error::corruption(
        slot.segment.path(),
        u64::from(meta.offset),
        format!("record {} belongs to namespace {namespace}, which does not exist there", meta.seq),
    )
}

fn join(thread: thread::ScopedJoinHandle<'_, Result<()>>) -> Result<()> {
    thread.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "a thread that merged footers panicked")))
}
