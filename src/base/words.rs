//! The words of a configuration line. Pure functions over bytes: quoting, and C's strings and number
//! reading where Redis relies on them. Inline commands and CONFIG REWRITE use the same rules.
//! Source: observed behaviour of `sdssplitargs` and `sdscatrepr` in Redis 8.0.6.

use std::borrow::Cow;

/// What C takes a string for: all that stands before its first zero byte.
#[inline]
pub fn c_string(bytes: &[u8]) -> &[u8] {
    &bytes[..memchr::memchr(0, bytes).unwrap_or(bytes.len())]
}

/// Splits `line` into words, or None when a quote is not closed or is followed by anything but a
/// blank. O(length).
///
/// Words are separated by blanks. `"..."` knows `\n \r \t \b \a \xHH` and takes any other escaped
/// byte as itself; `'...'` knows only `\'`. A quote may open inside a word. The line ends at its
/// first NUL. A word borrows from `line` unless it has quotes.
pub fn split_args(line: &[u8]) -> Option<Vec<Cow<'_, [u8]>>> {
    let line = c_string(line);
    let mut words = Vec::new();
    let mut rest = line;
    loop {
        rest = &rest[rest.iter().take_while(|&&byte| is_space(byte)).count()..];
        if rest.is_empty() {
            return Some(words);
        }
        let (word, used) = next_word(rest)?;
        words.push(word);
        rest = &rest[used..];
    }
}

/// The word that `text` starts with, and how many bytes it takes.
fn next_word(text: &[u8]) -> Option<(Cow<'_, [u8]>, usize)> {
    let plain = text.iter().take_while(|&&b| !ends_word(b) && b != b'"' && b != b'\'').count();
    match text.get(plain) {
        Some(&quote @ (b'"' | b'\'')) => {
            let mut word = text[..plain].to_vec();
            let quoted = &text[plain + 1..];
            let used = if quote == b'"' {
                read_double_quoted(quoted, &mut word)?
            } else {
                read_single_quoted(quoted, &mut word)?
            };
            match quoted.get(used) {
                Some(&byte) if !is_space(byte) => None,
                _ => Some((Cow::Owned(word), plain + 1 + used)),
            }
        }
        _ => Some((Cow::Borrowed(&text[..plain]), plain)),
    }
}

/// Appends what stands before the closing `"`; returns the bytes used, that quote included.
fn read_double_quoted(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        match text[at..] {
            [] => return None,
            [b'"', ..] => return Some(at + 1),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex_digit(high) << 4 | hex_digit(low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => other,
                });
                at += 2;
            }
            [byte, ..] => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// Appends what stands before the closing `'`; returns the bytes used, that quote included.
fn read_single_quoted(text: &[u8], word: &mut Vec<u8>) -> Option<usize> {
    let mut at = 0;
    loop {
        match text[at..] {
            [] => return None,
            [b'\'', ..] => return Some(at + 1),
            [b'\\', b'\'', ..] => {
                word.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                word.push(byte);
                at += 1;
            }
        }
    }
}

/// Appends `text` in double quotes, so that `split_args` gives back the same bytes.
pub fn push_quoted(line: &mut Vec<u8>, text: &[u8]) {
    line.push(b'"');
    for &byte in text {
        match byte {
            b'\\' | b'"' => line.extend([b'\\', byte]),
            b'\n' => line.extend(b"\\n"),
            b'\r' => line.extend(b"\\r"),
            b'\t' => line.extend(b"\\t"),
            0x07 => line.extend(b"\\a"),
            0x08 => line.extend(b"\\b"),
            b' '..=b'~' => line.push(byte),
            _ => line.extend(format!("\\x{byte:02x}").bytes()),
        }
    }
    line.push(b'"');
}

/// Appends `text` as one word: plain where `split_args` gives that back, else in quotes.
pub fn push_word(line: &mut Vec<u8>, text: &[u8]) {
    let plain = |byte: &u8| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\'' | b'\\');
    if !text.is_empty() && text.iter().all(plain) {
        line.extend(text);
    } else {
        push_quoted(line, text);
    }
}

/// Reads a whole decimal number as C's `strtoll` does: blanks and a sign may lead, too large is
/// clamped, and the empty string is 0. None when anything is left over.
///
/// Redis reads `save`, `oom-score-adj-values` and their kin this way, not with its strict reader.
pub fn c_integer(text: &[u8]) -> Option<i64> {
    if text.is_empty() {
        return Some(0);
    }
    let text = &text[text.iter().take_while(|&&byte| is_space(byte)).count()..];
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit - b'0');
        value = value.saturating_mul(10);
        value = if negative { value.saturating_sub(digit) } else { value.saturating_add(digit) };
    }
    Some(value)
}

/// `text` without the bytes of `" \t\r\n"` at its ends.
pub fn trim_line(text: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let Some(start) = text.iter().position(|byte| !blank(byte)) else { return &[] };
    let end = text.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

/// C's `isspace` in the C locale; Rust's ASCII whitespace lacks the vertical tab.
fn is_space(byte: u8) -> bool {
    byte.is_ascii_whitespace() || byte == 0x0b
}

/// Ends an unquoted word. Narrower than [`is_space`]: a form feed inside a word belongs to it.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit - b'A' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
        Some(split_args(line)?.into_iter().map(Cow::into_owned).collect())
    }

    #[test]
    fn words_split_as_in_redis() {
        let cases: &[(&[u8], &[&[u8]])] = &[
            (b"", &[]),
            (b" \t\x0b ", &[]),
            (b"  set key  value ", &[b"set", b"key", b"value"]),
            (b"a\"b c\" d", &[b"ab c", b"d"]),
            (b"\"\" ''", &[b"", b""]),
            (br#""\x41\n\r\t\b\a\q\"""#, &[b"A\n\r\t\x08\x07q\""]),
            (br#""\x4""#, &[b"x4"]),
            (br"'it\'s \n'", &[br"it's \n"]),
            (b"a\x0cb", &[b"a\x0cb"]),
            (b"one\0two", &[b"one"]),
        ];
        for (line, expected) in cases {
            let expected = expected.iter().map(|word| word.to_vec()).collect();
            assert_eq!(words(line), Some(expected), "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_quote_must_be_closed_and_end_its_word() {
        for line in ["\"open", "'open", "\"open\\", "\"a\"b", "'a'b", "a 'b\\'", "a\"b\"\"c\""] {
            assert_eq!(words(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn a_word_without_quotes_borrows() {
        let words = split_args(b"get \"key\"").expect("the quotes are closed");
        assert!(matches!(words[..], [Cow::Borrowed(b"get"), Cow::Owned(_)]));
    }

    #[test]
    fn numbers_are_read_as_strtoll_does() {
        let cases: &[(&[u8], Option<i64>)] = &[
            (b"", Some(0)),
            (b" 12", Some(12)),
            (b"+7", Some(7)),
            (b"-007", Some(-7)),
            (b"99999999999999999999", Some(i64::MAX)),
            (b"-99999999999999999999", Some(i64::MIN)),
            (b" ", None),
            (b"-", None),
            (b"1x", None),
            (b"1 ", None),
        ];
        for (text, expected) in cases {
            assert_eq!(c_integer(text), *expected, "{}", text.escape_ascii());
        }
    }

    proptest::proptest! {
        #[test]
        fn quoted_text_comes_back(text: Vec<u8>) {
            let mut line = Vec::new();
            push_quoted(&mut line, &text);
            line.push(b' ');
            push_word(&mut line, &text);
            proptest::prop_assert_eq!(words(&line), Some(vec![text.clone(), text]));
        }

        #[test]
        fn no_line_panics(line: Vec<u8>) {
            let _ = split_args(&line);
        }
    }
}
