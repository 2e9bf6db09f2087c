//! Syncing: concurrent writers share one sync, and what is durable is a prefix.

use std::io;
use std::sync::atomic::Ordering;

use nadb_core::{ErrorKind, Result, Seq, guard};
use parking_lot::MutexGuard;

use crate::frame::{FramePlace, put_end_mark};
use crate::log::Log;
use crate::segment::Segment;

impl<P: Send> Log<P> {
    /// Makes everything up to `seq` durable. Who finds it done by another's sync returns at once.
    ///
    /// # Errors
    /// `Poisoned` when a sync fails or has failed; `NoSpace` or `Io` when frames in memory cannot be written.
    pub fn sync_upto(&self, seq: Seq) -> Result<()> {
        let sync = self.sync.lock();
        let synced = if self.durable_seq() >= seq { Ok(()) } else { self.sync_locked(seq) };
        // To whom waits longest, not to whom comes first: so that those who were caught by this sync are gone, and have
        // perhaps written again, before the next one begins.
        MutexGuard::unlock_fair(sync);
        synced
    }

    /// Makes everything up to the end of a full segment durable, and gives its last number. Afterwards no sync has to do with
    /// its file any more.
    pub(crate) fn sync_full(&self, segment: &Segment) -> Result<Seq> {
        let _sync = self.sync.lock();
        let end = Seq(segment.end_seq.load(Ordering::Acquire));
        self.sync_locked(end)?;
        Ok(end)
    }

    /// Makes everything that is published now durable.
    ///
    /// # Errors
    /// As [`Log::sync_upto`].
    pub fn sync_all(&self) -> Result<()> {
        self.check_poison()?;
        self.sync_upto(self.published_seq())
    }

    fn sync_locked(&self, seq: Seq) -> Result<()> {
        self.check_poison()?;
        if guard::on("sync.lower_frames_first")
            && let Err(error) = self.write_out_all()
            && (error.kind() == ErrorKind::Poisoned || self.lock_tail().seq_in_file < seq)
        {
            // Where only frames above `seq` failed, this is not about them.
            return Err(error);
        }
        // DURABILITY: what will count as durable is fixed before the first sync call: frames that come while the files are
        // being synced may or may not be caught by it.
        let (upto, full, active, room) = {
            let tail = self.lock_tail();
            let room = tail.appender.as_ref().map(|appender| appender.room());
            (tail.seq_in_file, tail.unsynced.clone(), tail.active.clone(), room)
        };
        if let Some((room, active)) = room.zip(active.as_ref()) {
            room.settle(active.bytes());
        }
        let mut files: Vec<_> = full.iter().cloned().chain(active).collect();
        if !guard::on("sync.every_file") {
            files = files.pop().into_iter().collect();
        }
        // DURABILITY: oldest first, or a power cut between two syncs could keep a later file without an earlier one.
        for segment in &files {
            if let Some(room) = segment.kept_room() {
                room.settle(segment.bytes());
            }
            self.sync_file(segment)?;
        }
        let mut tail = self.lock_tail();
        // Not the active one: if it has been filled meanwhile, it has frames that this sync did not catch.
        tail.unsynced.retain(|segment| !full.iter().any(|synced| synced.id == segment.id));
        let upto = if guard::on("sync.sampled_before") { upto } else { tail.last_seq };
        drop(tail);
        self.durable.fetch_max(upto.0, Ordering::AcqRel);
        Ok(())
    }

    /// Whether the log ends in an end mark, or has not been written since it was opened.
    #[must_use]
    pub fn is_marked(&self) -> bool {
        self.lock_tail().is_marked || self.is_poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn sync_file(&self, segment: &Segment) -> Result<()> {
        self.synced(segment, || segment.file.sync_data())
    }

    pub(crate) fn sync_file_and_len(&self, segment: &Segment) -> Result<()> {
        self.synced(segment, || segment.file.sync_all())
    }

    fn synced(&self, segment: &Segment, sync: impl FnOnce() -> io::Result<()>) -> Result<()> {
        let clock = &self.options.clock;
        let begun = clock.monotonic();
        let result = sync();
        self.counters.sync_times.add(clock.monotonic().saturating_sub(begun));
        self.counters.syncs.fetch_add(1, Ordering::Relaxed);
        match result {
            Ok(()) => Ok(()),
            Err(e) if guard::on("sync.failure_poisons") => {
                Err(self.set_poison(segment.io("syncing the log", e)))
            }
            Err(e) => Err(segment.io("syncing the log", e)),
        }
    }

    /// Makes everything durable and writes an end mark behind it, so that rot in the last synced frame is not taken for a
    /// torn tail. Does nothing where one stands already.
    ///
    /// # Errors
    /// As [`Log::sync_upto`].
    pub fn mark_end(&self) -> Result<()> {
        let _sync = self.sync.lock();
        self.check_poison()?;
        if self.lock_tail().is_marked {
            return Ok(());
        }
        self.sync_locked(self.published_seq())?;
        {
            let mut guard = self.lock_tail();
            let tail = &mut *guard;
            // Someone has written since: the log is not idle.
            if tail.is_marked || tail.rotating || tail.last_seq != self.durable_seq() {
                return Ok(());
            }
            let Some(segment) = tail.active.clone() else { return Ok(()) };
            let place = FramePlace {
                uid: &segment.uid,
                offset: tail.offset,
                first_seq: tail.next_seq,
                durable_upto: self.durable_seq(),
                time_ms: self.options.clock.now_ms(),
            };
            let before = tail.pending.len();
            put_end_mark(&mut tail.pending, place);
            tail.grow(before);
            tail.is_marked = true;
        }
        self.write_out_all()?;
        let active = self.lock_tail().active.clone();
        active.map_or(Ok(()), |segment| self.sync_file(&segment))
    }
}
