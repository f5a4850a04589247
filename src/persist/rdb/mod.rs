//! RDB: the format of Redis' snapshots, of full synchronisations, and of DUMP.
//! Source: RDB versions 1 to 12, as stock servers write and read them.
//!
//! ```text
//! file:    | "REDIS" | version, 4 digits | opcode ... | EOF | CRC-64 |
//! a key:   | type | key (a string) | value |            the type says how the value is written
//! length:  00nnnnnn | 01nnnnnn n | 0x80 u32 | 0x81 u64                              big-endian
//! string:  | length | bytes |   or   0xC0 i8 | 0xC1 i16 | 0xC2 i32                little-endian
//!          or   0xC3 | length compressed | length | LZF |
//! ```

pub mod decode;
pub mod encode;
pub mod file;
pub mod opcode;
pub mod reader;

pub use decode::{Limits, Loaded};
pub use encode::Encoder;
pub use reader::Reader;

/// The bytes do not say what they have to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

/// The newest version that is read and written: that of Redis 8.0.
pub const VERSION_MAX: u16 = 12;
/// The version of Valkey 9, which is read, too.
pub const VERSION_VALKEY: u16 = 80;
/// The first version whose files begin with VALKEY: those below, beyond `VERSION_MAX`, are of others.
const VERSION_OF_VALKEY_MIN: u32 = 80;
/// The oldest version that is written: that of Redis 5.
pub const VERSION_MIN: u16 = 9;

/// What is checked of a file or a payload beside its form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checks {
    /// The checksum is right. Source: rdbchecksum.
    pub sum: bool,
    /// The version is one that is known. What others say may be understood all the same, since types
    /// that are not known are refused one by one. Source: rdb-version-check.
    pub version: bool,
}

impl Checks {
    /// All of it.
    pub const ALL: Checks = Checks { sum: true, version: true };

    /// True if what is written in this version is read.
    pub fn accept(self, version: u32) -> bool {
        let is_known = version <= u32::from(VERSION_MAX) || version == u32::from(VERSION_VALKEY);
        is_known || !self.version
    }
}

#[cfg(test)]
mod tests;
