//! Preparing segments: a file is durable, and durably named by the manifest, before its first frame.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Error, ErrorKind, Result, SegmentId, SegmentUid, StoreId, guard};

use crate::cut::remove_segment;
use crate::log::{Log, LogOptions, ManifestState};
use crate::manifest::Manifest;
use crate::names::segment_path;
use crate::segment::{Segment, SegmentHeader};

impl<P: Send> Log<P> {
    /// Notes durably that the store is open, before its first frame after a close in order: from here on, numbers may be
    /// given that a power cut loses.
    pub(crate) fn mark_dirty(&self) -> Result<()> {
        let mut state = self.manifest.lock();
        if self.lock_tail().dirty {
            return Ok(());
        }
        self.store_manifest(&mut state, |manifest| manifest.clean = None)?;
        self.lock_tail().dirty = true;
        Ok(())
    }

    /// Makes sure that there is a spare segment.
    ///
    /// # Errors
    /// `NoSpace`, `ReadOnly` or `Io`; tried again at the next call.
    pub fn prepare_spare(&self) -> Result<()> {
        let mut state = self.manifest.lock();
        if self.lock_tail().spare.is_some() {
            return Ok(());
        }
        let segment = match state.unnamed.take() {
            Some(segment) => segment,
            None => Arc::new(self.create_segment(&mut state)?),
        };
        // Should the manifest fail to be stored, it may or may not name the segment: the next one must.
        state.unnamed = Some(Arc::clone(&segment));
        let named = segment.named();
        if guard::on("segment.named_before_first_frame") {
            self.store_manifest(&mut state, |manifest| {
                manifest.clean = None;
                manifest.segments.push(named);
                // One that could not be named at first may have a lower number than what a compaction has made since.
                manifest.segments.sort_by_key(|named| named.id);
            })?;
        } else {
            state.manifest.segments.push(named);
            state.manifest.segments.sort_by_key(|named| named.id);
        }
        state.unnamed = None;
        self.segments.write().insert(segment.id, Arc::clone(&segment));
        let appender = self.appender_for(&segment);
        let mut tail = self.lock_tail();
        tail.spare_appender = appender;
        tail.spare = Some(segment);
        tail.dirty = true;
        Ok(())
    }

    /// Does ahead of the writers what they would have to wait for: makes pages ready, and prepares a spare segment when the
    /// active one is more than half full.
    ///
    /// # Errors
    /// As [`Log::prepare_spare`].
    pub fn prepare_if_due(&self) -> Result<()> {
        if self.is_poisoned.load(Ordering::Acquire) {
            return Ok(());
        }
        self.make_room_ahead();
        if self.is_spare_due.load(Ordering::Relaxed) {
            self.prepare_spare()?;
            self.is_spare_due.store(false, Ordering::Relaxed);
            self.reserve_spare();
        }
        Ok(())
    }

    /// Says that the active segment is going to end early.
    pub fn want_spare(&self) {
        if self.lock_tail().spare.is_none() {
            self.is_spare_due.store(true, Ordering::Relaxed);
        }
    }

    /// Whether [`Log::prepare_if_due`] is to prepare a spare segment.
    #[must_use]
    pub fn is_spare_due(&self) -> bool {
        self.is_spare_due.load(Ordering::Relaxed)
    }

    /// Whether [`Log::prepare_if_due`] has something to do.
    #[must_use]
    pub fn is_preparation_due(&self) -> bool {
        self.is_spare_due() || self.is_room_due()
    }

    /// The manifest on disk is known again: the files go that it may have named and does not.
    fn decide(&self, state: &mut ManifestState) {
        for id in std::mem::take(&mut state.undecided) {
            if !state.manifest.segments.iter().any(|named| named.id == id) {
                // What cannot be removed now goes at the next opening.
                let _ = remove_segment(&*self.fs, &self.dir, id);
            }
        }
    }

    fn create_segment(&self, state: &mut ManifestState) -> Result<Segment> {
        let id = state.manifest.next_segment;
        if id.0 == u32::MAX {
            return Err(Error::limit(
                "the store has used up its segment numbers; copy its records into a new store",
            ));
        }
        // Whatever happens, this number is not used for other bytes.
        state.manifest.next_segment = SegmentId(id.0 + 1);
        self.create_segment_file(id, state.manifest.store)
    }

    /// The file of a new segment, with its header, durable under a durable name.
    pub(crate) fn create_segment_file(&self, id: SegmentId, store: StoreId) -> Result<Segment> {
        let uid = new_uid(&self.options)?;
        let path = segment_path(&self.dir, id);
        let io = |doing: &str, e| Error::io(doing, &path, e);
        let file = self.fs.create_new(&path).map_err(|e| io("creating a segment", e))?;
        let header = SegmentHeader { id, uid, store };
        let made = file
            .write_all_at(&header.encode(), 0)
            .map_err(|e| e.source)
            .and_then(|()| file.sync_all())
            .map_err(|e| io("writing a segment's header", e))
            .and_then(|()| match guard::on("segment.sync_dir_after_create") {
                // DURABILITY: the file's name before a manifest names it.
                true => {
                    self.fs.sync_dir(&self.dir).map_err(|e| Error::io("syncing the directory", &self.dir, e))
                }
                false => Ok(()),
            });
        match made {
            Ok(()) => Ok(Segment::new(id, uid, path, file)),
            Err(error) => {
                let _ = self.fs.remove(&path);
                Err(error)
            }
        }
    }

    /// Stores a manifest with this change, durably. On a full disk the ballast makes room for it.
    pub(crate) fn store_manifest(
        &self,
        state: &mut ManifestState,
        change: impl FnOnce(&mut Manifest),
    ) -> Result<()> {
        let mut next = state.manifest.clone();
        change(&mut next);
        next.generation += 1;
        next.durable_upto = self.durable_seq();
        next.trusted_ms = next.trusted_ms.max(self.trusted_ms());
        next.next_namespace = next.next_namespace.max(self.next_namespace());
        let stored = match next.store(&*self.fs, &self.dir) {
            Err(error) if error.kind() == ErrorKind::NoSpace && self.release_ballast_locked(state) => {
                next.store(&*self.fs, &self.dir)
            }
            result => result,
        };
        // A generation that may have reached the disk is not given to another content.
        state.manifest.generation = next.generation;
        stored?;
        state.manifest = next;
        self.decide(state);
        Ok(())
    }
}

/// A fresh uid.
pub(crate) fn new_uid(options: &LogOptions) -> Result<SegmentUid> {
    let mut uid = [0; 16];
    options.entropy.fill(&mut uid)?;
    Ok(SegmentUid(uid))
}
