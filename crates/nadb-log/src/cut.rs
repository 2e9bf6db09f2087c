//! After an unclean end: what was kept becomes durable, what follows it is cut off, and numbers jump.

use std::io;
use std::path::Path;

use nadb_core::limits::SEQ_MAX;
use nadb_core::{Error, ErrorKind, Result, SegmentId, Seq, guard};
use nadb_vfs::{FileLock, Fs};

use crate::access::remove_access;
use crate::frame::{FRAME_HEADER_MAX, FrameHeader};
use crate::manifest::Manifest;
use crate::names::{BALLAST, segment_path};
use crate::recovery::{Opened, Recovered, Replayed, at_end, can_follow, is_pristine};
use crate::replay::{SegmentEnd, written_behind};
use crate::segment::{SEGMENT_HEADER, Segment};
use crate::window::Window;

/// How far numbers jump after an unclean opening: more than can ever have been given without being kept.
pub(crate) const JUMP: u64 = 1 << 32;

/// After an unclean end: makes what was kept durable, cuts what follows it, and goes on in a new segment with numbers that
/// were never given.
pub(crate) fn cut(
    fs: &dyn Fs,
    dir: &Path,
    lock: Box<dyn FileLock>,
    old: Manifest,
    replayed: Replayed,
    report: Recovered,
) -> Result<Opened> {
    let mut cut_bytes = 0;
    let count = replayed.chain.len();
    let last_id = replayed.last_id();
    let mut segments = replayed.sealed;
    for (index, (segment, len, end)) in replayed.chain.into_iter().enumerate() {
        // DURABILITY: the cut is durable before any manifest or frame that comes after it, so that nothing that was cut
        // can stand behind a later tail of equal size; and what was kept is durable before it counts as durable.
        if index + 1 == count && len > u64::from(end.offset) {
            cut_bytes += written_behind(&segment, end.offset, len)?;
            if guard::on("recovery.shorten_cut_segment") {
                segment
                    .file
                    .set_len(u64::from(end.offset))
                    .map_err(|e| segment.io("cutting a torn tail off", e))?;
            }
        }
        if guard::on("recovery.rewrite_unsynced") && end.last_seq > replayed.durable_upto {
            write_again(&segment, durable_end(&segment, &end, replayed.durable_upto)?, end.offset)?;
        }
        segment.file.sync_all().map_err(|e| segment.io("syncing what was recovered", e))?;
        segments.push(at_end(segment, end));
    }
    let mut spare = None;
    let mut dropped = Vec::new();
    for (segment, len) in replayed.others {
        if is_pristine(len) && spare.is_none() && can_follow(&segment, last_id) {
            spare = Some(segment);
        } else {
            cut_bytes += written_behind(&segment, SEGMENT_HEADER, len)?;
            dropped.push(segment.id);
        }
    }
    segments.extend(spare.clone());
    segments.sort_by_key(|segment| segment.id);
    let jump_base = jump_base(replayed.last_seq.max(old.jump_base)).map_err(|e| e.with_path(dir))?;
    let manifest = Manifest {
        generation: old.generation + 1,
        durable_upto: replayed.last_seq,
        jump_base,
        clean: None,
        segments: segments.iter().map(|s| s.named()).collect(),
        ..old
    };
    let next_seq = if guard::on("recovery.unclean_jumps") { jump_base } else { replayed.last_seq.next() };
    let gave_up_ballast = store_with_ballast(fs, dir, &manifest)?;
    // A file goes only after the manifest that forgets it is durable.
    for id in dropped {
        remove_segment(fs, dir, id)?;
    }
    Ok(Opened {
        lock,
        active: None,
        spare,
        segments,
        last_seq: replayed.last_seq,
        next_seq,
        manifest,
        gave_up_ballast,
        checkpoint: None,
        report: Recovered { cut_bytes, ..report },
    })
}

/// The first number of a session, above all that may have been given after `known`.
fn jump_base(known: Seq) -> Result<Seq> {
    let base = known.plus(JUMP);
    if base.0 > SEQ_MAX - JUMP {
        return Err(Error::limit(format!(
            "the store has used up its sequence numbers ({base} of {SEQ_MAX}); copy its records into a new store"
        )));
    }
    Ok(base)
}

/// Where the frames of a segment begin that are not known to be durable: behind the last one up to `upto`.
fn durable_end(segment: &Segment, end: &SegmentEnd, upto: Seq) -> Result<u32> {
    let mut window = Window::new(&*segment.file, u64::from(end.offset));
    let (mut at, mut durable_end) = (SEGMENT_HEADER, SEGMENT_HEADER);
    while at < end.offset {
        let bytes = window
            .bytes(u64::from(at), FRAME_HEADER_MAX)
            .map_err(|e| segment.io("reading the log", e).with_offset(u64::from(at)))?;
        let header = FrameHeader::decode(bytes).map_err(|e| segment.corruption(u64::from(at), e))?;
        at = at.saturating_add(u32::try_from(header.frame_len()).unwrap_or(u32::MAX));
        if header.count > 0 && header.last_seq() > upto {
            break;
        }
        if header.count > 0 {
            durable_end = at;
        }
    }
    Ok(durable_end)
}

/// Writes the bytes of a segment over themselves.
///
/// DURABILITY: after a sync that failed, the system may show bytes that no later sync brings to the disk, because it takes
/// them for clean. Only what is written again is sure to be synced; the process that met the failure may be gone.
fn write_again(segment: &Segment, from: u32, to: u32) -> Result<()> {
    const CHUNK: u32 = 1 << 20;
    let mut at = from;
    while at < to {
        let mut bytes = vec![0; (to - at).min(CHUNK) as usize];
        let offset = u64::from(at);
        segment
            .file
            .read_exact_at(&mut bytes, offset)
            .and_then(|()| segment.file.write_all_at(&bytes, offset).map_err(|e| e.source))
            .map_err(|e| segment.io("writing again what was recovered", e).with_offset(offset))?;
        at += (to - at).min(CHUNK);
    }
    Ok(())
}

/// Stores a manifest; where the device is full, in the room of the ballast. Says whether that was given up.
fn store_with_ballast(fs: &dyn Fs, dir: &Path, manifest: &Manifest) -> Result<bool> {
    match manifest.store(fs, dir) {
        Err(error) if error.kind() == ErrorKind::NoSpace && fs.remove(&dir.join(BALLAST)).is_ok() => {
            manifest.store(fs, dir).map(|()| true)
        }
        result => result.map(|()| false),
    }
}

pub(crate) fn remove_segment(fs: &dyn Fs, dir: &Path, id: SegmentId) -> Result<()> {
    let path = segment_path(dir, id);
    match fs.remove(&path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(Error::io("removing a segment", &path, e)),
        _ => {
            remove_access(fs, dir, id);
            Ok(())
        }
    }
}
