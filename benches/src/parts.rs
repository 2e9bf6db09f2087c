//! Frames and the key index alone, without files: what the hot path can cost at best.

use nadb_core::{KeyHash, Location, NamespaceId, SegmentId, SegmentUid, Seq};
use nadb_index::KeyIndex;
use nadb_log::{Frame, FrameBody, FrameError, FramePlace, RecordFields, RecordKind};

use crate::data::{Key, Values, keys};

const UID: SegmentUid = SegmentUid([7; 16]);
const OFFSET: u32 = 64;
const TIME_MS: u64 = 1_700_000_000_000;
const NAMESPACE: NamespaceId = NamespaceId(1);

/// Frames of `per_frame` records each.
#[derive(Debug)]
pub struct Frames {
    keys: Vec<Key>,
    values: Values,
    per_frame: usize,
    out: Vec<u8>,
}

impl Frames {
    /// `count` keys, as many to a frame as `per_frame` says.
    #[must_use]
    pub fn new(count: u64, per_frame: usize, seed: u64) -> Frames {
        Frames { keys: keys(0..count, seed), values: Values::new(seed), per_frame, out: Vec::new() }
    }

    /// Encodes all keys, frame by frame, each at the same place; gives the bytes of the last frame.
    pub fn encode(&mut self) -> &[u8] {
        let mut number = 0;
        for keys in self.keys.chunks(self.per_frame.max(1)) {
            let mut body = FrameBody::new();
            for key in keys {
                let value = self.values.of(number);
                body.push(&RecordFields::new(RecordKind::Value, NAMESPACE, key, value, TIME_MS));
                number += 1;
            }
            let place = FramePlace {
                uid: &UID,
                offset: OFFSET,
                first_seq: Seq(1000),
                durable_upto: Seq(900),
                time_ms: TIME_MS,
            };
            self.out.clear();
            body.place(&mut self.out, place);
        }
        &self.out
    }
}

/// Verifies a frame that [`Frames::encode`] gave; says how many records it has.
///
/// # Errors
/// [`FrameError`] where it does not verify.
pub fn decode(frame: &[u8]) -> Result<usize, FrameError> {
    Ok(Frame::verify(frame, UID, OFFSET)?.records().count())
}

/// A key index and the hashes of its keys.
#[derive(Debug)]
pub struct Index {
    hashes: Vec<KeyHash>,
    index: KeyIndex,
}

impl Index {
    /// An index without keys, and `count` hashes for it.
    #[must_use]
    pub fn new(count: u64, seed: u64) -> Index {
        let hashes = keys(0..count, seed).iter().map(|key| KeyHash::new(seed, NAMESPACE, key)).collect();
        Index { hashes, index: KeyIndex::new() }
    }

    /// Inserts every key.
    pub fn insert_all(&self) {
        for (hash, number) in self.hashes.iter().zip(0..) {
            self.index.insert(*hash, Location { segment: SegmentId(1), offset: number, len: 190 });
        }
    }

    /// Looks every key up; says how many candidates there were.
    #[must_use]
    pub fn find_all(&self) -> usize {
        self.hashes.iter().map(|hash| self.index.candidates(*hash).len()).sum()
    }

    /// Bytes of RAM per key.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a figure for people")]
    pub fn bytes_per_key(&self) -> f64 {
        self.index.memory_bytes() as f64 / self.index.len().max(1) as f64
    }
}
