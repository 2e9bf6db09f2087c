//! Texts: what goes in comes out, what does not fit is an error that keeps the value to itself.

use nadb::{Error, ErrorKind, Store};

pub(crate) fn keeps_the_secret(error: &Error, words: &[&str]) {
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    let texts = [error.to_string(), format!("{error:?}")];
    for text in &texts {
        assert!(!text.contains("secret"), "{text}");
        words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is not in {text:?}"));
    }
    assert!(std::error::Error::source(error).is_none());
}

#[test]
fn texts_come_back_and_other_bytes_are_refused() {
    let store = Store::memory().unwrap();
    let notes = store.namespace("app/notes").unwrap();
    for text in ["", "a", "Käse \u{1F980}\0\n", &"long ".repeat(1000)] {
        notes.set_text("k", text).unwrap();
        assert_eq!(notes.get_text("k").unwrap().unwrap(), text);
        assert_eq!(notes.get("k").unwrap().unwrap(), text.as_bytes());
        let metadata = notes.metadata("k").unwrap().unwrap();
        assert_eq!(metadata.content_type.as_deref(), Some("text/plain; charset=utf-8"));
    }
    for (bytes, offset) in
        [(&b"secret\xFF"[..], "byte 6 "), (b"secret\xC3", "byte 6 "), (b"\x80secret", "byte 0 ")]
    {
        notes.set("k", bytes).unwrap();
        keeps_the_secret(&notes.get_text("k").unwrap_err(), &["\"app/notes\"", offset]);
        let then = store.snapshot().unwrap().namespace("app/notes").unwrap();
        keeps_the_secret(&then.get_text("k").unwrap_err(), &["\"app/notes\"", offset]);
    }
    assert_eq!(notes.get_text("").unwrap_err().kind(), ErrorKind::Limit);
    notes.put_text("k", "t").tags(["a"]).content_type("text/markdown").commit().unwrap();
    assert_eq!(notes.metadata("k").unwrap().unwrap().content_type.as_deref(), Some("text/markdown"));
}
