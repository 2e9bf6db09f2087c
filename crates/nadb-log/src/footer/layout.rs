//! How a footer is put together: sections, their directory, the table of block checksums, the trailer at the very end.
//!
//! Promises that a layout that was read is consistent in itself: every section lies inside the footer, and directory, table
//! and trailer are those that were written for this place of this file. Leaves the sections' content to others.

use nadb_core::{Error, ErrorKind, Result, SegmentUid, Seq};

use super::blocks::{BLOCK_BYTES, Blocks, CHECKSUM_BYTES, Section, block_checksum};
use super::column::Column;
use crate::bytes::Reader;
use crate::checksum::{crc32, mix};
use crate::{FORMAT_VERSION, version_error};

const MAGIC: [u8; 8] = *b"NADB-FTR";
/// Bytes of the trailer, with which a sealed segment's file ends.
pub const FOOTER_TRAILER: u32 = 32;
const TRAILER_BYTES: usize = FOOTER_TRAILER as usize;
/// Bytes of the trailer behind its checksum: version and magic, which are compared and not summed.
pub(crate) const BEHIND_CHECKSUM: usize = 12;
const ENTRY_BYTES: usize = 12;
/// Whoever does not know this section cannot read the footer.
const REQUIRED: u16 = 1;

/// Section ids. They are on disk and never reused.
pub(super) mod id {
    pub(in super::super) const OFFSETS: u16 = 1;
    pub(in super::super) const LENGTHS: u16 = 2;
    pub(in super::super) const NUMBERS: u16 = 3;
    pub(in super::super) const KINDS: u16 = 4;
    pub(in super::super) const EXPIRIES: u16 = 5;
    pub(in super::super) const SIZES: u16 = 6;
    pub(in super::super) const CREATED: u16 = 7;
    pub(in super::super) const UPDATED: u16 = 8;
    pub(in super::super) const BLOBS: u16 = 9;
    pub(in super::super) const GROUPS: u16 = 10;
    pub(in super::super) const KEYS: u16 = 11;
    pub(in super::super) const ORDER: u16 = 12;
    pub(in super::super) const NAMESPACES: u16 = 13;
    pub(in super::super) const SYSTEM: u16 = 14;
    pub(in super::super) const TAGS: u16 = 15;
    pub(in super::super) const POSTINGS: u16 = 16;
    pub(in super::super) const EXPIRING: u16 = 17;
    pub(in super::super) const ORIGIN: u16 = 18;

    pub(super) fn is_known(id: u16) -> bool {
        (OFFSETS..=ORIGIN).contains(&id)
    }
}

/// A section to be written.
pub(super) struct NewSection {
    pub(super) id: u16,
    pub(super) is_required: bool,
    pub(super) bytes: Vec<u8>,
}

impl NewSection {
    pub(super) fn required(id: u16, bytes: Vec<u8>) -> NewSection {
        NewSection { id, is_required: true, bytes }
    }
}

/// Puts a footer together that will stand at `at`. The sections come in rising order of their ids.
pub(super) fn assemble(uid: SegmentUid, at: u32, rows: u32, sections: Vec<NewSection>) -> Result<Vec<u8>> {
    let body: usize = sections.iter().map(|section| section.bytes.len()).sum();
    let table = body + sections.len() * ENTRY_BYTES;
    let trailer = table + body.div_ceil(BLOCK_BYTES) * CHECKSUM_BYTES;
    let end = trailer + TRAILER_BYTES;
    let (Ok(body_len), Ok(table_at), Ok(len)) =
        (u32::try_from(body), u32::try_from(table), u32::try_from(end))
    else {
        return Err(too_large(at, end));
    };
    if at.checked_add(len).is_none() {
        return Err(too_large(at, end));
    }
    let mut directory = Vec::with_capacity(sections.len() * ENTRY_BYTES);
    let mut out = Vec::with_capacity(end);
    for section in sections {
        directory.extend_from_slice(&section.id.to_le_bytes());
        directory.extend_from_slice(&(if section.is_required { REQUIRED } else { 0 }).to_le_bytes());
        // Both are at most `body_len`.
        for number in [out.len(), section.bytes.len()] {
            directory.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        out.extend_from_slice(&section.bytes);
    }
    let sums: Vec<u32> = (at..)
        .step_by(BLOCK_BYTES)
        .zip(out.chunks(BLOCK_BYTES))
        .map(|(at, block)| block_checksum(block, uid, at))
        .collect();
    out.append(&mut directory);
    sums.iter().for_each(|sum| out.extend_from_slice(&sum.to_le_bytes()));
    let summed = out.len();
    for number in [rows, body_len, table_at, len] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    let sum = trailer_checksum(out.get(body..).unwrap_or_default(), uid, at, summed);
    out.extend_from_slice(&sum.to_le_bytes());
    out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
    out.extend_from_slice(&MAGIC);
    Ok(out)
}

fn too_large(at: u32, len: usize) -> Error {
    Error::limit(format!(
        "a footer of {len} bytes at offset {at} ends beyond the largest segment, {} bytes",
        u32::MAX
    ))
}

/// The checksum over directory, table and the trailer's fields, bound to the place of the trailer.
fn trailer_checksum(bytes: &[u8], uid: SegmentUid, at: u32, trailer: usize) -> u32 {
    let place = at.wrapping_add(u32::try_from(trailer).unwrap_or(0));
    crc32(bytes) ^ mix(uid, place, Seq(0))
}

/// The bytes of the footer with which a file ends, as the trailer claims that `tail`, the file's last
/// [`FOOTER_TRAILER`] bytes or more, holds; `None` where it holds none. Nothing is verified.
#[must_use]
pub fn footer_bytes(tail: &[u8]) -> Option<u32> {
    let trailer = tail.last_chunk::<TRAILER_BYTES>()?;
    let mut reader = Reader::new(trailer);
    let _places = reader.take(12)?;
    let len = reader.u32()?;
    (trailer.ends_with(&MAGIC) && len >= FOOTER_TRAILER).then_some(len)
}

/// What the end of a footer says of its parts, verified.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) rows: u32,
    /// Bytes of all sections.
    pub(super) body: usize,
    /// Where the table of checksums begins.
    pub(super) table: usize,
    sections: Vec<(u16, Section)>,
}

impl Layout {
    /// Reads the end of a footer that stands at `at`.
    ///
    /// # Errors
    /// `Corruption` or `Version`, with the offset and without the path.
    pub(super) fn read(bytes: &[u8], uid: SegmentUid, at: u32) -> Result<Layout> {
        let trailer = bytes.len().saturating_sub(TRAILER_BYTES);
        let corrupt = |position: usize, what: String| {
            Error::new(ErrorKind::Corruption, what).with_offset(u64::from(at) + position as u64)
        };
        if !bytes.ends_with(&MAGIC) || bytes.len() < TRAILER_BYTES {
            return Err(corrupt(trailer, "these bytes do not end as a footer does".into()));
        }
        let malformed = |what: &str| corrupt(trailer, format!("the footer's {what} is malformed"));
        let mut reader = Reader::new(bytes.get(trailer..).unwrap_or_default());
        let mut field = |what| reader.u32().ok_or_else(|| malformed(what));
        let (rows, body, table) = (field("row count")?, field("directory's place")?, field("table's place")?);
        let (len, stored, version) = (field("length")?, field("checksum")?, field("version")?);
        // The version first: another one may keep its checksum elsewhere.
        if version != FORMAT_VERSION {
            let place = bytes.len() - BEHIND_CHECKSUM;
            return Err(version_error("footer", version).with_offset(u64::from(at) + place as u64));
        }
        if len as usize != bytes.len() || at.checked_add(len).is_none() {
            return Err(malformed("length"));
        }
        let (body, table) = (body as usize, table as usize);
        let summed = bytes.get(body..trailer + TRAILER_BYTES - BEHIND_CHECKSUM - CHECKSUM_BYTES);
        let computed = trailer_checksum(summed.unwrap_or_default(), uid, at, trailer);
        if computed != stored {
            return Err(corrupt(
                trailer,
                format!("the footer's checksum is {stored:#010x}, its bytes give {computed:#010x}"),
            ));
        }
        let sums = bytes.get(table..trailer).ok_or_else(|| malformed("table's place"))?;
        if sums.len() != body.div_ceil(BLOCK_BYTES) * CHECKSUM_BYTES {
            return Err(malformed("table of checksums"));
        }
        let directory = bytes.get(body..table).ok_or_else(|| malformed("directory's place"))?;
        let sections = read_directory(directory, body).map_err(|(position, kind, what)| {
            Error::new(kind, what).with_offset(u64::from(at) + (body + position) as u64)
        })?;
        Ok(Layout { rows, body, table, sections })
    }

    /// A section; `None` where the footer has none with this id.
    pub(super) fn section(&self, id: u16) -> Option<Section> {
        let found = self.sections.binary_search_by_key(&id, |(id, _)| *id).ok()?;
        self.sections.get(found).map(|(_, section)| *section)
    }

    /// A column of `rows` numbers; `None` where the footer has none with this id.
    ///
    /// # Errors
    /// `Corruption`: its section is too short for so many.
    pub(super) fn column(&self, blocks: &Blocks, id: u16, rows: u32) -> Result<Option<Column>> {
        let Some(section) = self.section(id) else {
            return Ok(None);
        };
        let short = || {
            blocks.corrupt(section.start, format!("section {id} of the footer is too short for {rows} rows"))
        };
        Column::new(section, rows).map(Some).ok_or_else(short)
    }

    /// The error for a section without which there is no footer.
    pub(super) fn missing(&self, blocks: &Blocks, id: u16) -> Error {
        blocks.corrupt(self.body, format!("the footer has no section {id}"))
    }
}

/// Reads the directory's entries, which lie side by side over the whole body. An error has its position in the directory.
fn read_directory(directory: &[u8], body: usize) -> Result<Vec<(u16, Section)>, (usize, ErrorKind, String)> {
    let mut reader = Reader::new(directory);
    let (mut sections, mut end) = (Vec::<(u16, Section)>::new(), 0usize);
    while !reader.is_at_end() {
        let position = reader.position();
        let malformed = || {
            (position, ErrorKind::Corruption, "an entry of the footer's directory is malformed".to_owned())
        };
        let mut entry =
            || Some((reader.u16()?, reader.u16()?, reader.u32()? as usize, reader.u32()? as usize));
        let (id, flags, start, len) = entry().ok_or_else(malformed)?;
        let is_next = sections.last().is_none_or(|(last, _)| *last < id) && start == end;
        if !is_next || flags > REQUIRED || len > body - end {
            return Err(malformed());
        }
        if flags == REQUIRED && !id::is_known(id) {
            let what = format!(
                "the footer has a section {id} that must be understood and that this build does not know; \
                 open it with the release that wrote it or a later one"
            );
            return Err((position, ErrorKind::Version, what));
        }
        end += len;
        sections.push((id, Section { start, len }));
    }
    let all =
        (directory.len(), ErrorKind::Corruption, "the footer has bytes that belong to no section".to_owned());
    if end == body { Ok(sections) } else { Err(all) }
}
