//! Merge operators: a new value made from the current one and an operand, in one atomic step.

use std::fmt::Debug;
use std::sync::Arc;

use crate::{Error, Result};

/// How a merge makes the new value.
///
/// A backend calls it while it holds the key, so between reading and writing nobody else changes the value. It must not
/// call the store.
///
/// ```
/// use nadb_core::{MergeOperator, Result};
/// #[derive(Debug)]
/// struct Longest;
/// impl MergeOperator for Longest {
///     fn merge(&self, _key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
///         Ok(current.filter(|c| c.len() >= operand.len()).unwrap_or(operand).to_vec())
///     }
/// }
/// assert_eq!(Longest.merge(b"k", Some(b"abc"), b"x")?, b"abc");
/// # Ok::<(), nadb_core::Error>(())
/// ```
pub trait MergeOperator: Debug + Send + Sync + 'static {
    /// The new value of `key`; `current` is `None` when the key is absent or expired.
    ///
    /// # Errors
    /// Any error fails the write (and the batch that it is in); nothing is written.
    fn merge(&self, key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>>;

    /// Which of NADB's own operators it is. A backend whose server merges does what this says and calls nothing here, so
    /// leave it at `Custom` for an operator of your own.
    fn kind(&self) -> MergeKind {
        MergeKind::Custom
    }
}

/// NADB's own merge operators, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum MergeKind {
    /// None of them: a user's own.
    Custom,
    /// [`Add`].
    Add,
    /// [`Append`].
    Append,
    /// [`Min`].
    Min,
    /// [`Max`].
    Max,
}

impl<M: MergeOperator + ?Sized> MergeOperator for Arc<M> {
    fn merge(&self, key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
        (**self).merge(key, current, operand)
    }

    fn kind(&self) -> MergeKind {
        (**self).kind()
    }
}

/// Adds the operand to a counter: both are canonical decimal `i64`s, a missing counter counts as 0.
#[derive(Debug, Clone, Copy, Default)]
pub struct Add;

/// Puts the operand's bytes behind the current value.
#[derive(Debug, Clone, Copy, Default)]
pub struct Append;

/// Keeps the smaller of two canonical decimal `i64`s; a missing value gives way to the operand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Min;

/// Keeps the larger of two canonical decimal `i64`s; a missing value gives way to the operand.
#[derive(Debug, Clone, Copy, Default)]
pub struct Max;

impl MergeOperator for Add {
    fn merge(&self, key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
        let now = current.map_or(Ok(0), |current| parse_counter(key, current))?;
        let by = parse_counter(key, operand)?;
        let sum = now.checked_add(by).ok_or_else(|| {
            Error::limit(format!(
                "counter {} is {now}; adding {by} leaves the range of a 64-bit integer",
                show(key)
            ))
        })?;
        Ok(sum.to_string().into_bytes())
    }

    fn kind(&self) -> MergeKind {
        MergeKind::Add
    }
}

impl MergeOperator for Append {
    fn merge(&self, _key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
        Ok([current.unwrap_or_default(), operand].concat())
    }

    fn kind(&self) -> MergeKind {
        MergeKind::Append
    }
}

impl MergeOperator for Min {
    fn merge(&self, key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
        choose(key, current, operand, i64::min)
    }

    fn kind(&self) -> MergeKind {
        MergeKind::Min
    }
}

impl MergeOperator for Max {
    fn merge(&self, key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
        choose(key, current, operand, i64::max)
    }

    fn kind(&self) -> MergeKind {
        MergeKind::Max
    }
}

fn choose(key: &[u8], current: Option<&[u8]>, operand: &[u8], pick: fn(i64, i64) -> i64) -> Result<Vec<u8>> {
    let operand = parse_counter(key, operand)?;
    let kept = current.map_or(Ok(operand), |current| Ok(pick(parse_counter(key, current)?, operand)))?;
    Ok(kept.to_string().into_bytes())
}

/// Reads a canonical decimal `i64`: no plus sign, no leading zeros, no spaces, no `-0`.
///
/// # Errors
/// `InvalidInput` for anything else.
pub fn parse_counter(key: &[u8], bytes: &[u8]) -> Result<i64> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse::<i64>().ok().filter(|number| number.to_string() == text))
        .ok_or_else(|| {
            let shown = show(bytes.get(..32).unwrap_or(bytes));
            Error::invalid(format!(
                "counter {} holds {shown}, which is no decimal 64-bit integer; set it to one first",
                show(key)
            ))
        })
}

fn show(bytes: &[u8]) -> String {
    format!("\"{}\"", bytes.get(..64).unwrap_or(bytes).escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_canonical_and_bounded() {
        let add = |current: Option<&str>, by: &str| {
            Add.merge(b"k", current.map(str::as_bytes), by.as_bytes()).map(|v| String::from_utf8(v).unwrap())
        };
        assert_eq!(add(None, "5").unwrap(), "5");
        assert_eq!(add(Some("-7"), "5").unwrap(), "-2");
        assert_eq!(add(Some("9223372036854775806"), "1").unwrap(), i64::MAX.to_string());
        assert!(add(Some("9223372036854775807"), "1").unwrap_err().to_string().contains("64-bit"));
        for bad in ["", "+1", "01", " 1", "1 ", "-0", "1.0", "x", "9223372036854775808"] {
            assert!(add(Some(bad), "1").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn min_max_append() {
        assert_eq!(Min.merge(b"k", Some(b"3"), b"-4").unwrap(), b"-4");
        assert_eq!(Max.merge(b"k", Some(b"3"), b"-4").unwrap(), b"3");
        assert_eq!(Max.merge(b"k", None, b"-4").unwrap(), b"-4");
        assert_eq!(Append.merge(b"k", Some(b"ab"), b"c").unwrap(), b"abc");
    }
}
