//! Versions rise with every write to a key and are never given to it again.

use nadb_core::{Add, ExpiryUpdate};

use crate::Subject;
use crate::subject::{N, TTL, expiring, full, merge, set};

pub(crate) fn versions_rise_and_are_what_reads_show(s: &mut Subject) {
    let mut last = 0;
    for i in 0..20 {
        let version = match i % 3 {
            0 => s.set_version("k", "1"),
            1 => s.one(full("k", "1")).version.unwrap(),
            _ => s.one(merge("k", Add, b"1")).version.unwrap(),
        };
        assert!(version > last, "{version} does not follow {last}");
        last = version;
        s.set("other", "v");
        assert_eq!(s.metadata("k").version, version);
        assert_eq!(s.backend().get_entry(N, b"k").unwrap().unwrap().metadata.version, version);
    }
    let batch = s.write(&[set("{b}k", "1"), set("{b}k", "2"), set("{b}k", "3")]);
    assert!(batch.is_sorted_by(|a, b| a.version < b.version), "{batch:?}");
    assert_eq!(Some(s.metadata("{b}k").version), batch[2].version);
}

pub(crate) fn versions_are_not_reused_after_a_delete(s: &mut Subject) {
    let mut last = s.set_version("k", "v");
    for _ in 0..3 {
        if let Some(version) = s.delete("k").version {
            assert!(version > last);
            last = version;
        }
        s.delete("k");
        let version = s.set_version("k", "v");
        assert!(version > last, "{version} does not follow {last}");
        last = version;
    }
}

pub(crate) fn versions_are_not_reused_after_an_expiry(s: &mut Subject) {
    let first = s.one(expiring("k", ExpiryUpdate::After(TTL))).version.unwrap();
    s.pass_ttl();
    assert!(!s.has("k"));
    assert!(s.set_version("k", "v") > first);
}

pub(crate) fn versions_are_not_reused_after_a_drop(s: &mut Subject) {
    let first = s.set_version("k", "v");
    assert!(s.backend().drop_namespace(N).unwrap());
    let second = s.set_version("k", "v");
    assert!(second > first, "{second} does not follow {first}");
    assert!(s.backend().drop_namespace(N).unwrap());
    s.set("other", "v");
    assert!(s.set_version("k", "v") > second);
}
