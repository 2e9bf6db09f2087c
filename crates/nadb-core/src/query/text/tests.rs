//! What the notation means, where its errors point, and that nothing is lost between filter and text.

use proptest::prelude::*;

use super::*;
use crate::ErrorKind;

const NOW: u64 = 1_700_000_000_000;

fn parse(text: &str) -> Filter {
    Filter::parse_at(text, NOW).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn refused(text: &str) -> Error {
    match Filter::parse_at(text, NOW) {
        Err(error) => error,
        Ok(filter) => panic!("{text:?} is read as {filter:?}"),
    }
}

fn tag(tag: &str) -> Filter {
    Filter::tag(tag)
}

#[test]
fn operators_bind_as_everywhere() {
    let check = |text: &str, filter: Filter| assert_eq!(parse(text), filter, "{text}");
    check("tag:a", tag("a"));
    check("tag:a AND tag:b AND tag:c", Filter::And(vec![tag("a"), tag("b"), tag("c")]));
    check("tag:a or tag:b oR tag:c", Filter::Or(vec![tag("a"), tag("b"), tag("c")]));
    check("tag:a OR tag:b and tag:c", tag("a").or(tag("b").and(tag("c"))));
    check("(tag:a OR tag:b) AND tag:c", Filter::And(vec![tag("a").or(tag("b")), tag("c")]));
    check("NOT tag:a AND tag:b", (!tag("a")).and(tag("b")));
    check("NOT(tag:a AND tag:b)", !tag("a").and(tag("b")));
    check("not NOT tag:a", tag("a"));
    check("not not not tag:a", !tag("a"));
    check(" ( ( tag:a ) ) ", tag("a"));
    check("tag:a AND (tag:b AND tag:c)", Filter::And(vec![tag("a"), tag("b").and(tag("c"))]));
    check("all", Filter::all());
    check("NOT ALL OR none", (!Filter::all()).or(Filter::Or(Vec::new())));
    check(
        "tag:user AND NOT tag:banned AND size>1k AND prefix:\"user:\"",
        Filter::And(vec![
            tag("user"),
            !tag("banned"),
            Filter::Size(Span::of(1_001..)),
            Filter::Prefix(b"user:".to_vec()),
        ]),
    );
    check("tag:a\n\tAND\r\n tag:b", tag("a").and(tag("b")));
}

#[test]
fn texts_are_words_or_quoted() {
    let check = |text: &str, bytes: &[u8]| {
        assert_eq!(parse(&format!("prefix:{text}")), Filter::Prefix(bytes.to_vec()), "{text}");
        assert_eq!(parse(&format!("(contains:{text})")), Filter::KeyContains(bytes.to_vec()), "{text}");
    };
    check("user:", b"user:");
    check("a=b<c>,'ä", "a=b<c>,'ä".as_bytes());
    check("AND", b"AND");
    check("\"\"", b"");
    check("\"a b(c) \\\"q\\\" \\\\ \\n\\r\\t\\x00\\xfF\"", b"a b(c) \"q\" \\ \n\r\t\0\xFF");
    check("\"\\xc3\\xa4\"", "ä".as_bytes());
    assert_eq!(parse("tag:\"\\xc3\\xa4\""), tag("ä"));
    assert_eq!(parse("tag:ext:rs"), tag("ext:rs"));
    assert_eq!(parse("tag:AND AND tag:or"), tag("AND").and(tag("or")));
}

#[test]
fn sizes_are_compared_and_ranged() {
    let check = |text: &str, span: Span| assert_eq!(parse(text), Filter::Size(span), "{text}");
    check("size>10", Span::of(11..));
    check("size >= 10", Span::of(10..));
    check("size<10", Span::of(..10));
    check("size<=10", Span::of(..=10));
    check("size=10", Span::of(10..=10));
    check("size:10", Span::of(10..=10));
    check("size:10..20", Span { from: 10, to: 19 });
    check("size:10..=20", Span { from: 10, to: 20 });
    check("size:10..", Span::of(10..));
    check("size:..20", Span::of(..20));
    check("size:..=20", Span::of(..=20));
    check("size:1k..1M", Span { from: 1_000, to: 999_999 });
    check("SIZE:1Ki..=1mi", Span { from: 1 << 10, to: 1 << 20 });
    check("size=2G", Span::of(2_000_000_000..=2_000_000_000));
    check("size=2Gi", Span::of(2 << 30..=2 << 30));
    check("size:7..7", Span::NONE);
    check("size<0", Span::NONE);
    check("size>18446744073709551615", Span::NONE);
    check("size<=18446744073709551615", Span::ALL);
}

#[test]
fn times_are_dates_milliseconds_or_relative() {
    let check = |text: &str, span: Span| assert_eq!(parse(text), Filter::Updated(span), "{text}");
    let day = |days: u64| days * 86_400_000;
    check("updated=@1700000000000", Span::of(NOW..=NOW));
    check("updated>@5", Span::of(6..));
    check("updated > now-2h", Span::of(NOW - 7_200_000 + 1..));
    check("updated >= NOW - 2h", Span::of(NOW - 7_200_000..));
    check("updated<now", Span::of(..NOW));
    check("updated:now-7d..now", Span::of(NOW - day(7)..NOW));
    check("updated:now-500ms..=now+10m", Span::of(NOW - 500..=NOW + 600_000));
    check("updated<now - 1000000d", Span::NONE); // 1970, and before it nothing is
    // A date is its whole day.
    check("updated=1970-01-01", Span { from: 0, to: day(1) - 1 });
    check("updated>1970-01-01", Span::of(day(1)..));
    check("updated>=1970-01-02", Span::of(day(1)..));
    check("updated<1970-01-02", Span::of(..day(1)));
    check("updated<=1970-01-02", Span::of(..day(2)));
    check("updated:1970-01-02..1970-01-04", Span::of(day(1)..day(3)));
    check("updated:1970-01-02..=1970-01-04", Span::of(day(1)..day(4)));
    check("updated:2000-02-29", Span::of(day(11_016)..day(11_017)));
    check("updated=2024-12-31", Span::of(day(20_088)..day(20_089)));
    check("updated<=9999-12-31", Span::of(..=crate::limits::EXPIRY_MS_MAX));
    // A time is a moment.
    let at = |text: &str, ms: u64| check(&format!("updated:{text}"), Span::of(ms..=ms));
    at("2023-11-14T22:13:20Z", NOW);
    at("2023-11-14t22:13:20.000z", NOW);
    at("2023-11-15T00:13:20+02:00", NOW);
    at("2023-11-14T12:43:20-09:30", NOW);
    at("2023-11-14T22:13:20.5Z", NOW + 500);
    at("2023-11-14T22:13:20.1239Z", NOW + 123);
    at("1969-12-31T23:00:00-01:00", 0);
    at("2016-12-31T23:59:60Z", 1_483_228_800_000);
    check("updated:2023-11-14T22:13:20Z..2023-11-14T22:13:21Z", Span::of(NOW..NOW + 1_000));
    assert_eq!(parse("expires:never"), !Filter::Expires(Span::ALL));
    assert_eq!(parse("NOT expires:Any"), !Filter::Expires(Span::ALL));
    assert_eq!(parse("accessed:never"), !Filter::Accessed(Span::ALL));
    assert_eq!(
        parse("created<@7 OR accessed<@8"),
        Filter::Created(Span::of(..7)).or(Filter::Accessed(Span::of(..8)))
    );
}

#[test]
fn errors_point_at_the_place() {
    let check = |text: &str, column: usize, found: &str, expected: &str| {
        let error = refused(text);
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let said = error.to_string();
        let lines: Vec<&str> = said.lines().collect();
        let [first, shown, mark] = lines.as_slice() else { panic!("{said}") };
        assert!(first.starts_with(&format!("column {column}: found {found}, expected ")), "{text}\n{said}");
        assert!(first.contains(expected), "{said}");
        assert_eq!(*shown, format!("  {text}"), "{said}");
        assert_eq!(mark.chars().count(), column + 2, "{said}");
    };
    let end = "the end";
    check("", 1, end, "a term: tag:…");
    check("tag:a tag:b", 7, "\"tag:b\"", "AND, OR or the end");
    check("tag:a AN tag:b", 7, "\"AN\"", "AND, OR or the end");
    check("tag:a AND", 10, end, "a term");
    check("AND tag:a", 1, "\"AND\"", "a term");
    check("tag:a AND OR tag:b", 11, "\"OR\"", "a term");
    check("NOT", 4, end, "a term");
    check("(tag:a", 7, end, "AND, OR or \")\" for the \"(\" at column 1");
    check("(tag:a tag:b)", 8, "\"tag:b\"", "\")\" for the \"(\" at column 1");
    check("tag:a)", 6, "\")\"", "no \"(\" is open");
    check("()", 2, "\")\"", "a term");
    check("tag:ä (x", 7, "\"(\"", "AND, OR or the end");
    check("tag", 4, end, "\":\"");
    check("tag=a", 4, "\"=a\"", "\":\"");
    check("tag: a", 6, "\"a\"", "without a blank before it");
    check("tag:", 5, end, "a word or a quoted text");
    check("tag:a\"b\"", 6, "\"\\\"b\\\"\"", "a blank");
    check("tag:\"a\"b", 8, "\"b\"", "a blank, a bracket or the end");
    check("prefix:\"a", 10, end, "a quote for the one at column 8");
    check("prefix:a\\x00", 9, "\"\\\\x00\"", "quotes around");
    check("prefix:\"\\q\"", 9, "\"\\\\q\\\"\"", "\\xHH");
    check("prefix:\"\\x0", 9, "\"\\\\x0\"", "\\xHH");
    check("prefix:\"\\x+1\"", 9, "\"\\\\x+1\\\"\"", "\\xHH");
    check("size", 5, end, "<, <=, >, >=, = or \":\"");
    check("size>", 6, end, "a size such as");
    check("size>k", 6, "\"k\"", "a size such as");
    check("size>1x", 6, "\"1x\"", "a size such as");
    check("size>1k,", 8, "\",\"", "the end of the term");
    check("size:1-2", 7, "\"-2\"", "the end of the term or \"..\"");
    check("size:1...2", 9, "\".2\"", "a size such as");
    check("size:..", 8, end, "a size such as");
    check("size:1..=", 10, end, "a size such as");
    check("size:never", 6, "\"never\"", "a size such as");
    check("updated>2h", 9, "\"2h\"", "or now-2h");
    check("updated:never", 9, "\"never\"", "a time such as");
    check("updated>now-2", 13, "\"2\"", "a length of time");
    check("updated>now-2x", 13, "\"2x\"", "a length of time");
    check("updated>@", 9, "\"@\"", "Unix milliseconds");
    check("updated>@99999999999999999999", 9, "\"@99999999999999999999\"", "Unix milliseconds");
    check("updated>2026-1-31", 9, "\"2026-1-31\"", "a time such as");
    check("updated>2026-01-31T10:00", 9, "\"2026-01-31T10:00\"", "a time of day and its zone");
    check("updated>2026-01-31T10:00:00", 9, "\"2026-01-31T10:00:00\"", "its zone");
    check("updated>2026-01-31T24:00:00Z", 9, "\"2026-01-31T24:00:00Z\"", "a time of day");
    check("updated>2026-01-31T10:00:00.Z", 9, "\"2026-01-31T10:00:00.Z\"", "a time of day");
    check("colour:red", 1, "\"colour:red\"", "a term: tag:…, prefix:…");
    check("\"user\"", 1, "\"\\\"user\\\"\"", "a term");
}

#[test]
fn what_is_read_but_makes_no_sense_is_told_apart() {
    let check = |text: &str, said: &str, kind: ErrorKind| {
        let error = refused(text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(error.to_string().starts_with(said), "{text}\n{error}");
    };
    use ErrorKind::{InvalidInput, Limit};
    check("tag:\"\"", "column 5: tag has 0 bytes", Limit);
    check(&format!("tag:{}", "t".repeat(256)), "column 5: tag has 256 bytes, the limit is 1 to 255", Limit);
    check("tag:\"a\\x00\"", "column 5: tag \"a\\0\" has a NUL", InvalidInput);
    check("tag:\"\\xff\"", "column 5: a tag is UTF-8", InvalidInput);
    check("size:20..10", "column 10: the range ends before it begins", InvalidInput);
    check("updated:2026-01-31..=2026-01-30", "column 22: the range ends before it begins", InvalidInput);
    check("size>18446744073709551616", "column 6: the number is too large", InvalidInput);
    check("size>18446744073709551615k", "column 6: the number is too large", InvalidInput);
    check("updated>2026-02-29", "column 9: there is no such day", InvalidInput);
    check("updated>2026-13-01", "column 9: there is no such day", InvalidInput);
    check("updated>1969-12-31", "column 9: this lies before 1970", InvalidInput);
    check("updated>1970-01-01T00:00:00+01:00", "column 9: this lies before 1970", InvalidInput);
    check("updated<now+18446744073709551615ms", "column 12: this is later", InvalidInput);
    check("tag:a\nAND tag:b\nsize>2", "line 3, column 1: found \"size>2\"", InvalidInput);
    let error = Filter::parse("tag:a AND updated>now").unwrap_err();
    assert!(error.to_string().starts_with("column 19: \"now\" means nothing here"), "{error}");
}

#[test]
fn long_lines_are_shown_around_the_place() {
    let text = format!("{} oops {}", vec!["tag:a"; 100].join(" AND "), vec!["tag:b"; 100].join(" AND "));
    let said = refused(&text).to_string();
    let lines: Vec<&str> = said.lines().collect();
    assert!(lines[0].starts_with("column 997: found \"oops\""), "{said}");
    assert!(lines[1].chars().count() < 80 && lines[1].contains("…") && lines[1].ends_with('…'), "{said}");
    let at = lines[2].find('^').unwrap();
    assert_eq!(lines[1].chars().skip(at).take(4).collect::<String>(), "oops", "{said}");
    let tabbed = refused("tag:a\toops").to_string();
    assert_eq!(tabbed.lines().nth(1).unwrap(), "  tag:a oops");
}

#[test]
fn depth_terms_and_length_are_limited() {
    let nested = |depth: usize| format!("{}all{}", "(".repeat(depth), ")".repeat(depth));
    assert_eq!(parse(&nested(FILTER_DEPTH_MAX)), Filter::all());
    let error = refused(&nested(FILTER_DEPTH_MAX + 1));
    assert_eq!(error.kind(), ErrorKind::Limit);
    assert!(
        error.to_string().starts_with("column 65: brackets are nested deeper than the limit, 64"),
        "{error}"
    );
    assert_eq!(refused(&"(".repeat(60_000)).kind(), ErrorKind::Limit);
    assert_eq!(refused(&"(NOT ".repeat(10_000)).kind(), ErrorKind::Limit);
    assert_eq!(parse(&format!("{}tag:a", "NOT ".repeat(10_000))), tag("a"));
    // Brackets within the limit, but two levels of the filter for each.
    let deep = format!("{}tag:x{}", "NOT (all OR ".repeat(40), ")".repeat(40));
    assert_eq!(refused(&deep).kind(), ErrorKind::Limit);
    let terms = |count: usize| vec!["all"; count].join(" OR ");
    assert!(parse(&terms(FILTER_TERMS_MAX - 1)).check().is_ok());
    assert!(refused(&terms(FILTER_TERMS_MAX + 1)).to_string().contains("one term more than the limit, 1024"));
    let blanks = " ".repeat(QUERY_TEXT_BYTES_MAX - 3);
    assert_eq!(parse(&format!("all{blanks}")), Filter::all());
    let error = refused(&format!("all {blanks}"));
    assert_eq!(error.to_string(), "the expression has 65537 bytes, the limit is 65536 bytes");
}

#[test]
fn what_is_displayed_is_short_and_readable() {
    let check = |filter: Filter, text: &str| {
        assert_eq!(filter.to_string(), text);
        assert_eq!(parse(text).to_string(), text);
    };
    check(Filter::all(), "all");
    check(Filter::Or(Vec::new()), "none");
    check(!Filter::Or(vec![tag("a")]), "NOT tag:a");
    check(
        Filter::And(vec![Filter::Or(vec![tag("a").and(tag("b"))]), tag("c")]),
        "(tag:a AND tag:b) AND tag:c",
    );
    check(Filter::Size(Span::ALL), "size>=0");
    check(Filter::Size(Span::of(..=9)), "size<=9");
    check(Filter::Size(Span::of(0..=0)), "size=0");
    check(Filter::Size(Span { from: 9, to: 3 }), "size:1..1");
    check(Filter::Created(Span::of(5..)), "created>=@5");
    check(!Filter::Expires(Span::ALL), "expires:never");
    check(Filter::Accessed(Span::ALL), "accessed:any");
    check(Filter::Prefix(b"a b\"\\\n\xFF\xE2\x80\xAE".to_vec()), r#"prefix:"a b\"\\\n\xff\xe2\x80\xae""#);
    check(Filter::KeyContains("größe".into()), "contains:\"größe\"");
}

fn any_span() -> impl Strategy<Value = Span> {
    let end = prop_oneof![0..5_u64, any::<u64>(), Just(u64::MAX)];
    (end.clone(), end).prop_map(|(from, to)| Span { from, to })
}

fn any_filter() -> impl Strategy<Value = Filter> {
    let bytes = proptest::collection::vec(any::<u8>(), 0..6);
    let leaf = prop_oneof![
        "[a-c \"()\\\\:.é\u{202e}\n]{1,4}".prop_map(Filter::Tag),
        bytes.clone().prop_map(Filter::Prefix),
        bytes.prop_map(Filter::KeyContains),
        any_span().prop_map(Filter::Size),
        any_span().prop_map(Filter::Created),
        any_span().prop_map(Filter::Updated),
        any_span().prop_map(Filter::Expires),
        any_span().prop_map(Filter::Accessed),
    ];
    leaf.prop_recursive(6, 40, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::And),
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Filter::Or),
            inner.prop_map(|inner| Filter::Not(Box::new(inner))),
        ]
    })
}

/// The same without what a text does not show: pairs of NOT, AND and OR of one, and the many ways to say that nothing is in a range.
fn plain(filter: Filter) -> Filter {
    let span = |span: Span| if span.from > span.to { Span::NONE } else { span };
    match filter {
        Filter::Size(of) => Filter::Size(span(of)),
        Filter::Created(of) => Filter::Created(span(of)),
        Filter::Updated(of) => Filter::Updated(span(of)),
        Filter::Expires(of) => Filter::Expires(span(of)),
        Filter::Accessed(of) => Filter::Accessed(span(of)),
        Filter::Not(inner) => !plain(*inner),
        Filter::And(mut terms) | Filter::Or(mut terms) if terms.len() == 1 => plain(terms.remove(0)),
        Filter::And(terms) => Filter::And(terms.into_iter().map(plain).collect()),
        Filter::Or(terms) => Filter::Or(terms.into_iter().map(plain).collect()),
        other => other,
    }
}

proptest! {
    #[test]
    fn what_is_displayed_means_the_same(filter in any_filter()) {
        let text = filter.to_string();
        prop_assert_eq!(Filter::parse(&text).map_err(|error| error.to_string()), Ok(plain(filter)), "{}", text);
    }

    #[test]
    fn no_text_makes_it_panic(words in proptest::collection::vec(
        prop_oneof![
            Just("tag:"), Just("\""), Just("\\x"), Just("("), Just(")"), Just(" "), Just("and "), Just(" not "), Just("size"),
            Just(".."), Just("="), Just("<"), Just("2026-01-31"), Just("T10:00:00"), Just("Z"), Just("now"), Just("-2h"), Just("@7"),
            Just("expires:"), Just("never"), Just("ä"), Just("\n"), Just("9"), Just("a"),
        ], 0..16,
    )) {
        let text: String = words.concat();
        if let Ok(filter) = Filter::parse_at(&text, NOW) {
            prop_assert_eq!(Filter::parse(&filter.to_string()).unwrap(), filter);
        }
    }
}
