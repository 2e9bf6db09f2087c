//! Which frames a checkpoint covers, and whether it may stand for them under a manifest.

use nadb_core::limits::SEQ_MAX;
use nadb_core::{SegmentId, Seq, StoreId, guard};

use crate::bytes::Reader;
use crate::manifest::{Manifest, NamedSegment};
use crate::segment::SEGMENT_HEADER;

/// A segment up to where a checkpoint covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoveredSegment {
    /// The segment as the manifest named it.
    pub named: NamedSegment,
    /// Where its last covered frame ends.
    pub end: u32,
    /// The last number up to there.
    pub last_seq: Seq,
    /// The number of its first record; 0 where it has none.
    pub first_seq: Seq,
    /// Records of every kind up to there.
    pub records: u32,
    /// Rows up to there: records that say something of a key.
    pub rows: u32,
}

/// What a checkpoint covers: every frame of the store up to a number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    /// The store.
    pub store: StoreId,
    /// The seed of its key hash.
    pub hash_seed: u64,
    /// The last number.
    pub last_seq: Seq,
    /// Records of every kind.
    pub records: u64,
    /// The segments that have frames, in the order of their numbers.
    pub segments: Vec<CoveredSegment>,
}

impl Coverage {
    /// The segment with this number.
    #[must_use]
    pub fn segment(&self, id: SegmentId) -> Option<&CoveredSegment> {
        let at = self.segments.binary_search_by_key(&id, |covered| covered.named.id).ok()?;
        self.segments.get(at)
    }

    /// Whether a store with this manifest has all that is covered.
    pub(crate) fn fits(&self, manifest: &Manifest) -> bool {
        let named = |id| {
            let at = manifest.segments.binary_search_by_key(&id, |named| named.id).ok()?;
            manifest.segments.get(at)
        };
        let is_still_there =
            |covered: &CoveredSegment| named(covered.named.id).is_some_and(|now| covered.is(now));
        self.store == manifest.store
            && self.hash_seed == manifest.hash_seed
            && self.segments.iter().all(is_still_there)
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(8 + self.segments.len() * 65);
        out.extend_from_slice(&self.records.to_le_bytes());
        for segment in &self.segments {
            segment.named.encode(&mut out);
            out.extend_from_slice(&segment.end.to_le_bytes());
            out.extend_from_slice(&segment.last_seq.0.to_le_bytes());
            out.extend_from_slice(&segment.first_seq.0.to_le_bytes());
            out.extend_from_slice(&segment.records.to_le_bytes());
            out.extend_from_slice(&segment.rows.to_le_bytes());
        }
        out
    }

    pub(super) fn decode(bytes: &[u8], store: StoreId, hash_seed: u64, last_seq: Seq) -> Option<Coverage> {
        let mut reader = Reader::new(bytes);
        let mut coverage =
            Coverage { store, hash_seed, last_seq, records: reader.u64()?, segments: Vec::new() };
        while !reader.is_at_end() {
            let named = NamedSegment::decode(&mut reader)?;
            let segment = CoveredSegment {
                named,
                end: reader.u32()?,
                last_seq: Seq(reader.u64()?),
                first_seq: Seq(reader.u64()?),
                records: reader.u32()?,
                rows: reader.u32()?,
            };
            let before = coverage.segments.last();
            let follows = before.is_none_or(|before| before.named.id < named.id);
            let is_as_sealed = named
                .sealed
                .is_none_or(|sealed| (sealed.frames_end, sealed.last_seq) == (segment.end, segment.last_seq));
            // Every record has more than one byte.
            let counts_hold = segment.rows <= segment.records
                && segment.records < segment.end
                && (segment.first_seq.0 == 0) == (segment.records == 0)
                && segment.first_seq <= segment.last_seq;
            if !follows || !is_as_sealed || !counts_hold || segment.end <= SEGMENT_HEADER {
                return None;
            }
            coverage.segments.push(segment);
        }
        // Of the last ones a compaction may have left nothing.
        let end = coverage.segments.iter().map(|segment| segment.last_seq).max().unwrap_or_default();
        let records: u64 = coverage.segments.iter().map(|segment| u64::from(segment.records)).sum();
        (end <= last_seq && records == coverage.records && last_seq.0 <= SEQ_MAX).then_some(coverage)
    }
}

impl CoveredSegment {
    /// Whether it is the one that a manifest names now. It may have been sealed since, if no number came to it before: then the
    /// rows of its footer are those that are covered. If it is not sealed, its frames are still to be looked at.
    fn is(&self, now: &NamedSegment) -> bool {
        (self.named.uid == now.uid || !guard::on("checkpoint.uid_checked"))
            && match (self.named.sealed, now.sealed) {
                (None, None) => true,
                (Some(then), Some(now)) => then == now,
                (None, Some(now)) => now.frames_end >= self.end && now.last_seq == self.last_seq,
                (Some(_), None) => false,
            }
    }
}
