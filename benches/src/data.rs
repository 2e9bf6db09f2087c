//! Keys and values: keys of 21 bytes in scrambled order, values of 128 bytes of which about half compresses.

use std::ops::Range;

/// Bytes of a key.
pub const KEY_BYTES: usize = 21;
/// Bytes of a value.
pub const VALUE_BYTES: usize = 128;

/// A key.
pub type Key = [u8; KEY_BYTES];

const KEY_PREFIX: &[u8; 5] = b"user:";
const FILLER: &[u8] = b"the log is the database; ";

/// Bits that look random: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence that `seed` begins.
    #[must_use]
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        scrambled(self.0)
    }

    /// A number below `bound`, or 0 where that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(bound);
        u64::try_from(wide >> 64).unwrap_or_default()
    }
}

/// The finalizer of SplitMix64. It is a bijection: different numbers stay different.
fn scrambled(number: u64) -> u64 {
    let mixed = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    mixed ^ (mixed >> 31)
}

/// Key `number` under `seed`: consecutive numbers lie far apart in key order, and no two are equal.
#[must_use]
pub fn key(number: u64, seed: u64) -> Key {
    let mut key = [0; KEY_BYTES];
    let (prefix, digits) = key.split_at_mut(KEY_PREFIX.len());
    prefix.copy_from_slice(KEY_PREFIX);
    hex(scrambled(number ^ scrambled(seed)), digits);
    key
}

/// The keys of `numbers`.
#[must_use]
pub fn keys(numbers: Range<u64>, seed: u64) -> Vec<Key> {
    numbers.map(|number| key(number, seed)).collect()
}

/// Writes `bits` as hexadecimal digits, the last four bits last; there are no more digits than fit.
fn hex(bits: u64, digits: &mut [u8]) {
    for (place, digit) in digits.iter_mut().rev().enumerate() {
        let nibble = bits.checked_shr(4 * u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0) & 0xF;
        *digit = b"0123456789abcdef"[usize::try_from(nibble).unwrap_or(0)];
    }
}

/// A pool of values, so that making them costs nothing while something is timed.
#[derive(Debug)]
pub struct Values(Vec<[u8; VALUE_BYTES]>);

impl Values {
    /// A pool that `seed` determines.
    #[must_use]
    pub fn new(seed: u64) -> Values {
        let mut random = Random::new(seed ^ 0x7661_6C75_6573);
        Values((0..1024).map(|_| value(&mut random)).collect())
    }

    /// The value of key `number`.
    #[must_use]
    pub fn of(&self, number: usize) -> &[u8; VALUE_BYTES] {
        &self.0[number % self.0.len()]
    }
}

/// Half digits without order, half the same words.
fn value(random: &mut Random) -> [u8; VALUE_BYTES] {
    let mut value = [0; VALUE_BYTES];
    let (noise, words) = value.split_at_mut(VALUE_BYTES / 2);
    noise.chunks_mut(16).for_each(|digits| hex(random.bits(), digits));
    words.iter_mut().zip(FILLER.iter().cycle()).for_each(|(to, from)| *to = *from);
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_are_different_scrambled_and_the_same_in_every_run() {
        let numbered = keys(0..1000, 1);
        assert_eq!(numbered.iter().collect::<BTreeSet<_>>().len(), 1000);
        assert!(!numbered.is_sorted());
        assert_eq!(numbered, keys(0..1000, 1));
        assert_ne!(numbered, keys(0..1000, 2));
        assert!(numbered.iter().all(|key| key.starts_with(KEY_PREFIX) && key.is_ascii()));
    }

    #[test]
    fn values_are_half_words_and_the_same_in_every_run() {
        let values = Values::new(1);
        assert_eq!(values.of(3), Values::new(1).of(3));
        assert_ne!(values.of(3), values.of(4));
        assert!(values.of(3).ends_with(&FILLER[..14]));
    }

    #[test]
    fn random_numbers_stay_below_their_bound() {
        let mut random = Random::new(7);
        let drawn: BTreeSet<u64> = (0..1000).map(|_| random.below(10)).collect();
        assert_eq!(drawn, (0..10).collect());
        assert_eq!(random.below(0), 0);
    }
}
