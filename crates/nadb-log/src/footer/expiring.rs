//! Rows in the order of their expiry: the times, which rise, and beside them the rows.
//!
//! Both are packed columns: of rows that were written with similar lifetimes a time takes a byte or two, a row as many bits as
//! the row count has. A search by time compares the first times of blocks and reads through one. Promises that the rows it gives
//! are rows of the footer; that their times are what the rows say is checked by [`super::Footer::check_all`].

use nadb_core::{Error, Ordinal, Result};

use super::blocks::{Blocks, Section};
use super::column::{Base, Column, encode_column};
use crate::bytes::Reader;
use crate::row::RowMeta;

/// How many rows, and how many bytes the times take.
const HEADER_BYTES: usize = 8;
/// Rows that are read at a time; they divide those of a column's block.
const STEP: u32 = 32;

/// The section of rows that have an expiry; `None` where none has.
pub(super) fn encode_expiring(rows: &[RowMeta]) -> Option<Vec<u8>> {
    let expiring = (0u32..).zip(rows).filter_map(|(ordinal, row)| Some((row.expires_ms?, ordinal)));
    let mut expiring: Vec<(u64, u32)> = expiring.collect();
    expiring.sort_unstable();
    if expiring.is_empty() {
        return None;
    }
    let times = encode_column(Base::First, expiring.iter().map(|(time, _)| *time));
    let ordinals = encode_column(Base::Narrowest, expiring.iter().map(|(_, ordinal)| u64::from(*ordinal)));
    let mut bytes = Vec::with_capacity(HEADER_BYTES + times.len() + ordinals.len());
    // A footer whose positions do not fit is refused as a whole when it is put together.
    for number in [expiring.len(), times.len()] {
        bytes.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
    }
    bytes.extend_from_slice(&times);
    bytes.extend_from_slice(&ordinals);
    Some(bytes)
}

/// The rows of a footer that have an expiry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expiring {
    section: Section,
    /// How many rows the footer has.
    rows: u32,
    count: u32,
    times: Column,
    ordinals: Column,
}

impl Expiring {
    pub(super) fn open(blocks: &Blocks, section: Section, rows: u32) -> Result<Expiring> {
        let header: [u8; HEADER_BYTES] = blocks.array(section, 0)?;
        let mut reader = Reader::new(&header);
        let (count, times) = (reader.u32().unwrap_or(0), reader.u32().unwrap_or(0) as usize);
        let start = section.start + HEADER_BYTES;
        let ordinals = (section.len - HEADER_BYTES).checked_sub(times);
        let columns = ordinals.filter(|_| (1..=rows).contains(&count)).and_then(|len| {
            let ordinals = Column::new(Section { start: start + times, len }, count)?;
            Some((Column::new(Section { start, len: times }, count)?, ordinals))
        });
        let (times, ordinals) = columns.ok_or_else(|| {
            blocks.corrupt(
                section.start,
                format!("the footer's list of expiries is too short for {count} rows"),
            )
        })?;
        Ok(Expiring { section, rows, count, times, ordinals })
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> u32 {
        self.count
    }

    /// The last expiry.
    pub(super) fn last(&self, blocks: &Blocks) -> Result<u64> {
        self.times.value(blocks, self.count - 1)
    }

    /// The first expiry behind a time.
    pub(super) fn next(&self, blocks: &Blocks, after_ms: u64) -> Result<Option<u64>> {
        let at = self.times.first_above(blocks, after_ms)?;
        if at < self.count { self.times.value(blocks, at).map(Some) } else { Ok(None) }
    }

    /// Shows the rows that expire behind `after_ms` and not behind `upto_ms`, in order, as long as `show` says so.
    pub(super) fn show(
        &self,
        blocks: &Blocks,
        (after_ms, upto_ms): (u64, u64),
        show: &mut dyn FnMut(Ordinal, u64) -> bool,
    ) -> Result<()> {
        let from = self.times.first_above(blocks, after_ms)?;
        self.from(blocks, from, &mut |ordinal, time| time <= upto_ms && show(ordinal, time))
    }

    /// Shows all rows in order, as long as `show` says so.
    pub(super) fn all(&self, blocks: &Blocks, show: &mut dyn FnMut(Ordinal, u64) -> bool) -> Result<()> {
        self.from(blocks, 0, show)
    }

    fn from(&self, blocks: &Blocks, mut at: u32, show: &mut dyn FnMut(Ordinal, u64) -> bool) -> Result<()> {
        let (mut times, mut ordinals) = ([0; STEP as usize], [0; STEP as usize]);
        while at < self.count {
            let end = self.count.min((at / STEP + 1) * STEP);
            let len = (end - at) as usize;
            let times = times.get_mut(..len).unwrap_or_default();
            let ordinals = ordinals.get_mut(..len).unwrap_or_default();
            self.times.values(blocks, at, times)?;
            self.ordinals.values(blocks, at, ordinals)?;
            for (time, ordinal) in times.iter().zip(ordinals) {
                let ordinal = u32::try_from(*ordinal).ok().filter(|ordinal| *ordinal < self.rows);
                let ordinal = ordinal.ok_or_else(|| self.malformed(blocks))?;
                if !show(Ordinal(ordinal), *time) {
                    return Ok(());
                }
            }
            at = end;
        }
        Ok(())
    }

    #[cold]
    pub(super) fn malformed(&self, blocks: &Blocks) -> Error {
        blocks.corrupt(
            self.section.start,
            "the footer's list of expiries is malformed, or not that of its rows",
        )
    }
}
