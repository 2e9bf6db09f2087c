//! File names of a store directory, made and parsed here and nowhere else.

use std::path::{Path, PathBuf};

use nadb_core::SegmentId;

/// The manifest's name.
pub const MANIFEST: &str = "MANIFEST";
/// The name under which a new manifest is written before it takes the old one's place.
pub const MANIFEST_TMP: &str = "MANIFEST.tmp";
/// The lock file's name.
pub const LOCK: &str = "LOCK";
/// The ballast file's name.
pub const BALLAST: &str = "BALLAST";

const SEGMENT_SUFFIX: &str = ".seg";
const SEGMENT_DIGITS: usize = 10;

/// The path of a segment's file: ten decimal digits and `.seg`.
#[must_use]
pub fn segment_path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(format!("{:0width$}{SEGMENT_SUFFIX}", id.0, width = SEGMENT_DIGITS))
}

/// The segment whose file has this name; `None` for any other file.
#[must_use]
pub fn parse_segment(name: &str) -> Option<SegmentId> {
    let digits = name.strip_suffix(SEGMENT_SUFFIX)?;
    if digits.len() != SEGMENT_DIGITS || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(SegmentId)
}

/// Whether a store may find this name in its directory before it has a manifest.
#[must_use]
pub(crate) fn is_harmless_without_manifest(name: &str) -> bool {
    matches!(name, LOCK | MANIFEST_TMP | "lost+found")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_names_round_trip_and_others_are_refused() {
        for id in [0, 1, 42, u32::MAX] {
            let path = segment_path(Path::new("d"), SegmentId(id));
            assert_eq!(parse_segment(path.file_name().unwrap().to_str().unwrap()), Some(SegmentId(id)));
        }
        for other in
            ["1.seg", "0000000001.segx", "00000000001.seg", "+000000001.seg", "9999999999.seg", MANIFEST]
        {
            assert_eq!(parse_segment(other), None, "{other}");
        }
    }
}
