//! What a compacted segment says of its making: which compaction made it, and from which segments. docs/format.md, section 18.
//!
//! Nobody needs it but a repair that has lost the manifest: it tells whether the inputs, should their files still be there, were
//! replaced.

use nadb_core::{SegmentId, SegmentUid};

use crate::bytes::Reader;

const ENTRY_BYTES: usize = 20;

/// Which compaction has made a segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Origin {
    /// The compaction: 128 random bits.
    pub compaction: [u8; 16],
    /// Which of its outputs this is, from 0 on.
    pub index: u32,
    /// How many outputs there are; 0 in all but the last one.
    pub outputs: u32,
    /// The segments that the outputs replace, and those that earlier compactions had replaced and whose files could still be there.
    pub inputs: Vec<(SegmentId, SegmentUid)>,
}

impl Origin {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(24 + self.inputs.len() * ENTRY_BYTES);
        out.extend_from_slice(&self.compaction);
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.outputs.to_le_bytes());
        for (id, uid) in &self.inputs {
            out.extend_from_slice(&id.0.to_le_bytes());
            out.extend_from_slice(&uid.0);
        }
        out
    }

    /// Reads what [`Origin::encode`] has written; `None` for anything else.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Origin> {
        let mut reader = Reader::new(bytes);
        let mut origin = Origin {
            compaction: reader.array()?,
            index: reader.u32()?,
            outputs: reader.u32()?,
            inputs: Vec::new(),
        };
        if origin.outputs != 0 && origin.index.checked_add(1)? != origin.outputs {
            return None;
        }
        while !reader.is_at_end() {
            origin.inputs.push((SegmentId(reader.u32()?), SegmentUid(reader.array()?)));
        }
        (!origin.inputs.is_empty()).then_some(origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_round_trip_and_others_are_refused() {
        let inputs = vec![(SegmentId(7), SegmentUid([1; 16])), (SegmentId(9), SegmentUid([2; 16]))];
        let origin = Origin { compaction: [3; 16], index: 2, outputs: 3, inputs };
        let bytes = origin.encode();
        assert_eq!(Origin::decode(&bytes), Some(origin.clone()));
        for len in (0..bytes.len()).filter(|len| *len != 44) {
            assert_eq!(Origin::decode(&bytes[..len]), None, "cut to {len}");
        }
        assert_eq!(Origin::decode(&Origin { outputs: 4, ..origin.clone() }.encode()), None);
        assert_eq!(Origin::decode(&Origin { inputs: Vec::new(), ..origin }.encode()), None);
    }
}
