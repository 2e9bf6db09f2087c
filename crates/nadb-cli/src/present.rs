//! Records, moments and sizes as people and programs read them.

use std::time::Duration;

use nadb::Metadata;
use serde_json::{Map, Value};

use crate::escape::escape;
use crate::fields::Fields;

/// The metadata of a record as fields of JSON: times in Unix milliseconds.
pub(crate) fn metadata_json(fields: Fields, metadata: &Metadata) -> Fields {
    let attrs: Map<String, Value> =
        metadata.attrs.iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
    fields
        .with("version", metadata.version)
        .with("size", metadata.size)
        .with("stored_size", metadata.stored_size)
        .with("content_type", metadata.content_type.clone())
        .with("tags", metadata.tags.iter().collect::<Vec<_>>())
        .with("attrs", attrs)
        .with("created_ms", metadata.created_ms)
        .with("updated_ms", metadata.updated_ms)
        .with("expires_ms", metadata.expires_ms)
        .with("accessed_ms", metadata.accessed_ms)
}

/// The metadata of a record as a table for people: times in UTC.
pub(crate) fn metadata_text(key: &[u8], metadata: &Metadata) -> String {
    let shown = |text: &str| escape(text.as_bytes());
    let tags: Vec<String> = metadata.tags.iter().map(shown).collect();
    let attrs: Vec<String> =
        metadata.attrs.iter().map(|(name, value)| format!("{}={}", shown(name), shown(value))).collect();
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    Fields::default()
        .with("key", escape(key))
        .with("version", metadata.version)
        .with("size", metadata.size)
        .with("stored_size", metadata.stored_size)
        .with("content_type", metadata.content_type.as_deref().map(shown))
        .with("tags", or_dash(tags.join(", ")))
        .with("attrs", or_dash(attrs.join(", ")))
        .with("created", utc(metadata.created_ms))
        .with("updated", utc(metadata.updated_ms))
        .with("expires", metadata.expires_ms.map_or("never".to_owned(), utc))
        .with("accessed", metadata.accessed_ms.map_or("-".to_owned(), utc))
        .to_table()
}

/// The metadata of a record as columns behind its key, each with a tab before it: version, size, created, updated, expires, tags.
pub(crate) fn metadata_columns(metadata: &Metadata) -> String {
    let tags: Vec<String> = metadata.tags.iter().map(|tag| escape(tag.as_bytes())).collect();
    let expires = metadata.expires_ms.map_or("never".to_owned(), utc);
    let tags = if tags.is_empty() { "-".to_owned() } else { tags.join(",") };
    let (created, updated) = (utc(metadata.created_ms), utc(metadata.updated_ms));
    format!("\t{}\t{}\t{created}\t{updated}\t{expires}\t{tags}", metadata.version, metadata.size)
}

/// A size with a unit of 1024.
#[expect(clippy::cast_precision_loss, reason = "three digits for people to read")]
pub(crate) fn size(bytes: u64) -> String {
    let units = [("GiB", 1_u64 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, unit)| bytes >= *unit) {
        Some((name, unit)) => format!("{:.1} {name}", bytes as f64 / *unit as f64),
        None => format!("{bytes} B"),
    }
}

/// A time in the largest unit that leaves a number above one.
pub(crate) fn time(time: Duration) -> String {
    let nanos = time.as_nanos();
    let units = [("s", 1_000_000_000), ("ms", 1_000_000), ("\u{b5}s", 1_000)];
    match units.iter().find(|(_, unit)| nanos >= *unit) {
        Some((name, unit)) => format!("{}.{} {name}", nanos / unit, nanos % unit * 10 / unit),
        None => format!("{nanos} ns"),
    }
}

/// `one` thing, or several `many`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Unix milliseconds as `2026-01-31T23:59:59.999Z`. The date is Howard Hinnant's `civil_from_days`
/// ("chrono-Compatible Low-Level Date Algorithms").
fn utc(ms: u64) -> String {
    let (days, ms_of_day) = (ms / 86_400_000, ms % 86_400_000);
    let shifted = days + 719_468; // days since 0000-03-01
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153; // March is 0
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (seconds, ms) = (ms_of_day / 1000, ms_of_day % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_in_utc() {
        assert_eq!(utc(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(utc(951_782_399_999), "2000-02-28T23:59:59.999Z");
        assert_eq!(utc(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(utc(1_709_164_800_000), "2024-02-29T00:00:00.000Z");
        assert_eq!(utc(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
        assert_eq!(utc(nadb::limits::EXPIRY_MS_MAX), "9999-12-31T23:59:59.999Z");
    }

    #[test]
    fn times_have_units() {
        let shown = |nanos| time(Duration::from_nanos(nanos));
        assert_eq!(
            [0, 999, 1_000, 1_960, 12_300_000, 61_000_000_000].map(shown),
            ["0 ns", "999 ns", "1.0 \u{b5}s", "1.9 \u{b5}s", "12.3 ms", "61.0 s"]
        );
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(
            [0, 1023, 1024, 1_572_864, 5 << 30].map(size),
            ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "5.0 GiB"]
        );
    }
}
