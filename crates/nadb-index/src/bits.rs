//! Bits by ordinal that grow without moving: levels, each twice as large as the one before, so that reading takes no lock.
//!
//! It promises that a bit that was never set is clear, at any ordinal, and that who sees a bit changed sees all that the
//! thread did before it changed it. Memory follows the highest ordinal that was ever set. What a bit means it leaves to others.

use std::sync::OnceLock;

use nadb_core::Ordinal;

use crate::load::Reader;
use crate::sync::{AtomicU64, IS_MODEL, Ordering};

const WORD_BITS: u32 = u64::BITS;
/// Words of the first level: half a KiB.
const FIRST_WORDS: u32 = if IS_MODEL { 1 } else { 64 };
/// As many as reach the largest ordinal.
const LEVELS: usize = ((u32::MAX / WORD_BITS / FIRST_WORDS + 1).ilog2() + 1) as usize;

/// One bit for every ordinal.
#[derive(Default)]
pub(crate) struct Bits {
    levels: [OnceLock<Box<[AtomicU64]>>; LEVELS],
}

/// Where the bit of an ordinal is: level, word in it, mask.
fn place(ordinal: Ordinal) -> (usize, usize, u64) {
    let word = ordinal.0 / WORD_BITS;
    let level = (word / FIRST_WORDS + 1).ilog2();
    (level as usize, (word - first_word(level)) as usize, 1 << (ordinal.0 % WORD_BITS))
}

/// The number of a level's first word.
fn first_word(level: u32) -> u32 {
    FIRST_WORDS * ((1 << level) - 1)
}

fn zeros(level: usize) -> Box<[AtomicU64]> {
    (0..(FIRST_WORDS as usize) << level).map(|_| AtomicU64::new(0)).collect()
}

impl Bits {
    fn word(&self, ordinal: Ordinal) -> Option<(&AtomicU64, u64)> {
        let (level, word, mask) = place(ordinal);
        Some((self.levels.get(level)?.get()?.get(word)?, mask))
    }

    pub(crate) fn get(&self, ordinal: Ordinal) -> bool {
        self.word(ordinal).is_some_and(|(word, mask)| word.load(Ordering::Acquire) & mask != 0)
    }

    /// Sets a bit and says whether it was clear.
    pub(crate) fn set(&self, ordinal: Ordinal) -> bool {
        let (level, word, mask) = place(ordinal);
        let words = self.levels.get(level).map(|words| words.get_or_init(|| zeros(level)));
        let word = words.and_then(|words| words.get(word));
        // Other bits of the word change at the same time: every change is a read-modify-write, so that a reader of the
        // last one still synchronizes with the ones before it.
        word.is_some_and(|word| word.fetch_or(mask, Ordering::Release) & mask == 0)
    }

    /// Sets the bits of `words`, of which the first is that of ordinals 0 to 63, and says how many were clear.
    pub(crate) fn set_words(&self, words: &[u64]) -> u64 {
        let mut count = 0;
        for (number, word) in (0u32..).zip(words).filter(|(_, word)| **word != 0) {
            let (level, at, _) = place(Ordinal(number * WORD_BITS));
            let to = self.levels.get(level).map(|words| words.get_or_init(|| zeros(level)));
            if let Some(to) = to.and_then(|words| words.get(at)) {
                count += u64::from((word & !to.fetch_or(*word, Ordering::Release)).count_ones());
            }
        }
        count
    }

    /// Clears a bit and says whether it was set.
    pub(crate) fn clear(&self, ordinal: Ordinal) -> bool {
        self.word(ordinal).is_some_and(|(word, mask)| word.fetch_and(!mask, Ordering::Release) & mask != 0)
    }

    /// The words of the levels that were made, with their numbers, rising; each is looked at once.
    fn words(&self) -> impl Iterator<Item = (u32, u64)> {
        let levels = (0u32..).zip(&self.levels);
        levels.flat_map(|(level, words)| {
            let words = words.get().into_iter().flat_map(|words| words.iter());
            (first_word(level)..).zip(words.map(|word| word.load(Ordering::Acquire)))
        })
    }

    /// The ordinals whose bits are set, rising; each word is looked at once.
    pub(crate) fn ones(&self) -> impl Iterator<Item = Ordinal> {
        self.words().flat_map(|(number, mut left)| {
            std::iter::from_fn(move || {
                let bit = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                Some(Ordinal(number * WORD_BITS + bit))
            })
        })
    }

    /// Appends the number of words up to the last one with a bit (4 bytes), and the words.
    pub(crate) fn save(&self, out: &mut Vec<u8>) {
        let start = out.len() + 4;
        out.resize(start, 0);
        for (number, word) in self.words().filter(|(_, word)| *word != 0) {
            // Levels that were never made are all zeros.
            out.resize(start + number as usize * 8, 0);
            out.extend_from_slice(&word.to_le_bytes());
        }
        let words = u32::try_from((out.len() - start) / 8).unwrap_or(u32::MAX);
        if let Some(count) = out.get_mut(start - 4..start) {
            count.copy_from_slice(&words.to_le_bytes());
        }
    }

    /// Reads what [`Bits::save`] has written, and counts the bits; `None` where a bit stands at `end` or above.
    pub(crate) fn load(reader: &mut Reader<'_>, end: u32) -> Option<(Bits, u64)> {
        let words = reader.u32()?;
        if words > end.div_ceil(WORD_BITS) {
            return None;
        }
        let (words, _) = reader.take(words as usize * 8)?.as_chunks::<8>();
        let bits = Bits::default();
        let mut count = 0;
        for (number, bytes) in (0u32..).zip(words) {
            let word = u64::from_le_bytes(*bytes);
            if word == 0 {
                continue;
            }
            let highest = u64::from(number) * u64::from(WORD_BITS) + u64::from(word.ilog2());
            if highest >= u64::from(end) {
                return None;
            }
            let (level, at, _) = place(Ordinal(number * WORD_BITS));
            let to = bits.levels.get(level)?.get_or_init(|| zeros(level)).get(at)?;
            to.fetch_or(word, Ordering::Release);
            count += u64::from(word.count_ones());
        }
        Some((bits, count))
    }

    /// Bytes of RAM behind it.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.levels.iter().filter_map(OnceLock::get).map(|words| size_of_val::<[AtomicU64]>(words)).sum()
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_ordinal_has_a_bit_of_its_own_in_a_level_that_is_large_enough() {
        let first = FIRST_WORDS * WORD_BITS;
        for ordinal in [0, 1, 63, 64, first - 1, first, first * 3 - 1, first * 3, u32::MAX - 1, u32::MAX] {
            let (level, word, mask) = place(Ordinal(ordinal));
            assert!(level < LEVELS && word < (FIRST_WORDS as usize) << level, "{ordinal}");
            let first = first_word(u32::try_from(level).unwrap());
            let back = (first + u32::try_from(word).unwrap()) * WORD_BITS + mask.trailing_zeros();
            assert_eq!(back, ordinal);
        }
    }

    #[test]
    fn what_was_never_set_is_clear_and_takes_no_memory() {
        let bits = Bits::default();
        assert!(!bits.get(Ordinal(u32::MAX)) && !bits.clear(Ordinal(7)));
        assert_eq!((bits.memory_bytes(), bits.ones().count()), (0, 0));
        assert!(bits.set(Ordinal(5000)) && !bits.set(Ordinal(5000)));
        assert_eq!(bits.memory_bytes(), 1024);
        assert!(bits.clear(Ordinal(5000)) && !bits.clear(Ordinal(5000)));
    }

    fn load(bytes: &[u8], end: u32) -> Option<(Bits, u64)> {
        let mut reader = Reader::new(bytes);
        Bits::load(&mut reader, end).filter(|_| reader.is_at_end())
    }

    #[test]
    fn saved_bits_load_again_below_their_end_only() {
        for ordinals in [&[][..], &[0], &[63, 64], &[4095, 4096, 70_000], &[9_000_000]] {
            let bits = Bits::default();
            ordinals.iter().for_each(|n| assert!(bits.set(Ordinal(*n))));
            let mut bytes = Vec::new();
            bits.save(&mut bytes);
            let end = ordinals.last().map_or(0, |last| last + 1);
            assert_eq!(bytes.len(), 4 + end.div_ceil(64) as usize * 8);
            let (loaded, count) = load(&bytes, end).unwrap();
            assert_eq!(count, ordinals.len() as u64);
            assert_eq!(loaded.ones().map(|n| n.0).collect::<Vec<_>>(), ordinals);
            assert!(end == 0 || load(&bytes, end - 1).is_none());
            for cut in 0..bytes.len() {
                assert!(load(&bytes[..cut], end).is_none());
            }
        }
        // Words that are not there.
        assert!(load(&u32::MAX.to_le_bytes(), u32::MAX).is_none());
    }

    #[test]
    fn ones_are_given_in_order_across_levels() {
        let bits = Bits::default();
        let ordinals = [70_000, 0, 4095, 4096, 12_288, 63, 64].map(Ordinal);
        ordinals.iter().for_each(|ordinal| assert!(bits.set(*ordinal)));
        let mut sorted = ordinals;
        sorted.sort_unstable();
        assert_eq!(bits.ones().collect::<Vec<_>>(), sorted);
    }
}
