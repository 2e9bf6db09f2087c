//! Writing a checkpoint, at the end of a close in order.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use nadb_core::{Error, Result, SegmentId, Seq};
use nadb_vfs::{File, Fs};

use super::{Coverage, CoveredSegment, HEADER, Header, SEGMENTS, Section, encode_directory};
use crate::checksum::crc32;
use crate::log::Log;
use crate::names::{CHECKPOINT, CHECKPOINT_TMP};
use crate::segment::SEGMENT_HEADER;

/// Bytes that are handed to the file at once.
const CHUNK: usize = 1 << 20;

/// A log that was closed in order and still holds its lock: the moment at which a checkpoint can be written.
#[derive(Debug)]
pub struct Closed<'a, P> {
    log: &'a Log<P>,
}

impl<'a, P: Send> Closed<'a, P> {
    pub(crate) fn new(log: &'a Log<P>) -> Closed<'a, P> {
        Closed { log }
    }

    /// Records that the next opening would have to apply one by one, or merge: all of them where no checkpoint would be taken,
    /// else those behind it.
    #[must_use]
    pub fn records_to_apply(&self) -> u64 {
        let now: u64 = self.log.segments.read().values().map(|segment| segment.records()).sum();
        let manifest = &self.log.manifest.lock().manifest;
        let known = self.log.checkpoint.as_ref().filter(|coverage| coverage.fits(manifest));
        now.saturating_sub(known.map_or(0, |coverage| coverage.records))
    }

    /// Writes a checkpoint of all that is in the log in the place of the one before; `rows` says how many rows a segment has, and
    /// `fill` adds the sections, by rising kind and number.
    ///
    /// # Errors
    /// `Io`, `NoSpace`, or what `fill` answers: then the one before is there, or none.
    pub fn write_checkpoint(
        &self,
        rows: impl Fn(SegmentId) -> u32,
        fill: impl FnOnce(&mut CheckpointWriter, &Coverage) -> Result<()>,
    ) -> Result<()> {
        let coverage = self.coverage(rows);
        let (fs, dir) = (&*self.log.fs, &self.log.dir);
        let tmp = dir.join(CHECKPOINT_TMP);
        let written = CheckpointWriter::create(fs, &tmp).and_then(|mut writer| {
            writer.section(SEGMENTS, 0, &coverage.encode())?;
            fill(&mut writer, &coverage)?;
            writer.finish(&coverage)
        });
        let written = written.and_then(|()| {
            let path = dir.join(CHECKPOINT);
            fs.rename(&tmp, &path).map_err(|e| Error::io("naming the checkpoint", &path, e))
        });
        if written.is_err() {
            // Only room that is given back.
            let _ = fs.remove(&tmp);
        }
        written
    }

    fn coverage(&self, rows: impl Fn(SegmentId) -> u32) -> Coverage {
        let (segments, active, _) = self.log.segments();
        let last_seq = self.log.lock_tail().last_seq;
        let has_frames = segments.iter().filter(|segment| segment.bytes() > u64::from(SEGMENT_HEADER));
        let segments: Vec<_> = has_frames.cloned().collect();
        let state = self.log.manifest.lock();
        let covered = segments.iter().map(|segment| CoveredSegment {
            named: segment.named(),
            end: segment.in_file.load(Ordering::Acquire),
            last_seq: match Some(segment.id) == active {
                true => last_seq,
                false => Seq(segment.end_seq.load(Ordering::Acquire)),
            },
            first_seq: segment.seq_range().map_or(Seq(0), |(first, _)| first),
            // There are fewer than bytes.
            records: u32::try_from(segment.records()).unwrap_or(u32::MAX),
            rows: rows(segment.id),
        });
        Coverage {
            store: state.manifest.store,
            hash_seed: state.manifest.hash_seed,
            last_seq,
            records: segments.iter().map(|segment| segment.records()).sum(),
            segments: covered.collect(),
        }
    }
}

/// Takes the sections of a checkpoint.
#[derive(Debug)]
pub struct CheckpointWriter {
    file: Arc<dyn File>,
    path: std::path::PathBuf,
    /// Bytes that the file does not have yet, and where they go.
    buffer: Vec<u8>,
    at: u64,
    sections: Vec<Section>,
}

impl CheckpointWriter {
    pub(super) fn create(fs: &dyn Fs, path: &Path) -> Result<CheckpointWriter> {
        match fs.remove(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io("removing an unfinished checkpoint", path, e));
            }
            _ => {}
        }
        let file = fs.create_new(path).map_err(|e| Error::io("writing a checkpoint", path, e))?;
        // The header takes its place when all is known.
        let buffer = vec![0; HEADER];
        Ok(CheckpointWriter { file, path: path.to_path_buf(), buffer, at: 0, sections: Vec::new() })
    }

    /// Adds a section: its kind and number are above those of the one before.
    ///
    /// # Errors
    /// `Io`, `NoSpace`; `Limit` for one of 4 GiB.
    pub fn section(&mut self, kind: u32, number: u32, bytes: &[u8]) -> Result<()> {
        let len = u32::try_from(bytes.len())
            .map_err(|_| Error::limit("a section of the checkpoint has more than 4 GiB"))?;
        let at = self.at + self.buffer.len() as u64;
        self.sections.push(Section { kind, number, at, len, crc: crc32(bytes) });
        self.put(bytes)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() < CHUNK { Ok(()) } else { self.write_out() }
    }

    fn write_out(&mut self) -> Result<()> {
        self.write(&self.buffer, self.at)?;
        self.at += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    fn write(&self, bytes: &[u8], at: u64) -> Result<()> {
        let io = |e: nadb_vfs::WriteError| Error::io("writing a checkpoint", &self.path, e.source);
        self.file.write_all_at(bytes, at).map_err(io)
    }

    /// Writes directory and header, and makes all of it durable.
    pub(super) fn finish(mut self, coverage: &Coverage) -> Result<()> {
        let directory = encode_directory(&self.sections);
        self.put(&directory)?;
        self.write_out()?;
        let header = Header {
            sections: u32::try_from(self.sections.len()).unwrap_or(u32::MAX),
            store: coverage.store,
            hash_seed: coverage.hash_seed,
            last_seq: coverage.last_seq,
            file_len: self.at,
            directory_crc: crc32(&directory),
        };
        self.write(&header.encode(), 0)?;
        // The content before the name. No data hang on it: checksums notice what a crash has left out, and then there is no
        // checkpoint. But a name over nothing would be of no use.
        self.file.sync_all().map_err(|e| Error::io("syncing a checkpoint", &self.path, e))
    }
}
