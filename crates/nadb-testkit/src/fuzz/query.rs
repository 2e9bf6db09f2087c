//! Filters and cursors as texts that anybody may send.

use nadb_core::limits::QUERY_TEXT_BYTES_MAX;
use nadb_core::{Cursor, ErrorKind, Filter};

const NOW_MS: u64 = 1_700_000_000_000;

/// Reads a filter and a cursor; what can be read is displayed and read to the same.
///
/// # Panics
/// When a promise of the code is broken.
pub fn query_parse(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match Filter::parse_at(&text, NOW_MS) {
        Ok(filter) => displayed(&filter),
        Err(error) => refused(&text, &error.to_string(), error.kind()),
    }
    if let Ok(filter) = Filter::parse(&text) {
        assert_eq!(Filter::parse_at(&text, NOW_MS).ok(), Some(filter), "it does not depend on now");
    }
    if let Ok(cursor) = text.parse::<Cursor>() {
        assert_eq!(cursor.to_string(), text, "a cursor has one text");
    }
}

fn displayed(filter: &Filter) {
    filter.check().expect("what is read is within the limits");
    let text = filter.to_string();
    // Escapes are longer than what they stand for.
    if text.len() <= QUERY_TEXT_BYTES_MAX {
        let again = Filter::parse(&text).expect("what is displayed can be read");
        assert_eq!(again, *filter, "{text}");
    }
}

/// The mark stands within the line that is shown, or right behind it.
fn refused(text: &str, said: &str, kind: ErrorKind) {
    assert!(matches!(kind, ErrorKind::InvalidInput | ErrorKind::Limit), "{kind:?} for {text:?}");
    let mut lines = said.lines().rev();
    if let (Some(mark), Some(_)) = (lines.next().filter(|mark| mark.trim_start() == "^"), lines.next()) {
        assert!(mark.len() <= 80, "{said}");
    }
}

/// Expressions, right and wrong, and cursors.
pub(super) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let deep = format!("{}tag:a{}", "NOT (all OR ".repeat(20), ")".repeat(20));
    let cursor = "AYS5ywj9SIu5SU0AAAAAAAAAdXNlcjr_MTcS1Ua9";
    let texts = [
        ("typical", "tag:user AND NOT tag:banned AND size>1k AND prefix:\"user:\""),
        ("nested", "(tag:a OR (tag:b and contains:\"x y\")) and not none"),
        ("quoted", r#"prefix:"\xff\x00\n\"\\ ä" or contains:"""#),
        ("sizes", "size:10..20 or size:..=2Ki or size<=5 or size>0 or size=1G"),
        ("dates", "created>=2024-02-29 and updated:2026-01-31T23:59:60.5Z..2026-02-01T10:00:00+02:00"),
        ("relative", "updated > now-2h and expires:now..=now + 7d and accessed:never or expires:any"),
        ("milliseconds", "created=@1700000000000 or updated<@5 or expires>@18446744073709551615"),
        ("deep", deep.as_str()),
        ("adjacent", "tag:a tag:b"),
        ("unbalanced", "(tag:a and (tag:b)"),
        ("lines", "tag:a\nand\n tag:"),
        ("cursor", cursor),
    ];
    texts.map(|(name, text)| (name, text.as_bytes().to_vec())).to_vec()
}
