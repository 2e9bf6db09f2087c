//! Rebuilding the keyspace from the rows of all segments, sealed or not. No record is read.
//!
//! It goes in two steps, each divided among threads. The rows of each segment are taken in the order in which they stand, and
//! noted by the shard of their key's hash ([`scan`]). Then each shard is built at once, in the processor's cache: rows with equal hash
//! bits are brought together, their keys are compared, and of each key the record with the highest number counts ([`shard`]). A
//! key that was written once, which most are, is read once and never compared.
//!
//! Beside what it builds it takes 16 bytes of memory a row, and 24 MiB at most for the segments that are being taken, or 12
//! bytes a row of one with more.

mod live;
mod scan;
mod shard;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

use nadb_core::{Error, ErrorKind, NamespaceId, OnOpen, OpenPhase, Ordinal, Result};
use nadb_index::SHARDS;
use nadb_log::{RecordKind, RowMeta, RowSpot, RowTable};
use parking_lot::Mutex;

use self::live::Values;
use self::scan::{PART_ROWS, Part, Scanner};
use self::shard::Builder;
use crate::keyspace::Keyspace;
use crate::namespaces::Namespace;
use crate::reaper::expired_rows;
use crate::slot::Slot;

/// Below this many rows one thread is quicker than several.
const ROWS_PER_THREAD: u64 = 50_000;
const THREADS_MAX: u64 = 8;
/// Rows of the segments that are taken at a time.
const ROWS_AT_ONCE: u64 = 1 << 21;

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

/// How many rows are in the index or known not to belong there, over all threads.
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

impl Rebuild<'_> {
    /// Fills index, live rows, markers and key counts.
    ///
    /// # Errors
    /// `Corruption` where a footer is damaged or a record belongs to no namespace; `Io`.
    pub(crate) fn run(&self) -> Result<()> {
        let tables = self.slots.iter().map(|slot| RowTable::new(&slot.rows()));
        let tables = tables.collect::<Result<Vec<RowTable>>>()?;
        let rows: u64 = tables.iter().map(|table| u64::from(table.len())).sum();
        let cores = thread::available_parallelism().map_or(1, |cores| cores.get() as u64);
        let threads = (rows / ROWS_PER_THREAD).clamp(1, cores.min(THREADS_MAX));
        let mut values = Values::default();
        let mut scanners: Vec<_> = (0..threads).map(|_| Scanner::new(self, &tables)).collect();
        for batch in batches(&tables) {
            self.scan(batch, &tables, &mut values, &mut scanners)?;
        }
        let parts: Vec<&Part> = scanners.iter().flat_map(|scanner| &scanner.parts).collect();
        let noted: u64 = parts.iter().map(|part| part.len()).sum();
        let progress = Progress { on_open: self.on_open, done: AtomicU64::new(0), total: rows };
        progress.add(rows - noted);
        let next = AtomicUsize::new(0);
        let mut builders: Vec<_> = (0..threads).map(|_| Builder::new(self, &tables)).collect();
        on_threads(&mut builders, |builder| {
            loop {
                let shard = next.fetch_add(1, Ordering::Relaxed);
                if shard >= SHARDS {
                    return Ok(());
                }
                progress.add(builder.build(shard, &parts)?);
            }
        })?;
        let (mut dead, mut keys) = (Vec::new(), BTreeMap::<NamespaceId, u64>::new());
        for scanner in scanners {
            dead.push(scanner.dead);
            scanner.keys.into_iter().for_each(|(id, count)| *keys.entry(id).or_default() += count);
        }
        for builder in builders {
            dead.push(builder.dead);
            builder.dead_keys.into_iter().for_each(|(id, count)| *keys.entry(id).or_default() -= count);
        }
        values.settle(self, &dead);
        for (id, keys) in keys {
            let namespace = self.namespaces.get(&id);
            namespace.into_iter().for_each(|namespace| namespace.keys.store(keys, Ordering::Relaxed));
        }
        Ok(())
    }

    /// What expired at or before the mark is absent, just as what was deleted.
    fn hide_expired(&self, sources: Range<usize>, spots: &mut [Vec<RowSpot>]) -> Result<()> {
        let mark_ms = self.keyspace.time_mark_ms();
        for (slot, spots) in self.slots.iter().skip(sources.start).zip(spots) {
            for ordinal in expired_rows(slot, mark_ms)? {
                if let Some(spot) = spots.get_mut(ordinal.0 as usize) {
                    spot.kind = RecordKind::Tombstone;
                }
            }
        }
        Ok(())
    }

    /// Notes the rows of some segments.
    fn scan(
        &self,
        sources: Range<usize>,
        tables: &[RowTable],
        values: &mut Values,
        scanners: &mut [Scanner<'_>],
    ) -> Result<()> {
        let tables = || sources.clone().zip(tables.iter().skip(sources.start));
        let room = |(_, table): (usize, &RowTable)| vec![RowSpot::NOWHERE; table.len() as usize];
        let mut spots: Vec<Vec<RowSpot>> = tables().map(room).collect();
        // In the order of writing first: the columns are read from front to back, and only what they give is read in key order.
        let mut chunks = Vec::new();
        for ((_, table), spots) in tables().zip(&mut spots) {
            let firsts = (0..).step_by(PART_ROWS as usize).map(Ordinal);
            chunks.extend(
                firsts.zip(spots.chunks_mut(PART_ROWS as usize)).map(|(first, spots)| (table, first, spots)),
            );
        }
        let chunks = Mutex::new(chunks);
        on_threads(scanners, |_| {
            while let Some((table, first, spots)) = { chunks.lock().pop() } {
                table.spots(first, spots)?;
            }
            Ok(())
        })?;
        self.hide_expired(sources.clone(), &mut spots)?;
        spots.iter().for_each(|spots| values.push(spots));
        let mut ranges = Vec::new();
        for ((source, table), spots) in tables().zip(&spots) {
            let starts = (0..table.len()).step_by(PART_ROWS as usize);
            let range = |start: u32| start..table.len().min(start.saturating_add(PART_ROWS));
            ranges.extend(starts.map(|start| (source, table, range(start), spots)));
        }
        let next = AtomicUsize::new(0);
        on_threads(scanners, |scanner| {
            while let Some((source, table, range, spots)) = ranges.get(next.fetch_add(1, Ordering::Relaxed)) {
                scanner.scan(*source, table, range.clone(), spots)?;
            }
            Ok(())
        })
    }
}

/// Neighbouring segments with at most [`ROWS_AT_ONCE`] rows together, or single ones with more.
fn batches(tables: &[RowTable]) -> Vec<Range<usize>> {
    let (mut batches, mut rows) = (Vec::<Range<usize>>::new(), 0);
    for (source, table) in tables.iter().enumerate() {
        rows += u64::from(table.len());
        match batches.last_mut() {
            Some(last) if rows <= ROWS_AT_ONCE => last.end = source + 1,
            _ => {
                batches.push(source..source + 1);
                rows = u64::from(table.len());
            }
        }
    }
    batches
}

/// Has each of `workers` work on a thread of its own, of which this is one.
fn on_threads<W: Send>(workers: &mut [W], work: impl Fn(&mut W) -> Result<()> + Sync) -> Result<()> {
    let Some((own, others)) = workers.split_first_mut() else { return Ok(()) };
    let work = &work;
    thread::scope(|scope| {
        let others: Vec<_> = others.iter_mut().map(|other| scope.spawn(move || work(other))).collect();
        let own = work(own);
        let panicked = |_| Err(Error::new(ErrorKind::Io, "a thread that built the index panicked"));
        others.into_iter().try_for_each(|other| other.join().unwrap_or_else(panicked)).and(own)
    })
}

pub(crate) fn no_namespace(slot: &Slot, meta: &RowMeta, namespace: NamespaceId) -> Error {
    Error::corruption(
        slot.segment.path(),
        u64::from(meta.offset),
        format!("record {} belongs to namespace {namespace}, which does not exist there", meta.seq),
    )
}
