//! Every limit of the public face, written once, and the checks that enforce them.
//!
//! A check that fails names the field, the value that was given and the limit.

use std::time::Duration;

use crate::{Error, RecordTimes, Result};

/// Bytes of a key, at most. A key has at least one byte.
pub const KEY_BYTES_MAX: usize = 65_535;
/// Bytes of a namespace's name, at most. A name has at least one byte.
pub const NAMESPACE_BYTES_MAX: usize = 255;
/// Tags of one record, at most.
pub const TAGS_MAX: usize = 64;
/// Bytes of one tag, at most. A tag has at least one byte.
pub const TAG_BYTES_MAX: usize = 255;
/// Attributes of one record, at most.
pub const ATTRS_MAX: usize = 16;
/// Bytes of all names and values of a record's attributes together, at most.
pub const ATTRS_BYTES_MAX: usize = 4096;
/// Bytes of a content type, at most. One that is given has at least one byte.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;
/// Bytes of a value that stands in the log, at most; a larger one is stored apart, where the backend can.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Bytes of a value, at most, that has a blob file of its own: 4 GiB - 1 MiB.
pub const BLOB_BYTES_MAX: u64 = (4 << 30) - (1 << 20);
/// Levels to which the terms of a filter may be nested.
pub const FILTER_DEPTH_MAX: usize = 64;
/// Terms of one filter, at most.
pub const FILTER_TERMS_MAX: usize = 1024;
/// Bytes of a filter that is written as text, at most.
pub const QUERY_TEXT_BYTES_MAX: usize = 64 << 10;
/// Encoded bytes of one batch, at most.
pub const BATCH_BYTES_MAX: usize = 256 << 20;
/// The last millisecond of year 9999 in Unix time: the latest expiry.
pub const EXPIRY_MS_MAX: u64 = 253_402_300_799_999;
/// The largest sequence number: 56 bits.
pub const SEQ_MAX: u64 = (1 << 56) - 1;
/// The longest frame body that a reader accepts: a full batch with room for its headers.
pub const FRAME_BODY_MAX: usize = BATCH_BYTES_MAX;
/// The largest namespace id.
pub const NAMESPACE_ID_MAX: u32 = u32::MAX - 1;

/// Checks a key's length.
///
/// # Errors
/// `Limit` when it is empty or too long.
pub fn check_key(key: &[u8]) -> Result<()> {
    check_len("key", key.len(), 1, KEY_BYTES_MAX)
}

/// Checks a value's length.
///
/// # Errors
/// `Limit` when it is too long.
pub fn check_value_len(len: u64) -> Result<()> {
    check_value_len_max(len, VALUE_BYTES_MAX as u64)
}

/// Checks a value's length against the limit of a backend.
///
/// # Errors
/// `Limit` when it is too long.
pub fn check_value_len_max(len: u64, max: u64) -> Result<()> {
    if len > max {
        return Err(Error::limit(format!(
            "value has {len} bytes, the limit is {max} bytes; store it in parts"
        )));
    }
    Ok(())
}

/// Checks a namespace's name.
///
/// # Errors
/// `Limit` for its length, `InvalidInput` for a NUL.
pub fn check_namespace(name: &str) -> Result<()> {
    check_len("namespace", name.len(), 1, NAMESPACE_BYTES_MAX)?;
    check_no_nul("namespace", name)
}

/// Checks one tag.
///
/// # Errors
/// `Limit` for its length, `InvalidInput` for a NUL.
pub fn check_tag(tag: &str) -> Result<()> {
    check_len("tag", tag.len(), 1, TAG_BYTES_MAX)?;
    check_no_nul("tag", tag)
}

/// Checks a content type's length.
///
/// # Errors
/// `Limit` when it is empty or too long.
pub fn check_content_type(content_type: &str) -> Result<()> {
    check_len("content type", content_type.len(), 1, CONTENT_TYPE_BYTES_MAX)
}

/// Checks how many tags a record has.
///
/// # Errors
/// `Limit` when there are too many.
pub fn check_tag_count(count: usize) -> Result<()> {
    check_len_of("tags", "tags", count, 0, TAGS_MAX)
}

/// Checks a relative time to live and gives its milliseconds, rounded up.
///
/// # Errors
/// `InvalidInput` when it is zero, `Limit` when the expiry would fall after year 9999.
pub fn check_ttl(ttl: Duration, now_ms: u64) -> Result<u64> {
    if ttl.is_zero() {
        return Err(Error::invalid("ttl is 0 s, it must be above zero; delete the key to remove it at once"));
    }
    let ms = ttl.as_nanos().div_ceil(1_000_000);
    match u64::try_from(ms).ok().and_then(|ms| now_ms.checked_add(ms)) {
        Some(at) if at <= EXPIRY_MS_MAX => Ok(at),
        _ => Err(Error::limit(format!(
            "ttl is {} s, which ends after year 9999, the latest expiry; leave the ttl out for a record that never expires",
            ttl.as_secs()
        ))),
    }
}

/// Checks an absolute expiry in Unix milliseconds.
///
/// # Errors
/// `Limit` when it lies after year 9999.
pub fn check_expiry(at_ms: u64) -> Result<()> {
    if at_ms > EXPIRY_MS_MAX {
        return Err(Error::limit(format!(
            "expiry is {at_ms} ms after 1970, the limit is {EXPIRY_MS_MAX} ms (the end of year 9999)"
        )));
    }
    Ok(())
}

/// Refuses times of a record, brought along from elsewhere, that no record can have.
///
/// # Errors
/// `Limit` for one after the year 9999.
pub fn check_times(times: RecordTimes) -> Result<()> {
    for (field, at_ms) in [("created", times.created_ms), ("updated", times.updated_ms)] {
        if at_ms > EXPIRY_MS_MAX {
            return Err(Error::limit(format!(
                "{field} is {at_ms} ms after 1970, the limit is {EXPIRY_MS_MAX} ms (the end of year 9999)"
            )));
        }
    }
    Ok(())
}

fn check_no_nul(field: &str, text: &str) -> Result<()> {
    match text.find('\0') {
        Some(at) => {
            Err(Error::invalid(format!("{field} {text:?} has a NUL at byte {at}; NUL is not allowed in it")))
        }
        None => Ok(()),
    }
}

fn check_len(field: &str, len: usize, min: usize, max: usize) -> Result<()> {
    check_len_of(field, "bytes", len, min, max)
}

pub(crate) fn check_len_of(field: &str, unit: &str, len: usize, min: usize, max: usize) -> Result<()> {
    if (min..=max).contains(&len) {
        return Ok(());
    }
    Err(Error::limit(format!("{field} has {len} {unit}, the limit is {min} to {max} {unit}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    #[test]
    fn bounds_are_inclusive_and_errors_name_field_value_and_limit() {
        assert!(check_key(b"k").is_ok() && check_key(&vec![0; KEY_BYTES_MAX]).is_ok());
        let error = check_key(&vec![0; KEY_BYTES_MAX + 1]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Limit);
        assert_eq!(error.to_string(), "key has 65536 bytes, the limit is 1 to 65535 bytes");
        assert_eq!(check_key(b"").unwrap_err().kind(), ErrorKind::Limit);
        assert!(check_namespace("a\0b").unwrap_err().to_string().contains("NUL at byte 1"));
        assert!(check_tag(&"t".repeat(255)).is_ok() && check_tag(&"t".repeat(256)).is_err());
        assert!(check_value_len(VALUE_BYTES_MAX as u64).is_ok() && check_value_len(5 << 30).is_err());
    }

    #[test]
    fn ttl_rounds_up_and_ends_in_year_9999() {
        assert_eq!(check_ttl(Duration::from_nanos(1), 100).unwrap(), 101);
        assert_eq!(check_ttl(Duration::from_secs(2), 100).unwrap(), 2100);
        assert_eq!(check_ttl(Duration::ZERO, 100).unwrap_err().kind(), ErrorKind::InvalidInput);
        assert_eq!(check_ttl(Duration::MAX, 100).unwrap_err().kind(), ErrorKind::Limit);
        assert!(check_expiry(EXPIRY_MS_MAX).is_ok() && check_expiry(EXPIRY_MS_MAX + 1).is_err());
    }
}
