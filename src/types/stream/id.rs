//! Stream ids: their order, their neighbours, how clients write them.
//! Invariant: pure values; the halves never overflow silently.
//! Source: the ids of XADD, XRANGE and XREAD as a stock server reads and prints them.

use crate::base::number;
use crate::base::words::c_string;

/// The id of an entry: a time in milliseconds and a number within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// Milliseconds.
    pub ms: u64,
    /// Number within the millisecond.
    pub seq: u64,
}

impl StreamId {
    /// `0-0`, which no entry has.
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    /// The last id there can be.
    pub const MAX: StreamId = StreamId { ms: u64::MAX, seq: u64::MAX };

    /// An id of its two halves.
    pub const fn new(ms: u64, seq: u64) -> Self {
        StreamId { ms, seq }
    }

    /// True for `0-0`.
    pub fn is_zero(self) -> bool {
        self == Self::MIN
    }

    /// The id behind this one. None behind the last.
    pub fn next(self) -> Option<Self> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_add(1)?, seq: 0 }),
        }
    }

    /// The id before this one. None before `0-0`.
    pub fn previous(self) -> Option<Self> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { seq, ..self }),
            None => Some(StreamId { ms: self.ms.checked_sub(1)?, seq: u64::MAX }),
        }
    }

    /// The 16 bytes by which a stock server sorts its nodes: both halves big-endian.
    pub fn to_be_bytes(self) -> [u8; 16] {
        ((u128::from(self.ms) << 64) | u128::from(self.seq)).to_be_bytes()
    }

    /// The id of `to_be_bytes`.
    pub fn from_be_bytes(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        StreamId { ms: (both >> 64) as u64, seq: both as u64 }
    }

    /// This id as a distance from the id of its block: each half modulo 2^64.
    pub(super) fn delta_from(self, master: StreamId) -> (i64, i64) {
        (self.ms.wrapping_sub(master.ms) as i64, self.seq.wrapping_sub(master.seq) as i64)
    }

    /// The id at a distance from the id of a block.
    #[inline]
    pub(super) fn at_delta(master: StreamId, ms: i64, seq: i64) -> Self {
        StreamId { ms: master.ms.wrapping_add(ms as u64), seq: master.seq.wrapping_add(seq as u64) }
    }

    /// `ms-seq` in decimal.
    #[inline]
    pub fn text(self) -> IdText {
        let mut text = IdText { bytes: [0; IdText::LEN_MAX], len: 0 };
        let mut digits = itoa::Buffer::new();
        text.push(digits.format(self.ms).as_bytes());
        text.push(b"-");
        text.push(digits.format(self.seq).as_bytes());
        text
    }

    /// An id in full, or its milliseconds alone, where `missing_seq` is the other half. None for
    /// anything else, `-` and `+` included.
    pub fn parse(text: &[u8], missing_seq: u64) -> Option<Self> {
        let (ms, seq) = halves(text)?;
        let seq = match seq {
            None => missing_seq,
            Some(seq) => parse_half(seq)?,
        };
        Some(StreamId { ms: parse_half(ms)?, seq })
    }

    /// As `parse`, but `-` is the first and `+` the last id.
    pub fn parse_edge(text: &[u8], missing_seq: u64) -> Option<Self> {
        match text {
            b"-" => Some(Self::MIN),
            b"+" => Some(Self::MAX),
            _ => Self::parse(text, missing_seq),
        }
    }
}

/// The id that XADD is asked to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewId {
    /// `*`: the time, or behind the last.
    Auto,
    /// `ms-*`: the next one of this millisecond.
    AutoSeq(u64),
    /// This one.
    Given(StreamId),
}

impl NewId {
    /// What a client wrote as XADD's id. None if it is no id.
    pub fn parse(text: &[u8]) -> Option<Self> {
        if text == b"*" {
            return Some(NewId::Auto);
        }
        match halves(text)? {
            (ms, Some(b"*")) => parse_half(ms).map(NewId::AutoSeq),
            _ => StreamId::parse(text, 0).map(NewId::Given),
        }
    }
}

/// The two sides of the first `-`, up to a zero byte: a stock server reads ids as C strings.
fn halves(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    if text.len() > TEXT_LEN_MAX {
        return None;
    }
    let text = c_string(text);
    match memchr::memchr(b'-', text) {
        None => Some((text, None)),
        Some(at) => Some((&text[..at], Some(&text[at + 1..]))),
    }
}

/// One half. Beside plain numbers it may be whatever strtoull accepts: spaces in front, a sign (a
/// negative number counts from 2^64 down), leading zeros; but no plain negative number.
#[inline]
fn parse_half(text: &[u8]) -> Option<u64> {
    match number::parse_u64(text) {
        Some(value) => Some(value),
        None => parse_odd_half(text),
    }
}

#[cold]
fn parse_odd_half(text: &[u8]) -> Option<u64> {
    if number::parse_i64(text).is_some() {
        return None;
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let start = text.iter().position(|byte| !is_space(byte))?;
    let (negative, digits) = match &text[start..] {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().try_fold(0u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    })?;
    Some(if negative { value.wrapping_neg() } else { value })
}

/// An id as it is printed.
#[derive(Clone, Copy, Debug)]
pub struct IdText {
    bytes: [u8; Self::LEN_MAX],
    len: u8,
}

impl IdText {
    /// Two numbers of 64 bits and the dash.
    const LEN_MAX: usize = 20 + 1 + 20;

    /// The text.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len as usize]
    }

    #[inline]
    fn push(&mut self, part: &[u8]) {
        let at = self.len as usize;
        self.bytes[at..at + part.len()].copy_from_slice(part);
        self.len += part.len() as u8;
    }
}

/// A stock server reads ids through a buffer of this length.
const TEXT_LEN_MAX: usize = 127;

#[cfg(test)]
mod tests {
    use super::*;

    fn id(ms: u64, seq: u64) -> Option<StreamId> {
        Some(StreamId { ms, seq })
    }

    #[test]
    fn ids_are_read_as_a_stock_server_reads_them() {
        assert_eq!(StreamId::parse(b"5-7", 0), id(5, 7));
        assert_eq!(StreamId::parse(b"5", 9), id(5, 9));
        assert_eq!(StreamId::parse(b"007-01", 0), id(7, 1));
        assert_eq!(StreamId::parse(b" +7-\t8", 0), id(7, 8));
        assert_eq!(StreamId::parse(b"1--0", 0), id(1, 0));
        assert_eq!(StreamId::parse(b"1- -1", 0), id(1, u64::MAX));
        assert_eq!(StreamId::parse(b"1-2\0junk", 0), id(1, 2));
        assert_eq!(
            StreamId::parse(b"18446744073709551615-18446744073709551615", 0),
            Some(StreamId::MAX)
        );
        let wrong: [&[u8]; 12] = [
            b"",
            b"-",
            b"+",
            b"-5",
            b"1-",
            b"1--1",
            b"1-2-3",
            b"a-1",
            b"1-a",
            b"1 -1",
            b"1-*",
            b"18446744073709551616",
        ];
        for text in wrong {
            assert_eq!(StreamId::parse(text, 0), None, "{text:?}");
        }
        assert_eq!(StreamId::parse(&[b'0'; 128], 0), None);
        assert_eq!(StreamId::parse(&[b'0'; 127], 0), id(0, 0));
        assert_eq!(StreamId::parse_edge(b"+", 0), Some(StreamId::MAX));
        assert_eq!(StreamId::parse_edge(b"-", 3), Some(StreamId::MIN));
    }

    #[test]
    fn new_ids_have_three_forms() {
        assert_eq!(NewId::parse(b"*"), Some(NewId::Auto));
        assert_eq!(NewId::parse(b"7-*"), Some(NewId::AutoSeq(7)));
        assert_eq!(NewId::parse(b"7"), Some(NewId::Given(StreamId::new(7, 0))));
        assert_eq!(NewId::parse(b"*-1"), None);
        assert_eq!(NewId::parse(b"7-**"), None);
    }

    #[test]
    fn neighbours_end_at_the_edges() {
        assert_eq!(StreamId::MAX.next(), None);
        assert_eq!(StreamId::MIN.previous(), None);
        assert_eq!(StreamId::new(1, u64::MAX).next(), id(2, 0));
        assert_eq!(StreamId::new(2, 0).previous(), id(1, u64::MAX));
        assert_eq!(StreamId::MAX.text().as_bytes(), b"18446744073709551615-18446744073709551615");
        assert_eq!(StreamId::from_be_bytes(StreamId::new(3, 4).to_be_bytes()), StreamId::new(3, 4));
    }
}
