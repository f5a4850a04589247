//! Lua's words, as far as the scan of a script needs them.
//!
//! Invariant: a text that Lua's own lexer would read otherwise is not read at all.
//! Source: Lua 5.1 reference manual, section 2.1.

/// A word of Lua.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token<'c> {
    /// A name or a keyword.
    Name(&'c [u8]),
    /// What a string holds, as it is written.
    Text(&'c [u8]),
    /// A number.
    Number,
    /// An operator or a bracket.
    Op(&'c [u8]),
    /// There are no more.
    End,
}

/// Names that are no names.
pub(super) const KEYWORDS: &[&[u8]] = &[
    b"and",
    b"break",
    b"do",
    b"else",
    b"elseif",
    b"end",
    b"false",
    b"for",
    b"function",
    b"if",
    b"in",
    b"local",
    b"nil",
    b"not",
    b"or",
    b"repeat",
    b"return",
    b"then",
    b"true",
    b"until",
    b"while",
];

const LONG_OPS: &[&[u8]] = &[b"...", b"..", b"==", b"~=", b"<=", b">="];

/// All words of a text; None if it is not one of Lua.
pub(super) fn tokens(code: &[u8]) -> Option<Vec<Token<'_>>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < code.len() {
        let rest = &code[at..];
        let byte = rest[0];
        if byte.is_ascii_whitespace() || byte == 0x0b {
            at += 1;
        } else if rest.starts_with(b"--") {
            at += comment(rest)?;
        } else if byte.is_ascii_alphabetic() || byte == b'_' {
            let len = rest.iter().take_while(|one| is_word(**one)).count();
            found.push(Token::Name(&rest[..len]));
            at += len;
        } else if byte.is_ascii_digit()
            || byte == b'.' && rest.get(1).is_some_and(u8::is_ascii_digit)
        {
            at += number(rest);
            found.push(Token::Number);
        } else if byte == b'"' || byte == b'\'' {
            let len = quoted(rest)?;
            let text = &rest[1..len - 1];
            // What is escaped is not read: no command's name is.
            found.push(if text.contains(&b'\\') { Token::Number } else { Token::Text(text) });
            at += len;
        } else if let Some(level) = long_bracket(rest) {
            let len = long_string(rest, level)?;
            let mut text = &rest[level + 2..len - level - 2];
            text = text.strip_prefix(b"\n").unwrap_or(text);
            found.push(Token::Text(text));
            at += len;
        } else {
            let op = LONG_OPS
                .iter()
                .find(|op| rest.starts_with(op))
                .map_or(&rest[..1], |op| &rest[..op.len()]);
            if !op[0].is_ascii_punctuation() {
                return None;
            }
            found.push(Token::Op(op));
            at += op.len();
        }
    }
    Some(found)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Bytes of a number, as Lua takes them: its sign of an exponent, too.
fn number(rest: &[u8]) -> usize {
    let mut len = 0;
    while let Some(byte) = rest.get(len) {
        let signed = matches!(byte, b'+' | b'-')
            && len > 0
            && matches!(rest[len - 1], b'e' | b'E')
            && !rest.starts_with(b"0x");
        if !is_word(*byte) && *byte != b'.' && !signed {
            break;
        }
        // `1..x` is no number in Lua, either.
        len += 1;
    }
    len
}

/// Bytes of a string in quotes, these included.
fn quoted(rest: &[u8]) -> Option<usize> {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            byte if byte == rest[0] => return Some(at + 1),
            b'\n' => return None,
            _ => at += 1,
        }
    }
    None
}

/// How many `=` stand in the long bracket that opens here.
fn long_bracket(rest: &[u8]) -> Option<usize> {
    let level = rest.strip_prefix(b"[")?.iter().take_while(|byte| **byte == b'=').count();
    (rest.get(level + 1) == Some(&b'[')).then_some(level)
}

/// Bytes of a long string, its brackets included.
fn long_string(rest: &[u8], level: usize) -> Option<usize> {
    let close = [b"]".as_slice(), &vec![b'='; level], b"]"].concat();
    let inner = memchr::memmem::find(&rest[level + 2..], &close)?;
    Some(level + 2 + inner + close.len())
}

/// Bytes of a comment.
fn comment(rest: &[u8]) -> Option<usize> {
    match long_bracket(&rest[2..]) {
        Some(level) => long_string(&rest[2..], level).map(|len| len + 2),
        None => Some(memchr::memchr(b'\n', rest).unwrap_or(rest.len())),
    }
}
