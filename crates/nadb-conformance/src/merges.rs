//! Counters and merges: exact, and nothing but the value changes.

use std::time::Duration;

use nadb_core::{
    Add, Append, Error, ErrorKind, ExpiryUpdate, Feature, Max, MergeKind, MergeOperator, Min, Result,
};

use crate::Subject;
use crate::subject::{N, expiring, full, merge, unread};

pub(crate) fn a_missing_counter_counts_from_zero(s: &mut Subject) {
    let outcome = s.one(merge("k", Add, b"5"));
    assert!(!outcome.existed && outcome.exists);
    assert_eq!(outcome.merged.as_deref(), Some(&b"5"[..]));
    assert_eq!(s.merge("k", Add, "-7").unwrap(), b"-2");
    assert_eq!(s.merge("k", Add, "2").unwrap(), b"0");
    assert_eq!(s.merge("k", Add, "0").unwrap(), b"0");
    assert_eq!((s.get("k").unwrap(), s.metadata("k").size), (b"0".to_vec().into(), 1));
}

pub(crate) fn counters_are_exact_up_to_their_limits(s: &mut Subject) {
    let beyond = |by: &str| {
        let error = s.refused(&[merge("k", Add, by.as_bytes())], ErrorKind::Limit);
        assert!(error.to_string().contains("64-bit"), "the error names the limit: {error}");
    };
    let max = i64::MAX.to_string();
    // Beyond 2^53 a server that counts in floating point is off by one.
    for start in [(1_i64 << 53) + 1, i64::MAX - 2, -(1 << 53) - 2] {
        s.set("k", start.to_string());
        assert_eq!(s.merge("k", Add, "1").unwrap(), (start + 1).to_string().into_bytes());
    }
    s.set("k", (i64::MAX - 1).to_string());
    assert_eq!(s.merge("k", Add, "1").unwrap(), max.as_bytes());
    beyond("1");
    beyond(&max);
    assert_eq!(s.merge("k", Add, "-1").unwrap(), (i64::MAX - 1).to_string().into_bytes());
    s.set("k", "0");
    assert_eq!(s.merge("k", Add, i64::MIN.to_string()).unwrap(), i64::MIN.to_string().into_bytes());
    beyond("-1");
    assert_eq!(s.merge("k", Add, &max).unwrap(), b"-1");
}

pub(crate) fn what_is_no_counter_is_refused(s: &mut Subject) {
    for bad in ["", " 1", "1 ", "+1", "01", "-0", "1.0", "x", "9223372036854775808", "\u{664}"] {
        s.set("k", bad);
        s.refused(&[merge("k", Add, b"1")], ErrorKind::InvalidInput);
        s.refused(&[merge("k", Max, b"1")], ErrorKind::InvalidInput);
        s.refused(&[merge("new", Add, bad.as_bytes())], ErrorKind::InvalidInput);
        s.refused(&[merge("new", Min, bad.as_bytes())], ErrorKind::InvalidInput);
    }
    s.set("k", "7");
    assert_eq!(s.merge("k", Add, "1").unwrap(), b"8");
}

pub(crate) fn append_min_and_max_do_as_they_say(s: &mut Subject) {
    assert_eq!(s.merge("text", Append, "ab").unwrap(), b"ab");
    assert_eq!(s.merge("text", Append, "").unwrap(), b"ab");
    assert_eq!(s.merge("text", Append, b"\0\xFF").unwrap(), b"ab\0\xFF");
    assert_eq!(s.get("text").unwrap(), b"ab\0\xFF");
    assert_eq!(s.merge("empty", Append, "").unwrap(), b"");
    assert!(s.has("empty"));
    let large = (1_i64 << 53) + 1;
    for (min, operand, max) in
        [(3, 3, 3), (-4, -4, 3), (-4, 5, 5), (-4, large, large), (-4, large - 1, large)]
    {
        let number = |number: i64| number.to_string().into_bytes();
        assert_eq!(s.merge("min", Min, number(operand)).unwrap(), number(min));
        assert_eq!(s.merge("max", Max, number(operand)).unwrap(), number(max));
    }
    assert_eq!(s.get("max").unwrap(), large.to_string().into_bytes());
}

pub(crate) fn a_merge_changes_the_value_alone(s: &mut Subject) {
    s.one(full("k", "1"));
    let before = s.metadata("k");
    s.pass(Duration::from_millis(10));
    for name in ["add", "max", "min", "append"] {
        let merged = match name {
            "add" => s.merge("k", Add, "9"),
            "max" => s.merge("k", Max, "11"),
            "min" => s.merge("k", Min, "11"),
            _ => s.merge("k", Append, "0"),
        };
        assert_eq!(s.get("k").unwrap(), merged.unwrap());
        let mut after = s.metadata("k");
        assert!(after.version > before.version && after.updated_ms > before.updated_ms, "{name}");
        assert_eq!(after.size, s.get("k").unwrap().len() as u64, "{name}");
        after.version = before.version;
        after.updated_ms = before.updated_ms;
        (after.size, after.stored_size) = (before.size, before.stored_size);
        assert_eq!(unread(&after), unread(&before), "{name}");
    }
    assert_eq!(s.get("k").unwrap(), b"110");
}

pub(crate) fn a_merge_creates_its_namespace_if_it_succeeds(s: &mut Subject) {
    s.refused(&[merge("k", Add, b"x")], ErrorKind::InvalidInput);
    assert!(s.backend().namespaces().unwrap().is_empty());
    s.merge("k", Add, "1").unwrap();
    assert_eq!(s.keys(N), [b"k"]);
    let metadata = s.metadata("k");
    assert!(metadata.tags.is_empty() && metadata.expires_ms.is_none());
    assert_eq!(metadata.created_ms, metadata.updated_ms);
}

/// Keeps the longer one; refuses an empty operand.
#[derive(Debug)]
struct Longest;

impl MergeOperator for Longest {
    fn merge(&self, key: &[u8], current: Option<&[u8]>, operand: &[u8]) -> Result<Vec<u8>> {
        assert_eq!(key, b"k", "the operator is given the key");
        if operand.is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "operand has 0 bytes; the operator wants some"));
        }
        Ok(current.filter(|current| current.len() >= operand.len()).unwrap_or(operand).to_vec())
    }
}

pub(crate) fn own_operators_merge_or_are_refused(s: &mut Subject) {
    assert_eq!(Longest.kind(), MergeKind::Custom);
    if !s.backend().capabilities().has(Feature::CustomMerges) {
        let error = s.refused(&[merge("k", Longest, b"a")], ErrorKind::Unsupported);
        return s.assert_unsupported(&error, "merge operator");
    }
    assert_eq!(s.merge("k", Longest, "abc").unwrap(), b"abc");
    assert_eq!(s.merge("k", Longest, "x").unwrap(), b"abc");
    assert_eq!(s.merge("k", Longest, "long").unwrap(), b"long");
    let error = s.refused(&[merge("k", Longest, b"")], ErrorKind::InvalidInput);
    assert!(error.to_string().contains("the operator wants some"), "the operator's own words: {error}");
    s.one(expiring("k", ExpiryUpdate::AtMs(1))); // gone
    assert_eq!(s.merge("k", Longest, "b").unwrap(), b"b");
}
