//! Appending: a frame takes its place, goes to the file, and is published.
//!
//! A place and its numbers are reserved in one step under the tail lock. Whoever holds the flush lock then writes all
//! frames that wait, in one call, and publishes them in order; the others find their work done. A frame whose bytes did not
//! reach the file gives its place back before anyone can take the next one.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::limits::{FRAME_BODY_MAX, SEQ_MAX};
use nadb_core::{Durability, Error, ErrorKind, Phase, Result, SegmentId, Seq, Stopwatch, guard};
use nadb_vfs::{Appender, Room};
use parking_lot::MutexGuard;

use crate::frame::{FRAME_HEADER_MAX, FrameBody, FramePlace, put_opening};
use crate::log::{Failure, Log, Placed, Queued, ReadMode, Tail};
use crate::segment::{SEGMENT_HEADER, Segment};

/// Larger frames are written by calls: one copy into the page cache costs less than as many page faults.
const IN_MEMORY_MAX: usize = 4 << 10;
/// Blocks are reserved in steps that grow with the segment, between these bounds.
const ROOM_STEP: std::ops::RangeInclusive<u64> = (64 << 10)..=(256 << 10);

/// What a footer may have at least, beyond half a segment.
const FOOTER_ROOM: u64 = 64 << 10;

/// Offsets are 32 bits wide.
const SEGMENT_BYTES_MAX: u64 = u32::MAX as u64;

impl<P: Send> Log<P> {
    /// Appends one frame and returns when it is published and as durable as `durability` says.
    ///
    /// `only_deletes` lets the frame use the room that the ballast keeps when the device is full.
    ///
    /// # Errors
    /// `NoSpace` and `Io`: the frame is not there and takes no number. `Limit`: an empty body, or one above
    /// [`FRAME_BODY_MAX`]. `Poisoned`: a sync failed, now or earlier; a frame
    /// that was published stays visible, and whether it survives a power cut is unknown.
    pub fn append(
        &self,
        body: &FrameBody,
        durability: Durability,
        only_deletes: bool,
        payload: impl FnMut() -> P,
    ) -> Result<Placed> {
        let placed = self.append_visible(body, durability, only_deletes, payload, &mut Stopwatch::off())?;
        if durability == Durability::Synced {
            self.sync_upto(placed.last_seq())?;
        }
        Ok(placed)
    }

    /// As [`Log::append`], but returns when the frame is published: a `Synced` frame is not durable yet, and the caller
    /// asks [`Log::sync_upto`] for that once it holds nothing that other writers wait for. `watch` is told where time goes.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_visible(
        &self,
        body: &FrameBody,
        durability: Durability,
        only_deletes: bool,
        mut payload: impl FnMut() -> P,
        watch: &mut Stopwatch<'_>,
    ) -> Result<Placed> {
        check_body(body)?;
        match self.append_once(body, durability, only_deletes, payload(), watch) {
            Err(error) if error.kind() == ErrorKind::NoSpace && only_deletes && self.release_ballast() => {
                self.append_once(body, durability, only_deletes, payload(), watch)
            }
            result => result,
        }
    }

    fn append_once(
        &self,
        body: &FrameBody,
        durability: Durability,
        only_deletes: bool,
        payload: P,
        watch: &mut Stopwatch<'_>,
    ) -> Result<Placed> {
        let is_buffered = durability == Durability::Buffered;
        if is_buffered && self.lock_tail().pending.len() > self.options.buffer_size {
            self.write_out_all()?;
            watch.lap(Phase::Append);
        }
        let (ticket, placed, is_in_file) = self.reserve(body, is_buffered, only_deletes, payload, watch)?;
        if is_in_file {
            self.publish_ready_in(watch);
            return Ok(placed);
        }
        let mut written = Ok(());
        if is_buffered {
            self.publish_ready_in(watch);
        }
        // A buffered frame behind one that must be in the file first goes there with it.
        if !is_buffered || self.lock_tail().queue.front().is_some_and(|first| first.ticket <= ticket) {
            let flush = self.flush.lock();
            watch.lap(Phase::Wait);
            written = self.write_out_in(ticket, &flush, watch);
        }
        self.outcome(ticket, written)?;
        Ok(placed)
    }

    /// Takes place and numbers in one step, and says whether the file has the frame already.
    fn reserve(
        &self,
        body: &FrameBody,
        is_buffered: bool,
        only_deletes: bool,
        payload: P,
        watch: &mut Stopwatch<'_>,
    ) -> Result<(u64, Placed, bool)> {
        loop {
            self.check_poison()?;
            // Each time anew: the manifest, on the way here, may have needed the ballast.
            self.check_room(only_deletes)?;
            let mut guard = self.lock_tail();
            let tail = &mut *guard;
            if !tail.dirty {
                drop(guard);
                self.mark_dirty()?;
                continue;
            }
            let Some(segment) = tail.active.clone().filter(|_| !tail.rotating && self.fits(tail, body.len()))
            else {
                let active = tail.active.as_ref().map(|active| active.id);
                drop(guard);
                self.rotate(active)?;
                continue;
            };
            if let Some((room, upto)) = self.room_for(tail, body.len()) {
                drop(guard);
                self.make_room(&*room, upto);
                continue;
            }
            if tail.next_seq.0 + u64::from(body.count()) > SEQ_MAX {
                return Err(Error::limit(format!(
                    "the store has used up its sequence numbers ({} of {SEQ_MAX}); copy its records into a new store",
                    tail.last_seq
                )));
            }
            watch.lap(Phase::Wait);
            let taken = self.take_place(tail, segment, body, is_buffered, payload);
            drop(guard);
            watch.lap(Phase::Append);
            return Ok(taken);
        }
    }

    /// The frame's place is at the end of the active segment, which has room for it. Gives its ticket, its place, and
    /// whether the file has it already.
    fn take_place(
        &self,
        tail: &mut Tail<P>,
        segment: Arc<Segment>,
        body: &FrameBody,
        is_buffered: bool,
        payload: P,
    ) -> (u64, Placed, bool) {
        let start = tail.offset;
        let last_seq_before = tail.last_seq;
        let place = FramePlace {
            uid: &segment.uid,
            offset: start,
            first_seq: tail.next_seq,
            durable_upto: self.durable_seq(),
            time_ms: self.options.clock.now_ms(),
        };
        let pending_before = tail.pending.len();
        let body_offset = body.place(&mut tail.pending, place);
        let placed =
            Placed { segment: segment.id, body_offset, first_seq: tail.next_seq, count: body.count() };
        tail.grow(pending_before);
        tail.last_seq = placed.last_seq();
        tail.next_seq = tail.last_seq.next();
        tail.is_marked = false;
        if tail.spare.is_none() && u64::from(tail.offset) > self.options.segment_size / 2 {
            self.is_spare_due.store(true, Ordering::Relaxed);
        }
        if tail.calls_for_room() {
            self.call_for_room();
        }
        let ticket = tail.next_ticket;
        tail.next_ticket += 1;
        let is_in_file = self.append_in_memory(tail, &segment, ticket);
        tail.queue.push_back(Queued {
            ticket,
            is_buffered,
            start,
            last_seq_before,
            placed,
            segment,
            payload,
        });
        (ticket, placed, is_in_file)
    }

    /// Puts the frames that wait into the file through memory, where it has some, and nobody is writing frames before them;
    /// says whether.
    fn append_in_memory(&self, tail: &mut Tail<P>, segment: &Segment, ticket: u64) -> bool {
        let Some(appender) = tail.appender.as_mut() else { return false };
        let is_turn = tail.writing.is_none() && appender.end() == u64::from(tail.pending_at);
        if !is_turn || tail.pending.len() > IN_MEMORY_MAX || !appender.append(&tail.pending) {
            return false;
        }
        self.counters.appends.fetch_add(1, Ordering::Relaxed);
        self.counters.written_bytes.fetch_add(tail.pending.len() as u64, Ordering::Relaxed);
        tail.pending.clear();
        tail.through_memory += tail.offset - tail.pending_at;
        tail.pending_at = tail.offset;
        tail.ticket_in_file = ticket;
        tail.seq_in_file = tail.last_seq;
        segment.in_file.store(tail.offset, Ordering::Release);
        true
    }

    /// The room that must be reserved before a frame with such a body can be appended through memory, and how far.
    fn room_for(&self, tail: &Tail<P>, body_len: u32) -> Option<(Arc<dyn Room>, u64)> {
        let len = FRAME_HEADER_MAX as u64 + u64::from(body_len);
        let room = tail.appender.as_ref().filter(|_| len <= IN_MEMORY_MAX as u64)?.room();
        let (end, reserved) = (u64::from(tail.offset) + len, room.reserved());
        let most = self.options.segment_size.min(room.limit());
        let step = end.clamp(*ROOM_STEP.start(), *ROOM_STEP.end());
        (end > reserved && reserved < most).then(|| (room, (end + step).min(most)))
    }

    /// Reserves blocks. Where there are none, frames are written by calls, which can say so.
    fn make_room(&self, room: &dyn Room, upto: u64) {
        if room.reserve(upto).is_err() {
            self.lock_tail().appender = None;
        }
    }

    fn fits(&self, tail: &Tail<P>, body_len: u32) -> bool {
        let end = u64::from(tail.offset) + FRAME_HEADER_MAX as u64 + u64::from(body_len);
        // A segment with nothing but its opening frame takes a frame of any length.
        end <= self.options.segment_size.min(SEGMENT_BYTES_MAX)
            || u64::from(tail.offset) <= u64::from(SEGMENT_HEADER) + FRAME_HEADER_MAX as u64 + 8
    }

    /// Publishes frames from the front of the queue as long as they may be.
    fn publish_ready_in(&self, watch: &mut Stopwatch<'_>) {
        let _publish = self.publish.lock();
        watch.lap(Phase::Wait);
        self.publish_ready_locked();
        watch.lap(Phase::Index);
    }

    fn publish_ready_locked(&self) {
        let mut has_more = true;
        while has_more {
            let next = {
                let mut tail = self.lock_tail();
                let next = if tail.is_first_ready() { tail.queue.pop_front() } else { None };
                has_more = tail.is_first_ready();
                next
            };
            let Some(Queued { placed, segment, payload, .. }) = next else { return };
            segment.add_records(placed.first_seq, placed.count);
            self.publisher.publish(payload, placed, &segment);
            self.published.store(placed.last_seq().0, Ordering::Release);
        }
    }

    /// What became of a frame whose turn has passed; `written` is what its own attempt to write met, which may have been
    /// another frame's failure.
    fn outcome(&self, ticket: u64, written: Result<()>) -> Result<()> {
        let mut tail = self.lock_tail();
        if let Some(at) = tail.failures.iter().position(|f| (f.first..=f.last).contains(&ticket))
            && let Some(failure) = tail.failures.get_mut(at)
        {
            failure.unheard -= 1;
            let error = failure.error.duplicate();
            if failure.unheard == 0 {
                tail.failures.swap_remove(at);
            }
            return Err(error);
        }
        let is_waiting = tail.queue.front().is_some_and(|first| first.ticket <= ticket);
        drop(tail);
        if is_waiting {
            written?;
            self.check_poison()?;
        }
        Ok(())
    }

    /// Puts every frame up to `ticket` into the file and publishes it.
    pub(crate) fn write_out(&self, ticket: u64) -> Result<()> {
        let flush = self.flush.lock();
        self.write_out_locked(ticket, &flush)
    }

    /// Puts every frame that is reserved now into the file.
    ///
    /// # Errors
    /// `NoSpace` or `Io`: published frames stay in memory for the next attempt; `Poisoned`.
    pub fn write_out_all(&self) -> Result<()> {
        self.write_out(u64::MAX)
    }

    pub(crate) fn write_out_locked(&self, ticket: u64, flush: &MutexGuard<'_, ()>) -> Result<()> {
        self.write_out_in(ticket, flush, &mut Stopwatch::off())
    }

    fn write_out_in(
        &self,
        ticket: u64,
        _flush: &MutexGuard<'_, ()>,
        watch: &mut Stopwatch<'_>,
    ) -> Result<()> {
        self.check_poison()?;
        let taken = {
            let mut tail = self.lock_tail();
            if tail.ticket_in_file >= ticket || tail.pending.is_empty() {
                None
            } else {
                Some(tail.take_pending())
            }
        };
        if let Some(taken) = taken {
            let Taken { segment, bytes, at, ticket, seq } = taken;
            self.counters.appends.fetch_add(1, Ordering::Relaxed);
            match segment.file.write_all_at(&bytes, u64::from(at)) {
                Ok(()) => {
                    self.counters.written_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    let mut tail = self.lock_tail();
                    segment.in_file.store(tail.pending_at, Ordering::Release);
                    tail.writing = None;
                    tail.ticket_in_file = ticket;
                    tail.seq_in_file = seq;
                    let end = u64::from(tail.pending_at);
                    if let Some(appender) = &mut tail.appender {
                        appender.skip_to(end);
                    }
                    if tail.pending.capacity() == 0
                        && let Ok(mut spent) = Arc::try_unwrap(bytes)
                    {
                        spent.clear();
                        spent.shrink_to(self.options.buffer_size);
                        tail.pending = spent;
                    }
                }
                Err(e) => {
                    let error = segment.io("appending to the log", e.source).with_offset(u64::from(at));
                    return Err(self.give_back(&segment, at, error));
                }
            }
        }
        watch.lap(Phase::Append);
        self.publish_ready_in(watch);
        Ok(())
    }

    /// After a failed write: the file is cut back durably to what it had, so that no part of the frames can come back, and
    /// those that nobody can see yet are taken out of the log, with their numbers. Published frames wait in memory for the
    /// next attempt. Gives the error that each of the failed writers hears.
    fn give_back(&self, segment: &Segment, file_end: u32, error: Error) -> Error {
        // The file is about to be shorter than what was reserved.
        self.lock_tail().appender = None;
        let error = self.cut_back(segment, file_end, error);
        let _publish = self.publish.lock();
        self.publish_ready_locked();
        {
            let mut guard = self.lock_tail();
            let tail = &mut *guard;
            let mut bytes = tail.writing.take().map_or_else(Vec::new, |writing| writing.to_vec());
            bytes.append(&mut tail.pending);
            if let (Some(first), Some(last)) = (tail.queue.front(), tail.queue.back()) {
                let (first_ticket, last_ticket) = (first.ticket, last.ticket);
                tail.offset = first.start;
                tail.last_seq = first.last_seq_before;
                tail.next_seq = first.placed.first_seq;
                tail.failures.push(Failure {
                    first: first_ticket,
                    last: last_ticket,
                    unheard: last_ticket - first_ticket + 1,
                    error: error.duplicate(),
                });
                tail.queue.clear();
            }
            bytes.truncate((tail.offset - file_end) as usize);
            tail.pending = bytes;
            tail.pending_at = file_end;
        }
        error
    }

    fn cut_back(&self, segment: &Segment, file_end: u32, error: Error) -> Error {
        if !guard::on("append.give_back_cuts_file") {
            return error;
        }
        // DURABILITY: without the sync, a power cut could bring back frames whose numbers are given again.
        let cut = segment.file.set_len(u64::from(file_end)).and_then(|()| segment.file.sync_all());
        match cut {
            Ok(()) => error,
            Err(e) => self.set_poison(segment.io("taking back a failed append", e)),
        }
    }

    /// Ends the active segment before it is full, if it still is `active`, and says so; the log goes on in the spare one.
    ///
    /// # Errors
    /// `NoSpace`, `ReadOnly`, `Io` or `Poisoned`: the segment stays active.
    pub fn end_segment(&self, active: SegmentId) -> Result<bool> {
        self.check_poison()?;
        if !self.lock_tail().dirty {
            self.mark_dirty()?;
        }
        self.rotate(Some(active))
    }

    /// Ends the active segment, if it still is `active`, and goes on in the spare one; says whether it was.
    fn rotate(&self, active: Option<SegmentId>) -> Result<bool> {
        if self.lock_tail().spare.is_none() {
            self.counters.segment_waits.fetch_add(1, Ordering::Relaxed);
            self.prepare_spare()?;
        }
        let flush = self.flush.lock();
        {
            let mut tail = self.lock_tail();
            if tail.active.as_ref().map(|active| active.id) != active {
                return Ok(false);
            }
            // From here on nobody appends; who wants to waits for the flush lock.
            tail.rotating = true;
        }
        let written = self.write_out_locked(u64::MAX, &flush);
        let mut guard = self.lock_tail();
        let tail = &mut *guard;
        tail.rotating = false;
        written?;
        let full = tail.active.clone().zip(tail.appender.take());
        if let Some(spare) = tail.spare.take() {
            self.unsealed.fetch_add(usize::from(tail.active.is_some()), Ordering::AcqRel);
            tail.begin_segment(spare, self.durable_seq(), self.options.clock.now_ms());
        }
        drop(guard);
        if let Some((full, appender)) = full {
            // Blocks that were reserved and not used; those that stay for now go when it is sealed.
            let _ = full.file.set_len(full.bytes());
            full.keep_appender(Some(appender));
        }
        Ok(true)
    }

    /// Gives the active segment a way to be appended to through memory, if its file has one.
    pub(crate) fn appender_for(&self, segment: &Segment) -> Option<Box<dyn Appender>> {
        // With memory for the footer, so that one mapping serves the segment for its whole life.
        let len =
            (self.options.segment_size + self.options.segment_size / 2 + FOOTER_ROOM).min(SEGMENT_BYTES_MAX);
        let appender = segment.file.appender(segment.bytes(), len).ok().flatten()?;
        if self.options.read_mode == ReadMode::Mapped {
            segment.set_growing(appender.mapping());
        }
        Some(appender)
    }
}

/// Refuses what a reader would refuse, and with it every frame behind it.
fn check_body(body: &FrameBody) -> Result<()> {
    if body.is_empty() || body.len() as usize > FRAME_BODY_MAX {
        return Err(Error::limit(format!(
            "the batch has {} records in {} encoded bytes, the limit is 1 record to {FRAME_BODY_MAX} bytes",
            body.count(),
            body.len()
        )));
    }
    Ok(())
}

/// Frames on their way to the file.
struct Taken {
    segment: Arc<Segment>,
    bytes: Arc<Vec<u8>>,
    at: u32,
    ticket: u64,
    seq: Seq,
}

impl<P> Tail<P> {
    /// The log's end after `pending` grew from `before` bytes.
    pub(crate) fn grow(&mut self, before: usize) {
        let grown = self.pending.len() - before;
        self.offset += u32::try_from(grown).unwrap_or(u32::MAX);
    }

    /// Whether the first frame of the queue may be published.
    fn is_first_ready(&self) -> bool {
        self.queue.front().is_some_and(|first| {
            let is_in_file = first.ticket <= self.ticket_in_file;
            first.is_buffered || is_in_file || !guard::on("append.publish_after_file")
        })
    }

    /// Makes `spare` the active segment: its opening frame is the first thing that will be written to it.
    fn begin_segment(&mut self, spare: Arc<Segment>, durable_upto: Seq, time_ms: u64) {
        let opening = FramePlace {
            uid: &spare.uid,
            offset: SEGMENT_HEADER,
            first_seq: self.next_seq,
            durable_upto,
            time_ms,
        };
        self.pending.clear();
        put_opening(&mut self.pending, opening, self.last_seq);
        self.pending_at = SEGMENT_HEADER;
        self.offset = SEGMENT_HEADER;
        self.through_memory = 0;
        self.calls_at = 0;
        self.grow(0);
        self.appender = self.spare_appender.take();
        let before = self.active.replace(spare);
        if let Some(before) = &before {
            before.end_seq.store(self.last_seq.0, Ordering::Release);
        }
        self.unsynced.extend(before);
    }

    fn take_pending(&mut self) -> Taken {
        let bytes = Arc::new(std::mem::take(&mut self.pending));
        let at = self.pending_at;
        self.pending_at = self.offset;
        self.writing = Some(Arc::clone(&bytes));
        let segment = self.active.clone();
        Taken {
            #[expect(
                clippy::expect_used,
                reason = "INVARIANT: frames are reserved in an active segment only"
            )]
            segment: segment.expect("frames wait, so a segment is active"),
            bytes,
            at,
            ticket: self.next_ticket - 1,
            seq: self.last_seq,
        }
    }
}
