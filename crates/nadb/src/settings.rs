//! What a put may carry beside key and value: shared by single puts and puts of a batch.

use std::borrow::Cow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nadb_core::{Attrs, Condition, Error, ExpiryUpdate, Outcome, Put, Result, Tags, TagsUpdate, Written};

/// Settings of a put, and the first of them that was wrong.
#[derive(Debug, Default)]
pub(crate) struct PutSettings {
    tags: TagsUpdate,
    expiry: ExpiryUpdate,
    content_type: Option<String>,
    attrs: Vec<(String, String)>,
    pub(crate) condition: Condition,
    error: Option<Error>,
}

impl PutSettings {
    pub(crate) fn tags<T: Into<String>>(&mut self, tags: impl IntoIterator<Item = T>) {
        match Tags::new(tags) {
            Ok(tags) => self.tags = TagsUpdate::Replace(tags),
            // The first error is the one that `commit` gives.
            Err(error) => _ = self.error.get_or_insert(error),
        }
    }

    /// Something was wrong before there was a put.
    #[cfg(feature = "json")]
    pub(crate) fn fail(&mut self, error: Error) {
        _ = self.error.get_or_insert(error);
    }

    pub(crate) fn keep_tags(&mut self) {
        self.tags = TagsUpdate::Keep;
    }

    pub(crate) fn ttl(&mut self, ttl: Duration) {
        self.expiry = ExpiryUpdate::After(ttl);
    }

    pub(crate) fn expires_at(&mut self, at: SystemTime) {
        self.expiry = ExpiryUpdate::AtMs(unix_ms(at));
    }

    pub(crate) fn keep_ttl(&mut self) {
        self.expiry = ExpiryUpdate::Keep;
    }

    pub(crate) fn content_type(&mut self, content_type: String) {
        self.content_type = Some(content_type);
    }

    pub(crate) fn attr(&mut self, name: String, value: String) {
        self.attrs.push((name, value));
    }

    /// The put of `value` with these settings; the condition belongs to the operation.
    pub(crate) fn into_put<'a>(self, value: impl Into<Cow<'a, [u8]>>) -> Result<Put<'a>> {
        if let Some(error) = self.error {
            return Err(error);
        }
        let mut put = Put::new(value);
        put.tags = self.tags;
        put.expiry = self.expiry;
        put.content_type = self.content_type.map(Cow::Owned);
        put.attrs = Attrs::new(self.attrs)?;
        Ok(put)
    }
}

/// Unix milliseconds, rounded up, so that a record lives no shorter than was said; before 1970 is long past.
pub(crate) fn unix_ms(at: SystemTime) -> u64 {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// What a put did. One whose expiry was already past acted as a delete, which may do without a version.
pub(crate) fn written(outcome: &Outcome) -> Written {
    Written::new(outcome.version.unwrap_or(0), outcome.exists && !outcome.existed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_rounded_up_and_clamped() {
        assert_eq!(unix_ms(UNIX_EPOCH), 0);
        assert_eq!(unix_ms(UNIX_EPOCH - Duration::from_secs(5)), 0);
        assert_eq!(unix_ms(UNIX_EPOCH + Duration::from_nanos(1)), 1);
        assert_eq!(unix_ms(UNIX_EPOCH + Duration::from_millis(1_500)), 1_500);
    }

    #[test]
    fn the_first_error_is_kept() {
        let mut settings = PutSettings::default();
        settings.tags([""]);
        settings.tags(["x".repeat(300)]);
        settings.tags(["fine"]);
        assert!(
            settings.into_put(&b"v"[..]).is_err_and(|error| error.to_string().contains("tag has 0 bytes"))
        );
    }
}
