//! One record: encoding and decoding. docs/format.md has the byte table.
//!
//! Decoding takes bytes that nobody vouches for: every length is checked against the bytes that are there, nothing is
//! allocated for a claim, and nothing panics.

use nadb_core::limits::{ATTRS_MAX, CONTENT_TYPE_BYTES_MAX, TAGS_MAX, VALUE_BYTES_MAX};
use nadb_core::{Attrs, Codec, NamespaceId, SegmentUid, Seq, Tags};

use crate::bytes::{Reader, put_u48, put_varint};
use crate::checksum::{crc32, mix};
use crate::tag_list::TagList;

/// Bytes in front of what a record's checksum covers: the checksum and the sequence number, which the mix covers.
const CRC_FROM: usize = 11;
/// Bytes of a header before its varints: checksum, number, kind, flags, length of the key, time of writing.
const FIXED: usize = 21;
/// The shortest record: fixed header and two one-byte varints.
pub(crate) const RECORD_BYTES_MIN: usize = 23;

/// What a record says; the number is on disk and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum RecordKind {
    /// The key has this value.
    Value = 1,
    /// The key was deleted.
    Tombstone = 2,
    /// The namespace with this id has the key's bytes as its name.
    NamespaceCreate = 3,
    /// The namespace with this id is gone with all its keys.
    NamespaceDrop = 4,
    /// Nothing that expired at or before the value's time (8 bytes, Unix milliseconds) is visible any more.
    Clock = 5,
    /// The key's value stands in a blob file: id (16 bytes) and length (8 bytes).
    BlobReference = 7,
}

impl RecordKind {
    fn from_u8(number: u8) -> Option<RecordKind> {
        use RecordKind::*;
        Some(match number {
            1 => Value,
            2 => Tombstone,
            3 => NamespaceCreate,
            4 => NamespaceDrop,
            5 => Clock,
            7 => BlobReference,
            _ => return None,
        })
    }
}

mod flag {
    pub(super) const CREATED: u8 = 1;
    pub(super) const EXPIRES: u8 = 2;
    pub(super) const CODED: u8 = 4;
    pub(super) const TAGS: u8 = 8;
    pub(super) const EXTRA: u8 = 16;
    pub(super) const ALL: u8 = 31;
}

/// Why bytes are no record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// They end before the record does.
    Short,
    /// The kind is not known.
    Kind(u8),
    /// A flag, codec, length, tag or attribute is malformed.
    Malformed(&'static str),
    /// The checksum does not hold here.
    Checksum {
        /// What the bytes sum to.
        computed: u32,
        /// What stands in the record.
        stored: u32,
    },
}

impl std::fmt::Display for RecordError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            RecordError::Short => f.write_str("the record is cut short"),
            RecordError::Kind(kind) => write!(f, "record kind {kind} is unknown"),
            RecordError::Malformed(what) => write!(f, "the record's {what} is malformed"),
            RecordError::Checksum { computed, stored } => {
                write!(f, "the record's checksum is {stored:#010x}, its bytes give {computed:#010x}")
            }
        }
    }
}

/// What goes into a record; the sequence number is added when the frame gets its place.
#[derive(Debug, Clone, Copy)]
pub struct RecordFields<'a> {
    /// Kind.
    pub kind: RecordKind,
    /// Namespace id.
    pub namespace: NamespaceId,
    /// Key.
    pub key: &'a [u8],
    /// The bytes to store.
    pub value: &'a [u8],
    /// How they are to be read, and the length of the value that they stand for.
    pub codec: Codec,
    /// Bytes of the value before the codec.
    pub logical_len: usize,
    /// When the key came into being, Unix milliseconds.
    pub created_ms: u64,
    /// When this was written, Unix milliseconds.
    pub updated_ms: u64,
    /// Expiry, Unix milliseconds.
    pub expires_ms: Option<u64>,
    /// Tags.
    pub tags: Option<&'a Tags>,
    /// Media type.
    pub content_type: Option<&'a str>,
    /// Attributes.
    pub attrs: Option<&'a Attrs>,
}

impl<'a> RecordFields<'a> {
    /// A record with key and value and nothing else.
    #[must_use]
    pub fn new(
        kind: RecordKind,
        namespace: NamespaceId,
        key: &'a [u8],
        value: &'a [u8],
        now_ms: u64,
    ) -> Self {
        RecordFields {
            kind,
            namespace,
            key,
            value,
            codec: Codec::Plain,
            logical_len: value.len(),
            created_ms: now_ms,
            updated_ms: now_ms,
            expires_ms: None,
            tags: None,
            content_type: None,
            attrs: None,
        }
    }

    /// Appends the record to `out` with zeros for checksum and sequence number; gives the CRC-32 that, mixed with the
    /// place, becomes the checksum.
    ///
    /// Lengths are those that [`nadb_core::limits`] allows; the writer has checked them.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) -> u32 {
        let start = out.len();
        let tags = self.tags.filter(|tags| !tags.is_empty());
        let attrs = self.attrs.filter(|attrs| !attrs.is_empty());
        let extra = encode_extra(self.content_type, attrs);
        let flags = [
            (self.created_ms != self.updated_ms, flag::CREATED),
            (self.expires_ms.is_some(), flag::EXPIRES),
            (self.codec != Codec::Plain, flag::CODED),
            (tags.is_some(), flag::TAGS),
            (!extra.is_empty(), flag::EXTRA),
        ];
        let key_len = u16::try_from(self.key.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&[0; CRC_FROM]);
        out.push(self.kind as u8);
        out.push(flags.iter().filter(|(set, _)| *set).map(|(_, bit)| bit).sum());
        out.extend_from_slice(&key_len.to_le_bytes());
        put_u48(out, self.updated_ms);
        put_varint(out, u64::from(self.namespace.0));
        put_varint(out, self.value.len() as u64);
        if self.created_ms != self.updated_ms {
            put_u48(out, self.created_ms);
        }
        if let Some(expires_ms) = self.expires_ms {
            put_u48(out, expires_ms);
        }
        if self.codec != Codec::Plain {
            out.push(self.codec as u8);
            put_varint(out, self.logical_len as u64);
        }
        if let Some(tags) = tags {
            put_varint(out, tags.iter().map(|tag| 1 + tag.len() as u64).sum());
        }
        if !extra.is_empty() {
            put_varint(out, extra.len() as u64);
        }
        out.extend_from_slice(self.key);
        for tag in tags.iter().flat_map(|tags| tags.iter()) {
            out.push(u8::try_from(tag.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(tag.as_bytes());
        }
        out.extend_from_slice(&extra);
        out.extend_from_slice(self.value);
        out.get(start + CRC_FROM..).map_or(0, crc32)
    }
}

fn encode_extra(content_type: Option<&str>, attrs: Option<&Attrs>) -> Vec<u8> {
    let mut extra = Vec::new();
    if content_type.is_none() && attrs.is_none() {
        return extra;
    }
    let content_type = content_type.unwrap_or_default();
    extra.push(u8::try_from(content_type.len()).unwrap_or(u8::MAX));
    extra.extend_from_slice(content_type.as_bytes());
    for (name, value) in attrs.iter().flat_map(|attrs| attrs.iter()) {
        for text in [name, value] {
            extra.extend_from_slice(&u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes());
            extra.extend_from_slice(text.as_bytes());
        }
    }
    extra
}

/// Writes number and checksum into an encoded record that has got its place.
pub(crate) fn address(record: &mut [u8], crc: u32, uid: SegmentUid, offset: u32, seq: Seq) {
    if let Some((head, _)) = record.split_first_chunk_mut::<CRC_FROM>() {
        let [a, b, c, d] = (crc ^ mix(uid, offset, seq)).to_le_bytes();
        let [e, f, g, h, i, j, k, _] = seq.0.to_le_bytes();
        *head = [a, b, c, d, e, f, g, h, i, j, k];
    }
}

/// A record in its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// Kind.
    pub kind: RecordKind,
    /// Namespace id.
    pub namespace: NamespaceId,
    /// Sequence number.
    pub seq: Seq,
    /// Key.
    pub key: &'a [u8],
    /// The stored bytes of the value.
    pub value: &'a [u8],
    /// How they are to be read.
    pub codec: Codec,
    /// Bytes of the value before the codec.
    pub logical_len: usize,
    /// When the key came into being, Unix milliseconds.
    pub created_ms: u64,
    /// When this was written, Unix milliseconds.
    pub updated_ms: u64,
    /// Expiry, Unix milliseconds.
    pub expires_ms: Option<u64>,
    tags: &'a [u8],
    extra: &'a [u8],
    stored_crc: u32,
    len: usize,
}

impl<'a> RecordRef<'a> {
    /// Reads the record that starts at the first of `bytes`, without summing it; bytes behind it do not matter.
    ///
    /// # Errors
    /// [`RecordError`]; the checksum is not looked at.
    pub fn decode(bytes: &'a [u8]) -> Result<RecordRef<'a>, RecordError> {
        RecordRef::behind(&Head::decode(bytes)?, bytes)
    }

    /// The record whose header was read from these bytes.
    #[inline]
    pub(crate) fn behind(head: &Head, bytes: &'a [u8]) -> Result<RecordRef<'a>, RecordError> {
        let take = |bytes: &'a [u8], len| bytes.split_at_checked(len).ok_or(RecordError::Short);
        let (_, rest) = take(bytes, head.len)?;
        let (key, rest) = take(rest, head.key_len)?;
        let (tags, rest) = take(rest, head.tags_len)?;
        let (extra, rest) = take(rest, head.extra_len)?;
        let (value, rest) = take(rest, head.value_len)?;
        Ok(RecordRef {
            kind: head.kind,
            namespace: head.namespace,
            seq: head.seq,
            key,
            value,
            codec: head.codec,
            logical_len: head.logical_len,
            created_ms: head.created_ms,
            updated_ms: head.updated_ms,
            expires_ms: head.expires_ms,
            tags,
            extra,
            stored_crc: head.stored_crc,
            len: bytes.len() - rest.len(),
        })
    }

    /// Reads the record and checks its sum against this place.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn verify(bytes: &'a [u8], uid: SegmentUid, offset: u32) -> Result<RecordRef<'a>, RecordError> {
        RecordRef::verify_behind(&Head::decode(bytes)?, bytes, uid, offset)
    }

    /// As [`RecordRef::verify`], for a header that was read from these bytes.
    #[inline]
    pub(crate) fn verify_behind(
        head: &Head,
        bytes: &'a [u8],
        uid: SegmentUid,
        offset: u32,
    ) -> Result<RecordRef<'a>, RecordError> {
        let record = RecordRef::behind(head, bytes)?;
        let computed = bytes.get(CRC_FROM..record.len).map_or(0, crc32) ^ mix(uid, offset, record.seq);
        if computed != record.stored_crc {
            return Err(RecordError::Checksum { computed, stored: record.stored_crc });
        }
        Ok(record)
    }

    /// Bytes of the record.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "a record is never empty")]
    pub fn len(&self) -> usize {
        self.len
    }

    /// The CRC-32 of the record's bytes, without the mix of its place.
    pub(crate) fn raw_crc(&self, uid: SegmentUid, offset: u32) -> u32 {
        self.stored_crc ^ mix(uid, offset, self.seq)
    }

    /// Whether the record's value is visible at `now_ms`.
    #[must_use]
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms <= now_ms)
    }

    /// The tags.
    ///
    /// # Errors
    /// `Malformed` where they are not what a writer makes.
    pub fn tags(&self) -> Result<Tags, RecordError> {
        let tags: Vec<&str> = self.tag_iter().collect::<Result<_, _>>()?;
        Tags::new(tags).map_err(|_| RecordError::Malformed("tag list"))
    }

    /// The tags one by one, without an allocation; `Malformed` comes last where they are not what a writer makes.
    pub fn tag_iter(&self) -> impl Iterator<Item = Result<&'a str, RecordError>> + use<'a> {
        self.tag_list().iter()
    }

    /// The tags, in their bytes.
    #[must_use]
    pub fn tag_list(&self) -> TagList<'a> {
        TagList::new(self.tags)
    }

    /// Media type and attributes.
    ///
    /// # Errors
    /// `Malformed` where they are not what a writer makes.
    pub fn extra(&self) -> Result<(Option<&'a str>, Attrs), RecordError> {
        let malformed = RecordError::Malformed("attribute list");
        let mut reader = Reader::new(self.extra);
        if reader.is_at_end() {
            return Ok((None, Attrs::default()));
        }
        let text = |bytes: Option<&'a [u8]>| bytes.and_then(|b| std::str::from_utf8(b).ok()).ok_or(malformed);
        let len = usize::from(reader.u8().ok_or(malformed)?);
        let content_type = text(reader.take(len))?;
        let mut attrs: Vec<(&str, &str)> = Vec::new();
        while !reader.is_at_end() {
            let mut next = || {
                let len = reader.u16().ok_or(malformed)?;
                text(reader.take(usize::from(len)))
            };
            let (name, value) = (next()?, next()?);
            if attrs.len() == ATTRS_MAX || attrs.last().is_some_and(|(last, _)| *last >= name) {
                return Err(malformed);
            }
            attrs.push((name, value));
        }
        let content_type = (!content_type.is_empty()).then_some(content_type);
        Ok((content_type, Attrs::new(attrs).map_err(|_| malformed)?))
    }

    /// Checks what [`RecordRef::decode`] leaves for later: tags, attributes, and that the record's kind has what it needs.
    pub(crate) fn check_content(&self) -> Result<(), RecordError> {
        self.tag_iter().try_for_each(|tag| tag.map(|_| ()))?;
        self.extra()?;
        let needs = match self.kind {
            RecordKind::Value | RecordKind::Tombstone => !self.key.is_empty(),
            RecordKind::NamespaceCreate => std::str::from_utf8(self.key)
                .is_ok_and(|name| nadb_core::limits::check_namespace(name).is_ok()),
            RecordKind::NamespaceDrop => self.key.is_empty(),
            RecordKind::Clock => self.key.is_empty() && self.value.len() == 8,
            RecordKind::BlobReference => !self.key.is_empty() && self.value.len() == 24,
        };
        if needs { Ok(()) } else { Err(RecordError::Malformed("key or value for its kind")) }
    }
}

/// Bytes that a record's header has at most.
pub(crate) const RECORD_HEADER_MAX: usize = 64;

/// Sequence number and length of the record that `bytes` begin with, as its header has them; of the record they need hold no
/// more than [`RECORD_HEADER_MAX`] bytes. Nothing is summed.
pub(crate) fn peek(bytes: &[u8]) -> Option<(Seq, usize)> {
    let head = Head::decode(bytes).ok()?;
    Some((head.seq, head.len + head.key_len + head.tags_len + head.extra_len + head.value_len))
}

/// What a record's header says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    /// Its own bytes.
    len: usize,
    stored_crc: u32,
    seq: Seq,
    kind: RecordKind,
    namespace: NamespaceId,
    key_len: usize,
    value_len: usize,
    tags_len: usize,
    extra_len: usize,
    codec: Codec,
    logical_len: usize,
    created_ms: u64,
    updated_ms: u64,
    expires_ms: Option<u64>,
}

impl Head {
    /// Reads the header that `bytes` begin with.
    #[inline]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Head, RecordError> {
        use RecordError::{Malformed, Short};
        // Taken as one: this is on the way of every read.
        let (fixed, rest) = bytes.split_first_chunk::<FIXED>().ok_or(Short)?;
        let [c0, c1, c2, c3, s0, s1, s2, s3, s4, s5, s6, kind, flags, k0, k1, u0, u1, u2, u3, u4, u5] =
            *fixed;
        let stored_crc = u32::from_le_bytes([c0, c1, c2, c3]);
        let seq = Seq(u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, 0]));
        let kind = RecordKind::from_u8(kind).ok_or(RecordError::Kind(kind))?;
        if flags & !flag::ALL != 0 {
            return Err(Malformed("flags"));
        }
        let has = |bit| flags & bit != 0;
        let key_len = usize::from(u16::from_le_bytes([k0, k1]));
        let updated_ms = u64::from_le_bytes([u0, u1, u2, u3, u4, u5, 0, 0]);
        let mut reader = Reader::new(rest);
        let namespace = NamespaceId(reader.varint_u32().ok_or(Malformed("namespace id"))?);
        let value_len = reader.varint_len(VALUE_BYTES_MAX).ok_or(Malformed("value length"))?;
        let created_ms = if has(flag::CREATED) { reader.u48().ok_or(Short)? } else { updated_ms };
        let expires_ms = if has(flag::EXPIRES) { Some(reader.u48().ok_or(Short)?) } else { None };
        let (codec, logical_len) = if has(flag::CODED) {
            let codec = reader.u8().and_then(Codec::from_u8).filter(|codec| *codec != Codec::Plain);
            let codec = codec.ok_or(Malformed("codec"))?;
            (codec, reader.varint_len(VALUE_BYTES_MAX).ok_or(Malformed("logical length"))?)
        } else {
            (Codec::Plain, value_len)
        };
        let tags_max = TAGS_MAX * 256;
        let extra_max = CONTENT_TYPE_BYTES_MAX + 1 + nadb_core::limits::ATTRS_BYTES_MAX + 4 * ATTRS_MAX;
        let mut len_if = |bit, max, what| {
            if has(bit) {
                reader.varint_len(max).filter(|&len| len > 0).ok_or(Malformed(what))
            } else {
                Ok(0)
            }
        };
        let tags_len = len_if(flag::TAGS, tags_max, "tag list length")?;
        let extra_len = len_if(flag::EXTRA, extra_max, "attribute list length")?;
        Ok(Head {
            len: FIXED + reader.position(),
            stored_crc,
            seq,
            kind,
            namespace,
            key_len,
            value_len,
            tags_len,
            extra_len,
            codec,
            logical_len,
            created_ms,
            updated_ms,
            expires_ms,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::format_examples::assert_same;
    use nadb_core::limits::SEQ_MAX;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    const UID: SegmentUid = SegmentUid([7; 16]);

    /// A record's fields, owned.
    #[derive(Debug, Clone)]
    pub(crate) struct Owned {
        kind: RecordKind,
        namespace: u32,
        key: Vec<u8>,
        value: Vec<u8>,
        logical_len: Option<usize>,
        times: (u64, u64, Option<u64>),
        tags: Tags,
        content_type: Option<String>,
        attrs: Attrs,
    }

    impl Owned {
        pub(crate) fn fields(&self) -> RecordFields<'_> {
            let (created_ms, updated_ms, expires_ms) = self.times;
            RecordFields {
                codec: if self.logical_len.is_some() { Codec::Snappy } else { Codec::Plain },
                logical_len: self.logical_len.unwrap_or(self.value.len()),
                created_ms,
                expires_ms,
                tags: Some(&self.tags),
                content_type: self.content_type.as_deref(),
                attrs: Some(&self.attrs),
                ..RecordFields::new(
                    self.kind,
                    NamespaceId(self.namespace),
                    &self.key,
                    &self.value,
                    updated_ms,
                )
            }
        }
    }

    fn shape() -> impl Strategy<Value = (RecordKind, Vec<u8>, Vec<u8>)> {
        let key = || vec(any::<u8>(), 1..60);
        let name = "[a-zß/]{1,40}".prop_map(String::into_bytes);
        prop_oneof![
            (key(), vec(any::<u8>(), 0..300)).prop_map(|(k, v)| (RecordKind::Value, k, v)),
            key().prop_map(|k| (RecordKind::Tombstone, k, vec![])),
            name.prop_map(|name| (RecordKind::NamespaceCreate, name, vec![])),
            Just((RecordKind::NamespaceDrop, vec![], vec![])),
            vec(any::<u8>(), 8).prop_map(|time| (RecordKind::Clock, vec![], time)),
            (key(), vec(any::<u8>(), 24)).prop_map(|(k, blob)| (RecordKind::BlobReference, k, blob)),
        ]
    }

    /// Any record that a writer may make.
    pub(crate) fn owned() -> impl Strategy<Value = Owned> {
        let time = || 0..1u64 << 48;
        let times = (time(), time(), proptest::option::of(time()));
        let times = prop_oneof![times, (time(), Just(None)).prop_map(|(now, expires)| (now, now, expires))];
        let logical_len = proptest::option::of(0..VALUE_BYTES_MAX);
        let tags = prop_oneof![Just(vec![]), vec("[a-zü]{1,9}", 0..8), vec("[a-z]{200,255}", 64)];
        let attrs = prop_oneof![
            Just(std::collections::BTreeMap::new()),
            btree_map("[a-z]{1,8}", "[a-zé ]{0,60}", 0..16)
        ];
        let content_type = proptest::option::of("[a-z]{1,20}/[a-z]{1,20}");
        let namespace = prop_oneof![0..200u32, any::<u32>()];
        (shape(), namespace, logical_len, times, tags, attrs, content_type).prop_map(
            |((kind, key, value), namespace, logical_len, times, tags, attrs, content_type)| Owned {
                kind,
                namespace,
                key,
                value,
                logical_len,
                times,
                tags: Tags::new(tags).unwrap(),
                content_type,
                attrs: Attrs::new(attrs).unwrap(),
            },
        )
    }

    fn encoded(fields: &RecordFields<'_>, offset: u32, seq: u64) -> Vec<u8> {
        let mut bytes = Vec::new();
        let crc = fields.encode(&mut bytes);
        address(&mut bytes, crc, UID, offset, Seq(seq));
        bytes
    }

    proptest! {
        #[test]
        fn records_round_trip(owned in owned(), offset: u32, seq in 1..=SEQ_MAX) {
            let mut bytes = encoded(&owned.fields(), offset, seq);
            let len = bytes.len();
            bytes.extend_from_slice(b"what follows does not matter");
            let record = RecordRef::verify(&bytes, UID, offset).unwrap();
            record.check_content().unwrap();
            prop_assert_eq!((record.seq, record.len()), (Seq(seq), len));
            assert_same(&record, &owned.fields());
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in vec(any::<u8>(), 0..200)) {
            if let Ok(record) = RecordRef::decode(&bytes) {
                prop_assert!(record.len() <= bytes.len());
                let _ = (record.tags(), record.extra(), record.check_content());
            }
        }
    }

    fn full() -> (Tags, Attrs) {
        (Tags::new(["a", "b"]).unwrap(), Attrs::new([("k", "v")]).unwrap())
    }

    #[test]
    fn every_cut_and_every_flipped_bit_is_refused() {
        let (tags, attrs) = full();
        let plain = RecordFields::new(RecordKind::Value, NamespaceId(300), b"key", b"value", 5);
        let fields = RecordFields {
            tags: Some(&tags),
            attrs: Some(&attrs),
            expires_ms: Some(9),
            created_ms: 1,
            ..plain
        };
        let bytes = encoded(&fields, 77, 12);
        for len in 0..bytes.len() {
            assert!(RecordRef::verify(&bytes[..len], UID, 77).is_err(), "cut to {len}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut bytes = bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(RecordRef::verify(&bytes, UID, 77).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_small_records_header_has_at_most_24_bytes() {
        let (key, value) = ([b'k'; 21], [b'v'; 128]);
        for namespace in [1, 127] {
            let fields = RecordFields::new(RecordKind::Value, NamespaceId(namespace), &key, &value, 1 << 47);
            assert!(encoded(&fields, 64, SEQ_MAX).len() - key.len() - value.len() <= 24);
        }
    }

    #[test]
    fn a_record_moved_to_another_place_or_number_is_refused() {
        let fields = RecordFields::new(RecordKind::Value, NamespaceId(1), b"key", b"value", 5);
        let mut bytes = encoded(&fields, 77, 12);
        assert!(RecordRef::verify(&bytes, UID, 77).is_ok());
        assert!(RecordRef::verify(&bytes, UID, 78).is_err());
        assert!(RecordRef::verify(&bytes, SegmentUid([8; 16]), 77).is_err());
        bytes[4] ^= 1;
        assert!(RecordRef::verify(&bytes, UID, 77).is_err(), "another number");
    }

    /// A record whose bytes are as given, checksum included.
    fn forged(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let (tags, attrs) = full();
        let plain = RecordFields::new(RecordKind::Value, NamespaceId(1), b"key", b"value", 5);
        let fields = RecordFields { tags: Some(&tags), attrs: Some(&attrs), ..plain };
        let mut bytes = encoded(&fields, 0, 12);
        change(&mut bytes);
        let crc = crc32(&bytes[CRC_FROM..]);
        address(&mut bytes, crc, UID, 0, Seq(12));
        bytes
    }

    #[test]
    fn claims_are_refused_though_the_checksum_holds() {
        let check = |what: &str, change: &dyn Fn(&mut Vec<u8>)| {
            let bytes = forged(change);
            let result = RecordRef::verify(&bytes, UID, 0).and_then(|record| {
                assert_eq!(record.len(), bytes.len(), "{what}: a forgery of another length proves nothing");
                record.check_content()
            });
            assert!(result.is_err(), "{what}");
        };
        assert!(RecordRef::verify(&forged(|_| ()), UID, 0).unwrap().check_content().is_ok());
        // Fixed part 21, namespace, value length, tags length, extra length: 25 bytes, then "key".
        check("unknown kind", &|b| b[11] = 8);
        check("unknown flag", &|b| b[12] |= 32);
        check("key longer than what is there", &|b| b[14] = 0xFF);
        check("tags out of order", &|b| b[29] = b'c');
        check("tag twice", &|b| b[29] = b'b');
        check("tag length beyond the list", &|b| b[28] = 9);
        check("tag with a NUL", &|b| b[29] = 0);
        check("tag that is no UTF-8", &|b| b[29] = 0xFF);
        check("content type beyond the section", &|b| b[32] = 200);
        check("attribute length beyond the section", &|b| b[33] = 200);
        check("tombstone kinds need a key", &|b| b[11] = RecordKind::Clock as u8);
        check("a drop has no key", &|b| b[11] = RecordKind::NamespaceDrop as u8);
        check("a blob reference has 24 bytes", &|b| b[11] = RecordKind::BlobReference as u8);
    }

    #[test]
    fn a_plain_codec_goes_without_its_flag() {
        let plain = RecordFields::new(RecordKind::Value, NamespaceId(1), b"key", b"value", 5);
        let mut bytes = encoded(&RecordFields { codec: Codec::Snappy, logical_len: 9, ..plain }, 0, 12);
        assert!(RecordRef::decode(&bytes).is_ok());
        bytes[23] = Codec::Plain as u8;
        assert_eq!(RecordRef::decode(&bytes), Err(RecordError::Malformed("codec")));
    }

    #[test]
    fn lengths_above_the_limits_are_refused_before_anything_is_taken() {
        let mut bytes = forged(|_| ());
        bytes.truncate(22);
        let head = bytes.clone();
        put_varint(&mut bytes, VALUE_BYTES_MAX as u64 + 1);
        bytes.resize(100, 0);
        assert_eq!(RecordRef::decode(&bytes), Err(RecordError::Malformed("value length")));
        let mut bytes = head;
        bytes.push(0);
        put_varint(&mut bytes, 64 * 256 + 1);
        bytes.resize(100, 0);
        assert_eq!(RecordRef::decode(&bytes), Err(RecordError::Malformed("tag list length")));
    }
}
