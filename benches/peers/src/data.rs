//! The rows: keys as in the project's other benchmarks, values that carry their key so that every answer can be checked.

use anyhow::{Result, ensure};
use nadb_benches::{KEY_BYTES, Key, Random, key};

/// The seed of everything.
pub(crate) const SEED: u64 = 0x6E61_6462;

/// Bytes of a large value.
pub(crate) const LARGE_BYTES: usize = 64 << 10;

/// The digits of a key that its value begins with.
fn stamp(key: &Key) -> &[u8] {
    &key[5..]
}

/// Values of one size, of which half compresses; for large ones all is noise.
pub(crate) struct Values {
    pool: Vec<Vec<u8>>,
}

impl Values {
    pub(crate) fn small() -> Values {
        let pool = nadb_benches::Values::new(SEED);
        Values { pool: (0..1024).map(|n| pool.of(n).to_vec()).collect() }
    }

    pub(crate) fn large() -> Values {
        let mut random = Random::new(SEED);
        let mut noise = || (0..LARGE_BYTES / 8).flat_map(|_| random.bits().to_le_bytes()).collect();
        Values { pool: (0..64).map(|_| noise()).collect() }
    }

    /// Bytes of a value.
    pub(crate) fn bytes(&self) -> usize {
        self.pool[0].len()
    }

    /// Bytes of a key with its value.
    pub(crate) fn row_bytes(&self) -> usize {
        KEY_BYTES + self.bytes()
    }

    /// Puts the value that `version` has of a key into `buffer`.
    pub(crate) fn fill(&self, buffer: &mut Vec<u8>, key: &Key, version: usize) {
        buffer.clear();
        buffer.extend_from_slice(&self.pool[version % self.pool.len()]);
        buffer[..stamp(key).len()].copy_from_slice(stamp(key));
    }

    /// The value that `version` has of a key.
    pub(crate) fn value(&self, key: &Key, version: usize) -> Vec<u8> {
        let mut value = Vec::new();
        self.fill(&mut value, key, version);
        value
    }

    /// Whether this is a value of the key, whatever its version: cheap enough for every read.
    pub(crate) fn is_of(&self, key: &[u8], value: &[u8]) -> bool {
        value.len() == self.bytes() && key.get(5..).is_some_and(|stamp| value.starts_with(stamp))
    }

    /// Whether all bytes are those of one version of the key.
    pub(crate) fn check(&self, key: &Key, value: &[u8]) -> Result<()> {
        ensure!(self.is_of(key, value), "a value of another key, or of {} bytes", value.len());
        let rest = &value[stamp(key).len()..];
        let known = self.pool.iter().any(|pooled| &pooled[stamp(key).len()..] == rest);
        ensure!(known, "a value that was never written");
        Ok(())
    }
}

/// Numbers below `of`, drawn evenly.
pub(crate) fn uniform(count: usize, of: u64, seed: u64) -> Vec<u64> {
    let mut random = Random::new(seed);
    (0..count).map(|_| random.below(of)).collect()
}

/// Numbers below `of` with the skew of YCSB: Zipf's law with exponent 0.99, the frequent ones scattered over the keys (Gray et al.,
/// Quickly Generating Billion-Record Synthetic Databases, 1994, section 3.2; Cooper et al., YCSB, 2010).
pub(crate) fn zipf(count: usize, of: u64, seed: u64) -> Vec<u64> {
    const THETA: f64 = 0.99;
    let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-THETA)).sum::<f64>();
    let zeta_of = zeta(of);
    let alpha = 1.0 / (1.0 - THETA);
    let eta = (1.0 - (2.0 / of as f64).powf(1.0 - THETA)) / (1.0 - zeta(2) / zeta_of);
    let mut random = Random::new(seed);
    let mut draw = || {
        let u = (random.bits() >> 11) as f64 / (1u64 << 53) as f64;
        let scaled = u * zeta_of;
        if scaled < 1.0 {
            0
        } else if scaled < 1.0 + 0.5f64.powf(THETA) {
            1
        } else {
            ((of as f64) * (eta * u - eta + 1.0).powf(alpha)) as u64
        }
    };
    (0..count).map(|_| Random::new(draw().min(of - 1)).bits() % of).collect()
}

/// The key of a number.
pub(crate) fn key_of(number: u64) -> Key {
    key(number, SEED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn zipf_is_skewed_and_in_range() {
        let drawn = zipf(100_000, 10_000, 1);
        let mut counts: HashMap<u64, usize> = HashMap::new();
        drawn.iter().for_each(|n| *counts.entry(*n).or_default() += 1);
        assert!(drawn.iter().all(|n| *n < 10_000));
        let most = counts.values().max().copied().unwrap_or_default();
        assert!((5_000..20_000).contains(&most), "{most}");
        assert!(counts.len() > 3_000, "{}", counts.len());
    }

    #[test]
    fn a_value_is_known_by_its_key() {
        let values = Values::small();
        let (key, other) = (key_of(1), key_of(2));
        let value = values.value(&key, 7);
        assert!(values.is_of(&key, &value) && !values.is_of(&other, &value));
        assert!(values.check(&key, &value).is_ok());
        let mut wrong = value.clone();
        wrong[100] ^= 1;
        assert!(values.check(&key, &wrong).is_err());
    }
}
