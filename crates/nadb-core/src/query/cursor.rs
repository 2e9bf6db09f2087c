//! Cursors: a place in the matches of a query, as a text to keep and to hand out.
//!
//! What it promises: the same text on every machine and in every later version of its format; a text that was changed, and one that
//! belongs to another query, order or namespace, is refused. It leaves to the backend what is behind the place, and it is no
//! secret: the key of the last match can be read out of it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{Filter, Order, Position, QueryRequest, SortField, Span};
use crate::limits::KEY_BYTES_MAX;
use crate::{Error, Result, guard};

/// The layout that is written and read: version, order, query (8 bytes), value (8 bytes), key, checksum (4 bytes).
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 18;
/// In every version the last four bytes are the low ones of the XXH3 hash of those before.
const SUM_BYTES: usize = 4;
/// Characters of the longest cursor.
const TEXT_MAX: usize = (HEAD_BYTES + KEY_BYTES_MAX + SUM_BYTES).div_ceil(3) * 4;
/// Set in the byte of the order when the last comes first.
const DESCENDING: u8 = 0x80;

/// Where to go on: a place in the matches of one query, in one order, of one namespace.
///
/// It is a text of letters, digits, `-` and `_`, fit for a URL ([`Display`](fmt::Display) and [`FromStr`]). It does not wear out:
/// the store may be written to, compacted and reopened meanwhile, and the query goes on behind the place, also where the
/// record that stood there is gone.
///
/// ```
/// use nadb_core::{Cursor, Filter, Position, QueryRequest};
/// let request = QueryRequest::new(Filter::tag("user"));
/// let position = Position { value: 0, key: b"user:17".to_vec() };
/// let text = Cursor::new(&request, "users", position.clone()).to_string();
///
/// let cursor: Cursor = text.parse()?;
/// assert_eq!(cursor.position_for(&request, "users")?, position);
/// let error = cursor.position_for(&request, "teams").unwrap_err();
/// assert!(error.to_string().starts_with("a cursor from elsewhere"));
/// # Ok::<(), nadb_core::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Cursor {
    order: Order,
    query: u64,
    position: Position,
}

impl Cursor {
    /// The place `position` in the matches of `request` in `namespace`. What the request says of offset, limit and where to go on
    /// does not count.
    #[must_use]
    pub fn new(request: &QueryRequest, namespace: &str, position: Position) -> Cursor {
        Cursor { order: request.order, query: hash(request, namespace), position }
    }

    /// The place, if the cursor is one of this query, this order and this namespace.
    ///
    /// # Errors
    /// `InvalidInput` otherwise.
    pub fn position_for(&self, request: &QueryRequest, namespace: &str) -> Result<Position> {
        if guard::on("cursor.query_agrees") {
            if self.order != request.order {
                return Err(elsewhere("it belongs to another order"));
            }
            if self.query != hash(request, namespace) {
                return Err(elsewhere(
                    "it belongs to another filter or namespace; a filter that is relative to the present is another one each time",
                ));
            }
        }
        Ok(self.position.clone())
    }
}

fn elsewhere(why: &str) -> Error {
    Error::invalid(format!("a cursor from elsewhere: {why}"))
}

fn not_a_cursor(why: &str) -> Error {
    Error::invalid(format!("this is not a cursor that a query gave: {why}"))
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.position.key.len() + SUM_BYTES);
        bytes.extend_from_slice(&[VERSION, order_byte(self.order)]);
        bytes.extend_from_slice(&self.query.to_le_bytes());
        bytes.extend_from_slice(&self.position.value.to_le_bytes());
        bytes.extend_from_slice(&self.position.key);
        bytes.extend_from_slice(&sum(&bytes));
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Cursor {
    type Err = Error;

    /// Reads what was displayed.
    ///
    /// # Errors
    /// `InvalidInput` for a text that no query gave, and for a cursor of another version of the layout.
    fn from_str(text: &str) -> Result<Cursor> {
        if text.len() > TEXT_MAX {
            return Err(not_a_cursor("it is too long"));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| not_a_cursor("it is no URL-safe Base64"))?;
        let (content, stored) =
            bytes.split_last_chunk::<SUM_BYTES>().ok_or_else(|| not_a_cursor("it is too short"))?;
        if guard::on("cursor.checksum_agrees") && sum(content) != *stored {
            return Err(not_a_cursor("its checksum is wrong; it was cut or changed"));
        }
        match content.first() {
            Some(&VERSION) => {}
            Some(other) => {
                let what = format!(
                    "the cursor has version {other}, this build knows version {VERSION}; begin the query again"
                );
                return Err(Error::invalid(what));
            }
            None => return Err(not_a_cursor("it is too short")),
        }
        decode(content).ok_or_else(|| not_a_cursor("its parts make no sense"))
    }
}

/// The parts of a cursor without its checksum.
fn decode(content: &[u8]) -> Option<Cursor> {
    let ([_version, order], rest) = content.split_first_chunk()?;
    let (query, rest) = rest.split_first_chunk()?;
    let (value, key) = rest.split_first_chunk()?;
    let position = Position { value: u64::from_le_bytes(*value), key: key.to_vec() };
    let query = u64::from_le_bytes(*query);
    (1..=KEY_BYTES_MAX).contains(&key.len()).then_some(Cursor { order: order_of(*order)?, query, position })
}

fn sum(content: &[u8]) -> [u8; SUM_BYTES] {
    let [a, b, c, d, ..] = xxh3_64(content).to_le_bytes();
    [a, b, c, d]
}

fn order_byte(order: Order) -> u8 {
    let field = match order.by {
        SortField::Key => 1,
        SortField::Created => 2,
        SortField::Updated => 3,
        SortField::Size => 4,
    };
    if order.descending { field | DESCENDING } else { field }
}

fn order_of(byte: u8) -> Option<Order> {
    let by = match byte & !DESCENDING {
        1 => SortField::Key,
        2 => SortField::Created,
        3 => SortField::Updated,
        4 => SortField::Size,
        _ => return None,
    };
    Some(Order { by, descending: byte & DESCENDING != 0 })
}

/// A number for the filter, the order and the namespace. It stands in cursors that people keep, so it never changes for a filter
/// that there is.
fn hash(request: &QueryRequest, namespace: &str) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(&[order_byte(request.order)]);
    text(&mut hasher, 0, namespace.as_bytes());
    filter(&mut hasher, &request.filter);
    hasher.digest()
}

fn filter(hasher: &mut Xxh3, of: &Filter) {
    match of {
        Filter::Tag(tag) => text(hasher, 1, tag.as_bytes()),
        Filter::Prefix(prefix) => text(hasher, 2, prefix),
        Filter::KeyContains(part) => text(hasher, 3, part),
        Filter::Size(of) => span(hasher, 4, *of),
        Filter::Created(of) => span(hasher, 5, *of),
        Filter::Updated(of) => span(hasher, 6, *of),
        Filter::Expires(of) => span(hasher, 7, *of),
        Filter::Accessed(of) => span(hasher, 8, *of),
        Filter::And(terms) => several(hasher, 9, terms),
        Filter::Or(terms) => several(hasher, 10, terms),
        Filter::Not(term) => {
            hasher.update(&[11]);
            filter(hasher, term);
        }
    }
}

fn text(hasher: &mut Xxh3, kind: u8, bytes: &[u8]) {
    hasher.update(&[kind]);
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    hasher.update(bytes);
}

fn span(hasher: &mut Xxh3, kind: u8, of: Span) {
    hasher.update(&[kind]);
    hasher.update(&of.from.to_le_bytes());
    hasher.update(&of.to.to_le_bytes());
}

fn several(hasher: &mut Xxh3, kind: u8, terms: &[Filter]) {
    hasher.update(&[kind]);
    hasher.update(&(terms.len() as u64).to_le_bytes());
    terms.iter().for_each(|term| filter(hasher, term));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn request() -> QueryRequest {
        let filter = Filter::tag("user").and(!Filter::Prefix(b"a".to_vec())).or(Filter::Size(Span::of(1..9)));
        QueryRequest::new(filter).ordered(Order::descending(SortField::Size))
    }

    fn cursor() -> Cursor {
        Cursor::new(&request(), "users", Position { value: 77, key: b"user:\xFF17".to_vec() })
    }

    fn refused(text: &str) -> String {
        let error = text.parse::<Cursor>().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        error.to_string()
    }

    #[test]
    fn the_text_is_the_same_for_ever() {
        let text = cursor().to_string();
        assert_eq!(text, FIXED);
        let again: Cursor = text.parse().unwrap();
        assert_eq!(again, cursor());
        assert_eq!(again.position_for(&request(), "users").unwrap(), cursor().position);
        for order in [SortField::Key, SortField::Created, SortField::Updated, SortField::Size]
            .into_iter()
            .flat_map(|by| [Order::ascending(by), Order::descending(by)])
        {
            assert_eq!(order_of(order_byte(order)), Some(order));
        }
    }

    const FIXED: &str = "AYS5ywj9SIu5SU0AAAAAAAAAdXNlcjr_MTcS1Ua9";

    #[test]
    fn a_cursor_from_elsewhere_is_refused() {
        let check = |request: QueryRequest, namespace: &str, what: &str| {
            let error = cursor().position_for(&request, namespace).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(what), "{error}");
        };
        check(request().ordered(Order::ascending(SortField::Size)), "users", "another order");
        check(request().ordered(Order::descending(SortField::Key)), "users", "another order");
        check(request(), "user", "another filter or namespace");
        let other = |filter| QueryRequest { filter, ..request() };
        check(other(Filter::all()), "users", "another filter or namespace");
        check(other(request().filter.and(Filter::tag("b"))), "users", "another filter or namespace");
        // Where to begin and how many is not part of it.
        let section = request().section(5, Some(6)).behind(Some(cursor().position));
        assert!(cursor().position_for(&section, "users").is_ok());
    }

    #[test]
    fn every_changed_or_cut_cursor_is_refused() {
        let text = cursor().to_string();
        for (at, before) in text.char_indices() {
            for new in ['A', 'b', '7', '-', '_'].into_iter().filter(|new| *new != before) {
                let changed = format!("{}{new}{}", &text[..at], &text[at + 1..]);
                // The last character has bits that mean nothing; they are refused, too.
                assert!(refused(&changed).starts_with("this is not a cursor"), "{changed}");
            }
            assert!(refused(&text[..at]).starts_with("this is not a cursor"));
        }
        for bad in ["user:17", "ä", "AAAA", "AAAAAAAA", &format!("{text}=="), &"A".repeat(TEXT_MAX + 1)] {
            assert!(refused(bad).starts_with("this is not a cursor"), "{bad}");
        }
    }

    #[test]
    fn a_cursor_of_another_version_says_so() {
        let mut bytes = vec![2, 1, 2, 3];
        bytes.extend_from_slice(&sum(&bytes));
        let said = refused(&URL_SAFE_NO_PAD.encode(&bytes));
        assert!(said.contains("version 2, this build knows version 1"), "{said}");
    }

    #[test]
    fn parts_that_make_no_sense_are_refused() {
        let whole = URL_SAFE_NO_PAD.decode(cursor().to_string()).unwrap();
        let content = &whole[..whole.len() - SUM_BYTES];
        let summed = |mut bytes: Vec<u8>| {
            bytes.extend_from_slice(&sum(&bytes));
            URL_SAFE_NO_PAD.encode(bytes)
        };
        assert!(summed(content.to_vec()).parse::<Cursor>().is_ok());
        for len in 1..=HEAD_BYTES {
            assert!(refused(&summed(content[..len].to_vec())).contains("no sense"), "{len}");
        }
        for order in [0, 5, 0x7F, 0x80, 0x85] {
            let mut bytes = content.to_vec();
            bytes[1] = order;
            assert!(refused(&summed(bytes)).contains("no sense"), "{order}");
        }
        let longest = [&content[..HEAD_BYTES], &vec![b'k'; KEY_BYTES_MAX]].concat();
        assert!(summed(longest.clone()).parse::<Cursor>().is_ok());
        assert!(summed([longest, vec![0]].concat()).parse::<Cursor>().is_err());
    }
}
