//! Filters as people write them: `tag:user AND NOT tag:banned AND size>1k AND prefix:"user:"`.
//!
//! [`Filter::parse_at`] reads the notation, and what a filter displays as is read back to a filter of the same meaning. A text that
//! makes no sense is an error that points at the place; no text makes it panic, overflow the stack or take more memory than a
//! multiple of its own length. What the terms mean is left to [`Filter`]; docs/query.md has the notation for users.

mod amount;
mod display;
mod reader;
#[cfg(test)]
mod tests;
mod time;

use std::str::FromStr;

use self::reader::Reader;
use super::{Filter, Span};
use crate::limits::{FILTER_DEPTH_MAX, FILTER_TERMS_MAX, QUERY_TEXT_BYTES_MAX, check_tag};
use crate::{Error, Result};

const TERMS: &str =
    "a term: tag:…, prefix:…, contains:…, size, created, updated, expires, accessed, all, none, NOT or \"(\"";

impl Filter {
    /// Reads a filter: [`parse_at`](Filter::parse_at) for a text that does not say `now`.
    ///
    /// # Errors
    /// As [`parse_at`](Filter::parse_at); `InvalidInput` for `now`.
    ///
    /// ```
    /// use nadb_core::{Filter, Span};
    /// let filter = Filter::parse("tag:user AND NOT size>=1k")?;
    /// assert_eq!(filter, Filter::tag("user").and(!Filter::Size(Span::of(1_000..))));
    /// let error = Filter::parse("tag:user tag:premium").unwrap_err();
    /// assert_eq!(error.to_string(), "\
    /// column 10: found \"tag:premium\", expected AND, OR or the end
    ///   tag:user tag:premium
    ///            ^");
    /// # Ok::<(), nadb_core::Error>(())
    /// ```
    pub fn parse(text: &str) -> Result<Filter> {
        Parser::new(text, None).whole()
    }

    /// Reads a filter whose times may be relative to `now_ms`, in Unix milliseconds: `updated>now-2h`.
    ///
    /// # Errors
    /// `InvalidInput`, with the column (from 1, in characters), what was found there and what was expected, and below it the line
    /// with a mark under the place; `Limit` for a text of more than
    /// [`QUERY_TEXT_BYTES_MAX`] bytes, and as [`Filter::check`].
    ///
    /// ```
    /// use nadb_core::{Filter, Span};
    /// let filter = Filter::parse_at("updated > now-2h", 1_700_000_000_000)?;
    /// assert_eq!(filter, Filter::Updated(Span::of(1_699_992_800_001..)));
    /// # Ok::<(), nadb_core::Error>(())
    /// ```
    pub fn parse_at(text: &str, now_ms: u64) -> Result<Filter> {
        Parser::new(text, Some(now_ms)).whole()
    }
}

impl FromStr for Filter {
    type Err = Error;

    /// As [`Filter::parse`].
    fn from_str(text: &str) -> Result<Filter> {
        Filter::parse(text)
    }
}

/// What of a record a number is compared with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Field {
    Size,
    Created,
    Updated,
    Expires,
    Accessed,
}

impl Field {
    fn filter(self, span: Span) -> Filter {
        match self {
            Field::Size => Filter::Size(span),
            Field::Created => Filter::Created(span),
            Field::Updated => Filter::Updated(span),
            Field::Expires => Filter::Expires(span),
            Field::Accessed => Filter::Accessed(span),
        }
    }

    /// Whether there are records without it.
    fn may_be_missing(self) -> bool {
        matches!(self, Field::Expires | Field::Accessed)
    }
}

struct Parser<'t> {
    reader: Reader<'t>,
    now_ms: Option<u64>,
    /// Where the brackets stand that are open.
    open: Vec<usize>,
    terms: usize,
}

impl<'t> Parser<'t> {
    fn new(text: &'t str, now_ms: Option<u64>) -> Parser<'t> {
        Parser { reader: Reader::new(text), now_ms, open: Vec::new(), terms: 0 }
    }

    fn whole(mut self) -> Result<Filter> {
        let len = self.reader.text().len();
        if len > QUERY_TEXT_BYTES_MAX {
            let what = format!("the expression has {len} bytes, the limit is {QUERY_TEXT_BYTES_MAX} bytes");
            return Err(Error::limit(what));
        }
        let filter = self.either()?;
        if !self.reader.is_at_end() {
            let expected = match self.reader.peek() {
                Some(')') => "AND, OR or the end: no \"(\" is open",
                _ => "AND, OR or the end",
            };
            return Err(self.reader.expected(expected));
        }
        // What the nesting of brackets alone does not show.
        filter.check()?;
        Ok(filter)
    }

    /// Terms joined by OR, which binds least.
    fn either(&mut self) -> Result<Filter> {
        self.joined("or", Parser::both, Filter::Or)
    }

    /// Terms joined by AND.
    fn both(&mut self) -> Result<Filter> {
        self.joined("and", Parser::negated, Filter::And)
    }

    fn joined(
        &mut self,
        operator: &str,
        part: fn(&mut Self) -> Result<Filter>,
        join: fn(Vec<Filter>) -> Filter,
    ) -> Result<Filter> {
        let first = part(self)?;
        let mut rest = Vec::new();
        while self.reader.eat_word(operator) {
            rest.push(part(self)?);
        }
        if rest.is_empty() {
            return Ok(first);
        }
        rest.insert(0, first);
        Ok(join(rest))
    }

    /// A term with any number of NOT before it; two of them are none.
    fn negated(&mut self) -> Result<Filter> {
        let mut is_negated = false;
        while self.reader.eat_word("not") {
            is_negated = !is_negated;
        }
        let term = self.term()?;
        Ok(if is_negated { !term } else { term })
    }

    fn term(&mut self) -> Result<Filter> {
        self.reader.skip_blanks();
        let at = self.reader.at();
        self.terms += 1;
        if self.terms > FILTER_TERMS_MAX {
            let what = format!("this is one term more than the limit, {FILTER_TERMS_MAX}");
            return Err(self.reader.placed(at, Error::limit(what)));
        }
        if self.reader.eat("(") {
            return self.bracketed(at);
        }
        match self.reader.word().to_ascii_lowercase().as_str() {
            "all" => Ok(Filter::all()),
            "none" => Ok(Filter::Or(Vec::new())),
            "tag" => self.tag(),
            "prefix" => Ok(Filter::Prefix(self.text_value()?)),
            "contains" => Ok(Filter::KeyContains(self.text_value()?)),
            "size" => self.compared(Field::Size),
            "created" => self.compared(Field::Created),
            "updated" => self.compared(Field::Updated),
            "expires" => self.compared(Field::Expires),
            "accessed" => self.compared(Field::Accessed),
            _ => Err(self.reader.expected_at(at, TERMS)),
        }
    }

    fn bracketed(&mut self, at: usize) -> Result<Filter> {
        if self.open.len() >= FILTER_DEPTH_MAX {
            let what = format!("brackets are nested deeper than the limit, {FILTER_DEPTH_MAX} levels");
            return Err(self.reader.placed(at, Error::limit(what)));
        }
        self.open.push(at);
        let inner = self.either()?;
        self.reader.skip_blanks();
        if !self.reader.eat(")") {
            let expected = format!("AND, OR or \")\" for the \"(\" at {}", self.reader.place_of(at));
            return Err(self.reader.expected(&expected));
        }
        self.open.pop();
        Ok(inner)
    }

    fn tag(&mut self) -> Result<Filter> {
        let at = self.reader.at() + 1;
        let bytes = self.text_value()?;
        let not_text = |_| Error::invalid("a tag is UTF-8, and these bytes are not");
        let tag = String::from_utf8(bytes).map_err(not_text);
        let checked = tag.and_then(|tag| check_tag(&tag).map(|()| tag));
        checked.map(Filter::Tag).map_err(|error| self.reader.placed(at, error))
    }

    /// What stands behind the colon: a quoted text, or a word up to the next blank or bracket.
    fn text_value(&mut self) -> Result<Vec<u8>> {
        if !self.reader.eat(":") {
            return Err(self.reader.expected("\":\""));
        }
        if self.reader.peek() == Some('"') {
            return self.reader.quoted();
        }
        let at = self.reader.at();
        let word = self.reader.take_while(|char| !char.is_whitespace() && !matches!(char, '(' | ')' | '"'));
        if word.is_empty() {
            return Err(self.reader.expected("a word or a quoted text, without a blank before it"));
        }
        if let Some(backslash) = word.find('\\') {
            return Err(self.reader.expected_at(at + backslash, "quotes around a text with a backslash"));
        }
        self.reader.end_of_term("a blank: a text with a quote in it is quoted")?;
        Ok(word.as_bytes().to_vec())
    }

    fn compared(&mut self, field: Field) -> Result<Filter> {
        if self.reader.eat(":") {
            return self.in_range(field);
        }
        self.reader.skip_blanks();
        let operators = ["<=", ">=", "<", ">", "="];
        let Some(operator) = operators.into_iter().find(|operator| self.reader.eat(operator)) else {
            return Err(self.reader.expected("<, <=, >, >=, = or \":\""));
        };
        self.reader.skip_blanks();
        let named = self.named(field)?;
        self.reader.end_of_term("the end of the term")?;
        let span = match operator {
            "<=" => Span::of(..=named.to),
            ">=" => Span::of(named.from..),
            "<" => Span::of(..named.from),
            ">" => named.to.checked_add(1).map_or(Span::NONE, |from| Span::of(from..)),
            _ => named,
        };
        Ok(field.filter(span))
    }

    /// What stands behind the colon: one amount, a range of them, or whether there is one.
    fn in_range(&mut self, field: Field) -> Result<Filter> {
        if field.may_be_missing() {
            if self.reader.eat_word("never") {
                return Ok(!field.filter(Span::ALL));
            }
            if self.reader.eat_word("any") {
                return Ok(field.filter(Span::ALL));
            }
        }
        let from = if self.reader.rest().starts_with("..") { None } else { Some(self.named(field)?) };
        let span = if self.reader.eat("..") { self.up_to(field, from)? } else { from.unwrap_or(Span::NONE) };
        self.reader.end_of_term("the end of the term or \"..\"")?;
        Ok(field.filter(span))
    }

    /// The range that begins with `from` and whose dots have been read.
    fn up_to(&mut self, field: Field, from: Option<Span>) -> Result<Span> {
        let is_included = self.reader.eat("=");
        let at = self.reader.at();
        let start = from.map_or(0, |from| from.from);
        if from.is_some() && !is_included && self.reader.is_at_boundary() {
            return Ok(Span::of(start..));
        }
        let to = self.named(field)?;
        let end = if is_included { to.to } else { to.from };
        if end < start {
            return Err(self.reader.placed(at, Error::invalid("the range ends before it begins")));
        }
        let span = if is_included { Span::of(start..=end) } else { Span::of(start..end) };
        Ok(if span.from > span.to { Span::NONE } else { span })
    }

    /// The numbers that are named here: one size, one moment, or the moments of a day.
    fn named(&mut self, field: Field) -> Result<Span> {
        match field {
            Field::Size => amount::size(&mut self.reader).map(|size| Span { from: size, to: size }),
            _ => time::moments(&mut self.reader, self.now_ms),
        }
    }
}
