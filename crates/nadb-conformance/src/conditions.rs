//! Conditions: exact, and their error says which version the key has.

use nadb_core::{Add, Condition, ErrorKind, ExpiryUpdate, Operation};

use crate::Subject;
use crate::subject::{N, TTL, delete, expiring, full, merge, set};

/// Asserts that the operation fails since the key has `current`, and that this is nothing to try again.
fn fails(s: &Subject, operation: Operation<'_>, current: Option<u64>) {
    let kind = ErrorKind::PreconditionFailed { current };
    let error = s.refused(&[operation], kind);
    assert!(!error.kind().is_retryable());
}

pub(crate) fn if_absent_holds_for_absent_keys_alone(s: &mut Subject) {
    let first = s.one(set("k", "1").when(Condition::IfAbsent));
    assert!(!first.existed && first.exists);
    fails(s, set("k", "2").when(Condition::IfAbsent), first.version);
    s.delete("k");
    s.one(full("k", "3").when(Condition::IfAbsent));
    assert_eq!(s.get("k").unwrap(), b"3");
}

pub(crate) fn if_present_holds_for_present_keys_alone(s: &mut Subject) {
    fails(s, set("k", "1").when(Condition::IfPresent), None);
    s.set("k", "");
    let outcome = s.one(set("k", "2").when(Condition::IfPresent));
    assert!(outcome.existed && outcome.exists);
    s.delete("k");
    fails(s, set("k", "3").when(Condition::IfPresent), None);
}

pub(crate) fn if_version_holds_for_that_version_alone(s: &mut Subject) {
    fails(s, set("k", "0").when(Condition::IfVersion(1)), None);
    let first = s.set_version("k", "1");
    let second = s.one(set("k", "2").when(Condition::IfVersion(first))).version.unwrap();
    for wrong in [first, second + 1, second - 1, 0, u64::MAX] {
        fails(s, set("k", "3").when(Condition::IfVersion(wrong)), Some(second));
    }
    s.one(set("k", "3").when(Condition::IfVersion(second)));
    s.delete("k");
    fails(s, set("k", "4").when(Condition::IfVersion(second)), None);
    let anew = s.set_version("k", "5");
    fails(s, set("k", "6").when(Condition::IfVersion(second)), Some(anew));
}

pub(crate) fn deletes_and_merges_obey_conditions(s: &mut Subject) {
    fails(s, delete("k").when(Condition::IfPresent), None);
    fails(s, merge("k", Add, b"1").when(Condition::IfPresent), None);
    let outcome = s.one(delete("k").when(Condition::IfAbsent));
    assert!(!outcome.existed);
    let first = s.set_version("k", "1");
    fails(s, delete("k").when(Condition::IfAbsent), Some(first));
    fails(s, delete("k").when(Condition::IfVersion(first + 1)), Some(first));
    fails(s, merge("k", Add, b"1").when(Condition::IfAbsent), Some(first));
    let second = s.one(merge("k", Add, b"1").when(Condition::IfVersion(first)));
    assert_eq!(second.merged.as_deref(), Some(&b"2"[..]));
    assert!(s.one(delete("k").when(Condition::IfVersion(second.version.unwrap()))).existed);
    assert!(!s.has("k"));
}

pub(crate) fn an_expired_key_is_absent_to_conditions(s: &mut Subject) {
    let old = s.one(expiring("k", ExpiryUpdate::After(TTL))).version.unwrap();
    s.pass_ttl();
    fails(s, set("k", "v").when(Condition::IfPresent), None);
    fails(s, set("k", "v").when(Condition::IfVersion(old)), None);
    fails(s, delete("k").when(Condition::IfPresent), None);
    assert!(!s.one(set("k", "v").when(Condition::IfAbsent)).existed);
    assert_eq!(s.get("k").unwrap(), b"v");
}

pub(crate) fn a_failed_condition_creates_no_namespace(s: &mut Subject) {
    fails(s, set("k", "v").when(Condition::IfPresent), None);
    fails(s, delete("k").when(Condition::IfVersion(7)), None);
    fails(s, merge("k", Add, b"1").when(Condition::IfPresent), None);
    assert!(s.backend().namespaces().unwrap().is_empty());
    s.one(set("k", "v").when(Condition::IfAbsent));
    assert!(s.has("k") && s.keys(N).len() == 1);
}
