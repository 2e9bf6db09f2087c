//! Streams under test: values that are written piece by piece, and readers that are held while the store goes on.
//!
//! It promises that a reader answers as the value was when it was made, from any place and in any pieces. What is done to the store
//! meanwhile is the workload's.

use std::collections::VecDeque;
use std::io::{self, Read, Seek, SeekFrom};

use nadb_core::{
    Action, Durability, Error, ErrorKind, Operation, Outcome, Result, ValueReader, ValueWriter, WriteOptions,
};
use nadb_engine::Engine;

use crate::dice::Dice;
use crate::model::Record;
use crate::workload::{Op, Trouble};

/// Readers that are held at once, at most.
const OPEN_MAX: usize = 4;

/// A put whose value is written piece by piece.
#[derive(Debug, Clone)]
pub struct Stream {
    /// The put.
    pub op: Op,
    /// Bytes of a piece, above 0.
    pub piece: usize,
    /// Whether it is committed; otherwise it is dropped when all pieces are written.
    pub is_committed: bool,
    /// Its class.
    pub durability: Option<Durability>,
}

/// A value of which every piece is written, and that is not committed.
///
/// # Errors
/// What the store answers.
pub(crate) fn begin(
    engine: &Engine,
    operation: &Operation<'static>,
    stream: &Stream,
) -> Result<Box<dyn ValueWriter>> {
    let (mut operation, mut value) = (operation.clone(), Vec::new());
    if let Action::Put(put) = &mut operation.action {
        value = std::mem::take(&mut put.value).into_owned();
    }
    let options = WriteOptions::default().with_durability(stream.durability);
    let mut writer: Box<dyn ValueWriter> = Box::new(engine.writer(operation, &options)?);
    value.chunks(stream.piece.max(1)).try_for_each(|piece| writer.write(piece))?;
    Ok(writer)
}

/// Commits, and gives the outcome as a batch of one does.
///
/// # Errors
/// What the store answers.
pub(crate) fn commit(writer: Box<dyn ValueWriter>) -> Result<Vec<Outcome>> {
    Ok(vec![writer.commit()?])
}

/// Value and version of a key, read as a stream.
///
/// # Errors
/// What the store answers.
pub(crate) fn read_whole(engine: &Engine, name: &str, key: &[u8]) -> Result<Option<(Vec<u8>, u64)>> {
    let Some(mut reader) = engine.reader(name, key)? else { return Ok(None) };
    let mut value = Vec::new();
    reader.read_to_end(&mut value).map_err(store_error)?;
    Ok(Some((value, reader.metadata().version)))
}

/// What the store said, out of what a stream says.
#[must_use]
pub fn store_error(error: io::Error) -> Error {
    error.downcast::<Error>().unwrap_or_else(|other| Error::new(ErrorKind::Backend, other.to_string()))
}

/// A reader, what it must give, and where it stands.
#[derive(Debug)]
struct Held {
    reader: Box<dyn ValueReader>,
    record: Record,
    at: usize,
}

/// The readers that a workload holds.
#[derive(Debug, Default)]
pub struct Readers {
    open: VecDeque<Held>,
}

impl Readers {
    /// Opens a reader of a key whose record is `expected`; the oldest goes where there are too many.
    ///
    /// # Errors
    /// What the store answers; `Wrong` where the key is there and should not be, or the other way round.
    pub fn take(
        &mut self,
        engine: &Engine,
        name: &str,
        key: &[u8],
        expected: Option<&Record>,
    ) -> std::result::Result<(), Trouble> {
        let (reader, record) = match (engine.reader(name, key)?, expected) {
            (None, None) => return Ok(()),
            (Some(reader), Some(record)) => (Box::new(reader), record.clone()),
            (found, _) => {
                let found = found.map(|reader| reader.metadata().clone());
                let key = key.escape_ascii();
                return Err(Trouble::Wrong(format!(
                    "reader of {name}/{key}: expected {expected:?}, got {found:?}"
                )));
            }
        };
        while self.open.len() >= OPEN_MAX {
            self.open.pop_front();
        }
        self.open.push_back(Held { reader, record, at: 0 });
        Ok(())
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Lets go of one of them.
    pub fn release(&mut self, which: u64) {
        if let Some(at) = which.checked_rem(self.open.len() as u64) {
            self.open.remove(usize::try_from(at).unwrap_or_default());
        }
    }

    /// Lets go of all.
    pub fn clear(&mut self) {
        self.open.clear();
    }

    /// Reads parts of each, which the seed chooses, and compares them. One that fails goes.
    ///
    /// # Errors
    /// `Wrong` with the first difference, `Store` with what the store answered.
    pub fn compare(&mut self, seed: u64) -> std::result::Result<(), Trouble> {
        let mut random = Dice::new(seed);
        for (at, held) in self.open.iter_mut().enumerate() {
            if let Err(trouble) = held.compare(&mut random) {
                self.open.remove(at);
                return Err(trouble);
            }
        }
        Ok(())
    }
}

impl Held {
    fn compare(&mut self, random: &mut Dice) -> std::result::Result<(), Trouble> {
        let (metadata, len) = (self.reader.metadata(), self.record.value.len());
        if (Some(metadata.version), metadata.size) != (self.record.version, len as u64) {
            return Err(Trouble::Wrong(format!(
                "a reader has {metadata:?}, expected that of {:?}",
                self.record
            )));
        }
        let whole = (0, len);
        for (from, len) in [self.part(random), self.part(random), whole, self.part(random)] {
            self.seek(from, random)?;
            let mut read = vec![0; len];
            self.reader.read_exact(&mut read).map_err(store_error)?;
            self.at = from + len;
            if self.record.value.get(from..self.at) != Some(&read[..]) {
                return Err(Trouble::Wrong(format!(
                    "a reader of version {:?} gives other bytes at {from}, of {len}",
                    self.record.version
                )));
            }
        }
        Ok(())
    }

    /// Where to read, and how much.
    fn part(&self, random: &mut Dice) -> (usize, usize) {
        let below = |random: &mut Dice, limit: usize| {
            usize::try_from(random.below(limit as u64 + 1)).unwrap_or_default()
        };
        let from = below(random, self.record.value.len());
        (from, below(random, self.record.value.len() - from))
    }

    fn seek(&mut self, to: usize, random: &mut Dice) -> std::result::Result<(), Trouble> {
        let distance = |from: usize| to as i64 - from as i64;
        let seek = match random.below(3) {
            0 => SeekFrom::Start(to as u64),
            1 => SeekFrom::Current(distance(self.at)),
            _ => SeekFrom::End(distance(self.record.value.len())),
        };
        let reached = self.reader.seek(seek).map_err(store_error)?;
        match reached == to as u64 {
            true => Ok(()),
            false => Err(Trouble::Wrong(format!("{seek:?} of a reader reaches {reached}, expected {to}"))),
        }
    }
}
