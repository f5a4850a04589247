//! Finds where a value ends without making it.
//! Invariant: a loop over an announced count consumes at least a byte a step, or ends; nothing is
//! allocated. Source: see `rdb`.

use super::super::opcode;

/// Why a skim came to no end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end before it does.
    Short,
    /// The bytes cannot be right.
    Corrupt,
    /// It is a value of a module.
    Module,
}

/// Bytes that are passed over from the front.
pub(super) struct Skim<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Skim<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes passed over.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<&'a [u8], Stop> {
        let left = (self.bytes.len() - self.at) as u64;
        if count > left {
            return Err(Stop::Short);
        }
        let start = self.at;
        self.at += count as usize;
        Ok(&self.bytes[start..self.at])
    }

    pub(super) fn byte(&mut self) -> Result<u8, Stop> {
        self.skip(1).map(|bytes| bytes[0])
    }

    /// A length; with `true` a string that is not written as its bytes, by its kind.
    fn length_or_special(&mut self) -> Result<(u64, bool), Stop> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3F);
        let big_endian =
            |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        Ok(match first {
            0x00..0x40 => (low, false),
            0x40..0x80 => (low << 8 | u64::from(self.byte()?), false),
            opcode::LENGTH_32 => (big_endian(self.skip(4)?), false),
            opcode::LENGTH_64 => (big_endian(self.skip(8)?), false),
            opcode::LENGTH_SPECIAL.. => (low, true),
            _ => return Err(Stop::Corrupt),
        })
    }

    pub(super) fn length(&mut self) -> Result<u64, Stop> {
        match self.length_or_special()? {
            (length, false) => Ok(length),
            (_, true) => Err(Stop::Corrupt),
        }
    }

    pub(super) fn string(&mut self) -> Result<(), Stop> {
        let count = match self.length_or_special()? {
            (length, false) => length,
            (kind, true) => match kind as u8 {
                opcode::STRING_INT8 => 1,
                opcode::STRING_INT16 => 2,
                opcode::STRING_INT32 => 4,
                opcode::STRING_LZF => {
                    let small = self.length()?;
                    self.length()?;
                    small
                }
                _ => return Err(Stop::Corrupt),
            },
        };
        self.skip(count).map(|_| ())
    }

    fn strings(&mut self, count: u64) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.string())
    }

    fn pairs(&mut self) -> Result<(), Stop> {
        let count = self.length()?;
        (0..count).try_for_each(|_| self.strings(2))
    }

    /// Passes over the value of a type.
    pub(super) fn value(&mut self, kind: u8) -> Result<(), Stop> {
        match kind {
            opcode::STRING | opcode::HASH_LISTPACK_TTL_EARLY => self.string(),
            packed if opcode::is_packed(packed) => self.string(),
            opcode::LIST | opcode::SET | opcode::LIST_QUICKLIST => {
                let count = self.length()?;
                self.strings(count)
            }
            opcode::HASH => self.pairs(),
            opcode::SORTED_SET | opcode::SORTED_SET_2 => self.sorted_set(kind),
            opcode::LIST_QUICKLIST_2 => {
                let count = self.length()?;
                (0..count).try_for_each(|_| {
                    self.length()?;
                    self.string()
                })
            }
            opcode::HASH_LISTPACK_TTL => {
                self.skip(8)?;
                self.string()
            }
            opcode::HASH_TTL | opcode::HASH_TTL_EARLY => {
                if kind == opcode::HASH_TTL {
                    self.skip(8)?;
                }
                let count = self.length()?;
                (0..count).try_for_each(|_| {
                    self.length()?;
                    self.strings(2)
                })
            }
            opcode::HASH_VALKEY => {
                let count = self.length()?;
                (0..count).try_for_each(|_| {
                    self.strings(2)?;
                    self.skip(8).map(|_| ())
                })
            }
            opcode::STREAM | opcode::STREAM_2 | opcode::STREAM_3 => self.stream(kind),
            opcode::MODULE | opcode::MODULE_2 => Err(Stop::Module),
            _ => Err(Stop::Corrupt),
        }
    }

    fn sorted_set(&mut self, kind: u8) -> Result<(), Stop> {
        let count = self.length()?;
        (0..count).try_for_each(|_| {
            self.string()?;
            if kind == opcode::SORTED_SET_2 {
                return self.skip(8).map(|_| ());
            }
            match self.byte()? {
                // The infinities, and what is no number.
                253.. => Ok(()),
                len => self.skip(u64::from(len)).map(|_| ()),
            }
        })
    }

    fn lengths(&mut self, count: u64) -> Result<(), Stop> {
        (0..count).try_for_each(|_| self.length().map(|_| ()))
    }

    fn stream(&mut self, kind: u8) -> Result<(), Stop> {
        let counts = kind != opcode::STREAM;
        self.pairs()?;
        self.lengths(if counts { 8 } else { 3 })?;
        for _ in 0..self.length()? {
            self.string()?;
            self.lengths(if counts { 3 } else { 2 })?;
            for _ in 0..self.length()? {
                self.skip(STREAM_ID_LEN + 8)?;
                self.length()?;
            }
            for _ in 0..self.length()? {
                self.string()?;
                self.skip(if kind == opcode::STREAM_3 { 16 } else { 8 })?;
                let bytes = self.length()?.checked_mul(STREAM_ID_LEN).ok_or(Stop::Corrupt)?;
                self.skip(bytes)?;
            }
        }
        Ok(())
    }

    /// What a module kept: an id, when it was written, and numbered parts up to a zero.
    pub(super) fn module_aux(&mut self) -> Result<(), Stop> {
        self.lengths(3)?;
        loop {
            match self.length()? {
                0 => return Ok(()),
                1 | 2 => self.length().map(|_| ())?,
                3 => self.skip(4).map(|_| ())?,
                4 => self.skip(8).map(|_| ())?,
                5 => self.string()?,
                _ => return Err(Stop::Corrupt),
            }
        }
    }
}

const STREAM_ID_LEN: u64 = 16;
