//! The columns of a footer by ordinal: what is known of each key record, in the order of writing.
//!
//! Times and sizes are written as differences to what they usually follow, so that ordinary rows need no bit for them.
//! Promises that every row it gives has a place among the segment's records and fields within their limits.

use nadb_core::limits::SEQ_MAX;
use nadb_core::{BlobId, Error, Ordinal, Result, Seq};

use super::blocks::{Blocks, Section};
use super::column::{Base, Column, encode_column, unzigzag, zigzag};
use super::layout::{Layout, NewSection, id};
use crate::record::{RECORD_BYTES_MIN, RecordKind};
use crate::row::{RowMeta, RowPlace, RowSpot};
use crate::segment::SEGMENT_HEADER;

/// Times have 48 bits on a record.
const TIME_MS_MAX: u64 = (1 << 48) - 1;
/// Ordinal and blob id.
const BLOB_ENTRY_BYTES: usize = 20;

/// Says what of a record's place, number and time cannot be, in a segment whose records end at `end`.
pub(super) fn check_place(
    offset: u32,
    len: u32,
    seq: Seq,
    updated_ms: u64,
    end: u32,
) -> Result<(), &'static str> {
    let room = end.checked_sub(offset).filter(|_| offset >= SEGMENT_HEADER).ok_or("offset")?;
    if len > room || (len as usize) < RECORD_BYTES_MIN {
        return Err("length");
    }
    if !(1..=SEQ_MAX).contains(&seq.0) {
        return Err("number");
    }
    if updated_ms > TIME_MS_MAX { Err("time of writing") } else { Ok(()) }
}

/// Says what of a row cannot be.
pub(super) fn check_row(row: &RowMeta, end: u32) -> Result<(), &'static str> {
    check_place(row.offset, row.len, row.seq, row.updated_ms, end)?;
    if row.created_ms > TIME_MS_MAX {
        return Err("time of creation");
    }
    if row.expires_ms.is_some_and(|expires_ms| expires_ms > TIME_MS_MAX) {
        return Err("expiry");
    }
    match row.kind {
        RecordKind::Value | RecordKind::Tombstone if row.blob.is_none() => Ok(()),
        RecordKind::BlobReference if row.blob.is_some() => Ok(()),
        RecordKind::Value | RecordKind::Tombstone | RecordKind::BlobReference => Err("blob"),
        _ => Err("kind"),
    }
}

/// The kind of a row that has this number on disk.
fn row_kind(number: u64) -> Option<RecordKind> {
    let kinds = [RecordKind::Value, RecordKind::Tombstone, RecordKind::BlobReference];
    kinds.into_iter().find(|kind| *kind as u64 == number)
}

/// 0 for none, so that rows without expiry among others cost no width.
fn expiry_to_number(row: &RowMeta) -> u64 {
    row.expires_ms.map_or(0, |expires_ms| 1 + difference(expires_ms, row.updated_ms))
}

fn difference(from: u64, to: u64) -> u64 {
    zigzag(from.wrapping_sub(to).cast_signed())
}

/// The inverse of [`difference`]: `from`, wrapping where the number is not what a writer makes.
fn back(number: u64, to: u64) -> u64 {
    to.wrapping_add(unzigzag(number).cast_unsigned())
}

/// The sections of the rows; those that would say nothing are left out.
pub(super) fn encode_rows(rows: &[RowMeta]) -> Vec<NewSection> {
    let column = |base, number: fn(&RowMeta) -> u64| encode_column(base, rows.iter().map(number));
    let mut sections = vec![
        NewSection::required(id::OFFSETS, column(Base::First, |row| u64::from(row.offset))),
        NewSection::required(id::LENGTHS, column(Base::Narrowest, |row| u64::from(row.len))),
        NewSection::required(id::NUMBERS, column(Base::Narrowest, |row| row.seq.0)),
        NewSection::required(id::KINDS, column(Base::Narrowest, |row| row.kind as u64)),
    ];
    if rows.iter().any(|row| row.expires_ms.is_some()) {
        sections.push(NewSection::required(id::EXPIRIES, column(Base::Narrowest, expiry_to_number)));
    }
    let sizes = column(Base::Narrowest, |row| difference(row.size, u64::from(row.len)));
    sections.push(NewSection::required(id::SIZES, sizes));
    if rows.iter().any(|row| row.created_ms != row.updated_ms) {
        let created = column(Base::Narrowest, |row| difference(row.created_ms, row.updated_ms));
        sections.push(NewSection::required(id::CREATED, created));
    }
    sections.push(NewSection::required(id::UPDATED, column(Base::Narrowest, |row| row.updated_ms)));
    let mut blobs = Vec::new();
    for (ordinal, blob) in (0u32..).zip(rows).filter_map(|(ordinal, row)| Some((ordinal, row.blob?))) {
        blobs.extend_from_slice(&ordinal.to_le_bytes());
        blobs.extend_from_slice(&blob.0);
    }
    if !blobs.is_empty() {
        sections.push(NewSection::required(id::BLOBS, blobs));
    }
    sections
}

/// The rows of a footer.
#[derive(Debug)]
pub(super) struct Rows {
    offsets: Column,
    lengths: Column,
    numbers: Column,
    kinds: Column,
    /// Without it no row has an expiry.
    expiries: Option<Column>,
    sizes: Column,
    /// Without it all rows were created when they were written.
    created: Option<Column>,
    updated: Column,
    blobs: Option<Section>,
}

impl Rows {
    pub(super) fn open(blocks: &Blocks, layout: &Layout) -> Result<Rows> {
        let column = |id| layout.column(blocks, id, layout.rows);
        let required = |id| column(id)?.ok_or_else(|| layout.missing(blocks, id));
        Ok(Rows {
            offsets: required(id::OFFSETS)?,
            lengths: required(id::LENGTHS)?,
            numbers: required(id::NUMBERS)?,
            kinds: required(id::KINDS)?,
            expiries: column(id::EXPIRIES)?,
            sizes: required(id::SIZES)?,
            created: column(id::CREATED)?,
            updated: required(id::UPDATED)?,
            blobs: layout.section(id::BLOBS),
        })
    }

    /// The row of an ordinal, in a segment whose records end where the footer begins.
    pub(super) fn meta(&self, blocks: &Blocks, ordinal: Ordinal) -> Result<RowMeta> {
        let bad = |what| self.bad(blocks, ordinal, what);
        let narrow =
            |column: Column, what| u32::try_from(column.value(blocks, ordinal.0)?).map_err(|_| bad(what));
        let (offset, len) = (narrow(self.offsets, "offset")?, narrow(self.lengths, "length")?);
        let updated_ms = self.updated.value(blocks, ordinal.0)?;
        let number = self.kinds.value(blocks, ordinal.0)?;
        let kind = row_kind(number).ok_or_else(|| bad("kind"))?;
        let expiry = self.expiries.map_or(Ok(0), |column| column.value(blocks, ordinal.0))?;
        let created = self.created.map_or(Ok(0), |column| column.value(blocks, ordinal.0))?;
        let is_blob = kind == RecordKind::BlobReference;
        let row = RowMeta {
            kind,
            seq: Seq(self.numbers.value(blocks, ordinal.0)?),
            offset,
            len,
            expires_ms: expiry.checked_sub(1).map(|number| back(number, updated_ms)),
            size: back(self.sizes.value(blocks, ordinal.0)?, u64::from(len)),
            created_ms: back(created, updated_ms),
            updated_ms,
            blob: if is_blob { self.blob(blocks, ordinal)? } else { None },
        };
        check_row(&row, blocks.at()).map_err(bad)?;
        Ok(row)
    }

    /// The parts of [`Rows::meta`] that the index needs, of the rows from `first` on, checked as there.
    pub(super) fn spots(&self, blocks: &Blocks, first: Ordinal, spots: &mut [RowSpot]) -> Result<()> {
        let count = u32::try_from(spots.len()).unwrap_or(u32::MAX);
        let rows = first.0..first.0.saturating_add(count);
        // What is no number of 32 bits, or no kind, becomes one that is refused below.
        let narrow = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let mut next = spots.iter_mut();
        self.offsets.for_each(blocks, rows.clone(), |offset| {
            let offset = narrow(offset);
            next.next().into_iter().for_each(|spot| spot.offset = offset);
        })?;
        let mut next = spots.iter_mut();
        self.lengths.for_each(blocks, rows.clone(), |len| {
            let len = narrow(len);
            next.next().into_iter().for_each(|spot| spot.len = len);
        })?;
        let mut next = spots.iter_mut();
        self.kinds.for_each(blocks, rows, |number| {
            let kind = row_kind(number).unwrap_or(RecordKind::Clock);
            next.next().into_iter().for_each(|spot| spot.kind = kind);
        })?;
        let end = blocks.at();
        let is_bad = |spot: &RowSpot| {
            spot.kind == RecordKind::Clock
                || spot.offset < SEGMENT_HEADER
                || (spot.len as usize) < RECORD_BYTES_MIN
                || spot.offset.checked_add(spot.len).is_none_or(|behind| behind > end)
        };
        match (first.0..).zip(spots.iter()).find(|(_, spot)| is_bad(spot)) {
            Some((ordinal, _)) => {
                // Says what it is.
                self.meta(blocks, Ordinal(ordinal))?;
                Err(self.bad(blocks, Ordinal(ordinal), "place"))
            }
            None => Ok(()),
        }
    }

    /// The part of [`Rows::meta`] that says where the record stands, checked as there.
    pub(super) fn place(&self, blocks: &Blocks, ordinal: Ordinal) -> Result<RowPlace> {
        let narrow = |column: Column, what| {
            u32::try_from(column.value(blocks, ordinal.0)?).map_err(|_| self.bad(blocks, ordinal, what))
        };
        let (offset, len) = (narrow(self.offsets, "offset")?, narrow(self.lengths, "length")?);
        if offset.checked_add(len).is_none_or(|end| end > blocks.at()) {
            return Err(self.bad(blocks, ordinal, "place"));
        }
        let expires_ms = match self.expiries {
            None => None,
            Some(column) => match column.value(blocks, ordinal.0)?.checked_sub(1) {
                None => None,
                Some(number) => Some(back(number, self.updated.value(blocks, ordinal.0)?)),
            },
        };
        Ok(RowPlace { offset, len, expires_ms })
    }

    /// As [`Rows::place`], of rows that follow each other and lie in one block of the columns: much cheaper than one by one.
    pub(super) fn places<const N: usize>(
        &self,
        blocks: &Blocks,
        first: u32,
        places: &mut [RowPlace; N],
        rows: usize,
    ) -> Result<()> {
        let mut numbers = [0; N];
        let Some(numbers) = numbers.get_mut(..rows) else { return Ok(()) };
        let bad = |row, what| self.bad(blocks, Ordinal(row), what);
        self.offsets.values(blocks, first, numbers)?;
        for ((row, place), offset) in (first..).zip(&mut *places).zip(&*numbers) {
            place.offset = u32::try_from(*offset).map_err(|_| bad(row, "offset"))?;
        }
        self.lengths.values(blocks, first, numbers)?;
        for ((row, place), len) in (first..).zip(&mut *places).zip(&*numbers) {
            place.len = u32::try_from(*len).map_err(|_| bad(row, "length"))?;
            if place.offset.checked_add(place.len).is_none_or(|end| end > blocks.at()) {
                return Err(bad(row, "place"));
            }
        }
        let Some(expiries) = self.expiries else { return Ok(()) };
        expiries.values(blocks, first, numbers)?;
        for ((row, place), number) in (first..).zip(&mut *places).zip(&*numbers) {
            place.expires_ms = match number.checked_sub(1) {
                Some(number) => Some(back(number, self.updated.value(blocks, row)?)),
                None => None,
            };
        }
        Ok(())
    }

    #[inline]
    pub(super) fn seq(&self, blocks: &Blocks, ordinal: Ordinal) -> Result<Seq> {
        let number = self.numbers.value(blocks, ordinal.0)?;
        if (1..=SEQ_MAX).contains(&number) {
            Ok(Seq(number))
        } else {
            Err(self.bad(blocks, ordinal, "number"))
        }
    }

    pub(super) fn ordinal_of(&self, blocks: &Blocks, offset: u32) -> Result<Option<Ordinal>> {
        Ok(self.offsets.find(blocks, u64::from(offset))?.map(Ordinal))
    }

    #[cold]
    fn bad(&self, blocks: &Blocks, ordinal: Ordinal, what: &str) -> Error {
        let position = self.offsets.position(ordinal.0);
        blocks.corrupt(position, format!("the footer gives row {} a {what} that cannot be", ordinal.0))
    }

    fn blob_entry(blocks: &Blocks, section: Section, index: usize) -> Result<(Ordinal, BlobId)> {
        let entry: [u8; BLOB_ENTRY_BYTES] = blocks.array(section, index * BLOB_ENTRY_BYTES)?;
        let (ordinal, blob) = entry.split_at(4);
        let ordinal = ordinal.try_into().map(u32::from_le_bytes).unwrap_or_default();
        Ok((Ordinal(ordinal), BlobId(blob.try_into().unwrap_or_default())))
    }

    fn blob(&self, blocks: &Blocks, ordinal: Ordinal) -> Result<Option<BlobId>> {
        let Some(section) = self.blobs else {
            return Ok(None);
        };
        let (mut low, mut high) = (0, section.len / BLOB_ENTRY_BYTES);
        while low < high {
            let middle = low + (high - low) / 2;
            let (found, blob) = Self::blob_entry(blocks, section, middle)?;
            match found.cmp(&ordinal) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(Some(blob)),
            }
        }
        Ok(None)
    }

    /// Blob ids with their rows, which rise and which are below `rows`.
    pub(super) fn blobs(&self, blocks: &Blocks, rows: u32) -> Result<Vec<(Ordinal, BlobId)>> {
        let Some(section) = self.blobs else {
            return Ok(Vec::new());
        };
        let malformed = || blocks.corrupt(section.start, "the footer's list of blobs is malformed");
        if !section.len.is_multiple_of(BLOB_ENTRY_BYTES) {
            return Err(malformed());
        }
        let mut blobs = Vec::<(Ordinal, BlobId)>::new();
        for index in 0..section.len / BLOB_ENTRY_BYTES {
            let blob = Self::blob_entry(blocks, section, index)?;
            if blob.0.0 >= rows || blobs.last().is_some_and(|last| last.0 >= blob.0) {
                return Err(malformed());
            }
            blobs.push(blob);
        }
        Ok(blobs)
    }
}
