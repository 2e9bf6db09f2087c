//! What a put replaces, what it keeps when told so, and when a key's life begins.

use std::time::Duration;

use nadb_core::limits::{ATTRS_BYTES_MAX, TAGS_MAX};
use nadb_core::{Attrs, ExpiryUpdate, Metadata, Put, Tags, TagsUpdate};

use crate::Subject;
use crate::subject::{N, TTL, YEAR_2100_MS, expiring, full, put, tags, unread};

const STEP: Duration = Duration::from_millis(10);

fn tags_of(metadata: &Metadata) -> Vec<&str> {
    metadata.tags.iter().collect()
}

pub(crate) fn a_put_replaces_all_but_created(s: &mut Subject) {
    s.one(full("k", "v"));
    let before = s.metadata("k");
    assert_eq!((tags_of(&before), before.expires_ms), (vec!["green", "red"], Some(YEAR_2100_MS)));
    assert_eq!(before.content_type.as_deref(), Some("text/plain"));
    assert_eq!(before.attrs.get("lang"), Some("de"));
    assert_eq!(before.created_ms, before.updated_ms);

    s.pass(STEP);
    let mut other = Put::new(b"w".as_slice());
    other.tags = tags(&["blue"]);
    other.attrs = Attrs::new([("lang", "en")]).unwrap();
    s.one(put("k", other));
    let after = s.metadata("k");
    assert_eq!((tags_of(&after), after.expires_ms, &after.content_type), (vec!["blue"], None, &None));
    assert_eq!(after.attrs.iter().collect::<Vec<_>>(), [("lang", "en")]);
    assert_eq!(after.created_ms, before.created_ms);
    assert!(after.updated_ms > before.updated_ms);

    s.set("k", "x");
    let bare = s.metadata("k");
    assert!(bare.tags.is_empty() && bare.attrs.is_empty());
    assert_eq!(bare.created_ms, before.created_ms);
}

pub(crate) fn tags_are_kept_when_told_so(s: &mut Subject) {
    s.one(full("k", "v"));
    let mut keep = Put::new(b"w".as_slice());
    keep.tags = TagsUpdate::Keep;
    s.one(put("k", keep.clone()));
    let metadata = s.metadata("k");
    assert_eq!((tags_of(&metadata), metadata.expires_ms), (vec!["green", "red"], None));
    assert!(metadata.content_type.is_none() && metadata.attrs.is_empty());
    s.set("k", "x");
    s.one(put("k", keep));
    assert!(s.metadata("k").tags.is_empty(), "tags that were replaced do not come back");
}

pub(crate) fn expiry_is_kept_when_told_so(s: &mut Subject) {
    s.one(full("k", "v"));
    s.one(expiring("k", ExpiryUpdate::Keep));
    let metadata = s.metadata("k");
    assert_eq!((metadata.expires_ms, metadata.tags.is_empty()), (Some(YEAR_2100_MS), true));
    s.set("k", "x");
    s.one(expiring("k", ExpiryUpdate::Keep));
    assert_eq!(s.metadata("k").expires_ms, None, "an expiry that was replaced does not come back");
}

pub(crate) fn keeping_on_a_new_key_gives_nothing(s: &mut Subject) {
    let mut keep = Put::new(b"v".as_slice());
    (keep.tags, keep.expiry) = (TagsUpdate::Keep, ExpiryUpdate::Keep);
    let check = |s: &Subject| {
        assert!(!s.one(put("k", keep.clone())).existed);
        let metadata = s.metadata("k");
        assert!(metadata.tags.is_empty() && metadata.expires_ms.is_none(), "{metadata:?}");
    };
    check(s);
    s.one(full("k", "v"));
    s.delete("k");
    check(s);
}

pub(crate) fn tags_attributes_and_media_type_come_back(s: &mut Subject) {
    let mut many = Put::new(b"v".as_slice());
    let all: Vec<String> = (0..TAGS_MAX).rev().map(|i| format!("tag \u{1F980} {i:02}")).collect();
    many.tags = TagsUpdate::Replace(Tags::new(all.iter().cloned()).unwrap());
    many.attrs = Attrs::new([("", "x"), ("b", ""), ("ä", "\0\n")].into_iter().skip(1)).unwrap();
    many.content_type = Some("x-ä/\0".into());
    s.one(put("k", many.clone()));
    let metadata = s.metadata("k");
    assert_eq!(tags_of(&metadata), all.iter().rev().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(metadata.attrs, many.attrs);
    assert_eq!(metadata.content_type.as_deref(), Some("x-ä/\0"));
    many.attrs = Attrs::new([("a", "v".repeat(ATTRS_BYTES_MAX - 1))]).unwrap();
    s.one(put("k", many.clone()));
    let entry = s.backend().get_entry(N, b"k").unwrap().unwrap();
    assert_eq!((unread(&entry.metadata), &entry.metadata.attrs), (unread(&s.metadata("k")), &many.attrs));
}

pub(crate) fn created_begins_anew_after_a_delete(s: &mut Subject) {
    s.set("k", "v");
    let first = s.metadata("k");
    s.pass(STEP);
    s.delete("k");
    s.set("k", "w");
    let second = s.metadata("k");
    assert!(second.created_ms > first.created_ms);
    assert_eq!(second.created_ms, second.updated_ms);
}

pub(crate) fn created_begins_anew_after_an_expiry(s: &mut Subject) {
    let start = s.now();
    s.one(expiring("k", ExpiryUpdate::After(TTL)));
    let Some(first) = s.backend().metadata(N, b"k").unwrap() else { return s.assert_alive(start, false) };
    s.pass_ttl();
    assert!(!s.set("k", "w").existed);
    assert!(s.metadata("k").created_ms > first.created_ms);
}
