//! Values that are JSON, made of and read into types that serde knows; with the feature `json`.
//!
//! As with texts, reading looks at the bytes alone, and an error says where something is wrong and never shows the value.

use nadb_core::{Error, Result, Written};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::{Batch, BatchPut, Namespace, PutBuilder, SnapshotNamespace};

/// The media type of JSON.
const JSON: &str = "application/json";

impl Namespace {
    /// Writes a value as JSON, with the media type `application/json`; otherwise as [`set`](Namespace::set). With the feature
    /// `json`.
    ///
    /// # Errors
    /// `InvalidInput` when the value cannot be JSON (a map whose keys are no strings, say); otherwise as
    /// [`set`](Namespace::set).
    ///
    /// ```
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Debug, PartialEq, Serialize, Deserialize)]
    /// struct User {
    ///     name: String,
    ///     age: u8,
    /// }
    ///
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// let alice = User { name: "Alice".to_owned(), age: 30 };
    /// users.set_json("user:1", &alice)?;
    /// assert_eq!(users.get_json("user:1")?, Some(alice));
    /// assert_eq!(users.get("user:1")?.unwrap(), br#"{"name":"Alice","age":30}"#);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn set_json(&self, key: impl AsRef<[u8]>, value: &(impl Serialize + ?Sized)) -> Result<Written> {
        self.put_json(key, value).commit()
    }

    /// A value as JSON with tags, lifetime, conditions and so on: see [`PutBuilder`]. A value that cannot be JSON is the error of
    /// its `commit`. With the feature `json`.
    ///
    /// ```
    /// let users = nadb::Store::memory()?.namespace("users")?;
    /// users.put_json("user:1", &["Alice", "Liddell"]).tags(["user"]).commit()?;
    /// assert_eq!(users.metadata("user:1")?.unwrap().content_type.as_deref(), Some("application/json"));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn put_json<K: AsRef<[u8]>>(
        &self,
        key: K,
        value: &(impl Serialize + ?Sized),
    ) -> PutBuilder<'_, K, Vec<u8>> {
        match serde_json::to_vec(value) {
            Ok(json) => self.put(key, json).content_type(JSON),
            Err(_) => self.put(key, Vec::new()).failed(unwritable(self.name())),
        }
    }

    /// The value of a key, read as JSON, whoever wrote it; `None` when the key is absent. With the feature `json`.
    ///
    /// # Errors
    /// `InvalidInput` when the value is no JSON, or not what `T` is made from, saying where; otherwise as
    /// [`get`](Namespace::get).
    ///
    /// ```
    /// use nadb::{ErrorKind, Store};
    /// let users = Store::memory()?.namespace("users")?;
    /// users.set("user:1", br#"{"age": "secret"}"#)?;
    /// let age: std::collections::BTreeMap<String, String> = users.get_json("user:1")?.unwrap();
    /// assert_eq!(age["age"], "secret");
    /// let error = users.get_json::<std::collections::BTreeMap<String, u8>>("user:1").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::InvalidInput);
    /// assert!(error.to_string().contains("line 1, column 16") && !error.to_string().contains("secret"));
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.get_with(key, |bytes| parse(self.name(), bytes))?.transpose()
    }
}

impl SnapshotNamespace {
    /// The value that a key had, read as JSON; `None` when the key was absent. With the feature `json`.
    ///
    /// # Errors
    /// As [`Namespace::get_json`].
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let counters = store.namespace("counters")?;
    /// counters.set_json("visits", &[1, 2])?;
    /// let then = store.snapshot()?.namespace("counters")?;
    /// counters.set_json("visits", &[1, 2, 3])?;
    /// assert_eq!(then.get_json::<Vec<u32>>("visits")?.unwrap(), [1, 2]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn get_json<T: DeserializeOwned>(&self, key: impl AsRef<[u8]>) -> Result<Option<T>> {
        self.get_with(key, |bytes| parse(self.name(), bytes))?.transpose()
    }
}

impl Batch {
    /// Adds a write of a value as JSON, as [`Namespace::put_json`]. With the feature `json`.
    ///
    /// ```
    /// let store = nadb::Store::memory()?;
    /// let mut batch = store.batch();
    /// batch.put_json("users", "user:1", &["Alice"]).tags(["user"]);
    /// batch.commit()?;
    /// assert_eq!(store.namespace("users")?.get_json::<Vec<String>>("user:1")?.unwrap(), ["Alice"]);
    /// # Ok::<(), nadb::Error>(())
    /// ```
    pub fn put_json(
        &mut self,
        namespace: impl Into<String>,
        key: impl AsRef<[u8]>,
        value: &(impl Serialize + ?Sized),
    ) -> BatchPut<'_> {
        let namespace = namespace.into();
        match serde_json::to_vec(value) {
            Ok(json) => self.put(namespace, key, json).content_type(JSON),
            Err(_) => {
                let error = unwritable(&namespace);
                self.put(namespace, key, "").failed(error)
            }
        }
    }
}

/// What serde says of it may have parts of the value.
fn unwritable(namespace: &str) -> Error {
    Error::invalid(format!(
        "the value for namespace {namespace:?} cannot be written as JSON: a map whose keys are no strings, or what its own \
         Serialize refuses"
    ))
}

fn parse<T: DeserializeOwned>(namespace: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| {
        let what = match error.classify() {
            Category::Data => "is JSON, but not of the type that was asked for",
            Category::Eof => "is JSON that ends too early",
            Category::Syntax | Category::Io => "is no JSON",
        };
        Error::invalid(format!(
            "the value in namespace {namespace:?} {what} (line {}, column {})",
            error.line(),
            error.column()
        ))
    })
}
