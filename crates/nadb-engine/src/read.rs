//! The read path: look up, read, verify, check expiry; as of now, or as of a view's moment.

use std::sync::Arc;

use nadb_core::limits::{check_key, check_namespace};
use nadb_core::{Codec, Entry, Error, Location, Metadata, Result, Value, decompress};
use nadb_log::{RecordBuf, RecordRef, Row};

use crate::blobs::is_blob;
use crate::engine::Shared;
use crate::view::View;

/// A visible record.
pub(crate) type Visible = (Location, RecordBuf);

impl Shared {
    /// The record at a place that the index names, verified.
    pub(crate) fn read(&self, at: Location) -> Result<RecordBuf> {
        self.keyspace.read_mapped(at).map_or_else(|| self.log.read(at), Ok)
    }

    fn check_read(&self, namespace: &str, key: &[u8]) -> Result<()> {
        check_namespace(namespace)?;
        check_key(key)?;
        self.check_open_to_read()?;
        self.counters.gets.add_one();
        Ok(())
    }

    /// The visible record of a key, as of now.
    pub(crate) fn find_visible(&self, namespace: &str, key: &[u8]) -> Result<Option<Visible>> {
        self.check_read(namespace, key)?;
        let Some(namespace) = self.keyspace.namespaces.id_of(namespace) else { return Ok(None) };
        let hash = self.keyspace.hash(namespace, key);
        let found = match self.times.is_get_due() {
            true => self.find_timed(namespace, hash, key)?,
            false => self.keyspace.find(namespace, hash, key, |at| self.read(at))?,
        };
        unexpired(found, self.now_ms())
    }

    /// The visible record of a key, as of a view's moment.
    pub(crate) fn find_in_view(&self, view: &View, namespace: &str, key: &[u8]) -> Result<Option<Visible>> {
        self.check_read(namespace, key)?;
        let Some(namespace) = self.keyspace.namespaces.get_at(namespace, view.watermark) else {
            return Ok(None);
        };
        let hash = self.keyspace.hash(namespace.id, key);
        let found = view.find(namespace.id, hash, key, |at| self.read(at))?;
        unexpired(found, view.now_ms)
    }

    /// A view of the store as of now.
    pub(crate) fn take_view(&self) -> Arc<View> {
        Arc::new(View::take(&self.keyspace, self.now_ms(), self.options.clock.monotonic()))
    }

    pub(crate) fn value(&self, (at, buf): &Visible) -> Result<Value> {
        let record = buf.record()?;
        if is_blob(&record) {
            return self.blobs.open(&record, *at)?.read_all().map(Value::from);
        }
        match record.codec {
            Codec::Plain => Ok(Value::from(buf.slice(record.value))),
            Codec::Snappy => decompress(record.value, record.logical_len)
                .map(Value::from)
                .map_err(|e| self.corruption(*at, &format!("the value does not decompress: {e:?}"))),
        }
    }

    pub(crate) fn entry(&self, found: &Visible) -> Result<Entry> {
        let record = found.1.record()?;
        Ok(Entry::new(record.key.to_vec(), self.value(found)?, self.metadata_of(found.0, &record)?))
    }

    pub(crate) fn metadata(&self, found: &Visible) -> Result<Metadata> {
        self.metadata_of(found.0, &found.1.record()?)
    }

    fn metadata_of(&self, at: Location, record: &RecordRef<'_>) -> Result<Metadata> {
        let corrupt = |e: nadb_log::RecordError| self.corruption(at, &e.to_string());
        let (content_type, attrs) = record.extra().map_err(corrupt)?;
        let size = Row::of(record, at.offset).map_or(0, |row| row.meta.size);
        let mut metadata = Metadata::new(record.seq.0, size, record.updated_ms);
        metadata.stored_size = if is_blob(record) { size } else { record.value.len() as u64 };
        metadata.content_type = content_type.map(str::to_owned);
        metadata.attrs = attrs;
        metadata.tags = record.tags().map_err(corrupt)?;
        metadata.created_ms = record.created_ms;
        metadata.expires_ms = record.expires_ms;
        Ok(metadata)
    }

    fn corruption(&self, at: Location, what: &str) -> Error {
        let path =
            self.log.segment(at.segment).map(|segment| segment.path().to_path_buf()).unwrap_or_default();
        Error::corruption(path, u64::from(at.offset), what)
    }
}

fn unexpired(found: Option<Visible>, now_ms: u64) -> Result<Option<Visible>> {
    let Some((at, buf)) = found else { return Ok(None) };
    let is_expired = buf.record()?.is_expired(now_ms);
    Ok((!is_expired).then_some((at, buf)))
}
