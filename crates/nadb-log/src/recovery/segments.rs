//! The segment files that a manifest names, and those that it does not: opened, and known by their headers. Reads only.

use std::io;
use std::path::Path;
use std::sync::Arc;

use nadb_core::{Error, Result, SegmentId, StoreId};
use nadb_vfs::{DirEntry, Fs};

use crate::manifest::Manifest;
use crate::names::{MANIFEST, parse_segment, segment_path};
use crate::segment::{SEGMENT_HEADER, Segment, SegmentHeader};

/// Segment files that the manifest does not name: left by a crash before they were named, or after they were forgotten.
pub(crate) fn orphans(
    fs: &dyn Fs,
    dir: &Path,
    manifest: &Manifest,
    entries: &[DirEntry],
) -> Result<Vec<SegmentId>> {
    let mut orphans: Vec<SegmentId> = entries.iter().filter_map(|entry| parse_segment(&entry.name)).collect();
    orphans.retain(|id| !manifest.segments.iter().any(|named| named.id == *id));
    orphans.sort_unstable();
    // A file is named durably before its first frame: one that has frames and a number that this manifest has not given
    // belongs to a later manifest.
    for id in &orphans {
        let path = segment_path(dir, *id);
        let len =
            fs.open_read(&path).and_then(|file| file.len()).map_err(|e| Error::io("reading", &path, e))?;
        if *id >= manifest.next_segment && len > u64::from(SEGMENT_HEADER) {
            return Err(Error::corruption(
                dir.join(MANIFEST),
                0,
                format!(
                    "the manifest is older than segment {id}, which holds frames; nothing was touched: \
                     put the newest manifest in its place"
                ),
            ));
        }
    }
    Ok(orphans)
}

pub(crate) fn open_segments(
    fs: &dyn Fs,
    dir: &Path,
    manifest: &Manifest,
) -> Result<Vec<(Arc<Segment>, u64)>> {
    let open = |named: &crate::NamedSegment| {
        let path = segment_path(dir, named.id);
        let file = fs.open_write(&path).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::corruption(&path, 0, "the manifest names this segment, but its file is missing")
            }
            _ => Error::io("opening a segment", &path, e),
        })?;
        let io = |e| Error::io("reading a segment", &path, e);
        let len = file.len().map_err(io)?;
        if len > u64::from(u32::MAX) {
            return Err(Error::corruption(
                &path,
                0,
                format!("the segment has {len} bytes; none is above 4 GiB"),
            ));
        }
        let segment = match named.sealed {
            Some(extent) => Segment::sealed(named, extent, path, file),
            None => Segment::new(named.id, named.uid, path, file),
        };
        check_header(&segment, len, manifest.store)?;
        Ok((Arc::new(segment), len))
    };
    manifest.segments.iter().map(open).collect()
}

/// Reads the header of a segment of `len` bytes: it must be that of the segment which the manifest names.
pub(crate) fn check_header(segment: &Segment, len: u64, store: StoreId) -> Result<()> {
    let mut header = vec![0; usize::try_from(len.min(u64::from(SEGMENT_HEADER))).unwrap_or_default()];
    segment.file.read_exact_at(&mut header, 0).map_err(|e| segment.io("reading a segment", e))?;
    let header = SegmentHeader::decode(&header).map_err(|e| e.with_path(&segment.path))?;
    if header != (SegmentHeader { id: segment.id, uid: segment.uid, store }) {
        return Err(segment.corruption(
            0,
            format!(
                "this segment is not the one that the manifest names: it is number {} of store {}",
                header.id,
                hex(header.store)
            ),
        ));
    }
    Ok(())
}

pub(crate) fn hex(id: StoreId) -> String {
    id.0.iter().map(|byte| format!("{byte:02x}")).collect()
}
