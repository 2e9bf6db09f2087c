//! Values that are text or JSON: bytes like all others, with their media type in the metadata.
//!
//! Reading looks at the bytes alone, not at the media type: what another program wrote as the same bytes is read. What does not
//! fit is an error that says where, and never shows the value.

use nadb_core::{Error, Result, Written};

use crate::{Batch, BatchPut, Namespace, PutBuilder, SnapshotNamespace};

/// The media type of texts.
const TEXT: &str = "text/plain; charset=utf-8";

impl Namespace {
    /// Writes a text, with the media type `text/plain; charset=utf-8`; otherwise as [`set`](Namespace::set).
    ///
    /// # Errors
    /// As [`set`](Namespace::set).
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.set_text("today", "Käse kaufen")?;
    /// assert_eq!(notes.get_text("today")?.unwrap(), "Käse kaufen");
    /// let metadata = notes.metadata("today")?.unwrap();
    /// assert_eq!(metadata.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn set_text(&self, key: impl AsRef<[u8]>, text: impl AsRef<str>) -> Result<Written> {
        self.put_text(key, text.as_ref()).commit()
    }

    /// A text with tags, lifetime, conditions and so on: see [`PutBuilder`].
    ///
    /// ```
    /// let notes = nadb::Store::memory()?.namespace("notes")?;
    /// notes.put_text("today", "buy cheese").tags(["shopping"]).if_absent().commit()?;
    /// assert_eq!(notes.get_text("today")?.unwrap(), "buy cheese");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn put_text<'t, K: AsRef<[u8]>>(&self, key: K, text: &'t str) -> PutBuilder<'_, K, &'t [u8]> {
        self.put(key, text.as_bytes()).content_type(TEXT)
    }

    /// The value of a key as a text, whoever wrote it; `None` when the key is absent.
    ///
    /// # Errors
    /// `InvalidInput` when the value is no UTF-8, saying from which byte on; otherwise as [`get`](Namespace::get).
    ///
    /// ```
    /// use nadb::{ErrorKind, Store};
    /// let notes = Store::memory()?.namespace("notes")?;
    /// notes.set("bytes", b"abc\xFF")?;
    /// let error = notes.get_text("bytes").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// assert_eq!(error.to_string(), "the value in namespace \"notes\" is no UTF-8 from byte 3 on; read its bytes with get");
    /// assert!(notes.get_text("other")?.is_none());
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_text(&self, key: impl AsRef<[u8]>) -> Result<Option<String>> {
        self.get_with(key, |bytes| text(self.name(), bytes))?.transpose()
    }
}

impl SnapshotNamespace {
    /// The value that a key had, as a text; `None` when the key was absent.
    ///
    /// # Errors
    /// As [`Namespace::get_text`].
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let notes = store.namespace("notes")?;
    /// notes.set_text("today", "buy cheese")?;
    /// let then = store.snapshot()?.namespace("notes")?;
    /// notes.delete("today")?;
    /// assert_eq!(then.get_text("today")?.unwrap(), "buy cheese");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_text(&self, key: impl AsRef<[u8]>) -> Result<Option<String>> {
        self.get_with(key, |bytes| text(self.name(), bytes))?.transpose()
    }
}

impl Batch {
    /// Adds a write of a text, as [`Namespace::put_text`].
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.put_text("notes", "today", "buy cheese").tags(["shopping"]);
    /// batch.commit()?;
    /// assert_eq!(store.namespace("notes")?.get_text("today")?.unwrap(), "buy cheese");
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn put_text(
        &mut self,
        namespace: impl Into<String>,
        key: impl AsRef<[u8]>,
        text: impl AsRef<str>,
    ) -> BatchPut<'_> {
        self.put(namespace, key, text.as_ref()).content_type(TEXT)
    }
}

fn text(namespace: &str, bytes: &[u8]) -> Result<String> {
    std::str::from_utf8(bytes).map(str::to_owned).map_err(|error| {
        let offset = error.valid_up_to();
        Error::invalid(format!(
            "the value in namespace {namespace:?} is no UTF-8 from byte {offset} on; read its bytes with get"
        ))
    })
}
