//! The field `m` of a record: everything but key and value, packed. docs/redis.md has the table of its bytes.
//!
//! The script that writes packs the head, and copies the rest from what is packed here; both are read here. Nothing read from a
//! server is trusted: what does not parse is `Corruption`, and a value is only decompressed to the length that its record says.

use crate::reader::Reader;
use nadb_core::{Attrs, Codec, Error, ErrorKind, Metadata, Result, Tags, Value, decompress};

/// The one format of `m`.
const FORMAT: u8 = 1;
/// The value is compressed with Snappy.
pub(crate) const COMPRESSED: u8 = 1;

/// Tags as they are stored, each behind a byte with its length.
pub(crate) fn pack_tags(tags: &Tags) -> Vec<u8> {
    let mut packed = Vec::with_capacity(tags.iter().map(|tag| tag.len() + 1).sum());
    for tag in tags.iter() {
        // A tag has at most 255 bytes.
        packed.push(u8::try_from(tag.len()).unwrap_or(u8::MAX));
        packed.extend_from_slice(tag.as_bytes());
    }
    packed
}

/// Media type and attributes as they are stored; nothing where there are none.
pub(crate) fn pack_rest(content_type: Option<&str>, attrs: &Attrs) -> Vec<u8> {
    if content_type.is_none() && attrs.is_empty() {
        return Vec::new();
    }
    let content_type = content_type.unwrap_or_default();
    let mut packed = vec![u8::try_from(content_type.len()).unwrap_or(u8::MAX)];
    packed.extend_from_slice(content_type.as_bytes());
    for (name, value) in attrs.iter() {
        for text in [name, value] {
            packed.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            packed.extend_from_slice(text.as_bytes());
        }
    }
    packed
}

/// What `m` says, and how the value is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) metadata: Metadata,
    pub(crate) codec: Codec,
}

impl Record {
    /// Reads `m`.
    ///
    /// # Errors
    /// `Version` for another format, `Corruption` for anything that does not parse.
    pub(crate) fn parse(m: &[u8]) -> Result<Record> {
        match m.first() {
            Some(&FORMAT) => {}
            Some(other) => {
                let what = format!("a record has format {other}, this build knows {FORMAT}");
                return Err(Error::new(ErrorKind::Version, what));
            }
            None => return Err(damaged()),
        }
        Reader(m.get(1..).unwrap_or_default()).record().ok_or_else(damaged)
    }

    /// The value, from the bytes that are stored.
    ///
    /// # Errors
    /// `Corruption` where they do not decode to the length that the record says.
    pub(crate) fn value(&self, stored: Vec<u8>) -> Result<Value> {
        let len = usize::try_from(self.metadata.size).map_err(|_| damaged())?;
        match self.codec {
            Codec::Plain if stored.len() == len => Ok(stored.into()),
            Codec::Plain => Err(damaged()),
            Codec::Snappy => Ok(decompress(&stored, len).map_err(|_| damaged())?.into()),
        }
    }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Corruption, "a record on the server is not what was written there")
}

/// The parts of a record.
trait Parts<'m>: Sized {
    fn text(&mut self, len_bytes: usize) -> Option<&'m str>;
    fn record(&mut self) -> Option<Record>;
    fn tags(&mut self) -> Option<Tags>;
    fn attrs(&mut self) -> Option<Attrs>;
}

impl<'m> Parts<'m> for Reader<'m> {
    fn text(&mut self, len_bytes: usize) -> Option<&'m str> {
        let len = usize::try_from(self.number(len_bytes)?).ok()?;
        std::str::from_utf8(self.take(len)?).ok()
    }

    fn record(&mut self) -> Option<Record> {
        let flags = self.number(1)?;
        let version = self.number(8)?;
        let (created_ms, updated_ms, expires_ms) = (self.number(6)?, self.number(6)?, self.number(6)?);
        let (size, stored_size) = (self.number(4)?, self.number(4)?);
        let tags_len = usize::try_from(self.number(2)?).ok()?;
        let mut metadata = Metadata::new(version, size, updated_ms);
        (metadata.created_ms, metadata.stored_size) = (created_ms, stored_size);
        metadata.expires_ms = (expires_ms > 0).then_some(expires_ms);
        metadata.tags = Reader(self.take(tags_len)?).tags()?;
        if !self.0.is_empty() {
            let content_type = self.text(1)?;
            metadata.content_type = (!content_type.is_empty()).then(|| content_type.to_owned());
            metadata.attrs = self.attrs()?;
        }
        let codec = if flags & u64::from(COMPRESSED) == 0 { Codec::Plain } else { Codec::Snappy };
        Some(Record { metadata, codec })
    }

    fn tags(&mut self) -> Option<Tags> {
        let mut tags = Vec::new();
        while !self.0.is_empty() {
            tags.push(self.text(1)?);
        }
        Tags::new(tags).ok()
    }

    fn attrs(&mut self) -> Option<Attrs> {
        let mut attrs = Vec::new();
        while !self.0.is_empty() {
            attrs.push((self.text(2)?, self.text(2)?));
        }
        Attrs::new(attrs).ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the script packs it.
    fn packed(metadata: &Metadata, flags: u8) -> Vec<u8> {
        let mut m = vec![FORMAT, flags];
        m.extend_from_slice(&metadata.version.to_le_bytes());
        for ms in [metadata.created_ms, metadata.updated_ms, metadata.expires_ms.unwrap_or(0)] {
            m.extend_from_slice(&ms.to_le_bytes()[..6]);
        }
        for size in [metadata.size, metadata.stored_size] {
            m.extend_from_slice(&size.to_le_bytes()[..4]);
        }
        let tags = pack_tags(&metadata.tags);
        m.extend_from_slice(&u16::try_from(tags.len()).unwrap().to_le_bytes());
        m.extend_from_slice(&tags);
        m.extend_from_slice(&pack_rest(metadata.content_type.as_deref(), &metadata.attrs));
        m
    }

    fn full() -> Metadata {
        let mut metadata = Metadata::new(1_700_000_000_000_001, 5, 1_700_000_000_000);
        metadata.tags = Tags::new(["a", "\u{65e5}", &"t".repeat(255)]).unwrap();
        metadata.attrs = Attrs::new([("owner", "alice"), ("empty", "")]).unwrap();
        metadata.content_type = Some("text/plain".into());
        metadata.expires_ms = Some(nadb_core::limits::EXPIRY_MS_MAX);
        metadata
    }

    #[test]
    fn what_is_packed_is_read() {
        for metadata in [full(), Metadata::new(1, 0, 7)] {
            let record = Record::parse(&packed(&metadata, 0)).unwrap();
            assert_eq!((&record.metadata, record.codec), (&metadata, Codec::Plain));
        }
        let mut only_attrs = Metadata::new(1, 0, 7);
        only_attrs.attrs = Attrs::new([("a", "b")]).unwrap();
        assert_eq!(Record::parse(&packed(&only_attrs, 0)).unwrap().metadata, only_attrs);
    }

    #[test]
    fn what_was_cut_or_changed_is_refused_or_read_as_something_else_and_never_panics() {
        let whole = packed(&full(), 0);
        for len in 0..whole.len() {
            let cut = Record::parse(&whole[..len]);
            assert!(cut.is_err() || len > 38, "cut to {len}");
        }
        assert_eq!(Record::parse(&[2]).unwrap_err().kind(), ErrorKind::Version);
        let plain = Record::parse(&packed(&full(), 0)).unwrap();
        assert_eq!(plain.value(b"1234".to_vec()).unwrap_err().kind(), ErrorKind::Corruption);
        let snappy = Record::parse(&packed(&full(), COMPRESSED)).unwrap();
        assert_eq!(snappy.value(vec![0xFF; 6]).unwrap_err().kind(), ErrorKind::Corruption);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            _ = Record::parse(&bytes);
            if let Some(first) = bytes.first_mut() {
                *first = FORMAT;
            }
            if let Ok(record) = Record::parse(&bytes) {
                _ = record.value(bytes);
            }
        }
    }
}
