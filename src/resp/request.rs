//! The request parser: words of one command, borrowed from the buffer that they arrived in.
//!
//! Invariant: positions never pass the end of the buffer; a length that a client only announced
//! allocates nothing; a command that arrives in many pieces is looked at once, not once a piece.
//! Source: the Redis serialization protocol; limits and error order are those of stock servers.

use memchr::memchr;

use super::error::ProtocolError;
use crate::base::number::parse_i64;

/// Longest line of an inline command, and of a count.
pub const INLINE_BYTES_MAX: usize = 64 * 1024;
/// Words of one request, at most.
pub const WORDS_MAX: i64 = i32::MAX as i64;
/// Words of a request before authentication.
pub const UNAUTHENTICATED_WORDS_MAX: i64 = 10;
/// Bytes of a word before authentication.
pub const UNAUTHENTICATED_WORD_BYTES_MAX: i64 = 16 * 1024;
/// A word from this size on that has not arrived yet is received into memory of its own.
pub const BIG_WORD_BYTES_MIN: i64 = 64 * 1024;

/// Memory for so many words stays with a client between its commands.
const WORDS_KEPT_MAX: usize = 64;

/// Where a word stands in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgRange {
    /// First byte.
    pub start: u32,
    /// Bytes.
    pub len: u32,
}

/// What the client may send.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Past AUTH, or no password is set.
    pub authenticated: bool,
    /// `proto-max-bulk-len`.
    pub word_bytes_max: i64,
}

/// How far the parser got.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A command; the next one begins at `next`.
    Complete {
        /// Just behind the command.
        next: usize,
    },
    /// An empty line or an empty array: nothing to answer.
    Empty {
        /// Just behind it.
        next: usize,
    },
    /// An inline command with quotes: the same as an array, to be parsed instead.
    Quoted {
        /// Just behind the line.
        next: usize,
        /// The command as an array of bulk strings.
        multibulk: Vec<u8>,
    },
    /// More bytes are needed.
    Incomplete,
    /// A word of `len` bytes begins at `content` and has not arrived as a whole; its content is to
    /// be received elsewhere and reported by `Partial::big_word_received`.
    Big {
        /// First byte of the word.
        content: usize,
        /// Bytes of the word.
        len: usize,
    },
    /// The client broke the protocol.
    Error(ProtocolError),
}

/// What is known of a command that has not arrived as a whole. Offsets count from its first byte.
#[derive(Debug, Default)]
pub struct Partial {
    words_left: i64,
    words: Vec<ArgRange>,
    offset: usize,
    word_len: Option<i64>,
}

impl Partial {
    /// True between commands.
    pub fn is_fresh(&self) -> bool {
        // Not only `words_left`: the last word may have been a large one, received elsewhere.
        self.words_left == 0 && self.words.is_empty()
    }

    /// Words that have arrived; the number of the one that is arriving.
    pub fn words(&self) -> usize {
        self.words.len()
    }

    /// Bytes of the command that the parser has passed: what must stay in the buffer.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// The word that `Step::Big` announced has arrived elsewhere, line end included.
    pub fn big_word_received(&mut self) {
        self.words.push(ArgRange { start: 0, len: 0 });
        self.words_left -= 1;
        self.word_len = None;
    }

    /// All words of the command have arrived: they are appended to `ranges`, for a buffer in which
    /// the command begins at `start`.
    fn finish(&mut self, start: usize, ranges: &mut Vec<ArgRange>) {
        ranges.extend(
            self.words.drain(..).map(|word| ArgRange { start: word.start + start as u32, ..word }),
        );
        let mut words = std::mem::take(&mut self.words);
        words.shrink_to(WORDS_KEPT_MAX);
        *self = Partial { words, ..Partial::default() };
    }
}

/// Parses the command that begins at `start`; its words are appended to `ranges`.
///
/// `partial` keeps what was parsed of an incomplete command; the next call continues there, with
/// more bytes behind the same first byte.
pub fn parse(
    buffer: &[u8],
    start: usize,
    limits: &Limits,
    partial: &mut Partial,
    ranges: &mut Vec<ArgRange>,
) -> Step {
    if partial.is_fresh() {
        match buffer.get(start) {
            None => return Step::Incomplete,
            Some(b'*') => {}
            Some(_) => return parse_inline(buffer, start, ranges),
        }
        let (count, next) = match parse_count(buffer, start + 1) {
            Line::Number(count, next) => (count, next),
            Line::NotANumber => return Step::Error(ProtocolError::MultibulkLength),
            Line::Incomplete => return Step::Incomplete,
            Line::TooLong => return Step::Error(ProtocolError::MultibulkCountTooBig),
        };
        if count > WORDS_MAX {
            return Step::Error(ProtocolError::MultibulkLength);
        }
        if count > UNAUTHENTICATED_WORDS_MAX && !limits.authenticated {
            return Step::Error(ProtocolError::UnauthenticatedMultibulkLength);
        }
        if count <= 0 {
            return Step::Empty { next };
        }
        // The common case: the command is here as a whole, nothing of it is kept.
        let first = ranges.len();
        let mut at = next;
        for parsed in 0..count {
            match parse_word(buffer, at, limits) {
                Word::Complete { range, next } => {
                    ranges.push(range);
                    at = next;
                }
                other => {
                    partial.words_left = count - parsed;
                    partial.offset = at - start;
                    partial.words.clear();
                    partial.words.extend(
                        ranges
                            .drain(first..)
                            .map(|range| ArgRange { start: range.start - start as u32, ..range }),
                    );
                    return suspend(other, start, partial);
                }
            }
        }
        return Step::Complete { next: at };
    }
    resume(buffer, start, limits, partial, ranges)
}

fn resume(
    buffer: &[u8],
    start: usize,
    limits: &Limits,
    partial: &mut Partial,
    ranges: &mut Vec<ArgRange>,
) -> Step {
    while partial.words_left > 0 {
        let at = start + partial.offset;
        let word = match partial.word_len {
            Some(len) => parse_content(buffer, at, len),
            None => parse_word(buffer, at, limits),
        };
        match word {
            Word::Complete { range, next } => {
                partial.words.push(ArgRange { start: range.start - start as u32, ..range });
                partial.words_left -= 1;
                partial.word_len = None;
                partial.offset = next - start;
            }
            other => return suspend(other, start, partial),
        }
    }
    let next = start + partial.offset;
    partial.finish(start, ranges);
    Step::Complete { next }
}

fn suspend(word: Word, start: usize, partial: &mut Partial) -> Step {
    match word {
        Word::Complete { .. } | Word::Incomplete => Step::Incomplete,
        Word::Content { content, len } => {
            partial.offset = content - start;
            partial.word_len = Some(len);
            if len >= BIG_WORD_BYTES_MIN {
                Step::Big { content, len: len as usize }
            } else {
                Step::Incomplete
            }
        }
        Word::Error(error) => Step::Error(error),
    }
}

enum Word {
    Complete {
        range: ArgRange,
        next: usize,
    },
    /// The length is known, the content is not here as a whole.
    Content {
        content: usize,
        len: i64,
    },
    Incomplete,
    Error(ProtocolError),
}

#[inline(always)]
fn parse_word(buffer: &[u8], at: usize, limits: &Limits) -> Word {
    match buffer.get(at) {
        None => return Word::Incomplete,
        Some(b'$') => {}
        // Redis looks for the line end first and judges the `$` only then.
        Some(other) => {
            return match parse_long_count(buffer, at) {
                Line::Incomplete => Word::Incomplete,
                Line::TooLong => Word::Error(ProtocolError::BulkCountTooBig),
                _ => Word::Error(ProtocolError::ExpectedDollar(*other)),
            };
        }
    }
    let (len, content) = match parse_count(buffer, at + 1) {
        Line::Number(len, content) => (len, content),
        Line::Incomplete => return Word::Incomplete,
        Line::TooLong => return Word::Error(ProtocolError::BulkCountTooBig),
        Line::NotANumber => return Word::Error(ProtocolError::BulkLength),
    };
    if len < 0 || len > limits.word_bytes_max {
        return Word::Error(ProtocolError::BulkLength);
    }
    if len > UNAUTHENTICATED_WORD_BYTES_MAX && !limits.authenticated {
        return Word::Error(ProtocolError::UnauthenticatedBulkLength);
    }
    parse_content(buffer, content, len)
}

#[inline(always)]
fn parse_content(buffer: &[u8], content: usize, len: i64) -> Word {
    let end = content + len as usize;
    if end + 2 > buffer.len() {
        return Word::Content { content, len };
    }
    Word::Complete { range: ArgRange { start: content as u32, len: len as u32 }, next: end + 2 }
}

enum Line {
    Number(i64, usize),
    NotANumber,
    Incomplete,
    TooLong,
}

/// The number in the line at `at`, and what begins behind the line.
#[inline(always)]
fn parse_count(buffer: &[u8], at: usize) -> Line {
    // Nearly every count has one or two digits.
    if let Some([first @ b'1'..=b'9', rest @ ..]) = buffer.get(at..) {
        let digit = i64::from(first - b'0');
        match rest {
            [b'\r', _, ..] => return Line::Number(digit, at + 3),
            [second @ b'0'..=b'9', b'\r', _, ..] => {
                return Line::Number(digit * 10 + i64::from(second - b'0'), at + 4);
            }
            _ => {}
        }
    }
    parse_long_count(buffer, at)
}

#[cold]
fn parse_long_count(buffer: &[u8], at: usize) -> Line {
    let rest = buffer.get(at..).unwrap_or_default();
    match memchr(b'\r', rest) {
        None if rest.len() > INLINE_BYTES_MAX => Line::TooLong,
        None => Line::Incomplete,
        Some(end) if end + 2 > rest.len() => Line::Incomplete,
        Some(end) => match parse_i64(&rest[..end]) {
            Some(number) => Line::Number(number, at + end + 2),
            None => Line::NotANumber,
        },
    }
}

fn parse_inline(buffer: &[u8], start: usize, ranges: &mut Vec<ArgRange>) -> Step {
    let rest = &buffer[start..];
    let Some(end) = memchr(b'\n', rest) else {
        return if rest.len() > INLINE_BYTES_MAX {
            Step::Error(ProtocolError::InlineTooBig)
        } else {
            Step::Incomplete
        };
    };
    let next = start + end + 1;
    let line = &rest[..end];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.iter().any(|byte| matches!(byte, b'"' | b'\'' | 0)) {
        return match crate::base::words::split_args(line) {
            None => Step::Error(ProtocolError::UnbalancedQuotes),
            Some(words) if words.is_empty() => Step::Empty { next },
            Some(words) => Step::Quoted { next, multibulk: encode(&words) },
        };
    }
    let first = ranges.len();
    let mut at = start;
    for word in line.split(u8::is_ascii_whitespace) {
        if !word.is_empty() {
            ranges.push(ArgRange { start: at as u32, len: word.len() as u32 });
        }
        at += word.len() + 1;
    }
    if ranges.len() == first { Step::Empty { next } } else { Step::Complete { next } }
}

/// A command as an array of bulk strings.
pub fn encode<W: AsRef<[u8]>>(words: &[W]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        out.extend_from_slice(format!("${}\r\n", word.as_ref().len()).as_bytes());
        out.extend_from_slice(word.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}

#[cfg(test)]
mod tests;
