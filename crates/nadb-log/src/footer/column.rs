//! Packed columns: numbers of rows in blocks of 256, each block with its own base and bit width.
//!
//! A block stands either on its minimum, which suits numbers in any order, or on a line from its first number on, which
//! suits rising ones: of records of equal size the offsets need no bit at all. Any number is reached in constant time. The
//! idea is frame-of-reference coding (Goldstein, Ramakrishnan, Shaft, "Compressing Relations and Indexes", ICDE 1998).

use std::cmp::Ordering;
use std::ops::Range;

use nadb_core::Result;

use super::blocks::{Blocks, Section};

const ROWS_PER_BLOCK: u32 = 256;
const ROWS: usize = ROWS_PER_BLOCK as usize;
/// Bytes that describe a block: base, where its bits begin, width with the flag of the line, slope.
const ENTRY_BYTES: usize = 16;
const WIDTH_MAX: u32 = 64;
/// Set in the byte of the width when the block stands on a line.
const ON_LINE: u32 = 0x80;
/// A slope counts 256ths, so that over a block its rounding adds up to less than one.
const SLOPE_SHIFT: u32 = 8;
const SLOPE_MAX: u64 = (1 << 24) - 1;

/// Maps small differences of either sign to small numbers.
pub(super) fn zigzag(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)).cast_unsigned()
}

pub(super) fn unzigzag(number: u64) -> i64 {
    (number >> 1).cast_signed() ^ -((number & 1).cast_signed())
}

/// What the blocks of a column stand on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// What needs fewer bits, block by block.
    Narrowest,
    /// Always the first number, so that a search can compare bases alone.
    First,
}

/// How the numbers of one block are written.
#[derive(Debug, Clone, Copy)]
struct Shape {
    base: u64,
    slope: u64,
    on_line: bool,
    width: u32,
}

impl Shape {
    fn of(values: &[u64], base: Base) -> Shape {
        if base == Base::First {
            return Shape::line(values);
        }
        let floor = Shape::floor(values);
        if floor.width == 0 {
            return floor;
        }
        let line = Shape::line(values);
        if line.width < floor.width { line } else { floor }
    }

    fn floor(values: &[u64]) -> Shape {
        let (min, max) =
            values.iter().fold((u64::MAX, 0), |(min, max), value| (*value.min(&min), *value.max(&max)));
        Shape { base: min, slope: 0, on_line: false, width: width_of(max.saturating_sub(min)) }
    }

    fn line(values: &[u64]) -> Shape {
        let (first, last) = values.first().zip(values.last()).map_or((0, 0), |(a, b)| (*a, *b));
        let steps = values.len().saturating_sub(1).max(1) as u128;
        let slope = (u128::from(last.saturating_sub(first)) << SLOPE_SHIFT) / steps;
        let slope = u64::try_from(slope).unwrap_or(SLOPE_MAX).min(SLOPE_MAX);
        let line = Shape { base: first, slope, on_line: true, width: 0 };
        Shape { width: width_of(line.residuals(values).fold(0, |bits, residual| bits | residual)), ..line }
    }

    fn residuals(self, values: &[u64]) -> impl Iterator<Item = u64> {
        (0u64..).zip(values).map(move |(row, value)| {
            let residual = value.wrapping_sub(self.base).wrapping_sub((self.slope * row) >> SLOPE_SHIFT);
            if self.on_line { zigzag(residual.cast_signed()) } else { residual }
        })
    }

    fn encode(self, bits_at: usize) -> [u8; ENTRY_BYTES] {
        let form = self.width | if self.on_line { ON_LINE } else { 0 };
        let slope = u32::try_from(self.slope.min(SLOPE_MAX)).unwrap_or(0);
        // A footer whose positions do not fit is refused as a whole when it is put together.
        let bits_at = u32::try_from(bits_at).unwrap_or(u32::MAX);
        let mut entry = [0; ENTRY_BYTES];
        let fields = self.base.to_le_bytes().into_iter().chain(bits_at.to_le_bytes());
        let fields = fields.chain((form | slope << 8).to_le_bytes());
        entry.iter_mut().zip(fields).for_each(|(to, from)| *to = from);
        entry
    }
}

/// The bytes of a column.
pub(super) fn encode_column(base: Base, values: impl ExactSizeIterator<Item = u64>) -> Vec<u8> {
    let bits_at = values.len().div_ceil(ROWS) * ENTRY_BYTES;
    let mut entries = Vec::with_capacity(bits_at);
    let mut bits = Vec::new();
    let mut values = values.peekable();
    let mut block = Vec::with_capacity(ROWS);
    while values.peek().is_some() {
        block.clear();
        block.extend(values.by_ref().take(ROWS));
        let shape = Shape::of(&block, base);
        entries.extend_from_slice(&shape.encode(bits_at + bits.len()));
        put_bits(&mut bits, shape.residuals(&block), shape.width);
    }
    entries.append(&mut bits);
    entries
}

/// `width` bits, 1 to 64, from a bit on; `None` where there are not eight bytes from its byte on, as there always are before a
/// footer's trailer.
#[inline]
fn bits_at(packed: &[u8], bit: usize, width: u32) -> Option<u64> {
    let (byte, shift) = (bit / 8, bit % 8);
    let (word, behind) = packed.get(byte..)?.split_first_chunk()?;
    let mut value = u64::from_le_bytes(*word) >> shift;
    if shift + width as usize > u64::BITS as usize {
        value |= u64::from(*behind.first()?) << (64 - shift);
    }
    Some(value & (u64::MAX >> (u64::BITS - width)))
}

fn width_of(bits: u64) -> u32 {
    u64::BITS - bits.leading_zeros()
}

/// Appends the low `width` bits of each number, the lowest first, and fills the last byte with zeros.
fn put_bits(out: &mut Vec<u8>, numbers: impl Iterator<Item = u64>, width: u32) {
    if width == 0 {
        return;
    }
    let (mut waiting, mut count) = (0u128, 0);
    for number in numbers {
        waiting |= u128::from(number) << count;
        count += width;
        if count >= u64::BITS {
            #[expect(clippy::cast_possible_truncation, reason = "the lower half; the upper one waits")]
            out.extend_from_slice(&(waiting as u64).to_le_bytes());
            waiting >>= u64::BITS;
            count -= u64::BITS;
        }
    }
    out.extend(waiting.to_le_bytes().into_iter().take(count.div_ceil(8) as usize));
}

/// A column of a footer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    section: Section,
    rows: u32,
}

/// A block's entry, read.
#[derive(Debug, Clone, Copy)]
struct Entry {
    base: u64,
    bits_at: usize,
    width: u32,
    on_line: bool,
    slope: u64,
}

impl Entry {
    /// The number of a row whose bits are zeros.
    #[inline]
    fn on_base(self, row: u32) -> u64 {
        self.base.wrapping_add((self.slope * u64::from(row)) >> SLOPE_SHIFT)
    }

    /// The number of a row with these bits.
    #[inline]
    fn value(self, row: u32, residual: u64) -> u64 {
        let residual = if self.on_line { unzigzag(residual).cast_unsigned() } else { residual };
        self.on_base(row).wrapping_add(residual)
    }

    /// The rows below `rows` among which a number not below the base is, if the block has it: no row is further from the line
    /// than its bits can say.
    fn window(self, number: u64, rows: u32) -> (u32, u32) {
        if !self.on_line || self.slope == 0 || self.width > u32::BITS {
            return (0, rows);
        }
        let (distance, reach) = (number.saturating_sub(self.base), 1u64 << self.width >> 1);
        let row_at = |distance: u64| distance.saturating_mul(1 << SLOPE_SHIFT) / self.slope;
        let low = row_at(distance.saturating_sub(reach)).min(u64::from(rows));
        let high = row_at(distance.saturating_add(reach + 1)).saturating_add(1).min(u64::from(rows));
        #[expect(clippy::cast_possible_truncation, reason = "at most `rows`")]
        (low as u32, high as u32)
    }
}

impl Column {
    /// A column of `rows` numbers; `None` where the section cannot even hold its entries.
    pub(super) fn new(section: Section, rows: u32) -> Option<Column> {
        let column = Column { section, rows };
        (section.len / ENTRY_BYTES >= column.blocks() as usize).then_some(column)
    }

    fn blocks(self) -> u32 {
        self.rows.div_ceil(ROWS_PER_BLOCK)
    }

    /// Where in the footer the entry stands that says most of a row.
    pub(super) fn position(self, row: u32) -> usize {
        self.section.start + row as usize / ROWS * ENTRY_BYTES
    }

    /// The number of a row.
    ///
    /// # Errors
    /// `Corruption`, also for a row beyond the last.
    #[inline]
    pub(super) fn value(self, bytes: &Blocks, row: u32) -> Result<u64> {
        if row >= self.rows {
            return Err(bytes.corrupt(
                self.section.start,
                format!("row {row} is asked for, the footer has {} rows", self.rows),
            ));
        }
        let entry = self.entry(bytes, row / ROWS_PER_BLOCK)?;
        self.value_in(bytes, entry, row % ROWS_PER_BLOCK)
    }

    /// The numbers of rows that lie in one block, from `first` on.
    ///
    /// # Errors
    /// `Corruption`, also for rows beyond the last or the block.
    #[inline]
    pub(super) fn values(self, bytes: &Blocks, first: u32, numbers: &mut [u64]) -> Result<()> {
        let (block, row) = (first / ROWS_PER_BLOCK, first % ROWS_PER_BLOCK);
        let rows = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
        if rows > (self.rows - first.min(self.rows)).min(ROWS_PER_BLOCK - row) {
            return self.value(bytes, self.rows).map(|_| ());
        }
        let entry = self.entry(bytes, block)?;
        let mut numbers = numbers.iter_mut();
        self.show_in(bytes, entry, row..row + rows, |value| {
            numbers.next().into_iter().for_each(|number| *number = value)
        })
    }

    /// Shows the numbers of some rows of a block, counted from the block's first.
    #[inline]
    fn show_in(
        self,
        bytes: &Blocks,
        entry: Entry,
        rows: Range<u32>,
        mut show: impl FnMut(u64),
    ) -> Result<()> {
        if entry.width == 0 {
            rows.for_each(|row| show(entry.on_base(row)));
            return Ok(());
        }
        let (bit, bits) = (rows.start * entry.width, rows.len() * entry.width as usize);
        // Beyond the address space is beyond the section too.
        let from = entry.bits_at.saturating_add(bit as usize / 8);
        let shift = bit as usize % 8;
        let packed = bytes.get_and_more(self.section, from, (shift + bits).div_ceil(8))?;
        let short = || bytes.corrupt(self.section.start + from, "the bits of a column are cut short");
        for (row, at) in rows.zip((shift..).step_by(entry.width as usize)) {
            show(entry.value(row, bits_at(packed, at, entry.width).ok_or_else(short)?));
        }
        Ok(())
    }

    /// Shows the numbers of all rows in `rows`, block by block: much cheaper than one by one.
    ///
    /// # Errors
    /// `Corruption`, also for rows beyond the last.
    pub(super) fn for_each(self, bytes: &Blocks, rows: Range<u32>, mut show: impl FnMut(u64)) -> Result<()> {
        if rows.end > self.rows {
            return self.value(bytes, self.rows).map(|_| ());
        }
        let mut at = rows.start;
        while at < rows.end {
            let block = at / ROWS_PER_BLOCK;
            let first = block * ROWS_PER_BLOCK;
            let end = rows.end.min(first + ROWS_PER_BLOCK);
            let entry = self.entry(bytes, block)?;
            self.show_in(bytes, entry, at - first..end - first, &mut show)?;
            at = end;
        }
        Ok(())
    }

    /// The last block whose base is not above this number, in a column of rising numbers with [`Base::First`].
    fn last_block_upto(self, bytes: &Blocks, number: u64) -> Result<Option<u32>> {
        let (mut low, mut high) = (0, self.blocks());
        while low < high {
            let middle = low + (high - low) / 2;
            let base = u64::from_le_bytes(bytes.array(self.section, middle as usize * ENTRY_BYTES)?);
            if base <= number { low = middle + 1 } else { high = middle }
        }
        Ok(low.checked_sub(1))
    }

    /// The row that has this number, in a column of strictly rising numbers with [`Base::First`].
    ///
    /// # Errors
    /// `Corruption`.
    pub(super) fn find(self, bytes: &Blocks, number: u64) -> Result<Option<u32>> {
        let Some(block) = self.last_block_upto(bytes, number)? else {
            return Ok(None);
        };
        let entry = self.entry(bytes, block)?;
        let first = block * ROWS_PER_BLOCK;
        let (mut low, mut high) = entry.window(number, (self.rows - first).min(ROWS_PER_BLOCK));
        while low < high {
            let middle = low + (high - low) / 2;
            match self.value_in(bytes, entry, middle)?.cmp(&number) {
                Ordering::Less => low = middle + 1,
                Ordering::Greater => high = middle,
                Ordering::Equal => return Ok(Some(first + middle)),
            }
        }
        Ok(None)
    }

    /// The first row whose number is above this one, in a column of rising numbers with [`Base::First`]; the row count where
    /// there is none.
    ///
    /// # Errors
    /// `Corruption`.
    pub(super) fn first_above(self, bytes: &Blocks, number: u64) -> Result<u32> {
        let Some(block) = self.last_block_upto(bytes, number)? else {
            return Ok(0);
        };
        let entry = self.entry(bytes, block)?;
        let first = block * ROWS_PER_BLOCK;
        let (mut low, mut high) = (0, (self.rows - first).min(ROWS_PER_BLOCK));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.value_in(bytes, entry, middle)? <= number { low = middle + 1 } else { high = middle }
        }
        Ok(first + low)
    }

    #[inline]
    fn entry(self, bytes: &Blocks, block: u32) -> Result<Entry> {
        let from = block as usize * ENTRY_BYTES;
        let entry = u128::from_le_bytes(bytes.array(self.section, from)?);
        #[expect(clippy::cast_possible_truncation, reason = "the four fields")]
        let (base, bits_at, form) = (entry as u64, (entry >> 64) as u32, (entry >> 96) as u32);
        let width = form & 0x7F;
        if width > WIDTH_MAX {
            return Err(bytes.corrupt(
                self.section.start + from,
                format!("a block of a column has numbers of {width} bits, {WIDTH_MAX} is the most"),
            ));
        }
        Ok(Entry {
            base,
            bits_at: bits_at as usize,
            width,
            on_line: form & ON_LINE != 0,
            slope: u64::from(form >> 8),
        })
    }

    /// The number of a row of a block, counted from the block's first.
    #[inline]
    fn value_in(self, bytes: &Blocks, entry: Entry, row: u32) -> Result<u64> {
        if entry.width == 0 {
            return Ok(entry.on_base(row));
        }
        let bit = row * entry.width;
        // Beyond the address space is beyond the section too.
        let from = entry.bits_at.saturating_add(bit as usize / 8);
        let residual = bytes.bits(self.section, from, bit % 8, entry.width)?;
        Ok(entry.value(row, residual))
    }
}
