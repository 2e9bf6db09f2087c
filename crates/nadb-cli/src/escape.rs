//! Keys as text, one line each, and back.
//!
//! Printable UTF-8 stays as it is. A backslash becomes `\\`, line feed, carriage return and tab `\n`, `\r` and `\t`, and
//! every other byte that is not part of a printable character `\xHH`. No two keys look the same.

use std::fmt::Write;

/// The text for `bytes`.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '\\' => text.push_str("\\\\"),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                _ if is_printable(char) => text.push(char),
                _ => push_hex(&mut text, char.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        push_hex(&mut text, chunk.invalid());
    }
    text
}

/// The bytes that `text` stands for.
///
/// # Errors
/// A sentence, for a backslash that begins no escape.
pub(crate) fn unescape(text: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'\\') => b'\\',
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'x') => hex(rest.next(), rest.next()).ok_or("\\x needs two hexadecimal digits")?,
            _ => return Err("a backslash stands only before \\, n, r, t and xHH".to_owned()),
        });
    }
    Ok(bytes)
}

/// Whether a terminal shows the character as it is. The standard library's `escape_debug` knows; the letter before the
/// character lets combining marks pass.
fn is_printable(char: char) -> bool {
    if char.is_ascii() {
        return !char.is_ascii_control();
    }
    let with_letter = [b'a', 0, 0, 0, 0];
    let mut buffer = with_letter;
    let len = 1 + char.encode_utf8(&mut buffer[1..]).len();
    std::str::from_utf8(&buffer[..len]).is_ok_and(|text| text.escape_debug().count() == 2)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        // Writing to a string cannot fail.
        let _ = write!(text, "\\x{byte:02x}");
    }
}

fn hex(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit =
        |digit: Option<u8>| char::from(digit?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_only_what_does_not_print_and_reads_it_back() {
        let check = |bytes: &[u8], text: &str| {
            assert_eq!(escape(bytes), text);
            assert_eq!(unescape(text.as_bytes()).as_deref(), Ok(bytes));
        };
        check(b"user:123 x\"'", "user:123 x\"'");
        check("größe/日本/e\u{301}".as_bytes(), "größe/日本/e\u{301}");
        check(b"a\\b\n\r\t\0\x7f", "a\\\\b\\n\\r\\t\\x00\\x7f");
        check(b"\xff\xfea\xc3", "\\xff\\xfea\\xc3");
        check("\u{202e}\u{200b}".as_bytes(), "\\xe2\\x80\\xae\\xe2\\x80\\x8b");
        check(b"", "");
    }

    #[test]
    fn refuses_what_is_no_escape() {
        for bad in ["\\", "\\q", "\\x", "\\x1", "\\xg0", "\\x+1"] {
            assert!(unescape(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
