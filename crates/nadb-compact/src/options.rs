//! What a store may say of its compaction, and within which bounds.

use nadb_core::{Error, Result};

/// Settings of the [`Policy`](crate::Policy); see docs/compaction.md for what they cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PolicyOptions {
    /// The share of all bytes that rewriting may still free when the compactor rests, 0.02 to 0.9. Default: 0.2.
    pub dead_share: f64,
    /// How many times the bytes that live records need the files may take before the compactor works although the store is
    /// busy, 1.1 up to `lag_max`. Default: 2.
    pub lag: f64,
    /// How many times the bytes that live records need the files should never exceed: from there on nothing is waited for,
    /// and writers are slowed. 1.2 to 100. Default: 3.
    pub lag_max: f64,
    /// The least that a compacted segment is meant to have, in bytes, from 4 KiB; default: 64 MiB.
    pub output_bytes_min: u64,
    /// The most that a compacted segment is meant to have, in bytes, up to 2 GiB, which is the default.
    pub output_bytes_max: u64,
    /// The most that one compaction copies, in bytes, unless one segment has more. Default: 256 MiB.
    pub copied_bytes_max: u64,
    /// What one compaction must free to be worth its files and syncs, in bytes; default: 64 KiB.
    pub gain_bytes_min: u64,
}

impl Default for PolicyOptions {
    fn default() -> PolicyOptions {
        PolicyOptions {
            dead_share: 0.2,
            lag: 2.0,
            lag_max: 3.0,
            output_bytes_min: 64 << 20,
            output_bytes_max: 2 << 30,
            copied_bytes_max: 256 << 20,
            gain_bytes_min: 64 << 10,
        }
    }
}

impl PolicyOptions {
    /// Checks every setting.
    ///
    /// # Errors
    /// `InvalidInput` names the setting, its value and its bounds.
    pub(crate) fn check(&self) -> Result<()> {
        check_number("dead_share", self.dead_share, 0.02, 0.9)?;
        check_number("lag_max", self.lag_max, 1.2, 100.0)?;
        check_number("lag", self.lag, 1.1, self.lag_max)?;
        check_bytes("output_bytes_max", self.output_bytes_max, 4 << 10, 2 << 30)?;
        check_bytes("output_bytes_min", self.output_bytes_min, 4 << 10, self.output_bytes_max)?;
        check_bytes("copied_bytes_max", self.copied_bytes_max, 4 << 10, u64::MAX)
    }
}

fn check_number(name: &str, value: f64, min: f64, max: f64) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is {value}; it must be from {min} to {max}")))
}

fn check_bytes(name: &str, value: u64, min: u64, max: u64) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{name} is {value} bytes; it must be from {min} to {max}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_allowed() {
        PolicyOptions::default().check().unwrap();
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let good = PolicyOptions::default();
        let cases = [
            ("dead_share", PolicyOptions { dead_share: 0.0, ..good }),
            ("dead_share", PolicyOptions { dead_share: f64::NAN, ..good }),
            ("lag", PolicyOptions { lag: 3.5, ..good }),
            ("lag_max", PolicyOptions { lag_max: f64::INFINITY, ..good }),
            ("output_bytes_max", PolicyOptions { output_bytes_max: 1 << 32, ..good }),
            ("output_bytes_min", PolicyOptions { output_bytes_min: 3 << 30, ..good }),
            ("copied_bytes_max", PolicyOptions { copied_bytes_max: 0, ..good }),
        ];
        for (name, options) in cases {
            let error = options.check().unwrap_err().to_string();
            assert!(error.starts_with(name), "{error}");
        }
    }
}
