//! The checkpoint: what the engine would otherwise read out of all footers, saved by a close in order. This is its container:
//! which frames it covers ([`coverage`]), and sections whose content is the engine's. docs/format.md has the byte tables.
//!
//! It promises that a checkpoint which opens belongs to this store and to the segments that its manifest names, and that a
//! section which is read is as it was written. It is only a cache: whatever is doubtful about it means that there is none, and
//! never an error. It leaves to recovery that the frames which it covers are there, and to the engine what sections mean.

mod coverage;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;

use nadb_core::{Seq, StoreId, guard};
use nadb_vfs::{DirEntry, File, Fs};

pub use self::coverage::{Coverage, CoveredSegment};
#[cfg(test)]
pub(crate) use self::tests::{read, written};
pub use self::writer::{CheckpointWriter, Closed};
use crate::FORMAT_VERSION;
use crate::bytes::Reader;
use crate::checksum::crc32;
use crate::manifest::Manifest;
use crate::names::{CHECKPOINT, CHECKPOINT_TMP};

const MAGIC: [u8; 8] = *b"NADB-CKP";
const HEADER: usize = 64;
/// Bytes of a section's line in the directory.
const LINE: usize = 16;
/// The kind of the section that lists the covered segments; those of the engine are above.
const SEGMENTS: u32 = 1;

/// What the header says beside magic, version and checksums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    sections: u32,
    store: StoreId,
    hash_seed: u64,
    last_seq: Seq,
    file_len: u64,
    directory_crc: u32,
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        out.extend_from_slice(&self.sections.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.hash_seed.to_le_bytes());
        out.extend_from_slice(&self.last_seq.0.to_le_bytes());
        out.extend_from_slice(&self.file_len.to_le_bytes());
        out.extend_from_slice(&self.directory_crc.to_le_bytes());
        let crc = crc32(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; HEADER]) -> Option<Header> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        let mut reader = Reader::new(body);
        if reader.array()? != MAGIC
            || reader.u32()? != FORMAT_VERSION
            || !holds(u32::from_le_bytes(*crc), body)
        {
            return None;
        }
        Some(Header {
            sections: reader.u32()?,
            store: StoreId(reader.array()?),
            hash_seed: reader.u64()?,
            last_seq: Seq(reader.u64()?),
            file_len: reader.u64()?,
            directory_crc: reader.u32()?,
        })
    }
}

/// A section: what it is, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Section {
    kind: u32,
    number: u32,
    at: u64,
    len: u32,
    crc: u32,
}

/// A checkpoint that fits the manifest, open to be read: also when its name is gone.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    file: Arc<dyn File>,
    coverage: Coverage,
    /// By kind and number, rising.
    sections: Vec<Section>,
}

impl Checkpoint {
    /// The checkpoint of the store in `dir`; `None` where there is none that fits this manifest.
    pub(crate) fn open(
        fs: &dyn Fs,
        dir: &Path,
        entries: &[DirEntry],
        manifest: &Manifest,
    ) -> Option<Checkpoint> {
        entries.iter().find(|entry| entry.name == CHECKPOINT && entry.is_file)?;
        let checkpoint = Checkpoint::read(fs.open_read(&dir.join(CHECKPOINT)).ok()?)?;
        checkpoint.coverage.fits(manifest).then_some(checkpoint)
    }

    fn read(file: Arc<dyn File>) -> Option<Checkpoint> {
        let len = file.len().ok()?;
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let header = Header::decode(&header).filter(|header| header.file_len == len)?;
        let directory_len = u64::from(header.sections) * LINE as u64;
        // The directory ends the file; nothing is allocated for one that is not there.
        let directory_at = len.checked_sub(directory_len).filter(|at| *at >= HEADER as u64)?;
        let mut directory = vec![0; usize::try_from(directory_len).ok()?];
        file.read_exact_at(&mut directory, directory_at).ok()?;
        if !holds(header.directory_crc, &directory) {
            return None;
        }
        let sections = decode_directory(&directory, directory_at)?;
        let mut checkpoint = Checkpoint { file, coverage: Coverage::default(), sections };
        let segments = checkpoint.section(SEGMENTS, 0)?;
        checkpoint.coverage = Coverage::decode(&segments, header.store, header.hash_seed, header.last_seq)?;
        Some(checkpoint)
    }

    /// What it covers.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// The numbers of the sections of a kind, rising, with their bytes.
    pub fn sections(&self, kind: u32) -> impl Iterator<Item = (u32, u32)> {
        let from = self.sections.partition_point(|section| section.kind < kind);
        let sections = self.sections.iter().skip(from).take_while(move |section| section.kind == kind);
        sections.map(|section| (section.number, section.len))
    }

    /// Whether there is such a section; its content is not looked at.
    #[must_use]
    pub fn has_section(&self, kind: u32, number: u32) -> bool {
        let key = (kind, number);
        self.sections.binary_search_by_key(&key, |section| (section.kind, section.number)).is_ok()
    }

    /// The content of a section; `None` where there is none that is as it was written.
    #[must_use]
    pub fn section(&self, kind: u32, number: u32) -> Option<Vec<u8>> {
        let key = (kind, number);
        let at = self.sections.binary_search_by_key(&key, |section| (section.kind, section.number)).ok()?;
        let section = self.sections.get(at)?;
        let mut bytes = vec![0; usize::try_from(section.len).ok()?];
        self.file.read_exact_at(&mut bytes, section.at).ok()?;
        holds(section.crc, &bytes).then_some(bytes)
    }
}

fn holds(stored: u32, bytes: &[u8]) -> bool {
    stored == crc32(bytes) || !guard::on("checkpoint.sums_verified")
}

/// The sections stand side by side from the header to the directory, so their lengths say where.
fn decode_directory(directory: &[u8], end: u64) -> Option<Vec<Section>> {
    let mut sections: Vec<Section> = Vec::with_capacity(directory.len() / LINE);
    let mut reader = Reader::new(directory);
    let mut at = HEADER as u64;
    while !reader.is_at_end() {
        let section = Section {
            kind: reader.u32()?,
            number: reader.u32()?,
            at,
            len: reader.u32()?,
            crc: reader.u32()?,
        };
        let key = (section.kind, section.number);
        if sections.last().is_some_and(|last| (last.kind, last.number) >= key) {
            return None;
        }
        at = at.checked_add(u64::from(section.len)).filter(|at| *at <= end)?;
        sections.push(section);
    }
    (at == end).then_some(sections)
}

fn encode_directory(sections: &[Section]) -> Vec<u8> {
    let mut out = Vec::with_capacity(sections.len() * LINE);
    for section in sections {
        for field in [section.kind, section.number, section.len, section.crc] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    out
}

/// Removes what is of no use: a checkpoint that nothing came of, and one that was not finished. Where that fails they stay, and
/// mean nothing.
pub(crate) fn remove_useless(fs: &dyn Fs, dir: &Path, entries: &[DirEntry], was_used: bool) {
    let is_useless = |name: &str| name == CHECKPOINT_TMP || (name == CHECKPOINT && !was_used);
    for entry in entries.iter().filter(|entry| entry.is_file && is_useless(&entry.name)) {
        let _ = fs.remove(&dir.join(&entry.name));
    }
}
