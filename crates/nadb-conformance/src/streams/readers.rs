//! Readers of streams: any piece, any place, and always of the moment at which they were made.

use std::io::{self, SeekFrom};
use std::thread;

use nadb_core::{ExpiryUpdate, ValueReader};

use super::{begin_with, empty, has_streams, lengths, noise, open, rest};
use crate::Subject;
use crate::subject::{N, TTL, expiring, unread};

pub(crate) fn readers_go_to_any_place(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    for len in lengths(s) {
        let value = noise(len);
        s.set("k", &value);
        let mut reader = open(s, "k");
        assert_eq!(unread(reader.metadata()), unread(&s.metadata("k")));
        let mut read = Vec::new();
        for size in [1, 0, 7, 4_096, 1, 1 << 20].into_iter().cycle() {
            let mut piece = vec![0; size];
            let count = reader.read(&mut piece).unwrap();
            assert!(count > 0 || size == 0 || read.len() == len, "a reader ends before its value");
            read.extend_from_slice(&piece[..count]);
            if count < size && read.len() >= len {
                break;
            }
        }
        assert!(read == value, "{len} bytes read in pieces are not the value");
        assert_eq!(reader.read(&mut [0; 10]).unwrap(), 0, "there is nothing behind the end");
        seek_about(&mut *reader, &value);
        assert!(rest(&mut *reader) == value, "a reader that goes back reads it all again");
    }
}

/// Asserts that each seek goes where it says and that what is read from there is right; stops at the beginning.
fn seek_about(reader: &mut dyn ValueReader, value: &[u8]) {
    let len = value.len();
    for at in [0, 1, len / 3, len / 2, len.saturating_sub(1), len, len + 1, 2 * len + 70_000] {
        let expected = value.get(at..).unwrap_or_default();
        let (to, signed_len) = (at as u64, i64::try_from(len).unwrap());
        let from_end = i64::try_from(at).unwrap() - signed_len;
        for seek in [SeekFrom::Start(to), SeekFrom::End(from_end)] {
            assert_eq!(reader.seek(seek).unwrap(), to);
            assert_eq!(reader.stream_position().unwrap(), to);
            let mut few = [0; 5];
            let count = reader.read(&mut few).unwrap();
            assert!(expected.starts_with(&few[..count]) && (count > 0 || expected.is_empty()), "{seek:?}");
            let back = -i64::try_from(count).unwrap();
            assert_eq!(reader.seek(SeekFrom::Current(back)).unwrap(), to);
            assert!(rest(reader) == expected, "what is read after {seek:?} is not the value's end");
        }
    }
    let middle = (len / 2) as u64;
    reader.seek(SeekFrom::Start(middle)).unwrap();
    let before_it_all = i64::try_from(len).unwrap() + 1;
    for seek in [SeekFrom::Current(-before_it_all), SeekFrom::End(-before_it_all)] {
        let error = reader.seek(seek).expect_err("nothing is before the beginning");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{error}");
        assert_eq!(reader.stream_position().unwrap(), middle, "a seek that failed moves nothing");
    }
    reader.rewind().unwrap();
}

pub(crate) fn a_reader_of_what_is_absent_is_none(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let is_none = |s: &Subject, namespace: &str, key: &str| {
        assert!(s.backend().reader(namespace, key.as_bytes()).unwrap().is_none(), "{namespace}: {key}");
    };
    is_none(s, N, "never there");
    assert!(s.backend().namespaces().unwrap().is_empty());
    s.one(expiring("expired", ExpiryUpdate::After(TTL)));
    for key in ["deleted", "expired", "there"] {
        assert!(key == "expired" || !s.set(key, "").existed);
    }
    s.delete("deleted");
    s.pass_ttl();
    for key in ["never there", "deleted", "expired"] {
        is_none(s, N, key);
    }
    is_none(s, "other", "there");
    let mut reader = open(s, "there");
    assert!(rest(&mut *reader).is_empty(), "an empty value is there, and empty");
    assert!(s.backend().drop_namespace(N).unwrap());
    is_none(s, N, "there");
}

pub(crate) fn a_reader_keeps_its_moment(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    type Disturb<'s> = (&'static str, Box<dyn Fn() + 's>);
    let disturb: [Disturb<'_>; 4] = [
        ("overwritten", Box::new(|| _ = s.set("k", "other"))),
        ("streamed over", Box::new(|| _ = begin_with(s, empty("k"), noise(9)).commit().unwrap())),
        ("deleted", Box::new(|| assert!(s.delete("k").existed))),
        ("dropped", Box::new(|| assert!(s.backend().drop_namespace(N).unwrap()))),
    ];
    for len in lengths(s) {
        let value = noise(len);
        let mut readers = Vec::new();
        for (what, disturb) in &disturb {
            let before = begin_with(s, empty("k"), &value).commit().unwrap();
            let (mut begun, fresh) = (open(s, "k"), open(s, "k"));
            let mut head = vec![0; len / 3];
            begun.read_exact(&mut head).unwrap();
            disturb();
            assert!(
                [head, rest(&mut *begun)].concat() == value,
                "a reader of what was {what} has other bytes"
            );
            begun.rewind().unwrap();
            readers.extend([(begun, before.version), (fresh, before.version)]);
        }
        s.set("k", "the last");
        // Through other threads, too: a reader is its own.
        let late = move |(mut reader, version): (Box<dyn ValueReader>, Option<u64>)| {
            let metadata = reader.metadata();
            assert_eq!((metadata.size, Some(metadata.version)), (len as u64, version));
            rest(&mut *reader)
        };
        for reader in readers {
            let read = thread::spawn(move || late(reader)).join().unwrap();
            assert!(read == value, "a reader that is held does not keep its moment");
        }
    }
    let start = s.now();
    s.one(expiring("brief", ExpiryUpdate::After(TTL)));
    let reader = s.backend().reader(N, b"brief").unwrap();
    s.assert_alive(start, reader.is_some());
    s.pass_ttl();
    assert!(reader.is_none_or(|mut reader| rest(&mut *reader) == b"v"), "a reader's value expires");
}
