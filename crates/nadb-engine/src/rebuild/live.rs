//! Which rows a rebuild finds live: at first all values, then not those that it finds dead.

use nadb_core::Ordinal;
use nadb_log::{RecordKind, RowSpot, RowTable};

use super::Rebuild;

/// A bit for each row of a segment, and the bytes of those whose bits are set.
#[derive(Debug, Default)]
struct Rows {
    words: Vec<u64>,
    bytes: u64,
}

/// The rows of all segments that one thread has found dead.
#[derive(Debug)]
pub(super) struct Dead {
    segments: Vec<Rows>,
    rows: Vec<u32>,
}

impl Dead {
    pub(super) fn new(tables: &[RowTable]) -> Dead {
        let segments = tables.iter().map(|_| Rows::default()).collect();
        Dead { segments, rows: tables.iter().map(RowTable::len).collect() }
    }

    /// A value that is not live; nothing for a tombstone, which never is. Said once of each row.
    pub(super) fn add(&mut self, source: usize, ordinal: Ordinal, spot: RowSpot) {
        if spot.kind != RecordKind::Tombstone {
            self.add_value(source, ordinal, spot.len);
        }
    }

    pub(super) fn add_value(&mut self, source: usize, ordinal: Ordinal, len: u32) {
        let (Some(dead), Some(rows)) = (self.segments.get_mut(source), self.rows.get(source)) else { return };
        if dead.words.is_empty() {
            dead.words = vec![0; (*rows as usize).div_ceil(64)];
        }
        if let Some(word) = dead.words.get_mut(ordinal.0 as usize / 64) {
            *word |= 1 << (ordinal.0 % 64);
            dead.bytes += u64::from(len);
        }
    }
}

/// The values of all segments.
#[derive(Debug, Default)]
pub(super) struct Values {
    segments: Vec<Rows>,
}

impl Values {
    /// Those among the next segment's rows.
    pub(super) fn push(&mut self, spots: &[RowSpot]) {
        let mut values = Rows { words: Vec::with_capacity(spots.len().div_ceil(64)), bytes: 0 };
        for spots in spots.chunks(64) {
            let mut word = 0u64;
            for (spot, bit) in spots.iter().zip(0..) {
                let is_value = spot.kind != RecordKind::Tombstone;
                word |= u64::from(is_value) << bit;
                values.bytes += if is_value { u64::from(spot.len) } else { 0 };
            }
            values.words.push(word);
        }
        self.segments.push(values);
    }

    /// Makes those live that nobody has found dead.
    pub(super) fn settle(mut self, rebuild: &Rebuild<'_>, dead: &[Dead]) {
        for (source, (slot, values)) in rebuild.slots.iter().zip(&mut self.segments).enumerate() {
            for dead in dead.iter().filter_map(|dead| dead.segments.get(source)) {
                values.words.iter_mut().zip(&dead.words).for_each(|(value, dead)| *value &= !dead);
                values.bytes = values.bytes.saturating_sub(dead.bytes);
            }
            slot.live.set_live_words(&values.words, values.bytes);
        }
    }
}
