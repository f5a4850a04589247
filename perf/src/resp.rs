//! RESP2 from the client's side: requests, a reply walker that only counts, and a full parser.
//! Invariant: pure functions over bytes; a reply that is cut anywhere is continued, not misread.
//! Source: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

use std::fmt;

use crate::Result;

/// Nesting that a reply may have before we call it broken.
const DEPTH_MAX: usize = 8;

/// Appends one request, an array of bulk strings.
pub(crate) fn write_command(out: &mut Vec<u8>, argv: &[&[u8]]) {
    out.extend_from_slice(format!("*{}\r\n", argv.len()).as_bytes());
    for arg in argv {
        out.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

/// One reply, parsed whole.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// `+OK`
    Status(Vec<u8>),
    /// `-ERR ...`
    Error(String),
    /// `:1`
    Integer(i64),
    /// `$3`, none for the null bulk string
    Bulk(Option<Vec<u8>>),
    /// `*2`, none for the null array
    Array(Option<Vec<Reply>>),
}

impl fmt::Debug for Reply {
    /// As a person would write it: `+OK`, `"bytes"`, `(nil)`, `[a, b]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Status(text) => write!(f, "+{}", text.escape_ascii()),
            Reply::Error(text) => write!(f, "-{text}"),
            Reply::Integer(number) => write!(f, ":{number}"),
            Reply::Bulk(None) | Reply::Array(None) => f.write_str("(nil)"),
            Reply::Bulk(Some(bytes)) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Reply::Array(Some(items)) => f.debug_list().entries(items).finish(),
        }
    }
}

/// The first reply in `bytes` and its length; none while it is incomplete.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Reply, usize)>> {
    parse_at(bytes, 0, 0)
}

fn parse_at(bytes: &[u8], at: usize, depth: usize) -> Result<Option<(Reply, usize)>> {
    if depth > DEPTH_MAX {
        return Err("reply is nested too deep".into());
    }
    let Some(header) = Header::read(bytes, at) else { return Ok(None) };
    let text = &bytes[at + 1..header.end - 2];
    let reply = match header.kind {
        b'+' => Reply::Status(text.to_vec()),
        b'-' => Reply::Error(String::from_utf8_lossy(text).into_owned()),
        b':' => Reply::Integer(header.number),
        b'$' if header.number < 0 => Reply::Bulk(None),
        b'*' if header.number < 0 => Reply::Array(None),
        b'$' => {
            let Some(end) = header.end.checked_add(header.number as usize) else {
                return Err("bulk length is absurd".into());
            };
            if bytes.len() < end.saturating_add(2) {
                return Ok(None);
            }
            return Ok(Some((Reply::Bulk(Some(bytes[header.end..end].to_vec())), end + 2)));
        }
        b'*' => {
            let mut items = Vec::new();
            let mut next = header.end;
            for _ in 0..header.number {
                let Some((item, end)) = parse_at(bytes, next, depth + 1)? else { return Ok(None) };
                items.push(item);
                next = end;
            }
            return Ok(Some((Reply::Array(Some(items)), next)));
        }
        kind => return Err(unknown_kind(kind)),
    };
    Ok(Some((reply, header.end)))
}

/// What a walk over received bytes found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// Bytes that need not be shown again; the rest is an incomplete header line.
    pub(crate) consumed: usize,
    /// Replies that ended in these bytes.
    pub(crate) replies: u64,
    /// Null bulk strings among them, at any depth: missing keys.
    pub(crate) nulls: u64,
}

/// Counts replies by their lengths, without looking at what they carry. An error reply ends it.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    /// Bytes of a bulk string, with its line end, that are still to come.
    skip: usize,
    /// Elements of the reply in progress that are still to come; 0 between replies.
    elements: u64,
}

impl Walker {
    /// Walks as far as `bytes` allow.
    pub(crate) fn walk(&mut self, bytes: &[u8]) -> Result<Walked> {
        let mut found = Walked::default();
        let mut at = 0;
        loop {
            // The commonest reply of all, in one comparison.
            if self.skip == 0 && self.elements == 0 && bytes[at..].starts_with(b"+OK\r\n") {
                at += 5;
                found.replies += 1;
                continue;
            }
            if self.skip > 0 {
                let step = self.skip.min(bytes.len() - at);
                at += step;
                self.skip -= step;
                if self.skip > 0 {
                    break;
                }
            } else {
                let Some(header) = Header::read(bytes, at) else { break };
                // Between replies an element begins a reply; inside one it was announced.
                let left = self.elements.max(1) - 1;
                self.elements = match header.kind {
                    b'+' | b':' => left,
                    b'$' => {
                        if header.number < 0 {
                            found.nulls += 1;
                        } else {
                            self.skip = header.number as usize + 2;
                        }
                        left
                    }
                    b'*' => left + header.number.max(0) as u64,
                    b'-' => {
                        let text = &bytes[at + 1..header.end - 2];
                        return Err(String::from_utf8_lossy(text).into_owned().into());
                    }
                    kind => return Err(unknown_kind(kind)),
                };
                at = header.end;
                if self.skip > 0 {
                    continue;
                }
            }
            if self.elements == 0 {
                found.replies += 1;
            }
        }
        found.consumed = at;
        Ok(found)
    }
}

/// The first line of a reply: its kind, its number where it has one, and where the line ends.
struct Header {
    kind: u8,
    number: i64,
    end: usize,
}

impl Header {
    /// The header line that begins at `at`; none while its line end is missing.
    #[inline]
    fn read(bytes: &[u8], at: usize) -> Option<Header> {
        let kind = *bytes.get(at)?;
        let mut number = 0i64;
        let mut sign = 1;
        let mut i = at + 1;
        loop {
            match *bytes.get(i)? {
                b'\n' if i > at + 1 => break,
                b'-' => sign = -1,
                digit @ b'0'..=b'9' => {
                    number = number.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
                }
                _ => {}
            }
            i += 1;
        }
        Some(Header { kind, number: number.wrapping_mul(sign), end: i + 1 })
    }
}

fn unknown_kind(kind: u8) -> crate::Error {
    format!("reply begins with byte {kind:#04x}, which is not RESP2").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const REPLIES: &[u8] =
        b"+OK\r\n$3\r\nx\r\n\r\n$-1\r\n:42\r\n*3\r\n$1\r\na\r\n$-1\r\n:7\r\n*0\r\n*-1\r\n$0\r\n\r\n";

    #[test]
    fn walker_counts_the_same_wherever_the_bytes_are_cut() {
        for size in 1..=REPLIES.len() {
            let (mut walker, mut held) = (Walker::default(), Vec::new());
            let (mut replies, mut nulls) = (0, 0);
            for piece in REPLIES.chunks(size) {
                held.extend_from_slice(piece);
                let found = walker.walk(&held).unwrap();
                held.drain(..found.consumed);
                replies += found.replies;
                nulls += found.nulls;
            }
            assert_eq!((replies, nulls, held.len()), (8, 2, 0), "pieces of {size}");
        }
    }

    #[test]
    fn walker_stops_at_an_error_reply() {
        let error = Walker::default().walk(b"+OK\r\n-ERR no\r\n").unwrap_err();
        assert_eq!(error.to_string(), "ERR no");
    }

    #[test]
    fn parser_agrees_with_the_walker() {
        let (mut at, mut replies) = (0, Vec::new());
        while let Some((reply, used)) = parse(&REPLIES[at..]).unwrap() {
            at += used;
            replies.push(reply);
        }
        assert_eq!((at, replies.len()), (REPLIES.len(), 8));
        assert_eq!(replies[1], Reply::Bulk(Some(b"x\r\n".to_vec())));
        assert_eq!(replies[3], Reply::Integer(42));
    }

    #[test]
    fn parser_waits_for_the_rest_and_bounds_nesting() {
        for cut in 0..4 {
            assert_eq!(parse(&b"+OK\r\n"[..cut]).unwrap(), None);
        }
        assert!(parse(b"*1\r\n".repeat(100).as_slice()).is_err());
    }
}
