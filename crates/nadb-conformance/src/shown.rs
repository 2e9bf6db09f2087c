//! Values that are shown where they stand: the same as those that are read, exactly once, to someone who may do as they like.

use std::panic::{AssertUnwindSafe, catch_unwind};

use nadb_core::ExpiryUpdate;

use crate::Subject;
use crate::subject::{N, TTL, expiring};

/// What is shown of a key: `None` where nothing was.
fn shown(s: &Subject, namespace: &str, key: &str) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    let read = &mut |value: &[u8]| all.push(value.to_vec());
    let is_there = s.backend().get_with(namespace, key.as_bytes(), read).unwrap();
    assert_eq!(all.len(), usize::from(is_there), "a value is shown once, and one that is not there never");
    all.pop()
}

pub(crate) fn get_with_shows_what_get_gives(s: &mut Subject) {
    let long = s.backend().capabilities().value_bytes_max.min(1 << 20);
    let repeated = vec![b'a'; usize::try_from(long).unwrap()];
    let counted: Vec<u8> = (0..20_000u32).flat_map(u32::to_le_bytes).collect();
    for value in
        [b"value".as_slice(), b"", b"\0\xFF", &repeated, &counted[..counted.len().min(repeated.len())]]
    {
        s.set("k", value);
        assert!(shown(s, N, "k").is_some_and(|shown| shown == value), "{} bytes differ", value.len());
        assert!(s.get("k").unwrap() == *value);
    }
    s.set("k", "last");
    s.set_in("m", "k", "another");
    assert_eq!(shown(s, N, "k").unwrap(), b"last");
    assert_eq!(shown(s, "m", "k").unwrap(), b"another");
}

pub(crate) fn what_is_absent_is_not_shown(s: &mut Subject) {
    assert_eq!(shown(s, N, "k"), None);
    assert!(s.backend().namespaces().unwrap().is_empty());
    s.one(expiring("brief", ExpiryUpdate::After(TTL)));
    s.set("deleted", "v");
    s.set("there", "v");
    s.delete("deleted");
    s.pass_ttl();
    for (namespace, key) in [(N, "k"), (N, "deleted"), (N, "brief"), ("other", "there")] {
        assert_eq!(shown(s, namespace, key), None, "{namespace}: {key}");
    }
    assert!(s.backend().drop_namespace(N).unwrap());
    assert_eq!(shown(s, N, "there"), None);
}

pub(crate) fn who_is_shown_a_value_may_call_the_store(s: &mut Subject) {
    for value in [b"old".to_vec(), vec![b'x'; 2000]] {
        s.set("k", &value);
        s.set("other", "v");
        let mut is_done = false;
        let read = &mut |bytes: &[u8]| {
            assert!(s.get("k").unwrap() == value && shown(s, N, "k").unwrap() == value);
            s.set("k", "new");
            assert!(s.delete("other").existed);
            assert_eq!(s.keys(N), [b"k"]);
            assert_eq!(s.get("k").unwrap(), b"new");
            assert!(s.backend().drop_namespace(N).unwrap());
            assert!(bytes == value, "a value that is shown changed under the eyes");
            is_done = true;
        };
        assert!(s.backend().get_with(N, b"k", read).unwrap() && is_done);
        assert!(!s.has("k"));
    }
}

pub(crate) fn a_panic_of_who_is_shown_a_value_does_no_harm(s: &mut Subject) {
    s.set("k", "v");
    let panics = || s.backend().get_with(N, b"k", &mut |_| std::panic::resume_unwind(Box::new("on purpose")));
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err(), "a panic is not swallowed");
    assert_eq!(shown(s, N, "k").unwrap(), b"v");
    s.set("k", "w");
    assert_eq!(s.get("k").unwrap(), b"w");
    assert_eq!(s.keys(N), [b"k"]);
}
