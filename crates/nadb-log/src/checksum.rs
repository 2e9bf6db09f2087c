//! Checksums that bind bytes to their place.
//!
//! A stored checksum is `CRC-32(bytes) XOR mix(segment uid, offset, sequence number)`. The CRC itself needs neither the
//! place nor the number, so it is summed before the write lock is taken; under the lock only the mix is added. Bytes that
//! are intact but belong to another segment, another offset or another number do not verify.

use nadb_core::{SegmentUid, Seq, guard};

/// CRC-32 (IEEE 802.3, reflected, as in zlib).
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// The place's part of a checksum: a 64-bit finalizer (SplitMix64's; Steele, Lea, Flood, OOPSLA 2014) over uid, offset and
/// sequence number, of which the upper half is used.
pub(crate) fn mix(uid: SegmentUid, offset: u32, seq: Seq) -> u32 {
    if !guard::on("frame.mix_binds_place") {
        return 0;
    }
    let [low, high] = halves(uid);
    let place = finalize(low ^ u64::from(offset));
    (finalize(place ^ high ^ seq.0) >> 32) as u32
}

fn halves(uid: SegmentUid) -> [u64; 2] {
    let whole = u128::from_le_bytes(uid.0);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    [whole as u64, (whole >> 64) as u64]
}

fn finalize(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
