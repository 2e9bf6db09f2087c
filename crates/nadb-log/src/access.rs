//! Access files: beside a segment, when its records were last read. docs/format.md has the byte tables.
//!
//! It promises that times which are read are those that were written, all of them, for this very segment. They are only a cache:
//! a file that is missing, torn, damaged or another segment's means that nothing is known, and is never an error. So nothing is
//! synced, and a crash takes at most what was written since the operating system last wrote the file out by itself. It
//! leaves to the engine when times are written and what a minute is.

use std::io;
use std::path::Path;

use nadb_core::{Error, Result, SegmentId, SegmentUid, Seq, guard};
use nadb_vfs::{DirEntry, Fs, WriteError};

use crate::FORMAT_VERSION;
use crate::bytes::Reader;
use crate::checksum::crc32;
use crate::log::Log;
use crate::manifest::Manifest;
use crate::names::{AccessFile, access_path, access_tmp_path, parse_access};
use crate::segment::Segment;

const MAGIC: [u8; 8] = *b"NADB-ACC";
const HEADER: usize = 48;
/// Bytes of an entry.
const ENTRY: usize = 8;

/// When a record was last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LastAccess {
    /// Where the record begins in its segment's file.
    pub offset: u32,
    /// Whole minutes since 1970-01-01 UTC.
    pub minute: u32,
}

/// What tells the records of a segment from any others that ever stood at the same offsets of the same file: a segment whose frames
/// a crash has taken, all of them, is used again, with higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Whose {
    pub(crate) uid: SegmentUid,
    /// The number of the first record.
    pub(crate) first_seq: Seq,
}

impl Whose {
    /// `None` for a segment without records.
    fn of(segment: &Segment) -> Option<Whose> {
        segment.seq_range().map(|(first_seq, _)| Whose { uid: segment.uid, first_seq })
    }
}

/// The content of an access file; `times` rise by their offsets.
pub(crate) fn encode_access(whose: Whose, times: &[LastAccess]) -> Vec<u8> {
    let mut out = vec![0; HEADER];
    for time in times {
        out.extend_from_slice(&time.offset.to_le_bytes());
        out.extend_from_slice(&time.minute.to_le_bytes());
    }
    let (count, body) = (u32::try_from(times.len()).unwrap_or(u32::MAX), out.get(HEADER..));
    let body_crc = crc32(body.unwrap_or_default());
    let mut header = Vec::with_capacity(HEADER);
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    header.extend_from_slice(&count.to_le_bytes());
    header.extend_from_slice(&whose.uid.0);
    header.extend_from_slice(&whose.first_seq.0.to_le_bytes());
    header.extend_from_slice(&body_crc.to_le_bytes());
    header.extend_from_slice(&crc32(&header).to_le_bytes());
    out.splice(..HEADER, header);
    out
}

/// What the header says beside magic, version and its own checksum.
struct Header {
    count: u32,
    body_crc: u32,
}

fn holds(stored: u32, bytes: &[u8]) -> bool {
    stored == crc32(bytes) || !guard::on("access.sums_verified")
}

impl Header {
    fn decode(bytes: &[u8; HEADER], whose: Whose) -> Option<Header> {
        let (fields, crc) = bytes.split_last_chunk::<4>()?;
        let mut reader = Reader::new(fields);
        if reader.array()? != MAGIC
            || reader.u32()? != FORMAT_VERSION
            || !holds(u32::from_le_bytes(*crc), fields)
        {
            return None;
        }
        let count = reader.u32()?;
        let written_of = Whose { uid: SegmentUid(reader.array()?), first_seq: Seq(reader.u64()?) };
        let is_own = written_of == whose || !guard::on("access.segment_checked");
        Some(Header { count, body_crc: reader.u32()? }).filter(|_| is_own)
    }
}

fn decode_body(body: &[u8]) -> Option<Vec<LastAccess>> {
    let mut times: Vec<LastAccess> = Vec::with_capacity(body.len() / ENTRY);
    let mut reader = Reader::new(body);
    while !reader.is_at_end() {
        let time = LastAccess { offset: reader.u32()?, minute: reader.u32()? };
        if times.last().map_or(0, |last| last.offset) >= time.offset {
            return None;
        }
        times.push(time);
    }
    Some(times)
}

/// The times in the access file of a segment; `None` where there is none that is whole and its own.
pub(crate) fn read_access(fs: &dyn Fs, path: &Path, whose: Whose) -> Option<Vec<LastAccess>> {
    let file = fs.open_read(path).ok()?;
    let len = file.len().ok()?;
    let mut header = [0; HEADER];
    file.read_exact_at(&mut header, 0).ok()?;
    let header = Header::decode(&header, whose)?;
    // Nothing is allocated for what is not there.
    let body_len = u64::from(header.count) * ENTRY as u64;
    if len.checked_sub(HEADER as u64)? != body_len {
        return None;
    }
    let mut body = vec![0; usize::try_from(body_len).ok()?];
    file.read_exact_at(&mut body, HEADER as u64).ok()?;
    if holds(header.body_crc, &body) { decode_body(&body) } else { None }
}

/// Puts an access file in the place of the one before: at once, for whoever reads it.
fn write_access(fs: &dyn Fs, dir: &Path, segment: &Segment, times: &[LastAccess]) -> Result<()> {
    let Some(whose) = Whose::of(segment) else { return Ok(()) };
    let (path, tmp) = (access_path(dir, segment.id), access_tmp_path(dir, segment.id));
    remove_if_there(fs, &tmp).map_err(|e| Error::io("removing an unfinished access file", &tmp, e))?;
    let io = |e| Error::io("writing an access file", &tmp, e);
    let file = fs.create_new(&tmp).map_err(io)?;
    let written = file.write_all_at(&encode_access(whose, times), 0).map_err(|e: WriteError| io(e.source));
    let named = written
        .and_then(|()| fs.rename(&tmp, &path).map_err(|e| Error::io("naming an access file", &path, e)));
    if named.is_err() {
        // Only room that is given back.
        let _ = fs.remove(&tmp);
    }
    named
}

fn remove_if_there(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Removes the access files of a directory that mean nothing: unfinished ones, and those of segments that the manifest does not name.
/// Where that fails they stay, and mean nothing.
pub(crate) fn remove_stray_access(fs: &dyn Fs, dir: &Path, entries: &[DirEntry], manifest: &Manifest) {
    for entry in entries.iter().filter(|entry| entry.is_file) {
        let is_stray = match parse_access(&entry.name) {
            None => false,
            Some(AccessFile::Unfinished) => true,
            Some(AccessFile::Of(id)) => !manifest.segments.iter().any(|named| named.id == id),
        };
        if is_stray {
            let _ = fs.remove(&dir.join(&entry.name));
        }
    }
}

/// Removes the access file of a segment that goes. Where that fails it stays, and the next opening removes it.
pub(crate) fn remove_access(fs: &dyn Fs, dir: &Path, id: SegmentId) {
    let _ = fs.remove(&access_path(dir, id));
}

/// Access files.
impl<P: Send> Log<P> {
    /// What the access file of a segment says, by rising offsets; nothing where there is none that is whole and its own.
    #[must_use]
    pub fn read_access_times(&self, segment: &Segment) -> Vec<LastAccess> {
        let read = |whose| read_access(&*self.fs, &access_path(&self.dir, segment.id), whose);
        Whose::of(segment).and_then(read).unwrap_or_default()
    }

    /// Replaces the access file of a segment by one with these times, whose offsets rise. It is not made durable.
    ///
    /// # Errors
    /// `Io`, `NoSpace`: the file is as it was.
    pub fn write_access_times(&self, segment: &Segment, times: &[LastAccess]) -> Result<()> {
        write_access(&*self.fs, &self.dir, segment, times)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nadb_vfs::MemFs;

    const OWN: Whose = Whose { uid: SegmentUid([7; 16]), first_seq: Seq(42) };
    const TIMES: [LastAccess; 3] = [
        LastAccess { offset: 64, minute: 28_333_333 },
        LastAccess { offset: 99, minute: 0 },
        LastAccess { offset: u32::MAX, minute: u32::MAX },
    ];

    /// What is read of a file with these bytes.
    fn read(bytes: &[u8], whose: Whose) -> Option<Vec<LastAccess>> {
        let (fs, path) = (MemFs::default(), Path::new("/a"));
        fs.create_new(path).unwrap().write_all_at(bytes, 0).map_err(|e| e.source).unwrap();
        read_access(&fs, path, whose)
    }

    #[test]
    fn times_come_back() {
        for count in 0..=TIMES.len() {
            let bytes = encode_access(OWN, &TIMES[..count]);
            assert_eq!(bytes.len(), HEADER + count * ENTRY);
            assert_eq!(read(&bytes, OWN).unwrap(), TIMES[..count]);
        }
        assert_eq!(read_access(&MemFs::default(), Path::new("/none"), OWN), None);
    }

    #[test]
    fn every_cut_and_every_flipped_bit_of_an_access_file_is_noticed() {
        let bytes = encode_access(OWN, &TIMES);
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len], OWN), None, "cut to {len}");
        }
        assert_eq!(read(&[&bytes[..], &[0]].concat(), OWN), None, "more than it says");
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read(&flipped, OWN), None, "bit {bit}");
        }
    }

    #[test]
    fn an_access_file_of_another_segment_is_passed_over() {
        for other in [Whose { uid: SegmentUid([8; 16]), ..OWN }, Whose { first_seq: Seq(43), ..OWN }] {
            assert_eq!(read(&encode_access(other, &TIMES), OWN), None);
        }
    }

    #[test]
    fn offsets_that_do_not_rise_are_not_believed() {
        for times in [[TIMES[1], TIMES[0]], [TIMES[0], TIMES[0]]] {
            assert_eq!(read(&encode_access(OWN, &times), OWN), None);
        }
        assert_eq!(read(&encode_access(OWN, &[LastAccess { offset: 0, minute: 1 }]), OWN), None);
    }
}
