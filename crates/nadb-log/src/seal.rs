//! Sealing: a full segment gets its footer, and the manifest says durably that it has it. From then on the file never changes.
//! And the way back: opening sealed segments by their footers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use bytes::Bytes;
use nadb_core::{Error, ErrorKind, OnOpen, OpenPhase, Result, guard};
use nadb_vfs::Mapping;

use crate::footer::{BEHIND_CHECKSUM, FOOTER_TRAILER, Footer, footer_bytes};
use crate::log::{Log, ReadMode};
use crate::manifest::SealedExtent;
use crate::memtable::Memtable;
use crate::recovery::SealedSegment;
use crate::rows::Rows;
use crate::segment::{SEGMENT_HEADER, Segment};

/// Footers are opened by at most this many threads.
const THREADS_MAX: usize = 8;
/// Below so many bytes of footers one thread is quicker than several.
const THREADED_BYTES: u64 = 256 << 10;

impl<P: Send> Log<P> {
    /// The oldest segment that is full and not sealed yet.
    #[must_use]
    pub fn oldest_unsealed(&self) -> Option<Arc<Segment>> {
        self.full_segments().next()
    }

    /// Full segments that are not sealed, oldest first.
    pub(crate) fn full_segments(&self) -> impl Iterator<Item = Arc<Segment>> + use<P> {
        let (segments, active, _) = self.segments();
        segments.into_iter().filter(move |segment| {
            let has_frames = segment.bytes() > u64::from(SEGMENT_HEADER);
            has_frames && !segment.is_sealed() && Some(segment.id) != active
        })
    }

    /// How many segments are full and not sealed yet.
    #[must_use]
    pub fn unsealed_count(&self) -> usize {
        self.unsealed.load(Ordering::Acquire)
    }

    /// Seals the oldest full segment, whose rows are all in `memtable`, and gives its footer.
    ///
    /// # Errors
    /// `NoSpace`, `Io` or `Limit`: the segment is not sealed, its records are as good as before, and sealing may be tried
    /// again. `Poisoned` when a sync fails or has failed. `InvalidInput` for a segment whose turn it is not.
    pub fn seal(&self, segment: &Arc<Segment>, memtable: &Memtable) -> Result<Footer> {
        let is_next = self.oldest_unsealed().is_some_and(|oldest| oldest.id == segment.id);
        if !is_next && guard::on("seal.oldest_first") {
            return Err(Error::invalid(format!("segment {} is not the next one to be sealed", segment.id)));
        }
        // Before its pages are synced: the system would have to take each of them from this memory by itself.
        segment.stop_appender();
        // DURABILITY: afterwards nobody syncs this file but the caller, so that the error of a failed sync of the footer
        // cannot be told to somebody else; and what counts as durable reaches its end.
        let last_seq = self.sync_full(segment)?;
        let frames_end = segment.in_file.load(Ordering::Acquire);
        let footer = Bytes::from(encode(segment, frames_end, memtable)?);
        let file_len = u32::try_from(footer.len()).ok().and_then(|len| frames_end.checked_add(len));
        let file_len = file_len.ok_or_else(|| {
            Error::limit(format!("segment {} and its footer have more than 4 GiB", segment.id))
        })?;
        self.write_footer(segment, frames_end, &footer)?;
        let extent = SealedExtent { frames_end, file_len, last_seq, is_compacted: false };
        let in_memory = open_bytes(footer, segment, frames_end)?;
        let mut state = self.manifest.lock();
        self.check_poison()?;
        self.store_manifest(&mut state, |manifest| {
            if let Some(named) = manifest.segments.iter_mut().find(|named| named.id == segment.id) {
                named.sealed = Some(extent);
            }
            manifest.sealed_upto = manifest.sealed_upto.max(extent.last_seq);
        })?;
        drop(state);
        segment.set_sealed(extent);
        self.unsealed.fetch_sub(1, Ordering::AcqRel);
        // Where the system has no mapping for it, the segment is read by calls and the footer stays in memory.
        let mapped = segment.map_sealed(extent, self.options.read_mode);
        Ok(mapped.and_then(|mapping| mapped_footer(&mapping, segment, extent).ok()).unwrap_or(in_memory))
    }

    /// Writes the footer behind the last frame, durably.
    fn write_footer(&self, segment: &Segment, at: u32, footer: &[u8]) -> Result<()> {
        let at = u64::from(at);
        let io = |e| segment.io("writing a footer", e);
        // What a crash or a failed attempt left there is not a footer: the manifest does not say so.
        if segment.file.len().map_err(io)? > at {
            segment.file.set_len(at).map_err(io)?;
        }
        if let Err(e) = segment.file.write_all_at(footer, at) {
            // Only room that is given back; what is left is as good as nothing.
            let _ = segment.file.set_len(at);
            return Err(io(e.source));
        }
        self.counters.written_bytes.fetch_add(footer.len() as u64, Ordering::Relaxed);
        // DURABILITY: the footer before the manifest that calls it one; and with it the length, which may have become less
        // since the segment was full, and which a sync of data alone does not make durable then.
        if guard::on("seal.sync_before_manifest") { self.sync_file_and_len(segment) } else { Ok(()) }
    }
}

/// The footer of a segment whose frames end at `at`.
pub(crate) fn encode(segment: &Segment, at: u32, memtable: &Memtable) -> Result<Vec<u8>> {
    memtable.footer_builder()?.finish(segment.uid, at, &memtable.metas(), &memtable.system())
}

/// The footer of a sealed segment through its mapping.
pub(crate) fn mapped_footer(mapping: &Mapping, segment: &Segment, extent: SealedExtent) -> Result<Footer> {
    let range = extent.frames_end as usize..extent.file_len as usize;
    open_bytes(mapping.slice(range).unwrap_or_default(), segment, extent.frames_end)
}

/// The footer of a sealed segment, by positioned reads.
pub(crate) fn read_footer(segment: &Segment, extent: SealedExtent) -> Result<Footer> {
    check_len(segment, extent)?;
    let mut bytes = vec![0; (extent.file_len - extent.frames_end) as usize];
    segment
        .file
        .read_exact_at(&mut bytes, u64::from(extent.frames_end))
        .map_err(|e| segment.io("reading a footer", e).with_offset(u64::from(extent.frames_end)))?;
    open_bytes(Bytes::from(bytes), segment, extent.frames_end)
}

/// Opens the footer whose bytes, exactly, stand at `at`.
pub(crate) fn open_bytes(bytes: Bytes, segment: &Segment, at: u32) -> Result<Footer> {
    let version_at = (u64::from(at) + bytes.len() as u64).saturating_sub(BEHIND_CHECKSUM as u64);
    Footer::open(bytes, segment.uid, at, &segment.path).map_err(|error| match error.kind() {
        // Manifest and segment are of this build's version, and both are older than the footer.
        ErrorKind::Version if error.offset() == Some(version_at) => segment
            .corruption(version_at, "the footer says that it has another format version than its segment"),
        _ => error,
    })
}

/// Where the footer begins with which the file of `len` bytes ends, if that is one and of this segment: for when no manifest
/// says so. Its blocks are not looked at.
///
/// # Errors
/// `Version` for a footer that needs another build, and `Io`.
pub(crate) fn find_footer(segment: &Segment, len: u64) -> Result<Option<u32>> {
    let room = len.saturating_sub(u64::from(SEGMENT_HEADER));
    let read = |bytes: usize| {
        let (mut tail, at) = (vec![0; bytes], len - bytes as u64);
        let read = segment.file.read_exact_at(&mut tail, at);
        read.map(|()| tail).map_err(|e| segment.io("reading a footer", e).with_offset(at))
    };
    if room < u64::from(FOOTER_TRAILER) {
        return Ok(None);
    }
    let claimed = footer_bytes(&read(FOOTER_TRAILER as usize)?).filter(|bytes| u64::from(*bytes) < room);
    let Some(bytes) = claimed else { return Ok(None) };
    let Ok(at) = u32::try_from(len - u64::from(bytes)) else { return Ok(None) };
    match open_bytes(Bytes::from(read(bytes as usize)?), segment, at) {
        Ok(_) => Ok(Some(at)),
        Err(error) if error.kind() == ErrorKind::Corruption => Ok(None),
        Err(error) => Err(error),
    }
}

fn check_len(segment: &Segment, extent: SealedExtent) -> Result<()> {
    let len = segment.file.len().map_err(|e| segment.io("reading a segment", e))?;
    if len == u64::from(extent.file_len) {
        return Ok(());
    }
    Err(segment.corruption(
        len.min(u64::from(extent.file_len)),
        format!("the file has {len} bytes, the manifest says {}", extent.file_len),
    ))
}

/// Opens the footers of sealed segments, several at a time. One that is damaged is built again from the records, in memory,
/// and reported.
pub(crate) fn open_footers(
    sealed: &[(Arc<Segment>, u64)],
    mode: ReadMode,
    on_open: Option<&OnOpen>,
) -> Result<(Vec<SealedSegment>, Vec<String>)> {
    let extents = sealed.iter().filter_map(|(segment, _)| segment.extent());
    let bytes: u64 = extents.map(|extent| u64::from(extent.file_len - extent.frames_end)).sum();
    let done = AtomicU64::new(0);
    let open_one = |segment: &Arc<Segment>| -> Result<_> {
        let opened = open_or_rebuild(segment, mode).and_then(|(rows, warning)| {
            segment.add_rows(&rows)?;
            Ok((SealedSegment { segment: Arc::clone(segment), rows }, warning))
        });
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(on_open) = on_open {
            on_open.report(OpenPhase::Footers, done, sealed.len() as u64);
        }
        opened
    };
    let open = |part: &[(Arc<Segment>, u64)]| -> Result<Vec<_>> {
        part.iter().map(|(segment, _)| open_one(segment)).collect()
    };
    let parts: Vec<Result<Vec<_>>> = if sealed.len() < 2 || bytes < THREADED_BYTES {
        vec![open(sealed)]
    } else {
        let threads = thread::available_parallelism().map_or(1, usize::from).clamp(1, THREADS_MAX);
        let chunk = sealed.len().div_ceil(threads).max(1);
        thread::scope(|scope| {
            let threads: Vec<_> = sealed.chunks(chunk).map(|part| scope.spawn(|| open(part))).collect();
            threads.into_iter().map(join).collect()
        })
    };
    let mut opened = Vec::with_capacity(sealed.len());
    let mut warnings = Vec::new();
    for part in parts {
        for (segment, warning) in part? {
            opened.push(segment);
            warnings.extend(warning);
        }
    }
    Ok((opened, warnings))
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(Error::new(ErrorKind::Io, "a thread that opened footers panicked")))
}

/// The rows of a sealed segment, and what to tell where its footer is damaged.
pub(crate) fn open_or_rebuild(segment: &Arc<Segment>, mode: ReadMode) -> Result<(Rows, Option<String>)> {
    let Some(extent) = segment.extent() else {
        return Err(segment.corruption(0, "the segment is not sealed"));
    };
    // By position, also where it is mapped afterwards: of a medium that fails, opening hears by an error and not by a signal.
    let checked = || read_footer(segment, extent).and_then(|footer| footer.check_sums().map(|()| footer));
    let mapped = || segment.map_sealed(extent, mode).map(|mapping| mapped_footer(&mapping, segment, extent));
    let opened = if guard::on("open.footers_by_position") {
        checked().map(|footer| mapped().and_then(Result::ok).unwrap_or(footer))
    } else {
        mapped().unwrap_or_else(checked)
    };
    match opened {
        Ok(footer) => Ok((Rows::Footer(Arc::new(footer)), None)),
        Err(error) if error.kind() == ErrorKind::Corruption => {
            let rows = Rows::rebuild(segment).map_err(|e| neither(e, &error))?;
            let warning =
                format!("{error}; the footer was built again in memory from the records, which are whole");
            Ok((rows, Some(warning)))
        }
        Err(error) => Err(error),
    }
}

/// The error for a segment whose records do not verify, nor does the footer that would do without them.
fn neither(records: Error, footer: &Error) -> Error {
    if records.kind() != ErrorKind::Corruption {
        return records;
    }
    records.with_context(&format!(
        "neither records nor footer of a sealed segment are whole, and nothing was changed; `nadb repair` saves what can \
         be read ({footer})"
    ))
}
