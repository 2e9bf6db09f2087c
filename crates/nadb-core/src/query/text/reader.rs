//! Reads a text from left to right, and says where it makes no sense.

use crate::{Error, Result};

/// Characters of a line that an error shows at most.
const SHOWN_MAX: usize = 72;
/// Characters of what was found that an error names at most.
const FOUND_MAX: usize = 24;

pub(super) struct Reader<'t> {
    text: &'t str,
    /// INVARIANT: at the start of a character, or the end.
    at: usize,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Reader<'t> {
        Reader { text, at: 0 }
    }

    pub(super) fn text(&self) -> &'t str {
        self.text
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes back to where it has been.
    pub(super) fn go_back(&mut self, at: usize) {
        self.at = at.min(self.at);
    }

    pub(super) fn rest(&self) -> &'t str {
        self.text.get(self.at..).unwrap_or_default()
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn take_while(&mut self, is_part: impl Fn(char) -> bool) -> &'t str {
        let rest = self.rest();
        let len = rest.find(|char| !is_part(char)).unwrap_or(rest.len());
        self.at += len;
        rest.get(..len).unwrap_or_default()
    }

    pub(super) fn skip_blanks(&mut self) {
        self.take_while(char::is_whitespace);
    }

    /// Whether there is nothing left but blanks.
    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_blanks();
        self.rest().is_empty()
    }

    /// Takes `token` if it comes next.
    pub(super) fn eat(&mut self, token: &str) -> bool {
        let comes = self.rest().starts_with(token);
        self.at += if comes { token.len() } else { 0 };
        comes
    }

    /// Takes the letters that come next.
    pub(super) fn word(&mut self) -> &'t str {
        self.take_while(|char| char.is_alphanumeric() || char == '_')
    }

    /// Takes `word`, in letters of either case, if it is the whole word that comes next.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        let at = self.at;
        self.skip_blanks();
        let comes = self.word().eq_ignore_ascii_case(word);
        if !comes {
            self.at = at;
        }
        comes
    }

    /// Whether a blank, a bracket or the end comes next.
    pub(super) fn is_at_boundary(&self) -> bool {
        self.peek().is_none_or(|char| char.is_whitespace() || matches!(char, '(' | ')'))
    }

    pub(super) fn end_of_term(&self, expected: &str) -> Result<()> {
        if self.is_at_boundary() { Ok(()) } else { Err(self.expected(expected)) }
    }

    /// Takes precisely so many digits.
    pub(super) fn digits(&mut self, count: usize) -> Option<u64> {
        let digits = self.rest().get(..count).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
        self.at += count;
        digits.parse().ok()
    }

    /// Takes a text between quotes, with its escapes resolved.
    pub(super) fn quoted(&mut self) -> Result<Vec<u8>> {
        let (start, mut bytes) = (self.at, Vec::new());
        self.eat("\"");
        loop {
            bytes.extend_from_slice(self.take_while(|char| !matches!(char, '"' | '\\')).as_bytes());
            if self.eat("\"") {
                break;
            }
            if self.rest().is_empty() {
                let expected = format!("a quote for the one at {}", self.place_of(start));
                return Err(self.expected(&expected));
            }
            bytes.push(self.escaped()?);
        }
        self.end_of_term("a blank, a bracket or the end behind the quote")?;
        Ok(bytes)
    }

    fn escaped(&mut self) -> Result<u8> {
        let start = self.at;
        self.eat("\\");
        let byte = match self.peek() {
            Some('"') => Some(b'"'),
            Some('\\') => Some(b'\\'),
            Some('n') => Some(b'\n'),
            Some('r') => Some(b'\r'),
            Some('t') => Some(b'\t'),
            Some('x') => {
                let digits = self.rest().get(1..3).filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
                self.at += if digits.is_some() { 2 } else { 0 };
                digits.and_then(|digits| u8::from_str_radix(digits, 16).ok())
            }
            _ => None,
        };
        self.at += usize::from(byte.is_some());
        byte.ok_or_else(|| self.expected_at(start, "\\\\, \\\", \\n, \\r, \\t or \\xHH"))
    }

    /// An error at what comes next.
    pub(super) fn expected(&self, expected: &str) -> Error {
        let blanks = self.rest().len() - self.rest().trim_start().len();
        self.expected_at(self.at + blanks, expected)
    }

    pub(super) fn expected_at(&self, at: usize, expected: &str) -> Error {
        let rest = self.text.get(at..).unwrap_or_default();
        let is_end =
            |(index, char): &(usize, char)| *index > 0 && (char.is_whitespace() || matches!(char, '(' | ')'));
        let len = match rest.chars().next() {
            Some(first @ ('(' | ')')) => first.len_utf8(),
            _ => rest.char_indices().find(is_end).map_or(rest.len(), |(index, _)| index),
        };
        let mut found: String = rest.get(..len).unwrap_or_default().chars().take(FOUND_MAX + 1).collect();
        if found.chars().count() > FOUND_MAX {
            found.pop();
            found.push('…');
        }
        let found = if found.is_empty() { "the end".to_owned() } else { format!("{found:?}") };
        self.placed(at, Error::invalid(format!("found {found}, expected {expected}")))
    }

    /// The same error with its place before it, and the line below with a mark under the place.
    pub(super) fn placed(&self, at: usize, error: Error) -> Error {
        let (line, column) = self.line_at(at);
        let kind = error.kind();
        let (shown, indent) = window(line, column);
        let (shown, mark) = (shown.trim_end(), " ".repeat(indent));
        Error::new(kind, format!("{}: {error}\n  {shown}\n  {mark}^", self.place_of(at)))
    }

    /// `column 7`, or `line 2, column 7` in a text of several lines.
    pub(super) fn place_of(&self, at: usize) -> String {
        let (_, column) = self.line_at(at);
        if self.text.contains('\n') {
            let line = self.text.get(..at).unwrap_or(self.text).matches('\n').count() + 1;
            return format!("line {line}, column {}", column + 1);
        }
        format!("column {}", column + 1)
    }

    /// The line that `at` stands in, and how many characters of it stand before.
    fn line_at(&self, at: usize) -> (&'t str, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.text.get(start..).and_then(|rest| rest.split('\n').next()).unwrap_or_default();
        (line, before.get(start..).unwrap_or_default().chars().count())
    }
}

/// What of a line is shown around a column, and how far the column is in it.
fn window(line: &str, column: usize) -> (String, usize) {
    let count = line.chars().count();
    let first =
        if count <= SHOWN_MAX { 0 } else { column.saturating_sub(SHOWN_MAX / 2).min(count - SHOWN_MAX) };
    let one_column_each = |char: char| if char.is_control() { ' ' } else { char };
    let middle: String = line.chars().skip(first).take(SHOWN_MAX).map(one_column_each).collect();
    let before = if first > 0 { "…" } else { "" };
    let behind = if count - first > SHOWN_MAX { "…" } else { "" };
    (format!("{before}{middle}{behind}"), column - first + before.chars().count())
}
