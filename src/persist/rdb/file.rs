//! RDB files: what stands around the values, written and read as a stream.
//! Invariant: the reader takes bytes as they come and keeps no more than one record that is not
//! complete yet; it never believes a length further than bytes are there. Values are only skimmed
//! here: whoever owns their keys decodes them. Source: see `rdb`.
//!
//! ```text
//! file:   | "REDIS" "0012" | record ... | EOF | CRC-64 of all before, or 0 |
//! key:    ( EXPIRETIME_MS 8 | EXPIRETIME 4 | IDLE length | FREQ 1 ) ... | type | key | value |
//! Valkey: | "VALKEY" "080" | from version 80 on
//! ```

mod reader;
mod skim;
#[cfg(test)]
mod tests;

pub use reader::{FileReader, KeyRecord, Record};

use std::fmt;

use super::{Encoder, opcode};
use crate::base::crc::{crc64, crc64_zeros};

/// Why a file cannot be read, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// The byte at which the record begins that is wrong.
    pub offset: u64,
    /// What is wrong.
    pub fault: Fault,
}

/// What can be wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not begin as such files do.
    Signature,
    /// Nobody here knows this version.
    Version(u32),
    /// It ends before its end.
    Truncated,
    /// The bytes do not say what they have to.
    Corrupt,
    /// The bytes of a value, which is written as these words say, are wrong.
    Value(&'static str),
    /// It holds values of modules.
    Module,
    /// It holds functions in the form of a release candidate.
    EarlyFunction,
    /// A library of functions in it cannot be loaded, for this reason.
    Function(String),
    /// It has more databases than the server.
    Database(u64),
    /// The checksum: what the file says, and what it is.
    Checksum(u64, u64),
    /// A key is there twice.
    Duplicate(Vec<u8>),
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.fault {
            Fault::Signature => write!(f, "Wrong signature trying to load DB from file"),
            Fault::Version(version) => write!(f, "Can't handle RDB format version {version}"),
            Fault::Truncated => {
                write!(f, "Unexpected EOF reading RDB file at byte {}", self.offset)
            }
            Fault::Corrupt => write!(f, "Corrupt record in RDB file at byte {}", self.offset),
            Fault::Value(form) => {
                write!(f, "{form} integrity check failed in RDB file at byte {}", self.offset)
            }
            Fault::Module => {
                write!(f, "The RDB file contains module data I can't load, at byte {}", self.offset)
            }
            Fault::EarlyFunction => write!(f, "Pre-release function format not supported."),
            Fault::Function(reason) => write!(f, "Failed creating the library: {reason}"),
            Fault::Database(_) => write!(
                f,
                "FATAL: Data file was created with a Redis server configured to handle more databases. Exiting"
            ),
            Fault::Checksum(said, found) => {
                write!(
                    f,
                    "Wrong RDB checksum expected: ({found:x}) but got ({said:x}): RDB CRC error"
                )
            }
            Fault::Duplicate(key) => write!(
                f,
                "RDB has duplicated key '{}' at byte {}",
                String::from_utf8_lossy(key),
                self.offset
            ),
        }
    }
}

/// The first bytes of a file of this version.
pub fn magic(version: u16) -> [u8; MAGIC_LEN] {
    let text = format!("REDIS{version:04}");
    text.as_bytes().try_into().expect("a version has four digits")
}

/// What stands between the first bytes and the keys: facts, libraries, sizes of databases.
pub fn preamble(
    facts: &[(&str, &[u8])],
    libraries: &[bytes::Bytes],
    databases: &[(usize, u64, u64)],
) -> Vec<u8> {
    let mut encoder = Encoder::new(super::VERSION_MIN, false);
    for (name, value) in facts {
        encoder.byte(opcode::AUX);
        encoder.string(name.as_bytes());
        encoder.string(value);
    }
    for library in libraries {
        encoder.byte(opcode::FUNCTION2);
        encoder.string(library);
    }
    for (index, keys, expires) in databases {
        encoder.byte(opcode::SELECTDB);
        encoder.length(*index as u64);
        encoder.byte(opcode::RESIZEDB);
        encoder.length(*keys);
        encoder.length(*expires);
    }
    encoder.into_pieces().concat()
}

/// The checksum of a file whose parts were checksummed each on its own, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Checksum {
    crc: u64,
}

impl Checksum {
    /// Takes in a part by its checksum and length.
    pub fn add(&mut self, crc: u64, len: u64) {
        self.crc = crc64_zeros(self.crc, len) ^ crc;
    }

    /// The last bytes of a file: `magic` stands before `body` bytes with this checksum. None without
    /// a checksum.
    pub fn end(checksum: Option<Checksum>, magic: &[u8], body: u64) -> [u8; END_LEN] {
        let mut end = [opcode::EOF; END_LEN];
        let crc = checksum.map_or(0, |checksum| {
            let all = crc64_zeros(crc64(0, magic), body) ^ checksum.crc;
            crc64(all, &end[..1])
        });
        end[1..].copy_from_slice(&crc.to_le_bytes());
        end
    }
}

/// Length of the first bytes.
pub const MAGIC_LEN: usize = 9;
/// Length of the last ones.
pub const END_LEN: usize = 9;
/// The first version that ends with a checksum.
const CHECKSUM_SINCE: u32 = 5;
