//! Streams: values written and read piece by piece. A write begins with its first piece but happens at its commit; a read
//! keeps its moment (`readers.rs`). Backends without them must say so, and are asked no more.

mod readers;

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use nadb_core::limits::{KEY_BYTES_MAX, NAMESPACE_BYTES_MAX};
use nadb_core::{
    Action, Attrs, Condition, Durability, Error, ErrorKind, ExpiryUpdate, Feature, Operation, Outcome, Put,
    Result, TagsUpdate, Value, ValueReader, ValueWriter, WriteOptions,
};

use crate::Subject;
use crate::subject::{N, TTL, YEAR_2100_MS, delete, full, put};

pub(crate) use readers::*;

const THREADS: u64 = 4;
const ROUNDS: usize = 10;

/// A limit up to which pieces of a value that is too long are made for a test.
const TRIED_BYTES_MAX: u64 = 64 << 20;

fn has_streams(s: &Subject) -> bool {
    if s.backend().capabilities().has(Feature::Streams) {
        return true;
    }
    let begun = s.backend().writer(empty("k"), &WriteOptions::default());
    for error in [begun.err(), s.backend().reader(N, b"k").err()] {
        let Some(error) = error else { panic!("streams are not among the capabilities") };
        s.assert_unsupported(&error, Feature::Streams.name());
    }
    false
}

/// A put of nothing: what the pieces are added to.
fn empty(key: &str) -> Operation<'static> {
    Operation::new(N, key.as_bytes().to_vec(), Action::Put(Put::new(Vec::new())))
}

fn begin(s: &Subject, operation: Operation<'static>) -> Box<dyn ValueWriter> {
    s.backend().writer(operation, &WriteOptions::default()).expect("a stream begins")
}

/// A stream that has this value so far, in two pieces.
fn begin_with(s: &Subject, operation: Operation<'static>, value: impl AsRef<[u8]>) -> Box<dyn ValueWriter> {
    let mut writer = begin(s, operation);
    let (first, second) = value.as_ref().split_at(value.as_ref().len() / 2);
    writer.write(first).unwrap();
    writer.write(second).unwrap();
    writer
}

fn open(s: &Subject, key: &str) -> Box<dyn ValueReader> {
    s.backend().reader(N, key.as_bytes()).unwrap().expect("the key is there")
}

/// From where the reader stands to the end.
fn rest(reader: &mut dyn ValueReader) -> Vec<u8> {
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).unwrap();
    rest
}

/// Bytes that differ from their neighbours, and at every place of this size.
fn noise(len: usize) -> Vec<u8> {
    (0..len as u64).map(|n| n.wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(9).to_le_bytes()[0]).collect()
}

/// Lengths that a backend may treat differently, as far as it takes them.
fn lengths(s: &Subject) -> Vec<usize> {
    let max = s.backend().capabilities().value_bytes_max;
    [0, 1, 100, 5_000, 70_001, 1 << 20].into_iter().filter(|&len| len as u64 <= max).collect()
}

/// The length for checks that need one value beyond a few pages.
fn long(s: &Subject) -> usize {
    lengths(s).into_iter().filter(|len| *len < 100_000).max().unwrap_or(0)
}

/// Asserts that the commit fails with `kind` and changes nothing.
fn commit_refused(s: &Subject, writer: Box<dyn ValueWriter>, kind: ErrorKind) {
    let before = s.everything();
    let Err(error) = writer.commit() else { panic!("the commit should be refused with {kind:?}") };
    assert_eq!(error.kind(), kind, "{error}");
    assert!(s.everything() == before, "a commit that was refused changed something: {error}");
}

/// Asserts that the key's value is this, by `get` and by a reader, and that all metadata agree with the outcome.
fn assert_committed(s: &Subject, key: &str, value: &[u8], outcome: &Outcome) {
    assert!(s.get(key).is_some_and(|read| read == *value), "{key} is not what was written, by get");
    let mut reader = open(s, key);
    assert!(rest(&mut *reader) == value, "{key} is not what was written, by a reader");
    let metadata = s.metadata(key);
    assert_eq!(*reader.metadata(), metadata);
    assert_eq!((metadata.size, outcome.version), (value.len() as u64, Some(metadata.version)));
    assert!(outcome.exists && outcome.merged.is_none());
}

pub(crate) fn a_stream_is_seen_from_its_commit_on(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let value = noise(long(s));
    for is_there in [false, true] {
        let before = s.everything();
        let writer = begin_with(s, empty("k"), &value);
        assert!(s.everything() == before, "a stream is seen before its commit");
        assert_eq!((s.has("k"), s.backend().reader(N, b"k").unwrap().is_some()), (is_there, is_there));
        if s.backend().capabilities().has(Feature::Verify) {
            s.backend().verify().expect("a store with a stream on the way can be verified");
        }
        let snapshot = s.backend().capabilities().has(Feature::Snapshots).then(|| s.backend().snapshot());
        let outcome = writer.commit().unwrap();
        assert_eq!(outcome.existed, is_there);
        assert_committed(s, "k", &value, &outcome);
        assert_eq!(s.keys(N), [b"k"]);
        if let Some(snapshot) = snapshot {
            let then = snapshot.unwrap().get(N, b"k").unwrap();
            assert!(
                then == is_there.then(|| Value::from(b"old".to_vec())),
                "an older snapshot shows a stream"
            );
        }
        s.set("k", "old");
    }
}

pub(crate) fn a_stream_that_is_dropped_leaves_nothing(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let drop_some = |s: &Subject| {
        let before = s.everything();
        drop(begin(s, empty("k")));
        for len in lengths(s) {
            drop(begin_with(s, empty("k"), noise(len)));
        }
        assert!(s.everything() == before, "a stream that was dropped left something");
    };
    drop_some(s);
    assert!(s.backend().namespaces().unwrap().is_empty());
    s.one(full("k", "v"));
    drop_some(s);
    let before = s.everything();
    if s.reopen() {
        assert!(s.everything() == before, "a stream that was dropped came back");
    }
}

pub(crate) fn conditions_of_streams_are_tested_at_the_commit(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let when = |condition| begin_with(s, empty("k").when(condition), "streamed");
    let failed = |current| ErrorKind::PreconditionFailed { current };
    // What holds at the beginning need not hold at the end.
    commit_refused(s, when(Condition::IfPresent), failed(None));
    let (if_absent, too_late) = (when(Condition::IfAbsent), when(Condition::IfAbsent));
    let first = if_absent.commit().unwrap();
    assert!(!first.existed);
    commit_refused(s, too_late, failed(first.version));
    let if_first = when(Condition::IfVersion(first.version.unwrap()));
    let second = s.set_version("k", "second");
    commit_refused(s, if_first, failed(Some(second)));
    let if_present = when(Condition::IfPresent);
    s.delete("k");
    commit_refused(s, if_present, failed(None));
    // And the other way round.
    let if_present = when(Condition::IfPresent);
    let third = s.set_version("k", "third");
    let (if_absent, if_third) = (when(Condition::IfAbsent), when(Condition::IfVersion(third)));
    assert!(if_third.commit().unwrap().version > Some(third));
    assert!(if_present.commit().unwrap().existed);
    s.delete("k");
    assert!(if_absent.commit().unwrap().exists);
    assert_eq!(s.get("k").unwrap(), b"streamed");
}

pub(crate) fn pieces_of_any_size_make_one_value(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    // A piece longer than the value is the whole of it; 0 is an empty piece.
    let patterns: [&[usize]; 6] =
        [&[1 << 20], &[1, 0, 3, 4_095, 4_097], &[777], &[0, 65_537], &[4_096], &[13]];
    for (len, sizes) in lengths(s).into_iter().flat_map(|len| patterns.map(|sizes| (len, sizes))) {
        if len > 100_000 && sizes == [13] {
            continue; // many calls, and nothing new
        }
        let value = noise(len);
        let mut writer = begin(s, empty("k"));
        assert!(writer.is_empty());
        let mut written = 0;
        for size in sizes.iter().cycle() {
            let end = len.min(written + size);
            writer.write(&value[written..end]).unwrap();
            written = end;
            assert_eq!((writer.len(), writer.is_empty()), (written as u64, written == 0));
            if written == len {
                break;
            }
        }
        writer.write(b"").unwrap();
        let outcome = writer.commit().unwrap();
        assert_committed(s, "k", &value, &outcome);
    }
    // The pieces are added to what the put has.
    let mut writer =
        begin(s, Operation::new(N, b"k".as_slice(), Action::Put(Put::new(b"first, ".as_slice()))));
    assert_eq!(writer.len(), 7);
    writer.write(b"last").unwrap();
    let outcome = writer.commit().unwrap();
    assert_committed(s, "k", b"first, last", &outcome);
}

pub(crate) fn a_stream_makes_a_record_like_any_put(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let value = noise(long(s));
    let stream = |put: Put<'static>| {
        let operation = Operation::new(N, b"k".as_slice(), Action::Put(put));
        begin_with(s, operation, &value).commit().unwrap()
    };
    let tags = || nadb_core::Tags::new(["red", "green"]).unwrap();
    let mut everything = Put::new(Vec::new());
    everything.tags = TagsUpdate::Replace(tags());
    everything.expiry = ExpiryUpdate::AtMs(YEAR_2100_MS);
    everything.content_type = Some("video/mp4".into());
    everything.attrs = Attrs::new([("lang", "de"), ("owner", "alice")]).unwrap();
    let outcome = stream(everything.clone());
    assert_committed(s, "k", &value, &outcome);
    let first = s.metadata("k");
    assert_eq!((&first.tags, first.expires_ms), (&tags(), Some(YEAR_2100_MS)));
    assert_eq!((first.content_type.as_deref(), &first.attrs), (Some("video/mp4"), &everything.attrs));
    assert_eq!(first.created_ms, first.updated_ms);

    s.pass(TTL);
    let mut keep = Put::new(Vec::new());
    (keep.tags, keep.expiry) = (TagsUpdate::Keep, ExpiryUpdate::Keep);
    stream(keep.clone());
    let kept = s.metadata("k");
    assert_eq!((&kept.tags, kept.expires_ms), (&tags(), Some(YEAR_2100_MS)));
    assert!(kept.content_type.is_none() && kept.attrs.is_empty());
    assert!(kept.created_ms == first.created_ms && kept.updated_ms > first.updated_ms);

    // What is kept is what the key has at the commit.
    let operation = Operation::new(N, b"k".as_slice(), Action::Put(keep));
    let writer = begin_with(s, operation, &value);
    let mut between = Put::new(b"between".as_slice());
    between.tags = crate::subject::tags(&["blue"]);
    s.one(put("k", between));
    writer.commit().unwrap();
    let late = s.metadata("k");
    assert_eq!((late.tags.iter().collect::<Vec<_>>(), late.expires_ms), (vec!["blue"], None));

    stream(Put::new(Vec::new()));
    let bare = s.metadata("k");
    assert!(bare.tags.is_empty() && bare.expires_ms.is_none());
    assert_eq!(bare.created_ms, first.created_ms);
}

pub(crate) fn lifetimes_of_streams_count_from_the_commit(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let expiring = |key: &'static str, expiry| {
        let mut put = Put::new(Vec::new());
        put.expiry = expiry;
        begin_with(s, Operation::new(N, key.as_bytes(), Action::Put(put)), "streamed")
    };
    let brief = expiring("brief", ExpiryUpdate::After(TTL));
    s.pass_ttl();
    let start = s.now();
    assert!(brief.commit().unwrap().exists, "a lifetime began before its record");
    s.assert_alive(start, s.has("brief"));
    s.pass_ttl();
    assert!(!s.has("brief") && s.backend().reader(N, b"brief").unwrap().is_none());

    s.set("past", "v");
    let outcome = expiring("past", ExpiryUpdate::AtMs(1)).commit().unwrap();
    assert!(outcome.existed && !outcome.exists, "an expiry already past acts as a delete");
    assert!(!expiring("past", ExpiryUpdate::AtMs(1)).commit().unwrap().exists);
    assert!(s.keys(N).is_empty());
}

pub(crate) fn the_last_commit_counts(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let (a, b) = (noise(long(s)), noise(long(s) / 2));
    let mut first = begin(s, empty("k"));
    let mut second = begin(s, empty("k"));
    let third = begin_with(s, empty("k"), "never");
    // Piece by piece in turn; neither waits for the other, nor has a byte of it.
    for (a, b) in a.chunks(a.len() / 4 + 1).zip(b.chunks(b.len() / 4 + 1)) {
        first.write(a).unwrap();
        second.write(b).unwrap();
    }
    let between = s.set_version("k", "between");
    let later = second.commit().unwrap();
    assert!(later.existed && later.version > Some(between));
    assert_committed(s, "k", &b, &later);
    drop(third);
    assert_committed(s, "k", &b, &later);
    let last = first.commit().unwrap();
    assert!(last.version > later.version, "versions are those of the commits");
    assert_committed(s, "k", &a, &last);
    // A namespace that went meanwhile comes back with the record.
    let writer = begin_with(s, empty("k"), "anew");
    assert!(s.backend().drop_namespace(N).unwrap());
    let anew = writer.commit().unwrap();
    assert!(!anew.existed && anew.version > last.version);
    assert_committed(s, "k", b"anew", &anew);
    let writer = begin_with(s, empty("k"), "streamed");
    s.delete("k");
    assert!(!writer.commit().unwrap().existed);
    assert!(s.set_version("k", "set") > anew.version.unwrap());
    assert_eq!(s.get("k").unwrap(), b"set");
}

pub(crate) fn of_many_streams_if_absent_one_wins(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    for round in 0..ROUNDS {
        let key = format!("k{round}");
        let won = AtomicU64::new(0);
        // All have begun before the first ends.
        let streams = (1..=THREADS).map(|number| (number, begin(s, empty(&key).when(Condition::IfAbsent))));
        let streams: Vec<_> = streams.collect();
        let fill = |number: u64, mut writer: Box<dyn ValueWriter>| -> Result<Outcome> {
            (0..500).try_for_each(|_| writer.write(number.to_string().as_bytes()))?;
            writer.commit()
        };
        thread::scope(|scope| {
            for (number, writer) in streams {
                let (fill, won) = (&fill, &won);
                scope.spawn(move || match fill(number, writer).map_err(|error| error.kind()) {
                    Ok(_) => assert_eq!(won.swap(number, Ordering::SeqCst), 0, "two streams won"),
                    Err(ErrorKind::PreconditionFailed { current: Some(_) }) => {}
                    Err(other) => panic!("{other:?}"),
                });
            }
        });
        let winner = won.into_inner();
        assert!(winner > 0 && s.get(&key).unwrap() == *winner.to_string().repeat(500).as_bytes());
    }
}

pub(crate) fn streams_beyond_a_limit_are_refused(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let refused = |what: &str, error: Option<Error>, kind| match error {
        Some(error) => assert_eq!(error.kind(), kind, "{what}: {error}"),
        None => panic!("a {what} takes what is beyond a limit"),
    };
    let long_key = vec![b'k'; KEY_BYTES_MAX + 1];
    let long_name = "n".repeat(NAMESPACE_BYTES_MAX + 1);
    for (name, key, kind) in [
        ("", b"k".as_slice(), ErrorKind::Limit),
        (&long_name, b"k", ErrorKind::Limit),
        ("a\0b", b"k", ErrorKind::InvalidInput),
        (N, b"", ErrorKind::Limit),
        (N, &long_key, ErrorKind::Limit),
    ] {
        let put = Action::Put(Put::new(b"v".as_slice()));
        let begun =
            s.backend().writer(Operation::new(name.to_owned(), key.to_vec(), put), &WriteOptions::default());
        refused("writer", begun.err(), kind);
        refused("reader", s.backend().reader(name, key).err(), kind);
    }
    let mut untyped = Put::new(b"v".as_slice());
    untyped.content_type = Some("".into());
    let untyped = Operation::new(N, b"k".as_slice(), Action::Put(untyped));
    refused("writer", s.backend().writer(untyped, &WriteOptions::default()).err(), ErrorKind::Limit);
    // Only a put has a value that can come in pieces.
    let begun = s.backend().writer(delete("k"), &WriteOptions::default());
    let Err(error) = begun else { panic!("a delete has no pieces") };
    s.assert_unsupported(&error, Feature::Streams.name());
    assert!(s.backend().namespaces().unwrap().is_empty());
}

pub(crate) fn classes_of_streams_work_or_are_refused(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    for class in [Durability::Buffered, Durability::Flushed, Durability::Synced] {
        let options = WriteOptions::default().with_durability(Some(class));
        let begun = s.backend().writer(empty("k"), &options);
        if !s.backend().capabilities().durability.contains(&class) {
            let Err(error) = begun else { panic!("{class:?} is not among the capabilities") };
            s.assert_unsupported(&error, &format!("{class:?}"));
            continue;
        }
        let (mut writer, value) = (begun.unwrap(), noise(long(s)));
        writer.write(&value).unwrap();
        let outcome = writer.commit().unwrap();
        assert_committed(s, "k", &value, &outcome);
    }
}

pub(crate) fn a_streamed_value_beyond_the_limit_is_refused(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let max = s.backend().capabilities().value_bytes_max;
    if max > TRIED_BYTES_MAX {
        return;
    }
    let value = noise(usize::try_from(max).unwrap());
    s.set("k", "v");
    let before = s.everything();
    for key in ["k", "new"] {
        let mut writer = begin_with(s, empty(key), &value);
        let refused = writer.write(b"x").expect_err("one byte too many");
        assert_eq!(refused.kind(), ErrorKind::Limit, "{refused}");
        assert!(refused.to_string().contains(&max.to_string()), "the error names the limit: {refused}");
        assert!(writer.write(b"").is_err(), "no piece is taken after a failure");
        commit_refused(s, writer, ErrorKind::Limit);
    }
    let mut writer = begin(s, empty("k"));
    let too_long = [&value[..], b"x"].concat();
    assert_eq!(writer.write(&too_long).expect_err("too long at once").kind(), ErrorKind::Limit);
    drop(writer);
    assert!(s.everything() == before, "a value that was too long left something");
    let outcome = begin_with(s, empty("k"), &value).commit().unwrap();
    assert_committed(s, "k", &value, &outcome);
}

pub(crate) fn streams_end_with_their_store(s: &mut Subject) {
    if !has_streams(s) {
        return;
    }
    let value = noise(long(s));
    s.set("k", &value);
    let before = s.everything();
    let begun = || begin_with(s, empty("k"), &value[..value.len() / 2]);
    let (writer, mut late, new) = (begun(), begun(), begin_with(s, empty("new"), &value));
    let mut reader = open(s, "k");
    let backend = Arc::clone(s.backend());
    let is_open_again = s.reopen();
    if !is_open_again {
        s.close();
    }
    let closed = |what: &str, error: Option<Error>| match error {
        Some(error) => assert_eq!(error.kind(), ErrorKind::Closed, "{what}: {error}"),
        None => panic!("{what} works after the store's end"),
    };
    closed("a commit", writer.commit().err());
    // A piece may be kept in memory without asking the store.
    if let Err(error) = late.write(b"x") {
        assert_eq!(error.kind(), ErrorKind::Closed, "a piece: {error}");
    }
    closed("a commit after it", late.commit().err());
    closed("a commit of a new key", new.commit().err());
    closed("a writer", backend.writer(empty("k"), &WriteOptions::default()).err());
    closed("a reader", backend.reader(N, b"k").err());
    // A reader may go on, or say so; it never gives other bytes.
    let mut read = Vec::new();
    match reader.read_to_end(&mut read) {
        Ok(_) => assert!(read == value, "a reader has other bytes after the store's end"),
        Err(error) => {
            let inside = error.get_ref().and_then(|inside| inside.downcast_ref::<Error>());
            assert_eq!(inside.map(Error::kind), Some(ErrorKind::Closed), "{error}");
            assert!(value.starts_with(&read));
        }
    }
    if is_open_again {
        assert!(s.everything() == before, "a stream of a store that was closed reached it");
    }
}
