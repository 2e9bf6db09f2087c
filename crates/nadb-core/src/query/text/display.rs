//! Filters as text: the shortest that is read back to the same meaning.

use std::fmt::{self, Display, Formatter, Write};

use crate::query::{Filter, Span};

impl Display for Filter {
    /// The notation of [`Filter::parse`], which reads it back to a filter of the same meaning, if [`Filter::check`] accepts this one
    /// and the text is not longer than an expression may be. Times are Unix milliseconds. It shows tags and parts of keys.
    ///
    /// ```
    /// use nadb_core::{Filter, Span};
    /// let filter = Filter::tag("a b").or(Filter::Size(Span::of(10..20)).and(!Filter::Prefix(b"user:".to_vec())));
    /// assert_eq!(filter.to_string(), "tag:\"a b\" OR (size:10..=19 AND NOT prefix:user:)");
    /// ```
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Filter::Tag(tag) => text(f, "tag", tag.as_bytes()),
            Filter::Prefix(prefix) => text(f, "prefix", prefix),
            Filter::KeyContains(part) => text(f, "contains", part),
            Filter::Size(span) => range(f, "size", *span, ""),
            Filter::Created(span) => range(f, "created", *span, "@"),
            Filter::Updated(span) => range(f, "updated", *span, "@"),
            Filter::Expires(Span::ALL) => f.write_str("expires:any"),
            Filter::Expires(span) => range(f, "expires", *span, "@"),
            Filter::Accessed(Span::ALL) => f.write_str("accessed:any"),
            Filter::Accessed(span) => range(f, "accessed", *span, "@"),
            Filter::And(terms) => joined(f, terms, "all", " AND "),
            Filter::Or(terms) => joined(f, terms, "none", " OR "),
            Filter::Not(term) => match &**term {
                Filter::Expires(Span::ALL) => f.write_str("expires:never"),
                Filter::Accessed(Span::ALL) => f.write_str("accessed:never"),
                term => {
                    f.write_str("NOT ")?;
                    part(f, term)
                }
            },
        }
    }
}

fn joined(f: &mut Formatter<'_>, terms: &[Filter], none: &str, operator: &str) -> fmt::Result {
    match terms {
        [] => f.write_str(none),
        [one] => one.fmt(f),
        [first, rest @ ..] => {
            part(f, first)?;
            rest.iter().try_for_each(|term| {
                f.write_str(operator)?;
                part(f, term)
            })
        }
    }
}

/// A term within another one: in brackets, if it is made of several.
fn part(f: &mut Formatter<'_>, term: &Filter) -> fmt::Result {
    match term {
        Filter::And(terms) | Filter::Or(terms) if terms.len() > 1 => write!(f, "({term})"),
        Filter::And(terms) | Filter::Or(terms) if terms.len() == 1 => {
            terms.iter().try_for_each(|term| part(f, term))
        }
        term => term.fmt(f),
    }
}

fn range(f: &mut Formatter<'_>, field: &str, span: Span, sign: &str) -> fmt::Result {
    let Span { from, to } = span;
    match (from, to) {
        _ if from > to => write!(f, "{field}:{sign}1..{sign}1"),
        (_, u64::MAX) => write!(f, "{field}>={sign}{from}"),
        _ if from == to => write!(f, "{field}={sign}{from}"),
        (0, _) => write!(f, "{field}<={sign}{to}"),
        _ => write!(f, "{field}:{sign}{from}..={sign}{to}"),
    }
}

/// As a word where that is possible, otherwise in quotes.
fn text(f: &mut Formatter<'_>, field: &str, bytes: &[u8]) -> fmt::Result {
    write!(f, "{field}:")?;
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-./:@+#".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(is_plain) {
        return bytes.iter().try_for_each(|byte| f.write_char(char::from(*byte)));
    }
    f.write_char('"')?;
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\\' => write!(f, "\\{char}")?,
                '\n' => f.write_str("\\n")?,
                '\r' => f.write_str("\\r")?,
                '\t' => f.write_str("\\t")?,
                ' '..='~' => f.write_char(char)?,
                _ if char.is_alphanumeric() => f.write_char(char)?,
                _ => hex(f, char.encode_utf8(&mut [0; 4]).as_bytes())?,
            }
        }
        hex(f, chunk.invalid())?;
    }
    f.write_char('"')
}

fn hex(f: &mut Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "\\x{byte:02x}"))
}
