//! Lifetimes of records that are there: another expiry, none, how much is left; and the last access.

use std::time::{Duration, SystemTime};

use nadb_core::{Action, ExpiryUpdate, Operation, Result};

use crate::Namespace;
use crate::settings::unix_ms;

/// What is left of a key's life; what [`Namespace::ttl`] gives.
///
/// ```
/// use nadb::Ttl;
/// use std::time::Duration;
/// let sessions = nadb::Store::memory()?.namespace("sessions")?;
/// let text = match sessions.ttl("alice")? {
///     Ttl::Absent => "nobody is there".to_owned(),
///     Ttl::Never => "stays".to_owned(),
///     Ttl::Left(left) => format!("{} s left", left.as_secs()),
/// };
/// assert_eq!(text, "nobody is there");
/// # Ok::<(), nadb::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// The key is not there: it never was, was deleted, or has expired.
    Absent,
    /// The key is there and does not expire.
    Never,
    /// The key is there for so long, in whole milliseconds and never zero.
    Left(Duration),
}

/// Lifetimes.
impl Namespace {
    /// Lets a key expire after `ttl` from now, whatever expiry it had; says whether the key was there. Nothing else of the record
    /// changes but its version: value, tags, attributes, media type, `created` and `updated` stay.
    ///
    /// The record is written anew, so this costs what a [`set`](Namespace::set) of the same value costs; a very large value,
    /// which stands in a file of its own, stays where it is.
    ///
    /// # Errors
    /// `InvalidInput` for a `ttl` of zero, `Limit` for one that ends after year 9999; `Unsupported` on a backend without
    /// [`Feature::Expire`](crate::backend::Feature::Expire); otherwise as [`set`](Namespace::set).
    ///
    /// ```
    /// use nadb::{Store, Ttl};
    /// use std::time::Duration;
    /// let sessions = Store::memory()?.namespace("sessions")?;
    /// sessions.put("alice", "…").tags(["web"]).commit()?;
    /// assert!(sessions.expire("alice", Duration::from_secs(60))?);
    /// assert!(matches!(sessions.ttl("alice")?, Ttl::Left(left) if left <= Duration::from_secs(60)));
    /// assert!(sessions.metadata("alice")?.unwrap().tags.contains("web"));
    /// assert!(!sessions.expire("bob", Duration::from_secs(60))?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn expire(&self, key: impl AsRef<[u8]>, ttl: Duration) -> Result<bool> {
        self.change_expiry(key.as_ref(), ExpiryUpdate::After(ttl))
    }

    /// Lets a key expire at a moment; one that is already past deletes it. Otherwise as [`expire`](Namespace::expire).
    ///
    /// # Errors
    /// `Limit` for a moment after year 9999; otherwise as [`expire`](Namespace::expire).
    ///
    /// ```
    /// use std::time::{Duration, SystemTime, UNIX_EPOCH};
    /// let offers = nadb::Store::memory()?.namespace("offers")?;
    /// offers.set("spring", "-20 %")?;
    /// let year_2100 = UNIX_EPOCH + Duration::from_secs(4_102_444_800);
    /// assert!(offers.expire_at("spring", year_2100)?);
    /// assert_eq!(offers.metadata("spring")?.unwrap().expires(), Some(year_2100));
    /// assert!(offers.expire_at("spring", UNIX_EPOCH)?, "it was there");
    /// assert!(!offers.contains("spring")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn expire_at(&self, key: impl AsRef<[u8]>, at: SystemTime) -> Result<bool> {
        self.change_expiry(key.as_ref(), ExpiryUpdate::AtMs(unix_ms(at)))
    }

    /// Lets a key live until it is deleted; says whether the key was there. Otherwise as [`expire`](Namespace::expire).
    ///
    /// # Errors
    /// As [`expire`](Namespace::expire).
    ///
    /// ```
    /// use nadb::{Store, Ttl};
    /// use std::time::Duration;
    /// let drafts = Store::memory()?.namespace("drafts")?;
    /// drafts.put("letter", "Dear …").ttl(Duration::from_secs(60)).commit()?;
    /// assert!(drafts.persist("letter")?);
    /// assert_eq!(drafts.ttl("letter")?, Ttl::Never);
    /// assert!(!drafts.persist("other")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn persist(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.change_expiry(key.as_ref(), ExpiryUpdate::Never)
    }

    /// What is left of a key's life, by the clock that decides when it ends.
    ///
    /// # Errors
    /// As [`get`](Namespace::get).
    ///
    /// ```
    /// use nadb::{Store, Ttl};
    /// use std::time::Duration;
    /// let n = Store::memory()?.namespace("n")?;
    /// n.set("stays", "v")?;
    /// n.put("goes", "v").ttl(Duration::from_secs(60)).commit()?;
    /// assert_eq!(n.ttl("stays")?, Ttl::Never);
    /// assert!(matches!(n.ttl("goes")?, Ttl::Left(left) if left > Duration::from_secs(50)));
    /// assert_eq!(n.ttl("other")?, Ttl::Absent);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn ttl(&self, key: impl AsRef<[u8]>) -> Result<Ttl> {
        let Some(metadata) = self.backend().metadata(self.name(), key.as_ref())? else {
            return Ok(Ttl::Absent);
        };
        let Some(expires_ms) = metadata.expires_ms else { return Ok(Ttl::Never) };
        // It may have ended since it was looked up.
        let left = expires_ms.saturating_sub(self.backend().now_ms()?);
        Ok(if left == 0 { Ttl::Absent } else { Ttl::Left(Duration::from_millis(left)) })
    }

    /// Says that a key is in use, as reading it does, without reading it; and whether it is there. It has an effect where the
    /// store keeps when keys were last read ([`StoreBuilder::track_access`](crate::StoreBuilder::track_access)), and never
    /// changes the record.
    ///
    /// # Errors
    /// As [`get`](Namespace::get).
    ///
    /// ```
    /// let n = nadb::Store::memory()?.namespace("n")?;
    /// n.set("k", "v")?;
    /// assert!(n.touch("k")? && !n.touch("other")?);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn touch(&self, key: impl AsRef<[u8]>) -> Result<bool> {
        self.backend().touch(self.name(), key.as_ref())
    }

    fn change_expiry(&self, key: &[u8], update: ExpiryUpdate) -> Result<bool> {
        Ok(self.write_one(Operation::new(self.name(), key, Action::Expire(update)), None)?.existed)
    }
}
