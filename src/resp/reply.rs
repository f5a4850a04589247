//! The reply writer: RESP2 or RESP3, straight into the output buffer.
//!
//! Invariant: what was written is always a prefix of well-formed RESP; a large value is spliced in
//! by reference and never copied. Layout: `bytes`, with each `(position, value)` of `spliced`
//! standing before `bytes[position]`.

use bytes::Bytes;

use super::Proto;

/// Below this size a shared value is copied: a splice costs a send of its own.
pub const SPLICE_BYTES_MIN: usize = 16 * 1024;

/// Replies on their way to one client, or those of one turn.
#[derive(Debug, Default)]
pub struct ReplyBuffer {
    /// The bytes that were written, without the spliced values.
    pub bytes: Vec<u8>,
    /// Large shared values and where in `bytes` they belong, in ascending order.
    pub spliced: Vec<(usize, Bytes)>,
}

impl ReplyBuffer {
    /// Bytes that this buffer stands for, the spliced values included.
    pub fn len(&self) -> usize {
        self.bytes.len() + self.spliced.iter().map(|(_, value)| value.len()).sum::<usize>()
    }

    /// Bytes of the values that were spliced in at `start` or later.
    pub fn spliced_from(&self, start: usize) -> usize {
        let behind = self.spliced.iter().rev().take_while(|(position, _)| *position >= start);
        behind.map(|(_, value)| value.len()).sum()
    }

    /// True if nothing was written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty() && self.spliced.is_empty()
    }

    /// Forgets the contents and keeps the allocation.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spliced.clear();
    }

    /// Appends what `other` holds from byte `from` on (spliced values at `from` or later included).
    pub fn append_from(&mut self, other: &ReplyBuffer, from: usize) {
        let base = self.bytes.len();
        for (position, value) in &other.spliced {
            if *position >= from {
                self.spliced.push((base + position - from, value.clone()));
            }
        }
        self.bytes.extend_from_slice(&other.bytes[from..]);
    }

    /// Cuts the buffer back to its first `len` plain bytes, with all that was spliced behind them.
    pub fn truncate(&mut self, len: usize) {
        self.bytes.truncate(len);
        while self.spliced.last().is_some_and(|(position, _)| *position >= len) {
            self.spliced.pop();
        }
    }
}

/// The place of an aggregate whose length is not known yet.
#[derive(Clone, Copy, Debug)]
pub struct Deferred(usize);

/// Writes one client's replies in the protocol that it speaks.
#[derive(Debug)]
pub struct Reply<'b> {
    buffer: &'b mut ReplyBuffer,
    proto: Proto,
    error_at: Option<usize>,
}

impl<'b> Reply<'b> {
    /// A writer that appends to `buffer`.
    #[inline]
    pub fn new(buffer: &'b mut ReplyBuffer, proto: Proto) -> Self {
        Reply { buffer, proto, error_at: None }
    }

    /// The protocol that the replies are written in.
    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// Switches the protocol (HELLO answers in the new one).
    pub fn set_proto(&mut self, proto: Proto) {
        self.proto = proto;
    }

    /// Plain bytes written so far to the buffer, by this and earlier writers.
    #[inline]
    pub fn position(&self) -> usize {
        self.buffer.bytes.len()
    }

    /// Bytes that the buffer stands for, spliced values included.
    pub fn buffered_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The first error line that was written, without `-` and line end. None if there was none.
    pub fn error_line(&self) -> Option<&[u8]> {
        let line = &self.buffer.bytes[self.error_at? + 1..];
        Some(&line[..memchr::memchr(b'\r', line).unwrap_or(line.len())])
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// A simple string. `text` must hold no line end.
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }

    /// An error, `text` with its code first (`ERR ...`). As in Redis, line
    /// ends are cut off at both ends and become spaces between.
    pub fn error(&mut self, text: impl AsRef<[u8]>) {
        if self.error_at.is_none() {
            self.error_at = Some(self.buffer.bytes.len());
        }
        let out = &mut self.buffer.bytes;
        out.push(b'-');
        let line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let mut text = text.as_ref();
        while let [first, rest @ ..] = text
            && line_end(first)
        {
            text = rest;
        }
        while let [rest @ .., last] = text
            && line_end(last)
        {
            text = rest;
        }
        out.extend(text.iter().map(|byte| if line_end(byte) { b' ' } else { *byte }));
        out.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        self.header(b':', value);
    }

    /// A length or count as an integer.
    #[inline]
    pub fn count(&mut self, value: u64) {
        self.integer(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string.
    #[inline]
    pub fn bulk(&mut self, value: &[u8]) {
        let out = &mut self.buffer.bytes;
        out.reserve(value.len() + 32);
        let digit = |number: usize| b'0' + number as u8;
        match value.len() {
            len @ 0..10 => out.extend_from_slice(&[b'$', digit(len), b'\r', b'\n']),
            len @ 10..100 => {
                out.extend_from_slice(&[b'$', digit(len / 10), digit(len % 10), b'\r', b'\n']);
            }
            len => {
                let mut digits = itoa::Buffer::new();
                out.push(b'$');
                out.extend_from_slice(digits.format(len).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
        }
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }

    /// A bulk string made of shared chunks, `len` bytes in all; large chunks are not copied.
    pub fn bulk_chunks<'c>(&mut self, len: u64, chunks: impl Iterator<Item = &'c Bytes>) {
        self.header(b'$', len as i64);
        for chunk in chunks {
            if chunk.len() < SPLICE_BYTES_MIN {
                self.buffer.bytes.extend_from_slice(chunk);
            } else {
                self.buffer.spliced.push((self.buffer.bytes.len(), chunk.clone()));
            }
        }
        self.raw(b"\r\n");
    }

    /// An integer written as a bulk string.
    pub fn bulk_integer(&mut self, value: i64) {
        let mut digits = itoa::Buffer::new();
        self.bulk(digits.format(value).as_bytes());
    }

    /// Text for people: a verbatim string in RESP3, a bulk string in RESP2. `format` is `txt` or `mkd`.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.header(b'=', text.len() as i64 + 4);
                self.raw(format.as_bytes());
                self.raw(b":");
                self.raw(text);
                self.raw(b"\r\n");
            }
        }
    }

    /// The null bulk string, `_` in RESP3.
    #[inline]
    pub fn null(&mut self) {
        match self.proto {
            Proto::Resp2 => self.raw(b"$-1\r\n"),
            Proto::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// The null array, `_` in RESP3.
    pub fn null_array(&mut self) {
        match self.proto {
            Proto::Resp2 => self.raw(b"*-1\r\n"),
            Proto::Resp3 => self.raw(b"_\r\n"),
        }
    }

    /// A boolean: `#t`/`#f`, or 1/0 in RESP2.
    pub fn boolean(&mut self, value: bool) {
        match (self.proto, value) {
            (Proto::Resp2, value) => self.integer(i64::from(value)),
            (Proto::Resp3, true) => self.raw(b"#t\r\n"),
            (Proto::Resp3, false) => self.raw(b"#f\r\n"),
        }
    }

    /// A double that is printed already: `,` in RESP3, a bulk string in RESP2.
    pub fn double(&mut self, printed: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(printed),
            Proto::Resp3 => self.line(b',', printed),
        }
    }

    /// Begins an array of `len` elements.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.header(b'*', len as i64);
    }

    /// Begins a map of `pairs` key-value pairs; a flat array in RESP2.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', pairs as i64 * 2),
            Proto::Resp3 => self.header(b'%', pairs as i64),
        }
    }

    /// Begins a set of `len` members; an array in RESP2.
    pub fn set(&mut self, len: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', len as i64),
            Proto::Resp3 => self.header(b'~', len as i64),
        }
    }

    /// Begins a push of `len` elements; an array in RESP2.
    pub fn push(&mut self, len: usize) {
        match self.proto {
            Proto::Resp2 => self.header(b'*', len as i64),
            Proto::Resp3 => self.header(b'>', len as i64),
        }
    }

    /// Marks the place of an aggregate whose length is known only when its elements are written.
    pub fn defer(&mut self) -> Deferred {
        Deferred(self.buffer.bytes.len())
    }

    /// Writes the header of an array of `len` elements at `place`.
    pub fn array_at(&mut self, place: Deferred, len: usize) {
        self.header_at(place, b'*', len);
    }

    /// Writes the header of a map of `pairs` pairs at `place`.
    pub fn map_at(&mut self, place: Deferred, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.header_at(place, b'*', pairs * 2),
            Proto::Resp3 => self.header_at(place, b'%', pairs),
        }
    }

    /// Writes the header of a set of `len` members at `place`.
    pub fn set_at(&mut self, place: Deferred, len: usize) {
        match self.proto {
            Proto::Resp2 => self.header_at(place, b'*', len),
            Proto::Resp3 => self.header_at(place, b'~', len),
        }
    }

    /// Writes a bulk string at `place`, before what was written since.
    pub fn bulk_at(&mut self, place: Deferred, value: &[u8]) {
        let mut digits = itoa::Buffer::new();
        let len = digits.format(value.len()).as_bytes();
        self.insert_at(place, &[b"$", len, b"\r\n", value, b"\r\n"].concat());
    }

    /// Takes back all that was written from `place` on, spliced values included.
    pub fn rewind(&mut self, place: Deferred) {
        self.buffer.truncate(place.0);
        if self.error_at.is_some_and(|at| at >= place.0) {
            self.error_at = None;
        }
    }

    /// Bytes that are RESP already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.buffer.bytes.extend_from_slice(bytes);
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.buffer.bytes.push(kind);
        self.buffer.bytes.extend_from_slice(text);
        self.buffer.bytes.extend_from_slice(b"\r\n");
    }

    #[inline]
    fn header(&mut self, kind: u8, value: i64) {
        if (0..10).contains(&value) {
            return self.raw(&[kind, b'0' + value as u8, b'\r', b'\n']);
        }
        let mut digits = itoa::Buffer::new();
        self.line(kind, digits.format(value).as_bytes());
    }

    fn header_at(&mut self, place: Deferred, kind: u8, len: usize) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(len).as_bytes();
        self.insert_at(place, &[&[kind], digits, b"\r\n"].concat());
    }

    fn insert_at(&mut self, place: Deferred, bytes: &[u8]) {
        self.buffer.bytes.splice(place.0..place.0, bytes.iter().copied());
        for (position, _) in &mut self.buffer.spliced {
            if *position >= place.0 {
                *position += bytes.len();
            }
        }
        if let Some(at) = &mut self.error_at
            && *at >= place.0
        {
            *at += bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(proto: Proto, write: impl FnOnce(&mut Reply<'_>)) -> Vec<u8> {
        let mut buffer = ReplyBuffer::default();
        write(&mut Reply::new(&mut buffer, proto));
        buffer.bytes
    }

    #[test]
    fn each_kind_has_its_two_forms() {
        let all = |r: &mut Reply<'_>| {
            r.null();
            r.map(1);
            r.boolean(true);
            r.double(b"1.5");
            r.bulk(b"0123456789");
            r.integer(-12);
            r.error("ERR a\r\nb");
        };
        assert_eq!(
            written(Proto::Resp2, all),
            b"$-1\r\n*2\r\n:1\r\n$3\r\n1.5\r\n$10\r\n0123456789\r\n:-12\r\n-ERR a  b\r\n"
        );
        assert_eq!(
            written(Proto::Resp3, all),
            b"_\r\n%1\r\n#t\r\n,1.5\r\n$10\r\n0123456789\r\n:-12\r\n-ERR a  b\r\n"
        );
    }

    #[test]
    fn a_deferred_header_moves_what_was_spliced_behind_it() {
        let mut buffer = ReplyBuffer::default();
        let mut reply = Reply::new(&mut buffer, Proto::Resp2);
        let place = reply.defer();
        let chunk = Bytes::from(vec![b'x'; SPLICE_BYTES_MIN]);
        reply.bulk_chunks(chunk.len() as u64, std::iter::once(&chunk));
        reply.array_at(place, 1);
        assert_eq!(buffer.bytes, b"*1\r\n$16384\r\n\r\n");
        assert_eq!(buffer.spliced[0].0, b"*1\r\n$16384\r\n".len());
        assert_eq!(buffer.len(), buffer.bytes.len() + SPLICE_BYTES_MIN);
    }
}
