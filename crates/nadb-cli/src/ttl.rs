//! Durations as they are written on the command line and in batches: `500ms`, `90s`, `10m`, `2h`, `7d`.

use std::time::Duration;

/// Reads a whole number with a unit.
///
/// # Errors
/// A sentence that says what is expected.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.len() - text.trim_start_matches(|char: char| char.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected(text)),
    };
    let number: u64 = number.parse().map_err(|_| expected(text))?;
    let ms = number.checked_mul(unit_ms).ok_or_else(|| format!("ttl {text:?} is too long"))?;
    Ok(Duration::from_millis(ms))
}

fn expected(text: &str) -> String {
    format!("ttl {text:?} is not a whole number with a unit, such as 500ms, 90s, 10m, 2h or 7d")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units() {
        let ms = |text| parse(text).map(|ttl| ttl.as_millis());
        assert_eq!(ms("500ms"), Ok(500));
        assert_eq!(ms("90s"), Ok(90_000));
        assert_eq!(ms("10m"), Ok(600_000));
        assert_eq!(ms("2h"), Ok(7_200_000));
        assert_eq!(ms("7d"), Ok(604_800_000));
        assert_eq!(ms("0s"), Ok(0)); // the store refuses it, with its own words
        for bad in [
            "",
            "s",
            "10",
            "1.5h",
            "-1s",
            "+1s",
            " 1s",
            "1 s",
            "1w",
            "1H",
            "18446744073709551616s",
            "18446744073709551615d",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
