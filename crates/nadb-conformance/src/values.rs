//! Set, get and delete: any bytes in, the same bytes out, and absence is no error.

use nadb_core::limits::KEY_BYTES_MAX;
use nadb_core::{Operation, Value};

use crate::Subject;
use crate::subject::{N, delete, full, unread};

pub(crate) fn what_was_set_is_read_by_every_read(s: &mut Subject) {
    let outcome = s.set("k", "value");
    assert!(!outcome.existed && outcome.exists && outcome.merged.is_none(), "{outcome:?}");
    let entry = s.backend().get_entry(N, b"k").unwrap().unwrap();
    assert_eq!((&entry.key[..], &entry.value[..]), (&b"k"[..], &b"value"[..]));
    assert_eq!((entry.metadata.size, Some(entry.metadata.version)), (5, outcome.version));
    assert!(entry.metadata.tags.is_empty() && entry.metadata.attrs.is_empty());
    assert_eq!((&entry.metadata.content_type, entry.metadata.expires_ms), (&None, None));
    assert_eq!(unread(&s.metadata("k")), unread(&entry.metadata));
    assert_eq!(s.get("k").unwrap(), b"value");
    assert!(s.has("k"));
    let again = s.set("k", "w");
    assert!(again.existed && again.exists, "{again:?}");
    assert_eq!(s.get("k").unwrap(), b"w");
    assert_eq!(s.metadata("k").size, 1);
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..len).map(|_| next()).collect()
}

fn comes_back(s: &Subject, value: &[u8]) {
    s.set("k", value);
    let entry = s.backend().get_entry(N, b"k").unwrap().expect("a key that was set is there");
    assert!(entry.value == *value, "a value of {} bytes came back otherwise", value.len());
    assert_eq!(entry.metadata.size, value.len() as u64);
    assert!(s.get("k").unwrap() == *value && s.has("k"));
}

pub(crate) fn values_may_be_any_bytes(s: &mut Subject) {
    let all: Vec<u8> = (0..=u8::MAX).collect();
    for value in [b"".as_slice(), b"\0", b"\xFF", b"\r\n", &all, &all.repeat(8), &[0; 5000], &noise(5000)] {
        comes_back(s, value);
    }
    comes_back(s, b""); // over a longer one
}

pub(crate) fn a_large_value_comes_back(s: &mut Subject) {
    let len = s.backend().capabilities().value_bytes_max.min(1 << 20);
    let len = usize::try_from(len).unwrap();
    comes_back(s, &noise(len));
    comes_back(s, &vec![b'a'; len]);
}

pub(crate) fn keys_may_be_any_bytes(s: &mut Subject) {
    let mut keys: Vec<Vec<u8>> = (0..=u8::MAX).map(|byte| vec![byte]).collect();
    keys.extend([b"\0\0".to_vec(), b"a\0".to_vec(), b"a\0b".to_vec(), b"{a}b".to_vec(), b"{}".to_vec()]);
    keys.extend([b"}a{".to_vec(), "\u{1F980} Käse".into(), b"a b\n".to_vec(), vec![0xFF; 300]]);
    for key in &keys {
        assert!(!s.set(key, key).existed, "{key:?} is a key of its own");
    }
    for key in &keys {
        assert!(s.get(key).is_some_and(|value| value == *key), "{key:?}");
    }
    keys.sort_unstable();
    assert!(s.keys(N) == keys);
    for key in &keys {
        assert!(s.delete(key).existed && !s.has(key), "{key:?}");
    }
}

pub(crate) fn the_longest_keys_are_told_apart(s: &mut Subject) {
    let mut keys = vec![vec![0xFF; KEY_BYTES_MAX], vec![0xFF; KEY_BYTES_MAX - 1], vec![b'a'; KEY_BYTES_MAX]];
    keys.push(keys[2].clone());
    keys[3][KEY_BYTES_MAX - 1] = b'b';
    for (key, value) in keys.iter().zip(["0", "1", "2", "3"]) {
        s.set(key, value);
    }
    for (key, value) in keys.iter().zip(["0", "1", "2", "3"]) {
        assert_eq!(s.get(key).unwrap(), value.as_bytes());
    }
    keys.sort_unstable();
    assert!(s.keys(N) == keys);
    assert!(s.delete(&keys[0]).existed && !s.has(&keys[0]) && s.has(&keys[1]));
}

pub(crate) fn equal_keys_of_different_namespaces_are_different(s: &mut Subject) {
    let namespaces = ["a", "a/b", "ab", "A"];
    for namespace in namespaces {
        assert!(!s.set_in(namespace, "b/k", namespace).existed);
    }
    for namespace in namespaces {
        assert_eq!(s.backend().get(namespace, b"b/k").unwrap().unwrap(), namespace.as_bytes());
        assert!(!s.backend().contains(namespace, b"k").unwrap());
    }
    let delete = Operation::new("a", b"b/k".as_slice(), nadb_core::Action::Delete);
    assert!(s.one(delete).existed);
    assert!(!s.backend().contains("a", b"b/k").unwrap() && s.backend().contains("a/b", b"b/k").unwrap());
}

pub(crate) fn what_is_absent_is_no_error_and_creates_nothing(s: &mut Subject) {
    let nothing = |s: &Subject| {
        assert!(s.get("k").is_none() && !s.has("k"));
        assert!(s.backend().get_entry(N, b"k").unwrap().is_none());
        assert!(s.backend().metadata(N, b"k").unwrap().is_none());
        assert_eq!(s.backend().get_many(N, &[b"k"]).unwrap(), [None]);
        let outcome = s.delete("k");
        assert!(!outcome.existed && !outcome.exists, "{outcome:?}");
        assert!(!s.keys(N).contains(&b"k".to_vec()));
    };
    nothing(s);
    assert!(s.backend().namespaces().unwrap().is_empty(), "reading and deleting create no namespace");
    s.set("other", "v");
    nothing(s);
}

pub(crate) fn a_delete_says_whether_the_key_was_there(s: &mut Subject) {
    s.one(full("k", "v"));
    let outcome = s.delete("k");
    assert!(outcome.existed && !outcome.exists && outcome.merged.is_none(), "{outcome:?}");
    assert!(s.get("k").is_none() && !s.has("k") && s.keys(N).is_empty());
    assert!(!s.delete("k").existed);
    assert!(!s.set("k", "w").existed);
    assert_eq!(s.get("k").unwrap(), b"w");
}

pub(crate) fn get_many_answers_in_the_order_of_the_keys(s: &mut Subject) {
    s.set("a", "1");
    s.set("b", "");
    s.write(&[delete("c")]);
    let some = |value: &str| Some(Value::from(value.as_bytes().to_vec()));
    let values = s.backend().get_many(N, &[b"b", b"none", b"a", b"b"]).unwrap();
    assert_eq!(values, [some(""), None, some("1"), some("")]);
    assert!(s.backend().get_many(N, &[]).unwrap().is_empty());
}

pub(crate) fn a_value_outlives_its_key_and_its_store(s: &mut Subject) {
    let long = vec![b'x'; 2000];
    s.set("a", "old");
    s.set("b", &long);
    let (a, b) = (s.get("a").unwrap(), s.get("b").unwrap());
    s.set("a", "new");
    s.delete("b");
    assert!(s.backend().drop_namespace(N).unwrap());
    s.close();
    assert_eq!(a, b"old");
    assert_eq!(b, long);
}
