//! Footers that are damaged while their segments' records are whole: they are made anew from the records, in their places.
//! Nothing else changes, so that a flipped bit in a footer does not cost a copy of the store.
//!
//! A crash in the middle leaves a footer that is damaged, as it was before: opening makes up for it.

use std::path::Path;
use std::sync::Arc;

use nadb_core::{Error, ErrorKind, Result, Seq};
use nadb_vfs::Fs;

use super::check::BadFooter;
use super::report::DamagedRange;
use super::sources::Source;
use crate::manifest::{Manifest, SealedExtent};
use crate::rows::Rows;
use crate::seal::{encode, read_footer};
use crate::segment::Segment;

impl BadFooter {
    /// The bytes of the footer, with what is wrong.
    pub(super) fn damage(&self) -> DamagedRange {
        DamagedRange {
            path: self.segment.path().into(),
            offset: u64::from(self.extent.frames_end),
            len: u64::from(self.extent.file_len - self.extent.frames_end),
            what: format!("the segment's footer: {}", self.error),
        }
    }

    /// The footer that a segment does not have yet, whose frames end at `len` with number `last_seq`.
    pub(super) fn absent(segment: &Arc<Segment>, len: u32, last_seq: Seq) -> BadFooter {
        let extent = SealedExtent { frames_end: len, file_len: len, last_seq, is_compacted: false };
        let error = segment.corruption(u64::from(len), "there is no footer yet");
        BadFooter { segment: Arc::clone(segment), extent, error }
    }

    /// Writes the footer anew, durably, and gives where it ends now.
    pub(super) fn rebuild(&self) -> Result<SealedExtent> {
        let (segment, at) = (&*self.segment, self.extent.frames_end);
        let Rows::Memtable(memtable) = Rows::rebuild(&self.segment)? else {
            return Err(segment.corruption(u64::from(at), "rows that are made of records are in memory"));
        };
        let footer = encode(segment, at, &memtable)?;
        let file_len = u32::try_from(footer.len()).ok().and_then(|len| at.checked_add(len));
        let file_len = file_len.ok_or_else(|| {
            Error::limit(format!("segment {} and its footer have more than 4 GiB", segment.id()))
        })?;
        // Over what stands there, so that a full disk has room for it.
        segment
            .file
            .write_all_at(&footer, u64::from(at))
            .map_err(|e| segment.io("writing a footer", e.source))?;
        segment.file.set_len(u64::from(file_len)).map_err(|e| segment.io("writing a footer", e))?;
        segment.file.sync_all().map_err(|e| segment.io("syncing a footer", e))?;
        Ok(SealedExtent { file_len, ..self.extent })
    }
}

/// What is damaged of a footer that the manifest tells of; `None` where it verifies.
///
/// # Errors
/// `Version` for a footer that needs another build, and `Io`.
pub(super) fn damage(source: &Source) -> Result<Option<DamagedRange>> {
    // Without one, what stands there is not known to be a footer.
    let Some(extent) = source.segment.extent().filter(|_| source.footer_at.is_some()) else {
        return Ok(None);
    };
    match read_footer(&source.segment, extent).and_then(|footer| Arc::new(footer).check_all()) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == ErrorKind::Corruption => {
            Ok(Some(BadFooter { segment: Arc::clone(&source.segment), extent, error }.damage()))
        }
        Err(error) => Err(error),
    }
}

/// Writes the footers anew, and a manifest where one of them has another length now.
pub(super) fn rebuild_footers(
    fs: &dyn Fs,
    dir: &Path,
    mut manifest: Manifest,
    footers: &[BadFooter],
) -> Result<()> {
    let mut has_changed = false;
    for footer in footers {
        let extent = footer.rebuild()?;
        let named = manifest.segments.iter_mut().find(|named| named.id == footer.segment.id());
        if let Some(named) = named.filter(|named| named.sealed != Some(extent)) {
            named.sealed = Some(extent);
            has_changed = true;
        }
    }
    // DURABILITY: the footers before the manifest that says where they end.
    if has_changed {
        manifest.generation += 1;
        manifest.store(fs, dir)?;
    }
    Ok(())
}
