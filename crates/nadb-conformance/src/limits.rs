//! Limits: an error that names field, value and limit, and nothing written; what is at the limit is taken.

use std::time::Duration;

use nadb_core::limits::{
    CONTENT_TYPE_BYTES_MAX, EXPIRY_MS_MAX, KEY_BYTES_MAX, NAMESPACE_BYTES_MAX, TAG_BYTES_MAX, TAGS_MAX,
};
use nadb_core::{
    Action, Append, Error, ErrorKind, ExpiryUpdate, Operation, Put, Result, ScanRequest, Tags, TagsUpdate,
};

use crate::Subject;
use crate::subject::{N, delete, expiring, merge, put, set};

fn assert_names(error: &Error, words: &[&str]) {
    for word in words {
        assert!(error.to_string().contains(word), "the error names {word:?}: {error}");
    }
}

pub(crate) fn writes_beyond_a_limit_are_refused(s: &mut Subject) {
    use ErrorKind::{InvalidInput, Limit};
    let check = |operation: Operation<'_>, kind: ErrorKind, words: &[&str]| {
        assert_names(&s.refused(&[operation], kind), words);
    };
    let in_namespace =
        |name: &str| Operation::new(name.to_owned(), b"k".as_slice(), Action::Put(Put::new(b"v".as_slice())));
    let long_key = vec![b'k'; KEY_BYTES_MAX + 1];
    let long_name = "n".repeat(NAMESPACE_BYTES_MAX + 1);
    let typed = |content_type: String| {
        let mut typed = Put::new(b"v".as_slice());
        typed.content_type = Some(content_type.into());
        put("k", typed)
    };
    check(set("", "v"), Limit, &["key has 0 bytes", "1 to 65535"]);
    check(set(&long_key, "v"), Limit, &["key has 65536 bytes", "65535"]);
    check(delete(""), Limit, &["key has 0 bytes", "1 to 65535"]);
    check(delete(&long_key), Limit, &["key has 65536 bytes", "65535"]);
    check(merge("", Append, b"v"), Limit, &["key has 0 bytes"]);
    check(in_namespace(""), Limit, &["namespace has 0 bytes", "1 to 255"]);
    check(in_namespace(&long_name), Limit, &["namespace has 256 bytes", "255"]);
    check(in_namespace("a\0b"), InvalidInput, &["namespace", "NUL"]);
    check(typed(String::new()), Limit, &["content type has 0", "255"]);
    check(typed("x".repeat(CONTENT_TYPE_BYTES_MAX + 1)), Limit, &["content type has 256", "255"]);
    check(expiring("k", ExpiryUpdate::After(Duration::ZERO)), InvalidInput, &["ttl is 0", "above zero"]);
    check(expiring("k", ExpiryUpdate::After(Duration::MAX)), Limit, &["ttl is", "9999"]);
    let nearly = Duration::from_millis(EXPIRY_MS_MAX); // from 1970, but not from now
    check(expiring("k", ExpiryUpdate::After(nearly)), Limit, &["ttl is", "9999"]);
    check(expiring("k", ExpiryUpdate::AtMs(EXPIRY_MS_MAX + 1)), Limit, &["expiry is", "9999"]);
    check(expiring("k", ExpiryUpdate::AtMs(u64::MAX)), Limit, &["expiry is", "9999"]);
    assert!(s.backend().namespaces().unwrap().is_empty());
}

pub(crate) fn reads_beyond_a_limit_are_refused(s: &mut Subject) {
    s.set("k", "v");
    let long_key = vec![b'k'; KEY_BYTES_MAX + 1];
    let long_name = "n".repeat(NAMESPACE_BYTES_MAX + 1);
    let check = |namespace: &str, key: &[u8], kind: ErrorKind, words: &[&str]| {
        let backend = s.backend();
        let results: [Result<()>; 6] = [
            backend.get(namespace, key).map(drop),
            backend.get_with(namespace, key, &mut |_| panic!("a value is shown")).map(drop),
            backend.get_entry(namespace, key).map(drop),
            backend.metadata(namespace, key).map(drop),
            backend.contains(namespace, key).map(drop),
            backend.get_many(namespace, &[b"k", key]).map(drop),
        ];
        for result in results {
            let error = result.expect_err("the read is refused");
            assert_eq!(error.kind(), kind, "{error}");
            assert_names(&error, words);
        }
    };
    check(N, b"", ErrorKind::Limit, &["key has 0 bytes", "65535"]);
    check(N, &long_key, ErrorKind::Limit, &["key has 65536 bytes", "65535"]);
    check("", b"k", ErrorKind::Limit, &["namespace has 0 bytes", "255"]);
    check(&long_name, b"k", ErrorKind::Limit, &["namespace has 256 bytes", "255"]);
    check("a\0b", b"k", ErrorKind::InvalidInput, &["namespace", "NUL"]);
    for (name, kind) in
        [("", ErrorKind::Limit), (&*long_name, ErrorKind::Limit), ("a\0b", ErrorKind::InvalidInput)]
    {
        let error = s.backend().scan(name, ScanRequest::all()).map(drop).expect_err("the scan is refused");
        assert_eq!(error.kind(), kind, "{error}");
        let error = s.backend().drop_namespace(name).expect_err("the drop is refused");
        assert_eq!(error.kind(), kind, "{error}");
    }
}

pub(crate) fn what_is_at_the_limit_is_taken(s: &mut Subject) {
    let name = "n".repeat(NAMESPACE_BYTES_MAX);
    let key = vec![0xFF; KEY_BYTES_MAX];
    let mut most = Put::new(b"v".as_slice());
    let tags = Tags::new((0..TAGS_MAX).map(|i| format!("{i:0>TAG_BYTES_MAX$}"))).unwrap();
    most.tags = TagsUpdate::Replace(tags.clone());
    most.content_type = Some("c".repeat(CONTENT_TYPE_BYTES_MAX).into());
    most.expiry = ExpiryUpdate::AtMs(EXPIRY_MS_MAX);
    s.one(Operation::new(&*name, &*key, Action::Put(most)));
    let entry = s.backend().get_entry(&name, &key).unwrap().unwrap();
    assert!(entry.key == key && entry.value == b"v");
    assert_eq!((entry.metadata.tags, entry.metadata.expires_ms), (tags, Some(EXPIRY_MS_MAX)));
    assert_eq!(entry.metadata.content_type.map(|text| text.len()), Some(CONTENT_TYPE_BYTES_MAX));
}

/// Limits up to which values of their size are made for a test.
const TRIED_BYTES_MAX: u64 = 1 << 30;
const TAKEN_BYTES_MAX: u64 = 64 << 20;

pub(crate) fn a_value_beyond_the_limit_is_refused(s: &mut Subject) {
    let max = s.backend().capabilities().value_bytes_max;
    if max > TRIED_BYTES_MAX {
        return;
    }
    let value = vec![0; usize::try_from(max).unwrap() + 1];
    let words = [&*format!("value has {} bytes", max + 1), &max.to_string()];
    assert_names(&s.refused(&[set("k", &value)], ErrorKind::Limit), &words);
    assert_names(&s.refused(&[merge("k", Append, &value)], ErrorKind::Limit), &words);
    if max > TAKEN_BYTES_MAX {
        return;
    }
    s.set("k", &value[1..]);
    assert!(s.get("k").unwrap() == value[1..]);
    // The result of a merge has the same limit.
    assert_names(&s.refused(&[merge("k", Append, b"x")], ErrorKind::Limit), &words);
}

pub(crate) fn a_batch_beyond_the_limit_is_refused(s: &mut Subject) {
    let capabilities = s.backend().capabilities();
    let (value_max, max) = (capabilities.value_bytes_max, capabilities.batch_bytes_max);
    let len = value_max.min(64 << 20).min(max);
    let count = max / len + 1;
    if count > 100_000 {
        return;
    }
    let value = vec![0; usize::try_from(len).unwrap()];
    let keys: Vec<String> = (0..count).map(|i| format!("{{b}}{i}")).collect();
    let batch: Vec<_> = keys.iter().map(|key| set(key, &value)).collect();
    assert_names(&s.refused(&batch, ErrorKind::Limit), &["batch has", &max.to_string()]);
    assert!(s.backend().namespaces().unwrap().is_empty());
}
