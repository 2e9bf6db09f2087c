//! What a repair has to go by: the manifest, or what the segment files say in its place, and the files themselves. Reads
//! only.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nadb_core::limits::SEQ_MAX;
use nadb_core::{Error, ErrorKind, Result, SegmentId, SegmentUid, Seq, StoreId};
use nadb_vfs::{DirEntry, File, Fs};

use super::compacted::origin_at;
use super::report::{DamagedRange, ManifestFound, RepairOptions};
use crate::FORMAT_VERSION;
use crate::checksum::crc32;
use crate::manifest::{Manifest, NamedSegment};
use crate::names::{MANIFEST, is_unfinished, parse_segment, segment_path};
use crate::recovery::hex;
use crate::seal::find_footer;
use crate::segment::{SEGMENT_HEADER, Segment, SegmentHeader};

/// The generation of a manifest that follows one which cannot be read: above any that a store reaches.
const GENERATION_UNKNOWN: u64 = 1 << 32;

/// A segment to salvage from.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) segment: Arc<Segment>,
    /// Bytes of the file that can hold frames.
    pub(super) len: u64,
    /// Where its footer begins, as the manifest says or the footer itself.
    pub(super) footer_at: Option<u32>,
    pub(super) file_len: u64,
    /// Whether a compaction has made it.
    pub(super) is_compacted: bool,
    /// Whether it has its own name, and a header that is whole.
    pub(super) is_in_place: bool,
    /// What it has replaced may be beside it.
    pub(super) is_partial: bool,
    /// No record of a compacted one has a number above this.
    pub(super) high: Seq,
}

/// Everything to go by.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) found: ManifestFound,
    /// The manifest in force, or one made from the files, which names every source.
    pub(super) manifest: Manifest,
    /// In the order of their numbers.
    pub(super) segments: Vec<Source>,
    /// The files of the segments, and other files that have the names of segments: a repaired store will have neither.
    pub(super) originals: Vec<PathBuf>,
    pub(super) others: Vec<PathBuf>,
    /// A number above those of all segment files.
    pub(super) next_segment: SegmentId,
    /// What a repair that did not end left behind.
    pub(super) unfinished: Vec<PathBuf>,
    pub(super) damage: Vec<DamagedRange>,
    pub(super) notes: Vec<String>,
    /// Segments that the manifest names and whose files are missing.
    pub(super) missing: Vec<NamedSegment>,
    /// Whether the numbers of what is not sealed are above those of what is.
    pub(super) is_in_order: bool,
    /// Set where a file may be of another format version rather than damaged.
    pub(super) version_error: Option<Error>,
}

/// A segment's file and what its header says.
#[derive(Debug)]
struct Candidate {
    /// The number in its name.
    id: SegmentId,
    path: PathBuf,
    file: Arc<dyn File>,
    len: u64,
    /// What the header says, where that can be trusted.
    header: Option<SegmentHeader>,
    /// The header's bytes, and what is wrong with them.
    raw: Vec<u8>,
    damage: Option<Error>,
}

impl Candidate {
    fn has_frames(&self) -> bool {
        self.len > u64::from(SEGMENT_HEADER)
    }

    /// The header's bytes from `at` on, whatever its checksum says.
    fn raw_id(&self, at: usize) -> [u8; 16] {
        self.raw.get(at..at + 16).and_then(|bytes| bytes.try_into().ok()).unwrap_or_default()
    }
}

impl Sources {
    pub(super) fn find(
        fs: &dyn Fs,
        dir: &Path,
        entries: &[DirEntry],
        options: &RepairOptions,
    ) -> Result<Sources> {
        let (found, manifest, manifest_error) = read_manifest(fs, dir)?;
        let mut candidates = Vec::new();
        for entry in entries.iter().filter(|entry| entry.is_file) {
            if let Some(id) = parse_segment(&entry.name) {
                candidates.push(candidate(fs, dir, id)?);
            }
        }
        candidates.sort_by_key(|candidate| candidate.id);
        let unfinished = entries.iter().filter(|entry| is_unfinished(&entry.name));
        let mut sources = Sources {
            found,
            manifest: manifest.clone().unwrap_or_else(unknown_manifest),
            segments: Vec::new(),
            originals: Vec::new(),
            others: Vec::new(),
            next_segment: SegmentId(candidates.last().map_or(1, |last| last.id.0.saturating_add(1))),
            unfinished: unfinished.map(|entry| dir.join(&entry.name)).collect(),
            damage: Vec::new(),
            notes: Vec::new(),
            missing: Vec::new(),
            is_in_order: true,
            version_error: candidates
                .iter()
                .filter_map(|candidate| candidate.damage.as_ref())
                .find(|error| error.kind() == ErrorKind::Version)
                .map(Error::duplicate),
        };
        if let Some(error) = manifest_error {
            if error.kind() == ErrorKind::Version && candidates.iter().all(|c| c.header.is_none()) {
                return Err(error);
            }
            sources.note_damage(dir.join(MANIFEST), error.offset().unwrap_or(0), 0, &error);
        }
        match manifest {
            Some(manifest) => sources.take_named(&manifest, candidates)?,
            None => {
                sources.manifest.store = choose_store(&candidates);
                sources.manifest.created_ms = options.clock.now_ms();
                let mut seed = [0; 8];
                options.entropy.fill(&mut seed)?;
                sources.manifest.hash_seed = u64::from_le_bytes(seed);
                sources.take_all(candidates)?;
            }
        }
        if sources.found != ManifestFound::Whole {
            // A manifest made anew vouches for no footer: opening will read all records, and seal again.
            sources.manifest.segments.iter_mut().for_each(|named| named.sealed = None);
            sources.manifest.sealed_upto = Seq(0);
        }
        sources.segments.sort_by_key(|source| source.segment.id);
        if sources.found != ManifestFound::Whole {
            sources.settle_compacted()?;
        }
        sources.note_missing(dir);
        sources.next_segment = sources.next_segment.max(sources.manifest.next_segment);
        Ok(sources)
    }

    fn note_damage(&mut self, path: PathBuf, offset: u64, len: u64, what: &dyn std::fmt::Display) {
        self.damage.push(DamagedRange { path, offset, len, what: what.to_string() });
    }

    /// The manifest's segments; where it is older than the files, the later ones, too.
    fn take_named(&mut self, manifest: &Manifest, mut candidates: Vec<Candidate>) -> Result<()> {
        for named in &manifest.segments {
            let is_it = |header: &SegmentHeader| header.uid == named.uid && header.store == manifest.store;
            let by_uid = |own_name: bool| {
                let fits = move |c: &Candidate| !own_name || c.id == named.id;
                candidates.iter().position(|c| fits(c) && c.header.as_ref().is_some_and(is_it))
            };
            let damaged = || candidates.iter().position(|c| c.id == named.id && c.header.is_none());
            match by_uid(true).or_else(|| by_uid(false)).or_else(damaged) {
                Some(at) => self.take(candidates.remove(at), *named)?,
                None => self.missing.push(*named),
            }
        }
        let replacing = self.replacing_missing(&candidates)?;
        let is_later =
            |c: &Candidate| c.has_frames() && (c.id >= manifest.next_segment || replacing.contains(&c.id));
        if candidates.iter().any(is_later) {
            self.found = ManifestFound::Outdated;
            // Of those that the old manifest names, a later one may have forgotten some.
            self.manifest.segments = self.named();
            self.manifest.clean = None;
            let (later, rest) = candidates.into_iter().partition(is_later);
            self.take_all(later)?;
            candidates = rest;
        }
        // What else has the name of a segment that the manifest names is in the way of nobody, but not to be lost either.
        candidates.retain(|c| manifest.segments.iter().any(|named| named.id == c.id));
        for other in candidates {
            let path = other.path.display();
            self.notes.push(format!("{path} is not the segment that the manifest names; it was left out"));
            self.others.push(other.path);
        }
        Ok(())
    }

    /// Files that the manifest does not name and that say that they have replaced segments which are missing: a later manifest
    /// named them.
    fn replacing_missing(&self, candidates: &[Candidate]) -> Result<BTreeSet<SegmentId>> {
        let mut replacing = BTreeSet::new();
        for candidate in candidates.iter().filter(|_| !self.missing.is_empty()) {
            let Some(header) = candidate.header.filter(|header| header.store == self.manifest.store) else {
                continue;
            };
            let (path, file) = (candidate.path.clone(), Arc::clone(&candidate.file));
            let segment = Segment::new(header.id, header.uid, path, file);
            let at = find_footer(&segment, candidate.len)?.zip(u32::try_from(candidate.len).ok());
            let origin = at.map(|(at, len)| origin_at(&segment, at, len)).transpose()?.flatten();
            let lists = |named: &NamedSegment| {
                origin.as_ref().is_some_and(|origin| origin.inputs.contains(&(named.id, named.uid)))
            };
            if self.missing.iter().any(lists) {
                replacing.insert(candidate.id);
            }
        }
        Ok(replacing)
    }

    /// A missing file is damage, unless a manifest that is lost may have forgotten it: a compaction has made a later segment.
    fn note_missing(&mut self, dir: &Path) {
        if self.found == ManifestFound::Outdated && self.has_compacted() {
            for named in std::mem::take(&mut self.missing) {
                let path = segment_path(dir, named.id);
                self.notes
                    .push(format!("{} is not there; a compaction may have replaced it", path.display()));
            }
        }
        for named in self.missing.clone() {
            self.note_damage(segment_path(dir, named.id), 0, 0, &"the segment's file is missing");
        }
    }

    /// All segments of this store.
    fn take_all(&mut self, candidates: Vec<Candidate>) -> Result<()> {
        let store = self.manifest.store;
        let mut others = Vec::new();
        // Files under their own names first.
        let (own, strange): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|c| c.header.as_ref().is_none_or(|header| header.id == c.id));
        for candidate in own.into_iter().chain(strange) {
            let named = match &candidate.header {
                Some(header) if header.store != store => None,
                Some(header) => Some(NamedSegment::open(header.id, header.uid)),
                None if !candidate.has_frames() => continue,
                None => Some(NamedSegment::open(candidate.id, SegmentUid(candidate.raw_id(16)))),
            };
            match named.filter(|named| self.manifest.segments.iter().all(|known| known.id != named.id)) {
                Some(named) => {
                    self.manifest.segments.push(named);
                    self.take(candidate, named)?;
                }
                None => others.push(candidate),
            }
        }
        for other in others {
            let (path, store) = (other.path.display(), other.header.map(|header| hex(header.store)));
            let store = store.unwrap_or_else(|| "unknown".into());
            self.notes.push(format!("{path} (store {store}) does not belong here; it was left out"));
            self.others.push(other.path);
        }
        self.manifest.segments.sort_by_key(|named| named.id);
        let next = self.manifest.segments.last().map_or(1, |last| last.id.0.saturating_add(1));
        self.manifest.next_segment.0 = self.manifest.next_segment.0.max(next);
        Ok(())
    }

    fn take(&mut self, candidate: Candidate, named: NamedSegment) -> Result<()> {
        if let Some(error) = &candidate.damage {
            let len = candidate.len.min(u64::from(SEGMENT_HEADER));
            self.note_damage(candidate.path.clone(), 0, len, error);
        }
        if candidate.id != named.id {
            let (path, id) = (candidate.path.display(), named.id);
            self.notes.push(format!("{path} is segment {id}, under another's name"));
        }
        self.originals.push(candidate.path.clone());
        let is_in_place = candidate.damage.is_none() && candidate.id == named.id;
        let (file_len, is_compacted) =
            (candidate.len, named.sealed.is_some_and(|extent| extent.is_compacted));
        let len = candidate.len.min(u64::from(u32::MAX));
        let (segment, footer_at) = match named.sealed {
            Some(extent) => {
                let segment = Segment::sealed(&named, extent, candidate.path, candidate.file);
                (segment, Some(extent.frames_end))
            }
            None => {
                let segment = Segment::new(named.id, named.uid, candidate.path, candidate.file);
                let footer_at = find_footer(&segment, len)?;
                (segment, footer_at)
            }
        };
        let len = footer_at.map_or(len, |at| len.min(u64::from(at)));
        let segment = Arc::new(segment);
        self.segments.push(Source {
            segment,
            len,
            footer_at,
            file_len,
            is_compacted,
            is_in_place,
            is_partial: false,
            high: named.sealed.map_or(Seq(SEQ_MAX), |extent| extent.last_seq),
        });
        Ok(())
    }

    fn named(&self) -> Vec<NamedSegment> {
        let mut named: Vec<_> = self.segments.iter().map(|source| source.segment.named()).collect();
        named.sort_by_key(|named| named.id);
        named
    }
}

fn unknown_manifest() -> Manifest {
    Manifest {
        generation: GENERATION_UNKNOWN,
        store: StoreId([0; 16]),
        hash_seed: 0,
        created_ms: 0,
        trusted_ms: 0,
        durable_upto: Seq(0),
        jump_base: Seq(0),
        sealed_upto: Seq(0),
        next_segment: SegmentId(1),
        next_namespace: 1,
        clean: None,
        segments: Vec::new(),
    }
}

/// The manifest as far as it can be trusted, and what is wrong with it.
fn read_manifest(fs: &dyn Fs, dir: &Path) -> Result<(ManifestFound, Option<Manifest>, Option<Error>)> {
    let error = match Manifest::load(fs, dir) {
        Ok(Some(manifest)) => return Ok((ManifestFound::Whole, Some(manifest), None)),
        Ok(None) => return Ok((ManifestFound::Missing, None, None)),
        Err(error) => error,
    };
    if !matches!(error.kind(), ErrorKind::Corruption | ErrorKind::Version) {
        return Err(error);
    }
    let mut content = None;
    if error.kind() == ErrorKind::Version {
        let path = dir.join(MANIFEST);
        let io = |e| Error::io("reading the manifest", &path, e);
        let file = fs.open_read(&path).map_err(io)?;
        let mut bytes = vec![0; usize::try_from(file.len().map_err(io)?).unwrap_or_default()];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        if sums_up(&bytes) {
            return Err(error);
        }
        set_version(&mut bytes);
        content = Manifest::decode(&bytes).ok();
    }
    Ok((ManifestFound::Damaged, content, Some(error)))
}

/// Whether the last four bytes are the sum of those before: then another version is meant, and nothing is damaged.
fn sums_up(bytes: &[u8]) -> bool {
    bytes.split_last_chunk().is_some_and(|(body, sum)| crc32(body) == u32::from_le_bytes(*sum))
}

/// Puts the version there that this build reads; the sum then shows whether only the version was damaged.
fn set_version(bytes: &mut [u8]) {
    if let Some(version) = bytes.get_mut(8..12) {
        version.copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    }
}

fn candidate(fs: &dyn Fs, dir: &Path, id: SegmentId) -> Result<Candidate> {
    let path = segment_path(dir, id);
    let io = |e: io::Error| Error::io("reading a segment", &path, e);
    let file = fs.open_read(&path).map_err(io)?;
    let len = file.len().map_err(io)?;
    let mut raw = vec![0; usize::try_from(len.min(u64::from(SEGMENT_HEADER))).unwrap_or_default()];
    file.read_exact_at(&mut raw, 0).map_err(io)?;
    let (header, damage) = match SegmentHeader::decode(&raw) {
        Ok(header) => (Some(header), None),
        Err(error) if error.kind() == ErrorKind::Version => {
            if sums_up(&raw) {
                return Err(error.with_path(path));
            }
            let mut patched = raw.clone();
            set_version(&mut patched);
            (SegmentHeader::decode(&patched).ok(), Some(error.with_path(&path)))
        }
        Err(error) => (None, Some(error)),
    };
    Ok(Candidate { id, path, file, len, header, raw, damage })
}

/// The store that most segments say they are of.
fn choose_store(candidates: &[Candidate]) -> StoreId {
    let mut votes: BTreeMap<StoreId, usize> = BTreeMap::new();
    for header in candidates.iter().filter_map(|candidate| candidate.header.as_ref()) {
        *votes.entry(header.store).or_default() += 1;
    }
    let most = votes.into_iter().max_by_key(|(_, votes)| *votes).map(|(store, _)| store);
    let raw = || candidates.first().map_or([0; 16], |candidate| candidate.raw_id(32));
    most.unwrap_or_else(|| StoreId(raw()))
}
