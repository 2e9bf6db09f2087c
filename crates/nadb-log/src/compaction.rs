//! The log's part of a compaction: numbers for new segments, writing them ([`output`]), one manifest that has them in the place of
//! others, and the files of those others, which go when nobody reads them any more.
//!
//! It promises that a crash at any moment leaves the one set of segments or the other, and that no file goes before the manifest that
//! forgets it is durable. It leaves to the engine which records are copied, and what memory makes of it.

mod output;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{BlobId, Error, Result, SegmentId, SegmentUid, Seq, guard};
use parking_lot::Mutex;

pub use self::output::{Compacted, Output, SourceRecord};
use crate::blob::remove_blob;
use crate::cut::remove_segment;
use crate::footer::Origin;
use crate::log::Log;
use crate::segment::Segment;

/// A compaction that has begun: what its outputs say of their making.
#[derive(Debug)]
pub struct Compaction {
    id: [u8; 16],
    inputs: Vec<Arc<Segment>>,
    /// The inputs, and segments of earlier compactions whose files could still be there.
    replaced: Vec<(SegmentId, SegmentUid)>,
    /// The numbers of segments that are left for it.
    next: SegmentId,
    end: SegmentId,
    outputs: u32,
}

impl Compaction {
    /// Bytes of the input files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inputs.iter().filter_map(|input| input.extent()).map(|extent| u64::from(extent.file_len)).sum()
    }

    /// Finishes an output; `is_last` says that none comes behind it.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Limit`: its file is removed.
    pub fn finish(&mut self, output: Output, is_last: bool) -> Result<Compacted> {
        let index = self.outputs;
        self.outputs += 1;
        let outputs = if is_last { self.outputs } else { 0 };
        let origin = Origin { compaction: self.id, index, outputs, inputs: self.replaced.clone() };
        output.finish(origin)
    }
}

/// Segments that a compaction has replaced, with files that are still there.
#[derive(Debug)]
struct Group {
    segments: Vec<Arc<Segment>>,
    /// Blobs that no segment names but these, and earlier ones that are not gone either: they go after the last of all of them.
    blobs: Vec<BlobId>,
}

/// What compactions have replaced.
#[derive(Debug, Default)]
pub(crate) struct Retired {
    groups: Mutex<Vec<Group>>,
}

impl<P: Send> Log<P> {
    /// Begins to replace `inputs`, all sealed, by at most `outputs` new segments.
    ///
    /// # Errors
    /// `InvalidInput` for an input that is not a sealed segment of this log; `NoSpace`, `Io`, `Poisoned`.
    pub fn begin_compaction(&self, inputs: &[Arc<Segment>], outputs: u32) -> Result<Compaction> {
        self.check_poison()?;
        let mut id = [0; 16];
        self.options.entropy.fill(&mut id)?;
        let mut state = self.manifest.lock();
        let is_named = |input: &Arc<Segment>| {
            let named = |named: &&crate::NamedSegment| named.id == input.id && named.sealed.is_some();
            state.manifest.segments.iter().any(|segment| named(&segment))
        };
        if let Some(other) = inputs.iter().find(|input| !is_named(input)) {
            let what = format!("segment {} is not sealed, or not of this store", other.id);
            return Err(Error::invalid(what));
        }
        let first = state.manifest.next_segment;
        let end = SegmentId(first.0.saturating_add(outputs));
        if end.0 == u32::MAX {
            return Err(Error::limit(
                "the store has used up its segment numbers; copy its records into a new store",
            ));
        }
        if outputs > 0 && guard::on("compact.numbers_before_files") {
            // DURABILITY: before a file with such a number has frames, or an opening after a crash would take the manifest for an
            // old one.
            self.store_manifest(&mut state, |manifest| manifest.next_segment = end)?;
        } else {
            state.manifest.next_segment = end;
        }
        let inputs_named = inputs.iter().map(|input| (input.id, input.uid));
        Ok(Compaction {
            id,
            inputs: inputs.to_vec(),
            replaced: inputs_named.chain(state.forgotten.iter().copied()).collect(),
            next: first,
            end,
            outputs: 0,
        })
    }

    /// A new segment for a compaction to write.
    ///
    /// # Errors
    /// `Limit` beyond those that it was begun with; `NoSpace`, `Io`.
    pub fn begin_output(&self, compaction: &mut Compaction) -> Result<Output> {
        let id = compaction.next;
        if id >= compaction.end {
            return Err(Error::limit("the compaction has used up its segment numbers"));
        }
        compaction.next = SegmentId(id.0 + 1);
        let store = self.store_id();
        let segment = self.create_segment_file(id, store)?;
        let now_ms = self.options.clock.now_ms();
        Ok(Output::new(Some(Arc::clone(&self.fs)), segment, self.options.read_mode, now_ms))
    }

    /// Puts the outputs in the place of the inputs, durably, in one step. What was left out of them because it was displaced, was so
    /// by a number up to `dead_upto`.
    ///
    /// # Errors
    /// `NoSpace`, `Io`: the store is as before. `Poisoned` when the log cannot be synced.
    pub fn install(&self, compaction: &Compaction, outputs: &mut [Compacted], dead_upto: Seq) -> Result<()> {
        if !outputs.is_empty() {
            // DURABILITY: the names of the outputs before the manifest that relies on them.
            self.fs.sync_dir(&self.dir).map_err(|e| Error::io("syncing the directory", &self.dir, e))?;
        }
        // DURABILITY: what has displaced the records that were left out must not be lost after they are.
        if guard::on("compact.sync_before_drop") {
            self.sync_upto(dead_upto)?;
        }
        let mut state = self.manifest.lock();
        self.check_poison()?;
        let swapped = self.store_manifest(&mut state, |manifest| {
            manifest.segments.retain(|named| !compaction.inputs.iter().any(|input| input.id == named.id));
            manifest.segments.extend(outputs.iter().map(|output| output.segment().named()));
            manifest.segments.sort_by_key(|named| named.id);
        });
        // Whether a manifest that could not be stored is in force is not known: until the next one, neither set may go.
        outputs.iter_mut().for_each(|output| output.is_kept = true);
        if let Err(error) = swapped {
            state.undecided.extend(outputs.iter().map(|output| output.segment().id));
            return Err(error);
        }
        state.forgotten.extend(compaction.inputs.iter().map(|input| (input.id, input.uid)));
        let mut segments = self.segments.write();
        for input in &compaction.inputs {
            segments.remove(&input.id);
        }
        segments.extend(outputs.iter().map(|output| (output.segment().id, Arc::clone(output.segment()))));
        Ok(())
    }

    /// The inputs of a compaction that was installed are not found in the index any more: their files go once nobody else holds them,
    /// and then the blobs that only they name.
    pub fn retire(&self, compaction: Compaction, blobs: Vec<BlobId>) {
        self.retired.groups.lock().push(Group { segments: compaction.inputs, blobs });
    }

    /// Bytes of files that compactions have replaced and that are still there, and how many files.
    #[must_use]
    pub fn retired(&self) -> (u64, usize) {
        let groups = self.retired.groups.lock();
        let files = groups.iter().flat_map(|group| &group.segments);
        let bytes = files.clone().filter_map(|file| file.extent()).map(|extent| u64::from(extent.file_len));
        (bytes.sum(), files.count())
    }

    /// Removes the files of replaced segments that nobody holds any more; `at_close` of all: those who hold them have them open.
    ///
    /// # Errors
    /// `Io`: what is left is tried again at the next call, and goes at the next opening.
    pub fn remove_retired(&self, at_close: bool) -> Result<()> {
        let mut groups = self.retired.groups.lock();
        let mut gone = Vec::new();
        let mut result = Ok(());
        let mut is_earlier_held = false;
        for group in groups.iter_mut() {
            group.segments.retain(|segment| {
                let is_held = Arc::strong_count(segment) > 1 && guard::on("retire.after_last_pin");
                if is_held && !at_close {
                    return true;
                }
                match remove_segment(&*self.fs, &self.dir, segment.id) {
                    Ok(()) => gone.push(segment.id),
                    Err(error) => result = Err(error),
                }
                result.is_err()
            });
            is_earlier_held |= !group.segments.is_empty() && guard::on("retire.blobs_in_order");
            if group.segments.is_empty() && !is_earlier_held {
                for blob in std::mem::take(&mut group.blobs) {
                    result = remove_blob(&*self.fs, &self.dir, blob).and(result);
                }
            }
        }
        groups.retain(|group| !group.segments.is_empty() || !group.blobs.is_empty());
        drop(groups);
        if !gone.is_empty() {
            self.fs.sync_dir(&self.dir).map_err(|e| Error::io("syncing the directory", &self.dir, e))?;
            self.manifest.lock().forgotten.retain(|(id, _)| !gone.contains(id));
        }
        result
    }

    /// Bytes that the store's files can still take, as far as that is known.
    #[must_use]
    pub fn available(&self) -> Option<u64> {
        self.fs.available(&self.dir)
    }

    /// Runs `f` while nothing is published.
    pub fn while_unpublished<T>(&self, f: impl FnOnce() -> T) -> T {
        let _publish = self.publish.lock();
        f()
    }

    /// Namespaces with an id below this were made: no id is given twice, also when no record names it any more. Every manifest from
    /// now on says so.
    pub fn reserve_namespaces(&self, next: u32) {
        self.next_namespace.fetch_max(next, Ordering::AcqRel);
    }

    /// The id that the next namespace gets, at least.
    #[must_use]
    pub fn next_namespace(&self) -> u32 {
        self.next_namespace.load(Ordering::Acquire)
    }
}
