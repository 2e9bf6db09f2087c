//! Another expiry for a record that is there: what it changes, what it leaves, and what it does where nothing is.

use std::time::Duration;

use nadb_core::limits::EXPIRY_MS_MAX;
use nadb_core::{Action, Append, Condition, ErrorKind, ExpiryUpdate, Feature, Metadata, Operation};

use crate::Subject;
use crate::subject::{N, TTL, YEAR_2100_MS, delete, expiring, full, merge, set};

const STEP: Duration = Duration::from_millis(10);

fn expire<'a>(key: &'a str, update: ExpiryUpdate) -> Operation<'a> {
    Operation::new(N, key.as_bytes(), Action::Expire(update))
}

fn at(ms: u64) -> ExpiryUpdate {
    ExpiryUpdate::AtMs(ms)
}

/// Whether there is anything to check; where not, expiring is refused.
fn has_expire(s: &Subject) -> bool {
    if s.backend().capabilities().has(Feature::Expire) {
        return true;
    }
    let error = s.refused(&[expire("k", ExpiryUpdate::Never)], ErrorKind::Unsupported);
    s.assert_unsupported(&error, Feature::Expire.name());
    false
}

/// But for version and expiry.
fn same_but_for_expiry(before: &Metadata, after: &Metadata) {
    let mut expected = before.clone();
    (expected.version, expected.expires_ms) = (after.version, after.expires_ms);
    assert_eq!(after, &expected);
    assert!(after.version > before.version, "the version is new");
}

pub(crate) fn an_expire_changes_the_expiry_alone(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    let long = "compressible ".repeat(400);
    for value in ["v", "", &long] {
        s.one(full("k", value));
        s.pass(STEP);
        // Created and updated differ from here on.
        s.one(merge("k", Append, b"!"));
        let value = [value, "!"].concat();
        for (update, expires_ms) in [
            (at(YEAR_2100_MS + 1), Some(YEAR_2100_MS + 1)),
            (ExpiryUpdate::Never, None),
            (at(EXPIRY_MS_MAX), Some(EXPIRY_MS_MAX)),
        ] {
            let before = s.metadata("k");
            s.pass(STEP);
            let outcome = s.one(expire("k", update));
            assert!(outcome.existed && outcome.exists && outcome.merged.is_none(), "{outcome:?}");
            let after = s.backend().get_entry(N, b"k").unwrap().expect("the key is there");
            assert_eq!(outcome.version, Some(after.metadata.version));
            assert_eq!(after.value, value.as_bytes());
            assert_eq!(after.metadata.expires_ms, expires_ms);
            same_but_for_expiry(&before, &after.metadata);
        }
    }
    if s.reopen() {
        assert_eq!(s.metadata("k").expires_ms, Some(EXPIRY_MS_MAX));
        assert_eq!(s.get("k").unwrap(), [&long, "!"].concat().as_bytes());
    }
}

pub(crate) fn a_new_lifetime_counts_from_its_write(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    let hour = Duration::from_secs(3600);
    s.set("other", "v");
    s.one(expiring("k", ExpiryUpdate::After(hour)));
    let first = s.metadata("k").expires_ms.unwrap();
    s.pass(STEP);
    s.one(expire("k", ExpiryUpdate::After(hour)));
    assert!(s.metadata("k").expires_ms.unwrap() >= first + 10, "the first one does not count");
    let start = s.now();
    s.one(expire("k", ExpiryUpdate::After(TTL)));
    s.one(expire("other", ExpiryUpdate::After(TTL)));
    let is_seen = s.has("k") && s.has("other");
    s.assert_alive(start, is_seen);
    s.one(expire("other", ExpiryUpdate::Never));
    s.pass_ttl();
    assert!(!s.has("k") && s.get("k").is_none());
    assert_eq!(s.keys(N), [b"other"]);
}

pub(crate) fn what_is_absent_does_not_expire(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    let check = |s: &Subject, key: &str| {
        for update in
            [ExpiryUpdate::Never, ExpiryUpdate::Keep, ExpiryUpdate::After(TTL), at(1), at(YEAR_2100_MS)]
        {
            let outcome = s.one(expire(key, update));
            assert!(!outcome.existed && !outcome.exists && outcome.version.is_none(), "{outcome:?}");
            assert!(!s.has(key));
        }
    };
    check(s, "k");
    assert!(s.everything().is_empty(), "no namespace comes into being");
    s.set("k", "v");
    s.delete("k");
    check(s, "k");
    s.one(expiring("k", ExpiryUpdate::After(TTL)));
    s.pass_ttl();
    check(s, "k");
    assert!(s.keys(N).is_empty());
}

pub(crate) fn an_expire_into_the_past_is_a_delete(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    s.one(full("k", "v"));
    let outcome = s.one(expire("k", at(1)));
    assert!(outcome.existed && !outcome.exists, "{outcome:?}");
    assert!(!s.has("k") && s.keys(N).is_empty());
    assert!(!s.one(expire("k", ExpiryUpdate::Never)).existed, "it does not come back");
    s.pass(STEP);
    s.set("k", "w");
    let metadata = s.metadata("k");
    assert_eq!(metadata.created_ms, metadata.updated_ms, "the key begins anew");
}

pub(crate) fn keeping_the_expiry_writes_nothing(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    s.one(full("k", "v"));
    let before = s.metadata("k");
    let outcome = s.one(expire("k", ExpiryUpdate::Keep));
    assert!(outcome.existed && outcome.exists, "{outcome:?}");
    assert_eq!(outcome.version, Some(before.version));
    assert_eq!(s.metadata("k"), before);
}

pub(crate) fn expires_obey_conditions(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    let never = |condition| expire("k", ExpiryUpdate::Never).when(condition);
    let failed = |current| ErrorKind::PreconditionFailed { current };
    assert!(!s.one(never(Condition::IfAbsent)).existed);
    s.refused(&[never(Condition::IfPresent)], failed(None));
    s.refused(&[never(Condition::IfVersion(1))], failed(None));
    let version = s.one(full("k", "v")).version.unwrap();
    s.refused(&[never(Condition::IfAbsent)], failed(Some(version)));
    s.refused(&[never(Condition::IfVersion(version + 1))], failed(Some(version)));
    assert_eq!(s.metadata("k").expires_ms, Some(YEAR_2100_MS));
    let version = s.one(never(Condition::IfVersion(version))).version.unwrap();
    assert_eq!(s.metadata("k").expires_ms, None);
    s.one(never(Condition::IfPresent));
    assert!(s.metadata("k").version > version);
}

pub(crate) fn expires_in_a_batch_see_what_came_before(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    let later = |key| expire(key, at(YEAR_2100_MS + 7));
    s.one(full("{b}old", "v"));
    let outcomes = s.write(&[
        later("{b}new"),
        full("{b}new", "w"),
        later("{b}new"),
        expire("{b}new", ExpiryUpdate::Keep),
        expire("{b}old", ExpiryUpdate::Keep),
        expire("{b}old", ExpiryUpdate::Never),
        delete("{b}gone"),
        later("{b}gone"),
        set("{b}brief", "x"),
        expire("{b}brief", at(1)),
        later("{b}brief"),
    ]);
    let existed: Vec<_> = outcomes.iter().map(|outcome| outcome.existed).collect();
    assert_eq!(existed, [false, false, true, true, true, true, false, false, false, true, false]);
    assert_eq!(outcomes[3].version, outcomes[2].version, "keeping gives the version that is there");
    let new = s.metadata("{b}new");
    assert_eq!(
        (new.expires_ms, new.tags.len(), Some(new.version)),
        (Some(YEAR_2100_MS + 7), 2, outcomes[2].version)
    );
    assert_eq!(s.get("{b}new").unwrap(), b"w");
    assert_eq!(s.metadata("{b}old").expires_ms, None);
    assert_eq!(s.get("{b}old").unwrap(), b"v");
    assert_eq!(s.keys(N), [b"{b}new", b"{b}old"]);
    let refused = [later("{b}new"), later("{b}new").when(Condition::IfAbsent)];
    let before = s.everything();
    let error = s.try_write(&refused).expect_err("its condition does not hold");
    assert!(matches!(error.kind(), ErrorKind::PreconditionFailed { .. }), "{error}");
    assert_eq!(s.everything(), before);
}

pub(crate) fn a_lifetime_beyond_a_limit_is_refused(s: &mut Subject) {
    if !has_expire(s) {
        return;
    }
    s.one(full("k", "v"));
    for key in ["k", "absent"] {
        let refused = |update, kind| s.refused(&[expire(key, update)], kind).to_string();
        assert!(refused(ExpiryUpdate::After(Duration::ZERO), ErrorKind::InvalidInput).contains("ttl is 0 s"));
        assert!(refused(ExpiryUpdate::After(Duration::MAX), ErrorKind::Limit).contains("9999"));
        assert!(refused(at(EXPIRY_MS_MAX + 1), ErrorKind::Limit).contains("9999"));
    }
}

pub(crate) fn a_snapshot_has_the_expiry_of_its_moment(s: &mut Subject) {
    if !has_expire(s) || !s.backend().capabilities().has(Feature::Snapshots) {
        return;
    }
    s.one(full("k", "v"));
    s.one(full("gone", "v"));
    let (before, snapshot) = (s.metadata("k"), s.backend().snapshot().unwrap());
    s.one(expire("k", ExpiryUpdate::Never));
    s.one(expire("gone", at(1)));
    assert_eq!(snapshot.metadata(N, b"k").unwrap(), Some(before));
    assert_eq!(snapshot.get(N, b"gone").unwrap().unwrap(), b"v");
    assert_eq!(s.metadata("k").expires_ms, None);
}
