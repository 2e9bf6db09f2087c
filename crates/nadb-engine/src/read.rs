//! The read path: look up, read, verify, check expiry; as of now, or as of a view's moment.
//!
//! A record is read where it stands, in the mapping of its segment, for as long as the table of slots is held; only where there
//! is no mapping it is copied out of its file. So a read takes no lock and counts nothing up and down, until somebody wants to
//! keep the value; but for what a batch changes that is being published just then, which is read in a view.

use std::sync::Arc;

use nadb_core::limits::{check_key, check_namespace};
use nadb_core::{Codec, Entry, Error, Location, Metadata, Result, Value, decompress, guard};
use nadb_log::{BlobReader, MappedRecord, RecordBuf, RecordRef, Row, Segment};

use crate::access::Reading;
use crate::blobs::is_blob;
use crate::engine::Shared;
use crate::keyspace::HasRecord;
use crate::slot::{Slot, SlotTable};
use crate::tallies::{Op, Tally};
use crate::view::View;

/// A record that was read: in its place as long as the table of slots is held, or in memory of its own.
#[derive(Debug)]
pub(crate) enum Stored<'t> {
    Mapped(MappedRecord<'t>),
    Read(RecordBuf),
}

impl HasRecord for Stored<'_> {
    #[inline]
    fn record(&self) -> Result<RecordRef<'_>> {
        match self {
            Stored::Mapped(mapped) => Ok(*mapped.record()),
            Stored::Read(buf) => buf.record(),
        }
    }
}

/// A visible record.
pub(crate) type Visible<'t> = (Location, Stored<'t>);

/// Where the bytes of a value are.
pub(crate) enum Content<'f> {
    InRecord(&'f [u8]),
    Decompressed(Vec<u8>),
    InBlob(BlobReader),
}

/// A value, or the blob that has it: the table of slots need not be held while that is read.
enum Kept {
    Value(Value),
    /// Apart, so that values, which most are, move in few words.
    InBlob(Box<BlobReader>),
}

impl Kept {
    fn value(self) -> Result<Value> {
        match self {
            Kept::Value(value) => Ok(value),
            Kept::InBlob(blob) => Ok(Value::from(blob.read_all()?)),
        }
    }
}

impl Shared {
    /// The record at a place that the index names, verified; in memory of its own, or keeping its mapping.
    pub(crate) fn read(&self, slots: &SlotTable, at: Location) -> Result<RecordBuf> {
        match slots.get(at.segment) {
            Some(slot) => slot.segment.read_mapped(at).map_or_else(|| self.read_file(&slot.segment, at), Ok),
            None => self.read_newer(at),
        }
    }

    /// The record at a place that the index names, in a segment that is newer than the table of slots: it may be sealed by now, and
    /// about to be replaced, when the log does not know it any more and the index still does.
    #[cold]
    fn read_newer(&self, at: Location) -> Result<RecordBuf> {
        match self.keyspace.slot(at.segment).filter(|_| guard::on("compact.newer_segment_is_looked_up")) {
            Some(slot) => self.read_file(&slot.segment, at),
            None => self.log.read(at),
        }
    }

    /// The record at a place in a segment that is held: also one that a compaction has replaced.
    pub(crate) fn read_file(&self, segment: &Segment, at: Location) -> Result<RecordBuf> {
        if segment.is_sealed() { segment.read(at) } else { self.log.read(at) }
    }

    /// The same, in its place where it is mapped.
    #[inline]
    pub(crate) fn read_in<'t>(&self, slots: &'t SlotTable, at: Location) -> Result<Stored<'t>> {
        self.read_of(slots.get(at.segment).map(|slot| &**slot), at)
    }

    /// The same, of a segment that is held.
    #[inline]
    pub(crate) fn read_of<'t>(&self, slot: Option<&'t Slot>, at: Location) -> Result<Stored<'t>> {
        match slot {
            Some(slot) => match slot.segment.mapped(at) {
                Some(mapped) => Ok(Stored::Mapped(mapped)),
                None => self.read_file(&slot.segment, at).map(Stored::Read),
            },
            None => self.read_newer(at).map(Stored::Read),
        }
    }

    /// Refuses what no read takes. A namespace that exists has a name that is allowed.
    fn check_read(&self, exists: bool, namespace: &str, key: &[u8]) -> Result<()> {
        if !exists {
            check_namespace(namespace)?;
        }
        check_key(key)?;
        self.check_open_to_read()
    }

    /// Counts a read, with the bytes of the value that it found.
    #[inline]
    fn counted<'t>(&self, found: Option<(Visible<'t>, u64)>) -> Option<Visible<'t>> {
        let (found, bytes) = found.map_or((None, 0), |(found, bytes)| (Some(found), bytes));
        self.times.tallies.add([(Tally::Done(Op::Get), 1), (Tally::Bytes(Op::Get), bytes)]);
        found
    }

    /// The visible record of a key, as of now.
    #[inline]
    pub(crate) fn find_visible<'t>(
        &self,
        slots: &'t SlotTable,
        namespace: &str,
        key: &[u8],
    ) -> Result<Option<Visible<'t>>> {
        let id = self.keyspace.namespaces.id_of(namespace);
        self.check_read(id.is_some(), namespace, key)?;
        let Some(id) = id else { return Ok(self.counted(None)) };
        let hash = self.keyspace.hash(id, key);
        let found = match self.times.is_get_due() {
            true => self.find_timed(slots, id, hash, key)?,
            false => self.keyspace.find(id, hash, key, |at| self.read_to_note(slots, at))?,
        };
        let seq = || found.as_ref().and_then(|(_, stored)| Some(stored.record().ok()?.seq));
        if self.keyspace.halfway.may_be_of_it(seq) {
            return self.find_at_once(slots, namespace, key);
        }
        Ok(self.counted(unexpired(found, || self.now_ms())?))
    }

    /// The visible record of a key, as of now, while a batch is being published.
    #[cold]
    fn find_at_once<'t>(
        &self,
        slots: &'t SlotTable,
        namespace: &str,
        key: &[u8],
    ) -> Result<Option<Visible<'t>>> {
        self.find_in_view(&self.take_view(), slots, namespace, key)
    }

    /// The visible record of a key, as of a view's moment.
    pub(crate) fn find_in_view<'t>(
        &self,
        view: &View,
        slots: &'t SlotTable,
        namespace: &str,
        key: &[u8],
    ) -> Result<Option<Visible<'t>>> {
        let found = self.keyspace.namespaces.get_at(namespace, view.watermark);
        self.check_read(found.is_some(), namespace, key)?;
        let Some(namespace) = found else { return Ok(self.counted(None)) };
        let hash = self.keyspace.hash(namespace.id, key);
        let pinned = |slot: &Slot, at| self.read_file(&slot.segment, at).map(Stored::Read);
        let found = view.find(namespace.id, hash, key, |at| self.read_in(slots, at), pinned)?;
        Ok(self.counted(unexpired(found, || view.now_ms)?))
    }

    /// Begins to fetch the records of keys that are going to be read, all at once: most of what a read takes is waiting for
    /// memory.
    pub(crate) fn prefetch(&self, view: &View, namespace: &str, keys: &[&[u8]]) {
        let Some(namespace) = self.keyspace.namespaces.get_at(namespace, view.watermark) else { return };
        let slots = self.keyspace.slot_table();
        for key in keys {
            for at in self.keyspace.index.candidates(self.keyspace.hash(namespace.id, key)) {
                if let Some(slot) = slots.get(at.segment) {
                    slot.segment.prefetch(at);
                }
            }
        }
    }

    /// A view of the store as of now.
    pub(crate) fn take_view(&self) -> Arc<View> {
        Arc::new(View::take(&self.keyspace, self.now_ms(), self.options.clock.monotonic()))
    }

    pub(crate) fn content<'f>(&self, at: Location, record: &RecordRef<'f>) -> Result<Content<'f>> {
        if is_blob(record) {
            return self.blobs.open(record, at).map(Content::InBlob);
        }
        match record.codec {
            Codec::Plain => Ok(Content::InRecord(record.value)),
            Codec::Snappy => decompress(record.value, record.logical_len)
                .map(Content::Decompressed)
                .map_err(|e| self.corruption(at, &format!("the value does not decompress: {e:?}"))),
        }
    }

    pub(crate) fn value(&self, found: &Visible<'_>) -> Result<Value> {
        self.keep(found)?.value()
    }

    fn keep(&self, (at, stored): &Visible<'_>) -> Result<Kept> {
        let bytes = match self.content(*at, &stored.record()?)? {
            Content::InRecord(bytes) => match stored {
                Stored::Mapped(mapped) => mapped.slice(bytes),
                Stored::Read(buf) => buf.slice(bytes),
            },
            Content::Decompressed(bytes) => bytes.into(),
            Content::InBlob(blob) => return Ok(Kept::InBlob(Box::new(blob))),
        };
        Ok(Kept::Value(Value::from(bytes)))
    }

    /// The value of the record that `find` finds.
    pub(crate) fn get(
        &self,
        reading: Reading,
        find: impl FnOnce(&SlotTable) -> Result<Option<Visible<'_>>>,
    ) -> Result<Option<Value>> {
        let kept = {
            let slots = self.keyspace.slot_table();
            let found = find(&slots)?.inspect(|found| self.note_read(reading, &slots, found));
            found.map(|found| self.keep(&found)).transpose()?
        };
        kept.map(Kept::value).transpose()
    }

    /// The record that `find` finds.
    pub(crate) fn get_entry(
        &self,
        reading: Reading,
        find: impl FnOnce(&SlotTable) -> Result<Option<Visible<'_>>>,
    ) -> Result<Option<Entry>> {
        let (key, metadata, kept) = {
            let slots = self.keyspace.slot_table();
            let Some(found) = find(&slots)? else { return Ok(None) };
            let record = found.1.record()?;
            let metadata = self.metadata_of(found.0, &record)?;
            self.note_read(reading, &slots, &found);
            (record.key.to_vec(), metadata, self.keep(&found)?)
        };
        Ok(Some(Entry::new(key, kept.value()?, metadata)))
    }

    /// Shows `read` the value of the record that `find` finds, where there is one, and says whether there was.
    pub(crate) fn show(
        &self,
        reading: Reading,
        find: impl FnOnce(&SlotTable) -> Result<Option<Visible<'_>>>,
        read: &mut dyn FnMut(&[u8]),
    ) -> Result<bool> {
        let value = {
            let slots = self.keyspace.slot_table();
            let Some(found) = find(&slots)? else { return Ok(false) };
            self.note_read(reading, &slots, &found);
            let (at, stored) = found;
            match self.content(at, &stored.record()?)? {
                Content::InRecord(bytes) => {
                    read(bytes);
                    return Ok(true);
                }
                Content::Decompressed(value) => Ok(value),
                Content::InBlob(blob) => Err(blob),
            }
        };
        // Nothing is held for these.
        read(&value.or_else(|blob| blob.read_all())?);
        Ok(true)
    }

    pub(crate) fn entry(&self, found: &Visible<'_>) -> Result<Entry> {
        let record = found.1.record()?;
        Ok(Entry::new(record.key.to_vec(), self.value(found)?, self.metadata_of(found.0, &record)?))
    }

    pub(crate) fn metadata(&self, found: &Visible<'_>) -> Result<Metadata> {
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
        metadata.accessed_ms = self.accessed_ms(at, record.created_ms);
        Ok(metadata)
    }

    fn corruption(&self, at: Location, what: &str) -> Error {
        let path =
            self.log.segment(at.segment).map(|segment| segment.path().to_path_buf()).unwrap_or_default();
        Error::corruption(path, u64::from(at.offset), what)
    }
}

/// The record, with the bytes of its value, unless it has expired. The clock is asked only where the answer matters.
#[inline]
fn unexpired(found: Option<Visible<'_>>, now_ms: impl Fn() -> u64) -> Result<Option<(Visible<'_>, u64)>> {
    let Some((at, stored)) = found else { return Ok(None) };
    let record = stored.record()?;
    if record.expires_ms.is_some() && record.is_expired(now_ms()) {
        return Ok(None);
    }
    let bytes = value_bytes(&record);
    Ok(Some(((at, stored), bytes)))
}

/// Bytes of a record's value, not compressed, wherever it stands.
#[inline]
pub(crate) fn value_bytes(record: &RecordRef<'_>) -> u64 {
    if is_blob(record) {
        return Row::of(record, 0).map_or(0, |row| row.meta.size);
    }
    record.logical_len as u64
}
