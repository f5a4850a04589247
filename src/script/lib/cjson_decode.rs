//! `cjson.decode`: JSON as a Lua value.
//!
//! Invariant: tables within tables are kept in an explicit list, at most as deep as the setting and
//! Lua's stack allow; what is accepted, and each error with its position, are lua-cjson 2.1's, which
//! reads its text as a C string. Source: the manual of lua-cjson 2.1 and a stock server's answers.

use std::ffi::c_int;

use super::cjson::{Settings, settings};
use super::list::{BYTES_PER_STEP, Buffer, List};
use super::number;
use super::stack::Stack;

/// `cjson.decode(text)`.
pub(super) fn decode(stack: Stack<'_>) -> c_int {
    if stack.top() != 1 {
        stack.argument_error(1, format_args!("expected 1 argument"));
    }
    let settings = *settings(stack);
    let text = stack.check_text(1);
    if text.len() > 2 && (text[0] == 0 || text[1] == 0) {
        stack.raise(format_args!("JSON parser does not support UTF-16 or UTF-32"));
    }
    stack.charge(text.len() / BYTES_PER_STEP);
    let (string, open) = (Buffer::new(stack), List::new(stack));
    let mut reader = Reader { stack, settings, text, at: 0, found: 0, string, open };
    reader.document();
    1
}

struct Reader<'l> {
    stack: Stack<'l>,
    settings: Settings,
    /// With a zero at its end.
    text: &'l [u8],
    at: usize,
    /// Where the last token began, or where its error is.
    found: usize,
    /// The last string, if it had escapes.
    string: Buffer<'l>,
    /// The tables around the present value, the outermost first; they lie on the stack.
    open: List<'l, Open, 16>,
}

/// A table that is being filled.
#[derive(Clone, Copy)]
enum Open {
    /// So many elements it has.
    Array(i32),
    /// The key of the present value is on the stack.
    Object,
}

#[derive(Clone, Copy)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    /// A string without escapes: from here to there in the text.
    Plain(usize, usize),
    /// A string that is in `Reader::string`.
    Unescaped,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Reader<'_> {
    /// Pushes the one value that the text is.
    fn document(&mut self) {
        let mut token = self.token();
        loop {
            if let Some(first) = self.value(token) {
                token = first;
                continue;
            }
            match self.store() {
                Some(next) => token = next,
                None => break,
            }
        }
        match self.token() {
            Token::End => {}
            other => self.expected("the end", other),
        }
    }

    /// Pushes a value; or begins one, and returns the token of the first value in it.
    fn value(&mut self, token: Token) -> Option<Token> {
        let stack = self.stack;
        stack.charge(1);
        match token {
            Token::Plain(..) | Token::Unescaped => self.push_string(token),
            Token::Number(number) => stack.push_number(number),
            Token::Boolean(value) => stack.push_boolean(value),
            Token::Null => stack.push_null(),
            Token::ObjectBegin => {
                self.descend(3);
                let token = self.token();
                if !matches!(token, Token::ObjectEnd) {
                    self.open.push(Open::Object);
                    return Some(self.key(token));
                }
            }
            Token::ArrayBegin => {
                self.descend(2);
                let token = self.token();
                if !matches!(token, Token::ArrayEnd) {
                    self.open.push(Open::Array(0));
                    return Some(token);
                }
            }
            other => self.expected("value", other),
        }
        None
    }

    /// Stores the topmost value in its table, and that one in its own if it ends here: the token of
    /// the next value, none at the end of the outermost.
    fn store(&mut self) -> Option<Token> {
        loop {
            let array = match self.open.last_mut()? {
                Open::Array(count) => {
                    *count += 1;
                    self.stack.raw_set_at(-2, *count);
                    true
                }
                Open::Object => {
                    self.stack.raw_set(-3);
                    false
                }
            };
            match (self.token(), array) {
                (Token::ArrayEnd, true) | (Token::ObjectEnd, false) => {
                    self.open.pop();
                }
                (Token::Comma, true) => return Some(self.token()),
                (Token::Comma, false) => {
                    let token = self.token();
                    return Some(self.key(token));
                }
                (other, true) => self.expected("comma or array end", other),
                (other, false) => self.expected("comma or object end", other),
            }
        }
    }

    /// Pushes the key that the token is, and returns the token behind its colon.
    fn key(&mut self, token: Token) -> Token {
        match token {
            Token::Plain(..) | Token::Unescaped => self.push_string(token),
            other => self.expected("object key string", other),
        }
        match self.token() {
            Token::Colon => self.token(),
            other => self.expected("colon", other),
        }
    }

    /// Pushes an empty table, one level deeper.
    fn descend(&mut self, slots: c_int) {
        let depth = self.open.len() + 1;
        let deepest = usize::try_from(self.settings.decode_depth).unwrap_or(0);
        if depth > deepest || !self.stack.check_stack(slots) {
            let at = self.at;
            self.stack.raise(format_args!(
                "Found too many nested data structures ({depth}) at character {at}"
            ));
        }
        self.stack.push_table();
    }

    fn push_string(&self, token: Token) {
        match token {
            Token::Plain(start, end) => self.stack.push_bytes(&self.text[start..end]),
            _ => self.stack.push_bytes(self.string.as_slice()),
        }
    }

    /// The byte at a place; 0 at the end, which is what ends a C string.
    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or(0)
    }

    /// The next token, white space before it skipped.
    fn token(&mut self) -> Token {
        while matches!(self.byte(self.at), b' ' | b'\t' | b'\n' | b'\r') {
            self.at += 1;
        }
        self.found = self.at;
        let token = match self.byte(self.at) {
            b'{' => Token::ObjectBegin,
            b'}' => Token::ObjectEnd,
            b'[' => Token::ArrayBegin,
            b']' => Token::ArrayEnd,
            b',' => Token::Comma,
            b':' => Token::Colon,
            0 => return Token::End,
            b'"' => return self.string_token(),
            b'f' | b'i' | b'I' | b'n' | b'N' | b't' | b'+' | b'-' | b'0'..=b'9' => {
                return self.word();
            }
            _ => return Token::Error("invalid token"),
        };
        self.at += 1;
        token
    }

    /// A number, or one of JSON's three words.
    fn word(&mut self) -> Token {
        let rest = &self.text[self.at..];
        let lenient = self.settings.decode_invalid;
        if matches!(rest[0], b'-' | b'0'..=b'9') {
            if !lenient && beyond_json(rest) {
                return Token::Error("invalid number");
            }
            return self.number();
        }
        for (word, token) in [
            (&b"true"[..], Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ] {
            if rest.starts_with(word) {
                self.at += word.len();
                return token;
            }
        }
        if lenient && beyond_json(rest) { self.number() } else { Token::Error("invalid token") }
    }

    fn number(&mut self) -> Token {
        match number::read(&self.text[self.at..]) {
            Some((number, length)) => {
                self.at += length;
                Token::Number(number)
            }
            None => Token::Error("invalid number"),
        }
    }

    /// A string, from its opening quote on.
    fn string_token(&mut self) -> Token {
        let start = self.at + 1;
        self.at = start;
        self.skip_plain();
        if self.byte(self.at) == b'"' {
            self.at += 1;
            return Token::Plain(start, self.at - 1);
        }
        self.string.clear();
        let mut from = start;
        loop {
            self.string.extend(&self.text[from..self.at]);
            match self.byte(self.at) {
                b'"' => {
                    self.at += 1;
                    return Token::Unescaped;
                }
                b'\\' => {
                    if let Err(error) = self.escape() {
                        return self.error_here(error);
                    }
                }
                _ => return self.error_here("unexpected end of string"),
            }
            from = self.at;
            self.skip_plain();
        }
    }

    /// Goes on to the next quote, escape or zero.
    fn skip_plain(&mut self) {
        let rest = &self.text[self.at..];
        self.at += memchr::memchr3(b'"', b'\\', 0, rest).unwrap_or(rest.len());
    }

    /// Adds the character that the escape stands for.
    fn escape(&mut self) -> Result<(), &'static str> {
        let byte = match self.byte(self.at + 1) {
            b'u' => return self.unicode_escape().ok_or("invalid unicode escape code"),
            byte @ (b'"' | b'\\' | b'/') => byte,
            b'b' => 8,
            b't' => b'\t',
            b'n' => b'\n',
            b'f' => 12,
            b'r' => b'\r',
            _ => return Err("invalid escape code"),
        };
        self.string.push(byte);
        self.at += 2;
        Ok(())
    }

    /// Adds the UTF-8 of `\uXXXX`, or of two that are a surrogate pair.
    fn unicode_escape(&mut self) -> Option<()> {
        let mut code = self.hexadecimal(self.at + 2)?;
        let mut length = 6;
        if code & 0xF800 == 0xD800 {
            let second = self.at + length;
            if code & 0x400 != 0 || self.byte(second) != b'\\' || self.byte(second + 1) != b'u' {
                return None;
            }
            let low = self.hexadecimal(second + 2).filter(|low| low & 0xFC00 == 0xDC00)?;
            code = ((code & 0x3FF) << 10 | low & 0x3FF) + 0x10000;
            length = 12;
        }
        let character = char::from_u32(code)?;
        self.string.extend(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.at += length;
        Some(())
    }

    fn hexadecimal(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at..at + 4)?;
        digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
    }

    fn error_here(&mut self, what: &'static str) -> Token {
        self.found = self.at;
        Token::Error(what)
    }

    fn expected(&self, wanted: &str, token: Token) -> ! {
        let found = match token {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::Plain(..) | Token::Unescaped => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        };
        let place = self.found + 1;
        self.stack.raise(format_args!("Expected {wanted} but found {found} at character {place}"))
    }
}

/// Whether what follows is a number that strtod reads and JSON does not have: a plus sign, leading
/// zeros, hexadecimal, inf, nan.
fn beyond_json(text: &[u8]) -> bool {
    let rest = match text {
        [b'+', ..] => return true,
        [b'-', rest @ ..] => rest,
        _ => text,
    };
    match rest {
        [b'0', next, ..] => matches!(next, b'x' | b'X' | b'0'..=b'9'),
        [b'i' | b'I' | b'n' | b'N', _, _, ..] => {
            rest[..3].eq_ignore_ascii_case(b"inf") || rest[..3].eq_ignore_ascii_case(b"nan")
        }
        _ => false,
    }
}
