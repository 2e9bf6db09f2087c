//! A Rust file, read just closely enough: which bytes are code, which lines are tests, where functions begin and end.
//!
//! This is no parser. It knows comments, strings, characters and brackets, which is what the rules need; macros that
//! build unbalanced brackets out of tokens do not exist in Rust.

use std::ops::RangeInclusive;

/// A Rust file.
pub(crate) struct Source<'a> {
    /// Relative to the root, with `/`.
    pub(crate) path: &'a str,
    pub(crate) text: &'a str,
    /// `text` with every byte of comments, strings and characters blanked; offsets and lines are the same.
    pub(crate) code: String,
    /// Lines (from 1) of items under `#[cfg(test)]`.
    test_lines: Vec<RangeInclusive<usize>>,
}

/// A function with a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) first_line: usize,
    pub(crate) last_line: usize,
}

impl<'a> Source<'a> {
    pub(crate) fn new(path: &'a str, text: &'a str) -> Self {
        let mut source = Source { path, text, code: blanked(text), test_lines: vec![] };
        source.test_lines = source.find_test_lines();
        source
    }

    /// The line (from 1) of a byte.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.code.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    /// How many lines there are outside of `#[cfg(test)]`.
    pub(crate) fn lines_without_tests(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.is_unit_test(*line)).count()
    }

    /// Whether the line belongs to an item under `#[cfg(test)]`.
    pub(crate) fn is_unit_test(&self, line: usize) -> bool {
        self.test_lines.iter().any(|lines| lines.contains(&line))
    }

    /// Byte offsets at which `word` stands in the code, not inside of a longer word.
    pub(crate) fn words<'s>(&'s self, word: &'s str) -> impl Iterator<Item = usize> + 's {
        let of_word = |byte: u8| byte == b'_' || byte.is_ascii_alphanumeric();
        let code = self.code.as_bytes();
        self.code.match_indices(word).map(|(at, _)| at).filter(move |at| {
            let before = at.checked_sub(1).and_then(|at| code.get(at));
            let after = code.get(at + word.len());
            !before.is_some_and(|byte| of_word(*byte)) && !after.is_some_and(|byte| of_word(*byte))
        })
    }

    /// All functions that have a body, nested ones too.
    pub(crate) fn functions(&self) -> Vec<Function> {
        self.words("fn").filter_map(|at| self.function(at)).collect()
    }

    fn function(&self, at: usize) -> Option<Function> {
        let after = self.code.get(at + 2..)?.trim_start();
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || "_#".contains(*c)).collect();
        if name.is_empty() {
            return None; // a function pointer's type
        }
        let open = self.body(at)?;
        let close = self.closing(open)?;
        Some(Function { name, first_line: self.line(at), last_line: self.line(close) })
    }

    /// The next `{` outside of parentheses, if no `;` or `}` comes first.
    fn body(&self, from: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, byte) in self.code.bytes().enumerate().skip(from) {
            match byte {
                b'(' | b'[' => depth += 1,
                b')' | b']' => depth = depth.saturating_sub(1),
                b'{' if depth == 0 => return Some(at),
                b';' | b'}' if depth == 0 => return None,
                _ => {}
            }
        }
        None
    }

    /// The bracket that closes the `{` at `open`.
    pub(crate) fn closing(&self, open: usize) -> Option<usize> {
        let mut depth = 0_usize;
        for (at, byte) in self.code.bytes().enumerate().skip(open) {
            match byte {
                b'{' => depth += 1,
                b'}' if depth <= 1 => return Some(at),
                b'}' => depth -= 1,
                _ => {}
            }
        }
        None
    }

    fn find_test_lines(&self) -> Vec<RangeInclusive<usize>> {
        const MARK: &str = "#[cfg(test)]";
        let starts = self.code.match_indices(MARK).map(|(at, _)| at);
        starts
            .map(|start| {
                let item = start + MARK.len();
                let body = self.body(item).and_then(|open| self.closing(open));
                let end = body.or_else(|| Some(item + self.code.get(item..)?.find(';')?)).unwrap_or(item);
                self.line(start)..=self.line(end)
            })
            .collect()
    }
}

/// `text` with comments, strings and characters turned into blanks, byte by byte; line ends stay.
fn blanked(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (len, keep) = token(rest, code.chars().next_back());
        let len = len.max(first.len_utf8()).min(rest.len());
        let (token, after) = rest.split_at(len);
        if keep {
            code.push_str(token);
        } else {
            code.extend(token.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
        }
        rest = after;
    }
    code
}

/// The length of what `rest` starts with, and whether it is code. `before` is the code's character before it.
fn token(rest: &str, before: Option<char>) -> (usize, bool) {
    let starts_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), false);
    }
    if rest.starts_with("/*") {
        return (block_comment(rest), false);
    }
    if rest.starts_with('"') {
        return (1 + quoted(rest, 1, '"'), false);
    }
    if starts_word && let Some(len) = raw_string(rest) {
        return (len, false);
    }
    if rest.starts_with('\'')
        && let Some(len) = character(rest)
    {
        return (len, false);
    }
    (0, true)
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

/// The offset of the closing quote, from `from` on, or the end.
fn quoted(rest: &str, from: usize, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().filter(|(at, _)| *at >= from) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at,
            _ => {}
        }
    }
    rest.len()
}

/// The length of `r"…"`, `r#"…"#` and their `b` and `c` forms.
fn raw_string(rest: &str) -> Option<usize> {
    let after = ["r", "br", "cr"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix).filter(|after| after.starts_with(['"', '#'])))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    let body = after.get(hashes..)?.strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let close = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(rest.len() - body.len() + close)
}

/// The length of a character literal; `None` for a lifetime.
fn character(rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1);
    let (_, first) = chars.next()?;
    if first == '\\' {
        return Some(1 + quoted(rest, 1, '\''));
    }
    let (at, second) = chars.next()?;
    (second == '\'').then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_strings_and_characters_are_blanked() {
        let blank = |text: &str| blanked(text).split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(blank("a // b\nc"), "a c");
        assert_eq!(blank("a /* b /* c */ d */ e"), "a e");
        assert_eq!(blank(r#"a "b \" c" d"#), "a d");
        assert_eq!(blank(r###"a r#"b " c"# d"###), "a d");
        assert_eq!(blank(r#"a br"\" d"#), "a d");
        assert_eq!(blank(r#"a b"c" d"#), "a b d");
        assert_eq!(blank(r"a '{' '\'' '\u{7b}' 'é' b"), "a b");
        assert_eq!(blank("fn a<'x>(y: &'x str)"), "fn a<'x>(y: &'x str)");
        assert_eq!(blank("r#fn r"), "r#fn r");
        assert_eq!(blank("\"never closed"), "");
        assert_eq!(blanked("é /* é\n */ x").len(), "é /* é\n */ x".len());
    }

    #[test]
    fn words_are_whole() {
        let source = Source::new("a.rs", "fn fns fn_ _fn fn // fn");
        assert_eq!(source.words("fn").collect::<Vec<_>>(), [0, 15]);
    }

    #[test]
    fn functions_end_at_their_own_bracket() {
        let text = "\
fn a() -> [u8; 2] {
    let c = '}';
    fn b() {}
    let f: fn(u8) = g;
}
trait T { fn declared(&self); }
fn c<T>(t: T)
where
    T: Fn() {
}";
        let found: Vec<_> = Source::new("a.rs", text)
            .functions()
            .into_iter()
            .map(|function| (function.name, function.first_line, function.last_line))
            .collect();
        assert_eq!(found, [("a".into(), 1, 5), ("b".into(), 3, 3), ("c".into(), 7, 10)]);
    }

    #[test]
    fn unit_tests_are_not_counted() {
        let text = "fn a() {}\n\n#[cfg(test)]\n#[allow(x, reason = \"{\")]\nmod tests {\n    fn b() {}\n}\nfn c() {}\n";
        let source = Source::new("a.rs", text);
        assert_eq!(source.lines_without_tests(), 3);
        assert!(source.is_unit_test(6) && !source.is_unit_test(8));
        let declared = Source::new("a.rs", "#[cfg(test)]\nmod tests;\nfn c() {}\n");
        assert!(declared.is_unit_test(2) && !declared.is_unit_test(3));
    }
}
