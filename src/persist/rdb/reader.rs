//! Reads the parts of RDB: lengths, strings, numbers.
//! Invariant: never reads beyond its bytes; what a length announces is only believed as far as bytes
//! are there. Source: see `rdb`.

use std::borrow::Cow;

use super::{Malformed, opcode};
use crate::base::number;
use crate::encoding::lzf;

/// Bytes that are read from the front.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

/// What stands where a length is expected.
enum Length {
    Plain(u64),
    Special(u8),
}

impl<'a> Reader<'a> {
    /// A reader of all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array().map(|[byte]| byte)
    }

    /// So many bytes.
    pub fn take(&mut self, len: u64) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length, or any other number that is not negative.
    pub fn length(&mut self) -> Result<u64, Malformed> {
        match self.length_or_special()? {
            Length::Plain(length) => Ok(length),
            Length::Special(_) => Err(Malformed),
        }
    }

    /// A string, in one piece.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, Malformed> {
        let value = match self.length_or_special()? {
            Length::Plain(len) => return self.take(len).map(Cow::Borrowed),
            Length::Special(opcode::STRING_LZF) => return self.compressed().map(Cow::Owned),
            Length::Special(opcode::STRING_INT8) => i64::from(i8::from_le_bytes(self.array()?)),
            Length::Special(opcode::STRING_INT16) => i64::from(i16::from_le_bytes(self.array()?)),
            Length::Special(opcode::STRING_INT32) => i64::from(i32::from_le_bytes(self.array()?)),
            Length::Special(_) => return Err(Malformed),
        };
        let mut text = Vec::new();
        number::write_i64(&mut text, value);
        Ok(Cow::Owned(text))
    }

    /// A time in milliseconds.
    pub fn millis(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    /// A score of `SORTED_SET_2`, which is a number.
    pub fn double(&mut self) -> Result<f64, Malformed> {
        let value = self.array().map(f64::from_le_bytes)?;
        if value.is_nan() { Err(Malformed) } else { Ok(value) }
    }

    /// A score of `SORTED_SET`: a length of one byte and digits, or 254 and 255 for the infinities.
    pub fn text_double(&mut self) -> Result<f64, Malformed> {
        match self.byte()? {
            255 => Ok(f64::NEG_INFINITY),
            254 => Ok(f64::INFINITY),
            len => number::parse_f64(self.take(u64::from(len))?).ok_or(Malformed),
        }
    }

    fn length_or_special(&mut self) -> Result<Length, Malformed> {
        let first = self.byte()?;
        let low = first & 0x3F;
        Ok(Length::Plain(match first {
            0x00..0x40 => u64::from(low),
            0x40..0x80 => u64::from(low) << 8 | u64::from(self.byte()?),
            opcode::LENGTH_32 => u64::from(u32::from_be_bytes(self.array()?)),
            opcode::LENGTH_64 => u64::from_be_bytes(self.array()?),
            opcode::LENGTH_SPECIAL.. => return Ok(Length::Special(low)),
            _ => return Err(Malformed),
        }))
    }

    fn compressed(&mut self) -> Result<Vec<u8>, Malformed> {
        let (small_len, len) = (self.length()?, self.length()?);
        let small = self.take(small_len)?;
        let len = usize::try_from(len).map_err(|_| Malformed)?;
        lzf::decompress(small, len).ok_or(Malformed)
    }
}
