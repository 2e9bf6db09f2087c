//! File names of a store directory, made and parsed here and nowhere else.

use std::path::{Path, PathBuf};

use nadb_core::{BlobId, SegmentId};

/// The manifest's name.
pub const MANIFEST: &str = "MANIFEST";
/// The name under which a new manifest is written before it takes the old one's place.
pub const MANIFEST_TMP: &str = "MANIFEST.tmp";
/// The name of the checkpoint of the index.
pub const CHECKPOINT: &str = "CHECKPOINT";
/// The name under which a new checkpoint is written before it takes the old one's place.
pub const CHECKPOINT_TMP: &str = "CHECKPOINT.tmp";
/// The lock file's name.
pub const LOCK: &str = "LOCK";
/// The ballast file's name.
pub const BALLAST: &str = "BALLAST";

/// The name, in the folder that a repair leaves, of the list of what was lost. It is written last: a folder without it is
/// that of a repair which did not get far enough to change anything.
pub const REPAIR_REPORT: &str = "REPORT";

const UNFINISHED_SUFFIX: &str = ".seg.new";
const ASIDE_PREFIX: &str = "repair-";
const SEGMENT_SUFFIX: &str = ".seg";
const SEGMENT_DIGITS: usize = 10;
const ACCESS_SUFFIX: &str = ".access";
const ACCESS_TMP_SUFFIX: &str = ".access.new";
const BLOB_SUFFIX: &str = ".blob";
const BLOB_DIGITS: usize = 32;

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

/// The path of a blob's file: the 32 lower-case hexadecimal digits of its id and `.blob`.
#[must_use]
pub fn blob_path(dir: &Path, id: BlobId) -> PathBuf {
    dir.join(format!("{id}{BLOB_SUFFIX}"))
}

/// The blob whose file has this name; `None` for any other file.
#[must_use]
pub fn parse_blob(name: &str) -> Option<BlobId> {
    let digits = name.strip_suffix(BLOB_SUFFIX)?;
    // A file system that ignores case must not give one blob two names.
    if digits.len() != BLOB_DIGITS || !digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    u128::from_str_radix(digits, 16).ok().map(|id| BlobId(id.to_be_bytes()))
}

/// An access file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessFile {
    /// That of this segment.
    Of(SegmentId),
    /// The next one of some segment, that has not taken its place.
    Unfinished,
}

/// The path of the file that says when the records of a segment were last read: ten decimal digits and `.access`.
pub(crate) fn access_path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(format!("{:0width$}{ACCESS_SUFFIX}", id.0, width = SEGMENT_DIGITS))
}

/// The path under which a new access file is written before it takes the old one's place.
pub(crate) fn access_tmp_path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(format!("{:0width$}{ACCESS_TMP_SUFFIX}", id.0, width = SEGMENT_DIGITS))
}

/// Which access file has this name; `None` for any other file.
pub(crate) fn parse_access(name: &str) -> Option<AccessFile> {
    let id = |digits: &str| parse_segment(&format!("{digits}{SEGMENT_SUFFIX}"));
    if let Some(digits) = name.strip_suffix(ACCESS_TMP_SUFFIX) {
        return id(digits).map(|_| AccessFile::Unfinished);
    }
    id(name.strip_suffix(ACCESS_SUFFIX)?).map(AccessFile::Of)
}

/// The path under which a repair writes a segment until all of them are whole. Opening passes over such files.
pub(crate) fn unfinished_path(dir: &Path, id: SegmentId) -> PathBuf {
    dir.join(format!("{:0width$}{UNFINISHED_SUFFIX}", id.0, width = SEGMENT_DIGITS))
}

/// Whether a repair that did not end left the file of this name.
pub(crate) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(UNFINISHED_SUFFIX)
        .is_some_and(|digits| parse_segment(&format!("{digits}{SEGMENT_SUFFIX}")).is_some())
}

/// The folder, inside the store's, in which repair number `number` puts the files as they were.
pub(crate) fn aside_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("{ASIDE_PREFIX}{number:04}"))
}

/// The number of the repair that this folder is of.
pub(crate) fn parse_aside(name: &str) -> Option<u32> {
    name.strip_prefix(ASIDE_PREFIX)?.parse().ok()
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

    #[test]
    fn access_names_round_trip_and_others_are_refused() {
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        for id in [0, 42, u32::MAX].map(SegmentId) {
            assert_eq!(parse_access(&name(access_path(Path::new("d"), id))), Some(AccessFile::Of(id)));
            let unfinished = name(access_tmp_path(Path::new("d"), id));
            assert_eq!(parse_access(&unfinished), Some(AccessFile::Unfinished));
        }
        let others = [
            "0000000001.seg",
            "1.access",
            "9999999999.access",
            "+000000001.access.new",
            ".access",
            "x.access",
        ];
        for other in others {
            assert_eq!(parse_access(other), None, "{other}");
        }
    }

    #[test]
    fn blob_names_round_trip_and_others_are_refused() {
        for id in [0, 1, 0x0123_4567_89ab_cdef, u128::MAX].map(|id| BlobId(id.to_be_bytes())) {
            let path = blob_path(Path::new("d"), id);
            assert_eq!(parse_blob(path.file_name().unwrap().to_str().unwrap()), Some(id));
        }
        let digits = "00112233445566778899aabbccddeeff";
        assert_eq!(blob_path(Path::new("d"), parse_blob(&format!("{digits}.blob")).unwrap()), {
            Path::new("d").join(format!("{digits}.blob"))
        });
        let others = [
            format!("{digits}0.blob"),
            format!("{}.blob", &digits[1..]),
            format!("+{}.blob", &digits[1..]),
            format!("{}.blob", digits.to_uppercase()),
            format!("{digits}.blobs"),
            format!("{digits}.blob.new"),
            digits.into(),
            ".blob".into(),
            "0000000001.seg".into(),
        ];
        for other in others {
            assert_eq!(parse_blob(&other), None, "{other}");
        }
    }
}
