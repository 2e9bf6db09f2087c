//! Sizes and lengths of time: whole numbers with units.

use super::reader::Reader;
use crate::{Error, Result};

/// A number of bytes: `500`, `64k`, `1M` (of 1,000), `64Ki`, `1Mi` (of 1,024).
pub(super) fn size(reader: &mut Reader<'_>) -> Result<u64> {
    let what = "a size such as 500, 64k, 1M, 64Ki or 1Mi";
    number(reader, what, |unit| match unit.to_ascii_lowercase().as_str() {
        "" => Some(1),
        "k" => Some(1_000),
        "m" => Some(1_000_000),
        "g" => Some(1_000_000_000),
        "ki" => Some(1 << 10),
        "mi" => Some(1 << 20),
        "gi" => Some(1 << 30),
        _ => None,
    })
}

/// Milliseconds: `500ms`, `90s`, `10m`, `2h`, `7d`.
pub(super) fn duration(reader: &mut Reader<'_>) -> Result<u64> {
    number(reader, "a length of time such as 500ms, 90s, 10m, 2h or 7d", |unit| match unit {
        "ms" => Some(1),
        "s" => Some(1_000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "d" => Some(86_400_000),
        _ => None,
    })
}

fn number(reader: &mut Reader<'_>, what: &str, unit: impl Fn(&str) -> Option<u64>) -> Result<u64> {
    let at = reader.at();
    let digits = reader.take_while(|char| char.is_ascii_digit());
    let Some(factor) = unit(reader.word()).filter(|_| !digits.is_empty()) else {
        return Err(reader.expected_at(at, what));
    };
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    number.ok_or_else(|| reader.placed(at, Error::invalid("the number is too large")))
}
