//! Rewriting: the live records and markers of some segments, merged in key order, copied into new ones.
//!
//! Rows are looked up several at once, as scans do it: first which rows stay, then where their records stand, then the records. Of a
//! key only the newest row stays: a live record holds down whatever it has displaced just as a tombstone does.

use std::collections::BTreeSet;
use std::sync::Arc;

use nadb_core::{Location, NamespaceId, Ordinal, Result, Seq, guard};
use nadb_index::LiveSet;
use nadb_log::{
    Direction, Merge, Output, RecordKind, RecordRef, RowPlace, Rows, RowsCursor, Segment, SourceRecord,
};

use crate::older::Older;

/// Rows that are looked up at once.
const AHEAD: usize = 64;
/// Bytes of a file that are read ahead at a time.
const CHUNK: u32 = 1 << 20;

/// A segment that is rewritten.
#[derive(Debug)]
pub struct Input<'a> {
    /// The segment.
    pub segment: &'a Arc<Segment>,
    /// Its rows.
    pub rows: Rows,
    /// Which of them are live, and which are markers.
    pub live: &'a LiveSet,
}

/// Where the copies go, and who says how fast.
pub trait Sink {
    /// The output that takes this record next, live or as a marker. Records come in key order; which of several outputs takes which
    /// is the sink's to say.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Limit`: the rewriting ends with it.
    fn output(&mut self, record: &RecordRef<'_>, is_marker: bool) -> Result<&mut Output>;

    /// A row was copied, with this record.
    fn copied(&mut self, copied: Copied, record: &RecordRef<'_>);

    /// So many bytes were read or written since the last call: the place to wait, and to give up.
    ///
    /// # Errors
    /// Ends the rewriting with that error.
    fn spent(&mut self, bytes: u64) -> Result<()>;
}

/// A row that was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Which of the inputs.
    pub input: usize,
    /// Its row there.
    pub from: Ordinal,
    /// Where its record stands there.
    pub at: Location,
    /// Its row in the output that took it.
    pub to: Ordinal,
    /// Whether it is a marker: a tombstone in the output, whatever it was.
    pub is_marker: bool,
}

/// What did not come along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Records that others had displaced.
    pub dead: u64,
    /// Tombstones that nothing older needs any more.
    pub tombstones: u64,
    /// Records that had expired, and that nothing older needs as markers.
    pub expired: u64,
}

/// What a rewriting has come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewritten {
    /// Records that were copied because they are live.
    pub kept: u64,
    /// Markers that were copied.
    pub markers: u64,
    /// The rest.
    pub dropped: Dropped,
}

/// A row that stays.
#[derive(Debug, Clone, Copy)]
struct Pick {
    input: usize,
    /// Which of the merge's sources gave it.
    source: usize,
    ordinal: Ordinal,
    place: Option<RowPlace>,
    seq: Seq,
    is_marker: bool,
}

/// A rewriting.
#[derive(Debug)]
pub struct Rewrite<'a> {
    inputs: &'a [Input<'a>],
    older: Older,
    known: BTreeSet<NamespaceId>,
    merge: Merge<RowsCursor, usize>,
    picks: Vec<Pick>,
    /// The key of the last pick.
    key: (NamespaceId, Vec<u8>),
    done: Rewritten,
}

impl<'a> Rewrite<'a> {
    /// Rewrites `inputs`; `older` are all other segments of the store, `known` the namespaces of which a record may be live: what
    /// was dropped needs no marker beside the record that dropped it.
    ///
    /// # Errors
    /// `Corruption` or `Io` where rows cannot be had.
    pub fn new(inputs: &'a [Input<'a>], older: Older, known: BTreeSet<NamespaceId>) -> Result<Rewrite<'a>> {
        let mut sources = Vec::new();
        for (at, input) in inputs.iter().enumerate() {
            let cursors = input.rows.cursors(NamespaceId(0), b"", Direction::Forward)?;
            sources.extend(cursors.into_iter().map(|cursor| (cursor, at)));
        }
        Ok(Rewrite {
            inputs,
            older,
            known,
            merge: Merge::new(sources, Direction::Forward),
            picks: Vec::with_capacity(AHEAD),
            key: (NamespaceId(0), Vec::new()),
            done: Rewritten::default(),
        })
    }

    /// Copies everything that stays.
    ///
    /// # Errors
    /// `Corruption` where a record that stays does not verify, `Io`, and what `sink` answers: nothing is lost, and what was
    /// written means nothing.
    pub fn run(mut self, sink: &mut dyn Sink) -> Result<Rewritten> {
        self.read_ahead(sink)?;
        while self.merge.current().is_some() {
            let passed = self.pick()?;
            self.copy(sink, passed)?;
        }
        Ok(self.done)
    }

    /// Reads all frames of the inputs once by position: records are copied from mappings, in which an error of the medium would
    /// be a signal.
    fn read_ahead(&self, sink: &mut dyn Sink) -> Result<()> {
        let mut scratch = Vec::new();
        for input in self.inputs {
            // A file that is read by calls gives its errors as errors.
            if input.segment.mapped_bytes() == 0 {
                continue;
            }
            let end = input.segment.bytes();
            let mut at = 0;
            while at < end {
                let len = u64::from(CHUNK).min(end - at);
                input.segment.read_ahead(at, usize::try_from(len).unwrap_or_default(), &mut scratch)?;
                at += len;
                // From memory mostly: it counts for a part.
                sink.spent(len / 4)?;
            }
        }
        Ok(())
    }

    /// Goes on in the merge until some rows are picked; says how many it has passed.
    fn pick(&mut self) -> Result<u64> {
        // The last one may still be displaced by a newer row of its key, so it waits.
        let mut passed = 0;
        while self.picks.len() <= AHEAD {
            let Some(row) = self.merge.current() else { return Ok(passed) };
            passed += 1;
            let (input, ordinal) = (*row.source, row.ordinal);
            let Some(from) = self.inputs.get(input) else { break };
            // In this order: a row that is reaped in between is seen as one or the other.
            let is_live = from.live.is_live(ordinal);
            let is_marker = !is_live && from.live.is_marker(ordinal);
            if is_live || is_marker {
                let pick = Pick {
                    input,
                    source: self.merge.current_source(),
                    ordinal,
                    place: row.place,
                    seq: from.rows.seq(ordinal)?,
                    is_marker,
                };
                let (namespace, key) = (row.namespace, row.key);
                let is_same = (self.key.0, &self.key.1[..]) == (namespace, key);
                match self.picks.last_mut().filter(|_| is_same && guard::on("compact.newest_of_key")) {
                    // Of one key the newest holds down all others.
                    Some(last) => {
                        self.done.dropped.dead += 1;
                        if pick.seq > last.seq {
                            *last = pick;
                        }
                    }
                    None => {
                        self.key.0 = namespace;
                        self.key.1.clear();
                        self.key.1.extend_from_slice(key);
                        self.picks.push(pick);
                    }
                }
            } else {
                self.done.dropped.dead += 1;
            }
            self.merge.advance()?;
        }
        Ok(passed)
    }

    /// Copies what was picked, but for the last one while there are more rows.
    fn copy(&mut self, sink: &mut dyn Sink, passed: u64) -> Result<()> {
        let waits = self.merge.current().is_some();
        let count = self.picks.len() - usize::from(waits && !self.picks.is_empty());
        let mut found = Vec::with_capacity(count);
        for pick in self.picks.drain(..count) {
            let Some(input) = self.inputs.get(pick.input) else { continue };
            let place = pick.place.map_or_else(|| self.merge.place(pick.source, pick.ordinal), Ok)?;
            let at = Location { segment: input.segment.id(), offset: place.offset, len: place.len };
            input.segment.prefetch(at);
            found.push((pick, input, at));
        }
        // What is passed over costs a little, too.
        let mut bytes = passed * 16;
        for (pick, input, at) in found {
            bytes += u64::from(at.len);
            let (older, known, done) = (&mut self.older, &self.known, &mut self.done);
            input.segment.with_source(at, |source| {
                let SourceRecord { record, .. } = source;
                let stays = !pick.is_marker
                    || known.contains(&record.namespace)
                        && older.may_have(record.namespace, record.key, record.seq);
                if stays { copy_one(source, (pick, at), done, sink) } else { leave_out(source, done) }
            })?;
        }
        sink.spent(bytes)
    }
}

fn leave_out(marker: &SourceRecord<'_>, done: &mut Rewritten) -> Result<()> {
    let dropped = &mut done.dropped;
    let is_tombstone = marker.record.kind == RecordKind::Tombstone;
    *(if is_tombstone { &mut dropped.tombstones } else { &mut dropped.expired }) += 1;
    Ok(())
}

fn copy_one(
    source: &SourceRecord<'_>,
    (pick, at): (Pick, Location),
    done: &mut Rewritten,
    sink: &mut dyn Sink,
) -> Result<()> {
    let output = sink.output(&source.record, pick.is_marker)?;
    let to = if pick.is_marker { output.push_tombstone(source)? } else { output.push(source)? };
    *(if pick.is_marker { &mut done.markers } else { &mut done.kept }) += 1;
    let Pick { input, ordinal: from, is_marker, .. } = pick;
    sink.copied(Copied { input, from, at, to, is_marker }, &source.record);
    Ok(())
}
