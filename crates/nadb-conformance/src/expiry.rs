//! Expiry: gone at its millisecond from every read, and leaving nothing behind.

use std::time::Duration;

use nadb_core::limits::EXPIRY_MS_MAX;
use nadb_core::{Add, Condition, ExpiryUpdate, Put, TagsUpdate};

use crate::Subject;
use crate::subject::{N, TTL, YEAR_2100_MS, delete, expiring, full, put, set, tags};

pub(crate) fn an_expired_record_is_absent_everywhere(s: &mut Subject) {
    s.set("a", "lives");
    s.set("z", "lives");
    let start = s.now();
    let mut brief = Put::new(b"v".as_slice());
    brief.tags = tags(&["t"]);
    brief.expiry = ExpiryUpdate::After(TTL);
    s.one(put("k", brief));
    let is_seen = s.has("k") && s.get("k").is_some() && s.keys(N).len() == 3;
    s.assert_alive(start, is_seen);
    s.pass_ttl();
    assert!(s.get("k").is_none() && !s.has("k"));
    assert!(s.backend().get_entry(N, b"k").unwrap().is_none());
    assert!(s.backend().metadata(N, b"k").unwrap().is_none());
    assert_eq!(s.backend().get_many(N, &[b"k"]).unwrap(), [None]);
    assert_eq!(s.keys(N), [b"a", b"z"]);
    assert_eq!(s.everything()[0].1.len(), 2);
    let outcome = s.delete("k");
    assert!(!outcome.existed && !outcome.exists, "{outcome:?}");
}

pub(crate) fn a_lifetime_counts_from_the_write(s: &mut Subject) {
    for (ttl, ms) in [
        (Duration::from_secs(3600), 3_600_000),
        (Duration::from_millis(60_001), 60_001),
        (Duration::from_micros(60_000_001), 60_001), // rounded up
        (Duration::from_secs(100 * 365 * 86_400), 3_153_600_000_000),
    ] {
        s.one(expiring("k", ExpiryUpdate::After(ttl)));
        let metadata = s.metadata("k");
        assert_eq!(metadata.expires_ms.map(|at| at - metadata.updated_ms), Some(ms), "{ttl:?}");
    }
}

pub(crate) fn an_absolute_expiry_is_kept_to_the_millisecond(s: &mut Subject) {
    for at in [YEAR_2100_MS, YEAR_2100_MS + 1, EXPIRY_MS_MAX] {
        s.one(expiring("k", ExpiryUpdate::AtMs(at)));
        assert_eq!(s.metadata("k").expires_ms, Some(at));
        assert_eq!(s.get("k").unwrap(), b"v");
    }
}

pub(crate) fn an_expiry_already_past_acts_as_a_delete(s: &mut Subject) {
    let past = || expiring("{b}k", ExpiryUpdate::AtMs(1));
    let outcome = s.one(past());
    assert!(!outcome.existed && !outcome.exists, "{outcome:?}");
    assert!(!s.has("{b}k") && s.keys(N).is_empty());
    let first = s.one(full("{b}k", "v"));
    let outcome = s.one(past().when(Condition::IfVersion(first.version.unwrap())));
    assert!(outcome.existed && !outcome.exists, "{outcome:?}");
    assert!(s.get("{b}k").is_none() && s.keys(N).is_empty());
    let outcomes = s.write(&[
        set("{b}k", "1"),
        past(),
        set("{b}k", "2").when(Condition::IfAbsent),
        past(),
        delete("{b}k").when(Condition::IfAbsent),
    ]);
    let existed: Vec<_> = outcomes.iter().map(|outcome| outcome.existed).collect();
    assert_eq!(existed, [false, true, false, true, false]);
    assert!(s.one(expiring("{b}k", ExpiryUpdate::AtMs(0))).version.is_none_or(|version| version > 0));
    assert!(s.set_version("{b}k", "3") > first.version.unwrap());
}

pub(crate) fn a_put_without_expiry_lives_on(s: &mut Subject) {
    s.one(expiring("k", ExpiryUpdate::After(TTL)));
    s.set("k", "w");
    s.one(expiring("later", ExpiryUpdate::After(TTL)));
    s.one(expiring("later", ExpiryUpdate::After(Duration::from_secs(3600))));
    s.one(expiring("sooner", ExpiryUpdate::AtMs(YEAR_2100_MS)));
    s.one(expiring("sooner", ExpiryUpdate::After(TTL)));
    s.pass_ttl();
    assert_eq!(s.get("k").unwrap(), b"w");
    assert_eq!(s.keys(N), [b"k".as_slice(), b"later"]);
}

pub(crate) fn an_expired_record_leaves_nothing_behind(s: &mut Subject) {
    let mut brief = Put::new(b"v".as_slice());
    brief.tags = tags(&["t"]);
    brief.expiry = ExpiryUpdate::After(TTL);
    s.one(put("k", brief));
    s.pass_ttl();
    let mut keep = Put::new(b"w".as_slice());
    (keep.tags, keep.expiry) = (TagsUpdate::Keep, ExpiryUpdate::Keep);
    assert!(!s.one(put("k", keep)).existed);
    let metadata = s.metadata("k");
    assert!(metadata.tags.is_empty() && metadata.expires_ms.is_none(), "{metadata:?}");
    assert_eq!(metadata.created_ms, metadata.updated_ms);
}

pub(crate) fn a_merge_on_an_expired_key_begins_anew(s: &mut Subject) {
    let mut brief = Put::new(b"41".as_slice());
    brief.tags = tags(&["t"]);
    brief.expiry = ExpiryUpdate::After(TTL);
    s.one(put("k", brief));
    s.pass_ttl();
    assert_eq!(s.merge("k", Add, "1").unwrap(), b"1");
    let metadata = s.metadata("k");
    assert!(metadata.tags.is_empty() && metadata.expires_ms.is_none(), "{metadata:?}");
}
